"""Soft and hard ranks of arrays against the sum over all pairs in float64."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, ndtri

from distfit_nn.copula import columns, hard_rank, soft_rank
from distfit_nn.copula.columns import BELOW, BOTH, NORMAL, Kept
from distfit_nn.errors import InputError
from tests import tolerances
from tests.copula.oracle import KINDS, STRENGTHS, direct, sample
from tests.tolerances import RANK, eps, soft_rank_error

Array = NDArray[np.float64]

FLOATS = [np.float16, np.float32, np.float64]


def soft_counts(x, strength):
    """Return the counts below and above, with one strength for all columns."""
    return columns.soft_counts(x, np.full(x.shape[1], strength), BOTH, keep=False)


def soft_normal_scores(x, strength):
    """Return the normal quantiles of the shares below."""
    return columns.soft_counts(x, np.full(x.shape[1], strength), NORMAL, keep=False)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_soft_ranks_are_the_sum_over_all_pairs(kind, strength, dtype, rng):
    with np.errstate(over="ignore"):
        x = sample(kind, 700, rng).astype(dtype)
    s = soft_rank(x, strength)
    assert s.dtype == dtype
    wide = x.astype(np.float32) if dtype is np.float16 else x
    np.testing.assert_allclose(s, direct(wide, strength), rtol=0, atol=soft_rank_error(700, dtype))


@pytest.mark.parametrize("strength", [0.5, 5.0, 500.0])
def test_scores_are_quantiles_of_either_count(strength, rng):
    x = rng.standard_normal((3000, 3))
    below, above = soft_counts(x, strength)
    z = soft_normal_scores(x, strength)
    expected = np.where(below < above, ndtri(below / 3000), -ndtri(above / 3000))
    np.testing.assert_allclose(z, expected, rtol=tolerances.NORMAL_QUANTILE, atol=1e-15)


# Counts from either side


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_counts_keep_the_digits_of_either_tail(dtype):
    # Two clusters far apart: at the top of the upper one, the count above is 1/2 and a little.
    x = np.concatenate([np.linspace(-9, -8, 60_000), [8.0, 8.5, 9.0]]).astype(dtype)
    below, above = (c[:, 0] for c in soft_counts(x[:, None], 4.0))
    expected = expit(4.0 * (x[-3:, None] - x[-3:].astype(np.float64)).T).sum(axis=1)
    np.testing.assert_allclose(above[-3:], expected, rtol=4 * eps(dtype) + 1e-8)
    np.testing.assert_allclose(below + above, len(x), rtol=2 * eps(dtype))


def test_hard_counts_are_mid_ranks_from_either_side(rng):
    x = np.round(rng.standard_normal((500, 4)), 1)
    below, above = columns.hard_counts(x)
    np.testing.assert_array_equal(below, stats.rankdata(x, axis=0) - 0.5)
    np.testing.assert_array_equal(above, stats.rankdata(-x, axis=0) - 0.5)


def test_scores_of_hard_ranks_by_a_table(rng):
    x = np.round(rng.standard_normal((40, 2)), 1)
    table = rng.standard_normal(79)
    places = (2 * hard_rank(x)).astype(int) - 1
    np.testing.assert_array_equal(columns.hard_scores(x, [table])[0], table[places])


# What is unlike other numbers


@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e6])
def test_infinities_are_the_extremes_and_ties(strength, rng):
    x = rng.standard_normal(100)
    x[:5], x[5:12] = np.inf, -np.inf
    s, hard = soft_rank(x, strength), hard_rank(x)
    np.testing.assert_allclose(s, direct(x, strength), rtol=0, atol=soft_rank_error(100))
    np.testing.assert_array_equal(hard, stats.rankdata(x) - 0.5)
    within = 2 * eps() * 100
    np.testing.assert_allclose(s[:5], 97.5, atol=within)
    np.testing.assert_allclose(s[5:12], 3.5, atol=within)
    assert np.ptp(s[:5]) == np.ptp(s[5:12]) == 0  # ties share a rank to the last bit


def test_a_column_of_infinities_is_a_column_of_ties():
    x = np.full((6, 2), np.inf)
    np.testing.assert_array_equal(soft_rank(x, 2.0), 3.0)
    np.testing.assert_array_equal(hard_rank(x), 3.0)
    _, *kept = columns.soft_counts(x, np.ones(2), BELOW, True)
    _, dstrength = columns.soft_slopes(Kept(*kept), np.ones(2), np.ones((6, 2)))
    np.testing.assert_array_equal(dstrength, 0.0)


@pytest.mark.parametrize("n", [1, 2, 50, 5000])
def test_nan_poisons_its_own_column_only(n, rng):
    x = rng.standard_normal((n, 10))
    clean = soft_rank(x, 3.0), hard_rank(x), soft_normal_scores(x, 3.0)
    x[n // 2, 4] = np.nan
    x[0, 7] = -np.nan
    strength, others = np.full(10, 3.0), [0, 1, 2, 3, 5, 6, 8, 9]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = soft_rank(x, 3.0), hard_rank(x), soft_normal_scores(x, 3.0)
        _, *kept = columns.soft_counts(x, strength, BELOW, True)
        slopes = columns.soft_slopes(Kept(*kept), strength, np.ones((n, 10)))
    for ranked, was in zip(found, clean, strict=True):
        assert np.isnan(ranked[:, [4, 7]]).all()
        np.testing.assert_array_equal(ranked[:, others], was[:, others])
    for by in slopes:
        assert np.isnan(by[..., [4, 7]]).all()
        assert np.isfinite(by[..., others]).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("strength", [1e-300, 1e-30, 1.0, 1e30, 1e300])
def test_the_largest_and_the_smallest_numbers(dtype, strength):
    limit = np.finfo(dtype)
    tiny = limit.smallest_subnormal
    x = np.array([limit.max, -limit.max, limit.max / 2, 0, -0.0, tiny, -tiny, 3 * tiny, 1], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        s = soft_rank(x, strength)
    halves = x.astype(np.longdouble) / 2
    u = np.clip(2 * (halves[:, None] - halves) * strength, -1e3, 1e3)  # a long double holds it
    expected = expit(u.astype(np.float64)).sum(axis=1)
    np.testing.assert_allclose(s, expected, rtol=0, atol=soft_rank_error(9, dtype))
    np.testing.assert_array_equal(hard_rank(x), stats.rankdata(x) - 0.5)


def test_float64_that_differ_in_their_last_bits_only(rng):
    # The sort gives up the lowest bits of a value to the place it came from, and mends it after.
    steps = rng.permutation(3000)
    x = 1.0 + steps * eps()
    np.testing.assert_array_equal(hard_rank(x), steps + 0.5)
    s = soft_rank(x, 1 / eps())
    np.testing.assert_allclose(s, direct(steps, 1.0), rtol=0, atol=soft_rank_error(3000))
    mixed = np.concatenate([x, rng.standard_normal(3000), -x])
    np.testing.assert_array_equal(hard_rank(mixed), stats.rankdata(mixed) - 0.5)


def test_the_keys_of_float64_hold_all_but_the_last_bits(rng, monkeypatch):
    # Else columns would be in order only by being sorted anew, which takes four times as long.
    x = rng.standard_normal((3000, 2)) * [1.0, 1e-300]
    expected = stats.rankdata(x, axis=0) - 0.5
    monkeypatch.setattr(columns.np, "argsort", None)
    np.testing.assert_array_equal(hard_rank(x), expected)


def test_one_value_has_the_rank_one_half():
    assert soft_rank([7.0], 3.0).tolist() == [0.5]
    assert hard_rank([[7.0, np.inf]], dim=0).tolist() == [[0.5, 0.5]]
    np.testing.assert_array_equal(soft_rank(np.ones((4, 1)), 2.0, dim=1), 0.5)


# Shapes, dtypes, strides, axes


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2, -3, np.int64(1)])
def test_any_axis(dim, rng):
    x = rng.standard_normal((5, 6, 7))
    expected = np.apply_along_axis(direct, int(dim), x, 2.0)
    np.testing.assert_allclose(soft_rank(x, 2.0, dim=dim), expected, atol=soft_rank_error(7))
    np.testing.assert_array_equal(hard_rank(x, dim=dim), stats.rankdata(x, axis=int(dim)) - 0.5)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_a_strength_for_each_column(dim, rng):
    x = rng.standard_normal((5, 6, 7))
    shape = np.delete(np.array(x.shape), dim)
    strength = np.exp(rng.standard_normal(shape))
    s = np.moveaxis(soft_rank(x, strength, dim=dim), dim, 0)
    columns = np.moveaxis(x, dim, 0)
    for place in np.ndindex(*shape):
        expected = direct(columns[(slice(None), *place)], strength[place])
        np.testing.assert_allclose(s[(slice(None), *place)], expected, atol=soft_rank_error(7))
    np.testing.assert_array_equal(
        soft_rank(x, strength[:1], dim=dim),
        soft_rank(x, np.broadcast_to(strength[:1], shape), dim=dim),
    )


def test_strides_do_not_matter(rng):
    x = rng.standard_normal((40, 12)).astype(np.float32)
    expected = soft_rank(x, 2.0), hard_rank(x)
    wide = np.zeros((80, 36), np.float32)
    wide[1::2, 2::3] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    views = [np.asfortranarray(x), wide[1::2, 2::3], x[::-1].copy()[::-1], frozen]
    for view in views:
        before = view.copy()
        np.testing.assert_array_equal(soft_rank(view, 2.0), expected[0])
        np.testing.assert_array_equal(hard_rank(view), expected[1])
        np.testing.assert_array_equal(view, before)
    row = np.broadcast_to(x[:1], (5, 12))
    np.testing.assert_array_equal(soft_rank(row, 2.0), 2.5)
    swapped = x.astype(x.dtype.newbyteorder())
    np.testing.assert_array_equal(soft_rank(swapped, 2.0), expected[0])


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int32, np.uint32, np.int64])
def test_integers_and_booleans_give_float64(dtype, rng):
    x = rng.integers(0, 2 if dtype is bool else 100, (60, 2)).astype(dtype)
    s, hard = soft_rank(x, 0.1), hard_rank(x)
    assert s.dtype == hard.dtype == np.float64
    np.testing.assert_allclose(s[:, 1], direct(x[:, 1], 0.1), rtol=0, atol=soft_rank_error(60))
    np.testing.assert_array_equal(hard, stats.rankdata(x, axis=0) - 0.5)


def test_hard_ranks_of_integers_that_float64_cannot_tell_apart():
    big = 2**63 - 1
    np.testing.assert_array_equal(
        hard_rank(np.array([big, big - 1, big - 2, big])), [3, 1.5, 0.5, 3]
    )
    unsigned = np.array([2**64 - 1, 2**64 - 2, 0], np.uint64)
    np.testing.assert_array_equal(hard_rank(unsigned), [2.5, 1.5, 0.5])


def test_ranks_beyond_a_short_dtype_are_its_largest_number():
    x = np.zeros((70_000, 2), np.float16)
    x[:3000, 0], x[7, 1] = 1.0, np.nan
    for ranked in (soft_rank(x, 100.0), hard_rank(x)):
        assert ranked.dtype == np.float16
        assert np.unique(ranked[:, 0]).tolist() == [33504.0, 65504.0]
        assert np.isnan(ranked[:, 1]).all()


def test_a_strength_may_keep_the_axis_or_be_one_number_of_any_shape(rng):
    x, each = rng.standard_normal((3, 20, 4)), rng.uniform(0.5, 2, (3, 1, 4))
    for dim in (1, -2):
        np.testing.assert_array_equal(soft_rank(x, each, dim), soft_rank(x, each[:, 0], dim))
    for one in (np.full((1, 1, 1, 1), 2.0), [2.0], np.float32(2.0)):
        np.testing.assert_array_equal(soft_rank(x, one), soft_rank(x, 2.0))


def test_lists_and_long_doubles(rng):
    assert soft_rank([0, 1, 1, 4], 1).round(3).tolist() == [1.056, 1.778, 1.778, 3.387]
    x = rng.standard_normal(20).astype(np.longdouble)
    s = soft_rank(x, 1.0)
    assert s.dtype == np.longdouble
    np.testing.assert_array_equal(s, soft_rank(x.astype(np.float64), 1.0))


# Errors


@pytest.mark.parametrize("strength", [0, -1.0, np.nan, np.inf, [1.0, 0.0, 1.0]])
def test_a_strength_that_is_not_positive_and_finite(strength):
    with pytest.raises(InputError, match="strength must be positive and finite, got"):
        soft_rank(np.ones((4, 3)), strength)


@pytest.mark.parametrize("strength", [[1.0, 2.0], np.ones((4, 3)), np.ones((3, 1)), np.ones(0)])
def test_a_strength_of_another_shape(strength):
    with pytest.raises(InputError, match=r"strength must be one number, .* \(3,\) .* got shape"):
        soft_rank(np.ones((4, 3)), strength)


@pytest.mark.parametrize("dim", [2, -3, 1.0, True, None, "0"])
def test_a_dim_that_is_no_axis(dim):
    for rank in (lambda x: soft_rank(x, 1.0, dim=dim), lambda x: hard_rank(x, dim=dim)):
        with pytest.raises(InputError, match=r"dim must be an axis of x, of shape \(4, 3\), got"):
            rank(np.ones((4, 3)))


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0)])
def test_nothing_to_rank(shape):
    for rank in (lambda x: soft_rank(x, 1.0), hard_rank):
        with pytest.raises(InputError, match="x must have an axis and at least one value, got"):
            rank(np.ones(shape))


@pytest.mark.parametrize("x", [["a"], [1j], [None], np.array(["2020"], "datetime64[Y]")])
def test_what_is_not_real(x):
    for rank in (lambda x: soft_rank(x, 1.0), hard_rank):
        with pytest.raises(InputError, match="x must be an array of real numbers"):
            rank(x)


# Laws

COLUMN = arrays.arrays(
    np.float64,
    st.integers(1, 120),
    elements=st.one_of(
        st.floats(-100, 100),
        st.sampled_from([0.0, -0.0, 1.0, np.inf, -np.inf, 1e300, 5e-324]),
    ),
)
STRENGTH = st.floats(1e-3, 1e6)


@given(COLUMN, STRENGTH)
def test_law_order_is_kept_and_ties_share_a_rank(x, strength):
    s = soft_rank(x, strength)
    order = np.argsort(x, kind="stable")
    rises = np.diff(s[order])
    assert (rises >= -2 * RANK[np.float64] * len(x)).all()
    assert (rises[np.diff(np.where(np.isinf(x), np.sign(x) * 1.5e308, x)[order]) == 0] == 0).all()
    assert (s >= 0.5 - RANK[np.float64] * len(x)).all()
    assert (s <= len(x) - 0.5 + RANK[np.float64] * len(x)).all()


@given(COLUMN, STRENGTH, st.randoms(use_true_random=False))
def test_law_a_permutation_permutes_the_ranks(x, strength, random):
    moved = random.sample(range(len(x)), len(x))
    np.testing.assert_array_equal(soft_rank(x, strength)[moved], soft_rank(x[moved], strength))
    np.testing.assert_array_equal(hard_rank(x)[moved], hard_rank(x[moved]))


@given(
    arrays.arrays(np.int64, st.integers(1, 100), elements=st.integers(-1000, 1000)),
    STRENGTH,
    st.integers(-1000, 1000),
)
def test_law_a_shift_changes_nothing(x, strength, shift):
    np.testing.assert_array_equal(soft_rank(x, strength), soft_rank(x + shift, strength))


@given(COLUMN, STRENGTH)
def test_law_the_ranks_add_up_to_half_the_square_of_n(x, strength):
    n = len(x)
    assert abs(soft_rank(x, strength).sum() - n * n / 2) <= soft_rank_error(n) * n
    assert hard_rank(x).sum() == n * n / 2


@given(COLUMN, STRENGTH)
def test_law_a_mirror_image_counts_from_the_other_side(x, strength):
    below, above = (c[:, 0] for c in soft_counts(x[:, None], strength))
    mirrored = soft_counts(-x[:, None], strength)[0][:, 0]
    np.testing.assert_allclose(mirrored, above, rtol=0, atol=len(x) * 2 * len(x) * eps())
    np.testing.assert_allclose(below + above, len(x), rtol=2 * eps())


@given(arrays.arrays(np.int64, st.integers(1, 200), elements=st.integers(-50, 50)))
def test_law_great_strength_gives_hard_ranks(x):
    np.testing.assert_allclose(soft_rank(x, 1e3), hard_rank(x), atol=2 * eps() * len(x))
    np.testing.assert_array_equal(hard_rank(x), stats.rankdata(x) - 0.5)


@given(COLUMN, st.floats(1e-3, 1e3))
def test_law_strength_is_in_units_of_one_over_x(x, strength):
    within = soft_rank_error(len(x))
    for power in (2.0**-20, 2.0**20):
        with np.errstate(over="ignore"):
            scaled = soft_rank(np.clip(x, -1e290, 1e290) * power, strength / power)
        plain = soft_rank(np.clip(x, -1e290, 1e290), strength)
        np.testing.assert_allclose(scaled, plain, rtol=0, atol=within)


# Size


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_million_values(dtype, rng):
    x = rng.standard_normal(1_000_000).astype(dtype)
    s = soft_rank(x, 5.0)
    some = rng.choice(len(x), 50, replace=False)
    for i in some:
        expected = expit(5.0 * (np.float64(x[i]) - x)).sum()
        assert abs(s[i] - expected) <= soft_rank_error(len(x), dtype)
