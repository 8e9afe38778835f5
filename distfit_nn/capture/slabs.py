"""Tables that are not read yet: rows of an array in a file, or in memory, to be had in pieces."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn.capture import files
from distfit_nn.capture.files import Location, Stamp
from distfit_nn.capture.manifest import file_error
from distfit_nn.errors import FileError

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
_LONGEST_HEADER = 100_000_000  # as the safetensors library has it
_NPY = b"\x93NUMPY"


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
        return _stored(self.dtype).itemsize

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
        table = part.view(_stored(self.dtype)).reshape(rows, self.units)
        if self.dtype == "bfloat16":  # the upper half of a float32
            return (table.astype(np.uint32) << 16).view(np.float32)
        return table


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


Piece = Slab | Held


def _stored(dtype: str) -> np.dtype[Any]:
    return np.dtype("<u2" if dtype == "bfloat16" else dtype).newbyteorder("<")


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
        if self.dtype not in _DTYPES.values():
            raise file_error(self.location, f"holds values of type {self.dtype}, cannot be read")
        return Slab(self.location, self.offset, rows, units, self.dtype, self.stamp)

    def load(self) -> NDArray[Any]:
        """Return the array."""
        return self.slab(1, math.prod(self.shape)).read().reshape(self.shape)


def safetensors(location: Location) -> dict[str, OnDisk]:
    """Return what a .safetensors file holds, by its header alone.

    The format: eight bytes with the length of the header, the header (JSON), and the data.

    Raises
    ------
    FileError
        The file is missing, or its header is damaged or does not agree with its size.
    """
    total, stamp = files.size(location), files.stamp(location)
    if total is None:
        raise file_error(location, "does not exist")
    try:
        if total < 8:
            raise ValueError("the file is too short to have a header")
        length = int.from_bytes(files.read(location, 0, 8), "little")
        if length > min(total - 8, _LONGEST_HEADER):
            raise ValueError(f"its header is said to have {length} bytes")
        header = json.loads(files.read(location, 8, 8 + length).decode())
        if not isinstance(header, dict):
            raise ValueError("its header is no object")
        header.pop("__metadata__", None)
        data, place = 8 + length, str(location)
        tensors = {name: _tensor(place, name, told, data, total) for name, told in header.items()}
        return {name: replace(tensor, stamp=stamp) for name, tensor in tensors.items()}
    except FileError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else error
        raise file_error(location, f"cannot be read as .safetensors: {problem}") from None


def _tensor(location: str, name: str, told: dict[str, Any], data: int, total: int) -> OnDisk:
    shape, (start, stop) = tuple(told["shape"]), told["data_offsets"]
    whole = all(isinstance(number, int) and number >= 0 for number in (*shape, start, stop))
    if not whole:
        raise ValueError(f"tensor {name!r} has a shape or offsets that are no whole numbers")
    dtype = _DTYPES.get(told["dtype"], told["dtype"])
    if dtype in _DTYPES.values() and math.prod(shape) * _stored(dtype).itemsize != stop - start:
        raise ValueError(f"tensor {name!r} has {stop - start} bytes, which is not its size")
    if not start <= stop <= total - data:
        raise ValueError(f"tensor {name!r} ends behind the end of the file")
    return OnDisk(location, dtype, shape, data + start)


def npy(location: Location) -> OnDisk | None:
    """Return what a .npy file holds; None where it does not lie there row by row.

    That are arrays in the order of Fortran, of the other byte order or a type that safetensors
    does not know, which NumPy reads.

    Raises
    ------
    FileError
        The file is missing or damaged.
    """
    total, stamp = files.size(location), files.stamp(location)
    if total is None:
        raise file_error(location, "does not exist")
    start = bytes(files.read(location, 0, min(total, 12)))
    if len(start) < 12 or not start.startswith(_NPY):
        raise file_error(location, "cannot be read as .npy: it does not begin as such a file does")
    wide = start[6] > 1  # from version 2 on the length has four bytes
    length = int.from_bytes(start[8:12] if wide else start[8:10], "little")
    first = 12 if wide else 10
    if first + length > total:
        raise file_error(location, "cannot be read as .npy: it ends within its header")
    try:
        header = ast.literal_eval(files.read(location, first, first + length).decode("latin1"))
        dtype, shape = np.dtype(header["descr"]), tuple(header["shape"])
    except (ValueError, SyntaxError, TypeError, KeyError) as error:
        raise file_error(location, f"cannot be read as .npy: {error}") from None
    if header["fortran_order"] or dtype.name not in _DTYPES.values() or dtype.byteorder == ">":
        return None
    size = math.prod(shape) * dtype.itemsize
    if first + length + size > total:
        raise file_error(location, "cannot be read as .npy: it ends before its data do")
    return OnDisk(str(location), dtype.name, shape, first + length, stamp)
