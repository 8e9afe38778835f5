"""The modes of a mixture of two normal laws, by the criterion of Robertson and Fryer.

Turning points lie between the means, at m1 + u (m2 - m1) with u in (0, 1). There the slope of the
density has the sign of

    h(u) = log(w2 (1 - u) / s2^3) - z2^2 / 2 - log(w1 u / s1^3) + z1^2 / 2,

z1 = u D / s1, z2 = (1 - u) D / s2, D = m2 - m1. h falls from +inf to -inf but for one rise at most,
where k(u) = u (1 - u) ((1 - u) / s2^2 + u / s1^2) D^2 exceeds 1. Two modes there are if and only if
h is negative where that rise begins and positive where it ends.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from distfit_nn.stats.rows import Float

_HALVINGS = 80


def valley_of(weights: Float, means: Float, stds: Float) -> tuple[NDArray[np.bool_], Float]:
    """Return which mixtures have two modes, and how deep the valley between them is.

    Parameters
    ----------
    weights, means, stds : float64 arrays of shape (2, d)
        Of the two components, means ascending; columns of NaN are allowed.

    Returns
    -------
    bimodal : bool array of shape (d,)
    valley : float64 array of shape (d,)
        Density at the antimode over that at the lower mode; 1 without two modes, NaN for NaN.
    """
    valley = np.where(np.isnan(means[0]), np.nan, 1.0)
    bimodal = np.zeros(len(valley), bool)
    top, rises = _steepest(means, stds)
    if not rises.any():
        return bimodal, valley
    some = np.flatnonzero(rises)
    w, m, s, top = weights[:, some], means[:, some], stds[:, some], top[some]
    zero, one = np.zeros(len(some)), np.ones(len(some))
    begin = _root(lambda u: 1 - _rise(u, m, s), zero, top)
    end = _root(lambda u: _rise(u, m, s) - 1, top, one)
    both = (_slope(begin, w, m, s) < 0) & (_slope(end, w, m, s) > 0)
    some, w, m, s = some[both], w[:, both], m[:, both], s[:, both]
    begin, end, zero, one = begin[both], end[both], zero[both], one[both]
    low = _log_density(_root(lambda u: _slope(u, w, m, s), zero, begin), w, m, s)
    antimode = _log_density(_root(lambda u: -_slope(u, w, m, s), begin, end), w, m, s)
    high = _log_density(_root(lambda u: _slope(u, w, m, s), end, one), w, m, s)
    bimodal[some] = True
    valley[some] = np.exp(antimode - np.minimum(low, high))
    return bimodal, valley


def _steepest(means: Float, stds: Float) -> tuple[Float, NDArray[np.bool_]]:
    """Return where k is largest, and where it exceeds 1 there.

    With a = 1 / s2^2, b = 1 / s1^2, k' is proportional to a + 2 (b - 2 a) u + 3 (a - b) u^2.
    """
    a, b = stds[1] ** -2.0, stds[0] ** -2.0
    root = np.sqrt(a * a - a * b + b * b)
    top = a / (2 * a - b + root)
    with np.errstate(invalid="ignore"):
        return top, _rise(top, means, stds) > 1


def _rise(u: Float, means: Float, stds: Float) -> Float:
    """Return k(u)."""
    distance = means[1] - means[0]
    return u * (1 - u) * ((1 - u) * (distance / stds[1]) ** 2 + u * (distance / stds[0]) ** 2)


def _slope(u: Float, weights: Float, means: Float, stds: Float) -> Float:
    """Return h(u)."""
    distance = means[1] - means[0]
    with np.errstate(divide="ignore"):
        upper = np.log(weights[1] * (1 - u)) - 3 * np.log(stds[1])
        lower = np.log(weights[0] * u) - 3 * np.log(stds[0])
    squares = (u * distance / stds[0]) ** 2 - ((1 - u) * distance / stds[1]) ** 2
    return upper - lower + squares / 2


def _log_density(u: Float, weights: Float, means: Float, stds: Float) -> Float:
    """Return the logarithm of sqrt(2 pi) times the density at m1 + u (m2 - m1)."""
    distance = means[1] - means[0]
    low = np.log(weights[0] / stds[0]) - (u * distance / stds[0]) ** 2 / 2
    high = np.log(weights[1] / stds[1]) - ((1 - u) * distance / stds[1]) ** 2 / 2
    return np.logaddexp(low, high)


def _root(falling: Callable[[Float], Float], low: Float, high: Float) -> Float:
    """Return where a function that is positive at `low` and negative at `high` changes sign."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = falling(middle) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (low + high) / 2
