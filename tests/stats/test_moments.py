"""Moments against oracles exact or in extended precision, scipy, and the laws they obey."""

from __future__ import annotations

import math
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from distfit_nn.errors import InputError
from distfit_nn.stats import kurtosis, moments, skewness
from distfit_nn.stats import moments as moments_function
from tests import tolerances
from tests.stats.exact_moments import (
    VALUES,
    check_all,
    check_column,
    check_exactly,
    column_of,
    same_bits,
    sample,
)

MODULE = sys.modules[moments_function.__module__]


SHAPES = [
    ((1000,), 0),
    ((257, 3), 0),
    ((300, 64), 0),
    ((130, 65), 0),
    ((700, 200), 0),
    ((5, 200), 1),
    ((5, 200), -1),
    ((70, 2), None),
    ((4, 3, 5, 6), (0, 2, 3)),
    ((4, 3, 5, 6), (-1, 0)),
    ((4, 3, 5, 6), 2),
    ((1, 7), 0),
]


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "reversed": lambda x: x[::-1].copy()[::-1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_agrees_with_two_passes(rng, shape, axis, layout):
    x = LAYOUTS[layout](sample(rng, shape, "float64"))
    before = x.copy()
    check_all(moments(x, axis), x, axis)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "int64", "uint8", "bool"])
@pytest.mark.parametrize(("shape", "axis"), [SHAPES[1], SHAPES[3], SHAPES[8]])
def test_all_dtypes_accumulate_in_float64(rng, shape, axis, dtype):
    x = sample(rng, shape, dtype)
    check_all(moments(x, axis), x, axis)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_torch_tensors(rng, dtype):
    x = torch.tensor(sample(rng, (90, 5), "float32")).to(dtype).requires_grad_()
    check_all(moments(x), x.detach().double().numpy(), 0)


def test_pieces_of_permuted_axes(rng, monkeypatch):
    monkeypatch.setattr(MODULE, "_SLAB", 50)
    x = sample(rng, (9, 4, 5, 6), "float32")
    check_all(moments(x, (0, 2)), x, (0, 2))


def test_several_buffers(rng):
    x = sample(rng, (2000, 70), "float32")
    check_all(moments(x), x, 0)
    check_all(moments(x[:, :5].ravel()), x[:, :5].ravel(), 0)


def test_large_offset_costs_no_digits(rng):
    offset = 1e8 + rng.normal(size=100_000)
    m = moments(offset)
    centred = offset - 1e8  # exact
    assert m.var == pytest.approx(np.var(centred), rel=tolerances.sum_error(100))
    assert m.kurtosis == pytest.approx(stats.kurtosis(centred), abs=1e-12)
    sixth = np.mean((centred - centred.mean()) ** 6)
    assert m.central(6) == pytest.approx(sixth, rel=tolerances.power_sum_error(100_000, 6))


def test_two_neighbouring_values(rng):
    ones = rng.random(5000) < 0.25
    x = np.where(ones, np.nextafter(0.1, 1), 0.1)
    assert moments(x).kurtosis == pytest.approx(stats.kurtosis(ones.astype(float)), rel=1e-9)


NAN = math.nan


