"""What sorted columns tell beside their ranks: a robust scale, and soft shares at any points.

The soft share of a column x_1 <= ... <= x_n at a point t is

    F(t) = (1/n) sum_j sigmoid(rate (t - x_j)),

at the x_i their soft counts over n. Between two neighbours a < b, F is made of what these two (each
as often as it is tied) have by themselves, exactly, and of what all others have, f(t) but for the
number of those below. Of these the nearest terms of a series of exponentials dominate, which solves
f'' = rate^2 f, hence

    f(t) = (f(a) sinh(rate (b - t)) + f(b) sinh(rate (t - a))) / sinh(rate (b - a)),

a line where the neighbours are near, and an exponential decay from each where they are far apart,
or beyond the ends. It is held between f(a) and f(b).
"""

from __future__ import annotations

import numpy as np

from distfit_nn.copula.chain_kernel import gap
from distfit_nn.copula.vector_math import compiled, decay, summing

TENTH = 0.1  # the quantiles of the scale are at this share from either end
WIDTH = 2.5631031310892007  # of a standard normal variable, between these
FASTEST = 1e300  # of rates, so that twice as much is finite
NEAR = 1e-6  # gaps below which sinh is a line


@compiled
def quantile(ordered, share):  # type: ignore[no-untyped-def]
    """Return half a quantile of a sorted column, on a line between the values next to it."""
    place = share * (len(ordered) - 1)
    i = min(int(place), len(ordered) - 1)
    low, high = 0.5 * ordered[i], 0.5 * ordered[min(i + 1, len(ordered) - 1)]
    return low if low == high else low + (place - i) * (high - low)


@compiled
def deviation(ordered):  # type: ignore[no-untyped-def]
    """Return the standard deviation of a sorted column that is not constant, without overflow."""
    n = len(ordered)
    base = 0.5 * ordered[0]
    reach = 0.5 * ordered[n - 1] - base
    mean = 0.0
    for i in range(n):
        mean += (0.5 * ordered[i] - base) / reach / n
    square = 0.0
    for i in range(n):
        away = (0.5 * ordered[i] - base) / reach - mean
        square += away * away / n
    return 2.0 * reach * np.sqrt(square)


@compiled
def relative_rates(ordered, bad, strengths, floor, scales, rates):  # type: ignore[no-untyped-def]
    """Write the scales of sorted columns (m, n), never below the floor, and strengths over these.

    A constant column has the rate 0: it has no gradient. A column whose scale is infinite is marked
    as bad.
    """
    m, n = ordered.shape
    for j in range(m):
        row = ordered[j]
        scales[j], rates[j] = (np.nan, 1.0) if bad[j] else (floor, 0.0)
        if bad[j] or row[0] == row[n - 1]:
            continue
        scale = 2.0 * (quantile(row, 1.0 - TENTH) - quantile(row, TENTH)) / WIDTH
        if scale == 0.0:
            scale = deviation(row)
        scales[j] = np.hypot(scale, floor)
        bad[j] = not scales[j] < np.inf
        rates[j] = 1.0 if bad[j] else min(strengths[j] / scales[j], FASTEST)


