"""Time and memory of the moments that a maximum-entropy fit takes from its data.

    python analysis/benchmarks/moments.py

The limit is a plain read: the sum of the same array, compiled, with as many threads. The moments
are those to order 4 and 6 of a (1,000,000, 100) array of float32, with range and distinct values;
then the cost per column where columns are short, and the memory that standardising takes.
"""

from __future__ import annotations

import statistics
import tracemalloc
from typing import Any

import machine
import numpy as np
import reads
from numpy.typing import NDArray

from distfit_nn.maxent import problem
from distfit_nn.maxent.sample_moments import sample_moments

ROUNDS = 9
THREADS = (1, 2)
ORDERS = (4, 6)


def bandwidth_figures(x: NDArray[np.float32]) -> dict[str, Any]:
    """Seconds of moments and of reads, and the share of the bandwidth that the moments reach."""
    calls: dict[str, Any] = {}
    for threads in THREADS:
        calls[f"read, {threads}"] = lambda threads=threads: reads.plain_read(x, threads)
        for order in ORDERS:
            calls[f"order {order}, {threads}"] = lambda order=order, threads=threads: (
                sample_moments(x, order, limit=order // 2 + 2, threads=threads)
            )
    times = machine.interleaved(calls, ROUNDS)
    return {
        "seconds (what, threads)": {
            name: round(statistics.median(taken), 4) for name, taken in times.items()
        },
        "gigabytes_per_second_read": round(x.nbytes / 1e9 / statistics.median(times["read, 1"]), 1),
        "share_of_bandwidth": {
            f"order {order}, {threads} threads": machine.ratio(
                times, f"read, {threads}", f"order {order}, {threads}"
            )
            for order in ORDERS
            for threads in THREADS
        },
        "share_of_bandwidth_of_one_thread": {
            f"order {order}, 2 threads": machine.ratio(times, "read, 1", f"order {order}, 2")
            for order in ORDERS
        },
    }


def column_figures(rng: np.random.Generator) -> dict[str, Any]:
    """Microseconds a column of the whole standardisation, for short and for usual columns."""
    step = rng.normal(size=(128, 256))
    usual = rng.normal(size=(1000, 10_000))
    times = machine.interleaved(
        {
            "128 x 256, order 4, float64": lambda: problem.from_samples(step, 4, 3.0, False),
            "1000 x 10000, order 6, float64": lambda: problem.from_samples(usual, 6, 3.0, False),
        },
        3 * ROUNDS,
    )
    columns = (step.shape[1], usual.shape[1])
    return {
        name: round(1e6 * statistics.median(taken) / d, 2)
        for (name, taken), d in zip(times.items(), columns, strict=True)
    }


def memory_share(rng: np.random.Generator) -> float:
    """Return the peak of what standardising 100,000 columns allocates, over the size of the input.

    That counts what is returned: six targets and six other numbers a column.
    """
    x = rng.normal(size=(1000, 100_000)).astype(np.float32)
    tracemalloc.start()
    problem.from_samples(x, 6, 3.0, False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return round(peak / x.nbytes, 3)


def main() -> None:
    """Measure and write the figures."""
    rng = np.random.default_rng(0)
    figures: dict[str, Any] = {"us_per_column": column_figures(rng)}
    figures["peak_memory_over_input"] = memory_share(rng)
    x = rng.standard_normal((1_000_000, 100), dtype=np.float32)
    figures["bandwidth"] = bandwidth_figures(x)
    machine.write("moments", figures)


if __name__ == "__main__":
    main()
