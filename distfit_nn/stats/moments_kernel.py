"""The state of the moments of columns: weights, counts, extremes and sums of powers, mergeable.

A *state* holds what is known of some columns: a float64 array with one line for each of the
quantities named below and one column for each column of the data. Counts are exact up to 2**53.
With weights w_i (1 where none are given) and a centre c, the sums are of w_i (x_i - c)**r. The
centre is a float64 number near the mean, or a value of the column where all are equal: so that
differences of nearby values are exact however large the values are, a constant column has sums of
exactly 0, and 1e8 + N(0, 1) loses nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

MAX_ORDER = 12
COUNT, NANS, INFS, ZEROS, WEIGHT, SQUARES, ZERO_WEIGHT, LOW, HIGH, CENTRE = range(10)
SUMS = CENTRE + 1  # first of the sums of powers 1, 2, ... about the centre

_jit = njit(cache=True, nogil=True, error_model="numpy")


def new_state(columns: int, order: int) -> Array:
    """Return the state of no data, an array of shape (SUMS + order, columns)."""
    state = np.zeros((SUMS + order, columns))
    state[LOW] = np.inf
    state[HIGH] = -np.inf
    return state


@_jit
def _move_centre(state: Array, j: int, step: float, sums: Array) -> None:
    """Write to `sums` those of powers 0, 1, ... of column j about its centre - step.

    By repeated differences, whose sum is the binomial theorem.
    """
    top = state.shape[0] - SUMS
    sums[0] = state[WEIGHT, j]
    for i in range(1, top + 1):
        sums[i] = state[SUMS + i - 1, j]
    if step == 0.0:  # what has overflown may stay as it is
        return
    for lowest in range(1, top + 1):
        for i in range(top, lowest - 1, -1):
            sums[i] += step * sums[i - 1]


@_jit
def merge_column(into: Array, j: int, other: Array, k: int, ours: Array, theirs: Array) -> None:
    """Add column k of the state `other` to column j of the state `into`.

    Both are moved to the rounded mean of the whole, which is Pébay's (2008) formula for all orders;
    to no data the other is added as it is. `ours` and `theirs` are room for MAX_ORDER + 1 numbers.
    """
    for line in range(LOW):
        if line != WEIGHT:
            into[line, j] += other[line, k]
    if other[COUNT, k] == 0.0:
        return
    if into[WEIGHT, j] == 0.0:
        for line in range(into.shape[0]):
            if line >= LOW or line == WEIGHT:
                into[line, j] = other[line, k]
        return
    total = into[WEIGHT, j] + other[WEIGHT, k]
    between = other[CENTRE, k] - into[CENTRE, j]
    offset = (into[SUMS, j] + other[SUMS, k]) / total + between * (other[WEIGHT, k] / total)
    centre = into[CENTRE, j] + offset
    _move_centre(into, j, into[CENTRE, j] - centre, ours)
    _move_centre(other, k, other[CENTRE, k] - centre, theirs)
    for i in range(into.shape[0] - SUMS):
        into[SUMS + i, j] = ours[i + 1] + theirs[i + 1]
    into[CENTRE, j] = centre
    into[WEIGHT, j] = total
    into[LOW, j] = min(into[LOW, j], other[LOW, k])
    into[HIGH, j] = max(into[HIGH, j], other[HIGH, k])


@_jit
def merge(into: Array, other: Array) -> None:
    """Add the state `other` to the state `into`, column by column."""
    ours, theirs = np.empty(MAX_ORDER + 1), np.empty(MAX_ORDER + 1)
    for j in range(into.shape[1]):
        merge_column(into, j, other, j, ours, theirs)


@_jit
def fold(state: Array, columns: int) -> None:
    """Merge every group of `columns` columns into the first, by halves: pairwise, in fixed order.

    The number of columns of the state is a multiple of `columns`.
    """
    ours, theirs = np.empty(MAX_ORDER + 1), np.empty(MAX_ORDER + 1)
    groups = state.shape[1] // max(columns, 1)
    while groups > 1:
        half = (groups + 1) // 2
        for j in range(half * columns, groups * columns):
            merge_column(state, j - half * columns, state, j, ours, theirs)
        groups = half


@_jit
def centralise(state: Array, mean: Array, sums: Array) -> None:
    """Write mean and sums of powers 2, 3, ... about it, not yet rounded, of all columns."""
    moved = np.empty(MAX_ORDER + 1)
    for j in range(state.shape[1]):
        step = state[SUMS, j] / state[WEIGHT, j] if state[COUNT, j] > 0.0 else 0.0
        _move_centre(state, j, -step, moved)
        mean[j] = state[CENTRE, j] + step if state[COUNT, j] > 0.0 else np.nan
        for i in range(sums.shape[0]):
            sums[i, j] = moved[i + 2]
