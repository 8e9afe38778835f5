"""Health of units: tails, ties, grids and verdicts, against slow oracles and exact laws."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from distfit_nn.errors import InputError
from distfit_nn.stats.distinct import distinct_values
from distfit_nn.stats.health import Health, health, health_of_parts, parts_of_rows
from distfit_nn.stats.moments import moments
from distfit_nn.stats.rows import sorted_rows
from distfit_nn.stats.tail_index import tail_index
from tests import tolerances

Array = np.ndarray
INF, NAN = math.inf, math.nan


def slow_hill(x: Array) -> tuple[list[float], float]:
    """Hill's index of the lower and the upper side, and of both, read off their definition."""
    centre, total, used, sides = np.median(x), 0.0, 0, []
    for side in (centre - x[x < centre], x[x > centre] - centre):
        distances = np.sort(side)[::-1]
        k = max(math.ceil(0.05 * len(distances)), 10)
        logs = np.log(distances[:k] / distances[k])
        sides.append(1 / logs.mean())
        total, used = total + logs.sum(), used + k
    return sides, used / total


@pytest.mark.parametrize("n", [90, 1001, 5000])
def test_hill_is_its_definition(rng: np.random.Generator, n: int) -> None:
    x = np.stack([rng.normal(size=n), rng.lognormal(size=n), rng.standard_cauchy(n)], axis=1)
    found = tail_index(x)
    for j in range(3):
        (lower, upper), both = slow_hill(x[:, j])
        for got, wanted in ((found.lower, lower), (found.upper, upper), (found.both, both)):
            assert got[j] == pytest.approx(wanted, rel=tolerances.HILL)
    np.testing.assert_array_equal(found.n, n)
    k = math.ceil(0.05 * (n // 2)) if n > 400 else 10
    np.testing.assert_array_equal(found.k_upper, k)
    np.testing.assert_allclose(found.upper_error, found.upper / np.sqrt(k), rtol=tolerances.HILL)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.5])
def test_hill_finds_the_index_of_pareto(rng: np.random.Generator, alpha: float) -> None:
    """Of a symmetric Pareto law the median is 0 up to a gap of 2, and log excesses exponential."""
    x = rng.choice([-1.0, 1.0], 40_000) * (1 + rng.pareto(alpha, 40_000))
    found = tail_index(x)
    limit = np.quantile(np.abs(x), 0.95)
    bias = alpha / limit  # |median| <= 1 shifts log(d) by at most 1 / limit
    for index, error in (
        (found.lower, found.lower_error),
        (found.upper, found.upper_error),
        (found.both, found.both_error),
    ):
        assert abs(index - alpha) < tolerances.STANDARD_ERRORS * error + bias
    assert bool(found.heavy)


def test_an_exponential_tail_has_the_index_that_is_expected_of_it(rng: np.random.Generator) -> None:
    x = rng.laplace(size=(5000, 200))
    found = tail_index(x)
    log_excess = (1 / found.upper).mean()
    expected = stats.expon.expect(lambda t: np.log1p(t / math.log(20)))
    error = (1 / found.upper).std() / math.sqrt(200)
    assert abs(log_excess - expected) < tolerances.STANDARD_ERRORS * error
    assert found.exponential_upper[0] == pytest.approx(1 / expected, rel=tolerances.QUADRATURE)


LAWS = {
    "normal": lambda rng, size: rng.normal(size=size),
    "uniform": lambda rng, size: rng.random(size),
    "logistic": lambda rng, size: rng.logistic(size=size),
    "laplace": lambda rng, size: rng.laplace(size=size),
    "exponential": lambda rng, size: rng.exponential(size=size),
}


@pytest.mark.parametrize("n", [80, 200, 1000, 5000])
@pytest.mark.parametrize("law", LAWS)
def test_few_light_tails_are_called_heavy_at_any_n(
    rng: np.random.Generator, law: str, n: int
) -> None:
    share = tail_index(LAWS[law](rng, (n, 500))).heavy.mean()
    assert share <= 0.002 + tolerances.STANDARD_ERRORS * math.sqrt(0.002 / 500)


def test_heavy_tails_are_called_heavy(rng: np.random.Generator) -> None:
    assert tail_index(rng.standard_t(3, (5000, 100))).heavy.mean() > 0.9
    assert tail_index(rng.standard_cauchy((500, 100))).heavy.mean() > 0.9
    assert tail_index(rng.lognormal(0, 1.5, (5000, 100))).heavy.all()


