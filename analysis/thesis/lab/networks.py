"""The networks of the thesis, with any layer between the linear map and the activation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import scipy.stats
from torch import nn

import distfit_nn.nn as dnn
from distfit_nn.nn.targets import BIMODAL
from lab.starts import Line, started

Layer = Callable[[int], nn.Module]

CLASSES = 10
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def weak(batch_norm: Callable[[int], Any], width: int) -> nn.Module:
    """Return batch norm whose gamma starts at 0.1 instead of 1."""
    layer = batch_norm(width)
    nn.init.constant_(layer.weight, 0.1)
    return layer


def clipped(batch_norm: Callable[[int], nn.Module], width: int) -> nn.Module:
    """Return batch norm with its output cut at 3 to either side."""
    return nn.Sequential(OrderedDict(norm=batch_norm(width), clip=nn.Hardtanh(-3.0, 3.0)))


def learned_target(width: int) -> nn.Module:
    """Return CopulaNorm to a mixture that starts as the thesis' two peaks and is learned."""
    target = dnn.GaussianMixture(*BIMODAL, learnable=True)
    return dnn.CopulaNorm1d(width, affine=False, target=target)


# Runs are kept by these names: an entry that changes takes a new one.
LAYERS: dict[str, Layer] = {
    "Regular": lambda _: nn.Identity(),
    "BatchNorm": nn.BatchNorm1d,
    "BatchNorm, gamma0 = 0.1": partial(weak, nn.BatchNorm1d),
    "Copula": dnn.CopulaNorm1d,
    "Copula, linear test": partial(dnn.CopulaNorm1d, test_phase="linear"),
    "Copula, uniform": partial(dnn.CopulaNorm1d, target="uniform"),
    "Copula, bimodal": partial(dnn.CopulaNorm1d, target="bimodal"),
    "Copula, learned": learned_target,
    "MomentNorm 2": partial(dnn.MomentNorm1d, order=2),
    "MomentNorm 4": partial(dnn.MomentNorm1d, order=4),
    "MomentNorm 6": partial(dnn.MomentNorm1d, order=6),
    "LogShift": dnn.LogShift,
    "SqrtShift": dnn.SqrtShift,
    "LogShift, fixed": partial(dnn.LogShift, learnable=False),
    "SqrtShift, fixed": partial(dnn.SqrtShift, learnable=False),
    "KLNorm": dnn.KLNorm1d,
    "KLNorm, closed": partial(dnn.KLNorm1d, form="closed"),
    "MLENorm": dnn.MLENorm1d,
    "MLENorm, weight 0.1": partial(dnn.MLENorm1d, mle_weight=0.1),
    "TrimmedNorm": dnn.TrimmedNorm1d,
    "LayerNorm": nn.LayerNorm,
    "BatchNorm, clipped": partial(clipped, nn.BatchNorm1d),
    "Copula, centred uniform": partial(
        dnn.CopulaNorm1d, target=scipy.stats.uniform(-(3**0.5), 2 * 3**0.5)
    ),
    "Copula, laplace": partial(dnn.CopulaNorm1d, target=scipy.stats.laplace(0, 0.5**0.5)),
    "LogShift, gain 1": partial(started, dnn.LogShift, a=1, b=1),
    "LogShift, gain 4": partial(started, dnn.LogShift, a=2, b=2),
    "LogShift, gain 60": partial(started, dnn.LogShift, a=6, b=10),
    "SqrtShift, gain 1": partial(started, dnn.SqrtShift, a=1),
    "SqrtShift, gain 4": partial(started, dnn.SqrtShift, a=4),
    "SqrtShift, gain 80": partial(started, dnn.SqrtShift, a=80),
    "Line, gain 1": partial(Line, gain=1.0),
    "Line, gain 2": partial(Line, gain=2.0),
    "Line, gain 4": partial(Line, gain=4.0),
    "Line, gain 8": partial(Line, gain=8.0),
}
LAYERS_2D: dict[str, Layer] = {
    "Regular": lambda _: nn.Identity(),
    "BatchNorm": nn.BatchNorm2d,
    "BatchNorm, gamma0 = 0.1": partial(weak, nn.BatchNorm2d),
    "Copula": dnn.CopulaNorm2d,
    "MomentNorm 4": partial(dnn.MomentNorm2d, order=4),
    "LogShift": dnn.LogShift,
    "SqrtShift": dnn.SqrtShift,
    "KLNorm": dnn.KLNorm2d,
    "TrimmedNorm": dnn.TrimmedNorm2d,
    "LayerNorm": partial(nn.GroupNorm, 1),
}


def mlp(
    shape: tuple[int, int, int],
    layer: Layer,
    activation: str = "relu",
    depth: int = 3,
    width: int = 100,
) -> nn.Sequential:
    """Return inputs-100-100-100-10 at PyTorch's default start, a layer before each activation."""
    parts: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    inputs = shape[0] * shape[1] * shape[2]
    for level in range(1, depth + 1):
        parts[f"linear{level}"] = nn.Linear(inputs if level == 1 else width, width)
        parts[f"norm{level}"] = layer(width)
        parts[f"act{level}"] = ACTIVATIONS[activation]()
    parts["output"] = nn.Linear(width if depth else inputs, CLASSES)
    return nn.Sequential(parts)


def convnet(
    shape: tuple[int, int, int],
    layer: Layer,
    activation: str = "relu",
    depth: int = 2,
    width: int = 16,
) -> nn.Sequential:
    """Return convolutions of 3 by 3, `width` channels doubling, each halved by pooling; a line."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    channels, height, across = shape
    for level in range(1, depth + 1):
        parts[f"conv{level}"] = nn.Conv2d(channels, width, 3, padding=1)
        parts[f"norm{level}"] = layer(width)
        parts[f"act{level}"] = ACTIVATIONS[activation]()
        parts[f"pool{level}"] = nn.MaxPool2d(2)
        channels, width, height, across = width, 2 * width, height // 2, across // 2
    parts["flatten"] = nn.Flatten()
    parts["output"] = nn.Linear(channels * height * across, CLASSES)
    return nn.Sequential(parts)
