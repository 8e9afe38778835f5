"""Shapiro and Wilk's W of many rows at once: a matrix product, as the weights depend on n only."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri

from distfit_nn.stats.normality.kernel import standardised_rows
from distfit_nn.stats.rows import Float, Int, Rows

LEAST, MOST = 3, 5000
_FLOOR = float(np.finfo(np.float64).tiny)

# Royston (1995), lowest power first: corrections of the two outer weights in 1/sqrt(n), then mean
# and log standard deviation of the normalised statistic, in n up to 11 and in log(n) from 12 on.
_OUTERMOST = (0.0, 0.221157, -0.147981, -2.071190, 4.434685, -2.706056)
_SECOND = (0.0, 0.042981, -0.293762, -1.752461, 5.682633, -3.582633)
_SMALL_LIMIT = (-2.273, 0.459)
_SMALL_MEAN = (0.5440, -0.39978, 0.025054, -6.714e-4)
_SMALL_SPREAD = (1.3822, -0.77857, 0.062767, -0.0020322)
_LARGE_MEAN = (-1.5861, -0.31082, -0.083751, 0.0038915)
_LARGE_SPREAD = (-0.4803, -0.082676, 0.0030302)


def shapiro_statistics(rows: Rows) -> tuple[Float, Float, Int]:
    """Return 1 - W and the p-value of each row, and the counts.

    1 - W is computed as such, without cancellation. NaN outside 3 <= n <= 5000 and for equal
    values.
    """
    departure = np.full(len(rows.counts), np.nan)
    pvalue = departure.copy()
    z = standardised_rows(rows.values, rows.counts)
    for size in np.unique(rows.counts):
        if LEAST <= size <= MOST:
            here = rows.counts == size
            departure[here] = _departure(z[here, :size])
            pvalue[here] = _pvalues(departure[here], int(size))
    return departure, pvalue, rows.counts


def _departure(z: Float) -> Float:
    """1 - W of standardised rows (d, n), whose squares add up to n - 1."""
    length = np.sqrt(z.shape[1] - 1.0)
    projection = z @ _weights(z.shape[1])
    departure: Float = (length - projection) * (length + projection) / length**2
    return np.maximum(departure, 0.0)


@lru_cache(maxsize=64)
def _weights(n: int) -> Float:
    """Royston's approximation of the weights: unit norm, antisymmetric, ascending."""
    if n == 3:
        return np.array([-np.sqrt(0.5), 0.0, np.sqrt(0.5)])
    m = ndtri((np.arange(1, n + 1) - 0.375) / (n + 0.25))
    total = m @ m
    corrections = (_OUTERMOST, _SECOND) if n > 5 else (_OUTERMOST,)
    k = len(corrections)
    outer = [
        _polynomial(c, n**-0.5) + m[-1 - i] / np.sqrt(total) for i, c in enumerate(corrections)
    ]
    rest = (total - 2 * np.sum(m[-k:] ** 2)) / (1 - 2 * np.sum(np.square(outer)))
    weights: Float = m / np.sqrt(rest)
    weights[:k] = -np.array(outer)
    weights[-k:] = outer[::-1]
    return weights


def _pvalues(departure: Float, n: int) -> Float:
    if n == 3:
        least = np.arcsin(np.sqrt(0.75))
        pvalue = 6 / np.pi * (np.arcsin(np.sqrt(1 - departure)) - least)
        return np.clip(pvalue, _FLOOR, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.log(departure)
        if n <= 11:
            y = -np.log(np.maximum(_polynomial(_SMALL_LIMIT, n) - y, 0.0))
            mean, spread = _polynomial(_SMALL_MEAN, n), _polynomial(_SMALL_SPREAD, n)
        else:
            size = float(np.log(n))
            mean, spread = _polynomial(_LARGE_MEAN, size), _polynomial(_LARGE_SPREAD, size)
        pvalue = ndtr(-(y - mean) / np.exp(spread))
    return np.maximum(pvalue, _FLOOR)


def _polynomial(coefficients: tuple[float, ...], at: float) -> float:
    return float(np.polynomial.polynomial.polyval(at, coefficients))
