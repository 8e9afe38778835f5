"""NumPy's format of one array: its header, and the array where it lies in a file."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn._checks import shortened
from distfit_nn.capture import files
from distfit_nn.capture.files import Fill, Location, Stamp
from distfit_nn.capture.manifest import file_error
from distfit_nn.capture.slabs import OnDisk, as_numbers, is_plain, stored
from distfit_nn.errors import InputError

MAGIC = b"\x93NUMPY"
_LONGEST = 10_000  # bytes of a header, as NumPy has it: longer ones are slow or unsafe to parse
_KINDS = "fiub"  # of real numbers

Take = Callable[[int], bytes]


@dataclass(frozen=True)
class Header:
    """What the header of a .npy file tells.

    Attributes
    ----------
    dtype : numpy.dtype
        Of real numbers.
    shape : tuple of int
    fortran : bool
        Whether the first axis varies fastest.
    length : int
        Bytes before the data.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    length: int

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        return math.prod(self.shape) * self.dtype.itemsize


def parse(take: Take, layer: str) -> Header:
    """Return what a header tells; `take` returns the next so many bytes, or fewer at the end.

    Raises
    ------
    ValueError
        It is damaged, or longer than 10,000 bytes.
    InputError
        The values are not real numbers.
    """
    start = take(10)
    if len(start) < 10 or not start.startswith(MAGIC):
        raise ValueError("it does not begin as such a file does")
    wide = start[6] > 1  # from version 2 on the length has four bytes
    count = start[8:] + take(2) if wide else start[8:]
    length = int.from_bytes(count, "little")
    if length > _LONGEST:
        raise ValueError(f"its header is said to have {length} bytes")
    text = take(length)
    if len(text) < length:
        raise ValueError("it ends within its header")
    return _parsed(text.decode("latin1"), 8 + len(count) + length, layer)


def _parsed(text: str, length: int, layer: str) -> Header:
    try:
        told = ast.literal_eval(text)
        descr, shape, fortran = told["descr"], told["shape"], told["fortran_order"]
        dtype = np.dtype(descr) if isinstance(descr, str) else None
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        raise ValueError("its header is damaged") from None
    if dtype is not None and dtype.hasobject:
        raise ValueError("it holds pickled objects")
    if dtype is None or dtype.kind not in _KINDS:
        raise InputError(
            f"layer {shortened(repr(layer))} must be an array of real numbers, "
            f"got dtype {shortened(dtype or descr)}"
        )
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"its header tells of the shape {shortened(shape)}")
    if not isinstance(fortran, bool):
        raise ValueError("its header is damaged")
    return Header(dtype, shape, fortran, length)


def npy(location: Location, layer: str) -> OnDisk | RawArray:
    """Return what a .npy file holds: `OnDisk` where rows lie one after the other.

    Elsewhere, in the order of Fortran, of the other byte order or of a type that safetensors does
    not know, it is an array that can be read in pieces all the same.

    Raises
    ------
    FileError
        The file is missing or damaged, or does not hold real numbers.
    """
    total, stamp = files.size(location), files.stamp(location)
    if total is None:
        raise file_error(location, "does not exist")
    place = 0

    def take(count: int) -> bytes:
        nonlocal place
        start, place = place, min(place + count, total)
        return bytes(files.read(location, start, place))

    with files.told(location, ".npy"):
        told = parse(take, layer)
        if told.length + told.nbytes > total:
            raise ValueError("it ends before its data do")
    dtype = told.dtype
    if is_plain(dtype.name) and dtype.byteorder != ">" and not (told.fortran and len(told.shape)):
        return OnDisk(str(location), dtype.name, told.shape, told.length, stamp)
    return RawArray(str(location), dtype.str, told.shape, told.length, told.fortran, stamp)


@dataclass(frozen=True)
class RawArray:
    """An array in a file, without gaps, from which boxes can be read; see `spans.Array`.

    Attributes
    ----------
    location : str
    dtype : str
        As `slabs.stored` takes it.
    shape : tuple of int
    offset : int
        Where the first value is, in bytes.
    fortran : bool
        Whether the first axis varies fastest.
    stamp : tuple of int, or None
    """

    location: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    fortran: bool = False
    stamp: Stamp | None = None

    @classmethod
    def of(cls, array: OnDisk) -> RawArray:
        """Return an array whose header was read."""
        array.slab(0, 1)  # is it of a type that can be read?
        return cls(array.location, array.dtype, array.shape, array.offset, stamp=array.stamp)

    @property
    def itemsize(self) -> int:
        """Bytes of a value."""
        return stored(self.dtype).itemsize

    @contextmanager
    def opened(self) -> Iterator[_Boxes]:
        """Open the file; what is yielded is indexed by a tuple of slices, of step 1."""
        with files.reading(self.location) as fill:
            yield _Boxes(self, fill)


@dataclass(frozen=True)
class _Boxes:
    array: RawArray
    fill: Fill

    def __getitem__(self, box: tuple[slice, ...]) -> NDArray[Any]:
        if self.array.fortran:
            return self._read(self.array.shape[::-1], box[::-1]).T
        return self._read(self.array.shape, box)

    def _read(self, shape: tuple[int, ...], box: tuple[slice, ...]) -> NDArray[Any]:
        """Read a box of an array in C order, run by run of values that lie together."""
        ranges = [part.indices(length)[:2] for part, length in zip(box, shape, strict=True)]
        kind = stored(self.array.dtype)
        found = np.empty([stop - start for start, stop in ranges], kind)
        split = len(shape) - 1  # the axes behind it are whole, so that a run spans them
        while split > 0 and ranges[split] == (0, shape[split]):
            split -= 1
        inner = math.prod(shape[split + 1 :])
        steps = [math.prod(shape[axis + 1 :]) for axis in range(split)]
        for index in np.ndindex(found.shape[:split]):
            first = ranges[split][0] * inner + sum(
                (start + at) * step
                for (start, _), at, step in zip(ranges[:split], index, steps, strict=True)
            )
            run = found[index].reshape(-1).view(np.uint8)
            self.fill(self.array.offset + first * self.array.itemsize, run.data)
        return as_numbers(found.astype(kind.newbyteorder("="), copy=False), self.array.dtype)
