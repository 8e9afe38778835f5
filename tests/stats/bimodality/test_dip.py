"""The dip against its definition and diptest, and its p-values."""

from __future__ import annotations

import importlib.util
from importlib import resources
from pathlib import Path
from types import ModuleType

import diptest
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from distfit_nn.errors import InputError
from distfit_nn.stats import DipResult, dip_test, rows
from distfit_nn.stats.bimodality.dip import _null_tail, null_pvalues
from tests import tolerances

FLOOR = 1 / 100_001


def dip_with_mode(v: np.ndarray, left: np.ndarray, right: np.ndarray, mode: int) -> float:
    """Least distance of F to curves that are convex before ``v[mode]`` and concave after it.

    F jumps from ``left[k]`` to ``right[k]`` at ``v[k]``. The unknowns are the distance, the curve
    at ``v[0..mode]`` (at the mode: just left of it), and at ``v[mode..]``; all rows are <= 0.
    """
    convex = np.arange(1, mode + 2)
    concave = np.arange(mode + 2, len(v) + 2)
    total = len(v) + 2
    rows, bounds = [], []

    def require(terms: dict[int, float], bound: float = 0.0) -> None:
        row = np.zeros(total)
        for column, factor in terms.items():
            row[column] += factor
        rows.append(row)
        bounds.append(bound)

    def near(column: int, low: float, high: float) -> None:
        require({column: 1, 0: -1}, low)
        require({column: -1, 0: -1}, -high)

    def bend(columns: np.ndarray, points: np.ndarray, sign: int) -> None:
        for k in range(1, len(columns) - 1):
            before, after = 1 / (points[k] - points[k - 1]), 1 / (points[k + 1] - points[k])
            a, b, c = columns[k - 1 : k + 2]
            require({a: -sign * before, b: sign * (before + after), c: -sign * after})

    for k, column in enumerate(convex):
        near(column, left[k], left[k] if k == mode else right[k])
    for k, column in enumerate(concave, start=mode):
        near(column, right[k] if k == mode else left[k], right[k])
    for column in range(1, total - 1):
        require({column: 1, column + 1: -1})
    bend(convex, v[: mode + 1], 1)
    bend(concave, v[mode:], -1)
    limits = [(0, None)] + [(0, 1)] * (total - 1)
    solution = linprog(np.eye(total)[0], A_ub=np.array(rows), b_ub=bounds, bounds=limits)
    return float(solution.fun)


def dip_by_definition(x: np.ndarray) -> float:
    """Distance of the empirical distribution function to the unimodal ones, mode by mode."""
    v, counts = np.unique(x, return_counts=True)
    right = np.cumsum(counts) / len(x)
    left = right - counts / len(x)
    return min(dip_with_mode(v, left, right, mode) for mode in range(len(v)))


def oracle(x: np.ndarray) -> float:
    """Diptest's value; by our convention 0, not 1/(2n), where all values are equal."""
    return 0.0 if np.ptp(x) == 0 else float(diptest.dipstat(x, allow_zero=False))


FAMILIES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.random(n),
    "bimodal": lambda rng, n: rng.normal(size=n) + 5 * (rng.random(n) < 0.4),
    "cauchy": lambda rng, n: rng.standard_cauchy(n),
    "few values": lambda rng, n: rng.integers(0, 6, n).astype(float),
    "rounded": lambda rng, n: np.round(rng.normal(size=n), 1),
    "relu": lambda rng, n: np.maximum(rng.normal(size=n), 0),
    "equal": lambda _, n: np.full(n, 0.1),
    "sorted": lambda rng, n: np.sort(rng.normal(size=n)),
    "descending": lambda rng, n: -np.sort(rng.gamma(1.0, size=n)),
    "equally spaced": lambda _, n: np.arange(n, dtype=float),
    "two scales": lambda rng, n: rng.normal(size=n) * 10.0 ** rng.integers(-8, 8, n),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n", [*range(1, 11), 37, 500, 5000])
