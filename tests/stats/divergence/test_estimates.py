"""The divergence with bias and interval: simulated bias, standard error and coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from distfit_nn.errors import InputError
from distfit_nn.stats.divergence.entropy import METHODS, estimator
from distfit_nn.stats.divergence.estimates import kl_estimate, kl_estimate_of_rows
from distfit_nn.stats.divergence.gaussian import kl_from_moments, kl_to_standard_normal
from distfit_nn.stats.rows import sorted_rows
from tests import tolerances
from tests.stats.divergence.cases import BAD

LAWS = {
    "normal": stats.norm(0.3, 1.2),
    "laplace": stats.laplace(scale=1.0),
    "gamma": stats.gamma(3.0),
}


def truth(law, method):
    if method == "gaussian":
        return kl_from_moments(law.mean(), law.var())
    return kl_from_moments(law.mean(), law.var(), law.entropy())


@pytest.mark.parametrize("method", METHODS)
def test_statistic_is_that_of_the_face(rng, method):
    x = rng.normal(0.2, 1.5, size=(300, 3))
    got = kl_estimate(x, method=method)
    np.testing.assert_allclose(
        got.statistic, kl_to_standard_normal(x, method=method), atol=tolerances.MEAN_SURPRISAL
    )
    assert (got.low <= got.statistic).all()
    assert (got.statistic <= got.high).all()
    assert (got.n == 300).all()
    wider = kl_estimate(x, method=method, confidence=0.99)
    assert (wider.low <= got.low).all()
    assert (wider.high > got.high).all()


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("method", ["gaussian", "spacings", "neighbours"])
def test_coverage_and_standard_error(rng, law, method):
    n, replicates = 500, 600
    want = truth(LAWS[law], method)
    got = kl_estimate(LAWS[law].rvs((n, replicates), random_state=rng), method=method)
    share = np.mean((got.low <= want) & (want <= got.high))
    error = tolerances.STANDARD_ERRORS * np.sqrt(0.05 * 0.95 / replicates)
    assert 0.93 - error / 2 <= share <= 0.95 + error
    assert got.standard_error.mean() == pytest.approx(
        got.statistic.std(), rel=tolerances.mean_error(1.0, 2 * replicates)
    )


@pytest.mark.parametrize("method", METHODS)
def test_bias_and_boundary_in_standard_normal_samples(rng, method):
    n, replicates = 200, 1000
    got = kl_estimate(rng.normal(size=(n, replicates)), method=method)
    error = tolerances.STANDARD_ERRORS * got.statistic.std() / np.sqrt(replicates)
    # maxent: terms of order 1/n^2; the others' kurtosis and simulation
    slack = 0.15 * abs(got.bias.mean()) + 0.1 / n
    assert abs(got.statistic.mean() - got.bias.mean()) <= error + slack
    assert np.mean(got.low == 0) >= 0.95  # at the boundary the interval is conservative
    assert (got.high > 0).all()


@pytest.mark.slow
def test_coverage_of_maxent_in_its_family(rng):
    got = kl_estimate(LAWS["normal"].rvs((500, 600), random_state=rng), method="maxent")
    want = truth(LAWS["normal"], "maxent")
    share = np.mean((got.low <= want) & (want <= got.high))
    assert abs(share - 0.95) <= tolerances.STANDARD_ERRORS * np.sqrt(0.05 * 0.95 / 600)


def test_deterministic_whatever_the_batching(rng):
    x = rng.normal(size=(100, 5))
    whole = kl_estimate(x)
    for j in range(5):
        for a, b in zip(kl_estimate(x[:, j]), whole, strict=True):
            assert a == b[j]
    rows = sorted_rows(x)
    before = rows.values.copy()
    kl_estimate_of_rows(rows, estimator("spacings"))
    np.testing.assert_array_equal(rows.values, before)


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("method", METHODS)
def test_kl_estimate_bad_input(name, method):
    got = kl_estimate(BAD[name], method=method)
    assert got.n == np.isfinite(np.asarray(BAD[name], float)).sum()
    if name in ("empty", "nan"):
        assert np.isnan(got[:5]).all()
    elif name in ("one", "constant"):
        assert got.statistic == np.inf if method == "gaussian" else np.isnan(got.statistic)
        assert np.isnan(got[1:5]).all()
    elif name == "huge":
        assert not np.isfinite(got.statistic)
    elif np.isfinite(got.statistic):
        assert 0 <= got.low <= got.high < np.inf
    else:
        assert name in ("two", "two values")


def test_bad_confidence():
    for value in (0, 1.0, 1.5, "0.9", True):
        with pytest.raises(InputError, match="confidence must be a number above 0 and below 1"):
            kl_estimate([1.0, 2.0], confidence=value)
