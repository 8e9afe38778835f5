"""Standardising samples and raw moments, and telling what has no density."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from distfit_nn.errors import InputError
from distfit_nn.maxent import problem
from distfit_nn.maxent.solution import Status
from tests import cases
from tests.maxent import oracle
from tests.tolerances import maxent_moments

OK, DEGENERATE, INVALID = Status.OK, Status.DEGENERATE, Status.INVALID
MILD = ("normal", "uniform", "exponential", "bimodal", "post_relu", "float16", "integers")


def samples(x: np.ndarray, order: int = 6, support: Any = 3.0, omit: bool = False) -> Any:
    return problem.from_samples(x if x.ndim == 2 else x[:, None], order, support, omit)


@pytest.mark.parametrize("name", [*MILD, "tiny", "huge", "offset"])
def test_targets_are_hermite_means_of_standardised_data(name: str) -> None:
    x = cases.column(name)
    out = samples(x)
    loc, scale = np.longdouble(out.loc[0]), np.longdouble(out.scale[0])
    z = ((x.astype(np.longdouble) - loc) / scale).astype(float)
    wanted = oracle.hermite(z, 6)[1:].mean(axis=1)
    np.testing.assert_allclose(
        out.problem.targets[:, 0], wanted, rtol=1e-9, atol=maxent_moments(len(x))
    )
    exact = oracle.standardised(x).astype(float)
    # Only float64 values can be a loc: at 1e8 that is good to 1e-8.
    np.testing.assert_allclose(z, exact, atol=1e-7 if name == "offset" else 1e-12)
    assert out.problem.data_lower[0] == pytest.approx(exact.min(), abs=1e-7)
    assert out.problem.data_upper[0] == pytest.approx(exact.max(), abs=1e-7)


def test_supports() -> None:
    x = np.array([0.0, 1.0, 3.0, 4.0, 2.0])  # mean 2, std sqrt 2
    root = math.sqrt(2)
    for support, lower, upper in (
        ("data", -2.0, 2.0),
        (1.0, -2.0, 2.0),
        (3.0, -6.0, 6.0),
        (np.float32(10.0), -20.0, 20.0),
        (2, -4.0, 4.0),
        ((-1.0, 9.0), -3.0, 7.0),
        ([0, 4], -2.0, 2.0),
        (np.array([0.0, 4.0]), -2.0, 2.0),
    ):
        out = samples(x, 2, support).problem
        assert out.lower[0] == pytest.approx(lower / root)
        assert out.upper[0] == pytest.approx(upper / root)


def test_a_support_beyond_all_mass_is_cut() -> None:
    out = samples(cases.column("normal") * 1e-170, 4, (-1e200, 1e200)).problem
    assert out.lower[0] == -problem.WIDEST
    assert out.upper[0] == problem.WIDEST


@pytest.mark.parametrize(
    ("support", "says"),
    [
        (0.5, "at least 1, got 0.5"),
        (-3.0, "at least 1, got -3.0"),
        (math.nan, "finite and at least 1, got nan"),
        (math.inf, "finite and at least 1, got inf"),
        (10**400, "finite and at least 1"),
        ("dta", "got 'dta'"),
        ("3", "got '3'"),
        (True, "got True"),
        (None, "got None"),
        (3j, "got 3j"),
        ((1, 0), r"a < b, got \(1, 0\)"),
        ((1, 1), r"a < b, got \(1, 1\)"),
        ((-math.inf, 1), "finite with a < b"),
        ((0, math.nan), "finite with a < b"),
        ((0, 1, 2), r"got \(0, 1, 2\)"),
        ((0,), r"got \(0,\)"),
        ((0, "one"), "one"),
        ((0, 10**400), "support must be"),
        (([0, 0], [1, 1]), "support must be"),
    ],
)
def test_bad_support(support: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        problem.check_support(support)


@pytest.mark.parametrize("order", [0, -1, 13, 2.0, "4", None, True, [2]])
def test_bad_order(order: Any) -> None:
    with pytest.raises(InputError, match="whole number from 1 to 12, got"):
        samples(np.arange(5.0), order)


def test_no_rows() -> None:
    with pytest.raises(InputError, match=r"at least one row, got shape \(0, 3\)"):
        samples(np.empty((0, 3)), 2)


@pytest.mark.parametrize("support", [(0.5, 9.0), (-1.0, 3.5)])
def test_a_support_must_hold_the_data(support: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=r"hold the data: they range from 0 to 4, support is"):
        samples(np.arange(5.0), 2, support)


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("value", [0.0, -7.0, 1e300, 1e-300])
def test_constants_are_degenerate(order: int, value: float) -> None:
    out = samples(np.full(9, value), order)
    assert out.status[0] == DEGENERATE
    assert out.loc[0] == pytest.approx(value)
    assert out.scale[0] == 0


ORDERS = tuple(range(1, 13))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("support", [3.0, 1.5, "data", "range", "left"])
def test_few_distinct_values(order: int, support: Any) -> None:
    """A density exists where the values, those at an end counted half, are more than k/2."""
    for atoms in range(2, order // 2 + 3):
        x = cases.distinct(atoms)
        ends = {"range": (0.0, atoms - 1.0), "left": (0.0, atoms + 3.0)}.get(support, support)
        index = atoms - {"data": 1, "range": 1, "left": 0.5}.get(support, 0)
        expected = DEGENERATE if index <= order / 2 else OK
        assert samples(x, order, ends).status[0] == expected, atoms


def test_rounding_of_a_constant_is_no_spread() -> None:
    x = np.array([1.0, 1.0 + 2.0**-52, 1.0, 1.0 - 2.0**-53] * 5)
    assert samples(x, 2).status[0] == DEGENERATE


def test_a_deviation_below_the_least_number_is_none() -> None:
    x = np.zeros(1000)
    x[3] = 5e-324
    assert samples(x, 2).status[0] == DEGENERATE
    assert samples(x, 1, (-1.0, 1.0)).status[0] == OK
    for value in (5e-324, 1e-310):
        assert samples(cases.distinct(4) * value, 4).status[0] == OK


def test_the_largest_numbers() -> None:
    x = np.array([-1.7e308, 1.7e308, 0.0, 1e307])
    for order in (1, 2, 4):
        for support in (3.0, "data", (-1.75e308, 1.75e308)):
            out = samples(x, order, support)
            assert out.status[0] == OK
            assert 0 < out.scale[0] < math.inf
            assert np.all(np.isfinite(out.problem.targets))


def test_what_is_not_finite_is_invalid_or_left_out() -> None:
    x = np.tile(cases.column("normal", 50)[:, None], 4)
    x[3, 1], x[4, 2], x[:, 3] = np.nan, -np.inf, np.nan
    out = samples(x)
    assert list(out.status) == [OK, INVALID, INVALID, INVALID]
    assert list(np.isnan(out.loc)) == [False, True, True, True]
    out = samples(x, omit=True)
    assert list(out.status) == [OK, OK, OK, INVALID]
    for j, row in ((1, 3), (2, 4)):
        alone = samples(np.delete(x[:, j], row))
        np.testing.assert_allclose(
            out.problem.targets[:, j], alone.problem.targets[:, 0], atol=maxent_moments(50)
        )
        assert out.loc[j] == pytest.approx(alone.loc[0])
        assert out.problem.lower[j] == pytest.approx(alone.problem.lower[0])


def test_omitting_does_not_add_distinct_values() -> None:
    x = np.append(cases.distinct(3), [np.nan, np.inf, -np.inf])
    assert samples(x, 6, omit=True).status[0] == DEGENERATE
    assert samples(x, 4, omit=True).status[0] == OK


def test_long_doubles_out_of_range_are_invalid() -> None:
    x = np.array([1, 2, 3, 4], np.longdouble) * (np.finfo(np.longdouble).max / 8)
    expected = INVALID if np.finfo(np.longdouble).max > np.finfo(float).max else OK
    assert samples(x, 2).status[0] == expected


@pytest.mark.parametrize("order", range(1, 9))
@pytest.mark.parametrize("name", MILD)
def test_moments_and_samples_pose_the_same_problem(order: int, name: str) -> None:
    x = cases.column(name)
    ends = (float(x.min() - 0.5), float(x.max() + 1.0))
    raw = oracle.raw_moments(x.astype(np.longdouble), order)[:, None]
    a, b = samples(x, order, ends), problem.from_moments(raw, ends)
    assert b.status[0] == OK
    assert b.loc[0] == pytest.approx(a.loc[0], abs=1e-13)
    assert b.scale[0] == pytest.approx(a.scale[0], rel=1e-12)
    # Raw moments of a range R and mean m carry 1e-16 (|m| + R)^k: some 1e-9 in the worst of these.
    np.testing.assert_allclose(b.problem.targets, a.problem.targets, atol=1e-7)
    np.testing.assert_allclose(b.problem.lower, a.problem.lower, rtol=1e-11)
    np.testing.assert_allclose(b.problem.upper, a.problem.upper, rtol=1e-11)


def atoms(points: np.ndarray, weights: np.ndarray, order: int) -> np.ndarray:
    return np.array([[float((weights * points**i).sum())] for i in range(1, order + 1)])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("support", [(0.0, 1.0), (-3.0, 2.0), (0.0, 40.0)])
def test_moments_of_atoms(order: int, support: tuple[float, float], rng: Any) -> None:
    """Up to k/2 atoms inside are DEGENERATE, whatever the rounding; one more is not."""
    for _ in range(30):
        for count in range(1, order // 2 + 1):
            points, weights = rng.random(count), rng.dirichlet(np.ones(count))
            raw = atoms(points, weights, order)
            assert problem.from_moments(raw, support).status[0] == DEGENERATE, (points, weights)
    spread = np.linspace(0.1, 0.9, order // 2 + 1)
    raw = atoms(spread, np.full(len(spread), 1 / len(spread)), order)
    assert problem.from_moments(raw, support).status[0] == OK


@pytest.mark.parametrize(
    "raw",
    [
        [0.5, 0.2],  # variance below 0
        [0.5, 0.6],  # beyond what values within (0, 1) can have
        [1.5, 2.3],  # mean outside
        [-0.1, 0.1],
        [0.5, 0.3, 0.2, 0.1],  # kurtosis below 1 + skewness^2
        [math.nan, 0.3],
        [0.5, math.inf],
        [1e300, 1e300],
        [0.5, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 0.3],
        [1.2],
        [-0.2],
        [0.5, 0.3, 0.29],  # E x^2 (1 - x) too small
        [0.5, 0.3, 0.1],
        [0.5, 1 / 3, 1 / 4, 1 / 5, 0.1],
    ],
)
def test_impossible_moments_are_invalid(raw: list[float]) -> None:
    out = problem.from_moments(np.array(raw)[:, None], (0.0, 1.0))
    assert out.status[0] == INVALID
    assert np.isnan(out.loc[0])


def test_moments_on_the_edge_of_the_support_are_degenerate() -> None:
    coin = np.full((4, 1), 0.5)  # 0 or 1
    assert problem.from_moments(coin, (0.0, 1.0)).status[0] == DEGENERATE
    assert problem.from_moments(coin[:2], (0.0, 1.0)).status[0] == DEGENERATE
    assert problem.from_moments(coin[:2], (-0.1, 1.1)).status[0] == OK


def test_extreme_supports_of_moments_do_not_overflow() -> None:
    for half in (1e-300, 1e-150, 1e150, 1.7e308):
        out = problem.from_moments(np.array([[0.0], [half * half / 3]]), (-half, half))
        exists = 0 < half * half < math.inf
        assert (out.status[0] == OK) == exists


# Order 1


@pytest.mark.parametrize("x", [np.full(9, 2.0), np.array([1.0, 2.0, 3.0])])
@pytest.mark.parametrize("ends", [(0.0, 4.0), (0.0, 1e6), (-1e30, 3.0), (0.0, 1e300)])
def test_one_moment_has_a_scale_from_the_support(x: np.ndarray, ends: tuple[float, float]) -> None:
    """The truncated exponential does not see the spread of the data, which may be 0."""
    out = samples(x, 1, ends)
    alike = problem.from_moments(np.array([[2.0]]), ends)
    for one in (out, alike):
        assert one.status[0] == OK
        assert one.loc[0] == pytest.approx(2.0)
        assert one.problem.targets[0, 0] == 0
    assert out.scale[0] == pytest.approx(alike.scale[0])
    nearer = min(2.0 - ends[0], ends[1] - 2.0)
    # sqrt 12 for the uniform, as far as an exponential's standard deviation near one end.
    assert 0.57 <= out.scale[0] / nearer <= 1.16
    assert 0.8 <= min(-out.problem.lower[0], out.problem.upper[0]) <= math.sqrt(3.0) + 1e-9


def test_one_moment_of_the_middle_is_a_uniform() -> None:
    assert samples(np.array([0.5, 0.5]), 1, (0.0, 1.0)).scale[0] == pytest.approx(1 / math.sqrt(12))


def test_one_moment_at_an_end_is_degenerate() -> None:
    assert samples(np.zeros(5), 1, (0.0, 1.0)).status[0] == DEGENERATE
    assert samples(np.zeros(5), 1, 3.0).status[0] == DEGENERATE
    assert problem.from_moments(np.zeros((1, 1)), (0.0, 1.0)).status[0] == DEGENERATE
    assert samples(np.array([0.0, 1.0]), 1, "data").status[0] == OK


# Weights and rules


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (np.ones(4), r"shape \(5,\) or \(5, 2\), as x has, got \(4,\)"),
        (np.ones((5, 3)), r"got \(5, 3\)"),
        ([1, 1, -2, 1, 1], "not negative, got -2.0"),
        ([1, 1, math.nan, 1, 1], "finite and not negative, got nan"),
        ([1, 1, math.inf, 1, 1], "got inf"),
        (np.zeros(5), "not all be zero"),
        ([1j] * 5, "real numbers"),
        (["a"] * 5, "real numbers"),
    ],
)
def test_bad_weights(weights: Any, says: str) -> None:
    with pytest.raises(InputError, match=f"weights must.* {says}"):
        problem.from_samples(np.arange(10.0).reshape(5, 2), 2, 3.0, False, weights)


def test_weights_and_zero_weights_in_a_problem() -> None:
    x = np.array([[0.0, 1.0, 3.0, 9.0]]).T
    out = problem.from_samples(x, 2, (0.0, 5.0), False, [1, 2, 1, 0])  # 9 is not there
    alike = samples(np.array([0.0, 1.0, 1.0, 3.0]), 2, (0.0, 5.0))
    assert out.status[0] == OK
    assert out.loc[0] == pytest.approx(alike.loc[0])
    assert out.scale[0] == pytest.approx(alike.scale[0])
    assert out.problem.data_upper[0] == pytest.approx(alike.problem.data_upper[0])
    assert problem.from_samples(x, 4, 3.0, False, [1, 2, 0, 0]).status[0] == DEGENERATE
    each = np.array([[1.0, 1, 1, 1], [0, 0, 0, 0]]).T
    both = problem.from_samples(np.hstack([x, x]), 2, 3.0, False, each)
    assert list(both.status) == [OK, INVALID]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["normal", "exponential", "outlier", "offset", "tiny", "huge"])
def test_rules_have_the_targets_as_moments(name: str, order: int) -> None:
    x = np.stack([cases.column("uniform"), cases.column(name)], axis=1)
    x[7, 1] = np.nan
    out = samples(x, order, 3.0, omit=True)
    nodes, masses = out.rule(1)
    assert len(nodes) == order // 2 + 1
    got = oracle.hermite(nodes, order)[1:] @ masses
    wanted = out.problem.targets[:, 1]
    size = 1 + np.abs(oracle.hermite(np.abs(nodes), order)[1:]) @ masses
    assert np.all(np.abs(got - wanted) <= 1e-12 * size)
    assert out.problem.data_lower[1] <= nodes[0]
    assert nodes[-1] <= out.problem.data_upper[1]


@pytest.mark.parametrize("order", ORDERS)
def test_rules_of_given_moments_have_the_targets(order: int) -> None:
    raw = 1 / np.arange(2.0, order + 2)[:, None]  # uniform on [0, 1]
    out = problem.from_moments(raw, (-0.5, 2.0))
    nodes, masses = out.rule(0)
    got = oracle.hermite(nodes, order)[1:] @ masses
    np.testing.assert_allclose(got, out.problem.targets[:, 0], atol=1e-10)
    assert out.problem.lower[0] < nodes[0]
    assert nodes[-1] < out.problem.upper[0]


def test_weighted_rules() -> None:
    x, weights = cases.column("exponential"), np.arange(400.0)
    out = problem.from_samples(x[:, None], 4, 3.0, False, weights)
    nodes, masses = out.rule(0)
    got = oracle.hermite(nodes, 4)[1:] @ masses
    np.testing.assert_allclose(got, out.problem.targets[:, 0], atol=1e-12)
