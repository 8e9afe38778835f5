"""Compiled tables of knots: chosen from sorted columns, and looked up.

Columns lie in rows here, of values (m, n) and of tables (m, k), which hold as many ascending knots
as there are, from the start of a row. A value that stands once among the data is one knot; an atom,
a value that stands several times, is three: for the scores of its lower end, its middle and its
upper end.
"""

from __future__ import annotations

import numpy as np

from distfit_nn.copula.vector_math import compiled


@compiled
def choose(ordered, rows, present, places, values, below, counts):  # type: ignore[no-untyped-def]
    """Write the knots of sorted rows at ascending places, and how many values lie below each.

    Parameters
    ----------
    ordered : (m, n)
        Of which the first `present` of a row are there, ascending.
    rows : (r,)
        Which rows to take.
    places : (p,)
        The places of values to take; each takes all that are equal with it.
    values, below : (m, 3 p)
        Filled from the start of a row, counts[j] of row j.
    """
    for j in rows:
        count = 0
        end = 0
        for place in places:
            if place < end:
                continue
            value = ordered[j, place]
            first, end = place, place + 1
            while first > 0 and ordered[j, first - 1] == value:
                first -= 1
            while end < present and ordered[j, end] == value:
                end += 1
            if end - first > 1:
                values[j, count], below[j, count] = value, first + 0.5
                values[j, count + 1], below[j, count + 1] = value, 0.5 * (first + end)
                count += 2
            values[j, count], below[j, count] = value, end - 0.5
            count += 1
        counts[j] = count


@compiled
def _locate(x, j, first, last, knots, count, below):  # type: ignore[no-untyped-def]
    """Write how many of the `count` ascending knots of row j are at most x, for part of row j.

    All values are searched for at once, each step by halves: without branches, and with indices of
    32 bits, the compiler makes vector instructions of it, six times as fast as one by one.
    """
    m = last - first
    one = np.uint32(1)
    for i in range(m):
        below[i] = np.uint32(0)
    left = count
    while left > 1:
        half = np.uint32(left // 2)
        for i in range(m):
            here = below[i]
            there = here + half
            below[i] = there if knots[j, there - one] <= x[j, first + i] else here
        left -= left // 2
    for i in range(m):
        here = below[i]
        below[i] = here + one if knots[j, here] <= x[j, first + i] else here


@compiled
def _along(value, low, high, start, stop):  # type: ignore[no-untyped-def]
    """Return what the line from (low, start) to (high, stop) has at a value between low and high.

    Either pair may be far apart, or one number.
    """
    whole = 0.5 * high - 0.5 * low
    share = (0.5 * value - 0.5 * low) / (whole if whole > 0.0 else 1.0)
    point = start + 2.0 * share * (0.5 * stop - 0.5 * start)
    return point if point < stop else stop


@compiled
def _beyond(value, knot, start, held, rate):  # type: ignore[no-untyped-def]
    """Return what the line from (knot, start) has at a value, or what is held if it is flat."""
    return start + (value - knot) * rate if rate > 0.0 else held


@compiled
def _clipped(value, limits, j):  # type: ignore[no-untyped-def]
    return min(max(value, limits[0, j]), limits[1, j])


@compiled
def look_up(x, knots, ends, to, at, rates, limits, below, out):  # type: ignore[no-untyped-def]
    """Write what the values x (m, n) are mapped to, each row by its own table.

    Parameters
    ----------
    x : (m, n)
        NaN stays.
    knots, to, at : (m, k)
        Between two knots a value is mapped to the straight line between their entries of `to`; a
        knot itself to its entry of `at`, the last one if there are several.
    ends : (m,)
        How many knots a row has; rows without any become NaN.
    rates, limits : (2, m)
        Beyond the first and the last knot lines of these slopes go on; where a slope is 0, values
        count as the knot. All stays within limits, so that it is finite in the dtype of `out`.
    below : (b,) uint32
        Room: so many values are searched for at once.
    out : (m, n)
    """
    m, n = x.shape
    for j in range(m):
        end = ends[j] - 1
        if end < 0:
            out[j, :] = float("nan")
            continue
        for first in range(0, n, len(below)):
            last = min(first + len(below), n)
            _locate(x, j, first, last, knots, end + 1, below)
            for i in range(first, last):  # without branches, as most values lie inside
                value, k = float(x[j, i]), np.int64(below[i - first])
                k = k - 1 if k > 0 else k
                after = k + 1 if k < end else k
                low, exact = knots[j, k], at[j, k]
                point = _along(value, low, knots[j, after], to[j, k], to[j, after])
                out[j, i] = _clipped(exact if low == value else point, limits, j)
            for i in range(first, last):
                value, k = float(x[j, i]), np.int64(below[i - first]) - 1
                if k < 0 and value == value:
                    out[j, i] = _clipped(
                        _beyond(value, knots[j, 0], to[j, 0], at[j, 0], rates[0, j]), limits, j
                    )
                elif k < 0:
                    out[j, i] = value
                elif k == end and knots[j, k] != value:
                    out[j, i] = _clipped(
                        _beyond(value, knots[j, k], to[j, k], at[j, k], rates[1, j]), limits, j
                    )
