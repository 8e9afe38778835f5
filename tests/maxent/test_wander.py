"""Bumps that are carried on: their places, masses and order; and columns that need it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from distfit_nn import maxent
from distfit_nn.maxent import hard_grid, tables, wander
from tests import stress
from tests.tolerances import MAXENT_RESIDUAL

ENDS = np.array([-3.0, 3.0])
POINTS = np.array([-1.0, 1.0])
ORDER = 6


def density(height: float) -> np.ndarray:
    """log p = -200 (z^2 - 1)^2 + height z, up to a constant: bumps of width 1/40 near -1 and 1."""
    series = np.zeros((ORDER + 1, 2))
    series[:5, 0] = [-200.0, height, 400.0, 0.0, -200.0]
    return series


def laid(series: np.ndarray) -> wander.Layout:
    constants, grid = tables.constants(ORDER), hard_grid.new_grid(ORDER + 1)
    layout = wander.layout(series, POINTS, ENDS, constants, grid)
    assert layout is not None
    return layout


def test_bumps_are_found_with_their_masses_and_widths() -> None:
    """By Laplace's formula: the ratio of the masses is exp(2 height), the widths 1/40."""
    left, right = laid(density(1.0)).bumps
    assert left.inside
    assert right.inside
    assert left.mass + right.mass == pytest.approx(1.0)
    assert right.mass / left.mass == pytest.approx(math.exp(2.0), rel=0.01)
    for bump, place in ((left, -1.0), (right, 1.0)):
        assert bump.place == pytest.approx(place, abs=0.01)
        assert bump.width == pytest.approx(1 / 40, rel=0.01)


def test_a_rise_at_an_end_is_not_inside() -> None:
    series = np.zeros((ORDER + 1, 2))
    series[1, 0] = 5.0
    (bump,) = laid(series).bumps
    assert not bump.inside
    assert bump.place == pytest.approx(ENDS[1], abs=0.02)  # the last node
    assert bump.width == pytest.approx(1 / 5)


def test_a_bump_is_moved_with_its_mass_and_the_other_stays() -> None:
    before = laid(density(-3.0))  # little on the right
    series = wander.moved(before, {1: 0.1}, ENDS)
    assert series is not None
    old, new = before.bumps, laid(series).bumps
    assert new[1].place == pytest.approx(old[1].place + 0.1, abs=new[1].width)
    assert new[1].mass == pytest.approx(old[1].mass, rel=0.1)
    assert new[0].place == pytest.approx(old[0].place, abs=old[0].width)


@pytest.mark.parametrize("shift", [-2.5, 2.5])
def test_no_bump_passes_another_or_leaves_the_support(shift: float) -> None:
    assert wander.moved(laid(density(0.0)), {1: shift}, ENDS) is None


def test_shifts_are_those_of_bumps_that_moved_by_half_a_width() -> None:
    before = laid(density(-3.0))
    series = wander.moved(before, {1: 0.1}, ENDS)
    assert series is not None
    found = wander.shifts(before, laid(series))
    assert list(found) == [1]
    assert found[1] == pytest.approx(0.1, abs=0.01)
    assert wander.shifts(before, before) == {}


def test_the_lowest_dual_is_taken() -> None:
    """A made-up dual that is least where the bump has come twice as far as was seen."""
    before = laid(density(-3.0))
    goal = before.bumps[1].place + 0.1

    def dual(series: np.ndarray) -> float:
        bumps = laid(series).bumps
        return abs(bumps[1].place - goal) if len(bumps) == 2 else math.inf

    found = laid(wander.carry(before, {1: 0.05}, ENDS, dual))
    assert found.bumps[1].place == pytest.approx(goal, abs=0.03)


def test_what_float64_cannot_resolve_is_told() -> None:
    assert laid(density(0.0)).is_resolved
    steep = np.zeros((ORDER + 1, 2))
    steep[1, 0] = 1e17
    assert not laid(steep).is_resolved


@pytest.mark.parametrize(
    ("kind", "order", "n"),
    [
        ("three_atoms", 8, 9),  # a bump of mass 1e-5 thousands of widths from its place
        ("three_atoms", 10, 5000),
        ("two_atoms", 10, 9),
        ("named cauchy", 10, 1000),
        ("outlier_any", 9, 2000),  # a wall at an end of the support
    ],
)
def test_columns_that_need_it(kind: str, order: int, n: int) -> None:
    found = [
        one
        for one in stress.problems(2400, seed=2)
        if one.x is not None and (one.kind, one.order, len(one.x)) == (kind, order, n)
    ]
    assert found
    for one in found:
        density = maxent.fit(one.x, one.order, one.support)
        assert density.status == maxent.Status.OK
        assert density.residual < MAXENT_RESIDUAL
