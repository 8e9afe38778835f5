"""Test statistics of normality, as their null laws are tabulated: free of location and scale."""

from __future__ import annotations

import numpy as np

from distfit_nn.stats.rows import Float, Int

LEAST = {"jarque_bera": 4, "dagostino": 8, "anderson_darling": 4, "lilliefors": 4}
"""The fewest values that each test takes."""


def jarque_bera_statistic(skewness: Float, kurtosis: Float, n: Int) -> Float:
    """n / 6 (g1**2 + g2**2 / 4)."""
    return n / 6 * (skewness**2 + kurtosis**2 / 4)


def dagostino_statistic(skewness: Float, kurtosis: Float, n: Int) -> Float:
    """K**2 = Z(g1)**2 + Z(g2)**2 of D'Agostino and Pearson (1973); NaN for n < 8."""
    size = np.where(n >= LEAST["dagostino"], n, np.nan)
    return _skewness_score(skewness, size) ** 2 + _kurtosis_score(kurtosis, size) ** 2


def _skewness_score(skewness: Float, n: Float) -> Float:
    """D'Agostino's (1970) transform of g1 to N(0, 1): Johnson's unbounded curve."""
    y = skewness * np.sqrt((n + 1) * (n + 3) / (6 * (n - 2)))
    beta = 3 * (n**2 + 27 * n - 70) * (n + 1) * (n + 3)
    beta = beta / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
    w2 = np.sqrt(2 * (beta - 1)) - 1
    score: Float = np.arcsinh(y * np.sqrt((w2 - 1) / 2)) / np.sqrt(0.5 * np.log(w2))
    return score


def _kurtosis_score(kurtosis: Float, n: Float) -> Float:
    """Anscombe and Glynn's (1983) transform of g2 to N(0, 1): a cube root."""
    mean = -6 / (n + 1)
    variance = 24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    root = 6 * (n**2 - 5 * n + 2) / ((n + 7) * (n + 9))
    root = root * np.sqrt(6 * (n + 3) * (n + 5) / (n * (n - 2) * (n - 3)))
    a = 6 + 8 / root * (2 / root + np.sqrt(1 + 4 / root**2))
    x = (kurtosis - mean) / np.sqrt(variance)
    ratio = (1 - 2 / a) / (1 + x * np.sqrt(2 / (a - 4)))
    score: Float = (1 - 2 / (9 * a) - np.cbrt(ratio)) / np.sqrt(2 / (9 * a))
    return score


def modified_square(squares: Float, n: Int) -> Float:
    """A**2 with Stephens' (1974) factor, after which its null law hardly depends on n."""
    return squares * (1 + 0.75 / n + 2.25 / np.square(n, dtype=np.float64))


def modified_distance(distance: Float, n: Int) -> Float:
    """sqrt(n) D + 1 / (6 sqrt(n)): the known first step of D to its limit, taken away."""
    root = np.sqrt(n)
    return root * distance + 1 / (6 * root)
