"""Quadrature rules that are exact for one density, compiled: what `numba_kernel` integrates with.

A rule is laid for given multipliers: the support is halved until a bound on the local coefficients
of log p (`tables.ellipses`) says that the Gauss rule of a panel is exact, or that the panel holds
no mass. For other multipliers it may miss what has risen since: points without weight, the
sentinels, stand where panels were left out and tell.
"""

from __future__ import annotations

import math
from collections import namedtuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from distfit_nn.maxent import basis, simd, tables

Array = NDArray[np.float64]

# Compiled code takes globals as constants, and its cache does not see that they have changed.
NODES = 32  # of a panel: fewer panels cost less to lay
MAX_PANELS = 40  # of one column; one that needs more is left to the hard solver
QUADRATURE = 1e-12  # bound on the relative error of a panel
RADII = (3.5, 5.0, 8.0, 14.0)  # of the ellipses that give it
STACK = 40  # halvings
SENTINELS = 64  # points of weight 0 that tell where panels that were left out begin to matter
DEAD = 36.0  # the mass that the rule leaves out is below exp(-DEAD)
HIGH = 40.0  # log p that much above log Z would be a spike narrower than exp(-HIGH)

# Nodes with their weights, the basis h_0..h_2k (2k + 1, nodes), log p and p; and, for the laying of
# rules, panels that wait with their local coefficients and places, and the sentinels so far.
Rule = namedtuple("Rule", ["weights", "h", "u", "p"])
Layout = namedtuple("Layout", ["stack", "places", "guards"])

# C(i, j) / 2^i: the coefficient of s^j in (1/2 + s/2)^i, up to the largest order.
HALVING = np.array([[math.comb(i, j) / 2**i for i in range(13)] for j in range(13)])

compiled = njit(cache=True, nogil=True, error_model="numpy")


def new_rule(order: int) -> Rule:
    """Return room for a rule."""
    nodes = MAX_PANELS * NODES + SENTINELS
    return Rule(np.empty(nodes), np.empty((2 * order + 1, nodes)), np.empty(nodes), np.empty(nodes))


def new_layout(order: int) -> Layout:
    """Return what the laying of rules works with."""
    return Layout(np.empty((STACK, order + 1)), np.empty((STACK, 2)), np.empty(SENTINELS))


def constants(order: int) -> tuple[Array, Array, Array]:
    """Return coefficients of h_0..h_k in powers of z, the bounds of panels, and the Gauss rule."""
    return (
        tables.hermite_in_monomials(order)[:, :, 0].copy(),
        tables.ellipses(order, NODES, QUADRATURE, RADII),
        np.stack(basis.legendre_rule(NODES)),
    )


@compiled
def _expand(coefficients, to_powers, middle, half, stack):  # type: ignore[no-untyped-def]
    """Write sum_i lambda_i h_i as a polynomial in t = (z - middle) / half to row 0."""
    size = len(coefficients)
    for j in range(size):
        value = 0.0
        for i in range(max(1, j), size):
            value += coefficients[i] * to_powers[i, j]
        stack[0, j] = value
    for i in range(size - 1):
        for j in range(size - 2, i - 1, -1):
            stack[0, j] += middle * stack[0, j + 1]
    power = 1.0
    for i in range(1, size):
        power *= half
        stack[0, i] *= power


@compiled
def _halve(stack, row):  # type: ignore[no-untyped-def]
    """Replace the polynomial in `row` by that on the left half, and put the right one after it.

    With p(1/2 + s/2) = sum_j (a_j + b_j) s^j, a_j from the powers of t of the parity of j, b_j from
    the others, p(-1/2 + s/2) = sum_j (a_j - b_j) s^j.
    """
    size = stack.shape[1]
    for j in range(size):
        a, b = 0.0, 0.0
        for i in range(j, size, 2):
            a += HALVING[j, i] * stack[row, i]
        for i in range(j + 1, size, 2):
            b += HALVING[j, i] * stack[row, i]
        stack[row + 1, j] = a + b
        stack[row, j] = a - b


@compiled
def _suits(stack, row, floor, ellipses):  # type: ignore[no-untyped-def]
    """Return 0 for a panel below the floor, 1 for one that the rule integrates, else -1."""
    size = stack.shape[1]
    wide = 0.0
    for i in range(1, size):
        wide += abs(stack[row, i])
    if stack[row, 0] + wide < floor:
        return 0
    for e in range(len(ellipses)):
        if wide * ellipses[e, 1] <= ellipses[e, 0]:
            total = 0.0
            for i in range(1, size):
                total += abs(stack[row, i]) * ellipses[e, i]
            if total <= ellipses[e, 0]:
                return 1
    return -1


@compiled
def lay(coefficients, log_z, most, ends, constants, layout, rule):  # type: ignore[no-untyped-def]
    """Lay a rule that is exact for exp(sum_i lambda_i h_i); return its nodes and its sentinels.

    [lower, upper] is halved until a bound on the local coefficients says that the rule is exact on
    a panel, or that exp(DEAD) times the panel's mass is less than Z. Sentinels, after the nodes,
    stand at the ends and in the panels left out. 0 nodes without room, or where log p
    is so high somewhere that log Z must be above `most`.
    """
    to_powers, ellipses, legendre = constants
    size = len(coefficients)
    stack, places, z = layout.stack, layout.places, rule.h[1]
    floor = log_z - math.log(ends[1] - ends[0]) - DEAD
    places[0, 0], places[0, 1] = 0.5 * (ends[0] + ends[1]), 0.5 * (ends[1] - ends[0])
    _expand(coefficients, to_powers, places[0, 0], places[0, 1], stack)
    top, node, guards = 0, 0, 2
    layout.guards[0], layout.guards[1] = ends[0], ends[1]
    while top >= 0:
        middle, half = places[top, 0], places[top, 1]
        if stack[top, 0] > most + HIGH:
            return 0, 0
        # A moment of order k weighs what is far out by z^k.
        far = (size - 1) * math.log(max(1.0, abs(middle) + half))
        fit = _suits(stack, top, floor - far, ellipses)
        if fit == 1:
            if node + NODES + SENTINELS > len(z):
                return 0, 0
            for q in range(NODES):
                rule.weights[node] = half * legendre[1, q]
                z[node] = middle + half * legendre[0, q]
                node += 1
        elif fit == 0:
            if guards + 2 <= SENTINELS:
                layout.guards[guards] = middle - 0.5 * half
                layout.guards[guards + 1] = middle + 0.5 * half
                guards += 2
        else:
            if top + 2 >= STACK:
                return 0, 0
            # The left half takes the parent's place, the right one is next.
            _halve(stack, top)
            places[top, 0], places[top, 1] = middle - 0.5 * half, 0.5 * half
            places[top + 1, 0], places[top + 1, 1] = middle + 0.5 * half, 0.5 * half
            top += 1
            continue
        top -= 1
    for guard in range(guards):
        z[node + guard] = layout.guards[guard]
    simd.fill_basis(rule.h, node + guards, 2 * size - 2)
    return node, guards


@compiled
def log_z_of(coefficients, shift, nodes, rule):  # type: ignore[no-untyped-def]
    """Write weights exp(u - shift) to p; return its sum, and log Z, inf where that overflows."""
    simd.log_density(coefficients, rule.h, nodes, rule.u)
    simd.weigh(rule.u, shift, rule.weights, nodes, rule.p)
    total = simd.total(rule.p, nodes)
    return total, shift + math.log(total) if 1e-250 < total < 1e250 else np.inf
