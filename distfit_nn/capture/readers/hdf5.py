"""HDF5: the datasets of a file, read in pieces."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn._checks import shortened
from distfit_nn.capture import files
from distfit_nn.capture.files import Stamp
from distfit_nn.capture.readers import extras, limits
from distfit_nn.capture.readers.found import Found
from distfit_nn.capture.slabs import MOST_LAYERS
from distfit_nn.errors import InputError

_DEEPEST = 100  # nested groups
_KINDS = "fiub"
_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset"}
_FILTERS |= {32000: "lzf"}  # comes with h5py; others would load code from elsewhere


def read_hdf5(path: Path) -> Iterator[Found]:
    """Yield the datasets of numbers in a file.

    Soft and external links are not followed; a dataset whose data lie in another file, or that
    needs a filter of another library, raises `InputError`.
    """
    h5py = extras.module("h5py", "hdf5")
    stamp = files.stamp(path)
    with h5py.File(path, "r") as file:
        names = list(islice(_datasets(h5py, file, (), set()), MOST_LAYERS + 1))
        limits.check_layers(len(names))
        for keys in names:
            dataset = file["/".join(keys)]
            _check(path, ".".join(keys), dataset)
            array = Dataset(str(path), "/".join(keys), dataset.shape, dataset.dtype.str, stamp)
            yield Found(".".join(keys), array)


def _datasets(
    h5py: Any, group: Any, keys: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[str, ...]]:
    """Yield the names that lead to the datasets of numbers below a group, each once."""
    if len(keys) > _DEEPEST:
        raise ValueError(f"its groups are nested more than {_DEEPEST} deep")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        item = group[name]
        place = h5py.h5o.get_info(item.id).addr
        if place in seen:
            continue
        seen.add(place)
        if isinstance(item, h5py.Group):
            yield from _datasets(h5py, item, (*keys, name), seen)
        elif isinstance(item, h5py.Dataset) and _is_numbers(item):
            yield (*keys, name)


def _is_numbers(dataset: Any) -> bool:
    try:
        return dataset.dtype.kind in _KINDS and bool(dataset.shape)
    except TypeError:  # a type that NumPy lacks
        return False


def _check(path: Path, name: str, dataset: Any) -> None:
    """Raise `InputError` or `ValueError` for what is not safe to read."""
    shown = f"dataset {shortened(repr(name))}"
    if dataset.is_virtual or dataset.external:
        raise InputError(f"{shown} has its data in other files, which are not read")
    told = dataset.id.get_create_plist()
    for number in range(told.get_nfilters()):
        if told.get_filter(number)[0] not in _FILTERS:
            raise InputError(
                f"{shown} is packed by a filter other than {', '.join(_FILTERS.values())}"
            )
    size = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = min(dataset.id.get_storage_size(), path.stat().st_size)
    limits.check_growth(size, stored, shown)
    if dataset.chunks is not None:
        limits.check_chunk(math.prod(dataset.chunks) * dataset.dtype.itemsize, shown)


@dataclass(frozen=True)
class Dataset:
    """A dataset in a file; see `spans.Array`."""

    location: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    stamp: Stamp | None

    @property
    def itemsize(self) -> int:
        """Bytes of a value."""
        return np.dtype(self.dtype).itemsize

    @contextmanager
    def opened(self) -> Iterator[Native]:
        """Open the file."""
        h5py = extras.module("h5py", "hdf5")
        with h5py.File(self.location, "r") as file:
            yield Native(file[self.name])


@dataclass(frozen=True)
class Native:
    """An array of a library, whose values come in this machine's order of bytes."""

    array: Any

    def __getitem__(self, box: tuple[slice, ...]) -> NDArray[Any]:
        found = np.asarray(self.array[box])
        return found.astype(found.dtype.newbyteorder("="), copy=False)
