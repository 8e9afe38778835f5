"""How far a job is, how fast it goes and how long it will take, on standard error.

In a terminal this is one line that is written over; elsewhere (a log) a line now and then. Both end
with one line that says what was done.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from distfit_nn.cli.console import one_line, say

if TYPE_CHECKING:
    from distfit_nn.capture.entries import Entry

LIVE_SECONDS, LOG_SECONDS = 0.1, 10.0  # between two states shown
ERASE = "\r\x1b[K"
Clock = Callable[[], float]


class Meter:
    """Shows the state of a job while its with-block runs; the parts of a state are joined by |.

    Parameters
    ----------
    quiet : bool
        Show nothing.
    stream : text file, default standard error
    clock : callable
        The time in seconds.
    """

    def __init__(
        self, quiet: bool, stream: TextIO | None = None, clock: Clock = time.monotonic
    ) -> None:
        self._quiet, self._stream, self._clock = quiet, stream or sys.stderr, clock
        self._live = self._stream.isatty()
        self._start = self._shown = clock()
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.erase()
        if kind is None and not self._quiet:
            say(self.summary())

    @property
    def seconds(self) -> float:
        """Seconds since the job began."""
        return self._clock() - self._start

    def show(self) -> None:
        """Show the state, unless it was shown a moment ago."""
        interval = LIVE_SECONDS if self._live else LOG_SECONDS
        if self._quiet or self._clock() - self._shown < interval:
            return
        self._shown = self._clock()
        line = one_line(" | ".join(part for part in self.state() if part))
        if self._live:
            width = max(shutil.get_terminal_size().columns - 1, 1)
            self._stream.write(ERASE + line[:width])
            self._stream.flush()
            self._drawn = True
        else:
            say(line)

    def erase(self) -> None:
        """Remove what stands in the terminal, so that something else can be printed."""
        if self._drawn:
            self._stream.write(ERASE)
            self._stream.flush()
            self._drawn = False

    def state(self) -> list[str]:
        """Return the parts of the line that says how far the job is."""
        raise NotImplementedError

    def summary(self) -> str:
        """Return the line that says what was done."""
        raise NotImplementedError


class RowMeter(Meter):
    """Follows a job that reads recordings; call it with an entry and the rows that are done.

    Parameters
    ----------
    verb : str
        What is done, as "analyzed".
    total : callable
        Returns how many recordings and bytes there are to read, or None where that is not known
        beforehand; called when it is first shown.
    """

    def __init__(
        self,
        verb: str,
        total: Callable[[], tuple[int, int] | None],
        quiet: bool,
        stream: TextIO | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        super().__init__(quiet, stream, clock)
        self._verb, self._find_total = verb, total
        self._entry: Entry | None = None
        self._entries = self._rows = self._bytes = 0  # of the recordings before the one at hand
        self._here = 0  # rows of that one

    @cached_property
    def _total(self) -> tuple[int, int] | None:
        return self._find_total()

    def __call__(self, entry: Entry, rows: int) -> None:
        if rows == 0:
            self._finish_entry()
            self._entry = entry
            self._entries += 1
        self._here = rows
        self.show()

    def state(self) -> list[str]:
        """Return the parts of the line that says how far the job is."""
        entry = self._entry
        if entry is None:
            return []
        done = self._bytes + self._here * entry.units * entry.itemsize
        recordings, whole = self._total or (None, None)
        known = whole is not None and whole >= done > 0
        of = f" of {recordings}" if recordings else ""
        return [
            f"{100 * done // whole}%" if known and whole else f"{100 * self._here // entry.rows}%",
            f"recording {self._entries}{of}: {entry.layer} {entry.site} step {entry.step}",
            f"{rate((self._rows + self._here) / max(self.seconds, 1e-9))} rows/s",
            f"{size(done / max(self.seconds, 1e-9))}/s",
            f"{duration(self.seconds * (whole - done) / done)} left" if known and whole else "",
        ]

    def summary(self) -> str:
        """Return the line that says what was done."""
        self._finish_entry()
        return (
            f"{self._verb} {counted(self._entries, 'recording')}, {self._rows} rows, "
            f"{size(self._bytes)} in {duration(self.seconds)} "
            f"({size(self._bytes / max(self.seconds, 1e-9))}/s)"
        )

    def _finish_entry(self) -> None:
        if self._entry is not None:
            self._rows += self._entry.rows
            self._bytes += self._entry.rows * self._entry.units * self._entry.itemsize
        self._entry, self._here = None, 0


class StepMeter(Meter):
    """Follows the forward passes of a model; call it after each.

    Parameters
    ----------
    total : int or None
        Passes that there will be, where that is known.
    """

    def __init__(
        self,
        total: int | None,
        quiet: bool,
        stream: TextIO | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        super().__init__(quiet, stream, clock)
        self._total, self.passes = total, 0

    def __call__(self) -> None:
        self.passes += 1
        self.show()

    def state(self) -> list[str]:
        """Return the parts of the line that says how far the job is."""
        left = None if self._total is None else max(self._total - self.passes, 0)
        return [
            f"step {self.passes}" if self._total is None else f"step {self.passes}/{self._total}",
            f"{rate(self.passes / max(self.seconds, 1e-9))} steps/s",
            f"{duration(self.seconds * left / self.passes)} left" if left is not None else "",
        ]

    def summary(self) -> str:
        """Return the line that says what was done."""
        return (
            f"ran {counted(self.passes, 'step')} in {duration(self.seconds)} "
            f"({rate(self.passes / max(self.seconds, 1e-9))} steps/s)"
        )


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def rate(number: float) -> str:
    """Return a number with three digits at most and a letter for its thousands."""
    for letter in ("", "k", "M"):
        if number < 999.5:
            return f"{number:.3g}{letter}"
        number /= 1000
    return f"{number:.3g}G"


def size(number: float) -> str:
    """Return a number of bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def duration(seconds: float) -> str:
    """Return seconds, or minutes and hours as a clock has them."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
