"""MaxEntTransformer: a scikit-learn estimator by scikit-learn's own checks, and what it does."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator

from distfit_nn import maxent
from distfit_nn.errors import InputError
from distfit_nn.maxent import Status
from distfit_nn.transforms import MaxEntTransformer, quantile_match
from tests import cases
from tests.tolerances import MAXENT_CDF, MAXENT_EQUIVARIANCE, eps
from tests.transforms.laws import TARGETS

# Read by SciPy when it is imported, and asked for by one of scikit-learn's checks: another process.
ALL_CHECKS = """
from collections import Counter
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator
from distfit_nn.transforms import MaxEntTransformer
done = check_estimator(MaxEntTransformer(), on_skip=None, on_fail=None)
print(dict(Counter(check["status"] for check in done)))
print(*[(check["check_name"], check["exception"]) for check in done if check["status"] != "passed"])
"""


@pytest.mark.slow
def test_every_check_of_scikit_learn_passes(capsys):
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ALL_CHECKS],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    passed = re.match(r"\{'passed': (\d+)\}\n", done.stdout)
    assert passed, done.stdout
    with capsys.disabled():
        print(f" [scikit-learn's checks: {passed[1]} ran, {passed[1]} passed] ", end="")
    assert int(passed[1]) >= 45  # 53 in scikit-learn 1.9


@pytest.mark.parametrize(
    "settings",
    [
        {"order": 2, "support": "data"},
        {"order": 4, "target": "uniform", "outside": "clip"},
        {"target": stats.gamma(2.0), "support": (-1e6, 1e6), "backend": "numpy", "order": 2},
    ],
    ids=["data", "uniform", "gamma"],
)
def test_other_settings_pass_them_too(settings):
    done = check_estimator(MaxEntTransformer(**settings), on_skip=None)  # raises on a failure
    assert sum(check["status"] == "passed" for check in done) >= 40


@pytest.fixture
def frame(rng) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "heavy": rng.lognormal(size=300),
            "bumps": np.where(rng.random(300) < 0.5, -3.0, 3.0) + rng.normal(size=300),
            "constant": np.full(300, 7.0),
            "flag": np.arange(300) % 2 * 1.0,
        }
    )


def test_what_a_fit_leaves(frame):
    made = MaxEntTransformer(order=4).fit(frame)
    assert list(made.feature_names_in_) == list(frame.columns)
    assert made.n_features_in_ == 4
    assert list(made.status_) == [Status.OK, Status.OK, Status.DEGENERATE, Status.DEGENERATE]
    assert len(made.densities_) == 4
    np.testing.assert_array_equal(made.densities_.loc, maxent.fit(frame, 4).loc)
    assert list(made.get_feature_names_out()) == list(frame.columns)


def test_frames_in_and_out(frame):
    made = MaxEntTransformer(order=4).set_output(transform="pandas")
    out = made.fit_transform(frame)
    assert isinstance(out, pd.DataFrame)
    assert list(out.columns) == list(frame.columns)
    assert (out.index == frame.index).all()
    np.testing.assert_allclose(out.to_numpy(), quantile_match(frame.to_numpy(), 4), atol=1e-9)
    assert (out["constant"] == 0).all()
    np.testing.assert_allclose(out["flag"].abs(), 1.0, rtol=1e-12)
    np.testing.assert_allclose(made.inverse_transform(out), frame, atol=1e-9)
    with pytest.raises(ValueError, match="feature names"):
        made.transform(frame.rename(columns={"flag": "flags"}))


@pytest.mark.parametrize("target", TARGETS)
def test_training_data_come_back(target, frame):
    made = MaxEntTransformer(4, target=TARGETS[target]())
    x = frame.to_numpy()
    # Without an upper tail of its own a mass is known to eps, over the density at 1 in 300.
    error = 1e-9 if target != "cdf and ppf only" else 1e-8
    np.testing.assert_allclose(made.inverse_transform(made.fit_transform(x)), x, atol=error)


def test_new_data_beyond_the_old_are_finite_and_in_order(frame):
    made = MaxEntTransformer().fit(frame.to_numpy())
    wide = np.linspace(-1e6, 1e6, 1001)[:, None] * np.ones(4)
    y = made.transform(wide)
    assert np.isfinite(y).all()
    assert (np.diff(y, axis=0) > 0).all()
    np.testing.assert_allclose(made.inverse_transform(y), wide, rtol=1e-9, atol=1e-6)
    # A straight line from the last of the training data on.
    bends = np.diff(y[510:, :2], n=2, axis=0)
    assert (np.abs(bends) <= 1e-9 * np.abs(y[-1, :2])).all()


def test_nan_passes_through_and_is_left_out(frame):
    x = frame.to_numpy().copy()
    x[::7, 0], x[3, 3] = np.nan, np.nan
    x = np.column_stack([x, np.full(300, np.nan)])
    made = MaxEntTransformer(4).fit(x)
    y = made.transform(x)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    alone = MaxEntTransformer(4).fit_transform(x[~np.isnan(x[:, 0]), :1])
    np.testing.assert_allclose(y[~np.isnan(x[:, 0]), :1], alone, atol=MAXENT_CDF, rtol=1e-9)
    assert made.status_[-1] == Status.INVALID
    np.testing.assert_allclose(made.inverse_transform(y), x, atol=1e-9)


def test_the_formula_ends_with_the_training_data(frame):
    x = frame.to_numpy()
    new = x.max(axis=0) + 1.0
    careful, daring = MaxEntTransformer(4).fit(x), MaxEntTransformer(4, within="support").fit(x)
    np.testing.assert_array_equal(careful.transform(x), daring.transform(x))
    assert (careful.transform([new])[0, :2] < daring.transform([new])[0, :2]).all()
    flat = MaxEntTransformer(4, outside="clip").fit(x)
    top = flat.transform([x.max(axis=0)])
    np.testing.assert_allclose(flat.transform([new])[0, :2], top[0, :2], rtol=1e-12)


def test_what_is_refused(frame):
    made = MaxEntTransformer(2).fit(frame)
    infinite = frame.to_numpy().copy()
    infinite[0, 0] = np.inf
    for call in (made.fit, made.transform, made.inverse_transform):
        with pytest.raises(ValueError, match="infinity"):
            call(infinite)
        with pytest.raises(TypeError, match=r"[Ss]parse"):
            call(sparse.csr_matrix(np.eye(4)))
        with pytest.raises(InputError, match="X must not be masked"):
            call(np.ma.masked_invalid(infinite))
    with pytest.raises(ValueError, match="features"):
        made.inverse_transform(frame.iloc[:, :2].to_numpy())
    with pytest.raises(NotFittedError):
        MaxEntTransformer().inverse_transform(frame)
    for settings in ({"order": 0}, {"support": 0.5}, {"target": "gauss"}, {"outside": "wrap"}):
        with pytest.raises(InputError):
            MaxEntTransformer(**settings).fit(frame)
    with pytest.raises(InputError, match="support must hold the data"):
        MaxEntTransformer(support=(0.0, 1.0)).fit(frame)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_few_samples_give_no_nan(n, rng):
    made = MaxEntTransformer(6)
    x = rng.normal(size=(n, 3)).round(1)
    y = made.fit_transform(x)
    assert np.isfinite(y).all()
    assert np.isfinite(made.transform(rng.normal(size=(50, 3)) * 100)).all()
    np.testing.assert_allclose(made.inverse_transform(y), x, atol=1e-9)
    if n == 1:
        assert (y == 0).all()


def test_float32_stays_float32(frame):
    x = frame.to_numpy()
    made = MaxEntTransformer(4).fit(x)
    y = made.transform(x.astype(np.float32))
    assert y.dtype == np.float32
    slope = np.exp(made.map_.log_derivative(x))
    rounding = eps(np.float32) * (np.abs(x) * slope + np.abs(made.transform(x)))
    # To first order; near an end of the scores the slope changes over a rounding by a few percent.
    assert (np.abs(y - made.transform(x)) <= 1.1 * rounding + eps(np.float32)).all()
    assert made.inverse_transform(y).dtype == np.float32
    assert get_tags(made).transformer_tags.preserves_dtype == ["float64", "float32"]
    assert made.transform(x.astype(int)).dtype == np.float64


def test_what_float32_cannot_hold_is_its_largest():
    x = np.linspace(-1e-37, 1e-37, 50, dtype=np.float32)[:, None]
    y = MaxEntTransformer(2).fit(x).transform(np.array([[-3e38], [3e38]], np.float32))
    assert (y[:, 0] == np.array([-1, 1], np.float32) * np.finfo(np.float32).max).all()


def test_parameters_and_copies(frame):
    made = MaxEntTransformer(4, "data", target="uniform", outside="clip")
    again = clone(made)
    assert again.get_params() == made.get_params()
    assert repr(made) == (
        "MaxEntTransformer(order=4, outside='clip', support='data', target='uniform')"
    )
    again.set_params(order=2).fit(frame)
    assert again.densities_.order == 2
    assert made.order == 4
    two = pickle.loads(pickle.dumps(again))  # noqa: S301
    np.testing.assert_allclose(two.transform(frame), again.transform(frame), atol=MAXENT_CDF)


def test_a_search_over_orders(rng):
    x = rng.gamma(1.0, size=(300, 3))
    y = stats.norm.ppf(stats.gamma(1.0).cdf(x)) @ [1.0, -1.0, 0.5] + 0.1 * rng.normal(size=300)
    model = make_pipeline(MaxEntTransformer(), Ridge())
    orders = {"maxenttransformer__order": [2, 4, 6]}
    search = GridSearchCV(model, orders, error_score="raise").fit(x, y)
    scores = search.cv_results_["mean_test_score"]
    assert scores[2] > scores[1] > scores[0]


def test_close_to_the_ranks_where_six_moments_suffice(rng):
    x = rng.gamma(4.0, size=(5000, 1))
    ranks = QuantileTransformer(output_distribution="normal", n_quantiles=1000).fit_transform(x)
    y = MaxEntTransformer(6).fit_transform(x)
    middle = np.abs(ranks) < 2
    # A rank's score has a standard error below 1/sqrt(n p(1-p)/phi^2) = 0.04 within two deviations.
    assert np.abs(ranks - y)[middle].max() < 4 * 0.04


def test_columns_of_every_kind():
    x = np.stack([cases.column(name, 200) for name in cases.COLUMNS], axis=1)
    made = MaxEntTransformer()
    y = made.fit_transform(x)
    assert np.isfinite(y).all()
    back = made.inverse_transform(y)
    size = np.abs(x).max(axis=0)
    np.testing.assert_allclose(back / size, x / size, atol=1e-9)


def test_sample_weights_count_as_repetitions(rng: np.random.Generator) -> None:
    x, counts = rng.gamma(2.0, size=(200, 2)), rng.integers(0, 4, size=200)
    weighted = MaxEntTransformer(order=4).fit(x, sample_weight=counts)
    repeated = MaxEntTransformer(order=4).fit(np.repeat(x, counts, axis=0))
    inside = np.repeat(x, counts, axis=0)
    difference = weighted.transform(inside) - repeated.transform(inside)
    assert np.abs(difference).max() < MAXENT_EQUIVARIANCE


def test_weights_of_columns_without_a_density() -> None:
    x = np.array([[0.0], [0.0], [1.0]])  # two values carry no density of order 4
    scaler = MaxEntTransformer(order=4).fit(x, sample_weight=[1.0, 0.0, 1.0])
    np.testing.assert_allclose(scaler.transform(x)[:, 0], [-1.0, -1.0, 1.0], rtol=1e-15)


def test_wrong_sample_weights() -> None:
    x = np.arange(6.0)[:, None]
    for weights, said in ((np.ones(5), "shape"), (np.ones((6, 1)), "shape"), (-np.ones(6), "neg")):
        with pytest.raises(InputError, match=said):
            MaxEntTransformer(order=2).fit(x, sample_weight=weights)
