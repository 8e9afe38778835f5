"""Scores of ranks and back, for arrays, against SciPy and NumPy column by column."""

from __future__ import annotations

import statistics
from fractions import Fraction
from itertools import combinations
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import stats

from distfit_nn import maxent
from distfit_nn.copula import (
    hard_rank,
    inverse_scores,
    lines,
    normal_scores,
    scores,
    soft_rank,
)
from distfit_nn.errors import InputError
from distfit_nn.targets.arrays import as_target
from tests import cases
from tests.tolerances import NORMAL_QUANTILE, SCORE_LINE, SCORE_TABLE, eps
from tests.transforms.laws import TARGETS, Logistic

Array = NDArray[np.float64]

DTYPES = [np.float16, np.float32, np.float64]
KINDS = ["normal", "cauchy", "bimodal", "post_relu", "integers", "tiny", "huge"]


def ranked(x: NDArray[Any]) -> list[Fraction]:
    """Return the ranks of one column, each counted."""
    return [Fraction(2 * int((x < v).sum()) + int((x == v).sum()), 2) for v in x]


def slow_scores(x: NDArray[Any], law: Any) -> Array:
    """Return the scores of one column by the functions of a SciPy distribution, one by one."""
    n = len(x)
    shares = [rank / n for rank in ranked(x)]
    return np.array([law.ppf(float(p)) if p <= 0.5 else law.isf(float(1 - p)) for p in shares])


def slow_line(values: Array, at: Array) -> float:
    """Return the slope of the line from the first of the outermost values, nearest end first."""
    pairs = list(combinations(range(min(len(values), 16)), 2))
    return statistics.median_low((values[j] - values[i]) / (at[j] - at[i]) for i, j in pairs)


def slow_inverse(y: float, x: NDArray[Any], law: Any) -> float:
    """Return the point of one column that a score goes to."""
    ordered, n = np.sort(x.astype(float)), len(x)
    at = np.array([law.ppf((i + 0.5) / n) for i in range(n)])
    if at[0] <= y <= at[-1]:
        return float(np.quantile(ordered, law.cdf(y), method="hazen"))
    if y < at[0]:
        return ordered[0] + (y - at[0]) * slow_line(ordered, at)
    return ordered[-1] + (y - at[-1]) * slow_line(ordered[::-1], at[::-1])


# Scores


