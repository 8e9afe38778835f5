"""Whether a store is whole: every checksum, every tensor, and what lies beside them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from distfit_nn.capture import files, slabs
from distfit_nn.capture.lock import LOCK
from distfit_nn.capture.manifest import (
    MANIFEST,
    Manifest,
    Record,
    Shard,
    file_error,
    is_store,
    uncollected,
)
from distfit_nn.capture.ranks import Folder, Members, members
from distfit_nn.capture.stored import checked_shard, piece_of
from distfit_nn.capture.summaries import Summary
from distfit_nn.errors import FileError

CHUNK = 1 << 22  # bytes that are read at once
UNITS = 128  # of a summary that are looked at together: a tile
_TRIES = 3  # while somebody writes


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes
    ----------
    path : str
    problems : tuple of str
        One line each, which names the file and what is wrong with it.
    strays : tuple of str
        Files in the folder that are no part of the store, left by a killed writer or put there by
        others. They do no harm and may be removed while nobody writes.
    unchecked : tuple of str
        Shards that version 1 wrote, which have no checksum; all else of them is checked.
    shards, entries, bytes : int
        How many shards and entries the store has, and the bytes of its shards.
    """

    path: str
    problems: tuple[str, ...]
    strays: tuple[str, ...]
    unchecked: tuple[str, ...]
    shards: int
    entries: int
    bytes: int

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def __str__(self) -> str:
        what = f"{self.entries:,} entries in {self.shards:,} shards of {self.bytes:,} bytes"
        if self.ok:
            return f"{self.path}: whole, {what}"
        more = f" (and {len(self.problems) - 1} more)" if self.problems[1:] else ""
        return f"{self.path}: damaged, {what}; {self.problems[0]}{more}"


def verify(path: str | PathLike[str]) -> Verification:
    """Check that a store is whole: its manifest, every shard's checksum, and every entry.

    Each shard is read once, some megabytes at a time (the header and the summaries in it once
    more). Nothing is changed. A store that is being written can be verified: what its manifest says
    at the time.

    Parameters
    ----------
    path : str or path-like
        The folder of a store, of one process or of several ranks, or its URL.

    Returns
    -------
    Verification
        With `.ok` and `.problems`.

    Raises
    ------
    FileError
        There is no store at `path`.

    Examples
    --------
    >>> import distfit_nn as dn
    >>> found = dn.verify("data/mnist_mlp")
    >>> found.ok, found.entries, found.shards
    (True, 18, 1)
    """
    for _ in range(_TRIES):
        before = _stamp(path)
        found = _verified(path)
        if found.ok or _stamp(path) == before:
            break
    return found


def _stamp(path: str | PathLike[str]) -> files.Stamp | None:
    return files.stamp(files.join(path, MANIFEST))


def _verified(path: str | PathLike[str]) -> Verification:
    name = str(path)
    try:
        found = members(path)
    except FileError as error:
        if not _is_there(path):
            raise
        return Verification(name, (str(error),), (), (), 0, 0, 0)
    problems = [f"{name}: {line}" for line in found.missing]
    if not any(manifest.records for manifest in found.manifests):
        problems.append(f"{name}: the store is empty: its manifest has no entries")
    first = 0
    for folder, manifest in zip(found.folders, found.manifests, strict=True):
        problems += _problems_of(folder, manifest, first)
        first += len(manifest.shards)
    shards = [shard for manifest in found.manifests for shard in manifest.shards]
    return Verification(
        path=name,
        problems=tuple(problems),
        strays=tuple(_strays(path, found)),
        unchecked=tuple(_unchecked(found)),
        shards=len(shards),
        entries=sum(len(manifest.records) for manifest in found.manifests),
        bytes=sum(shard.bytes for shard in shards),
    )


def _is_there(path: str | PathLike[str]) -> bool:
    """Whether there is a store, if a damaged one: a folder with a manifest or with ranks."""
    if files.is_url(path):
        return files.size(files.join(path, MANIFEST)) is not None
    return is_store(path)


def _problems_of(folder: Folder, manifest: Manifest, first: int) -> list[str]:
    """Return what is wrong with the shards of one manifest, whose numbers begin at `first`."""
    held: dict[int, list[Record]] = {}
    for record in manifest.records:
        held.setdefault(record.shard - first, []).append(record)
    problems: list[str] = []
    for number, shard in enumerate(manifest.shards):
        try:
            location = checked_shard(folder, shard)
            _check_sum(location, shard)
            with uncollected():
                problems += _problems_in(location, held.get(number, []))
        except FileError as error:
            problems.append(str(error))
    return problems


def _check_sum(location: str, shard: Shard) -> None:
    """Raise `FileError` if the bytes of a shard are not those that were written."""
    if shard.sha256 is None:
        return
    found = hashlib.sha256()
    buffer = bytearray(CHUNK)
    with files.reading(location) as fill:
        for start in range(0, shard.bytes, CHUNK):
            part = memoryview(buffer)[: min(CHUNK, shard.bytes - start)]
            fill(start, part)
            found.update(part)
    if found.hexdigest() != shard.sha256:
        raise file_error(
            location,
            f"is damaged: its checksum is {found.hexdigest()[:12]}..., the manifest says "
            f"{shard.sha256[:12]}...",
        )


def _problems_in(location: str, records: list[Record]) -> Iterator[str]:
    """Yield what is wrong with the tensors of a shard."""
    header = slabs.safetensors(location)
    for record in records:
        try:
            piece = piece_of(location, header, record)
            if isinstance(piece, Summary):
                for start in range(0, piece.units, UNITS):
                    piece.load(slice(start, min(start + UNITS, piece.units)))
        except FileError as error:
            yield str(error)


def _unchecked(found: Members) -> Iterator[str]:
    for folder, manifest in zip(found.folders, found.manifests, strict=True):
        for shard in manifest.shards:
            if shard.sha256 is None:
                yield files.join(folder, shard.file)


def _strays(path: str | PathLike[str], found: Members) -> Iterator[str]:
    """Yield the files in the folders of a store that are no part of it; none of a URL."""
    if files.is_url(path):
        return
    parts = {str(folder) for folder in found.folders}
    for folder, manifest in zip(found.folders, found.manifests, strict=True):
        known = {MANIFEST, LOCK, *(shard.file for shard in manifest.shards)}
        yield from _others(Path(folder), known)
    if str(Path(path)) not in parts:
        yield from _others(Path(path), {Path(part).name for part in parts})


def _others(folder: Path, known: set[str]) -> list[str]:
    return [str(folder / name) for name in sorted(os.listdir(folder)) if name not in known]
