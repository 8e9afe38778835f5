"""The compiled moments of columns against long double, for every layout, dtype and kind of data."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distfit_nn.maxent import sample_moments as module
from distfit_nn.maxent.sample_moments import SampleMoments, sample_moments
from tests import cases
from tests.maxent import oracle
from tests.tolerances import blocked_sum_error, eps, maxent_hermite_means

FLOATS = ("float16", "float32", "float64", "longdouble", ">f4", ">f8")
WHOLE = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def wide_hermite(z: np.ndarray, order: int) -> np.ndarray:
    """h_1, ..., h_order in the precision of z."""
    h = [np.ones_like(z), z]
    for i in range(1, order):
        low = np.sqrt(np.longdouble(i)) * h[i - 1]
        h.append((z * h[i] - low) / np.sqrt(np.longdouble(i + 1)))
    return np.array(h[1:])


def unsigned_hermite(z: np.ndarray, order: int) -> np.ndarray:
    """The same with every sign positive: what their terms are added up from."""
    h = [np.ones_like(z), np.abs(z)]
    for i in range(1, order):
        low = np.sqrt(np.longdouble(i)) * h[i - 1]
        h.append((np.abs(z) * h[i] + low) / np.sqrt(np.longdouble(i + 1)))
    return np.array(h[1:])


def check_column(found: SampleMoments, j: int, x: np.ndarray, weights: Any = None) -> None:
    """Column j of `found` is that of the values x, to the derived tolerances."""
    x = x.astype(np.float64)
    share = np.ones(len(x)) if weights is None else weights
    order = len(found.hermite)
    unit = np.longdouble(2.0) ** int(np.frexp(np.abs(x).max())[1])
    wide = x.astype(np.longdouble) / unit
    share = share.astype(np.longdouble) / share.astype(np.longdouble).sum()
    assert found.usable[j]
    assert found.low[j] == x[share > 0].min()
    assert found.high[j] == x[share > 0].max()
    mean = (share * wide).sum()
    about = np.longdouble(found.mean[j]) / unit
    std = np.sqrt((share * (wide - about) ** 2).sum())
    assert abs(about - mean) <= eps() * abs(mean) + blocked_sum_error(len(x)) * std
    assert abs(np.longdouble(found.std[j]) / unit / std - 1) <= maxent_hermite_means(len(x), 2)
    z = (wide - about) / std
    error = np.abs(found.hermite[:, j] - (share * wide_hermite(z, order)).sum(axis=1))
    # The deviation is rounded to float64: order times that in the highest moment.
    size = (share * unsigned_hermite(z, order)).sum(axis=1)
    assert np.all(error <= (maxent_hermite_means(len(x), order) + order * eps()) * size)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6, 7, 8, 12])
@pytest.mark.parametrize("name", list(cases.COLUMNS))
def test_every_kind_of_column(name: str, order: int) -> None:
    x = cases.column(name, 1003)
    check_column(sample_moments(x[:, None], order), 0, x)


@pytest.mark.parametrize("name", ["sorted", "late", "late_far", "far", "largest", "subnormal"])
def test_columns_that_no_few_rows_stand_for(name: str, rng: np.random.Generator) -> None:
    noise = rng.normal(size=5000)
    x = {
        "sorted": np.sort(noise),
        "late": np.append(np.zeros(4999), 1e-200),
        "late_far": np.append(np.full(4999, 3.0), 1e250),
        "far": np.append(noise, 1e9),
        "largest": 1.7e308 * np.sin(noise),
        "subnormal": 1e-300 * noise,
    }[name]
    check_column(sample_moments(x[:, None], 6), 0, x)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 127, 128, 129, 1000, 1025, 40_000])
@pytest.mark.parametrize("d", [1, 2, 3, 5, 64, 100, 128, 129, 300])
def test_shapes(n: int, d: int, rng: np.random.Generator) -> None:
    if n * d > 4_000_000:
        pytest.skip("more of the same")
    x = rng.normal(3.0, 2.0, size=(n, d))
    found = sample_moments(x, 4)
    alike = sample_moments(np.asfortranarray(x), 4)
    for j in {0, d // 2, d - 1}:
        if n == 1:
            assert (found.mean[j], found.std[j], found.distinct[j]) == (x[0, j], 0, 1)
            continue
        check_column(found, j, x[:, j])
        check_column(alike, j, x[:, j])
    if n > 1:
        np.testing.assert_allclose(found.mean, x.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(alike.std, found.std, rtol=1e-12)


@pytest.mark.parametrize("dtype", FLOATS + WHOLE)
@pytest.mark.parametrize("layout", ["c", "fortran", "rows", "columns", "back", "slice"])
def test_dtypes_and_layouts(dtype: str, layout: str, rng: np.random.Generator) -> None:
    big = np.abs(rng.normal(30, 10, size=(300, 14))).astype(dtype)
    x = {
        "c": big,
        "fortran": np.asfortranarray(big),
        "rows": big[::3],
        "columns": big[:, ::2],
        "back": big[::-1, ::-1],
        "slice": big[5:, 3:9],
    }[layout]
    found = sample_moments(x, 4)
    plain = sample_moments(np.array(x, np.float64), 4)
    if dtype == "bool":
        assert np.all(found.distinct == 1)
        return
    for j in range(x.shape[1]):
        check_column(found, j, x[:, j])
    np.testing.assert_array_equal(found.low, plain.low)
    np.testing.assert_array_equal(found.distinct, plain.distinct)


def test_broadcast_and_unaligned_arrays(rng: np.random.Generator) -> None:
    row = rng.normal(size=7)
    found = sample_moments(np.broadcast_to(row, (50, 7)), 4)
    np.testing.assert_array_equal(found.mean, row)
    assert np.all(found.std == 0)
    found = sample_moments(np.broadcast_to(row[:, None], (7, 50)), 4)
    check_column(found, 49, row)
    raw = np.zeros(8 * 60 + 1, np.uint8)
    shifted = raw[1:].view(np.float64).reshape(20, 3)
    shifted[:] = rng.normal(size=(20, 3))
    check_column(sample_moments(shifted, 4), 2, shifted[:, 2])


def test_blocks_of_converted_rows_and_columns(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = rng.gamma(2.0, size=(500, 23)).astype(np.float16)
    x[::7, 3] = np.nan
    whole = sample_moments(x, 6, omit=True)
    for name in ("BLOCK", "COLUMNS", "CAREFUL"):
        monkeypatch.setattr(module, name, 5)
    parts = sample_moments(x, 6, omit=True)
    np.testing.assert_allclose(parts.hermite, whole.hermite, rtol=1e-11, atol=1e-13)
    np.testing.assert_array_equal(parts.low, whole.low)
    np.testing.assert_array_equal(parts.distinct, whole.distinct)


@pytest.mark.parametrize("narrow", [1, 512])
def test_threads_change_nothing(
    narrow: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they share columns or rows."""
    monkeypatch.setattr(module, "WORTH_A_THREAD", 100)
    monkeypatch.setattr(module, "NARROW", narrow)
    x = rng.normal(size=(999, 5))
    x[700, 2] = np.nan
    one, two = sample_moments(x, 6), sample_moments(x, 6, threads=3)
    np.testing.assert_allclose(two.hermite, one.hermite, rtol=1e-12, atol=1e-14)
    for name in ("usable", "low", "high", "distinct"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 130, 998])
