"""Moments against a two-pass oracle in extended precision, scipy, and the law merge = whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from distfit_nn.errors import InputError
from distfit_nn.stats import Moments, kurtosis, moments, skewness
from distfit_nn.stats import moments as moments_function
from tests import tolerances

ORDERS = range(2, 7)
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


def exact_column(column: np.ndarray) -> dict[str, object]:
    """The specification: two passes over one column, in extended precision."""
    column = column.astype(np.float64)
    finite = column[np.isfinite(column)].astype(np.longdouble)
    mean = finite.sum() / max(len(finite), 1)
    return {
        "n": len(finite),
        "mean": mean,
        "sums": [((finite - mean) ** r).sum() for r in ORDERS],
        "absolute": [(abs(finite - mean) ** r).sum() for r in ORDERS],
        "minimum": finite.min(initial=np.inf),
        "maximum": finite.max(initial=-np.inf),
        "zero_count": int((finite == 0).sum()),
        "nan_count": int(np.isnan(column).sum()),
        "inf_count": int(np.isinf(column).sum()),
    }


def check_column(m: Moments, index: tuple[int, ...], column: np.ndarray) -> None:
    want = exact_column(column)
    n = want["n"]
    for name in ("n", "zero_count", "nan_count", "inf_count"):
        assert np.asarray(getattr(m, name))[index] == want[name], name
    if n == 0:
        assert np.isnan(np.asarray(m.mean)[index])
        return
    assert np.asarray(m.minimum)[index] == want["minimum"]
    assert np.asarray(m.maximum)[index] == want["maximum"]
    size = max(abs(want["minimum"]), abs(want["maximum"]))
    assert (
        abs(np.asarray(m.mean)[index] - want["mean"])
        <= tolerances.sum_error(n) * size + tolerances.SUBNORMAL
    )
    for k, r in enumerate(ORDERS):
        error = abs(m.power_sums[k][index] - want["sums"][k])
        bound = tolerances.power_sum_error(n, r) * want["absolute"][k] + n * tolerances.UNDERFLOW
        assert error <= bound, r


def check_all(m: Moments, x: np.ndarray, axis: object) -> None:
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
    columns = np.moveaxis(x, list(axes), range(len(axes)))
    kept = columns.shape[len(axes) :]
    assert np.shape(m.n) == kept
    columns = columns.reshape(-1, *kept)
    for index in np.ndindex(*kept):
        check_column(m, index, columns[(slice(None), *index)])


def sample(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    x = rng.normal(1.0, 3.0, shape)
    if dtype == "bool":
        return x > 0
    x = (abs(x) if dtype == "uint8" else x).astype(dtype)
    if x.dtype.kind == "f":
        kind = rng.random(shape)
        x[kind < 0.10], x[kind < 0.06], x[kind < 0.04], x[kind < 0.02] = 0, np.nan, np.inf, -np.inf
    return x


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
    import sys

    monkeypatch.setattr(sys.modules[moments_function.__module__], "_SLAB", 50)
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


VALUES = st.one_of(
    st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, 0.1, math.nan, math.inf, -math.inf])
)


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
