"""The summaries of `distfit_nn.streaming`, measured by the workers of a Dask cluster.

Each task measures some parts of an entry, wherever it runs; their accumulators are merged in a
tree. What a worker had done when it died is done again by others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from distfit_nn.capture.entries import Entry, Part
from distfit_nn.errors import InputError
from distfit_nn.stats.accumulator import Accumulator, ColumnSummary
from distfit_nn.streaming import Counter, Progress, Settings, measure, summarise_stored

if TYPE_CHECKING:
    from distributed import Client

TASKS = 4  # for each thread of the cluster: enough to even out their speeds
BRANCHES = 8  # accumulators that are merged at once


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Connect to the scheduler at an address, and leave it at the end.

    Raises
    ------
    InputError
        Dask is not installed, or there is no scheduler.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError("a scheduler needs Dask: pip install 'distfit-nn[dask]'") from None
    try:
        client = Client(address)
    except (OSError, ValueError, TypeError) as error:
        problem = " ".join(str(error).splitlines()[:1]) or type(error).__name__
        raise InputError(f"there is no Dask scheduler at {address!r}: {problem}") from None
    with client:
        yield client


def summariser(client: Client) -> Callable[[Entry, Settings, Progress | None], ColumnSummary]:
    """Return what does on a cluster what `streaming.summarise_entry` does in this process."""
    if not all(hasattr(client, name) for name in ("submit", "nthreads", "gather")):
        raise InputError(f"client must be a dask.distributed.Client, got {type(client).__name__}")
    if getattr(client, "status", "running") in ("closing", "closed"):
        raise InputError(f"client is not connected to a scheduler any more: it is {client.status}")

    def summarise(entry: Entry, settings: Settings, progress: Progress | None) -> ColumnSummary:
        if entry.summaries:  # little is left to do
            return summarise_stored(entry, settings, progress)
        passes = settings.passes(entry)
        counter = Counter(entry, len(passes), progress)
        found = ColumnSummary.join(
            [_summarise_units(client, entry, units, settings, counter) for units in passes]
        )
        entry.check_unchanged()
        return found

    return summarise


def _summarise_units(
    client: Client, entry: Entry, units: slice, settings: Settings, counter: Counter
) -> ColumnSummary:
    from distributed import as_completed

    batches = _batches(list(entry.parts()), TASKS * max(1, sum(client.nthreads().values())))
    leaves = [client.submit(_measured, batch, units, settings, pure=False) for batch in batches]
    batch_of = {leaf.key: batch for leaf, batch in zip(leaves, batches, strict=True)}
    total = _reduced(client, leaves)
    for leaf in as_completed(leaves):
        counter(*batch_of[leaf.key])
    found: Accumulator = total.result()
    return found.finalise()


def _reduced(client: Client, futures: Sequence[Any]) -> Any:
    """Merge accumulators on the cluster, some at a time, until one is left."""
    while len(futures) > 1:
        groups = [futures[i : i + BRANCHES] for i in range(0, len(futures), BRANCHES)]
        futures = [client.submit(_merged, group, pure=False) for group in groups]
    return futures[0]


def _measured(parts: Sequence[Part], units: slice, settings: Settings) -> Accumulator:
    return measure(parts, units, settings)


def _merged(accumulators: Sequence[Accumulator]) -> Accumulator:
    """Merge copies: what a task is given may be wanted again, if a worker dies."""
    total = accumulators[0].copy()
    for other in accumulators[1:]:
        total.merge(other.copy())
    return total


def _batches(parts: list[Part], most: int) -> list[list[Part]]:
    step = -(-len(parts) // most)
    return [parts[i : i + step] for i in range(0, len(parts), step)]
