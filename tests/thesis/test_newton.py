"""Newton's method of the slides, written for comparison, against SciPy and closed forms."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from scipy import integrate, optimize

from tests import tolerances


@pytest.fixture
def newton() -> Any:
    return importlib.import_module("lab.matching.newton")


def skewed(rows: int = 400) -> np.ndarray:
    return np.random.default_rng(0).gamma(4.0, 0.5, rows)


@pytest.mark.parametrize("hermite", [False, True])
def test_basis_is_orthonormal_or_powers(newton: Any, hermite: bool) -> None:
    basis = newton.Basis(hermite, 2.0, 3.0)
    x, weights = np.polynomial.hermite_e.hermegauss(12)
    terms = basis(2 + 3 * x, 4)
    if hermite:
        gram = terms.T @ (weights[:, None] * terms) / np.sqrt(2 * np.pi)
        assert gram == pytest.approx(np.eye(5), abs=tolerances.NEWTON_ROUNDING)
    else:
        assert terms == pytest.approx(x[:, None] ** np.arange(5))


@pytest.mark.parametrize("number", range(4))
def test_newton_finds_the_minimum_that_scipy_finds(newton: Any, number: int) -> None:
    x = skewed()
    basis = newton.basis_of(newton.BASES[number], x)
    a, b = newton.support(x)
    target = basis(x, 2).mean(axis=0)

    def dual(gamma: np.ndarray) -> float:
        mass, _ = integrate.quad(
            lambda t: newton.density_at(np.array([t]), 2, basis, gamma)[0], a, b
        )
        return mass - gamma @ target

    start = np.array([1 - np.log(b - a), 0.0, 0.0])
    found = newton.newton(x, 2, basis, 128)
    peer = optimize.minimize(dual, start, method="Nelder-Mead", options={"maxfev": 400})
    assert found.stopped == "decrement"
    assert dual(found.gamma) <= peer.fun + tolerances.NEWTON_ROUNDING
    gradient = optimize.approx_fprime(found.gamma, dual, 1e-6)
    assert gradient == pytest.approx(np.zeros(3), abs=tolerances.NEWTON_GRADIENT)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("order", [4, 6])
def test_all_bases_find_one_density_with_the_moments(newton: Any, number: int, order: int) -> None:
    x = skewed()
    rule = newton.fine_rule(newton.support(x))
    densities = []
    for name in (newton.BASES[number], newton.BASES[-1]):
        basis = newton.basis_of(name, x)
        found = newton.newton(x, order, basis, 256)
        densities.append(newton.density_at(rule[0], order, basis, found.gamma))
        assert newton.residual(x, order, rule, densities[-1]) < tolerances.NEWTON_RESIDUAL
    assert densities[0] == pytest.approx(densities[1], abs=tolerances.NEWTON_RESIDUAL)


def test_residual_is_that_of_wrong_moments(newton: Any) -> None:
    x = np.array([-1.0, 1.0])  # mean 0, variance 1, support (-3, 3)
    rule = newton.fine_rule(newton.support(x))
    uniform = np.full(len(rule[0]), 1 / 6)
    # E z^2 = 3 and E z^4 = 81 / 5 against 1 and 1
    assert newton.residual(x, 2, rule, uniform) == pytest.approx(2)
    assert newton.residual(x, 4, rule, uniform) == pytest.approx(81 / 5 - 1)
    assert newton.residual(x, 4, rule, np.full(len(rule[0]), np.nan)) == np.inf


def test_condition_is_that_of_the_hessian(newton: Any) -> None:
    x = skewed()
    rule = newton.fine_rule(newton.support(x))
    density = np.full(len(rule[0]), 1 / np.ptp(newton.support(x)))
    basis = newton.basis_of("raw monomials", x)
    terms = basis(rule[0], 3)
    hessian = terms.T @ ((rule[1] * density)[:, None] * terms)
    expected = np.linalg.cond(hessian)
    assert newton.condition(3, basis, rule, density) == pytest.approx(expected, rel=1e-6)


def test_rules_are_exact_for_polynomials(newton: Any) -> None:
    for nodes, weights in (newton.gauss_rule((-1.0, 3.0), 5), newton.fine_rule((-1.0, 3.0))):
        assert weights @ nodes**8 == pytest.approx((3**9 + 1) / 9)


def test_what_has_no_density_is_told_by_the_residual(newton: Any) -> None:
    x = np.array([1.0, 1.0, 1.0, 2.0])
    basis = newton.basis_of("raw monomials", x)
    found = newton.newton(x, 8, basis, 32)
    rule = newton.fine_rule(newton.support(x))
    density = newton.density_at(rule[0], 8, basis, found.gamma)
    assert newton.residual(x, 8, rule, density) > tolerances.NEWTON_RESIDUAL


def test_float32_is_float32(newton: Any) -> None:
    x = skewed()
    basis = newton.basis_of("standardised Hermite", x)
    found = newton.newton(x, 4, basis, 128, np.float32)
    assert found.gamma.dtype == np.float32
    exact = newton.newton(x, 4, basis, 128).gamma
    assert found.gamma == pytest.approx(exact, abs=tolerances.NEWTON_FLOAT32)
