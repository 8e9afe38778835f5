"""Gradients of soft counts of sorted columns: `rank_kernel` once more, with a gradient a point.

With kappa the derivative of the logistic function, u = strength x, and g the gradient with respect
to the counts below,

    dL/du_m = sum_j kappa(u_m - u_j) (g_m - g_j),     dL/dx = strength dL/du,
    dL/dstrength = sum_m (x_m - c) dL/du_m,

for any c: the dL/du_m of a column add up to 0.
"""

from __future__ import annotations

import math

import numpy as np

from distfit_nn.copula.chain_kernel import (
    LENGTH,
    PIECE,
    ROW,
    START,
    add_reached,
    copy_state,
    fill_ratios,
    inherit,
    lay_chains,
    measure_reach,
    points,
    scatter,
    side_by_side,
)
from distfit_nn.copula.sweep_kernel import (
    LANES,
    carry_slopes_down,
    carry_slopes_up,
    slopes_down,
    slopes_up,
)
from distfit_nn.copula.turn_kernel import BLOCK, from_lanes, to_lanes
from distfit_nn.copula.vector_math import compiled, decay, dot, mean, summing

ROOT_TWO_PI = math.sqrt(2.0 * math.pi)


@compiled
def through_scores(gradients, scores, weight, spare):  # type: ignore[no-untyped-def]
    """Replace gradients by weight * z, z = ndtri(s / n), by those by s: over n phi(z)."""
    factor = weight * ROOT_TWO_PI / len(scores)
    for at in range(0, len(scores), len(spare)):
        count = min(len(spare), len(scores) - at)
        write_exponents(scores[at : at + count], spare)
        decay(spare, count)
        multiply(gradients[at : at + count], spare, factor)


@compiled
def write_exponents(scores, exponents):  # type: ignore[no-untyped-def]
    """Write -z^2 / 2."""
    for i in range(len(scores)):
        z = np.float64(scores[i])
        exponents[i] = -0.5 * z * z


@compiled
def multiply(gradients, by, factor):  # type: ignore[no-untyped-def]
    """Multiply gradients by the entries of another array and a factor."""
    for i in range(len(gradients)):
        gradients[i] *= by[i] * factor


@compiled
def through_lines(gradients, scores, weight, work, by_weight, by_bias):  # type: ignore[no-untyped-def]
    """Replace gradients by weight * score + bias (m, n) by those by counts.

    Write those by weight and bias (m,), too.
    """
    for j in range(len(gradients)):
        by_weight[j] = dot(gradients[j], scores[j])
        by_bias[j] = len(scores[j]) * mean(gradients[j])
        through_scores(gradients[j], scores[j], weight[j], work.block.reshape(-1))


@compiled
def rise(row, places, start, end):  # type: ignore[no-untyped-def]
    """Return by how much gradients rise between two points of a sorted column."""
    return np.float64(row[np.uint64(places[end])]) - row[np.uint64(places[start])]


@compiled
def enter(gradients, order, chains, entries):  # type: ignore[no-untyped-def]
    """Write the rise to the first point of each chain, the point before being overwritten later."""
    for lane in range(LANES):
        row, start, end = points(chains, lane, 0, 1)
        entries[lane] = 0.0
        if 0 < start < end:
            entries[lane] = rise(gradients[row], order[row], start - 1, start)


@compiled
def measure_rises(gradients, order, chains, at, sign, rises):  # type: ignore[no-untyped-def]
    """Write the rise from the point before each chain to that before its step `at`, or its last."""
    for lane in range(LANES):
        row, start = chains[lane, ROW], chains[lane, START]
        end = start + min(at, chains[lane, LENGTH])
        rises[lane] = 0.0
        if start > 0 and end >= start:
            rises[lane] = sign * rise(gradients[row], order[row], start - 1, end - 1)


@compiled
def write_rises(row, places, rises):  # type: ignore[no-untyped-def]
    """Write the rises between the entries at places of a row."""
    before = np.float64(row[np.uint64(places[0])])
    for i in range(1, len(places)):
        here = np.float64(row[np.uint64(places[i])])
        rises[i - 1] = here - before
        before = here


@compiled
def fill_rises(  # type: ignore[no-untyped-def]
    gradients, order, entries, chains, at, count, block, rises
):
    """Write the rises to steps at, ..., at + count - 1 of each chain; 0 beyond its end."""
    for low in range(0, count, BLOCK):
        size = min(BLOCK, count - low)
        for lane in range(LANES):
            row, start, end = points(chains, lane, at + low, size)
            values = block[lane]
            values[max(end - start, 0) :] = 0.0
            if at + low == 0 and end > start:
                values[0] = entries[lane]
                write_rises(gradients[row], order[row, start:end], values[1:])
            elif end > start:
                write_rises(gradients[row], order[row, start - 1 : end], values)
        to_lanes(block, low, size, rises)


