"""The compiled sketch of columns: a dense window and a sparse tail.

Of each column, a *window* of 2 K neighbouring bins is counted in an array, which costs a multiply,
a floor and an increment a value: of 16 bits, so that the arrays of a thousand columns stay in the
cache, added up every 65,000 rows. What falls outside goes to the *tail*, a hash table from edges to
counts. When the tail is full, the column is rebuilt: coarsened until it has at most K bins, with
the window where most of the counts are. Until then a column may have more bins than K, at an
exponent below the one that it will end with; `extract` gives the canonical bins at any time.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from distfit_nn.stats.bin_kernel import (
    BOTTOM,
    LEAST,
    USUAL,
    canonical,
    grid,
    lower_edge,
    not_above,
    scaled,
)

Array = NDArray[Any]

_LANES = 256  # values whose bins are found at once, in vector registers
_FAR = 2.0**52  # the indices of a window's bins stay below this
_STRAY = 512  # values that may miss a window before it is placed anew; then twice as many
_MOST_STRAY = 1 << 16
_NEVER = -(1 << 62)
_VALUES = 1 << 13  # of one turn: what is allocated for it stays in the heap and in the cache

_MOST_RECENT = (1 << 16) - 1

_jit = njit(cache=True, nogil=True)


class State(NamedTuple):
    """The live counts of d columns, in arrays that the kernels change in place.

    The first six have one entry a lane: a few columns are repeated until they fill `_LANES`.
    """

    scale: Array  # 2^-e of the bins of the window
    slack: Array  # 1.0, or 0.0 where a bin holds only its edge itself
    base: Array  # index of the first bin of the window; inf where there is none
    column: Array  # int32 (lanes,)
    offset: Array  # int32, where the window of the lane's column starts in `window`, flat
    place: Array  # int32 scratch: the places of a row of lanes in `window`, flat
    exponent: Array  # int64 (d,)
    window: Array  # int64 or float64 (d, 2 K + 1)
    recent: Array  # uint16 (d, 2 K + 1), not in `window` yet; the last counts what missed it
    unsettled: Array  # int64 (1,), rows that `recent` has counted
    keys: Array  # (d, slots) edges of the tail, NaN where a slot is free; slots is a power of two
    counts: Array  # (d, slots), of the dtype of the window
    used: Array  # int64 (d,), slots that are taken
    missed: Array  # int64 (d,), finite values that missed the window since it was placed
    patience: Array  # int64 (d,), how many of them there may be


def new_state(columns: int, bins: int, dtype: Any = np.int64) -> State:
    """Return the state of no data."""
    lanes = columns * max(1, _LANES // max(1, columns))
    column = np.arange(lanes, dtype=np.int32) % max(1, columns)
    size = 2 * bins + 1
    slots = 1 << (2 * bins - 1).bit_length()
    return State(
        scale=np.ones(lanes),
        slack=np.ones(lanes),
        base=np.full(lanes, np.inf),
        column=column,
        offset=column * np.int32(size),
        place=np.zeros(lanes, np.int32),
        exponent=np.full(columns, LEAST),
        window=np.zeros((columns, size), dtype),
        recent=np.zeros((columns, size), np.uint16),
        unsettled=np.zeros(1, np.int64),
        keys=np.full((columns, slots), np.nan),
        counts=np.zeros((columns, slots), dtype),
        used=np.zeros(columns, np.int64),
        missed=np.zeros(columns, np.int64),
        patience=np.full(columns, _STRAY),
    )


@_jit
def _slot(keys: Array, key: float) -> Any:
    """Return the slot of a key in a table that is not full, or the free slot for it."""
    mask = np.uint64(len(keys) - 1)
    bits = np.float64(key).view(np.uint64)
    bits = (bits ^ (bits >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    slot = (bits >> np.uint64(32)) & mask
    while keys[slot] == keys[slot] and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@_jit
def _full(keys: Array) -> int:
    """Return how many slots of a column may be taken: well over K, well under all."""
    return 3 * keys.shape[1] // 4


@_jit
def _fill(
    values: Array,
    shares: Array,
    column: Array,
    start: int,
    scale: Array,
    slack: Array,
    base: Array,
    exponent: Array,
    window: Array,
    keys: Array,
    counts: Array,
    used: Array,
) -> int:
    """Count finite values from `start` on until a column's tail is full; return where that was.

    Takes the arrays of a state one by one: the compiler hands these on for nothing, unlike a tuple.
    """
    limit = _full(keys)
    size = window.shape[1] - 1
    for i in range(start, len(values)):
        x, j = values[i], column[i]
        bins_up = x * scale[j]
        index = not_above(x, np.floor(bins_up))
        if bins_up - index <= slack[j] and 0.0 <= index - base[j] < size:
            window[j, int(index - base[j])] += shares[i]
            continue
        key = lower_edge(x, exponent[j])
        slot = _slot(keys[j], key)
        counts[j, slot] += shares[i]
        if keys[j, slot] != key:
            keys[j, slot] = key
            used[j] += 1
            if used[j] >= limit:
                return i + 1
    return len(values)


@_jit
def _add(values: Array, shares: Array, column: Array, start: int, s: State) -> int:
    """Count finite values from `start` on, as `_fill` does."""
    arrays = s.window, s.keys, s.counts, s.used
    return _fill(values, shares, column, start, s.scale, s.slack, s.base, s.exponent, *arrays)


@_jit
def _settle(state: State, j: int) -> None:
    """Add the recent counts of a column to its window."""
    for k in range(state.recent.shape[1] - 1):
        state.window[j, k] += state.recent[j, k]
        state.recent[j, k] = 0


@_jit
def _make_room(state: State, rows: int) -> None:
    """See to it that no recent count can overflow in so many more rows."""
    if state.unsettled[0] + rows > _MOST_RECENT:
        for j in range(len(state.exponent)):
            _settle(state, j)
        state.unsettled[0] = 0
    state.unsettled[0] += rows


@_jit
def _gather(state: State, j: int) -> tuple[Array, Array]:
    """Return the occupied bins of a column as they are: edges, ascending, and counts."""
    _settle(state, j)
    window, keys = state.window[j], state.keys[j]
    tail = np.sort(keys[keys == keys])
    size = len(window) - 1 if state.base[j] < np.inf else 0
    edges = np.empty(len(tail) + size)
    counts = np.empty(len(edges), window.dtype)
    m = i = 0
    for k in range(size):
        if window[k] > 0:
            edge = max((state.base[j] + k) / state.scale[j], BOTTOM)
            while i < len(tail) and tail[i] < edge:
                edges[m], counts[m] = tail[i], state.counts[j, _slot(keys, tail[i])]
                m, i = m + 1, i + 1
            edges[m], counts[m] = edge, window[k]
            m += 1
    while i < len(tail):
        edges[m], counts[m] = tail[i], state.counts[j, _slot(keys, tail[i])]
        m, i = m + 1, i + 1
    return edges[:m], counts[:m]


@_jit
def _best_window(edges: Array, counts: Array, exponent: int, size: int, share: float) -> float:
    """Return the index of the first of the `size` bins with most counts; inf if below `share`."""
    if abs(exponent) > USUAL:
        return np.inf
    scale = scaled(1.0, -exponent)
    base, best, mass, last = np.inf, 0.0, 0.0, 0
    for first in range(len(edges)):
        low = edges[first] * scale
        while last < len(edges) and edges[last] * scale - low < size:
            mass += counts[last]
            last += 1
        if mass > best and abs(low) < _FAR:
            room = size - (edges[last - 1] * scale - low + 1)
            base, best = low - math.floor(room / 2), mass
        mass -= counts[first]
        last = max(last, first + 1)
    return base if best >= share * counts.sum() else np.inf


@_jit
def _rebuild(state: State, j: int, bins: int, least: int) -> None:
    """Coarsen a column to at most `bins` bins, and to the exponent `least`; place its window."""
    edges, counts = _gather(state, j)
    _install(state, j, edges, counts, max(least, state.exponent[j]), bins)


@_jit
def _install(state: State, j: int, edges: Array, counts: Array, least: int, bins: int) -> None:
    """Put ascending edges and their counts, which are changed, in place of what a column holds."""
    exponent, edges, counts = canonical(edges, counts, least, bins)
    bin_exponent, share = (exponent, 0.0) if exponent > LEAST else (grid(edges), 0.5)
    base = _best_window(edges, counts, bin_exponent, state.window.shape[1] - 1, share)
    for lane in range(j, len(state.base), len(state.exponent)):
        state.base[lane] = base
        state.scale[lane] = scaled(1.0, -bin_exponent) if base < np.inf else 1.0
        state.slack[lane] = 1.0 if exponent > LEAST else 0.0
    coarser = exponent > state.exponent[j]
    state.patience[j] = _STRAY if coarser else min(2 * state.patience[j], _MOST_STRAY)
    state.exponent[j] = exponent
    state.window[j, :] = 0
    state.keys[j, :] = np.nan
    state.counts[j, :] = 0
    state.used[j] = 0
    state.missed[j] = 0 if base < np.inf else _NEVER  # none fits: it never will
    _add(edges, counts, np.full(len(edges), j), 0, state)


@_jit
def begin(state: State, rows: Array, bins: int) -> None:
    """Count the first values of all columns, as rows that are sorted, NaN last: no need to hash."""
    edges = np.empty(rows.shape[1])
    counts = np.empty(rows.shape[1], state.window.dtype)
    for j in range(len(rows)):
        size = 0
        for x in rows[j]:
            if not abs(x) < np.inf:
                continue
            if size > 0 and edges[size - 1] == x:
                counts[size - 1] += 1
            else:
                edges[size], counts[size] = x + 0.0, 1
                size += 1
        _install(state, j, edges[:size].copy(), counts[:size].copy(), LEAST, bins)


@_jit
def _add_all(values: Array, shares: Array, column: Array, state: State, bins: int) -> None:
    """Count finite values; rebuild a column where its tail is full."""
    done = 0
    while done < len(values):
        done = _add(values, shares, column, done, state)
        j = column[done - 1]
        if state.used[j] >= _full(state.keys):
            _rebuild(state, j, bins, LEAST)


@_jit
def _find(values: Array, lanes: tuple[Array, ...], size: int, place: Array) -> bool:
    """Find the places of some values among all windows, in vector registers; were any missed?"""
    scale, slack, base, offset = lanes
    end, last = float(size), np.int32(0)
    for p in range(len(values)):
        x = values[p]
        bins_up = x * scale[p]
        index = np.floor(bins_up)
        inside = bins_up - index <= slack[p] and (x < 0.0) == (index < 0.0)  # else: underflow
        index = index - base[p]
        index = index if inside and index >= 0.0 and index < end else end
        bin_ = np.int32(index)
        last = max(last, bin_)
        place[p] = offset[p] + bin_
    return last == size


@_jit
def _tally(flat: Array, weights: Array, state: State) -> tuple[Array, Array, Array]:
    """Count values in their windows; return the finite ones that missed, weights and columns."""
    lanes, place = (state.scale, state.slack, state.base, state.offset), state.place
    window, recent = state.window.reshape(-1), state.recent.reshape(-1)
    offset, size = state.offset, state.window.shape[1] - 1
    missed, column = np.empty(len(flat)), np.empty(len(flat), np.int32)
    shares = np.empty(len(flat), window.dtype)
    m = 0
    for start in range(0, len(flat), len(place)):
        values = flat[start : start + len(place)]
        if _find(values, lanes, size, place):
            for p in range(len(values)):
                missed[m], column[m] = values[p], state.column[p]
                shares[m] = 1 if len(weights) == 0 else weights[start + p]
                m += place[p] - offset[p] == size and abs(values[p]) < np.inf and shares[m] > 0
        if len(weights) == 0:
            for p in range(len(values)):
                recent[np.uint32(place[p])] += 1
        else:
            for p in range(len(values)):
                window[np.uint32(place[p])] += weights[start + p]
    state.window[:, size] = 0
    state.recent[:, size] = 0
    return missed[:m], shares[:m], column[:m]


@_jit
def update(state: State, flat: Array, weights: Array, bins: int) -> None:
    """Count rows of d values, one after the other; weights are as long, or of length 0 for ones."""
    columns = len(state.exponent)
    step = max(1, _VALUES // columns) * columns
    for start in range(0, len(flat), step):
        _make_room(state, step // columns)
        missed, shares, column = _tally(
            flat[start : start + step], weights[start : start + step], state
        )
        if len(missed) > 0:
            _add_all(missed, shares, column, state, bins)
            for j in column:
                state.missed[j] += 1
            for j in range(columns):
                if state.missed[j] > state.patience[j]:
                    _rebuild(state, j, bins, LEAST)


@_jit
def absorb(state: State, j: int, edges: Array, counts: Array, exponent: int, bins: int) -> None:
    """Count the bins of another histogram of this exponent."""
    if exponent > state.exponent[j]:
        _rebuild(state, j, bins, exponent)
    _add_all(edges, counts, np.full(len(edges), j), state, bins)


@_jit
def extract(state: State, j: int, bins: int) -> tuple[int, Array, Array]:
    """Return the canonical exponent of a column, its edges and its counts; nothing is changed."""
    edges, counts = _gather(state, j)
    return canonical(edges, counts, state.exponent[j], bins)
