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


def finite(sample: ArrayLike) -> Array:
    """Return the finite values as float64."""
    column = np.asarray(sample, dtype=np.float64)
    return column[np.isfinite(column)]
