"""Soft ranks of sorted columns: chains in lanes, swept up and down, piece by piece."""

from __future__ import annotations

import numpy as np

from distfit_nn.copula.chain_kernel import (
    PIECE,
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
from distfit_nn.copula.sweep_kernel import LANES, carry_down, carry_up, count_down, sum_up
from distfit_nn.copula.turn_kernel import BLOCK, from_lanes
from distfit_nn.copula.vector_math import compiled, normal_quantiles

BELOW, BOTH, NORMAL = range(3)  # what is written


@compiled
def put_back(values, order, chains, at, count, block, out):  # type: ignore[no-untyped-def]
    """Write values (steps, LANES) of a piece of each chain to the rows they came from."""
    for low in range(0, count, BLOCK):
        size = min(BLOCK, count - low)
        from_lanes(values, low, size, block)
        for lane in range(LANES):
            row, start, end = points(chains, lane, at + low, size)
            scatter(block[lane], 1.0, order[row, start:end], out[row])


@compiled
def keep_in_order(values, chains, at, count, block, out):  # type: ignore[no-untyped-def]
    """Write values (steps, LANES) of a piece of each chain to sorted columns (m, n)."""
    for low in range(0, count, BLOCK):
        size = min(BLOCK, count - low)
        from_lanes(values, low, size, block)
        for lane in range(LANES):
            row, start, end = points(chains, lane, at + low, size)
            for i in range(end - start):
                out[row, start + i] = block[lane, i]


@compiled
def level(ordered, order, bad, middle, out):  # type: ignore[no-untyped-def]
    """Give equal values one result, NaN if there is a NaN, `middle` if all are equal."""
    n = len(ordered)
    if bad or ordered[0] == ordered[n - 1]:
        out[:] = np.nan if bad else middle
        return
    for i in range(1, n):
        if ordered[i] == ordered[i - 1]:
            out[order[i]] = out[order[i - 1]]


@compiled
def pass_on(ordered, strength, parts, pieces, steps, work):  # type: ignore[no-untyped-def]
    """Let chains inherit from each other, when each has been swept by itself.

    `marks` and `own_up`, `own_down` hold the states of each chain's own points before its pieces
    and where it ends, up and down. `down` and `marks` become those in which pieces start.
    """
    measure_reach(ordered, strength, work.chains, steps, work.reach)
    inherit(work.own_up, work.reach, work.rises, parts, True, work.up)
    inherit(work.own_down, work.reach, work.rises, parts, False, work.down)
    for piece in range(pieces):
        measure_reach(ordered, strength, work.chains, piece * PIECE, work.reach)
        add_reached(work.up, work.reach, work.rises, work.marks[piece])


@compiled
def start(ordered, strength, coefficients, parts, pieces, steps, work):  # type: ignore[no-untyped-def]
    """Write the states before each piece on the way up, and where the way down starts."""
    up, own_down, down = work.own_up, work.own_down, work.down
    up[:] = 0.0
    down[:] = 0.0
    own_down[:] = 0.0
    for piece in range(pieces):
        copy_state(up, work.marks[piece])
        if parts == 1 and piece == pieces - 1:
            return
        at, count = piece * PIECE, min(PIECE, steps - piece * PIECE)
        fill_ratios(ordered, strength, work.chains, at, count, work.block, work.ratios)
        carry_up(coefficients, work.ratios, up, count)
        if parts > 1:
            down[:] = 0.0
            carry_down(coefficients, work.ratios, down, count)
            measure_reach(ordered, strength, work.chains, at, work.reach)
            add_reached(down, work.reach, work.rises, own_down)
    pass_on(ordered, strength, parts, pieces, steps, work)


@compiled
def soft_counts(  # type: ignore[no-untyped-def]
    ordered, order, bad, strength, coefficients, mode, work, first_out, second_out, counts
):
    """Write the soft counts of sorted columns (m, n), or their normal scores, where they came from.

    BELOW writes the counts below to `first_out` (m, n); BOTH also those above, to `second_out`;
    NORMAL the normal quantile of the share below to `first_out`. `counts` (m, n) gets the counts
    below in the order of the columns, unless it is empty.
    """
    ratios, low, high = work.ratios, work.low, work.high
    m, n = ordered.shape
    group = side_by_side(n)
    for first in range(0, m, group):
        parts, steps = lay_chains(first, min(group, m - first), n, work.chains)
        pieces = (steps + PIECE - 1) // PIECE
        start(ordered, strength, coefficients, parts, pieces, steps, work)
        for piece in range(pieces - 1, -1, -1):
            at, count = piece * PIECE, min(PIECE, steps - piece * PIECE)
            fill_ratios(ordered, strength, work.chains, at, count, work.block, ratios)
            sum_up(coefficients, ratios, work.marks[piece], low, count)  # type: ignore[call-arg]
            for lane in range(LANES):
                work.places[lane] = work.chains[lane, START] + at + 0.5
            count_down(coefficients, ratios, work.down, work.places, float(n), low, high, count)
            if len(counts) > 0:
                keep_in_order(low, work.chains, at, count, work.block, counts)
            if mode == NORMAL:
                flat = low.reshape(-1), high.reshape(-1), ratios.reshape(-1)
                normal_quantiles(*flat, 1.0 / n, count * LANES)
            put_back(low, order, work.chains, at, count, work.block, first_out)
            if mode == BOTH:
                put_back(high, order, work.chains, at, count, work.block, second_out)
    for j in range(m):
        middle = 0.0 if mode == NORMAL else 0.5 * n
        level(ordered[j], order[j], bad[j], middle, first_out[j])
        if mode == BOTH:
            level(ordered[j], order[j], bad[j], middle, second_out[j])
