"""The compiled L-moments of sorted rows.

The sample L-moment of order r + 1 is the mean of the sorted values times the discrete Legendre
polynomial of degree r on 0, ..., n - 1 with the value 1 at n - 1. Its three-term recurrence is
stable, where the textbook sum of probability-weighted moments cancels more digits with each order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from distfit_nn.stats.unit_kernel import fill_units

Array = NDArray[Any]

_jit = njit(cache=True, nogil=True)


@_jit
def legendre(n: int, order: int) -> Array:
    """Return the polynomials of degrees 0 to order - 1 at 0, ..., n - 1, n >= 1; 0 from degree n.

    (k + 1)(N - k) w_{k+1}(i) = (2k + 1)(2i - N) w_k(i) - k (N + k + 1) w_{k-1}(i), N = n - 1.
    """
    w = np.zeros((order, n))
    w[0] = 1.0
    last = float(n - 1)
    for k in range(min(order, n) - 1):
        slope = (2 * k + 1) / ((k + 1) * (last - k))
        back = k * (last + k + 1) / ((k + 1) * (last - k))
        for i in range(n):
            w[k + 1, i] = slope * (2 * i - last) * w[k, i] - back * w[max(k - 1, 0), i]
    return w


@_jit
def l_moments_of_values(rows: Array, counts: Array, order: int) -> Array:
    """Return l_1, l_2 and the ratios t_3, ..., t_order of each row, of shape (order, d).

    NaN where a row has fewer values than the order, and ratios of equal values. `rows` and
    `counts` are those of `Rows`.
    """
    found = np.full((order, rows.shape[0]), np.nan)
    y = np.empty(rows.shape[1])
    w = np.empty((order, 0))
    for j in range(rows.shape[0]):
        n = counts[j]
        if n == 0:
            continue
        if n != w.shape[1]:
            w = legendre(n, order)
        centre, scale = fill_units(rows[j], n, y)
        for k in range(min(order, n)):
            total = 0.0
            for i in range(n):
                total += w[k, i] * y[i]
            found[k, j] = total / n
        spread = found[1, j]
        found[0, j] = 2.0 * (0.5 * centre + 0.5 * scale * found[0, j])
        found[1, j] = scale * spread
        for k in range(2, order):
            found[k, j] = found[k, j] / spread if spread > 0 else np.nan
    return found