def test_dip_agrees_with_diptest(rng, family, n):
    for _ in range(10):
        x = FAMILIES[family](rng, n)
        assert dip_test(x).statistic == pytest.approx(oracle(x), abs=tolerances.DIP)


# Rounded, because diptest loses differences below the smallest normal number.
NUMBERS = st.integers(-5, 5) | st.floats(-1e3, 1e3).map(lambda value: round(value, 12))


@given(st.lists(NUMBERS, min_size=1, max_size=60))
def test_dip_agrees_with_diptest_on_lists(values):
    x = np.array(values, dtype=float)
    assert dip_test(x).statistic == pytest.approx(oracle(x), abs=tolerances.DIP)


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"two scales"}))  # too stiff for them
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 12])
def test_dip_agrees_with_its_definition(rng, family, n):
    for _ in range(2):
        x = FAMILIES[family](rng, n)
        got = dip_test(x).statistic
        assert got == pytest.approx(dip_by_definition(x), abs=tolerances.DIP_LINEAR_PROGRAM)


def test_known_dips():
    assert dip_test([0.0, 0.0, 1.0, 1.0]).statistic == 0.25
    assert dip_test([0.0] * 3 + [1.0] * 2).statistic == 0.2
    assert dip_test([0.0, *[1.0] * 5, 2.0]).statistic == 1 / 14
    assert dip_test([5.0] * 9).statistic == 0


@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=40), st.randoms(), st.integers(-300, 300)
)
def test_dip_laws(values, random, power):
    x = np.array(values, dtype=float)
    got = dip_test(x).statistic
    assert got == 0 if np.ptp(x) == 0 else 0.5 / len(x) - tolerances.DIP <= got <= 0.25
    assert dip_test(-x).statistic == pytest.approx(got, abs=tolerances.DIP)
    assert dip_test(x * 2.0**power).statistic == got
    random.shuffle(values)
    assert dip_test(np.array(values)).statistic == got


def test_columns_axes_and_left_out_values(rng):
    x = rng.normal(size=(60, 3, 4))
    x[rng.random(x.shape) < 0.2] = np.nan
    x[:3], x[3] = np.inf, -np.inf
    x[:, 1, 2] = np.nan
    got = dip_test(x)
    moved = dip_test(np.moveaxis(x, 0, 2), axis=-1)
    pooled = dip_test(x, axis=(0, 2))
    for j in range(3):
        row = x[:, j, :].ravel()
        assert pooled.statistic[j] == dip_test(row[np.isfinite(row)]).statistic
        for k in range(4):
            column = x[:, j, k][np.isfinite(x[:, j, k])]
            alone = dip_test(column)
            here = [part[j, k] for part in got]
            np.testing.assert_array_equal(here, alone)
            np.testing.assert_array_equal(here, [part[j, k] for part in moved])
            assert alone.n == len(column)
    assert isinstance(got, DipResult)
    assert got.n[1, 2] == 0
    assert np.isnan(got.pvalue[1, 2])


@pytest.mark.parametrize("dtype", ["float16", "float32", "int16", "bool"])
def test_dtypes_and_tensors(rng, dtype):
    x = (10 * rng.normal(size=(200, 2))).astype(dtype)
    want = dip_test(x.astype(float))
    np.testing.assert_array_equal(dip_test(x), want)
    np.testing.assert_array_equal(dip_test(torch.tensor(x)), want)


