"""What is measured of `MomentNorm` while it trains: tasks for `Script.each`."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import distfit_nn as dn
import distfit_nn.nn as dnn
from lab import data, training
from lab.data import Source
from lab.matching import moments
from lab.training import THESIS_RATE, Setting

REACH = 10.0  # standard deviations: the half support of the layer's densities
CHECKED, STEP = 12, 1e-5  # entries of a batch whose derivative is checked; of its finite difference
TESTED = 2000  # test images


@dataclass(frozen=True)
class Watched:
    """A training run with MomentNorm of which some batches are looked at."""

    order: int
    seen: int
    every: int  # steps between the batches that are looked at
    seed: int = 0
    rate: float = THESIS_RATE


@dataclass(frozen=True)
class Timed:
    """Steps of training that are timed, after some that warm up."""

    layers: tuple[str, ...]
    steps: int
    warm: int
    seed: int = 0


def name_of(order: int) -> str:
    """Return the layer's name."""
    return f"MomentNorm {order}"


def statuses(setting: Watched, source: Source) -> dict[str, Any]:
    """Train, and fit a density to each column of batches on the way: a task for `Script.each`.

    The density is the layer's: of the standardised column, on 10 standard deviations to each side.
    """
    count, worst, steps = dict.fromkeys(("ok", "regularised", "degenerate", "invalid"), 0), 0.0, []
    for x in recorded(setting, source):
        std = x.std(axis=0)
        z = (x - x.mean(axis=0)) / np.where(std > 0, std, 1.0)
        fitted = dn.maxent.fit(z, order=setting.order, support=(-REACH, REACH))
        for status in dn.maxent.Status:
            count[status.name.lower()] += int((fitted.status == status).sum())
        if fitted.ok.any():
            worst = max(worst, float(fitted.residual[fitted.ok].max()))
        steps += fitted.iterations[fitted.ok].tolist()
    return {"count": count, "worst_residual": worst, "iterations": statistics.fmean(steps or [0])}


def recorded(setting: Watched, source: Source) -> list[NDArray[np.float64]]:
    """Return what entered each layer in every so many steps of training, (batch, units) each."""
    pixels = data.images(source)
    run = Setting(name_of(setting.order), setting.rate, setting.seed, (setting.seen,))
    model = training.build(run, pixels.shape)
    layers = [part for name, part in model.named_children() if name.startswith("norm")]
    calls, kept = [0] * len(layers), []

    def keep(at: int, x: Tensor) -> None:
        if model.training and calls[at] % setting.every == 0:
            kept.append(x.detach().double().numpy().copy())
        calls[at] += model.training

    for at, layer in enumerate(layers):
        layer.register_forward_pre_hook(lambda _, inputs, at=at: keep(at, inputs[0]))
    for _ in training.trained(model, pixels.train, run):
        pass
    return kept


def gradients(setting: Watched, source: Source) -> dict[str, Any]:
    """Compare the layer's gradient with central differences in float64: a task for `Script.each`.

    On each recorded batch, of f(x) = sum(c * layer(x)) with random c, at random entries of x; the
    error is relative to the largest derivative of the batch.
    """
    rng = np.random.default_rng(setting.seed)
    errors = []
    for batch in recorded(setting, source):
        x = torch.from_numpy(batch).requires_grad_()
        layer = dnn.MomentNorm1d(x.shape[1], order=setting.order, dtype=torch.float64).train()
        weights = torch.from_numpy(rng.normal(size=batch.shape))
        (exact,) = torch.autograd.grad((weights * layer(x)).sum(), x)
        scale = float(exact.abs().max())
        for _ in range(CHECKED):
            place = tuple(int(rng.integers(n)) for n in batch.shape)
            size = STEP * float(batch[:, place[1]].std())
            moved = [batch.copy(), batch.copy()]
            moved[0][place] += size
            moved[1][place] -= size
            up, down = (float((weights * layer(torch.from_numpy(m))).sum().detach()) for m in moved)
            errors.append(abs((up - down) / (2 * size) - float(exact[place])) / scale)
    return {"median": statistics.median(errors), "worst": max(errors), "checked": len(errors)}


def phases(setting: Setting, source: Source) -> dict[str, Any]:
    """Train, and compare the test phase with what batches give: a task for `Script.each`."""
    images = data.images(source)
    model = training.build(setting, images.shape)
    for _ in training.trained(model, images.train, setting):
        pass
    test = images.test.first(TESTED)
    running = training.measured(model, test)[0]
    inputs = torch.from_numpy(moments.pre_activations(model, test.pixels)).float()
    layers = [part for name, part in model.named_children() if name.startswith("norm")]
    width = inputs.shape[1] // len(layers)
    gaps = []
    with torch.no_grad():
        for x, layer in zip(inputs.split(width, dim=1), layers, strict=True):
            held = layer(x)
            with dnn.batch_statistics(layer):
                gaps.append(float((layer(x) - held).square().mean().sqrt() / held.std()))
        with dnn.batch_statistics(model):
            parts = test.pixels.split(setting.batch)
            logits = torch.cat([model(part) for part in parts])
    batches = 100 * (logits.argmax(1) == test.labels).double().mean().item()
    return {"running": running, "batches": batches, "gap": statistics.fmean(gaps)}


def second_order(setting: Watched, source: Source) -> dict[str, Any]:
    """Compare MomentNorm of order 2 with BatchNorm in float64: a task for `Script.each`."""
    outputs, slopes = [], []
    rng = np.random.default_rng(setting.seed)
    for batch in recorded(setting, source):
        weights = torch.from_numpy(rng.normal(size=batch.shape))
        found = []
        for kind in (nn.BatchNorm1d, dnn.MomentNorm1d):
            more = {"order": 2} if kind is dnn.MomentNorm1d else {}
            layer = kind(batch.shape[1], dtype=torch.float64, **more).train()
            x = torch.from_numpy(batch).requires_grad_()
            y = layer(x)
            found.append((y.detach(), torch.autograd.grad((weights * y).sum(), x)[0]))
        (y, slope), (own, own_slope) = found
        outputs.append(float((y - own).abs().max()))
        slopes.append(float((slope - own_slope).abs().max() / slope.abs().max()))
    return {"output": max(outputs), "gradient": max(slopes)}


def costs(setting: Timed, source: Source) -> dict[str, Any]:
    """Return the median ms of a step of each layer, taken in turn: a task for `Script.each`."""
    images = data.images(source)
    marks = tuple(range(training.BATCH, training.BATCH * (setting.steps + 1), training.BATCH))
    streams = {}
    for layer in setting.layers:
        run = Setting(layer, THESIS_RATE, setting.seed, marks)
        model = training.build(run, images.shape)
        streams[layer] = training.trained(model, images.train, run)  # stops after each step
    taken: dict[str, list[float]] = {layer: [] for layer in setting.layers}
    for step in range(setting.steps):
        for layer, stream in streams.items():
            start = time.perf_counter()
            next(stream)
            if step >= setting.warm:
                taken[layer].append(1e3 * (time.perf_counter() - start))
    return {layer: statistics.median(values) for layer, values in taken.items()}
