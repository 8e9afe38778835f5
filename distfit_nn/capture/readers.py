"""Read activations from wherever they are: a store, a file, or memory.

`read` gives the same kind of entries for all of them, one at a time. Stores, ``.npy`` and
``.safetensors`` are read in pieces, from a disk or from a URL, and may be larger than memory; the
arrays of other files must fit. Nothing is ever unpickled; torch is imported for ``.pt`` and
``.pth`` files only.
"""

from __future__ import annotations

import math
import stat
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.capture import files, slabs
from distfit_nn.capture.entries import Entry
from distfit_nn.capture.files import is_url
from distfit_nn.capture.manifest import Record, file_error, is_store, status
from distfit_nn.capture.slabs import Held, OnDisk, Piece
from distfit_nn.capture.store import Store
from distfit_nn.errors import FileError, InputError

# How files begin, and what torch's messages say, many lines long, in our words.
_NPY = b"\x93NUMPY"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_OBJECTS = "it holds Python objects other than tensors, which are never loaded"
_TORCH_PROBLEMS = {
    **dict.fromkeys(("GLOBAL", "Unsupported class", "unrecognized function"), _OBJECTS),
    "TorchScript": "it holds a compiled program, which is never loaded",
    "allocate memory": "it does not fit into memory",
}

Source = str | PathLike[str] | ArrayLike | Mapping[str, ArrayLike]
_Named = Iterator[tuple[str, Any]]


@dataclass(frozen=True, eq=False)
class _Frame:
    """The values of a table, whose columns have names."""

    values: NDArray[Any]
    names: tuple[str, ...]


def read(source: Source, *, unit_axis: int | None = None) -> Iterator[Entry]:
    """Return an iterator over the entries of `source`, each read when it is asked for.

    Parameters
    ----------
    source : path, array, tensor, DataFrame, or mapping of str to array
        A path names a store, or a file: ``.npy``; ``.npz`` and ``.safetensors`` (each array is a
        layer); ``.pt`` or ``.pth`` (a tensor, or nested dicts and lists of tensors, each a layer,
        its keys joined by dots); ``.csv`` with a header line (each column is a unit, but a first
        one without a name is an index and none). An array has the shape (n,), one unit, or (n, d),
        d units; each item of a mapping is a layer. Of files that hold several arrays, single
        numbers and what is no array are left out: a checkpoint's epoch, a norm's count of batches.
        Entries of a store that share layer, site and step are joined row by row.
    unit_axis : int, optional
        Axis of the units; all other axes are rows. It is needed for arrays of more than two
        dimensions, such as 1 for images (n, channels, height, width). Default: the second of two.
        A store has two axes only and takes no `unit_axis`.

        A URL that fsspec knows (``s3://bucket/run``) names a store, a ``.npy`` or a
        ``.safetensors`` file.

    Raises
    ------
    InputError
        The values have no rows or columns, a shape that cannot be read, or are not real numbers;
        or a name is not valid Unicode text.
    FileError
        The file is missing, damaged, unsafe, of an unknown kind, or its contents break a rule
        above. That a path exists and is of a known kind is checked at once, the rest when its
        turn comes.
    """
    unit_axis = _checks.optional_axis(unit_axis, "unit_axis")
    if not isinstance(source, (str, PathLike)):
        return (_entry(name, values, unit_axis) for name, values in _from_memory(source))
    if is_url(source):
        return _from_url(str(source), unit_axis)
    path = Path(source)
    found = status(path)
    if found is None:
        raise file_error(path, "does not exist")
    if not stat.S_ISDIR(found.st_mode):
        return _from_file(path, _reader(path, found.st_mode), unit_axis)
    if not is_store(path):
        raise file_error(path, "is a folder but not a distfit_nn store")
    return _from_store(Store(path), unit_axis)


def _from_url(url: str, unit_axis: int | None) -> Iterator[Entry]:
    """Read a store, or a file of which parts can be had, behind a URL."""
    reader = _RANGES.get(PurePosixPath(url.partition("::")[0]).suffix.lower())
    if reader is None:
        return _from_store(Store(url), unit_axis)
    return _from_file(url, reader, unit_axis)


