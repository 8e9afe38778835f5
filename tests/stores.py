"""Manifests that are changed by tests, with the checksum that then belongs to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
TAIL = 79  # bytes of the checksum and what follows it


def with_checksum(content: dict[str, Any]) -> bytes:
    """Return the text of a manifest, in as few bytes as can be but for its checksum."""
    rest = {name: value for name, value in content.items() if name != "sha256"}
    return resealed(json.dumps(rest)[:-1].encode() + b", " + bytes(TAIL))


def resealed(text: bytes) -> bytes:
    """Return a text with the checksum of its beginning in place of its last bytes."""
    begin = text[:-TAIL]
    return begin + b'"sha256": "%s"\n}\n' % hashlib.sha256(begin).hexdigest().encode()


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the manifest of the store at `folder`, as one who writes another would."""
    path = folder / MANIFEST
    content = json.loads(path.read_bytes())
    change(content)
    path.write_bytes(with_checksum(content))
