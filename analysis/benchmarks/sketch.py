"""Time and accuracy of the quantile sketch and of the row sample.

    python analysis/benchmarks/sketch.py

Nanoseconds a value of one thread, in a steady state (after 200 blocks), on blocks of (512, 64)
float64 that lie in a near cache, as a reader leaves them, and on one column; beside them NumPy's
histogram with as many fixed edges, which needs to know the range, and its sort of the same blocks.
The smallest of the rounds is given, as the machine may have other work. Then the
largest error of 999 quantiles of n = 1,000,000 values, in standard deviations of the law (in
halves of its interquartile range for the Cauchy law, which has none), and the exponents.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import machine
import numpy as np
from numpy.typing import NDArray

from distfit_nn.stats.row_sample import RowSample
from distfit_nn.stats.sketch import SketchSums, sketch

Array = NDArray[np.float64]
BLOCKS, ROWS, WIDTH = 2, 512, 64
TURNS = 8  # over the blocks, in each round
EARLIER = 200  # blocks before the clock starts


def laws(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Array]:
    """Return samples of each law."""
    normal = rng.standard_normal(shape)
    return {
        "normal": normal,
        "student, 3 degrees": rng.standard_t(3, shape),
        "cauchy": rng.standard_cauchy(shape),
        "rounded to 2 places": np.round(normal, 2),
        "rounded to 1/64": np.round(normal * 64) / 64,
        "relu": np.maximum(normal, 0),
    }


def in_steady_state(rng: np.random.Generator, name: str, columns: int) -> SketchSums:
    """Return sums that have seen EARLIER blocks of a law."""
    sums = SketchSums(columns)
    for _ in range(EARLIER):
        sums.update(laws(rng, (ROWS * WIDTH // columns, columns))[name])
    return sums


def speed_figures(rng: np.random.Generator, columns: int, rounds: int) -> dict[str, Any]:
    """Nanoseconds a value of sketch, histogram and sort, for each law."""
    figures: dict[str, Any] = {}
    for name in laws(rng, (1,)):
        sums = in_steady_state(rng, name, columns)
        rows = ROWS * WIDTH // columns
        blocks = [laws(rng, (rows, columns))[name] for _ in range(BLOCKS)]
        edges = np.linspace(-8, 8, 1025)
        calls = {
            "sketch": lambda sums=sums, blocks=blocks: [
                sums.update(b) for _ in range(TURNS) for b in blocks
            ],
            "numpy.histogram": lambda blocks=blocks, edges=edges: [
                np.histogram(b, edges) for _ in range(TURNS) for b in blocks
            ],
            "numpy.sort": lambda blocks=blocks: [
                np.sort(b, axis=0) for _ in range(TURNS) for b in blocks
            ],
        }
        times = machine.interleaved(calls, rounds, time.thread_time)
        figures[name] = {
            call: float(f"{min(taken) / (TURNS * BLOCKS * rows * columns) * 1e9:.3g}")
            for call, taken in times.items()
        }
    return figures


def first_rows(rng: np.random.Generator, rounds: int) -> float:
    """Nanoseconds a value of the first 5,000 rows, with the making of the sketch."""
    x = rng.standard_normal((5000, 512))
    taken = machine.interleaved({"sketch": lambda: sketch(x)}, rounds, time.thread_time)["sketch"]
    return float(f"{statistics.median(taken) / x.size * 1e9:.3g}")


def accuracy_figures(rng: np.random.Generator, n: int) -> dict[str, Any]:
    """Largest errors of quantiles, with 1,024 and 4,096 bins."""
    q = np.linspace(0.001, 0.999, 999)
    figures: dict[str, Any] = {}
    for name, x in laws(rng, (n,)).items():
        exact = np.quantile(x, q, method="inverted_cdf")
        low, high = np.quantile(x, [0.25, 0.75])
        scale = (high - low) / 2 if name == "cauchy" else x.std()
        figures[name] = {}
        for bins in (1024, 4096):
            sketched = sketch(x, bins=bins)
            error = np.abs(sketched.quantile(q)[:, 0] - exact).max() / scale
            figures[name][f"{bins} bins"] = {
                "largest_error": float(f"{error:.2g}"),
                "width": float(f"{sketched.width[0] / scale:.2g}"),
                "occupied": int(sketched.distinct()[0]),
            }
    return figures


def sample_figures(rounds: int) -> dict[str, float]:
    """Nanoseconds a row of offering blocks to a sample that has seen a million rows."""
    figures = {}
    for columns in (1, 64, 1000):
        block = np.zeros((ROWS, columns), np.float32)
        sample = RowSample()
        for _ in range(2000):
            sample.update(block)
        calls: dict[str, Any] = {
            "update": lambda sample=sample, block=block: [sample.update(block) for _ in range(100)]
        }
        taken = machine.interleaved(calls, rounds, time.thread_time)["update"]
        figures[f"{columns} columns"] = round(statistics.median(taken) / (100 * ROWS) * 1e9, 1)
    return figures


def main() -> None:
    """Take all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=15, help="rounds of each timing")
    rounds = parser.parse_args().replicates
    rng = np.random.default_rng(5)
    figures = {
        "nanoseconds_a_value": {
            f"blocks of ({ROWS}, {WIDTH})": speed_figures(rng, WIDTH, rounds),
            "one column": speed_figures(rng, 1, rounds),
            "first 5,000 rows of normal columns": first_rows(rng, rounds),
        },
        "quantile_error_n_1000000": accuracy_figures(rng, 1_000_000),
        "row_sample_nanoseconds_a_row": sample_figures(rounds),
    }
    machine.write("sketch", figures)


if __name__ == "__main__":
    main()
