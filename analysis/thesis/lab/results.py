"""What a script leaves: one JSON file and its figures, never silently in place of other ones."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lab.errors import LabError
from lab.findings import Finding, plain
from lab.runs import made, replaced

PACKAGES = ("numpy", "scipy", "numba", "torch", "scikit-learn")
DPI = 110
LONGEST = 60  # characters of a setting in a message


@dataclass
class Clock:
    """Seconds since the start, of which some were waited for runs, and what all runs took."""

    start: float = field(default_factory=time.monotonic)
    waited: float = 0.0
    computed: float = 0.0

    def total(self) -> float:
        """Return what it takes when no run is kept, one after the other."""
        return time.monotonic() - self.start - self.waited + self.computed


class Results:
    """The results of one script, refused at the start where they would replace others.

    Parameters
    ----------
    name, title : str
        The file's name without its end, and a line for readers.
    settings : mapping
        All that the numbers depend on: data, seeds, rates, samples. What JSON can hold.
    folder : Path
        Where to write.
    overwrite : bool
        Whether results of other settings may be replaced.
    clock : Clock
        What the numbers took.
    """

    def __init__(
        self,
        name: str,
        title: str,
        settings: Mapping[str, Any],
        folder: Path,
        overwrite: bool,
        clock: Clock,
    ) -> None:
        self.name, self.title, self.folder, self.clock = name, title, folder, clock
        self.settings = json.loads(json.dumps(plain(settings)))
        made(folder)
        if not overwrite:
            self._refuse_other_settings()

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.json"

    def write(
        self,
        numbers: Mapping[str, Any],
        findings: Sequence[Finding],
        figures: Mapping[str, tuple[Figure, str]],
        tables: Mapping[str, str] | None = None,
    ) -> None:
        """Write the figures, {file stem: (figure, caption)}, then the JSON; print the findings.

        Tables are {title: table in Markdown}, kept in the JSON for the page.
        """
        numbers = plain(numbers)
        described = [finding.described(numbers) for finding in findings]
        for each in described:
            if each["figure"] is not None and each["figure"] not in figures:
                raise LabError(f"{self.name} has no figure {each['figure']}: {each['claim']}")
        for stem, (figure, _) in figures.items():
            path = self.folder / f"{stem}.png"
            half = path.with_name(f".{path.name}.{os.getpid()}")
            figure.savefig(half, dpi=DPI, format="png", metadata={"Software": None})
            half.replace(path)
        record = {
            "name": self.name,
            "title": self.title,
            "settings": self.settings,
            "machine": machine(),
            "computed_seconds": round(self.clock.total(), 1),
            "findings": described,
            "figures": {stem: caption for stem, (_, caption) in figures.items()},
            "tables": dict(tables or {}),
            "numbers": numbers,
        }
        replaced(self.path, json.dumps(record, indent=1, allow_nan=False) + "\n")
        if self.settings.get("seeds") == 1:
            print("one seed: verdicts have no spread over seeds to rest on", file=sys.stderr)
        for each in described:
            print(f"{each['verdict']}: {each['claim']}\n    {each['text']}")
        print(self.path)

    def _refuse_other_settings(self) -> None:
        if not self.path.exists():
            return
        try:
            before = json.loads(self.path.read_text("utf-8"))["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise LabError(f"{self.path} is there and cannot be read ({error}): move it") from None
        other = [
            f"{name}: {_short(before.get(name))} there, {_short(self.settings.get(name))} now"
            for name in dict.fromkeys((*self.settings, *before))
            if before.get(name) != self.settings.get(name)
        ]
        if other:
            raise LabError(
                f"{self.path} holds results of other settings ({'; '.join(other)}). "
                "Give --output FOLDER to keep them, or --overwrite to replace them."
            )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def machine() -> dict[str, Any]:
    """Return the day, the processor and the versions."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }
