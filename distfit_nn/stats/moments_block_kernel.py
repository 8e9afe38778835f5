"""Rows added to a state of `moments_kernel`, at nearly the speed at which memory is read.

Rows come in blocks. A block is first taken to be as blocks usually are: all finite, and such that
the centre of the state is near the mean of all values, so that powers are summed about it in one
pass without a test for anything. Where the sums tell otherwise, it is done again with care.

Every inner loop runs over lanes, with constant distances between what it reads and writes, which
is what lets the compiler vectorise it. Lanes are columns; of few columns, those of some rows side
by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, uint64
from numpy.typing import NDArray

from distfit_nn.stats.moments_kernel import (
    CENTRE,
    COUNT,
    HIGH,
    INFS,
    LOW,
    MAX_ORDER,
    NANS,
    SQUARES,
    SUMS,
    WEIGHT,
    ZERO_WEIGHT,
    ZEROS,
    merge_column,
)

Array = NDArray[Any]

LANES = 128  # columns that are done at once
RUN = (
    8192  # rows, of columns, that whole blocks make up: where rows may be cut, the same blocks come
)
BLOCK = 256  # rows of lanes, at most, that are added up before the state is
STEP = 8  # rows that are added up before their sums are stored
SAMPLE = 64  # rows of the first block that the first centre is the mean of
# The square of the distance of mean and centre, in variances, that is let pass. It costs the sum
# of powers 12 less than one digit where the distribution is normal, and 1.5 at the worst.
NEAR = 0.1
# The work array holds, for each lane, STEP differences from the centre, and then these lines: in
# that order, for a compiler that sees nothing written that is read further on will vectorise. A
# line is longer than LANES: loads at 4096 bytes from a store would wait for it.
PITCH = LANES + 8
W_CENTRE, W_COUNT, W_LOW, W_HIGH, W_ZEROS, W_SUMS = range(STEP, STEP + 6)
W_LINES = W_SUMS + MAX_ORDER

# A product and a sum may be one operation; nothing else is taken lightly, NaN and inf least.
_jit = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})


@_jit
def _one_to_six(flat, at, stride, width, work):  # type: ignore[no-untyped-def]
    """Add STEP rows: extremes, zeros, differences from the centre, sums of powers 1 to 6."""
    at, stride = uint64(at), uint64(stride)  # unsigned: no test for negative indices
    for lane in range(width):
        centre = work[W_CENTRE * PITCH + lane]
        low, high = work[W_LOW * PITCH + lane], work[W_HIGH * PITCH + lane]
        zeros, s1, s2, s3, s4, s5, s6 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for r in range(STEP):
            x = np.float64(flat[at + uint64(r) * stride + uint64(lane)])
            low = x if x < low else low
            high = x if x > high else high
            zeros += 1.0 if x == 0.0 else 0.0
            y = x - centre
            work[r * PITCH + lane] = y
            y2 = y * y
            y3 = y2 * y
            s1 += y
            s2 += y2
            s3 += y3
            s4 += y2 * y2
            s5 += y2 * y3
            s6 += y3 * y3
        work[W_LOW * PITCH + lane] = low
        work[W_HIGH * PITCH + lane] = high
        work[W_ZEROS * PITCH + lane] += zeros
        work[W_SUMS * PITCH + lane] += s1
        work[(W_SUMS + 1) * PITCH + lane] += s2
        work[(W_SUMS + 2) * PITCH + lane] += s3
        work[(W_SUMS + 3) * PITCH + lane] += s4
        work[(W_SUMS + 4) * PITCH + lane] += s5
        work[(W_SUMS + 5) * PITCH + lane] += s6


@_jit
def _seven_to_twelve(width, work):  # type: ignore[no-untyped-def]
    """Add powers 7 to 12 of the rows that `_one_to_six` has read."""
    for lane in range(width):
        s7, s8, s9, s10, s11, s12 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for r in range(STEP):
            y = work[r * PITCH + lane]
            y2 = y * y
            y3 = y2 * y
            y6 = y3 * y3
            y8 = y6 * y2
            s7 += y6 * y
            s8 += y8
            s9 += y6 * y3
            s10 += y8 * y2
            s11 += y8 * y3
            s12 += y6 * y6
        work[(W_SUMS + 6) * PITCH + lane] += s7
        work[(W_SUMS + 7) * PITCH + lane] += s8
        work[(W_SUMS + 8) * PITCH + lane] += s9
        work[(W_SUMS + 9) * PITCH + lane] += s10
        work[(W_SUMS + 10) * PITCH + lane] += s11
        work[(W_SUMS + 11) * PITCH + lane] += s12


@_jit
def _one(flat, at, width, order, work):  # type: ignore[no-untyped-def]
    """Add one row, of those that are left when all steps of STEP rows are done."""
    for lane in range(width):
        x = np.float64(flat[at + lane])
        work[W_LOW * PITCH + lane] = min(work[W_LOW * PITCH + lane], x)
        work[W_HIGH * PITCH + lane] = max(work[W_HIGH * PITCH + lane], x)
        work[W_ZEROS * PITCH + lane] += 1.0 if x == 0.0 else 0.0
        work[lane] = x - work[W_CENTRE * PITCH + lane]
        work[PITCH + lane] = 1.0
    for i in range(order):
        for lane in range(width):
            work[PITCH + lane] *= work[lane]
            work[(W_SUMS + i) * PITCH + lane] += work[PITCH + lane]


@_jit
def _find_centres(flat, at, stride, rows, width, first, state):  # type: ignore[no-untyped-def]
    """Give columns that have no values yet the mean of some rows as a centre."""
    step = max(1, rows // SAMPLE)
    for lane in range(width):
        if state[COUNT, first + lane] > 0.0:
            continue
        count, origin, total = 0, 0.0, 0.0
        for r in range(0, rows, step):
            x = np.float64(flat[at + r * stride + lane])
            if abs(x) < np.inf:
                origin = x if count == 0 else origin
                total += x - origin
                count += 1
        state[CENTRE, first + lane] = origin + total / max(count, 1)


@_jit
def _sum_lightly(flat, at, stride, rows, width, first, state, work):  # type: ignore[no-untyped-def]
    """Sum a block about the centres of the state, with no thought of what the values are."""
    order = state.shape[0] - SUMS
    _find_centres(flat, at, stride, rows, width, first, state)
    work[W_ZEROS * PITCH :] = 0.0
    for lane in range(width):
        work[W_CENTRE * PITCH + lane] = state[CENTRE, first + lane]
        work[W_LOW * PITCH + lane] = np.inf
        work[W_HIGH * PITCH + lane] = -np.inf
    whole = rows // STEP * STEP
    for row in range(0, whole, STEP):
        _one_to_six(flat, at + row * stride, stride, width, work)
        if order > 6:
            _seven_to_twelve(width, work)
    for row in range(whole, rows):
        _one(flat, at + row * stride, width, order, work)


@_jit
def _keep_sound(rows, width, first, state, work, which):  # type: ignore[no-untyped-def]
    """Clear lanes that are not finite or take the mean far from the centre; list and count them."""
    wrong = 0
    for lane in range(width):
        square = work[(W_SUMS + 1) * PITCH + lane]
        s1 = state[SUMS, first + lane] + work[W_SUMS * PITCH + lane]
        s2 = state[SUMS + 1, first + lane] + square
        near = s1 * s1 <= NEAR * (state[WEIGHT, first + lane] + rows) * s2
        which[lane] = 0 if near and square < np.inf else 1
        wrong += which[lane]
        work[W_COUNT * PITCH + lane] = rows
    if wrong == 0:
        return 0
    wrong = 0
    for lane in range(width):
        if which[lane] == 1:
            for line in range(W_COUNT, W_LINES):
                work[line * PITCH + lane] = 0.0
            work[W_LOW * PITCH + lane] = np.inf
            work[W_HIGH * PITCH + lane] = -np.inf
            which[wrong] = lane
            wrong += 1
    return wrong


@_jit
def _accept(width, first, state, work):  # type: ignore[no-untyped-def]
    """Add a block that was summed lightly to the state."""
    for lane in range(width):
        j = first + lane
        rows = work[W_COUNT * PITCH + lane]
        state[COUNT, j] += rows
        state[WEIGHT, j] += rows
        state[SQUARES, j] += rows
        state[ZEROS, j] += work[W_ZEROS * PITCH + lane]
        state[ZERO_WEIGHT, j] += work[W_ZEROS * PITCH + lane]
        state[LOW, j] = min(state[LOW, j], work[W_LOW * PITCH + lane])
        state[HIGH, j] = max(state[HIGH, j], work[W_HIGH * PITCH + lane])
    for i in range(state.shape[0] - SUMS):
        for lane in range(width):
            state[SUMS + i, first + lane] += work[(W_SUMS + i) * PITCH + lane]


@_jit
def _load(flat, at, stride, which, out):  # type: ignore[no-untyped-def]
    for r in range(out.shape[0]):
        for k in range(out.shape[1]):
            out[r, k] = np.float64(flat[at + r * stride + which[k]])


@_jit
def _describe(x, w, rows, width, part):  # type: ignore[no-untyped-def]
    """Count and weigh a block; set the weight of what is not finite to 0, and x to the centre."""
    for line in range(part.shape[0]):
        if line != CENTRE:
            part[line, :width] = np.inf if line == LOW else -np.inf if line == HIGH else 0.0
    for r in range(rows):
        for lane in range(width):
            value, there = x[r, lane], w[r, lane] > 0.0
            finite = there and abs(value) < np.inf
            zero = finite and value == 0.0
            weight = w[r, lane] if finite else 0.0
            part[COUNT, lane] += 1.0 if finite else 0.0
            part[NANS, lane] += 1.0 if there and value != value else 0.0
            part[INFS, lane] += 1.0 if there and abs(value) == np.inf else 0.0
            part[ZEROS, lane] += 1.0 if zero else 0.0
            part[WEIGHT, lane] += weight
            part[SQUARES, lane] += weight * weight
            part[ZERO_WEIGHT, lane] += weight if zero else 0.0
            low = value if finite else np.inf
            high = value if finite else -np.inf
            part[LOW, lane] = low if low < part[LOW, lane] else part[LOW, lane]
            part[HIGH, lane] = high if high > part[HIGH, lane] else part[HIGH, lane]
            value = value if finite else part[CENTRE, lane]
            x[r, lane] = value
            w[r, lane] = weight
            part[SUMS, lane] += weight * (value - part[CENTRE, lane])


@_jit
def _sum_weighted(x, w, rows, width, part):  # type: ignore[no-untyped-def]
    """Sum the powers of a block that was described about its own means; x and w are used up."""
    for lane in range(width):
        if part[COUNT, lane] > 0.0:
            part[CENTRE, lane] += part[SUMS, lane] / part[WEIGHT, lane]
        part[SUMS, lane] = 0.0
    for r in range(rows):
        for lane in range(width):
            x[r, lane] = x[r, lane] - part[CENTRE, lane] if w[r, lane] > 0.0 else 0.0
        for i in range(SUMS, part.shape[0]):
            for lane in range(width):
                w[r, lane] *= x[r, lane]
                part[i, lane] += w[r, lane]


@_jit
def _add_with_care(x, w, first, which, state):  # type: ignore[no-untyped-def]
    """Add a block x, weighted w, both of shape (rows, width) and used up: two passes and a merge.

    Lane k is column first + which[k] of the state.
    """
    rows, width = x.shape
    part = np.empty((state.shape[0], LANES))
    ours, theirs = np.empty(MAX_ORDER + 1), np.empty(MAX_ORDER + 1)
    for lane in range(width):
        j = first + which[lane]
        part[CENTRE, lane] = state[CENTRE, j]
        if state[COUNT, j] == 0.0:
            for r in range(rows):
                if w[r, lane] > 0.0 and abs(x[r, lane]) < np.inf:
                    part[CENTRE, lane] = x[r, lane]
                    break
    _describe(x, w, rows, width, part)
    _sum_weighted(x, w, rows, width, part)
    for lane in range(width):
        merge_column(state, first + which[lane], part, lane, ours, theirs)


@_jit
def update(flat, rows, row_stride, columns, weights, state):  # type: ignore[no-untyped-def]
    """Add rows to a state, block by block.

    Parameters
    ----------
    flat : contiguous float32 or float64 array, read only
        Value j of row i is flat[i row_stride + j].
    weights : contiguous float64 array, read only
        Laid out like `flat`; empty where all weights are 1.
    state : (lines, side columns)
        Value j of row i goes to the column (i mod side) columns + j, so side > 1 needs
        row_stride = columns.
    """
    work, which = np.empty(W_LINES * PITCH), np.empty(LANES, np.int64)
    lanes = state.shape[1]
    side = lanes // columns
    stride = side * row_stride
    whole = rows // side
    left = (rows - whole * side) * columns  # values of a last row of lanes that is not full
    block = min(BLOCK, RUN // side)
    blocks = -(-whole // block)
    for number in range(blocks + (1 if left > 0 else 0)):
        full = number < blocks
        row = number * block if full else whole
        some, here = (min(block, whole - row), lanes) if full else (1, left)
        for first in range(0, here, LANES):
            at, width = row * stride + first, min(LANES, here - first)
            wrong = width
            if len(weights) == 0:
                _sum_lightly(flat, at, stride, some, width, first, state, work)
                wrong = _keep_sound(some, width, first, state, work, which)
                _accept(width, first, state, work)
            else:
                which[:] = np.arange(LANES)
            if wrong > 0:
                x, w = np.empty((some, wrong)), np.ones((some, wrong))
                _load(flat, at, stride, which, x)
                if len(weights) > 0:
                    _load(weights, at, stride, which, w)
                _add_with_care(x, w, first, which, state)
