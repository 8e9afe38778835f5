"""Five tests of normality, for each column of an array; effect sizes stand beside p-values."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from distfit_nn.stats.normality import shapiro, statistics
from distfit_nn.stats.normality.kernel import distances_of_rows, shape_of_rows
from distfit_nn.stats.normality.null import null_pvalues
from distfit_nn.stats.rows import Axis, Float, Int, Rows, per_column


class MomentTest(NamedTuple):
    """A test by skewness g1 and excess kurtosis g2, which are its effect sizes.

    Attributes
    ----------
    statistic, pvalue : float64 arrays
    n : int64 array
        Finite values.
    skewness, kurtosis : float64 arrays
        g1 and g2 of the sample, without bias correction.
    """

    statistic: Float
    pvalue: Float
    n: Int
    skewness: Float
    kurtosis: Float


class DistanceTest(NamedTuple):
    """A test by a distance to the normal law that was fitted; that distance is its effect size.

    Attributes
    ----------
    statistic, pvalue : float64 arrays
    n : int64 array
        Finite values.
    distance : float64 array
        Free of n in the limit, for a law that is not normal.
    """

    statistic: Float
    pvalue: Float
    n: Int
    distance: Float


class ShapiroTest(NamedTuple):
    """Shapiro and Wilk's W, and 1 - W as the effect size.

    Attributes
    ----------
    statistic, pvalue : float64 arrays
    n : int64 array
        Finite values.
    departure : float64 array
        1 - W, computed without cancellation.
    """

    statistic: Float
    pvalue: Float
    n: Int
    departure: Float


TestResult = MomentTest | DistanceTest | ShapiroTest


def jarque_bera(x: ArrayLike, axis: Axis = 0) -> MomentTest:
    """Jarque and Bera's test of normality, for each column of x, with calibrated p-values.

    The statistic is n / 6 (g1**2 + g2**2 / 4), of the skewness g1 and the excess kurtosis g2 of
    the sample, which are also the effect sizes: a symmetric law with heavy tails has a large g2.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        Read as float64; NaN and infinite values are left out.
    axis : int, tuple of ints or None, default 0
        The axes to reduce, as in NumPy.

    Returns
    -------
    MomentTest
        `statistic`, `pvalue`, `n`, `skewness` and `kurtosis`, each of the shape of the kept axes;
        `n` counts the finite values.

        =======================  ==================  ==================
        column                   skewness, kurtosis  statistic, pvalue
        =======================  ==================  ==================
        no value, or one         NaN                 NaN
        all values equal         NaN                 NaN
        two or three values      as computed         NaN
        two distinct values      as computed         as computed
        NaN and inf              left out            left out
        =======================  ==================  ==================

    Raises
    ------
    InputError
        If x is not an array of real numbers or `axis` does not name axes of it.

    Notes
    -----
    By the chi-squared law that the statistic has in the limit, p < 0.001 would come five times too
    often at n = 500, and twice at 5,000. P-values are read from the law simulated for each of 31
    sample sizes with 400,000 normal samples, whose standard error is sqrt(p (1 - p) / 400,000);
    they are never below 1/400001. Above n = 5,000 they are interpolated between that size and the
    limit. All of it is free of location and scale.

    References
    ----------
    C. M. Jarque and A. K. Bera, A test for normality of observations and regression residuals,
    International Statistical Review 55 (1987).
    """
    return MomentTest(*per_column(x, axis, _by_shape(_jarque_bera)))


def dagostino(x: ArrayLike, axis: Axis = 0) -> MomentTest:
    """D'Agostino and Pearson's test of normality, for each column of x, with calibrated p-values.

    The statistic K**2 adds the squares of the skewness and of the kurtosis, each transformed to
    nearly N(0, 1), by Johnson's curve and by a cube root. P-values are simulated as those of
    `jarque_bera`.

    Parameters
    ----------
    x, axis
        As in `jarque_bera`.

    Returns
    -------
    MomentTest
        `statistic`, `pvalue`, `n`, `skewness` and `kurtosis`, each of the shape of the kept axes.

        =======================  ==================  ==================
        column                   skewness, kurtosis  statistic, pvalue
        =======================  ==================  ==================
        no value, or one         NaN                 NaN
        all values equal         NaN                 NaN
        two to seven values      as computed         NaN
        two distinct values      as computed         as computed
        NaN and inf              left out            left out
        =======================  ==================  ==================

    Raises
    ------
    InputError
        If x is not an array of real numbers or `axis` does not name axes of it.

    References
    ----------
    R. D'Agostino and E. S. Pearson, Tests for departure from normality, Biometrika 60 (1973);
    F. J. Anscombe and W. J. Glynn, Distribution of the kurtosis statistic b2 for normal samples,
    Biometrika 70 (1983).
    """
    return MomentTest(*per_column(x, axis, _by_shape(_dagostino)))


def anderson_darling(x: ArrayLike, axis: Axis = 0) -> DistanceTest:
    """Anderson and Darling's test of normality, mean and variance estimated, for each column of x.

    The statistic is A**2 = n times the integral of (F_n - F)**2 / (F (1 - F)) dF, with F_n the
    empirical distribution function and F that of the normal law of the same mean and variance
    (with n - 1). The effect size `distance` is A**2 / n, the integral alone: for a law that is not
    normal it tends to a number that does not depend on n; for a normal one it is about 0.4 / n.

    Parameters
    ----------
    x, axis
        As in `jarque_bera`.

    Returns
    -------
    DistanceTest
        `statistic`, `pvalue`, `n` and `distance`, each of the shape of the kept axes.

        =======================  ===================  ===========
        column                   statistic, distance  pvalue
        =======================  ===================  ===========
        no value, or one         NaN                  NaN
        all values equal         NaN                  NaN
        two or three values      as computed          NaN
        two distinct values      as computed          as computed
        NaN and inf              left out             left out
        =======================  ===================  ===========

    Raises
    ------
    InputError
        If x is not an array of real numbers or `axis` does not name axes of it.

    Notes
    -----
    P-values come from the law of A**2 (1 + 0.75/n + 2.25/n**2), simulated as for `jarque_bera`,
    with the same floor. Values that are rounded coarsely are not normal, and a large sample shows
    it: the sums take ties as they are.

    References
    ----------
    T. W. Anderson and D. A. Darling, A test of goodness of fit, J. Am. Statist. Assoc. 49 (1954);
    M. A. Stephens, EDF statistics for goodness of fit and some comparisons, J. Am. Statist. Assoc.
    69 (1974).
    """
    return DistanceTest(*per_column(x, axis, _by_distance(_anderson_darling)))


def lilliefors(x: ArrayLike, axis: Axis = 0) -> DistanceTest:
    """Lilliefors' test of normality, mean and variance estimated, for each column of x.

    The statistic is the Kolmogorov-Smirnov distance D = max |F_n - F| to the normal law of the
    same mean and variance (with n - 1). It is its own effect size: in [0, 1] and, for a law that is
    not normal, free of n in the limit; for a normal one it is about 0.6 / sqrt(n). P-values come
    from the simulated law of sqrt(n) D + 1 / (6 sqrt(n)), with the same floor as for `jarque_bera`.

    Parameters
    ----------
    x, axis
        As in `jarque_bera`.

    Returns
    -------
    DistanceTest
        `statistic`, `pvalue`, `n` and `distance`, which is the statistic, each of the shape of the
        kept axes.

        =======================  ===================  ===========
        column                   statistic, distance  pvalue
        =======================  ===================  ===========
        no value, or one         NaN                  NaN
        all values equal         NaN                  NaN
        two or three values      as computed          NaN
        two distinct values      as computed          as computed
        NaN and inf              left out             left out
        =======================  ===================  ===========

    Raises
    ------
    InputError
        If x is not an array of real numbers or `axis` does not name axes of it.

    References
    ----------
    H. W. Lilliefors, On the Kolmogorov-Smirnov test for normality with mean and variance unknown,
    J. Am. Statist. Assoc. 62 (1967).
    """
    return DistanceTest(*per_column(x, axis, _by_distance(_lilliefors)))


def shapiro_wilk(x: ArrayLike, axis: Axis = 0) -> ShapiroTest:
    """Shapiro and Wilk's test of normality, for each column of x.

    W is the squared correlation, at most 1, of the sorted values with weights near the expected
    ones of normal order statistics; the effect size `departure` is 1 - W.

    Parameters
    ----------
    x, axis
        As in `jarque_bera`.

    Returns
    -------
    ShapiroTest
        `statistic`, `pvalue`, `n` and `departure`, each of the shape of the kept axes.

        =========================  ====================================================
        column                     statistic, pvalue, departure
        =========================  ====================================================
        no value, one, or two      NaN
        all values equal           NaN
        more than 5,000 values     NaN: the approximation of the null law ends there
        three, or two distinct     as computed
        NaN and inf                left out
        =========================  ====================================================

    Raises
    ------
    InputError
        If x is not an array of real numbers or `axis` does not name axes of it.

    Notes
    -----
    Weights and p-values by Royston's approximations, exact at n = 3; p-values below 0.001 are
    extrapolations, and near n = 5,000 the test is conservative: 4.5% of normal samples have
    p < 0.05. Never 0: at least 2.2e-308. The weights depend on n alone, so that columns of one n
    cost a matrix product.

    References
    ----------
    S. S. Shapiro and M. B. Wilk, An analysis of variance test for normality, Biometrika 52 (1965);
    P. Royston, Remark AS R94, Applied Statistics 44 (1995).
    """
    return ShapiroTest(*per_column(x, axis, _shapiro_wilk))


def _jarque_bera(skewness: Float, kurtosis: Float, n: Int) -> MomentTest:
    size = np.where(n >= statistics.LEAST["jarque_bera"], n, np.nan)
    statistic = statistics.jarque_bera_statistic(skewness, kurtosis, size)
    pvalue = null_pvalues("jarque_bera", statistic, n)
    return MomentTest(statistic, pvalue, n, skewness, kurtosis)


def _dagostino(skewness: Float, kurtosis: Float, n: Int) -> MomentTest:
    statistic = statistics.dagostino_statistic(skewness, kurtosis, n)
    pvalue = null_pvalues("dagostino", statistic, n)
    return MomentTest(statistic, pvalue, n, skewness, kurtosis)


def _anderson_darling(squares: Float, _: Float, n: Int) -> DistanceTest:
    size = np.where(n >= statistics.LEAST["anderson_darling"], n, np.nan)
    modified = statistics.modified_square(squares, size)
    pvalue = null_pvalues("anderson_darling", modified, n)
    return DistanceTest(squares, pvalue, n, squares / np.maximum(n, 1))


def _lilliefors(_: Float, distance: Float, n: Int) -> DistanceTest:
    size = np.where(n >= statistics.LEAST["lilliefors"], n, np.nan)
    modified = statistics.modified_distance(distance, size)
    pvalue = null_pvalues("lilliefors", modified, n)
    return DistanceTest(distance, pvalue, n, distance)


def _shapiro_wilk(rows: Rows) -> ShapiroTest:
    departure, pvalue, n = shapiro.shapiro_statistics(rows)
    return ShapiroTest(1 - departure, pvalue, n, departure)


_Measure = Callable[[Float, Float, Int], TestResult]
_OF_SHAPE: dict[str, _Measure] = {"jarque_bera": _jarque_bera, "dagostino": _dagostino}
_OF_DISTANCE: dict[str, _Measure] = {
    "anderson_darling": _anderson_darling,
    "lilliefors": _lilliefors,
}
TESTS = (*_OF_SHAPE, *_OF_DISTANCE, "shapiro_wilk")
QUICK = ("jarque_bera", "anderson_darling", "lilliefors")


def _by_shape(measure: _Measure) -> Callable[[Rows], TestResult]:
    return lambda rows: measure(*shape_of_rows(rows.values, rows.counts), rows.counts)


def _by_distance(measure: _Measure) -> Callable[[Rows], TestResult]:
    return lambda rows: measure(*distances_of_rows(rows.values, rows.counts), rows.counts)


def normality_of_rows(rows: Rows, tests: tuple[str, ...] = QUICK) -> dict[str, TestResult]:
    """Return the results of some tests of `TESTS` for each row, what they share computed once.

    `rows` is left as it is. The tests by distance cost 20 ns a value, the others less than 5.
    """
    results: dict[str, TestResult] = {}
    for group, shared in ((_OF_SHAPE, shape_of_rows), (_OF_DISTANCE, distances_of_rows)):
        wanted = [name for name in group if name in tests]
        if wanted:
            pair = shared(rows.values, rows.counts)
            results |= {name: group[name](*pair, rows.counts) for name in wanted}
    if "shapiro_wilk" in tests:
        results["shapiro_wilk"] = _shapiro_wilk(rows)
    return {name: results[name] for name in tests}
