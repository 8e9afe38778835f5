"""Newton on the dual for columns that float64 and a fixed basis cannot do, compiled.

Near the edge of the moment space the density is a row of spikes, its Hessian in any fixed basis is
singular to rounding, and terms of 1e12 cancel in log p. Here

- the density lies on panels made for it alone (`hard_grid`);
- each step is taken in the polynomials pi_1..pi_k that are orthonormal under the density itself
  (Arnoldi on its nodes, re-orthogonalised). In them the Hessian is the identity and the gradient is
  E_target pi_j, so that Newton's direction is sum_j E_target[pi_j] pi_j, without any equation to
  solve, and the decrement is the length of that vector;
- the target is held as its Gauss rule: its moments never cancel;
- the step length is that of the dual itself, evaluated on panels of its own, so that a rise far
  outside the data is seen before it is stepped over; where it would stop the step all the same, a
  little mass is put there for the next direction to reckon with (a wall).
"""

from __future__ import annotations

import math

import numpy as np

from distfit_nn.maxent.hard_grid import MAX_PANELS, NODES, mean_of, spread_mass, value_at
from distfit_nn.maxent.panel_kernel import add_product, compiled

# A wall is a place where the density is lower than its top by LOW and more, and would rise to 1
# before a part NEAR of the step: Newton's model does not see what has next to no mass. The mass put
# there lets it rise by 100: WALL times the squared decrement, and STIFFER times more where that is
# not enough.
MAX_WALLS = 8
LOW, NEAR = 30.0, 0.1
WALL, STIFFER = 1e-4, 100.0
TRIALS = 50  # step lengths of one line search
SUFFICIENT = 0.1  # share of the predicted decrease that a step must bring
DECREMENT_TOLERANCE = 1e-9


@compiled
def orthonormalise(z, p, nodes, points, pi, at_points, hessenberg):  # type: ignore[no-untyped-def]
    """Write the polynomials orthonormal under p at its nodes and at the points.

    z pi_j = sum_{l <= j + 1} hessenberg[l, j] pi_l defines them. Returns whether they exist.
    """
    order = len(hessenberg) - 1
    pi[0, :nodes] = 1.0
    at_points[0] = 1.0
    for j in range(order):
        following = pi[j + 1]
        for n in range(nodes):
            following[n] = z[n] * pi[j, n]
        for i in range(j + 1):
            hessenberg[i, j] = 0.0
        for _ in range(2):
            for i in range(j, -1, -1):
                along = 0.0
                for n in range(nodes):
                    along += p[n] * following[n] * pi[i, n]
                hessenberg[i, j] += along
                for n in range(nodes):
                    following[n] -= along * pi[i, n]
        square = 0.0
        for n in range(nodes):
            square += p[n] * following[n] * following[n]
        length = math.sqrt(square)
        if not (length > 0.0 and length < np.inf):
            return False
        hessenberg[j + 1, j] = length
        for n in range(nodes):
            following[n] /= length
        for t in range(len(points)):
            value = points[t] * at_points[j, t]
            for i in range(j, -1, -1):
                value -= hessenberg[i, j] * at_points[i, t]
            at_points[j + 1, t] = value / length
    return True


@compiled
def combination(hessenberg, weights, powers, series):  # type: ignore[no-untyped-def]
    """Write sum_{j >= 1} weights[j] pi_j as a power series in double-double."""
    size = len(series)
    powers[:] = 0.0
    series[:] = 0.0
    powers[0, 0, 0] = 1.0
    for j in range(size - 1):
        for i in range(j + 1):
            powers[j + 1, i + 1] = powers[j, i]
        for low in range(j, -1, -1):
            for i in range(low + 1):
                power = powers[low, i]
                add_product(powers[j + 1], i, power[0], power[1], -hessenberg[low, j], 0.0)
        shrink = 1.0 / hessenberg[j + 1, j]
        for i in range(j + 2):
            high, low_part = powers[j + 1, i, 0], powers[j + 1, i, 1]
            powers[j + 1, i] = 0.0
            add_product(powers[j + 1], i, high, low_part, shrink, 0.0)
            power = powers[j + 1, i]
            add_product(series, i, power[0], power[1], weights[j + 1], 0.0)


@compiled
def move(series, direction, length, out):  # type: ignore[no-untyped-def]
    """Write series + length direction."""
    for i in range(len(series)):
        out[i] = series[i]
        add_product(out, i, direction[i, 0], direction[i, 1], length, 0.0)


@compiled
def _slope(direction, mean, nodes, grid):  # type: ignore[no-untyped-def]
    """Return E_p direction - mean."""
    size = len(direction)
    work, out = np.empty((size, 2)), np.empty(size)
    total = 0.0
    for n in range(nodes):
        if grid.p[n] > 0.0:
            total += grid.p[n] * (value_at(direction, grid.nodes[n], work, out) - mean)
    return total


@compiled
def dual(series, points, masses, ends, constants, grid):  # type: ignore[no-untyped-def]
    """Return log Z - E_target log p of a series, inf where it cannot be had."""
    panels, _, log_z = spread_mass(series, -np.inf, points, ends, constants, grid)
    return log_z - mean_of(series, points, masses) if panels > 0 else np.inf


