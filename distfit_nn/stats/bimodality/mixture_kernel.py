"""The compiled fit of two normal components to sorted rows: EM, extrapolated, from several splits.

A row is standardised, and its values are joined into groups so narrow that a group has one
responsibility; the starts compete on the groups, and the best is brought to convergence on the
values themselves. Parameters stand in an array: the share of the first component, two means, two
variances, all in units of the row's own mean and standard deviation. Work arrays come from the
caller, so that a row costs no allocation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

_jit = njit(cache=True, nogil=True)

LEAST_RATIO = 0.05  # of the smaller to the larger standard deviation
GROUP_WIDTH = 0.02  # in standard deviations, or in quartile distances if these are less
STARTS = 7
SHORT = 12  # cycles of three EM steps for each start
LONG = 400  # cycles for the best of them, on groups
FINAL = 100  # and on the values
TOLERANCE = 1e-9  # gain of log-likelihood per value in a cycle that counts as none
_LOG_TWO_PI = math.log(2 * math.pi)


@_jit
def _standardise(row: Array, z: Array) -> tuple[float, float, float]:
    """Fill z with the standardised values; return centre, scale (0 if all are equal) and unit.

    The values are divided by `unit`, a power of two, before anything can overflow.
    """
    n = len(row)
    unit = 2.0 ** min(1000, max(-1000, math.frexp(max(-row[0], row[n - 1], 5e-324))[1]))
    origin, mean, square = row[n // 2] / unit, 0.0, 0.0
    for i in range(n):
        z[i] = row[i] / unit - origin
        mean += z[i]
    mean /= n
    for i in range(n):
        z[i] -= mean
        square += z[i] * z[i]
    scale = math.sqrt(square / n)
    if row[0] < row[n - 1] and scale > 0:
        for i in range(n):
            z[i] /= scale
        return origin + mean, scale, unit
    return origin, 0.0, unit


@_jit
def _group(z: Array, count: Array, mean: Array, spread: Array) -> int:
    """Join neighbours into groups; fill their counts, means and inner sums of squares."""
    n = len(z)
    quartiles = z[(3 * n) // 4] - z[n // 4]
    width = GROUP_WIDTH * (min(1.0, quartiles) if quartiles > 0 else 1.0)
    groups, first = 0, 0
    while first < n:
        last, total = first, 0.0
        while last < n and z[last] - z[first] <= width:
            total += z[last] - z[first]
            last += 1
        count[groups] = last - first
        mean[groups] = z[first] + total / (last - first)
        spread[groups] = 0.0
        for i in range(first, last):
            spread[groups] += (z[i] - mean[groups]) ** 2
        groups += 1
        first = last
    return groups


@_jit
def _variances(shares: Array, squares: Array, equal: bool) -> tuple[float, float]:
    """Return the variances that maximise the expected likelihood within the bound on their ratio.

    In the logarithms of the variances that likelihood is concave and the bound a half-plane: where
    it is broken, the best lies on its edge.
    """
    if equal:
        pooled = (squares[0] + squares[1]) / (shares[0] + shares[1])
        return pooled, pooled
    least = LEAST_RATIO * LEAST_RATIO
    first, second = squares[0] / shares[0], squares[1] / shares[1]
    if first < least * second:
        second = (squares[0] / least + squares[1]) / (shares[0] + shares[1])
        first = least * second
    elif second < least * first:
        first = (squares[0] + squares[1] / least) / (shares[0] + shares[1])
        second = least * first
    return first, second


@_jit
def _step(data: Array, count: Array, spread: Array, equal: bool, now: Array, then: Array) -> float:
    """Put one EM step from `now` into `then`; return the log-likelihood of `now`.

    Within a group each component loses spread / variance / 2, its share of the responsibility.
    """
    share, m1, m2, v1, v2 = now[0], now[1], now[2], now[3], now[4]
    start1 = math.log(share) - 0.5 * math.log(v1)
    start2 = math.log1p(-share) - 0.5 * math.log(v2)
    n = n1 = t1 = t2 = q1 = q2 = w1 = w2 = likelihood = 0.0
    for i in range(len(data)):
        a, b = data[i] - m1, data[i] - m2
        log1, log2 = start1 - 0.5 * a * a / v1, start2 - 0.5 * b * b / v2
        ratio = math.exp(-abs(log1 - log2))
        more = 1.0 / (1.0 + ratio)
        p = more if log1 > log2 else ratio * more
        c1 = count[i] * p
        c2 = count[i] - c1
        likelihood += count[i] * (max(log1, log2) - math.log(more))
        likelihood -= 0.5 * spread[i] * (p / v1 + (1 - p) / v2)
        n += count[i]
        n1 += c1
        t1 += c1 * a
        t2 += c2 * b
        q1 += c1 * a * a
        q2 += c2 * b * b
        w1 += p * spread[i]
        w2 += (1 - p) * spread[i]
    n1 = min(max(n1, 1e-9), n - 1e-9)
    n2 = n - n1
    shares = np.array([n1, n2])
    squares = np.array([q1 - t1 * t1 / n1 + w1, q2 - t2 * t2 / n2 + w2])
    then[0], then[1], then[2] = n1 / n, m1 + t1 / n1, m2 + t2 / n2
    then[3], then[4] = _variances(np.maximum(shares, 1e-9), np.maximum(squares, 0.0), equal)
    then[3], then[4] = max(then[3], 1e-18), max(then[4], 1e-18)
    return likelihood - 0.5 * n * _LOG_TWO_PI


@_jit
def _extrapolated(zero: Array, one: Array, two: Array, out: Array) -> bool:
    """Fill `out` with the squared extrapolation of two EM steps; False where it is inadmissible.

    Varadhan and Roland's third scheme, on the logit of the share, the means and the logarithms of
    the variances. A result that breaks the bound on the ratio of deviations is not taken.
    """
    a, b, c = np.empty(5), np.empty(5), np.empty(5)
    for source, target in ((zero, a), (one, b), (two, c)):
        target[0] = math.log(source[0]) - math.log1p(-source[0])
        target[1], target[2] = source[1], source[2]
        target[3], target[4] = math.log(source[3]), math.log(source[4])
    first, second = b - a, c - 2 * b + a
    bend = (second * second).sum()
    if bend == 0:
        return False
    length = min(-1.0, -math.sqrt((first * first).sum() / bend))
    found = a - 2 * length * first + length * length * second
    if not abs(found[0]) < 30 or not (abs(found[3]) < 40 and abs(found[4]) < 40):
        return False
    if abs(found[3] - found[4]) > -2 * math.log(LEAST_RATIO):
        return False
    out[0] = 1.0 / (1.0 + math.exp(-found[0]))
    out[1], out[2] = found[1], found[2]
    out[3], out[4] = math.exp(found[3]), math.exp(found[4])
    return True


@_jit
def _climb(
    data: Array, count: Array, spread: Array, equal: bool, best: Array, cycles: int
) -> tuple[float, bool]:
    """Raise the likelihood of `best`, in place; return it, and whether it has stopped to grow."""
    one, two, far, after = np.empty(5), np.empty(5), np.empty(5), np.empty(5)
    gain = TOLERANCE * count.sum()
    before = _step(data, count, spread, equal, best, one)
    for _ in range(cycles):
        _step(data, count, spread, equal, one, two)
        found = -np.inf
        if _extrapolated(best, one, two, far):
            found = _step(data, count, spread, equal, far, after)
        reached = _step(data, count, spread, equal, two, one)
        if found > reached:
            best[:], one[:], reached = far, after, found
        else:
            best[:] = two
        if reached - before < gain:
            return reached, True
        before = reached
    return before, False


@_jit
def _from_share(shares: Array, count: Array, mean: Array, spread: Array, out: Array) -> bool:
    """Fill `out` with the parameters of groups of which `shares` belong to the first component."""
    n, n1, t1, t2, q1, q2 = count.sum(), 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(len(count)):
        p = shares[i]
        n1 += p * count[i]
        t1 += p * count[i] * mean[i]
        t2 += (1 - p) * count[i] * mean[i]
        q1 += p * (count[i] * mean[i] * mean[i] + spread[i])
        q2 += (1 - p) * (count[i] * mean[i] * mean[i] + spread[i])
    if n1 <= 0 or n1 >= n:
        return False
    n2 = n - n1
    out[0], out[1], out[2] = n1 / n, t1 / n1, t2 / n2
    squares = np.array([q1 - t1 * t1 / n1, q2 - t2 * t2 / n2])
    out[3], out[4] = _variances(np.array([n1, n2]), np.maximum(squares, 1e-6 * n), False)
    return True


@_jit
def _nearest_means(count: Array, mean: Array) -> int:
    """Return how many groups are left of the split with the least squares within (two means)."""
    n, total = count.sum(), (count * mean).sum()
    below, summed, best, place = 0.0, 0.0, -1.0, 1
    for i in range(len(count) - 1):
        below += count[i]
        summed += count[i] * mean[i]
        between = (summed * n - below * total) ** 2 / (below * (n - below))
        if between > best:
            best, place = between, i + 1
    return place


@_jit
def _split(start: int, count: Array, mean: Array, shares: Array) -> None:
    """Fill `shares` for a start: two means, five quantiles, or the middle half against the rest."""
    n, groups = count.sum(), len(count)
    if start == 0:
        place = _nearest_means(count, mean)
        for i in range(groups):
            shares[i] = 1.0 if i < place else 0.0
        return
    levels = (0.5, 0.25, 0.75, 0.1, 0.9)
    below = 0.0
    for i in range(groups):
        middle = (below + 0.5 * count[i]) / n
        below += count[i]
        if start < STARTS - 1:
            shares[i] = 1.0 if middle < levels[start - 1] else 0.0
        else:
            shares[i] = 0.9 if 0.25 < middle < 0.75 else 0.1


@_jit
def _fit_row(
    z: Array, work: Array, ones: Array, zeros: Array, equal: bool, best: Array
) -> tuple[float, bool]:
    """Fill `best` with the fit of standardised values; return log-likelihood and convergence."""
    n = len(z)
    groups = _group(z, work[0], work[1], work[2])
    count, mean, spread = work[0, :groups], work[1, :groups], work[2, :groups]
    shares, trial, highest = work[3, :groups], np.empty(5), -np.inf
    for start in range(STARTS if groups > 1 else 0):
        _split(start, count, mean, shares)
        if not _from_share(shares, count, mean, spread, trial):
            continue
        if equal:
            trial[3] = trial[4] = trial[0] * trial[3] + (1 - trial[0]) * trial[4]
        reached, _ = _climb(mean, count, spread, equal, trial, SHORT)
        if reached > highest:
            highest = reached
            best[:] = trial
    if highest == -np.inf:
        return np.nan, False
    _climb(mean, count, spread, equal, best, LONG)
    return _climb(z, ones[:n], zeros[:n], equal, best, FINAL)


@_jit
def _distinct(row: Array, enough: int) -> bool:
    """Whether the ascending row has at least `enough` different values."""
    found = min(len(row), 1)
    for i in range(1, len(row)):
        if row[i] > row[i - 1]:
            found += 1
            if found >= enough:
                return True
    return found >= enough


@_jit
def fit_rows(rows: Array, counts: Array, equal: bool, out: Array, converged: Array) -> None:
    """Fit two normal components to each row.

    Parameters
    ----------
    rows, counts : as in `Rows`
    equal : bool
        Whether both components have the same variance.
    out : float64 array of shape (d, 8), filled
        Share of the component with the lower mean, two means, two standard deviations, twice the
        gain of log-likelihood over one normal component, centre and scale of the row. Means and
        deviations are in units of scale from the centre; NaN for fewer than 3 distinct values.
        Centre and scale are those of the row divided by the power of two that `unit_of` returns.
    converged : bool array of shape (d,), filled
    """
    size = rows.shape[1]
    z, work = np.empty(size), np.empty((4, size))
    ones, zeros = np.ones(size), np.zeros(size)
    best = np.empty(5)
    for j in range(rows.shape[0]):
        out[j] = np.nan
        converged[j] = False
        row = rows[j, : counts[j]]
        if not _distinct(row, 3):
            continue
        centre, scale, unit = _standardise(row, z)
        if scale == 0:
            continue
        n = len(row)
        likelihood, done = _fit_row(z[:n], work, ones, zeros, equal, best)
        if np.isnan(likelihood):
            continue
        converged[j] = done
        first = 0 if best[1] <= best[2] else 1
        out[j, 0] = best[0] if first == 0 else 1.0 - best[0]
        out[j, 1], out[j, 2] = best[1 + first], best[2 - first]
        out[j, 3], out[j, 4] = math.sqrt(best[3 + first]), math.sqrt(best[4 - first])
        out[j, 5] = max(0.0, 2 * likelihood + n * (1 + _LOG_TWO_PI))
        out[j, 6], out[j, 7] = centre * unit, scale * unit
