"""The tests of normality against scipy, statsmodels, printed tables, and their own null law."""

from __future__ import annotations

import importlib.util
import math
import warnings
from importlib import resources
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, special, stats
from statsmodels.stats import diagnostic

from distfit_nn.errors import InputError
from distfit_nn.stats.multiplicity import benjamini_hochberg, benjamini_yekutieli
from distfit_nn.stats.normality import tests as normal
from distfit_nn.stats.normality.kernel import _log_tail
from distfit_nn.stats.normality.null import null_pvalues
from distfit_nn.stats.normality.statistics import LEAST, modified_distance
from distfit_nn.stats.normality.units import normality_tests
from distfit_nn.stats.rows import sorted_rows
from tests import tolerances

FACES = {
    "jarque_bera": normal.jarque_bera,
    "dagostino": normal.dagostino,
    "anderson_darling": normal.anderson_darling,
    "lilliefors": normal.lilliefors,
    "shapiro_wilk": normal.shapiro_wilk,
}
SIMULATED = ("jarque_bera", "dagostino", "anderson_darling", "lilliefors")
FLOOR = 1 / 400_001
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
        got.pvalue, [w.pvalue for w in want], rtol=tolerances.SHAPIRO_PVALUE, atol=1e-12
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


LEVELS = (0.15, 0.10, 0.05, 0.025, 0.01)
ANDERSON = (0.561, 0.631, 0.752, 0.873, 1.035)
"""Critical values of A**2 with Stephens' factor: his table 4.7 in D'Agostino and Stephens,
Goodness-of-fit techniques (1986)."""
LILLIEFORS = {  # for 0.20 0.15 0.10 0.05 0.01
    4: (0.3027, 0.3216, 0.3456, 0.3754, 0.4129),
    5: (0.2893, 0.3027, 0.3188, 0.3427, 0.3959),
    10: (0.2171, 0.2273, 0.2410, 0.2616, 0.3037),
}
"""Critical values of D: H. Abdi and P. Molin, Lilliefors/Van Soest's test of normality (2007)."""


def test_pvalues_of_printed_critical_values():
    got = null_pvalues("anderson_darling", np.array(ANDERSON), np.full(5, 10**6))
    np.testing.assert_allclose(got, LEVELS, rtol=0.025)
    for n, values in LILLIEFORS.items():
        size = np.full(5, n)
        got = null_pvalues("lilliefors", modified_distance(np.array(values), size), size)
        np.testing.assert_allclose(got, (0.2, 0.15, 0.1, 0.05, 0.01), rtol=0.05)


