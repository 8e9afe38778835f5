"""Training as the thesis did it, curves of it, and the choice of a learning rate."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lab.data import Source, Split, images
from lab.networks import LAYERS, LAYERS_2D, convnet, mlp

THESIS_RATE, BATCH = 0.007, 50
SAMPLES = (25_000, 50_000, 75_000, 100_000, 125_000)  # the columns of the thesis' tables
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
EVALUATED_AT_ONCE = 2000


@dataclass(frozen=True)
class Setting:
    """One run: all that it depends on beside the data."""

    layer: str
    rate: float
    seed: int
    samples: tuple[int, ...] = SAMPLES  # seen when the network is measured
    network: str = "mlp"
    activation: str = "relu"
    optimizer: str = "sgd"
    batch: int = BATCH
    depth: int | None = None  # None: the network's own
    rows: int | None = None  # training images; None for all


@dataclass(frozen=True)
class Mark:
    """How training stands: the loss is the mean over the batches since the mark before."""

    seen: int
    train_loss: float
    not_finite: int  # losses so far that were no number


def build(setting: Setting, shape: tuple[int, int, int]) -> nn.Sequential:
    """Return the network of a setting, started by its seed."""
    torch.manual_seed(setting.seed)
    depth = {} if setting.depth is None else {"depth": setting.depth}
    if setting.network == "convnet":
        return convnet(shape, LAYERS_2D[setting.layer], setting.activation, **depth)
    return mlp(shape, LAYERS[setting.layer], setting.activation, **depth)


def batches(split: Split, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches for ever, in a new order each time round; a last, smaller one is left out."""
    generator = torch.Generator().manual_seed(seed)
    size = min(size, len(split))
    while True:
        order = torch.randperm(len(split), generator=generator)
        for chosen in order[: len(order) // size * size].split(size):
            yield split.pixels[chosen], split.labels[chosen]


def trained(model: nn.Module, split: Split, setting: Setting) -> Iterator[Mark]:
    """Train a model in place, and stop at each of `setting.samples` for whoever wants to look."""
    optimizer = OPTIMIZERS[setting.optimizer](model.parameters(), lr=setting.rate)
    stream = batches(split, setting.batch, setting.seed)
    seen, not_finite = 0, 0
    for goal in setting.samples:
        model.train()
        losses = []
        while seen < goal:
            pixels, labels = next(stream)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(pixels), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            seen += setting.batch
        not_finite += sum(not math.isfinite(loss) for loss in losses)
        yield Mark(seen, statistics.fmean(losses) if losses else math.nan, not_finite)


@torch.no_grad()
def measured(model: nn.Module, split: Split) -> tuple[float, float]:
    """Return accuracy in % and mean loss in eval mode."""
    model.eval()
    logits = torch.cat([model(part) for part in split.pixels.split(EVALUATED_AT_ONCE)])
    loss = nn.functional.cross_entropy(logits, split.labels).item()
    return 100 * (logits.argmax(1) == split.labels).double().mean().item(), loss


def train(setting: Setting, source: Source) -> dict[str, Any]:
    """Train one network, and return its curves: a task for `Script.each`."""
    data = images(source)
    start = time.perf_counter()
    split = data.train.first(setting.rows)
    model = build(setting, data.shape)
    curves: dict[str, list[float]] = {
        name: [] for name in ("train_loss", "test_accuracy", "test_loss", "validation_accuracy")
    }
    not_finite = 0
    for mark in trained(model, split, setting):
        accuracy, loss = measured(model, data.test)
        curves["train_loss"].append(mark.train_loss)
        curves["test_accuracy"].append(accuracy)
        curves["test_loss"].append(loss)
        curves["validation_accuracy"].append(measured(model, data.validation)[0])
        not_finite = mark.not_finite
    return {**curves, "not_finite": not_finite, "seconds": time.perf_counter() - start}


def sweep(settings: Iterable[Setting], rates: Sequence[float]) -> list[Setting]:
    """Return each setting at each rate."""
    return [replace(setting, rate=rate) for setting in settings for rate in rates]


def best_rates(
    runs: Iterable[tuple[Setting, dict[str, Any]]], by: str = "validation_accuracy"
) -> dict[str, float]:
    """Return for each layer the rate whose last validation accuracy, mean over seeds, is best."""
    found: dict[tuple[str, float], list[float]] = {}
    for setting, run in runs:
        last = run[by][-1]
        value = last if last is not None and math.isfinite(last) else -math.inf
        found.setdefault((setting.layer, setting.rate), []).append(value)
    best: dict[str, tuple[float, float]] = {}
    for (layer, rate), values in found.items():
        best[layer] = max(best.get(layer, (-math.inf, 0.0)), (statistics.fmean(values), rate))
    return {layer: rate for layer, (_, rate) in best.items()}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, standard deviation (n - 1; None of one value) and the values, seed by seed."""
    std = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": std, "seeds": list(values)}


def summary(runs: Sequence[dict[str, Any]], curve: str) -> dict[str, Any]:
    """Return mean and standard deviation of a curve over runs, at each mark, and all values."""
    at = list(zip(*(run[curve] for run in runs), strict=True))
    return {
        "mean": [statistics.fmean(values) for values in at],
        "std": [statistics.stdev(values) if len(values) > 1 else None for values in at],
        "seeds": [list(run[curve]) for run in runs],
    }
