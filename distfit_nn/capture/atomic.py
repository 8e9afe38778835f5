"""Files that are replaced in one step: a reader sees the old one or the new one, whole."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

from distfit_nn.capture.manifest import file_error

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EFBIG: "the system allows no file of this size",
}


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes whenever the file at `path` is replaced; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def replace(path: Path, content: bytes) -> None:
    """Write a temporary file beside `path`, force it to disk and move it to `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o666), "wb", buffering=0) as file:
            _write_all(file.write, content)
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        reason = _FULL.get(error.errno or 0)
        words = error.strerror or str(error)
        raise file_error(
            path, f"cannot be written: {f'{reason} ({words})' if reason else words}"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _write_all(write: Callable[[memoryview], int | None], content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[write(rest) or 0 :]


def _sync_folder(folder: Path) -> None:
    """Force the names in a folder to disk, where the file system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