CONVENTIONS = {  # column: n, mean, std, skewness, kurtosis, zero_fraction
    "empty": ([], 0, NAN, NAN, NAN, NAN, NAN),
    "nothing finite": ([NAN, math.inf, -math.inf], 0, NAN, NAN, NAN, NAN, NAN),
    "one value": ([3.5], 1, 3.5, 0, NAN, NAN, 0),
    "one value and NaN": ([NAN, 3.5, NAN], 1, 3.5, 0, NAN, NAN, 0),
    "constant": ([0.1] * 1001, 1001, 0.1, 0, NAN, NAN, 0),
    "zeros": ([0.0, -0.0] * 70, 140, 0, 0, NAN, NAN, 1),
    "two values": ([-1.0, 1.0], 2, 0, 1, 0, -2, 0),
    "large": ([1e60, -1e60], 2, 0, 1e60, 0, -2, 0),
    "small": ([1e-60, -1e-60], 2, 0, 1e-60, 0, -2, 0),
    "fourth power overflows": ([1e80, -1e80], 2, 0, 1e80, 0, NAN, 0),
    "square overflows": ([1e200, -1e200], 2, 0, math.inf, NAN, NAN, 0),
    "fourth power underflows": ([1e-80, -1e-80], 2, 0, 1e-80, 0, NAN, 0),
    "square underflows": ([1e-200, -1e-200], 2, 0, 0, NAN, NAN, 0),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", CONVENTIONS)
def test_conventions(name):
    column, *want = CONVENTIONS[name]
    for m in (moments(np.array(column)), moments(np.array(column)) + moments([])):
        got = [m.n, m.mean, m.std, m.skewness, m.kurtosis, m.zero_fraction]
        np.testing.assert_allclose(got, want, rtol=tolerances.FEW_ROUNDINGS, atol=0)
    if name in ("constant", "zeros"):
        assert m.std == 0
        assert m.mean == column[0]


def test_a_bad_column_leaves_its_neighbours_alone(rng):
    x = rng.normal(size=(400, 5))
    bad = x.copy()
    bad[:, 1], bad[:, 3] = np.nan, 1e308 * (-1.0) ** np.arange(400)
    good, mixed = moments(x), moments(bad)
    for j in (0, 2, 4):
        assert good.kurtosis[j] == mixed.kurtosis[j]
    assert mixed.n[1] == 0
    assert np.isnan(mixed.kurtosis[[1, 3]]).all()


def test_methods_agree_with_numpy_and_scipy(rng):
    x = rng.gamma(2.0, size=(500, 3))
    m = moments(x)
    close = {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(m.var, x.var(0), **close)
    np.testing.assert_allclose(m.std, x.std(0), **close)
    np.testing.assert_allclose(skewness(x), stats.skew(x), **close)
    np.testing.assert_allclose(kurtosis(x), stats.kurtosis(x), **close)
    for r in range(7):
        np.testing.assert_allclose(m.raw(r), (x**r).mean(0), **close)
        np.testing.assert_allclose(m.central(r), ((x - x.mean(0)) ** r).mean(0), **close)
        z = (x - x.mean(0)) / x.std(0)
        np.testing.assert_allclose(m.standardised(r), (z**r).mean(0), **close)


@pytest.mark.parametrize("r", [-1, 7, 2.5, True])
def test_unknown_order(r):
    with pytest.raises(InputError, match="r must be one of"):
        moments([1.0, 2.0]).central(r)


@pytest.mark.parametrize("axis", [1, -2, (0, 0), (), (0, -1)])
def test_wrong_axis(axis):
    with pytest.raises(InputError, match="axis"):
        moments([1.0, 2.0], axis)


@pytest.mark.parametrize("x", [3.0, ["a"], [1j], [[1], [2, 3]]])
def test_not_an_array_of_reals(x):
    with pytest.raises(InputError, match="x must"):
        moments(x)


def test_empty_shapes():
    assert moments(np.empty((0, 3))).n.tolist() == [0, 0, 0]
    assert moments(np.empty((3, 0))).kurtosis.shape == (0,)


def test_merge_needs_one_shape():
    with pytest.raises(InputError, match="one shape"):
        moments([[1.0, 2.0]]).merge(moments([1.0]))
    with pytest.raises(TypeError):
        moments([1.0]) + 1


@given(st.lists(VALUES, max_size=60), st.lists(VALUES, max_size=60))
def test_merge_is_the_whole(left, right):
    whole = np.array(left + right, dtype=float)
    check_column(moments(np.array(left)) + moments(np.array(right)), (), whole)


def test_merge_of_many_shards(rng):
    x = rng.normal(5, 1, (3000, 4)).astype("float32")
    total = moments(x[:0])
    for shard in np.array_split(x, 17):
        total = total + moments(shard)
    check_all(total, x, 0)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=80), st.integers(-20, 20))
