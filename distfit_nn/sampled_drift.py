"""Drift between two entries of any size: a sample of the rows of each, some units at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distfit_nn.capture.entries import CHUNK, Entry
from distfit_nn.errors import InputError
from distfit_nn.pairs import Pair
from distfit_nn.stats.drift import Drift, _judged, _Measured, _measured
from distfit_nn.stats.drift_exchange import exchange
from distfit_nn.stats.row_sample import RowSample, SampledRows
from distfit_nn.stats.rows import Int
from distfit_nn.streaming import Progress

_TOGETHER = 64  # units are measured in multiples of it
_COPIES = 4  # of the sampled rows: two sides, of which one is being drawn and ordered


@dataclass(frozen=True)
class DriftSettings:
    """How rows are sampled and effects judged; see `distfit_nn.compare`."""

    permutations: int
    alpha: float
    least_effect: float
    paired: bool
    blocks: int
    rows: int
    seed: int
    memory: int

    def passes(self, pair: Pair) -> list[slice]:
        """Return the units that are measured at once, so that the memory is enough."""
        entries = (pair.before, pair.after)
        itemsize = max(piece.itemsize for entry in entries for piece in entry.pieces)
        rows, units = max(entry.rows for entry in entries), pair.before.units
        chunk = min(rows * units, max(CHUNK, units)) * itemsize
        unit = _COPIES * min(rows, self.rows) * itemsize
        width = max((self.memory - chunk) // unit // _TOGETHER, 1) * _TOGETHER
        return [slice(j, min(j + width, units)) for j in range(0, units, width)]


def drift_between(pair: Pair, settings: DriftSettings, progress: Progress | None = None) -> Drift:
    """Return the drift between two entries, the same bits however many passes it takes.

    Raises
    ------
    InputError
        The rows are to be paired and cannot be.
    """
    if settings.paired:
        _check_pairing(pair)
    passes = settings.passes(pair)
    tell = [_teller(entry, len(passes), progress) for entry in (pair.before, pair.after)]
    parts = []
    for units in passes:
        x = _sampled(pair.before, units, settings, tell[0])
        y = _sampled(pair.after, units, settings, tell[1])
        labels = _groupings(pair, x, y, settings)
        parts.append(_measured(x.values, y.values, labels, settings.paired))
    measured = _joined(parts)
    effects, drifted, layer = _judged(measured, settings.alpha, settings.least_effect)
    return Drift(
        **effects,
        drifted=drifted,
        layer=layer,
        n=measured.n,
        m=measured.m,
        paired_correlation=measured.correlation if settings.paired else None,
        rows=(len(x.row), len(y.row)),
        rows_seen=(x.seen, y.seen),
        permutations=settings.permutations,
        alpha=settings.alpha,
        least_effect=settings.least_effect,
    )


def _check_pairing(pair: Pair) -> None:
    """Raise if row i of one entry is not row i of the other, as far as one can know.

    Where it is, the same rows are sampled of both: parts and hashes follow from the shape.
    """
    before, after = pair.before, pair.after
    if (before.rows, before.rows_seen) != (after.rows, after.rows_seen):
        raise InputError(
            f"paired needs the same rows before and after, but {pair.layer!r} {pair.site} has "
            f"{_rows(before)} before and {_rows(after)} after"
        )
    if before.rows < before.rows_seen and before.step != after.step:
        raise InputError(
            f"paired needs the same rows before and after, but of {pair.layer!r} {pair.site} "
            f"{_rows(before)} rows were recorded, others at each step"
        )


def _rows(entry: Entry) -> str:
    return f"{entry.rows}" + f" of {entry.rows_seen}" * (entry.rows < entry.rows_seen)


def _sampled(
    entry: Entry, units: slice, settings: DriftSettings, done: Callable[[int], None]
) -> SampledRows:
    """Draw rows of some units; where all rows are few enough, all."""
    sample = RowSample(min(settings.rows, entry.rows), seed=settings.seed)
    for part in entry.parts():
        sample.begin(part.number)
        for chunk in part.chunks():
            sample.update(chunk[:, units])
        done(sum(piece.rows for piece in part.pieces))
    return sample.finalise()


def _groupings(
    pair: Pair, x: SampledRows, y: SampledRows, settings: DriftSettings
) -> NDArray[np.uint8]:
    """Return how rows are exchanged, the same for all units."""
    blocks = None
    if settings.blocks > 1:
        places = (_places(pair.before, x), _places(pair.after, y))
        blocks = tuple(place // settings.blocks for place in places)
    return exchange(
        len(x.row),
        len(y.row),
        blocks,
        paired=settings.paired,
        permutations=settings.permutations,
        max_rows=None,
        rng=np.random.default_rng(settings.seed),
    ).labels


def _places(entry: Entry, sample: SampledRows) -> Int:
    """Return the number in its entry of each row that was drawn."""
    lengths = [sum(piece.rows for piece in part.pieces) for part in entry.parts()]
    places: Int = np.cumsum([0, *lengths])[sample.shard] + sample.row
    return places


def _joined(parts: Sequence[_Measured]) -> _Measured:
    """Return what was measured of some units after the other as one."""
    tables, *others = zip(*parts, strict=True)
    return _Measured(np.concatenate(tables, axis=1), *(np.concatenate(column) for column in others))


def _teller(entry: Entry, passes: int, progress: Progress | None) -> Callable[[int], None]:
    """Return what counts the rows of an entry that are done, and tells."""
    done = 0

    def tell(rows: int) -> None:
        nonlocal done
        if progress is None:
            return
        if done == 0:
            progress(entry, 0)
        done += rows
        progress(entry, done // passes)

    return tell
