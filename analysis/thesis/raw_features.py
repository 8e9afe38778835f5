"""Which first layer a network needs on raw features: heavy tails, glitches, sensors that drift.

Not in the thesis: the place where a shaped layer does win. 20 features x_j = g_j(z_j) of normal z,
five of each kind: normal, 1000 z + 5000, lognormal exp(1.5 z) and Cauchy. Classes (four) and the
target of the regression come from a random network on z, so that no increasing map of a feature
changes what can be known; 5% of labels are replaced at random, and the regression has noise of 0.3
standard deviations. 6,000 rows to train, 2,000 to choose the rate by, 4,000 to test. After the
first layer come 64 ReLU units, 64 more, and the output; Adam, a rate that falls to 0, batches of
100. Each seed draws features, classes and start anew, the same for all layers, which are therefore
compared seed by seed.

Trainings: the classes from z itself (a control: nothing is raw); from x; the regression; from x
with 1% of all entries replaced, in training and validation, by 100 interquartile ranges times
Cauchy numbers, tested without; from x with 2% of the rows of training and validation replaced by
100 interquartile ranges times normal numbers and labels at random, tested without. What was trained
on x is also tested with 1% of entries replaced, and with each feature under an unknown increasing
map (two draws): by the statistics of training, by those of each test batch of 500 rows
(`batch_statistics`), and by those of 2,000 unlabelled rows that have drifted (`recalibrate`). The
QuantileTransformer is fitted to the rows that the layers take theirs from.

Each layer has one rate in each training: the best of a grid, in whole runs of two seeds that are
not used again, on the rows of validation, which have not drifted.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lab import script, tabular
from lab.data import Source
from lab.tabular import BATCH_NORM, COPULA, COPULA_50, NONE, QUANTILES, TRIMMED, Map, Plan, Table
from scipy.special import ndtr
from torch import nn

import distfit_nn as dn

FEATURES, CLASSES = 20, 4
VALIDATION, TEST, UNLABELLED = 2000, 4000, 2000  # rows
DRIFTS = 2
NORMAL, RAW, REGRESSION = "normal features", "raw features", "regression"
GLITCHES, NOISE = "glitches in training", "rows of noise in training"
GLITCHES_AT_TEST = "glitches at test"
TRAINED, BY_BATCHES, RECALIBRATED = "as trained", "by batches", "recalibrated"
TRAININGS = (NORMAL, RAW, REGRESSION, GLITCHES, NOISE)
LAYERS = (NONE, "LayerNorm", BATCH_NORM, "MomentNorm 4", TRIMMED, COPULA, COPULA_50, QUANTILES)
QUICK_LAYERS = (BATCH_NORM, TRIMMED, COPULA, COPULA_50, QUANTILES)
RATES, QUICK_RATES = (3e-3, 1e-2, 3e-2, 1e-1), (1e-2,)
SWEEP_SEEDS = (100, 101)
STEPS, QUICK_STEPS = 400, 120
ROWS, QUICK_ROWS = 6000, 2000
BASES = (BATCH_NORM, TRIMMED, QUANTILES)
WITHOUT_STATISTICS = (NONE, "LayerNorm")


@dataclass(frozen=True)
class Setting:
    """One training, and all tests of it."""

    training: str
    layer: str
    rate: float
    seed: int
    steps: int = STEPS
    rows: int = ROWS

    @property
    def plan(self) -> Plan:
        outputs = 1 if self.training == REGRESSION else CLASSES
        return Plan(self.layer, outputs, self.rate, self.seed, self.steps)


@dataclass(frozen=True)
class Part:
    """Features (n, 20), and what is to be known of each row."""

    x: Table
    y: Table


@dataclass(frozen=True)
class World:
    """All data of one seed, and the maps that its sensors come to have."""

    train: Part
    validation: Part
    test: Part
    unlabelled: Table
    glitch: Map
    drifts: tuple[Map, ...]


def raw(z: Table) -> Table:
    """Return what is measured of normal z: four kinds of features in turn, all increasing."""
    x = z.copy()
    x[:, 1::4] = 1000 * z[:, 1::4] + 5000
    x[:, 2::4] = np.exp(1.5 * z[:, 2::4])
    x[:, 3::4] = np.tan(np.pi * (ndtr(z[:, 3::4]) - 0.5))
    return x


def teacher(rng: np.random.Generator) -> Map:
    """Return a random network from z to four scores."""
    first = rng.normal(size=(FEATURES, 32)) * 1.5 / np.sqrt(FEATURES)
    second = rng.normal(size=(32, CLASSES)) / np.sqrt(32)
    return lambda z: np.tanh(z @ first) @ second


def labels(training: str, scores: Table, rng: np.random.Generator) -> Table:
    """Return noisy classes, or noisy numbers of variance about 1."""
    if training == REGRESSION:
        return np.asarray(scores[:, 0] / 0.6 + 0.3 * rng.normal(size=len(scores)))
    other = rng.random(len(scores)) < 0.05
    return np.where(other, rng.integers(0, CLASSES, len(scores)), scores.argmax(1))


def drift(rng: np.random.Generator, middle: Table, scale: Table) -> Map:
    """Draw an increasing map for each feature: a power on either side, a gain and a shift."""
    power, gain = rng.uniform(0.5, 2, FEATURES), rng.lognormal(0, 0.7, FEATURES)
    shift = rng.normal(size=FEATURES)

    def moved(x: Table) -> Table:
        u = (x - middle) / scale
        return np.asarray(middle + scale * (shift + gain * np.sign(u) * np.abs(u) ** power))

    return moved


def world(setting: Setting) -> World:
    """Draw all data of one seed."""
    rng = np.random.default_rng([2017, setting.seed])
    scores = teacher(rng)

    def drawn(rows: int) -> Part:
        z = rng.normal(size=(rows, FEATURES))
        x = z if setting.training == NORMAL else raw(z)
        return Part(x, labels(setting.training, scores(z), rng))

    train, validation, test, unlabelled = map(drawn, (setting.rows, VALIDATION, TEST, UNLABELLED))
    low, middle, high = np.quantile(train.x, (0.25, 0.5, 0.75), axis=0)
    scale = high - low

    def glitch(x: Table) -> Table:
        wild = middle + 100 * scale * rng.standard_cauchy(x.shape)
        return np.where(rng.random(x.shape) < 0.01, wild, x)

    def noisy(part: Part) -> Part:
        wild = middle + 100 * scale * rng.normal(size=part.x.shape)
        bad = rng.random(len(part.y)) < 0.02
        other = rng.integers(0, CLASSES, len(part.y))
        return Part(np.where(bad[:, None], wild, part.x), np.where(bad, other, part.y))

    drifts = tuple(drift(rng, middle, scale) for _ in range(DRIFTS))
    if setting.training == GLITCHES:
        train, validation = (Part(glitch(part.x), part.y) for part in (train, validation))
    if setting.training == NOISE:
        train, validation = noisy(train), noisy(validation)
    return World(train, validation, test, unlabelled.x, glitch, drifts)


def measured(setting: Setting, _: Source | None) -> dict[str, Any]:
    """Train a network, and return what it makes of each test: a task for `Script.each`."""
    start, data, plan = time.perf_counter(), world(setting), setting.plan
    offline = setting.layer == QUANTILES
    prepare: Map = tabular.normal_scores(data.train.x) if offline else np.asarray
    model = tabular.trained(plan, prepare(data.train.x), data.train.y)

    def score(x: Table, y: Table) -> float:
        return tabular.score(model, plan, prepare(x), y)

    scores = {setting.training: score(data.test.x, data.test.y)}
    if setting.training == RAW:
        scores[GLITCHES_AT_TEST] = score(data.glitch(data.test.x), data.test.y)
        for number, moved in enumerate(data.drifts, 1):
            found = drifted(model, plan, data, moved, prepare)
            scores |= {f"drift {number}, {by}": value for by, value in found.items()}
    return {
        "validation": score(data.validation.x, data.validation.y),
        "scores": scores,
        "seconds": time.perf_counter() - start,
    }


def drifted(
    model: nn.Module, plan: Plan, data: World, moved: Map, prepare: Map
) -> dict[str, float]:
    """Return the accuracies when the features have moved, by the three kinds of statistics."""
    x, unlabelled, y = moved(data.test.x), moved(data.unlabelled), data.test.y
    before = tabular.score(model, plan, prepare(x), y)
    if plan.first in WITHOUT_STATISTICS:
        return dict.fromkeys((TRAINED, BY_BATCHES, RECALIBRATED), before)
    if plan.first == QUANTILES:
        parts = [x[at : at + tabular.AT_ONCE] for at in range(0, len(x), tabular.AT_ONCE)]
        own = np.concatenate([tabular.normal_scores(part)(part) for part in parts])
        by_batches = tabular.score(model, plan, own, y)
        again = tabular.score(model, plan, tabular.normal_scores(unlabelled)(x), y)
    else:
        with dn.nn.batch_statistics(model):
            by_batches = tabular.score(model, plan, x, y)
        new = copy.deepcopy(model)
        dn.nn.recalibrate(new, list(tabular.tensor(unlabelled).split(plan.batch)))
        again = tabular.score(new, plan, x, y)
    return {TRAINED: before, BY_BATCHES: by_batches, RECALIBRATED: again}


def compared(lab: script.Script, grid: Mapping[str, Any]) -> dict[str, Any]:
    """Sweep the rates with seeds of their own, train at the best, and compare by test."""

    def runs(rates: Mapping[tuple[str, str], Sequence[float]], seeds: Sequence[int]) -> Any:
        """Return the settings and the runs of each training and layer."""
        settings = [
            Setting(training, layer, rate, seed, grid["steps"], grid["rows"])
            for (training, layer), tried in rates.items()
            for rate in tried
            for seed in seeds
        ]
        return list(zip(settings, lab.each(measured, settings), strict=True))

    pairs = [(training, layer) for training in TRAININGS for layer in grid["layers"]]
    sweep: dict[str, dict[str, dict[float, list[float]]]] = {}
    for setting, run in runs(dict.fromkeys(pairs, grid["rates"]), grid["sweep_seeds"]):
        tried = sweep.setdefault(setting.training, {}).setdefault(setting.layer, {})
        tried.setdefault(setting.rate, []).append(run["validation"])
    rates = {pair: tabular.best_rate(sweep[pair[0]][pair[1]]) for pair in pairs}
    scores: dict[str, dict[str, list[float]]] = {}
    trained_as: dict[str, str] = {}
    for setting, run in runs({pair: [rate] for pair, rate in rates.items()}, range(lab.seeds)):
        for test, value in run["scores"].items():
            trained_as[test] = setting.training
            scores.setdefault(test, {}).setdefault(setting.layer, []).append(value)
    return {
        "validation": sweep,
        "tests": {
            test: tabular.compared(
                values, {layer: rates[trained_as[test], layer] for layer in values}, BASES
            )
            for test, values in scores.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every layer at every rate, choose, compare and write."""
    lab = script.begin(__file__, __doc__, arguments)
    grid = {
        "layers": QUICK_LAYERS if lab.quick else LAYERS,
        "rates": QUICK_RATES if lab.quick else RATES,
        "steps": QUICK_STEPS if lab.quick else STEPS,
        "rows": QUICK_ROWS if lab.quick else ROWS,
        "sweep_seeds": SWEEP_SEEDS[:1] if lab.quick else SWEEP_SEEDS,
    }
    results = lab.results("The first layer on raw features", {"trainings": TRAININGS, **grid})
    numbers = compared(lab, grid)
    results.write(numbers, [], {})


if __name__ == "__main__":
    script.run(main)
