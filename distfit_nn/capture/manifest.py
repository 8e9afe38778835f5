"""The manifest of a store: what a store is, as data, its reading and its text.

A store is a folder with ``manifest.json`` and shards, ``shard-00000.safetensors`` and so on. It is
read without the model that wrote it, and without torch. docs/format.md describes the format, for
readers in other languages too. In short, the manifest is UTF-8 JSON::

    {"format": "distfit_nn.store", "version": 2, "written_by": "distfit_nn 0.1.0", "model": "Net",
     "rank": null, "ranks": null,
     "unit_sets": [[0, 5, 9]],
     "shards": [{"file": "shard-00000.safetensors", "bytes": 3600920, "sha256": "9f86d0...",
                 "version": 2}],
     "entries": [{"kind": "values", "shard": 0, "key": "t0", "layer": "features.2",
                  "site": "pre_activation", "step": 25000, "call": 0, "activation": "relu",
                  "rows": 1000, "units": 3, "rows_seen": 60000, "dtype": "float16",
                  "unit_set": 0}],
     "sha256": "d2a84f..."
    }

``shard`` counts in the list ``shards``; ``key`` is the tensor's name in that shard's file, or where
the names of a summary's tensors begin. Layer names are text in the manifest only, never part of a
path or a key. The shards hold all the data and the manifest is replaced last, each in one step, so
that a crash at any moment leaves the store that was there before; a shard that the manifest does
not name is not part of it. The last field is the checksum of all the text before it, and is
compared whenever a manifest is read. Version 1 had values only, no unit sets and no checksums.
"""

from __future__ import annotations

import gc
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from distfit_nn import _checks
from distfit_nn.capture import manifest_rules as rules
from distfit_nn.capture.manifest_rules import DTYPES
from distfit_nn.capture.seal import is_whole
from distfit_nn.errors import FileError, InputError

__all__ = [
    "DTYPES",
    "FORMAT",
    "MANIFEST",
    "RANK_NAME",
    "VERSION",
    "Manifest",
    "Record",
    "Shard",
    "file_error",
    "is_store",
    "parse_manifest",
    "read_manifest",
    "status",
]

