"""Cutting a density into panels on which log p is a mild polynomial, compiled.

With thousands of standard deviations or a spike of width 1e-8 in one support, the terms lambda_i
h_i of log p can be 1e12 and cancel. So log p is expanded about the middle of each panel in
double-double arithmetic (a number as an unevaluated sum of two float64, 32 digits; T. J. Dekker,
Numer. Math. 18 (1971) 224-242), and only its local coefficients are rounded: these add up without
loss. The error-free sums and products below hold as long as the compiler neither reorders nor
fuses: no fastmath here.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from distfit_nn.maxent import basis

NODES = basis.NODES_PER_PANEL
# A panel is dead where log p is lower than that of the uniform density by more than DEPTH. All dead
# panels together hold less than exp(-DEPTH): a tail of `SHALLOW` and more is exact without them.
DEPTH = 130.0
SHALLOW = math.exp(36.0 - DEPTH)
MAX_PANELS = 4096  # of a column: its work is bounded
LEAST_MASS = 1e-30  # a table with less, or more than 1 over it, shows that log Z is wrong
NEAR_TOP, TOP_STEPS = 2.0, 4000
STACK = 192  # halvings: from a support of 1e20 down to the rounding of any z that is not near 0
SPLITTER = 134217729.0  # 2**27 + 1
PLAIN = 32.0  # below this sum of coefficients a panel is halved in float64, at a loss of 1e-14

compiled = njit(cache=True, nogil=True, error_model="numpy")


@compiled
def _two_sum(a, b):  # type: ignore[no-untyped-def]
    """Return a + b rounded, and the rounding error."""
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


@compiled
def _two_product(a, b):  # type: ignore[no-untyped-def]
    """Return a b rounded, and the rounding error."""
    p = a * b
    wide = SPLITTER * a
    a_high = wide - (wide - a)
    a_low = a - a_high
    wide = SPLITTER * b
    b_high = wide - (wide - b)
    b_low = b - b_high
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


@compiled
def add_product(series, i, a, a_low, b, b_low):  # type: ignore[no-untyped-def]
    """Add (a + a_low)(b + b_low) to entry i of a double-double series (size, 2)."""
    p, e = _two_product(a, b)
    e += a * b_low + a_low * b
    s, r = _two_sum(series[i, 0], p)
    r += series[i, 1] + e
    high = s + r
    series[i, 0] = high
    series[i, 1] = r - (high - s)


@compiled
def power_series(high, low, log_normaliser, hermite, series):  # type: ignore[no-untyped-def]
    """Write the coefficients of z^0..z^k of log p to `series` (k + 1, 2)."""
    for j in range(len(series)):
        series[j, 0] = series[j, 1] = 0.0
    for i in range(len(high)):
        for j in range(i + 2):
            add_product(series, j, high[i], low[i], hermite[i + 1, j, 0], hermite[i + 1, j, 1])
    add_product(series, 0, -log_normaliser, 0.0, 1.0, 0.0)


@compiled
def expand(series, middle, half, work, out):  # type: ignore[no-untyped-def]
    """Write the coefficients of log p in powers of t = (z - middle) / half."""
    size = len(series)
    for i in range(size):
        work[i, 0], work[i, 1] = series[i, 0], series[i, 1]
    for i in range(size - 1):
        for j in range(size - 2, i - 1, -1):
            add_product(work, j, work[j + 1, 0], work[j + 1, 1], middle, 0.0)
    power = 1.0
    for i in range(size):
        out[i] = work[i, 0] * power
        power *= half


@compiled
def shift(parent, offset, ratio, out):  # type: ignore[no-untyped-def]
    """Write the coefficients in s of the polynomial `parent` at t = offset + ratio s."""
    size = len(parent)
    for i in range(size):
        out[i] = parent[i]
    for i in range(size - 1):
        for j in range(size - 2, i - 1, -1):
            out[j] += offset * out[j + 1]
    power = 1.0
    for i in range(size):
        out[i] *= power
        power *= ratio


@compiled
def spread(c):  # type: ignore[no-untyped-def]
    """Return the sum of |c_i|, i >= 1: log p differs on the panel from c_0 by no more."""
    total = 0.0
    for i in range(1, len(c)):
        total += abs(c[i])
    return total


@compiled
def _is_mild(c, ellipses):  # type: ignore[no-untyped-def]
    """Return whether the Gauss rule integrates exp(c) to 1e-14 of itself: see `tables.ellipses`."""
    for row in range(len(ellipses)):
        total = 0.0
        for i in range(1, len(c)):
            total += abs(c[i]) * ellipses[row, i]
        if total <= ellipses[row, 0]:
            return True
    return False


@compiled
def cut(series, lower, upper, floor, ellipses, edges, local):  # type: ignore[no-untyped-def]
    """Cut [lower, upper] into panels that are mild or lie below `floor`; return their number.

    Writes edges (panels + 1) and local coefficients (panels, k + 1). A panel is halved until a
    bound by its own coefficients says that it will do, so that no spike slips between nodes.
    """
    size = len(series)
    ends = np.empty((STACK, 2))
    nodes = np.empty((STACK, size))
    parent = np.empty(size)
    work = np.empty((size, 2))
    ends[0, 0], ends[0, 1] = lower, upper
    expand(series, 0.5 * (lower + upper), 0.5 * (upper - lower), work, nodes[0])
    top, count, capacity = 0, 0, len(edges) - 1
    while top >= 0:
        a, b = ends[top, 0], ends[top, 1]
        middle, half = 0.5 * (a + b), 0.5 * (b - a)
        for i in range(size):
            parent[i] = nodes[top, i]
        wide = spread(parent)
        full = top + 2 > STACK or count + top + 2 > capacity
        if (
            full
            or parent[0] + wide < floor
            or half <= 1e-15 * abs(middle)
            or _is_mild(parent, ellipses)
        ):
            edges[count] = a
            for i in range(size):
                local[count, i] = parent[i]
            count += 1
            top -= 1
            continue
        # The right half takes the parent's place, the left one is next.
        for side in range(2):
            left, right = (middle, b) if side == 0 else (a, middle)
            centre, radius = 0.5 * (left + right), 0.5 * (right - left)
            ends[top + side, 0], ends[top + side, 1] = left, right
            if wide <= PLAIN:
                shift(parent, (centre - middle) / half, radius / half, nodes[top + side])
            else:
                expand(series, centre, radius, work, nodes[top + side])
        top += 1
    edges[count] = upper
    return count


@compiled
def mass(c, start, length, rule):  # type: ignore[no-untyped-def]
    """Return the integral of exp(c(t)) over t from start to start + length, however short."""
    half = 0.5 * length
    middle = start + half
    total = 0.0
    for q in range(NODES):
        t = middle + half * rule[0, q]
        u = c[-1]
        for i in range(len(c) - 2, -1, -1):
            u = u * t + c[i]
        total += rule[1, q] * math.exp(u)
    return half * total


@compiled
def panel_mass(c, a, b, rule):  # type: ignore[no-untyped-def]
    """Return the mass of the panel [a, b]; t starts at -1 only up to the middle's rounding."""
    half = 0.5 * (b - a)
    return half * mass(c, (a - 0.5 * (a + b)) / half, 2.0, rule)


