"""Files that appear whole or not at all, and the numbers that JSON can hold."""

from __future__ import annotations

import contextlib
import math
import os
import uuid
from pathlib import Path
from typing import Any

from distfit_nn.errors import FileError


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write `text` in UTF-8, as `write_bytes` does."""
    return write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write `content` under a temporary name beside `path`, then rename; return the path.

    The folder is created if missing. A symbolic link is followed: what it points to is replaced.

    Raises
    ------
    FileError
        The file cannot be written, or there is something else than a regular file (a folder, a
        device, a pipe); what was there before is untouched.
    """
    given = Path(path)
    target = Path(os.path.realpath(path))
    if str(path) == "" or target.is_dir():
        raise FileError(f"cannot write {str(path)!r}: it is the name of a folder, not of a file")
    if target.exists() and not target.is_file():
        raise FileError(f"cannot write {given}: it is no regular file")
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise FileError(f"cannot write {given}: {error.strerror or error}") from None
    return given


def plain(value: Any) -> Any:
    """Return `value`, or None for what strict JSON cannot hold: NaN and infinite numbers."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
