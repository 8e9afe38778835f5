"""Rows on their way to the sums of tiles: none is lost, however they come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distfit_nn.stats import Accumulator, tiles
from distfit_nn.stats.tiles import Tiles, Workers


def gathered(pieces, columns, weights=None):
    """All blocks of a table that comes in pieces, as lists of copies per tile."""
    dealt = Tiles(columns)
    found = [[] for _ in dealt.widths]
    shares = []
    for number, piece in enumerate(pieces):
        share = None if weights is None else weights[number]
        for blocks in dealt.put(piece, share):
            for block in blocks:
                found[block.tile].append(block.values.copy())
            shares.append(None if blocks[0].weights is None else blocks[0].weights.copy())
    for block in dealt.rest():
        found[block.tile].append(block.values.copy())
        if block.tile == 0 and block.weights is not None:
            shares.append(block.weights.copy())
    return np.concatenate([np.concatenate(parts) for parts in found], axis=1), found, shares


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 200),
    st.lists(st.integers(0, 70), min_size=1, max_size=8).filter(any),
    st.sampled_from(["f4", "f8", "f2", "i4", "?", ">f4"]),
    st.sampled_from("CF"),
)
def test_every_row_arrives_once_and_in_order(columns, lengths, dtype, order):
    rng = np.random.default_rng(columns)
    x = (10 * rng.normal(size=(sum(lengths), columns))).astype(dtype, order=order)
    pieces = np.split(x, np.cumsum(lengths)[:-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "ROWS", 32)
        joined, found, _ = gathered(pieces, columns)
    np.testing.assert_array_equal(joined, x.astype(float))
    full = 32 * max(1, 64 // columns)
    assert all(len(block) == full for part in found for block in part[:-1])
    assert all(part[0].flags.c_contiguous for part in found)
    assert joined.dtype == (np.float32 if np.can_cast(x.dtype, np.float32) else np.float64)


def test_weights_go_with_their_rows(rng):
    x, weights = rng.normal(size=(300, 3)), rng.random(300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "ROWS", 2)
        joined, _, shares = gathered([x[:100], x[100:]], 3, [weights[:100], weights[100:]])
    np.testing.assert_array_equal(joined, x)
    np.testing.assert_array_equal(np.concatenate(shares), weights)


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_no_bit(rng, threads):
    x = rng.standard_t(3, size=(10_000, 150)).astype(np.float32)
    found = []
    for workers in (1, threads):
        sums = Accumulator(150, threads=workers)
        for number, rows in enumerate(np.array_split(x, 7)):
            sums.update(rows, shard=number)
        found.append(sums.finalise())
    one, other = found
    np.testing.assert_array_equal(one.moments.power_sums, other.moments.power_sums)
    for j in range(150):
        np.testing.assert_array_equal(one.sketch.counts[j], other.sketch.counts[j])


def test_pieces_within_a_shard_change_no_bit(rng):
    x = np.exp(rng.normal(size=(5000, 70)))
    whole, pieces = Accumulator(70), Accumulator(70)
    whole.update(x)
    for rows in np.split(x, [1, 7, 1000, 1001, 3500]):
        pieces.update(rows)
    np.testing.assert_array_equal(
        whole.finalise().moments.power_sums, pieces.finalise().moments.power_sums
    )


def test_what_goes_wrong_in_a_thread_is_raised():
    workers = Workers(2)

    def fail(block):
        raise ZeroDivisionError

    workers.take(fail, [None, None])
    with pytest.raises(ZeroDivisionError):
        workers.wait()
    workers.wait()
