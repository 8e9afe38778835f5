"""Drift against slow oracles, its laws, its calibration and its table of bad input."""

from __future__ import annotations

import math

import numba
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from distfit_nn.errors import InputError
from distfit_nn.stats.drift import MEASURES, Drift, drift
from distfit_nn.stats.drift_baseline import Effect, fine_pvalues
from distfit_nn.stats.drift_exchange import exchange
from tests import tolerances

Array = np.ndarray


def finite(values: Array) -> Array:
    return values[np.isfinite(values)]


def slow_effects(x: Array, y: Array, unit: float) -> dict[str, float]:
    """All effects of one unit, by SciPy, in the given unit."""
    own_x, own_y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    return {
        "wasserstein": stats.wasserstein_distance(x, y) / unit,
        "kolmogorov": stats.ks_2samp(x, y, method="asymp").statistic,
        "energy": stats.energy_distance(x, y) / math.sqrt(unit),
        "shift": (y.mean() - x.mean()) / unit,
        "spread": math.log(y.std() / x.std()),
        "shape": stats.wasserstein_distance(own_x, own_y),
    }


def pooled_std(x: Array, y: Array) -> float:
    return math.sqrt((len(x) * x.var() + len(y) * y.var()) / (len(x) + len(y)))


def samples(rng: np.random.Generator, kind: str, n: int = 41, m: int = 60) -> tuple[Array, Array]:
    x, y = rng.normal(size=(n, 2)), 1.3 * rng.normal(size=(m, 2)) + 0.4
    if kind == "ties":
        return np.round(x, 1), np.round(y, 1)
    if kind == "nan":
        x[::7, 0], y[1::5, 0], y[3, 0] = np.nan, np.inf, -np.inf
    if kind == "offset":
        return x + 1e6, y + 1e6
    return x, y


@pytest.mark.parametrize("kind", ["plain", "ties", "nan", "offset"])
@pytest.mark.parametrize("m", [41, 60])
def test_effects_are_those_of_scipy(rng: np.random.Generator, kind: str, m: int) -> None:
    x, y = samples(rng, kind, m=m)
    found = drift(x, y, random_state=0, permutations=5)
    offset = 1e6 if kind == "offset" else 1.0
    for j in range(2):
        one, other = finite(x[:, j]), finite(y[:, j])
        assert (found.n[j], found.m[j]) == (len(one), len(other))
        wanted = slow_effects(one, other, pooled_std(one, other))
        for measure, value in wanted.items():
            got = getattr(found, measure).effect[j]
            error = offset * tolerances.staircase_area(len(one) + len(other))
            # The energy distance is a root: its square is what has this error.
            power = 2 if measure == "energy" else 1
            assert got**power == pytest.approx(value**power, abs=error), measure


def regrouped(x: Array, y: Array, labels: Array) -> tuple[Array, Array]:
    rows = np.concatenate([x, y])
    return finite(rows[labels == 1]), finite(rows[labels == 0])


@pytest.mark.parametrize("kind", ["plain", "ties", "nan"])
@pytest.mark.parametrize("paired", [False, True])
def test_baselines_are_the_effects_of_exchanged_rows(
    rng: np.random.Generator, kind: str, paired: bool
) -> None:
    permutations, alpha = 19, 0.1
    x, y = samples(rng, kind, m=41 if paired else 33)
    found = drift(x, y, random_state=5, permutations=permutations, alpha=alpha, paired=paired)
    labels = exchange(
        *(len(x), len(y), None),
        paired=paired,
        permutations=permutations,
        max_rows=None,
        rng=np.random.default_rng(5),
    ).labels
    if paired:
        lost = ~(np.isfinite(x) & np.isfinite(y))
        x, y = np.where(lost, np.nan, x), np.where(lost, np.nan, y)
    for j in range(2):
        one, other = finite(x[:, j]), finite(y[:, j])
        unit = pooled_std(one, other)
        own = [(a - finite(a).mean()) / finite(a).std() for a in (x[:, j], y[:, j])]
        if len(np.unique(np.append(one, other))) <= 0.75 * (len(one) + len(other)):
            own = [x[:, j], y[:, j]]
        rows = [slow_effects(*regrouped(x[:, j], y[:, j], label), unit) for label in labels.T]
        shapes = [slow_effects(*regrouped(*own, label), 1.0)["shape"] for label in labels.T]
        error = 20 * tolerances.staircase_area(len(x) + len(y))  # of 20 effects
        for measure in MEASURES:
            values = np.abs([row[measure] for row in rows])
            values = np.array(shapes) if measure == "shape" else values
            effect: Effect = getattr(found, measure)
            assert effect.baseline_mean[j] == pytest.approx(values[1:].mean(), abs=error)
            assert effect.excess[j] == pytest.approx(values[0] - values[1:].mean(), abs=error)
            assert effect.baseline_high[j] == pytest.approx(np.sort(values[1:])[17], abs=error)
            reached = np.count_nonzero(values[1:] >= values[0] - error)
            assert effect.pvalue[j] == (reached + 1) / (permutations + 1)


