"""The map Phi^-1(F1(z)) of one column as a table of monotone cubics, and its adjoint, compiled.

The table has equal cells of width h from z0 on. Masses follow from p at points: Gauss nodes below
and above the table, and Simpson's rule on the cells. With T_m the values at the knots and S_m the
slopes p / phi(T_m), at most three times those of the chords beside (F. N. Fritsch and R. E.
Carlson, SIAM J. Numer. Anal. 17 (1980) 238-246), the map is

    T_c + f (h S_c + f (3 D - 2 h S_c - h S_{c+1} + f (h S_c + h S_{c+1} - 2 D))),

D = T_{c+1} - T_c, f the place in cell c from 0 to 1. The adjoint is that of these very formulas.
"""

from __future__ import annotations

import math
from collections import namedtuple
from functools import cache

import numpy as np

from distfit_nn._floats import exponential
from distfit_nn.copula.vector_math import normal_quantiles
from distfit_nn.maxent import basis, simd
from distfit_nn.maxent.rule_kernel import compiled, inlined
from distfit_nn.transforms.moment_solve_kernel import NORMAL, nine_sums, weigh

# Compiled code takes globals as constants.
# Panels below the table, and above, as shares of the way from there to the end of the support, and
# Gauss nodes of each: what is next to the table may fall off steeply, and rise at the end.
SINGLE_TAIL = ((0.0, 0.0625, 0.25, 0.9, 1.0), 12)
DOUBLE_TAIL = ((0.0, 0.0078125, 0.03125, 0.125, 0.4, 0.8, 0.96, 1.0), 20)
LARGEST = 700.0
ROOT_TWO_PI = math.sqrt(2.0 * math.pi)
FAR = 1e-10  # masses below it need another formula for the normal quantile
LEAST = 1e-290  # of a mass
STEEP = 3.0  # slope of a knot, relative to that of a chord
# The normal quantile of p < 1e-10 by Wichura's AS 241, rational in sqrt(-log p) - 5.
E = (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
     2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
     2.71155556874348757815e-5, 2.01033439929228813265e-7)  # fmt: skip
F = (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
     2.04426310338993978564e-15)  # fmt: skip

# Of one thread, for tables of some number of cells. Of points: z, p, Gauss weights (tails
# only) and coefficients; of knots: masses below and above, values, slopes without and with their bound, and
# gradients by values and slopes; cubics of the cells; sums by cells.
Room = namedtuple(
    "Room",
    ["z", "p", "weights", "share", "below", "above", "spare", "values", "free", "slopes",
     "by_value", "by_slope", "cubics", "sums", "powers", "right"],
)  # fmt: skip
Constants = namedtuple("Constants", ["nodes", "weights"])


def new_room(cells: int, constants: Constants) -> Room:
    """Return work arrays for one thread."""
    tail = len(constants.nodes)
    points = [np.empty(2 * tail + 2 * cells + 1) for _ in range(4)]
    knots = [np.empty(cells + 1) for _ in range(8)]
    sums = np.empty((cells, 4)), np.empty((cells, 4))
    return Room(*points, *knots, *sums, np.empty(18), np.empty(9))


@cache
def constants(double: bool) -> Constants:
    """Return the rule of the tails on [0, 1]. Read only."""
    edges, size = DOUBLE_TAIL if double else SINGLE_TAIL
    t, w = basis.legendre_rule(size)
    low, high = np.array(edges[:-1])[:, None], np.array(edges[1:])[:, None]
    nodes, weights = (low + high) / 2 + (high - low) / 2 * t, (high - low) / 2 * w
    return Constants(nodes.ravel(), weights.ravel())


@inlined
def _place(start, width, radius, constants, room):  # type: ignore[no-untyped-def]
    """Write the points and their weights."""
    z, weights = room.z, room.weights
    cells, tail = len(room.sums), len(constants.nodes)
    stop, upper = start + cells * width, tail + 2 * cells + 1
    low, high = start + radius, radius - stop
    for q in range(tail):
        z[q] = start - low * constants.nodes[q]
        weights[q] = low * constants.weights[q]
        z[upper + q] = stop + high * constants.nodes[q]
        weights[upper + q] = high * constants.weights[q]
    for q in range(2 * cells + 1):
        z[tail + q] = start + 0.5 * width * q


@inlined
def _top(c, z, tail):  # type: ignore[no-untyped-def]
    """Return about the largest sum_i c_i z^i at the knots."""
    top = -np.inf
    for n in range(tail, len(z) - tail, 8):
        u = 0.0
        for i in range(len(c) - 1, 0, -1):
            u = (u + c[i]) * z[n]
        top = max(top, u)
    return top


