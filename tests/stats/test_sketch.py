from __future__ import annotations

import bisect
import math
import pickle
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distfit_nn.errors import InputError
from distfit_nn.stats import bin_kernel as kernel
from distfit_nn.stats.sketch import Sketch, SketchSums, sketch
from tests.tolerances import SKETCH_INVERSE, sum_error

LARGEST = float(np.finfo(np.float64).max)
TINY = float(np.finfo(np.float64).smallest_subnormal)
Bins = tuple[int, list[float], list[float]]


def bin_of(value: float, exponent: int) -> int:
    """Index of the bin of a value, in whole numbers of any size: its multiple of 2^-1074, cut."""
    above, below = value.as_integer_ratio()
    return above * (2**1074 // below) >> (exponent + 1074)


def edge_of(value: float, exponent: int) -> float:
    """Lower edge of the bin of a value, by exact arithmetic."""
    edge = bin_of(value, exponent) * Fraction(2) ** exponent
    return float(max(edge, Fraction(-LARGEST)))


def oracle(values: np.ndarray, bins: int, weights: np.ndarray | None = None) -> Bins:
    """The definition; the smallest exponent by bisection."""
    shares = np.ones(len(values), int) if weights is None else weights
    kept = [(float(v), w) for v, w in zip(values, shares, strict=True) if np.isfinite(v) and w > 0]
    exponent = (
        bisect.bisect_left(
            range(-1074, 1024), True, key=lambda e: len({bin_of(v, e) for v, _ in kept}) <= bins
        )
        - 1074
    )
    binned: Counter[float] = Counter()
    for value, share in kept:
        binned[edge_of(value, exponent)] += share
    edges = sorted(binned)
    return exponent, edges, [binned[edge] for edge in edges]


def plain(sketched: Sketch, j: int = 0) -> Bins:
    return int(sketched.exponent[j]), sketched.edges[j].tolist(), sketched.counts[j].tolist()


def fed(blocks: list[Any], columns: int, bins: int) -> SketchSums:
    sums = SketchSums(columns, bins)
    for block in blocks:
        sums.update(np.asarray(block).reshape(-1, columns))
    return sums


def again(sums: SketchSums) -> SketchSums:
    return pickle.loads(pickle.dumps(sums))  # noqa: S301  what was written here


def same(a: Sketch, b: Sketch) -> bool:
    """Whether two sketches are equal, bit by bit."""
    return (
        a.bins == b.bins
        and a.exponent.tobytes() == b.exponent.tobytes()
        and [e.tobytes() for e in a.edges] == [e.tobytes() for e in b.edges]
        and [(c.dtype, c.tobytes()) for c in a.counts] == [(c.dtype, c.tobytes()) for c in b.counts]
    )


# Values of all kinds: any float64, and many that crowd, so that bins merge at any exponent.
ANY = st.floats(allow_nan=True, allow_infinity=True, width=64)
CROWDED = st.builds(
    lambda k, e, o: math.ldexp(k, e) + o,
    st.integers(-200, 200),
    st.sampled_from([-1074, -1060, -30, -3, 0, 4, 900]),
    st.sampled_from([0.0, 1.0, -1024.0]),
)
EXTREME = st.sampled_from(
    [0.0, -0.0, TINY, -TINY, 1e300, -1e300, LARGEST, -LARGEST, 2.0**1023, -(2.0**1023), 1.0, -1.0]
)
VALUES = st.lists(st.one_of(ANY, CROWDED, EXTREME), max_size=80)


@given(VALUES, st.integers(4, 20))
def test_the_bins_are_those_of_the_definition(values: list[float], bins: int) -> None:
    assert plain(fed([values], 1, bins).finalise()) == oracle(np.array(values), bins)


@pytest.mark.slow
@given(st.lists(st.tuples(VALUES, st.booleans()), min_size=1, max_size=6), st.data())
def test_any_split_order_and_tree_of_merges_gives_the_same_bits(
    parts: list[tuple[list[float], bool]], data: st.DataObject
) -> None:
    bins = data.draw(st.integers(4, 12))
    together = [value for values, _ in parts for value in values]
    whole = fed([together], 1, bins).finalise()
    nodes = []
    for values, one_by_one in parts:
        shuffled = data.draw(st.permutations(values))
        nodes.append(fed([[v] for v in shuffled] if one_by_one else [shuffled], 1, bins))
    while len(nodes) > 1:  # two of the nodes, drawn, become one, in one of two ways
        a = nodes.pop(data.draw(st.integers(0, len(nodes) - 1)))
        b = nodes.pop(data.draw(st.integers(0, len(nodes) - 1)))
        merged = a.finalise().merge(b.finalise())
        a.merge(b)
        assert same(a.finalise(), merged)
        nodes.append(again(a) if data.draw(st.booleans()) else a.copy())
    assert same(nodes[0].finalise(), whole)


@given(st.floats(-LARGEST, LARGEST), st.integers(-1074, 1023))
def test_the_edge_of_a_bin_is_exact(x: float, exponent: int) -> None:
    assert kernel.lower_edge(x, exponent) == edge_of(x, exponent)
    assert math.copysign(1, kernel.lower_edge(-0.0, exponent)) == 1


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=5),
    st.sampled_from([1.0, 0.25, 0.1, 2.0**-1060, 2.0**600]),
    st.lists(st.one_of(CROWDED, EXTREME), max_size=8),
)
def test_windows_of_values_on_a_grid(few: list[int], step: float, others: list[float]) -> None:
    """Few distinct values are seen so often that they get a window; then come others."""
    often = np.repeat(np.array(few) * step, 200)
    sums = fed([often, often, others, often[::3]], 1, 4)
    assert plain(sums.finalise()) == oracle(np.concatenate([often, often, others, often[::3]]), 4)