@compiled
def start(  # type: ignore[no-untyped-def]
    ordered, order, strength, gradients, coefficients, parts, pieces, steps, work
):
    """Write the states before each piece on the way up, and where the way down starts."""
    ratios, rises, chains, block = work.ratios, work.low, work.chains, work.block
    up, own_down, down = work.own_up, work.own_down, work.down
    up[:] = 0.0
    down[:] = 0.0
    own_down[:] = 0.0
    enter(gradients, order, chains, work.places)
    for piece in range(pieces):
        copy_state(up, work.marks[piece])
        if parts == 1 and piece == pieces - 1:
            return
        at, count = piece * PIECE, min(PIECE, steps - piece * PIECE)
        fill_ratios(ordered, strength, chains, at, count, block, ratios)
        fill_rises(gradients, order, work.places, chains, at, count, block, rises)
        carry_slopes_up(coefficients, ratios, rises, up, rises, count)
        if parts > 1:
            down[:] = 0.0
            carry_slopes_down(coefficients, ratios, rises, down, rises, count)
            measure_reach(ordered, strength, chains, at, work.reach)
            measure_rises(gradients, order, chains, at, -1.0, work.rises)
            add_reached(down, work.reach, work.rises, own_down)
    pass_on(ordered, order, strength, gradients, parts, pieces, steps, work)


@compiled
def pass_on(ordered, order, strength, gradients, parts, pieces, steps, work):  # type: ignore[no-untyped-def]
    """Let chains inherit from each other: see `chain_kernel.pass_on`."""
    chains, reach, rises = work.chains, work.reach, work.rises
    measure_reach(ordered, strength, chains, steps, reach)
    measure_rises(gradients, order, chains, steps, 1.0, rises)
    inherit(work.own_up, reach, rises, parts, True, work.up)
    measure_rises(gradients, order, chains, steps, -1.0, rises)
    inherit(work.own_down, reach, rises, parts, False, work.down)
    for piece in range(pieces):
        measure_reach(ordered, strength, chains, piece * PIECE, reach)
        measure_rises(gradients, order, chains, piece * PIECE, 1.0, rises)
        add_reached(work.up, reach, rises, work.marks[piece])


@compiled
def half_middle(ordered):  # type: ignore[no-untyped-def]
    """Return half the median of a sorted column, or of the finite value that is nearest to it."""
    place = len(ordered) // 2
    while place < len(ordered) - 1 and ordered[place] == -np.inf:
        place += 1
    while place > 0 and ordered[place] == np.inf:
        place -= 1
    value = np.float64(ordered[place])
    return 0.5 * value if np.isfinite(value) else 0.0


@summing
def moment(slopes, values, half):  # type: ignore[no-untyped-def]
    """Return the sum of slopes times values / 2 - half; what is infinite has no part in it."""
    total = 0.0
    for i in range(len(values)):
        distance = 0.5 * values[i] - half
        total += distance * slopes[i] if abs(distance) < np.inf else 0.0
    return total


@compiled
def put_back(  # type: ignore[no-untyped-def]
    slopes, ordered, order, strength, halves, chains, at, count, block, out, by_strength
):
    """Write a piece of dL/dx to the rows it came from, and add to dL/dstrength.

    With halves: of finite numbers, the difference of halves is finite.
    """
    for low in range(0, count, BLOCK):
        size = min(BLOCK, count - low)
        from_lanes(slopes, low, size, block)
        for lane in range(LANES):
            row, start, end = points(chains, lane, at + low, size)
            by_strength[row] += 2.0 * moment(block[lane], ordered[row, start:end], halves[row])
            scatter(block[lane], strength[row], order[row, start:end], out[row])


@compiled
def soft_slopes(  # type: ignore[no-untyped-def]
    ordered, order, bad, strength, coefficients, work, gradients, halves, by_strength
):
    """Replace gradients by counts of columns (m, n) by dL/dx, and write dL/dstrength.

    The columns are sorted, the gradients are not. The coefficients are k c_k, those of the
    derivative. Columns with a NaN become NaN.
    """
    ratios, rises, slopes = work.ratios, work.low, work.high
    chains, block = work.chains, work.block
    m, n = ordered.shape
    for j in range(m):
        halves[j] = half_middle(ordered[j])
        by_strength[j] = 0.0
    group = side_by_side(n)
    for first in range(0, m, group):
        parts, steps = lay_chains(first, min(group, m - first), n, chains)
        pieces = (steps + PIECE - 1) // PIECE
        start(
            ordered,
            order,
            strength,
            gradients,
            coefficients,
            parts,
            pieces,
            steps,
            work,
        )
        for piece in range(pieces - 1, -1, -1):
            at, count = piece * PIECE, min(PIECE, steps - piece * PIECE)
            fill_ratios(ordered, strength, chains, at, count, block, ratios)
            fill_rises(gradients, order, work.places, chains, at, count, block, rises)
            slopes_up(coefficients, ratios, rises, work.marks[piece], slopes, count)
            slopes_down(coefficients, ratios, rises, work.down, slopes, count)
            put_back(
                slopes,
                ordered,
                order,
                strength,
                halves,
                chains,
                at,
                count,
                block,
                gradients,
                by_strength,
            )
    for j in range(m):
        if bad[j]:
            gradients[j, :] = np.nan
            by_strength[j] = np.nan
