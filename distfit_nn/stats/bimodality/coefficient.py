"""Sarle's bimodality coefficient, and what it is worth."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from distfit_nn import _checks
from distfit_nn.stats.moments import moments
from distfit_nn.stats.rows import Axis, Float


def bimodality_coefficient(x: ArrayLike, axis: Axis = 0) -> Float:
    """Sarle's bimodality coefficient of x over `axis`.

    See `bimodality_from_shape` for the formula and what it is worth: skew alone raises it.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        NaN and infinite values are left out.
    axis : int, tuple of ints or None, default 0
        The axes to reduce, as in NumPy.

    Returns
    -------
    float64 array of the shape of the kept axes

        ==================================  =================================================
        column                              coefficient
        ==================================  =================================================
        no value, fewer than 4, all equal   NaN
        two distinct values, evenly         as computed: above 0.9 from n = 50 on, 1 in the limit
        moments of order 4 overflow         NaN (see `Moments`)
        NaN and inf among the values        left out
        ==================================  =================================================

    Raises
    ------
    InputError
        If x is not an array of real numbers or `axis` does not name axes of it.

    References
    ----------
    Those of `bimodality_from_shape`.
    """
    m = moments(x, axis)
    return bimodality_from_shape(m.skewness, m.kurtosis, m.n)


def bimodality_from_shape(skewness: ArrayLike, kurtosis: ArrayLike, n: ArrayLike) -> Float:
    """Sarle's bimodality coefficient from the sample skewness g1 and excess kurtosis g2.

    With the bias-corrected G1 and G2 of a sample of size n, as in SAS,

        BC = (G1**2 + 1) / (G2 + 3 (n - 1)**2 / ((n - 2) (n - 3))).

    Of any law the kurtosis (not excess) is at least skewness**2 + 1, with equality for laws on two
    points alone, whatever their weights (Pearson 1916); so BC is in (0, 1] for large n, and it is 1
    for every column of two distinct values. A uniform law has 5/9, a normal law 1/3.

    More than 5/9 is often read as bimodal. That reading is confounded by skewness and tails: of
    laws with one mode, the exponential also has 5/9, the gamma of shape k < 1 has more, up to 2/3,
    and a law of two values, 99 : 1, has 1; of laws with two modes, a pair of normal modes closer
    than 3.7 standard deviations has less, and any pair with heavy tails. Use `dip_test` to decide.

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

    Raises
    ------
    InputError
        If an argument is not an array of real numbers.

    References
    ----------
    SAS Institute, SAS/STAT User's Guide, procedure CLUSTER; K. Pearson, Philosophical Transactions
    A 216 (1916), 429-457.
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