def test_shape_does_not_see_a_power_of_two(values, power):
    x = np.round(np.array(values), 9)  # no underflow
    m, scaled = moments(x), moments(x * 2.0**power)
    assert scaled.std == m.std * 2.0**power
    np.testing.assert_array_equal(scaled.skewness, m.skewness)
    np.testing.assert_array_equal(scaled.kurtosis, m.kurtosis)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=80))
def test_pearson_inequality(values):
    m = moments(np.array(values))
    excess = m.kurtosis - m.skewness**2
    assert np.isnan(excess) or excess >= -2 - 1e-9 * (1 + m.skewness**2)


SAMPLES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "offset": lambda rng, n: 1e8 + rng.normal(size=n),
    "skewed": lambda rng, n: rng.gamma(0.3, size=n),
    "ascending": lambda rng, n: np.sort(rng.normal(size=n)),
    "a jump": lambda rng, n: np.where(np.arange(n) < n // 7, 3.0, 1e6 + rng.normal(size=n)),
    "a late spike": lambda rng, n: np.where(np.arange(n) == n - 3, 1e9, rng.normal(size=n)),
    "two neighbours": lambda rng, n: np.where(rng.random(n) < 0.3, np.nextafter(7, 8), 7.0),
    "float16": lambda rng, n: rng.normal(size=n).astype(np.float16),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", SAMPLES)
def test_order_twelve_is_exact_up_to_rounding(rng, name, weighted):
    x = SAMPLES[name](rng, 600)
    weights = rng.gamma(2.0, size=600) if weighted else np.ones(600)
    wide = np.repeat(x[:, None], 70, axis=1)  # side by side and not
    m = moments(x, order=12, weights=weights if weighted else None)
    check_exactly(m, x, weights)
    m = moments(wide, order=12, weights=weights if weighted else None)
    for j in (0, 69):
        check_exactly(column_of(m, j), x, weights)


@pytest.mark.parametrize("order", [2, 3, 5, 7, 12])
def test_orders_agree(rng, order):
    x = rng.normal(size=(700, 3))
    m, full = moments(x, order=order), moments(x, order=12)
    assert m.order == order
    assert m.power_sums.shape == (order - 1, 3)
    np.testing.assert_allclose(m.power_sums, full.power_sums[: order - 1], rtol=1e-13)
    np.testing.assert_allclose(m.raw(order), (x**order).mean(0), rtol=1e-9)
    with pytest.raises(InputError, match="r must be one of"):
        m.central(order + 1)


@pytest.mark.parametrize("order", [1, 13, 2.5, True, "6"])
def test_wrong_order(order):
    with pytest.raises(InputError, match="order must be one of"):
        moments([1.0], order=order)


def test_merge_needs_one_order():
    with pytest.raises(InputError, match="one order, got 4 and 6"):
        moments([1.0], order=4).merge(moments([1.0]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "bool", "int16", "longdouble"])
def test_dtypes_are_read_as_their_float64(rng, dtype):
    """Read as they lie or through a buffer: the same blocks, and so the same bits."""
    x = (3 * rng.normal(size=(9000, 100))).astype(dtype)
    for table in (x, x[:, 3:70], x[:, :5], x[::-1], x[::3], np.asfortranarray(x[:, :70])):
        same_bits(moments(table), moments(np.ascontiguousarray(table, np.float64)))


@pytest.mark.parametrize("shape", [(1_500_000,), (40_000, 60), (20_000, 130), (50, 4, 90, 90)])
def test_threads_change_no_bit(rng, monkeypatch, shape):
    x = rng.standard_normal(shape, dtype=np.float32)
    axis = (0, 2, 3) if len(shape) == 4 else 0
    monkeypatch.setattr(MODULE, "_WORTH_A_PART", 1 << 18)
    results = []
    for count in (1, 2, 5):
        monkeypatch.setattr(MODULE, "threads", lambda count=count: count)
        results.append(moments(x, axis))
    same_bits(results[0], results[1])
    same_bits(results[0], results[2])
    np.testing.assert_allclose(results[0].std, x.std(axis, dtype=np.float64), rtol=1e-12)


def test_large_arrays_are_not_copied(rng):
    x = rng.standard_normal((200_000, 40), dtype=np.float32)
    moments(x[:100])
    for table, axis in ((x, 0), (x.T, 1), (x[:, :33], 0)):
        tracemalloc.start()
        moments(table, axis, weights=np.ones(len(x)))
        moments(table, axis)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < x.nbytes / 4


TABLES = st.lists(st.integers(-1000, 1000), min_size=2, max_size=90)


@given(TABLES, st.integers(-(10**6), 10**6), st.sampled_from([-4.0, 0.25, 3.0, 1e-5]))
def test_shift_and_scale(values, shift, scale):
    x = np.array(values, dtype=float)
    m, moved = moments(x, order=12), moments(scale * (x + shift), order=12)
    size = np.abs(x - x.mean())
    assert moved.mean == pytest.approx(scale * (m.mean + shift), abs=1e-8 * abs(scale))
    for r in range(2, 13):
        bound = 4 * tolerances.moving_power_sum_error(len(x), r) * (size**r).sum()
        rounding = r * 4e6 * tolerances.eps() * (size ** (r - 1)).sum()  # of scale * (x + shift)
        error = abs(moved.power_sums[r - 2] / scale**r - m.power_sums[r - 2])
        assert error <= bound + rounding


@given(TABLES, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(values, random):
    x = np.array(values, dtype=float)
    shuffled = list(values)
    random.shuffle(shuffled)
    m, other = moments(x, order=12), moments(np.array(shuffled, dtype=float), order=12)
    for name in ("n", "minimum", "maximum", "zero_count"):
        assert getattr(m, name) == getattr(other, name)
    size = np.abs(x - x.mean())
    for r in range(2, 13):
        bound = 2 * tolerances.moving_power_sum_error(len(x), r) * (size**r).sum()
        assert abs(m.power_sums[r - 2] - other.power_sums[r - 2]) <= bound


@given(TABLES)
def test_reflection_turns_the_odd_moments(values):
    x = np.array(values, dtype=float)
    m, other = moments(x, order=12), moments(-x, order=12)
    for r in range(2, 13):
        assert other.power_sums[r - 2] == (-1) ** r * m.power_sums[r - 2]


def inputs(rng: np.random.Generator) -> dict[str, tuple[object, tuple[float, ...]]]:
    """Column: values; n, mean, std, skewness, kurtosis, where known (None is: anything)."""
    normal = rng.normal(size=20)
    return {
        "empty": ([], (0, NAN, NAN, NAN, NAN)),
        "one": ([1.0], (1, 1, 0, NAN, NAN)),
        "two": ([1.0, 2.0], (2, 1.5, 0.5, 0, -2)),
        "equal": ([3.0] * 50, (50, 3, 0, NAN, NAN)),
        "two distinct": ([0.0] * 25 + [1.0] * 25, (50, 0.5, 0.5, 0, -2)),
        "all NaN": ([NAN] * 10, (0, NAN, NAN, NAN, NAN)),
        "with inf": ([math.inf, -math.inf, *normal], (20, normal.mean(), normal.std(), None, None)),
        "ints": (np.array([1, 2, 3, 4]), (4, 2.5, math.sqrt(1.25), 0, -1.36)),
        "near the end of float16": (
            np.array([6e4, -6e4, 6e4, -6e4], np.float16),
            (4, 0, 60000, 0, -2),
        ),
        "1e300": ([1e300, 1e300, -1e300, 1e300], (4, 5e299, math.inf, NAN, NAN)),
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", inputs(np.random.default_rng(0)))
def test_moments_bad_input(rng, name, weighted):
    values, want = inputs(rng)[name]
    column = np.asarray(values)
    weights = np.full(len(column), 1.0) if weighted else None
    for x in (column, np.repeat(column[:, None], 130, axis=1)):
        m = moments(x, order=12, weights=weights)
        both = m + m
        for r in range(13):
            m.central(r), m.raw(r), m.standardised(r)
        got = [np.ravel(v)[-1] for v in (m.n, m.mean, m.std, m.skewness, m.kurtosis)]
        for value, expected in zip(got, want, strict=True):
            if expected is not None:
                np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-15)
        assert np.ravel(both.n)[-1] == 2 * want[0]
