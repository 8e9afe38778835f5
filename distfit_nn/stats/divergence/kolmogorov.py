"""Tails of the Kolmogorov-Smirnov statistic under the null, for many columns at once."""

from __future__ import annotations

import numpy as np
from scipy.special import kolmogorov, smirnov

from distfit_nn.stats.divergence.distances_kernel import path_tail
from distfit_nn.stats.rows import Float, Int

MEAN = 0.8687311606361592  # of sqrt(n) D in the limit: sqrt(pi / 2) log 2

_EXACT = 10  # largest n for which the law of D is computed exactly
_ONE_SIDED = 300  # largest n for which a small tail is taken from the one-sided law
_SMALL = 0.2  # tails below this are
_PATHS = 250_000  # largest n m for which the orders of two samples are counted
_FLOOR = float(np.finfo(np.float64).tiny)  # no p-value is 0


def tail_of_one(statistic: Float, n: Int) -> Float:
    """P(D_n >= statistic) for samples of n values from the law itself; NaN for n = 0.

    Exact for n <= 10. Above, the limit law with Vrbik's correction, relative error below 0.01 where
    p > 0.001, and a tenth where p is 1e-6; of p < 0.2 and n <= 300, twice the exact one-sided tail,
    which is too large by about p^3 / 8 of itself.
    """
    out = np.full(statistic.shape, np.nan)
    given = (n > 0) & ~np.isnan(statistic)
    d, size = statistic[given], n[given]
    root = np.sqrt(size)
    p = kolmogorov(root * d + 1 / (6 * root) + (root * d - 1) / (4 * size))
    small = (size > _EXACT) & (size <= _ONE_SIDED) & (p < _SMALL)
    p[small] = np.minimum(2 * smirnov(size[small], d[small]), 1)
    for j in np.flatnonzero(size <= _EXACT):
        p[j] = _exact(float(d[j]), int(size[j]))
    out[given] = np.clip(p, _FLOOR, 1)
    return out


def tail_of_two(statistic: Float, n: Int, m: Int) -> Float:
    """P(D_{n,m} >= statistic) for two samples of n and m values from one continuous law.

    By counting paths, exactly, where n m <= 250,000; above, by the limit law at the size
    n m / (n + m), which is conservative.
    """
    out = np.full(statistic.shape, np.nan)
    known: dict[tuple[int, int, float], float] = {}
    for j in np.flatnonzero((n > 0) & (m > 0)):
        key = (int(n[j]), int(m[j]), float(statistic[j]))
        if key[0] * key[1] > _PATHS:
            out[j] = kolmogorov(np.sqrt(key[0] * key[1] / (key[0] + key[1])) * key[2])
        else:
            if key not in known:
                known[key] = path_tail(*key)
            out[j] = known[key]
    return np.clip(out, _FLOOR, 1)


def _exact(d: float, n: int) -> float:
    from scipy.stats import kstwo

    return float(kstwo.sf(d, n))
