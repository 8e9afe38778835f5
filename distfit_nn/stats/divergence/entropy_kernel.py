"""Compiled estimates of -log p at each of sorted values, from spacings and nearest neighbours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

_jit = njit(cache=True, nogil=True)


@_jit
def spacing_surprisal(rows: Array, counts: Array, reach: Array, digamma: Array) -> Array:
    """Return -log p at each value from the spacing that reaches over `reach` neighbours per side.

    A spacing of k steps among n values from a uniform law of density p has
    E log(spacing) = digamma(k) - digamma(n + 1) - log p; near the ends k is what is left.

    Parameters
    ----------
    rows : (d, size)
        Each row ascending up to its count.
    counts, reach : (d,) int64
    digamma : (size + 2,)
        digamma(k) at index k.

    Returns
    -------
    (d, size)
        NaN behind the count, and in all of a row whose reach is 0; -inf where the spacing is 0.
    """
    out = np.full(rows.shape, np.nan)
    for i in range(rows.shape[0]):
        n, m = counts[i], reach[i]
        for j in range(n if m > 0 else 0):
            low, high = max(j - m, 0), min(j + m, n - 1)
            width = rows[i, high] - rows[i, low]
            expected = digamma[high - low] - digamma[n + 1]
            out[i, j] = (math.log(width) if width > 0.0 else -np.inf) - expected
    return out


@_jit
def neighbour_surprisal(rows: Array, counts: Array, k: Array, digamma: Array) -> Array:
    """Return -log p at each value from the distance to its k-th nearest neighbour.

    log(2 distance) - digamma(k) + digamma(n), the estimate of Kozachenko and Leonenko on the line.
    The k + 1 nearest values, itself among them, are neighbours in order: a window that only moves
    up as the value does. Arguments and result as in `spacing_surprisal`.
    """
    out = np.full(rows.shape, np.nan)
    for i in range(rows.shape[0]):
        n, size = counts[i], k[i]
        low = 0
        for j in range(n if size > 0 else 0):
            low = max(low, j - size)
            x = rows[i, j]
            while low < j and low + size + 1 < n and rows[i, low + size + 1] - x < x - rows[i, low]:
                low += 1
            distance = max(x - rows[i, low], rows[i, low + size] - x)
            nearest = math.log(2.0 * distance) if distance > 0.0 else -np.inf
            out[i, j] = nearest - digamma[size] + digamma[n]
    return out


@_jit
def scatter_ties(rows: Array, spread: Array, counts: Array, draws: Array) -> None:
    """Put values that are spread evenly over cells at random places there, in order, in place.

    Evenly spaced values are more regular than any sample, and logarithms of their distances too
    large. With e_0, ..., e_c exponential, (e_0 + ... + e_j) / (e_0 + ... + e_c) are c uniform
    values in order.

    Parameters
    ----------
    rows, spread : (d, size)
        Before and after `spread_ties`; `spread` is changed.
    counts : (d,)
    draws : (size + 1,)
        Exponential values, the same for all rows.
    """
    for i in range(rows.shape[0]):
        first = 0
        while first < counts[i]:
            last = first
            while last + 1 < counts[i] and rows[i, last + 1] == rows[i, first]:
                last += 1
            copies = last - first + 1
            if copies > 1 and spread[i, last] > spread[i, first]:
                width = (spread[i, last] - spread[i, first]) * copies / (copies - 1)
                low = spread[i, first] - width / (2 * copies)
                total = np.sum(draws[first : last + 2])
                reached = 0.0
                for j in range(first, last + 1):
                    reached += draws[j]
                    spread[i, j] = low + width * (reached / total)
            first = last + 1
