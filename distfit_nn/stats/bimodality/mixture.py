"""Two normal components against one: the fit, its separation, its own modes, and the test."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.stats.bimodality.dip_kernel import spread_ties
from distfit_nn.stats.bimodality.mixture_kernel import fit_rows
from distfit_nn.stats.bimodality.mixture_modes import valley_of
from distfit_nn.stats.rows import Axis, Float, Int, RandomState, Rows, per_column

Bool = NDArray[np.bool_]

_DRAWN_AT_ONCE = 1 << 20  # values of bootstrap samples


class MixtureFit(NamedTuple):
    """Two normal components fitted to each column.

    Attributes
    ----------
    statistic : float
        2 (l2 - l1), twice what the second component adds to the log-likelihood.
    n : int
        The number of finite values.
    weights, means, stds : float arrays of shape (2, ...)
        Of the two components, the one with the lower mean first; means and stds in units of x.
    ashman_d : float
        Ashman's separation sqrt(2) |m1 - m2| / sqrt(s1^2 + s2^2).
    bic_difference : float
        BIC of one component less BIC of two; positive where two are preferred.
    bimodal : bool
        Whether the density of the fitted mixture has two modes.
    valley : float
        That density at its antimode over that at the lower of its two modes; 1 without a valley.
    converged : bool
        Whether the likelihood had stopped growing; False where there is no fit.
    """

    statistic: Float
    n: Int
    weights: Float
    means: Float
    stds: Float
    ashman_d: Float
    bic_difference: Float
    bimodal: Bool
    valley: Float
    converged: Bool


class MixtureTest(NamedTuple):
    """Likelihood ratio of two normal components to one, its bootstrap p-value, and the effect.

    Attributes
    ----------
    statistic, n, ashman_d, bimodal, valley
        As in `MixtureFit`.
    pvalue : float64 array
        (b + 1) / (B + 1); never 0.
    """

    statistic: Float
    pvalue: Float
    n: Int
    ashman_d: Float
    bimodal: Bool
    valley: Float


def two_component_mixture(
    x: ArrayLike, axis: Axis = 0, *, equal_variance: bool = False, ties: str = "atoms"
) -> MixtureFit:
    """Fit a mixture of two normal laws to each column of x by maximum likelihood.

    The density is w1 N(m1, s1^2) + w2 N(m2, s2^2), w1 + w2 = 1, under the bound
    min(s1, s2) >= 0.05 max(s1, s2) of Hathaway, without which the likelihood is unbounded: a
    component could shrink onto one value. EM, whose steps are extrapolated (Varadhan and Roland),
    starts from seven splits of the sorted values: that of two means, five quantiles, and the
    middle half against the rest; nothing is random. The best is kept, which is not proven to be the
    highest of all: in data with one mode a narrow component on a chance cluster can be missed.

    Whether the fitted mixture itself has two modes is decided exactly, from the turning points of
    its density between the two means (Robertson and Fryer); Ashman's D > 2 is a rule of thumb for
    a clean separation. D ignores the weights, and a wide component around a narrow one, or a
    component on a few outliers, can have a large D: read it with `weights`, `bimodal` and `valley`.
    Two components fit better than one wherever a column is not normal, with one mode or two.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        Read as float64; NaN and infinite values are left out.
    axis : int, tuple of ints or None, default 0
        The axes to reduce, as in NumPy.
    equal_variance : bool, default False
        Whether both components have the same deviation.
    ties : {"atoms", "spread"}, default "atoms"
        As in `dip_test`: "spread" takes equal values for the rounding of a continuous quantity.
        An atom, such as the zeros that a ReLU leaves, is taken by a component as narrow as the
        bound allows, in either case.

    Returns
    -------
    MixtureFit
        Arrays of the shape of the kept axes, `weights`, `means` and `stds` with 2 in front.

        =============================  =================================================
        column                         result
        =============================  =================================================
        fewer than 3 distinct values   NaN; not bimodal, not converged; n is counted
        NaN and inf among the values   left out
        =============================  =================================================

    Raises
    ------
    InputError
        If x is not an array of real numbers, `axis` does not name axes of it, `ties` is neither of
        the two, or `equal_variance` is no bool.

    Notes
    -----
    A column of n = 500 takes 0.5 to 1.5 ms, one of n = 5,000 1.5 to 12 ms (one core; most where
    there is no second component), linear in n from there on: for use on request.

    References
    ----------
    R. J. Hathaway, Annals of Statistics 13 (1985), 795-800; C. A. Robertson and J. G. Fryer,
    Skandinavisk Aktuarietidskrift (1969), 137-146; K. M. Ashman, C. M. Bird and S. E. Zepf,
    Astronomical Journal 108 (1994), 2348-2361; R. Varadhan and C. Roland, Scandinavian Journal of
    Statistics 35 (2008), 335-353.
    """
    equal = _checks.flag(equal_variance, "equal_variance")
    spread = _checks.one_of(ties, ("atoms", "spread"), "ties") == "spread"
    return MixtureFit(*per_column(x, axis, partial(mixture_of_rows, equal=equal, spread=spread)))


def ashman_d(x: ArrayLike, axis: Axis = 0, *, equal_variance: bool = False) -> Float:
    """Ashman's D of the two normal components fitted to each column: see `two_component_mixture`.

    D = sqrt(2) |m1 - m2| / sqrt(s1^2 + s2^2); above 2 two components count as cleanly separated.

    Parameters
    ----------
    x, axis, equal_variance
        As in `two_component_mixture`.

    Returns
    -------
    float64 array of the shape of the kept axes

        =============================  =========
        column                         D
        =============================  =========
        fewer than 3 distinct values   NaN
        NaN and inf among the values   left out
        =============================  =========

    Raises
    ------
    InputError
        As `two_component_mixture`.

    References
    ----------
    K. M. Ashman, C. M. Bird and S. E. Zepf, Astronomical Journal 108 (1994), 2348-2361.
    """
    return two_component_mixture(x, axis, equal_variance=equal_variance).ashman_d


def mixture_test(
    x: ArrayLike,
    axis: Axis = 0,
    *,
    equal_variance: bool = False,
    replicates: int = 99,
    random_state: RandomState = None,
    ties: str = "atoms",
) -> MixtureTest:
    """Test one normal law against a mixture of two, for each column, by a parametric bootstrap.

    The statistic is that of `two_component_mixture`. Its law under one normal law is that in
    samples of N(0, 1), for shift and scale do not change it: the bootstrap of McLachlan draws
    `replicates` of those for each n that occurs, and all columns of the same n share them. The
    p-value is (b + 1) / (B + 1), where b of B replicates have a statistic at least as large.

    It is no test of bimodality: what it rejects is one normal law, and it rejects any skewed or
    heavy-tailed law with a single mode as well. `bimodal`, `valley` and `ashman_d` tell what the
    second component is; `dip_test` and `critical_bandwidth_test` ask for modes.

    Parameters
    ----------
    x, axis, equal_variance, ties
        As in `two_component_mixture`.
    replicates : int, default 99
        B; the smallest p-value is 1 / (B + 1). As columns share them, more cost little: take
        thousands where p-values of many columns are to be adjusted.
    random_state : int, numpy Generator or None, default None
        Seed of the bootstrap; the result of a column depends on it, on n and on the values only.

    Returns
    -------
    MixtureTest
        `statistic`, `pvalue`, `n`, `ashman_d`, `bimodal` and `valley` of the shape of the kept
        axes.

        =============================  =================================================
        column                         result
        =============================  =================================================
        fewer than 3 distinct values   NaN; not bimodal; n is counted
        NaN and inf among the values   left out
        =============================  =================================================

    Raises
    ------
    InputError
        As `two_component_mixture`, or if `replicates` is no positive whole number or
        `random_state` is none of the above.

    Notes
    -----
    Every n that occurs costs `replicates` fits: 99 take 0.15 s for n = 500, 1.1 s for n = 5,000.
    P-values of columns of the same n share the error of the simulation: with 199 replicates a test
    at .05 has a level of .05 give or take .015, the same for all columns.

    References
    ----------
    G. J. McLachlan, Applied Statistics 36 (1987), 318-324.

    Examples
    --------
    >>> import numpy as np
    >>> from distfit_nn.stats import mixture_test
    >>> x = np.random.default_rng(0).normal(size=(400, 2))
    >>> x[:200, 1] += 5
    >>> found = mixture_test(x, random_state=1)
    >>> found.bimodal.tolist(), float(found.pvalue[1])
    ([False, True], 0.01)
    """
    equal = _checks.flag(equal_variance, "equal_variance")
    spread = _checks.one_of(ties, ("atoms", "spread"), "ties") == "spread"
    nulls = NullStatistics(equal, _checks.positive_int(replicates, "replicates"), random_state)
    return MixtureTest(*per_column(x, axis, partial(mixture_test_of_rows, nulls, spread=spread)))


def mixture_of_rows(rows: Rows, *, equal: bool = False, spread: bool = False) -> tuple[Any, ...]:
    """Return the fields of `MixtureFit` for each row; `spread` works on a copy of the values."""
    if spread:
        rows = Rows(rows.values.copy(), rows.counts)
        spread_ties(rows.values, rows.counts)
    fits, converged = _fits(rows, equal)
    share, low, high, narrow, wide, statistic, centre, scale = fits
    weights, means, stds = np.stack([[share, 1 - share], [low, high], [narrow, wide]])
    bimodal, valley = valley_of(weights, means, stds)
    more = 2 if equal else 3  # parameters
    with np.errstate(over="ignore"):  # of values near the largest float64, as any of them may
        means, spreads = centre + scale * means, scale * stds
    return (
        statistic,
        rows.counts,
        weights,
        means,
        spreads,
        np.sqrt(2) * (high - low) / np.hypot(narrow, wide),
        statistic - more * np.log(np.maximum(rows.counts, 1)),
        bimodal,
        valley,
        converged,
    )


def mixture_test_of_rows(
    nulls: NullStatistics, rows: Rows, *, spread: bool = False
) -> tuple[Any, ...]:
    """Return the fields of `MixtureTest` for each row; `nulls` says with which bootstrap."""
    fit = MixtureFit(*mixture_of_rows(rows, equal=nulls.equal, spread=spread))
    pvalue = np.full(len(rows.counts), np.nan)
    fitted = np.isfinite(fit.statistic)
    for n in np.unique(rows.counts[fitted]):
        here = fitted & (rows.counts == n)
        null = nulls.of(int(n))
        above = len(null) - np.searchsorted(null, fit.statistic[here], side="left")
        pvalue[here] = (above + 1) / (len(null) + 1)
    return fit.statistic, pvalue, fit.n, fit.ashman_d, fit.bimodal, fit.valley


class NullStatistics:
    """Statistics of samples of N(0, 1), drawn once for each n, from a seed of its own."""

    def __init__(self, equal: bool, replicates: int, random_state: RandomState) -> None:
        self.equal = equal
        self.replicates = replicates
        self._seed = _checks.seed(random_state)
        self._known: dict[int, Float] = {}

    def of(self, n: int) -> Float:
        """Return the statistics for samples of n values, ascending."""
        if n not in self._known:
            self._known[n] = np.sort(self._drawn(n))
        return self._known[n]

    def _drawn(self, n: int) -> Float:
        generator = np.random.default_rng([self._seed, n])
        step = max(1, _DRAWN_AT_ONCE // n)
        parts = []
        for start in range(0, self.replicates, step):
            rows = min(step, self.replicates - start)
            values = np.sort(generator.standard_normal((rows, n)), axis=1)
            parts.append(_fits(Rows(values, np.full(rows, n)), self.equal)[0][5])
        return np.concatenate(parts)


def _fits(rows: Rows, equal: bool) -> tuple[Float, Bool]:
    """Return what `fit_rows` fills, transposed, and which rows have converged."""
    fits = np.empty((len(rows.counts), 8))
    converged = np.empty(len(rows.counts), bool)
    fit_rows(rows.values, rows.counts, equal, fits, converged)
    return fits.T, converged
