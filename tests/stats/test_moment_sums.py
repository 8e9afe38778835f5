"""Sums that grow: the same bits for aligned pieces, the same values for any split, and merges."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distfit_nn.errors import InputError
from distfit_nn.stats.moments import Moments, MomentSums, moments
from tests import tolerances
from tests.stats.exact_moments import same_bits

COUNTS = ("n", "nan_count", "inf_count", "zero_count")
EXACT = (*COUNTS, "minimum", "maximum")


def table(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Columns that drift, with all that may be wrong with a value."""
    x = rng.normal(size=(rows, columns)) + np.linspace(0, 3, rows)[:, None]
    kind = rng.random(x.shape)
    x[kind < 0.004], x[kind < 0.003], x[kind < 0.002] = 0.0, np.nan, np.inf
    x[:, 0] = rng.normal(size=rows)
    return x


def sums_of(x: np.ndarray, weights: np.ndarray | None = None, order: int = 6) -> MomentSums:
    sums = MomentSums(x.shape[1], order)
    sums.update(x, weights)
    return sums


def close(a: Moments, b: Moments, x: np.ndarray) -> None:
    """Two ways to the moments of the columns of x, each with its roundings."""
    for name in EXACT:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    finite = np.where(np.isfinite(x), x, np.nan)
    with np.errstate(invalid="ignore"):
        size = np.nan_to_num(np.abs(finite - a.mean))
    bound = 2 * tolerances.sum_error(len(x)) * np.nanmax(np.abs(finite), axis=0, initial=0)
    used = a.n > 0
    assert (abs(a.mean - b.mean)[used] <= bound[used]).all()
    for r in range(2, a.order + 1):
        bound = 2 * tolerances.moving_power_sum_error(len(x), r) * (size**r).sum(axis=0)
        error = abs(a.power_sums[r - 2] - b.power_sums[r - 2])
        assert (error <= bound + len(x) * tolerances.UNDERFLOW).all(), r


@pytest.mark.parametrize("order", [6, 12])
@pytest.mark.parametrize("weighted", [None, "rows", "values"])
@pytest.mark.parametrize("columns", [1, 3, 64, 130])
def test_aligned_pieces_give_the_same_bits(rng, columns, weighted, order):
    rows = 3 * 8192 + 1001
    x = table(rng, rows, columns)
    shape = {None: None, "rows": (rows,), "values": x.shape}[weighted]
    weights = None if shape is None else rng.gamma(1.0, size=shape)
    whole = sums_of(x, weights, order).finalise()
    grown = MomentSums(columns, order)
    for edge in (slice(0, 8192), slice(8192, 3 * 8192), slice(3 * 8192, None)):
        grown.update(x[edge], None if weights is None else weights[edge])
    same_bits(grown.finalise(), whole)


SPLITS = st.lists(st.integers(0, 400), max_size=6)


@given(SPLITS, st.sampled_from([1, 2, 64, 100]), st.booleans(), st.integers(0, 2**32))
def test_any_split_is_the_whole(cuts, columns, weighted, seed):
    rng = np.random.default_rng(seed)
    x = table(rng, 400, columns)
    weights = rng.integers(0, 3, 400).astype(float) if weighted else None
    whole = sums_of(x, weights, 12).finalise()
    grown, merged = MomentSums(columns, 12), MomentSums(columns, 12)
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 400], strict=True):
        own = None if weights is None else weights[start:stop]
        grown.update(x[start:stop], own)
        merged.merge(sums_of(x[start:stop], own, 12))
    seen = x if weights is None else np.repeat(x, weights.astype(int), axis=0)
    close(whole, grown.finalise(), seen)
    close(whole, merged.finalise(), seen)


@pytest.mark.parametrize("columns", [1, 5, 64, 65, 200])
def test_is_what_moments_gives(rng, columns):
    x = table(rng, 5000, columns)
    same_bits(sums_of(x).finalise(), moments(x))
    same_bits(sums_of(x.astype(np.float32)).finalise(), moments(x.astype(np.float32)))


@pytest.mark.parametrize("columns", [1, 2, 33, 64, 300])
def test_pool_has_the_values_of_all_columns(rng, columns):
    x = table(rng, 700, columns)
    sums = sums_of(x, order=12)
    before = sums.finalise()
    pooled = sums.pool()
    assert pooled.columns == 1
    close(pooled.finalise(), moments(x.reshape(-1, 1), order=12), x.reshape(-1, 1))
    same_bits(sums.finalise(), before)
    pooled.update(x[:, :1])  # and grows on
    assert pooled.finalise().n[0] == np.isfinite(x).sum() + np.isfinite(x[:, 0]).sum()


def test_pool_of_nothing():
    assert MomentSums(0).pool().finalise().n.tolist() == [0]
    assert MomentSums(3).pool().finalise().n.tolist() == [0]
    assert MomentSums(0).finalise().kurtosis.shape == (0,)


