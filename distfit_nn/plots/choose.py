"""What a caller means by layer=, site=, step= and unit=: one recording, one of its units.

Names that are not there raise an error that lists the nearest ones.
"""

from __future__ import annotations

import difflib
import reprlib
from typing import TYPE_CHECKING, Any

import numpy as np

from distfit_nn._checks import whole_number
from distfit_nn.errors import InputError
from distfit_nn.report.select import Layer, clean, layers

if TYPE_CHECKING:
    from distfit_nn.stats.findings import Findings
    from distfit_nn.stats.summary import Recording

_LISTED = 5
_COMPARED = 2000  # names, and their first characters, that are searched for near misses
_CHARACTERS = 100


def layer_of(analysis: Findings, name: str | None) -> Layer:
    """Return the layer called `name`; None means the only one.

    Raises
    ------
    InputError
        There is no such layer, or none is named and there are several.
    """
    found = layers(analysis)
    if name is None:
        if len(found) == 1:
            return found[0]
        names = [layer.name for layer in found]
        raise InputError(f"layer must name one of {len(names)} layers: {_listed(names)}")
    for layer in found:
        if layer.name == name:
            return layer
    raise InputError(_missing("layer", name, [layer.name for layer in found]))


def recording_of(
    analysis: Findings,
    layer: str | None = None,
    site: str | None = None,
    step: int | None = None,
) -> Recording:
    """Return the recording of a layer: by default at its main site and its last step.

    Raises
    ------
    InputError
        There is no such layer, site or step.
    """
    chosen = layer_of(analysis, layer)
    return at_step(chosen, site_of(chosen, site), step)


def site_of(layer: Layer, site: str | None) -> str:
    """Return `site`, by default the main one: what feeds the nonlinearity, where recorded."""
    if site is None:
        return layer.main
    return named("site", site, list(layer.recordings))


def at_step(layer: Layer, site: str, step: int | None) -> Recording:
    """Return the recording of a layer and site at a step, by default the last one."""
    if step is None:
        return layer.last(site)
    for recording in layer.recordings[site]:
        if recording.step == step:
            return recording
    steps = [recording.step for recording in layer.recordings[site]]
    near = sorted(steps, key=lambda one: abs(one - step) if _is_number(step) else 0)[:_LISTED]
    raise InputError(
        f"step must be one that was recorded, got {reprlib.repr(step)}; "
        f"nearest: {', '.join(str(one) for one in near)}"
    )


def row_of(recording: Recording, unit: int | str) -> int:
    """Return the row of a unit, given by its number or its name, in the table of units."""
    table = recording.units
    if isinstance(unit, str):
        rows = np.flatnonzero((table["name"] == unit).to_numpy(dtype=bool))
        if not len(rows):
            raise InputError(
                _missing("unit", unit, [n for n in table["name"] if isinstance(n, str)])
            )
        return int(rows[0])
    number = whole_number(unit, "unit")
    rows = np.flatnonzero((table["unit"] == number).to_numpy(dtype=bool))
    if not len(rows):
        numbers = table["unit"].to_numpy()
        near = np.sort(numbers[np.argsort(np.abs(numbers - number), kind="stable")[:_LISTED]])
        raise InputError(
            f"unit must be one of {len(table)} that were recorded, got {number}; "
            f"nearest: {', '.join(str(one) for one in near)}"
        )
    return int(rows[0])


def named(what: str, name: str, known: list[str]) -> str:
    """Return `name` if it is among the known ones; `what` says in an error what it names."""
    if name not in known:
        raise InputError(_missing(what, name, known))
    return name


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating))


def _missing(what: str, got: Any, names: list[str]) -> str:
    near: list[str] = []
    if isinstance(got, str):
        short = {name[:_CHARACTERS]: name for name in names[:_COMPARED]}
        hits = difflib.get_close_matches(got[:_CHARACTERS], list(short), _LISTED, 0.5)
        near = [short[hit] for hit in hits]
    told = f"did you mean {_listed(near)}" if near else f"there are {_listed(names)}"
    shown = repr(clean(got, 60)) if isinstance(got, str) else reprlib.repr(got)
    return f"there is no {what} {shown}; {told}"


def _listed(names: list[str]) -> str:
    shown = [repr(clean(name, 60)) for name in names[:_LISTED]]
    more = len(names) - len(shown)
    return (", ".join(shown) if shown else "none") + (f" and {more} more" if more > 0 else "")
