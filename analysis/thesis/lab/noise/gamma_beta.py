"""Batch norm with and without gamma and beta on images, and where gamma and beta go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from lab import training
from lab.data import Source, images
from lab.networks import mlp
from lab.training import Setting

LEVELS = (5, 25, 50, 75, 95)  # percentiles of gamma and beta
NEAR = 0.1  # a unit has opted out where gamma is so near sigma and beta, in sigma, so near mu


@dataclass(frozen=True)
class Line(Setting):
    """One run on images, with or without gamma and beta."""

    affine: bool = True


def trained(setting: Line, source: Source) -> dict[str, Any]:
    """Train with or without gamma and beta; return accuracies, and where gamma and beta stand."""
    data = images(source)
    torch.manual_seed(setting.seed)
    layer = partial(nn.BatchNorm1d, affine=setting.affine)
    model = mlp(data.shape, layer, setting.activation)
    found: dict[str, Any] = {"validation_accuracy": [], "test_accuracy": [], "lines": []}
    for _ in training.trained(model, data.train, setting):
        found["validation_accuracy"].append(training.measured(model, data.validation)[0])
        found["test_accuracy"].append(training.measured(model, data.test)[0])
        if setting.affine:
            found["lines"].append(lines(model))
    return found


@torch.no_grad()
def lines(model: nn.Sequential) -> dict[str, Any]:
    """Return percentiles of gamma and beta of each layer, and the share of units that opted out."""
    found = {}
    for name, layer in model.named_children():
        if isinstance(layer, nn.BatchNorm1d):
            sigma = (layer.running_var + layer.eps).sqrt()
            gamma, beta = layer.weight / sigma, (layer.bias - layer.running_mean) / sigma
            near = ((gamma - 1).abs() < NEAR) & (beta.abs() < NEAR)
            parts = {"gamma": layer.weight, "beta": layer.bias, "gamma_over_sigma": gamma}
            found[name] = {
                **{
                    key: np.percentile(part.numpy(), LEVELS).tolist() for key, part in parts.items()
                },
                "opted_out": near.double().mean().item(),
                "beta_off": beta.abs().median().item(),
            }
    return found


def is_alike(one: Line, other: Line) -> bool:
    """Return whether two runs differ in rate and seed alone."""
    return replace(one, rate=other.rate, seed=other.seed) == other


def averaged(runs: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the mean over seeds of what is told of gamma and beta, at each mark."""
    return [
        {
            name: {
                key: np.mean([run[mark][name][key] for run in runs], axis=0).tolist()
                for key in entry
            }
            for name, entry in at.items()
        }
        for mark, at in enumerate(runs[0])
    ]
