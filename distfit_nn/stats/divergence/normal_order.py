"""Means of the order statistics of N(0, 1), and the W_2 that its samples show by chance."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.special import betaln, log_ndtr, ndtri

from distfit_nn.stats.divergence.reference import StandardNormal
from distfit_nn.stats.rows import Float, Int

_OUTER = 60  # order statistics at either end whose means are integrated


@lru_cache(maxsize=256)
def normal_chance(n: int) -> float:
    """Root mean square of W_2 over samples from N(0, 1), from E W_2^2 = 2 - 2 mean(m_i e_i)."""
    means = StandardNormal().cells(n).means[0]
    return math.sqrt(2 - 2 * float(np.mean(means * normal_order_means(n))))


def normal_order_means(n: int) -> Float:
    """Return the mean e_i of the i-th of n values from N(0, 1) in ascending order, i = 1, ..., n.

    The outermost are integrated; for the others the quantile is expanded about i / (n + 1) with the
    moments of the beta law, to an error below 1e-7 (F. N. David and N. L. Johnson, Biometrika 41
    (1954)).
    """
    rank = np.arange(1, (n + 1) // 2 + 1)
    p = rank / (n + 1)
    z = ndtri(p)
    phi = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    spread = p * (1 - p) / (n + 2)
    slopes = z / phi**2, (1 + 2 * z**2) / phi**3, z * (7 + 6 * z**2) / phi**4
    skew = (1 - 2 * p) / (n + 2)
    lower = z + spread * (slopes[0] / 2 + skew * slopes[1] / 3 + spread * slopes[2] / 8)
    lower[:_OUTER] = _integrated_order_means(n, rank[:_OUTER])
    upper = -lower[::-1][n % 2 :]
    if n % 2:
        lower[-1] = 0.0
    return np.concatenate([lower, upper])


def _integrated_order_means(n: int, rank: Int) -> Float:
    """Return the means of these order statistics by the trapezoidal rule over 2,000 points."""
    z = np.linspace(-15, 9, 2001)
    tails = (rank - 1)[:, None] * log_ndtr(z) + (n - rank)[:, None] * log_ndtr(-z)
    log_density = tails - z * z / 2 - betaln(rank, n + 1 - rank)[:, None]
    return (z[1] - z[0]) / math.sqrt(2 * math.pi) * (np.exp(log_density) @ z)
