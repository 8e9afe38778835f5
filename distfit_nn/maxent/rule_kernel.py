"""Quadrature rules that are exact for one density, compiled: what `numba_kernel` integrates with.

A rule is laid for given multipliers: the range of the data and what is beside it are halved until
the size of the density on ellipses about a panel says how many Gauss nodes are exact there, or that
the panel holds no mass. For other multipliers it may miss what has risen since: points without
weight, the sentinels, stand where panels were left out and tell.
"""

from __future__ import annotations

import math
from collections import namedtuple
from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from distfit_nn.maxent import basis, simd, tables

Array = NDArray[np.float64]

# Compiled code takes globals as constants, and its cache does not see that they have changed.
SIZES = (8, 16, 24, 32, 40, 48)  # nodes of a panel
QUADRATURE = 1e-12  # bound on the error of a panel, relative to Z
RADII = (1.7, 2.4)
STACK = 40  # halvings
SENTINELS = 96  # points of weight 0 that tell where panels that were left out begin to matter
WATCHED = 6  # of them in such a panel
ROOM = 1344 + SENTINELS  # of a rule; a column that needs more is left to the hard solver
DEAD = 36.0  # the mass that the rule leaves out is below exp(-DEAD)
NOTHING = -16.0  # that many nodes needed: a bound on the mass below that on the error by as much
HIGH = 40.0  # log p that much above log Z would be a spike narrower than exp(-HIGH)

# How many nodes and sentinels there are; nodes with their weights, the basis h_0..h_2k
# (2k + 1, ROOM), log p + log Z and p.
Rule = namedtuple("Rule", ["count", "weights", "h", "u", "p"])
# For the laying of rules: the multipliers of powers of z; panels that wait, with their local
# coefficients and places (middle, half and its logarithm); values on ellipses; sentinels so far.
Layout = namedtuple("Layout", ["powers", "stack", "places", "values", "guards"])
# Coefficients of h_0..h_k in powers of z; powers of points on ellipses; the logarithm of what the
# error may be for 0 nodes, and the nodes that take a factor e off it; the Gauss rules.
Constants = namedtuple("Constants", ["to_powers", "ellipses", "errors", "decays", "rules"])

LOG_2 = math.log(2.0)
# C(i, j) / 2^i: the coefficient of s^j in (1/2 + s/2)^i, up to the largest order.
HALVING = np.array([[math.comb(i, j) / 2**i for i in range(13)] for j in range(13)])

compiled = njit(**simd.OPTIONS)
inlined = njit(**simd.OPTIONS, forceinline=True)  # what is called from one or two places


def new_rule(order: int) -> Rule:
    """Return room for a rule."""
    weights, u, p = (np.empty(ROOM) for _ in range(3))
    return Rule(np.zeros(2, np.int64), weights, np.empty((2 * order + 1, ROOM)), u, p)


def new_layout(order: int) -> Layout:
    """Return what the laying of rules works with."""
    values = np.empty((2, _points(order) * len(RADII)))
    return Layout(
        np.empty(order + 1),
        np.empty((STACK, order + 1)),
        np.empty((STACK, 3)),
        values,
        np.empty(SENTINELS),
    )


def _points(order: int) -> int:
    """Return how many points of a quarter ellipse show the largest value of a polynomial."""
    return 8 if order <= 6 else 16


@cache
def constants(order: int) -> Constants:
    """Return what rules are laid with.

    An n-node Gauss rule integrates f over [-1, 1] with an error of at most
    (64/15) M r^(-2n) / (1 - r^-2), M the largest |f| on the ellipse with foci -1, 1 and half axes
    (r + 1/r)/2 and (r - 1/r)/2 (L. N. Trefethen, SIAM Rev. 50 (2008) 67-87). There log|f| is the
    real part of a polynomial, a sum of cosines of angles up to the order times the first: its
    largest value is taken from points so close that it hardly rises between them. A factor z^k is
    larger there by ((r + 1/r)/2)^k at most.
    """
    radii = np.array(RADII)
    angles = np.linspace(0, np.pi / 2, _points(order))[:, None]
    points = ((radii * np.exp(1j * angles) + np.exp(-1j * angles) / radii) / 2).ravel()
    powers = np.arange(order + 1)
    errors = np.log(64 / 15 / (1 - radii**-2)) + order * np.log((radii + 1 / radii) / 2)
    rules = np.zeros((len(SIZES), 2, SIZES[-1]))
    for rule, nodes in zip(rules, SIZES, strict=True):
        rule[:, :nodes] = basis.legendre_rule(nodes)
    return Constants(
        tables.hermite_in_monomials(order)[:, :, 0].copy(),
        np.ascontiguousarray((points ** powers[:, None]).real),
        errors - math.log(QUADRATURE),
        0.5 / np.log(radii),
        rules,
    )


@inlined
def _in_powers(coefficients, to_powers, out):  # type: ignore[no-untyped-def]
    """Write sum_i lambda_i h_i as a polynomial in z."""
    size = len(coefficients)
    for j in range(size):
        value = 0.0
        for i in range(max(1, j), size):
            value += coefficients[i] * to_powers[i, j]
        out[j] = value


@compiled
def _push(lower, upper, layout, top):  # type: ignore[no-untyped-def]
    """Put the panel [lower, upper] on the stack, unless it is empty; return what is on top."""
    half, middle = 0.5 * (upper - lower), 0.5 * (lower + upper)
    if not half > 0.0:
        return top
    top += 1
    powers, local, place = layout.powers, layout.stack[top], layout.places[top]
    size = len(powers)
    for j in range(size):
        local[j] = powers[j]
    for i in range(size - 1):
        for j in range(size - 2, i - 1, -1):
            local[j] += middle * local[j + 1]
    power = 1.0
    for i in range(1, size):
        power *= half
        local[i] *= power
    place[0], place[1], place[2] = middle, half, math.log(half)
    return top


