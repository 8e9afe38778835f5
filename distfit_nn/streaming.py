"""From entries that need not fit into memory to summaries of their columns.

An entry is cut into parts (see `distfit_nn.capture.entries`), each of which is a shard of an
accumulator. Who measures which part makes no difference to any bit of the result: threads of this
process, or workers of a cluster.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

from distfit_nn._threads import threads
from distfit_nn.capture.entries import CHUNK, Entry, Part
from distfit_nn.errors import InputError
from distfit_nn.stats.accumulator import WIDTH, Accumulator, ColumnSummary

Progress = Callable[[Entry, int], None]

MEMORY = 256 * 10**6
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {f"{letter}IB": 2 ** (10 * power) for power, letter in enumerate("KMGT", 1)}


@dataclass(frozen=True)
class Settings:
    """What an accumulator is made with, and the memory that it may take."""

    order: int = 6
    bins: int = 1024
    rows: int = 5000
    seed: int = 0
    memory: int = MEMORY

    def accumulator(self, columns: int) -> Accumulator:
        """Return an empty one."""
        return Accumulator(
            columns, order=self.order, bins=self.bins, rows=self.rows, seed=self.seed
        )

    def passes(self, entry: Entry, workers: int) -> list[slice]:
        """Return the units that are measured at once, so that the memory is enough.

        Each worker holds a chunk, as it lies and in float64, and the state of its units.
        """
        itemsize = max(piece.itemsize for piece in entry.pieces)
        chunk = min(entry.rows * entry.units, max(CHUNK, entry.units)) * itemsize
        unit = 64 * self.bins + min(entry.rows, self.rows) * 2 * itemsize + 2000
        room = self.memory // workers - chunk
        width = max(room // unit // WIDTH, 1) * WIDTH
        return [slice(j, min(j + width, entry.units)) for j in range(0, entry.units, width)]


def memory_size(value: Any) -> int:
    """Return a number of bytes, which may be text such as "500MB" or "1 GiB".

    Raises
    ------
    InputError
        It is neither, or not positive.
    """
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([A-Za-z]*)\s*", value)
        if found is not None and found[2].upper() in _UNITS:
            value = int(float(found[1]) * _UNITS[found[2].upper()])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 2**63:
        raise InputError(
            f'memory_limit must be a number of bytes or text such as "500MB", got {value!r}'
        )
    return int(value)


def measure(
    parts: Iterator[Part],
    units: slice,
    settings: Settings,
    done: Callable[[Part], None] | None = None,
) -> Accumulator:
    """Return what some parts of an entry have in some of its units."""
    found: Accumulator | None = None
    for part in parts:
        for chunk in part.chunks():
            table = chunk[:, units]
            if found is None:
                found = settings.accumulator(table.shape[1])
            found.update(table, shard=part.number)
        if done is not None:
            done(part)
    return found if found is not None else settings.accumulator(units.stop - units.start)


def summarise_entry(
    entry: Entry, settings: Settings, progress: Progress | None = None
) -> ColumnSummary:
    """Summarise the columns of an entry in the threads of this process."""
    workers = min(threads(), sum(1 for _ in entry.parts()))
    passes = settings.passes(entry, workers)
    counter = _Counter(entry, len(passes), progress)
    return ColumnSummary.join(
        [_summarise_units(entry, units, settings, workers, counter) for units in passes]
    )


def _summarise_units(
    entry: Entry, units: slice, settings: Settings, workers: int, counter: _Counter
) -> ColumnSummary:
    parts = _Shared(entry.parts())
    if workers == 1:
        return measure(parts, units, settings, counter).finalise()
    with ThreadPoolExecutor(workers) as pool, parts:
        jobs = [pool.submit(measure, parts, units, settings, counter) for _ in range(workers)]
        found, *others = (job.result() for job in jobs)
    for other in others:
        found.merge(other)
    return found.finalise()


class _Shared:
    """An iterator that several threads draw from, until the context is left."""

    def __init__(self, items: Iterator[Part]) -> None:
        self._items, self._lock = items, Lock()

    def __iter__(self) -> Iterator[Part]:
        return self

    def __next__(self) -> Part:
        with self._lock:
            return next(self._items)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._items = iter(())


class _Counter:
    """Counts the rows that are done, and tells."""

    def __init__(self, entry: Entry, passes: int, progress: Progress | None) -> None:
        self._entry, self._passes, self._progress = entry, passes, progress
        self._rows, self._lock = 0, Lock()
        if progress is not None:
            progress(entry, 0)

    def __call__(self, part: Part) -> None:
        if self._progress is not None:
            with self._lock:
                self._rows += sum(piece.rows for piece in part.pieces)
                self._progress(self._entry, self._rows // self._passes)