@compiled
def _line_search(  # type: ignore[no-untyped-def]
    series, direction, square, panels, points, masses, ends, constants, grid, other, trial
):
    """Find a step length; return (panels, nodes, log Z), 0 panels without success.

    `series` is normalised, and -square the slope at 0. A full step that decreases the dual enough
    is taken; else one at which the slope has fallen: short of a wall that Newton's model does not
    see, steps would only creep.
    """
    value = -mean_of(series, points, masses)
    ahead = mean_of(direction, points, masses)
    noise = 1e-13 * (1.0 + abs(value))
    length, low, high = 1.0, 0.0, np.inf
    for attempt in range(TRIALS):
        move(series, direction, length, trial)
        known = length * (ahead - square)  # log Z is convex: it lies above its tangent
        hints = grid.edges[: panels + 1]
        count, nodes, log_z = spread_mass(trial, known, hints, ends, constants, other)
        enough, slope = False, np.inf
        if count > 0:
            change = log_z - length * ahead
            enough = change <= noise - SUFFICIENT * length * square
            if enough and length == 1.0:
                return count, nodes, log_z
            slope = _slope(direction, ahead, nodes, other)
            if enough and (slope > 0.0 or abs(slope) <= 0.7 * square):
                return count, nodes, log_z
        if slope > 0.0 or not enough:
            high = length
        else:
            low = length
        if low == 0.0:
            length = high * (0.5 if attempt < 2 else 0.1)
        elif high > 4.0 * low:
            length = math.sqrt(low * high)
        elif high - low > 1e-9 * high:
            length = 0.5 * (low + high)
        elif enough:
            return count, nodes, log_z
        else:
            length, high = low, low
        if length < 1e-15:
            break
    return 0, 0, 0.0


@compiled
def _gradient(pi, at_points, masses, nodes, p, weights):  # type: ignore[no-untyped-def]
    """Write E_target pi_j - E_p pi_j, j >= 1; return the sum of their squares."""
    square = 0.0
    for j in range(1, len(pi)):
        weights[j] = 0.0
        for t in range(len(masses)):
            weights[j] += masses[t] * at_points[j, t]
        for n in range(nodes):
            weights[j] -= p[n] * pi[j, n]
        square += weights[j] * weights[j]
    return square


@compiled
def _wall(series, direction, ends, grid, panels):  # type: ignore[no-untyped-def]
    """Return after what part of a step the density rises to 1 somewhere, and where first.

    Looked at are the ends and the middles of the panels where it is next to nothing.
    """
    size = len(series)
    work, out = np.empty((size, 2)), np.empty(size)
    top = -np.inf
    for j in range(panels):
        top = max(top, grid.local[j, 0])
    first, where = np.inf, 0.0
    for j in range(-2, panels):
        if j < 0:
            place = ends[j]
            height = value_at(series, place, work, out)
        else:
            place = 0.5 * (grid.edges[j] + grid.edges[j + 1])
            height = grid.local[j, 0] - top
        if height < -LOW:
            rise = value_at(direction, place, work, out)
            if rise > 0.0 and -height < first * rise:
                first, where = -height / rise, place
    return first, where


@compiled
def newton(series, points, masses, ends, constants, grid, other, most):  # type: ignore[no-untyped-def]
    """Minimise the dual from `series` (k + 1, 2), in place, by at most that many steps.

    Returns (steps, decrement, panels, the grid that holds the density), 0 panels on overflow.
    """
    size = len(series)
    pi = np.empty((size, NODES * MAX_PANELS))
    at_points = np.empty((size, len(points)))
    hessenberg, weights = np.zeros((size, size - 1)), np.zeros(size)
    powers = np.empty((size, size, 2))
    direction, trial = np.empty((size, 2)), np.empty((size, 2))
    walls = np.zeros((MAX_WALLS, 2))
    built = 0
    panels, nodes, log_z = spread_mass(series, -np.inf, points, ends, constants, grid)
    decrement = np.inf
    small = 0
    for step in range(most):
        if panels == 0:
            return step, decrement, 0, grid
        add_product(series, 0, -log_z, 0.0, 1.0, 0.0)
        if small == 2:
            return step, decrement, panels, grid
        while True:
            for n in range(built):
                grid.nodes[nodes + n], grid.p[nodes + n] = walls[n]
            every = nodes + built
            if not orthonormalise(grid.nodes, grid.p, every, points, pi, at_points, hessenberg):
                return step, decrement, 0, grid
            square = _gradient(pi, at_points, masses, nodes, grid.p, weights)
            decrement = math.sqrt(square)
            if not decrement < np.inf:
                return step, decrement, 0, grid
            combination(hessenberg, weights, powers, direction)
            if built == MAX_WALLS or (built == 0 and decrement < DECREMENT_TOLERANCE):
                break
            first, where = _wall(series, direction, ends, grid, panels)
            if first > NEAR:
                break
            at = 0
            while at < built and walls[at, 0] != where:
                at += 1
            if at == built:
                walls[at, 0], walls[at, 1] = where, WALL * square
                built += 1
            elif walls[at, 1] < 1.0:
                walls[at, 1] *= STIFFER
            else:
                break
        new_panels, new_nodes, log_z = _line_search(
            series, direction, square, panels, points, masses, ends, constants, grid, other, trial
        )
        if new_panels == 0 and small == 0 and decrement >= DECREMENT_TOLERANCE:
            return step, decrement, panels, grid
        if decrement < DECREMENT_TOLERANCE and built == 0:
            small += 1
        if new_panels > 0:
            for i in range(size):
                series[i] = trial[i]
            grid, other = other, grid
            panels, nodes = new_panels, new_nodes
        elif built == 0:
            log_z, small = 0.0, 2
        else:
            log_z = 0.0
        kept = 0
        for n in range(built):
            if walls[n, 1] > 1e-30 and decrement > 1e-6:
                walls[kept, 0], walls[kept, 1] = walls[n, 0], 0.1 * walls[n, 1]
                kept += 1
        built = kept
    return most, decrement, panels, grid