@inlined
def _mass(c, tail, p, sixth):  # type: ignore[no-untyped-def]
    """Return the mass of a cell."""
    q = tail + 2 * c
    return sixth * (p[q] + 4.0 * p[q + 1] + p[q + 2])


@inlined
def _masses(powers, start, width, radius, constants, room):  # type: ignore[no-untyped-def]
    """Write p at the points, and the masses below and above the knots; return one over the sum."""
    cells, tail = len(room.sums), len(constants.nodes)
    p, below, above = room.p, room.below, room.above
    _place(start, width, radius, constants, room)
    weigh(powers, _top(powers, room.z, tail), room.z, 0, p)
    low, high, upper = 0.0, 0.0, tail + 2 * cells + 1
    for q in range(tail):
        low += p[q] * room.weights[q]
        high += p[upper + q] * room.weights[upper + q]
    below[0], above[cells] = low, high
    sixth = width / 6.0
    for c in range(cells):
        below[c + 1] = below[c] + _mass(c, tail, p, sixth)
    for c in range(cells - 1, -1, -1):
        above[c] = above[c + 1] + _mass(c, tail, p, sixth)
    inverse = 1.0 / (below[cells] + above[cells])
    for m in range(cells + 1):
        below[m] = max(below[m] * inverse, LEAST)
        above[m] = max(above[m] * inverse, LEAST)
    return inverse


@inlined
def _far_quantile(p):  # type: ignore[no-untyped-def]
    """Return the size of the normal quantile of p < 1e-10."""
    r = math.sqrt(-math.log(p)) - 5.0
    top, low = 0.0, 0.0
    for i in range(7, -1, -1):
        top = top * r + E[i]
        low = low * r + F[i]
    return top / low


@compiled
def _quantiles(room, values):  # type: ignore[no-untyped-def]
    """Write Phi^-1 of the masses at the knots; leave these as they are."""
    below, above = room.below, room.above
    knots = len(values)
    for m in range(knots):
        values[m] = below[m]
        room.free[m] = above[m]
    normal_quantiles(values, room.free, room.spare, 1.0, knots)
    for m in range(knots):
        p = min(below[m], above[m])
        if p < FAR:
            far = _far_quantile(p)
            values[m] = -far if below[m] < above[m] else far


@simd.fused
def _free_slopes(values, tail, p, inverse, free):  # type: ignore[no-untyped-def]
    """Write p / phi(T) at the knots."""
    for m in range(len(values)):
        half = min(0.5 * values[m] * values[m], LARGEST)
        free[m] = p[tail + 2 * m] * inverse * ROOT_TWO_PI * exponential(half)


@inlined
def _slopes(values, width, inverse, room):  # type: ignore[no-untyped-def]
    """Write the slopes at the knots, without and with their bound."""
    knots = len(values)
    tail = (len(room.p) - 2 * knots + 1) // 2
    _free_slopes(values, tail, room.p, inverse, room.free)
    most = STEEP / width
    for m in range(knots):
        left = most * (values[m] - values[m - 1]) if m > 0 else np.inf
        right = most * (values[m + 1] - values[m]) if m + 1 < knots else np.inf
        room.slopes[m] = min(room.free[m], max(min(left, right), 0.0))


@inlined
def _cubics(values, width, room):  # type: ignore[no-untyped-def]
    """Write the coefficients of 1, f, f^2, f^3 of the cells."""
    for c in range(len(room.cubics)):
        rise = values[c + 1] - values[c]
        left, right = width * room.slopes[c], width * room.slopes[c + 1]
        room.cubics[c, 0] = values[c]
        room.cubics[c, 1] = left
        room.cubics[c, 2] = 3.0 * rise - 2.0 * left - right
        room.cubics[c, 3] = left + right - 2.0 * rise


@compiled
def tabulate(coefficients, start, width, radius, constants, room, values):  # type: ignore[no-untyped-def]
    """Write the values at the knots, and to the room the cubics."""
    inverse = _masses(coefficients, start, width, radius, constants, room)
    _quantiles(room, values)
    _slopes(values, width, inverse, room)
    _cubics(values, width, room)


@compiled
def recall(coefficients, start, width, radius, constants, room, values):  # type: ignore[no-untyped-def]
    """Write the cubics to the room again, from the values at the knots; return what p is over."""
    inverse = _masses(coefficients, start, width, radius, constants, room)
    _slopes(values, width, inverse, room)
    _cubics(values, width, room)
    return inverse


