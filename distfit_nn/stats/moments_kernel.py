"""The compiled, mergeable power sums of columns.

A *state* holds what is known of some columns: a float64 array with one line for each of the
quantities named below and one column for each column of the data. Counts are exact up to 2**53.
The sums of a state are about a centre, ``origin + shift``. The origin is the first finite value of
the column, so that differences of nearby values are exact however large the values are: a constant
column has sums of exactly 0, and 1e8 + N(0, 1) loses nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

WIDTH = 64  # columns of a state; a block of their rows stays in a near cache
ROWS = 128  # rows of a block
ORDER = 6
COUNT, NANS, INFS, ZEROS, MINIMUM, MAXIMUM, ORIGIN, SHIFT = range(8)
SUM2 = SHIFT + 1  # first of the sums of powers 2 to ORDER about the centre
LINES = SUM2 + ORDER - 1

_jit = njit(cache=True, nogil=True)


def new_state(width: int = WIDTH) -> Array:
    """Return the state of no data, an array of shape (LINES, width)."""
    state = np.zeros((LINES, width))
    state[MINIMUM] = np.inf
    state[MAXIMUM] = -np.inf
    return state


@_jit
def _recentred(state: Array, j: int, step: float, power: int) -> float:
    """Sum of the given power of column j about centre - step: the binomial theorem."""
    total = 0.0
    weight = 1.0  # binomial(power, k) * step**k
    for k in range(power - 1):
        total += weight * state[SUM2 + power - k - 2, j]
        weight *= step * (power - k) / (k + 1)
    return total + weight * step / power * state[COUNT, j]  # the sum of power 1 is 0


@_jit
def merge(into: Array, other: Array, width: int) -> None:
    """Add the state `other` to the state `into`, in the first `width` columns.

    Both are recentred on the mean of the whole, which is Pébay's (2008) formula for all orders.
    """
    for j in range(width):
        into[NANS, j] += other[NANS, j]
        into[INFS, j] += other[INFS, j]
        into[ZEROS, j] += other[ZEROS, j]
        na, nb = into[COUNT, j], other[COUNT, j]
        n = na + nb
        if nb == 0:
            continue
        if na == 0:
            into[ORIGIN, j] = other[ORIGIN, j]
            into[SHIFT, j] = other[SHIFT, j]
        delta = (other[ORIGIN, j] - into[ORIGIN, j]) + (other[SHIFT, j] - into[SHIFT, j])
        move = delta * (nb / n)
        for power in range(ORDER, 1, -1):
            into[SUM2 + power - 2, j] = _recentred(into, j, -move, power) + _recentred(
                other, j, delta - move, power
            )
        into[SHIFT, j] += move
        into[COUNT, j] = n
        into[MINIMUM, j] = min(into[MINIMUM, j], other[MINIMUM, j])
        into[MAXIMUM, j] = max(into[MAXIMUM, j], other[MAXIMUM, j])


@_jit
def _find_origins(block: Array, state: Array) -> None:
    for j in range(block.shape[1]):
        if state[COUNT, j] == 0:
            for i in range(block.shape[0]):
                if abs(block[i, j]) < np.inf:
                    state[ORIGIN, j] = block[i, j]
                    break


@_jit
def _describe(block: Array, part: Array) -> None:
    """Counts, extremes and mean of a block; the loops over columns are free of branches."""
    rows, width = block.shape
    for i in range(rows):
        for j in range(width):
            x = block[i, j]
            y = x - part[ORIGIN, j]
            finite = abs(x) < np.inf
            part[COUNT, j] += 1.0 if finite else 0.0
            part[NANS, j] += 1.0 if x != x else 0.0
            part[ZEROS, j] += 1.0 if x == 0.0 else 0.0
            part[SHIFT, j] += y if finite else 0.0
            low = x if finite else np.inf
            high = x if finite else -np.inf
            part[MINIMUM, j] = low if low < part[MINIMUM, j] else part[MINIMUM, j]
            part[MAXIMUM, j] = high if high > part[MAXIMUM, j] else part[MAXIMUM, j]
    for j in range(width):
        part[INFS, j] = rows - part[COUNT, j] - part[NANS, j]
        part[SHIFT, j] /= max(part[COUNT, j], 1.0)


@_jit
def _sum_powers(block: Array, part: Array) -> None:
    for i in range(block.shape[0]):
        for j in range(block.shape[1]):
            x = block[i, j]
            y = (x - part[ORIGIN, j]) - part[SHIFT, j]
            y = y if abs(x) < np.inf else 0.0
            y2 = y * y
            y3 = y2 * y
            part[SUM2, j] += y2
            part[SUM2 + 1, j] += y3
            part[SUM2 + 2, j] += y2 * y2
            part[SUM2 + 3, j] += y2 * y3
            part[SUM2 + 4, j] += y3 * y3


@_jit
def _clear(part: Array, state: Array) -> None:
    for j in range(part.shape[1]):
        for line in range(LINES):
            part[line, j] = 0.0
        part[MINIMUM, j] = np.inf
        part[MAXIMUM, j] = -np.inf
        part[ORIGIN, j] = state[ORIGIN, j]


@_jit
def update(state: Array, rows: Array) -> None:
    """Add rows, a float64 array (n, width) that is C-contiguous, to a state, block by block."""
    part = np.empty((LINES, WIDTH))
    for start in range(0, rows.shape[0], ROWS):
        block = rows[start : start + ROWS]
        _find_origins(block, state)
        _clear(part, state)
        _describe(block, part)
        _sum_powers(block, part)
        merge(state, part, rows.shape[1])