@given(
    seed=st.integers(0, 1000),
    a=st.sampled_from([0.25, 8.0, 3.7, -1.0, -(2.0**40)]),
    b=st.sampled_from([0.0, 3.0]),
)
@settings(max_examples=30)
def test_tails_shift_scale_reflect_and_permute(seed: int, a: float, b: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_t(3, 300)
    one, other = tail_index(x), tail_index(a * (rng.permutation(x) + b))
    sides = (other.lower, other.upper) if a > 0 else (other.upper, other.lower)
    for got, wanted in zip(sides, (one.lower, one.upper), strict=True):
        assert got == pytest.approx(wanted, rel=tolerances.HILL)
    assert other.both == pytest.approx(one.both, rel=tolerances.HILL)
    assert other.heavy == one.heavy


def slow_distinct(x: Array) -> tuple[int, float, float]:
    c = np.unique(x, return_counts=True)[1]
    n = len(x)
    simpson = n * (n - 1) / (c * (c - 1)).sum()
    return len(c), math.exp(stats.entropy(c) + (len(c) - 1) / (2 * n)), simpson


def test_distinct_values_against_unique(rng: np.random.Generator) -> None:
    x = np.stack([rng.poisson(3, 500), rng.integers(0, 40, 500)], axis=1)
    found = distinct_values(x)
    for j in range(2):
        count, entropy, simpson = slow_distinct(x[:, j])
        assert found.distinct[j] == count
        assert found.entropy[j] == pytest.approx(entropy, rel=tolerances.sum_error(500))
        assert found.simpson[j] == pytest.approx(simpson, rel=tolerances.sum_error(500))


def test_effective_numbers_of_equally_likely_values(rng: np.random.Generator) -> None:
    """The chance of a tie is unbiased; Miller and Madow take most of the bias of the entropy."""
    found = distinct_values(rng.integers(0, 32, (400, 500)))
    chance = 1 / found.simpson
    error = chance.std() / math.sqrt(500)
    assert abs(chance.mean() - 1 / 32) < tolerances.STANDARD_ERRORS * error
    assert found.entropy.mean() == pytest.approx(32, rel=0.005)
    np.testing.assert_array_equal(found.step, 1.0)


def test_few_values_on_no_grid_have_no_step(rng: np.random.Generator) -> None:
    """Euclid's algorithm alone finds a common step of a third of these columns."""
    assert np.all(np.isnan(distinct_values(rng.normal(size=(20, 300))).step))


@pytest.mark.parametrize("step", [1.0, 0.0371, 3e-5, 7e10])
@pytest.mark.parametrize("offset", [0.0, 17.3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_step_of_a_grid_is_found(
    rng: np.random.Generator, step: float, offset: float, dtype: type
) -> None:
    """Also where no two neighbouring levels occur: 6, 10 and 15 have no common factor."""
    for levels in (rng.integers(-128, 128, 300), np.array([0, 6, 16, 31] * 5)):
        x = (step * (levels + offset)).astype(dtype)
        error = 4 * 300 * tolerances.eps(np.float32) / 31
        assert distinct_values(x).step == pytest.approx(step, rel=error)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_is_no_grid(rng: np.random.Generator, dtype: type) -> None:
    x = rng.normal(size=(2000, 50)).astype(dtype)
    assert np.isnan(distinct_values(x).step).all()
    assert np.isnan(distinct_values(np.maximum(x, 0)).step).all()
    offset = x.astype(np.float32) + np.float32(1e4)  # 8,000 levels of float32 itself
    assert np.isnan(distinct_values(offset).step).all()


def slope(name: str, x: Array) -> Array:
    t = torch.tensor(x, requires_grad=True)
    function = getattr(torch.nn.functional, name, None) or getattr(torch, name)
    function(t).sum().backward()
    assert t.grad is not None
    return t.grad.numpy()


@pytest.mark.parametrize(
    "name", ["tanh", "sigmoid", "softsign", "hardtanh", "hardsigmoid", "relu6"]
)
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_flat_parts_are_where_the_slope_is_small(
    rng: np.random.Generator, name: str, share: float
) -> None:
    x = 4 * rng.normal(size=(3000, 3))
    flat = slope(name, x) <= share * slope(name, np.linspace(-1, 1, 201)[1:-1]).max()
    if name == "relu6":
        flat &= x > 0
    found = health(x, activation=name, flat_slope=share)
    np.testing.assert_array_equal(found.flat_share, flat.mean(axis=0))
    np.testing.assert_array_equal(found.saturated, flat.mean(axis=0) > 0.5)
    assert np.isnan(health(x, activation=name, site="post_activation").flat_share).all()
    assert np.isnan(health(x, activation="gelu").flat_share).all()


def test_piles_at_the_ends_are_saturated_but_zeros_are_not(rng: np.random.Generator) -> None:
    z = 3 * rng.normal(size=1000)
    columns = {
        "clipped": (np.clip(z, -1, 1), True),
        "tanh in float16": (np.tanh(6 * z).astype(np.float16), True),
        "clipped a little": (np.clip(z, -5, 5), False),
        "after a ReLU": (np.maximum(z - 2, 0), False),
        "after a ReLU6": (np.clip(5 * z, 0, 6), False),
        "mostly at 6": (np.clip(z + 8, 0, 6), True),
        "constant": (np.full(1000, 6.0), False),
        "mostly ones": (z > -1, False),
        "mostly minus ones": (np.where(z > 2, 1, -1), False),
        "mostly the last of six classes": (np.clip(np.round(z + 6), 1, 6), False),
        "mostly the last of eight levels": (np.clip(np.round(z + 8), 1, 8), True),
    }
    x = np.stack([column for column, _ in columns.values()], axis=1)
    found = health(x)
    assert found.saturated.tolist() == [verdict for _, verdict in columns.values()]
    np.testing.assert_array_equal(found.high_share, (x == x.max(axis=0)).mean(axis=0))
    np.testing.assert_array_equal(found.low_share, (x == x.min(axis=0)).mean(axis=0))
    assert health(x, saturated_share=0.01).saturated.tolist()[2]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_tail_index_is_that_of_the_heavier_side(rng: np.random.Generator, sign: int) -> None:
    """Pareto's law ends abruptly below: what that side says of a tail must not be mixed in."""
    x = sign * rng.pareto(2.0, (20_000, 3))
    found, tails = health(x), tail_index(x)
    heavy, error = (
        (tails.upper, tails.upper_error) if sign > 0 else (tails.lower, tails.lower_error)
    )
    np.testing.assert_array_equal(found.tail_index, heavy)
    np.testing.assert_array_equal(found.tail_error, error)
    # 1 / alpha is the integral of (u / t)^2 / (t - m) from u on: m the median, u the tail's start.
    u, m = 40**0.5, 2**0.5
    alpha = 1 / (-(u**2) / m * (1 / u + np.log(1 - m / u) / m))
    assert np.abs(heavy / alpha - 1).max() < 4 / np.sqrt(tails.k_upper.min())


def test_dead_units(rng: np.random.Generator) -> None:
    x = np.stack([rng.normal(size=50), -rng.random(50), np.full(50, 2.0), np.zeros(50)], axis=1)
    assert health(x).dead.tolist() == [False, False, True, True]
    assert health(x).constant.tolist() == [False, False, True, True]
    for site in (None, "pre_activation", "norm_output"):
        found = health(x, activation="relu", site=site)
        assert found.dead.tolist() == [False, True, True, True]
    assert health(x, activation="relu", site="elsewhere").dead.tolist()[1] is False
    assert health(x, activation="tanh").dead.tolist()[1] is False


def test_outlier_channels(rng: np.random.Generator) -> None:
    x = rng.uniform(-1, 1, (1000, 9))
    x[0], x[:, 8] = 1.0, 0.0
    x[3, 4], x[3, 5] = -7.0, 5.0
    found = health(x)
    np.testing.assert_array_equal(found.outlier_ratio, [1, 1, 1, 1, 7, 5, 1, 1, 0])
    np.testing.assert_array_equal(np.flatnonzero(found.outlier), [4])
    np.testing.assert_array_equal(np.flatnonzero(health(x, outlier_ratio=4.0).outlier), [4, 5])
    assert health(x[:, 4]).outlier_ratio == 1  # a channel alone
    x[:, :4] = 0.0  # channels that give nothing but 0 are not what is usual
    np.testing.assert_array_equal(
        health(x).outlier_ratio, [0, 0, 0, 0, 7 / 3, 5 / 3, *[1 / 3] * 2, 0]
    )


def test_shares_of_what_is_not_a_number() -> None:
    x = np.array([0.0, 0.0, 1.0, NAN, INF, -INF, NAN, 2.0])
    found = health(x)
    assert (found.n, found.zero_share, found.nan_share, found.inf_share) == (4, 0.5, 0.25, 0.25)


def test_an_l_kurtosis_of_a_light_tail_is_a_veto(rng: np.random.Generator) -> None:
    x = rng.standard_cauchy((2000, 2))
    assert health(x).heavy_tailed.all()
    assert health(x, l_kurtosis=[0.1, 0.4]).heavy_tailed.tolist() == [False, True]
    with pytest.raises(InputError, match=r"one value for each unit, shape \(2,\), got \(3,\)"):
        health(x, l_kurtosis=[0.1] * 3)


def equal(one: Health, other: Health) -> None:
    for name, got, wanted in zip(Health._fields, one, other, strict=True):
        np.testing.assert_array_equal(got, wanted, err_msg=name)


@pytest.mark.parametrize("activation", [None, "tanh", "relu"])
def test_health_of_moments_and_rows(rng: np.random.Generator, activation: str | None) -> None:
    x = rng.standard_t(3, (500, 7))
    x[::3, 2], x[:, 3] = NAN, 1.0
    rows = sorted_rows(x)
    before = rows.values.copy()
    parts = parts_of_rows(rows, activation=activation)
    got = health_of_parts(moments(x), parts, activation=activation)
    equal(got, health(x, activation=activation))
    np.testing.assert_array_equal(rows.values, before)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int16, np.bool_])
def test_any_dtype_and_axis(rng: np.random.Generator, dtype: type) -> None:
    x = (3 * rng.normal(size=(20, 4, 30))).astype(dtype)
    wanted = health(x.transpose(0, 2, 1).reshape(600, 4).astype(float), activation="tanh")
    equal(health(x, axis=(0, 2), activation="tanh"), wanted)
    equal(health(np.asfortranarray(x), axis=(2, 0), activation="tanh"), wanted)
    equal(health(torch.tensor(x), axis=(0, 2), activation="tanh"), wanted)
    assert health(x, axis=None).n == 2400


@given(seed=st.integers(0, 1000), power=st.integers(-30, 30), sign=st.sampled_from([-1, 1]))
@settings(max_examples=30)
def test_health_permutes_and_scales(seed: int, power: int, sign: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.stack([rng.standard_t(2, 200), np.round(rng.normal(size=200), 1)], axis=1)
    one, other = health(x), health(sign * 2.0**power * rng.permutation(x))
    low, high = (other.low_share, other.high_share)[::sign]
    other = other._replace(
        low_share=low,
        high_share=high,
        max_abs=other.max_abs / 2.0**power,
        grid_step=other.grid_step / 2.0**power,
    )
    for name, got, wanted in zip(Health._fields, other, one, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=tolerances.HILL, err_msg=name)


NORMAL = np.random.default_rng(1).normal(size=20)
BAD: dict[str, tuple[Array, dict[str, float]]] = {
    "none": (np.array([]), {"n": 0, "dead": 0, "distinct": 0, "max_abs": NAN, "zero_share": NAN}),
    "one": (np.array([1.0]), {"n": 1, "dead": 0, "distinct": 1, "effective_simpson": NAN}),
    "two": (np.array([1.0, 2.0]), {"n": 2, "grid_step": 1, "effective_entropy": INF}),
    "equal": (np.full(50, 3.0), {"dead": 1, "saturated": 0, "effective_entropy": 1}),
    "zeros": (np.zeros(50), {"dead": 1, "max_abs": 0, "outlier_ratio": NAN, "outlier": 0}),
    "two values": (
        np.repeat([0.0, 1.0], 25),
        {"distinct": 2, "grid_step": 1, "tail_index": NAN, "effective_simpson": 50 * 49 / 1200},
    ),
    "two values, more": (np.repeat([0.0, 1.0], 80), {"tail_index": INF, "heavy_tailed": 0}),
    "nan": (np.full(10, NAN), {"n": 0, "nan_share": 1, "low_share": NAN, "outlier": 0}),
    "inf": (np.array([INF, -INF, *NORMAL]), {"n": 20, "inf_share": 1 / 11, "tail_index": NAN}),
    "ints": (np.arange(100), {"n": 100, "grid_step": 1, "distinct": 100, "zero_share": 0.01}),
    "float16": ((6e4 + 32 * NORMAL).astype(np.float16), {"n": 20, "grid_step": 32}),
    "huge": (1e300 * np.linspace(-1, 1, 100), {"n": 100, "grid_step": 2e300 / 99, "outlier": 0}),
    "largest": (1.7e308 * np.linspace(-1, 1, 100), {"grid_step": NAN, "heavy_tailed": 0}),
}


@pytest.mark.parametrize("case", BAD)
def test_health_bad_input(case: str) -> None:
    x, wanted = BAD[case]
    for call in (health, partial(health, activation="sigmoid"), partial(health, activation="relu")):
        found = call(x)
        assert all(np.shape(value) == () for value in found)
    for name, value in wanted.items():
        got = getattr(health(x), name)
        np.testing.assert_allclose(got, value, rtol=tolerances.HILL, err_msg=name)
    assert tail_index(x).heavy.dtype == np.bool_
    assert distinct_values(x).n == np.isfinite(x).sum()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flat_slope": 0.0}, "flat_slope must be a number above 0 and below 1, got 0.0"),
        ({"saturated_share": 1.0}, "saturated_share must be a number above 0 and below 1"),
        ({"outlier_ratio": -1}, "outlier_ratio must be a number above 0"),
        ({"outlier_ratio": "six"}, "outlier_ratio must be a number above 0"),
        ({"axis": 3}, "axis must name axes of x"),
    ],
)
def test_errors_name_the_rule(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        health(np.zeros((3, 3)), **options)  # type: ignore[arg-type]
