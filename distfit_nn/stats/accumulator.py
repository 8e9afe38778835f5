"""Update / merge / finalise: all that is kept of columns that are too long for memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.stats import accumulator_state as states
from distfit_nn.stats import tiles
from distfit_nn.stats.accumulator_checks import Settings
from distfit_nn.stats.moment_sums import MomentSums
from distfit_nn.stats.moments_result import Moments
from distfit_nn.stats.row_sample import RowSample, SampledRows
from distfit_nn.stats.rows import Float, Int
from distfit_nn.stats.shard_tree import ShardTree
from distfit_nn.stats.sketch import SketchSums
from distfit_nn.stats.sketch_bins import Sketch, of_columns
from distfit_nn.stats.tiles import Block, Workers


@dataclass(frozen=True, eq=False)
class ColumnSummary:
    """What an `Accumulator` knows of d columns, and of all their values together.

    Attributes
    ----------
    moments : Moments
    sketch : Sketch
    sample : SampledRows
        Some rows, drawn uniformly: all of them where they are no more than was asked for.
    """

    moments: Moments
    sketch: Sketch
    sample: SampledRows
    _pools: tuple[MomentSums, ...]
    _pooled_sketch: SketchSums
    _hidden: int

    def pooled_moments(self) -> Moments:
        """Return the moments of all values as one column, with attributes of shape (1,)."""
        pool = self._pools[0].copy()
        for other in self._pools[1:]:
            pool.merge(other)
        found = pool.finalise()
        return replace(found, nan_count=found.nan_count - self._hidden)

    def pooled_sketch(self) -> Sketch:
        """Return the sketch of all values as one column."""
        return self._pooled_sketch.finalise()

    @classmethod
    def join(cls, parts: Sequence[ColumnSummary]) -> ColumnSummary:
        """Return summaries of the same rows as one, column behind column.

        The bits of `pooled_moments` are those of one summary where all but the last part are of
        whole tiles (`tiles.WIDTH` columns).
        """
        pooled = parts[0]._pooled_sketch.copy()
        for part in parts[1:]:
            pooled.merge(part._pooled_sketch)
        values = np.concatenate([part.sample.values for part in parts], axis=1)
        return cls(
            moments=_joined([part.moments for part in parts]),
            sketch=_side_by_side([part.sketch for part in parts]),
            sample=parts[0].sample._replace(values=values),
            _pools=tuple(pool for part in parts for pool in part._pools),
            _pooled_sketch=pooled,
            _hidden=sum(part._hidden for part in parts),
        )


class _Sums:
    """The sums of all columns, tile by tile, of one shard or of several."""

    def __init__(self, tiles: list[MomentSums], hidden: Int) -> None:
        self.tiles = tiles
        self.hidden = hidden  # values of each column that are masked out

    @classmethod
    def new(cls, widths: Sequence[int], order: int) -> Self:
        return cls([MomentSums(width, order) for width in widths], np.zeros(sum(widths), np.int64))

    def merge(self, other: Self) -> None:
        for mine, its in zip(self.tiles, other.tiles, strict=True):
            mine.merge(its)
        self.hidden += other.hidden

    def copy(self) -> Self:
        return type(self)([tile.copy() for tile in self.tiles], self.hidden.copy())

    def finalise(self) -> Moments:
        found = _joined([tile.finalise() for tile in self.tiles])
        return replace(found, nan_count=found.nan_count - self.hidden)


class Accumulator:
    """Summarise columns in one pass: moments, a sketch of the distribution, and a sample of rows.

    ``update`` takes rows, ``merge`` the accumulator of other rows of the same columns, ``finalise``
    tells what is known so far; all sums are float64, whatever the dtype of the data. Rows belong to
    *shards*, which are numbered; within a shard they are counted from 0. The result is a function
    of the rows of each shard, in their order, and of the pieces in which they come, to the last
    bit: it does not depend on how shards are shared out among accumulators, on the order in which
    these are merged, or on threads. Counts, extremes, sketch and sample do not depend on the pieces
    either, and all but the sample not on the order of rows or on the shards; moments do in their
    last digits.

    Parameters
    ----------
    columns : int
        Number of columns.
    order : int, default 6
        Highest moment, 2 to 12.
    bins : int, default 1024
        Bins of the sketch; see `Sketch`.
    rows : int, default 5000
        Rows to sample; see `RowSample`. With 0 no values are kept, and what needs single values
        cannot be told.
    seed : int, default 0
        Of the sample.
    threads : int, default 1
        Threads that sum columns while the next rows are prepared: no matter for the result.

    Examples
    --------
    >>> import numpy as np
    >>> from distfit_nn.stats import Accumulator
    >>> x = np.random.default_rng(0).normal(size=(1000, 3))
    >>> one, other = Accumulator(3), Accumulator(3)
    >>> one.update(x[:400], shard=0)
    >>> other.update(x[400:], shard=1)
    >>> one.merge(other)
    >>> found = one.finalise()
    >>> bool(np.allclose(found.moments.mean, x.mean(axis=0))), int(found.sketch.n[0])
    (True, 1000)
    """

    def __init__(
        self,
        columns: int,
        *,
        order: int = 6,
        bins: int = 1024,
        rows: int = 5000,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        self.columns = _checks.positive_int(columns, "columns")
        self._settings = {"order": order, "bins": bins, "rows": rows, "seed": seed}
        self._moments: ShardTree[_Sums] = ShardTree()
        self._step = tiles.rows_at_once(self.columns)
        self._sketches = [SketchSums(width, bins) for width in tiles.widths(self.columns)]
        self._sample = RowSample(rows, seed=seed)
        self._open: tuple[int, _Sums] | None = None
        self._workers = Workers(_checks.positive_int(threads, "threads"))

    def update(
        self,
        table: ArrayLike,
        *,
        shard: int = 0,
        mask: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        keeps: bool = False,
    ) -> None:
        """Add rows to a shard.

        Parameters
        ----------
        table : array-like or torch tensor (n, columns) of real numbers
            NaN and infinite values are counted, and left out of all else.
        shard : int, default 0
            Number of the shard that the rows belong to; they follow those that it has. When
            another shard has been begun, it takes no more.
        mask : array-like of bool (n,) or (n, columns), optional
            What is False is as if it were not there: padding, for instance.
        weights : array-like (n,), optional
            Finite and not negative; see `moments`, `Sketch` and `RowSample` for what they mean.
        keeps : bool, default False
            Whether the table will stay as it is until the next update has returned: with
            threads, this one then returns while they are at work.

        Raises
        ------
        InputError
            An argument breaks a rule above, or the shard was closed.
        """
        rows = self._checked(table)
        shown = _mask_of(mask, rows.shape)
        shares = _weights_of(weights, len(rows))
        sums = self._shard(shard)
        if shown is not None and shown.ndim == 2:
            rows = np.where(shown, rows, np.nan)
            sums.hidden += len(rows) - shown.sum(axis=0)
            shown = None
        self._sample.update(rows, mask=shown, weights=shares)
        if shown is not None:
            rows = rows[shown]
            shares = None if shares is None else shares[shown]
        for start in range(0, len(rows), self._step):
            piece = slice(start, start + self._step)
            share = None if shares is None else shares[piece]
            self._add(tiles.blocks(rows[piece], share), sums)
        if not keeps:
            self._workers.wait()

    def _add(self, blocks: list[Block], sums: _Sums) -> None:
        """Sum the blocks of all tiles."""

        def work(block: Block) -> None:
            for values, weights in block.pieces():
                sums.tiles[block.tile].update(values, weights)
                self._sketches[block.tile].update(values, weights)

        self._workers.take(work, blocks)

    def merge(self, other: Accumulator) -> None:
        """Add all that the other has, which must not be used any more.

        Raises
        ------
        InputError
            The two differ in columns or settings, or both have rows of the same shard.
        """
        if not isinstance(other, Accumulator):
            raise InputError(f"other must be an Accumulator, got {type(other).__name__}")
        if (self.columns, self._settings) != (other.columns, other._settings):
            raise InputError(
                "accumulators to merge must have the same columns and settings, got "
                f"{self.columns} with {self._settings} and {other.columns} with {other._settings}"
            )
        self._close()
        other._close()
        self._moments.merge(other._moments)
        self._sample.merge(other._sample)
        for mine, its in zip(self._sketches, other._sketches, strict=True):
            mine.merge(its)

    def copy(self) -> Accumulator:
        """Return one that shares no memory with this, and works in one thread."""
        return deepcopy(self)

    def as_shard(self, number: int) -> None:
        """Count all rows so far as those of one shard, so that any accumulators can be merged."""
        self._close()
        if self._moments:
            total = self._moments.total()
            self._moments = ShardTree()
            self._moments.add(_checks.whole_number(number, "number"), total)
        self._sample.as_shard(number)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that is held as arrays, for files; see `distfit_nn.stats.accumulator_state`.

        What they are turned back to is merged and finalised to the same bits as this one (but for
        sums of weights in sketches, whose last bits depend on the order of the data).
        """
        self._close()
        nodes = [
            states.Node(level, index, sums.tiles, sums.hidden)
            for (level, index), sums in sorted(self._moments.items())
        ]
        settings = Settings(self.columns, **self._settings)
        return states.pack(states.Contents(settings, nodes, self._sketches, self._sample))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Accumulator:
        """Return the accumulator that `to_arrays` made arrays of, which works in one thread.

        Raises
        ------
        InputError
            An array is missing, of a wrong shape or type, or says what cannot be.
        """
        settings, nodes, sketches, sample = states.unpack(arrays)
        found = cls(**settings._asdict())
        for level, index, sums, hidden in nodes:
            found._moments.put(level, index, _Sums(sums, hidden))
        found._sketches, found._sample = sketches, sample
        return found

    def finalise(self) -> ColumnSummary:
        """Return what is known so far; more rows may follow, in other shards."""
        self._close()
        sums = self._moments.total() if self._moments else self._empty()
        pooled = self._sketches[0].pool()
        for sketch in self._sketches[1:]:
            pooled.merge(sketch.pool())
        return ColumnSummary(
            moments=sums.finalise(),
            sketch=_side_by_side([sketch.finalise() for sketch in self._sketches]),
            sample=self._sampled(),
            _pools=tuple(tile.pool() for tile in sums.tiles),
            _pooled_sketch=pooled,
            _hidden=int(sums.hidden.sum()),
        )

    def _sampled(self) -> SampledRows:
        sample = self._sample.finalise()
        return sample if len(sample.values) else sample._replace(values=np.empty((0, self.columns)))

    def _empty(self) -> _Sums:
        return _Sums.new(tiles.widths(self.columns), self._settings["order"])

    def _checked(self, table: ArrayLike) -> NDArray[Any]:
        rows = _checks.to_numpy(table, "table")
        if rows.ndim != 2 or rows.shape[1] != self.columns:
            raise InputError(f"table must have shape (n, {self.columns}), got {rows.shape}")
        return rows

    def _shard(self, number: int) -> _Sums:
        """Return the sums of a shard that is open."""
        if self._open is None or self._open[0] != number:
            self._close()
            self._moments.refuse(_checks.whole_number(number, "shard"))
            self._sample.begin(number)
            self._open = (number, self._empty())
        return self._open[1]

    def _close(self) -> None:
        if self._open is not None:
            number, sums = self._open
            self._open = None
            self._workers.wait()
            self._moments.add(number, sums)


