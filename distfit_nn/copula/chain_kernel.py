"""Chains: runs of consecutive points of sorted columns, laid in lanes to be swept side by side.

Eight columns are swept at once, one a lane. Where there are fewer, or where they are so long that
eight do not fit the cache, each is cut into chains; what a chain inherits from those before it and
after it comes from a sweep of each by itself. Long chains are swept piece by piece.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distfit_nn.copula.sweep_kernel import LANES
from distfit_nn.copula.turn_kernel import BLOCK, to_lanes
from distfit_nn.copula.vector_math import FAR, compiled, decay

PIECE = 4096  # rows that are worked on at once: they stay in the cache
SHORTEST = 64  # a column of fewer rows is not cut into chains
LONGEST = 1 << 15  # one of more rows always is
ROW, START, LENGTH = range(3)  # of a chain


class Work(NamedTuple):
    """The arrays that sweeps work in."""

    ratios: NDArray[Any]  # (rows, LANES), as the next two
    low: NDArray[Any]
    high: NDArray[Any]
    block: NDArray[Any]  # (LANES, BLOCK)
    places: NDArray[Any]  # (LANES,): of first points; of slopes, the rises to these
    chains: NDArray[Any]  # (LANES, 3)
    up: NDArray[Any]  # states (states, LANES), as the next three
    down: NDArray[Any]
    own_up: NDArray[Any]
    own_down: NDArray[Any]
    reach: NDArray[Any]  # (terms, LANES)
    rises: NDArray[Any]  # (LANES,)
    marks: NDArray[Any]  # states on the way up, before each piece


def workspace(n: int, states: int, terms: int) -> Work:
    """Return room for the sweeps of columns of n values."""
    rows = -(-min(n, PIECE) // LANES) * LANES
    steps = n if n <= LONGEST else -(-n // LANES)  # of the longest chain
    low, high, ratios = (np.empty((rows, LANES)) for _ in range(3))
    up, down, own_up, own_down = (np.empty((states, LANES)) for _ in range(4))
    return Work(
        ratios=ratios,
        low=low,
        high=high,
        block=np.empty((LANES, BLOCK)),
        places=np.empty(LANES),
        chains=np.empty((LANES, 3), np.int64),
        up=up,
        down=down,
        own_up=own_up,
        own_down=own_down,
        reach=np.empty((terms, LANES)),
        rises=np.zeros(LANES),
        marks=np.empty((-(-steps // PIECE), states, LANES)),
    )


@compiled
def side_by_side(n):  # type: ignore[no-untyped-def]
    """Return how many columns of n values are swept at once."""
    return 1 if n > LONGEST else LANES


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
def points(chains, lane, at, count):  # type: ignore[no-untyped-def]
    """Return the row of a chain, and the first and last of its points at, ..., at + count - 1."""
    start = chains[lane, START] + at
    return chains[lane, ROW], start, start + max(0, min(count, chains[lane, LENGTH] - at))


@compiled
def gap(low, high, strength):  # type: ignore[no-untyped-def]
    """Return strength * (high - low). The difference of halves of finite numbers is finite."""
    return 0.0 if low == high else (0.5 * high - 0.5 * low) * (2.0 * strength)


@compiled
def write_gaps(lower, upper, strength, gaps):  # type: ignore[no-untyped-def]
    """Write the gaps between neighbours."""
    for i in range(len(gaps)):
        gaps[i] = gap(np.float64(lower[i]), np.float64(upper[i]), strength)


@compiled
def fill_ratios(ordered, strength, chains, at, count, block, ratios):  # type: ignore[no-untyped-def]
    """Write the ratios of steps at, ..., at + count - 1 of each chain; 0 beyond its end."""
    for low in range(0, count, BLOCK):
        for lane in range(LANES):
            row, start, end = points(chains, lane, at + low, min(BLOCK, count - low))
            gaps = block[lane]
            gaps[:] = FAR
            begin = 1 if start == 0 else 0
            if end > start + begin:
                values = ordered[row, start + begin - 1 : end]
                inside = gaps[begin : end - start]
                write_gaps(values[:-1], values[1:], strength[row], inside)
        decay(block.reshape(-1), LANES * BLOCK)
        to_lanes(block, low, min(BLOCK, count - low), ratios)


@compiled
def measure_reach(ordered, strength, chains, at, reach):  # type: ignore[no-untyped-def]
    """Write how a state decays from the point before each chain to that before its step `at`.

    To the powers 1, ..., K. Beyond its end: to its last point.
    """
    for lane in range(LANES):
        row, start = chains[lane, ROW], chains[lane, START]
        end = start + min(at, chains[lane, LENGTH])
        span = np.inf
        if start > 0 and end >= start:
            low, high = np.float64(ordered[row, start - 1]), np.float64(ordered[row, end - 1])
            span = gap(low, high, strength[row])
        for k in range(len(reach)):
            reach[k, lane] = np.exp(-(k + 1) * span)


@compiled
def seen(state, row, lane, rise, terms):  # type: ignore[no-untyped-def]
    """Return an entry of a state (see `sweep_kernel`) from where g is higher by a rise."""
    return state[row, lane] + (rise * state[row - terms, lane] if row >= terms else 0.0)


@compiled
def add_reached(state, reach, rises, to):  # type: ignore[no-untyped-def]
    """Add a state to another, seen from there."""
    terms = len(reach)
    for row in range(len(state)):
        for lane in range(LANES):
            to[row, lane] += seen(state, row, lane, rises[lane], terms) * reach[row % terms, lane]


@compiled
def inherit(own, reach, rises, parts, upwards, state):  # type: ignore[no-untyped-def]
    """Write the states in which chains start, from those in which their own points leave them.

    A state decays over a chain by its reach, and g rises.
    """
    terms = len(reach)
    for row in range(len(state)):
        for lane in range(LANES):
            state[row, lane] = 0.0
        for step in range(1, LANES):
            lane = step if upwards else LANES - 1 - step
            before = lane - 1 if upwards else lane + 1
            if lane // parts == before // parts:
                passed = seen(state, row, before, rises[before], terms)
                state[row, lane] = own[row, before] + passed * reach[row % terms, before]


@compiled
def copy_state(state, to):  # type: ignore[no-untyped-def]
    """Copy a state."""
    for row in range(len(state)):
        for lane in range(LANES):
            to[row, lane] = state[row, lane]


@compiled
def scatter(values, factor, places, out):  # type: ignore[no-untyped-def]
    """Write factor * values to places of a row."""
    for i in range(len(places)):
        out[np.uint64(places[i])] = factor * values[i]