def test_what_is_not_finite(bad: float, at: int, rng: np.random.Generator) -> None:
    x = rng.normal(size=(999, 4))
    x[at, 1], x[:, 2] = bad, bad
    found = sample_moments(x, 4)
    assert list(found.usable) == [True, False, False, True]
    check_column(found, 3, x[:, 3])
    found = sample_moments(x, 4, omit=True)
    assert list(found.usable) == [True, True, False, True]
    check_column(found, 1, np.delete(x[:, 1], at))


# Distinct values


@pytest.mark.parametrize("limit", [1, 2, 5, 8])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int16"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_distinct_values_up_to_a_limit(limit: int, dtype: str, order: Any) -> None:
    x = np.stack([cases.distinct(count, 600) for count in range(1, 10)], axis=1)
    x[:, 8] = np.where(np.arange(600) < 592, 0, np.arange(600))  # the others at the very end
    found = sample_moments(np.array(x, dtype, order=order), 4, limit=limit)
    wanted = [min(len(np.unique(column)), limit) for column in x.T]
    np.testing.assert_array_equal(found.distinct, wanted)
    careful = sample_moments(np.array(x, dtype), 4, weights=np.ones(600), limit=limit)
    np.testing.assert_array_equal(careful.distinct, wanted)


# Weights


