"""What every benchmark writes beside its figures, and how it takes them."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "scipy", "numba", "torch", "pandas")


def described() -> dict[str, Any]:
    """Return the processor, the versions and the load at the start."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "processor": model,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def seconds(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how long one call takes."""
    start = clock()
    call()
    return clock() - start


def interleaved(
    calls: dict[str, Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time the calls in turn, `repeats` rounds after one that does not count.

    On a machine that others use, too, time.process_time tells what one thread took.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(repeats + 1):
        for name, call in calls.items():
            taken = seconds(call, clock)
            if round_:
                times[name].append(taken)
    return times


def ratio(times: dict[str, list[float]], slow: str, fast: str) -> float:
    """Return the median over rounds of the ratio of two calls' times."""
    pairs = zip(times[slow], times[fast], strict=True)
    return float(f"{statistics.median(a / b for a, b in pairs):.3g}")


def write(name: str, figures: Any) -> None:
    """Print the figures and write them, with the machine, to results/NAME.json."""
    text = json.dumps({"machine": described(), "figures": figures}, indent=1)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)
