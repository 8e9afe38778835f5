"""Sarle's coefficient: its formula, its bound, and what it is confounded by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from distfit_nn.stats import bimodality_coefficient, bimodality_from_shape, moments
from tests import tolerances


def test_coefficient_is_the_bias_corrected_form(rng):
    x = rng.gamma(3.0, size=(40, 3))
    n = len(x)
    skew, excess = stats.skew(x, bias=False), stats.kurtosis(x, bias=False)
    want = (skew**2 + 1) / (excess + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3)))
    np.testing.assert_allclose(bimodality_coefficient(x), want, rtol=tolerances.CLOSED_FORM)
    np.testing.assert_allclose(
        bimodality_coefficient(x.T, axis=1), want, rtol=tolerances.CLOSED_FORM
    )
    m = moments(x)
    shape = bimodality_from_shape(m.skewness, m.kurtosis, m.n)
    np.testing.assert_array_equal(shape, bimodality_coefficient(x))


@pytest.mark.parametrize(
    ("skewness", "kurtosis", "want"), [(0, -1.2, 5 / 9), (0, 0, 1 / 3), (2, 6, 5 / 9), (0, -2, 1)]
)
def test_coefficient_of_laws(skewness, kurtosis, want):
    assert bimodality_from_shape(skewness, kurtosis, 10**12) == pytest.approx(want, rel=1e-10)


@pytest.mark.filterwarnings("error")
def test_coefficient_conventions():
    for column in ([], [1.0], [1.0, 2.0, 4.0], [0.1] * 50, [np.nan, 1.0, 2.0, 4.0]):
        assert np.isnan(bimodality_coefficient(np.array(column)))
    assert np.isfinite(bimodality_coefficient([1.0, 2.0, 4.0, 4.0]))
    assert np.isnan(bimodality_from_shape(0.0, 0.0, [0, 1, 2, 3])).all()


@given(st.lists(st.floats(-100, 100), min_size=4, max_size=50))
def test_coefficient_is_a_share(values):
    coefficient = bimodality_coefficient(np.array(values))
    assert np.isnan(coefficient) or 0 < coefficient <= 1 + 1e-9


@given(st.integers(2, 40), st.integers(2, 40))
def test_coefficient_of_two_values_is_one(zeros, ones):
    """Pearson's bound, kurtosis >= skewness**2 + 1, is met with equality."""
    x = np.repeat([0.0, 1.0], [zeros, ones])
    g1, g2 = stats.skew(x), stats.kurtosis(x)
    assert g2 + 3 == pytest.approx(g1**2 + 1, rel=tolerances.sum_error(80) * 80)
    large = bimodality_from_shape(g1, g2, 10**12)
    assert large == pytest.approx(1, rel=tolerances.REORDERED)


@pytest.mark.parametrize("shape", [0.01, 0.1, 0.5])
def test_coefficient_is_confounded_by_skew(shape):
    """A gamma law of shape k < 1, of one mode, has more than 5/9, up to 2/3."""
    skewness, excess = stats.gamma(shape).stats("sk")
    assert 5 / 9 < bimodality_from_shape(skewness, excess, 10**12) < 2 / 3
