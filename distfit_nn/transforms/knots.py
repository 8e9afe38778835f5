"""Where the formula of a transport is used, and by which lines its map goes on beyond."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

WITHIN = ("support", "data")
OUTSIDE = ("extrapolate", "clip", "exact")
# The formula holds where both tails keep at least this mass: the first of these whose quantiles are
# finite. Where an upper tail is known only as 1 - cdf, the last.
TAILS: tuple[float, ...] = (1e-300, 1e-100, 1e-12)
# ... and short of this share of the way from the median to an end of the support. There F1 reaches
# 0 or 1, and a target without ends would be reached at infinity, with an infinite slope.
END_SHARE = 1e-6
# A spread below this many roundings of the largest value is that of a constant.
CONSTANT = 4 * 2.0**-52

Values = TypeVar("Values", bound=Any)  # arrays, or tensors


@dataclass(frozen=True, eq=False)
class Knots(Generic[Values]):
    """Where the formula ends, and the lines beyond.

    Attributes
    ----------
    at, to, slope : (2, d)
        The last points of the formula, where they map, and the slopes of the lines there, 0 where
        the map is flat; the lower ends first.
    middle_at, middle_to : (d,)
        The medians of source and target.
    """

    at: Values
    to: Values
    slope: Values
    middle_at: Values
    middle_to: Values

    def reversed(self) -> Knots[Values]:
        """Return those of the inverse map, which is flat where the map is."""
        flat = self.slope <= 0
        slope = ~flat / (self.slope + flat)
        return Knots(self.to, self.at, slope, self.middle_to, self.middle_at)
