"""Time per column of the statistics, each against a peer.

    python analysis/benchmarks/columns.py

Peers: numpy.std and scipy.stats.kurtosis for the moments; the PyPI package diptest, column by
column, for the dip.
"""

from __future__ import annotations

import statistics
from typing import Any

import diptest
import machine
import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from distfit_nn import stats

Array = NDArray[np.float64]
ROWS, COLUMNS = 1000, 400
ROUNDS = 7


def mixed_columns(rng: np.random.Generator) -> Array:
    """Normal, skewed, heavy-tailed, bimodal and half-zero columns in turn."""
    kinds = [
        lambda: rng.normal(size=ROWS),
        lambda: rng.gamma(2.0, size=ROWS),
        lambda: rng.standard_t(5, size=ROWS),
        lambda: rng.normal(size=ROWS) + 2.5 * rng.choice([-1, 1], ROWS),
        lambda: np.maximum(rng.normal(size=ROWS), 0),
    ]
    return np.stack([kinds[j % len(kinds)]() for j in range(COLUMNS)], axis=1)


def statistics_figures(x: Array) -> dict[str, Any]:
    """Ratios of moments and dip to their peers."""
    times = machine.interleaved(
        {
            "moments to order 6": lambda: stats.moments(x),
            "numpy.std": lambda: x.std(axis=0),
            "scipy kurtosis": lambda: scipy_stats.kurtosis(x),
            "dip": lambda: stats.dip_test(x),
            "diptest": lambda: [diptest.diptest(column) for column in x.T],
        },
        ROUNDS,
    )
    each = {name: round(1e6 * statistics.median(t) / COLUMNS, 2) for name, t in times.items()}
    return {
        "us_per_column": each,
        "scipy_kurtosis_over_moments": machine.ratio(times, "scipy kurtosis", "moments to order 6"),
        "numpy_std_over_moments": machine.ratio(times, "numpy.std", "moments to order 6"),
        "diptest_over_dip": machine.ratio(times, "diptest", "dip"),
    }


def main() -> None:
    """Measure and write the figures."""
    x = mixed_columns(np.random.default_rng(0))
    figures = {"rows": ROWS, "columns": COLUMNS, "statistics": statistics_figures(x)}
    machine.write("columns", figures)


if __name__ == "__main__":
    main()
