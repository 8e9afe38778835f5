"""The null laws of the tests of normality: printed tables, approximations, new simulations."""

from __future__ import annotations

import importlib.util
from importlib import resources
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from statsmodels.stats import diagnostic

from distfit_nn.stats.normality import tests as normal
from distfit_nn.stats.normality.null import null_pvalues
from distfit_nn.stats.normality.statistics import LEAST, modified_distance
from tests import tolerances

FACES = {name: getattr(normal, name) for name in normal.TESTS}
SIMULATED = ("jarque_bera", "dagostino", "anderson_darling", "lilliefors")
FLOOR = 1 / 400_001
EACH = pytest.mark.parametrize("name", FACES)

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
    np.testing.assert_allclose(got, LEVELS, rtol=tolerances.PRINTED_QUANTILES)
    for n, values in LILLIEFORS.items():
        size = np.full(5, n)
        got = null_pvalues("lilliefors", modified_distance(np.array(values), size), size)
        np.testing.assert_allclose(
            got, (0.2, 0.15, 0.1, 0.05, 0.01), rtol=2 * tolerances.PRINTED_QUANTILES
        )


@pytest.mark.parametrize("n", [30, 500, 5000])
def test_pvalues_agree_with_approximations(rng, n):
    """Stephens' formula for A**2, good to 0.002 below 0.1, and chi-squared in the limit."""
    x = rng.normal(size=(n, 200))
    got = normal.anderson_darling(x).pvalue
    want = np.array([diagnostic.normal_ad(column)[1] for column in x.T])
    np.testing.assert_allclose(got[want < 0.1], want[want < 0.1], atol=tolerances.STEPHENS)
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
