"""The tests of normality against scipy and statsmodels, their laws, and bad input."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, special, stats
from statsmodels.stats import diagnostic

from distfit_nn.errors import InputError
from distfit_nn.stats.normality import tests as normal
from distfit_nn.stats.normality.kernel import _log_tail
from distfit_nn.stats.rows import sorted_rows
from tests import tolerances

FACES = {name: getattr(normal, name) for name in normal.TESTS}
EACH = pytest.mark.parametrize("name", FACES)

FAMILIES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "shifted": lambda rng, n: 1e6 + rng.normal(size=n),
    "gamma": lambda rng, n: rng.gamma(2, size=n),
    "uniform": lambda rng, n: rng.random(n),
    "t": lambda rng, n: rng.standard_t(3, size=n),
    "rounded": lambda rng, n: np.round(rng.normal(size=n), 1),
    "relu": lambda rng, n: np.maximum(rng.normal(size=n), 0),
}


def oracle(name: str, x: np.ndarray) -> float:
    """The statistic by scipy or statsmodels, of values brought near 0, where they are exact."""
    x = (x - x[0]) / np.ptp(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about their p-values
        return float(
            {
                "jarque_bera": lambda: stats.jarque_bera(x).statistic,
                "dagostino": lambda: stats.normaltest(x).statistic,
                "anderson_darling": lambda: stats.anderson(x).statistic,
                "lilliefors": lambda: diagnostic.lilliefors(x)[0],
                "shapiro_wilk": lambda: stats.shapiro(x).statistic,
            }[name]()
        )


@EACH
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n", [8, 20, 301, 4000])
def test_statistics_agree_with_scipy_and_statsmodels(rng, name, family, n):
    x = FAMILIES[family](rng, n)
    got, want = FACES[name](x), oracle(name, x)
    error = tolerances.normality_error(name, n, want)
    assert got.statistic == pytest.approx(want, abs=error)
    assert got.n == n


@EACH
def test_effect_sizes(rng, name):
    x = rng.gamma(3, size=(400, 3))
    got = FACES[name](x)
    if name in ("jarque_bera", "dagostino"):
        rounding = tolerances.power_sum_error(400, 4) * 10  # in units of std**4, below 10 here
        np.testing.assert_allclose(got.skewness, stats.skew(x), atol=rounding)
        np.testing.assert_allclose(got.kurtosis, stats.kurtosis(x), atol=rounding)
    elif name == "shapiro_wilk":
        np.testing.assert_allclose(got.departure, 1 - got.statistic, atol=tolerances.eps())
    else:
        scale = 400 if name == "anderson_darling" else 1
        np.testing.assert_allclose(
            got.distance, got.statistic / scale, rtol=tolerances.FEW_ROUNDINGS
        )


@pytest.mark.parametrize("name", ["anderson_darling", "lilliefors", "shapiro_wilk"])
def test_effect_sizes_do_not_grow_with_n(name):
    """At quantiles of a gamma law they tend to a number, where statistics and p-values run off."""
    few, many = (
        FACES[name](special.gammaincinv(2, (np.arange(n) + 0.5) / n))[-1] for n in (1000, 4000)
    )
    assert few == pytest.approx(many, rel=0.1)


def test_anderson_darling_is_its_integral(rng):
    x = np.sort(rng.gamma(2, size=7))
    law = stats.norm(x.mean(), x.std(ddof=1))

    def integrand(u: float, share: float) -> float:
        return (share - u) ** 2 / (u * (1 - u))

    edges = [0, *law.cdf(x), 1]
    pieces = [
        integrate.quad(integrand, *edges[k : k + 2], args=(k / 7,), epsabs=1e-13)[0]
        for k in range(8)
    ]
    want = 7 * math.fsum(pieces)
    assert normal.anderson_darling(x).statistic == pytest.approx(want, rel=tolerances.QUADRATURE)


@pytest.mark.parametrize("sign", [1, -1])
def test_far_tails(rng, sign):
    """An outlier at 70 standard deviations: the tail underflows, its logarithm does not."""
    x = np.append(np.linspace(-1, 1, 4999), sign * 1e6)
    z = np.sort((x - x.mean()) / x.std(ddof=1))
    n, i = len(z), np.arange(1, len(z) + 1)
    terms = (2 * i - 1) * (special.log_ndtr(z) + special.log_ndtr(-z[::-1]))
    want = -n - math.fsum(terms) / n
    assert abs(z).max() > 70
    error = tolerances.normality_error("anderson_darling", n, want)
    assert normal.anderson_darling(x).statistic == pytest.approx(want, abs=error)


def test_logarithm_of_a_far_tail():
    for t in (36.9, 37.0, 38.0, 60.0, 1e3):
        got, want = _log_tail(t, 0.5 * math.erfc(t / math.sqrt(2))), special.log_ndtr(-t)
        assert got == pytest.approx(want, rel=tolerances.LOG_TAIL)


@pytest.mark.parametrize("n", [3, 4, 5, 6, 11, 12, 30, 500, 5000])
def test_shapiro_pvalues_are_scipys(rng, n):
    x = np.stack([rng.normal(size=n), rng.gamma(3, size=n), rng.random(n)], axis=1)
    got = normal.shapiro_wilk(x)
    want = [stats.shapiro(column) for column in x.T]
    np.testing.assert_allclose(got.statistic, [w.statistic for w in want], atol=tolerances.SHAPIRO)
    np.testing.assert_allclose(
        got.pvalue,
        [w.pvalue for w in want],
        rtol=tolerances.SHAPIRO_PVALUE,
        atol=tolerances.CLOSED_FORM,
    )


def test_shapiro_where_n_does_not_allow(rng):
    x = rng.normal(size=(5001, 2))
    x[0, 0] = np.nan
    got = normal.shapiro_wilk(x)
    assert np.isfinite(got.pvalue[0])
    assert np.isnan([got.statistic[1], got.pvalue[1], got.departure[1]]).all()
    assert got.n.tolist() == [5000, 5001]
    far = normal.shapiro_wilk(np.append(np.zeros(4000), 1e9) + rng.normal(size=4001))
    assert 0 < far.pvalue < 1e-30


VALUES = st.lists(st.integers(-40, 40), min_size=8, max_size=40)


@EACH
@given(values=VALUES, random=st.randoms(), power=st.integers(-300, 300))
def test_laws_of_invariance(name, values, random, power):
    x = np.array(values, dtype=float)
    assume(np.ptp(x) > 0)
    got = FACES[name](x)
    random.shuffle(values)
    for same in (np.array(values), x * 2.0**power, x + 2.0**45):
        np.testing.assert_array_equal(FACES[name](same), got)
    mirrored, error = FACES[name](-x), tolerances.normality_error(name, len(x), got.statistic)
    assert mirrored.statistic == pytest.approx(got.statistic, abs=error)
    if name in ("jarque_bera", "dagostino"):
        assert mirrored.skewness == pytest.approx(-got.skewness, abs=error)
    if name == "shapiro_wilk":
        assert 0 <= got.departure < 1
    elif name == "lilliefors":
        assert 0.5 / len(x) <= got.statistic < 1
    else:
        assert got.statistic > 0
    assert 0 < got.pvalue <= 1


@EACH
def test_columns_axes_and_left_out_values(rng, name):
    x = rng.gamma(2, size=(40, 3, 4))
    x[rng.random(x.shape) < 0.2] = np.nan
    x[0], x[1] = np.inf, -np.inf
    x[:, 1, 2] = np.nan
    got, moved = FACES[name](x), FACES[name](np.moveaxis(x, 0, 2), axis=-1)
    for j in range(3):
        for k in range(4):
            column = x[:, j, k]
            alone = FACES[name](column[np.isfinite(column)])
            for whole in (got, moved):
                here = [part[j, k] for part in whole]
                np.testing.assert_allclose(here, alone, rtol=tolerances.sum_error(40**2))
    assert FACES[name](x, axis=None).pvalue.shape == ()
    assert FACES[name](np.empty((5, 0))).pvalue.shape == (0,)


@EACH
@pytest.mark.parametrize("dtype", ["float16", "float32", "int16", "bool"])
def test_dtypes_and_tensors(rng, name, dtype):
    x = (10 * rng.normal(size=(200, 2))).astype(dtype)
    want = FACES[name](x.astype(float))
    np.testing.assert_array_equal(FACES[name](x), want)
    np.testing.assert_array_equal(FACES[name](torch.tensor(x)), want)
    assert FACES[name](torch.tensor(x, dtype=torch.bfloat16)).n.tolist() == [200, 200]


TWENTY = np.linspace(-1, 1, 20)
BAD = {  # what is given, n, which tests have a p-value
    "none": ([], 0, "nobody"),
    "one": ([1.0], 1, "nobody"),
    "two": ([1.0, 2.0], 2, "nobody"),
    "three": ([1.0, 2.0, 4.0], 3, "shapiro_wilk"),
    "five": ([1.0, 2.0, 4.0, 5.0, 7.0], 5, "all but dagostino"),
    "equal": ([3.0] * 50, 50, "nobody"),
    "two values": ([0.0] * 25 + [1.0] * 25, 50, "all"),
    "nan": ([np.nan] * 10, 0, "nobody"),
    "inf": ([np.inf, -np.inf, *TWENTY], 20, "all"),
    "ints": (np.arange(20), 20, "all"),
    "float16": (np.array([6e4, 6.1e4, 6.2e4, 6.5e4] * 5, np.float16), 20, "all"),
    "huge": (1e300 * TWENTY, 20, "all"),
    "widest": (1.7e308 * TWENTY, 20, "all"),
    "smallest": (1e-310 * TWENTY, 20, "all"),
    "no spread": (np.array([5e-324, 0.0] * 10), 20, "nobody"),
}


@EACH
@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("error")
def test_normality_bad_input(name, case):
    x, n, judges = BAD[case]
    got = FACES[name](np.asarray(x))
    judged = judges == "all" or name == judges or (judges[:3] == "all" and name not in judges)
    assert got.n == n
    assert np.isfinite(got.pvalue) == judged
    if judged:
        assert np.isfinite(got).all()
        assert 0 < got.pvalue <= 1


@EACH
def test_bad_arguments(name):
    with pytest.raises(InputError, match="axis"):
        FACES[name]([1.0, 2.0], axis=1)
    with pytest.raises(InputError, match="real numbers"):
        FACES[name](["a", "b"])


def test_rows_share_what_the_tests_share(rng):
    x = rng.gamma(4, size=(100, 5))
    rows = sorted_rows(x)
    before = rows.values.copy()
    got = normal.normality_of_rows(rows, normal.TESTS)
    np.testing.assert_array_equal(rows.values, before)
    assert tuple(got) == tuple(FACES)
    for name, result in got.items():
        np.testing.assert_array_equal(result, FACES[name](x))
    assert tuple(normal.normality_of_rows(rows)) == normal.QUICK