@pytest.mark.parametrize("kind", [*KINDS, "constant"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_are_quantiles_of_ranks(kind, dtype):
    with np.errstate(over="ignore", under="ignore"):
        x = (np.full(300, 0.7) if kind == "constant" else cases.column(kind, 300)).astype(dtype)
    y = normal_scores(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(
        y, slow_scores(x, stats.norm), rtol=NORMAL_QUANTILE + eps(dtype), atol=NORMAL_QUANTILE
    )


@pytest.mark.parametrize("target", ["uniform", "gamma", "cauchy", "beta", "density"])
def test_scores_of_every_target(target):
    x = np.stack([cases.column("normal", 200), cases.column("post_relu", 200)], axis=1)
    law = TARGETS[target]()
    y = normal_scores(x, law)
    peer = stats.uniform() if target == "uniform" else law
    for j in range(2):
        np.testing.assert_allclose(y[:, j], slow_scores(x[:, j], peer), rtol=SCORE_TABLE)


def test_a_target_without_an_upper_tail_of_its_own():
    x = cases.column("normal", 99)
    p = np.array([float(rank / 99) for rank in ranked(x)])
    np.testing.assert_allclose(normal_scores(x, Logistic()), np.log(p / (1 - p)), atol=1e2 * eps())


def test_one_target_for_each_column(rng):
    x = rng.normal(size=(50, 3))
    shapes = np.array([0.5, 1.0, 4.0])
    y = normal_scores(x, stats.gamma(shapes))
    densities = normal_scores(x, maxent.fit(rng.gamma(2.0, size=(500, 3)), 4))
    for j, shape in enumerate(shapes):
        np.testing.assert_allclose(y[:, j], slow_scores(x[:, j], stats.gamma(shape)), rtol=1e-12)
    assert (np.diff(np.sort(densities, axis=0), axis=0) > 0).all()
    np.testing.assert_allclose(inverse_scores(y, x, stats.gamma(shapes)), x, rtol=1e-12)
    with pytest.raises(InputError, match="3 for as many columns, got 2"):
        normal_scores(x, stats.gamma([1.0, 2.0]))


@pytest.mark.parametrize("make", [torch.distributions.Normal, torch.distributions.Laplace])
def test_distributions_of_torch(make):
    x = cases.column("bimodal", 120)
    law = make(torch.tensor(1.0, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64))
    peer = {"Normal": stats.norm, "Laplace": stats.laplace}[make.__name__](1.0, 2.0)
    np.testing.assert_allclose(normal_scores(x, law), slow_scores(x, peer), rtol=1e-11, atol=1e-11)
    back = inverse_scores(normal_scores(x, law), x, law)
    np.testing.assert_allclose(back, x, rtol=1e-12)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("strength", [None, 3.0])
def test_any_axis_and_strides(dim, strength, rng):
    x = np.asfortranarray(rng.normal(size=(6, 40, 5)))[::-1, ::2]
    y = normal_scores(x, strength=strength, dim=dim)
    moved, expected = np.moveaxis(x, dim, 0), np.moveaxis(y, dim, 0)
    assert y.shape == x.shape
    for index in np.ndindex(moved.shape[1:]):
        alone = normal_scores(moved[(slice(None), *index)].copy(), strength=strength)
        np.testing.assert_array_equal(expected[(slice(None), *index)], alone)
    back = np.moveaxis(inverse_scores(y, x, dim=dim), dim, 0)
    if strength is None:
        np.testing.assert_array_equal(back, moved)


def test_soft_scores_are_quantiles_of_soft_ranks(rng):
    x = rng.normal(size=(400, 3))
    strength = np.array([0.3, 3.0, 1e6])
    for law in ("normal", stats.laplace(), "uniform"):
        y = normal_scores(x, law, strength=strength)
        s = soft_rank(x, strength)
        # Soft ranks of the mirrored sample count from above.
        lower, upper = (
            np.asarray(as_target(law).quantile(count / 400, np.full(x.shape, side)))
            for side, count in ((False, s), (True, soft_rank(-x, strength)))
        )
        expected = np.where(s <= 200, lower, upper)
        np.testing.assert_allclose(y, expected, rtol=1e-8, atol=1e-8)
    assert (np.abs(normal_scores(x, strength=0.3)) < np.abs(normal_scores(x)) + 1e-9).mean() > 0.9
    np.testing.assert_allclose(normal_scores(x, strength=1e12), normal_scores(x), atol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 1000, 1_000_000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_are_finite_at_every_n(n, dtype):
    x = np.linspace(-1, 1, n).astype(dtype)
    for strength in (None, 1e6):
        y = normal_scores(x, strength=strength)
        assert np.isfinite(y).all()
        np.testing.assert_allclose(y, -normal_scores(-x, strength=strength), atol=8 * eps(dtype))
    with mpmath.workdps(40):
        largest = float(mpmath.sqrt(2) * mpmath.erfinv(1 - mpmath.mpf(1) / n))
    if dtype is not np.float16:  # where many tie
        np.testing.assert_allclose(normal_scores(x).max(), largest, rtol=4 * eps(dtype), atol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_beyond_a_dtype_are_its_largest(dtype):
    y = normal_scores(np.arange(100, dtype=dtype), stats.pareto(1e-3))
    assert y[-1] == np.finfo(dtype).max
    assert np.isfinite(y).all()


def test_integers_and_booleans():
    x = np.array([3, 1, 2])
    for given_x in (x, x.astype(np.int8), x.astype(np.uint64) + np.uint64(2**63)):
        y = normal_scores(given_x)
        assert y.dtype == np.float64
        np.testing.assert_array_equal(y, normal_scores([3.0, 1.0, 2.0]))
    np.testing.assert_array_equal(
        normal_scores(np.array([True, False])), normal_scores(np.array([1.0, 0.0]))
    )


def test_infinite_values_have_finite_scores():
    x = np.array([-np.inf, 0.0, np.inf, np.inf])
    np.testing.assert_array_equal(normal_scores(x), normal_scores(np.array([0.0, 1.0, 2.0, 2.0])))
    np.testing.assert_array_equal(inverse_scores(normal_scores(x), x), x)


def test_nan_is_its_own_columns_matter(rng):
    x = rng.normal(size=(30, 4))
    expected = normal_scores(x)
    x[7, 2] = np.nan
    expected[:, 2] = np.nan
    for law in ("normal", stats.norm(), stats.norm(np.zeros(4))):
        np.testing.assert_allclose(normal_scores(x, law), expected, rtol=1e-12, atol=1e-15)
        back = inverse_scores(expected, x, law)
        np.testing.assert_array_equal(np.isnan(back), np.isnan(expected))
    y = np.array([[np.nan, 0.0, 0.0, 0.0]])
    assert np.isnan(inverse_scores(y, x)).tolist() == [[True, False, True, False]]


# Back


@pytest.mark.parametrize("kind", ["normal", "cauchy", "post_relu", "integers", "lognormal"])
@pytest.mark.parametrize("n", [1, 2, 5, 60])
def test_the_way_back_is_hazens_quantile_and_lines(kind, n):
    x = cases.column(kind, n)
    y = np.linspace(-6, 6, 49)
    for law in (stats.norm, stats.laplace()):
        target = "normal" if law is stats.norm else law
        constant = x.min() == x.max()
        expected = [x[0] if constant else slow_inverse(v, x, law) for v in y]
        made = inverse_scores(y, x, target)
        scale = np.abs(expected).max() * SCORE_LINE
        np.testing.assert_allclose(made, expected, atol=scale)
        clipped = inverse_scores(y, x, target, outside="clip")
        np.testing.assert_allclose(clipped, np.clip(expected, x.min(), x.max()), atol=scale)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_comes_back_from_its_scores(target, kind):
    x = cases.column(kind, 250)
    law = TARGETS[target]()
    np.testing.assert_array_equal(inverse_scores(normal_scores(x, law), x, law), x)


def test_draws_of_the_target_have_the_distribution_of_the_sample(rng):
    x = np.maximum(rng.normal(size=2000), 0.0)
    y = inverse_scores(rng.normal(size=20_000), x)
    half = float((x == 0).mean())
    assert abs((y == 0).mean() - half) < 4 * np.sqrt(0.25 / 20_000)
    assert stats.ks_2samp(y[y > 0], x[x > 0]).pvalue > 1e-3


def test_lines_go_on_up_to_the_ends_of_the_target():
    x = np.arange(20.0)
    y = inverse_scores(np.array([-3.0, 0.0, 1.0, 9.0]), x, "uniform")
    np.testing.assert_allclose(y, [-0.5, -0.5, 19.5, 19.5], rtol=1e-12)
    far = inverse_scores(np.array([-1e3, 1e3]), x, "normal")
    assert far[0] < -200
    assert far[1] > 219


def test_no_scores_give_no_values():
    back = inverse_scores(np.empty((4, 0, 2)), np.ones((4, 3, 2)), dim=1)
    assert back.shape == (4, 0, 2)


def test_one_outlier_does_not_decide_the_line():
    x = np.arange(101.0)
    tame = inverse_scores(np.array([4.0]), x)
    x[-1] = 1e6
    wild = inverse_scores(np.array([4.0]), x)
    assert wild - 1e6 < 3 * (tame - 100)


def test_values_far_apart_do_not_overflow():
    x = np.array([-1.7e308, 0.0, 1.7e308])
    y = inverse_scores(np.array([-50.0, -0.5, 0.0, 0.5, 50.0]), x)
    assert np.isfinite(y).all()
    assert (np.diff(y) > 0).all()


def test_a_point_between_two_values_is_between_them(rng):
    start, stop = rng.normal(size=(2, 1000))
    share = 1 - rng.integers(0, 4, 1000) * eps() / 2
    inside = scores.between(start, stop, share)
    assert (inside >= np.minimum(start, stop)).all()
    assert (inside <= np.maximum(start, stop)).all()


def test_values_of_one_score_have_no_slope_between_them():
    values, at = np.array([[0.0], [1.0], [3.0]]), np.array([[0.0], [0.0], [1.0]])
    assert lines.slopes(values, at).tolist() == [2.0]  # the lower of 2 and 3


def test_slopes_of_values_too_far_apart_to_subtract():
    values = np.array([-1.7e308, 1.6e308, 1.7e308])[:, None]
    slope = lines.slopes(values, np.array([0.0, 10.0, 20.0])[:, None])
    np.testing.assert_allclose(slope, 1.7e307, rtol=1e-14)


def test_the_line_of_few_values():
    assert lines.outer(3) == 3
    i, j = lines.pairs(1)
    assert len(i) == len(j) == 0
    x = np.array([1.0, 2.0])
    step = normal_scores(x)[1]
    np.testing.assert_allclose(inverse_scores(np.array([3 * step]), x), [3.0], rtol=1e-14)


# Laws

VALUES = st.floats(-4, 4, width=32) | st.sampled_from([0.0, 1.0])
COLUMNS = arrays.arrays(np.float64, st.integers(1, 40), elements=VALUES)
LAWS = st.sampled_from(["normal", "uniform", stats.cauchy(), stats.gamma(0.5)])


@given(COLUMNS, LAWS, st.randoms())
def test_scores_follow_their_values(x, law, random):
    order = list(range(len(x)))
    random.shuffle(order)
    np.testing.assert_array_equal(normal_scores(x[order], law), normal_scores(x, law)[order])


@given(COLUMNS, LAWS, st.sampled_from([None, 0.5, 20.0]))
def test_scores_keep_the_order(x, law, strength):
    y = normal_scores(x, law, strength=strength)
    assert np.isfinite(y).all()
    i = np.argsort(x, kind="stable")
    rises, score = np.diff(x[i]), np.diff(y[i])
    assert (score[rises == 0] == 0).all()
    if strength is None:
        assert (score[rises > 0] > 0).all()
    else:  # two sums of exponentials differ by their error
        assert (score >= -1e-6 * (1 + np.abs(y).max() ** 2)).all()


@given(COLUMNS, st.sampled_from([None, 5.0]))
def test_the_tails_are_mirrors(x, strength):
    y = normal_scores(x, strength=strength)
    # Sums from either side are rounded each on its own.
    atol = 0 if strength is None else SCORE_TABLE
    np.testing.assert_allclose(normal_scores(-x, strength=strength), -y, rtol=0, atol=atol)


@given(COLUMNS, LAWS)
def test_scores_depend_on_ranks_alone(x, law):
    np.testing.assert_array_equal(normal_scores(x, law), normal_scores(hard_rank(x), law))
    np.testing.assert_array_equal(normal_scores(x, law), normal_scores(x**3 + 8 * x, law))


@given(COLUMNS, LAWS)
def test_the_way_back(x, law):
    np.testing.assert_array_equal(inverse_scores(normal_scores(x, law), x, law), x)


@given(COLUMNS, LAWS)
def test_the_way_back_is_increasing(x, law):
    y = np.sort(np.concatenate([np.linspace(-30, 30, 41), normal_scores(x, law)]))
    back = inverse_scores(y, x, law)
    assert np.isfinite(back).all()
    assert (np.diff(back) >= -4 * eps() * np.abs(back[1:])).all()


@given(arrays.arrays(np.float64, (7, 3), elements=VALUES), st.integers(0, 2))
def test_columns_do_not_know_of_each_other(x, column):
    y = normal_scores(x)
    x[3, column] = np.nan
    kept = [j for j in range(3) if j != column]
    made = normal_scores(x)
    np.testing.assert_array_equal(made[:, kept], y[:, kept])
    assert np.isnan(made[:, column]).all()


# Errors


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: normal_scores(np.empty((0, 3))), "at least one value, got shape"),
        (lambda: normal_scores(3.0), "at least one value"),
        (lambda: normal_scores(np.zeros((3, 2)), dim=2), "dim must be an axis of x"),
        (lambda: normal_scores(np.zeros(3), "gaussian"), "target must be"),
        (lambda: normal_scores(np.zeros(3), stats.gamma), "target must"),
        (lambda: normal_scores(np.zeros(3), strength=0.0), "strength must be positive"),
        (lambda: normal_scores(np.zeros(3), strength=np.inf), "strength must be positive"),
        (lambda: normal_scores(np.array([1j])), "real numbers"),
        (lambda: inverse_scores(np.zeros(3), np.zeros((3, 1))), r"y must have the shape of x"),
        (lambda: inverse_scores(np.zeros((3, 2)), np.zeros((3, 1))), r"got \(3, 2\)"),
        (lambda: inverse_scores(np.zeros(3), np.zeros(3), outside="keep"), "outside must be"),
        (lambda: inverse_scores(np.zeros(3), torch.zeros(3)), "both be tensors, or arrays"),
    ],
)
def test_what_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_a_fitted_target_must_exist():
    with pytest.raises(InputError, match="column 0 is"):
        normal_scores(np.zeros(3), maxent.fit(np.zeros(10), 4))


def test_roundings_are_far_less_than_a_rank():
    assert lines.roundings(eps(np.float16), 1000) <= 1 / 64
    assert lines.roundings(0.0, 1000) == pytest.approx(4000 * eps())
