"""Rank correlation between units: scipy is the oracle; what is left out, and chance levels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from distfit_nn.stats.dependence import rank_correlation, strength
from tests.tolerances import sum_error


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_is_spearmans_rho(rng, dtype):
    x = (10 * rng.normal(size=(60, 5))).astype(dtype)
    x[:, 4] = x[:, 0] // 3  # ties
    found = rank_correlation(x)
    expected = stats.spearmanr(x.astype(float)).statistic
    np.testing.assert_allclose(found.rho, expected, rtol=0, atol=sum_error(60))
    assert (found.n, found.units.tolist()) == (60, [0, 1, 2, 3, 4])


def test_rows_with_missing_values_are_left_out(rng):
    x = rng.normal(size=(100, 3))
    x[7, 0], x[8, 2] = np.nan, np.inf
    found = rank_correlation(x)
    whole = np.delete(x, [7, 8], axis=0)
    assert found.n == 98
    expected = stats.spearmanr(whole).statistic
    np.testing.assert_allclose(found.rho, expected, rtol=0, atol=sum_error(98))


def test_units_that_do_not_vary_or_are_mostly_missing_are_left_out(rng):
    x = rng.normal(size=(100, 5))
    x[:, 1] = 3.0
    x[:6, 2] = np.nan
    x[:, 3] = np.nan
    assert rank_correlation(x).units.tolist() == [0, 4]


@pytest.mark.parametrize(
    "values",
    [
        np.ones((50, 3)),
        np.full((50, 3), np.nan),
        np.eye(3),
        np.zeros((0, 3)),
        np.arange(9.0)[:, None],
    ],
)
def test_too_little_is_none(values):
    assert rank_correlation(values) is None


def test_a_unit_that_varies_only_where_another_is_missing_is_left_out(rng):
    x = rng.normal(size=(100, 3))
    x[:, 1] = 0
    x[0, 1], x[0, 0] = 1, np.nan
    assert rank_correlation(x).units.tolist() == [0, 2]


def test_many_units_are_drawn_by_seed(rng):
    x = rng.normal(size=(50, 300))
    first, again, other = (rank_correlation(x, most=20, seed=s) for s in (1, 1, 2))
    assert len(first.units) == 20
    assert first.units.tolist() == again.units.tolist() != other.units.tolist()
    assert np.all(np.diff(first.units) > 0)


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(0, 12), st.integers(1, 5)),
        elements=st.floats(width=64, allow_nan=True, allow_infinity=True),
    )
)
def test_is_a_correlation_matrix_whatever_the_values(x):
    found = rank_correlation(x)
    if found is None:
        return
    assert np.all(np.abs(found.rho) <= 1)
    np.testing.assert_array_equal(found.rho, found.rho.T)
    np.testing.assert_array_equal(np.diag(found.rho), 1)
    told = strength(found)
    assert 0 <= told.median <= told.largest <= 1
    assert 0 < told.median_chance < told.largest_chance <= 1


def test_the_strongest_pair_is_named_with_its_sign(rng):
    x = rng.normal(size=(200, 6))
    x[:, 4] = -x[:, 1] + 0.1 * rng.normal(size=200)
    told = strength(rank_correlation(x))
    assert (told.first, told.second, told.pairs, told.beyond) == (1, 4, 15, 1)
    assert told.rho == pytest.approx(-told.largest)
    assert told.rho < -0.9


def test_chance_levels_are_those_of_independent_units():
    """Of 400 samples of 20 pairs each, the largest is beyond its level in about 5%."""
    rng = np.random.default_rng(4)
    told = [strength(rank_correlation(rng.normal(size=(40, 7)))) for _ in range(400)]
    beyond = np.mean([one.largest > one.largest_chance for one in told])
    medians = np.mean([one.median for one in told])
    assert beyond <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert beyond >= 0.01
    assert medians == pytest.approx(told[0].median_chance, rel=0.05)
