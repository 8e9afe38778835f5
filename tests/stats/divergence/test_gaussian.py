"""The divergence from N(0, 1) against mpmath's closed form and quadrature of densities."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from distfit_nn import maxent
from distfit_nn.errors import InputError
from distfit_nn.stats import kl_from_moments, kl_to_standard_normal
from tests import tolerances

VARIANCES = [
    *(1e-300, 1e-9, 0.1, 0.4999, 0.5, 0.5001, 0.9, 1 - 1e-5, 1 - 1e-12),
    *(1 + 1e-12, 1 + 1e-8, 1.1, 1.4999, 1.5, 1.5001, 2.0, 50.0, 1e200),
]


@pytest.mark.parametrize("var", VARIANCES)
@pytest.mark.parametrize("mean", [0.0, 1e-9, -0.3, 40.0])
def test_normal_law_against_mpmath(mean, var):
    with mpmath.workdps(60):
        v, m = mpmath.mpf(var), mpmath.mpf(mean)
        want = float((v + m**2 - 1 - mpmath.log(v)) / 2)
    got = kl_from_moments(mean, var)
    assert got == pytest.approx(want, rel=tolerances.FEW_ROUNDINGS, abs=0)


@pytest.mark.parametrize(
    "law",
    [
        stats.norm(0.3, 1.7),
        stats.uniform(-2, 5),
        stats.laplace(0.5, 0.8),
        stats.gamma(3.0),
        stats.logistic(-0.2, 0.6),
    ],
    ids=lambda law: law.dist.name,
)
def test_other_laws_against_quadrature(law):
    low, high = np.clip(law.support(), -60, 60)
    want, _ = integrate.quad(
        lambda t: law.pdf(t) * (law.logpdf(t) - stats.norm.logpdf(t)), low, high, points=[0.5]
    )
    got = kl_from_moments(law.mean(), law.var(), law.entropy())
    assert got == pytest.approx(want, abs=2 * tolerances.QUADRATURE)


def test_broadcasting_and_special_values():
    got = kl_from_moments([[0.0], [1.0]], [1.0, 0.0, np.nan, np.inf])
    np.testing.assert_array_equal(
        got, [[0.0, np.inf, np.nan, np.inf], [0.5, np.inf, np.nan, np.inf]]
    )
    np.testing.assert_array_equal(
        kl_from_moments([0.0, np.nan, 0.0], 0.0, [-np.inf, 0.0, -1.0]),
        [np.inf, np.nan, np.inf],
    )
    assert np.isnan(kl_from_moments(0.0, 1.0, np.nan))


def test_negative_variance():
    with pytest.raises(InputError, match=r"negative, got -0\.5"):
        kl_from_moments(0.0, [1.0, -0.5, np.nan])


@given(st.floats(-1e3, 1e3), st.floats(0, 1e6))
def test_never_negative_and_even_in_the_mean(mean, var):
    divergence = kl_from_moments(mean, var)
    assert divergence >= 0
    assert divergence == kl_from_moments(-mean, var)


@given(st.floats(-5, 5), st.floats(1e-3, 1e3))
def test_both_forms_agree_for_a_normal_law(mean, var):
    entropy = stats.norm.entropy(mean, np.sqrt(var))
    size = 1 + mean**2 + var
    assert kl_from_moments(mean, var, entropy) == pytest.approx(
        kl_from_moments(mean, var), abs=tolerances.FEW_ROUNDINGS * size
    )


@pytest.mark.parametrize("axis", [0, 1, (0, 2), -1, None])
def test_of_a_sample_is_that_of_its_moments(rng, axis):
    x = rng.gamma(3.0, size=(40, 3, 5)).astype(np.float32)
    wide = x.astype(np.float64)
    got = kl_to_standard_normal(x, axis)
    want = kl_from_moments(wide.mean(axis), wide.var(axis))
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=tolerances.sum_error(x.size))
    assert np.shape(kl_to_standard_normal(x, axis, method="maxent", order=2)) == want.shape


def test_of_a_sample_by_maximum_entropy(rng):
    x = np.stack([rng.exponential(size=500), rng.normal(1, 2, size=500), np.ones(500)], axis=1)
    x[7, 1] = np.nan
    got = kl_to_standard_normal(x, method="maxent", order=4)
    for j in (0, 1):
        density = maxent.fit(x[np.isfinite(x[:, j]), j], 4)
        t, weights = np.polynomial.legendre.leggauss(2000)
        a, b = density.support()
        t, weights = a + (t + 1) * (b - a) / 2, weights * (b - a) / 2
        p = density.pdf(t)
        want = np.sum(weights * p * (density.logpdf(t) + t**2 / 2 + np.log(2 * np.pi) / 2))
        assert got[j] == pytest.approx(want, abs=tolerances.KL_BY_QUADRATURE)
        assert got[j] > kl_to_standard_normal(x)[j]
    assert np.isnan(got[2])  # a constant has no density


def test_bad_method(rng):
    with pytest.raises(InputError, match=r"method must be one of 'gaussian', .*, got 'kde'"):
        kl_to_standard_normal(rng.normal(size=9), method="kde")
