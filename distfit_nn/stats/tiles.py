"""Columns of a table, some at a time, for sums that stay in a near cache, and threads for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Float = NDArray[np.float64]

WIDTH = 128  # columns of a tile
ROWS = 2048  # rows of a tile that lie together in a near cache
VALUES = 1 << 22  # of a table that is cut into blocks as a whole


class Block(NamedTuple):
    """Some rows of a tile: its number, values (n, width), and weights (n,) or None."""

    tile: int
    values: Array
    weights: Float | None

    def pieces(self) -> Iterator[tuple[Array, Float | None]]:
        """Yield the rows in C order, some at a time: where they are not, in one memory after all.

        A copy that stays in the cache is read twice, by the moments and by the sketch, in less
        time than rows that are far apart.
        """
        n, width = self.values.shape
        lies = self.values.flags.c_contiguous
        step = n if lies else ROWS
        memory = np.empty(0 if lies else min(n, ROWS) * width, self.values.dtype)
        for start in range(0, n, max(1, step)):
            rows = self.values[start : start + step]
            if not lies:
                copied = memory[: rows.size].reshape(rows.shape)
                np.copyto(copied, rows)
                rows = copied
            yield rows, None if self.weights is None else self.weights[start : start + step]


def widths(columns: int) -> tuple[int, ...]:
    """Return the widths of the tiles of so many columns: all but the last are `WIDTH`."""
    return tuple(min(WIDTH, columns - j) for j in range(0, columns, WIDTH))


def rows_at_once(columns: int) -> int:
    """Return how many rows of a table are cut into blocks at once."""
    return max(1, VALUES // columns)


def blocks(table: Array, weights: Float | None = None) -> list[Block]:
    """Cut a table into its tiles: views where it is float32 or float64, else of a copy."""
    plain = np.dtype(np.float32 if np.can_cast(table.dtype, np.float32) else np.float64)
    if table.dtype != plain or table.strides[1] != table.itemsize:
        with np.errstate(over="ignore"):  # a long double may become inf: counted as such
            table = np.ascontiguousarray(table, plain)
    return [
        Block(number, table[:, first : first + WIDTH], weights)
        for number, first in enumerate(range(0, table.shape[1], WIDTH))
    ]


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
