"""Taking a folder to write a store into: whether one may, and clearing what is left there."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from distfit_nn.capture.lock import LOCK, FolderLock
from distfit_nn.capture.manifest import (
    MANIFEST,
    RANK_NAME,
    Manifest,
    file_error,
    has_manifest,
    read_manifest,
)
from distfit_nn.capture.manifest_rules import SHARD_NAME
from distfit_nn.errors import FileError

TEMPORARY = re.compile(r"\.(manifest\.json|shard-\d{5,18}\.safetensors)\.\d+\.tmp", re.ASCII)


def claimed(folder: Path, mode: str, rank: int | None) -> tuple[Path, FolderLock, Manifest | None]:
    """Lock a folder for writing in `mode`; return it, the lock, and the manifest that is there.

    Files that a killed writer left unfinished are removed. Shards that no manifest names are left
    alone: they may be all that remains of a store whose manifest was lost.

    Raises
    ------
    FileError
        The folder is not free for this mode, another writer has it open, or it cannot be written.
    """
    if rank is not None:
        _check_parent(folder)
        folder = folder / f"rank-{rank:05d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise file_error(folder, "is a file; a store needs a folder of its own") from None
    except OSError as error:
        raise file_error(folder, f"cannot hold a store: {error.strerror or error}") from None
    except ValueError:  # a NUL, or what is no character
        raise file_error(folder, "cannot hold a store: no file can have this name") from None
    _check(folder, mode)  # before a foreign folder is touched
    lock = FolderLock(folder)
    try:
        _check(folder, mode)
        _clear(folder)
        return folder, lock, read_manifest(folder) if has_manifest(folder) else None
    except BaseException:
        lock.release()
        raise


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise file_error(folder, f"cannot hold a store: {error.strerror or error}") from None


def _check_parent(folder: Path) -> None:
    """Raise `FileError` if a folder cannot take the folders of ranks."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise file_error(folder, "is a file; a store needs a folder of its own")
    others = [name for name in _names(folder) if not RANK_NAME.fullmatch(name)]
    if MANIFEST in others:
        raise file_error(folder, "is the store of one process; ranks cannot be added to it")
    if others:
        raise file_error(folder, f"holds {others[0]!r}, which is no part of a store of ranks")


def _check(folder: Path, mode: str) -> None:
    """Raise `FileError` unless a folder is free for `mode`."""
    if has_manifest(folder):
        if mode == "x":
            raise _taken(folder, "a store")
        read_manifest(folder)
        return
    names = [name for name in _names(folder) if name != LOCK and not TEMPORARY.fullmatch(name)]
    if any(RANK_NAME.fullmatch(name) for name in names):
        raise file_error(folder, "holds the stores of ranks; rank= says which one to write")
    shards = [name for name in names if SHARD_NAME.fullmatch(name)]
    if len(shards) < len(names):
        if mode == "x":
            raise _taken(folder, "a folder that is not empty")
        read_manifest(folder)  # says what is wrong
    if shards and mode == "x":
        raise _taken(folder, "a folder with shards but no manifest, left by a killed recording,")


def _taken(folder: Path, kind: str) -> FileError:
    return file_error(folder, f"is {kind} already; mode 'a' adds to a store, 'w' replaces one")


def _clear(folder: Path) -> None:
    """Remove the unfinished files of a killed writer: whoever has the lock is the only one."""
    for name in _names(folder):
        if TEMPORARY.fullmatch(name):
            with contextlib.suppress(OSError):
                (folder / name).unlink()
