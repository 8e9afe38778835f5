"""Entropy estimators against SciPy, slow oracles, closed forms and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import digamma

from distfit_nn import maxent
from distfit_nn.errors import InputError
from distfit_nn.stats.divergence.entropy import (
    METHODS,
    bias_in_normal_samples,
    entropy,
    entropy_of_rows,
    estimator,
    means_of_rows,
    noise,
    surprisal_of_rows,
)
from distfit_nn.stats.rows import sorted_rows
from tests import tolerances
from tests.stats.divergence.cases import BAD


def spacings(x, m):
    """The definition, one value after the other."""
    x, n = np.sort(x), len(x)
    total = 0.0
    for i in range(n):
        low, high = max(i - m, 0), min(i + m, n - 1)
        total += np.log(x[high] - x[low]) + digamma(n + 1) - digamma(high - low)
    return total / n


def neighbours(x, k):
    """The definition, by all distances."""
    far = np.sort(np.abs(x[:, None] - x[None]), axis=1)[:, k]
    return np.mean(np.log(2 * far)) + digamma(len(x)) - digamma(k)


@pytest.mark.parametrize("n", [7, 50, 333])
def test_against_the_definitions(rng, n):
    x = rng.gamma(2.0, size=(n, 3))
    for j in range(3):
        for m in (1, 3):
            want = spacings(x[:, j], m)
            assert entropy(x, method="spacings", m=m)[j] == pytest.approx(
                want, rel=tolerances.CLOSED_FORM
            )
        for k in (1, 3, 5):
            want = neighbours(x[:, j], k)
            assert entropy(x, method="neighbours", k=k)[j] == pytest.approx(
                want, rel=tolerances.CLOSED_FORM
            )
        default = spacings(x[:, j], round(n**0.25))
        assert entropy(x)[j] == pytest.approx(default, rel=tolerances.CLOSED_FORM)


@pytest.mark.parametrize("name", ["vasicek", "van es", "ebrahimi"])
def test_near_scipys_estimators(rng, name):
    x = rng.normal(2.0, 3.0, size=4000)
    want = stats.differential_entropy(x, window_length=8, method=name)
    assert entropy(x, m=8) == pytest.approx(want, abs=tolerances.mean_error(1.1, 4000))
    assert entropy(x, method="neighbours") == pytest.approx(
        stats.norm.entropy(2, 3), abs=tolerances.mean_error(1.1, 4000)
    )


def test_of_densities(rng):
    x = np.stack([rng.exponential(size=400), rng.normal(1, 2, size=400)], axis=1)
    want = maxent.fit(x, 6).entropy()
    np.testing.assert_allclose(entropy(x, method="maxent"), want, rtol=tolerances.CLOSED_FORM)
    want = 0.5 * np.log(2 * np.pi * np.e * x.var(axis=0))
    np.testing.assert_allclose(
        entropy(x, method="gaussian"), want, rtol=tolerances.sum_error(len(x))
    )


@pytest.mark.parametrize("method", METHODS)
def test_entropy_is_the_mean_surprisal(rng, method):
    x = rng.normal(size=(200, 2))
    x[:9, 0] = np.nan
    rows, chosen = sorted_rows(x), estimator(method)
    before = rows.values.copy()
    surprisal = surprisal_of_rows(rows, chosen)
    got = means_of_rows(surprisal, rows.counts)
    np.testing.assert_allclose(got, entropy_of_rows(rows, chosen), atol=tolerances.MEAN_SURPRISAL)
    assert np.isnan(surprisal[0, 191:]).all()
    np.testing.assert_array_equal(rows.values, before)


def test_spacings_have_no_bias_for_a_uniform_law(rng):
    for n in (20, 200):
        found = entropy(rng.uniform(size=(n, 2000)))
        error = tolerances.STANDARD_ERRORS * found.std() / np.sqrt(2000)
        assert abs(found.mean()) <= error


@pytest.mark.parametrize("method", ["spacings", "neighbours"])
@pytest.mark.parametrize("n", [12, 100, 700])
def test_bias_in_normal_samples(rng, method, n):
    x = rng.normal(3.0, 2.0, size=(n, 2000))
    control = -stats.norm.logpdf(x, 3, 2).mean(axis=0)
    off = entropy(x, method=method) - control
    want = bias_in_normal_samples(estimator(method), np.array([n, 0, 1]))
    # The bias itself is simulated with an error of its own, of as many values.
    error = tolerances.STANDARD_ERRORS * off.std() * np.sqrt(1 / 2000 + n / 2**20)
    assert abs(off.mean() - want[0]) <= error + 0.2 / n  # and interpolated in n
    assert np.isnan(want[1:]).all()


@pytest.mark.parametrize(
    ("method", "numbers"),
    [("spacings", {"m": 3}), ("spacings", {"m": 8}), ("neighbours", {"k": 3})],
)
def test_noise_of_the_mean(rng, method, numbers):
    n, replicates = 2000, 400
    x = rng.normal(size=(n, replicates))
    off = entropy(x, method=method, **numbers) + stats.norm.logpdf(x).mean(axis=0)
    shared, single = noise(estimator(method, **numbers), np.array([n]))
    error = tolerances.STANDARD_ERRORS * np.sqrt(2 / replicates)
    assert n * off.var() == pytest.approx(shared[0], rel=error + 0.05)
    assert shared[0] != single[0]


@pytest.mark.parametrize("method", METHODS)
@given(
    shift=st.floats(-1e3, 1e3), scale=st.floats(1.0, 10), seed=st.integers(0, 9), flip=st.booleans()
)
def test_shift_scale_and_reflection(method, shift, scale, seed, flip):
    x = np.random.default_rng(seed).normal(size=200)
    factor = -scale if flip else scale
    got = entropy(factor * x + shift, method=method)
    want = entropy(x, method=method) + np.log(scale)
    assert got == pytest.approx(want, abs=tolerances.ENTROPY_SHIFT)


@pytest.mark.parametrize("method", METHODS)
def test_axes_dtypes_and_order(rng, method):
    x = rng.normal(size=(60, 2, 3)).astype(np.float32)
    got = entropy(x, 0, method=method)
    assert got.shape == (2, 3)
    mixed = rng.permutation(np.moveaxis(x, 0, 2), axis=2)
    np.testing.assert_allclose(entropy(mixed, 2, method=method), got, rtol=tolerances.REORDERED)


def test_ties_are_spread_or_refused(rng):
    x = rng.normal(size=5000)
    rounded = np.round(x, 2)
    for method in ("spacings", "neighbours"):
        assert np.isnan(entropy(rounded, method=method, ties="atoms"))
        assert entropy(rounded, method=method) == pytest.approx(
            stats.norm.entropy(), abs=tolerances.mean_error(1.1, 5000)
        )
    rectified = np.maximum(x, 0)
    assert entropy(rectified) < entropy(x) - 1  # an atom: the truth is -inf


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("method", METHODS)
def test_entropy_bad_input(name, method):
    got = entropy(BAD[name], method=method)
    wanted = {
        "empty": {},
        "nan": {},
        "one": {"gaussian": -np.inf},
        "constant": {"gaussian": -np.inf},
        "two": {"gaussian": 0.5 * np.log(np.pi * np.e / 2), "neighbours": 1 + np.log(2)},
        "two values": {"gaussian": 0.5 * np.log(np.pi * np.e / 2)},
        "huge": {"gaussian": np.inf},
    }.get(name)
    if wanted is not None and not (name == "huge" and method != "gaussian"):
        np.testing.assert_allclose(got, wanted.get(method, np.nan), rtol=tolerances.CLOSED_FORM)
    else:
        assert np.isfinite(got)


def test_bad_arguments():
    with pytest.raises(InputError, match="method must be one of"):
        entropy([1.0, 2.0], method="kde")
    with pytest.raises(InputError, match="m must be a whole number of at least 1, got 0"):
        entropy([1.0, 2.0], m=0)
    with pytest.raises(InputError, match="k must be a whole number of at least 1"):
        entropy([1.0, 2.0], method="neighbours", k=1.5)
    with pytest.raises(InputError, match="ties must be one of"):
        entropy([1.0, 2.0], ties="drop")
