"""Time of every layer against torch's BatchNorm, in training and in eval mode, beside its limit.

    python analysis/benchmarks/layers.py [--one-thread] [NAME ...]

float32 on the CPU: in one thread, by the processor's time, which others on the machine change
little; and, without --one-thread, in all threads by the clock on the wall, which needs a machine of
one's own. With a CUDA device at hand, on that as well, synchronised. `training` is a forward and a
backward pass with the gradients by x and all parameters, `eval` a forward pass without a graph, and
`eval with a graph` the forward pass of a layer that is frozen in eval mode while others are
trained. Shifts start with exponents of 1, which take less time; "learnt" ones go from 0.8 to 1.3.
Each is timed in turn with the same of BatchNorm; `over_batch_norm` is the median over
rounds of the ratio of the two. A limit is null where none is set. With names, only the layers that
begin with one are measured, and nothing is written.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import machine
import numba
import torch
from torch import Tensor, nn

import distfit_nn.nn as dnn

SHAPES = [(128, 256), (1024, 1024), (32, 64, 32, 32)]
ROUNDS = {128: 201, 1024: 25, 32: 15}
ON_CUDA = (128, 256, 32, 32)
CUDA_ROUNDS, CUDA_LIMIT = 21, 8.0
EVAL_LIMIT = 4.0

Call = Callable[[], object]
Make = Callable[[int], nn.Module]


class Entry(NamedTuple):
    """A layer on (N, C) and on (N, C, H, W), and its limits in training at the shapes."""

    flat: Make
    planes: Make
    limits: tuple[float, ...] | None = None


def _entry(name: str, limits: tuple[float, ...] | None = None, **own: Any) -> Entry:
    makes = (partial(getattr(dnn, f"{name}{dims}"), **own) for dims in ("1d", "2d"))
    return Entry(*makes, limits)


def _learnt(kind: type[nn.Module], exponent: str) -> Entry:
    """Return a shift whose exponents are no longer 1, as after a step of an optimiser."""

    def make(channels: int) -> nn.Module:
        layer = kind(channels)
        with torch.no_grad():
            some = torch.rand(channels, generator=torch.Generator().manual_seed(1))
            getattr(layer, exponent).copy_((0.8 + 0.5 * some).log())
        return layer

    return Entry(make, make, (3.0, 3.0, 3.0))


LAYERS = {
    "LogShift": Entry(dnn.LogShift, dnn.LogShift, (3.0, 3.0, 3.0)),
    "LogShift learnt": _learnt(dnn.LogShift, "log_c"),
    "SqrtShift": Entry(dnn.SqrtShift, dnn.SqrtShift, (3.0, 3.0, 3.0)),
    "SqrtShift learnt": _learnt(dnn.SqrtShift, "log_b"),
    "KLNorm": _entry("KLNorm", (3.0, 3.0, 3.0)),
    "KLNorm closed": _entry("KLNorm", (3.0, 3.0, 3.0), form="closed"),
    "MLENorm": Entry(dnn.MLENorm1d, lambda c: nn.Sequential(nn.Flatten(2), dnn.MLENorm1d(c))),
    "TrimmedNorm": _entry("TrimmedNorm"),
    "MomentNorm order 4": _entry("MomentNorm", (15.0, 12.0, 12.0), order=4),
    "MomentNorm order 6": _entry("MomentNorm", order=6),
    "CopulaNorm": _entry("CopulaNorm", (20.0, 20.0, 20.0)),
    "CopulaNorm linear": _entry("CopulaNorm", (20.0, 20.0, 20.0), test_phase="linear"),
}


def both_ways(layer: nn.Module, x: Tensor) -> Call:
    """Return a forward and a backward pass, from fresh gradients."""
    leaves = [x, *layer.parameters()]
    gradient = torch.randn_like(layer(x))

    def call() -> None:
        for leaf in leaves:
            leaf.grad = None
        layer(x).backward(gradient)

    return call


def forward(layer: nn.Module, x: Tensor, graph: bool) -> Call:
    """Return a forward pass."""

    def call() -> None:
        with torch.set_grad_enabled(graph):
            layer(x)

    return call


def training_phase(layer: nn.Module, x: Tensor) -> dict[str, Call]:
    """Return what is timed of a layer in training, after which it has seen some batches."""
    given = x.detach().clone().requires_grad_()
    return {"training": both_ways(layer.train(), given)}


def eval_phases(layer: nn.Module, x: Tensor) -> dict[str, Call]:
    """Return what is timed of a layer in eval mode."""
    layer.eval()
    return {"eval": forward(layer, x, False), "eval with a graph": forward(layer, x, True)}


def compared(
    make: Make, shape: tuple[int, ...], limit: float | None, clock: Callable[[], float]
) -> dict[str, Any]:
    """Compare a layer with BatchNorm at a shape."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    peer = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(shape[1])
    layer = make(shape[1])
    out = {}
    for made in (training_phase, eval_phases):
        pair = made(layer, x), made(peer, x)
        for phase in pair[0]:
            calls = {"layer": pair[0][phase], "peer": pair[1][phase]}
            times = machine.interleaved(calls, ROUNDS[shape[0]], clock)
            out[phase] = {
                "over_batch_norm": machine.ratio(times, "layer", "peer"),
                "limit": limit if phase == "training" else EVAL_LIMIT,
                "microseconds": round(1e6 * statistics.median(times["layer"]), 1),
                "of_batch_norm": round(1e6 * statistics.median(times["peer"]), 1),
            }
    return out


