from __future__ import annotations

import math
import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from distfit_nn.errors import InputError
from distfit_nn.stats.row_sample import RowSample, SampledRows, _smallest
from tests.tolerances import STANDARD_ERRORS

WORD = 2**64


def finaliser(z: int) -> int:
    """splitmix64, on Python's whole numbers."""
    z = (z + 0x9E3779B97F4A7C15) % WORD
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


def priority(seed: int, shard: int, row: int, weight: float = 1.0) -> float:
    key = finaliser((finaliser(seed) + (shard + 1) * 0x9E3779B97F4A7C15) % WORD)
    return -math.log1p(-(finaliser(finaliser(row) ^ key) >> 11) / 2**53) / weight


def oracle(shards: list[np.ndarray], size: int, seed: int) -> list[tuple[int, int]]:
    """Which (shard, row) are taken, given the weights of the rows of each shard."""
    rows = [
        (priority(seed, shard, row, weight), shard, row)
        for shard, weights in enumerate(shards)
        for row, weight in enumerate(weights)
        if weight > 0
    ]
    return sorted((shard, row) for _, shard, row in sorted(rows)[:size])


def table_of(shard: int, n: int) -> np.ndarray:
    """Rows that say where they are from."""
    return np.stack([np.full(n, shard), np.arange(n)], axis=1).astype(np.float32)


def places(sampled: SampledRows) -> list[tuple[int, int]]:
    return list(zip(sampled.shard.tolist(), sampled.row.tolist(), strict=True))


def same(a: SampledRows, b: SampledRows) -> bool:
    return (
        a.seen == b.seen
        and a.values.dtype == b.values.dtype
        and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    )


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=5),
    st.integers(1, 50),
    st.integers(0, 2**63 - 1),
    st.data(),
)
def test_a_sample_is_a_function_of_the_rows(
    lengths: list[int], size: int, seed: int, data: st.DataObject
) -> None:
    """Any split of shards into updates, any order of merges, weights or masks: the oracle's."""
    weights = [
        np.array([data.draw(st.sampled_from([0.0, 1.0, 1.0, 2.5])) for _ in range(n)])
        for n in lengths
    ]
    parts = []
    for shard, n in enumerate(lengths):
        sample = RowSample(size, seed=seed, shard=shard)
        cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=3)))
        for low, high in pairwise([0, *cuts, n]):
            share, table = weights[shard][low:high], table_of(shard, n)[low:high]
            if np.all(share == 1):
                sample.update(table)
            elif data.draw(st.booleans()):
                sample.update(table, weights=share)
            else:
                sample.update(table, mask=share > 0, weights=np.where(share > 0, share, 9.0))
        parts.append(pickle.loads(pickle.dumps(sample)))  # noqa: S301  written here
    while len(parts) > 1:
        a = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        b = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        a.merge(b)
        parts.append(a)
    sampled = parts[0].finalise()
    assert places(sampled) == oracle(weights, size, seed)
    assert sampled.seen == sum(int((w > 0).sum()) for w in weights)
    if len(sampled.row):
        np.testing.assert_array_equal(sampled.values, np.stack([sampled.shard, sampled.row], 1))


def test_a_shard_may_be_split_among_samples() -> None:
    whole, first, second = RowSample(30), RowSample(30), RowSample(30, first=700)
    table = table_of(0, 1000)
    whole.update(table)
    second.update(table[700:])
    first.update(table[:100])
    second.merge(first)
    rest = RowSample(30, first=100)
    rest.update(table[100:700])
    second.merge(rest)
    assert same(whole.finalise(), second.finalise())
    with pytest.raises(InputError, match="rows from 0 of shard 0 were counted twice"):
        second.merge(first)


def test_all_rows_are_kept_where_they_are_few() -> None:
    sample = RowSample(100)
    sample.update(table_of(0, 40))
    np.testing.assert_array_equal(sample.finalise().values, table_of(0, 40))


def sampled_rows(n: int, size: int, draws: int, shard: int = 0) -> np.ndarray:
    """Whether each row is in the sample, for seeds 0, 1, ..., of shape (draws, n)."""
    inside = np.zeros((draws, n), dtype=bool)
    for seed in range(draws):
        sample = RowSample(size, seed=seed, shard=shard)
        sample.update(np.zeros((n, 1)))
        inside[seed, sample.finalise().row] = True
    return inside


