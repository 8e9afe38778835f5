"""Accumulators as arrays: what comes back merges to the same bits, and nonsense is refused."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distfit_nn.errors import InputError
from distfit_nn.stats import Accumulator
from distfit_nn.stats.accumulator_state import of_columns
from distfit_nn.stats.row_sample import RowSample

SETTINGS: dict[str, Any] = {"order": 5, "bins": 16, "rows": 12, "seed": 3}


def same(one: Accumulator, other: Accumulator) -> None:
    """Check that two accumulators hold the same bits."""
    first, second = one.to_arrays(), other.to_arrays()
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.dtype == second[name].dtype, name
        assert array.shape == second[name].shape, name
        assert array.tobytes() == second[name].tobytes(), name
    a, b = one.finalise(), other.finalise()
    np.testing.assert_array_equal(a.moments.power_sums, b.moments.power_sums)
    np.testing.assert_array_equal(a.pooled_moments().mean, b.pooled_moments().mean)
    np.testing.assert_array_equal(a.sketch.quantile([0.1, 0.9]), b.sketch.quantile([0.1, 0.9]))
    assert a.pooled_sketch().counts[0].tobytes() == b.pooled_sketch().counts[0].tobytes()
    np.testing.assert_array_equal(a.sample.values, b.sample.values)


def filled(
    rng: np.random.Generator, columns: int, shards: list[int], **options: Any
) -> Accumulator:
    found = Accumulator(columns, **{**SETTINGS, **options})
    for shard in shards:
        table = rng.standard_cauchy(size=(int(rng.integers(1, 40)), columns))
        table[rng.random(table.shape) < 0.1] = rng.choice([0.0, np.nan, np.inf, -0.0])
        dtype = (np.float16, np.float32, np.float64)[int(rng.integers(3))]
        with np.errstate(over="ignore"):
            mask = rng.random(table.shape) < 0.9 if shard % 2 else None
            found.update(table.astype(dtype), shard=shard, mask=mask)
    return found


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    columns=st.sampled_from([1, 2, 3, 127, 128, 130, 257]),
    first=st.lists(st.integers(0, 4), max_size=3, unique=True),
    second=st.lists(st.integers(5, 9), max_size=3, unique=True),
    rows=st.sampled_from([0, 1, 12, 500]),
)
def test_what_is_restored_merges_to_the_same_bits(seed, columns, first, second, rows):
    rng = np.random.default_rng(seed)
    one, other = filled(rng, columns, first, rows=rows), filled(rng, columns, second, rows=rows)
    restored = [Accumulator.from_arrays(each.to_arrays()) for each in (one, other)]
    same(one, restored[0])
    for mine in (one, restored[0]):
        mine.update(np.full((3, columns), 7.25, np.float32), shard=20)
    same(one, restored[0])
    one.merge(other)
    restored[0].merge(restored[1])
    same(one, restored[0])


def test_weights_come_back(rng):
    one = Accumulator(3, **SETTINGS)
    one.update(rng.normal(size=(50, 3)), weights=rng.random(50))
    restored = Accumulator.from_arrays(one.to_arrays())
    assert one.to_arrays()["counts"].dtype == np.float64
    same(one, restored)


def test_the_arrays_are_the_callers_own(rng):
    one = filled(rng, 3, [0])
    before = one.copy()
    arrays = one.to_arrays()
    restored = Accumulator.from_arrays(arrays)
    for array in arrays.values():
        array[...] = 0
    same(one, before)
    same(restored, before)


def test_small_numbers_take_little_room(rng):
    one = Accumulator(2, rows=0)
    one.update(rng.integers(0, 9, size=(200, 2)).astype(np.float32))
    arrays = one.to_arrays()
    assert arrays["edges"].dtype == np.float16
    assert arrays["counts"].dtype == np.uint8
    same(one, Accumulator.from_arrays(arrays))


@pytest.mark.parametrize("units", [slice(0, 128), slice(128, 256), slice(256, 300)])
def test_some_columns_alone(rng, units):
    table = rng.normal(size=(60, 300))
    whole, part = Accumulator(300, **SETTINGS), Accumulator(units.stop - units.start, **SETTINGS)
    whole.update(table)
    part.update(table[:, units])
    arrays = whole.to_arrays()
    lengths = {name: len(array) for name, array in arrays.items()}
    found = of_columns(lambda name, start, stop: arrays[name][start:stop], lengths, units)
    same(Accumulator.from_arrays(found), part)


def test_all_rows_as_one_shard(rng):
    one = filled(rng, 3, [5, 2, 9], rows=500)
    before = one.finalise()
    one.as_shard(4)
    after = one.finalise()
    np.testing.assert_array_equal(after.moments.power_sums, before.moments.power_sums)
    np.testing.assert_array_equal(after.sample.values, before.sample.values)
    assert set(after.sample.shard) == {4}
    assert after.sample.row.tolist() == list(range(after.sample.seen))
    other = filled(rng, 3, [2], rows=500)
    other.as_shard(5)
    one.merge(other)
    assert one.finalise().sample.seen == before.sample.seen + other.finalise().sample.seen


def test_a_sample_of_no_rows_only_counts(rng):
    sample, other = RowSample(0), RowSample(0, shard=1)
    sample.update(rng.normal(size=(7, 2)))
    other.update(rng.normal(size=(5, 2)), mask=np.array([True, False, True, True, True]))
    sample.merge(other)
    found = sample.finalise()
    assert found.seen == 11
    assert found.values.shape == (0, 2)
    with pytest.raises(InputError, match="counted twice"):
        sample.merge(offered(0))


def offered(size: int) -> RowSample:
    again = RowSample(size)
    again.update(np.zeros((2, 2)))
    return again


WRONG: list[tuple[str, Any, str]] = [
    ("settings", lambda a: a[:5], "settings must be int64"),
    ("settings", lambda a: a.astype(np.float64), "settings must"),
    ("settings", lambda a: a * 0, "layout 0"),
    ("settings", lambda _: np.array([1, 2**40, 5, 16, 12, 3]), "columns times bins"),
    ("settings", lambda _: np.array([1, 3, 5, 2**62, 12, 3]), "columns times bins"),
    ("settings", lambda _: np.array([1, 3, 13, 16, 12, 3]), "order must be at most 12"),
    ("settings", lambda _: np.array([1, 3, 5, 3, 12, 3]), "bins must be at least 4"),
    ("settings", lambda _: np.array([1, 3, 5, 16, -1, 3]), "rows must be at least 0"),
    ("settings", lambda _: np.array([1, 4, 5, 16, 12, 3]), "must have shape"),
    ("nodes", lambda a: -a - 1, "nodes must be"),
    ("nodes", lambda a: a + np.array([63, 0]), "level below 63"),
    ("nodes", lambda a: a[:, :1], "nodes must have shape"),
    ("nodes", lambda a: a * 0, "is there already"),
    ("moments", lambda a: a[:-1], "moments must have shape"),
    ("moments", lambda a: a * np.nan, "moments must be"),
    ("moments", lambda a: a * 0.5, "moments must be"),
    ("moments", lambda a: -a, "moments must be"),
    ("moments", lambda a: a.astype(np.float32), "moments must have 3 axes"),
    ("hidden", lambda a: a - 100, "hidden must be"),
    ("hidden", lambda a: a[:-1], "hidden must have shape"),
    ("exponents", lambda a: a * 0 + 2000, "exponents must be"),
    ("exponents", lambda a: a * 0 + 1000, "multiples of the width"),
    ("sizes", lambda a: a - 50, "sizes must be"),
    ("sizes", lambda a: a + 1, "sizes must be"),
    ("edges", lambda a: a[::-1], "edges must be"),
    ("edges", lambda a: a * np.nan, "edges must be"),
    ("edges", lambda a: a.astype(object), "edges must have"),
    ("counts", lambda a: a[:-1], "counts must have shape"),
    ("counts", lambda a: a * 0, "counts must be"),
    ("counts", lambda a: a + 1, "counts must be"),
    ("counts", lambda a: a.astype(np.int64) - 2**62, "counts must be"),
    ("counts", lambda a: a.astype(np.float64) * np.inf, "counts must be"),
    ("sample", lambda a: -a - 1, "sample must be"),
    ("sample.spans", lambda a: a[:, ::-1], "spans must be"),
    ("sample.spans", lambda a: a[::-1], "spans must be"),
    ("sample.rows", lambda a: a * 0, "distinct"),
    ("sample.rows", lambda a: a + 1000, "among those"),
    ("sample.priority", lambda a: a * np.nan, "priority must be"),
    ("sample.priority", lambda a: a[:-1], "must have shape"),
    ("sample.values", lambda a: a.astype(complex), "must be numbers"),
    ("sample.values", lambda a: a[:, :-1], "must have shape"),
]


@pytest.mark.parametrize(("name", "change", "problem"), WRONG)
def test_arrays_that_cannot_be(rng, name, change, problem):
    arrays = filled(rng, 3, [0, 3]).to_arrays()
    with np.errstate(invalid="ignore"):
        arrays[name] = change(arrays[name])
    with pytest.raises(InputError, match=problem):
        Accumulator.from_arrays(arrays)


@pytest.mark.parametrize("name", sorted(filled(np.random.default_rng(0), 3, [0]).to_arrays()))
def test_an_array_that_is_missing(rng, name):
    arrays = filled(rng, 3, [0, 3]).to_arrays()
    del arrays[name]
    with pytest.raises(InputError, match=f"must have an array {name!r}"):
        Accumulator.from_arrays(arrays)


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_arrays_are_refused_or_finalised_in_peace(data):
    """No damage of single numbers ends in anything but InputError or a summary."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    arrays = filled(rng, 2, [0, 1]).to_arrays()
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(arrays)))
        array = arrays[name].copy()
        if not array.size:
            continue
        place = data.draw(st.integers(0, array.size - 1))
        if array.dtype.kind == "f":
            value = data.draw(st.floats(width=8 * array.itemsize))
        else:
            limits = np.iinfo(array.dtype)
            value = data.draw(st.integers(int(limits.min), int(limits.max)))
        array.reshape(-1)[place] = value
        arrays[name] = array
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = Accumulator.from_arrays(arrays)
            found.merge(filled(np.random.default_rng(1), 2, [77]))
            summary = found.finalise()
            summary.pooled_moments()
            _ = summary.moments.std, summary.moments.kurtosis
            summary.sketch.quantile([0.0, 0.5, 1.0])
        except InputError:
            pass
