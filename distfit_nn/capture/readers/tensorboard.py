"""TensorBoard's logs: each histogram as a unit of values laid out over its buckets."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
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
_MOST_FILES = 10_000
_DEEPEST = 3  # folders of runs in which files are looked for


def read_events(path: Path) -> Iterator[Found]:
    """Yield the histograms of an event file, or of all below a folder.

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
    """Return whether there is an event file in a folder or a folder of it."""
    for at, below, names in os.walk(folder):
        if any(SIGN in name for name in names):
            return True
        if at.count(os.sep) - str(folder).count(os.sep) >= _DEEPEST:
            below.clear()
    return False


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
    found = []
    for folder, _, names in os.walk(path):  # which follows no links
        found += [Path(folder, name) for name in names if SIGN in name]
        if len(found) > _MOST_FILES:
            raise InputError(f"holds more than {_MOST_FILES:,} event files")
    for file in found:
        if not stat.S_ISREG(os.lstat(file).st_mode):
            raise file_error(file, "is no regular file; a link in a folder is not followed")
    return sorted(found)


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
