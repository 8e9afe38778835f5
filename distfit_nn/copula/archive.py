"""Arrays in files of NumPy's own format, with nothing pickled."""

from __future__ import annotations

import io
import os
import reprlib
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn import _files
from distfit_nn.errors import FileError, InputError

VERSION = 1

Arrays = dict[str, NDArray[Any]]


def save(path: str | os.PathLike[str], what: str, arrays: Arrays) -> Path:
    """Write named arrays, whole or not at all; `what` says what they are. Return the path."""
    _check_path(path)
    buffer = io.BytesIO()
    content: dict[str, Any] = {"format": np.array(_format(what)), "version": np.array(VERSION)}
    np.savez(buffer, **(content | arrays))
    return _files.write_bytes(path, buffer.getvalue())


def load(path: str | os.PathLike[str], what: str, dtypes: dict[str, Any]) -> Arrays:
    """Return the arrays named in `dtypes`, as `save` wrote them.

    Raises
    ------
    FileError
        There is no such file, it is damaged, or it is something else.
    InputError
        `path` is no path.
    """
    _check_path(path)
    arrays = _read(Path(path), what)
    if str(arrays.get("format")) != _format(what):
        raise FileError(f"{path} does not hold {what}")
    version = arrays.get("version")
    if version is None or version.shape != () or version != VERSION:
        raise FileError(f"{path} has version {version}, and this release reads {VERSION}")
    for name, dtype in dtypes.items():
        if name not in arrays or arrays[name].dtype != dtype:
            raise FileError(f"{path} is damaged: it lacks {name} of {np.dtype(dtype)}")
    return {name: arrays[name] for name in dtypes}


def _format(what: str) -> str:
    return f"distfit_nn {what}"


def _check_path(path: object) -> None:
    """Raise unless that is text or an object that stands for a path."""
    if not isinstance(path, (str, os.PathLike)) or "\0" in str(path):
        raise InputError(f"path must be the path of a file, got {reprlib.repr(path)}")


def _read(path: Path, what: str) -> Arrays:
    """Return all arrays of a file."""
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise FileError(f"{path} does not hold {what}")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
    except FileError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, MemoryError) as error:
        raise FileError(f"{path} is damaged or holds something else: {error}") from None
    except (OSError, NotImplementedError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"cannot read {path}: {reason}") from None
