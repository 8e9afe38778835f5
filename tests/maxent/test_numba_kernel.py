"""The compiled kernel against the reference, over the whole suite of cases."""

from __future__ import annotations

import numpy as np
import pytest

from distfit_nn.maxent import Density, basis, fit, numba_kernel, reference
from distfit_nn.maxent.solution import Status
from tests import cases
from tests.maxent import oracle
from tests.tolerances import MAXENT_AGREEMENT, MAXENT_MULTIPLIERS, MAXENT_RESIDUAL


def both(x: np.ndarray, order: int, support: cases.Support = 3.0) -> tuple[Density, Density]:
    return fit(x, order, support, backend="numba"), fit(x, order, support, backend="numpy")


def agree(one: Density, two: Density, tolerance: float = MAXENT_AGREEMENT) -> None:
    """Hold cdf, entropy and standardised moments of two one-column densities together."""
    points = np.concatenate(
        [np.linspace(*one.support(), 41), one.loc + one.scale * np.linspace(-3, 3, 41)]
    )
    np.testing.assert_allclose(one.cdf(points), two.cdf(points), atol=tolerance)
    assert one.entropy() == pytest.approx(two.entropy(), abs=tolerance)
    to_monomials = basis.monomials_in_hermite(one.order)[1:]
    ours, theirs = (
        to_monomials @ np.append(1.0, density.solution.moments) for density in (one, two)
    )
    bound = tolerance * np.maximum(1, np.abs(theirs))
    assert (np.abs(ours - theirs) <= bound).all()


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("name", cases.COLUMNS)
def test_the_kernel_is_the_reference(name: str, order: int) -> None:
    one, two = both(cases.column(name), order)
    assert one.status == two.status
    # At the edge of what can be solved, large multipliers leave only the residual's bound.
    extreme = cases.may_be_regularised(name, 400, order, 3.0)
    if one.status == Status.OK:
        agree(one, two, MAXENT_RESIDUAL if extreme else MAXENT_AGREEMENT)
    else:
        assert extreme
    if name in cases.WELL_CONDITIONED:
        np.testing.assert_allclose(
            one.solution.coefficients,
            two.solution.coefficients,
            rtol=MAXENT_MULTIPLIERS,
            atol=MAXENT_MULTIPLIERS,
        )
        assert one.iterations == two.iterations


@pytest.mark.parametrize("order", [4, 6])
@pytest.mark.parametrize("name", ["uniform", "u_shaped", "lognormal", "t3"])
@pytest.mark.parametrize("support", ["data", 1.5, 10.0])
def test_on_other_supports(name: str, order: int, support: float | str) -> None:
    one, two = both(cases.column(name, 100), order, support)
    assert one.status == two.status == Status.OK
    agree(one, two)


@pytest.mark.slow
def test_on_random_problems() -> None:
    for name, x, order, support in cases.random_problems(120, seed=5):
        if cases.may_be_regularised(name, len(x), order, support):
            continue
        one, two = both(x, order, support)
        assert one.status == two.status, (name, len(x), order, support)
        if one.status == Status.OK:
            agree(one, two)


def test_attempts_agree_before_they_converge() -> None:
    """The same steps from the same start, on panels that must be refined."""
    z = oracle.standardised(cases.column("exponential")).astype(float)
    target = oracle.hermite(z, 6)[1:].mean(axis=1)[:, None]
    start = basis.gaussian_start(6)[:, None]
    edges = [np.array([-15.0, 0.0, 18.0])]
    for steps in (1, 2, 12):
        (one,) = numba_kernel.minimise_columns(start, target, edges, steps)
        (two,) = reference.minimise_columns(start, target, edges, steps)
        assert one.iterations == two.iterations
        assert one.converged == two.converged
        np.testing.assert_allclose(one.coefficients, two.coefficients, rtol=1e-7, atol=1e-9)
        assert one.log_normaliser == pytest.approx(two.log_normaliser, rel=1e-9)
    assert one.quadrature_error < 1e-12


def test_a_start_that_overflows_is_no_convergence() -> None:
    """lambda_k > 0 on a wide support: exp runs over, and both say so without a warning."""
    target = np.zeros((4, 1))
    start = np.array([[0.0], [0.0], [0.0], [1e300]])
    edges = [np.linspace(-50.0, 50.0, 11)]
    for module in (numba_kernel, reference):
        (attempt,) = module.minimise_columns(start, target, edges, 12)
        assert not attempt.converged


def test_impossible_targets_do_not_converge_and_end() -> None:
    target = np.array([[0.0], [0.0], [0.0], [-2.0]])  # E z^4 below (E z^2)^2
    start = basis.gaussian_start(4)[:, None]
    edges = [np.linspace(-6.0, 6.0, 13)]
    for module in (numba_kernel, reference):
        (attempt,) = module.minimise_columns(start, target, edges, 1)
        assert not attempt.converged
        assert attempt.iterations <= reference.MAX_STEPS


def test_columns_do_not_see_each_other() -> None:
    x = np.stack([cases.column(name, 200) for name in ("normal", "lognormal", "bimodal")], axis=1)
    together = fit(x, 6).solution
    alone = [fit(x[:, [j]], 6).solution for j in range(3)]
    for j, one in enumerate(alone):
        np.testing.assert_allclose(
            together.coefficients[:, j], one.coefficients[:, 0], rtol=1e-9, atol=1e-12
        )
        assert together.iterations[j] == one.iterations[0]


def test_mass_and_moments_of_the_kernel_by_another_quadrature() -> None:
    x = cases.column("exponential")
    density = fit(x, 6, backend="numba")
    dense = oracle.dense(density)
    h = oracle.hermite(dense.nodes, 6)
    reached = dense.mean(h)
    assert reached[0] == pytest.approx(1.0, abs=MAXENT_AGREEMENT)
    np.testing.assert_allclose(reached[1:], density.solution.moments[:, 0], atol=MAXENT_AGREEMENT)
