"""CopulaTransformer beyond the training data: lines, bounds, clipping and the ends of dtypes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtri
from sklearn.preprocessing import QuantileTransformer

from distfit_nn.copula import inverse_scores, normal_scores
from distfit_nn.transforms import CopulaTransformer
from tests import cases
from tests.tolerances import SCORE_LOOKUP, SCORE_TABLE, eps


def test_new_data_beyond_the_old_keep_their_order_and_come_back(rng):
    x = np.stack([cases.column(name, 2000) for name in ("normal", "cauchy", "post_relu")], axis=1)
    made = CopulaTransformer().fit(x)
    wide = np.linspace(-1e4, 1e4, 2001)[:, None] * np.ones(3)
    y = made.transform(wide)
    assert np.isfinite(y).all()
    above, below = wide > x.max(axis=0), wide < x.min(axis=0)
    for j in range(3):
        assert (np.diff(y[:, j]) >= 0).all()
        assert (np.diff(y[above[:, j], j]) > 0).all()
    back = made.inverse_transform(y)
    outside = above | below & (x.min(axis=0) < 0)
    np.testing.assert_allclose(back[outside], wide[outside], rtol=SCORE_LOOKUP, atol=1e-6)
    assert (back[below & (x.min(axis=0) == 0)] == 0).all()  # the zeros of a ReLU are a bound


def test_a_bound_is_not_left(rng):
    x = np.clip(rng.normal(size=(1000, 1)), 0.0, 1.0)  # as ReLU1 gives, with an atom at either end
    made = CopulaTransformer().fit(x)
    drawn = made.inverse_transform(rng.normal(size=(100_000, 1)))
    assert (drawn.min(), drawn.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(inverse_scores(np.array([[-9.0], [9.0]]), x), [[0.0], [1.0]])


@pytest.mark.parametrize("outside", ["extrapolate", "clip"])
def test_data_beyond_a_bound_count_as_the_bound(outside, rng):
    x = np.clip(rng.normal(size=(1000, 1)), 0.0, 1.0)
    made = CopulaTransformer(outside=outside).fit(x)
    y = made.transform([[-np.finfo(float).max], [-1e-12], [0.0], [1.0], [1.5]])[:, 0]
    shares = (x == 0).mean() / 2, 1 - (x == 1).mean() / 2
    np.testing.assert_allclose(y, ndtri(np.repeat(shares, [3, 2])), rtol=SCORE_TABLE)


def test_clipped_data_count_as_the_ends_tied_or_not(rng):
    x = np.concatenate([[-4.0, -4.0], rng.normal(size=500).clip(-3, 3), [5.0]])[:, None]
    made = CopulaTransformer(outside="clip").fit(x)
    ends = made.transform([[-4.0], [5.0]])
    np.testing.assert_array_equal(made.transform([[-9.0], [9.0]]), ends)
    np.testing.assert_allclose(ends[:, 0], ndtri([1 / 503, 502.5 / 503]), rtol=SCORE_TABLE)
    np.testing.assert_array_equal(made.inverse_transform([[-9.0], [9.0]]), [[-4.0], [5.0]])


def test_where_quantile_transformer_clips(rng):
    x = rng.normal(size=(10_000, 1))
    new = np.array([[-8.0], [-6.0], [6.0], [8.0]])
    theirs = QuantileTransformer(output_distribution="normal").fit(x).transform(new)
    assert np.ptp(np.abs(theirs)) < 1e-6  # all 5.2
    ours = CopulaTransformer().fit(x).transform(new)
    # The slope of a line from 16 values of the tail is known to some ten per cent.
    np.testing.assert_allclose(ours, new, rtol=0.3)
    assert (np.diff(ours[:, 0]) > 1).all()


def test_clip(rng):
    x = rng.normal(size=(500, 2))
    made = CopulaTransformer(outside="clip").fit(x)
    y = made.transform([[-50.0, 50.0]])
    np.testing.assert_allclose(np.abs(y), -ndtri(0.5 / 500), rtol=1e-14)
    np.testing.assert_array_equal(
        made.inverse_transform([[-9.0, 9.0]])[0], [x[:, 0].min(), x[:, 1].max()]
    )


def test_a_target_that_ends_is_not_left(rng):
    x = rng.normal(size=(500, 1))
    made = CopulaTransformer("uniform").fit(x)
    y = made.transform([[-100.0], [100.0]])
    np.testing.assert_array_equal(y, [[0.0], [1.0]])
    np.testing.assert_array_equal(
        made.inverse_transform([[-3.0], [4.0]]), made.inverse_transform([[0.0], [1.0]])
    )
    assert made.inverse_transform([[1.0]]) > x.max()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_stay_and_hold_every_score(dtype, rng):
    x = rng.normal(size=(200, 3)).astype(dtype)
    x[:, 1] = np.finfo(dtype).tiny * np.arange(200)
    made = CopulaTransformer().fit(x)
    y = made.transform(x)
    assert y.dtype == made.inverse_transform(y).dtype == dtype
    np.testing.assert_allclose(y, normal_scores(x), rtol=2 * eps(dtype), atol=2 * eps(dtype))
    largest = np.finfo(dtype).max
    far = made.transform(np.full((1, 3), largest, dtype))
    assert np.isfinite(far).all()
    assert far[0, 1] == largest
    assert np.isfinite(made.inverse_transform(np.full((1, 3), largest, dtype))).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_a_dtype_cannot_hold_becomes_its_largest_number(dtype):
    x, largest = np.arange(100.0)[:, None], np.finfo(dtype).max
    far = CopulaTransformer(stats.pareto(1e-3)).fit(x).transform(x.astype(dtype))
    assert far.dtype == dtype
    np.testing.assert_array_equal(far[-20:], largest)
    made = CopulaTransformer().fit((x - 50) * 1e300)
    back = made.inverse_transform(np.array([[-1], [-0.1], [0.1], [1], [np.nan]], dtype))
    np.testing.assert_array_equal(back[:, 0], [-largest, -largest, largest, largest, np.nan])
    wide = CopulaTransformer(stats.uniform(-1e300, 2e300)).fit(x)
    np.testing.assert_array_equal(
        wide.transform(np.array([[0], [99]], dtype))[:, 0], [-largest, largest]
    )
    assert np.isfinite(wide.inverse_transform(np.array([[-1], [1]], dtype))).all()


def test_the_smallest_numbers_are_told_apart():
    x = 5e-324 * np.arange(200)[:, None]
    made = CopulaTransformer().fit(x)
    np.testing.assert_array_equal(made.inverse_transform(made.transform(x)), x)
    largest = np.finfo(np.float64).max
    np.testing.assert_array_equal(made.transform([[-1.0], [1.0]]), [[-largest], [largest]])


def test_values_far_apart_do_not_overflow():
    x = np.array([[-1.7e308], [0.0], [1.7e308]])
    made = CopulaTransformer().fit(x)
    y = made.transform([[-1.75e308], [-8e307], [8e307], [1.75e308]])
    assert (np.diff(y[:, 0]) > 0).all()
    assert np.isfinite(made.inverse_transform([[-50.0], [0.3], [50.0]])).all()
    ends = CopulaTransformer().fit(x[[0, 2]])
    y = ends.transform([[0.0], [0.85e308], [1.7e308]])[:, 0]
    np.testing.assert_allclose(y[:2], [0.0, y[2] / 2], rtol=1e-15)


def test_neighbours_of_a_knot_are_on_their_side_of_it():
    # Next to 1 a value is at share 1 of its interval, by rounding, and -0.3... + 0.2... too large.
    x = np.array([-10.0, -9.0, -8.0, -7.0, -1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])[:, None]
    made = CopulaTransformer().fit(x)
    for move, points in ((made.transform, x), (made.inverse_transform, made.transform(x))):
        assert (move(np.nextafter(points, -np.inf)) <= move(points)).all()
        assert (move(points) <= move(np.nextafter(points, np.inf))).all()
