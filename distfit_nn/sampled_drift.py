"""Drift between two entries of any size: a sample of the rows of each, some units at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distfit_nn.capture.entries import Entry
from distfit_nn.errors import InputError
from distfit_nn.pairs import Pair
from distfit_nn.stats.drift import Drift
from distfit_nn.stats.drift_exchange import exchange
from distfit_nn.stats.drift_measures import UnitMeasures, judged_units, measured_units
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
        units, chunks = pair.before.units, max(entry.chunk_bytes for entry in entries)
        unit = _COPIES * max(min(entry.rows, self.rows) * entry.itemsize for entry in entries)
        width = max((self.memory - chunks) // unit // _TOGETHER, 1) * _TOGETHER
        return [slice(j, min(j + width, units)) for j in range(0, units, width)]


class Sampler:
    """Draws rows of entries; keeps the last ones, which from step to step the next pair needs."""

    def __init__(self, settings: DriftSettings, progress: Progress | None = None) -> None:
        self._settings, self._progress = settings, progress
        self._last: tuple[Entry, slice, SampledRows] | None = None

    def draw(self, entry: Entry, units: slice, share: tuple[int, int]) -> SampledRows:
        """Draw rows of some units, in pass `share[0]` of `share[1]`; all, if they are few."""
        if self._last is None or self._last[0] is not entry or self._last[1] != units:
            self._last = None  # before there is another
            self._last = entry, units, self._drawn(entry, units, *share)
        return self._last[2]

    def _drawn(self, entry: Entry, units: slice, number: int, passes: int) -> SampledRows:
        sample = RowSample(min(self._settings.rows, entry.rows), seed=self._settings.seed)
        done = number * entry.rows
        if number == 0:
            self._tell(entry, 0)
        for part in entry.parts():
            sample.begin(part.number)
            for chunk in part.chunks():
                sample.update(chunk[:, units])
            done += part.rows
            self._tell(entry, done // passes)
        entry.check_unchanged()
        return sample.finalise()

    def _tell(self, entry: Entry, rows: int) -> None:
        if self._progress is not None:
            self._progress(entry, rows)


def drift_between(pair: Pair, settings: DriftSettings, sampler: Sampler) -> Drift:
    """Return the drift between two entries, the same bits however many passes it takes.

    Raises
    ------
    InputError
        The rows are to be paired and cannot be.
    """
    if settings.paired:
        _check_pairing(pair)
    passes = settings.passes(pair)
    parts = []
    for number, units in enumerate(passes):
        x = sampler.draw(pair.before, units, (number, len(passes)))
        y = sampler.draw(pair.after, units, (number, len(passes)))
        labels = _groupings(pair, x, y, settings)
        parts.append(measured_units(x.values, y.values, labels, settings.paired))
    measured = _joined(parts)
    effects, drifted, layer = judged_units(measured, settings.alpha, settings.least_effect)
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


def _groupings(
    pair: Pair, x: SampledRows, y: SampledRows, settings: DriftSettings
) -> NDArray[np.uint8]:
    """Return how rows are exchanged, the same for all units."""
    blocks = None
    if settings.blocks > 1:
        drawn = (places(pair.before, x), places(pair.after, y))
        blocks = tuple(rows // settings.blocks for rows in drawn)
    return exchange(
        len(x.row),
        len(y.row),
        blocks,
        paired=settings.paired,
        permutations=settings.permutations,
        max_rows=None,
        rng=np.random.default_rng(settings.seed),
    ).labels


def places(entry: Entry, sample: SampledRows) -> Int:
    """Return the number in its entry of each row that was drawn."""
    lengths = [part.rows for part in entry.parts()]
    starts: Int = np.cumsum([0, *lengths])
    return starts[sample.shard] + sample.row


def _joined(parts: Sequence[UnitMeasures]) -> UnitMeasures:
    """Return what was measured of some units after the other as one."""
    tables, *others = zip(*parts, strict=True)
    return UnitMeasures(
        np.concatenate(tables, axis=1), *(np.concatenate(column) for column in others)
    )
