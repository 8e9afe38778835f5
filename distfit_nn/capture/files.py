"""Files where they lie: on this machine, or behind any URL that fsspec knows.

A location is the text of a path or of a URL (``s3://bucket/run``, ``memory://run``,
``simplecache::https://...``). Nothing is kept open, so that a location can be sent to another
process; fsspec is imported for URLs only.
"""

from __future__ import annotations

import os
from os import PathLike
from typing import Any

from distfit_nn.capture.manifest import file_error, status

Location = str | PathLike[str]


def is_url(source: object) -> bool:
    """Return whether `source` is a URL, rather than a path or something else."""
    return isinstance(source, str) and ("://" in source or "::" in source)


def join(folder: Location, name: str) -> str:
    """Return the location of the file `name` in a folder."""
    if not is_url(folder):
        return os.path.join(folder, name)
    first, *chained = str(folder).split("::")
    if "://" in first or not chained:
        return "::".join([first + "/" * (not first.endswith("/")) + name, *chained])
    return "::".join([first, join("::".join(chained), name)])  # a cache of what follows


def size(location: Location) -> int | None:
    """Return how many bytes a file has, None where there is no file.

    Raises
    ------
    FileError
        It may not be looked at, or the URL cannot be resolved.
    """
    if not is_url(location):
        found = status(location)
        return None if found is None else found.st_size
    filesystem, path = _resolved(location)
    try:
        return int(filesystem.info(path)["size"])
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except Exception as error:  # of the network, of any library
        raise file_error(location, _reason(error)) from None


def read(location: Location, start: int, stop: int) -> bytearray:
    """Return the bytes [start, stop) of a file."""
    buffer = bytearray(stop - start)
    read_into(location, start, memoryview(buffer))
    return buffer


def read_into(location: Location, start: int, buffer: memoryview) -> None:
    """Fill a buffer with the bytes of a file from `start` on.

    Raises
    ------
    FileError
        The file cannot be read, or ends too soon.
    """
    fill = _fill_from_url if is_url(location) else _fill_from_disk
    try:
        filled = fill(location, start, buffer)
    except Exception as error:
        raise file_error(location, f"cannot be read: {_reason(error)}") from None
    if filled < len(buffer):
        raise file_error(location, f"ends at byte {start + filled}, not {start + len(buffer)}")


def _fill_from_disk(path: Location, start: int, buffer: memoryview) -> int:
    filled = 0
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        while filled < len(buffer):
            count = file.readinto(buffer[filled:])
            if not count:
                break
            filled += count
    return filled


def _fill_from_url(url: Location, start: int, buffer: memoryview) -> int:
    filesystem, path = _resolved(url)
    content = filesystem.cat_file(path, start=start, end=start + len(buffer))
    buffer[: len(content)] = content
    return len(content)


def _resolved(url: Location) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it."""
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(str(url))
    except Exception as error:  # an unknown protocol, or one whose library is missing
        raise file_error(url, _reason(error)) from None


def _reason(error: Exception) -> str:
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
