"""Divergence from the standard normal law, of a sample or of a density."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.stats.divergence.constants import HALF_LOG_2PI
from distfit_nn.stats.moments import moments
from distfit_nn.stats.rows import Axis, columns_of, in_shape

_NEAR = 0.5  # |var - 1| up to which the series of var - 1 - log(var) is summed
_TERMS = 17  # of it: powers of u**2 <= 1/9, the next one below the rounding unit


def kl_to_standard_normal(
    x: ArrayLike, axis: Axis = 0, *, method: str = "gaussian", order: int = 6
) -> NDArray[np.float64]:
    """Kullback-Leibler divergence from N(0, 1) of the law behind a sample, in nats, per column.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        NaN and infinite values are left out.
    axis : int, tuple of ints or None, default 0
        The axes to reduce, as in NumPy.
    method : {"gaussian", "maxent", "spacings", "neighbours"}, default "gaussian"
        Which density p stands for the law in KL(p || N(0, 1)). "gaussian": the normal density with
        the mean and variance (divisor n) of the sample, in closed form. "maxent": the density of
        largest entropy with the first `order` moments, see `distfit_nn.maxent.fit`; of all
        densities with these moments it has the smallest divergence. The difference of the two is
        the negentropy of the latter: what no shift and scale of the column can remove. "spacings",
        "neighbours": no density, but its entropy, by `entropy` with its defaults.
    order : int, default 6
        Number of moments for "maxent", 1 to 12.

    Returns
    -------
    float64 array of the shape of the kept axes
        "gaussian" and "maxent" are those of the fitted density: a small sample, fitted too closely,
        reads as too far, by about 1/n or order/(2 n). "spacings" and "neighbours" may be below 0.
        `kl_estimate` has the bias and an interval beside each.

        ==============================  ======================================================
        column                          divergence
        ==============================  ======================================================
        no finite value                 NaN
        one value, all equal            "gaussian": inf; otherwise NaN
        two distinct values             "gaussian": a figure; otherwise NaN, but of "neighbours"
                                        for n = 2
        too few distinct values         "maxent": NaN where there is no density
        NaN and inf among the values    left out
        a std below 1e-162              inf: its square is 0
        values above 1e150              inf or NaN: their squares overflow
        ==============================  ======================================================

    Raises
    ------
    InputError
        If x is not an array of real numbers, or another argument breaks its rule.

    References
    ----------
    S. Kullback and R. A. Leibler, On information and sufficiency, Ann. Math. Statist. 22 (1951);
    those of `entropy`.
    """
    _checks.one_of(method, ("gaussian", "maxent", "spacings", "neighbours"), "method")
    order = _checks.positive_int(order, "order")
    if method != "maxent":
        measured = moments(x, axis)
        if method == "gaussian":
            return kl_from_moments(measured.mean, measured.var)
        from distfit_nn.stats.divergence.entropy import entropy  # compiled, unlike the closed form

        return kl_from_moments(measured.mean, measured.var, entropy(x, axis, method=method))
    from distfit_nn.stats.densities import fitted_to  # compiled, too

    table, kept = columns_of(x, axis)
    density = fitted_to(table, order)
    if density is None:
        found = np.full(table.shape[1], np.nan)
    else:
        found = kl_from_moments(density.mean(), density.var(), density.entropy())
    return in_shape(found, kept)


def kl_from_moments(
    mean: ArrayLike, var: ArrayLike, entropy: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Kullback-Leibler divergence KL(p || N(0, 1)) of a density p, in nats.

    KL = (var + mean**2) / 2 + log(2 pi) / 2 - H(p), exact for every p with these two moments and
    the differential entropy H(p).

    Parameters
    ----------
    mean, var : array-like of float
        Mean and variance of p.
    entropy : array-like of float, optional
        Differential entropy H(p) in nats. By default that of a normal law, so that the result is
        KL(N(mean, var) || N(0, 1)) = (var + mean**2 - 1 - log(var)) / 2, the smallest value that
        any p with these moments can have; it is computed without cancellation near var = 1.

    Returns
    -------
    float64 array of the broadcast shape
        inf where var is 0; NaN where an argument is NaN. At least 0 where `entropy` is None;
        otherwise an error in `entropy` passes to the result, which may then be slightly below 0.

    Raises
    ------
    InputError
        If a variance is negative.

    References
    ----------
    S. Kullback and R. A. Leibler, On information and sufficiency, Ann. Math. Statist. 22 (1951).
    """
    centre = _checks.to_numpy(mean, "mean").astype(np.float64)
    spread = _checks.to_numpy(var, "var").astype(np.float64)
    if np.any(spread < 0):
        raise InputError(f"var must not be negative, got {float(np.nanmin(spread))}")
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if entropy is None:
            return 0.5 * (centre**2 + _excess_over_log(spread))
        given = _checks.to_numpy(entropy, "entropy").astype(np.float64)
        divergence = 0.5 * (spread + centre**2) + HALF_LOG_2PI - given
        return np.where((spread == 0) & ~np.isnan(divergence), np.inf, divergence)[()]


def _excess_over_log(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return v - 1 - log(v), accurate to a few rounding units relative to the result.

    Near 1, with t = v - 1 and u = t / (2 + t), log(v) = 2 artanh(u) and t - 2 u = t u, so that the
    result is t u - 2 u**3 (1/3 + u**2/5 + u**4/7 + ...).
    """
    t = v - 1.0
    near = np.abs(t) < _NEAR
    u = np.where(near, t, 0.0) / np.where(near, 2.0 + t, 1.0)
    series = np.zeros_like(u)
    for k in range(_TERMS, -1, -1):
        series = series * u**2 + 1.0 / (2 * k + 3)
    log = np.log(np.minimum(v, np.finfo(np.float64).max))  # at v = inf the result is inf
    return np.where(near, t * u - 2.0 * u**3 * series, t - log)