def test_the_effect_exceeds_the_high_baseline_where_p_is_at_most_alpha(
    rng: np.random.Generator,
) -> None:
    x, y = rng.normal(size=(30, 300)), rng.normal(size=(30, 300)) + 0.3
    for permutations in (49, 99):
        found = drift(x, y, random_state=1, permutations=permutations).wasserstein
        np.testing.assert_array_equal(found.effect > found.baseline_high, found.pvalue <= 0.05)


def test_fine_pvalues_standardise_each_by_the_others(rng: np.random.Generator) -> None:
    table = rng.gamma(3.0, size=(4, 8)) * np.array([[1.0], [10.0], [0.1], [1.0]])
    table[2, 3] = np.nan
    pool, scores = [], []
    for row in table:
        others = row[1:][~np.isnan(row[1:])]
        scores.append((row[0] - others.mean()) / others.std(ddof=1))
        for i in range(len(others)):
            rest = np.delete(others, i)
            pool.append((others[i] - rest.mean()) / rest.std(ddof=1))
    wanted = [(1 + np.sum(np.array(pool) >= s)) / (1 + len(pool)) for s in scores]
    np.testing.assert_allclose(fine_pvalues(table), wanted, rtol=tolerances.FEW_ROUNDINGS)


def test_fine_pvalues_of_one_unit_are_the_plain_ones(rng: np.random.Generator) -> None:
    table = np.concatenate([[0.5], rng.random(19)])[None]
    assert fine_pvalues(table)[0] == (1 + np.sum(table[0, 1:] >= 0.5)) / 20


def test_one_p_value_for_a_layer(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(50, 30)), rng.normal(size=(50, 30))
    y[:, :10] += 1.0
    found = drift(x, y, random_state=2)
    assert found.layer.pvalue == 0.01
    assert found.layer.units == 30
    assert found.layer.drifted_units == found.drifted.sum() >= 10
    assert found.layer.mean == pytest.approx(found.wasserstein.effect.mean())
    assert found.layer.median == pytest.approx(np.median(found.wasserstein.effect))
    assert found.layer.baseline_mean == pytest.approx(found.wasserstein.baseline_mean.mean())
    assert found.layer.excess == pytest.approx(found.layer.mean - found.layer.baseline_mean)
    assert drift(x, x, random_state=2).layer.pvalue > 0.9


def same(one: Drift, other: Drift, columns: slice | Array = slice(None)) -> None:
    for measure in MEASURES:
        for field in ("effect", "baseline_mean", "baseline_high", "excess", "pvalue"):
            np.testing.assert_array_equal(
                getattr(getattr(one, measure), field)[columns],
                getattr(getattr(other, measure), field),
            )


