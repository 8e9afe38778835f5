"""Time and memory of `analyze` on a store that is larger than the memory it may take.

    python analysis/benchmarks/analyze.py --folder /somewhere/with/room

Writes a store of 1,000,000 rows and 1,000 units of float32 (4 GB), unless it is there already. The
limit is one read of it: the same bytes, into memory that is used again, and their sum by NumPy,
in one thread. Each measurement is a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np

from distfit_nn.capture.readers import read
from distfit_nn.capture.store import Store, StoreWriter

ROWS, UNITS, SHARD = 1_000_000, 1000, 16_384
SHARES = ((1.0, 1.0), (0.5, 1.0), (1.0, 0.5))
ROUNDS = 3


def write_store(path: Path, rows: int, units: int) -> None:
    """Write columns of all shapes: normal, skewed, bimodal, half zero, with tails."""
    rng = np.random.default_rng(0)
    offset = rng.normal(size=units).astype(np.float32)
    with StoreWriter(path, "w") as store:
        for start in range(0, rows, SHARD):
            x = rng.standard_normal((min(SHARD, rows - start), units), dtype=np.float32)
            x[:, 1::5] += 0.3 * x[:, 1::5] ** 2
            x[:, 2::5] += 2.5 * np.sign(x[:, 1::5])
            x[:, 4::5] *= 1 + 0.3 * np.abs(x[:, 0::5])
            x += offset
            np.maximum(x[:, 3::5], 0, out=x[:, 3::5])
            store.add(x, layer="fc", site="values", step=0)


def read_and_sum(path: str) -> dict[str, Any]:
    """Read every value once and add them up."""
    start = time.perf_counter()
    total = 0.0
    for entry in read(path):
        for part in entry.parts():
            for chunk in part.chunks():
                total += float(chunk.sum())
    return {"seconds": time.perf_counter() - start, "total": total}


def analyze_store(path: str) -> dict[str, Any]:
    """Analyse, after a small analysis that loads what is compiled."""
    import distfit_nn as dn

    dn.analyze(np.random.default_rng(0).normal(size=(20_000, 70)).astype(np.float32))
    start = time.perf_counter()
    found = dn.analyze(path)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {"seconds": seconds, "peak_megabytes": peak, "units": len(found.units)}


TASKS = {"read": read_and_sum, "analyze": analyze_store}


def in_a_process(task: str, path: Path) -> dict[str, Any]:
    """Run one of the tasks in a process of its own."""
    command = [sys.executable, __file__, "--task", task, "--folder", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def figures_of(path: Path) -> dict[str, Any]:
    """Medians over rounds: seconds, their ratio, and the peak memory of the analysis."""
    in_a_process("read", path)  # into the cache of the file system
    rounds = [(in_a_process("read", path), in_a_process("analyze", path)) for _ in range(ROUNDS)]
    ratios = [found["seconds"] / limit["seconds"] for limit, found in rounds]
    return {
        "seconds_read_and_sum": round(statistics.median(r["seconds"] for r, _ in rounds), 2),
        "seconds_analyze": round(statistics.median(a["seconds"] for _, a in rounds), 2),
        "analyze_over_read": round(statistics.median(ratios), 2),
        "peak_megabytes": round(max(a["peak_megabytes"] for _, a in rounds)),
    }


def main() -> None:
    """Measure the store and parts of it, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--task", choices=sorted(TASKS))
    options = parser.parse_args()
    if options.task:
        print(json.dumps(TASKS[options.task](str(options.folder))))
        return
    found = {}
    for rows_share, units_share in SHARES:
        rows, units = int(ROWS * rows_share), int(UNITS * units_share)
        path = options.folder / f"store-{rows}-{units}"
        if not (path / "manifest.json").exists() or not len(Store(path)):
            write_store(path, rows, units)
        found[f"{rows} rows x {units} units"] = figures_of(path)
    machine.write("analyze", found)


if __name__ == "__main__":
    main()