FORMAT = "distfit_nn.store"
VERSION = 2
MANIFEST = "manifest.json"
RANK_NAME = re.compile(r"rank-(\d{5,9})", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
MOST_BYTES = 2**29  # of a manifest: some two million entries
MOST_LISTS = 2**23  # lists and objects in it, each of some 60 bytes or more


class Record(NamedTuple):
    """An entry of the manifest: which tensors of which shard hold what.

    Attributes
    ----------
    kind : {"values", "summary"}
        Rows, or the sums of an `Accumulator` in their place.
    shard : int
    key : str
    layer, site, step, call, activation
        What was recorded, where and when.
    rows, units : int
        Rows that are kept, or were summarised.
    rows_seen : int
        Rows that there were to sample from.
    dtype : str or None
        Of the values; None for a summary.
    ids : tuple of int, or None
        Numbers of the units in their layer, where not all were recorded.
    """

    kind: str
    shard: int
    key: str
    layer: str
    site: str
    step: int
    call: int
    activation: str | None
    rows: int
    units: int
    rows_seen: int
    dtype: str | None
    ids: tuple[int, ...] | None


class Shard(NamedTuple):
    """One file of tensors: its size in bytes, its checksum, the version of the store it is from.

    Those of version 1 have no checksum: they keep None where a newer writer adds to their store.
    """

    file: str
    bytes: int
    sha256: str | None
    version: int


@dataclass(frozen=True)
class Manifest:
    """What a store holds, in the order in which it was recorded."""

    written_by: str
    model: str
    shards: tuple[Shard, ...]
    records: tuple[Record, ...]
    rank: int | None = None
    ranks: int | None = None


def file_error(path: str | PathLike[str], problem: object) -> FileError:
    """Return a `FileError` that names `path` and what is wrong with it, on one line.

    Bytes of a path that are no text, and characters that steer a terminal, are shown as escapes.
    """
    told = _checks.shortened(" ".join(str(problem).splitlines()), 250)
    text = " ".join(f"{os.fspath(path)}: {told}".splitlines())
    return FileError(_CONTROL.sub(_escape, text.encode(errors="backslashreplace").decode()))


def _escape(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"


def status(path: str | PathLike[str]) -> os.stat_result | None:
    """Return what the file system tells of `path`, None where there is nothing.

    Raises
    ------
    FileError
        It may not be looked at.
    """
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last: no possible path
        return None
    except OSError as error:
        raise file_error(path, error.strerror or error) from None


def has_manifest(path: str | PathLike[str]) -> bool:
    """Return whether there is a manifest in the folder `path` (which may still be damaged)."""
    found = status(os.path.join(path, MANIFEST))
    return found is not None and stat.S_ISREG(found.st_mode)


def rank_folders(path: str | PathLike[str]) -> list[str]:
    """Return the names of the folders of ranks in the folder `path`, by their numbers."""
    if (found := status(path)) is None or not stat.S_ISDIR(found.st_mode):
        return []
    try:
        with os.scandir(path) as entries:
            names = [e.name for e in entries if RANK_NAME.fullmatch(e.name) and e.is_dir()]
    except OSError as error:
        raise file_error(path, error.strerror or error) from None
    return sorted(names, key=rank_number)


def rank_number(name: str) -> int:
    """Return the number of the rank whose folder has this name."""
    return int(name.removeprefix("rank-"))


def is_store(path: str | PathLike[str]) -> bool:
    """Return whether `path` is a store: a folder with a manifest, or with folders of ranks.

    It may still be damaged.

    Raises
    ------
    FileError
        The folder may not be looked into.
    """
    return has_manifest(path) or bool(rank_folders(path))


def read_manifest(folder: Path, first_shard: int = 0) -> Manifest:
    """Read the manifest of the store at `folder`; raise `FileError` where it breaks a rule."""
    found = status(folder)
    if found is None:
        raise file_error(folder, "does not exist")
    if not stat.S_ISDIR(found.st_mode):
        raise file_error(folder, "is a file, not the folder of a store")
    if not has_manifest(folder):
        raise file_error(folder, f"is not a distfit_nn store (it has no {MANIFEST})")
    path = folder / MANIFEST
    size = path.stat().st_size
    check_size(size, path)
    if path.is_symlink():
        raise file_error(path, "is a symbolic link; it must lie in the store's own folder")
    try:
        with open(path, "rb") as file:
            text = file.read(size)  # one that is cut off while it is read is no JSON
    except OSError as error:
        raise file_error(path, error.strerror or error) from None
    return parse_manifest(text, path, first_shard)


def parse_manifest(
    text: bytes | bytearray, path: str | PathLike[str], first_shard: int = 0
) -> Manifest:
    """Return what the text of a manifest says; raise `FileError` where it breaks a rule.

    `first_shard` is added to the shards of the entries.
    """
    check_size(len(text), path)
    if text.count(b"{") + text.count(b"[") > MOST_LISTS:
        raise file_error(path, f"has more than {MOST_LISTS:,} lists and objects")
    with uncollected():
        try:
            whole = is_whole(text)
            return _parsed(_content(text), whole, first_shard)
        except InputError as error:
            raise file_error(path, error) from None


def check_size(size: int, path: str | PathLike[str]) -> None:
    """Raise `FileError` if a manifest has too many bytes to be read."""
    if size > MOST_BYTES:
        raise file_error(path, f"has more than {MOST_BYTES:,} bytes, too many for a manifest")


def _content(text: bytes | bytearray) -> Any:
    try:
        return json.loads(text.decode(), object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not valid JSON ({error})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the key {twice[:80]!r} twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the collector of cycles from looking through millions of new objects, twice as slow."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _parsed(content: Any, whole: bool, first_shard: int) -> Manifest:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"is not the manifest of a store (its format is not {FORMAT!r})")
    version = content.get("version")
    if type(version) is not int or version not in (1, VERSION):
        raise InputError(
            f"has version {version!r:.80}, this distfit_nn reads versions 1 to {VERSION}"
        )
    if version > 1 and not whole:
        raise InputError(f"does not end with its checksum, as one of version {version} must")
    for name in ("written_by", "model"):
        _checks.text(content.get(name), repr(name))
    if version == 1:
        content = {**content, "rank": None, "ranks": None, "unit_sets": []}
    shards = _shards(content.get("shards"), version)
    unit_sets = _unit_sets(content)
    records = _records(content.get("entries"), version, shards, unit_sets, first_shard)
    rank, ranks = _ranks(content)
    return Manifest(content["written_by"], content["model"], shards, records, rank, ranks)


def _ranks(content: dict[str, Any]) -> tuple[int | None, int | None]:
    for name, rule in (("rank", rules.COUNT_OR_NULL), ("ranks", rules.POSITIVE_OR_NULL)):
        if name not in content:
            raise InputError(f"has no {name!r}")
        rules.check([content[name]], repr(name), rule)
    return content["rank"], content["ranks"]


def _shards(items: Any, version: int) -> tuple[Shard, ...]:
    found = rules.columns(items, "shards", rules.SHARDS if version > 1 else rules.SHARDS_1)
    if version == 1:
        found |= {"sha256": [None] * len(items), "version": [1] * len(items)}
    for i, (total, origin) in enumerate(zip(found["sha256"], found["version"], strict=True)):
        if (total is None) != (origin == 1):
            raise InputError(f"shards[{i}]: 'sha256' must be {rules.SHA256_WORDS}, got {total!r}")
    names = found["file"]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"'shards' names {twice!r} twice")
    return tuple(map(Shard, *(found[name] for name in Shard._fields)))


def _unit_sets(content: dict[str, Any]) -> list[tuple[int, ...]]:
    sets = content.get("unit_sets")
    if not isinstance(sets, list):
        raise InputError(f"'unit_sets' must be a list, got {type(sets).__name__}")
    rules.check(sets, "unit_sets[{}]", rules.UNIT_SETS)
    return [tuple(numbers) for numbers in sets]


def _records(
    items: Any,
    version: int,
    shards: tuple[Shard, ...],
    unit_sets: list[tuple[int, ...]],
    first_shard: int,
) -> tuple[Record, ...]:
    found = rules.columns(items, "entries", rules.ENTRIES if version > 1 else rules.ENTRIES_1)
    if version == 1:
        found |= {"kind": ["values"] * len(items), "unit_set": [None] * len(items)}
    items.clear()  # a million dicts have 600 MB, and all that they say is in columns
    _check_places(found, shards, unit_sets)
    _check_sizes(found, shards)
    found["ids"] = [None if number is None else unit_sets[number] for number in found["unit_set"]]
    found["shard"] = [number + first_shard for number in found["shard"]]
    for name in ("kind", "layer", "site", "activation", "dtype"):
        found[name] = _shared(found[name])
    return tuple(map(Record, *(found[name] for name in Record._fields)))


def _shared(values: list[Any]) -> list[Any]:
    """Return equal values, each once in memory."""
    known: dict[Any, Any] = {}
    return [known.setdefault(value, value) for value in values]


def _check_places(
    found: dict[str, list[Any]], shards: tuple[Shard, ...], unit_sets: list[tuple[int, ...]]
) -> None:
    """Check that shards and sets of units exist, and that nothing is named twice."""
    for i, shard in enumerate(found["shard"]):
        if shard >= len(shards):
            raise InputError(f"entries[{i}]: 'shard' is {shard}, there are {len(shards)} shards")
    if len(set(zip(found["shard"], found["key"], strict=True))) < len(found["key"]):
        raise InputError("two 'entries' have the same 'shard' and 'key'")
    for i, (number, units) in enumerate(zip(found["unit_set"], found["units"], strict=True)):
        if number is None:
            continue
        if number >= len(unit_sets):
            raise InputError(
                f"entries[{i}]: 'unit_set' is {number}, there are {len(unit_sets)} unit_sets"
            )
        if len(unit_sets[number]) != units:
            raise InputError(
                f"entries[{i}]: 'units' is {units}, unit_sets[{number}] has "
                f"{len(unit_sets[number])} numbers"
            )


def _check_sizes(found: dict[str, list[Any]], shards: tuple[Shard, ...]) -> None:
    """Check that what is said of an entry agrees, and that its shard can hold it."""
    names = ("kind", "dtype", "shard", "rows", "units", "rows_seen")
    for i, (kind, dtype, shard, rows, units, seen) in enumerate(
        zip(*(found[name] for name in names), strict=True)
    ):
        if (kind == "values") != (dtype is not None):
            raise InputError(f"entries[{i}]: 'dtype' must be null for a summary, for values not")
        if seen < rows:
            raise InputError(f"entries[{i}]: 'rows_seen' is {seen}, less than the {rows} 'rows'")
        size = 0 if dtype is None else rows * units * DTYPES[dtype]
        if size > shards[shard].bytes:
            raise InputError(
                f"entries[{i}]: {rows} 'rows' of {units} 'units' are more than its shard holds"
            )