def test_the_same_bits_whatever_the_batch_and_the_threads(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(40, 50)), rng.normal(size=(30, 50))
    x[3, 7] = np.nan
    whole = drift(x, y, random_state=3)
    some = np.array([44, 7, 20])
    same(whole, drift(x[:, some], y[:, some], random_state=3), some)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        same(whole, drift(x, y, random_state=3))
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.bool_, np.longdouble])
def test_any_dtype_is_read_as_float64(rng: np.random.Generator, dtype: type) -> None:
    x, y = (rng.normal(0, 3, size=(n, 3)).astype(dtype) for n in (30, 40))
    same(drift(x, y, random_state=0), drift(x.astype(float), y.astype(float), random_state=0))
    same(drift(np.asfortranarray(x), y[:], random_state=0), drift(x, y, random_state=0))


def test_tensors_are_read(rng: np.random.Generator) -> None:
    x, y = (torch.tensor(rng.normal(size=(30, 2)), dtype=torch.bfloat16) for _ in range(2))
    same(drift(x, y, random_state=0), drift(x.double().numpy(), y.double().numpy(), random_state=0))


@given(
    seed=st.integers(0, 1000),
    scale=st.sampled_from([1e-9, 0.3, 7.0, 1e12]),
    shift=st.sampled_from([0.0, -2.0, 50.0]),
    sign=st.sampled_from([-1.0, 1.0]),
)
@settings(max_examples=40)
def test_an_affine_map_of_both_changes_signs_only(
    seed: int, scale: float, shift: float, sign: float
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(30, 2)), rng.gamma(2.0, size=(25, 2))
    a = sign * scale
    one = drift(x, y, random_state=1)
    other = drift(a * (x + shift), a * (y + shift), random_state=1)
    error = 60 * tolerances.staircase_area(55)  # values up to 60 standard deviations from 0
    for measure in MEASURES:
        before, after = getattr(one, measure), getattr(other, measure)
        factor = sign if measure == "shift" else 1.0
        power = 2 if measure == "energy" else 1
        np.testing.assert_allclose(
            after.effect**power, (factor * before.effect) ** power, atol=error
        )
        np.testing.assert_allclose(after.excess, before.excess, atol=math.sqrt(error))
        np.testing.assert_array_equal(after.pvalue, before.pvalue)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_an_affine_map_of_one_side_leaves_the_shape(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(30, 2)), rng.gamma(2.0, size=(25, 2))
    one, other = drift(x, y, random_state=1).shape, drift(x, 3 * y - 4, random_state=1).shape
    error = tolerances.staircase_area(55)
    np.testing.assert_allclose(other.effect, one.effect, atol=error)
    np.testing.assert_array_equal(other.pvalue, one.pvalue)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_effects_do_not_depend_on_the_order_of_rows_or_sides(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(30, 2)), rng.gamma(2.0, size=(25, 2))
    one = drift(x, y, random_state=1)
    mixed = drift(rng.permutation(x), rng.permutation(y), random_state=2)
    swapped = drift(y, x, random_state=3)
    error = tolerances.staircase_area(55)
    for measure in MEASURES:
        sign = -1 if measure in ("shift", "spread") else 1
        effect = getattr(one, measure).effect
        np.testing.assert_allclose(getattr(mixed, measure).effect, effect, atol=error)
        np.testing.assert_allclose(getattr(swapped, measure).effect, sign * effect, atol=error)


def share_within(pvalues: Array, alpha: float = 0.05) -> bool:
    """Whether the share of p <= alpha is alpha, up to the standard errors allowed."""
    error = math.sqrt(alpha * (1 - alpha) / len(pvalues))
    return bool(abs(np.mean(pvalues <= alpha) - alpha) <= tolerances.STANDARD_ERRORS * error)


@pytest.mark.parametrize("law", ["normal", "cauchy", "relu"])
def test_pvalues_are_calibrated(rng: np.random.Generator, law: str) -> None:
    found = []
    for seed in range(400):
        x, y = rng.normal(size=(50, 1)), rng.normal(size=(40, 1))
        if law == "cauchy":
            x, y = (a / rng.normal(size=a.shape) for a in (x, y))
        if law == "relu":
            x, y = np.maximum(x - 1, 0), np.maximum(y - 1, 0)
        done = drift(x, y, permutations=19, random_state=seed)
        found.append([done.wasserstein.pvalue[0], done.shift.pvalue[0], done.layer.pvalue])
    for pvalues in np.array(found).T:
        assert share_within(pvalues)