def _joined(parts: Sequence[Any]) -> Any:
    """Return dataclasses of arrays over columns as one, column behind column."""
    first = parts[0]
    if len(parts) == 1:
        return first
    arrays = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts], axis=-1)
        for field in fields(first)
    }
    return type(first)(**arrays)


def _side_by_side(parts: Sequence[Sketch]) -> Sketch:
    """Return sketches as one, column behind column."""
    return of_columns([column for part in parts for column in part.columns()], parts[0].bins)


def _mask_of(mask: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    if mask is None:
        return None
    shown = _checks.to_numpy(mask, "mask")
    if shown.dtype != np.bool_ or shown.shape not in (shape[:1], shape):
        raise InputError(
            f"mask must be bool of shape {shape[:1]} or {shape}, got {shown.dtype} {shown.shape}"
        )
    return shown


def _weights_of(weights: ArrayLike | None, rows: int) -> Float | None:
    if weights is None:
        return None
    shares = _checks.to_numpy(weights, "weights").astype(np.float64)
    if shares.shape != (rows,):
        raise InputError(f"weights must have shape ({rows},), got {shares.shape}")
    wrong = ~(np.isfinite(shares) & (shares >= 0))
    if np.any(wrong):
        raise InputError(f"weights must be finite and not negative, got {shares[wrong][0]}")
    return shares
