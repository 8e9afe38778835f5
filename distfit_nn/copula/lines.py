"""How a sample goes on beyond its range: along lines, in the scores of a target.

Beyond the smallest and the largest of n values nothing is known but what the values next to them
show. There the quantile goes on as a straight line in the score,

    x = x_(1) + b (y - y_1),   y_1 = F^{-1}(1 / (2 n)),

and likewise above. The slope b is the median of the slopes between any two of the 16 outermost
values x_(i), with scores F^{-1}((i - 1/2) / n) (Theil, 1950; Sen, 1968): one outlier among them, or
a tie or two, does not decide. Where most of them are tied the median is 0, and the sample is taken
to have a bound there: the zeros of a ReLU, the levels at which a quantiser saturates. So is that of
equal values.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

OUTSIDE = ("extrapolate", "clip")
OUTER = 16  # values at either end that the slope of the line comes from
LARGEST = float(np.finfo(np.float64).max)


@cache
def pairs(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of all pairs of so many."""
    return np.triu_indices(count, 1)


def outer(n: int) -> int:
    """Return how many of n values a slope comes from."""
    return min(n, OUTER)


def slopes(values: Array, scores: Array) -> Array:
    """Return the slopes dx/dy of the lines beyond one end, (d,); 0 where the values have a bound.

    Parameters
    ----------
    values, scores : (k, d)
        The outermost values and their scores; NaN where a column has fewer. One column of scores
        may serve all.
    """
    with np.errstate(all="ignore"):
        i, j = pairs(len(values))
        rise = 2 * ((values[j] / 2 - values[i] / 2) / (scores[j] - scores[i]))
        known = np.sort(np.where(np.isfinite(rise), rise, np.nan), axis=0)
        if len(known) == 0:
            return np.zeros(values.shape[1])
        middle = np.maximum(np.count_nonzero(~np.isnan(known), axis=0) - 1, 0) // 2
        slope = np.take_along_axis(known, middle[None], axis=0)[0]
        return np.where(slope > 0, slope, 0.0)


def roundings(unit: float, n: int) -> float:
    """Return by how many ranks a score's rounding may move it: 4 roundings of n, at most 1/64."""
    return min(4 * max(unit, float(np.finfo(np.float64).eps)) * n, 1 / 64)
