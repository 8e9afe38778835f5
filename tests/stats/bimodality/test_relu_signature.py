"""The thesis' shape: densities whose modes are known, its laws, and clear modes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distfit_nn import maxent
from distfit_nn.errors import InputError
from distfit_nn.maxent.modes import MODE
from distfit_nn.stats.bimodality.peaks import clear_peaks
from distfit_nn.stats.bimodality.relu_signature import (
    ReluSignature,
    relu_signature,
    relu_signature_of_density,
)
from tests import tolerances
from tests.stats.faces import COLUMNS

NUMBERS = ReluSignature._fields[3:12]


def pair(rng, weight=0.6, low=(-0.5, 0.3), high=(1.8, 0.8), shape=(4000, 2)):
    """Columns of two normal laws, given as (mean, std)."""
    left = rng.random(shape) < weight
    return np.where(left, rng.normal(*low, shape), rng.normal(*high, shape))


def test_the_shape_is_found_with_its_numbers(rng):
    x = pair(rng)
    got = relu_signature(x)
    std = x.std(axis=0)
    assert got.present.all()
    assert (got.n == 4000).all()
    assert (got.modes == 2).all()
    np.testing.assert_allclose(got.std, std, rtol=tolerances.MAXENT_RESIDUAL)
    np.testing.assert_allclose(got.left_position * std, -0.5, atol=tolerances.MODE_OF_SIX_MOMENTS)
    np.testing.assert_allclose(got.right_position * std, 1.8, atol=tolerances.MODE_OF_SIX_MOMENTS)
    np.testing.assert_allclose(got.share_left, 0.63, atol=tolerances.MASS_OF_SIX_MOMENTS)
    np.testing.assert_allclose(
        got.share_negative, (x < 0).mean(axis=0), atol=tolerances.MASS_OF_SIX_MOMENTS
    )
    below, above = x[:, 0][x[:, 0] < 0.8], x[:, 0][x[:, 0] > 0.8]
    for width, side in ((got.left_width[0], below), (got.right_width[0], above)):
        assert width * std[0] == pytest.approx(
            np.subtract(*np.quantile(side, [0.75, 0.25])), rel=tolerances.WIDTH_OF_SIX_MOMENTS
        )


NOT_THE_SHAPE = {
    "mirrored": {"weight": 0.4, "low": (-1.8, 0.8), "high": (0.5, 0.3)},
    "far below zero": {"low": (-5.0, 0.3)},
    "both below zero": {"low": (-3.4, 0.3), "high": (-1.1, 0.8)},
    "both above zero": {"low": (0.5, 0.3), "high": (2.8, 0.8)},
    "lower, though narrower": {"weight": 0.2, "low": (-0.5, 0.3), "high": (1.8, 0.4)},
    "wider, though higher": {"weight": 0.85, "low": (-1.0, 0.6), "high": (2.5, 0.4)},
    "two equal modes": {"weight": 0.5, "low": (-1.0, 0.5), "high": (2.0, 0.5)},
    "as wide, though higher": {"weight": 0.65, "low": (-0.7, 0.5), "high": (2.0, 0.5)},
    "one mode": {"weight": 1.0},
}


@pytest.mark.parametrize("name", NOT_THE_SHAPE)
def test_what_is_not_the_shape(rng, name):
    got = relu_signature(pair(rng, **NOT_THE_SHAPE[name], shape=(4000, 20)))
    assert not got.present.any()
    assert (got.modes == (1 if name == "one mode" else 2)).all()
    assert np.isnan(got.depth).all() == (name == "one mode")


def test_limits_decide(rng):
    x = pair(rng, shape=(4000,))
    plain = relu_signature(x)
    assert plain.present
    assert not relu_signature(x, near=-0.9 * plain.left_position).present
    assert relu_signature(x, near=-1.1 * plain.left_position).present
    assert not relu_signature(x, least_depth=float(plain.depth) + 0.01).present
    assert not relu_signature(x, least_share=1.01 - float(plain.share_left)).present


def test_numbers_are_those_of_the_density(rng):
    density = maxent.fit(pair(rng, shape=(4000,)))
    got = relu_signature_of_density(density, 4000)
    left, right = density.modes()
    np.testing.assert_allclose(got.left_position * got.std, left["position"])
    np.testing.assert_allclose(got.right_height / got.std, right["height"])
    np.testing.assert_allclose(got.depth, 1 - left["valley_height"] / right["height"])
    valley = left["valley"]
    np.testing.assert_allclose(got.valley * got.std, valley)
    np.testing.assert_allclose(got.share_left, density.cdf(valley))
    np.testing.assert_allclose(got.share_negative, density.cdf(0.0))
    share = density.cdf(valley)
    quartiles = density.ppf(share + (1 - share) * np.array([0.25, 0.75]))
    np.testing.assert_allclose(got.right_width * got.std, np.diff(quartiles)[0])
    assert got.n == 4000
    assert relu_signature_of_density(density).n == 0


@given(st.floats(0.01, 100))
def test_scale_changes_nothing_but_std(scale):
    x = pair(np.random.default_rng(3), shape=(400,))
    want, got = relu_signature(x), relu_signature(scale * x)
    assert got.present == want.present
    for name in NUMBERS:
        close = pytest.approx(getattr(want, name), rel=tolerances.MAXENT_MULTIPLIERS)
        assert getattr(got, name) == close
    assert got.std == pytest.approx(scale * want.std, rel=tolerances.MAXENT_MULTIPLIERS)


def test_columns_axes_dtypes_and_tensors(rng):
    x = pair(rng, shape=(500, 2, 3)).astype(np.float32)
    x[0, 0, 0], x[1, 0, 0] = np.nan, np.inf
    got = relu_signature(x)
    assert all(field.shape == (2, 3) for field in got)
    assert got.n[0, 0] == 498
    for other in (relu_signature(np.moveaxis(x, 0, 1), axis=1), relu_signature(torch.tensor(x))):
        for have, want in zip(other, got, strict=True):
            np.testing.assert_array_equal(have, want)
    pooled = relu_signature(x, axis=None)
    assert pooled.n == x.size - 2
    assert pooled.present


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", COLUMNS)
def test_relu_signature_bad_input(name):
    x = np.array(COLUMNS[name])
    got = relu_signature(x)
    assert got.present == False  # noqa: E712 (a NumPy bool)
    assert got.n == np.isfinite(x).sum()
    assert got.modes == 0
    assert np.isnan(got[3:]).all()


@pytest.mark.filterwarnings("error")
def test_relu_signature_bad_input_with_a_density(rng):
    normal = rng.normal(size=20)
    columns = [
        [np.inf, -np.inf, *normal],
        np.arange(22),
        np.linspace(5.9e4, 6e4, 22).astype(np.float16),
        1e300 * np.r_[normal, 0.0, 0.0],
    ]
    got = relu_signature(np.array(columns, dtype=float), axis=1)
    np.testing.assert_array_equal(got.n, [20, 22, 22, 22])
    assert (got.modes > 0).all()
    assert relu_signature(np.empty((0, 2))).present.tolist() == [False, False]
    assert relu_signature(np.empty((2, 0))).present.shape == (0,)


def test_bad_arguments(rng):
    x = rng.normal(size=20)
    with pytest.raises(InputError, match="near must be a number from 0 to inf, got -1"):
        relu_signature(x, near=-1)
    with pytest.raises(InputError, match=r"least_share must be a number from 0 to 0\.5, got 0\.6"):
        relu_signature(x, least_share=0.6)
    with pytest.raises(InputError, match="least_depth must be a number from 0 to 1, got 'deep'"):
        relu_signature(x, least_depth="deep")
    with pytest.raises(InputError, match="n must have 1 numbers, or one, got 2"):
        relu_signature_of_density(maxent.fit(x), [1, 2])


def modes(heights, valleys):
    table = np.zeros(len(heights), MODE)
    table["position"] = np.arange(len(heights))
    table["height"] = heights
    table["valley"] = np.arange(len(heights)) + 0.5
    table["valley_height"] = [*valleys, np.nan]
    return table


@pytest.mark.parametrize(
    ("heights", "valleys", "mass", "left"),
    [
        ([1, 1], [0.95], [0.5], [0]),  # shallow: the first of equal ones stays
        ([1, 2], [0.95], [0.5], [1]),
        ([1, 2], [0.85], [0.5], [0, 1]),
        ([1, 2], [0.2], [0.04], [1]),  # deep, with too little beside it
        ([3, 1, 2], [0.95, 0.1], [0.4, 0.6], [0, 2]),
        ([3, 1, 2], [0.1, 0.2], [0.5, 0.52], [0, 2]),  # joins its neighbour over the higher valley
        ([1, 1, 1], [0.97, 0.96], [0.3, 0.6], [0]),
        ([1], [], [], [0]),
    ],
)
def test_clear_peaks(heights, valleys, mass, left):
    peaks = clear_peaks(modes(heights, valleys), np.array(mass, float))
    assert peaks.position.tolist() == left
    assert len(peaks.valley) == len(peaks.depth) == len(left) - 1


def test_no_modes_have_no_peaks():
    peaks = clear_peaks(np.empty(0, MODE), np.empty(0))
    assert len(peaks.position) == len(peaks.depth) == 0
