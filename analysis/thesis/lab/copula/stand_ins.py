"""Copula layers in a trained network: each unit's transform, and what can stand for it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import distfit_nn as dn
from lab import data, training
from lab.copula.soft import NORMS, Columns, columns, norm_inputs
from lab.data import Source
from lab.training import BATCH, Setting

ROWS = 10_000  # images that stand for all
SHOWN = (5, 50, 95)  # percentiles of R2 of the units that are shown
POINTS = 400
KINDS = ("line", "table", "running_table", "batch")


@dataclass(frozen=True)
class Scatter:
    """One network: when it is looked at, and its seed."""

    epochs: tuple[int, ...]
    rate: float
    seed: int


def scatter(setting: Scatter, source: Source) -> dict[str, Any]:
    """Train a network with copula layers, and compare line and table in it: a task."""
    images = data.images(source)
    samples = tuple(epoch * len(images.train) for epoch in setting.epochs)
    run = Setting("Copula", setting.rate, setting.seed, samples)
    model = training.build(run, images.shape)
    found = {}
    for epoch, mark in zip(setting.epochs, training.trained(model, images.train, run), strict=True):
        inputs = norm_inputs(model, images.train.pixels[:ROWS])
        outputs = {name: transforms(model.get_submodule(name), x) for name, x in inputs.items()}
        units = {name: unit_errors(model.get_submodule(name), out) for name, out in outputs.items()}
        found[str(epoch)] = {
            "samples": mark.seen,
            "units": units,
            "shown": examples(inputs, outputs, units),
            "accuracy": accuracies(model, run, images),
        }
    return found


@torch.no_grad()
def transforms(norm: Any, x: Tensor) -> dict[str, Tensor]:
    """Return z of a layer for x (n, units): true, in batches, by line and table of these."""
    own = copy.deepcopy(norm)
    own.weight.fill_(1.0)
    own.bias.zero_()
    out = {"running_table": own.eval()(x), "true": own.train()(x)}
    for phase in ("table", "linear"):
        fresh = dn.nn.CopulaNorm1d(x.shape[1], affine=False, momentum=None, test_phase=phase)
        fresh.raw_strength.copy_(norm.raw_strength)
        whole = [part for part in x.split(BATCH) if len(part) == BATCH]
        out["batch"] = torch.cat([fresh.train()(part) for part in whole])
        out["line" if phase == "linear" else phase] = fresh.eval()(x)
    return out


@torch.no_grad()
def unit_errors(norm: Any, out: dict[str, Tensor]) -> dict[str, list[float]]:
    """Return R2, RMS errors and flips of each unit of a layer, and its strength."""
    true = out["true"]
    found = {"r2": 1 - (out["line"] - true).square().mean(0) / true.var(0, unbiased=False)}
    batch, line = out["batch"], out["line"][: len(out["batch"])]
    found["r2_of_batches"] = 1 - (line - batch).square().mean(0) / batch.var(0, unbiased=False)
    for kind in KINDS:
        z, to = out[kind], true[: len(out[kind])]
        found[f"rms_{kind}"] = (z - to).square().mean(0).sqrt()
        on, should = (norm.weight * part + norm.bias > 0 for part in (z, to))
        found[f"flips_{kind}"] = (on != should).double().mean(0)
    found["strength"] = norm.strength
    return {name: [round(value, 5) for value in part.tolist()] for name, part in found.items()}


def examples(
    inputs: dict[str, Tensor], outputs: dict[str, dict[str, Tensor]], units: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return points and curves of units whose line is bad, as usual, and good."""
    places = [(name, unit) for name in NORMS for unit in range(len(units[name]["r2"]))]
    places.sort(key=lambda place: units[place[0]]["r2"][place[1]])
    shown = []
    for percentile in SHOWN:
        name, unit = places[round(percentile / 100 * (len(places) - 1))]
        x = inputs[name][:, unit].double()
        parts = {kind: out[:, unit].double() for kind, out in outputs[name].items()}
        order = x.argsort()[torch.linspace(0, len(x) - 1, POINTS // 4).round().long()]
        curves = {"x": x, **{kind: parts[kind] for kind in ("true", "table", "line")}}
        points = {"x": x, "batch": parts["batch"]}
        shown.append(
            {
                "percentile": percentile,
                "layer": NORMS.index(name) + 1,
                "unit": unit,
                "r2": units[name]["r2"][unit],
                "curves": {key: rounded(part[order]) for key, part in curves.items()},
                "points": {key: rounded(part[:POINTS]) for key, part in points.items()},
            }
        )
    return shown


def rounded(values: Tensor) -> list[float]:
    """Return numbers to four places."""
    return [round(value, 4) for value in values.tolist()]


def accuracies(model: nn.Module, run: Setting, images: data.Images) -> dict[str, float]:
    """Return the test accuracy of the same weights with their tables, and with lines."""
    lines = training.build(replace(run, layer="Copula, linear test"), images.shape)
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in lines.named_parameters():
            parameter.copy_(weights[name])
    anew = copy.deepcopy(model)
    batches = images.train.pixels[:ROWS].split(BATCH)
    for network in (lines, anew):
        dn.nn.recalibrate(network, batches)
    return {
        "running_table": training.measured(model, images.test)[0],
        "table": training.measured(anew, images.test)[0],
        "line": training.measured(lines, images.test)[0],
    }


def shapes(setting: Columns, source: Source) -> dict[str, Any]:
    """Compare line and table on columns of a known shape, at the strength of the start: a task."""
    x = torch.from_numpy(columns(setting, np.random.default_rng(setting.seed), source)).float()
    norm = dn.nn.CopulaNorm1d(x.shape[1])
    return {
        name: sum(values) / len(values)
        for name, values in unit_errors(norm, transforms(norm, x)).items()
    }
