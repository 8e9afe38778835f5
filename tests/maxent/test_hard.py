"""The hard solver alone: against 40 digits, its multipliers, and the path that it follows."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest

from distfit_nn.maxent import hard, hard_grid, hard_kernel, problem, tables
from distfit_nn.maxent.gauss_rule import Rule
from distfit_nn.maxent.solution import Problem
from tests import cases
from tests.maxent import oracle
from tests.maxent.handmade import Exact, from_powers
from tests.maxent.stubs import only_regularised
from tests.tolerances import HARD, MAXENT_RESIDUAL


def given(x: np.ndarray, order: int, support: cases.Support = 3.0) -> tuple[Rule, Problem]:
    standardised = problem.from_samples(x[:, None], order, support, omit=False)
    return standardised.rule(0), standardised.problem


def spots(rule: Rule, ends: Problem) -> list[float]:
    """Where spikes may be: about the points of the rule, and at the ends, at all scales."""
    steps = [10.0**-i for i in range(13)]
    places = [*rule[0], ends.lower[0], ends.upper[0]]
    return [float(p) + sign * s for p in places for s in (0.0, *steps) for sign in (-1, 1)]


def exact_of(attempt: hard.Attempt, rule: Rule, ends: Problem) -> Exact:
    """The density of the attempt's multipliers, high and low parts, in 40 digits."""
    high, low, _ = attempt.multipliers()
    with mp.workdps(40):
        whole = [mp.mpf(float(a)) + mp.mpf(float(b)) for a, b in zip(high, low, strict=True)]
    return Exact(whole, float(ends.lower[0]), float(ends.upper[0]), spots(rule, ends))


SPIKES: list[tuple[str, int, cases.Support]] = [
    ("far_outlier", 4, 3.0),
    ("far_outlier", 6, 3.0),
    ("near_boundary", 8, 3.0),
    ("spike_and_slab", 8, 3.0),
    ("outlier", 6, 3.0),
    ("cauchy", 6, 3.0),
    ("post_relu", 7, 3.0),
    ("u_shaped", 10, "data"),
    ("normal", 1, 3.0),
]


@pytest.mark.parametrize(("name", "order", "support"), SPIKES)
def test_multipliers_reproduce_the_moments(name: str, order: int, support: cases.Support) -> None:
    """E h_i in 40 digits from the multipliers in double-double; log Z with them."""
    rule, ends = given(cases.column(name, 60), order, support)
    attempt = hard.solve(rule, ends)
    assert attempt.epsilon == 0
    exact = exact_of(attempt, rule, ends)
    reached = [float(exact.mean(lambda z, i=i: z**i)) for i in range(1, order + 1)]
    wanted = (rule[0] ** np.arange(1, order + 1)[:, None]) @ rule[1]
    off = np.abs(np.array(reached) - wanted) / np.maximum(1, np.abs(wanted))
    assert off.max() <= MAXENT_RESIDUAL
    assert attempt.residual == pytest.approx(off.max(), abs=HARD)
    _, _, log_z = attempt.multipliers()
    size = float(max(abs(v) for v in exact.multipliers))
    assert log_z == pytest.approx(float(exact.log_z), rel=HARD, abs=HARD + 1e-15 * size)
    h = oracle.hermite(np.array([float(z) for z in rule[0]]), order)
    assert attempt.moments == pytest.approx(
        np.array(h[1:] @ rule[1]), rel=10 * MAXENT_RESIDUAL, abs=10 * MAXENT_RESIDUAL
    )


