"""From entries that need not fit into memory to summaries of their columns.

An entry is cut into parts (see `distfit_nn.capture.entries`), each of which is a shard of an
accumulator. Who measures which part makes no difference to any bit of the result: this process or
the workers of a cluster.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from distfit_nn._threads import threads
from distfit_nn.capture.entries import Entry, Part
from distfit_nn.capture.summaries import merged
from distfit_nn.errors import InputError
from distfit_nn.stats.accumulator import Accumulator, ColumnSummary
from distfit_nn.stats.tiles import WIDTH

Progress = Callable[[Entry, int], None]

MEMORY = 256 * 10**6
WORTH_A_THREAD = 1 << 18  # values
SKETCH = 64  # bytes of a bin of a live sketch
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

    def accumulator(self, columns: int, workers: int = 1) -> Accumulator:
        """Return an empty one."""
        return Accumulator(
            columns,
            order=self.order,
            bins=self.bins,
            rows=self.rows,
            seed=self.seed,
            threads=workers,
        )

    def passes(self, entry: Entry) -> list[slice]:
        """Return the units that are measured at once, so that the memory is enough.

        Needed are two chunks, and for each unit its sums and the sample, which is there twice
        while it is put in order.
        """
        unit = SKETCH * self.bins + 2 * min(entry.rows, self.rows) * entry.itemsize + 2000
        width = max((self.memory - entry.chunk_bytes) // unit // WIDTH, 1) * WIDTH
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
    parts: Iterable[Part],
    units: slice,
    settings: Settings,
    done: Callable[[Part], None] | None = None,
    workers: int = 1,
) -> Accumulator:
    """Return what some parts of an entry have in some of its units."""
    found = settings.accumulator(units.stop - units.start, workers)
    for part in parts:
        for chunk in part.chunks():
            found.update(chunk[:, units], shard=part.number, keeps=True)
        if done is not None:
            done(part)
    return found


def summarise_entry(
    entry: Entry, settings: Settings, progress: Progress | None = None
) -> ColumnSummary:
    """Summarise the columns of an entry in the threads of this process."""
    if entry.summaries:
        return summarise_stored(entry, settings, progress)
    passes = settings.passes(entry)
    counter = Counter(entry, len(passes), progress)
    few = entry.rows * entry.units < WORTH_A_THREAD
    workers = 1 if few else threads()
    found = ColumnSummary.join(
        [measure(entry.parts(), units, settings, counter, workers).finalise() for units in passes]
    )
    entry.check_unchanged()
    return found


def summarise_stored(
    entry: Entry, settings: Settings, progress: Progress | None = None
) -> ColumnSummary:
    """Summarise the columns of an entry whose rows were summarised when they were recorded.

    Moments, sketch and sample are as they were asked for then: `settings` say how much memory there
    is, and the order that is needed.

    Raises
    ------
    InputError
        The summaries are of a lower order.
    FileError
        A summary is damaged, or they differ in their settings.
    """
    pieces = entry.summaries
    stored = pieces[0].settings()
    if stored.order < settings.order:
        raise InputError(
            f"layer {entry.layer!r} is stored as summaries of order {stored.order}, order "
            f"{settings.order} cannot be had of them"
        )
    if progress is not None:
        progress(entry, 0)
    unit = 2 * SKETCH * stored.bins + 4 * stored.rows * entry.itemsize + 4000
    width = max(settings.memory // unit // WIDTH, 1) * WIDTH
    starts = range(0, entry.units, width)
    passes = [slice(start, min(start + width, entry.units)) for start in starts]
    found = ColumnSummary.join([merged(pieces, units).finalise() for units in passes])
    entry.check_unchanged()
    if progress is not None:
        progress(entry, entry.rows)
    return found


class Counter:
    """Counts the rows that are done, and tells."""

    def __init__(self, entry: Entry, passes: int, progress: Progress | None) -> None:
        self._entry, self._passes, self._progress, self._rows = entry, passes, progress, 0
        if progress is not None:
            progress(entry, 0)

    def __call__(self, *parts: Part) -> None:
        self._rows += sum(part.rows for part in parts)
        if self._progress is not None:
            self._progress(self._entry, self._rows // self._passes)
