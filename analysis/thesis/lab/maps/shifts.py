"""The learnable maps: how they are at 0, what they learn, and the values before and after them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import distfit_nn as dn
import distfit_nn.nn as dnn
from lab import training
from lab.data import Source, images
from lab.starts import started
from lab.training import Setting

KINDS = {"LogShift": dnn.LogShift, "SqrtShift": dnn.SqrtShift}
FIXED = {"LogShift": "LogShift, fixed", "SqrtShift": "SqrtShift, fixed"}
EXPONENT = {"LogShift": "c", "SqrtShift": "b"}
PARAMETERS = {
    "LogShift": ("a", "b", "c", "weight", "bias"),
    "SqrtShift": ("a", "b", "weight", "bias"),
    "BatchNorm": ("weight", "bias"),
}
LEVELS = (1, 2, 3)
PROBED = 2000  # test images whose values are looked at
BINS = 80
STEPS = (1e-2, 1e-4, 1e-6)  # distances from 0


def learned(setting: Setting, source: Source) -> dict[str, Any]:
    """Train a network with one of the layers above, and look at it at each mark, and at the end.

    The first mark may be 0: the start. A task for `Script.each`.
    """
    data = images(source)
    model = training.build(setting, data.shape)
    probe = data.test.pixels[:PROBED]
    start = parameters(model, setting.layer)
    spans = []
    for _ in training.trained(model, data.train, setting):
        values = passed(model, probe)
        spans.append([[span(part) for part in both] for both in values])
    return {
        "start": start,
        "end": parameters(model, setting.layer),
        "spans": spans,  # by mark, level, before and after
        "shapes": [[shape(part) for part in both] for both in values],
        "test_accuracy": training.measured(model, data.test)[0],
    }


def parameters(model: nn.Module, layer: str) -> list[dict[str, list[float]]]:
    """Return the parameters of the layer at each level, feature by feature."""
    parts = [model.get_submodule(f"norm{level}") for level in LEVELS]
    return [
        {name: getattr(part, name).detach().tolist() for name in PARAMETERS[layer]}
        for part in parts
    ]


@torch.no_grad()
def passed(model: nn.Sequential, pixels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return what enters and what leaves the layer at each level, in eval mode."""
    model.eval()
    found, x = [], pixels
    for name, part in model.named_children():
        before, x = x, part(x)
        if name.startswith("norm"):
            found.append((before, x))
    return found


def span(x: Tensor) -> dict[str, float]:
    """Return the ends of all values of a level, and those of the inner 98%."""
    low, high = np.quantile(x.numpy(), (0.01, 0.99)).tolist()
    return {"min": x.min().item(), "max": x.max().item(), "low": low, "high": high}


def shape(x: Tensor) -> dict[str, Any]:
    """Return moments, histogram and number of peaks of all values, and how many units have two."""
    values = x.double().numpy()
    pooled = values.ravel()
    counts, edges = np.histogram(pooled, BINS)
    return {
        "mean": float(pooled.mean()),
        "std": float(pooled.std()),
        "verdict": str(dn.stats.classify(pooled).verdict),
        "dip": float(dn.stats.dip_test(pooled).statistic),
        "bimodal_units": float((dn.stats.classify(values).verdict == "bimodal").mean()),
        "counts": counts.tolist(),
        "edges": [float(edges[0]), float(edges[-1])],
    }


def curve(layer: str, x: Tensor, **starts: float) -> tuple[Tensor, Tensor]:
    """Return the map and its slope at points x, in float64, for gains and exponents given."""
    exact = partial(KINDS[layer], eps=1e-12, dtype=torch.float64)
    x = x.double()[:, None].requires_grad_()
    y = started(exact, 1, **starts)(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    return y.detach()[:, 0], slope[:, 0]


def at_zero(layer: str, exponent: float, **gains: float) -> dict[str, Any]:
    """Return slope and second derivative to both sides of 0, at steps towards it."""
    starts = {**gains, EXPONENT[layer]: exponent}
    found: dict[str, Any] = {"slope": [], "right": [], "left": []}
    for step in STEPS:
        points = torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=torch.float64) * step
        _, slope = curve(layer, points, **starts)
        found["slope"].append(slope[2].item())
        found["right"].append((slope[3] - slope[2]).item() / step)
        found["left"].append((slope[1] - slope[0]).item() / step)
    found["limits"] = {name: limit(values) for name, values in found.items()}
    return found


def limit(values: Sequence[float]) -> str:
    """Return in a word where values at ever smaller steps go."""
    before, last = (abs(value) for value in values[-2:])
    if last > 2 * before:
        return "infinite"
    return "0" if last < before / 2 or last == 0 else f"{values[-1]:.4g}"


def learned_curves(layer: str, found: dict[str, list[float]], x: Tensor) -> Tensor:
    """Return what a layer with these parameters makes of points x, (points, features)."""
    made: Any = KINDS[layer](len(found["weight"]))
    with torch.no_grad():
        for name, values in found.items():
            if name in ("weight", "bias"):
                getattr(made, name).copy_(torch.tensor(values))
            else:
                getattr(made, f"log_{name}").copy_(torch.tensor(values).log())
        y: Tensor = made(x.float()[:, None].expand(-1, len(found["weight"])))
    return y


def summary(runs: Sequence[dict[str, Any]], layer: str) -> list[dict[str, Any]]:
    """Return for each level the start, median, and 5th and 95th percentile of each parameter."""
    found = []
    for level in range(len(LEVELS)):
        entry: dict[str, Any] = {}
        for name in PARAMETERS[layer]:
            values = np.concatenate([run["end"][level][name] for run in runs])
            low, middle, high = np.quantile(values, (0.05, 0.5, 0.95)).tolist()
            start = runs[0]["start"][level][name][0]
            entry[name] = {"start": start, "median": middle, "low": low, "high": high}
        if layer in EXPONENT:
            exponents = np.concatenate([run["end"][level][EXPONENT[layer]] for run in runs])
            entry["exponent_below_1"] = float((exponents < 1).mean())
        found.append(entry)
    return found
