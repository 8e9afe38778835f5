"""Recorded activations on disk: a folder of safetensors shards and one manifest.

The format is described in `distfit_nn.capture.manifest`. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from itertools import count, islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save

from distfit_nn import _checks
from distfit_nn.capture import files, slabs
from distfit_nn.capture.manifest import (
    DTYPES,
    MANIFEST,
    Manifest,
    Record,
    Shard,
    file_error,
    is_store,
    parse_manifest,
    read_manifest,
)
from distfit_nn.capture.slabs import OnDisk, Slab
from distfit_nn.errors import FileError, InputError

if TYPE_CHECKING:
    from distfit_nn.stats.accumulator import Accumulator

MODES = ("x", "a", "w")
FLUSH_SECONDS = 10.0  # a killed recording loses a little more than this; shards stay few
Mode = Literal["x", "a", "w"]


class Store:
    """A store on disk, checked and ready to be read; a tensor is read when it is asked for.

    Parameters
    ----------
    path : str or path-like
        The folder of the store, on a disk or as a URL that fsspec knows.

    Attributes
    ----------
    path : pathlib.Path, or str for a URL
    model : str
        Class name of the model that was recorded.
    written_by : str
        The program that wrote the store.
    records : tuple of Record
        What is stored, in the order of recording; never empty.

    Raises
    ------
    FileError
        The folder is missing, is not a store, is empty, or its manifest or shards are damaged.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        remote = files.is_url(path)
        self.path = str(path) if remote else Path(path)
        manifest = _remote_manifest(str(path)) if remote else read_manifest(Path(path))
        if not manifest.records:
            raise file_error(self.path, "the store is empty: its manifest has no entries")
        for shard in manifest.shards:
            _check_shard(self.path, shard)
        self._headers: dict[str, dict[str, OnDisk]] = {}
        self.model = manifest.model
        self.written_by = manifest.written_by
        self.records = manifest.records
        self._shards = manifest.shards

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[tuple[Record, NDArray[Any]]]:
        """Yield each record with its array, one at a time."""
        for record in self.records:
            yield record, self.load(record)

    def load(self, record: Record) -> NDArray[Any]:
        """Return the array of `record`, of shape (rows, units).

        Raises
        ------
        FileError
            As for `slab`, or the file cannot be read.
        """
        return self.slab(record).read()

    def slab(self, record: Record) -> Slab:
        """Return where the array of `record` is.

        Raises
        ------
        FileError
            The shard is damaged, lacks the tensor, or holds one of another shape or dtype.
        """
        location = files.join(self.path, self._shards[record.shard].file)
        if location not in self._headers:
            self._headers[location] = slabs.safetensors(location)
        array = self._headers[location].get(record.key)
        if array is None:
            raise file_error(location, f"has no tensor {record.key!r}")
        found = f"{array.shape} {array.dtype}"
        told = f"{(record.rows, record.units)} {record.dtype}"
        if found != told:
            raise file_error(
                location, f"tensor {record.key!r} is {found}, the manifest says {told}"
            )
        return array.slab(record.rows, record.units)


def _remote_manifest(url: str) -> Manifest:
    location = files.join(url, MANIFEST)
    size = files.size(location)
    if size is None:
        raise file_error(url, f"is not a distfit_nn store (it has no {MANIFEST})")
    return parse_manifest(files.read(location, 0, size), location)


def _check_shard(folder: Path | str, shard: Shard) -> None:
    path = files.join(folder, shard.file)
    if isinstance(folder, Path) and (folder / shard.file).is_symlink():
        raise file_error(path, "is a symbolic link; a shard must lie in the store's own folder")
    size = files.size(path)
    if size is None or (isinstance(folder, Path) and not os.path.isfile(path)):
        raise file_error(path, "is named by the manifest but is missing")
    if size != shard.bytes:
        raise file_error(path, f"has {size} bytes, the manifest says {shard.bytes}: it is damaged")


