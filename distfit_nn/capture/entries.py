"""What a source has of one layer at one site and step, before it is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn.capture.slabs import Piece
from distfit_nn.capture.summaries import Summary
from distfit_nn.errors import InputError

PART = 1 << 24  # values of a part: what one task of many measures
CHUNK = 1 << 22
ROUND = 128  # rows of parts and chunks are a multiple of this, where they can be


@dataclass(frozen=True, eq=False)
class Part:
    """Consecutive rows of an entry, at most about 16 million values; small to send elsewhere.

    How an entry is cut into parts, and a part into chunks, follows from its shape alone: whoever
    measures a part, and with however much memory, gets the same bits.
    """

    number: int
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(piece.rows for piece in self.pieces)

    def chunks(self) -> Iterator[NDArray[Any]]:
        """Yield the rows in tables (rows, units), each valid until the next but one."""
        for piece in self.pieces:
            yield from piece.chunks(_rows_of(CHUNK, piece.units))


@dataclass(frozen=True, eq=False)
class Entry:
    """The values of one layer at one site and step.

    Attributes
    ----------
    layer : str
        Name of the layer; ``"x"`` for a bare array, the stem of the file's name for a bare file.
    site : str
        ``"pre_activation"``, ``"norm_input"``, ..., or ``"values"`` where it is not known.
    step : int
        When it was recorded; 0 where it is not known.
    activation : str or None
        Name of the activation function that takes these values, where it is known.
    pieces : tuple of Slab or Held, or of Summary
        Where the rows are, in order: in files or in memory; or what was kept in their place.
    rows_seen : int
        Number of rows before sampling; at least `rows`.
    names : tuple of str, or None
        Names of the units: the columns of a DataFrame or of a ``.csv`` file; None elsewhere.
    ids : tuple of int, or None
        Numbers of the units in their layer, where not all of them were recorded.
    """

    layer: str
    site: str
    step: int
    activation: str | None
    pieces: tuple[Piece | Summary, ...]
    rows_seen: int
    names: tuple[str, ...] | None = None
    ids: tuple[int, ...] | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def units(self) -> int:
        """Number of units."""
        return self.pieces[0].units

    @property
    def itemsize(self) -> int:
        """Bytes of a value, of the widest type there is."""
        return max(piece.itemsize for piece in self.pieces)

    @property
    def chunk_bytes(self) -> int:
        """Memory of the two chunks that are held while the rows are read."""
        return 2 * min(self.rows * self.units, max(CHUNK, self.units)) * self.itemsize

    @property
    def summaries(self) -> tuple[Summary, ...]:
        """The pieces of an entry whose rows were not kept; none where they were."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Summary))

    @property
    def tables(self) -> tuple[Piece, ...]:
        """The pieces of an entry whose rows were kept; `InputError` where they were not."""
        if self.summaries:
            raise InputError(
                f"layer {self.layer!r} at step {self.step} is stored as summaries: its rows, which "
                "this needs, were not kept"
            )
        return tuple(piece for piece in self.pieces if not isinstance(piece, Summary))

    @property
    def values(self) -> NDArray[Any]:
        """All values, (rows, units), read now: real numbers (floating, integer or boolean)."""
        tables = [piece.read() for piece in self.tables]
        self.check_unchanged()
        return tables[0] if len(tables) == 1 else np.concatenate(tables)

    def check_unchanged(self) -> None:
        """Raise `FileError` if a file is not what it was when its header was read.

        What was read of it may then be old in part and new in part.
        """
        for piece in self.pieces:
            piece.check_unchanged()

    def parts(self) -> Iterator[Part]:
        """Cut the rows into parts, numbered from 0."""
        most = _rows_of(PART, self.units)
        pieces: list[Piece] = []
        number, room = 0, most
        for piece in self.tables:
            start = 0
            while start < piece.rows:
                stop = min(start + room, piece.rows)
                pieces.append(piece.cut(start, stop))
                room -= stop - start
                start = stop
                if room == 0:
                    yield Part(number, tuple(pieces))
                    pieces, number, room = [], number + 1, most
        if pieces:
            yield Part(number, tuple(pieces))


def _rows_of(values: int, units: int) -> int:
    """Return how many rows have about so many values."""
    rows = max(1, values // units)
    return rows - rows % ROUND if rows > ROUND else rows