@pytest.mark.parametrize("law", ["counts", "halves", "relu"])
def test_shape_of_levels_is_calibrated(rng: np.random.Generator, law: str) -> None:
    """Standardised before they are exchanged, counts of one law would differ in shape."""
    found = []
    for seed in range(60):
        sides = {
            "counts": [rng.poisson(5.0, (n, 10)) for n in (50, 70)],
            "halves": [np.round(2 * rng.normal(size=(n, 10))) / 2 for n in (50, 70)],
            "relu": [np.maximum(rng.normal(size=(n, 10)), 0) for n in (50, 70)],
        }[law]
        found.append(drift(*sides, permutations=19, random_state=seed).shape.pvalue)
    assert share_within(np.concatenate(found))


def test_no_false_calls_among_correlated_units(rng: np.random.Generator) -> None:
    """At n = 50 the noise is above the least effect: only the q-values hold the level."""
    calls = 0
    for seed in range(200):
        x, y = (rng.normal(size=(50, 20)) + rng.normal(size=(50, 1)) for _ in range(2))
        found = drift(x, y, permutations=39, random_state=seed)
        calls += bool((found.wasserstein.qvalue < 0.05).any())
    assert calls / 200 <= 0.05 + tolerances.STANDARD_ERRORS * math.sqrt(0.05 * 0.95 / 200)


def test_the_pool_gives_q_values_that_few_permutations_could_not(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(200, 100)), rng.normal(size=(200, 100))
    y[:, 0] += 1.0
    found = drift(x, y, permutations=39, random_state=0)
    assert found.wasserstein.pvalue[0] == 1 / 40
    assert found.wasserstein.qvalue[0] == pytest.approx(100 / (100 * 39 + 1))
    np.testing.assert_array_equal(np.flatnonzero(found.drifted), [0])


def test_many_rows_do_not_make_a_small_shift_drift(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(50_000, 6)), rng.normal(size=(50_000, 6))
    y += np.array([0.0, 0.001, 0.03, 0.06, 0.2, 0.5])
    for max_rows in (5000, 20_000):
        found = drift(x, y, random_state=1, permutations=19, max_rows=max_rows)
        np.testing.assert_array_equal(found.drifted, [False] * 4 + [True] * 2)
        assert found.rows == (max_rows, max_rows)
        assert found.rows_seen == (50_000, 50_000)
    assert found.wasserstein.qvalue[3] < 0.05  # significant, but small


def test_blocks_keep_dependent_rows_from_faking_drift(rng: np.random.Generator) -> None:
    plain, blocked, labelled = [], [], []
    for seed in range(150):
        x, y = (np.repeat(rng.normal(size=(12, 1)), 10, axis=0) for _ in range(2))
        options = {"permutations": 39, "random_state": seed}
        plain.append(drift(x, y, **options).wasserstein.pvalue[0])
        blocked.append(drift(x, y, blocks=10, **options).wasserstein.pvalue[0])
        labels = 5 - np.arange(120) // 10
        labelled.append(drift(x, y, blocks=(labels, labels), **options).wasserstein.pvalue[0])
    assert np.mean(np.array(plain) <= 0.05) > 0.3
    assert share_within(np.array(blocked))
    assert share_within(np.array(labelled))


