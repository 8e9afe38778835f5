"""What the commands that analyse a source have in common."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from distfit_nn.cli.options import MEMORY_LIMIT
from distfit_nn.cli.progress import RowMeter
from distfit_nn.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfit_nn.analysis import Analysis
    from distfit_nn.capture.entries import Entry


class Work(NamedTuple):
    """How to analyse."""

    order: int = 6
    unit_axis: int | None = None
    memory_limit: str = MEMORY_LIMIT
    scheduler: str | None = None
    mask: Path | None = None


def analysed(source: str, work: Work, quiet: bool) -> Analysis:
    """Return the analysis of a source, with progress on standard error."""
    from distfit_nn.analysis import analyze

    meter = RowMeter("analyzed", lambda: total(source), quiet)
    with _client(work.scheduler) as client, meter:
        return analyze(
            source,
            order=work.order,
            unit_axis=work.unit_axis,
            mask=None if work.mask is None else _array(work.mask),
            memory_limit=work.memory_limit,
            client=client,
            progress=meter,
        )


def total(source: str) -> tuple[int, int] | None:
    """Return how many recordings and bytes a store has; None for all that is not a local store."""
    if not Path(source).is_dir():
        return None
    from distfit_nn.capture.readers import read

    return _sum(read(source))


def compared_total(before: str, after: str | None, steps: Any) -> tuple[int, int] | None:
    """Return how many recordings and bytes are compared; None unless in local stores."""
    if not all(Path(source).is_dir() for source in (before, after or before)):
        return None
    from distfit_nn.capture.readers import read
    from distfit_nn.pairs import matched

    pairs, _ = matched(read(before), None if after is None else read(after), steps)
    return _sum(entry for pair in pairs for entry in (pair.before, pair.after))


def _sum(entries: Iterable[Entry]) -> tuple[int, int]:
    sizes = [entry.rows * entry.units * entry.itemsize for entry in entries]
    return len(sizes), sum(sizes)


def spare_the_source(source: str | Path, output: Path, option: str) -> None:
    """Raise if the output would replace the source, or a file in the store that it is."""
    if output.resolve().is_relative_to(Path(source).resolve()):
        raise InputError(f"{option} must not be the source, {source}, nor in it")


def _array(path: Path) -> NDArray[Any]:
    """Return the array of a .npy file."""
    import numpy as np

    from distfit_nn.capture.files import told

    with told(path, ".npy"), path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _client(scheduler: str | None) -> AbstractContextManager[Any]:
    if scheduler is None:
        return nullcontext()
    from distfit_nn.cluster import connected

    return connected(scheduler)
