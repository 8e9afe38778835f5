"""CopulaTransformer: scikit-learn's checks, the scores it keeps, and the company it is in."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse, stats
from scipy.special import ndtr, ndtri
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from distfit_nn import maxent
from distfit_nn.copula import inverse_scores, normal_scores
from distfit_nn.errors import InputError
from distfit_nn.transforms import CopulaTransformer, table
from tests import cases
from tests.tolerances import SCORE_LOOKUP, SCORE_TABLE
from tests.transforms.laws import TARGETS

# Read by SciPy when it is imported, and asked for by one of scikit-learn's checks: another process.
ALL_CHECKS = """
from collections import Counter
from sklearn.utils.estimator_checks import check_estimator
from distfit_nn.transforms import CopulaTransformer
done = check_estimator(CopulaTransformer(), on_skip=None, on_fail=None)
print(dict(Counter(check["status"] for check in done)))
print(*[(check["check_name"], check["exception"]) for check in done if check["status"] != "passed"])
"""


@pytest.mark.slow
def test_every_check_of_scikit_learn_passes(capsys):
    done = subprocess.run(
        [sys.executable, "-c", ALL_CHECKS],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    passed = re.match(r"\{'passed': (\d+)\}\n", done.stdout)
    assert passed, done.stdout
    with capsys.disabled():
        print(f" [scikit-learn's checks: {passed[1]} ran, {passed[1]} passed] ", end="")
    assert int(passed[1]) >= 40  # 46 in scikit-learn 1.9


@parametrize_with_checks(
    [
        CopulaTransformer("uniform", 5, outside="clip"),
        CopulaTransformer(n_quantiles=2),
    ]
)
def test_other_settings_pass_them_too(estimator, check):
    check(estimator)


# A table that holds every value is the transform itself


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", ["normal", "cauchy", "post_relu", "integers", "offset", "tiny"])
def test_a_whole_table_gives_the_scores_of_the_training_data(kind, target):
    x = cases.column(kind, 300)[:, None]
    law = TARGETS[target]()
    made = CopulaTransformer(law).fit(x)
    np.testing.assert_allclose(made.transform(x), normal_scores(x, law), rtol=SCORE_TABLE)
    np.testing.assert_array_equal(made.inverse_transform(made.transform(x)), x)


@pytest.mark.parametrize("kind", ["normal", "cauchy", "post_relu", "integers", "lognormal"])
def test_a_whole_table_goes_on_and_back_as_inverse_scores_does(kind):
    x = cases.column(kind, 200)[:, None]
    y = np.linspace(-8, 8, 201)[:, None]
    made = CopulaTransformer().fit(x)
    back = made.inverse_transform(y)
    beyond = np.abs(y) > normal_scores(np.arange(200.0)).max()
    expected = inverse_scores(y, x)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(back[beyond], expected[beyond], atol=SCORE_LOOKUP * scale)
    # Between two values the one is straight in the score and the other in the mass.
    low = np.searchsorted(np.sort(x[:, 0]), back[~beyond], side="right")
    high = np.searchsorted(np.sort(x[:, 0]), expected[~beyond], side="right")
    np.testing.assert_array_equal(low, high)


def test_one_target_for_each_feature(rng):
    x = rng.normal(size=(100, 3))
    shapes = np.array([0.5, 1.0, 4.0])
    made = CopulaTransformer(stats.gamma(shapes)).fit_transform(x)
    for j, shape in enumerate(shapes):
        np.testing.assert_allclose(
            made[:, j], normal_scores(x[:, j], stats.gamma(shape)), rtol=SCORE_TABLE
        )
    with pytest.raises(InputError, match="3 for as many columns, got 2"):
        CopulaTransformer(stats.gamma([1.0, 2.0])).fit(x)


def test_distributions_of_torch_are_targets(rng):
    x = rng.normal(size=(100, 2))
    law = torch.distributions.Laplace(torch.tensor(0.0, dtype=torch.float64), 1.0)
    made = CopulaTransformer(law).fit_transform(x)
    np.testing.assert_allclose(made, normal_scores(x, stats.laplace()), rtol=1e-9, atol=1e-9)


# A table of bounded size


@pytest.mark.parametrize("size", [2, 3, 10, 101, 1000])
@pytest.mark.parametrize("n", [1, 2, 11, 3000])
def test_places_are_few_and_even(n, size):
    places = table.places(n, size)
    assert len(places) <= size
    assert places[0] == 0
    assert places[-1] == n - 1
    gaps = np.diff(places)
    assert (gaps > 0).all()
    if n > size:
        assert gaps.max(initial=0) <= 2 * n / (size - 1) + 1  # rounded
        z = ndtri((places + 0.5) / n)
        steps = np.diff(z)[gaps > 1]
        # One step of the even scores, and half a place at either end of it.
        half = 0.5 / (n * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))
        room = 2 * np.maximum(half[:-1], half[1:])[gaps > 1]
        assert (steps <= 2 * (z[-1] - z[0]) / size + room).all()


@pytest.mark.parametrize("kind", ["normal", "cauchy", "bimodal", "post_relu", "integers"])
@pytest.mark.parametrize("size", [50, 1000])
def test_scores_are_off_by_less_than_a_step(kind, size):
    x = cases.column(kind, 20_000)[:, None]
    made = CopulaTransformer(n_quantiles=size).fit(x)
    y, exact = made.transform(x), normal_scores(x)
    step = 2 * np.ptp(normal_scores(np.arange(20_000.0))) / (size - 2)
    assert np.abs(y - exact).max() < step
    assert np.abs(ndtr(y) - ndtr(exact)).max() < 2 / (size - 2)
    assert np.abs(y - exact).mean() < step / 10
    ends = [x.argmin(), x.argmax()]
    np.testing.assert_allclose(y[ends], exact[ends], rtol=SCORE_TABLE)
    assert made.table_.values.shape[1] <= 3 * size
    np.testing.assert_allclose(
        made.inverse_transform(y), x, rtol=SCORE_LOOKUP, atol=SCORE_LOOKUP * np.abs(x).max()
    )


def test_half_zero_data_are_half_zero_again(rng):
    x = np.maximum(rng.normal(size=(20_000, 2)), 0.0)
    made = CopulaTransformer().fit(x)
    y = made.transform(x)
    for j in range(2):
        zero = x[:, j] == 0
        np.testing.assert_allclose(y[zero, j], ndtri(zero.mean() / 2), rtol=SCORE_TABLE)
        assert y[~zero, j].min() > ndtri(zero.mean() - 0.5 / 20_000)
    assert made.table_.values.shape[1] < 1010  # three entries for the atom alone
    back = made.inverse_transform(rng.normal(size=(20_000, 2)))
    # Two shares of draws, one of them of the sample.
    error = 4 * np.sqrt(2 * 0.25 / 20_000)
    np.testing.assert_allclose((back == 0).mean(axis=0), (x == 0).mean(axis=0), atol=error)


def test_training_data_become_normal(rng):
    x = np.stack([cases.column(name, 5000) for name in ("cauchy", "bimodal", "u_shaped")], axis=1)
    y = CopulaTransformer().fit_transform(x)
    assert np.abs(y.mean(axis=0)).max() < 1e-3
    # The mean square of the scores of n ranks is 1 - O(log n / n).
    np.testing.assert_allclose(y.std(axis=0), 1.0, atol=2e-3)
    new = cases.COLUMNS["u_shaped"](rng, 5000)[:, None]
    y = CopulaTransformer().fit(x[:, 2:]).transform(new)
    assert stats.kstest(y[:, 0], "norm").statistic < 2.3 * np.sqrt(2 / 5000)


# Missing values, constants, few samples


def test_nan_is_left_out_and_stays(rng):
    x = rng.normal(size=(400, 4))
    x[::3, 0], x[5, 1], x[:, 2] = np.nan, np.nan, np.nan
    x[3:, 3] = np.nan
    made = CopulaTransformer(n_quantiles=50).fit(x)
    y = made.transform(x)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    for j in (0, 1, 3):
        seen = ~np.isnan(x[:, j])
        alone = CopulaTransformer(n_quantiles=50).fit(x[seen, j][:, None])
        np.testing.assert_array_equal(y[seen, j], alone.transform(x[seen, j][:, None])[:, 0])
        points = np.linspace(-9, 9, 31)[:, None]
        np.testing.assert_array_equal(
            made.transform(points * np.ones(4))[:, j], alone.transform(points)[:, 0]
        )
        np.testing.assert_array_equal(
            made.inverse_transform(points * np.ones(4))[:, j], alone.inverse_transform(points)[:, 0]
        )
    assert np.isnan(made.transform(np.zeros((2, 4)))[:, 2]).all()
    assert np.isnan(made.inverse_transform(np.zeros((2, 4)))[:, 2]).all()


def test_constants_and_single_samples():
    for x in (np.full((9, 2), 7.0), np.full((1, 2), 7.0)):
        for target, median in (("normal", 0.0), ("uniform", 0.5)):
            made = CopulaTransformer(target).fit(x)
            np.testing.assert_array_equal(made.transform([[7.0, 7.0]]), [[median, median]])
            np.testing.assert_array_equal(made.inverse_transform([[-3.0, 0.9]]), [[7.0, 7.0]])
            for beyond in ([[0.0, -1e300]], [[9.0, 1e300]]):
                np.testing.assert_array_equal(made.transform(beyond), [[median, median]])


def test_wrong_settings():
    x = np.arange(6.0)[:, None]
    for settings, said in (
        ({"target": "gaussian"}, "target"),
        ({"n_quantiles": 1}, "n_quantiles must be a whole number of at least 2, got 1"),
        ({"n_quantiles": 10.0}, "n_quantiles"),
        ({"outside": "keep"}, "outside"),
    ):
        with pytest.raises(InputError, match=said):
            CopulaTransformer(**settings).fit(x)


def test_wrong_data():
    made = CopulaTransformer()
    with pytest.raises(NotFittedError):
        made.transform([[1.0]])
    with pytest.raises(NotFittedError):
        made.inverse_transform([[1.0]])
    for x in ([[np.inf], [0.0]], sparse.csr_array(np.eye(3)), [1.0, 2.0], np.empty((0, 2))):
        with pytest.raises((ValueError, TypeError)):
            made.fit(x)
    with pytest.raises(ValueError, match="2 features"):
        made.fit(np.eye(3)).transform(np.eye(2))
    masked = np.ma.masked_greater(np.arange(6.0)[:, None], 4)
    for method in (made.fit, made.transform, made.inverse_transform):
        with pytest.raises(InputError, match="X must not be masked"):
            method(masked)
    np.testing.assert_array_equal(made.fit(masked[:5]).transform(masked[2:3]), [[0.0]])


# In scikit-learn's company


def test_frames_in_and_out(rng):
    frame = pd.DataFrame(rng.lognormal(size=(50, 2)), columns=["a", "b"], index=range(5, 55))
    made = CopulaTransformer().set_output(transform="pandas")
    out = made.fit_transform(frame)
    assert list(out.columns) == list(made.get_feature_names_out()) == ["a", "b"]
    assert (out.index == frame.index).all()
    np.testing.assert_allclose(out, normal_scores(frame.to_numpy()), rtol=SCORE_TABLE)
    with pytest.raises(ValueError, match="feature names"):
        made.transform(frame.rename(columns={"a": "c"}))


def test_copies_are_equal(rng):
    x = rng.normal(size=(3000, 3))
    made = CopulaTransformer(stats.laplace(), 100, outside="clip").fit(x)
    again = pickle.loads(pickle.dumps(made))  # noqa: S301
    np.testing.assert_array_equal(again.transform(x), made.transform(x))
    blank = clone(made)
    assert not hasattr(blank, "table_")
    np.testing.assert_array_equal(blank.fit(x).transform(x), made.transform(x))
    assert blank.get_params()["n_quantiles"] == 100


def test_in_a_pipeline(rng):
    x = rng.lognormal(size=(200, 2))
    y = np.log(x).sum(axis=1)
    search = GridSearchCV(
        make_pipeline(CopulaTransformer(), Ridge()),
        {"copulatransformer__n_quantiles": [10, 1000]},
    ).fit(x, y)
    assert search.best_score_ > 0.9


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(3, 70), (700, 1), (40_000, 5), (1, 3)])
def test_any_layout_and_as_many_threads(order, shape, rng):
    x = rng.normal(size=(2 * shape[0], shape[1]))
    made = CopulaTransformer().fit(x[::2])
    y = made.transform(np.asarray(x, order=order)[::2])
    alone = CopulaTransformer().fit(np.ascontiguousarray(x[::2, -1:]))
    np.testing.assert_array_equal(y[:, -1:], alone.transform(x[::2, -1:]))
    before = x.copy()
    made.transform(x), made.inverse_transform(x), made.fit(x)
    np.testing.assert_array_equal(x, before)


def test_densities_are_targets(rng):
    density = maxent.fit(cases.column("bimodal"), 4)
    y = CopulaTransformer(density).fit_transform(rng.normal(size=(5000, 1)))
    assert stats.kstest(y[:, 0], density.cdf).statistic < 2 / 1000


# Laws

VALUES = st.floats(-4, 4, width=32) | st.sampled_from([0.0, 1.0])
TABLES = arrays.arrays(np.float64, st.integers(1, 60), elements=VALUES)
POINTS = arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e3, 1e3) | VALUES)
SIZES = st.sampled_from([2, 5, 1000])


@given(TABLES, POINTS, SIZES, st.sampled_from(["normal", "uniform", stats.cauchy()]))
def test_the_maps_are_increasing(x, points, size, target):
    made = CopulaTransformer(target, size).fit(x[:, None])
    points = np.sort(np.concatenate([points, x]))[:, None]
    for moved in (made.transform(points), made.inverse_transform(points)):
        assert np.isfinite(moved).all()
        assert (np.diff(moved[:, 0]) >= 0).all()


@given(TABLES, POINTS, SIZES)
def test_scores_come_back(x, points, size):
    made = CopulaTransformer(n_quantiles=size).fit(x[:, None])
    values = made.inverse_transform(points[:, None])
    again = made.inverse_transform(made.transform(values))
    scale = np.abs(values).max() + np.abs(x).max()
    np.testing.assert_allclose(again, values, atol=SCORE_LOOKUP * scale)


@given(TABLES, SIZES)
def test_features_do_not_know_of_each_other(x, size):
    two = np.stack([x, -(x**3) - x], axis=1)
    y = CopulaTransformer(n_quantiles=size).fit_transform(two)
    np.testing.assert_allclose(
        y[:, 0], CopulaTransformer(n_quantiles=size).fit_transform(two[:, :1])[:, 0]
    )
    if size >= len(x):
        np.testing.assert_allclose(y[:, 1], -y[:, 0], atol=1e-14)
