"""Tables that are not read yet: rows of an array in a file, or in memory, to be had in pieces."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from distfit_nn._checks import shortened
from distfit_nn.capture import files
from distfit_nn.capture.files import Location, Stamp
from distfit_nn.capture.manifest import file_error

# What safetensors calls the types that are read here; NumPy lacks the second.
_DTYPES = {
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "BOOL": "bool",
    **{
        f"{sign}{bits}": f"{word}{bits}"
        for sign, word in (("I", "int"), ("U", "uint"))
        for bits in (8, 16, 32, 64)
    },
}
MOST_LAYERS = 100_000  # of a file: a million would take hours and no report could show them
_LONGEST_HEADER = 32 << 20  # for as many layers
_MOST_BRACKETS = 10 * MOST_LAYERS  # which take more time and memory than what is in quotes


@dataclass(frozen=True)
class Slab:
    """Consecutive rows of a table that lies in a file row by row, without gaps.

    Attributes
    ----------
    location : str
        Path or URL of the file.
    offset : int
        Where the first row begins, in bytes.
    rows, units : int
    dtype : str
        NumPy's name, or "bfloat16", which is read as float32 (exactly).
    stamp : tuple of int, or None
        The file's when its header was read; None if it is not known.
    """

    location: str
    offset: int
    rows: int
    units: int
    dtype: str
    stamp: Stamp | None = None

    @property
    def itemsize(self) -> int:
        """Bytes of a value in the file."""
        return stored(self.dtype).itemsize

    def cut(self, start: int, stop: int) -> Slab:
        """Return the rows [start, stop)."""
        offset = self.offset + start * self.units * self.itemsize
        return replace(self, offset=offset, rows=stop - start)

    def check_unchanged(self) -> None:
        """Raise `FileError` if the file is not the one whose header was read."""
        if self.stamp is not None and files.stamp(self.location) != self.stamp:
            raise file_error(self.location, "changed while it was read")

    def read(self) -> NDArray[Any]:
        """Return all rows; see `chunks`."""
        (table,) = self.chunks(max(1, self.rows))
        return table

    def chunks(self, most: int) -> Iterator[NDArray[Any]]:
        """Yield the rows, up to `most` at once, in two memories by turns.

        Raises
        ------
        FileError
            The file cannot be read, or ends too soon.
        """
        row = self.units * self.itemsize
        size = min(most, self.rows) * row
        one, other = np.empty(size, np.uint8), np.empty(size * (most < self.rows), np.uint8)
        with files.reading(self.location) as fill:
            for start in range(0, max(1, self.rows), most):
                rows = min(most, self.rows - start)
                part = one[: rows * row]
                one, other = other, one
                fill(self.offset + start * row, part.data)
                yield self._table(part, rows)

    def _table(self, part: NDArray[np.uint8], rows: int) -> NDArray[Any]:
        return as_numbers(part.view(stored(self.dtype)).reshape(rows, self.units), self.dtype)


@dataclass(frozen=True, eq=False)
class Held:
    """Consecutive rows of a table in memory; as a `Slab` otherwise."""

    table: NDArray[Any]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.table.shape[0])

    @property
    def units(self) -> int:
        """Number of columns."""
        return int(self.table.shape[1])

    @property
    def itemsize(self) -> int:
        """Bytes of a value."""
        return int(self.table.itemsize)

    def cut(self, start: int, stop: int) -> Held:
        """Return the rows [start, stop), a view."""
        return Held(self.table[start:stop])

    def check_unchanged(self) -> None:
        """Do nothing: what is in memory is its owner's."""

    def read(self) -> NDArray[Any]:
        """Return the rows."""
        return self.table

    def chunks(self, most: int) -> Iterator[NDArray[Any]]:
        """Yield the rows, up to `most` at once, as views."""
        for start in range(0, self.rows, most):
            yield self.table[start : start + most]


