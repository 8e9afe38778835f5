"""Divergences of fitted densities from a law or from each other, both ways, by quadrature."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.maxent.density import Density
from distfit_nn.stats.densities import fitted_to
from distfit_nn.stats.divergence.distances import DistanceResult
from distfit_nn.stats.divergence.reference import is_sample
from distfit_nn.stats.rows import Axis, Float, Int, columns_of, in_shape
from distfit_nn.targets.arrays import Marginal, as_marginal

_NODES = 10  # of the Gauss rule on a panel
_TAILS = (1e-15, 1e-12, 1e-9, 1e-7, 1e-5, 1e-4, 1e-3, 5e-3, 0.015)
_CENTRE = 32  # panels of equal mass between the tails
_LOG_2 = math.log(2)


class DensityDivergences(NamedTuple):
    """Divergences between the density p of each column and a reference r.

    Attributes
    ----------
    kl : float64 array
        KL(p || r) in nats; inf where p has mass at which r has none.
    kl_reverse : float64 array
        KL(r_S || p) in nats, with r restricted to the support S of p: the support is finite, so
        that KL(r || p) itself is infinite for every r on the line, whatever p looks like.
    jensen_shannon : float64 array
        (KL(p || h) + KL(r || h)) / 2 with h = (p + r) / 2, in nats, 0 to log 2.
    total_variation : float64 array
        Half the integral of |p - r|, 0 to 1.
    reference_outside : float64 array
        The mass of r outside of S, which `kl_reverse` leaves out.
    """

    kl: Float
    kl_reverse: Float
    jensen_shannon: Float
    total_variation: Float
    reference_outside: Float


def density_divergences(density: Density, reference: Any = "normal") -> DensityDivergences:
    """Divergences of fitted densities from a reference, in both directions.

    Parameters
    ----------
    density : Density
        Of d columns, as `maxent.fit` returns it.
    reference : "normal", "uniform", distribution or Density, default "normal"
        N(0, 1), the uniform law on [0, 1], or anything with `cdf`, `ppf` and `logpdf` or `pdf`; of
        one column, or of d.

    Returns
    -------
    DensityDivergences
        Arrays (d,).

        ============================  ==========================================================
        column                        result
        ============================  ==========================================================
        no density                    NaN
        no overlap                    kl inf, kl_reverse NaN, the other two log 2 and 1
        ============================  ==========================================================

    Raises
    ------
    InputError
        If the reference is none of these, has no density, or another number of columns.

    Notes
    -----
    A 10-node Gauss rule between about a hundred quantiles of both laws: 1e-8 for smooth ones, and
    1e-4 for the total variation, whose integrand has kinks where the densities cross. It takes a
    thousand evaluations of each density.

    References
    ----------
    J. Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory 37 (1991).
    """
    marginal = _reference(reference, len(density))
    with np.errstate(all="ignore"):
        points, weights, outside = _grid(density, marginal)
        log_p = np.asarray(density.logpdf(points), np.float64)
        log_r = np.asarray(marginal.logpdf(points), np.float64)
        return _integrated(log_p, log_r, weights, outside)


def jensen_shannon(
    x: ArrayLike, axis: Axis = 0, *, reference: Any = "normal", order: int = 6
) -> DistanceResult:
    """Jensen-Shannon divergence of each column's maximum-entropy density from a reference, in nats.

    (KL(p || h) + KL(r || h)) / 2 with h = (p + r) / 2, by quadrature: see `density_divergences`.
    0 where the laws are equal, log 2 = 0.693 where they do not overlap; finite always.

    Parameters
    ----------
    x, axis
        As in `wasserstein`.
    reference : "normal", "uniform", distribution, Density or array, default "normal"
        As in `wasserstein`, with a density; to a second sample a density is fitted, too.
    order : int, default 6
        Number of moments of the densities, 1 to 12.

    Returns
    -------
    DistanceResult
        `statistic` is that of the fitted densities, `n` the number of finite values, and `chance`
        about what samples of the reference show, order / (8 n), if it is of the densities' form:
        near 0 the divergence is a quarter of KL. For a second sample 1/n becomes 1/n + 1/m.

        ================================  ==========================
        column                            statistic, chance
        ================================  ==========================
        no finite value, one, all equal   NaN
        up to order / 2 distinct values   NaN
        NaN and inf among the values      left out
        ================================  ==========================

    Raises
    ------
    InputError
        As in `wasserstein`.

    References
    ----------
    J. Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory 37 (1991).
    """
    table, kept = columns_of(x, axis)
    n = np.isfinite(table).sum(axis=0, dtype=np.int64)
    share = _inverse(n)
    density = fitted_to(table, order)
    if is_sample(reference):
        flat = _checks.to_numpy(reference, "reference").ndim == 1
        other, _ = columns_of(reference, 0 if flat else axis, "reference")
        reference = fitted_to(other, order)
        share = share + _inverse(np.isfinite(other).sum(axis=0, dtype=np.int64))
    if density is None or (reference is None and len(n)):
        found = np.full(len(n), np.nan)
    else:
        found = density_divergences(density, reference).jensen_shannon
    shaped = (in_shape(array, kept) for array in (found, n, order / 8 * share + 0 * found))
    return DistanceResult(*shaped)


def _inverse(n: Int) -> Float:
    return 1 / np.where(n > 0, n, np.nan)


def _reference(reference: Any, columns: int) -> Marginal:
    """Return the reference, checked, for so many columns."""
    if isinstance(reference, Density) and len(reference) == 1 and not reference.single:
        reference = reference[0]
    marginal = as_marginal(reference, "reference")
    if not marginal.has_logpdf:
        raise InputError("reference must have logpdf or pdf to take divergences from")
    if marginal.columns() not in (None, columns):
        raise InputError(f"reference must have one column or {columns}, got {marginal.columns()}")
    return marginal


@cache
def _levels() -> tuple[Float, NDArray[np.bool_]]:
    """Return masses, and whether they lie above rather than below the points that end panels."""
    tails = np.array(_TAILS)
    centre = np.linspace(tails[-1], 0.5, _CENTRE // 2 + 1)[1:]
    below = np.concatenate([tails, centre])
    masses = np.concatenate([below, below[-2::-1]])[:, None]
    return masses, np.arange(len(masses))[:, None] >= len(below)


def _grid(density: Density, marginal: Marginal) -> tuple[Float, Float, Float]:
    """Return points and weights (m, d) over the supports, and the reference's mass outside."""
    shape = (len(_levels()[0]), len(density))
    levels, sides = _levels()
    masses, upper = np.broadcast_to(levels, shape).copy(), np.broadcast_to(sides, shape).copy()
    lower_end, upper_end = (np.atleast_1d(end)[None] for end in density.support())
    own = np.where(upper, density.isf(masses), density.ppf(masses))
    theirs = np.clip(marginal.quantile(masses, upper), lower_end, upper_end)
    edges = np.sort(np.concatenate([lower_end, own, theirs, upper_end]), axis=0)
    node, part = np.polynomial.legendre.leggauss(_NODES)
    width = np.diff(edges, axis=0)[:, None]
    points = edges[:-1, None] + width * ((node + 1) / 2)[:, None]
    weights = width * (part / 2)[:, None]
    above = np.ones(lower_end.shape, bool)
    outside = marginal.mass(lower_end, ~above) + marginal.mass(upper_end, above)
    flat = (-1, len(density))
    return points.reshape(flat), weights.reshape(flat), outside[0]


def _integrated(log_p: Float, log_r: Float, weights: Float, outside: Float) -> DensityDivergences:
    """Integrate over the support of p; beyond it p is 0, and what r adds is known."""
    p, r = np.exp(log_p), np.exp(log_r)
    log_mean = np.logaddexp(log_p, log_r) - _LOG_2
    inside = np.where(outside < 0.5, 1 - outside, np.sum(weights * r, axis=0))

    def integral(density: Float, excess: Float) -> Float:
        nothing = (density == 0) | (weights == 0)
        return np.sum(np.where(nothing, 0.0, weights * density * excess), axis=0)

    kl = integral(p, log_p - log_r)
    reverse = integral(r, log_r - log_p) / inside - np.log(inside)
    mixed = integral(p, log_p - log_mean) + integral(r, log_r - log_mean) + outside * _LOG_2
    varied = np.sum(weights * np.abs(p - r), axis=0) + outside
    return DensityDivergences(
        np.maximum(kl, 0.0),
        np.maximum(reverse, 0.0),
        np.clip(mixed / 2, 0.0, _LOG_2),
        np.minimum(varied / 2, 1.0),
        outside,
    )