@compiled
def first_above(ordered, value, low):  # type: ignore[no-untyped-def]
    """Return how many values are not above one; `low` of them are known."""
    high = len(ordered)
    while low < high:
        middle = (low + high) >> 1
        if ordered[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def first_equal(ordered, place):  # type: ignore[no-untyped-def]
    """Return the place of the first of the values that are equal to that at a place."""
    value, low, high = ordered[place], 0, place
    if place == 0 or ordered[place - 1] != value:
        return place
    while low < high:
        middle = (low + high) >> 1
        if ordered[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def place_knots(ordered, rate, knots, places, gaps):  # type: ignore[no-untyped-def]
    """Write how many values are below each knot or at it, and the gaps to the neighbours (2, K)."""
    n, place = len(ordered), 0
    for k in range(len(knots)):
        place = first_above(ordered, knots[k], place)
        places[k] = place
        gaps[0, k] = gap(np.float64(ordered[place - 1]), knots[k], rate) if place > 0 else np.inf
        gaps[1, k] = gap(knots[k], np.float64(ordered[place]), rate) if place < n else np.inf


@compiled
def between(below, above, first, a, b, near_a, near_b, gap_a, gap_b):  # type: ignore[no-untyped-def]
    """Return the soft count at a point from those at its neighbours, `below` and `above`.

    `first` points are below the lower neighbour, which is `a` points, the upper one `b`; `near_a`
    and `near_b` are exp(-gap) to these.
    """
    both = near_a * near_b
    f_a = below - 0.5 * a - b * both / (1.0 + both) - first
    f_b = above - 0.5 * b - a / (1.0 + both) - first
    if gap_a + gap_b < NEAR:
        share = gap_a / (gap_a + gap_b) if gap_a > 0.0 else 0.0
        f = f_a + share * (f_b - f_a)
    else:
        f = f_a * near_a * (1.0 - near_b * near_b) + f_b * near_b * (1.0 - near_a * near_a)
        f /= 1.0 - both * both
    f = min(max(f, min(f_a, f_b)), max(f_a, f_b))
    return first + f + a / (1.0 + near_a) + b * near_b / (1.0 + near_b)


@compiled
def shares_of_column(ordered, counts, rate, knots, places, gaps, near, shares):  # type: ignore[no-untyped-def]
    """Write the soft shares of a sorted column with soft counts at knots that go up."""
    n, most = len(ordered), 0.0
    place_knots(ordered, rate, knots, places, gaps)
    for k in range(len(knots)):
        near[0, k], near[1, k] = gaps[0, k], gaps[1, k]
    decay(near.reshape(-1), near.size)
    for k in range(len(knots)):
        place, e_a, e_b = places[k], near[0, k], near[1, k]
        start = first_equal(ordered, place - 1) if place > 0 else 0
        end = place
        if place < n:
            end = place + 1
            if end < n and ordered[end] == ordered[place]:
                end = first_above(ordered, ordered[place], end)
        a, b = place - start, end - place
        if b == 0:
            count = start + (counts[n - 1] - 0.5 * a - start) * e_a + a / (1.0 + e_a)
        elif a == 0:
            count = (counts[0] - 0.5 * b) * e_b + b * e_b / (1.0 + e_b)
        else:
            below, above = counts[place - 1], counts[place]
            count = between(below, above, start, a, b, e_a, e_b, gaps[0, k], gaps[1, k])
        most = max(most, min(count, float(n)))
        shares[k] = most / n


@compiled
def soft_shares(  # type: ignore[no-untyped-def]
    ordered, counts, bad, strengths, scales, knots, places, gaps, near, shares
):
    """Write the soft shares of sorted columns (m, n) at their knots (m, K); NaN if there is one."""
    for j in range(len(ordered)):
        if bad[j]:
            shares[j, :] = np.nan
            continue
        rate = min(strengths[j] / scales[j], FASTEST) if scales[j] > 0.0 else FASTEST
        shares_of_column(ordered[j], counts[j], rate, knots[j], places, gaps, near, shares[j])


@summing
def _line_sums(x, z):  # type: ignore[no-untyped-def]
    """Return the sums of d, d^2, z and d z, d = x - x_1."""
    first, total, squares, score, both = np.float64(x[0]), 0.0, 0.0, 0.0, 0.0
    for i in range(len(x)):
        d, s = np.float64(x[i]) - first, np.float64(z[i])
        total += d
        squares += d * d
        score += s
        both += d * s
    return total, squares, score, both


@compiled
def line_moments(x, z, out):  # type: ignore[no-untyped-def]
    """Write mean and variance of rows x (m, n), the mean of z, and the covariance, to (4, m)."""
    n = x.shape[1]
    for j in range(len(x)):
        total, squares, score, both = _line_sums(x[j], z[j])
        out[0, j], out[2, j] = x[j, 0] + total / n, score / n
        out[1, j] = max(squares - total * total / n, 0.0) / (n - 1)
        out[3, j] = (both - total * score / n) / (n - 1)
