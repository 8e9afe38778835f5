"""Time and memory of the measures of dependence between units, against SciPy and pandas.

    python analysis/benchmarks/dependence.py

Float32 columns of 64, 512 and 4,096 units, half of them with half their values 0, as after a ReLU,
correlated by a common factor. Medians of rounds taken in turn; one run each of 4,096 units, and of
pandas with 512, which would take a quarter of an hour or more with 4,096.

fit         copula.GaussianCopula.fit; peer: rankdata, ndtri and ledoit_wolf
spearman    copula.spearman_matrix; peers: pandas' corr, scipy's spearmanr
kendall     copula.kendall_matrix; peers: pandas' corr, and scipy's kendalltau on some pairs
dependence  copula.dependence, without and with permutations, figures included; no peer
"""

from __future__ import annotations

import statistics
import tracemalloc
from collections.abc import Callable
from typing import Any

import machine
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats
from sklearn.covariance import ledoit_wolf

from distfit_nn.copula import GaussianCopula, dependence, kendall_matrix, spearman_matrix

Float32 = NDArray[np.float32]
Calls = dict[str, Callable[[], object]]

ROWS = 10_000
KENDALL_ROWS = {64: 10_000, 512: 1000, 4096: 1000}
ROUNDS = {64: 5, 512: 3}  # one run of more units
PERMUTATIONS = 4
PAIRS = 20  # that scipy's kendalltau is timed on


def units(n: int, d: int) -> Float32:
    """Return correlated columns, every second one cut off at 0."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d), dtype=np.float32)
    x += rng.standard_normal((n, 1), dtype=np.float32)
    x[:, ::2] = x[:, ::2].clip(0)
    return x


def fit_by_parts(x: Float32) -> object:
    """Return what `GaussianCopula.fit` estimates, by SciPy and scikit-learn."""
    z = special.ndtri((stats.rankdata(x, axis=0) - 0.5) / len(x))
    return ledoit_wolf(stats.zscore(z, axis=0), assume_centered=True)


def some_pairs(x: Float32) -> None:
    """Measure Kendall's tau of a few pairs of columns by SciPy."""
    for j in range(PAIRS):
        stats.kendalltau(x[:, j], x[:, j + 1])


def summarised(x: Float32, permutations: int) -> None:
    """Measure dependence, and take all its figures."""
    found = dependence(x, permutations=permutations, random_state=0)
    found.to_dict()


def calls_for(d: int) -> dict[str, Calls]:
    """Return what is timed: ours first, then the peers; the times of a group are compared."""
    x, fewer = units(ROWS, d), units(KENDALL_ROWS[d], d)
    frame, fewer_frame = pd.DataFrame(x), pd.DataFrame(fewer)
    groups: dict[str, Calls] = {
        "fit": {"ours": lambda: GaussianCopula.fit(x), "parts": lambda: fit_by_parts(x)},
        "spearman": {
            "ours": lambda: spearman_matrix(x),
            "pandas": lambda: frame.corr("spearman"),
            "scipy": lambda: stats.spearmanr(x),
        },
        "kendall": {
            "ours": lambda: kendall_matrix(fewer),
            "pandas": lambda: fewer_frame.corr("kendall"),
            f"scipy, {PAIRS} pairs": lambda: some_pairs(fewer),
        },
        "dependence": {
            "ours": lambda: summarised(x, 0),
            f"ours, {PERMUTATIONS} permutations": lambda: summarised(x, PERMUTATIONS),
        },
    }
    if d not in ROUNDS:
        del groups["spearman"]["pandas"], groups["kendall"]["pandas"]
    return groups


def timed(calls: Calls, d: int) -> dict[str, Any]:
    """Return seconds of each call, and how many times longer than ours the others take."""
    once = [name for name in calls if d not in ROUNDS or (d > 64 and name == "pandas")]
    often = {name: call for name, call in calls.items() if name not in once}
    times = machine.interleaved(often, ROUNDS[d]) if often else {}
    times |= {name: [machine.seconds(calls[name])] for name in once}
    figures: dict[str, Any] = {
        name: float(f"{statistics.median(taken):.3g}") for name, taken in times.items()
    }
    peers = [name for name in calls if "ours" not in name and "pairs" not in name]
    return figures | {
        f"{name} / ours": float(f"{figures[name] / figures['ours']:.3g}") for name in peers
    }


def peak_megabytes(call: Callable[[], object]) -> int:
    """Return the peak of what one call allocates."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return round(peak / 1e6)


def kendall_figures(seconds: dict[str, Any], d: int) -> dict[str, Any]:
    """Return nanoseconds for each pair of columns and row, ours and SciPy's."""
    n = KENDALL_ROWS[d]
    ours = seconds["ours"] / (d * (d - 1) / 2 * n)
    scipy = seconds[f"scipy, {PAIRS} pairs"] / (PAIRS * n)
    return {
        "rows": n,
        "ns_per_pair_and_row": round(1e9 * ours, 2),
        "ns_per_pair_and_row_scipy": round(1e9 * scipy, 1),
        "scipy / ours": round(scipy / ours, 1),
    }


def main() -> None:
    """Measure and write the figures."""
    for calls in calls_for(64).values():  # compile, import and warm up
        calls["ours"]()
    figures: dict[str, Any] = {"rows": ROWS}
    for d in KENDALL_ROWS:
        groups = calls_for(d)
        found = {name: {"seconds": timed(calls, d)} for name, calls in groups.items()}
        found["kendall"] |= kendall_figures(found["kendall"]["seconds"], d)
        for name in ("fit", "spearman", "dependence"):
            found[name]["peak_megabytes"] = peak_megabytes(groups[name]["ours"])
        figures[f"{d} units"] = found
    machine.write("dependence", figures)


if __name__ == "__main__":
    main()
