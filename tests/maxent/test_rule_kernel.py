"""Rules laid for a density: where their panels end, what they hold, and what they leave out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from distfit_nn.maxent import rule_kernel
from tests.maxent import oracle
from tests.maxent.quadrature import of_multipliers
from tests.tolerances import FEW_ROUNDINGS, MAXENT_QUADRATURE

Array = np.ndarray

# Multipliers of h_1, h_2, ... and the support.
SHAPES: dict[str, tuple[list[float], float, float]] = {
    "uniform": ([0.0, 0.0], -3.0, 2.0),
    "exponential": ([-5.0], -1.0, 9.0),
    "normal": ([0.0, -math.sqrt(0.5)], -30.0, 40.0),
    "narrow": ([0.0, -1e4], -9.0, 9.0),
    "two bumps": ([0.0, 8.0, 0.0, -4.0], -8.0, 8.0),
    "at the ends": ([0.0, 9.0], -3.0, 3.0),
    "cubic": ([0.3, -1.0, 0.05], -5.0, 9.0),
    "order 12": ([0.1, -1.0] + [0.01] * 9 + [-0.3], -4.0, 4.0),
}


def laid(
    multipliers: Array, lower: float, upper: float, most: float = math.inf
) -> tuple[Array, Array, Array, float]:
    """Return nodes, weights and sentinels of the rule for a density, and log Z by it."""
    order = len(multipliers)
    coefficients = np.append(0.0, multipliers)
    rule, layout = rule_kernel.new_rule(order), rule_kernel.new_layout(order)
    constants = rule_kernel.constants(order)
    ends = np.array([lower, upper, lower, upper])
    grid = np.linspace(lower, upper, 2001)
    guess = float((multipliers @ oracle.hermite(grid, order)[1:]).max())
    if not rule_kernel.lay(coefficients, guess - 10, most, ends, constants, layout, rule):
        return np.empty(0), np.empty(0), np.empty(0), math.nan
    nodes, guards = rule.count
    _, log_z = rule_kernel.log_z_of(coefficients, guess, rule)
    sentinels = rule.h[1, nodes : nodes + guards].copy()
    there = coefficients @ rule.h[: order + 1, nodes : nodes + guards]
    expected = multipliers @ oracle.hermite(sentinels, order)[1:]
    np.testing.assert_allclose(there, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(rule.u[nodes : nodes + guards], expected, rtol=1e-9, atol=1e-9)
    return rule.h[1, :nodes].copy(), rule.weights[:nodes].copy(), sentinels, log_z


@pytest.mark.parametrize("name", SHAPES)
def test_panels_hold_the_mass(name: str) -> None:
    """Against a quadrature of the tests' own, up to the moments that the Hessian needs."""
    multipliers, lower, upper = np.array(SHAPES[name][0]), *SHAPES[name][1:]
    order = len(multipliers)
    z, weights, _, log_z = laid(multipliers, lower, upper)
    assert 0 < len(z) <= rule_kernel.ROOM - rule_kernel.SENTINELS
    exact, h = of_multipliers(multipliers, np.array([lower, 0.0, upper]))
    top = float(multipliers @ h[:, 0] - exact.log_p[0])
    assert log_z == pytest.approx(top, rel=FEW_ROUNDINGS, abs=MAXENT_QUADRATURE)
    p = weights * np.exp(multipliers @ oracle.hermite(z, order)[1:] - log_z)
    mine, wide = oracle.hermite(z, 2 * order), oracle.hermite(exact.nodes, 2 * order)
    scale = np.maximum(1, exact.mean(np.abs(wide)))
    assert (np.abs(mine @ p - exact.mean(wide)) <= MAXENT_QUADRATURE * scale).all()


def test_sentinels_stand_where_panels_were_left_out() -> None:
    z, _, guards, _ = laid(np.array([0.0, -math.sqrt(0.5)]), -90.0, 120.0)
    assert {-90.0, 120.0} <= set(guards)
    inner = np.array([guard for guard in guards if -90 < guard < 120])
    assert len(inner) >= 2
    # exp(-z^2/2) below exp(-DEAD) of the mean density, less the 10 of the guess at log Z.
    assert (inner**2 / 2 > rule_kernel.DEAD - 10).all()
    assert not ((guards > z.min()) & (guards < z.max())).any()


def test_a_rule_without_room_is_none() -> None:
    """Spikes side by side, each of which needs panels of its own."""
    roots = np.array([-0.97, -0.59, -0.21, 0.23, 0.61, 0.93])
    powers = -1e14 * np.polynomial.polynomial.polyfromroots(np.repeat(roots, 2))
    powers /= 6.0 ** np.arange(13)
    scale = np.sqrt([float(math.factorial(i)) for i in range(13)])
    multipliers = (np.polynomial.hermite_e.poly2herme(powers) * scale)[1:]
    assert len(laid(multipliers, -8.0, 8.0)[0]) == 0


def test_a_rise_above_what_is_possible_ends_it() -> None:
    """log p so high in the middle of a panel that log Z would be above `most`."""
    multipliers = np.array([0.0, -math.sqrt(0.5)])
    assert len(laid(multipliers, -30.0, 30.0, most=0.0)[0]) > 0
    assert len(laid(multipliers, -30.0, 30.0, most=-rule_kernel.HIGH - 1)[0]) == 0
