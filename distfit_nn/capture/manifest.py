"""The manifest of a store: what a store is, as data, and the reading of it.

A store is a folder with ``manifest.json`` and shards, ``shard-00000.safetensors`` and so on. It is
read without the model that wrote it, and without torch. The manifest is UTF-8 JSON::

    {"format": "distfit_nn.store", "version": 1, "written_by": "distfit_nn 0.1.0", "model": "Net",
     "shards": [{"file": "shard-00000.safetensors", "bytes": 3600920}],
     "entries": [{"shard": 0, "key": "t0", "layer": "features.2", "site": "pre_activation",
                  "step": 25000, "call": 0, "activation": "relu",
                  "rows": 1000, "units": 100, "rows_seen": 60000, "dtype": "float16"}]}

``shard`` counts in the list ``shards``; ``key`` is the tensor's name in that shard's file. Every
tensor has the shape (``rows``, ``units``); ``rows_seen`` is how many rows there were before
sampling. Layer names are text in the manifest only, never part of a path or a key. The shards hold
all the data and the manifest is replaced last, each in one step, so that a crash at any moment
leaves the store that was there before; a shard that the manifest does not name is not part of it.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

from distfit_nn import _checks
from distfit_nn.errors import FileError, InputError

FORMAT = "distfit_nn.store"
VERSION = 1
MANIFEST = "manifest.json"
DTYPES = ("float16", "float32", "float64")
SHARD_NAME = re.compile(r"shard-\d{5,}\.safetensors", re.ASCII)


@dataclass(frozen=True)
class Record:
    """One line of the manifest: which tensor of which shard holds what."""

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
    dtype: str


@dataclass(frozen=True)
class Shard:
    """One file of tensors and its size in bytes."""

    file: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """What a store holds, in the order in which it was recorded."""

    written_by: str
    model: str
    shards: tuple[Shard, ...]
    records: tuple[Record, ...]

    def to_json(self) -> str:
        """Return the manifest as the text of ``manifest.json``."""
        content = {
            "format": FORMAT,
            "version": VERSION,
            "written_by": self.written_by,
            "model": self.model,
            "shards": [vars(shard) for shard in self.shards],
            "entries": [vars(record) for record in self.records],
        }
        return json.dumps(content, indent=1) + "\n"


def file_error(path: str | PathLike[str], problem: object) -> FileError:
    """Return a `FileError` that names `path` and what is wrong with it, on one line.

    Bytes of a path that are no text are shown as escapes, so that the message can be printed.
    """
    text = " ".join(f"{os.fspath(path)}: {problem}".splitlines())
    return FileError(text.encode(errors="backslashreplace").decode())


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


def is_store(path: str | PathLike[str]) -> bool:
    """Return whether `path` is a folder with a manifest (which may still be damaged).

    Raises
    ------
    FileError
        The folder may not be looked into.
    """
    found = status(os.path.join(path, MANIFEST))
    return found is not None and stat.S_ISREG(found.st_mode)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of the store at `folder`; raise `FileError` where it breaks a rule."""
    found = status(folder)
    if found is None:
        raise file_error(folder, "does not exist")
    if not stat.S_ISDIR(found.st_mode):
        raise file_error(folder, "is a file, not the folder of a store")
    if not is_store(folder):
        raise file_error(folder, f"is not a distfit_nn store (it has no {MANIFEST})")
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except OSError as error:
        raise file_error(path, error.strerror or error) from None
    return parse_manifest(text, path)


def parse_manifest(text: bytes | bytearray, path: str | PathLike[str]) -> Manifest:
    """Return what the text of a manifest says; raise `FileError` where it breaks a rule."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise file_error(path, f"is not valid JSON ({error})") from None
    try:
        return _parsed(content)
    except InputError as error:
        raise file_error(path, error) from None


def _parsed(content: Any) -> Manifest:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"is not the manifest of a store (its format is not {FORMAT!r})")
    if content.get("version") != VERSION or isinstance(content["version"], bool):
        raise InputError(
            f"has version {content.get('version')!r}, this distfit_nn reads version {VERSION}"
        )
    for name in ("written_by", "model"):
        _checks.text(content.get(name), repr(name))
    shards = _parse_list(content, "shards", Shard, _SHARD_RULES)
    records = _parse_list(content, "entries", Record, _RECORD_RULES)
    for position, record in enumerate(records):
        if record.shard >= len(shards):
            raise InputError(
                f"entries[{position}]: 'shard' is {record.shard}, there are {len(shards)} shards"
            )
    return Manifest(content["written_by"], content["model"], tuple(shards), tuple(records))


def _is_text(value: Any) -> bool:
    try:
        _checks.text(value, "")
    except InputError:
        return False
    return True


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


Rule = tuple[Callable[[Any], bool], str]

_TEXT: Rule = (_is_text, "valid text")
_COUNT: Rule = (lambda value: _whole(value, 0), "a whole number of at least 0")
_POSITIVE: Rule = (lambda value: _whole(value, 1), "a whole number of at least 1")
_SHARD_RULES: dict[str, Rule] = {
    "file": (
        lambda value: isinstance(value, str) and SHARD_NAME.fullmatch(value) is not None,
        "a name like 'shard-00000.safetensors'",
    ),
    "bytes": _POSITIVE,
}
_RECORD_RULES: dict[str, Rule] = {
    "shard": _COUNT,
    "key": _TEXT,
    "layer": _TEXT,
    "site": _TEXT,
    "step": _COUNT,
    "call": _COUNT,
    "activation": (lambda value: value is None or _is_text(value), "valid text or null"),
    "rows": _POSITIVE,
    "units": _POSITIVE,
    "rows_seen": _POSITIVE,
    "dtype": (lambda value: isinstance(value, str) and value in DTYPES, " or ".join(DTYPES)),
}


def _parse_list(content: dict[str, Any], name: str, kind: Any, rules: dict[str, Rule]) -> list[Any]:
    items = content.get(name)
    if not isinstance(items, list):
        raise InputError(f"{name!r} must be a list, got {type(items).__name__}")
    return [_parse_item(item, f"{name}[{i}]", kind, rules) for i, item in enumerate(items)]


def _parse_item(item: Any, where: str, kind: Any, rules: dict[str, Rule]) -> Any:
    if not isinstance(item, dict):
        raise InputError(f"{where} must be an object, got {type(item).__name__}")
    for name, (holds, rule) in rules.items():
        if name not in item:
            raise InputError(f"{where} has no {name!r}")
        if not holds(item[name]):
            raise InputError(f"{where}: {name!r} must be {rule}, got {item[name]!r:.80}")
    return kind(**{field.name: item[field.name] for field in fields(kind)})
