"""Soft ranks of columns: how near to ranks, how steep, how fast; and the columns themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import distfit_nn as dn
from lab import data, training
from lab.data import Source
from lab.training import THESIS_RATE, Setting

Array = NDArray[np.float64]

NORMS = ("norm1", "norm2", "norm3")
STRENGTHS = (0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0)
VALUES = 20_000  # of a length altogether
TO_NORMAL = 2.563  # q90 - q10 of N(0, 1)
VANISHING = 0.01
SPEED_STRENGTH = 5.0
PAIRS = 2_000_000  # for the direct sum
REPEATS = 7


@dataclass(frozen=True)
class Columns:
    """Columns of one length of one kind, drawn by a seed."""

    kind: str
    n: int
    seed: int
    trained: int  # samples seen by the network whose columns these are


@dataclass(frozen=True)
class Scales:
    """A network whose columns' scales are asked for."""

    layer: str
    trained: int
    seed: int


@dataclass(frozen=True)
class Speed:
    """A length to be timed at, in columns of so many values altogether."""

    n: int
    values: int


def ranks(setting: Columns, source: Source) -> dict[str, Any]:
    """Compare soft and hard ranks of columns at each strength: a task."""
    rng = np.random.default_rng(setting.seed)
    x = columns(setting, rng, source)
    g = torch.from_numpy(rng.standard_normal(x.shape))
    hard = dn.copula.hard_rank(x)
    scaled = x / scale(x)
    scaled -= scaled.mean(0)
    found = {"batch_norm": steepness(batch_norm, scaled, g)}
    for strength in STRENGTHS:
        away = (dn.copula.soft_rank(scaled, strength) - hard) / setting.n
        z = dn.copula.normal_scores(scaled, strength=strength)

        def scores(tensor: Tensor, strength: float = strength) -> Tensor:
            return dn.copula.normal_scores(tensor, strength=strength)

        found[f"{strength:g}"] = {
            "rms": float(100 * np.sqrt(np.mean(away**2))),
            "largest": float(100 * np.abs(away).max()),
            "std": float(z.std(0).mean()),
            **steepness(scores, scaled, g),
        }
    found["hard"] = {"std": float(dn.copula.normal_scores(x).std(0).mean())}
    return found


def columns(setting: Columns, rng: np.random.Generator, source: Source) -> Array:
    """Return columns (n, d) of a kind."""
    n = setting.n
    d = max(2, VALUES // n)
    if setting.kind == "normal":
        return rng.standard_normal((n, d))
    if setting.kind == "gamma":
        return rng.gamma(0.5, size=(n, d))
    if setting.kind == "bimodal":
        return rng.standard_normal((n, d)) + rng.choice((-3.0, 3.0), (n, d))
    x = network_columns(Scales("BatchNorm", setting.trained, setting.seed), source)
    x = x[setting.kind.split()[-1]]
    rows = rng.permuted(np.tile(np.arange(len(x)), (d, 1)), axis=1)[:, :n].T
    return x[rows, rng.integers(x.shape[1], size=d)]


def network_columns(setting: Scales, source: Source) -> dict[str, Array]:
    """Return the columns before the norms of a network on test images."""
    images = data.images(source)
    run = Setting(setting.layer, THESIS_RATE, setting.seed, (setting.trained,))
    model = training.build(run, images.shape)
    if setting.trained:
        next(training.trained(model, images.train, run))
    seen = norm_inputs(model, images.test.pixels)
    return {name: x.double().numpy() for name, x in seen.items()}


def scale(x: Array) -> Array:
    """Return the robust scales of columns."""
    low, high = np.quantile(x, (0.1, 0.9), axis=0)
    return (high - low) / TO_NORMAL


def batch_norm(x: Tensor) -> Tensor:
    """Return columns with mean 0 and standard deviation 1."""
    return nn.functional.batch_norm(x, None, None, training=True)


def steepness(map_: Callable[[Tensor], Tensor], x: Array, g: Tensor) -> dict[str, float]:
    """Return sizes of the gradient of sum g map(x) by x."""
    leaf = torch.from_numpy(x).requires_grad_()
    (slope,) = torch.autograd.grad((map_(leaf) * g).sum(), leaf)
    size = slope.abs().numpy()
    return {
        "gradient_median": float(np.median(size)),
        "gradient_99": float(np.quantile(size, 0.99)),
        "vanishing": float(100 * np.mean(size < VANISHING)),
    }


def scales(setting: Scales, source: Source) -> dict[str, Any]:
    """Return the 5, 50 and 95% points of the scales of a network's columns: a task."""
    return {
        name: np.quantile(scale(x), (0.05, 0.5, 0.95)).tolist()
        for name, x in network_columns(setting, source).items()
    }


def speed(setting: Speed, _: Source | None) -> dict[str, float]:
    """Return the least time in ns a value of the direct sum and of soft_rank: a task."""
    n = setting.n
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, max(1, setting.values // n)))
    rows, some = min(n, max(1, PAIRS // n)), max(1, PAIRS // n**2)
    few = torch.from_numpy(np.ascontiguousarray(x[:, :some]))
    dn.copula.soft_rank(x, SPEED_STRENGTH)  # compiles
    took: dict[str, list[float]] = {"direct": [], "fast": []}
    for _ in range(REPEATS):
        start = time.perf_counter()
        summed = direct(few, rows)
        between = time.perf_counter()
        ranked = dn.copula.soft_rank(x, SPEED_STRENGTH)
        took["direct"].append((between - start) / summed.numel() * 1e9)
        took["fast"].append((time.perf_counter() - between) / ranked.size * 1e9)
    away = np.abs(summed.numpy() - ranked[:rows, : few.shape[1]]).max() / n
    return {**{name: min(times) for name, times in took.items()}, "difference": float(away)}


def direct(x: Tensor, rows: int) -> Tensor:
    """Return the first rows of the soft ranks of columns by the slides' matrix of all pairs."""
    return torch.sigmoid(SPEED_STRENGTH * (x[:rows, None] - x)).sum(1)


@torch.no_grad()
def norm_inputs(model: nn.Module, pixels: Tensor) -> dict[str, Tensor]:
    """Return what comes into each norm (n, units) in eval mode."""
    seen: dict[str, Tensor] = {}
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: seen.__setitem__(name, inputs[0])
        )
        for name in NORMS
    ]
    model.eval()(pixels)
    for hook in hooks:
        hook.remove()
    return seen