def test_every_row_and_every_pair_is_as_likely() -> None:
    n, size, draws = 40, 10, 4000
    inside = sampled_rows(n, size, draws).astype(float)
    share = size / n
    # rows of one draw are negatively correlated: chi-squared of n - 1 after scaling by (n - 1) / n
    deviations = (inside.mean(axis=0) - share) ** 2 / (share * (1 - share) / draws)
    chance = scipy_stats.chi2.sf(deviations.sum() * (n - 1) / n, n - 1)
    assert 0.001 < chance < 0.999
    together = (inside.T @ inside / draws)[np.triu_indices(n, 1)]
    pair = size * (size - 1) / (n * (n - 1))
    errors = (together - pair) / math.sqrt(pair * (1 - pair) / draws)
    assert np.abs(errors).max() < 4.5  # of 780 pairs: 0.5% by chance
    assert abs(np.mean(errors**2) - 1) < 5 * math.sqrt(2 / len(errors))


def test_priorities_are_exponential_by_the_places_of_a_shard() -> None:
    """The rows taken from a million are uniform over their number."""
    sample = RowSample(5000, seed=3, shard=17)
    for _ in range(100):
        sample.update(np.zeros((10_000, 1), dtype=np.int8))
    rows = sample.finalise().row
    assert scipy_stats.kstest(rows / 1e6, "uniform").pvalue > 1e-3
    assert scipy_stats.kstest(np.diff(rows), scipy_stats.geom(5000 / 1e6).cdf).statistic < 0.03
    counts = np.bincount(rows % 64, minlength=64)
    assert scipy_stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("step", [1, 2, 256, 2**32])
def test_neighbouring_rows_shards_and_seeds_are_not_correlated(step: int) -> None:
    n, base = 4000, range(4000)
    rows = np.array([priority(1, 2, i) for i in base])
    for other in (
        np.array([priority(1, 2, i + step) for i in base]),
        np.array([priority(1, 2 + step, i) for i in base]),
        np.array([priority(1 + step, 2, i) for i in base]),
    ):
        assert abs(scipy_stats.spearmanr(rows, other).statistic) < STANDARD_ERRORS / math.sqrt(n)
    for columns in (
        np.array([priority(1, i * step, 2) for i in base]),
        np.array([priority(i * step, 1, 2) for i in base]),
    ):
        assert scipy_stats.kstest(columns, "expon").pvalue > 1e-4
        serial = scipy_stats.spearmanr(columns[1:], columns[:-1]).statistic
        assert abs(serial) < STANDARD_ERRORS / math.sqrt(n)


def test_weights_draw_in_proportion() -> None:
    """A sample of one row takes each with probability w / sum of w."""
    weights = np.array([1.0, 2.0, 3.0, 4.0, 0.0, 10.0])
    counts = np.zeros(6)
    for seed in range(4000):
        sample = RowSample(1, seed=seed)
        sample.update(np.zeros((6, 1)), weights=weights)
        counts[sample.finalise().row] += 1
    assert counts[4] == 0
    expected = 4000 * weights / weights.sum()
    assert scipy_stats.chisquare(np.delete(counts, 4), np.delete(expected, 4)).pvalue > 1e-3


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.bool_, np.uint16])
def test_values_keep_their_dtype(rng: np.random.Generator, dtype: type) -> None:
    table = (rng.random((300, 4)) * 200).astype(dtype)
    sample = RowSample(20)
    sample.update(table[:, ::-1])
    sampled = sample.finalise()
    assert sampled.values.dtype == dtype
    np.testing.assert_array_equal(sampled.values, table[sampled.row, ::-1])


def test_a_pickle_holds_no_more_than_the_rows() -> None:
    sample = RowSample(5000)
    sample.update(np.ones((10, 100)))
    written = pickle.dumps(sample)
    assert len(written) < 12 * 100 * 8
    again = pickle.loads(written)  # noqa: S301  written here
    for each in (sample, again):
        each.update(np.zeros((3, 100)))
    assert same(sample.finalise(), again.finalise())


