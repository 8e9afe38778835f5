"""A claim, what became of it, and the numbers that say so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lab.errors import LabError


class _None:
    """What has no value, such as a deviation over one seed: a dash in any format."""

    def __format__(self, _: str) -> str:
        return "–"


NONE = _None()


class Verdict(StrEnum):
    """What became of a claim."""

    HOLDS = "holds"
    CONDITIONS = "holds under conditions"
    FAILS = "does not hold"
    OPEN = "not decided"


@dataclass(frozen=True)
class Finding:
    """A claim in a sentence, where it stands, whether it holds, and a text with numbers.

    `text` is a format string; `numbers` says where in the numbers of the results each name in it
    is found, as keys and positions joined by "/": "best_rate/BatchNorm/test_accuracy/mean/0". So
    no number in the text can differ from the results. `holds` and `condition` are to be computed
    from the same numbers, by a rule that the text makes plain.
    """

    claim: str
    source: str  # "slides, Copula Transform", "blog", "third text", "future work", "ours"
    holds: bool | None  # None: the numbers do not decide it
    text: str
    numbers: Mapping[str, str]
    condition: str = ""  # in a few words, when a claim that does not hold in general does hold
    figure: str | None = None  # a figure of the same results

    @property
    def verdict(self) -> Verdict:
        """What became of the claim."""
        if self.holds is None:
            return Verdict.OPEN
        if self.holds:
            return Verdict.HOLDS
        return Verdict.CONDITIONS if self.condition else Verdict.FAILS

    def described(self, numbers: Any) -> dict[str, Any]:
        """Return the finding as JSON holds it, its text with the numbers in it."""
        values = {name: looked_up(numbers, path) for name, path in self.numbers.items()}
        shown = {name: NONE if value is None else value for name, value in values.items()}
        return {
            "claim": self.claim,
            "source": self.source,
            "verdict": str(self.verdict),
            "condition": self.condition if self.verdict is Verdict.CONDITIONS else "",
            "text": self.text.format(**shown),
            "template": self.text,
            "numbers": {
                name: {"path": path, "value": values[name]} for name, path in self.numbers.items()
            },
            "figure": self.figure,
        }


def looked_up(numbers: Any, path: str) -> Any:
    """Return what stands at a path of keys and positions joined by "/"."""
    found = numbers
    for step in path.split("/"):
        try:
            found = found[int(step)] if isinstance(found, (list, tuple)) else found[step]
        except (KeyError, IndexError, ValueError, TypeError):
            raise LabError(f"the numbers have nothing at {path}: {step} is missing") from None
    return found


def plain(value: Any, digits: int = 6) -> Any:
    """Return a value as JSON holds it: numbers to so many digits, None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(name): plain(each, digits) for name, each in value.items()}
    if isinstance(value, (list, tuple)) or hasattr(value, "__array__"):
        listed = value if isinstance(value, (list, tuple)) else value.tolist()
        return (
            [plain(each, digits) for each in listed]
            if isinstance(listed, (list, tuple))
            else (plain(listed, digits))
        )
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value
