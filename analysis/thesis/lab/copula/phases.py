"""Networks whose test phase is measured: accuracies, and errors of each layer, at each mark."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import distfit_nn.nn as dnn
from lab import training
from lab.data import Source, Split, images
from lab.training import Setting

RATE = 0.07
GAIN = 0.3  # of the pixels, whose mean is 0
CALIBRATED_BY, TO_SETTLE = 500, 10_000  # images of a batch, and in all


@dataclass(frozen=True)
class Run:
    """A network to train, and the momentum of its running statistics."""

    layer: str
    momentum: float
    seed: int
    samples: tuple[int, ...]


def phases(run: Run, source: Source) -> dict[str, Any]:
    """Train a network, and return how its test phase does at each mark, and on other contrast."""
    data = images(source)
    setting = Setting(run.layer, RATE, run.seed, run.samples)
    model = training.build(setting, data.shape)
    for norm in _norms(model):
        norm.momentum = run.momentum
    marks = []
    for _ in training.trained(model, data.train, setting):
        marks.append({**_accuracies(model, data.test), "errors": _errors(model, data.test.pixels)})
    settled = deepcopy(model)
    dnn.recalibrate(settled, data.train.first(TO_SETTLE).pixels.split(CALIBRATED_BY))
    changed = Split(GAIN * data.test.pixels, data.test.labels)
    own = deepcopy(model)
    dnn.recalibrate(own, changed.pixels.split(CALIBRATED_BY))
    recalibrated, _ = training.measured(own, changed)
    return {
        "marks": marks,
        "settled": {
            **_accuracies(settled, data.test),
            "errors": _errors(settled, data.test.pixels),
        },
        "changed": {**_accuracies(model, changed), "own": recalibrated},
    }


def _norms(model: nn.Module) -> list[Any]:
    """Return the layers that have running statistics."""
    return [module for name, module in model.named_children() if name.startswith("norm")]


def _accuracies(model: nn.Module, split: Split) -> dict[str, float]:
    """Return the accuracy by running statistics and by those of the test batches."""
    running, _ = training.measured(model, split)
    with dnn.batch_statistics(model):
        batch, _ = training.measured(model, split)
    return {"running": running, "batch": batch}


@torch.no_grad()
def _errors(model: nn.Module, pixels: Tensor) -> list[float]:
    """Return the error of each layer's test phase, on the inputs that it has in eval mode."""
    model.eval()
    x, found = pixels, []
    for name, module in model.named_children():
        y = module(x)
        if name.startswith("norm"):
            with dnn.batch_statistics(module):
                whole = module(x)
            away = whole - whole.mean(0)
            found.append(float(((y - whole).square().sum() / away.square().sum()).sqrt()))
        x = y
    return found
