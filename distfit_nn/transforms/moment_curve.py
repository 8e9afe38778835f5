"""z -> Phi^-1(F(z)) of densities exp(polynomial), at given nodes, without a table and without end.

Masses are summed as logarithms: a tail of mass exp(-1000) still has its score, -44.6.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtri_exp

from distfit_nn.maxent.basis import hermite, legendre_rule

Array = NDArray[np.float64]

ROOM = 1.2  # the support reaches so much further than the data, which end where the formula does
LAST = 3.0  # score: 0.13% of the mass lies beyond
POINTS = 12  # of the rule in each cell between nodes
LOG_ROOT = 0.5 * float(np.log(2 * np.pi))


def curve(multipliers: Array, radius: Array, z: Array) -> tuple[Array, Array]:
    """Return Phi^-1(F_j(z)) and its derivative at increasing nodes z (W,), each (W, d).

    F_j is the distribution function of the density proportional to exp(sum_i multipliers[i-1, j]
    h_i(z)) on [-radius_j, radius_j], h_i the scaled Hermite polynomials. Beyond the scores +-3, or
    where the formula ends before these, it goes on with the mean slope from the node nearest to 0:
    what a density says of its outermost tails is a guess that few rows support, and a steep one.
    """
    edges = np.concatenate([-radius[None], np.clip(z[:, None], -radius, radius), radius[None]])
    with np.errstate(all="ignore"):
        cells = _log_masses(multipliers, edges)
        lower = np.logaddexp.accumulate(cells, axis=0)[:-1]
        upper = np.logaddexp.accumulate(cells[::-1], axis=0)[::-1][1:]
        whole = np.logaddexp(lower[0], upper[0])
        below = lower < upper
        score = ndtri_exp(np.minimum(np.where(below, lower, upper) - whole, 0.0))
        values = np.where(below, score, -score)
        log_p = _exponent(multipliers, edges[1:-1]) - whole
        slopes = np.exp(log_p + values**2 / 2 + LOG_ROOT)
    good = np.isfinite(values) & np.isfinite(slopes) & (np.abs(z)[:, None] <= radius / ROOM)
    return _continued(values, slopes, good, z)


def _exponent(multipliers: Array, z: Array) -> Array:
    """Return sum_i multipliers[i-1, j] h_i(z), for z of shape (..., d)."""
    return np.asarray(np.einsum("i...d,id->...d", hermite(z, len(multipliers))[1:], multipliers))


def _log_masses(multipliers: Array, edges: Array) -> Array:
    """Return the logarithm of the integral over each cell (W + 1, d), -inf for one of no width."""
    points, weights = legendre_rule(POINTS)
    half = np.diff(edges, axis=0) / 2
    middle = edges[:-1] + half
    total = 0.0
    exponents = np.stack([_exponent(multipliers, middle + half * point) for point in points])
    total = logsumexp(exponents, axis=0, b=weights[:, None, None])
    return np.where(half > 0, total + np.log(half), -np.inf)


def _continued(
    values: Array, slopes: Array, good: NDArray[np.bool_], z: Array
) -> tuple[Array, Array]:
    """Return values and slopes with straight lines beyond the scores +-LAST.

    A line starts where the curve has that score, or at the last good node where that comes before.
    """
    middle = int(np.argmin(np.abs(z)))
    good = good & (np.abs(values) < LAST)
    for side in (1, -1):
        inner = slice(middle, None) if side > 0 else slice(middle, None, -1)
        reached = np.logical_and.accumulate(good[inner], axis=0).sum(axis=0) - 1
        end = middle + side * np.maximum(reached, 0)
        start, score = _crossing(values, slopes, z, end, side)
        with np.errstate(all="ignore"):
            slope = (score - values[middle]) / (start - z[middle])
        slope = np.where(np.isfinite(slope) & (slope > 0), slope, 1.0)
        beyond = side * (np.arange(len(z))[:, None] - end) > 0
        values = np.where(beyond, score + slope * (z[:, None] - start), values)
        slopes = np.where(beyond, slope, slopes)
    return values, slopes


def _crossing(
    values: Array, slopes: Array, z: Array, end: NDArray[np.intp], side: int
) -> tuple[Array, Array]:
    """Return where (d,) the curve has the score +-LAST, after the node `end`, and that score.

    By Hermite's cubic for z as a function of the score between that node and the next. Where the
    curve does not get there, the node and its score.
    """
    columns = np.arange(len(end))
    after = np.clip(end + side, 0, len(z) - 1)
    v0, v1, s0, s1 = values[end, columns], values[after, columns], *slopes[[end, after], columns]
    with np.errstate(all="ignore"):
        rise, gap = v1 - v0, z[after] - z[end]
        t = (side * LAST - v0) / rise
        m0, m1 = rise / s0, rise / s1
        step = t * (m0 + t * ((3 * gap - 2 * m0 - m1) + t * (m0 + m1 - 2 * gap)))
        crosses = (t > 0) & (t <= 1) & (side * step > 0) & (side * step <= side * gap)
    return np.where(crosses, z[end] + step, z[end]), np.where(crosses, side * LAST, v0)
