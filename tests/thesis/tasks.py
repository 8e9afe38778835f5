"""A task that counts how often it was really run; spawned processes import it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Counted:
    """A setting: the number to square, and the folder where runs leave a mark."""

    number: int
    folder: str


def square(setting: Counted, source: Any) -> dict[str, Any]:
    """Leave a mark and return the square."""
    marks = Path(setting.folder) / f"ran-{setting.number}"
    marks.write_text(f"{marks.read_text() if marks.exists() else ''}x")
    if setting.number < 0:
        raise KeyboardInterrupt
    return {"square": setting.number**2, "source": source and source.name}


def slow(setting: Counted, source: Any) -> dict[str, Any]:
    """Leave a mark, and take a while."""
    time.sleep(0.2)
    return square(setting, source)
