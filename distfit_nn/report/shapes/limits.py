"""What all drawings keep to: how large a number can be drawn, how many bars values can fill."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

LARGEST = 1e100  # figures cannot show what is larger, or spans less than its inverse
_BARS = (
    4.0  # bars or bins per cube root of the number of values: with more, chance makes them ragged
)


def bars_for(values: float, most: int) -> int:
    """Return how many bars so many values can fill."""
    return min(most, max(8, round(_BARS * float(np.cbrt(values)))))


def drawable(values: ArrayLike) -> Array:
    """Return sizes, none below 0, as a figure can show them: up to 1e100, and 0 below 1e-100."""
    sizes = np.nan_to_num(np.asarray(values, dtype=np.float64))
    return np.where(sizes < 1 / LARGEST, 0.0, np.minimum(sizes, LARGEST))


def finite(sample: ArrayLike) -> Array:
    """Return the finite values as float64."""
    column = np.asarray(sample, dtype=np.float64)
    return column[np.isfinite(column)]
