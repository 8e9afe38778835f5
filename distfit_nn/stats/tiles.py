"""Rows of a table, dealt out to narrow tiles of columns whose sums fit into a near cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
Float = NDArray[np.float64]

WIDTH = 64  # columns of a tile
ROWS = 2048  # rows of a full tile: a visit to its sums that is worth the way


class Block(NamedTuple):
    """Some rows of a tile: its number, values (n, width) in C order, and weights (n,) or None."""

    tile: int
    values: Array
    weights: Float | None


@njit(cache=True, nogil=True)
def _deal(rows: Array, tiles: Array, held: int, room: int) -> None:
    """Copy each row, read from left to right, to the tiles, which hold some rows already."""
    n, d = rows.shape
    for i in range(n):
        for first in range(0, d, WIDTH):
            width = min(WIDTH, d - first)
            start = room * first + (held + i) * width
            for j in range(width):
                tiles[start + j] = rows[i, first + j]


class Tiles:
    """Rows of d columns on their way to sums, tile by tile.

    Rows are gathered until the tiles are full, however few come at once. They are float32 where
    that holds all values of a table, else float64. Of the memory, `ROWS` rows, there are two, so
    that the blocks of one are valid until those of the next are yielded.
    """

    def __init__(self, columns: int) -> None:
        self.widths = tuple(min(WIDTH, columns - j) for j in range(0, columns, WIDTH))
        self._columns = columns
        self._room = ROWS * max(1, WIDTH // columns)
        self._held = 0
        self._weighted = False
        self._memory, self._spare = (_Memory(np.empty(0, np.float32), np.empty(0)),) * 2

    def put(self, table: Array, weights: Float | None = None) -> Iterator[list[Block]]:
        """Take rows, with weights or without; yield the blocks of all tiles when they are full."""
        dtype = np.dtype(np.float32 if np.can_cast(table.dtype, np.float32) else np.float64)
        if self._held and (dtype, weights is not None) != (self._dtype, self._weighted):
            yield self.rest()
        self._weighted = weights is not None
        start = 0
        while start < len(table):
            if self._held == 0:
                self._make_room(dtype)
            stop = min(start + self._room - self._held, len(table))
            held, self._held = self._held, self._held + stop - start
            with np.errstate(over="ignore"):  # a long double may become inf: counted as such
                rows = np.ascontiguousarray(table[start:stop], dtype)
            _deal(rows, self._memory.values, held, self._room)
            if weights is not None:
                self._memory.weights[held : self._held] = weights[start:stop]
            start = stop
            if self._held == self._room:
                yield self.rest()

    def rest(self) -> list[Block]:
        """Return the blocks of what has been put and not been yielded."""
        held, self._held = self._held, 0
        values, weights = self._memory
        self._memory, self._spare = self._spare, self._memory
        if held == 0:
            return []
        shares = weights[:held] if self._weighted else None
        starts = (self._room * number * WIDTH for number in range(len(self.widths)))
        return [
            Block(number, values[start : start + held * width].reshape(held, width), shares)
            for number, (start, width) in enumerate(zip(starts, self.widths, strict=True))
        ]

    @property
    def _dtype(self) -> np.dtype[Any]:
        return self._memory.values.dtype

    def _make_room(self, dtype: np.dtype[Any]) -> None:
        values, weights = self._memory
        if values.dtype != dtype or not len(values):
            values = np.empty(self._room * self._columns, dtype)
        if self._weighted and not len(weights):
            weights = np.empty(self._room)
        self._memory = _Memory(values, weights)


class _Memory(NamedTuple):
    values: Array
    weights: Float


class Workers:
    """Threads, this one among them, that work on some tasks while it prepares the next."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        self._due: list[tuple[Future[None], Callable[[], None]]] = []

    def take(self, work: Callable[[Block], None], blocks: Iterable[Block]) -> None:
        """Begin to work on blocks, after those that were taken before."""
        self.wait()
        tasks = [partial(work, block) for block in blocks]
        if self._pool is None:
            for task in tasks:
                task()
        else:
            self._due = [(self._pool.submit(task), task) for task in tasks]

    def wait(self) -> None:
        """Work on what is left, from the end; return when all is done, or raise what went wrong."""
        due, self._due = self._due, []
        for future, task in reversed(due):
            if future.cancel():
                task()
        for future, _ in due:
            if not future.cancelled():
                future.result()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies, here or elsewhere, work in one thread, on nothing yet."""
        self.wait()
        return Workers, (1,)