@inlined
def _by_knots(width, scale, room):  # type: ignore[no-untyped-def]
    """Write the gradients by values and slopes from the sums of g f^p by cells, times `scale`."""
    by_value, by_slope = room.by_value, room.by_slope
    by_value[:] = 0.0
    by_slope[:] = 0.0
    for c in range(len(room.sums)):
        a0, a1 = scale * room.sums[c, 0], scale * room.sums[c, 1]
        a2, a3 = scale * room.sums[c, 2], scale * room.sums[c, 3]
        step = 3.0 * a2 - 2.0 * a3
        by_value[c] += a0 - step
        by_value[c + 1] += step
        by_slope[c] += width * (a1 - 2.0 * a2 + a3)
        by_slope[c + 1] += width * (a3 - a2)


@inlined
def _unbound(values, width, room):  # type: ignore[no-untyped-def]
    """Move the gradients by slopes that are bound to the values that bind them."""
    knots = len(values)
    for m in range(knots):
        if room.slopes[m] >= room.free[m]:
            continue
        left = values[m] - values[m - 1] if m > 0 else np.inf
        right = values[m + 1] - values[m] if m + 1 < knots else np.inf
        at = m if right < left else m - 1
        moved = STEEP / width * room.by_slope[m]
        room.by_value[at + 1] += moved
        room.by_value[at] -= moved
        room.by_slope[m] = 0.0


@inlined
def _shares(values, width, inverse, room):  # type: ignore[no-untyped-def]
    """Write a with dL = sum_j a_j d u(z_j), but for the change of Z, from the gradients by knots."""
    cells = len(room.sums)
    tail = len(room.p) // 2 - cells
    share, p, w = room.share, room.p, room.spare
    for q in range(len(share)):
        share[q] = 0.0
    low, high = 0.0, 0.0
    for m in range(cells + 1):
        value = values[m]
        bend = room.by_slope[m] * room.slopes[m]
        share[tail + 2 * m] = bend
        half = min(0.5 * value * value, LARGEST)
        w[m] = (room.by_value[m] + bend * value) * ROOT_TWO_PI * exponential(half) * inverse
        if room.below[m] < room.above[m]:
            low += w[m]
        else:
            high -= w[m]
    upper, sixth = tail + 2 * cells + 1, width / 6.0
    for q in range(tail):
        share[q] = low * room.weights[q] * p[q]
        share[upper + q] = high * room.weights[upper + q] * p[upper + q]
    running = low
    for c in range(cells):
        # What lies in a cell is below the knots to its right, and above those to its left.
        running -= w[c]
        below = room.below[c] < room.above[c]
        if not below and (c == 0 or room.below[c - 1] < room.above[c - 1]):
            running = -w[c]
        q, weight = tail + 2 * c, running * sixth
        share[q] += weight * p[q]
        share[q + 1] += 4.0 * weight * p[q + 1]
        share[q + 2] += weight * p[q + 2]


@inlined
def _solved(factor, size, right):  # type: ignore[no-untyped-def]
    """Replace the right side by the solution, from L below the diagonal and 1 / D on it."""
    for i in range(1, size):
        for j in range(1, i):
            right[i] -= factor[i, j] * right[j]
    for i in range(size - 1, 0, -1):
        right[i] *= factor[i, i]
        for j in range(i + 1, size):
            right[i] -= factor[j, i] * right[j]


@compiled
def adjoint(moments, share, factor, width, scale, inverse, room, values, out):  # type: ignore[no-untyped-def]
    """Write dL/dz = sum_j out[j] z^j, j = 0..k - 1, of a value by way of the moments, n times.

    `room.sums` holds the sums of g f^p by cells, to be multiplied by `scale`; `moments` are those of
    the column, E z^i, in which those of N(0, 1) got a share for the density.
    """
    size, keep = len(moments), 1.0 - share
    _by_knots(width, scale, room)
    _unbound(values, width, room)
    _shares(values, width, inverse, room)
    nine_sums(room.share, room.z, 0, room.powers, 0)
    right = room.right
    for i in range(1, size):
        mixed = keep * moments[i] + share * NORMAL[i]
        right[i] = room.powers[i] - mixed * room.powers[0]
    _solved(factor, size, right)
    for j in range(size - 1):
        out[j] = keep * (j + 1) * right[j + 1] if j >= 2 else 0.0
    out[size - 1] = 0.0
