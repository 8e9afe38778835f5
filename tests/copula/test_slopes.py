"""Slopes of soft ranks and scores against the sum over all pairs, in shapes of all kinds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from distfit_nn.copula import columns
from distfit_nn.copula.columns import BELOW, BOTH, NORMAL, Kept
from tests import tolerances
from tests.copula.oracle import KINDS, STRENGTHS, direct_slopes, sample
from tests.tolerances import RANK_SLOPE, eps, soft_rank_error

Array = NDArray[np.float64]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("loss", ["rough", "smooth"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slopes_are_those_of_the_sum_over_all_pairs(kind, strength, loss, dtype, rng):
    x = sample(kind, 500, rng).astype(dtype)
    # Neighbours have nearly the same gradient where the loss is a smooth function of x.
    g = rng.standard_normal(500).astype(dtype) if loss == "rough" else (x / 2) ** 2
    _, *kept = columns.soft_counts(x[:, None], np.array([strength]), BELOW, True)
    dx, dstrength = columns.soft_slopes(Kept(*kept), np.array([strength]), g[:, None])
    by_x, by_strength, sizes, size = direct_slopes(x, strength, g)
    far = tolerances.RANK_SLOPE_FAR * strength * float(np.ptp(g)) * 500
    assert dx.dtype == dtype
    assert (np.abs(dx[:, 0] - by_x) <= RANK_SLOPE[dtype] * sizes + far).all()
    assert abs(dstrength[0] - by_strength) <= RANK_SLOPE[dtype] * size + far * np.ptp(x)


# Fewer columns than lanes are cut into chains; chains longer than a piece are swept piece by piece.
SHAPES = [(1, 1), (1, 9), (2, 3), (63, 1), (64, 1), (65, 2), (73, 3), (200, 8), (130, 21), (999, 5)]
LONG = [(4096, 4), (4097, 8), (9000, 9), (40_000, 1), (33_000, 2)]


@pytest.mark.parametrize("shape", [*SHAPES, *LONG])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_that_lanes_chains_and_pieces_do_not_divide(shape, dtype, rng):
    n, d = shape
    x, g = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)
    strength = np.geomspace(0.3, 30, d)
    below, above, *kept = columns.soft_counts(x, strength, BOTH, True)
    dx, dstrength = columns.soft_slopes(Kept(*kept), strength, g)
    rows = rng.choice(n, min(n, 200), replace=False)  # of long columns, some points are enough
    for j in range(d):
        u = strength[j] * (x[rows, j].astype(np.float64)[:, None] - x[:, j])
        within = soft_rank_error(n, dtype)
        np.testing.assert_allclose(below[rows, j], expit(u).sum(axis=1), rtol=0, atol=within)
        np.testing.assert_allclose(above[rows, j], expit(-u).sum(axis=1), rtol=0, atol=within)
        pairs = strength[j] * expit(u) * expit(-u) * (g[rows, j][:, None] - g[:, j])
        sizes = RANK_SLOPE[dtype] * np.abs(pairs).sum(axis=1)
        assert (np.abs(dx[rows, j] - pairs.sum(axis=1)) <= sizes).all()
        moved = ((x[:, j] - np.median(x[:, j])) * dx[:, j].astype(np.float64)) / strength[j]
        bound = 100 * RANK_SLOPE[dtype] * np.abs(moved).sum()
        assert abs(dstrength[j] - moved.sum()) <= bound


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slopes_of_scores_are_the_chain_rule(dtype, rng):
    x, g = (rng.standard_normal((5000, 3)).astype(dtype) for _ in range(2))
    strength = np.array([0.4, 4.0, 40.0])
    z, *kept = columns.soft_counts(x, strength, NORMAL, True)
    dx, dstrength = columns.soft_slopes(Kept(*kept), strength, g, z)
    by_count = g / (5000 * stats.norm.pdf(z.astype(np.float64)))
    expected = columns.soft_slopes(Kept(*kept), strength, by_count)
    scale = np.abs(expected[0]).max(axis=0)
    within = 40 * eps(dtype) * max(1.0, float(np.abs(z).max()) ** 2)  # of z^2 / 2 in an exponent
    assert (np.abs(dx - expected[0]).max(axis=0) <= within * scale).all()
    np.testing.assert_allclose(dstrength, expected[1], rtol=100 * within)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slopes_are_differences(dtype, rng):
    x, g, v = (rng.standard_normal((300, 2)) for _ in range(3))
    strength, step = np.array([2.0, 6.0]), 1e-5
    for mode in (BELOW, NORMAL):
        out, *kept = columns.soft_counts(x.astype(dtype), strength, mode, True)
        scores = out if mode == NORMAL else None
        dx, dstrength = columns.soft_slopes(Kept(*kept), strength, g.astype(dtype), scores)

        def value(x: Array, strength: Array, mode: int = mode) -> Array:
            return (columns.soft_counts(x, strength, mode, False)[0] * g).sum(axis=0)

        by_x = (value(x + step * v, strength) - value(x - step * v, strength)) / (2 * step)
        by_strength = (value(x, strength + step) - value(x, strength - step)) / (2 * step)
        rtol = 1e-4 if dtype is np.float32 else 1e-6
        np.testing.assert_allclose((dx * v).sum(axis=0), by_x, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(dstrength, by_strength, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slopes_of_weighted_scores_are_the_chain_rule(dtype, rng):
    x, g = (rng.standard_normal((3000, 20)).astype(dtype) for _ in range(2))
    strength, weight = rng.uniform(0.5, 20, 20), rng.standard_normal(20)
    z, *kept = columns.soft_counts(x, strength, NORMAL, True)
    dx, dstrength, dweight, dbias = columns.line_slopes(Kept(*kept), strength, g, z.T, weight)
    expected = columns.soft_slopes(Kept(*kept), strength, g, z)
    size = np.abs(weight)
    assert (np.abs(dx - weight * expected[0]).max(axis=0) <= 40 * eps(dtype) * size * 3000).all()
    np.testing.assert_allclose(dstrength, weight * expected[1], rtol=1e4 * eps(dtype))
    wide = g.astype(np.float64)
    np.testing.assert_allclose(dweight, (wide * z).sum(axis=0), atol=3000 * eps() * 20)
    np.testing.assert_allclose(dbias, wide.sum(axis=0), atol=3000 * eps() * 20)


def test_slopes_leave_what_is_kept_as_it_is(rng):
    x, strength = rng.standard_normal((50, 3)), np.ones(3)
    _, *kept = columns.soft_counts(x, strength, BELOW, True)
    before = [part.copy() for part in kept]
    first = columns.soft_slopes(Kept(*kept), strength, x**2)
    second = columns.soft_slopes(Kept(*kept), strength, x**2)
    for part, was in zip(kept, before, strict=True):
        np.testing.assert_array_equal(part, was)
    np.testing.assert_array_equal(first[0], second[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slopes_beside_infinities_are_those_without(dtype, rng):
    x, g = rng.standard_normal((80, 1)).astype(dtype), rng.standard_normal((80, 1)).astype(dtype)
    _, *kept = columns.soft_counts(x, np.array([3.0]), BELOW, True)
    expected = columns.soft_slopes(Kept(*kept), np.array([3.0]), g)
    ends = np.array([[np.inf], [-np.inf], [-np.inf]], dtype)
    _, *kept = columns.soft_counts(np.vstack([x, ends]), np.array([3.0]), BELOW, True)
    more = np.vstack([g, np.ones((3, 1), dtype)])
    dx, dstrength = columns.soft_slopes(Kept(*kept), np.array([3.0]), more)
    within = 3.0 * 80 * 4 * eps(dtype)  # strength, points, and the largest of g with its mean
    np.testing.assert_allclose(dx[:-3], expected[0], rtol=0, atol=within)
    np.testing.assert_allclose(dx[-3:], 0.0, atol=within)
    np.testing.assert_allclose(dstrength, expected[1], rtol=1e4 * eps(dtype))


def test_threads_do_not_matter(rng, monkeypatch):
    x = rng.standard_normal((5000, 40)).astype(np.float32)
    strength, found = np.linspace(1, 5, 40), []
    for workers in (1, 2, 3):
        monkeypatch.setattr(columns, "threads", lambda workers=workers: workers)
        s, *kept = columns.soft_counts(x, strength, BELOW, True)
        found.append((s, *columns.soft_slopes(Kept(*kept), strength, x)))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_gradients_have_in_common_does_not_matter(dtype, rng):
    x, g = rng.standard_normal((500, 2)).astype(dtype), rng.standard_normal((500, 2))
    strength, common = np.array([1.0, 10.0]), 2.0**16
    g = (np.round(g * 64) / 64).astype(dtype)  # the sum with what is common is exact
    _, *kept = columns.soft_counts(x, strength, BELOW, True)
    plain, plain_strength = columns.soft_slopes(Kept(*kept), strength, g)
    shifted, shifted_strength = columns.soft_slopes(Kept(*kept), strength, g + dtype(common))
    scale = strength * 500 * 4 * 4 * eps(dtype)  # of g, below 4, less its mean; few roundings
    assert (np.abs(plain - shifted).max(axis=0) <= scale).all()
    assert (np.abs(plain_strength - shifted_strength) <= 500 * 4 * scale).all()
