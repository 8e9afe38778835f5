"""Copula layers whose strengths start elsewhere: where training takes them, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

import distfit_nn as dn
from lab import data, training
from lab.copula.soft import NORMS
from lab.data import Source
from lab.networks import mlp
from lab.training import Setting


@dataclass(frozen=True)
class Begun:
    """A network all of whose strengths start at one value."""

    strength: float
    rate: float
    seed: int
    samples: int


def begun(setting: Begun, source: Source) -> dict[str, Any]:
    """Train a network, and return its test accuracy and its strengths at the end: a task."""
    images = data.images(source)
    run = Setting("Copula", setting.rate, setting.seed, (setting.samples,))
    torch.manual_seed(setting.seed)
    model = mlp(images.shape, partial(dn.nn.CopulaNorm1d, strength=setting.strength))
    next(training.trained(model, images.train, run))
    strengths = torch.cat([model.get_submodule(name).strength.detach() for name in NORMS])
    return {
        "test_accuracy": training.measured(model, images.test)[0],
        "strengths": [round(value, 4) for value in strengths.tolist()],
    }
