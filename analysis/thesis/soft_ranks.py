"""Sigmoids for the indicator: soft ranks at several strengths, how near, how steep, how fast.

The slides put sigmoid(gamma y) in the place of the indicator 1{y > 0} that counts a sort index,
draw it at several strengths gamma, and call the approximation good in most cases for a reasonable
gamma. Strengths are here relative to the column's scale, (q90 - q10) / 2.563, which is 1 for
N(0, 1). Columns: normal, gamma (shape 1/2), two normal peaks, and inputs of the norms of an MNIST
network (batch norm, 25,000 samples at .007), drawn anew each time. Measured at each strength:
the RMS and largest difference of soft and hard ranks in % of n; the standard deviation of the
scores; and the gradient by x of sum_i g_i score_i, g from N(0, 1), in units of 1 / scale, which
batch norm passes on at a size of about 1: its median, its 99% point, and the share of vanishing
ones, below 1/100. For an absolute gamma: the scales of a network's columns at PyTorch's start and
after training. Last, the time of the direct sum over all n^2 pairs, by torch, against `soft_rank`,
float64, one thread; where n^2 is large the direct sum is timed for some of its rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lab import data, script, style, training
from lab.data import Source
from lab.findings import Finding
from lab.training import THESIS_RATE, Setting
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import nn

import distfit_nn as dn

Array = NDArray[np.float64]

KINDS = ("normal", "gamma", "bimodal", "MNIST, norm1", "MNIST, norm2", "MNIST, norm3")
NORMS = ("norm1", "norm2", "norm3")
STRENGTHS = (0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0)
LENGTHS = (50, 500, 5_000)
QUICK_LENGTHS = (50, 500)
VALUES = 20_000  # of a length altogether
TO_NORMAL = 2.563  # q90 - q10 of N(0, 1)
VANISHING = 0.01
TRAINED, QUICK_TRAINED = 25_000, 2_000
SPEED_LENGTHS = (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
QUICK_SPEED_LENGTHS = (50, 500, 5_000)
SPEED_STRENGTH = 5.0
FAST_VALUES, PAIRS = 200_000, 2_000_000
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
    """A length to be timed at."""

    n: int


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

        def scores(tensor: torch.Tensor, strength: float = strength) -> torch.Tensor:
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
    x = norm_inputs(Scales("BatchNorm", setting.trained, setting.seed), source)
    x = x[setting.kind.split()[-1]]
    rows = rng.permuted(np.tile(np.arange(len(x)), (d, 1)), axis=1)[:, :n].T
    return x[rows, rng.integers(x.shape[1], size=d)]


def norm_inputs(setting: Scales, source: Source) -> dict[str, Array]:
    """Return what comes into the norms of a network on test images, in eval mode."""
    images = data.images(source)
    run = Setting(setting.layer, THESIS_RATE, setting.seed, (setting.trained,))
    model = training.build(run, images.shape)
    if setting.trained:
        next(training.trained(model, images.train, run))
    seen: dict[str, Array] = {}
    for name in NORMS:
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: seen.__setitem__(name, inputs[0].double().numpy())
        )
    with torch.no_grad():
        model.eval()(images.test.pixels)
    return seen


def scale(x: Array) -> Array:
    """Return the robust scales of columns."""
    low, high = np.quantile(x, (0.1, 0.9), axis=0)
    return (high - low) / TO_NORMAL


def batch_norm(x: torch.Tensor) -> torch.Tensor:
    """Return columns with mean 0 and standard deviation 1."""
    return nn.functional.batch_norm(x, None, None, training=True)


def steepness(
    map_: Callable[[torch.Tensor], torch.Tensor], x: Array, g: torch.Tensor
) -> dict[str, float]:
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
        for name, x in norm_inputs(setting, source).items()
    }


def speed(setting: Speed, source: Source | None) -> dict[str, float]:
    """Return nanoseconds a value, of the direct sum and of soft_rank, the least of some: a task."""
    n = setting.n
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, max(1, FAST_VALUES // n)))
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


def direct(x: torch.Tensor, rows: int) -> torch.Tensor:
    """Return the first rows of the soft ranks of columns by the slides' matrix of all pairs."""
    return torch.sigmoid(SPEED_STRENGTH * (x[:rows, None] - x)).sum(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, compare and write."""
    lab = script.begin(__file__, __doc__, arguments, seeds=3, quick_seeds=1)
    source = lab.source("mnist")
    trained = QUICK_TRAINED if lab.quick else TRAINED
    lengths = QUICK_LENGTHS if lab.quick else LENGTHS
    timed = QUICK_SPEED_LENGTHS if lab.quick else SPEED_LENGTHS
    settings = {
        "strengths": STRENGTHS,
        "lengths": lengths,
        "values": VALUES,
        "kinds": KINDS,
        "trained": trained,
        "rate": THESIS_RATE,
        "speed_lengths": timed,
        "speed_strength": SPEED_STRENGTH,
    }
    results = lab.results("Soft ranks: nearness, steepness, speed", settings, source)
    wanted = [
        Columns(kind, n, seed, trained if kind.startswith("MNIST") else 0)
        for kind in KINDS
        for n in lengths
        for seed in range(lab.seeds)
    ]
    compared = lab.each(ranks, wanted, source)
    networks = [Scales("Regular", seen, seed) for seen in (0, trained) for seed in range(lab.seeds)]
    found = lab.each(scales, networks, source)
    times = lab.each(speed, [Speed(n) for n in timed])
    results.write({}, [], {})


if __name__ == "__main__":
    script.run(main)
