"""Location, scale and shape of the divergence: additivity, invariance, chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from distfit_nn import maxent
from distfit_nn.errors import InputError
from distfit_nn.stats.divergence.gaussian import kl_from_moments, kl_to_standard_normal
from distfit_nn.stats.divergence.split import split_divergence, split_from_density
from distfit_nn.stats.moments import moments
from tests import tolerances
from tests.stats.divergence.cases import BAD

METHODS = ("maxent", "spacings", "neighbours")


@pytest.mark.parametrize("method", METHODS)
def test_parts_add_up_to_the_divergence(rng, method):
    x = rng.gamma(2.0, size=(400, 3)) + np.array([0.0, -2.0, 5.0])
    got = split_divergence(x, method=method)
    np.testing.assert_array_equal(got.total, got.location + got.scale + got.shape)
    np.testing.assert_allclose(
        got.total, kl_to_standard_normal(x, method=method), atol=tolerances.MEAN_SURPRISAL
    )
    np.testing.assert_allclose(got.location, x.mean(axis=0) ** 2 / 2, rtol=tolerances.CLOSED_FORM)
    want = kl_from_moments(0, x.var(axis=0))
    np.testing.assert_allclose(got.scale, want, rtol=tolerances.REORDERED)
    np.testing.assert_array_equal(got.shape_corrected, got.shape - got.shape_chance)


@pytest.mark.parametrize("method", METHODS)
@given(
    shift=st.floats(-1e3, 1e3), scale=st.floats(1.0, 10), seed=st.integers(0, 5), flip=st.booleans()
)
def test_an_affine_map_leaves_the_shape(method, shift, scale, seed, flip):
    x = np.random.default_rng(seed).laplace(size=200)
    moved = (-scale if flip else scale) * x + shift
    got, want = split_divergence(moved, method=method), split_divergence(x, method=method)
    assert got.shape == pytest.approx(want.shape, abs=tolerances.ENTROPY_SHIFT)
    standard = split_divergence((x - x.mean()) / x.std(), method=method)
    assert abs(standard.location) + abs(standard.scale) < 1e-12
    assert standard.total == pytest.approx(want.shape, abs=tolerances.ENTROPY_SHIFT)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [60, 400])
def test_chance_is_what_a_normal_law_shows(rng, method, n):
    replicates = 1000
    got = split_divergence(rng.normal(3, 2, size=(n, replicates)), method=method)
    error = tolerances.STANDARD_ERRORS * got.shape.std() / np.sqrt(replicates)
    # Of the next order in 1 / n; simulated chances have an error of their own, from 2^20 values.
    assert abs(got.shape_corrected.mean()) <= 1.5 * error + 0.3 * (20 / n) * abs(
        got.shape_chance.mean()
    )


@pytest.mark.parametrize(
    "law", [stats.laplace(1, 2), stats.uniform(-1, 4), stats.gamma(3)], ids=lambda x: x.dist.name
)
def test_shape_of_known_laws(rng, law):
    x = law.rvs(20_000, random_state=rng)
    want = 0.5 * np.log(2 * np.pi * np.e * law.var()) - law.entropy()
    error = tolerances.mean_error(2.2, 20_000)
    for method in ("spacings", "neighbours"):
        got = split_divergence(x, method=method)
        assert got.shape_corrected == pytest.approx(want, abs=error)
    assert 0 < split_divergence(x).shape <= want + error


def test_from_a_density(rng):
    x = rng.laplace(size=(300, 4))
    got = split_from_density(moments(x), maxent.fit(x, 6))
    for a, b in zip(got, split_divergence(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerances.REORDERED, atol=tolerances.CLOSED_FORM)


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("method", METHODS)
def test_split_bad_input(name, method):
    got = split_divergence(BAD[name], method=method)
    assert got.n == np.isfinite(np.asarray(BAD[name], float)).sum()
    if name in ("empty", "nan"):
        assert np.isnan(got[:4]).all()
    elif name in ("one", "constant"):
        assert got.scale == np.inf
        assert np.isnan(got.shape)
    elif name in ("infinite", "integers", "float16"):
        assert np.isfinite(got).all()


def test_gaussian_has_no_shape(rng):
    with pytest.raises(
        InputError, match="method must be one of 'maxent', 'spacings', 'neighbours'"
    ):
        split_divergence(rng.normal(size=9), method="gaussian")
