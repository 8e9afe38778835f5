"""Columns of an array taken in batches through the compiled kernels, by several threads.

What differentiates goes through three functions, on float32 or float64 arrays (n, d) of any
strides, n, d >= 1, with `strength` float64 (d,), positive and finite:

    below, above, *kept = soft_counts(x, strength, BOTH, keep=True)      # or BELOW: below, *kept
    scores, *kept = soft_counts(x, strength, NORMAL, keep=True)
    dx, dstrength = soft_slopes(Sorted(*kept), strength, g)              # g: by below less by above
    dx, dstrength = soft_slopes(Sorted(*kept), strength, g, scores)      # g: by the scores
    dx, dstrength, dweight, dbias = line_slopes(Sorted(*kept), strength, g, scores, weight)
                                                        # g: by weight * scores + bias of columns

Outputs and `dx` are (n, d) of x's dtype, C-contiguous; `dstrength` is float64 (d,). What is kept,
(d, n) values, (d, n) int32 or int64 places and (d,) flags, is not changed by `soft_slopes`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray

from distfit_nn.copula import hard_kernel, rank_kernel, slope_kernel, sort_kernel
from distfit_nn.copula.chain_kernel import Work, workspace
from distfit_nn.copula.logistic_sum import logistic_sum
from distfit_nn.copula.rank_kernel import BELOW, BOTH, NORMAL
from distfit_nn.copula.sort_kernel import TILE
from distfit_nn.copula.sweep_kernel import LANES

__all__ = [
    "BELOW",
    "BOTH",
    "NORMAL",
    "Sorted",
    "hard_scores",
    "line_slopes",
    "soft_counts",
    "soft_slopes",
]

Array = NDArray[Any]
T = TypeVar("T")

BATCH = 1 << 16  # values that one task works on: with their keys they stay in the cache
KEYS = 1 << 15  # values that are sorted at once, or one column
WORTH_A_THREAD = 1 << 16  # values below which a second thread takes longer to start than to work
TERMS = {np.dtype(np.float32): 10, np.dtype(np.float64): 12}


class Sorted(NamedTuple):
    """Columns in order, each a row: values (d, n), the rows they came from, and which hold NaN."""

    values: Array
    order: Array
    bad: NDArray[np.bool_]


def threads() -> int:
    """Return how many threads Numba is set to use, and torch, where it is loaded: the fewer."""
    torch = sys.modules.get("torch")
    most = int(get_num_threads())
    return most if torch is None else min(most, int(torch.get_num_threads()))


def in_rooms(
    n: int, d: int, room: Callable[[int], T], task: Callable[[T, int, int], None], workers: int
) -> None:
    """Call task(room(width), first, last) for batches of at most `width` columns.

    Several threads share the batches; each has a room of its own, which it uses for all of them.
    """
    workers = min(workers, -(-d // LANES)) if n * d >= WORTH_A_THREAD else 1
    grain = TILE if d >= TILE * workers else LANES
    width = max(1, BATCH // max(n, 1) // grain) * grain
    if workers > 1:
        width = min(width, -(-d // (grain * workers)) * grain)
    starts = iter(range(0, d, width))

    def work(_: int = 0) -> None:
        mine = room(min(width, d))
        for first in starts:  # whoever is free takes the next
            task(mine, first, min(first + width, d))

    if workers == 1:
        work()
        return
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))


def coefficients(dtype: Any, slopes: bool = False) -> tuple[float, ...]:
    """Return the coefficients of the logistic function, or those of its slope, for a dtype."""
    found = logistic_sum(TERMS[np.dtype(dtype)]).coefficients
    return tuple(k * c for k, c in enumerate(found, 1)) if slopes else found


class Room:
    """What one thread works in: rows of m columns of n values, whatever is done to them."""

    def __init__(self, m: int, n: int, dtype: Any, rows: int) -> None:
        self.tile = np.empty((TILE, TILE), dtype)
        self.rows = [np.empty((m, n), dtype) for _ in range(rows)]


def empty_sorted(n: int, d: int, dtype: Any) -> Sorted:
    """Return room for d sorted columns of n values."""
    index = np.int32 if n < 2**31 else np.int64
    return Sorted(np.empty((d, n), dtype), np.empty((d, n), index), np.empty(d, np.bool_))


def slices(kept: Sorted, first: int, last: int) -> Sorted:
    """Return some of the columns."""
    return Sorted(*(part[first:last] for part in kept))


def sort_columns(x: Array, first: int, tile: Array, into: Sorted) -> None:
    """Sort columns first, first + 1, ... of x (n, d), float32 or float64."""
    m, n = into.values.shape
    single = x.dtype == np.float32
    plain = into.values if single else np.empty((m, n))
    sort_kernel.copy_columns(x, first, tile, plain)
    room = np.empty((min(m, max(1, KEYS // n)), n), np.uint64)
    for low in range(0, m, len(room)):
        some = slices(into, low, low + len(room))
        keys = room[: len(some.values)]
        if single:
            sort_kernel.keys32(some.values, keys, some.bad)
            keys.sort(axis=1)
            sort_kernel.sorted32(some.values, keys, some.order)
        else:
            _sort64(plain[low : low + len(room)], keys, some)


def _sort64(plain: Array, keys: Array, into: Sorted) -> None:
    """Sort rows of float64."""
    bits = max(plain.shape[1] - 1, 1).bit_length()
    failed = np.empty(len(plain), np.bool_)
    sort_kernel.keys64(plain, bits, keys, into.bad)
    keys.sort(axis=1)
    sort_kernel.sorted64(plain, bits, keys, into.order, into.values, failed)
    for j in np.flatnonzero(failed & ~into.bad):
        into.order[j] = np.argsort(plain[j])
        into.values[j] = plain[j, into.order[j]]


def soft_counts(x: Array, strength: Array, mode: int, keep: bool) -> tuple[Array, ...]:
    """Return counts or scores (n, d) of columns, as `rank_kernel.soft_counts` has them.

    With `keep`, what `soft_slopes` needs follows: the three parts of `Sorted`.
    """
    n, d = x.shape
    outs = [np.empty((n, d), x.dtype) for _ in range(2 if mode == BOTH else 1)]
    kept = empty_sorted(n, d, x.dtype) if keep else None
    same = np.ones(d, x.dtype), np.zeros(d, x.dtype)
    _ranked(x, strength, mode, kept, outs, None, same)
    return (*outs, *(kept or ()))


def line_scores(
    x: Array, strength: Array, weight: Array, bias: Array
) -> tuple[Array, Array, Array, Array, NDArray[np.bool_]]:
    """Return weight * scores + bias (n, d), and what `line_slopes` needs.

    That is the scores (d, n), and the three parts of `Sorted`.
    """
    n, d = x.shape
    line = np.array(weight, x.dtype), np.array(bias, x.dtype)
    out, scores, kept = (
        np.empty((n, d), x.dtype),
        np.empty((d, n), x.dtype),
        empty_sorted(n, d, x.dtype),
    )
    _ranked(x, strength, NORMAL, kept, [out], scores, line)
    return out, scores, *kept


def _ranked(
    x: Array,
    strength: Array,
    mode: int,
    kept: Sorted | None,
    outs: list[Array],
    scores: Array | None,
    line: tuple[Array, Array],
) -> None:
    """Write the results of `mode` on a line to `outs`, and, if asked for, as they are (d, n)."""
    n, d = x.shape
    strength = np.array(strength, np.float64)  # of one layout: another would be compiled anew
    factors = coefficients(x.dtype)
    rows = len(outs) if scores is None else 0

    def room(m: int) -> tuple[Room, Sorted, Work]:
        inside = kept or empty_sorted(n, m, x.dtype)
        return Room(m, n, x.dtype, rows), inside, workspace(n, len(factors), len(factors))

    def task(mine: tuple[Room, Sorted, Work], first: int, last: int) -> None:
        room, inside, work = mine
        here = slice(first, last)
        ordered = slices(inside, first, last) if kept else slices(inside, 0, last - first)
        sort_columns(x, first, room.tile, ordered)
        results = [row[: last - first] for row in room.rows] if scores is None else [scores[here]]
        rank_kernel.soft_counts(
            *ordered, strength[here], factors, mode, work, results[0], results[-1]
        )
        for result, out in zip(results, outs, strict=True):
            sort_kernel.copy_back(result, line[0][here], line[1][here], first, room.tile, out)

    in_rooms(n, d, room, task, threads())


def soft_slopes(
    kept: Sorted, strength: Array, gradient: Array, scores: Array | None = None
) -> tuple[Array, Array]:
    """Return the gradients with respect to x (n, d) and strength (d,).

    `gradient` (n, d) is that with respect to the counts below, less that with respect to those
    above; or, with the `scores` that mode NORMAL returned, that with respect to the scores.
    """
    if scores is not None:
        return line_slopes(kept, strength, gradient, scores.T, np.ones(len(strength)))[:2]
    return _slopes(kept, strength, gradient, lambda *_: None)


def line_slopes(
    kept: Sorted, strength: Array, gradient: Array, scores: Array, weight: Array
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
    kept: Sorted, strength: Array, gradient: Array, through: Callable[[Array, int, Work], None]
) -> tuple[Array, Array]:
    """Return the gradients by x and strength, of those that `through` makes those by counts."""
    d, n = kept.values.shape
    dtype = kept.values.dtype
    strength = np.array(strength, np.float64)
    factors = coefficients(dtype, slopes=True)
    dx, dstrength = np.empty((n, d), dtype), np.empty(d)
    same = np.ones(d, dtype), np.zeros(d, dtype)

    def room(m: int) -> tuple[Room, Array, Work]:
        work = workspace(n, 2 * len(factors), len(factors))
        return Room(m, n, dtype, 1), np.empty((2, m)), work

    def task(mine: tuple[Room, Array, Work], first: int, last: int) -> None:
        room, columns, work = mine
        rows, here = room.rows[0][: last - first], slice(first, last)
        sort_kernel.copy_columns(gradient, first, room.tile, rows)
        through(rows, first, work)
        slope_kernel.soft_slopes(
            *slices(kept, first, last),
            strength[here],
            factors,
            work,
            rows,
            *columns,
            dstrength[here],
        )
        sort_kernel.copy_back(rows, same[0][here], same[1][here], first, room.tile, dx)

    in_rooms(n, d, room, task, threads())
    return dx, dstrength


def hard_scores(x: Array, tables: list[Array]) -> list[Array]:
    """Return, for each table (2 n - 1,), its entries 2 r - 1 at the mid-ranks r of x (n, d)."""
    n, d = x.shape
    outs = [np.empty((n, d), x.dtype) for _ in tables]
    same = np.ones(d, x.dtype), np.zeros(d, x.dtype)

    def room(m: int) -> tuple[Room, Sorted]:
        return Room(m, n, x.dtype, 1), empty_sorted(n, m, x.dtype)

    def task(mine: tuple[Room, Sorted], first: int, last: int) -> None:
        room, ordered = mine[0], slices(mine[1], 0, last - first)
        sort_columns(x, first, room.tile, ordered)
        rows, here = room.rows[0][: last - first], slice(first, last)
        for table, out in zip(tables, outs, strict=True):
            hard_kernel.look_up(*ordered, table, rows)
            sort_kernel.copy_back(rows, same[0][here], same[1][here], first, room.tile, out)

    in_rooms(n, d, room, task, threads())
    return outs
