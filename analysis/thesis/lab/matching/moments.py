"""Columns of real activations, for the scripts on moment matching."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lab import training
from lab.data import Source, images
from lab.training import THESIS_RATE, Setting

Array = NDArray[np.float64]


def network(source: Source, layer: str, seen: int, seed: int) -> nn.Sequential:
    """Return the MLP of the thesis with a layer, trained at the thesis' rate on so many samples."""
    data = images(source)
    setting = Setting(layer, THESIS_RATE, seed, (seen,) if seen else ())
    model = training.build(setting, data.shape)
    for _ in training.trained(model, data.train, setting):
        pass
    return model


@torch.no_grad()
def pre_activations(model: nn.Sequential, pixels: Tensor) -> Array:
    """Return what enters the layers before the activations in eval mode, (rows, all units)."""
    model.eval()
    found, x = [], pixels
    for name, part in model.named_children():
        if name.startswith("norm"):
            found.append(x.double().numpy())
        x = part(x)
    return np.concatenate(found, axis=1)
