"""TensorBoard's event files: their histograms, found by the bytes themselves.

An event file is a sequence of records: eight bytes of length, four of a checksum of these, the
data, and four of a checksum of the data (TFRecord). The data are messages in the wire format of
protocol buffers (Event, Summary, HistogramProto, TensorProto), of which few fields matter here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import IO

import numpy as np
from numpy.typing import NDArray

_LONGEST = 64 << 20  # bytes of a record that may hold a histogram; images may be longer
_MOST_COUNTS = 2.0**53  # of a bucket, as whole numbers
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DOUBLE = 2  # DT_DOUBLE
Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of values between edges.

    Attributes
    ----------
    tag : str
    step : int
    edges : numpy.ndarray
        (buckets + 1,), not descending.
    counts : numpy.ndarray
        (buckets,)
    """

    tag: str
    step: int
    edges: Doubles
    counts: Doubles


def records(file: IO[bytes], start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield where each record begins, and its data; a last one that is not whole is left out.

    `start` is where a record begins.

    Raises
    ------
    ValueError
        The checksum of a length is wrong.
    """
    place = start
    while True:
        file.seek(place)
        head = file.read(12)
        if len(head) < 12:
            return
        length, told = struct.unpack("<QI", head)
        if told != _masked_crc(head[:8]):
            raise ValueError(f"the record at byte {place:,} is damaged")
        data = file.read(length) if length <= _LONGEST else b""
        if length <= _LONGEST and len(data) < length:
            return
        yield place, data
        place += 16 + length


def histograms(data: bytes) -> Iterator[Histogram]:
    """Yield the histograms of one record.

    Raises
    ------
    ValueError
        The message is damaged, or a histogram has no counts or edges that could be such.
    """
    step, summaries = 0, []
    for number, value in _fields(data):
        if number == 2:
            step = _whole(value)
        elif number == 5:
            summaries.append(_text(value))
    for summary in summaries:
        for number, value in _fields(summary):
            if number == 1:
                yield from _value(_text(value), step)


def _value(data: bytes, step: int) -> Iterator[Histogram]:
    """Yield the histogram of one value of a summary, if it is one."""
    tag, table, tensor, plugin = "", None, b"", b""
    for number, value in _fields(data):
        if number == 1:
            tag = _text(value).decode()
        elif number == 5:
            table = _histogram(_text(value))
        elif number == 8:
            tensor = _text(value)
        elif number == 9:
            plugin = _text(value)
    if b"histograms" in plugin:  # as TensorFlow 2 has it
        table = _buckets(tensor)
    if table is not None and len(table[1]):
        edges, counts = table
        if step < 0:
            raise ValueError(f"the histogram {tag!r} is of step {step}")
        if not (((counts >= 0) & (counts < _MOST_COUNTS)).all() and np.isfinite(edges).all()):
            raise ValueError(f"the histogram {tag!r} has counts or edges that are none")
        yield Histogram(tag, step, np.maximum.accumulate(edges), counts)


def _histogram(data: bytes) -> tuple[Doubles, Doubles]:
    """Return edges and counts of a HistogramProto: least, greatest, upper edges, counts."""
    parts = {1: b"", 2: b"", 6: b"", 7: b""}
    for number, value in _fields(data):
        if number in parts:
            parts[number] = parts[number] * (number > 2) + _text(value)
    least, greatest, upper, counts = (_doubles(part) for part in parts.values())
    if len(upper) != len(counts) or len(least) > 1 or len(greatest) > 1:
        raise ValueError("a histogram has not as many edges as counts")
    low, high = float(least.sum()), float(greatest.sum())  # a field that is not there is 0
    if not low <= high:
        raise ValueError(f"a histogram reaches from {low} to {high}")
    return np.clip(np.concatenate([[low], upper]), low, high), counts


def _buckets(data: bytes) -> tuple[Doubles, Doubles]:
    """Return edges and counts of a TensorProto (buckets, 3): lower edge, upper edge, count."""
    kind, content = 0, b""
    for number, value in _fields(data):
        if number == 1:
            kind = _whole(value)
        elif number in (4, 6):
            content += _text(value)
    if kind != _DOUBLE or len(content) % 24:
        raise ValueError("a histogram is no table of lower edges, upper edges and counts")
    table = _doubles(content).reshape(-1, 3)
    return np.concatenate([table[:1, 0], table[:, 1]]), table[:, 2]


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a message: number, and a whole number or bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == _VARINT:
            number, place = _varint(data, place)
            yield key >> 3, number
            continue
        if kind == _BYTES:
            length, place = _varint(data, place)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a message has a field of the kind {kind}")
        if place + length > len(data):
            raise ValueError("a message ends too soon")
        yield key >> 3, data[place : place + length]
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return a whole number, seven bits in a byte, and where it ends."""
    found = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, place
    raise ValueError("a message has a number that does not end")


def _whole(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("a message has bytes where a number should be")
    return value - (1 << 64) if value >> 63 & 1 else value


def _text(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a message has a number where bytes should be")
    return value


def _doubles(data: bytes) -> Doubles:
    if len(data) % 8:
        raise ValueError("a message has a part of a number")
    return np.frombuffer(data, "<f8").astype(np.float64)


def _masked_crc(data: bytes) -> int:
    """Return the checksum CRC-32C of some bytes, turned and shifted as TFRecord has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _crc_table()[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _crc_table() -> tuple[int, ...]:
    """Return the remainders of all bytes by Castagnoli's polynomial, bits reversed."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ 0x82F63B78 * (byte & 1)
        table.append(byte)
    return tuple(table)
