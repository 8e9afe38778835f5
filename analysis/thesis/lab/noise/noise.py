"""The noise of batch statistics, and of what layers make of them, by the size of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lab import training
from lab.data import Source, images
from lab.networks import LAYERS
from lab.training import Setting

NOISY = ("BatchNorm", "TrimmedNorm", "Copula", "MomentNorm 4")
CROWD = 2_000  # images among which outputs have no noise to speak of


@dataclass(frozen=True)
class Noise:
    """How the noise is measured: on a network with batch norm, after some training."""

    seed: int
    sizes: tuple[int, ...]
    samples: int
    draws: int  # batches whose mean and variance are taken
    companies: int  # batches that go through each layer
    rate: float = 0.07


def noise(setting: Noise, source: Source) -> dict[str, Any]:
    """Return the noise of batch statistics, and of what layers make of them, by batch size."""
    data = images(source)
    plain = Setting("BatchNorm", setting.rate, setting.seed, (setting.samples,))
    model = training.build(plain, data.shape)
    for _ in training.trained(model, data.train, plain):
        pass
    model.eval()
    with torch.no_grad():
        x = model[:5](data.train.pixels)  # the input of the second layer
    generator = torch.Generator().manual_seed(setting.seed)
    wide = x.double()
    return {
        "statistics": {
            str(k): statistics_noise(wide, k, setting.draws, generator) for k in setting.sizes
        },
        "output": {
            layer: {
                str(k): output_noise(
                    LAYERS[layer](x.shape[1]), x[:CROWD], k, setting.companies, generator
                )
                for k in setting.sizes
                if k >= 8  # MomentNorm 4 needs more than four rows
            }
            for layer in NOISY
        },
    }


def statistics_noise(x: Tensor, k: int, draws: int, generator: torch.Generator) -> dict[str, float]:
    """Return the noise of mean and variance of k rows drawn from x (n, C), and what theory says.

    In units of sigma and of sigma^2, median over units. The variance of a biased variance of k
    values is ((k - 1) / k)^2 (mu4 - sigma^4 (k - 3) / (k - 1)) / k.
    """
    var, mean = torch.var_mean(x, 0, correction=0)
    fourth = ((x - mean) ** 4).mean(0)
    drawn = [
        torch.var_mean(x[torch.randint(len(x), (k,), generator=generator)], 0, correction=0)
        for _ in range(draws)
    ]
    vars_, means = (torch.stack(part) for part in zip(*drawn, strict=True))
    expected = ((k - 1) / k) ** 2 * (fourth - var**2 * (k - 3) / (k - 1)) / k
    of_mean, of_var = means.std(0) / var.sqrt(), vars_.std(0) / var
    return {
        "mean": of_mean.median().item(),
        "mean_theory": k**-0.5,
        "variance": of_var.median().item(),
        "variance_theory": (expected.sqrt() / var).median().item(),
        "ratio_mean": (of_mean * k**0.5).mean().item(),
        "ratio_variance": (of_var * var / expected.sqrt()).mean().item(),
    }


@torch.no_grad()
def output_noise(
    layer: nn.Module, x: Tensor, k: int, companies: int, generator: torch.Generator
) -> float:
    """Return how far outputs of k rows are from those among all rows of x, in deviations."""
    layer.train()
    among_all = layer(x)
    moved = []
    for _ in range(companies):
        chosen = torch.randperm(len(x), generator=generator)[:k]
        moved.append((layer(x[chosen]) - among_all[chosen]).square().mean())
    return (torch.stack(moved).mean().sqrt() / among_all.std()).item()


def summary(noises: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the means over networks, and how far the noise is from theory at most."""
    statistics = {
        k: {name: float(np.mean([one["statistics"][k][name] for one in noises])) for name in row}
        for k, row in noises[0]["statistics"].items()
    }
    output = {
        layer: {k: float(np.mean([one["output"][layer][k] for one in noises])) for k in row}
        for layer, row in noises[0]["output"].items()
    }
    ratios = [row[name] for row in statistics.values() for name in ("ratio_mean", "ratio_variance")]
    return {
        "statistics": statistics,
        "output": output,
        "off_theory": max(abs(ratio - 1) for ratio in ratios),
    }