def _entry(layer: str, values: Any, unit_axis: int | None) -> Entry:
    _checks.text(layer, "the name of a layer")
    names = None
    if isinstance(values, _Frame):
        names = values.names if unit_axis in (None, 1, -1) else None
        values = values.values
    if isinstance(values, OnDisk):
        piece: Piece = _slab(values, f"layer {layer!r}", unit_axis)
    else:
        piece = Held(_columns(values, f"layer {layer!r}", unit_axis))
    return Entry(layer, "values", 0, None, (piece,), piece.rows, names)


def _slab(array: OnDisk, name: str, unit_axis: int | None) -> Piece:
    """Return an array in a file as a table, read only where its axes must be moved."""
    axis = _axis_of_units(array.shape, name, unit_axis)
    if axis is None:
        return array.slab(array.shape[0], 1)
    if axis < len(array.shape) - 1:
        return Held(_columns(array.load(), name, unit_axis))
    return array.slab(math.prod(array.shape[:-1]), array.shape[-1])


def _columns(values: Any, name: str, unit_axis: int | None) -> NDArray[Any]:
    """Return `values` as (rows, units)."""
    array = _checks.to_numpy(values, name)
    axis = _axis_of_units(array.shape, name, unit_axis)
    if axis is None:
        return array[:, None]
    return np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])


def _axis_of_units(shape: tuple[int, ...], name: str, unit_axis: int | None) -> int | None:
    """Return the axis of the units, not negative; None for the one unit of a vector."""
    if not shape:
        raise InputError(f"{name} must have shape (n,) or (n, d), got a single number")
    if 0 in shape:
        raise InputError(f"{name} must have rows and columns, got shape {shape}")
    if len(shape) == 1:
        return None
    if unit_axis is None:
        if len(shape) == 2:
            return 1
        raise InputError(f"{name} has shape {shape}; unit_axis must say which axis is units")
    if not -len(shape) <= unit_axis < len(shape):
        raise InputError(f"{name} has shape {shape}, it has no axis {unit_axis} (unit_axis)")
    return unit_axis % len(shape)


def _from_memory(source: Any) -> _Named:
    if not isinstance(source, Mapping):
        return iter([("x", _frame_values(source))])
    if not source:
        raise InputError("a mapping of layers must not be empty")
    for name in source:
        _checks.text(name, "the name of a layer")
    return ((name, _frame_values(values)) for name, values in source.items())


def _frame_values(values: Any) -> Any:
    """Return the values and names of a pandas object; all else as it is."""
    pandas = sys.modules.get("pandas")  # a DataFrame can only come from a pandas that is loaded
    if pandas is None or not isinstance(values, (pandas.DataFrame, pandas.Series)):
        return values
    if isinstance(values, pandas.Series):
        return _frame_column(values.name, values)
    names = tuple(_checks.text(str(name), "the name of a column") for name in values.columns)
    if values.empty:
        return _Frame(np.empty(values.shape), names)
    columns = [_frame_column(name, column) for name, column in values.items()]
    return _Frame(np.column_stack(columns), names)


def _frame_column(name: Any, column: Any) -> NDArray[Any]:
    from pandas.api import types

    if not (types.is_any_real_numeric_dtype(column) or types.is_bool_dtype(column)):
        raise InputError(f"column {name!r} must hold real numbers, got {column.dtype}")
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy()
    return column.to_numpy(dtype=np.float64, na_value=np.nan)  # pandas' own types may hold NA


def _from_store(store: Store, unit_axis: int | None) -> Iterator[Entry]:
    if unit_axis is not None:
        raise InputError(f"a store takes no unit_axis, got {unit_axis}")
    groups: dict[tuple[str, str, int], list[Record]] = {}
    for record in store.records:
        groups.setdefault((record.layer, record.site, record.step), []).append(record)
    return (_joined(store, records) for records in groups.values())


def _joined(store: Store, records: list[Record]) -> Entry:
    """Return records of one layer, site and step as one entry."""
    first = records[0]
    widths = sorted({record.units for record in records})
    if len(widths) > 1:
        raise file_error(
            store.path, f"layer {first.layer!r} at step {first.step} has {widths} units"
        )
    pieces = tuple(store.slab(record) for record in records)
    rows_seen = sum(record.rows_seen for record in records)
    return Entry(first.layer, first.site, first.step, first.activation, pieces, rows_seen)


def _reader(path: Path, mode: int) -> Callable[[Path], _Named]:
    """Return the function that reads files of this kind."""
    if not stat.S_ISREG(mode):
        raise file_error(path, "is no regular file")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise file_error(path, f"is of an unknown kind; known are stores and {', '.join(_READERS)}")
    return reader


