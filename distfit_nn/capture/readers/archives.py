"""Zip archives as containers of arrays: looked at before they are opened, and never unpacked."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distfit_nn.capture.readers.limits import check_growth
from distfit_nn.capture.slabs import MOST_LAYERS

STARTS = (b"PK\x03\x04", b"PK\x05\x06")  # with members, and without
_END = struct.Struct("<4s4H2IH")  # the record at the end of an archive
_END64 = struct.Struct("<4sQ2H2I4Q")
_MOST_MEMBERS = 4 * MOST_LAYERS
_DIRECTORY = 64 << 20  # bytes of the table of members, which takes ten times that in memory


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose members do not grow without bounds.

    Raises
    ------
    ValueError, zipfile.BadZipFile
        It is damaged, has very many members, members that lie over one another, or such that grow
        over 1 GiB and more than a hundredfold.
    """
    _check_directory(path)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        stored = sum(member.compress_size for member in members)
        if stored > os.stat(path).st_size:
            raise ValueError("its members lie over one another")
        for member in members:
            check_growth(member.file_size, member.compress_size, f"member {member.filename!r}")
        check_growth(sum(member.file_size for member in members), stored, "it")
        yield archive


def _check_directory(path: Path) -> None:
    """Look at the end of an archive for how many members it has, before they take memory."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - (1 << 16) - _END.size - _END64.size - 20))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise ValueError("the end of the archive is missing")
    _, _, _, _, count, length, *_ = _END.unpack_from(tail, at)
    at64 = tail.rfind(b"PK\x06\x06", 0, at)
    if 0 <= at64 <= at - _END64.size:
        *_, count64, length64, _ = _END64.unpack_from(tail, at64)
        count, length = max(count, count64), max(length, length64)
    if count > _MOST_MEMBERS or length > _DIRECTORY:
        raise ValueError(f"the archive has too many members ({count:,})")
