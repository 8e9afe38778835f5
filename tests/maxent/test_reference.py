"""The readable Newton against direct linear algebra, closed forms and 40-digit arithmetic."""

from __future__ import annotations

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
from scipy import optimize, stats

from distfit_nn.maxent import basis, fit, reference
from distfit_nn.maxent.reference import Attempt
from distfit_nn.maxent.solution import Problem, residual
from tests import cases
from tests.maxent import oracle
from tests.tolerances import (
    FEW_ROUNDINGS,
    MAXENT_AGREEMENT,
    MAXENT_MULTIPLIERS,
    MAXENT_POLISHED,
    MAXENT_START,
)

GAUSSIAN = np.array([0.0, -math.sqrt(2) / 2, 0.0, 0.0])
WIDE = np.array([-12.0, -6.0, -3.0, 0.0, 3.0, 6.0, 12.0])


def test_evaluate_is_log_sum_exp() -> None:
    h = oracle.hermite(np.array([-1.0, 0.5, 2.0]), 2)
    weights = np.array([0.5, 1.0, 0.25])
    lam = np.array([700.0, -650.0])  # exp of it overflows
    log_z, p = reference.evaluate(lam, h, weights)
    u = [mp.fdot(lam, column) for column in h[1:].T]
    exact = mp.log(mp.fsum(w * mp.exp(v) for w, v in zip(weights, u, strict=True)))
    assert log_z == pytest.approx(float(exact), rel=FEW_ROUNDINGS)
    assert p.sum() == pytest.approx(1.0)
    assert p[1] == pytest.approx(float(mp.exp(u[1] - exact)), rel=1e-12)


def test_newton_direction_solves(rng: np.random.Generator) -> None:
    a = rng.normal(size=(4, 9)) * np.array([1e-3, 1.0, 10.0, 1e4])[:, None]
    hessian, gradient = a @ a.T, rng.normal(size=4)
    direction = reference.newton_direction(gradient, hessian)
    assert direction is not None
    np.testing.assert_allclose(direction, np.linalg.solve(hessian, -gradient), rtol=1e-9)


def test_newton_direction_of_a_singular_hessian_descends() -> None:
    gradient = np.array([1.0, 2.0])
    direction = reference.newton_direction(gradient, np.ones((2, 2)))
    assert direction is not None
    assert np.isfinite(direction).all()
    assert gradient @ direction < 0


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_newton_direction_gives_up_on_nan() -> None:
    assert reference.newton_direction(np.ones(2), np.full((2, 2), np.nan)) is None


def test_step_lengths_halve_thrice_then_quarter() -> None:
    lengths = [reference.step_length(i) for i in range(6)]
    assert lengths == [1, 1 / 2, 1 / 4, 1 / 8, 1 / 32, 1 / 128]


def test_newton_steps_agree_with_finite_differences_of_the_dual() -> None:
    """One full step from a point near the optimum is the step of an independent Hessian."""
    nodes, weights = (g.ravel() for g in basis.panel_nodes(WIDE))
    h = basis.hermite(nodes, 4)
    target = np.array([0.0, 0.0, 0.1, -0.2])
    start = np.array([0.02, -0.75, 0.03, -0.08])

    def dual(lam: np.ndarray) -> float:
        return math.log((weights * np.exp(lam @ h[1:])).sum()) - float(lam @ target)

    gradient = optimize.approx_fprime(start, dual, 1e-7)
    hessian = np.empty((4, 4))
    for i, unit in enumerate(np.eye(4) * 1e-4):
        for j, other in enumerate(np.eye(4) * 1e-4):
            hessian[i, j] = (
                1e8
                / 4
                * (
                    dual(start + unit + other)
                    - dual(start + unit - other)
                    - dual(start - unit + other)
                    + dual(start - unit - other)
                )
            )
    attempt = Attempt(start.copy(), WIDE)
    assert not reference.newton(attempt, target, 1)
    assert attempt.iterations == 1
    assert attempt.decrement == pytest.approx(
        math.sqrt(gradient @ np.linalg.solve(hessian, gradient)), rel=1e-4
    )
    np.testing.assert_allclose(
        attempt.coefficients - start, -np.linalg.solve(hessian, gradient), rtol=1e-3, atol=1e-5
    )


def test_newton_converges_quadratically() -> None:
    """Without the right Hessian it would creep: the decrement squares from step to step."""
    target = np.array([0.0, 0.0, 0.3, -0.1])
    attempt = Attempt(GAUSSIAN, WIDE)
    decrements = []
    while not attempt.converged and len(decrements) < 20:
        reference.newton(attempt, target, 1)
        decrements.append(attempt.decrement)
    last = [d for d in decrements if d < 0.05]
    assert len(decrements) <= 12
    assert len(last) >= 3
    for one, two in itertools.pairwise(last):
        assert two < max(10 * one**2, 1e-12)


def test_a_rule_that_is_too_coarse_is_refined() -> None:
    target = np.array([0.2, 0.1, -0.3, -0.4])
    coarse = reference.minimise_one(GAUSSIAN, target, np.array([-20.0, 0, 20.0]))
    fine = reference.minimise_one(GAUSSIAN, target, np.linspace(-20, 20, 65))
    assert coarse.converged
    assert fine.converged
    assert len(coarse.edges) > 3
    np.testing.assert_allclose(coarse.coefficients, fine.coefficients, rtol=MAXENT_MULTIPLIERS)


