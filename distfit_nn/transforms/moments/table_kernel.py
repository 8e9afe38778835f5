"""The map g(Phi^-1(F1(z))) of one column as a table of monotone cubics, and its adjoint, compiled.

g is that of `reach`. The table has equal cells of width h from z0 on. Masses follow from p
at points: Gauss nodes below and above the table, and Simpson's rule on the cells. With s_m the
scores at the knots, T_m = g(s_m), and S_m the slopes g'(s_m) p / phi(s_m), at most three times
those of the chords beside (F. N. Fritsch and R. E. Carlson, SIAM J. Numer. Anal. 17 (1980)
238-246), the map is

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
from distfit_nn.transforms.moments.solve_kernel import NORMAL, nine_sums, weigh

# Compiled code takes globals as constants.
# Panels below the table, and above, as shares of the way from there to the end of the support, and
# Gauss nodes of each: what is next to the table may fall off steeply, and rise at the end.
SINGLE_TAIL = ((0.0, 0.0625, 0.25, 0.8, 0.97, 1.0), 10)
DOUBLE_TAIL = (
    (0.0, 0.0078125, 0.03125, 0.0625, 0.125, 0.1875, 0.25, 0.325, 0.4, 0.5, 0.6, 0.7, 0.8, 0.875,
     0.95, 0.99, 0.998, 1.0),
    16,
)  # fmt: skip
END = 0.8  # from there on, panels are narrow where the density rises at the end
TIP = 16.0  # the last one holds a rise by exp(16) at the most
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

# Of one thread, for tables of some number of cells. Of points: z, p, Gauss weights (tails only)
# and coefficients; of knots: masses below and above, g(s), g'(s) and g''(s) / g'(s), slopes, and
# gradients by values and slopes; cubics of the cells, and sums by cells.
Room = namedtuple(
    "Room",
    ["z", "p", "weights", "share", "below", "above", "spare", "shown", "belief", "bend", "slopes",
     "by_value", "by_slope", "cubics", "sums", "powers", "right"],
)  # fmt: skip
# Nodes and weights of a tail on [0, 1]; how many of them lie before the two last edges that stay
# and before the panels at the end, where these edges are, and the width of the last panel.
Constants = namedtuple("Constants", ["nodes", "weights", "near", "far", "stay", "end", "tip"])


def new_room(cells: int, constants: Constants) -> Room:
    """Return work arrays for one thread."""
    tail = len(constants.nodes)
    points = [np.empty(2 * tail + 2 * cells + 1) for _ in range(4)]
    knots = [np.empty(cells + 1) for _ in range(9)]
    sums = np.empty((cells, 4)), np.empty((cells, 4))
    return Room(*[*points, *knots, *sums, np.empty(18), np.empty(9)])


@cache
def constants(double: bool) -> Constants:
    """Return the rule of the tails. Read only."""
    edges, size = DOUBLE_TAIL if double else SINGLE_TAIL
    t, w = basis.legendre_rule(size)
    low, high = np.array(edges[:-1])[:, None], np.array(edges[1:])[:, None]
    nodes, weights = (low + high) / 2 + (high - low) / 2 * t, (high - low) / 2 * w
    far = edges.index(END)
    counts = (far - 1) * size, far * size
    return Constants(nodes.ravel(), weights.ravel(), *counts, edges[far - 1], END, 1 - edges[-2])


@inlined
def _rise(c, z, outward):  # type: ignore[no-untyped-def]
    """Return the slope of sum_i c_i z^i at z, outward being 1 or -1."""
    slope = 0.0
    for i in range(len(c) - 1, 0, -1):
        slope = slope * z + i * c[i]
    return slope * outward


@simd.fused
def _lay(rule, first, last, origin, length, at, room_z, room_weights):  # type: ignore[no-untyped-def]
    """Write origin + length * nodes, and |length| * weights, of the rule from first to last."""
    nodes, weights, size = rule.nodes, rule.weights, abs(length)
    for q in range(first, last):
        room_z[at + q] = origin + length * nodes[q]
        room_weights[at + q] = size * weights[q]


@inlined
def _lay_tail(at, origin, length, rise, rule, room):  # type: ignore[no-untyped-def]
    """Write points and weights of a tail, panels at its end as narrow as a rise that is there."""
    narrow = TIP / max(rise * abs(length) * rule.tip, TIP)
    stay, end = rule.stay, 1.0 - (1.0 - rule.end) * narrow
    wide = (end - stay) / (rule.end - stay)
    bend, tip = origin + length * stay * (1.0 - wide), origin + length * (1.0 - narrow)
    _lay(rule, 0, rule.near, origin, length, at, room.z, room.weights)
    _lay(rule, rule.near, rule.far, bend, length * wide, at, room.z, room.weights)
    _lay(rule, rule.far, len(rule.nodes), tip, length * narrow, at, room.z, room.weights)


@simd.fused
def _lay_knots(start, step, points):  # type: ignore[no-untyped-def]
    for q in range(len(points)):
        points[q] = start + step * q


@inlined
def _place(c, start, width, radius, constants, room):  # type: ignore[no-untyped-def]
    """Write the points and their weights."""
    cells, tail = len(room.sums), len(constants.nodes)
    stop, upper = start + cells * width, tail + 2 * cells + 1
    below, above = _rise(c, -radius, -1.0), _rise(c, radius, 1.0)
    _lay_tail(0, start, -radius - start, below, constants, room)
    _lay_tail(upper, stop, radius - stop, above, constants, room)
    _lay_knots(start, 0.5 * width, room.z[tail:upper])


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
def _points(c, start, width, radius, constants, room):  # type: ignore[no-untyped-def]
    """Write the points, their weights and p, but for a factor."""
    _place(c, start, width, radius, constants, room)
    weigh(c, _top(c, room.z, len(constants.nodes)), room.z, 0, room.p)


@inlined
def _masses(width, tail, room):  # type: ignore[no-untyped-def]
    """Write the masses below and above the knots; return one over the sum of p."""
    cells = len(room.sums)
    p, below, above = room.p, room.below, room.above
    low, high, upper = 0.0, 0.0, tail + 2 * cells + 1
    for q in range(tail):
        low += p[q] * room.weights[q]
        high += p[upper + q] * room.weights[upper + q]
    below[0], above[cells] = low, high
    sixth = width / 6.0
    for c in range(cells):  # from either end, at the same time
        low += _mass(c, tail, p, sixth)
        high += _mass(cells - 1 - c, tail, p, sixth)
        below[c + 1], above[cells - 1 - c] = low, high
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
        room.slopes[m] = above[m]
    normal_quantiles(values, room.slopes, room.spare, 1.0, knots)
    for m in range(knots):
        p = min(below[m], above[m])
        if p < FAR:
            far = _far_quantile(p)
            values[m] = -far if below[m] < above[m] else far


@simd.fused
def _free_slopes(values, tail, p, inverse, free):  # type: ignore[no-untyped-def]
    """Write p / phi(T) at the knots."""
    for m in range(len(values)):
        free[m] = p[tail + 2 * m]
    for m in range(len(values)):
        half = min(0.5 * values[m] * values[m], LARGEST)
        free[m] *= inverse * ROOT_TWO_PI * exponential(half)


@inlined
def _doubt(m, reach, room):  # type: ignore[no-untyped-def]
    """Write g(s), g'(s) and g''(s) / g'(s) of a score beyond the reach."""
    score = room.shown[m]
    sign, excess = math.copysign(1.0, score), 2.0 * (abs(score) - reach)
    share = 1.0 / (1.0 + excess * excess)
    room.shown[m] = sign * (reach + 0.5 * math.asinh(excess))
    room.belief[m] = math.sqrt(share)
    room.bend[m] = -2.0 * sign * excess * share


@simd.fused
def _trust(values, shown, belief, bend):  # type: ignore[no-untyped-def]
    for m in range(len(values)):
        shown[m], belief[m], bend[m] = values[m], 1.0, 0.0


@inlined
def _believe(values, reach, room):  # type: ignore[no-untyped-def]
    """Write g(s), g'(s) and g''(s) / g'(s) of the scores at the knots, which increase."""
    low, high = 0, len(values) - 1
    _trust(values, room.shown, room.belief, room.bend)
    while low <= high and values[low] < -reach:
        _doubt(low, reach, room)
        low += 1
    while high >= low and values[high] > reach:
        _doubt(high, reach, room)
        high -= 1


@inlined
def _bound(values, free, belief, width, slopes):  # type: ignore[no-untyped-def]
    """Write the slopes at the knots, at most three times those of the chords beside."""
    most, last = STEEP / width, len(values) - 1
    chord = most * (values[1] - values[0])
    slopes[0] = min(belief[0] * free[0], chord)
    for m in range(1, last):
        following = most * (values[m + 1] - values[m])
        slopes[m] = min(belief[m] * free[m], max(min(chord, following), 0.0))
        chord = following
    slopes[last] = min(belief[last] * free[last], chord)


@inlined
def _cubics(values, free, width, reach, room):  # type: ignore[no-untyped-def]
    """Write the coefficients of 1, f, f^2, f^3 of the cells."""
    shown = room.shown
    _believe(values, reach, room)
    _bound(shown, free, room.belief, width, room.slopes)
    for c in range(len(room.cubics)):
        rise = shown[c + 1] - shown[c]
        left, right = width * room.slopes[c], width * room.slopes[c + 1]
        room.cubics[c, 0] = shown[c]
        room.cubics[c, 1] = left
        room.cubics[c, 2] = 3.0 * rise - 2.0 * left - right
        room.cubics[c, 3] = left + right - 2.0 * rise


@compiled
def tabulate(c, start, width, radius, reach, constants, room, table):  # type: ignore[no-untyped-def]
    """Write scores and their slopes at the knots (2, knots), and to the room the cubics."""
    tail, values, free = len(constants.nodes), table[0], table[1]
    _points(c, start, width, radius, constants, room)
    inverse = _masses(width, tail, room)
    _quantiles(room, values)
    _free_slopes(values, tail, room.p, inverse, free)
    _cubics(values, free, width, reach, room)


@compiled
def recall(c, start, width, radius, reach, constants, room, table):  # type: ignore[no-untyped-def]
    """Write the cubics to the room again, from scores and slopes, and p at the points."""
    _points(c, start, width, radius, constants, room)
    _cubics(table[0], table[1], width, reach, room)


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
def _unbound(free, width, room):  # type: ignore[no-untyped-def]
    """Move the gradients by slopes that are bound to the values that bind them."""
    knots, values = len(free), room.shown
    for m in range(knots):
        if room.slopes[m] >= room.belief[m] * free[m]:
            continue
        left = values[m] - values[m - 1] if m > 0 else np.inf
        right = values[m + 1] - values[m] if m + 1 < knots else np.inf
        at = m if right < left else m - 1
        moved = STEEP / width * room.by_slope[m]
        room.by_value[at + 1] += moved
        room.by_value[at] -= moved
        room.by_slope[m] = 0.0


@simd.fused
def _weigh_knots(values, free, tail, room, out):  # type: ignore[no-untyped-def]
    """Write the gradients by masses; turn those by slopes into those by their logarithms."""
    p, slopes, belief, bend = room.p, room.slopes, room.belief, room.bend
    by_value, by_slope = room.by_value, room.by_slope
    for m in range(len(values)):
        out[m] = free[m] / p[tail + 2 * m]
    for m in range(len(values)):
        steep = by_slope[m] * slopes[m]
        by_slope[m] = steep
        out[m] *= by_value[m] * belief[m] + steep * (values[m] + bend[m])


@inlined
def _shares(values, free, width, tail, room):  # type: ignore[no-untyped-def]
    """Write a with dL = sum_j a_j d log p(z_j), but for the change of Z, from that by knots."""
    cells = len(room.sums)
    share, p, w = room.share, room.p, room.spare
    low, high = 0.0, 0.0
    steep = room.by_slope
    _weigh_knots(values, free, tail, room, w)
    for m in range(cells + 1):
        share[tail + 2 * m] = steep[m]
        low += w[m] if values[m] < 0.0 else 0.0
        high -= 0.0 if values[m] < 0.0 else w[m]
    upper, sixth = tail + 2 * cells + 1, width / 6.0
    for q in range(tail):
        share[q] = low * room.weights[q] * p[q]
        share[upper + q] = high * room.weights[upper + q] * p[upper + q]
    running, before = low, True
    for c in range(cells):
        # What lies in a cell is below the knots to its right, and above those to its left.
        below = values[c] < 0.0
        running = running - w[c] if below or not before else -w[c]
        before = below
        q, weight = tail + 2 * c, running * sixth
        share[q] += weight * p[q]
        share[q + 1] = 4.0 * weight * p[q + 1]
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
def adjoint(moments, share, factor, width, scale, room, table, out):  # type: ignore[no-untyped-def]
    """Write dL/dz = sum_j out[j] z^j, j = 0..k - 1, of a value by way of the moments, n times.

    `room.sums` holds the sums of g f^p by cells, to be multiplied by `scale`; `moments` are those
    of the column, E z^i, in which those of N(0, 1) got a share for the density.
    """
    size, keep = len(moments), 1.0 - share
    _by_knots(width, scale, room)
    _unbound(table[1], width, room)
    tail = len(room.p) // 2 - len(room.sums)
    _shares(table[0], table[1], width, tail, room)
    nine_sums(room.share, room.z, 0, room.powers, 0)
    right = room.right
    for i in range(1, size):
        mixed = keep * moments[i] + share * NORMAL[i]
        right[i] = room.powers[i] - mixed * room.powers[0]
    _solved(factor, size, right)
    for j in range(size - 1):
        out[j] = keep * (j + 1) * right[j + 1] if j >= 2 else 0.0
    out[size - 1] = 0.0