@pytest.mark.parametrize("order", [1, 4, 6, 12])
def test_weights(order: int, rng: np.random.Generator) -> None:
    x, shared = rng.normal(size=(700, 3)), rng.exponential(size=700)
    shared[::5] = 0
    own = rng.exponential(size=(700, 3)).astype(np.float32) * np.array([1, 1e30, 1e-30], np.float32)
    for weights in (shared, own):
        found = sample_moments(x, order, weights)
        for j in range(3):
            mine = weights if weights.ndim == 1 else weights[:, j].astype(float)
            check_column(found, j, x[:, j], mine)


def test_a_value_of_no_weight_is_not_there() -> None:
    x = np.array([[1.0, 2.0, 4.0, 1e300, np.nan, np.inf]]).T
    weights = np.array([1.0, 1, 2, 0, 0, 0])
    found = sample_moments(x, 4, weights, limit=9)
    check_column(found, 0, x[:3, 0], weights[:3])
    assert found.distinct[0] == 3
    nothing = sample_moments(np.hstack([x, x]), 4, np.outer(weights, [1, 0]))
    assert list(nothing.usable) == [True, False]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_weights_are_repetitions(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(-50, 50), min_size=2, max_size=30))
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values)))
    if sum(times) == 0:
        return
    x = np.array(values, float)[:, None]
    one = sample_moments(x, 4, np.array(times))
    two = sample_moments(np.repeat(x, times, axis=0), 4)
    assert one.distinct[0] == two.distinct[0]
    np.testing.assert_allclose(one.mean, two.mean, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(one.std, two.std, rtol=1e-12, atol=1e-13)
    if two.std[0] > 0:
        np.testing.assert_allclose(one.hermite, two.hermite, rtol=1e-10, atol=1e-11)


# Laws


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(-60, 60), st.booleans(), st.sampled_from([2, 3, 6, 12])
)
def test_powers_of_two_and_signs_change_nothing(
    seed: int, exponent: int, flip: bool, order: int
) -> None:
    x = np.random.default_rng(seed).normal(1.0, 2.0, size=(200, 3))
    factor = math.ldexp(-1.0 if flip else 1.0, exponent)
    one, two = sample_moments(x, order), sample_moments(factor * x, order)
    np.testing.assert_allclose(two.mean, factor * one.mean, rtol=1e-14)
    np.testing.assert_allclose(two.std, abs(factor) * one.std, rtol=1e-14)
    sign = np.sign(factor) ** np.arange(1, order + 1)[:, None]
    np.testing.assert_allclose(two.hermite, sign * one.hermite, rtol=1e-11, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 199))
def test_order_of_rows_and_columns_does_not_matter(seed: int, at: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_t(4, size=(200, 6))
    rows, columns = rng.permutation(200), rng.permutation(6)
    one, two = sample_moments(x, 4), sample_moments(x[rows][:, columns], 4)
    np.testing.assert_allclose(two.hermite, one.hermite[:, columns], rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(two.low, one.low[columns])
    # Two blocks of rows make the whole: as weights of their own they share it out.
    left = (np.arange(200) < at).astype(float)
    parts = [sample_moments(x, 4, w) for w in (left, 1 - left)]
    share = np.array([at, 200 - at]) / 200
    mean = sum(s * part.mean for s, part in zip(share, parts, strict=True))
    np.testing.assert_allclose(mean, one.mean, rtol=1e-11, atol=1e-13)


def test_memory_is_a_tenth_of_the_input() -> None:
    x = np.random.default_rng(0).normal(size=(1000, 20_000)).astype(np.float32)
    sample_moments(x, 6)
    for given_x in (x, x[:, 1:], x[::-1]):
        tracemalloc.start()
        sample_moments(given_x, 6, limit=5)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.1 * x.nbytes


def test_errors_do_not_grow_with_the_number_of_rows(rng: np.random.Generator) -> None:
    x = (0.1 + rng.random((300_000, 1))).astype(np.float32)
    found = sample_moments(x, 6)
    check_column(found, 0, x[:, 0])
    z = oracle.standardised(x[:, 0].astype(float))
    assert abs(found.hermite[1, 0]) < 1e-14
    assert found.hermite[3, 0] == pytest.approx(float(wide_hermite(z, 4)[3].mean()), abs=1e-13)
