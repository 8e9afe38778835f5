"""What a layer costs on feature maps: time of both passes and bytes kept, beside its rivals'."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import torch
from torch import Tensor, nn

import distfit_nn.nn as dnn

MOST_ROWS = 4096  # of the sum over all pairs, which keeps a matrix (n, n) a channel
STRENGTH = 5.0


@dataclass(frozen=True)
class Shape:
    """A batch of feature maps, and how it is timed."""

    batch: int
    channels: int
    height: int
    width: int
    rounds: int
    device: str = "cpu"

    @property
    def rows(self) -> int:
        """Values of one channel, n."""
        return self.batch * self.height * self.width


def pairwise(x: Tensor) -> Tensor:
    """Return the copula transform (n,) of one column (n,) by the slides' sum over all pairs."""
    with torch.no_grad():
        low, high = torch.quantile(x, torch.tensor([0.1, 0.9], dtype=x.dtype, device=x.device))
        scale = (high - low) / 2.563
    ranks = torch.sigmoid(STRENGTH / scale * (x[:, None] - x)).sum(1)
    return torch.special.ndtri(ranks / len(x))


def both_ways(layer: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    """Return a call of a forward and a backward pass."""
    gradient = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x.device)

    def call() -> None:
        x.grad = None
        layer(x).backward(gradient)
        if x.is_cuda:
            torch.cuda.synchronize()

    return call


def kept_bytes(layer: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Return how many bytes a forward pass keeps for the backward pass, x among them."""
    kept: list[Tensor] = []  # alive until they are counted: no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(x)
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    return sum(storages.values())


def timed(shape: Shape, _: None) -> dict[str, Any]:
    """Time the layers in turn at one shape: seconds of each round, and bytes kept."""
    numba.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(shape.batch, shape.channels, shape.height, shape.width, device=shape.device)
    column = x[:, 0].flatten().clone().requires_grad_()
    x.requires_grad_()
    copula = dnn.CopulaNorm2d(shape.channels, strength=STRENGTH).to(shape.device)
    batch_norm = nn.BatchNorm2d(shape.channels).to(shape.device)
    layers = {"BatchNorm": (batch_norm, x, 1), "Copula": (copula, x, 1)}
    if shape.rows <= MOST_ROWS:
        layers["all pairs"] = (pairwise, column, shape.channels)
    calls = {name: (both_ways(layer, of), times) for name, (layer, of, times) in layers.items()}
    clock = time.process_time if shape.device == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(shape.rounds + 2):  # the first two compile and warm up
        for name, (call, times) in calls.items():
            start = clock()
            call()
            if round_ > 1:
                seconds[name].append((clock() - start) * times)
    return {
        "seconds": seconds,
        "bytes": {name: kept_bytes(layer, of) * n for name, (layer, of, n) in layers.items()},
        "difference": _difference(copula, x, column) if "all pairs" in layers else None,
    }


def _difference(copula: nn.Module, x: Tensor, column: Tensor) -> float:
    """Return how far apart the first channel is by sorting and by the sum over all pairs."""
    with torch.no_grad():
        return float((copula(x)[:, 0].flatten() - pairwise(column)).abs().max())


def cost(shape: Shape, run: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of one shape: medians, and the medians of ratios round by round."""
    entries = shape.rows * shape.channels
    seconds, sizes = run["seconds"], run["bytes"]

    def ratio(slow: str, fast: str) -> float | None:
        if slow not in seconds:
            return None
        pairs = zip(seconds[slow], seconds[fast], strict=True)
        return statistics.median(a / b for a, b in pairs)

    return {
        "shape": [shape.batch, shape.channels, shape.height, shape.width],
        "rows": shape.rows,
        "nanoseconds_per_entry": {
            name: 1e9 * statistics.median(each) / entries for name, each in seconds.items()
        },
        "bytes_per_entry": {name: size / entries for name, size in sizes.items()},
        "over_batch_norm": ratio("Copula", "BatchNorm"),
        "all_pairs_over_copula": ratio("all pairs", "Copula"),
        "all_pairs_gigabytes": 4 * shape.rows**2 * shape.channels / 1e9,
        "largest_difference": run["difference"],
    }
