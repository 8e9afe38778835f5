"""The checksum with which a manifest ends: SHA-256 of all bytes before it.

The last bytes of the file are ``"sha256": "``, 64 hexadecimal digits, ``"``, a line feed, ``}`` and
a line feed: the last member of its JSON object.
"""

from __future__ import annotations

import hashlib
import re

from distfit_nn.errors import InputError

_END = re.compile(rb'"sha256": "([0-9a-f]{64})"\n}\n')
_LENGTH = 79  # bytes that match it


def sealed(begin: bytes) -> bytes:
    """Return a JSON object whose text begins so, after a comma and white space, with its end."""
    return begin + b'"sha256": "%s"\n}\n' % hashlib.sha256(begin).hexdigest().encode()


def is_whole(text: bytes | bytearray) -> bool:
    """Return whether a text ends with its checksum.

    Raises
    ------
    InputError
        It ends with the checksum of another text.
    """
    end = _END.fullmatch(text[-_LENGTH:])
    if end is None:
        return False
    with memoryview(text)[:-_LENGTH] as begin:
        found = hashlib.sha256(begin).hexdigest()
    told = end[1].decode()
    if found != told:
        raise InputError(
            f"is damaged: its checksum is {found[:12]}..., its last line says {told[:12]}..."
        )
    return True
