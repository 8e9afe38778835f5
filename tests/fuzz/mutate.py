"""Ways to break a file: anywhere, or where its structure is."""

from __future__ import annotations

import io
import json
import random
import re
import warnings
import zipfile
from typing import Any

from tests.stores import with_checksum

_WHOLE = re.compile(rb"-?\d+")
_NUMBERS = (
    0,
    1,
    -1,
    7,
    255,
    2**15,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
_VALUES: tuple[Any, ...] = (
    *_NUMBERS, *(float(number) for number in _NUMBERS), 1.5, float("nan"), float("inf"), None, True,
    "", "x", "../../etc/passwd", "/etc/passwd", "\ud800", "a\nb", "x" * 5000, "<b>", [], {}, [[]],
    "shard-00000.safetensors", "float32", "float8", 10**30, [0, 0], list(range(50)),
)  # fmt: skip
_WORDS = (
    b"nan", b"NaN", b"Infinity", b"null", b"true", b"-0", b"1e999", b"1.5", b'""', b"{}", b"[]",
    b"../", b"/etc/passwd", b"\\ud800", b"\x00", b"\xff\xfe", b"|O", b">f4", b"<c16", b"pickle",
    b"\n", b",", b'"', b"<script>", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY",
)  # fmt: skip


def mutated(content: bytes, rng: random.Random, others: tuple[bytes, ...] = ()) -> bytes:
    """Return `content` with one to four changes; `others` are files whose parts may go in."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        change = rng.choice((_flip, _flip, _cut, _drop, _repeat, _word, _bytes, _digits, _splice))
        change(data, rng, others)
    return bytes(data)


def inside(content: bytes, rng: random.Random) -> bytes:
    """Return `content` with changes inside of what wraps it, which stays valid.

    Members of an archive are changed before they are packed, a header before its length is told.
    """
    if content.startswith(b"PK"):
        return _repacked(content, rng)
    if content.startswith(b"\x93NUMPY"):
        return _with_header(content, 8, 2, rng)
    if content[8:10] == b'{"':
        return _with_header(content, 0, 8, rng)
    if content.startswith(b"{"):
        return _other_json(content, rng)
    return mutated(content, rng)


def _repacked(content: bytes, rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        chosen = rng.choice(old.namelist())
        with zipfile.ZipFile(buffer, "w", packing) as new:
            for name in old.namelist():
                member = old.read(name)
                new.writestr(name, inside(member, rng) if name == chosen else member)
    return buffer.getvalue()


def _with_header(content: bytes, at: int, width: int, rng: random.Random) -> bytes:
    """Change a header whose length stands before it."""
    start = at + width
    length = int.from_bytes(content[at:start], "little")
    header = mutated(content[start : start + length], rng)[: 256**width - 1]
    told = len(header).to_bytes(width, "little")
    return content[:at] + told + header + content[start + length :]


def _other_json(content: bytes, rng: random.Random) -> bytes:
    """Change, remove or repeat values of JSON, which stays valid; a checksum is put right."""
    try:
        whole = json.loads(content)
    except ValueError:
        return mutated(content, rng)
    had_checksum = isinstance(whole, dict) and "sha256" in whole
    for _ in range(rng.randint(1, 3)):
        holder = whole
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(holder[key], (dict, list)) and rng.random() < 0.9:
                holder = holder[key]
                continue
            if rng.random() < 0.1:
                del holder[key]
            elif isinstance(holder, list) and rng.random() < 0.3:
                holder.append(holder[key])
            else:
                holder[key] = rng.choice((*_VALUES, holder[rng.choice(keys)]))
            break
    return with_checksum(whole) if had_checksum else json.dumps(whole).encode()


def _place(data: bytearray, rng: random.Random) -> int:
    """Return a place, more often near the beginning or the end, where headers are."""
    near = rng.randrange(3)
    if not data or near == 0:
        return rng.randrange(len(data) + 1)
    far = min(len(data), 256)
    return rng.randrange(far) if near == 1 else len(data) - 1 - rng.randrange(far)


def _flip(data: bytearray, rng: random.Random, _: tuple[bytes, ...]) -> None:
    at = _place(data, rng)
    if at < len(data):
        data[at] ^= 1 << rng.randrange(8)


def _cut(data: bytearray, rng: random.Random, _: tuple[bytes, ...]) -> None:
    if rng.random() < 0.3:
        del data[_place(data, rng) :]


def _drop(data: bytearray, rng: random.Random, _: tuple[bytes, ...]) -> None:
    at = _place(data, rng)
    del data[at : at + rng.randint(1, 16)]


def _repeat(data: bytearray, rng: random.Random, _: tuple[bytes, ...]) -> None:
    at = _place(data, rng)
    data[at:at] = data[at : at + rng.randint(1, 64)] * rng.randint(1, 8)


def _word(data: bytearray, rng: random.Random, _: tuple[bytes, ...]) -> None:
    at = _place(data, rng)
    word = rng.choice(_WORDS)
    data[at : at + rng.choice((0, len(word)))] = word


def _bytes(data: bytearray, rng: random.Random, _: tuple[bytes, ...]) -> None:
    at, width = _place(data, rng), rng.choice((1, 2, 4, 8))
    number = rng.choice(_NUMBERS) % (1 << 8 * width)
    data[at : at + width] = number.to_bytes(width, rng.choice(("little", "little", "big")))


def _digits(data: bytearray, rng: random.Random, _: tuple[bytes, ...]) -> None:
    """Replace a number that is written in digits, as headers in text have them."""
    found = list(_WHOLE.finditer(data[:100_000]))
    if found:
        one = rng.choice(found)
        data[one.start() : one.end()] = str(rng.choice(_NUMBERS)).encode()


def _splice(data: bytearray, rng: random.Random, others: tuple[bytes, ...]) -> None:
    if others:
        other = rng.choice(others)
        start = rng.randrange(len(other) + 1)
        at = _place(data, rng)
        data[at : at + rng.choice((0, 16))] = other[start : start + rng.randint(1, 200)]