def cuda_figures() -> dict[str, Any]:
    """Compare the layers that have a limit on a CUDA device, in training."""
    out: dict[str, Any] = {"device": torch.cuda.get_device_name(), "shape": list(ON_CUDA)}
    channels = ON_CUDA[1]
    x = torch.randn(ON_CUDA, device="cuda", requires_grad=True)

    def synchronised(call: Call) -> Call:
        def done() -> None:
            call()
            torch.cuda.synchronize()

        return done

    peer = synchronised(both_ways(nn.BatchNorm2d(channels).cuda(), x))
    for name in ("CopulaNorm", "MomentNorm order 4"):
        layer = synchronised(both_ways(LAYERS[name].planes(channels).cuda(), x))
        times = machine.interleaved({"layer": layer, "peer": peer}, CUDA_ROUNDS)
        out[name] = {
            "over_batch_norm": machine.ratio(times, "layer", "peer"),
            "limit": CUDA_LIMIT,
            "milliseconds": round(1e3 * statistics.median(times["layer"]), 2),
        }
    return out


def cpu_figures(chosen: dict[str, Entry], threads: int) -> dict[str, Any]:
    """Compare layers at all shapes, in so many threads."""
    numba.set_num_threads(threads)
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    figures: dict[str, Any] = {}
    for name, entry in chosen.items():
        figures[name] = {}
        for i, shape in enumerate(SHAPES):
            make = entry.flat if len(shape) == 2 else entry.planes
            limit = None if entry.limits is None else entry.limits[i]
            found = figures[name][" x ".join(map(str, shape))] = compared(make, shape, limit, clock)
            ratios = {phase: figure["over_batch_norm"] for phase, figure in found.items()}
            print(threads, name, shape, ratios, file=sys.stderr)
    return figures


def main() -> None:
    """Measure and write the figures."""
    names = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    chosen = {n: entry for n, entry in LAYERS.items() if n.startswith(tuple(names) or "")}
    figures = {"one thread": cpu_figures(chosen, 1)}
    threads = min(os.cpu_count() or 1, numba.config.NUMBA_NUM_THREADS)
    if "--one-thread" not in sys.argv and threads > 1:
        figures[f"{threads} threads"] = cpu_figures(chosen, threads)
    if torch.cuda.is_available():
        figures["cuda"] = cuda_figures()
    if not names:
        machine.write("layers", figures)


if __name__ == "__main__":
    main()
