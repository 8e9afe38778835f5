"""The compiled statistics of sorted rows against the normal law of the same mean and variance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from distfit_nn.stats.unit_kernel import fill_units

Array = NDArray[Any]

_jit = njit(cache=True, nogil=True)
_HALF_ROOT = math.sqrt(0.5)
_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)
_FAR = 37.0  # beyond it the normal tail leaves the range of normal float64


@_jit
def _standardise(row: Array, n: int, z: Array) -> bool:
    """Fill ``z[:n]`` with (row - mean) / s, s with n - 1; False where there is no s > 0."""
    if n < 2 or fill_units(row, n, z)[1] == 0:
        return False
    total = 0.0
    for i in range(n):
        total += z[i]
    mean = total / n
    squares = 0.0
    for i in range(n):
        z[i] -= mean
        squares += z[i] * z[i]
    s = math.sqrt(squares / (n - 1))
    for i in range(n):
        z[i] /= s
    return True


@_jit
def standardised_rows(rows: Array, counts: Array) -> Array:
    """Return ``(rows - mean) / s``, s with n - 1; NaN beyond the counts and for constant rows."""
    z = np.empty(rows.shape)
    for k in range(rows.shape[0]):
        n = counts[k]
        start = n if _standardise(rows[k], n, z[k]) else 0
        z[k, start:] = np.nan
    return z


@_jit
def shape_of_rows(rows: Array, counts: Array) -> tuple[Array, Array]:
    """Return skewness g1 and excess kurtosis g2 of each row, without bias correction.

    NaN for fewer than two values and for equal ones; `rows` and `counts` are those of `Rows`.
    """
    skewness = np.full(rows.shape[0], np.nan)
    kurtosis = np.full(rows.shape[0], np.nan)
    z = np.empty(rows.shape[1])
    for k in range(rows.shape[0]):
        n = counts[k]
        if _standardise(rows[k], n, z):
            third, fourth = 0.0, 0.0
            for i in range(n):
                square = z[i] * z[i]
                third += square * z[i]
                fourth += square * square
            ratio = n / (n - 1.0)  # from s**2 with n - 1 to the variance with n
            skewness[k] = third / n * ratio**1.5
            kurtosis[k] = fourth / n * ratio**2 - 3.0
    return skewness, kurtosis


@_jit
def _log_tail(t: float, tail: float) -> float:
    """Logarithm of the upper tail of N(0, 1) at t >= 0, given that tail."""
    if t < _FAR:
        return math.log(tail)
    u = 1.0 / (t * t)
    return -0.5 * t * t - _LOG_ROOT_2PI - math.log(t) + math.log1p(u * (-1.0 + 3.0 * u))


@_jit
def distances_of_rows(rows: Array, counts: Array) -> tuple[Array, Array]:
    """Return A**2 (Anderson-Darling) and D (Kolmogorov-Smirnov) of each row, parameters fitted.

    NaN for fewer than two values and for equal ones; `rows` and `counts` are those of `Rows`.
    """
    squares = np.full(rows.shape[0], np.nan)
    largest = np.full(rows.shape[0], np.nan)
    z = np.empty(rows.shape[1])
    for k in range(rows.shape[0]):
        n = counts[k]
        if _standardise(rows[k], n, z):
            total, gap = 0.0, 0.0
            for i in range(n):
                t = abs(z[i])
                tail = 0.5 * math.erfc(t * _HALF_ROOT)
                near, far = _log_tail(t, tail), math.log1p(-tail)
                if z[i] < 0:
                    below, log_below, log_above = tail, near, far
                else:
                    below, log_below, log_above = 1.0 - tail, far, near
                total += (2 * i + 1) * log_below + (2 * (n - i) - 1) * log_above
                gap = max(gap, (i + 1) / n - below, below - i / n)
            squares[k] = -n - total / n
            largest[k] = gap
    return squares, largest
