"""Update / merge / finalise: any split of the rows gives what the whole gives."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distfit_nn.errors import InputError
from distfit_nn.stats import Accumulator, moments, sketch
from tests import tolerances


def summary_of(x, **options):
    found = Accumulator(x.shape[1], **options)
    found.update(x)
    return found.finalise()


def arrays_of(summary):
    """All arrays of a summary, by name."""
    return {
        **{f"moments.{name}": value for name, value in vars(summary.moments).items()},
        **{f"pooled.{name}": value for name, value in vars(summary.pooled_moments()).items()},
        "edges": np.concatenate(summary.sketch.edges),
        "counts": np.concatenate(summary.sketch.counts),
        "exponent": summary.sketch.exponent,
        "pooled edges": summary.pooled_sketch().edges[0],
        "sample": summary.sample.values,
    }


def assert_same_bits(one, two):
    ones, twos = arrays_of(one), arrays_of(two)
    for name, value in ones.items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(twos[name]), err_msg=name)


def odd_table(rng, n=3000, d=70):
    """Columns of all kinds, with holes."""
    x = rng.normal(size=(n, d)) * np.exp(rng.normal(size=d)) + 10 * rng.normal(size=d)
    x[:, 0] = 7.0
    x[:, 1] = np.nan
    x[::7, 2] = np.inf
    x[:, 3] = rng.integers(0, 5, n)
    x[:, 4] = np.exp(30 * rng.normal(size=n))
    return x


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.data())
def test_shards_may_be_shared_out_in_any_way(seed, data):
    x = odd_table(np.random.default_rng(seed), n=400, d=7)
    cuts = sorted(data.draw(st.sets(st.integers(1, 399), max_size=6)))
    shards = list(enumerate(np.split(x, cuts)))
    whole = Accumulator(7, rows=50)
    for number, rows in shards:
        whole.update(rows, shard=number)
    owners = data.draw(st.lists(st.integers(0, 2), min_size=len(shards), max_size=len(shards)))
    workers = [Accumulator(7, rows=50) for _ in range(3)]
    for (number, rows), owner in data.draw(st.permutations(list(zip(shards, owners, strict=True)))):
        workers[owner].update(rows, shard=number)
    first, *others = data.draw(st.permutations(workers))
    for other in others:
        first.merge(other)
    assert_same_bits(first.finalise(), whole.finalise())


def test_the_parts_are_what_they_are_alone(rng):
    x = odd_table(rng)
    found = summary_of(x, order=8)
    alone = moments(x, order=8)
    for name in ("n", "minimum", "maximum", "zero_count", "nan_count", "inf_count"):
        np.testing.assert_array_equal(getattr(found.moments, name), getattr(alone, name))
    np.testing.assert_allclose(
        found.moments.standardised(3), alone.standardised(3), rtol=1e3 * tolerances.sum_error(3000)
    )
    np.testing.assert_array_equal(found.sketch.exponent, sketch(x).exponent)
    np.testing.assert_array_equal(found.sample.values, x)
    assert found.pooled_moments().n == np.isfinite(x).sum()
    assert found.pooled_sketch().n == np.isfinite(x).sum()


@pytest.mark.parametrize("shape", [(3000,), (3000, 70)])
def test_a_mask_deletes(rng, shape):
    x = odd_table(rng)
    mask = rng.random(shape) < 0.7
    found = Accumulator(70)
    found.update(x, mask=mask)
    told = found.finalise()
    for j in (0, 1, 2, 3, 40, 69):
        kept = x[mask if mask.ndim == 1 else mask[:, j], j]
        alone = moments(kept)
        for name in ("n", "minimum", "maximum", "zero_count", "nan_count", "inf_count"):
            assert np.array_equal(getattr(told.moments, name)[j], getattr(alone, name), True), name
        np.testing.assert_array_equal(told.sketch.counts[j], sketch(kept[:, None]).counts[0])
    shown = x[mask]
    assert told.pooled_moments().nan_count == np.isnan(shown).sum()


def test_whole_weights_repeat(rng):
    x = rng.normal(size=(300, 3))
    weights = rng.integers(0, 4, 300)
    found, repeated = Accumulator(3), Accumulator(3)
    found.update(x, weights=weights)
    repeated.update(np.repeat(x, weights, axis=0))
    one, two = found.finalise(), repeated.finalise()
    np.testing.assert_allclose(
        one.moments.var, two.moments.var, rtol=10 * tolerances.sum_error(900)
    )
    for j in range(3):
        np.testing.assert_array_equal(one.sketch.edges[j], two.sketch.edges[j])
        np.testing.assert_array_equal(one.sketch.counts[j], two.sketch.counts[j])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int8])
def test_tensors_of_any_type(rng, dtype):
    x = torch.as_tensor(20 * rng.normal(size=(500, 5))).to(dtype)
    found = Accumulator(5)
    found.update(x)
    wanted = x.to(torch.float64).numpy()
    assert found.finalise().moments.mean.dtype == np.float64
    np.testing.assert_allclose(
        found.finalise().moments.mean, wanted.mean(axis=0), atol=100 * tolerances.eps() * 100
    )


def test_an_accumulator_goes_on_after_it_has_told(rng):
    x = rng.normal(size=(300, 2))
    found = Accumulator(2)
    found.update(x[:100], shard=0)
    assert found.finalise().moments.n.tolist() == [100, 100]
    found.update(x[100:], shard=1)
    assert found.finalise().moments.n.tolist() == [300, 300]
    with pytest.raises(InputError, match="shard 0 is there already"):
        found.update(x, shard=0)


def test_copies_and_pickles_are_independent(rng):
    x = rng.normal(size=(300, 2))
    found = Accumulator(2)
    found.update(x, shard=0)
    copied, sent = found.copy(), pickle.loads(pickle.dumps(found))  # noqa: S301
    for other in (copied, sent):
        other.update(x, shard=1)
        assert other.finalise().moments.n.tolist() == [600, 600]
    assert found.finalise().moments.n.tolist() == [300, 300]


def test_nothing_at_all():
    told = Accumulator(3).finalise()
    assert told.moments.n.tolist() == [0, 0, 0]
    assert np.isnan(told.moments.mean).all()
    assert told.sample.values.shape == (0, 3)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"table": np.zeros(3)}, r"table must have shape \(n, 2\), got \(3,\)"),
        ({"table": np.zeros((3, 3))}, r"table must have shape \(n, 2\)"),
        ({"shard": -1}, "shard must be a whole number of at least 0, got -1"),
        ({"mask": np.ones(3)}, "mask must be bool"),
        ({"mask": np.ones(2, bool)}, "mask must be bool"),
        ({"weights": [1, 2]}, r"weights must have shape \(3,\)"),
        ({"weights": [1, -2, 1]}, "weights must be finite and not negative, got -2"),
    ],
)
def test_bad_arguments(options, problem):
    table = options.pop("table", np.zeros((3, 2)))
    with pytest.raises(InputError, match=problem):
        Accumulator(2).update(table, **options)


def test_what_cannot_be_merged():
    with pytest.raises(InputError, match="same columns and settings"):
        Accumulator(2).merge(Accumulator(3))
    with pytest.raises(InputError, match="same columns and settings"):
        Accumulator(2).merge(Accumulator(2, order=8))
    one, other = Accumulator(2), Accumulator(2)
    one.update(np.zeros((3, 2)))
    other.update(np.ones((3, 2)))
    other.update(np.ones((3, 2)), shard=1)
    with pytest.raises(InputError, match="counted twice"):
        one.merge(other)
    with pytest.raises(InputError, match="counted twice"):
        one.merge(one)
    assert one.finalise().moments.n.tolist() == [3, 3]
    with pytest.raises(InputError, match="other must be an Accumulator, got int"):
        one.merge(3)
