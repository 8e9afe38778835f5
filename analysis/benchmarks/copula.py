"""Time and memory of the copula transform, forward and backward, against peers and a limit.

    python analysis/benchmarks/copula.py

The transform is y = theta Phi^-1(s / n) + beta with soft ranks s, in float32 on the CPU, with the
gradients by x, strength, theta and beta. Peers, each forward and backward on the same shape:
torch's BatchNorm1d, and soft_rank of the PyPI package torchsort, which ranks rows and is given them
contiguous. (It is built from source: pip install torchsort==0.1.10 --no-build-isolation, with nvcc
not on PATH. Without it, its figures are left out.)
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numba
import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from distfit_nn.copula import chain_kernel, columns, vector_math
from distfit_nn.copula.tensors.lines import weighted_scores

try:
    import torchsort
except ImportError:
    torchsort = None

SHAPES = [(128, 256), (1024, 1024), (131072, 64)]
LENGTHS = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000]
VALUES = 1_000_000  # as many at each length
ROUNDS = {128: 101, 1024: 31, 131072: 7}
LIMIT = """One sort with its order, one exp and one ndtri of each value, float32, in contiguous
rows. `usual`: numpy.argsort, numpy.exp and scipy.special.ndtri; `own`: the same by the library's
own compiled functions, the fastest that we know. A gradient and the sums are not in it."""

Call = Callable[[], object]


def transform(x: Tensor, strength: Tensor, theta: Tensor, beta: Tensor) -> Tensor:
    """Return theta Phi^-1(s / n) + beta of the columns of x."""
    return weighted_scores(x, strength, theta, beta)


def both_ways(forward: Callable[[], Tensor], leaves: list[Tensor], g: Tensor) -> Call:
    """Return a forward and a backward pass, from fresh gradients."""

    def call() -> None:
        for leaf in leaves:
            leaf.grad = None
        forward().backward(g)

    return call


def our_call(n: int, d: int) -> Call:
    """Return the transform of normal data, forward and backward."""
    torch.manual_seed(0)
    x, g = torch.randn(n, d, requires_grad=True), torch.randn(n, d)
    leaves = [x, *(torch.full((d,), value, requires_grad=True) for value in (5.0, 1.0, 0.0))]
    return both_ways(lambda: transform(*leaves), leaves, g)


def peer_calls(n: int, d: int) -> dict[str, Call]:
    """Return the peers on the same shape."""
    torch.manual_seed(0)
    x, g = torch.randn(n, d, requires_grad=True), torch.randn(n, d)
    norm = torch.nn.BatchNorm1d(d)
    calls = {"batch norm": both_ways(lambda: norm(x), [x, *norm.parameters()], g)}
    if torchsort is not None:
        rows, across = torch.randn(d, n, requires_grad=True), torch.randn(d, n)
        calls["torchsort"] = both_ways(lambda: torchsort.soft_rank(rows), [rows], across)
    return calls


def limit_calls(n: int, d: int) -> dict[str, Call]:
    """Return what the limits are made of, on rows in the order of memory."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d), dtype=np.float32)
    rows = np.ascontiguousarray(x.T)
    shares = rng.uniform(1e-6, 1.0, (d, n)).astype(np.float32)
    room, order = columns.Room(d, n, np.float32, 1), columns.empty_order(n, d)
    block = np.empty(chain_kernel.PIECE * columns.LANES)

    def own() -> None:
        columns.sort_columns(x, 0, room.tile, room.rows[0], *order)
        for at in range(0, n * d, block.size):
            count = min(block.size, n * d - at)
            block[:count] = shares.reshape(-1)[at : at + count]
            vector_math.decay(block, count)
            vector_math.normal_quantiles(block, 1 - block, block.copy(), 1.0, count)

    def usual() -> None:
        np.argsort(rows, axis=1)
        np.exp(rows)
        ndtri(shares)

    return {"usual limit": usual, "own limit": own}


def shape_figures(n: int, d: int) -> dict[str, Any]:
    """Compare one shape with its peers and limits, by the processor time of one thread."""
    calls = {"transform": our_call(n, d), **peer_calls(n, d), **limit_calls(n, d)}
    times = machine.interleaved(calls, ROUNDS[n], time.process_time)
    each = {name: round(1e9 * statistics.median(t) / (n * d), 2) for name, t in times.items()}
    peers = [name for name in calls if name != "transform"]
    over = {f"transform_over_{name}": machine.ratio(times, "transform", name) for name in peers}
    return {"ns_per_value": each, **{name.replace(" ", "_"): r for name, r in over.items()}}


def growth_figures() -> dict[str, Any]:
    """Time over n log n, of as many values in columns of n."""
    calls = {f"{n}": our_call(n, VALUES // n) for n in LENGTHS}
    times = machine.interleaved(calls, 7, time.process_time)
    each = {
        name: 1e9 * statistics.median(t) / (VALUES // int(name) * int(name) * math.log2(int(name)))
        for name, t in times.items()
    }
    spread = max(each.values()) / min(each.values())
    rounded = {name: round(value, 3) for name, value in each.items()}
    return {"ns_per_n_log2_n": rounded, "largest_over_smallest": round(spread, 2)}


def thread_figures(n: int, d: int) -> dict[str, Any]:
    """Compare two threads with one, by the clock on the wall."""
    call = our_call(n, d)

    def with_threads(count: int) -> None:
        numba.set_num_threads(count)
        torch.set_num_threads(count)
        call()

    calls = {"one": lambda: with_threads(1), "two": lambda: with_threads(2)}
    times = machine.interleaved(calls, ROUNDS[n])
    with_threads(1)
    return {"one_over_two": machine.ratio(times, "one", "two")}


def memory(n: int, d: int) -> float:
    """Return the peak of memory, the input included, over that of the input; in a new process."""
    command = [sys.executable, __file__, "memory", str(n), str(d)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_memory(n: int, d: int) -> None:
    """Print what a forward and backward pass takes at most beside input and given gradient."""
    our_call(2000, 64)()  # what is loaded and compiled once is no part of it
    call = our_call(n, d)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    before = kilobytes("VmRSS")
    call()
    print(round(1 + (kilobytes("VmHWM") - before) * 1024 / (4 * n * d), 2))


def kilobytes(name: str) -> int:
    """Return a figure of this process' memory, as Linux tells it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    """Measure and write the figures."""
    if sys.argv[1:2] == ["memory"]:
        torch.set_num_threads(1)
        measure_memory(*map(int, sys.argv[2:]))
        return
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"limit": LIMIT}
    for n, d in SHAPES:
        figures[f"{n} x {d}"] = {
            **shape_figures(n, d),
            **thread_figures(n, d),
            "peak_memory_over_input": memory(n, d),
        }
    figures["growth"] = growth_figures()
    figures["peak_memory_over_input of one column of 1,000,000"] = memory(1_000_000, 1)
    machine.write("copula", figures)


if __name__ == "__main__":
    main()
