"""The baseline of dependence, by shuffling, and the figures it is compared by."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from distfit_nn.copula import Figures, dependence
from tests import tolerances
from tests.copula.columns import by_definition, mixed

pytestmark = pytest.mark.filterwarnings("error")


def mean_square(figures: Figures, u: int) -> float:
    """Return the mean of r^2 over pairs and permutations."""
    return float(np.mean((u**2 / figures.effective_dimension - u) / (u * (u - 1))))


@pytest.mark.parametrize("shards", [1, 2])
def test_the_baseline_has_the_variance_of_shuffled_columns(rng, shards):
    n, d, count = 40, 30, 40
    x = np.repeat(rng.normal(size=(n, 1)), d, axis=1)
    x[:, ::2] = x[:, ::2].clip(0).round(1)
    found = sum(dependence(x, permutations=count, random_state=i) for i in range(shards))
    assert found.figures.effective_dimension < 2
    freedom = shards * (n - 1)
    error = np.sqrt(2 / (count * d * (d - 1) / 2)) / freedom  # of a mean of squared normals
    limit = tolerances.STANDARD_ERRORS * error
    assert mean_square(found.baseline, d) == pytest.approx(1 / freedom, abs=limit)
    assert found.baseline.adjusted_dimension.mean() == pytest.approx(d, rel=0.02)
    assert found.baseline.largest_absolute_correlation.max() < 0.8


@pytest.mark.parametrize("referred", [False, True])
def test_the_merged_baseline_is_that_of_shuffles_within_shards(rng, referred):
    d, count, shards = 30, 20, 10
    x = rng.normal(size=(5 * shards, d))
    options = {"reference": x[::2]} if referred else {}
    found = sum(
        dependence(part, permutations=count, random_state=i, **options)
        for i, part in enumerate(np.split(x, shards))
    )
    freedom = 4 * shards
    error = np.sqrt(2 / (count * d * (d - 1) / 2)) / freedom
    limit = tolerances.STANDARD_ERRORS * error
    assert mean_square(found.baseline, d) == pytest.approx(1 / freedom, abs=limit)
    inverse = np.mean(1 / found.baseline.adjusted_dimension)  # has no bias, as r^2 has none
    assert inverse == pytest.approx(1 / d, abs=limit)


def test_units_as_even_as_can_be_have_no_adjusted_dimension():
    x = np.array(list(itertools.permutations(range(5)))).T
    for order in range(4):  # rounding of either sign
        found = dependence(np.roll(x, order, axis=0), permutations=0).figures
        assert found.effective_dimension == pytest.approx(4, rel=tolerances.sum_error(len(x.T)))
        assert found.adjusted_dimension == np.inf


def test_the_total_of_singular_correlations_is_infinite(rng):
    for seed in range(20):  # rounding leaves the last of four in a space a variance, or none
        x = np.random.default_rng(seed).normal(size=(4, 4))
        found = dependence(x, permutations=3, random_state=seed)
        assert found.figures.total_correlation == np.inf
        assert (found.baseline.total_correlation == np.inf).all()
    x = rng.normal(size=(50, 1)) * [1, -2]
    assert dependence(x).figures.total_correlation == np.inf
    assert (dependence(x).baseline.total_correlation < 1).all()


def test_a_shuffle_keeps_the_scores_of_each_column(rng):
    x = mixed(rng, 60, 4)
    found = dependence(x, permutations=2, random_state=0)
    np.testing.assert_allclose(
        np.diagonal(found.permuted, axis1=1, axis2=2), 59, rtol=tolerances.sum_error(60, "f4")
    )
    assert (np.abs(found.permuted[0] - found.permuted[1])[0, 1:] > 0).all()


def test_the_baseline_is_its_figures_of_each_permutation(rng):
    found = dependence(mixed(rng, 60, 4), permutations=3, random_state=0)
    assert [len(v) for v in found.baseline] == [3] * 5
    for number, products in enumerate(found.permuted.astype(float)):
        size = np.sqrt(np.diag(products))
        r = products / np.outer(size, size)
        got = [values[number] for values in found.baseline]
        np.testing.assert_allclose(got, by_definition(r, 59), rtol=tolerances.sum_error(400))


def test_shuffles_are_seeded(rng, monkeypatch):
    x = mixed(rng, 50, 130)  # three parts for threads
    want = dependence(x, permutations=2, random_state=5).permuted
    got = dependence(x, permutations=2, random_state=np.random.default_rng(5)).permuted
    np.testing.assert_array_equal(got, want)
    assert (dependence(x, permutations=2, random_state=6).permuted != want).any()
    monkeypatch.setattr("distfit_nn.copula.units.threads", lambda: 1)
    np.testing.assert_array_equal(dependence(x, permutations=2, random_state=5).permuted, want)


def test_any_generator_shuffles(rng):
    x = mixed(rng, 50, 4)
    for kind in (np.random.RandomState, lambda s: np.random.Generator(np.random.MT19937(s))):
        want = dependence(x, permutations=2, random_state=kind(3)).permuted
        got = dependence(x, permutations=2, random_state=kind(3)).permuted
        np.testing.assert_array_equal(got, want)
    state = np.random.RandomState(3)
    first = dependence(x, permutations=2, random_state=state).permuted
    assert (dependence(x, permutations=2, random_state=state).permuted != first).any()
    old = np.random.Generator(np.random.RandomState(3)._bit_generator)  # which can not spawn
    assert dependence(x, permutations=2, random_state=old).permutations == 2
