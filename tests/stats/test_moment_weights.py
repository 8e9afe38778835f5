"""Weights that repeat values, masks that delete them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distfit_nn.errors import InputError
from distfit_nn.stats.moments import Moments, moments
from tests.stats.exact_moments import VALUES, check_all, check_column, column_of, sample

WEIGHTED = st.lists(st.tuples(VALUES, st.integers(0, 4)), max_size=40)


@given(WEIGHTED, st.sampled_from([1, 3]))
def test_whole_weights_repeat(pairs, columns):
    x = np.array([x for x, _ in pairs], dtype=float)
    w = np.array([w for _, w in pairs], dtype=int)
    many = np.repeat(x, w)
    m = moments(np.repeat(x[:, None], columns, axis=1), order=6, weights=w)
    check = column_of(m, columns - 1)
    full = moments(many)
    there = x[w > 0]
    assert check.n == np.isfinite(there).sum()
    assert check.weight_sum == full.n
    assert check.nan_count == np.isnan(there).sum()
    assert check.inf_count == np.isinf(there).sum()
    assert check.zero_count == (there == 0).sum()
    np.testing.assert_array_equal(check.zero_fraction, full.zero_fraction)
    np.testing.assert_array_equal([check.minimum, check.maximum], [full.minimum, full.maximum])
    if full.n:
        check_column(dataclasses.replace(check, **counts_of(full)), (), many)


def counts_of(m: Moments) -> dict[str, object]:
    return {name: getattr(m, name) for name in ("n", "zero_count", "nan_count", "inf_count")}


def test_fractions_are_weights_too(rng):
    x, w = rng.normal(size=(900, 4)), rng.gamma(1.0, size=(900, 4)) * (rng.random((900, 4)) < 0.8)
    m = moments(x, weights=w)
    np.testing.assert_allclose(m.weight_sum, w.sum(0), rtol=1e-13)
    np.testing.assert_allclose(m.mean, np.average(x, axis=0, weights=w), rtol=1e-11)
    np.testing.assert_allclose(
        m.var, [np.cov(x[:, j], aweights=w[:, j], ddof=0) for j in range(4)], rtol=1e-11
    )
    np.testing.assert_allclose(m.effective_n, w.sum(0) ** 2 / (w**2).sum(0), rtol=1e-12)
    np.testing.assert_array_equal(m.n, (w > 0).sum(0))
    scaled = moments(x, weights=w * 2.0**300)
    np.testing.assert_array_equal(scaled.kurtosis, m.kurtosis)
    np.testing.assert_array_equal(scaled.effective_n, m.effective_n)


def test_effective_n():
    assert moments([1.0, 2.0, 5.0]).effective_n == 3
    assert moments([1.0, 2.0, np.nan], weights=[3, 3, 1]).effective_n == 2
    assert moments([]).effective_n == 0
    assert np.isnan(moments([1.0, 2.0], weights=[1e200, 1e200]).effective_n)


def test_zero_fraction_is_weighted():
    m = moments([0.0, -0.0, 1.0, 2.0, np.nan, 0.0], weights=[1, 2, 3, 4, 5, 0])
    assert (m.zero_count, m.zero_fraction) == (2, 0.3)


@given(WEIGHTED)
def test_a_mask_deletes_rows(pairs):
    x = np.array([x for x, _ in pairs], dtype=float)
    mask = np.array([w > 1 for _, w in pairs], dtype=bool)
    m = moments(np.stack([x, x[::-1]], axis=1), mask=mask)
    check_all(m, np.stack([x, x[::-1]], axis=1)[mask], 0)


@pytest.mark.parametrize("axis", [0, 1, 2, (0, 2), None])
def test_a_mask_broadcasts_to_x(rng, axis):
    x = sample(rng, (9, 5, 7), "float32")
    for shape in ((9, 5, 7), (5, 1), (9, 1, 1), (1, 1, 7)):
        mask = rng.random(shape) < 0.6
        m = moments(x, axis, mask=mask)
        full = np.broadcast_to(mask, x.shape)
        for name, kind in (("n", np.isfinite), ("nan_count", np.isnan), ("inf_count", np.isinf)):
            np.testing.assert_array_equal(getattr(m, name), (kind(x) & full).sum(axis), name)
        use = np.isfinite(x) & full
        with np.errstate(all="ignore"):
            want = np.where(use, x, 0).astype(float).sum(axis) / use.sum(axis)
        np.testing.assert_allclose(m.mean, want, rtol=1e-12)


def test_rows_are_masked_where_x_is_square(rng):
    x, mask = rng.normal(size=(6, 6)), np.arange(6) < 4
    np.testing.assert_allclose(moments(x, mask=mask).mean, x[:4].mean(0), rtol=1e-14)
    np.testing.assert_allclose(moments(x, 1, mask=mask).mean, x[:, :4].mean(1), rtol=1e-14)
    m = moments(torch.tensor(x), mask=torch.tensor(mask))
    np.testing.assert_allclose(m.mean, x[:4].mean(0), rtol=1e-14)


def test_what_is_masked_out_may_have_any_weight(rng):
    x = rng.normal(size=50)
    weights = np.where(np.arange(50) < 9, np.nan, 2.0)
    m = moments(x, weights=weights, mask=np.arange(50) >= 9)
    assert (m.n, m.weight_sum) == (41, 82)


BAD_SHARES = [
    ({"weights": [1, 2]}, "weights must have the shape of x"),
    ({"weights": [1.0, -1.0, 1.0]}, "finite and at least 0, got -1"),
    ({"weights": [1.0, math.inf, 1.0]}, "finite and at least 0, got inf"),
    ({"weights": [1.0, math.nan, 1.0]}, "finite and at least 0, got nan"),
    ({"weights": ["a", "b", "c"]}, "weights must be an array of real numbers"),
    ({"mask": [1, 0, 1]}, "mask must be an array of booleans"),
    ({"mask": [True] * 4}, "mask must have the shape of x"),
]


@pytest.mark.parametrize(("share", "message"), BAD_SHARES)
def test_wrong_weights_and_masks(share, message):
    with pytest.raises(InputError, match=message):
        moments([1.0, 2.0, 3.0], **share)
    with pytest.raises(InputError, match=message):
        moments(np.ones((3, 70)), **share)