def test_counts_flags_and_zeros_go_through_the_window(rng: np.random.Generator) -> None:
    x = np.stack(
        [np.zeros(40_000), rng.integers(0, 256, 40_000), rng.integers(0, 9, 40_000) / 8], 1
    )
    sums = fed([x], 3, 1024)
    assert np.all(sums._state.base < np.inf)
    assert np.all(sums._state.used == 0)
    sums.update(x + 0.001)
    sketched = sums.finalise()
    for j in range(3):
        values, counts = np.unique(np.concatenate([x, x + 0.001])[:, j], return_counts=True)
        assert sketched.edges[j].tolist() == values.tolist()
        assert sketched.counts[j].tolist() == counts.tolist()


def laws(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    normal = rng.standard_normal(n)
    return {
        "normal": normal,
        "offset": 1e8 + normal,
        "cauchy": rng.standard_cauchy(n),
        "rounded": np.round(normal, 2),
        "relu": np.maximum(normal, 0),
        "ascending": np.sort(normal),
        "integers": np.arange(n, dtype=float),
        "descending": -(np.arange(n, dtype=float) ** 2),
        "alternating": np.where(np.arange(n) % 2, 1e-300, 1e300) * (1 + rng.random(n)),
        "two places": normal + np.where(rng.random(n) < 0.5, 0, 1e6),
        "moving": normal + np.repeat([0.0, 1e3, 2e3, -3e4], -(-n // 4))[:n],
        "huge": normal * 1e307,
        "tiny": normal * 1e-310,
        "few": rng.integers(0, 3, n).astype(float),
    }


@pytest.mark.parametrize("law", list(laws(np.random.default_rng(0), 4)))
@pytest.mark.parametrize("columns", [1, 3, 70])
def test_large_samples_are_those_of_the_definition(
    rng: np.random.Generator, law: str, columns: int
) -> None:
    """Blocks of all sizes, through windows, tails and rebuilds; the oracle on some columns."""
    n, bins = 3000, 64
    x = np.stack([laws(rng, n)[law] for _ in range(columns)], axis=1)
    cuts = np.cumsum([1, 2, 13, 100, 500, 700])
    sketched = fed(np.split(x, cuts), columns, bins).finalise()
    for j in {0, columns - 1}:
        assert plain(sketched, j) == oracle(x[:, j], bins)
    assert same(sketched, fed([x[::-1]], columns, bins).finalise())


@given(VALUES, st.integers(-1074, 1022))
def test_bins_are_nested(values: list[float], exponent: int) -> None:
    """What the proof, the oracle's bisection and coarsening rest on."""
    for value in filter(math.isfinite, values):
        edge = kernel.lower_edge(value, exponent)
        wider = kernel.lower_edge(value, exponent + 1)
        assert wider <= edge <= value
        assert kernel.lower_edge(edge, exponent + 1) == wider


def test_a_million_values_in_one_column_or_in_many_give_one_sketch(
    rng: np.random.Generator,
) -> None:
    x = rng.standard_normal((1000, 1000))
    x[:3, 0] = [np.nan, np.inf, -1e200]
    pooled = SketchSums(1000)
    for block in np.split(x, 5):
        pooled.update(block)
    alone = sketch(x, axis=None)
    assert same(pooled.pool().finalise(), alone)
    assert alone.n == x.size - 2
    assert same(sketch(x.astype(np.float64, order="F"), axis=0), pooled.finalise())


def test_the_window_follows_the_bulk(rng: np.random.Generator) -> None:
    """A far value costs one bin; the rest keeps its resolution, and goes through the window."""
    x = rng.standard_normal((200_000, 1))
    clean = sketch(x)
    x[0] = 1e300
    spoilt = sketch(x)
    assert spoilt.exponent == clean.exponent
    assert spoilt.edges[0][-1] == pytest.approx(1e300)
    sums = fed([x, x + 50], 1, 1024)
    sums.update(x + 50)
    assert sums._state.missed[0] < 40_000


def test_quantiles_are_off_by_at_most_one_width(rng: np.random.Generator) -> None:
    x = np.stack([laws(rng, 20_001)[law] for law in ("normal", "offset", "cauchy", "relu")], axis=1)
    sketched = sketch(x)
    q = np.concatenate([np.linspace(0, 1, 999), [1e-9, 1 - 1e-9]])
    exact = np.quantile(x, q, axis=0, method="inverted_cdf")
    error = np.abs(sketched.quantile(q) - exact)
    assert np.all(error <= sketched.width)
    assert sketched.quantile(q).shape == (len(q), 4)
    assert sketched.quantile(0.5).shape == (4,)
    assert np.all(np.diff(sketched.quantile(np.sort(q)), axis=0) >= 0)
    assert np.all(sketched.minimum <= x.min(axis=0))
    assert np.all(sketched.maximum >= x.max(axis=0))


@given(st.lists(CROWDED, min_size=1, max_size=60), st.floats(0, 1))
def test_quantiles_of_few_distinct_values_are_those_of_the_data(
    values: list[float], q: float
) -> None:
    sketched = sketch(values)
    assert sketched.exact
    assert sketched.width == 0
    assert sketched.quantile(q) == np.quantile(values, q, method="inverted_cdf")
    assert sketched.minimum == min(values)
    assert sketched.maximum == max(values)
    assert sketched.distinct() == len(set(values))
    for t in values:
        assert sketched.cdf(t) == np.mean(np.array(values) <= t)


def test_cdf_is_exact_at_edges_and_inverts_the_quantile(rng: np.random.Generator) -> None:
    x = rng.standard_normal(50_000)
    sketched = sketch(x)
    edges = sketched.edges[0]
    below = np.array([np.mean(x < edge) for edge in edges[::50]])
    np.testing.assert_allclose(sketched.cdf(edges[::50])[:, 0], below, rtol=sum_error(1))
    q = np.linspace(0.001, 0.999, 77)
    np.testing.assert_allclose(sketched.cdf(sketched.quantile(q))[:, 0], q, rtol=SKETCH_INVERSE)
    extremes = sketched.cdf([-np.inf, np.inf, np.nan, -1e300, 1e300])[:, 0]
    np.testing.assert_array_equal(extremes, [0, 1, np.nan, 0, 1])


def test_aligned_histograms_are_exact(rng: np.random.Generator) -> None:
    x = np.stack([laws(rng, 30_000)[law] for law in ("normal", "offset", "relu", "few")], axis=1)
    sketched = sketch(x)
    for low, high, m in ((x.min(axis=0), x.max(axis=0), 32), (-0.3, 0.9, 7), (1e8, 1e8, 3)):
        edges = sketched.aligned_edges(low, high, m)
        assert edges.shape == (m + 1, 4)
        assert np.all(edges[0] <= low)
        assert np.all(edges[-1] > high)
        counts, below, above = sketched.histogram(edges)
        assert counts.dtype == np.int64
        for j in range(4):
            where = np.searchsorted(edges[:, j], x[:, j], side="right")
            expected = np.bincount(where, minlength=m + 2)
            assert [below[j], *counts[:, j], above[j]] == expected.tolist()
        binned = ~sketched.exact
        multiples = edges[:, binned] / sketched.width[binned]
        assert np.all(multiples == np.round(multiples))
        needed = (np.broadcast_to(high, 4) - low)[binned] / m
        cell = np.diff(edges, axis=0)[0, binned]
        assert np.all(cell <= needed + 2 * sketched.width[binned])


def test_other_histograms_give_each_bin_to_the_cell_of_its_centre(
    rng: np.random.Generator,
) -> None:
    sketched = sketch(rng.standard_normal(10_000), bins=16)
    edges = np.array([-0.7, 0.1, 1.3])
    counts, below, above = sketched.histogram(edges)
    centres, weights = sketched.points()[0], sketched.counts[0]
    assert counts[0, 0] == weights[(centres >= -0.7) & (centres < 0.1)].sum()
    assert below + above + counts.sum() == 10_000


def test_points_and_weights_are_a_discrete_law(rng: np.random.Generator) -> None:
    x = rng.standard_normal((40_000, 2)) * [1, 1e-3] + [0, 5]
    sketched = sketch(x)
    for j, (points, weights) in enumerate(zip(sketched.points(), sketched.weights(), strict=True)):
        assert weights.sum() == pytest.approx(1)
        assert np.sum(points * weights) == pytest.approx(x[:, j].mean(), abs=sketched.width[j] / 2)


def test_bins_narrower_than_the_rounding_of_their_edge_keep_it() -> None:
    """Between values that bins hold together, some are so large that their bins hold one value."""
    x = np.concatenate([np.arange(100) * 2.0**-3, 2.0**51 + np.arange(20)])
    sketched = sketch(x, bins=64)
    assert sketched.width < 1
    assert not sketched.exact
    np.testing.assert_array_equal(sketched.points()[0][-20:] - 2.0**51, np.arange(20), strict=False)


@pytest.mark.slow
@given(VALUES, st.data())
def test_weights_count_as_repetitions(values: list[float], data: st.DataObject) -> None:
    weights = np.array([data.draw(st.integers(0, 3)) for _ in values], dtype=float)
    bins = data.draw(st.integers(4, 12))
    sums = SketchSums(1, bins)
    half = len(values) // 2
    block = np.array(values, dtype=float)[:, None]
    sums.update(block[:half], weights[:half])
    other = SketchSums(1, bins)
    other.update(block[half:], weights[half:, None])
    sums.merge(other)
    repeated = fed([np.repeat(block, weights.astype(int))], 1, bins).finalise()
    assert plain(sums.finalise()) == plain(repeated)
    assert sums.finalise().counts[0].dtype == np.float64


def test_weights_and_counts_mix(rng: np.random.Generator) -> None:
    x = rng.standard_normal((5000, 2))
    sums = fed([x[:2000]], 2, 64)
    sums.update(x[2000:], np.full(3000, 0.5))
    sketched = sums.finalise()
    assert [e.tolist() for e in sketched.edges] == [e.tolist() for e in sketch(x, bins=64).edges]
    np.testing.assert_array_equal(sketched.n, 3500)
    counted = fed([x[:10]], 2, 64)
    counted.merge(sums)
    np.testing.assert_array_equal(counted.finalise().n, 3510)


@pytest.mark.parametrize("axis", [0, 1, (0, 2), (2, 0), None, -1])
@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.bool_])
def test_every_axis_and_dtype(rng: np.random.Generator, axis: Any, dtype: type) -> None:
    x = (rng.standard_normal((9, 7, 5)) * 3).astype(dtype)
    sketched = sketch(x[:, ::-1], axis=axis, bins=8)
    axes = range(3) if axis is None else [a % 3 for a in np.atleast_1d(axis)]
    columns = np.moveaxis(x[:, ::-1], axes, range(len(axes)))
    columns = columns.reshape(math.prod(columns.shape[: len(axes)]), -1).astype(float)
    assert len(sketched.edges) == columns.shape[1]
    for j in range(columns.shape[1]):
        assert plain(sketched, j) == oracle(columns[:, j], 8)


def test_masks_and_weights_of_x_or_of_its_reduced_axes(rng: np.random.Generator) -> None:
    x = rng.standard_normal((6, 8, 3))
    mask = rng.random((6, 8)) < 0.5
    expected = sketch(x[mask])
    assert same(sketch(x, axis=(0, 1), mask=mask), expected)
    assert same(sketch(x, axis=(1, 0), mask=mask.T), expected)
    assert same(sketch(x, axis=(0, 1), mask=np.repeat(mask[..., None], 3, axis=2)), expected)
    weighted = sketch(x, axis=(0, 1), weights=mask.astype(float))
    assert [plain(weighted, j) for j in range(3)] == [plain(expected, j) for j in range(3)]
    with pytest.raises(InputError, match="mask must have the shape"):
        sketch(x, axis=0, mask=mask)
    with pytest.raises(InputError, match="mask must be boolean"):
        sketch(x, axis=(0, 1), mask=mask.astype(int))


def test_tensors(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(rng.standard_normal((500, 2))).to(torch.bfloat16)
    assert same(sketch(x), sketch(x.float().numpy()))


BAD_INPUT = {
    "none": np.array([]),
    "one": np.array([1.0]),
    "two": np.array([1.0, 2.0]),
    "constant": np.full(50, 3.0),
    "two distinct": np.repeat([0.0, 1.0], 25),
    "nan": np.full(10, np.nan),
    "inf": np.concatenate([[np.inf, -np.inf], np.linspace(-2, 2, 20)]),
    "integers": np.arange(30),
    "float16": np.array([6e4, -6e4, 6.5e4] * 3, dtype=np.float16),
    "huge": np.array([1e300, -1e300, 1.7e308] * 3),
}


@pytest.mark.parametrize("name", list(BAD_INPUT))
@pytest.mark.parametrize("bins", [4, 1024])
def test_sketch_bad_input(name: str, bins: int) -> None:
    x = BAD_INPUT[name]
    sketched = sketch(x, bins=bins)
    finite = np.sort(x[np.isfinite(x)].astype(float))
    assert plain(sketched) == oracle(finite, bins)
    assert sketched.n == len(finite)
    middle = sketched.quantile([0, 0.5, 1])[:, 0]
    assert np.isnan(middle).all() == (len(finite) == 0)
    edges = sketched.aligned_edges(sketched.minimum, sketched.maximum, 4)
    counts, below, above = sketched.histogram(edges)
    assert below + counts.sum() + above == len(finite)
    assert sketched.cdf(0.0).shape == (1,)
    assert same(sketched.merge(sketch([], bins=bins)), sketched)
    if len(finite) > 0 and sketched.exact:
        assert middle.tolist() == np.quantile(finite, [0, 0.5, 1], method="inverted_cdf").tolist()


def test_no_columns_at_all() -> None:
    sketched = sketch(np.empty((5, 0)))
    assert sketched.quantile([0.5]).shape == (1, 0)
    assert sketched.n.shape == (0,)
    assert SketchSums(0).pool().finalise().n.tolist() == [0]


def test_errors_name_the_rule() -> None:
    sums = SketchSums(2)
    with pytest.raises(InputError, match=r"block must have shape \(n, 2\)"):
        sums.update(np.zeros((3, 3)))
    with pytest.raises(InputError, match="bins must be a whole number of at least 4"):
        SketchSums(2, 3)
    with pytest.raises(InputError, match="not negative"):
        sums.update(np.zeros((3, 2)), [1.0, -1.0, 1.0])
    with pytest.raises(InputError, match="weights must have shape"):
        sums.update(np.zeros((3, 2)), [1.0])
    with pytest.raises(InputError, match="same columns and bins"):
        sums.merge(SketchSums(2, 512))
    with pytest.raises(InputError, match="same columns and bins"):
        sums.finalise().merge(sketch([1.0]))
    with pytest.raises(InputError, match=r"q must lie in \[0, 1\]"):
        sketch([1.0]).quantile(np.nan)
    with pytest.raises(InputError, match="edges must be two or more"):
        sketch([1.0]).histogram([1.0, 0.0])
    with pytest.raises(InputError, match="low must not be above high"):
        sketch([1.0]).aligned_edges(1, 0, 4)


def test_no_quantiles_of_some_columns(rng):
    assert sketch(rng.normal(size=(10, 3))).quantile([]).shape == (0, 3)
    assert sketch(np.empty((10, 0))).quantile([0.5]).shape == (1, 0)