def test_copies_grow_apart(rng):
    x = rng.normal(size=(900, 3))
    sums = sums_of(x)
    before = sums.finalise()
    for other in (sums.copy(), copy.deepcopy(sums), pickle.loads(pickle.dumps(sums))):  # noqa: S301
        same_bits(other.finalise(), before)
        other.update(x + 1)
        assert other.finalise().n[0] == 1800
        same_bits(sums.finalise(), before)


def test_finalise_lets_sums_grow_on(rng):
    x = rng.normal(size=(2 * 8192, 3))
    sums = MomentSums(3)
    sums.update(x[:8192])
    sums.finalise()
    sums.update(x[8192:])
    same_bits(sums.finalise(), sums_of(x).finalise())


def test_merge_leaves_the_other_alone(rng):
    x = rng.normal(size=(500, 70))
    one, other = sums_of(x[:200]), sums_of(x[200:])
    before = other.finalise()
    one.merge(other)
    same_bits(other.finalise(), before)
    close(one.finalise(), moments(x), x)
    empty = MomentSums(70)
    empty.merge(other)
    same_bits(empty.finalise(), before)
    other.merge(MomentSums(70))
    same_bits(other.finalise(), before)


def test_what_is_read_is_not_written(rng):
    x, weights = rng.normal(size=(300, 64)), rng.random((300, 64))
    before, weights_before = x.copy(), weights.copy()
    sums_of(x, weights)
    x.flags.writeable = False
    sums_of(x)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(weights, weights_before)
    weights[0] = 1.0  # still writeable


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.bool_, ">f8", np.longdouble])
def test_other_dtypes(rng, dtype):
    x = (3 * rng.normal(size=(5000, 7))).astype(dtype)
    same_bits(sums_of(x).finalise(), sums_of(x.astype(np.float64)).finalise())


def test_a_column_does_not_see_its_neighbours(rng):
    """Not even in its last bit: what is wrong with one is done again for that one only."""
    x = rng.normal(size=(3000, 100))
    bad = x.copy()
    bad[:, 7] = np.where(rng.random(3000) < 0.5, np.nan, 1e200)
    bad[2000:, 9] += 1e9
    good, mixed = sums_of(x).finalise(), sums_of(bad).finalise()
    others = np.delete(np.arange(100), [7, 9])
    np.testing.assert_array_equal(good.power_sums[:, others], mixed.power_sums[:, others])
    np.testing.assert_array_equal(good.mean[others], mixed.mean[others])


def test_a_centre_that_was_a_bad_guess_is_given_up(rng):
    """The first rows say 0; then millions of deviations away."""
    x = np.concatenate([np.zeros((300, 2)), 1e9 + rng.normal(size=(60_000, 2))])
    sums = MomentSums(2)
    for start in range(0, len(x), 512):
        sums.update(x[start : start + 512])
    m = sums.finalise()
    centred = (x - 1e9).astype(np.longdouble)
    centred -= centred.mean(axis=0)
    for r in range(2, 7):
        sizes = (abs(centred) ** r).sum(axis=0)
        error = abs(m.power_sums[r - 2] - (centred**r).sum(axis=0))
        assert (error <= 1e3 * tolerances.eps() * sizes).all(), r


def test_tiles_in_threads(rng):
    x = rng.normal(size=(4000, 256))
    tiles = [MomentSums(64) for _ in range(4)]

    def add(j: int) -> None:
        for start in range(0, len(x), 512):
            tiles[j].update(np.ascontiguousarray(x[start : start + 512, 64 * j : 64 * (j + 1)]))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    for j, tile in enumerate(tiles):
        close(tile.finalise(), moments(x[:, 64 * j : 64 * (j + 1)]), x[:, 64 * j : 64 * (j + 1)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MomentSums(-1), "columns must be a whole number"),
        (lambda: MomentSums(3, 13), "order must be one of"),
        (lambda: MomentSums(3).update(np.ones(3)), r"block must have shape \(n, 3\), got \(3,\)"),
        (lambda: MomentSums(3).update(np.ones((3, 4))), r"block must have shape \(n, 3\)"),
        (lambda: MomentSums(3).update(np.ones((5, 3)), np.ones(3)), r"weights must have shape"),
        (lambda: MomentSums(3).update(np.ones((1, 3)), np.array([-0.5])), "at least 0, got -0.5"),
        (lambda: MomentSums(3).update(np.ones((1, 3)), np.array([np.nan])), "finite"),
        (lambda: MomentSums(3).merge(MomentSums(2)), "3 and 2 columns"),
        (lambda: MomentSums(3).merge(MomentSums(3, 12)), "order 6 and 12"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_wrong_weight_adds_nothing(rng):
    x = rng.normal(size=(20_000, 3))
    sums = sums_of(x)
    before = sums.finalise()
    weights = np.ones(20_000)
    weights[-1] = -1
    with pytest.raises(InputError, match="weights"):
        sums.update(x, weights)
    same_bits(sums.finalise(), before)
