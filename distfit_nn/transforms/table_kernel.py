"""Compiled tables of knots: chosen from sorted columns, then looked up forward and back.

Columns lie in rows here, of values (m, n) and of tables (m, k). Row j of a table holds counts[j]
ascending knots. A value that stands once among the data is one knot; an atom, a value that stands
several times, is three: with the scores of its lower end, its middle and its upper end.
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
def _between(start, stop, share):  # type: ignore[no-untyped-def]
    """Return the point between two, which may be far apart; share lies in [0, 1]."""
    point = start + 2.0 * share * (0.5 * stop - 0.5 * start)
    return min(max(point, start), stop)


@compiled
def _share(low, high, value):  # type: ignore[no-untyped-def]
    """Return where a value lies between two that differ, which may be far apart."""
    whole = 0.5 * high - 0.5 * low
    return (0.5 * value - 0.5 * low) / whole if whole > 0.0 else 0.5


@compiled
def _clipped(value, limits, j):  # type: ignore[no-untyped-def]
    return min(max(value, limits[0, j]), limits[1, j])


@compiled
def forward(x, values, scores, counts, slopes, limits, below):  # type: ignore[no-untyped-def]
    """Replace the values x (m, n) by their scores, each row by its own table.

    A value that is a knot gets its score, an atom that of its middle; others get those of straight
    lines. Beyond the ends lines of slopes (2, m) dx/dy go on until limits (2, m); where a slope is
    0 the end's score is held. Rows without knots become NaN, and NaN stays. `below` is room for
    whole numbers, as many as are searched for at once.
    """
    m, n = x.shape
    for j in range(m):
        end = counts[j] - 1
        if end < 0:
            x[j, :] = float("nan")
            continue
        for first in range(0, n, len(below)):
            last = min(first + len(below), n)
            _locate(x, j, first, last, values, end + 1, below)
            for i in range(first, last):
                value, k = float(x[j, i]), np.int64(below[i - first]) - 1
                if k < 0:
                    if value == value:
                        step = (value - values[j, 0]) / slopes[0, j] if slopes[0, j] > 0.0 else 0.0
                        x[j, i] = _clipped(scores[j, 0] + step, limits, j)
                elif values[j, k] == value:
                    atom = k > 1 and values[j, k - 2] == value
                    x[j, i] = scores[j, k - 1 if atom else k]
                elif k == end:
                    step = (value - values[j, k]) / slopes[1, j] if slopes[1, j] > 0.0 else 0.0
                    x[j, i] = _clipped(scores[j, k] + step, limits, j)
                else:
                    share = _share(values[j, k], values[j, k + 1], value)
                    x[j, i] = _between(scores[j, k], scores[j, k + 1], share)


@compiled
def inverse(y, values, scores, counts, slopes, ends, limits, below):  # type: ignore[no-untyped-def]
    """Replace the scores y (m, n) by their values: the inverse of `forward`.

    Scores within those of an atom give its value. Those beyond the target's ends (2, m) count as
    these ends; values stay within limits (2, m).
    """
    m, n = y.shape
    for j in range(m):
        end = counts[j] - 1
        if end < 0:
            y[j, :] = float("nan")
            continue
        for first in range(0, n, len(below)):
            last = min(first + len(below), n)
            for i in range(first, last):
                if y[j, i] == y[j, i]:
                    y[j, i] = _clipped(y[j, i], ends, j)
            _locate(y, j, first, last, scores, end + 1, below)
            for i in range(first, last):
                score, k = float(y[j, i]), np.int64(below[i - first]) - 1
                if k < 0:
                    if score == score:
                        y[j, i] = _clipped(
                            values[j, 0] + (score - scores[j, 0]) * slopes[0, j], limits, j
                        )
                elif scores[j, k] == score:
                    y[j, i] = values[j, k]
                elif k == end:
                    y[j, i] = _clipped(
                        values[j, k] + (score - scores[j, k]) * slopes[1, j], limits, j
                    )
                else:
                    share = _share(scores[j, k], scores[j, k + 1], score)
                    y[j, i] = _between(values[j, k], values[j, k + 1], share)
