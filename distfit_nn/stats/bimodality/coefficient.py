"""Sarle's bimodality coefficient, and what it is worth."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from distfit_nn import _checks
from distfit_nn.stats.moments import moments
from distfit_nn.stats.rows import Axis, Float


def bimodality_coefficient(x: ArrayLike, axis: Axis = 0) -> Float:
    """Sarle's bimodality coefficient of x over `axis`.

    See `bimodality_from_shape` for the formula and its meaning, and `moments` for x and `axis`;
    NaN and infinite values are left out.
    """
    m = moments(x, axis)
    return bimodality_from_shape(m.skewness, m.kurtosis, m.n)


def bimodality_from_shape(skewness: ArrayLike, kurtosis: ArrayLike, n: ArrayLike) -> Float:
    """Sarle's bimodality coefficient from the sample skewness g1 and excess kurtosis g2.

    With the bias-corrected G1 and G2 of a sample of size n, as in SAS,

        BC = (G1**2 + 1) / (G2 + 3 (n - 1)**2 / ((n - 2) (n - 3))).

    It lies in (0, 1]. For large n a uniform law has 5/9, a normal law 1/3, two equal atoms 1;
    more than 5/9 is often read as bimodal. That reading is confounded by skewness: an exponential
    law, with a single mode, also has 5/9, and more skewed ones have more. Use `dip_test` to decide.

    Parameters
    ----------
    skewness, kurtosis : array-like of float
        g1 and g2 (excess) without bias correction, as `Moments` and `scipy.stats` give them.
    n : array-like of int
        Sample sizes; the three broadcast.

    Returns
    -------
    float64 array of the broadcast shape
        NaN for n < 4 or where the skewness or the kurtosis is NaN (a constant column).
    """
    g1 = _checks.to_numpy(skewness, "skewness").astype(np.float64)
    g2 = _checks.to_numpy(kurtosis, "kurtosis").astype(np.float64)
    size = _checks.to_numpy(n, "n").astype(np.float64)
    size = np.where(size >= 4, size, np.nan)
    pairs = (size - 2) * (size - 3)
    skew = g1 * np.sqrt(size * (size - 1)) / (size - 2)
    excess = (size - 1) * ((size + 1) * g2 + 6) / pairs
    coefficient: Float = (skew**2 + 1) / (excess + 3 * (size - 1) ** 2 / pairs)
    return coefficient