def test_it_solves_what_the_kernel_solves() -> None:
    """On the normal distribution, cut: multipliers in closed form."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    rule = (nodes, weights / weights.sum())
    ends = Problem(np.zeros((6, 1)), *np.array([[-40.0], [40.0], [-3.0], [3.0]]))
    attempt = hard.solve(rule, ends)
    high, low, log_z = attempt.multipliers()
    np.testing.assert_allclose(high + low, [0, -math.sqrt(0.5), 0, 0, 0, 0], atol=HARD)
    # h_2 = (z^2 - 1) / sqrt(2).
    assert log_z == pytest.approx(math.log(2 * math.pi) / 2 + 0.5, abs=HARD)
    assert attempt.decrement < hard_kernel.DECREMENT_TOLERANCE


def test_newton_converges_quadratically_from_the_bumps() -> None:
    rule, ends = given(cases.column("bimodal", 60), 6)
    column = hard._Column(ends)
    steps = [column.newton(start, rule).iterations for start in column.starts(rule)]
    assert min(steps) <= 25


def test_starts_come_with_the_lowest_dual_first() -> None:
    rule, ends = given(cases.column("near_boundary", 60), 6)
    column = hard._Column(ends)
    grid = hard_grid.new_grid(7)
    pair = np.array([ends.lower[0], ends.upper[0]])
    values = [
        hard_kernel.dual(series, *rule, pair, tables.constants(6), grid)
        for series in column.starts(rule)
    ]
    assert len(values) >= 2
    assert values == sorted(values)
    # The dual by the quadrature of another's: log Z - E log p.
    for series, value in zip(column.starts(rule), values, strict=True):
        if np.abs(series).max() > 1e6:
            continue
        with mp.workdps(40):
            powers = [mp.mpf(float(a)) + mp.mpf(float(b)) for a, b in series]
        exact = from_powers(powers, *(float(end) for end in pair), *spots(rule, ends))
        mean = mp.fsum(w * (exact.u(z) + exact.log_z) for z, w in zip(*rule, strict=True))
        assert value == pytest.approx(float(exact.log_z - mean), rel=HARD, abs=HARD)


def test_no_path_ends_with_the_uniform_density(monkeypatch: pytest.MonkeyPatch) -> None:
    rule, ends = given(cases.column("exponential", 60), 4)
    only_regularised(monkeypatch, least=2.0)
    attempt = hard.solve(rule, ends)
    assert attempt.epsilon == 1.0
    high, low, log_z = attempt.multipliers()
    np.testing.assert_allclose(high + low, 0.0, atol=HARD)
    assert log_z == pytest.approx(math.log(ends.upper[0] - ends.lower[0]), abs=HARD)


@pytest.mark.parametrize("least", [0.3, 1e-2, 1e-6])
@pytest.mark.parametrize("order", [3, 4, 6])
def test_the_path_comes_as_near_as_it_can(
    monkeypatch: pytest.MonkeyPatch, order: int, least: float
) -> None:
    """Moments (1 - epsilon) mu + epsilon nu, nu of the uniform on the range of the data."""
    rule, ends = given(cases.column("exponential", 60), order)
    tried = only_regularised(monkeypatch, least)
    attempt = hard.solve(rule, ends)
    assert least <= attempt.epsilon <= max(1.1 * least, 1.0 if least > 0.1 else 0.0)
    assert len(tried) > 1
    assert attempt.iterations <= 2 * hard.MOST_STEPS
    low, high = ends.data_lower[0], ends.data_upper[0]
    nodes, weights = np.polynomial.legendre.leggauss(12)
    uniform = oracle.hermite((low + high) / 2 + (high - low) / 2 * nodes, order)[1:] @ weights / 2
    wanted = ends.targets[:, 0] + attempt.epsilon * (uniform - ends.targets[:, 0])
    exact = exact_of(attempt, rule, ends)
    powers = [float(exact.mean(lambda z, i=i: z**i)) for i in range(order + 1)]
    for i in range(1, order + 1):
        c = np.polynomial.hermite_e.herme2poly([0] * i + [1]) / math.sqrt(math.factorial(i))
        bound = 10 * MAXENT_RESIDUAL * max(1.0, float(np.abs(c) @ np.abs(powers[: i + 1])))
        assert float(c @ powers[: i + 1]) == pytest.approx(wanted[i - 1], abs=bound)


@pytest.mark.parametrize("lower", [-46.12345678901234, -31.7, 29.3])
def test_panels_meet_where_the_middle_is_rounded(lower: float) -> None:
    """A decay of 1e8 a unit: half a unit in the last place of z is 1e-7 of the mass."""
    upper = lower + 50.3
    series = np.zeros((2, 2))
    with mp.workdps(40):  # log p is 0 at the lower end
        constant = mp.mpf(1e8) * mp.mpf(lower)
        series[0] = float(constant), float(constant - mp.mpf(float(constant)))
    series[1, 0] = -1e8
    grid, constants = hard_grid.new_grid(2), tables.constants(1)
    ends = np.array([lower, upper])
    panels, nodes, log_z = hard_grid.spread_mass(series, -np.inf, ends[:1], ends, constants, grid)
    assert panels > 0
    assert log_z == pytest.approx(-math.log(1e8), abs=HARD)
    assert (grid.nodes[:nodes] - lower) @ grid.p[:nodes] == pytest.approx(1e-8, rel=1e-6)
    found, change = hard_grid.check(series, panels, constants, grid, np.empty(2))
    assert found == pytest.approx(-math.log(1e8), abs=HARD)
    assert change < HARD