def _from_file(
    path: Path | str, reader: Callable[[Any], _Named], unit_axis: int | None
) -> Iterator[Entry]:
    """Yield the entries of a file; every error is one line that names the file."""
    empty = True
    with _file_errors(path):
        for name, values in reader(path):
            yield _entry(name, values, unit_axis)
            empty = False
    if empty:
        raise file_error(path, "holds no arrays")


@contextmanager
def _file_errors(path: Path | str) -> Iterator[None]:
    """Turn what goes wrong in reading a file into a `FileError`.

    Libraries raise errors of almost any class for a damaged file, hence the catch of all of them.
    """
    try:
        yield
    except FileError:
        raise
    except InputError as error:
        raise file_error(path, error) from None
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        problem = "it holds pickled objects" if lines[0].startswith("Object arrays") else lines[0]
        raise file_error(
            path, f"cannot be read as {PurePosixPath(path).suffix}: {problem}"
        ) from None


def _read_npy(path: Path | str) -> _Named:
    start = bytes(files.read(path, 0, min(files.size(path) or 0, 32)))
    if start.startswith(_ZIP):
        raise file_error(path, "cannot be read as .npy: it is an archive (.npz)")
    if not start.startswith(_NPY):
        raise file_error(path, "cannot be read as .npy: it does not begin as such a file does")
    array = slabs.npy(path)
    if array is None and is_url(path):
        raise file_error(path, "is a .npy file of another order; it can only be read from a disk")
    yield PurePosixPath(path).stem, np.load(path, allow_pickle=False) if array is None else array


def _read_npz(path: Path) -> _Named:
    start = _start(path)
    if start.startswith(_NPY):
        raise file_error(path, "cannot be read as .npz: it is a single array (.npy)")
    if not start.startswith(_ZIP):
        raise file_error(path, "cannot be read as .npz: it does not begin as such a file does")
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            values = archive[name]
            if np.ndim(values):  # neither a single number nor the bytes of another file
                yield name, values


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(32)


def _read_safetensors(path: Path | str) -> _Named:
    for name, array in slabs.safetensors(path).items():
        if array.shape:
            yield name, array


def _read_torch(path: Path) -> _Named:
    import torch

    content = _load_torch(path)
    if isinstance(content, torch.Tensor):
        yield path.stem, content
        return
    for keys, value in _leaves(content, ()):
        if isinstance(value, torch.Tensor) and value.ndim:
            yield ".".join(keys), value


def _load_torch(path: Path) -> Any:
    """Return what `path` holds; torch's own messages advise to load it unsafely."""
    import torch

    start = _start(path)
    if not start.startswith((_ZIP[0], _LEGACY_TORCH)):
        raise file_error(path, "cannot be read as .pt: it is no file that torch.save wrote")
    try:
        with warnings.catch_warnings():  # what matters of a damaged file is its error
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        problems = (problem for sign, problem in _TORCH_PROBLEMS.items() if sign in str(error))
        problem = next(problems, "it is damaged, or no file that torch.save wrote")
        raise file_error(path, f"cannot be read as .pt: {problem}") from None


def _leaves(content: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield what nested mappings, lists and tuples hold, with the keys that lead there."""
    if isinstance(content, Mapping):
        items = iter(content.items())
    elif isinstance(content, (list, tuple)):
        items = enumerate(content)
    else:
        yield keys, content
        return
    for key, value in items:
        yield from _leaves(value, (*keys, str(key)))


def _read_csv(path: Path) -> _Named:
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            frame = pd.read_csv(path, index_col=False)
        except pd.errors.ParserWarning:
            raise InputError("its lines have more values than its first line has names") from None
    if all(_is_number(name) for name in frame.columns):
        raise InputError("its first line must name the columns, not hold numbers")
    if frame.columns[0] == "Unnamed: 0":  # what pandas calls a first column without a name
        frame = frame.iloc[:, 1:]
    yield path.stem, _frame_values(frame)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# Files of which parts can be had, from a disk or a URL.
_RANGES: dict[str, Callable[[Any], _Named]] = {
    ".npy": _read_npy,
    ".safetensors": _read_safetensors,
}
_READERS: dict[str, Callable[[Path], _Named]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".csv": _read_csv,
}
