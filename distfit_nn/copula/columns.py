"""Columns of an array taken in batches through the compiled kernels, by several threads.

What differentiates goes through four functions, on float32 or float64 arrays (n, d) of any
strides, n, d >= 1, with `strength` float64 (d,), positive and finite:

    below, above, *kept = soft_counts(x, strength, BOTH, keep=True)      # or BELOW: below, *kept
    scores, *kept = soft_counts(x, strength, NORMAL, keep=True)
    dx, dstrength = soft_slopes(Kept(*kept), strength, g)              # g: by below less by above
    dx, dstrength = soft_slopes(Kept(*kept), strength, g, scores)      # g: by the scores
    lines, rows, *kept = line_scores(x, strength, weight, bias, keep=True)
    dx, dstrength, dweight, dbias = line_slopes(Kept(*kept), strength, g, rows, weight)
                                                        # g: by lines, weight * scores + bias

    lines, scales, shares, rates, rows, *kept = relative_scores(
        x, strength, floor, weight, bias, knots, keep=True)     # rates: strength / scales
    dx, drates, dweight, dbias = line_slopes(Kept(*kept), rates, g, rows, weight)

Columns may come as blocks (N, d, L), too, contiguous, n = N L; then so do outputs and `dx`.
Outputs and `dx` are (n, d) of x's dtype, C-contiguous; `dstrength` is float64 (d,); `rows` are the
scores (d, n). What is kept is x itself, (d, n) int32 or int64 places and (d,) flags.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from distfit_nn._threads import share, threads
from distfit_nn.copula import hard_kernel, rank_kernel, relative_kernel, slope_kernel, sort_kernel
from distfit_nn.copula.chain_kernel import Work, workspace
from distfit_nn.copula.logistic_sum import TERMS, logistic_sum
from distfit_nn.copula.rank_kernel import BELOW, BOTH, NORMAL
from distfit_nn.copula.sort_kernel import TILE
from distfit_nn.copula.sweep_kernel import LANES

__all__ = [
    "BELOW",
    "BOTH",
    "NORMAL",
    "Kept",
    "hard_counts",
    "hard_scores",
    "line_scores",
    "line_slopes",
    "relative_scores",
    "soft_counts",
    "soft_slopes",
]

Array = NDArray[Any]
Order = tuple[Array, NDArray[np.bool_]]  # (m, n) rows, and which of m columns hold a NaN
T = TypeVar("T")
Task = Callable[[T, int, int], None]

BATCH = 1 << 16  # values that one task works on: with their keys they stay in the cache
KEYS = 1 << 15  # values that are sorted at once, or one column
WORTH_A_THREAD = 1 << 16  # values below which a second thread takes longer to start than to work


class Kept(NamedTuple):
    """Columns x, their rows (d, n) in the order of their values, and which hold a NaN."""

    x: Array
    order: Array
    bad: NDArray[np.bool_]


class Relative(NamedTuple):
    """What comes of strengths relative to scales: these (d,), and shares (d, K) at knots (d, K)."""

    floor: float
    scales: Array
    knots: Array
    shares: Array


def size(x: Array) -> tuple[int, int]:
    """Return n and d of columns x (n, d), or of blocks (N, d, L)."""
    return x.size // x.shape[1], x.shape[1]


def read(x: Array, first: int, tile: Array, rows: Array) -> None:
    """Write columns first, first + 1, ... of x to rows (m, n)."""
    if x.ndim == 3:
        sort_kernel.copy_channels(x, first, rows)
    else:
        sort_kernel.copy_columns(x, first, tile, rows)


def write(rows: Array, line: tuple[Array, Array], first: int, tile: Array, x: Array) -> None:
    """Write rows (m, n), times the factors of a line plus its terms, to columns first, ... of x."""
    here = slice(first, first + len(rows))
    if x.ndim == 3:
        sort_kernel.copy_channels_back(rows, line[0][here], line[1][here], first, x)
    else:
        sort_kernel.copy_back(rows, line[0][here], line[1][here], first, tile, x)


def in_rooms(n: int, d: int, room: Callable[[int], T], task: Task[T], grain: int = 0) -> None:
    """Call task(room(width), first, last) for batches of at most `width` columns.

    Several threads share the batches; each has a room of its own, which it uses for all of them.
    Widths are multiples of `grain`, or of what suits soft ranks.
    """
    workers = min(threads(), -(-d // (grain or LANES))) if n * d >= WORTH_A_THREAD else 1
    grain = grain or (TILE if d >= TILE * workers else LANES)
    width = max(1, BATCH // max(n, 1) // grain) * grain
    if workers > 1:
        width = min(width, -(-d // (grain * workers)) * grain)
    starts = iter(range(0, d, width))

    def work() -> None:
        mine = room(min(width, d))
        for first in starts:  # whoever is free takes the next
            task(mine, first, min(first + width, d))

    share(work, workers)


def coefficients(dtype: Any, slopes: bool = False) -> tuple[float, ...]:
    """Return the coefficients of the logistic function, or those of its slope, for a dtype."""
    found = logistic_sum(TERMS[np.dtype(dtype).name]).coefficients
    return tuple(k * c for k, c in enumerate(found, 1)) if slopes else found


class Room:
    """What one thread works in: rows of m columns of n values, whatever is done to them."""

    def __init__(self, m: int, n: int, dtype: Any, rows: int) -> None:
        self.tile = np.empty((TILE, TILE), dtype)
        self.rows = [np.empty((m, n), dtype) for _ in range(rows)]


def empty_order(n: int, d: int) -> Order:
    """Return room for the order of d columns of n values, and for which hold a NaN."""
    return np.empty((d, n), np.int32 if n < 2**31 else np.int64), np.empty(d, np.bool_)


def sort_columns(
    x: Array, first: int, tile: Array, values: Array, order: Array, bad: NDArray[np.bool_]
) -> None:
    """Sort columns first, first + 1, ... of x, float32 or float64, as rows (m, n)."""
    m, n = values.shape
    single = x.dtype == np.float32
    plain = values if single else np.empty((m, n))
    read(x, first, tile, plain)
    room = np.empty((min(m, max(1, KEYS // n)), n), np.uint64)
    for low in range(0, m, len(room)):
        some = slice(low, low + len(room))
        keys = room[: m - low]
        if single:
            sort_kernel.keys32(values[some], keys, bad[some])
            keys.sort(axis=1)
            sort_kernel.sorted32(values[some], keys, order[some])
        else:
            _sort64(plain[some], keys, values[some], order[some], bad[some])


def _sort64(plain: Array, keys: Array, values: Array, order: Array, bad: NDArray[np.bool_]) -> None:
    """Sort rows of float64."""
    bits = max(plain.shape[1] - 1, 1).bit_length()
    failed = np.empty(len(plain), np.bool_)
    sort_kernel.keys64(plain, bits, keys, bad)
    keys.sort(axis=1)
    sort_kernel.sorted64(plain, bits, keys, order, values, failed)
    for j in np.flatnonzero(failed & ~bad):
        order[j] = np.argsort(plain[j])
        values[j] = plain[j, order[j]]


def soft_counts(x: Array, strength: Array, mode: int, keep: bool) -> tuple[Array, ...]:
    """Return counts or scores (n, d) of columns, as `rank_kernel.soft_counts` has them.

    With `keep`, what `soft_slopes` needs follows: the three parts of `Kept`.
    """
    n, d = x.shape
    outs = [np.empty((n, d), x.dtype) for _ in range(2 if mode == BOTH else 1)]
    kept = empty_order(n, d) if keep else None
    same = np.ones(d, x.dtype), np.zeros(d, x.dtype)
    _ranked(x, strength, mode, kept, outs, None, same)
    return (*outs, x, *kept) if kept else tuple(outs)


def line_scores(
    x: Array, strength: Array, weight: Array, bias: Array, keep: bool
) -> tuple[Array, ...]:
    """Return weight * scores + bias (n, d).

    With `keep`, what `line_slopes` needs follows: the scores (d, n), and the three parts of `Kept`.
    """
    n, d = x.shape
    line = np.array(weight, x.dtype), np.array(bias, x.dtype)
    out = np.empty((n, d), x.dtype)
    if not keep:
        _ranked(x, strength, NORMAL, None, [out], None, line)
        return (out,)
    scores, kept = np.empty((d, n), x.dtype), empty_order(n, d)
    _ranked(x, strength, NORMAL, kept, [out], scores, line)
    return out, scores, x, *kept


def relative_scores(
    x: Array,
    strength: Array,
    floor: float,
    weight: Array,
    bias: Array,
    knots: Array,
    keep: bool,
) -> tuple[Array, ...]:
    """Return weight * scores + bias of strengths over scales, and more of the columns.

    The scales (d,), see `relative_kernel`, are returned, and so are the soft shares (d, K) at knots
    (d, K), each row going up. With `keep`, what `line_slopes` needs follows: the rates, strength /
    scale, but 0 for constant columns; the scores (d, n); and the three parts of `Kept`.
    """
    n, d = size(x)
    line = np.array(weight, x.dtype), np.array(bias, x.dtype)
    out, rates = np.empty(x.shape, x.dtype), np.array(strength, np.float64)
    knots = np.array(knots, np.float64, order="C")
    beside = Relative(floor, np.empty(d), knots, np.empty(knots.shape))
    scores, kept = (np.empty((d, n), x.dtype), empty_order(n, d)) if keep else (None, None)
    _ranked(x, rates, NORMAL, kept, [out], scores, line, beside)
    found = out, beside.scales, beside.shares
    return (*found, rates, scores, x, *kept) if kept and scores is not None else found


def _ranked(
    x: Array,
    strength: Array,
    mode: int,
    kept: Order | None,
    outs: list[Array],
    scores: Array | None,
    line: tuple[Array, Array],
    beside: Relative | None = None,
) -> None:
    """Write the results of `mode` on a line to `outs`, and, if asked for, as they are (d, n).

    Strengths that are relative become rates, in place.
    """
    n, d = size(x)
    # Of one layout: another would be compiled anew.
    rates = strength if beside else np.array(strength, np.float64)
    factors = coefficients(x.dtype)
    rows = len(outs) if scores is None else 0
    shares = beside is not None and beside.knots.shape[1] > 0

    def room(m: int) -> tuple[Room, Order, Work, Array]:
        work = workspace(n, len(factors), len(factors))
        counts = np.empty((m if shares else 0, n), x.dtype)
        return Room(m, n, x.dtype, 1 + rows), kept or empty_order(n, m), work, counts

    def task(mine: tuple[Room, Order, Work, Array], first: int, last: int) -> None:
        room, (order, bad), work, counts = mine
        here, inside = slice(first, last), slice(0, last - first)
        values, *results = (row[inside] for row in room.rows)
        ordered = values, *(part[here if kept else inside] for part in (order, bad))
        sort_columns(x, first, room.tile, *ordered)
        if scores is not None:
            results = [scores[here]]
        strengths = rates[here].copy()
        if beside is not None:
            relative_kernel.relative_rates(
                values, ordered[2], strengths, beside.floor, beside.scales[here], rates[here]
            )
        rank_kernel.soft_counts(
            *ordered, rates[here], factors, mode, work, results[0], results[-1], counts[inside]
        )
        if beside is not None and shares:
            _take_shares(beside, values, counts, ordered[2], strengths, here)
        for result, out in zip(results, outs, strict=True):
            write(result, line, first, room.tile, out)

    in_rooms(n, d, room, task)


def _take_shares(
    beside: Relative, values: Array, counts: Array, bad: Array, strengths: Array, here: slice
) -> None:
    """Write the shares of some columns at their knots."""
    count = beside.knots.shape[1]
    places, gaps, near = np.empty(count, np.int64), np.empty((2, count)), np.empty((2, count))
    knots, shares = beside.knots[here], beside.shares[here]
    relative_kernel.soft_shares(
        values, counts, bad, strengths, beside.scales[here], knots, places, gaps, near, shares
    )


def soft_slopes(
    kept: Kept, strength: Array, gradient: Array, scores: Array | None = None
) -> tuple[Array, Array]:
    """Return the gradients with respect to x (n, d) and strength (d,).

    `gradient` (n, d) is that with respect to the counts below, less that with respect to those
    above; or, with the `scores` that mode NORMAL returned, that with respect to the scores.
    """
    if scores is not None:
        return line_slopes(kept, strength, gradient, scores.T, np.ones(len(strength)))[:2]
    return _slopes(kept, strength, gradient, lambda *_: None)


def line_slopes(
    kept: Kept, strength: Array, gradient: Array, scores: Array, weight: Array
) -> tuple[Array, Array, Array, Array]:
    """Return the gradients of weight * scores + bias by x (n, d), strength, weight and bias (d,).

    `gradient` (n, d) is that with respect to the sum, `scores` (d, n) what `line_scores` returned.
    """
    weight = np.array(weight, np.float64)
    by_weight, by_bias = np.empty(len(weight)), np.empty(len(weight))

    def through(rows: Array, first: int, work: Work) -> None:
        here = slice(first, first + len(rows))
        inside = np.ascontiguousarray(scores[here])
        slope_kernel.through_lines(rows, inside, weight[here], work, by_weight[here], by_bias[here])

    return (*_slopes(kept, strength, gradient, through), by_weight, by_bias)


def _slopes(
    kept: Kept, strength: Array, gradient: Array, through: Callable[[Array, int, Work], None]
) -> tuple[Array, Array]:
    """Return the gradients by x and strength, of those that `through` makes those by counts."""
    x, order, bad = kept
    n, d = size(x)
    strength = np.array(strength, np.float64)
    factors = coefficients(x.dtype, slopes=True)
    dx, dstrength = np.empty(x.shape, x.dtype), np.empty(d)
    same = np.ones(d, x.dtype), np.zeros(d, x.dtype)

    def room(m: int) -> tuple[Room, Array, Work]:
        work = workspace(n, 2 * len(factors), len(factors))
        return Room(m, n, x.dtype, 2 if d > 1 else 1), np.empty(m), work

    def task(mine: tuple[Room, Array, Work], first: int, last: int) -> None:
        room, halves, work = mine
        here, inside = slice(first, last), slice(0, last - first)
        values = room.rows[0][inside]
        rows = room.rows[1][inside] if d > 1 else dx.reshape(1, n)
        read(x, first, room.tile, rows)
        sort_kernel.take(rows, order[here], values)
        read(gradient, first, room.tile, rows)
        through(rows, first, work)
        slope_kernel.soft_slopes(
            values,
            order[here],
            bad[here],
            strength[here],
            factors,
            work,
            rows,
            halves[inside],
            dstrength[here],
        )
        if d > 1:  # one column is a row
            write(rows, same, first, room.tile, dx)

    in_rooms(n, d, room, task)
    return dx, dstrength


def hard_counts(x: Array) -> list[Array]:
    """Return the counts below and above each value of the columns of x (n, d), ties half each."""
    halves = np.arange(1, 2 * len(x)) / 2.0
    return hard_scores(x, [halves, halves[::-1].copy()])


def hard_scores(x: Array, tables: list[Array]) -> list[Array]:
    """Return, for each table (2 n - 1,), its entries 2 r - 1 at the mid-ranks r of x (n, d)."""
    n, d = x.shape
    outs = [np.empty((n, d), x.dtype) for _ in tables]
    same = np.ones(d, x.dtype), np.zeros(d, x.dtype)

    def room(m: int) -> tuple[Room, Order]:
        return Room(m, n, x.dtype, 2), empty_order(n, m)

    def task(mine: tuple[Room, Order], first: int, last: int) -> None:
        room, inside = mine[0], slice(0, last - first)
        values, rows = (row[inside] for row in room.rows)
        order, bad = (part[inside] for part in mine[1])
        sort_columns(x, first, room.tile, values, order, bad)
        for table, out in zip(tables, outs, strict=True):
            hard_kernel.look_up(values, order, bad, table, rows)
            write(rows, same, first, room.tile, out)

    in_rooms(n, d, room, task)
    return outs
