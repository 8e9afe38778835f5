"""Files where they lie: on this machine, or behind any URL that fsspec knows.

A location is the text of a path or of a URL (``s3://bucket/run``, ``memory://run``,
``simplecache::https://...``). A location can be sent to another process; fsspec is imported for
URLs only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from os import PathLike
from typing import Any

from distfit_nn._checks import shortened
from distfit_nn.capture.manifest import file_error, status
from distfit_nn.errors import FileError, InputError

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


Stamp = tuple[int, int, int]


def stamp(location: Location) -> Stamp | None:
    """Return what is another one when a file is written or replaced; None for a URL or no file.

    Raises
    ------
    FileError
        It may not be looked at.
    """
    found = None if is_url(location) else status(location)
    return None if found is None else (found.st_ino, found.st_size, found.st_mtime_ns)


Fill = Callable[[int, memoryview], None]


def read(location: Location, start: int, stop: int) -> bytearray:
    """Return the bytes [start, stop) of a file."""
    buffer = bytearray(stop - start)
    with reading(location) as fill:
        fill(start, memoryview(buffer))
    return buffer


def start(path: Location) -> bytes:
    """Return how a file on a disk begins: up to 32 bytes."""
    with open(path, "rb") as file:
        return file.read(32)


@contextmanager
def reading(location: Location) -> Iterator[Fill]:
    """Open a file; what is yielded fills a buffer with the bytes from a place on.

    Raises
    ------
    FileError
        The file cannot be read, or ends too soon.
    """
    opened = _url_opened if is_url(location) else _path_opened
    with ExitStack() as stack:
        with told(location):
            some = stack.enter_context(opened(location))

        def fill(start: int, buffer: memoryview) -> None:
            with told(location):
                filled = some(start, buffer)
            if filled < len(buffer):
                end = start + len(buffer)
                raise file_error(location, f"ends at byte {start + filled}, not {end}")

        yield fill


@contextmanager
def told(location: Location, kind: str = "") -> Iterator[None]:
    """Turn whatever goes wrong in reading into a `FileError` of one line.

    Libraries raise errors of almost any class for a damaged file, hence the catch of all of them.
    """
    try:
        yield
    except FileError:
        raise
    except InputError as error:
        raise file_error(location, shortened(error)) from None
    except Exception as error:
        as_kind = f" as {kind}" if kind else ""
        raise file_error(location, f"cannot be read{as_kind}: {_reason(error)}") from None


@contextmanager
def _path_opened(path: Location) -> Iterator[Callable[[int, memoryview], int]]:
    with open(path, "rb", buffering=0) as file:

        def some(start: int, buffer: memoryview) -> int:
            filled = 0
            while filled < len(buffer):
                count = os.preadv(file.fileno(), [buffer[filled:]], start + filled)
                if count == 0:
                    break
                filled += count
            return filled

        yield some


@contextmanager
def _url_opened(url: Location) -> Iterator[Callable[[int, memoryview], int]]:
    filesystem, path = _resolved(url)

    def some(start: int, buffer: memoryview) -> int:
        content = filesystem.cat_file(path, start=start, end=start + len(buffer))
        buffer[: len(content)] = content
        return len(content)

    yield some


def _resolved(url: Location) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it."""
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(str(url))
    except Exception as error:  # an unknown protocol, or one whose library is missing
        raise file_error(url, _reason(error)) from None


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    return shortened(getattr(error, "strerror", None) or error) or type(error).__name__
