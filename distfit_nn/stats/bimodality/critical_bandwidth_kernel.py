"""Compiled parts of the critical bandwidth: values put on a grid, valleys of curves counted."""

from __future__ import annotations

from typing import Any

from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

_jit = njit(cache=True, nogil=True)

FLAT = 1e-10  # a slope less than this, relative to the steepest, is rounding of the transform


@_jit
def grid_shares(values: Array, start: float, step: float, out: Array) -> None:
    """Fill `out` with the values' shares of the points start + i step, each split between two.

    The weights are linear in the distance, which keeps the mean; what lies beyond the ends is
    left out, but counts in the denominator.
    """
    out[:] = 0.0
    last = len(out) - 1
    for value in values:
        place = (value - start) / step
        if 0 <= place < last:
            i = int(place)
            out[i] += i + 1 - place
            out[i + 1] += place - i
    out /= len(values)


@_jit
def count_valleys(slopes: Array, first: int, last: int, out: Array) -> None:
    """Fill `out` with the number of minima of each curve between two grid points.

    Parameters
    ----------
    slopes : float64 array of shape (b, m)
        The slopes of b curves on an even grid.
    first, last : int
        Only changes from falling to rising between these points count.
    out : int64 array of shape (b,)

    A slope whose parabola through three neighbours crosses 0 twice between grid points counts as
    one more valley; one of the size of rounding has no sign.
    """
    for b in range(slopes.shape[0]):
        slope = slopes[b]
        steepest = 0.0
        for i in range(first, last + 1):
            steepest = max(steepest, abs(slope[i]))
        flat, falling, valleys = FLAT * steepest, False, 0
        for i in range(first, last + 1):
            here = slope[i]
            if first < i < last and abs(here) > flat:
                before, after = slope[i - 1], slope[i + 1]
                bend = before - 2 * here + after
                # The smallest |slope| of three of one sign, at a vertex of the other sign
                if (
                    before * here > 0
                    and after * here > 0
                    and abs(here) <= min(abs(before), abs(after))
                    and bend != 0
                ):
                    vertex = here - (after - before) ** 2 / (8 * bend)
                    valleys += vertex * here < 0 and abs(vertex) > flat
            if here < -flat:
                falling = True
            elif here > flat:
                valleys += falling
                falling = False
        out[b] = valleys
