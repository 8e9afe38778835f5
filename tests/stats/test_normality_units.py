"""All tests of normality over many units: q-values, the table, and the false discovery rate."""

from __future__ import annotations

import numpy as np
import pytest

from distfit_nn.errors import InputError
from distfit_nn.stats.multiplicity import benjamini_hochberg, benjamini_yekutieli
from distfit_nn.stats.normality import tests as normal
from distfit_nn.stats.normality.units import normality_tests
from tests import tolerances

FACES = {name: getattr(normal, name) for name in normal.TESTS}


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
        ({"alpha": 1.5}, "alpha must be a number from 0 to 1, got 1.5"),
        ({"alpha": "x"}, "alpha must be a number from 0 to 1, got 'x'"),
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
