"""Bins of width 2^e: in which a value lies, and what is left of a histogram at a larger e.

At exponent e a value x lies in the bin whose lower edge is ``floor(x / 2^e) 2^e``. Every such edge
is a float64 but one: -2^1024, for which the lowest float64 stands, which lies in the same bin.
At the least exponent, -1074, every float64 is a bin of its own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

LEAST = -1074  # exponent of the smallest positive float64
LARGEST = 1023  # exponent at which four bins hold every float64
BOTTOM = -np.finfo(np.float64).max
USUAL = 1000  # 2^e and 2^-e are normal numbers up to here; windows have no others
_WHOLE = 2.0**53  # float64 from here on are whole

_jit = njit(cache=True, nogil=True)


@_jit
def scaled(x: float, power: int) -> float:
    """Return x 2^power; the usual powers are made from their bits, at a tenth of ldexp's cost."""
    if abs(power) <= USUAL:
        return x * np.int64((power + 1023) << 52).view(np.float64)
    return math.ldexp(x, power)


@_jit
def lower_edge(x: float, exponent: int) -> float:
    """Return floor(x / 2^exponent) 2^exponent of a finite x; -0.0 becomes 0.0."""
    if exponent == LEAST:
        return x + 0.0
    index = scaled(x, -exponent)
    if not abs(index) < _WHOLE:
        return x + 0.0
    index = not_above(x, np.floor(index))
    return max(scaled(index, exponent), BOTTOM) + 0.0


@_jit
def not_above(x: float, index: float) -> float:
    """Mend the index of a negative x that 2^-e has underflown to -0.0."""
    return index - 1.0 if x < 0.0 and index >= 0.0 else index


@_jit
def _bits(x: float) -> Any:
    """Return the bits of x as an int64: those of positive numbers ascend with them."""
    return np.float64(x).view(np.int64)


@_jit
def _merge_exponent(a: float, b: float) -> Any:
    """Return the least exponent at which a < b lie in one bin, LARGEST + 1 if none.

    For positive numbers it is found by the highest bit in which they differ. Negative ones have
    bins that are closed at the larger magnitude; the magnitudes' predecessors lie in the same.
    """
    if a < 0.0 <= b:
        return LARGEST + 1
    low, high = _bits(a), _bits(b)
    if a < 0.0:
        low, high = _bits(-b) - 1, _bits(-a) - 1
    binade = high >> 52
    if binade != low >> 52:
        return binade - 1022
    length = (_bits(high ^ low) >> 52) - 1022  # of a number below 2^52, read as a float64
    return max(binade, 1) - 1075 + length


@_jit
def _canonical_exponent(edges: Array, bins: int, least: int) -> int:
    """Return the smallest exponent from `least` on at which at most `bins` bins are occupied."""
    if len(edges) <= bins:
        return least
    merging = np.zeros(LARGEST + 2 - LEAST, np.int64)
    for i in range(len(edges) - 1):
        merging[_merge_exponent(edges[i], edges[i + 1]) - LEAST] += 1
    occupied = 1
    exponent = LARGEST + 1
    while exponent > least and occupied + merging[exponent - LEAST] <= bins:
        occupied += merging[exponent - LEAST]  # what merges at an exponent is apart below it
        exponent -= 1
    return exponent


@_jit
def _coarsen(edges: Array, counts: Array, exponent: int) -> int:
    """Move ascending edges to the bins of a larger exponent, in place; return how many remain."""
    size = 0
    for i in range(len(edges)):
        edge = lower_edge(edges[i], exponent)
        if size > 0 and edges[size - 1] == edge:
            counts[size - 1] += counts[i]
        else:
            edges[size], counts[size] = edge, counts[i]
            size += 1
    return size


@_jit
def canonical(edges: Array, counts: Array, least: int, bins: int) -> tuple[int, Array, Array]:
    """Return the canonical exponent, edges and counts of ascending edges, which may be equal.

    Both arrays are changed; all edges are of bins at an exponent of at most `least`.
    """
    size = _coarsen(edges, counts, least)
    exponent = _canonical_exponent(edges[:size], bins, least)
    size = _coarsen(edges[:size], counts[:size], exponent)
    return exponent, edges[:size].copy(), counts[:size].copy()


@_jit
def grid(values: Array) -> int:
    """Return the largest exponent, 0 at most, for which all values are multiples of 2^e, or LEAST.

    Such are counts, flags and zeros: values held themselves may have a window, too.
    """
    exponent = 0
    for x in values:
        while exponent >= -USUAL and x * scaled(1.0, -exponent) % 1.0 != 0.0:
            exponent -= 1
    return exponent if exponent >= -USUAL else LEAST
