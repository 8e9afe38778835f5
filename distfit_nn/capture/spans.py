"""Tables that a library reads for us, a range of rows at a time: consecutive rows of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from distfit_nn.capture import files
from distfit_nn.capture.files import Location, Stamp
from distfit_nn.capture.manifest import file_error
from distfit_nn.capture.slabs import Piece

Fetch = Callable[[int, int], NDArray[Any]]


class Table(Protocol):
    """A table in a file: what is known of it, and how it is opened. It can be pickled."""

    @property
    def location(self) -> Location:
        """Path of the file or folder."""

    @property
    def stamp(self) -> Stamp | None:
        """The file's when it was looked at; None if it is not known."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    @property
    def units(self) -> int:
        """Number of columns."""

    @property
    def itemsize(self) -> int:
        """Bytes of a value."""

    def opened(self) -> AbstractContextManager[Fetch]:
        """Open the file; what is yielded returns the rows [start, stop) as (rows, units)."""


@dataclass(frozen=True)
class Span:
    """The rows [start, stop) of a `Table`, as a `Slab` is of a file."""

    table: Table
    start: int
    stop: int

    @classmethod
    def of(cls, table: Table) -> Span:
        """Return all rows of a table."""
        return cls(table, 0, table.rows)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    @property
    def units(self) -> int:
        """Number of columns."""
        return self.table.units

    @property
    def itemsize(self) -> int:
        """Bytes of a value."""
        return self.table.itemsize

    def cut(self, start: int, stop: int) -> Span:
        """Return the rows [start, stop) of these."""
        return replace(self, start=self.start + start, stop=self.start + stop)

    def check_unchanged(self) -> None:
        """Raise `FileError` if the file is not the one that was looked at."""
        stamp = self.table.stamp
        if stamp is not None and files.stamp(self.table.location) != stamp:
            raise file_error(self.table.location, "changed while it was read")

    def read(self) -> NDArray[Any]:
        """Return all rows; see `chunks`."""
        (table,) = self.chunks(max(1, self.rows))
        return table

    def chunks(self, most: int) -> Iterator[NDArray[Any]]:
        """Yield the rows, up to `most` at once.

        Raises
        ------
        FileError
            The file cannot be read, or holds less than was told.
        """
        with files.told(self.table.location), self.table.opened() as fetch:
            for start in range(self.start, self.stop, most):
                stop = min(start + most, self.stop)
                table = fetch(start, stop)
                if table.shape != (stop - start, self.units):
                    raise file_error(self.table.location, f"ends within the rows {start} to {stop}")
                yield table


class Array(Protocol):
    """An array in a file, opened as something that tuples of slices index. It can be pickled."""

    @property
    def location(self) -> Location:
        """Path of the file or folder."""

    @property
    def stamp(self) -> Stamp | None:
        """The file's when it was looked at; None if it is not known."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""

    @property
    def itemsize(self) -> int:
        """Bytes of a value."""

    def opened(self) -> AbstractContextManager[Any]:
        """Open the file; what is yielded is indexed by a tuple of slices."""


@dataclass(frozen=True)
class Sliced:
    """An array in a file as a table: one axis is units, all others are rows.

    Attributes
    ----------
    array : Array
    unit_axis : int or None
        Not negative; None for a vector, which is one unit.
    """

    array: Array
    unit_axis: int | None

    @property
    def location(self) -> Location:
        """Path of the file or folder."""
        return self.array.location

    @property
    def stamp(self) -> Stamp | None:
        """The file's when it was looked at; None if it is not known."""
        return self.array.stamp

    @property
    def rows(self) -> int:
        """Number of rows."""
        return math.prod(self._row_shape)

    @property
    def units(self) -> int:
        """Number of columns."""
        return 1 if self.unit_axis is None else self.array.shape[self.unit_axis]

    @property
    def itemsize(self) -> int:
        """Bytes of a value."""
        return self.array.itemsize

    @property
    def _row_shape(self) -> tuple[int, ...]:
        shape, axis = self.array.shape, self.unit_axis
        return shape if axis is None else (*shape[:axis], *shape[axis + 1 :])

    @contextmanager
    def opened(self) -> Iterator[Fetch]:
        """Open the file; what is yielded returns the rows [start, stop)."""
        with self.array.opened() as array:

            def fetch(start: int, stop: int) -> NDArray[Any]:
                tables = [self._table(array, box) for box in boxes(self._row_shape, start, stop)]
                return tables[0] if len(tables) == 1 else np.concatenate(tables)

            yield fetch

    def _table(self, array: Any, box: tuple[slice, ...]) -> NDArray[Any]:
        """Return the rows of a box of the axes of rows."""
        if self.unit_axis is None:
            return np.asarray(array[box]).reshape(-1, 1)
        whole = (*box[: self.unit_axis], slice(None), *box[self.unit_axis :])
        found = np.moveaxis(np.asarray(array[whole]), self.unit_axis, -1)
        return found.reshape(-1, self.units)


def boxes(shape: tuple[int, ...], start: int, stop: int) -> Iterator[tuple[slice, ...]]:
    """Yield boxes that hold the elements [start, stop) of an array in C order, in that order.

    They are at most twice as many as there are axes, less one.
    """
    if start == stop:
        return
    if len(shape) == 1:
        yield (slice(start, stop),)
        return
    inner = math.prod(shape[1:])
    first, within = divmod(start, inner)
    if within:  # the rest of a block that was begun
        end = min(stop, (first + 1) * inner)
        for box in boxes(shape[1:], within, within + end - start):
            yield (slice(first, first + 1), *box)
        start = end
    first, last = start // inner, stop // inner
    if first < last:
        yield (slice(first, last), *(slice(0, length) for length in shape[1:]))
        start = last * inner
    for box in boxes(shape[1:], 0, stop - start):
        yield (slice(last, last + 1), *box)


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some rows of a piece, as a table.

    Attributes
    ----------
    piece : Slab, Held or Span
    numbers : numpy.ndarray
        Which rows, in order.
    location : path
    stamp : tuple of int, or None
    """

    piece: Piece
    numbers: NDArray[np.int64]
    location: Location
    stamp: Stamp | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.numbers)

    @property
    def units(self) -> int:
        """Number of columns."""
        return self.piece.units

    @property
    def itemsize(self) -> int:
        """Bytes of a value."""
        return self.piece.itemsize

    @contextmanager
    def opened(self) -> Iterator[Fetch]:
        """Yield what returns the chosen rows [start, stop)."""
        yield self._rows

    def _rows(self, start: int, stop: int) -> NDArray[Any]:
        """Read what lies between the rows too, but never more at once than is returned."""
        wanted, most = self.numbers[start:stop], stop - start
        tables = []
        while wanted.size:
            first = int(wanted[0])
            last = min(first + most, self.piece.rows)
            here = wanted[: np.searchsorted(wanted, last)]
            tables.append(self.piece.cut(first, last).read()[here - first])
            wanted = wanted[here.size :]
        return np.concatenate(tables)
