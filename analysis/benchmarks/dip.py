"""The dip of 10,000 units with 5,000 values each against the PyPI package diptest; its p-values.

    python analysis/benchmarks/dip.py [--replicates 2000] [--rounds 3]

Speed: the peer is called in a loop over contiguous float64 columns, made beforehand; dip_test takes
the table (5,000, 10,000) as it is, in float32, and copies and sorts it itself. Wall time tells what
a user waits for; the time of all threads together what it costs.

Calibration: the share of uniform samples with p < alpha, for sizes that are in the table, between
its sizes, and beyond its largest. Samples of 100,000 values and more are fewer: their number is
given beside each share.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import diptest
import machine
import numpy as np
from numpy.typing import NDArray

from distfit_nn import stats
from distfit_nn._threads import threads
from distfit_nn.stats.bimodality.dip import null_pvalues

sys.path.insert(0, str(Path(__file__).parents[1]))
import dip_table

Array = NDArray[np.float32]
ROWS, COLUMNS = 5_000, 10_000
SIZES = (4, 10, 27, 50, 500, 800, 5_000, 7_000, 35_000, 200_000, 1_000_000)
MOST_VALUES = 100_000_000  # simulated for one size
LEVELS = (0.5, 0.1, 0.05, 0.01)


def mixed_columns(rng: np.random.Generator) -> Array:
    """Return normal, skewed, heavy-tailed, bimodal and half-zero columns in turn."""
    x = rng.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    x[:, 1::5] = rng.gamma(2.0, size=x[:, 1::5].shape)
    x[:, 2::5] = rng.standard_t(5, size=x[:, 2::5].shape)
    x[:, 3::5] += 4 * (rng.random(x[:, 3::5].shape) < 0.5)
    x[:, 4::5] = np.maximum(x[:, 4::5], 0)
    return x


def speed(rounds: int) -> dict[str, Any]:
    """Return seconds for all columns, and the ratios to the peer."""
    x = mixed_columns(np.random.default_rng(0))
    columns = np.ascontiguousarray(x.T, dtype=np.float64)
    calls = {
        "dip_test": lambda: stats.dip_test(x),
        "diptest": lambda: [diptest.diptest(column) for column in columns],
    }
    figures: dict[str, Any] = {
        "rows": ROWS,
        "columns": COLUMNS,
        "rounds": rounds,
        "threads": threads(),
    }
    for name, clock in (("wall", time.perf_counter), ("all_threads", time.process_time)):
        times = machine.interleaved(calls, rounds, clock)
        figures[name] = {
            **{f"{call}_s": round(statistics.median(t), 3) for call, t in times.items()},
            "diptest_over_dip_test": machine.ratio(times, "diptest", "dip_test"),
        }
    return figures


def calibration(replicates: int) -> dict[str, Any]:
    """Return, for each size, the shares of p-values below the levels, and how many there were."""
    figures: dict[str, Any] = {}
    for n in SIZES:
        count = min(replicates, max(100, MOST_VALUES // n))
        dips = dip_table.null_dips(n, count, seed=2024) / np.sqrt(n)
        p = null_pvalues(dips, np.full(count, n))
        shares = {str(level): float(np.mean(p < level)) for level in LEVELS}
        error = np.sqrt(0.05 * 0.95 / count)
        figures[str(n)] = {
            "replicates": count,
            "share_below": shares,
            "standard_errors_off_at_0.05": round((shares["0.05"] - 0.05) / error, 2),
        }
    return figures


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    figures = {"speed": speed(options.rounds), "calibration": calibration(options.replicates)}
    machine.write("dip", figures)


if __name__ == "__main__":
    main()
