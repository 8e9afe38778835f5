"""Zarr, versions 2 and 3: the arrays of a folder or an archive, read in pieces.

What the metadata say is checked (`zarr_metadata`) before the library sees them.
"""

from __future__ import annotations

import json
import math
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from distfit_nn._checks import shortened
from distfit_nn.capture import files
from distfit_nn.capture.files import Stamp
from distfit_nn.capture.manifest import file_error
from distfit_nn.capture.readers import archives, extras, limits
from distfit_nn.capture.readers import zarr_metadata as metadata
from distfit_nn.capture.readers.found import Found
from distfit_nn.capture.readers.hdf5 import Native
from distfit_nn.errors import InputError

METADATA = (".zarray", ".zgroup", "zarr.json")
_LONGEST = 64 << 20  # bytes of metadata: those of a whole hierarchy may lie in its root's
_MOST_FILES = 2_000_000


def read_zarr(path: Path) -> Iterator[Found]:
    """Yield the arrays of numbers in a folder, or an archive of one."""
    extras.module("zarr", "zarr")
    if path.is_dir():
        yield from _arrays(path, _sizes(path), lambda name: (path / name).read_bytes())
        return
    with archives.opened(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        yield from _arrays(path, sizes, archive.read)


def _sizes(path: Path) -> dict[str, int]:
    """Return the sizes of all files below a folder; there must be no links and no devices."""
    found: dict[str, int] = {}
    for folder, below, names in os.walk(path):
        for name in (*below, *names):
            told = os.lstat(os.path.join(folder, name))
            if stat.S_ISDIR(told.st_mode):
                continue
            inside = PurePosixPath(folder, name).relative_to(path).as_posix()
            if not stat.S_ISREG(told.st_mode):
                shown = shortened(repr(inside))
                raise file_error(path, f"{shown} is a link or no regular file, and is not followed")
            found[inside] = told.st_size
        if len(found) > _MOST_FILES:
            raise InputError(f"holds more than {_MOST_FILES:,} files")
    return found


def _arrays(
    path: Path, sizes: Mapping[str, int], content: Callable[[str], bytes]
) -> Iterator[Found]:
    """Yield the arrays whose metadata are among files of these names and sizes."""
    told = sorted(PurePosixPath(name) for name in sizes if PurePosixPath(name).name in METADATA)
    if not told:
        raise InputError("holds no metadata of Zarr")
    limits.check_layers(len(told))
    root = min((place.parent for place in told), key=lambda place: len(place.parts))
    data = _data_sizes(sizes, {place.parent for place in told})
    stamp = None if path.is_dir() else files.stamp(path)
    for place in told:
        if sizes[str(place)] > _LONGEST:
            raise ValueError(f"{str(place)!r} has {sizes[str(place)]:,} bytes")
        known = metadata.parsed(str(place), json.loads(content(str(place))))
        if known is None or not known.shape:  # a group, no numbers, or a single one
            continue
        _check(str(place), known, data.get(place.parent, []))
        keys = place.parent.relative_to(root).parts
        inside = "" if str(place.parent) == "." else str(place.parent)
        array = ZarrArray(str(path), inside, known.version, known.shape, known.dtype, stamp)
        yield Found(".".join(keys) or path.name.partition(".")[0], array)


def _data_sizes(
    sizes: Mapping[str, int], arrays: set[PurePosixPath]
) -> dict[PurePosixPath, list[int]]:
    """Return the sizes of the files that each array or group has beside its metadata."""
    found: dict[PurePosixPath, list[int]] = {}
    for name, size in sizes.items():
        place = PurePosixPath(name)
        owner = next((above for above in place.parents if above in arrays), None)
        if owner is not None and place.name not in METADATA:
            found.setdefault(owner, []).append(size)
    return found


def _check(name: str, known: metadata.Known, stored: list[int]) -> None:
    """Raise `ValueError` where few stored bytes would become very many."""
    itemsize = np.dtype(known.dtype).itemsize
    chunk = math.prod(known.chunk) * itemsize
    shown = shortened(repr(name))
    limits.check_chunk(chunk, shown)
    limits.check_growth(math.prod(known.shape) * itemsize, sum(stored), shown)
    if not known.sharded and max(stored, default=0) > 2 * chunk + (1 << 20):
        raise ValueError(f"{shown} has a chunk of {max(stored):,} bytes, unpacked it has {chunk:,}")


@dataclass(frozen=True)
class ZarrArray:
    """An array of a Zarr; see `spans.Array`."""

    location: str
    name: str
    version: int
    shape: tuple[int, ...]
    dtype: str
    stamp: Stamp | None

    @property
    def itemsize(self) -> int:
        """Bytes of a value."""
        return np.dtype(self.dtype).itemsize

    @contextmanager
    def opened(self) -> Iterator[Native]:
        """Open the array."""
        zarr = extras.module("zarr", "zarr")
        kind = "LocalStore" if os.path.isdir(self.location) else "ZipStore"
        with warnings.catch_warnings():  # what matters of a damaged file is its error
            warnings.simplefilter("ignore")
            store = getattr(zarr.storage, kind)(self.location, read_only=True)
            try:
                array = zarr.open_array(
                    store=store, path=self.name, mode="r", zarr_format=self.version
                )
                if array.shape != self.shape or array.dtype != np.dtype(self.dtype):
                    raise ValueError(f"array {self.name!r} is not as its metadata tell")
                yield Native(array)
            finally:
                store.close()
