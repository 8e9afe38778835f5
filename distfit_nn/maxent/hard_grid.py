"""Densities of the hard solver on panels of their own, compiled.

log p is a power series in z in double-double, cut into panels on which a Gauss rule is exact by a
bound on its size on an ellipse around it (`panel_kernel.cut`).
"""

from __future__ import annotations

import math
from collections import namedtuple

import numpy as np
from numpy.typing import NDArray

from distfit_nn.maxent import basis
from distfit_nn.maxent.panel_kernel import add_product, compiled, cut, expand, spread

Array = NDArray[np.float64]

NODES = basis.NODES_PER_PANEL
MAX_PANELS = 640
# Panels lower than the top by this are left out, as far as no spike narrower than exp(DEEP - 45) of
# its panel makes up the top.
DEEP = 70.0

# A density on its panels: edges, local coefficients, and nodes with weights and probabilities.
Grid = namedtuple("Grid", ["edges", "local", "nodes", "weights", "p"])


def new_grid(size: int) -> Grid:
    """Return room for a density of order size - 1."""
    nodes = NODES * MAX_PANELS
    return Grid(
        np.empty(MAX_PANELS + 1),
        np.empty((MAX_PANELS, size)),
        np.empty(nodes),
        np.empty(nodes),
        np.empty(nodes),
    )


@compiled
def value_at(series, z, work, out):  # type: ignore[no-untyped-def]
    """Return the polynomial at z."""
    expand(series, z, 1.0, work, out)
    return out[0]


@compiled
def mean_of(series, points, masses):  # type: ignore[no-untyped-def]
    """Return the mean of the polynomial over a discrete measure."""
    size = len(series)
    work, out = np.empty((size, 2)), np.empty(size)
    total = np.zeros((1, 2))
    for t in range(len(points)):
        expand(series, points[t], 1.0, work, out)
        add_product(total, 0, work[0, 0], work[0, 1], masses[t], 0.0)
    return total[0, 0]


@compiled
def spread_mass(series, known, hints, ends, constants, grid):  # type: ignore[no-untyped-def]
    """Lay the density on panels; return (panels, nodes, log Z), or 0 panels where it cannot.

    `known` bounds log Z from below; hints are points at which the top may be.
    """
    _, ellipses, rule = constants
    size = len(series)
    work, out = np.empty((size, 2)), np.empty(size)
    top = max(value_at(series, ends[0], work, out), value_at(series, ends[1], work, out))
    for hint in hints:
        top = max(top, value_at(series, hint, work, out))
    # A moment of order k weighs what is far out by z^k.
    weight = (size - 1) * math.log(max(1.0, -ends[0], ends[1]))
    floor = max(top, known - math.log(ends[1] - ends[0])) - DEEP - weight
    if not abs(floor) < 1e300:
        return 0, 0, 0.0
    panels = cut(series, ends[0], ends[1], floor, ellipses, grid.edges, grid.local)
    if panels >= MAX_PANELS - 2:
        return 0, 0, 0.0
    top = -np.inf
    nodes = 0
    for j in range(panels):
        if grid.local[j, 0] + spread(grid.local[j]) < floor:
            continue
        half = 0.5 * (grid.edges[j + 1] - grid.edges[j])
        middle = 0.5 * (grid.edges[j + 1] + grid.edges[j])
        # The middle is rounded, and the panel is about it only up to that.
        centre = 1.0 + (grid.edges[j] - middle) / half
        for q in range(NODES):
            t = centre + rule[0, q]
            u = grid.local[j, size - 1]
            for i in range(size - 2, -1, -1):
                u = u * t + grid.local[j, i]
            grid.nodes[nodes] = middle + half * t
            grid.weights[nodes] = half * rule[1, q]
            grid.p[nodes] = u
            top = max(top, u)
            nodes += 1
    if nodes == 0:
        return 0, 0, 0.0
    total = 0.0
    for n in range(nodes):
        grid.p[n] = grid.weights[n] * math.exp(grid.p[n] - top)
        total += grid.p[n]
    for n in range(nodes):
        grid.p[n] /= total
    return panels, nodes, top + math.log(total)


@compiled
def check(series, panels, constants, grid, moments):  # type: ignore[no-untyped-def]
    """Write E_p h_i by the halved panels; return log Z and the largest change by halving.

    The change is relative to max(1, E_p abs(h_i)).
    """
    _, _, rule = constants
    size = len(series)
    coarse, scale, h = np.zeros(size), np.zeros(size), np.ones(size)
    moments[:] = 0.0
    for j in range(panels):
        middle = 0.5 * (grid.edges[j] + grid.edges[j + 1])
        half = 0.5 * (grid.edges[j + 1] - grid.edges[j])
        centre = 1.0 + (grid.edges[j] - middle) / half
        for part in range(-1, 2):
            shrink = 1.0 if part == 0 else 0.5
            for q in range(NODES):
                t = centre + 0.5 * part + shrink * rule[0, q]
                u = grid.local[j, size - 1]
                for i in range(size - 2, -1, -1):
                    u = u * t + grid.local[j, i]
                mass = half * shrink * rule[1, q] * math.exp(min(u, 700.0))
                h[1] = middle + half * t
                for i in range(1, size - 1):
                    h[i + 1] = (h[1] * h[i] - math.sqrt(i) * h[i - 1]) / math.sqrt(i + 1)
                for i in range(size):
                    if part == 0:
                        coarse[i] += mass * h[i]
                    else:
                        moments[i] += mass * h[i]
                        scale[i] += mass * abs(h[i])
    total = moments[0]
    change = 0.0
    for i in range(size):
        change = max(change, abs(moments[i] - coarse[i]) / max(total, scale[i]))
        moments[i] /= total
    return math.log(total), change