def test_input_is_left_alone(rng):
    x = rng.normal(size=(50, 1))
    before = x.copy()
    dip_test(x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.filterwarnings("error")
def test_extreme_values(rng):
    for x in (rng.normal(size=100), rng.random(100) ** 4, rng.integers(-9, 9, 100).astype(float)):
        huge = x / abs(x).max() * 1.7e308
        want = dip_test(x).statistic
        assert dip_test(huge).statistic == pytest.approx(want, abs=tolerances.DIP)
    assert dip_test(np.array([-1.7e308, 1.7e308, 0.0, 1.0])).statistic == 0.125
    assert dip_test(np.array([5e-324, 0.0, 5e-324, 0.0])).statistic == 0.25
    assert dip_test(np.empty((4, 0))).pvalue.shape == (0,)
    assert dip_test(np.empty((0, 2))).n.tolist() == [0, 0]


def test_bad_input():
    with pytest.raises(InputError, match="axis"):
        dip_test([1.0, 2.0], axis=1)
    with pytest.raises(InputError, match="real numbers"):
        dip_test(["a", "b"])


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script that wrote the table."""
    path = Path(__file__).parents[3] / "analysis" / "dip_table.py"
    spec = importlib.util.spec_from_file_location("dip_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def standard_error(p: np.ndarray, replicates: int) -> np.ndarray:
    """Of the difference of two simulated tail probabilities, one from the table."""
    return np.sqrt(p * (1 - p) * (1 / replicates + FLOOR)) + 1 / replicates


def test_table_is_what_the_script_writes(script):
    source = resources.files("distfit_nn.stats.bimodality").joinpath("dip_quantiles.npz")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as table:
        stored = dict(table)
    assert stored["sizes"].tolist() == [*script.SIZES, np.inf]
    assert stored["replicates"] == script.REPLICATES
    np.testing.assert_array_equal(stored["counts"], script.tail_counts(script.REPLICATES))
    assert stored["quantiles"].shape == (len(script.SIZES) + 1, len(stored["counts"]))
    np.testing.assert_array_equal(
        stored["quantiles"][-1], script.limit_row(stored["quantiles"][:-1])
    )
    assert np.all(np.diff(stored["quantiles"], axis=1) >= 0)
    assert len(source.read_bytes()) < 200_000


@pytest.mark.parametrize("n", [4, 5, 9, 15, 27, 55, 120, 400])
def test_pvalues_are_those_of_a_new_simulation(script, n):
    replicates = 20_000
    dips = script.null_dips(n, replicates, seed=99)
    counts = (np.array([0.99, 0.9, 0.7, 0.5, 0.2, 0.05, 0.01]) * replicates).astype(int)
    chosen = dips[replicates - counts] / np.sqrt(n)
    share = np.array([np.mean(dips >= np.sqrt(n) * dip * (1 - 1e-12)) for dip in chosen])
    error = abs(null_pvalues(chosen, np.full(len(chosen), n)) - share)
    assert np.all(error <= tolerances.STANDARD_ERRORS * standard_error(share, replicates))


@pytest.mark.parametrize("n", [8, 30, 210])
def test_pvalues_agree_with_diptest(rng, n):
    for scale in (0.0, 0.5):
        x = rng.random(n) + scale * (rng.random(n) < 0.5)
        _, want = diptest.diptest(x, boot_pval=True, n_boot=20_000, seed=3)
        error = abs(dip_test(x).pvalue - want)
        assert error <= tolerances.STANDARD_ERRORS * standard_error(want, 20_000)


def test_pvalue_conventions(rng):
    two_lumps = np.repeat([0.0, 1.0], 500)
    result = dip_test(two_lumps + 0.01 * rng.random(1000))
    assert result.pvalue == pytest.approx(FLOOR, rel=tolerances.FEW_ROUNDINGS)
    assert dip_test(np.repeat([0.0, 1.0], 10**5)).pvalue == pytest.approx(result.pvalue)
    for n in range(1, 4):
        assert dip_test(rng.random(n)).pvalue == 1
    assert dip_test(np.ones(100)).pvalue == 1
    assert dip_test(np.arange(100)).pvalue == 1
    assert np.isnan(dip_test([np.nan]).pvalue)


def test_pvalue_falls_as_the_dip_grows():
    for n in (4, 6, 11, 63, 1234, 49_999, 10**9):
        dips = np.linspace(0.5 / n, min(0.25, 3 / np.sqrt(n)), 4000)
        pvalues = null_pvalues(dips, np.full(4000, n))
        assert pvalues[0] == 1
        assert np.all(np.diff(pvalues) <= 0)
        assert np.all(pvalues >= FLOOR * (1 - tolerances.FEW_ROUNDINGS))


@pytest.mark.parametrize("n", [33, 250, 12_345, 10**6])
def test_pvalues_between_sizes_are_linear_in_the_inverse_root(script, n):
    scaled = np.array([0.4])
    sizes = np.array([*script.SIZES, np.inf])
    tails = [_null_tail(scaled, size)[0] for size in sizes]
    want = np.interp(-(n**-0.5), -(sizes**-0.5), tails)
    assert _null_tail(scaled, n)[0] == pytest.approx(want, rel=tolerances.FEW_ROUNDINGS)


def share_below(script, n: int, replicates: int, alpha: float) -> float:
    """Share of uniform samples with a p-value below alpha."""
    dips = script.null_dips(n, replicates, seed=7)
    return float(np.mean(_null_tail(dips, n) < alpha))


@pytest.mark.parametrize(
    ("n", "replicates"), [(27, 4000), (500, 2000), (800, 2000), (7000, 400), (60_000, 60)]
)
@pytest.mark.parametrize("alpha", [0.05, 0.5])
def test_calibration(script, n, replicates, alpha):
    error = np.sqrt(alpha * (1 - alpha) * (1 / replicates + FLOOR))
    share = share_below(script, n, replicates, alpha)
    assert abs(share - alpha) <= tolerances.STANDARD_ERRORS * error


@pytest.mark.slow
@pytest.mark.parametrize("n", [35_000, 200_000])
def test_calibration_of_large_samples(script, n):
    error = np.sqrt(0.25 * (1 / 1000 + FLOOR))
    assert abs(share_below(script, n, 1000, 0.5) - 0.5) <= tolerances.STANDARD_ERRORS * error


@pytest.mark.parametrize("n", [50, 500, 5000])
def test_normal_data_seldom_reject(rng, n):
    assert (dip_test(rng.normal(size=(n, 400))).pvalue < 0.05).mean() <= 0.01


def test_the_limit_exceeds_the_largest_row():
    """The law of sqrt(n) dip grows with n: read from the row of 50,000, p would be too small."""
    scaled = np.array([0.3, 0.4, 0.5])
    assert (_null_tail(scaled, 10**6) > _null_tail(scaled, 50_000)).all()
    assert (_null_tail(scaled, 10**6) < 1.03 * _null_tail(scaled, 50_000)).all()


def test_threads_change_nothing(rng, monkeypatch):
    x = rng.normal(size=(1000, 1100))
    monkeypatch.setattr(rows, "threads", lambda: 1)
    alone = dip_test(x)
    monkeypatch.setattr(rows, "threads", lambda: 3)
    np.testing.assert_array_equal(dip_test(x), alone)


BAD_INPUT = {
    "none": ([], (np.nan, np.nan, 0)),
    "one": ([1.0], (0.0, 1.0, 1)),
    "two": ([1.0, 2.0], (0.25, 1.0, 2)),
    "equal": ([3.0] * 50, (0.0, 1.0, 50)),
    "halves": ([0.0] * 25 + [1.0] * 25, (0.25, FLOOR, 50)),
    "nan": ([np.nan] * 10, (np.nan, np.nan, 0)),
    "ints": (np.arange(30), (1 / 60, 1.0, 30)),
    "float16": (np.linspace(5.9e4, 6e4, 32).astype(np.float16), (1 / 64, 1.0, 32)),
    "huge": ([-1e300, 0.0, 1e300], (1 / 6, 1.0, 3)),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("ties", ["atoms", "spread", "apart"])
@pytest.mark.parametrize("name", BAD_INPUT)
def test_dip_of_bad_input(name, ties):
    x, want = BAD_INPUT[name]
    got = dip_test(np.array(x), ties=ties)
    np.testing.assert_allclose(got, want, rtol=tolerances.FEW_ROUNDINGS)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("ties", ["atoms", "spread", "apart"])
def test_dip_leaves_infinities_out(rng, ties):
    x = rng.normal(size=20)
    with_infinities = np.concatenate([[np.inf, -np.inf], x])
    np.testing.assert_array_equal(dip_test(with_infinities, ties=ties), dip_test(x))
