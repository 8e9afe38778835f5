"""TensorBoard's logs: each histogram as a unit of values laid out over its buckets."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distfit_nn.capture import files
from distfit_nn.capture.manifest import file_error
from distfit_nn.capture.readers.events import Histogram, histograms, records
from distfit_nn.capture.readers.found import Found
from distfit_nn.capture.slabs import MOST_LAYERS
from distfit_nn.errors import InputError

SIGN = "tfevents"  # in the name of every event file
_MOST = 5000  # values of a histogram
DEEPEST, MOST_ENTRIES = 3, 10_000  # folders of runs, and names, that are looked through


def read_events(path: Path) -> Iterator[Found]:
    """Yield the histograms of an event file, or of all up to three folders below a folder.

    A folder below the given one is a run, whose name is put before its tags. Of several
    histograms of one tag and step, as after a restart, the last is read.
    """
    last: dict[tuple[str, int], _Place] = {}
    for file in _event_files(path):
        run = "" if file == path else file.parent.relative_to(path).as_posix()
        for start, found in _in_file(file):
            name = found.tag if run in ("", ".") else f"{run}/{found.tag}"
            last[name, found.step] = _Place(file, start, found.tag)
            if len(last) > MOST_LAYERS:
                raise InputError(f"holds more than {MOST_LAYERS:,} histograms")
    for (name, step), place in last.items():
        found = _read_again(place, step)
        yield Found(name, laid_out(found), step=step, rows_seen=_count(found))


def has_events(folder: Path) -> bool:
    """Return whether there is an event file among the first `MOST_ENTRIES` of `_below`."""
    return any(map(_is_log, islice(_below(folder), MOST_ENTRIES)))


def _below(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder and, down to `DEEPEST`, in those in it, the least deep first.

    Links are not followed, and folders that may not be looked into are passed over.
    """
    waiting = deque([(os.fspath(folder), 0)])
    while waiting:
        at, depth = waiting.popleft()
        with suppress(OSError), os.scandir(at) as entries:
            for entry in entries:
                if depth < DEEPEST and entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, depth + 1))
                yield entry


def _is_log(entry: os.DirEntry[str]) -> bool:
    return SIGN in entry.name and not os.path.isdir(entry.path)


@dataclass(frozen=True)
class _Place:
    """Where a histogram is: a record may hold several, of different tags."""

    file: Path
    start: int
    tag: str


def _event_files(path: Path) -> list[Path]:
    """Return the event files at or below a path, in the order of their names."""
    if not path.is_dir():
        return [path]
    entries = list(islice(_below(path), MOST_ENTRIES + 1))
    if len(entries) > MOST_ENTRIES:
        raise InputError(
            f"holds more than {MOST_ENTRIES:,} files and folders, too many to look for logs among "
            "them: name the folder of a run"
        )
    logs = [entry for entry in entries if _is_log(entry)]
    for entry in logs:
        if not entry.is_file(follow_symlinks=False):
            raise file_error(entry.path, "is no regular file; a link in a folder is not followed")
    return sorted(Path(entry.path) for entry in logs)


def _in_file(path: Path) -> Iterator[tuple[int, Histogram]]:
    """Yield the histograms of a file, each with where its record begins."""
    with open(path, "rb") as file, files.told(path, "a TensorBoard log"):
        for start, data in records(file):
            for found in histograms(data):
                if _count(found):
                    yield start, found


def _read_again(place: _Place, step: int) -> Histogram:
    with open(place.file, "rb") as file, files.told(place.file, "a TensorBoard log"):
        _, data = next(records(file, place.start))
        return [one for one in histograms(data) if (one.tag, one.step) == (place.tag, step)][-1]


def _count(histogram: Histogram) -> int:
    return round(float(histogram.counts.sum()))


def laid_out(histogram: Histogram) -> NDArray[np.float64]:
    """Return up to 5,000 values that have the distribution of a histogram.

    They are its quantiles at (i + 1/2) / k, taken as if the values of a bucket lay evenly in it.
    """
    reached = np.concatenate([[0.0], np.cumsum(histogram.counts)])
    count = min(_MOST, max(1, round(float(reached[-1]))))
    wanted = (np.arange(count) + 0.5) / count * reached[-1]
    at = np.clip(np.searchsorted(reached, wanted, side="left") - 1, 0, len(histogram.counts) - 1)
    share = (wanted - reached[at]) / histogram.counts[at]
    low, high = histogram.edges[at], histogram.edges[at + 1]
    return low * (1 - share) + high * share
