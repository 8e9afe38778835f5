"""A store on disk, checked and ready to be read; nothing here imports torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from distfit_nn.capture import files, ranks, slabs
from distfit_nn.capture.entries import Entry
from distfit_nn.capture.manifest import MANIFEST, Record, Shard, file_error, uncollected
from distfit_nn.capture.ranks import Folder
from distfit_nn.capture.slabs import OnDisk, Slab
from distfit_nn.capture.summaries import Summary, summary_of
from distfit_nn.errors import FileError

if TYPE_CHECKING:
    from distfit_nn.stats.accumulator import Accumulator


class Store:
    """A store on disk, checked and ready to be read; a tensor is read when it is asked for.

    A folder with the stores of several ranks (``rank-00000``, ...) is read as their union, in the
    order of their numbers; ranks that are missing or empty are warned of. A store can be read
    while it is written: what was there when it was opened.

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
        What is stored, in the order of recording, rank after rank; never empty.
    missing : tuple of str
        One line for each rank that is missing or empty.

    Raises
    ------
    FileError
        The folder is missing, is not a store, is empty, or its manifest or shards are damaged.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path: Folder = str(path) if files.is_url(path) else Path(path)
        before = files.stamp(files.join(self.path, MANIFEST))
        try:
            self._open()
        except FileError:  # a writer may have replaced manifest and shards just now
            if before is None or files.stamp(files.join(self.path, MANIFEST)) == before:
                raise
            self._open()
        ranks.told(self.missing)

    def _open(self) -> None:
        found = ranks.members(self.path)
        first = found.manifests[0]
        if not any(manifest.records for manifest in found.manifests):
            raise file_error(self.path, "the store is empty: its manifest has no entries")
        self._shards = [
            checked_shard(folder, shard)
            for folder, manifest in zip(found.folders, found.manifests, strict=True)
            for shard in manifest.shards
        ]
        self._headers: dict[str, dict[str, OnDisk]] = {}
        self.missing = found.missing
        self.model = first.model
        self.written_by = first.written_by
        self.records = tuple(record for each in found.manifests for record in each.records)

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
            As for `slab`, the file cannot be read, or the record is a summary.
        """
        return self.slab(record).read()

    def summary(self, record: Record) -> Accumulator:
        """Return the accumulator of a record that is a summary.

        Raises
        ------
        FileError
            The shard is damaged or lacks a tensor, or the record is of values.
        """
        piece = self.piece(record)
        if not isinstance(piece, Summary):
            raise file_error(self._shards[record.shard], f"{record.key!r} is no summary")
        return piece.load()

    def slab(self, record: Record) -> Slab:
        """Return where the array of `record` is.

        Raises
        ------
        FileError
            The shard is damaged, lacks the tensor, or holds one of another shape or dtype.
        """
        piece = self.piece(record)
        if isinstance(piece, Summary):
            raise file_error(piece.location, f"{record.key!r} is a summary: its rows were not kept")
        return piece

    def piece(self, record: Record) -> Slab | Summary:
        """Return where the array, or the summary, of `record` is; see `slab`."""
        location = self._shards[record.shard]
        if location not in self._headers:
            with uncollected():
                self._headers[location] = slabs.safetensors(location)
        return piece_of(location, self._headers[location], record)

    def entries(self) -> Iterator[Entry]:
        """Return an iterator over what each layer has at each site and step.

        Records of one layer, site and step, of several calls or ranks, are joined row by row,
        summaries by merging them in their order.

        Raises
        ------
        FileError
            They differ in their units, or some are values and others summaries.
        """
        groups: dict[tuple[str, str, int], list[Record]] = {}
        for record in self.records:
            groups.setdefault((record.layer, record.site, record.step), []).append(record)
        return (self._joined(records) for records in groups.values())

    def _joined(self, records: list[Record]) -> Entry:
        first = records[0]
        what = f"layer {first.layer!r} at step {first.step}"
        widths = sorted({record.units for record in records})
        if len(widths) > 1:
            raise file_error(self.path, f"{what} has {widths} units")
        if len({record.ids for record in records}) > 1:
            raise file_error(self.path, f"{what} has different units in several entries")
        if len({record.kind for record in records}) > 1:
            raise file_error(self.path, f"{what} has values and summaries, which cannot be joined")
        activations = (record.activation for record in records if record.activation is not None)
        return Entry(
            first.layer,
            first.site,
            first.step,
            next(activations, None),
            tuple(self.piece(record) for record in records),
            sum(record.rows_seen for record in records),
            ids=first.ids,
        )


def piece_of(location: str, header: dict[str, OnDisk], record: Record) -> Slab | Summary:
    """Return where in the file at `location` the array, or the summary, of `record` is."""
    if record.kind == "summary":
        return summary_of(location, record.key, header, record.rows, record.units)
    array = header.get(record.key)
    if array is None:
        raise file_error(location, f"has no tensor {record.key!r}")
    found = f"{array.shape} {array.dtype}"
    told = f"{(record.rows, record.units)} {record.dtype}"
    if found != told:
        raise file_error(location, f"tensor {record.key!r} is {found}, the manifest says {told}")
    return array.slab(record.rows, record.units)


def checked_shard(folder: Folder, shard: Shard) -> str:
    """Return the location of a shard that is there and has its size."""
    path = files.join(folder, shard.file)
    if isinstance(folder, Path) and (folder / shard.file).is_symlink():
        raise file_error(path, "is a symbolic link; a shard must lie in the store's own folder")
    size = files.size(path)
    if size is None or (isinstance(folder, Path) and not os.path.isfile(path)):
        raise file_error(path, "is named by the manifest but is missing")
    if size != shard.bytes:
        raise file_error(path, f"has {size} bytes, the manifest says {shard.bytes}: it is damaged")
    return path
