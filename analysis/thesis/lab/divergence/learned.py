"""Layers that learn a mean and a deviation: what they learn while their network is trained."""

from __future__ import annotations

import math
import statistics
from typing import Any

import torch
from torch import Tensor, nn

import distfit_nn as dn
from lab import training
from lab.data import Source, images
from lab.training import Setting

PROBE = 2000  # training images by which the layers are looked at


@torch.no_grad()
def columns(
    model: nn.Sequential, pixels: Tensor, kind: str | tuple[str, ...] = "norm"
) -> dict[str, Tensor]:
    """Return what enters each part of a network whose name starts so, in eval mode."""
    model.eval()
    found, x = {}, pixels
    for name, part in model.named_children():
        if name.startswith(kind):
            found[name] = x
        x = part(x)
    return found


def followed(setting: Setting, source: Source) -> dict[str, Any]:
    """Train a network and look at its layers at each mark: a task for `Script.each`.

    Lists of one number a mark: accuracy and loss; and for each layer what `looked_at` returns.
    """
    data = images(source)
    model = training.build(setting, data.shape)
    found: dict[str, Any] = {"test_accuracy": [], "train_loss": [], "not_finite": []}
    layers: dict[str, dict[str, list[float]]] = {}
    for mark in training.trained(model, data.train.first(setting.rows), setting):
        found["train_loss"].append(mark.train_loss)
        found["not_finite"].append(mark.not_finite)
        found["test_accuracy"].append(training.measured(model, data.test)[0])
        for name, x in columns(model, data.train.pixels[:PROBE]).items():
            for measure, value in looked_at(model.get_submodule(name), x).items():
                layers.setdefault(name, {}).setdefault(measure, []).append(value)
    return {**found, "layers": layers}


@torch.no_grad()
def looked_at(layer: Any, x: Tensor) -> dict[str, float]:
    """Return what a layer has learned beside the columns (n, features) that reach it.

    Medians over features: the deviation of z = (x - mu) / sigma, the distance of mu from the mean
    in deviations, sigma over that of the first batch and over that of x, with the 10th and the 90th
    percentile; and the divergence of z from N(0, 1) by its mean and deviation.
    """
    mean, std = x.double().mean(0), x.double().std(0, correction=0)
    mu, sigma = layer.mu.double(), layer.sigma.double()
    offset, ratio = (mu - mean) / std, sigma / std
    kl = dn.stats.kl_from_moments(((mean - mu) / sigma).numpy(), (std / sigma).square().numpy())
    return {
        "squeezed": _median(1 / ratio),
        "offset": _median(offset.abs()),
        "offset_90": _at(offset.abs(), 0.9),
        "grown": _median(sigma / layer.scale),
        "ratio": _median(ratio),
        "ratio_10": _at(ratio, 0.1),
        "ratio_90": _at(ratio, 0.9),
        "kl": _median(torch.as_tensor(kl)),
        "kl_90": _at(torch.as_tensor(kl), 0.9),
    }


def over_seeds(
    runs: list[dict[str, Any]], measures: tuple[str, ...]
) -> dict[str, dict[str, dict[str, list[float | None]]]]:
    """Return mean and deviation over runs of measures of each layer, at each mark."""
    return {
        name: {
            measure: {
                "mean": [statistics.fmean(values) for values in at],
                "std": [statistics.stdev(values) if len(values) > 1 else None for values in at],
            }
            for measure in measures
            for at in [list(zip(*(run["layers"][name][measure] for run in runs), strict=True))]
        }
        for name in runs[0]["layers"]
    }


def _median(values: Tensor) -> float:
    return _at(values, 0.5)


def _at(values: Tensor, share: float) -> float:
    """Return a quantile of the finite values."""
    kept = values[values.isfinite()]
    return kept.quantile(share).item() if len(kept) else math.nan
