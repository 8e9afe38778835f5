"""Densities in files: the arrays of a solution in NumPy's own format, with nothing pickled."""

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
from distfit_nn.maxent.solution import PER_ORDER, Solution, Status

FORMAT = "distfit_nn maximum-entropy density"
VERSION = 1

Array = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]


def save(
    path: str | os.PathLike[str], solution: Solution, loc: Array, scale: Array, single: bool
) -> Path:
    """Write what a density consists of, whole or not at all; return the path."""
    _check_path(path)
    arrays: dict[str, Any] = {"format": np.array(FORMAT), "version": np.array(VERSION)}
    arrays |= {name: getattr(solution, name) for name in _fields()}
    arrays |= {"loc": loc, "scale": scale, "single": np.array(single)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return _files.write_bytes(path, buffer.getvalue())


def load(path: str | os.PathLike[str]) -> tuple[Solution, Array, Array, bool]:
    """Return solution, loc, scale and whether it is a single column, as `save` wrote them.

    Raises
    ------
    FileError
        There is no such file, it is damaged, or it is something else.
    InputError
        `path` is no path.
    """
    _check_path(path)
    arrays = _read(Path(path))
    if str(arrays.get("format")) != FORMAT:
        raise FileError(f"{path} does not hold a fitted density")
    version = arrays.get("version", np.array(""))
    if version.shape or version.dtype.kind != "i":
        raise FileError(f"{path} is damaged: its version is no number")
    if version != VERSION:
        raise FileError(f"{path} has version {version}, and this release reads {VERSION}")
    _check(path, arrays)
    fields: dict[str, Any] = {name: arrays[name] for name in _fields()}
    solution = Solution(**fields)
    return solution, arrays["loc"], arrays["scale"], bool(arrays["single"])


def _check_path(path: object) -> None:
    """Raise unless that is text or an object that stands for a path."""
    if not isinstance(path, (str, os.PathLike)) or "\0" in str(path):
        raise InputError(f"path must be the path of a file, got {reprlib.repr(path)}")


def _fields() -> list[str]:
    return list(Solution.__dataclass_fields__)


def _read(path: Path) -> Arrays:
    """Return the arrays of a file."""
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise FileError(f"{path} does not hold a fitted density")
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


def _check(path: str | os.PathLike[str], arrays: Arrays) -> None:
    """Raise unless the arrays are those of a density."""
    wanted = {*_fields(), "loc", "scale", "single"}
    missing = sorted(wanted - set(arrays))
    if missing:
        raise FileError(f"{path} is damaged: it lacks {', '.join(missing)}")
    order, *_ = (*arrays["coefficients"].shape, 0)
    columns = arrays["loc"].size
    for name in wanted - {"single"}:
        shape = (order, columns) if name in PER_ORDER else (columns,)
        kind = {"status": np.int8, "iterations": np.int64}.get(name, np.float64)
        if arrays[name].shape != shape or arrays[name].dtype != kind:
            raise FileError(
                f"{path} is damaged: {name} is {arrays[name].dtype} of shape {arrays[name].shape}, "
                f"not {np.dtype(kind)} of shape {shape}"
            )
    if arrays["single"].shape != () or arrays["single"].dtype != bool:
        raise FileError(f"{path} is damaged: single is no truth value")
    known = np.isin(arrays["status"], list(Status)).all()
    if not known or (arrays["single"] and columns != 1):
        raise FileError(
            f"{path} is damaged: unknown status, or a single density of {columns} columns"
        )
