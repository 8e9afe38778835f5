"""A task that a normalising layer can only solve by becoming the identity.

The network is the layer alone, its loss the mean square of output minus input: what is left is
what gamma and beta cannot undo. Columns have locations, scales and shapes of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lab.networks import LAYERS

COLUMNS = 8  # the first half normal, the second exponential
ROWS_AT_TEST = 20_000
EXACT, SHAPED = ("BatchNorm", "MomentNorm 2"), ("MomentNorm 4", "Copula")
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


@dataclass(frozen=True)
class OptOut:
    """One run: a layer, how gamma and beta are trained, and how much batches differ."""

    layer: str  # "none": batch norm without gamma and beta
    optimizer: str
    rate: float
    seed: int
    steps: int
    batch: int = 50
    wander: float = 0.0  # standard deviation of each batch's own location, in sigma


def location_and_scale() -> tuple[Tensor, Tensor]:
    """Return mu and sigma of the columns."""
    half = COLUMNS // 2
    return torch.linspace(-3, 3, half).repeat(2), torch.logspace(-0.5, 0.5, half).repeat(2)


def drawn(rows: int, wander: float, generator: torch.Generator) -> Tensor:
    """Return a batch (rows, COLUMNS), its location shifted for the whole batch."""
    mu, sigma = location_and_scale()
    z = torch.randn(rows, COLUMNS, generator=generator)
    z[:, COLUMNS // 2 :].exponential_(generator=generator).sub_(1.0)
    shift = wander * torch.randn(COLUMNS, generator=generator)
    return mu + sigma * (z + shift)


def layer_of(setting: OptOut) -> nn.Module:
    """Return the layer that is trained."""
    if setting.layer == "none":
        return nn.BatchNorm1d(COLUMNS, affine=False)
    return LAYERS[setting.layer](COLUMNS)


def opted_out(setting: OptOut, _source: None) -> dict[str, Any]:
    """Train gamma and beta towards the identity; return how near they came.

    The rate falls to 0 in a line. Losses are relative to the variance of each column, in training
    mode (mean over fresh batches) and in the test phase.
    """
    torch.manual_seed(setting.seed)
    generator = torch.Generator().manual_seed(setting.seed)
    layer = layer_of(setting)
    if setting.layer != "none":
        optimizer = OPTIMIZERS[setting.optimizer](layer.parameters(), lr=setting.rate)
        for step in range(setting.steps):
            optimizer.param_groups[0]["lr"] = setting.rate * (1 - step / setting.steps)
            x = drawn(setting.batch, setting.wander, generator)
            loss = (layer(x) - x).square().mean(0).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {**remaining(layer, setting, generator), **nearness(layer)}


@torch.no_grad()
def remaining(
    layer: nn.Module, setting: OptOut, generator: torch.Generator, batches: int = 200
) -> dict[str, Any]:
    """Return the loss over the variance, column by column, in training and in the test phase."""
    _, sigma = location_and_scale()
    layer.train()
    training = torch.zeros(COLUMNS)
    for _ in range(batches):
        x = drawn(setting.batch, setting.wander, generator)
        training += (layer(x) - x).square().mean(0) / batches
    layer.eval()
    x = drawn(ROWS_AT_TEST, 0.0, generator)
    test = (layer(x) - x).square().mean(0)
    return {
        phase: {
            "normal": (loss / sigma**2)[: COLUMNS // 2].mean().item(),
            "exponential": (loss / sigma**2)[COLUMNS // 2 :].mean().item(),
        }
        for phase, loss in (("training", training), ("test", test))
    }


@torch.no_grad()
def nearness(layer: nn.Module) -> dict[str, Any]:
    """Return gamma over sigma and beta minus mu over sigma, column by column."""
    if layer.weight is None:
        return {"gamma": None, "beta": None}
    mu, sigma = location_and_scale()
    return {
        "gamma": (layer.weight / sigma).tolist(),
        "beta": ((layer.bias - mu) / sigma).tolist(),
    }


def recovered() -> dict[str, float]:
    """Return how far from the input a layer is with the gamma and beta that suit best, in float64.

    Columns from 1e-3 to 1e3 wide, off 0 by up to 100 of their widths, every other one exponential.
    For the layers that are lines: gamma = sqrt(var + eps), beta = mu, the largest error in sigma.
    For the shaped ones: the share of the variance of the exponential columns that no line gives.
    """
    generator = torch.Generator().manual_seed(0)
    sigma = torch.logspace(-3, 3, 13, dtype=torch.float64)
    z = torch.randn(1_000, 13, generator=generator, dtype=torch.float64)
    z[:, ::2].exponential_(generator=generator)
    x = sigma * (z + torch.linspace(-100, 100, 13, dtype=torch.float64))
    exact = {name: identity_error(LAYERS[name](13).double(), x) for name in EXACT}
    return exact | {name: off_line(LAYERS[name](13).double(), x) for name in SHAPED}


@torch.no_grad()
def identity_error(layer: nn.Module, x: torch.Tensor) -> float:
    """Return the largest error in sigma with gamma = sqrt(var + eps) and beta = mu."""
    var, mean = torch.var_mean(x, 0, correction=0)
    layer.weight.copy_((var + layer.eps).sqrt())
    layer.bias.copy_(mean)
    return ((layer(x) - x).abs() / var.sqrt()).max().item()


@torch.no_grad()
def off_line(layer: nn.Module, x: torch.Tensor) -> float:
    """Return the share of the variance of every other column that no line of the output gives."""
    scores = layer(x)
    both = torch.stack([scores - scores.mean(0), x - x.mean(0)])
    z, centred = both / both.std(1, correction=0, keepdim=True)
    return (1 - (z * centred).mean(0) ** 2)[::2].mean().item()