def test_whole_blocks_are_drawn(rng: np.random.Generator) -> None:
    taken = exchange(
        100, 95, 10, paired=False, permutations=3, max_rows=35, rng=np.random.default_rng(0)
    )
    for rows, total in ((taken.x_rows, 100), (taken.y_rows, 95)):
        assert 20 <= len(rows) <= 35
        for block in np.unique(rows // 10):
            inside = np.arange(10 * block, min(10 * block + 10, total))
            assert np.isin(inside, rows).all()
    for label in taken.labels.T:
        for block in np.unique(taken.x_rows // 10):
            assert len(np.unique(label[: len(taken.x_rows)][taken.x_rows // 10 == block])) == 1


def test_all_rows_are_dealt_anew() -> None:
    """Each side keeps its number of rows, and any set of rows is as likely as another."""
    labels = exchange(
        6, 3, None, paired=False, permutations=4000, max_rows=None, rng=np.random.default_rng(0)
    ).labels
    np.testing.assert_array_equal(labels[:, 0], [1] * 6 + [0] * 3)
    np.testing.assert_array_equal(labels.sum(axis=0), 6)
    seen = np.unique(labels[:, 1:], axis=1, return_counts=True)[1]
    assert len(seen) == math.comb(9, 6)
    assert stats.chisquare(seen).pvalue > 1e-4


def test_pairs_are_swapped_as_pairs(rng: np.random.Generator) -> None:
    labels = exchange(
        30, 30, None, paired=True, permutations=200, max_rows=None, rng=np.random.default_rng(0)
    ).labels
    np.testing.assert_array_equal(labels[:30] + labels[30:], 1)
    assert 0.4 < labels[:30, 1:].mean() < 0.6


def test_pairs_find_what_they_share(rng: np.random.Generator) -> None:
    base = rng.normal(size=(60, 3))
    x, y = base + 0.1 * rng.normal(size=(60, 3)), base + 0.1 * rng.normal(size=(60, 3)) + 0.15
    x[5, 1] = np.nan
    found = drift(x, y, paired=True, random_state=0)
    assert np.all(found.shift.pvalue == 0.01)
    assert np.all(drift(x, y, random_state=0).shift.pvalue > 0.05)
    both = np.isfinite(x[:, 1])
    assert found.n[1] == found.m[1] == 59
    wanted = np.corrcoef(x[both, 1], y[both, 1])[0, 1]
    assert found.paired_correlation is not None
    assert found.paired_correlation[1] == pytest.approx(wanted, rel=tolerances.FEW_ROUNDINGS * 60)
    assert drift(x, y).paired_correlation is None


def test_paired_pvalues_are_calibrated(rng: np.random.Generator) -> None:
    found = []
    for seed in range(400):
        base = rng.normal(size=(40, 1))
        x, y = base + rng.normal(size=(40, 1)), base + rng.normal(size=(40, 1))
        done = drift(x, y, paired=True, permutations=19, random_state=seed)
        found.append(done.wasserstein.pvalue[0])
    assert share_within(np.array(found))


INF, NAN = math.inf, math.nan
BAD = {
    "none": ([], [1.0, 2.0], (NAN, NAN, NAN, NAN), NAN),
    "both none": ([], [], (NAN, NAN, NAN, NAN), NAN),
    "nan": ([NAN] * 10, [1.0, 2.0], (NAN, NAN, NAN, NAN), NAN),
    "one each": ([1.0], [2.0], (INF, INF, NAN, NAN), 1.0),
    "one each, equal": ([1.0], [1.0], (0.0, 0.0, NAN, NAN), 1.0),
    "constant": ([3.0] * 50, [3.0] * 40, (0.0, 0.0, NAN, NAN), 1.0),
    "constants": ([3.0] * 50, [5.0] * 40, (INF, INF, NAN, NAN), 0.05),
    "constants down": ([5.0] * 50, [3.0] * 40, (INF, -INF, NAN, NAN), 0.05),
    # Both are off by 0.5; the pooled standard deviation is sqrt(40 / 90) / 2.
    "x constant": ([3.0] * 50, [3.0, 4.0] * 20, (1.5, 1.5, INF, NAN), 0.05),
    "y constant": ([3.0, 4.0] * 20, [3.0] * 40, (2**0.5, -(2**0.5), -INF, NAN), 0.05),
    "two values": ([0.0] * 25 + [1.0] * 25, [0.0, 1.0] * 10, (0.0, 0.0, 0.0, 0.0), 1.0),
    "huge": ([1e300, -1e300] * 10, [1e300, -1e300] * 5, (0.0, 0.0, 0.0, 0.0), 1.0),
    "largest": ([1.7e308, -1.7e308] * 10, [1.7e308, -1.7e308] * 5, (0.0, 0.0, 0.0, 0.0), 1.0),
    "tiny": ([5e-324, -5e-324] * 10, [5e-324, -5e-324] * 5, (0.0, 0.0, 0.0, 0.0), 1.0),
}


@pytest.mark.parametrize("case", BAD)
def test_drift_bad_input(case: str) -> None:
    x, y, wanted, pvalue = BAD[case]
    found = drift(np.array(x), np.array(y), permutations=19, random_state=0)
    got = [float(getattr(found, k).effect[0]) for k in ("wasserstein", "shift", "spread", "shape")]
    np.testing.assert_allclose(got, wanted, atol=tolerances.staircase_area(100))
    np.testing.assert_equal(found.wasserstein.pvalue[0], pvalue)
    assert bool(found.drifted[0]) is False  # one unit's p is at least 1/20
    assert found.n[0] == np.isfinite(x).sum()
    found.to_frame()


def test_infinite_values_and_other_kinds_of_columns(rng: np.random.Generator) -> None:
    x = np.concatenate([[INF, -INF], rng.normal(size=20)])
    assert drift(x, x[2:], random_state=0).wasserstein.effect[0] == 0
    ints = rng.integers(0, 5, 30)
    assert 0 < drift(ints, ints + 1, random_state=0).wasserstein.effect[0] < 2
    large = (6e4 + 30 * rng.normal(size=50)).astype(np.float16)
    assert np.isfinite(drift(large, large[:20], random_state=0).wasserstein.effect[0])
    subnormal = 1e-310 * rng.normal(size=30)
    assert drift(subnormal, -subnormal, random_state=0).wasserstein.effect[0] > 0


def test_two_constants_are_drift_and_have_the_first_rank(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(100, 20)), rng.normal(size=(100, 20))
    x[:, 4], y[:, 4] = 1.0, 2.0
    found = drift(x, y, random_state=0)
    assert found.drifted[4]
    assert found.to_frame()["rank"][4] == 1
    assert math.isfinite(found.layer.mean)


def test_frame(rng: np.random.Generator) -> None:
    x = rng.normal(size=(30, 3))
    frame = drift(x, x + np.array([0, 2, 1]), random_state=0, paired=True).to_frame(["a", "b", "c"])
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["name"]) == ["a", "b", "c"]
    assert list(frame["rank"]) == [3, 1, 2]
    assert {"wasserstein", "wasserstein_excess", "shape_qvalue", "paired_correlation"} <= set(frame)
    with pytest.raises(InputError, match="names must be one for each of 3 units, got 1"):
        drift(x, x).to_frame(["a"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros((5, 2))}, "x and y must have as many units, got 3 and 2"),
        ({"y": np.zeros((5, 3)), "paired": True}, "as many rows where they are paired, got 9 and"),
        ({"permutations": 0}, "permutations must be a whole number of at least 1, got 0"),
        ({"alpha": 1.5}, "alpha must be a number from 0 to 1, got 1.5"),
        ({"least_effect": math.nan}, "least_effect must be a number"),
        ({"max_rows": 1}, "max_rows must be a whole number of at least 2, got 1"),
        ({"blocks": 0}, "blocks must be a whole number of at least 1, got 0"),
        ({"blocks": "a"}, "blocks must be None, a number of rows, or a pair"),
        ({"blocks": (np.zeros(9), np.zeros(9))}, r"blocks\[0\] must be whole numbers"),
        ({"blocks": (np.zeros(8, int), np.zeros(9, int))}, r"of shape \(9,\), got int64 of"),
        ({"x": np.zeros((2, 2, 2))}, r"x must have shape \(n,\) or \(n, d\)"),
        ({"y": np.array([["a"] * 3])}, "y must be an array of real numbers"),
    ],
)
def test_errors_name_the_rule(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"x": np.zeros((9, 3)), "y": np.zeros((9, 3)), **change}
    with pytest.raises(InputError, match=message):
        drift(**arguments)  # type: ignore[arg-type]
