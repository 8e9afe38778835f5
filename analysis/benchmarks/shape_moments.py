"""Time of the moments of columns that describe their shape, against a plain read and peers.

    python analysis/benchmarks/shape_moments.py [--rows 1000000]

The limit is a plain read: the sum of the same (1,000,000, 100) array of float32, compiled, with as
many threads. The peers are numpy.std and scipy.stats.kurtosis on a tenth of its rows. The sums
that grow are updated with (512, 64) float64 blocks that lie in a near cache, in processor time of
one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import machine
import numba
import numpy as np
import reads
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from distfit_nn import stats
from distfit_nn.stats.moments import MomentSums

ROUNDS = 9
THREADS = (1, 2)
ORDERS = (4, 6, 12)


def measure(x: NDArray[np.float32], order: int, threads: int) -> None:
    """Take the moments of x in so many threads."""
    numba.set_num_threads(threads)
    stats.moments(x, order=order)


def bandwidth_figures(x: NDArray[np.float32]) -> dict[str, Any]:
    """Seconds of moments and of reads, and the share of the bandwidth that the moments reach."""
    calls: dict[str, Callable[[], object]] = {}
    for threads in THREADS:
        calls[f"read, {threads}"] = lambda threads=threads: reads.plain_read(x, threads)
        for order in ORDERS:
            calls[f"order {order}, {threads}"] = lambda order=order, threads=threads: measure(
                x, order, threads
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
    }


def processor_figures(x: NDArray[np.float32]) -> dict[str, Any]:
    """The share of the bandwidth in processor time of one thread, which others disturb less."""
    numba.set_num_threads(1)
    calls: dict[str, Callable[[], object]] = {
        f"order {order}": lambda order=order: stats.moments(x, order=order) for order in ORDERS
    }
    calls["read"] = lambda: reads.plain_sum(x.reshape(-1))
    times = machine.interleaved(calls, ROUNDS, time.thread_time)
    return {
        "ns_per_value": {
            name: round(1e9 * statistics.median(taken) / x.size, 3) for name, taken in times.items()
        },
        "share": {
            f"order {order}": machine.ratio(times, "read", f"order {order}") for order in ORDERS
        },
    }


def peer_figures(x: NDArray[np.float32]) -> dict[str, Any]:
    """How many times longer the peers take, with one thread."""
    numba.set_num_threads(1)
    wide = x.astype(np.float64)
    times = machine.interleaved(
        {
            "moments": lambda: stats.moments(x),
            "moments, float64": lambda: stats.moments(wide),
            "numpy": lambda: x.std(axis=0),
            "numpy, float64": lambda: wide.std(axis=0),
            "scipy": lambda: scipy_stats.kurtosis(x),
            "scipy, float64": lambda: scipy_stats.kurtosis(wide),
        },
        ROUNDS,
    )
    return {
        f"{peer} over moments to order 6{dtype}": machine.ratio(
            times, f"{short}{dtype}", f"moments{dtype}"
        )
        for peer, short in (("numpy.std", "numpy"), ("scipy.stats.kurtosis", "scipy"))
        for dtype in ("", ", float64")
    }


def update_figures(rng: np.random.Generator) -> dict[str, Any]:
    """Nanoseconds a value of `MomentSums.update`, in processor time."""
    block = rng.normal(size=(512, 64))
    with_nan = np.where(rng.random(block.shape) < 0.01, np.nan, block)
    weights = rng.random(512)
    out = {}
    for order in ORDERS:
        for name, values, own in (
            ("", block, None),
            (", 1% NaN", with_nan, None),
            (", weights", block, weights),
        ):
            sums = MomentSums(64, order)
            taken = machine.interleaved(
                {"update": lambda sums=sums, values=values, own=own: sums.update(values, own)},
                200,
                time.thread_time,
            )["update"]
            out[f"order {order}{name}"] = round(1e9 * statistics.median(taken) / block.size, 2)
    return out


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    rng = np.random.default_rng(0)
    figures: dict[str, Any] = {"ns_per_value_of_updates (512, 64)": update_figures(rng)}
    x = rng.standard_normal((rows, 100), dtype=np.float32)
    figures["peers"] = peer_figures(x[: rows // 10])
    figures["processor_time_of_one_thread"] = processor_figures(x)
    figures["bandwidth"] = bandwidth_figures(x)
    machine.write("shape_moments", figures)


if __name__ == "__main__":
    main()
