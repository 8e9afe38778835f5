"""The compiled kernel against the reference, over the whole suite of cases, and alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from distfit_nn.maxent import Density, fit, hard, numba_kernel, problem, reference, tables
from distfit_nn.maxent.solution import Fits, Problem, residual
from tests import cases
from tests.maxent import oracle
from tests.maxent.quadrature import Quadrature, quadrature
from tests.tolerances import (
    FEW_ROUNDINGS,
    MAXENT_MULTIPLIERS,
    MAXENT_QUADRATURE,
    MAXENT_RESIDUAL,
    distance,
    eps,
)

ORDERS = range(1, 13)
HARD = [name for name in cases.COLUMNS if name not in cases.WELL_CONDITIONED]


def problem_of(
    names: list[str] | tuple[str, ...], order: int, support: cases.Support = 3.0, n: int = 400
) -> Problem:
    """Return the named cases side by side."""
    x = np.stack([cases.column(name, n) for name in names], axis=1)
    given = problem.from_samples(x, order, support, omit=False)
    return given.problem[given.status == 0]


def on_nodes(multipliers: np.ndarray, given: Problem) -> tuple[Quadrature, np.ndarray]:
    """Return a quadrature of one column's density, and the basis on its nodes."""
    order = len(multipliers)
    peak = -np.inf

    def raw(z: np.ndarray) -> np.ndarray:
        return multipliers @ oracle.hermite(z, order)[1:]

    ends = np.array([given.lower[0], given.upper[0]])
    spots = np.array([given.data_lower[0], given.data_upper[0], 0.0])
    grid = np.unique(np.concatenate([ends, spots, np.linspace(*spots[:2], 65)]))
    peak = raw(grid).max()
    found = quadrature(lambda z: raw(z) - peak, order, grid)
    log_p = found.log_p - math.log(found.mass())
    return Quadrature(found.nodes, found.weights, log_p), oracle.hermite(found.nodes, order)[1:]


def hold_together(one: Fits, two: Fits, given: Problem, j: int) -> None:
    """Two optima are as far apart as their decrements say, in the norm of the Hessian.

    With q = log p_1 - log p_2 that norm is the standard deviation of q. It bounds the change of any
    expectation E f by itself times that of f: of a cdf, of h_i, and of the entropy (f = log p).
    """
    multipliers = one.coefficients[:, j]
    rule, h = on_nodes(multipliers, given.column(j))
    noise = 4 * eps() * float(rule.mean(np.abs(multipliers) @ np.abs(h)))
    change = (multipliers - two.coefficients[:, j]) @ h
    apart = math.sqrt(float(rule.mean((change - rule.mean(change)) ** 2)))
    bound = distance(one.decrement[j], two.decrement[j]) + noise
    assert apart <= bound
    assert abs(one.log_normaliser[j] - two.log_normaliser[j] - rule.mean(change)) <= bound
    spread = np.sqrt(rule.mean(h**2))
    assert (np.abs(one.moments[:, j] - two.moments[:, j]) <= bound * np.maximum(1, spread)).all()
    # And each with the independent quadrature.
    error = np.abs(one.moments[:, j] - rule.mean(h))
    assert (error <= (MAXENT_QUADRATURE + noise) * np.maximum(1, rule.mean(np.abs(h)))).all()


def compare(names: list[str] | tuple[str, ...], order: int, support: cases.Support = 3.0) -> int:
    """Hold kernel and reference together; return on how many columns both converge."""
    given = problem_of(names, order, support)
    one, two = numba_kernel.minimise(given), reference.minimise(given)
    good = one.converged & two.converged
    good &= residual(two.moments, given.targets) <= MAXENT_RESIDUAL
    for j in np.flatnonzero(good):
        hold_together(one, two, given, int(j))
    return int(good.sum())


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6, 7, 8, 10, 12])
def test_the_kernel_is_the_reference(order: int) -> None:
    both = compare(cases.WELL_CONDITIONED, order)
    assert both >= (len(cases.WELL_CONDITIONED) if order <= 6 else 1)


@pytest.mark.parametrize("order", [2, 4, 5, 6])
def test_the_kernel_is_the_reference_on_hard_cases(order: int) -> None:
    assert compare(HARD, order) >= 8