def test_dtypes_that_differ_become_the_common_one() -> None:
    sample, other = RowSample(4), RowSample(4, shard=1)
    sample.update(np.full((2, 1), 0.1, dtype=np.float16))
    sample.update(np.full((2, 1), 0.1, dtype=np.float32))
    other.update(np.full((1, 1), 0.1))
    sample.merge(other)
    assert sample.finalise().values.dtype == np.float64


def test_tensors_and_lists() -> None:
    torch = pytest.importorskip("torch")
    sample = RowSample(50)
    tensor = torch.arange(400.0).reshape(200, 2).to(torch.bfloat16)
    sample.update(tensor)
    sampled = sample.finalise()
    assert sampled.values.dtype == np.float32
    np.testing.assert_array_equal(sampled.values, tensor.float().numpy()[sampled.row])
    other = RowSample(50)
    other.update([[1, 2], [3, 4]])
    assert other.finalise().values.tolist() == [[1, 2], [3, 4]]


class Counted(np.ndarray):
    """An array that knows how many of its rows were taken."""

    taken = 0

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, np.ndarray):
            Counted.taken += len(key)
        return super().__getitem__(key)


def test_only_rows_that_are_kept_are_copied() -> None:
    sample, table = RowSample(100), np.zeros((1000, 3)).view(Counted)
    Counted.taken = 0
    for _ in range(100):
        sample.update(table)
    expected = 100 * (1 + math.log(100_000 / 100))
    # each later row is taken with probability size / rows before its block: a harmonic sum
    assert 100 < Counted.taken < 1.2 * expected


def test_a_sample_of_nothing() -> None:
    assert RowSample().finalise().seen == 0
    sample = RowSample()
    sample.update(np.empty((0, 3)))
    sample.update(np.ones((5, 3)), mask=np.zeros(5, dtype=bool))
    sampled = sample.finalise()
    assert sampled.values.shape == (0, 3)
    assert sampled.seen == 0
    sample.update(np.ones((1, 3)))
    assert sample.finalise().row.tolist() == [5]


def test_errors_name_the_rule() -> None:
    sample = RowSample(10)
    sample.update(np.zeros((5, 2)))
    with pytest.raises(InputError, match=r"table must have shape \(n, 2\)"):
        sample.update(np.zeros((5, 3)))
    with pytest.raises(InputError, match=r"table must have shape \(n, d\)"):
        sample.update(np.zeros(5))
    with pytest.raises(InputError, match="array of real numbers"):
        sample.update(np.zeros((5, 2), dtype=complex))
    with pytest.raises(InputError, match=r"mask must be boolean of shape \(5,\)"):
        sample.update(np.zeros((5, 2)), mask=[1, 1, 0, 0, 1])
    with pytest.raises(InputError, match="not negative"):
        sample.update(np.zeros((1, 2)), weights=[np.nan])
    with pytest.raises(InputError, match="same size and seed"):
        sample.merge(RowSample(11, shard=1))
    with pytest.raises(InputError, match="same size and seed"):
        sample.merge(RowSample(10, seed=1, shard=1))
    twice = RowSample(10)
    twice.update(np.zeros((1, 2)))
    with pytest.raises(InputError, match="counted twice"):
        sample.merge(twice)
    with pytest.raises(InputError, match="seed must be"):
        RowSample(seed=-1)
    with pytest.raises(InputError, match=r"below 2\^63"):
        RowSample(shard=2**63)
    assert sample.finalise().row.tolist() == list(range(5))


def test_equal_priorities_are_ordered_by_shard_then_row() -> None:
    priority = np.array([0.5, 0.1, 0.5, 0.5, 0.9, 0.5])
    shard, row = np.array([2, 0, 1, 1, 0, 3]), np.array([0, 9, 8, 7, 0, 0])
    for size, expected in (
        (1, {1}),
        (2, {1, 3}),
        (3, {1, 2, 3}),
        (4, {0, 1, 2, 3}),
        (9, set(range(6))),
    ):
        assert set(_smallest(priority, shard, row, size).tolist()) == expected
