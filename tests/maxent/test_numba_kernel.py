"""The compiled kernel against the reference, over the whole suite of cases, and alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from distfit_nn.maxent import Density, fit, hard, numba_kernel, problem, reference
from distfit_nn.maxent.solution import Fits, Problem, residual
from tests import cases
from tests.maxent import oracle
from tests.maxent.quadrature import of_multipliers, quadrature
from tests.tolerances import (
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


def hold_together(one: Fits, two: Fits, given: Problem, j: int) -> None:
    """Two optima are as far apart as their decrements say, in the norm of the Hessian.

    With q = log p_1 - log p_2 that norm is the standard deviation of q. It bounds the change of any
    expectation E f by itself times that of f: of a cdf, of h_i, and of the entropy (f = log p).
    """
    multipliers = one.coefficients[:, j]
    ends = np.array([given.lower[j], given.upper[j]])
    data = np.linspace(given.data_lower[j], given.data_upper[j], 65)
    rule, h = of_multipliers(multipliers, np.concatenate([ends, data]))
    # Rounding of log p at a node, by its terms and by that of z.
    lower = np.abs(np.vstack([np.ones_like(rule.nodes), h[:-1]]) * rule.nodes)
    steep = np.abs(multipliers * np.sqrt(np.arange(1, len(h) + 1))) @ lower
    noise = (4 + 2 * len(h)) * eps() * (np.abs(multipliers) @ np.abs(h) + steep)
    change = (multipliers - two.coefficients[:, j]) @ h
    apart = math.sqrt(float(rule.mean((change - rule.mean(change)) ** 2)))
    bound = distance(one.decrement[j], two.decrement[j]) + math.sqrt(rule.mean(noise**2))
    assert apart <= bound
    assert abs(one.log_normaliser[j] - two.log_normaliser[j] - rule.mean(change)) <= bound
    spread = np.sqrt(rule.mean(h**2))
    assert (np.abs(one.moments[:, j] - two.moments[:, j]) <= bound * np.maximum(1, spread)).all()
    # And each with the independent quadrature.
    scale = np.maximum(1, rule.mean(np.abs(h)))
    rough = rule.mean(np.abs(h) * noise) + scale * rule.mean(noise)
    error = np.abs(one.moments[:, j] - rule.mean(h))
    assert (error <= MAXENT_QUADRATURE * scale + rough).all()


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
    assert fits.iterations[good].max() <= numba_kernel.MAX_STEPS // 2


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
        monkeypatch.setattr(numba_kernel, "threads", lambda threads=threads: threads)
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
        np.testing.assert_allclose(reached, density.solution.moments[:, 0], atol=MAXENT_QUADRATURE)
