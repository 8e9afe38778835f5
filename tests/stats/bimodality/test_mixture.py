"""Two normal components against one."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import find_peaks
from sklearn.mixture import GaussianMixture

from distfit_nn.errors import InputError
from distfit_nn.stats.bimodality.mixture import ashman_d, mixture_test, two_component_mixture
from distfit_nn.stats.bimodality.mixture_kernel import LEAST_RATIO
from distfit_nn.stats.bimodality.mixture_modes import valley_of
from tests import tolerances
from tests.stats.faces import BAD


def two(rng, n, share, distance, ratio=1.0):
    low = rng.random(n) < share
    return np.where(low, rng.normal(size=n), distance + ratio * rng.normal(size=n))


CASES = {
    "separated": lambda rng: two(rng, 400, 0.4, 6.0, 0.5),
    "touching": lambda rng: two(rng, 400, 0.4, 2.5, 0.5),
    "small part": lambda rng: two(rng, 400, 0.95, 4.0),
    "one centre": lambda rng: two(rng, 400, 0.5, 0.0, 0.2),
    "heavy": lambda rng: rng.standard_t(3, size=300),
    "skewed": lambda rng: rng.exponential(size=300),
    "flat": lambda rng: rng.random(300),
}


def by_scikit(x, equal):
    """Highest log-likelihood, less that of one component, that scikit-learn finds; its weights."""
    best, weight = -np.inf, np.nan
    z = ((x - x.mean()) / x.std())[:, None]
    for start in ("kmeans", "random_from_data"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = GaussianMixture(
                2,
                covariance_type="tied" if equal else "full",
                init_params=start,
                n_init=4,
                random_state=0,
                tol=1e-7,
                max_iter=1000,
                reg_covar=1e-12,
            ).fit(z)
        stds = np.sqrt(np.ravel(model.covariances_))
        gain = model.score(z) * len(x) + len(x) / 2 * (1 + np.log(2 * np.pi))
        if stds.min() >= LEAST_RATIO * stds.max() and gain > best:
            best, weight = gain, model.weights_[model.means_[:, 0].argmin()]
    return best, weight


@pytest.mark.slow
@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_likelihood_is_as_high_as_scikit_learns(rng, case, equal):
    for _ in range(2):
        x = CASES[case](rng)
        got = two_component_mixture(x, equal_variance=equal)
        want, weight = by_scikit(x, equal)
        assert got.converged
        assert got.statistic / 2 >= want - tolerances.MIXTURE_LIKELIHOOD * len(x)
        if case == "separated":
            assert got.weights[0] == pytest.approx(weight, abs=tolerances.MIXTURE_PARAMETERS)


def log_likelihood(x, fit):
    z = (x[:, None] - fit.means) / fit.stds
    return np.logaddexp.reduce(
        np.log(fit.weights / fit.stds) - z**2 / 2 - np.log(2 * np.pi) / 2, axis=1
    ).sum()


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_fields_agree_with_their_definitions(rng, case, equal):
    x = 3 - 2 * CASES[case](rng)
    fit = two_component_mixture(x, equal_variance=equal)
    one = -len(x) / 2 * (1 + np.log(2 * np.pi * x.var()))
    gain = 2 * (log_likelihood(x, fit) - one)
    assert fit.statistic == pytest.approx(gain, abs=len(x) * tolerances.MIXTURE_LIKELIHOOD)
    assert fit.weights.sum() == pytest.approx(1)
    assert fit.means[0] <= fit.means[1]
    assert fit.stds.min() >= LEAST_RATIO * fit.stds.max() * (1 - tolerances.FEW_ROUNDINGS)
    if equal:
        assert fit.stds[0] == pytest.approx(fit.stds[1], rel=tolerances.FEW_ROUNDINGS)
    d = np.sqrt(2) * np.ptp(fit.means) / np.sqrt((fit.stds**2).sum())
    assert fit.ashman_d == pytest.approx(d)
    assert ashman_d(x, equal_variance=equal) == fit.ashman_d
    penalty = (2 if equal else 3) * np.log(len(x))
    assert fit.bic_difference == pytest.approx(fit.statistic - penalty)


def test_true_parameters_are_found(rng):
    x = two(rng, 20_000, 0.3, 4.0, 0.5)
    fit = two_component_mixture(x)
    np.testing.assert_allclose(fit.weights, [0.3, 0.7], atol=tolerances.share_error(0.3, 20_000))
    np.testing.assert_allclose(fit.means, [0, 4], atol=tolerances.mean_error(1.0, 6000))
    np.testing.assert_allclose(fit.stds, [1, 0.5], atol=tolerances.mean_error(1.0, 2 * 6000))
    assert fit.bimodal
    assert 0 < fit.valley < 0.5


@settings(max_examples=50)
@given(st.floats(0.02, 0.98), st.floats(0.1, 6), st.floats(0.15, 4))
def test_modes_of_the_mixture_against_its_curve(weight, distance, ratio):
    weights, means = np.array([[weight], [1 - weight]]), np.array([[0.0], [distance]])
    stds = np.array([[1.0], [ratio]])
    t = np.linspace(0, distance, 20_001)
    curve = weight * np.exp(-(t**2) / 2)
    curve += (1 - weight) / ratio * np.exp(-(((t - distance) / ratio) ** 2) / 2)
    low = find_peaks(-curve)[0]
    bimodal, valley = valley_of(weights, means, stds)
    if len(low):
        want = curve[low[0]] / min(curve[: low[0]].max(), curve[low[0] :].max())
        assert valley[0] == pytest.approx(want, abs=tolerances.VALLEY_OF_GRID)
        assert bimodal[0]
    else:  # a valley finer than the grid is as deep as the square of a step
        assert valley[0] >= 1 - tolerances.VALLEY_OF_GRID


def test_equal_parts_two_deviations_apart_have_one_mode():
    """The border case of the textbooks: two equal normal laws have two modes from D = 2 on."""
    for distance, want in ((1.99, False), (2.01, True)):
        means = np.array([[0.0], [distance]])
        bimodal, _ = valley_of(np.full((2, 1), 0.5), means, np.ones((2, 1)))
        assert bimodal[0] == want


@settings(max_examples=30)
@given(st.integers(-30, 30), st.booleans(), st.integers(0, 1000))
def test_shift_scale_reflection_and_order(power, flip, seed):
    rng = np.random.default_rng(seed)
    x = two(rng, 80, 0.4, 4.0, 0.7)
    scale = (-1.0 if flip else 1.0) * 2.0**power
    fit, moved = two_component_mixture(x), two_component_mixture(rng.permutation(x) * scale)
    assert moved.statistic == pytest.approx(fit.statistic, abs=80 * tolerances.MIXTURE_LIKELIHOOD)
    means = moved.means[::-1] if flip else moved.means
    np.testing.assert_allclose(means / scale, fit.means, atol=tolerances.MIXTURE_PARAMETERS)
    shifted = two_component_mixture(x + 16.0)
    assert shifted.statistic == pytest.approx(fit.statistic, abs=80 * tolerances.MIXTURE_LIKELIHOOD)


def test_columns_axes_and_left_out_values(rng):
    x = rng.normal(size=(60, 2, 3))
    x[:5, 0, 0] = np.nan
    x[0, 1, 1] = np.inf
    got, moved = mixture_test(x, random_state=3), mixture_test(x.T, axis=-1, random_state=3)
    fit = two_component_mixture(x)
    assert fit.means.shape == (2, 2, 3)
    for j, k in np.ndindex(2, 3):
        column = x[:, j, k][np.isfinite(x[:, j, k])]
        alone = mixture_test(column, random_state=3)
        np.testing.assert_array_equal([part[j, k] for part in got], alone)
        np.testing.assert_array_equal([part[k, j] for part in moved], alone)
        np.testing.assert_array_equal(fit.means[:, j, k], two_component_mixture(column).means)
        assert alone.n == len(column)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int16"])
def test_dtypes_and_tensors(rng, dtype):
    x = (10 * rng.normal(size=(100, 2))).astype(dtype)
    want = two_component_mixture(x.astype(float))
    for given_ in (x, torch.tensor(x)):
        for part, expected in zip(two_component_mixture(given_), want, strict=True):
            np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("n", [30, 200])
def test_level(rng, n, equal):
    x = 5 + 3 * rng.normal(size=(n, 400))
    pvalue = mixture_test(x, equal_variance=equal, replicates=399, random_state=0).pvalue
    for level in (0.05, 0.5):
        error = np.sqrt(level * (1 - level) * (1 / 400 + 1 / 399))
        assert abs((pvalue <= level).mean() - level) <= tolerances.STANDARD_ERRORS * error


def test_power_and_what_is_rejected_besides(rng):
    apart = np.stack([two(rng, 200, 0.5, 4.0) for _ in range(20)], axis=1)
    result = mixture_test(apart, random_state=0)
    assert (result.pvalue == 0.01).all()
    assert result.bimodal.all()
    skewed = mixture_test(rng.exponential(size=(200, 20)), random_state=0)
    assert (skewed.pvalue <= 0.05).all()  # not normal: what the docstring warns of


def test_pvalue_counts_replicates(rng):
    x = rng.normal(size=40)
    pvalue = mixture_test(x, replicates=19, random_state=1).pvalue
    assert pvalue * 20 == pytest.approx(round(pvalue * 20))
    assert 1 / 20 <= pvalue <= 1
    assert mixture_test(x, replicates=19, random_state=1).pvalue == pvalue
    generator = np.random.default_rng(1)
    assert mixture_test(x, replicates=19, random_state=generator).pvalue == pvalue


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", BAD)
def test_mixture_bad_input(case):
    x = np.asarray(BAD[case])
    test, fit = mixture_test(x, replicates=9, random_state=0), two_component_mixture(x)
    finite = np.isfinite(x.astype(float))
    assert test.n == fit.n == finite.sum()
    if len(np.unique(x[finite])) < 3:
        assert np.isnan([test.statistic, test.pvalue, test.ashman_d, test.valley]).all()
        assert np.isnan(fit.means).all()
        assert not fit.converged
        assert not fit.bimodal
    else:
        assert np.isfinite([test.statistic, test.pvalue, test.ashman_d, test.valley]).all()
        assert fit.converged
        assert x[finite].min() <= fit.means[0] <= fit.means[1] <= x[finite].max()


def test_atoms_and_grids(rng):
    relu = np.maximum(rng.normal(size=500), 0)
    fit = two_component_mixture(relu)
    assert fit.means[0] < 0.1
    assert fit.stds[0] / fit.stds[1] == pytest.approx(LEAST_RATIO)
    grid = np.round(rng.normal(size=(500, 20)))
    spread = two_component_mixture(grid, ties="spread").statistic
    assert np.median(spread) < np.median(two_component_mixture(grid).statistic)


def test_wrong_arguments():
    with pytest.raises(InputError, match="ties must be one of"):
        two_component_mixture([1.0, 2.0], ties="jitter")
    with pytest.raises(InputError, match="equal_variance must be True or False, got 2"):
        two_component_mixture([1.0, 2.0], equal_variance=2)
    with pytest.raises(InputError, match="replicates must be a whole number of at least 1, got 0"):
        mixture_test([1.0, 2.0], replicates=0)
    with pytest.raises(InputError, match="random_state must be"):
        mixture_test([1.0, 2.0], random_state="seed")