@pytest.mark.parametrize("order", range(7, 13))
def test_the_kernel_is_the_hard_solver_at_high_orders(order: int) -> None:
    """Where the reference often gives up: in polynomials orthonormal under p, and double-double."""
    x = np.stack([cases.column(name) for name in cases.WELL_CONDITIONED], axis=1)
    standardised = problem.from_samples(x, order, 3.0, omit=False)
    given = standardised.problem
    one, two = numba_kernel.minimise(given), Fits.empty(*given.targets.shape)
    good = one.converged & (residual(one.moments, given.targets) <= MAXENT_RESIDUAL)
    for j in np.flatnonzero(good):
        attempt = hard.solve(standardised.rule(int(j)), given.column(int(j)))
        assert attempt.epsilon == 0
        two.coefficients[:, j], _, two.log_normaliser[j] = attempt.multipliers()
        two.moments[:, j], two.decrement[j] = attempt.moments, attempt.decrement
        hold_together(one, two, given, int(j))
    assert good.sum() >= 2


@pytest.mark.parametrize("order", [3, 4, 6])
@pytest.mark.parametrize("support", ["data", 1.5, 10.0])
def test_on_other_supports(order: int, support: float | str) -> None:
    assert compare(("uniform", "u_shaped", "lognormal", "t3"), order, support) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("support", ["data", 1.5, 3.0, 10.0])
def test_everywhere(order: int, support: float | str) -> None:
    assert compare(tuple(cases.COLUMNS), order, support) >= (6 if order <= 6 else 0)


@pytest.mark.parametrize("order", ORDERS)
def test_the_kernel_solves_easy_columns(order: int) -> None:
    """What it leaves costs a thousand times more."""
    given = problem_of(("normal", "uniform", "exponential", "lognormal", "t3"), order)
    fits = numba_kernel.minimise(given)
    good = fits.converged & (residual(fits.moments, given.targets) <= MAXENT_RESIDUAL)
    assert good.sum() >= (5 if order <= 7 else 4)
    assert fits.iterations[good].max() <= 40


def test_multipliers_of_well_conditioned_columns_are_the_reference_s() -> None:
    for order in (2, 4, 6):
        given = problem_of(cases.WELL_CONDITIONED, order)
        one, two = numba_kernel.minimise(given), reference.minimise(given)
        np.testing.assert_allclose(
            one.coefficients, two.coefficients, rtol=MAXENT_MULTIPLIERS, atol=MAXENT_MULTIPLIERS
        )


@pytest.mark.parametrize("minimise", [numba_kernel.minimise, reference.minimise])
def test_impossible_targets_do_not_converge_and_end(minimise) -> None:  # type: ignore[no-untyped-def]
    """E z^4 below (E z^2)^2, and numbers that are none."""
    good = problem_of(("normal",), 4)
    for value in (-2.0, np.nan, np.inf, 1e300):
        targets = np.repeat(good.targets, 2, axis=1)
        targets[:, 0] = [0.0, 0.0, 0.0, value]
        ends = [
            np.repeat(getattr(good, name), 2)
            for name in ("lower", "upper", "data_lower", "data_upper")
        ]
        with np.errstate(all="raise"):
            fits = minimise(Problem(targets, *ends))
        np.testing.assert_array_equal(fits.converged, [False, True])
        assert fits.iterations.max() <= reference.MAX_STEPS


@pytest.mark.parametrize("order", [1, 4, 7, 12])
def test_columns_do_not_see_each_other(order: int) -> None:
    """Nor in which batch, chunk or thread they are: not a bit differs."""
    names = ("normal", "post_relu", "bimodal", "cauchy", "u_shaped", "integers", "far_outlier")
    given = problem_of(names, order, n=100)
    many = given[np.arange(2 * numba_kernel.CHUNK + 3) % len(given.lower)]
    together = numba_kernel.minimise(many)
    for j in range(len(given.lower)):
        alone = numba_kernel.minimise(given.column(j))
        for name, value in vars(alone).items():
            if name in ("iterations", "converged") or alone.converged[0]:
                places = getattr(together, name)[..., j :: len(given.lower)]
                np.testing.assert_array_equal(places, np.broadcast_to(value, places.shape))


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).gamma(2.0, size=(50, 2 * numba_kernel.CHUNK + 7))
    given = problem.from_samples(x, 6, 3.0, omit=False).problem
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(numba_kernel, "get_num_threads", lambda threads=threads: threads)
        found.append(numba_kernel.minimise(given))
    for name, value in vars(found[0]).items():
        np.testing.assert_array_equal(value, getattr(found[1], name))


def test_other_memory_layouts_change_nothing() -> None:
    given = problem_of(tuple(cases.COLUMNS), 6)
    whole = numba_kernel.minimise(given)
    turned = Problem(
        np.asfortranarray(given.targets)[:, ::-1],
        *(getattr(given, name)[::-1] for name in ("lower", "upper", "data_lower", "data_upper")),
    )
    np.testing.assert_array_equal(
        numba_kernel.minimise(turned).coefficients[:, ::-1], whole.coefficients
    )


