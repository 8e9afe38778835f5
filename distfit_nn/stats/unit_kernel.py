"""Sorted rows brought to the unit of their own range, so that no scale over- or underflows."""

from __future__ import annotations

from typing import Any

from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def fill_units(row: Array, n: int, out: Array) -> tuple[float, float]:
    """Fill ``out[:n]`` with (row - centre) / scale, all in [-2, 2]; return centre and scale.

    The centre is the median value and the scale half of the range, so that a large common offset
    costs no digits and powers of the result are safe. ``row[:n]`` is ascending and finite, n >= 1.
    The scale is 0, and `out` filled with zeros, where all values are equal or closer than 1e-323.
    """
    centre = row[n // 2]
    scale = 0.5 * row[n - 1] - 0.5 * row[0]
    for i in range(n):
        out[i] = 2.0 * ((0.5 * row[i] - 0.5 * centre) / scale) if scale > 0 else 0.0
    return centre, scale