@compiled
def _gather(edges, local, count, floor, rule, left, right):  # type: ignore[no-untyped-def]
    """Write the masses left and right of each edge, scaled to 1; return the mass before that."""
    left[0] = 0.0
    right[count] = 0.0
    for j in range(count):
        alive = local[j, 0] + spread(local[j]) >= floor
        right[j] = panel_mass(local[j], edges[j], edges[j + 1], rule) if alive else 0.0
        left[j + 1] = left[j] + right[j]
    for j in range(count - 1, -1, -1):
        right[j] += right[j + 1]
    total = right[0]
    if total > 0.0 and total < np.inf:
        for j in range(count + 1):
            left[j] /= total
            right[j] /= total
            local[j, 0] -= math.log(total)
    return total


@compiled
def highest(series, lower, upper):  # type: ignore[no-untyped-def]
    """Return the largest log p on [lower, upper] to within `NEAR_TOP`, by branch and bound."""
    size = len(series)
    ends = np.empty((STACK, 2))
    bounds = np.empty(STACK)
    work, node = np.empty((size, 2)), np.empty(size)
    expand(series, 0.5 * (lower + upper), 0.5 * (upper - lower), work, node)
    ends[0, 0], ends[0, 1], bounds[0] = lower, upper, node[0] + spread(node)
    best, top = node[0], 0
    for end in (lower, upper):
        expand(series, end, 0.0, work, node)
        best = max(best, node[0])
    for _ in range(TOP_STEPS):
        if top < 0:
            break
        a, b = ends[top, 0], ends[top, 1]
        middle = 0.5 * (a + b)
        top -= 1
        if bounds[top + 1] <= best + NEAR_TOP or top + 3 > STACK or not a < middle < b:
            continue
        for side in range(2):
            left, right = (middle, b) if side == 0 else (a, middle)
            expand(series, 0.5 * (left + right), 0.5 * (right - left), work, node)
            best = max(best, node[0])
            top += 1
            ends[top, 0], ends[top, 1], bounds[top] = left, right, node[0] + spread(node)
        if bounds[top] < bounds[top - 1]:  # the more hopeful half is next
            for i in range(2):
                ends[top, i], ends[top - 1, i] = ends[top - 1, i], ends[top, i]
            bounds[top], bounds[top - 1] = bounds[top - 1], bounds[top]
    return best


@compiled
def build(  # type: ignore[no-untyped-def]
    high, low, log_normaliser, lower, upper, constants, starts, series, edges, local, left, right
):
    """Write the tables of as many columns as fit into the slots; return how many columns and slots.

    high, low (d, k) are the multipliers; a column with NaN among its numbers takes no slots, any
    other one more than it has panels. starts (d + 1,) gets the first slot of each column.
    """
    hermite, ellipses, rule = constants
    used = 0
    for j in range(len(high)):
        starts[j] = used
        known = log_normaliser[j]
        for i in range(high.shape[1]):
            known += high[j, i] + low[j, i]
        if not (math.isfinite(known) and lower[j] < upper[j]):
            continue
        if used + MAX_PANELS + 1 > len(edges):
            return j, used
        end = used + MAX_PANELS + 1
        power_series(high[j], low[j], log_normaliser[j], hermite, series[j])
        floor = -math.log(upper[j] - lower[j]) - DEPTH
        for attempt in range(2):
            count = cut(
                series[j], lower[j], upper[j], floor, ellipses, edges[used:end], local[used:end]
            )
            total = _gather(
                edges[used:end],
                local[used:end],
                count,
                floor,
                rule,
                left[used:end],
                right[used:end],
            )
            if LEAST_MASS < total < 1.0 / LEAST_MASS or attempt == 1:
                break
            # Beside a spike log Z is so large that float64 cannot hold it.
            add_product(series[j], 0, -highest(series[j], lower[j], upper[j]), 0.0, 1.0, 0.0)
            floor += math.log(LEAST_MASS)
        if total > 0.0 and total < np.inf:
            add_product(series[j], 0, -math.log(total), 0.0, 1.0, 0.0)
            used += count + 1
    starts[len(high)] = used
    return len(high), used
