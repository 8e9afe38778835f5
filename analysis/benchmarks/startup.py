"""How long the program takes to start and to make the report of the sample data.

    python analysis/benchmarks/startup.py

Limits that are asked for: import 0.3 s, --help 0.8 s, the first report with compilation 20 s, the
next 8 s. Each figure is that of a process of its own, interpreter included.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

import machine

LIMITS = {"import": 0.3, "help": 0.8, "first report": 20.0, "next report": 8.0}
STORE = "data/mnist_mlp"


def run(*arguments: str, cache: str | None = None) -> None:
    """Run this Python with the arguments; `cache` is where Numba keeps compiled code."""
    environment = dict(os.environ) | ({} if cache is None else {"NUMBA_CACHE_DIR": cache})
    command = [sys.executable, *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)


def main() -> None:
    """Measure and write the figures."""
    program = ("-m", "distfit_nn.cli")
    run(*program, "--help")  # the disk is warm from here on
    light = machine.interleaved(
        {"import": lambda: run("-c", "import distfit_nn"), "help": lambda: run(*program, "--help")},
        repeats=9,
    )
    with tempfile.TemporaryDirectory() as folder:
        report = (*program, "report", STORE, "-q", "-o", f"{folder}/report.html")
        times = {**light, "first report": [], "next report": []}
        for i in range(3):
            cache = f"{folder}/cache{i}"
            for name in ("first report", "next report"):
                times[name].append(machine.seconds(lambda: run(*report, cache=cache)))  # noqa: B023
    figures = {
        name: {"median_s": round(statistics.median(taken), 3), "limit_s": LIMITS[name]}
        for name, taken in times.items()
    }
    machine.write("startup", figures)


if __name__ == "__main__":
    main()
