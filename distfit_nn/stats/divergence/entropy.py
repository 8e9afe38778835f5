"""Differential entropy of the law behind a sample, by four estimators, and their biases."""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma, polygamma

from distfit_nn import _checks
from distfit_nn.stats.bimodality.dip_kernel import spread_ties
from distfit_nn.stats.densities import fitted_to
from distfit_nn.stats.divergence import entropy_kernel as kernel
from distfit_nn.stats.divergence.constants import HALF_LOG_2PI, NORMAL_ENTROPY
from distfit_nn.stats.moments import moments
from distfit_nn.stats.rows import Axis, Float, Int, Rows, per_column

METHODS = ("gaussian", "maxent", "spacings", "neighbours")
NEIGHBOURS = 3  # which nearest neighbour is used by default

_SIMULATED = 1 << 20  # values drawn for the bias of one sample size
_LARGEST = 1 << 12  # sample size that is simulated
_SEED = 20170510


class Estimator(NamedTuple):
    """A method to estimate entropy and its numbers: see `entropy`."""

    method: str = "spacings"
    order: int = 6
    m: int | None = None
    k: int = NEIGHBOURS
    spread: bool = True

    @property
    def local(self) -> bool:
        """Whether the estimate is made of distances of neighbouring values."""
        return self.method in ("spacings", "neighbours")

    def reach(self, n: Int) -> Int:
        """Return how many neighbours are used in samples of n values; 0 where there are too few."""
        if self.method == "neighbours":
            return np.clip(n - 1, 0, self.k)
        wanted = np.rint(n**0.25).astype(np.int64) if self.m is None else self.m
        return np.minimum(wanted, np.maximum(n - 1, 0) // 2)


def estimator(
    method: str, order: int = 6, m: int | None = None, k: int = NEIGHBOURS, ties: str = "spread"
) -> Estimator:
    """Check the arguments of an entropy estimator: see `entropy`."""
    return Estimator(
        _checks.one_of(method, METHODS, "method"),
        _checks.positive_int(order, "order"),
        None if m is None else _checks.positive_int(m, "m"),
        _checks.positive_int(k, "k"),
        _checks.one_of(ties, ("spread", "atoms"), "ties") == "spread",
    )


def entropy(
    x: ArrayLike,
    axis: Axis = 0,
    *,
    method: str = "spacings",
    order: int = 6,
    m: int | None = None,
    k: int = NEIGHBOURS,
    ties: str = "spread",
) -> Float:
    r"""Differential entropy H(p) = -\int p log p of the law behind each column, in nats.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        Read as float64; NaN and infinite values are left out.
    axis : int, tuple of ints or None, default 0
        The axes to reduce, as in NumPy.
    method : {"spacings", "neighbours", "maxent", "gaussian"}, default "spacings"
        With n values in order, x_(1) to x_(n), and the digamma function psi:

        "spacings": the mean of log(x_(i+m) - x_(i-m)) + psi(n + 1) - psi(2 m), where the ends take
        what is left: Vasicek's estimator with the exact expectation of uniform spacings for
        log(2 m / n). Without bias for a uniform law; otherwise, with the default m on smooth
        laws, from -1/n at n = 50 to about +4/n at n = 5,000, a tenth of the standard deviation and
        less, from two opposite errors: tails that are cut, and a density that bends within a
        spacing, which grows with m (with m = sqrt(n) it is 70/n at n = 5,000). Its
        variance is that of -log p(x), over n, and a few per cent more.

        "neighbours": psi(n) - psi(k) + the mean of log(2 e_i), e_i the distance of x_(i) to its
        k-th nearest neighbour (Kozachenko and Leonenko). Bias from -k/(3 n) to -k/n on unbounded
        smooth laws, +k/(3 n) on a uniform one; twice the variance of "spacings" at k = 3.

        "maxent": that of the density of largest entropy with the first `order` moments, never
        below the truth but for sampling: its bias is what these moments do not show, less about
        order / (2 n).

        "gaussian": log(2 pi e var) / 2. Bias: the negentropy of p, less 1/(2 n) + (2 + excess
        kurtosis)/(4 n), 1/n for a normal law.
    order : int, default 6
        Number of moments for "maxent", 1 to 12.
    m : int, optional
        Neighbours on each side for "spacings", by default round(n^(1/4)), at most (n - 1) / 2.
    k : int, default 3
        Neighbour for "neighbours", at most n - 1.
    ties : {"spread", "atoms"}, default "spread"
        Equal values have distance 0, and log 0 = -inf. "spread": they are rounded ones, and are
        moved to random places (with a fixed seed) within a cell of the grid, that of `dip_test`.
        An atom beside values off a grid, such as the zeros of a ReLU, is spread very narrowly: the
        figure then is far below 0, as the entropy of such a law is -inf. "atoms": they stay. For
        "spacings" and "neighbours".

    Returns
    -------
    float64 array of the shape of the kept axes

        ========================  =====================================================
        column                    entropy
        ========================  =====================================================
        no finite value           NaN
        one value                 "gaussian": -inf; otherwise NaN
        two values                "spacings": NaN; "neighbours" a figure
        all equal                 "gaussian": -inf; otherwise NaN
        two distinct values       as any other, if n = 2; otherwise NaN but for "gaussian"
        a distance that is 0      "spacings", "neighbours": NaN (not ties that are spread)
        a std below 1e-162        "gaussian": -inf, as its square is 0
        a std above 1e154         "gaussian": inf or NaN, as its square overflows
        NaN and inf among them    left out
        ========================  =====================================================

    Raises
    ------
    InputError
        If x is not an array of real numbers, or another argument breaks its rule.

    References
    ----------
    O. Vasicek, J. R. Statist. Soc. B 38 (1976); B. van Es, Scand. J. Statist. 19 (1992);
    N. Ebrahimi, K. Pflughoeft and E. Soofi, Statist. Probab. Lett. 20 (1994); L. Kozachenko and
    N. Leonenko, Probl. Inf. Transm. 23 (1987); T. Berrett, R. Samworth and M. Yuan, Ann.
    Statist. 47 (2019).
    """
    chosen = estimator(method, order, m, k, ties)
    (found,) = per_column(x, axis, partial(_entropy_alone, chosen=chosen))
    return found


def _entropy_alone(rows: Rows, chosen: Estimator) -> tuple[Float]:
    return (entropy_of_rows(rows, chosen),)


def entropy_of_rows(rows: Rows, chosen: Estimator) -> Float:
    """Return the entropy of sorted rows; ties are spread in a copy. See `entropy`."""
    if chosen.method == "gaussian":
        measured = moments(rows.values, 1)
        with np.errstate(divide="ignore"):
            return NORMAL_ENTROPY + np.log(measured.std)
    if chosen.method == "maxent":
        return _density_of(rows, chosen.order)[0]
    return means_of_rows(surprisal_of_rows(rows, chosen), rows.counts)


def surprisal_of_rows(rows: Rows, chosen: Estimator) -> Float:
    """Return the estimate of -log p at every value of sorted rows; their mean is the entropy.

    Rows without an estimate are NaN throughout. Ties are spread in a copy.
    """
    if chosen.method == "gaussian":
        measured = moments(rows.values, 1)
        with np.errstate(all="ignore"):
            std = np.where(measured.std > 0, measured.std, np.nan)[:, None]
            z = (rows.values - measured.mean[:, None]) / std
            return 0.5 * z * z + HALF_LOG_2PI + np.log(std)
    if chosen.method == "maxent":
        return _density_of(rows, chosen.order)[1]
    values = _without_ties(rows) if chosen.spread else rows.values
    by_kernel = (
        kernel.spacing_surprisal if chosen.method == "spacings" else kernel.neighbour_surprisal
    )
    table = digamma(np.maximum(np.arange(values.shape[1] + 2), 1).astype(np.float64))
    found = by_kernel(values, rows.counts, chosen.reach(rows.counts), table)
    found[np.isneginf(found).any(axis=1)] = np.nan
    return found


def _without_ties(rows: Rows) -> Float:
    """Return the values with equal ones at random places of their cells; the seed is fixed."""
    values = rows.values.copy()
    spread_ties(values, rows.counts)
    draws = np.random.default_rng(_SEED).standard_exponential(values.shape[1] + 1)
    kernel.scatter_ties(rows.values, values, rows.counts, draws)
    return values


def means_of_rows(values: Float, counts: Int) -> Float:
    """Return the mean of each row over its count; NaN of an empty one."""
    with np.errstate(all="ignore"):
        inside = np.arange(values.shape[1]) < counts[:, None]
        return np.sum(values, axis=1, where=inside) / counts


def noise(chosen: Estimator, n: Int) -> tuple[Float, Float]:
    """Return the noise of a local estimator, and what its surprisals show of it.

    Around -log p the surprisals scatter with the second variance; as they share values, the
    variance of their mean is that of -log p, plus the first, over n. For spacings of s steps it is
    (2 s^2 - 2 s + 1) psi'(s) - 2 s + 1 (N. Cressie, Biometrika 63 (1976)); for neighbours
    (1.8 + 0.3 / k^2) / k, by simulation, to 3%.
    """
    if not chosen.local:
        return np.zeros(n.shape), np.zeros(n.shape)
    reach = np.maximum(chosen.reach(n), 1).astype(np.float64)
    if chosen.method == "neighbours":
        return (1.8 + 0.3 / reach**2) / reach, polygamma(1, reach)
    steps = 2 * reach
    single = polygamma(1, steps)
    # In the limit of many steps 1 / (3 s): the difference loses digits there.
    shared = np.where(
        steps < 1000, (2 * steps**2 - 2 * steps + 1) * single - 2 * steps + 1, 1 / (3 * steps)
    )
    return shared, single


def bias_in_normal_samples(chosen: Estimator, n: Int) -> Float:
    """Return the bias of a local estimator in samples of n values from a normal law, in nats.

    Shift and scale do not matter. It is simulated from about a million values with a fixed seed,
    with the mean of -log p as control, for the two nearest of the sizes 2^(j/2), and interpolated.
    Beyond n = 4,096, n times the bias is taken to be what it is there: it hardly grows, and is a
    twentieth of n times the standard error and less, as is the error of the simulation.
    """
    out = np.full(n.shape, np.nan)
    for size in np.unique(n[chosen.reach(n) > 0]).tolist():
        j = 2 * math.log2(size)
        ends = [round(2 ** (math.floor(j) / 2)), round(2 ** (math.floor(j) / 2 + 0.5))]
        ends = [min(max(end, 3), _LARGEST) for end in ends]
        scaled = [end * _simulated_bias(chosen, end) for end in ends]
        weight = j % 1 if ends[0] < ends[1] else 0.0
        out[n == size] = ((1 - weight) * scaled[0] + weight * scaled[1]) / size
    return out


@lru_cache(maxsize=256)
def _simulated_bias(chosen: Estimator, n: int) -> float:
    rng = np.random.default_rng([_SEED, n])
    x = rng.standard_normal((_SIMULATED // n, n))
    control = HALF_LOG_2PI + 0.5 * np.mean(x * x)
    x.sort(axis=1)
    found = surprisal_of_rows(Rows(x, np.full(len(x), n)), chosen._replace(spread=False))
    return float(found.mean() - control)


def _density_of(rows: Rows, order: int) -> tuple[Float, Float]:
    """Return the entropy of each row's maximum-entropy density, and -log of it at the values."""
    density = fitted_to(rows.values.T, order)
    if density is None:
        return np.full(len(rows.counts), np.nan), np.full(rows.values.shape, np.nan)
    surprisal = -np.asarray(density.logpdf(rows.values.T)).T
    return np.asarray(density.entropy()), np.ascontiguousarray(surprisal)