def test_check_measures_what_a_panel_misses() -> None:
    good, poor = Attempt(GAUSSIAN, WIDE), Attempt(GAUSSIAN, WIDE[::3])
    for attempt, honest in ((good, True), (poor, False)):
        errors, noise = reference.check(attempt)
        assert (errors.max() < 1e-9) == honest
        assert attempt.quadrature_error == errors.max()
        assert 0 < noise < 1e-12
    assert good.log_normaliser == pytest.approx(math.log(2 * math.pi) / 2 + 0.5, abs=1e-10)
    np.testing.assert_allclose(good.moments, 0.0, atol=1e-7)


def test_too_many_panels_end_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basis, "MAX_PANELS", 2)
    attempt = reference.minimise_one(GAUSSIAN, np.zeros(4), np.array([-20.0, 0, 20.0]))
    assert not attempt.converged


MAX_STEPS = 3


def test_steps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "MAX_STEPS", MAX_STEPS)
    attempt = reference.minimise_one(GAUSSIAN, np.array([0.0, 0.0, 0.3, -0.1]), WIDE)
    assert not attempt.converged
    assert MAX_STEPS <= attempt.iterations < MAX_STEPS + reference.STEPS


@pytest.mark.parametrize("order", [2, 3, 4, 7, 12])
def test_the_start_is_minus_the_square_of_the_last_orthonormal_polynomial(order: int) -> None:
    """By Gram-Schmidt on powers of the data, in long double."""
    z = oracle.standardised(cases.column("exponential", 60))
    columns = [z**i for i in range(order // 2 + 1)]
    for i in range(len(columns)):
        for _ in range(2):
            for j in range(i):
                columns[i] = columns[i] - (columns[i] * columns[j]).mean() * columns[j]
        columns[i] = columns[i] / np.sqrt((columns[i] ** 2).mean())
    start = reference.start(oracle.hermite(z.astype(float), order)[1:].mean(axis=1))
    assert len(start) == order
    height = 0.5 if order < 4 else 0.25
    difference = start @ oracle.hermite(z.astype(float), order)[1:] + height * columns[-1] ** 2
    size = height * float((columns[-1] ** 2).max())
    np.testing.assert_allclose(
        difference.astype(float), float(difference[0]), atol=MAXENT_START * size
    )


def test_the_start_of_order_1_is_flat_and_of_two_moments_normal() -> None:
    np.testing.assert_array_equal(reference.start(np.array([0.3])), [0.0])
    np.testing.assert_allclose(
        reference.start(np.zeros(2)), [0.0, -math.sqrt(0.5)], rtol=FEW_ROUNDINGS
    )


def test_impossible_columns_are_left_and_disturb_no_other() -> None:
    """E z^4 below (E z^2)^2 beside the moments of a normal distribution."""
    targets = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [-2.0, 0.0]])
    ends = [np.full(2, value) for value in (-9.0, 9.0, -3.0, 3.0)]
    fits = reference.minimise(Problem(targets, *ends))
    np.testing.assert_array_equal(fits.converged, [False, True])
    alone = reference.minimise(Problem(targets, *ends).column(1))
    np.testing.assert_array_equal(fits.coefficients[:, 1], alone.coefficients[:, 0])


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_order_2_on_a_wide_support_is_the_normal(backend: str) -> None:
    x = cases.column("bimodal") * 3 + 1
    density = fit(x, 2, 60.0, backend=backend)
    t = np.linspace(-15, 17, 41)
    normal = stats.norm(x.mean(), x.std())
    np.testing.assert_allclose(density.pdf(t), normal.pdf(t), rtol=1e-9)
    np.testing.assert_allclose(density.cdf(t), normal.cdf(t), rtol=1e-9)
    np.testing.assert_allclose(density.sf(t), normal.sf(t), rtol=1e-9)
    assert density.entropy() == pytest.approx(normal.entropy(), abs=MAXENT_AGREEMENT)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("order", [4, 6])
def test_the_last_full_step_is_taken(backend: str, order: int) -> None:
    """Many easy columns: without that step some residual is as large as the decrement allows."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(size=(500, 20)), rng.random((500, 20))], axis=1)
    density = fit(x, order, backend=backend)
    assert density.ok.all()
    assert density.residual.max() < MAXENT_POLISHED


@pytest.mark.parametrize(
    ("name", "order", "support"),
    [("normal", 4, 3.0), ("exponential", 6, 3.0), ("bimodal", 6, 2.0), ("u_shaped", 4, "data")],
)
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_forty_digits(name: str, order: int, support: float | str, backend: str) -> None:
    x = cases.column(name, 40)
    density = fit(x, order, support, backend=backend)
    exact = oracle.Exact(density, x)
    assert exact.last_step < 1e-30
    mine = oracle.Exact.monomial_multipliers(density)
    np.testing.assert_allclose(mine, [float(v) for v in exact.lam], rtol=MAXENT_MULTIPLIERS)
    log_scale = math.log(density.scale[0])
    assert density.entropy() - log_scale == pytest.approx(
        float(exact.entropy), abs=MAXENT_AGREEMENT
    )
    for z in (-0.9, 0.3, 1.1):
        point = float(density.loc[0] + density.scale[0] * z)
        assert density.cdf(point) == pytest.approx(exact.cdf(z), abs=MAXENT_AGREEMENT)


def test_residual_is_that_of_monomials() -> None:
    """z^4 = sqrt(24) h_4 + 6 sqrt(2) h_2 + 3: an error in h_2 counts for m_2 and m_4."""
    target = np.array([0.0, 0.0, 0.0, 0.0])
    off = np.array([0.0, 1e-3, 0.0, 0.0])
    wanted = max(math.sqrt(2) * 1e-3, 6 * math.sqrt(2) * 1e-3 / 3)
    assert residual(target + off, target) == pytest.approx(wanted, rel=1e-9)
