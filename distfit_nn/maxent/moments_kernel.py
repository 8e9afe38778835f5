"""The compiled sums of powers of columns, at the speed at which memory is read.

Values are read once, as y = x / unit - centre with a provisional centre and a unit that is a power
of two, so that powers of very large and very small values stay in range. Where the centre is within
half a standard deviation of the mean, moments about the mean follow with the loss of few digits.

Rows are summed over `LANES`: consecutive values of memory, of one row of many columns, of a few
rows of few columns, or of one column that lies contiguously. Every inner loop runs over lanes with
constant distances between what it reads and writes, which is what lets the compiler vectorise it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, uint64

MAX_ORDER = 12
# Lines of the array that holds what is known of columns, one column of it for each.
CENTRE, INVERSE, LOW, HIGH = range(4)
SUMS = 4  # first of the sums of y^1, ..., y^12
LINES = SUMS + MAX_ORDER

LANES = 128
ROWS = 8  # rows that are added up before their sums are stored
FOLD = (
    4096  # rows of lanes after which the lanes' sums go to the columns: errors do not grow with n
)
# The work array holds, for each lane, the y of ROWS rows and then the lines above: in that order,
# for a compiler that sees nothing written that is read further on will vectorise. A line is longer
# than LANES: loads at 4096 bytes from a store would wait for it.
PITCH = LANES + 8
W_CENTRE, W_INVERSE, W_LOW, W_HIGH, W_SUMS = (ROWS + line for line in range(SUMS + 1))

# The provisional centre may be off by about half a standard deviation, the unit by a factor 2^40.
NEAR = 0.2
SMALL = 2.0**-80

compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})


@compiled
def provisional(sample, state):  # type: ignore[no-untyped-def]
    """Write centre and inverse unit of each column, from some of its rows (m, d), and no sums."""
    rows, columns = sample.shape
    for line in range(SUMS, LINES):
        state[line] = 0.0
    mean, spread = np.zeros(columns), np.zeros(columns)
    for i in range(rows):
        for j in range(columns):
            mean[j] += np.float64(sample[i, j]) - np.float64(sample[0, j])
    for j in range(columns):
        mean[j] = np.float64(sample[0, j]) + mean[j] / rows
    for i in range(rows):
        for j in range(columns):
            spread[j] += abs(np.float64(sample[i, j]) - mean[j])
    for j in range(columns):
        size = spread[j] / rows if spread[j] > 0.0 else abs(mean[j])
        unit = 1.0
        if 0.0 < size < np.inf:
            exponent = math.frexp(size)[1]
            unit = math.ldexp(1.0, max(-1022, min(exponent, 1022)))
        state[INVERSE, j] = 1.0 / unit
        state[CENTRE, j] = mean[j] / unit
        state[LOW, j] = np.inf
        state[HIGH, j] = -np.inf


@compiled
def _four(flat, at, stride, width, work):  # type: ignore[no-untyped-def]
    """Add ROWS rows: range, y, and sums of powers 1 to 4."""
    at, stride = uint64(at), uint64(stride)  # unsigned: no test for negative indices
    for lane in range(width):
        low, high = work[W_LOW * PITCH + lane], work[W_HIGH * PITCH + lane]
        inverse, centre = work[W_INVERSE * PITCH + lane], work[W_CENTRE * PITCH + lane]
        s1, s2, s3, s4 = 0.0, 0.0, 0.0, 0.0
        for r in range(ROWS):
            x = np.float64(flat[at + uint64(r) * stride + uint64(lane)])
            low = x if x < low else low
            high = x if x > high else high
            y = x * inverse - centre
            work[r * PITCH + lane] = y
            y2 = y * y
            s1 += y
            s2 += y2
            s3 += y2 * y
            s4 += y2 * y2
        work[W_LOW * PITCH + lane] = low
        work[W_HIGH * PITCH + lane] = high
        work[W_SUMS * PITCH + lane] += s1
        work[(W_SUMS + 1) * PITCH + lane] += s2
        work[(W_SUMS + 2) * PITCH + lane] += s3
        work[(W_SUMS + 3) * PITCH + lane] += s4


@compiled
def _six(width, work):  # type: ignore[no-untyped-def]
    """Add powers 5 and 6 of the rows that `_four` has read."""
    for lane in range(width):
        s5, s6 = 0.0, 0.0
        for r in range(ROWS):
            y = work[r * PITCH + lane]
            y2 = y * y
            y4 = y2 * y2
            s5 += y4 * y
            s6 += y4 * y2
        work[(W_SUMS + 4) * PITCH + lane] += s5
        work[(W_SUMS + 5) * PITCH + lane] += s6


@compiled
def _twelve(width, work):  # type: ignore[no-untyped-def]
    """Add powers 7 to 12 of the rows that `_four` has read."""
    for lane in range(width):
        s7, s8, s9, s10, s11, s12 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for r in range(ROWS):
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


@compiled
def _one(flat, at, width, order, work):  # type: ignore[no-untyped-def]
    """Add one row, of those that are left when all blocks of ROWS rows are done."""
    for lane in range(width):
        x = np.float64(flat[at + lane])
        work[W_LOW * PITCH + lane] = min(work[W_LOW * PITCH + lane], x)
        work[W_HIGH * PITCH + lane] = max(work[W_HIGH * PITCH + lane], x)
        y = x * work[W_INVERSE * PITCH + lane] - work[W_CENTRE * PITCH + lane]
        power = 1.0
        for i in range(order):
            power *= y
            work[(W_SUMS + i) * PITCH + lane] += power


@compiled
def _load(state, first, columns, width, work):  # type: ignore[no-untyped-def]
    """Start lanes that hold `columns` columns from `first` on, over and over."""
    for lane in range(width):
        j = first + lane % columns
        for line in range(SUMS):
            work[(ROWS + line) * PITCH + lane] = state[line, j]
        for line in range(SUMS, LINES):
            work[(ROWS + line) * PITCH + lane] = 0.0


@compiled
def _fold(work, first, columns, width, order, state):  # type: ignore[no-untyped-def]
    """Move what the lanes have gathered to their columns."""
    for lane in range(width):
        j = first + lane % columns
        state[LOW, j] = min(state[LOW, j], work[W_LOW * PITCH + lane])
        state[HIGH, j] = max(state[HIGH, j], work[W_HIGH * PITCH + lane])
        for line in range(SUMS, SUMS + order):
            state[line, j] += work[(ROWS + line) * PITCH + lane]
            work[(ROWS + line) * PITCH + lane] = 0.0


@compiled
def _add(flat, at, stride, rows, width, order, work):  # type: ignore[no-untyped-def]
    """Add rows of `width` lanes, each `stride` values after the one before."""
    whole = rows // ROWS * ROWS
    for row in range(0, whole, ROWS):
        _four(flat, at + row * stride, stride, width, work)
        if order > 4:
            _six(width, work)
        if order > 6:
            _twelve(width, work)
    for row in range(whole, rows):
        _one(flat, at + row * stride, width, order, work)


@compiled
def accumulate(flat, rows, columns, row_stride, column_stride, order, state):  # type: ignore[no-untyped-def]
    """Add the values flat[i row_stride + j column_stride] to the state (LINES, columns).

    One of the strides is 1. Lanes are the rows of one column where row_stride is, else columns;
    those of as many rows side by side as there is room for, where rows follow each other.
    """
    work = np.empty((ROWS + LINES) * PITCH)
    most = 1 if row_stride == 1 else min(columns, LANES)
    dense = row_stride == most and (most == 1 or most == columns)
    side = max(1, min(LANES // most, rows // ROWS)) if dense else 1
    stride = side * row_stride
    for first in range(0, columns, most):
        some = min(most, columns - first)
        _load(state, first, some, side * some, work)
        row = 0
        while row < rows:
            here = min(FOLD, (rows - row) // side)
            width = side * some
            if here == 0:  # what is left of the last row of lanes
                here, width = 1, (rows - row) * some
            _add(flat, first * column_stride + row * row_stride, stride, here, width, order, work)
            row += here * (width // some)
            _fold(work, first, some, side * some, order, state)


@compiled
def standardise(state, total, to_hermite, near, small, mean, std, hermite):  # type: ignore[no-untyped-def]
    """Write mean, deviation and Hermite means; return how many columns are not to be trusted.

    Those have std NaN: their sums are not finite, or the square of (mean - centre) is more than
    `near` times the mean square about the centre, or that is out of proportion to the unit, by more
    than `small`. `total` (d,) counts the values, or their weights; `to_hermite` (order, order + 1)
    takes powers to h_1, ..., h_order.
    """
    order = len(hermite)
    top = max(order, 2)
    powers = np.empty(top + 1)
    refused = 0
    for j in range(state.shape[1]):
        unit, centre = 1.0 / state[INVERSE, j], state[CENTRE, j]
        powers[0] = 1.0
        for i in range(top):
            powers[i + 1] = state[SUMS + i, j] / total[j]
        size = powers[2]
        good = powers[1] * powers[1] <= near * size and small <= size <= 1.0 / small
        constant = size == 0.0 and state[LOW, j] == state[HIGH, j]
        if not ((good or constant) and abs(powers[top]) < np.inf):
            std[j] = np.nan
            refused += 1
            continue
        # The mean as it is rounded is what the moments are taken about: E (y - step)^i by
        # repeated differences, whose sum is the binomial theorem.
        rounded = centre + powers[1]
        step = rounded - centre
        for lowest in range(1, top + 1):
            for i in range(top, lowest - 1, -1):
                powers[i] -= step * powers[i - 1]
        mean[j] = rounded * unit
        deviation = np.sqrt(max(powers[2], 0.0))
        std[j] = deviation * unit
        scale = 1.0
        for i in range(1, order + 1):
            scale /= deviation
            powers[i] *= scale
        for i in range(order):
            value = 0.0
            for k in range(i + 2):
                value += to_hermite[i, k] * powers[k]
            hermite[i, j] = value
    return refused


@compiled
def count_distinct(flat, rows, columns, row_stride, column_stride, low, high, seen, out):  # type: ignore[no-untyped-def]
    """Count on, in `out`, the distinct values of each column; return how many are undecided.

    `seen` (columns, limit) holds those found so far. A column is read only until it reaches the
    limit; one whose range is a single value is left as it is. Values are finite.
    """
    limit = seen.shape[1]
    undecided = 0
    for j in range(columns):
        found = out[j]
        if low[j] == high[j] or found == limit:
            continue
        for i in range(rows):
            x = np.float64(flat[i * row_stride + j * column_stride])
            new = True
            for k in range(found):
                if seen[j, k] == x:
                    new = False
            if new:
                seen[j, found] = x
                found += 1
                if found == limit:
                    break
        out[j] = found
        undecided += found < limit
    return undecided


@compiled
def describe(values, share, seen, heaviest, low, high):  # type: ignore[no-untyped-def]
    """Find range, largest weight and distinct values of a block of float64 values (m, d).

    Values of weight 0 do not count. `seen` (d, limit) holds the distinct ones so far, then NaN.
    """
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            x, weight = values[i, j], share[i, j]
            if weight > 0.0:
                heaviest[j] = max(heaviest[j], weight)
                low[j] = min(low[j], x)
                high[j] = max(high[j], x)
                for k in range(seen.shape[1]):
                    if seen[j, k] == x:
                        break
                    if seen[j, k] != seen[j, k]:
                        seen[j, k] = x
                        break


@compiled
def accumulate_weighted(values, share, order, state, total):  # type: ignore[no-untyped-def]
    """Add weighted powers of y = x / unit - centre of a block of float64 values (m, d)."""
    rows, columns = values.shape
    part = np.zeros((order + 1, columns))
    y, weight = np.empty(columns), np.empty(columns)
    for i in range(rows):
        for j in range(columns):
            there = share[i, j] > 0.0
            weight[j] = share[i, j] if there else 0.0
            y[j] = values[i, j] * state[INVERSE, j] - state[CENTRE, j] if there else 0.0
        for k in range(order + 1):
            sums = part[k]
            for j in range(columns):
                sums[j] += weight[j]
                weight[j] *= y[j]
    total += part[0]
    for k in range(order):
        state[SUMS + k] += part[k + 1]