@pytest.mark.parametrize("n", [30, 500, 5000])
def test_pvalues_agree_with_approximations(rng, n):
    """Stephens' formula for A**2, good to 0.002 below 0.1, and chi-squared in the limit."""
    x = rng.normal(size=(n, 200))
    got = normal.anderson_darling(x).pvalue
    want = np.array([diagnostic.normal_ad(column)[1] for column in x.T])
    np.testing.assert_allclose(got[want < 0.1], want[want < 0.1], atol=0.002)
    for name in ("jarque_bera", "dagostino"):
        statistic = np.array([1.0, 4.0, 9.0])
        limit = null_pvalues(name, statistic, np.full(3, 10**9))
        np.testing.assert_allclose(limit, np.exp(-statistic / 2), rtol=1e-3)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script that wrote the table."""
    path = Path(__file__).parents[2] / "analysis" / "normality_table.py"
    spec = importlib.util.spec_from_file_location("normality_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_is_what_the_script_writes(script):
    source = resources.files("distfit_nn.stats.normality").joinpath("null_quantiles.npz")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as table:
        stored = dict(table)
    assert stored["sizes"].tolist() == list(script.SIZES)
    assert stored["replicates"] == script.REPLICATES
    np.testing.assert_array_equal(stored["counts"], script.tail_counts(script.REPLICATES))
    for name in script.NAMES:
        assert stored[name].shape == (len(script.SIZES), len(stored["counts"]))
        known = stored["sizes"] >= LEAST[name]
        assert np.all(np.diff(stored[name][known], axis=1) >= 0)
        assert np.isnan(stored[name][~known]).all()
    assert len(source.read_bytes()) < 100_000


@pytest.mark.parametrize("n", [4, 7, 9, 26, 60, 400])
def test_pvalues_are_those_of_a_new_simulation(script, n):
    replicates = 20_000
    level = np.array([0.99, 0.9, 0.5, 0.2, 0.05, 0.01])
    error = np.sqrt(level * (1 - level) * (1 / replicates + FLOOR)) + 1 / replicates
    for name, row in zip(script.NAMES, script.null_statistics(n, replicates, seed=7), strict=True):
        if n < LEAST[name]:
            continue
        chosen = row[replicates - (level * replicates).astype(int)]
        got = null_pvalues(name, chosen, np.full(len(chosen), n))
        assert np.all(abs(got - level) <= tolerances.STANDARD_ERRORS * error)


@EACH
@pytest.mark.parametrize("n", [50, 500, 5000])
def test_calibration(name, n):
    rng = np.random.default_rng([3, n])
    pvalue = np.concatenate([FACES[name](rng.normal(size=(n, 100))).pvalue for _ in range(4)])
    for level in (0.05, 0.3):
        error = np.sqrt(level * (1 - level) / 400)
        assert abs(np.mean(pvalue < level) - level) <= tolerances.STANDARD_ERRORS * error


@pytest.mark.parametrize("name", SIMULATED)
def test_pvalue_falls_to_its_floor_as_the_statistic_grows(name):
    for n in (8, 11, 63, 1234, 4999, 5001, 10**9):
        pvalue = null_pvalues(name, np.linspace(0, 200, 4000), np.full(4000, n))
        assert np.all(np.diff(pvalue) <= 0)
        assert pvalue[0] == pytest.approx(1, abs=1e-5)
        assert pvalue[-1] == pytest.approx(FLOOR, rel=tolerances.FEW_ROUNDINGS)


@pytest.mark.parametrize("name", SIMULATED)
def test_pvalue_does_not_jump_in_n(name):
    """Each next size has nearly the p-values of the one before: beyond the table, too."""
    n = np.array([*range(20, 60), *np.geomspace(60, 10**7, 400).astype(int)])
    for statistic in (0.7, 1.0) if name in ("anderson_darling", "lilliefors") else (1.5, 6.0):
        pvalue = null_pvalues(name, np.full(len(n), statistic), n)
        assert np.all(abs(np.diff(np.log(pvalue))) < 0.1)


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


@pytest.mark.parametrize("correction", ["bh", "by"])
def test_units(rng, correction):
    x = rng.normal(size=(200, 4, 6))
    x[:, 1] = rng.gamma(1, size=(200, 6))
    x[5:, 3, 3] = np.nan  # too few for dagostino
    found = normality_tests(x, alpha=0.01, correction=correction)
    adjust = {"bh": benjamini_hochberg, "by": benjamini_yekutieli}[correction]
    for name, face in FACES.items():
        np.testing.assert_array_equal(found.results[name], face(x))
        np.testing.assert_array_equal(found.qvalues[name], adjust(face(x).pvalue))
        assert found.rejected[name][1].all()
        assert found.rejected[name][[0, 2, 3]].mean() < 0.1
    assert np.isnan(found.qvalues["dagostino"][3, 3])
    assert found.results["lilliefors"].n[3, 3] == 5
    frame = found.to_frame()
    assert list(frame.columns[:4]) == ["n", "skewness", "kurtosis", "jarque_bera_statistic"]
    assert len(frame) == 24
    np.testing.assert_array_equal(
        frame["lilliefors_distance"], found.results["lilliefors"].distance.ravel()
    )
    np.testing.assert_array_equal(
        frame["shapiro_wilk_rejected"], found.rejected["shapiro_wilk"].ravel()
    )


def test_some_tests_of_one_column(rng):
    found = normality_tests(rng.normal(size=50), tests=("lilliefors", "jarque_bera"))
    assert list(found.results) == ["lilliefors", "jarque_bera"]
    for name, q in found.qvalues.items():
        assert q == found.results[name].pvalue
    assert found.to_frame().shape == (1, 12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tests": ()}, r"at least one test, and each once, got \(\)"),
        ({"tests": ("lilliefors",) * 2}, "at least one test, and each once"),
        ({"tests": ("ks",)}, "each of tests must be one of .* got 'ks'"),
        ({"alpha": 1.0}, r"alpha must be in \(0, 1\), got 1.0"),
        ({"alpha": "x"}, r"alpha must be in \(0, 1\), got 'x'"),
        ({"correction": "holm"}, "correction must be one of 'bh', 'by', got 'holm'"),
    ],
)
def test_bad_arguments_of_units(arguments, message):
    with pytest.raises(InputError, match=message):
        normality_tests([1.0, 2.0], **arguments)


def test_false_discoveries_over_units(rng):
    """Of 200 units 150 are normal: the expected share of these among the rejected is kept."""
    shares = []
    for _ in range(20):
        x = rng.normal(size=(100, 200))
        x[:, 150:] = rng.gamma(2, size=(100, 50))
        rejected = normality_tests(x, tests=("anderson_darling",)).rejected["anderson_darling"]
        shares.append(rejected[:150].sum() / max(rejected.sum(), 1))
        assert rejected[150:].mean() > 0.7
    slack = tolerances.STANDARD_ERRORS * np.std(shares) / np.sqrt(20)
    assert np.mean(shares) <= 0.05 + slack
