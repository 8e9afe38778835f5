"""Soft ranks of sorted columns: chains laid in lanes, swept up and down, piece by piece.

Eight columns are swept side by side. Where there are fewer, each is cut into chains of consecutive
points; what a chain inherits from those before it and after it is found by a sweep more.
"""

from __future__ import annotations

import numpy as np

from distfit_nn.copula.sweep_kernel import LANES, carry_down, carry_up, count_down, sum_up
from distfit_nn.copula.vector_math import FAR, compiled, decay, normal_quantiles

BELOW, BOTH, NORMAL = range(3)  # what is written
PIECE = 4096  # rows that are worked on at once: they stay in the cache
SHORTEST = 64  # a column of fewer rows is not cut into chains
ROW, START, LENGTH = range(3)  # of a chain


@compiled
def lay_chains(first, rows, size, chains):  # type: ignore[no-untyped-def]
    """Cut columns into chains, one a lane; return how many a column, and the longest's length."""
    parts = LANES // rows if size >= SHORTEST else 1
    steps = (size + parts - 1) // parts
    for lane in range(LANES):
        row, part = lane // parts, lane % parts
        chains[lane, ROW] = first + min(row, rows - 1)
        chains[lane, START] = part * steps
        chains[lane, LENGTH] = min(steps, size - part * steps) if row < rows else 0
    return parts, steps


@compiled
def fill_ratios(ordered, strength, chains, at, count, ratios):  # type: ignore[no-untyped-def]
    """Write the ratios of steps at, ..., at + count - 1 of each chain; 0 beyond its end."""
    for lane in range(LANES):
        row = chains[lane, ROW]
        start = chains[lane, START] + at
        known = max(0, min(count, chains[lane, LENGTH] - at))
        twice = 2.0 * strength[row]
        for i in range(known, count):
            ratios[i, lane] = FAR
        if known == 0:
            continue
        ratios[0, lane] = FAR
        # Halves and twice the strength: the difference of finite numbers is finite.
        for i in range(1 if start == 0 else 0, known):
            low = np.float64(ordered[row, start + i - 1])
            high = np.float64(ordered[row, start + i])
            ratios[i, lane] = 0.0 if low == high else (0.5 * high - 0.5 * low) * twice
    decay(ratios.reshape(-1), count * LANES)


@compiled
def inherit(local, spans, parts, upwards, state):  # type: ignore[no-untyped-def]
    """Write the states in which chains start, from those in which their own points leave them.

    A state over a chain decays by its span^k. `local` (rows, LANES) is that of the chain's own
    points; rows k and terms + k belong to the same power.
    """
    terms = len(spans)
    for row in range(len(state)):
        for lane in range(LANES):
            state[row, lane] = 0.0
        if row >= 2 * terms:
            continue
        for step in range(1, LANES):
            lane = step if upwards else LANES - 1 - step
            before = lane - 1 if upwards else lane + 1
            if lane // parts == before // parts:
                state[row, lane] = (
                    local[row, before] + state[row, before] * spans[row % terms, before]
                )


@compiled
def measure_spans(ordered, strength, chains, spans):  # type: ignore[no-untyped-def]
    """Write the product of the ratios of each chain, to the powers 1, ..., K."""
    for lane in range(LANES):
        row, start, length = chains[lane, ROW], chains[lane, START], chains[lane, LENGTH]
        span = np.inf
        if start > 0 and length > 0:
            low = np.float64(ordered[row, start - 1])
            high = np.float64(ordered[row, start + length - 1])
            span = 0.0 if low == high else (0.5 * high - 0.5 * low) * (2.0 * strength[row])
        for k in range(len(spans)):
            spans[k, lane] = np.exp(-(k + 1) * span)


@compiled
def unload(values, chains, at, count, out):  # type: ignore[no-untyped-def]
    """Write values (steps, LANES) of a piece of each chain to the rows of sorted columns."""
    for lane in range(LANES):
        row = chains[lane, ROW]
        start = chains[lane, START] + at
        for i in range(max(0, min(count, chains[lane, LENGTH] - at))):
            out[row, start + i] = values[i, lane]


@compiled
def level(ordered, bad, middle, out):  # type: ignore[no-untyped-def]
    """Give equal values one result, NaN if there is a NaN, `middle` if all are equal."""
    n = len(ordered)
    if bad or ordered[0] == ordered[n - 1]:
        out[:] = np.nan if bad else middle
        return
    for i in range(1, n):
        if ordered[i] == ordered[i - 1]:
            out[i] = out[i - 1]


@compiled
def remember(state, mark):  # type: ignore[no-untyped-def]
    """Copy a state."""
    for row in range(len(state)):
        for lane in range(LANES):
            mark[row, lane] = state[row, lane]


@compiled
def start_chains(ordered, strength, coefficients, parts, pieces, steps, work):  # type: ignore[no-untyped-def]
    """Write the states in which the chains start, up and down."""
    ratios, _, _, _, chains, up, down, local, spans, _ = work
    measure_spans(ordered, strength, chains, spans)
    local[:] = 0.0
    for piece in range(pieces):
        count = min(PIECE, steps - piece * PIECE)
        fill_ratios(ordered, strength, chains, piece * PIECE, count, ratios)
        carry_up(coefficients, ratios, local, count)
    inherit(local, spans, parts, True, up)
    local[:] = 0.0
    for piece in range(pieces - 1, -1, -1):
        count = min(PIECE, steps - piece * PIECE)
        fill_ratios(ordered, strength, chains, piece * PIECE, count, ratios)
        carry_down(coefficients, ratios, local, count)
    inherit(local, spans, parts, False, down)


@compiled
def soft_counts(  # type: ignore[no-untyped-def]
    ordered, strength, bad, coefficients, mode, work, first_out, second_out
):
    """Write the soft counts of sorted columns (m, n), or their normal scores, in that order.

    BELOW writes the counts below to `first_out`; BOTH also those above, to `second_out`; NORMAL the
    normal quantile of the share below to `first_out`.
    """
    ratios, low, high, places, chains, up, down, _, _, marks = work
    m, n = ordered.shape
    for first in range(0, m, LANES):
        parts, steps = lay_chains(first, min(LANES, m - first), n, chains)
        pieces = (steps + PIECE - 1) // PIECE
        up[:] = 0.0
        down[:] = 0.0
        if parts > 1:
            start_chains(ordered, strength, coefficients, parts, pieces, steps, work)
        for piece in range(pieces):
            remember(up, marks[piece])
            if piece < pieces - 1:
                fill_ratios(ordered, strength, chains, piece * PIECE, PIECE, ratios)
                carry_up(coefficients, ratios, up, PIECE)
        for piece in range(pieces - 1, -1, -1):
            at = piece * PIECE
            count = min(PIECE, steps - at)
            fill_ratios(ordered, strength, chains, at, count, ratios)
            sum_up(coefficients, ratios, marks[piece], low, count)  # type: ignore[call-arg]
            for lane in range(LANES):
                places[lane] = chains[lane, START] + at + 0.5
            count_down(coefficients, ratios, down, places, float(n), low, high, count)
            if mode == NORMAL:
                flat = low.reshape(-1), high.reshape(-1), ratios.reshape(-1)
                normal_quantiles(*flat, 1.0 / n, count * LANES)
            unload(low, chains, at, count, first_out)
            if mode == BOTH:
                unload(high, chains, at, count, second_out)
    for j in range(m):
        middle = 0.0 if mode == NORMAL else 0.5 * n
        level(ordered[j], bad[j], middle, first_out[j])
        if mode == BOTH:
            level(ordered[j], bad[j], middle, second_out[j])