@inlined
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


@inlined
def _wide(stack, row):  # type: ignore[no-untyped-def]
    """Return how far log p may be from its value in the middle of a panel."""
    wide = 0.0
    for i in range(1, stack.shape[1]):
        wide += abs(stack[row, i])
    return wide


@inlined
def _needed(stack, row, small, values, constants):  # type: ignore[no-untyped-def]
    """Return how many nodes integrate a panel with an error of at most exp(small) half widths."""
    simd.largest(stack[row], constants.ellipses, len(RADII), values)
    least = np.inf
    for e in range(len(RADII)):
        least = min(least, (values[0, e] + constants.errors[e] - small) * constants.decays[e])
    return least


@inlined
def _mean(stack, row):  # type: ignore[no-untyped-def]
    """Return the mean of log p over a panel, which is at most the logarithm of the mean of p."""
    mean = 0.0
    for i in range(0, stack.shape[1], 2):
        mean += stack[row, i] / (i + 1)
    return mean


@inlined
def _watch(place, guards, layout):  # type: ignore[no-untyped-def]
    """Place sentinels in a panel that is left out, while there is room; return their number."""
    if guards + WATCHED > SENTINELS:
        return guards
    for q in range(WATCHED):
        layout.guards[guards + q] = place[0] + (2 * q + 1 - WATCHED) / WATCHED * place[1]
    return guards + WATCHED


@inlined
def _put(place, needed, rules, node, rule):  # type: ignore[no-untyped-def]
    """Add the nodes of a panel to a rule; return their number, or 0 without room."""
    size = 0
    while SIZES[size] < needed:
        size += 1
    z, end = rule.h[1], node + SIZES[size]
    if end > ROOM - SENTINELS:
        return 0
    middle, half = place[0], place[1]
    for q in range(SIZES[size]):
        rule.weights[node + q] = half * rules[size, 1, q]
        z[node + q] = middle + half * rules[size, 0, q]
    return end


@inlined
def _split(layout, top):  # type: ignore[no-untyped-def]
    """Replace the panel on top by its left half, with the right one after it."""
    _halve(layout.stack, top)
    middle, half, log_half = layout.places[top]
    for row, side in ((top, -0.5), (top + 1, 0.5)):
        place = layout.places[row]
        place[0], place[1], place[2] = middle + side * half, 0.5 * half, log_half - LOG_2


@inlined
def _panels(log_z, most, ends, constants, layout, rule):  # type: ignore[no-untyped-def]
    """Place nodes and sentinels, panel by panel; return their numbers, no nodes without success."""
    stack = layout.stack
    log_width = math.log(ends[1] - ends[0])
    top = _push(ends[0], ends[2], layout, -1)
    top = _push(ends[3], ends[1], layout, top)
    top = _push(ends[2], ends[3], layout, top)
    node, guards = 0, 2
    layout.guards[0], layout.guards[1] = ends[0], ends[1]
    while top >= 0:
        if stack[top, 0] > most + HIGH:
            return 0, 0
        log_half = layout.places[top, 2]
        log_z = max(log_z, log_half + LOG_2 + _mean(stack, top))
        # A moment of order k weighs what is far out by z^k.
        reach = abs(layout.places[top, 0]) + layout.places[top, 1]
        small = log_z - (stack.shape[1] - 1) * math.log(max(1.0, reach))
        needed = NOTHING
        if stack[top, 0] + _wide(stack, top) > small - log_width - DEAD:
            needed = _needed(stack, top, small - log_half, layout.values, constants)
        if needed <= NOTHING:
            guards = _watch(layout.places[top], guards, layout)
            top -= 1
        elif needed <= SIZES[-1]:
            node = _put(layout.places[top], needed, constants.rules, node, rule)
            if node == 0:
                return 0, 0
            top -= 1
        elif top + 2 < STACK:
            _split(layout, top)
            top += 1
        else:
            return 0, 0
    return node, guards


@compiled
def lay(coefficients, log_z, most, ends, constants, layout, rule):  # type: ignore[no-untyped-def]
    """Lay a rule that is exact for exp(sum_i lambda_i h_i); return whether there is one.

    The range of the data and what is beside it, in [lower, upper], are halved until a bound on the
    error says how many nodes are exact on a panel, or a bound on log p that exp(DEAD) times the
    panel's mass is less than Z. Sentinels, after the nodes, stand at the ends and in the panels
    left out. There is none without room, or where log p is so high somewhere that log Z must be
    above `most`. `log_z` is at most log Z, or about it.
    """
    _in_powers(coefficients, constants.to_powers, layout.powers)
    node, guards = _panels(log_z, most, ends, constants, layout, rule)
    if node == 0:
        return False
    rule.count[0], rule.count[1] = node, guards
    for guard in range(guards):
        rule.h[1, node + guard] = layout.guards[guard]
    simd.fill_basis(rule.h, node + guards, len(rule.h) - 1)
    return True


@inlined
def log_z_of(coefficients, shift, rule):  # type: ignore[no-untyped-def]
    """Write log p + log Z to u, at sentinels, too, and weights exp(u - shift) to p.

    Returns the sum of p, and log Z, inf where that overflows.
    """
    nodes, guards = rule.count
    simd.log_density(coefficients, rule.h, 0, nodes + guards, rule.u)
    simd.weigh(rule.u, shift, rule.weights, nodes, rule.p)
    total = simd.total(rule.p, nodes)
    return total, shift + math.log(total) if 1e-250 < total < 1e250 else np.inf
