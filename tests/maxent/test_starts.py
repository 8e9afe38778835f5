"""Starts of the hard solver: their bumps, in exact arithmetic, against what they claim."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest

from distfit_nn.maxent.starts import starts
from tests.tolerances import STARTS

LOWER, UPPER = -4.0, 5.0


def target(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points well apart, with masses."""
    rng = np.random.default_rng(seed)
    points = np.linspace(-1.5, 2.0, count) + 0.1 * rng.random(count)
    masses = 0.5 + rng.random(count)
    return points, masses / masses.sum()


def exact(series: np.ndarray) -> list[mp.mpf]:
    """The coefficients, from z^0 on, in 40 digits."""
    mp.mp.dps = 40
    return [mp.mpf(float(high)) + mp.mpf(float(low)) for high, low in series]


def at(series: np.ndarray, z: float | mp.mpf) -> mp.mpf:
    return mp.polyval(exact(series)[::-1], mp.mpf(z))


def second(series: np.ndarray, z: float | mp.mpf) -> mp.mpf:
    """The second derivative at z."""
    c = exact(series)
    return mp.polyval([i * (i - 1) * c[i] for i in range(len(c) - 1, 1, -1)], mp.mpf(z))


def gauss(points: np.ndarray, masses: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The Gauss rule of `count` points of a measure, by the moments, in 40 digits."""
    mp.mp.dps = 40
    m = [
        mp.fsum(
            mp.mpf(float(w)) * mp.mpf(float(t)) ** i for t, w in zip(points, masses, strict=True)
        )
        for i in range(2 * count)
    ]
    hankel = mp.matrix(count, count)
    for i in range(count):
        for j in range(count):
            hankel[i, j] = m[i + j]
    monic = mp.lu_solve(hankel, mp.matrix([-m[count + i] for i in range(count)]))
    roots = mp.polyroots([1, *[monic[i] for i in range(count - 1, -1, -1)]], maxsteps=200)
    roots = sorted(mp.re(root) for root in roots)
    powers = mp.matrix(count, count)
    for i in range(count):
        for j in range(count):
            powers[i, j] = roots[j] ** i
    shares = mp.lu_solve(powers, mp.matrix(m[:count]))
    return np.array([float(r) for r in roots]), np.array([float(s) for s in shares])


def spikes(count: int, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of points at +-width about `count` places: all but a measure on them."""
    points, masses = target(count)
    return (
        np.sort(np.concatenate([points - width, points + width])),
        np.repeat(masses / 2, 2),
    )


def is_row_of_bumps(series: np.ndarray, nodes: np.ndarray, shares: np.ndarray) -> bool:
    """Whether a bump of the right mass stands at every node, by its height and curvature."""
    for node, share in zip(nodes, shares, strict=True):
        curvature = -second(series, node)
        if curvature <= 0:
            return False
        mass = float(mp.exp(at(series, node)) * mp.sqrt(2 * mp.pi / curvature))
        if abs(mass - share) > 1e-3 * share:
            return False
    return True


@pytest.mark.parametrize("order", [2, 4, 6, 8, 12])
def test_bumps_have_the_masses_and_widths_of_the_target(order: int) -> None:
    """At the nodes of the Gauss rule of k/2 points: E pi^2 = 1 over clusters of a width.

    pi^2 is curvature times the squared distance there, so that the curvatures of the bumps, times
    the variance of each cluster, are 1 on average.
    """
    width = 1e-4
    points, masses = spikes(order // 2, width)
    nodes, shares = gauss(points, masses, order // 2)
    rows = [
        series
        for series in starts(points, masses, order, LOWER, UPPER)
        if is_row_of_bumps(series, nodes, shares)
    ]
    assert len(rows) == 1
    curvatures = np.array([float(-second(rows[0], node)) for node in nodes])
    assert float(shares @ curvatures) * width**2 == pytest.approx(1.0, rel=10 * width)


def test_a_bump_of_order_2_is_the_normal_density() -> None:
    points, masses = target(2)
    mean = float(masses @ points)
    variance = float(masses @ (points - mean) ** 2)
    grid = np.linspace(LOWER, UPPER, 7)
    wanted = -((grid - mean) ** 2) / variance / 2 - math.log(2 * math.pi * variance) / 2
    assert any(
        np.allclose([float(at(series, z)) for z in grid], wanted, rtol=STARTS, atol=STARTS)
        for series in starts(points, masses, 2, LOWER, UPPER)
    )


def mass_at(series: np.ndarray, end: float) -> float:
    """Mass of an exponential decay from an end of the support; NaN where log p rises inwards."""
    step = mp.mpf(10) ** -12 * (1 if end > 0 else -1)
    slope = (at(series, end) - at(series, end - step)) / abs(step)
    return float(mp.exp(at(series, end)) / slope) if slope > 0 else math.nan


@pytest.mark.parametrize("end", [LOWER, UPPER])
@pytest.mark.parametrize("order", [3, 5, 9])
def test_odd_orders_have_a_start_with_a_mass_at_an_end(order: int, end: float) -> None:
    """Clusters at (k - 1)/2 points, and the rest of the mass at an end."""
    points, masses = spikes((order - 1) // 2, 1e-4)
    points, masses = np.append(points, end), np.append(0.98 * masses, 0.02)
    places = np.argsort(points)
    found = starts(points[places], masses[places], order, LOWER, UPPER)
    assert any(abs(mass_at(series, end) - 0.02) < 1e-3 for series in found)


@pytest.mark.parametrize("order", [4, 6, 10])
def test_even_orders_have_a_start_with_masses_at_both_ends(order: int) -> None:
    """Clusters at k/2 - 1 points; the ends share the rest."""
    points, masses = spikes(order // 2 - 1, 1e-4)
    points = np.concatenate([[LOWER], points, [UPPER]])
    masses = np.concatenate([[0.02], 0.96 * masses, [0.02]])
    found = starts(points, masses, order, LOWER, UPPER)
    assert any(
        abs(mass_at(series, LOWER) - 0.02) < 1e-3 and abs(mass_at(series, UPPER) - 0.02) < 1e-3
        for series in found
    )


@pytest.mark.parametrize("order", [1, 2, 3, 6, 11, 12])
def test_the_uniform_density_is_among_them(order: int) -> None:
    points, masses = target(order // 2 + 2)
    found = starts(points, masses, order, LOWER, UPPER)
    assert all(series.shape == (order + 1, 2) for series in found)
    assert all(np.isfinite(series).all() for series in found)
    assert sum(not series.any() for series in found) == 1


@pytest.mark.parametrize("order", [2, 5, 12])
def test_the_plateau_falls_outside_the_data(order: int) -> None:
    points, masses = target(order // 2 + 2)
    even = order - order % 2
    middle = (points[0] + points[-1]) / 2
    half = (points[-1] - points[0]) / 2
    found = starts(points, masses, order, LOWER, UPPER)
    off = []
    for series in found:
        values = [float(at(series, z)) for z in np.linspace(LOWER, UPPER, 13)]
        wanted = [-(((z - middle) / half) ** even) for z in np.linspace(LOWER, UPPER, 13)]
        off.append(np.abs(np.array(values) - wanted).max() / np.abs(wanted).max())
    assert min(off) < STARTS


def test_polynomials_are_held_to_30_digits() -> None:
    """Spikes 1e-8 wide: terms of 1e17 cancel, and the bumps are where the points are."""
    points, masses = spikes(3, 1e-8)
    nodes, _ = gauss(points, masses, 3)
    for series in starts(points, masses, 6, LOWER, UPPER):
        if np.abs(series).max() < 1e12:
            continue
        for node in nodes:
            c = exact(series)
            slope = mp.polyval([i * c[i] for i in range(len(c) - 1, 0, -1)], mp.mpf(float(node)))
            # Newton's step to the maximum is a small part of its width.
            assert abs(slope / second(series, node)) < 1e-8
        break
    else:
        pytest.fail("no start has spikes")


def test_a_target_on_too_few_points_still_has_starts() -> None:
    """Bumps need more points than the target has: the plain starts are left."""
    found = starts(np.array([0.0, 1.0]), np.array([0.5, 0.5]), 8, LOWER, UPPER)
    assert len(found) >= 2
    assert all(np.isfinite(series).all() for series in found)
