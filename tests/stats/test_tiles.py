"""Columns of a table, some at a time, and the threads that sum them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distfit_nn.stats import Accumulator, MomentSums, SketchSums, tiles
from distfit_nn.stats.tiles import Workers


@given(
    st.integers(1, 600),
    st.integers(0, 20),
    st.sampled_from(["f4", "f8", "f2", "i4", "?", ">f4"]),
    st.sampled_from("CF"),
)
def test_the_tiles_are_the_table(columns, rows, dtype, order):
    rng = np.random.default_rng(columns)
    x = (10 * rng.normal(size=(rows, columns))).astype(dtype, order=order)
    blocks = tiles.blocks(x)
    assert [block.tile for block in blocks] == list(range(len(blocks)))
    assert tuple(block.values.shape[1] for block in blocks) == tiles.widths(columns)
    joined = np.concatenate([block.values for block in blocks], axis=1)
    np.testing.assert_array_equal(joined, x.astype(float))
    assert joined.dtype == (np.float32 if np.can_cast(x.dtype, np.float32) else np.float64)


def test_a_plain_table_is_not_copied(rng):
    x = rng.normal(size=(30, 700)).astype(np.float32)
    for table in (x, x[:, 100:500]):
        assert all(np.shares_memory(block.values, x) for block in tiles.blocks(table))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("first", "width"), [(0, 256), (200, 300), (3, 7), (0, 1), (900, 100)])
def test_columns_of_a_wider_table_sum_as_they_do_alone(rng, dtype, first, width):
    x = rng.standard_t(3, size=(6000, 1000)).astype(dtype)
    x[17, first] = np.nan
    some = x[:, first : first + width]
    for kind in (MomentSums, SketchSums):
        one, other = kind(width), kind(width)
        for start, stop in ((0, 5000), (5000, 5001), (5001, 6000)):
            one.update(some[start:stop])
            other.update(some[start:stop].copy())
        for name, value in vars(one.finalise()).items():
            again = getattr(other.finalise(), name)
            if isinstance(value, tuple):
                value, again = np.concatenate(value), np.concatenate(again)
            np.testing.assert_array_equal(value, again)


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_no_bit(rng, threads, keeps):
    x = rng.standard_t(3, size=(10_000, 600)).astype(np.float32)
    found = []
    for workers in (1, threads):
        sums = Accumulator(600, threads=workers)
        for number, rows in enumerate(np.array_split(x, 7)):
            sums.update(rows, shard=number, keeps=keeps)
        found.append(sums.finalise())
    one, other = found
    np.testing.assert_array_equal(one.moments.power_sums, other.moments.power_sums)
    for j in range(600):
        np.testing.assert_array_equal(one.sketch.counts[j], other.sketch.counts[j])


def test_a_table_may_change_after_an_update(rng):
    sums, table = Accumulator(600, threads=3), np.empty((500, 600))
    whole = rng.normal(size=(5000, 600))
    for start in range(0, 5000, 500):
        table[:] = whole[start : start + 500]
        sums.update(table)
        table[:] = np.nan
    assert (sums.finalise().moments.nan_count == 0).all()


def test_what_goes_wrong_in_a_thread_is_raised():
    workers = Workers(2)

    def fail(block):
        raise ZeroDivisionError

    workers.take(fail, [None, None])
    with pytest.raises(ZeroDivisionError):
        workers.wait()
    workers.wait()