class Piece(Protocol):
    """Consecutive rows of a table: a `Slab`, `Held`, or what a library reads (`spans.Span`)."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    @property
    def units(self) -> int:
        """Number of columns."""

    @property
    def itemsize(self) -> int:
        """Bytes of a value."""

    def cut(self, start: int, stop: int) -> Piece:
        """Return the rows [start, stop)."""

    def check_unchanged(self) -> None:
        """Raise `FileError` if the file is not what it was when its header was read."""

    def read(self) -> NDArray[Any]:
        """Return all rows."""

    def chunks(self, most: int) -> Iterator[NDArray[Any]]:
        """Yield the rows, up to `most` at once, each table valid until the next but one."""


def is_plain(dtype: str) -> bool:
    """Return whether values of this type are read as they lie in a file."""
    return dtype in _DTYPES.values()


def stored(dtype: str) -> np.dtype[Any]:
    """Return how values are stored: "bfloat16" as halves of float32, names in little-endian."""
    if dtype[:1] in "<>|":
        return np.dtype(dtype)
    return np.dtype("<u2" if dtype == "bfloat16" else dtype).newbyteorder("<")


def as_numbers(table: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return what is stored as `stored` says as numbers that NumPy has."""
    if dtype == "bfloat16":  # the upper half of a float32
        return (table.astype(np.uint32) << 16).view(np.float32)
    return table


@dataclass(frozen=True)
class OnDisk:
    """An array in a file, as the file's header tells of it."""

    location: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    stamp: Stamp | None = None

    def slab(self, rows: int, units: int) -> Slab:
        """Return the array as a table of that shape.

        Raises
        ------
        FileError
            Its type is none that NumPy or PyTorch computes with.
        """
        if not is_plain(self.dtype):
            raise file_error(
                self.location,
                f"holds values of type {shortened(self.dtype)}, cannot be read",
            )
        return Slab(self.location, self.offset, rows, units, self.dtype, self.stamp)

    @property
    def nbytes(self) -> int:
        """Bytes of the array; 0 for a type that is not read."""
        return math.prod(self.shape) * stored(self.dtype).itemsize if is_plain(self.dtype) else 0


def safetensors(location: Location) -> dict[str, OnDisk]:
    """Return what a .safetensors file holds, by its header alone.

    The format: eight bytes with the length of the header, the header (JSON), and the data.

    Raises
    ------
    FileError
        The file is missing, or its header is damaged, does not agree with its size, is larger than
        32 MiB or names more than 100,000 tensors.
    """
    total, stamp = files.size(location), files.stamp(location)
    if total is None:
        raise file_error(location, "does not exist")
    with files.told(location, ".safetensors"):
        header, data = _header(location, total)
        tensors = {
            name: _tensor(str(location), name, told, data, total) for name, told in header.items()
        }
        if sum(tensor.nbytes for tensor in tensors.values()) > total - data:
            raise ValueError("its tensors lie over one another")
        return {name: replace(tensor, stamp=stamp) for name, tensor in tensors.items()}


def _header(location: Location, total: int) -> tuple[dict[str, Any], int]:
    """Return the header of a .safetensors file and where the data begin."""
    if total < 8:
        raise ValueError("the file is too short to have a header")
    length = int.from_bytes(files.read(location, 0, 8), "little")
    if length > min(total - 8, _LONGEST_HEADER):
        raise ValueError(f"its header is said to have {length} bytes")
    text = files.read(location, 8, 8 + length)
    if (count := text.count(b'"data_offsets"')) > MOST_LAYERS:  # before they take memory
        raise ValueError(f"it holds {count:,} tensors, more than {MOST_LAYERS:,}")
    if text.count(b"[") + text.count(b"{") > _MOST_BRACKETS:
        raise ValueError(f"its header has more than {_MOST_BRACKETS:,} lists and objects")
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    header.pop("__metadata__", None)
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return pairs of a JSON object as a dict, if no name is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = sorted(name for name, _ in pairs)
        twice = next(one for one, other in pairwise(names) if one == other)
        raise ValueError(f"it names {twice!r} twice")
    return found


def _tensor(location: str, name: str, told: Any, data: int, total: int) -> OnDisk:
    if not isinstance(told, dict) or not {"dtype", "shape", "data_offsets"} <= set(told):
        raise ValueError(f"tensor {name!r} is not described by dtype, shape and data_offsets")
    shape, offsets, dtype = told["shape"], told["data_offsets"], told["dtype"]
    if not (_are_counts(shape) and _are_counts(offsets) and len(offsets) == 2):
        raise ValueError(f"tensor {name!r} has a shape or offsets that are no whole numbers")
    if not isinstance(dtype, str):
        raise ValueError(f"tensor {name!r} has no type")
    start, stop = offsets
    found = OnDisk(location, _DTYPES.get(dtype, dtype), tuple(shape), data + start)
    if is_plain(found.dtype) and found.nbytes != stop - start:
        raise ValueError(f"tensor {name!r} has {stop - start} bytes, which is not its size")
    if not start <= stop <= total - data:
        raise ValueError(f"tensor {name!r} ends behind the end of the file")
    return found


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in values)
