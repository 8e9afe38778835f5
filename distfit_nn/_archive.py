"""Arrays in files of NumPy's own format (npz), with nothing pickled."""

from __future__ import annotations

import io
import os
import reprlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn import _files
from distfit_nn.errors import FileError, InputError

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes
    ----------
    name : str
        What the file says that it holds.
    what : str
        The same in a sentence, for messages: "a ...".
    version : int
        Files of another version are not read.
    dtypes : mapping
        The arrays and their dtypes.
    """

    name: str
    what: str
    version: int
    dtypes: Mapping[str, Any]

    def save(self, path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> Path:
        """Write the arrays, whole or not at all; return the path.

        Raises
        ------
        FileError
            The file cannot be written.
        InputError
            `path` is no path.
        """
        _check_path(path)
        content: dict[str, Any] = {"format": np.array(self._label)}
        content["version"] = np.array(self.version)
        content |= {name: np.asarray(arrays[name], dtype) for name, dtype in self.dtypes.items()}
        buffer = io.BytesIO()
        np.savez(buffer, **content)
        return _files.write_bytes(path, buffer.getvalue())

    def load(self, path: str | os.PathLike[str]) -> Arrays:
        """Return the arrays that `save` wrote, whose dtypes are right; shapes are not checked.

        Raises
        ------
        FileError
            There is no such file, it is damaged, or it is something else.
        InputError
            `path` is no path.
        """
        _check_path(path)
        arrays = self._read(Path(path))
        if str(arrays.get("format")) != self._label:
            raise FileError(f"{path} does not hold {self.what}")
        version = arrays.get("version", np.array(""))
        if version.shape or version.dtype.kind != "i":
            raise FileError(f"{path} is damaged: its version is no number")
        if version != self.version:
            raise FileError(f"{path} has version {version}, and this release reads {self.version}")
        missing = sorted(set(self.dtypes) - set(arrays))
        if missing:
            raise FileError(f"{path} is damaged: it lacks {', '.join(missing)}")
        for name, dtype in self.dtypes.items():
            if arrays[name].dtype != dtype:
                raise FileError(
                    f"{path} is damaged: {name} is {arrays[name].dtype}, not {np.dtype(dtype)}"
                )
        return {name: arrays[name] for name in self.dtypes}

    @property
    def _label(self) -> str:
        return f"distfit_nn {self.name}"

    def _read(self, path: Path) -> Arrays:
        """Return all arrays of a file."""
        try:
            with path.open("rb") as file:
                if not zipfile.is_zipfile(file):
                    raise FileError(f"{path} does not hold {self.what}")
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


def _check_path(path: object) -> None:
    """Raise unless that is text or an object that stands for a path."""
    if not isinstance(path, (str, os.PathLike)) or "\0" in str(path):
        raise InputError(f"path must be the path of a file, got {reprlib.repr(path)}")