class StoreWriter:
    """Write a store, a shard at a time.

    Arrays are gathered in memory until they exceed `buffer_bytes`, then written as one shard; what
    is not yet written is lost if the process is killed.

    Parameters
    ----------
    path : str or path-like
        The folder; it is created where it is missing.
    mode : {"x", "a", "w"}, default "x"
        "x": the folder must be new or empty. "a": add to the store that is there, or create one.
        "w": replace the store that is there, or create one; the old one can be read until the new
        one's first shard is on disk, and stays if nothing is added. A folder that holds something
        else than a store is never touched.
    model : str, default ""
        Class name of the model, kept in the manifest ("a" keeps the one that is there).
    buffer_bytes : int, default 64 MiB
        Size at which a shard is written.

    Raises
    ------
    InputError
        `mode` is none of the three, or `model` is not valid Unicode text.
    FileError
        The folder is not free for this mode, or cannot be written.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        mode: Mode = "x",
        *,
        model: str = "",
        buffer_bytes: int = 64 * 2**20,
        rank: int | None = None,
    ) -> None:
        _checks.one_of(mode, MODES, "mode")
        _checks.text(model, "model")
        self.path = Path(path)
        if rank is not None:
            self.path /= f"rank-{_checks.whole_number(rank, 'rank'):05d}"
        self._buffer_bytes = _checks.positive_int(buffer_bytes, "buffer_bytes")
        old = _claim(self.path, mode)
        self._replaced = old.shards if old is not None and mode == "w" else ()
        if old is None or mode == "w":
            old = Manifest(_program(), model, (), ())
        self._manifest = old
        self._stamp = _stamp(self.path / MANIFEST)
        self._flushed = time.monotonic()
        self._clear()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def add(
        self,
        values: NDArray[Any],
        *,
        layer: str,
        site: str,
        step: int,
        call: int = 0,
        activation: str | None = None,
        rows_seen: int | None = None,
        ids: tuple[int, ...] | None = None,
    ) -> int:
        """Add an array of shape (rows, units), which must not change until the next `flush`.

        Returns
        -------
        int
            The place of its entry, for `set_activation`.

        Raises
        ------
        InputError
            The array is not two-dimensional, is empty, or is not float16, float32 or float64; or
            `layer` or `site` is not valid Unicode text.
        FileError
            A shard was due and could not be written.
        """
        _checks.text(layer, "layer")
        _checks.text(site, "site")
        if values.ndim != 2 or 0 in values.shape:
            raise InputError(f"layer {layer!r}: shape must be (rows, units), got {values.shape}")
        if values.dtype.name not in DTYPES:
            raise InputError(f"layer {layer!r}: dtype must be a float, got {values.dtype}")
        rows, units = values.shape
        key = f"t{len(self._buffer)}"
        self._buffer[key] = np.ascontiguousarray(values)
        self._pending.append(
            Record(
                shard=len(self._manifest.shards),
                key=key,
                layer=layer,
                site=site,
                step=step,
                call=call,
                activation=activation,
                rows=rows,
                units=units,
                rows_seen=rows if rows_seen is None else rows_seen,
                dtype=values.dtype.name,
            )
        )
        self._buffered += values.nbytes
        self._changed = True
        place = len(self._manifest.records) + len(self._pending) - 1
        if self._buffered >= self._buffer_bytes:
            self.flush()
        return place

    def add_summary(
        self,
        summary: Accumulator,
        *,
        layer: str,
        site: str,
        step: int,
        call: int = 0,
        activation: str | None = None,
        rows_seen: int,
        ids: tuple[int, ...] | None = None,
    ) -> int:
        """Add the mergeable sums of rows in place of the rows themselves."""
        raise NotImplementedError("comes with version 2 of the format")

    def set_activation(self, place: int, activation: str) -> None:
        """Say which activation function takes the values that were added at `place`."""
        self._changed = True
        written = len(self._manifest.records)
        if place >= written:
            pending = self._pending[place - written]
            self._pending[place - written] = replace(pending, activation=activation)
            return
        records = list(self._manifest.records)
        records[place] = replace(records[place], activation=activation)
        self._manifest = replace(self._manifest, records=tuple(records))

    def flush(self) -> None:
        """Write what is buffered as one shard, then the manifest that names it."""
        if self._buffer or self._changed:
            self._manifest = self._write(spare=False)
            self._clear()

    def flush_if_due(self) -> None:
        """Write what is buffered if the last time was more than `FLUSH_SECONDS` ago, and keep it.

        The shard is a spare, which the next write replaces: in the end the shards are the same
        however long the recording took.
        """
        if self._changed and time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._write(spare=True)

    def close(self) -> None:
        """Write what is left. A writer may be closed more than once."""
        self.flush()

    def _clear(self) -> None:
        self._buffer: dict[str, NDArray[Any]] = {}
        self._pending: list[Record] = []
        self._buffered = 0
        self._changed = False  # is there something that is not on disk?

    def _write(self, *, spare: bool) -> Manifest:
        """Write buffer and manifest, remove what they replace, and return the manifest."""
        path = self.path / MANIFEST
        if _stamp(path) != self._stamp:
            raise file_error(self.path, "the store was changed by another writer; nothing is added")
        manifest = self._manifest
        if self._buffer:
            manifest = replace(
                manifest,
                shards=(*manifest.shards, self._write_shard(spare=spare)),
                records=(*manifest.records, *self._pending),
            )
        text = manifest.to_json()
        _replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        self._stamp = _stamp(path)
        self._flushed = time.monotonic()
        self._changed = False
        for shard in self._replaced:
            with contextlib.suppress(OSError):  # an unnamed shard is no part of the store
                (self.path / shard.file).unlink()
        self._replaced = manifest.shards[-1:] if spare and self._buffer else ()
        return manifest

    def _write_shard(self, *, spare: bool) -> Shard:
        """Write the buffer under the first free name, or as a spare under the second."""
        names = (self.path / f"shard-{number:05d}.safetensors" for number in count())
        free = (name for name in names if not os.path.lexists(name))
        path = next(islice(free, int(spare), None))
        _replace(path, lambda temporary: temporary.write_bytes(save(self._buffer)))
        return Shard(path.name, path.stat().st_size)


def _program() -> str:
    try:
        return f"distfit_nn {version('distfit-nn')}"
    except PackageNotFoundError:  # used from a source tree
        return "distfit_nn"


def _claim(folder: Path, mode: Mode) -> Manifest | None:
    """Check that `folder` may be written in `mode`; return the manifest that is there, if any."""
    try:
        if not os.path.lexists(folder):
            folder.mkdir(parents=True)
            return None
        if not folder.is_dir():
            raise file_error(folder, "is a file; a store needs a folder of its own")
        if not any(folder.iterdir()):
            return None
    except FileError:
        raise
    except OSError as error:
        raise file_error(folder, f"cannot hold a store: {error.strerror or error}") from None
    if mode != "x":
        return read_manifest(folder)
    kind = "a store" if is_store(folder) else "a folder that is not empty"
    raise file_error(folder, f"is {kind} already; mode 'a' adds to a store, 'w' replaces one")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes whenever the file at `path` is replaced; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` fill a temporary file beside `path`, force it to disk and move it to `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise file_error(path, f"cannot be written: {error}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
