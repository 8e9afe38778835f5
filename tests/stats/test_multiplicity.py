"""Control of the false discovery rate: scipy and statsmodels, its laws, and that it keeps them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from distfit_nn.errors import InputError
from distfit_nn.stats.multiplicity import adjusted, benjamini_hochberg, benjamini_yekutieli
from tests import tolerances

PVALUES = st.lists(st.floats(0, 1), min_size=1, max_size=40)
METHODS = pytest.mark.parametrize("method", [benjamini_hochberg, benjamini_yekutieli])
NAMES = {benjamini_hochberg: "bh", benjamini_yekutieli: "by"}


@METHODS
@given(pvalues=PVALUES)
def test_agrees_with_scipy_and_statsmodels(method, pvalues):
    q = method(pvalues)
    close = {
        "rtol": tolerances.FEW_ROUNDINGS + tolerances.sum_error(len(pvalues)),
        "atol": np.finfo(float).smallest_normal,
    }
    np.testing.assert_allclose(
        q, stats.false_discovery_control(pvalues, method=NAMES[method]), **close
    )
    np.testing.assert_allclose(q, multipletests(pvalues, method=f"fdr_{NAMES[method]}")[1], **close)
    np.testing.assert_array_equal(q, adjusted(pvalues, NAMES[method]))


@METHODS
@given(pvalues=PVALUES, random=st.randoms())
def test_laws(method, pvalues, random):
    p = np.array(pvalues)
    q = method(p)
    assert np.all(q >= p * (1 - tolerances.FEW_ROUNDINGS))
    assert np.all(q <= 1)
    assert np.all(np.diff(q[np.argsort(p)]) >= 0)
    order = list(range(len(p)))
    random.shuffle(order)
    np.testing.assert_array_equal(method(p[order]), q[order])


def test_published_example():
    """The fifteen p-values of Benjamini and Hochberg (1995): four are rejected at 5%."""
    p = [
        *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
        *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000),
    ]
    assert np.sum(benjamini_hochberg(p) <= 0.05) == 4
    assert np.sum(benjamini_yekutieli(p) <= 0.05) == 3


def test_yekutieli_costs_the_harmonic_number():
    p = np.linspace(1e-5, 1e-4, 1000)
    factor = benjamini_yekutieli(p) / benjamini_hochberg(p)
    np.testing.assert_allclose(factor, np.sum(1 / np.arange(1, 1001)), rtol=tolerances.CLOSED_FORM)
    assert factor[0] == pytest.approx(7.5, abs=0.05)


@METHODS
def test_nan_is_no_test(method, rng):
    p = rng.random((4, 5)) ** 3
    p[1, 2] = p[3, 0] = np.nan
    q = method(p)
    done = ~np.isnan(p)
    np.testing.assert_array_equal(np.isnan(q), ~done)
    np.testing.assert_array_equal(q[done], method(p[done]))


@METHODS
@pytest.mark.parametrize("p", [[], [np.nan, np.nan], np.empty((0, 3))])
def test_no_test_at_all(method, p):
    np.testing.assert_array_equal(method(p), np.asarray(p))


@METHODS
@pytest.mark.parametrize("p", [-0.1, 1.5, np.inf])
def test_not_a_probability(method, p):
    with pytest.raises(InputError, match=rf"pvalues must be in \[0, 1\], got {p}"):
        method([0.5, p])


def test_unknown_correction():
    with pytest.raises(InputError, match="correction must be one of 'bh', 'by', got 'holm'"):
        adjusted([0.5], "holm")


ALPHA, UNITS, FALSE = 0.1, 100, 75  # of 100 hypotheses 75 are true: 75 rejections would be false


def false_share(q: np.ndarray) -> np.ndarray:
    """Share of false rejections of each replicate; the first FALSE rejections are false."""
    rejected = q <= ALPHA
    return rejected[:, :FALSE].sum(axis=1) / np.maximum(rejected.sum(axis=1), 1)


def assert_mean(values: np.ndarray, low: float, high: float) -> None:
    slack = tolerances.STANDARD_ERRORS * values.std() / np.sqrt(len(values))
    assert low - slack <= values.mean() <= high + slack


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
def test_false_discoveries_under_positive_dependence(rng, shared):
    """Normal scores with one common cause; with none, BH has exactly the rate alpha m0 / m."""
    z = np.sqrt(1 - shared) * rng.normal(size=(2000, UNITS))
    z += np.sqrt(shared) * rng.normal(size=(2000, 1))
    z[:, FALSE:] += 3
    p = stats.norm.sf(z)
    level = ALPHA * FALSE / UNITS
    hochberg = false_share(np.array([benjamini_hochberg(row) for row in p]))
    yekutieli = false_share(np.array([benjamini_yekutieli(row) for row in p]))
    assert_mean(hochberg, level if shared == 0 else 0.0, level)
    assert_mean(yekutieli, 0.0, level / np.sum(1 / np.arange(1, UNITS + 1)) * (1 + 9 * shared))


def least_favourable(rng: np.random.Generator, replicates: int) -> np.ndarray:
    """P-values, each uniform, whose dependence is the worst for BH (Guo and Rao 2008).

    With probability ALPHA / k exactly k of them, at random, lie just below k ALPHA / UNITS, where
    BH rejects all k, and the others above ALPHA.
    """
    sizes = np.arange(1, UNITS + 1)
    chances = np.append(ALPHA / sizes, 1 - np.sum(ALPHA / sizes))
    k = rng.choice(np.append(sizes, 0), replicates, p=chances)[:, None]
    chosen = rng.permuted(np.broadcast_to(sizes - 1, (replicates, UNITS)), axis=1) < k
    low = (k - rng.random((replicates, UNITS))) * ALPHA / UNITS
    return np.where(chosen, low, ALPHA + (1 - ALPHA) * rng.random((replicates, UNITS)))


def test_false_discoveries_under_the_worst_dependence(rng):
    """Here all hypotheses are true; BH exceeds its level by the harmonic number, BY keeps it."""
    p = least_favourable(rng, 2000)
    assert stats.kstest(p[:, 0], "uniform").pvalue > 0.001
    harmonic = np.sum(1 / np.arange(1, UNITS + 1))
    hochberg = np.array([np.any(benjamini_hochberg(row) <= ALPHA) for row in p])
    yekutieli = np.array([np.any(benjamini_yekutieli(row) <= ALPHA) for row in p])
    assert_mean(hochberg, ALPHA * harmonic, ALPHA * harmonic)
    assert_mean(yekutieli, 0.0, ALPHA)


def test_stats_is_imported_without_heavy_packages():
    code = (
        "import sys, distfit_nn.stats; "
        "print([m for m in ('statsmodels', 'torch', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
