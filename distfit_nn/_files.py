"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from distfit_nn.errors import FileError


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write `text` in UTF-8 under a temporary name beside `path`, then rename; return the path.

    The folder is created if missing.

    Raises
    ------
    FileError
        The file cannot be written; what was there before is untouched.
    """
    target = Path(path)
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise FileError(f"cannot write {target}: {error.strerror or error}") from None
    return target