def test_mass_and_moments_by_another_quadrature() -> None:
    for name in cases.WELL_CONDITIONED:
        density = fit(cases.column(name), 8)
        plain = Density(density.solution, np.zeros(1), np.ones(1), single=True)
        ends = np.array([density.solution.lower[0], 0.0, density.solution.upper[0]])
        rule = quadrature(plain.logpdf, 8, ends)
        assert rule.mass() == pytest.approx(1.0, abs=MAXENT_QUADRATURE)
        reached = rule.mean(oracle.hermite(rule.nodes, 8)[1:])
        np.testing.assert_allclose(
            reached, density.solution.moments[:, 0], atol=MAXENT_QUADRATURE
        )


# The rule that is laid for a density


def lay(multipliers: np.ndarray, lower: float, upper: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return nodes, weights and sentinels of the kernel's rule, and log Z by it."""
    order = len(multipliers)
    coefficients = np.append(0.0, multipliers)
    rule, work = numba_kernel.new_rule(order), numba_kernel.new_work(order)
    constants = (
        tables.hermite_in_monomials(order)[:, :, 0].copy(),
        tables.ellipses(order, numba_kernel.NODES, numba_kernel.QUADRATURE),
        np.stack(np.polynomial.legendre.leggauss(numba_kernel.NODES)),
    )
    ends = np.array([lower, upper, lower, upper])
    grid = np.linspace(lower, upper, 2001)
    guess = float((multipliers @ oracle.hermite(grid, order)[1:]).max())
    nodes, guards = numba_kernel._lay(coefficients, guess - 10, np.inf, ends, constants, work, rule)
    _, log_z, _ = numba_kernel._log_z(coefficients, guess, nodes, guards, rule)
    z = rule.h[1]
    return z[:nodes].copy(), rule.weights[:nodes].copy(), z[nodes : nodes + guards].copy(), log_z


SHAPES = {
    "uniform": ([0.0, 0.0], -3.0, 2.0),
    "exponential": ([-5.0], -1.0, 9.0),
    "normal": ([0.0, -math.sqrt(0.5)], -30.0, 40.0),
    "narrow": ([0.0, -1e4], -9.0, 9.0),
    "two bumps": ([0.0, 8.0, 0.0, -4.0], -8.0, 8.0),
    "at the ends": ([0.0, 9.0], -3.0, 3.0),
    "cubic": ([0.3, -1.0, 0.05], -5.0, 9.0),
    "order 12": ([0.1, -1.0] + [0.01] * 9 + [-0.3], -4.0, 4.0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_panels_hold_the_mass(name: str) -> None:
    """Against a quadrature of the tests' own; masses to each moment of twice the order."""
    multipliers, lower, upper = np.array(SHAPES[name][0]), *SHAPES[name][1:]
    order = len(multipliers)
    z, weights, _, log_z = lay(multipliers, lower, upper)
    assert 0 < len(z) <= numba_kernel.NODES * numba_kernel.MAX_PANELS
    ends = np.array([lower, upper])
    given = Problem(np.zeros((order, 1)), *np.array([ends, ends]).reshape(4, 1))
    exact, _ = on_nodes(multipliers, given)
    top = float(multipliers @ oracle.hermite(exact.nodes[:1], order)[1:, 0] - exact.log_p[0])
    assert log_z == pytest.approx(top, rel=FEW_ROUNDINGS, abs=MAXENT_QUADRATURE)
    p = weights * np.exp(multipliers @ oracle.hermite(z, order)[1:] - log_z)
    h, wide = oracle.hermite(z, 2 * order), oracle.hermite(exact.nodes, 2 * order)
    scale = np.maximum(1, exact.mean(np.abs(wide)))
    assert (np.abs(h @ p - exact.mean(wide)) <= MAXENT_QUADRATURE * scale).all()


def test_sentinels_stand_where_panels_were_left_out() -> None:
    z, _, guards, _ = lay(np.array([0.0, -math.sqrt(0.5)]), -30.0, 40.0)
    assert {-30.0, 40.0} <= set(guards)
    assert len(guards) > 2
    assert (guards[(guards > -30) & (guards < 40)] ** 2 / 2 > numba_kernel.DEAD - 8).all()
    assert not ((guards > z.min()) & (guards < z.max())).any()


def test_a_rule_without_room_is_none() -> None:
    """A hundred panels would be needed for waves that high; they are refused."""
    waves = np.zeros(12)
    waves[[9, 11]] = [-3e3, 1e3]
    z, *_ = lay(waves, -8.0, 8.0)
    assert len(z) == 0 or len(z) <= numba_kernel.NODES * numba_kernel.MAX_PANELS
