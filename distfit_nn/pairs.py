"""Which recordings are compared: those of the same layer and site, at two steps or in two runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from distfit_nn._checks import whole_number
from distfit_nn.capture.entries import Entry
from distfit_nn.errors import InputError

Steps = tuple[int, int] | Literal["same"] | None
_Place = tuple[str, str]  # layer, site
_Recorded = dict[_Place, dict[int, Entry]]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two recordings of the same units."""

    layer: str
    site: str
    before: Entry
    after: Entry


class Unmatched(NamedTuple):
    """A layer, at a site, that is not compared, and why: words that follow its name."""

    layer: str
    site: str
    reason: str


def checked_steps(steps: Any, within: bool) -> Steps:
    """Return `steps` if they can be asked for, of one source (`within`) or of two."""
    if steps is None or (steps == "same" and not within):
        return steps
    if not isinstance(steps, (tuple, list)) or len(steps) != 2:
        others = "None" if within else 'None, "same"'
        raise InputError(f"steps must be {others} or a pair of whole numbers, got {steps!r}")
    first, second = (whole_number(step, "each of steps") for step in steps)
    if within and first == second:
        raise InputError(f"steps of one source must differ, got {first} twice")
    return first, second


def matched(
    before: Iterable[Entry], after: Iterable[Entry] | None, steps: Steps
) -> tuple[list[Pair], list[Unmatched]]:
    """Return what is compared, in the order of `before`, and what cannot be.

    Raises
    ------
    InputError
        Nothing can be compared, or a source has two recordings of one layer, site and step.
    """
    earlier = _by_place(before)
    later = earlier if after is None else _by_place(after)
    earlier, later = _named_alike(earlier, later)
    pairs: list[Pair] = []
    unmatched: list[Unmatched] = []
    for place in dict.fromkeys([*earlier, *later]):
        if place not in earlier or place not in later:
            missing = "second" if place in earlier else "first"
            unmatched.append(Unmatched(*place, f"is not in the {missing} source"))
            continue
        first, second = earlier[place], later[place]
        chosen, problem = _chosen(first, second, steps, within=after is None)
        if not chosen:
            unmatched.append(Unmatched(*place, problem))
        for one, other in chosen:
            pair = Pair(*place, first[one], second[other])
            difference = _difference(pair)
            if difference:
                unmatched.append(Unmatched(*place, difference))
            else:
                pairs.append(pair)
    if not pairs:
        layer, site, reason = unmatched[0]
        others = f" (and {len(unmatched) - 1} others)" if len(unmatched) > 1 else ""
        raise InputError(f"there is nothing to compare: {layer!r} {site} {reason}{others}")
    return pairs, unmatched


def _by_place(entries: Iterable[Entry]) -> _Recorded:
    recorded: _Recorded = {}
    for entry in entries:
        steps = recorded.setdefault((entry.layer, entry.site), {})
        if entry.step in steps:
            raise InputError(f"layer {entry.layer!r} occurs twice at step {entry.step}")
        steps[entry.step] = entry
    return recorded


def _named_alike(earlier: _Recorded, later: _Recorded) -> tuple[_Recorded, _Recorded]:
    """Give one name to two single arrays, whose names are those of their files, or made up."""
    if len(earlier) != 1 or len(later) != 1:
        return earlier, later
    (one, its_site), (other, other_site) = *earlier, *later
    if one == other or not its_site == other_site == "values":
        return earlier, later
    place = (f"{one} -> {other}", "values")
    return {place: earlier[one, "values"]}, {place: later[other, "values"]}


def _chosen(
    first: dict[int, Entry], second: dict[int, Entry], steps: Steps, *, within: bool
) -> tuple[list[tuple[int, int]], str]:
    """Return the pairs of steps to compare, and why there are none."""
    if steps == "same":
        return [(step, step) for step in sorted(first) if step in second], "has no step in both"
    if steps is not None:
        if steps[0] not in first:
            return [], f"has no step {steps[0]}" + (" in the first source" if not within else "")
        if steps[1] not in second:
            return [], f"has no step {steps[1]}" + (" in the second source" if not within else "")
        return [steps], ""
    if within:
        return list(pairwise(sorted(first))), f"has one step only, {max(first)}"
    return [(max(first), max(second))], ""


def _difference(pair: Pair) -> str:
    """Return why two recordings cannot be compared, if they cannot."""
    before, after = pair.before, pair.after
    if before.summaries or after.summaries:
        return "is stored as summaries: rows, which a comparison needs, were not kept"
    if before.units != after.units:
        return (
            f"has {before.units} units at step {before.step} before, {after.units} at step "
            f"{after.step} after"
        )
    if before.names and after.names and before.names != after.names:
        return "has units of other names, or in another order, after"
    if before.ids != after.ids:
        return "has other units of the layer after: not all were recorded, nor the same ones"
    return ""
