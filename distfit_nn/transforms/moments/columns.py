"""Columns of an array carried to normal scores by their moments, by several threads.

    y, kept = forward(x, order, weight, bias, eps, reach)
    law, radius, status = told(kept)
    dx, dweight, dbias = backward(kept, gradient, weight, eps, reach)

`x` and `gradient` are (n, d) of float32 or float64, of any strides, n, d >= 1; weight and bias
float64 (d,). Columns that are contiguous are worked on where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from distfit_nn._threads import share, threads
from distfit_nn.copula import sort_kernel
from distfit_nn.copula.sort_kernel import TILE
from distfit_nn.transforms.moments import match_kernel
from distfit_nn.transforms.moments import rules as quadrature
from distfit_nn.transforms.moments import solve_kernel as solver
from distfit_nn.transforms.moments import table_kernel as tables
from distfit_nn.transforms.moments.patient import solve_rest

Array = NDArray[Any]
T = TypeVar("T")

BATCH = 1 << 16  # values that one task works on
COLUMN = 1 << 10  # values that take as long as the solution for a column
WORTH_A_THREAD = 1 << 16  # values for which a second thread is started
# Cells of a table: more where a column is long, so that they are cheap.
CELLS, CELLS_LONG, CELLS_DOUBLE = 96, 256, 2048
LONG = 512


class Kept(NamedTuple):
    """What the way back needs: x, and of each column numbers, moments, solution and table."""

    x: Array
    numbers: Array
    moments: Array
    coefficients: Array
    factors: Array
    table: Array


def cells(n: int, dtype: Any) -> int:
    """Return how many cells the tables of columns of n values have."""
    if np.dtype(dtype) == np.float64:
        return CELLS_DOUBLE
    return CELLS_LONG if n >= LONG else CELLS


def _in_rooms(
    n: int, d: int, room: Callable[[int], T], task: Callable[[T, int, int], None]
) -> None:
    """Call task(room(width), first, last) for batches of at most `width` columns."""
    work = d * (n + COLUMN)
    workers = min(threads(), -(-d // TILE)) if work >= WORTH_A_THREAD else 1
    width = max(1, BATCH // n // TILE) * TILE
    if workers > 1:
        width = min(width, -(-d // (4 * TILE * workers)) * TILE)
    starts = iter(range(0, d, width))

    def run() -> None:
        mine = room(min(width, d))
        for first in starts:  # whoever is free takes the next
            task(mine, first, min(first + width, d))

    share(run, workers)


class _Room:
    """What one thread works in."""

    def __init__(
        self, m: int, n: int, cells: int, constants: tables.Constants, dtype: Any, rows: int
    ) -> None:
        self.tile = np.empty((TILE, TILE), dtype)
        self.rows = [np.empty((m, n), dtype) for _ in range(rows)]
        self.table = tables.new_room(cells, constants)
        self.same = np.ones(m, dtype), np.zeros(m, dtype)

    def columns(self, x: Array, first: int, last: int, which: int) -> Array:
        """Return columns of x as rows, copied where they are not contiguous."""
        if not self.rows:
            return x.T[first:last]
        rows = self.rows[which][: last - first]
        sort_kernel.copy_columns(x, first, self.tile, rows)
        return rows

    def store(self, rows: Array, first: int, x: Array) -> None:
        """Write rows to columns first, first + 1, ... of x, unless they are there."""
        if self.rows:
            factors, terms = (part[: len(rows)] for part in self.same)
            sort_kernel.copy_back(rows, factors, terms, first, self.tile, x)


def _along(x: Array) -> bool:
    """Return whether columns of x are contiguous."""
    return x.T.flags.c_contiguous


def forward(
    x: Array, order: int, weight: Array, bias: Array, eps: float, reach: float
) -> tuple[Array, Kept]:
    """Return y (n, d), columns contiguous where those of x are, and what the way back needs."""
    n, d = x.shape
    along, size, count = _along(x), order + 1, cells(n, x.dtype)
    y = np.empty((d, n), x.dtype).T if along else np.empty((n, d), x.dtype)
    numbers, moments = np.empty((d, match_kernel.NUMBERS)), np.empty((d, size))
    coefficients, factors = np.empty((d, size)), np.empty((d, size, size))
    ranges = np.empty((d, 3))
    table = np.empty((d, 2, count + 1))
    tolerances = solver.DOUBLE if x.dtype == np.float64 else solver.SINGLE
    rules = quadrature.rules()
    constants = tables.constants(x.dtype == np.float64)

    def room(m: int) -> tuple[_Room, solver.Work]:
        return _Room(m, n, count, constants, x.dtype, 0 if along else 1), solver.new_work(order)

    def task(mine: tuple[_Room, solver.Work], first: int, last: int) -> None:
        room, work = mine
        here = slice(first, last)
        rows = room.columns(x, first, last, 0)
        out = y.T[here] if along else rows
        some = (part[here] for part in (numbers, ranges, moments, coefficients, factors))
        stats, ends, *solution = some
        match_kernel.prepare(rows, tolerances, rules, work, stats, ends, *solution)
        solve_rest(solution[0], ends, stats[:, match_kernel.SHARE], *solution[1:])
        match_kernel.forward(
            rows, weight[here], bias[here], eps, reach, constants, room.table, stats, ends,
            solution[1], table[here], out,
        )  # fmt: skip
        room.store(out, first, y)

    _in_rooms(n, d, room, task)
    return y, Kept(x, numbers, moments, coefficients, factors, table)


def told(kept: Kept) -> tuple[Array, Array, Array]:
    """Return what `match.Moments` holds."""
    d, size = kept.moments.shape
    parts = np.empty((size, d)), np.empty(d), np.empty(d, np.int64)
    match_kernel.tell(kept.numbers, *parts)
    return parts


def backward(
    kept: Kept, gradient: Array, weight: Array, eps: float, reach: float
) -> tuple[Array, Array, Array]:
    """Return the gradients by x (n, d), weight and bias (d,) from that by y."""
    x, numbers, moments, coefficients, factors, table = kept
    n, d = x.shape
    along = _along(x)
    if along and not _along(gradient):
        gradient = np.ascontiguousarray(gradient.T).T
    dx = np.empty((d, n), x.dtype).T if along else np.empty((n, d), x.dtype)
    dweight, dbias = np.empty(d), np.empty(d)
    constants = tables.constants(x.dtype == np.float64)

    def room(m: int) -> _Room:
        return _Room(m, n, table.shape[2] - 1, constants, x.dtype, 0 if along else 2)

    def task(room: _Room, first: int, last: int) -> None:
        here = slice(first, last)
        rows, slopes = room.columns(x, first, last, 0), room.columns(gradient, first, last, 1)
        out = dx.T[here] if along else rows
        match_kernel.backward(
            rows, slopes, weight[here], eps, reach, constants, room.table, numbers[here],
            moments[here], coefficients[here], factors[here], table[here], dweight[here],
            dbias[here], out,
        )  # fmt: skip
        room.store(out, first, dx)

    _in_rooms(n, d, room, task)
    return dx, dweight, dbias
