"""NumPy's files: one array (.npy), or an archive of them (.npz)."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn.capture import files
from distfit_nn.capture.files import Stamp
from distfit_nn.capture.manifest import file_error
from distfit_nn.capture.npy import MAGIC, Header, npy, parse
from distfit_nn.capture.readers import archives, limits
from distfit_nn.capture.readers.found import Found
from distfit_nn.capture.spans import Fetch

_SMALL = 64 << 20  # bytes: such arrays are read at once
_BLOCK = 1 << 24


def read_npy(path: Path | str) -> Iterator[Found]:
    """Yield the array of a .npy file, on a disk or behind a URL."""
    start = bytes(files.read(path, 0, min(files.size(path) or 0, 32)))
    if start.startswith(archives.STARTS):
        raise file_error(path, "cannot be read as .npy: it is an archive (.npz)")
    layer = PurePosixPath(path).stem
    yield Found(layer, npy(path, layer))


def read_npz(path: Path) -> Iterator[Found]:
    """Yield the arrays of a .npz file; large ones are read in pieces."""
    start = files.start(path)
    if start.startswith(MAGIC):
        raise file_error(path, "cannot be read as .npz: it is a single array (.npy)")
    if not start.startswith(archives.STARTS):
        raise file_error(path, "cannot be read as .npz: it does not begin as such a file does")
    with archives.opened(path) as archive:
        # else the bytes of another file
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        limits.check_layers(len(members))
        for info in members:
            yield from _member(path, archive, info)


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[Found]:
    layer = info.filename.removesuffix(".npy")
    with archive.open(info) as stream:
        header = parse(stream.read, layer)
        if header.length + header.nbytes > info.file_size:
            raise ValueError(f"array {layer!r} ends before its data do")
        if not header.shape:  # a single number
            return
        table = _Member(str(path), info.filename, header, files.stamp(path))
        if header.nbytes > _SMALL and table.in_rows:
            yield Found(layer, table)
            return
        limits.check_memory(header.nbytes, f"array {layer!r}")
        flat = _filled(stream, np.empty(header.nbytes, np.uint8)).view(header.dtype)
        if stream.read(1):
            raise ValueError(f"array {layer!r} is followed by other data")
    yield Found(layer, flat.reshape(header.shape, order="F" if header.fortran else "C"))


def _filled(stream: IO[bytes], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Read as many bytes as there is room for."""
    view, filled = room.data, 0
    while filled < len(room):
        part = stream.read(min(_BLOCK, len(room) - filled))
        if not part:
            raise ValueError("an array ends before its data do")
        view[filled : filled + len(part)] = part
        filled += len(part)
    return room


@dataclass(frozen=True)
class _Member:
    """A large array in an archive, read from its beginning on; see `spans.Table`."""

    location: str
    member: str
    header: Header
    stamp: Stamp | None

    @property
    def in_rows(self) -> bool:
        """Whether it is a table that lies there row by row."""
        return len(self.header.shape) <= 2 and not self.header.fortran

    @property
    def rows(self) -> int:
        return self.header.shape[0]

    @property
    def units(self) -> int:
        return 1 if len(self.header.shape) == 1 else self.header.shape[1]

    @property
    def itemsize(self) -> int:
        return self.header.dtype.itemsize

    @contextmanager
    def opened(self) -> Iterator[Fetch]:
        row = self.units * self.itemsize
        with archives.opened(Path(self.location)) as archive, archive.open(self.member) as stream:

            def fetch(start: int, stop: int) -> NDArray[Any]:
                stream.seek(self.header.length + start * row)
                flat = _filled(stream, np.empty((stop - start) * row, np.uint8))
                return flat.view(self.header.dtype).reshape(stop - start, self.units)

            yield fetch
