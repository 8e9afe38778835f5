"""Which first layer a network needs on raw features: heavy tails, glitches, sensors that drift.

    python analysis/benchmarks/raw_features.py [--seeds 3] [--steps 400] [--processes 2]

20 features x_j = g_j(z_j) of normal z: five of each kind, normal, 1000 z + 5000, lognormal exp(1.5
z) and Cauchy. Classes (four) and the target of the regression come from a random network on z, so
that no increasing map of a feature changes what can be known; 5% of labels are replaced at random,
and the regression has noise of 0.3 standard deviations. 6,000 rows to train, 2,000 to choose the
rate, 4,000 to test. After the first layer come 64 ReLU units, 64 more, and the output; Adam with a
rate that falls to 0, batches of 100.

Trainings: classes; the regression; classes with 1% of all entries replaced, in training and
validation, by 100 interquartile ranges times Cauchy numbers, and tested without. The network of the
first is also tested with 1% such entries, and with each feature under an unknown increasing map
(two draws): by the statistics of training, by those of test batches of 500 rows
(`batch_statistics`), and by those of 2,000 unlabelled rows that have drifted (`recalibrate`; the
QuantileTransformer is fitted to these anew). Each first layer has its own rate of one grid for each
training and seed, the best in validation without drift.
"""

from __future__ import annotations

import argparse
import copy
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import machine
import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import ndtr
from sklearn.preprocessing import QuantileTransformer
from torch import Tensor, nn

import distfit_nn as dn

Table = NDArray[np.float64]
Map = Callable[[Table], Table]

FEATURES, CLASSES, WIDTH, BATCH, TEST_BATCH = 20, 4, 64, 100, 500
ROWS = {"train": 6000, "validation": 2000, "test": 4000, "unlabelled": 2000}
RATES = (1e-3, 1e-2, 3e-2, 1e-1)
QUANTILES, NONE = "QuantileTransformer, offline", "none"
FIRST: dict[str, Callable[[], nn.Module]] = {
    NONE: nn.Identity,
    "BatchNorm1d": lambda: nn.BatchNorm1d(FEATURES),
    "TrimmedNorm1d": lambda: dn.nn.TrimmedNorm1d(FEATURES),
    "MomentNorm1d": lambda: dn.nn.MomentNorm1d(FEATURES),
    "CopulaNorm1d": lambda: dn.nn.CopulaNorm1d(FEATURES),
    "CopulaNorm1d, strength 50": lambda: dn.nn.CopulaNorm1d(FEATURES, strength=50.0),
    QUANTILES: nn.Identity,
}
TRAININGS = ("classes", "glitches", "regression")
WORST = -100.0  # of R2 in %: all below is as bad
INK, FAINT = "#222222", "#8a8a8a"


@dataclass(frozen=True)
class Part:
    """Rows of raw features (n, 20) and what is to be known of them."""

    x: Table
    y: Table


@dataclass(frozen=True)
class World:
    """Raw data of one seed, and the maps that its sensors come to have."""

    parts: dict[str, Part]
    scale: Table
    middle: Table
    glitch: Map
    drifts: tuple[Map, ...]


def raw(z: Table) -> Table:
    """Return what is measured of normal z: four kinds of features in turn."""
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


def labels(task: str, scores: Table, rng: np.random.Generator) -> Table:
    """Return noisy classes, or noisy numbers of variance 1."""
    if task == "regression":
        known = scores[:, 0] / 0.6
        return np.asarray(known + 0.3 * rng.normal(size=len(known)))
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


def world(task: str, seed: int) -> World:
    """Draw all data of one seed."""
    rng = np.random.default_rng([2017, seed])
    scores = teacher(rng)
    parts = {}
    for name, rows in ROWS.items():
        z = rng.normal(size=(rows, FEATURES))
        parts[name] = Part(raw(z), labels(task, scores(z), rng))
    low, middle, high = np.quantile(parts["train"].x, (0.25, 0.5, 0.75), axis=0)
    scale = high - low

    def glitch(x: Table) -> Table:
        wild = middle + 100 * scale * rng.standard_cauchy(x.shape)
        return np.where(rng.random(x.shape) < 0.01, wild, x)

    drifts = tuple(drift(rng, middle, scale) for _ in range(2))
    if task == "glitches":
        for name in ("train", "validation"):
            parts[name] = Part(glitch(parts[name].x), parts[name].y)
    return World(parts, scale, middle, glitch, drifts)


def tensor(x: Table) -> Tensor:
    """Return raw numbers as float32."""
    return torch.as_tensor(x, dtype=torch.float32)


def fitted(x: Table) -> Map:
    """Return the normal scores by the quantiles of x."""
    transformer = QuantileTransformer(output_distribution="normal", random_state=0).fit(x)
    return lambda new: np.asarray(transformer.transform(new))


def trained(first: str, task: str, x: Tensor, y: Table, rate: float, steps: int) -> nn.Module:
    """Train a network with this first layer."""
    torch.manual_seed(7)
    outputs = 1 if task == "regression" else CLASSES
    body = (nn.Linear(FEATURES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
    model = nn.Sequential(FIRST[first](), *body, nn.Linear(WIDTH, outputs))
    target = tensor(y)[:, None] if task == "regression" else torch.as_tensor(y, dtype=torch.int64)
    loss = nn.functional.mse_loss if task == "regression" else nn.functional.cross_entropy
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    order = torch.Generator().manual_seed(7)
    for _ in range(steps):
        rows = torch.randint(len(x), (BATCH,), generator=order)
        optimiser.zero_grad()
        loss(model(x[rows]), target[rows]).backward()
        optimiser.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def score(model: nn.Module, task: str, x: Table, y: Table) -> float:
    """Return the accuracy, or R2, at least -1, in %."""
    output = torch.cat([model(tensor(rows)) for rows in np.split(x, len(x) // TEST_BATCH)])
    if task != "regression":
        return 100 * float(np.mean(output.argmax(1).numpy() == y))
    unexplained = np.mean((output[:, 0].double().numpy() - y) ** 2) / np.var(y)
    return 100 * float(1 - min(np.nan_to_num(unexplained, nan=np.inf), 1 - WORST / 100))


def run(job: tuple[str, int, str, int]) -> dict[str, Any]:
    """Train at each rate, choose one, and return what the network makes of each test."""
    task, seed, first, steps = job
    torch.set_num_threads(1)
    data, start = world(task, seed), time.perf_counter()
    prepare: Map = fitted(data.parts["train"].x) if first == QUANTILES else lambda x: x
    ready = {name: Part(prepare(part.x), part.y) for name, part in data.parts.items()}
    chosen, best, rate = nn.Module(), -np.inf, 0.0
    for each in RATES:
        x, y = tensor(ready["train"].x), ready["train"].y
        model = trained(first, task, x, y, each, steps)
        found = score(model, task, ready["validation"].x, ready["validation"].y)
        if found > best:
            chosen, best, rate = model, found, each
    test = ready["test"]
    scores = {task: score(chosen, task, test.x, test.y)}
    if task == "classes":
        wild = prepare(data.glitch(data.parts["test"].x))
        scores["glitches at test"] = score(chosen, task, wild, test.y)
        scores |= drifted(chosen, first, data, prepare)
    seconds = time.perf_counter() - start
    return {"first": first, "seed": seed, "rate": rate, "seconds": seconds, "scores": scores}


def drifted(model: nn.Module, first: str, data: World, prepare: Map) -> dict[str, float]:
    """Return the accuracies under each drift, by the three statistics."""
    y, found = data.parts["test"].y, {}
    for number, moved in enumerate(data.drifts, 1):
        test, unlabelled = (moved(data.parts[name].x) for name in ("test", "unlabelled"))
        found[f"drift {number}, as trained"] = score(model, "classes", prepare(test), y)
        if first == QUANTILES:
            again = score(model, "classes", fitted(unlabelled)(test), y)
            found[f"drift {number}, recalibrated"] = again
        elif first != NONE:
            with dn.nn.batch_statistics(model):
                found[f"drift {number}, by batches"] = score(model, "classes", test, y)
            own = copy.deepcopy(model)
            dn.nn.recalibrate(own, batches(unlabelled))
            found[f"drift {number}, recalibrated"] = score(own, "classes", test, y)
    return found


def batches(x: Table) -> list[Tensor]:
    """Return batches of the size of training."""
    return list(tensor(x).split(BATCH))


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return for each test and first layer the scores of all seeds, their mean and spread."""
    tests: dict[str, Any] = {}
    for result in results:
        for test, value in result["scores"].items():
            entry = tests.setdefault(test, {}).setdefault(result["first"], {"seeds": []})
            entry["seeds"].append(round(value, 2))
            entry.setdefault("rates", []).append(result["rate"])
    for arms in tests.values():
        base = np.array(arms["BatchNorm1d"]["seeds"])
        for entry in arms.values():
            values = np.array(entry["seeds"])
            entry["mean"], entry["std"] = round(values.mean(), 2), round(values.std(ddof=1), 2)
            if len(values) == len(base):
                gain = values - base
                entry["over_batch_norm"] = [round(gain.mean(), 2), round(gain.std(ddof=1), 2)]
    return tests


PANELS = {
    "classes": "Four classes, test as in training",
    "regression": "Regression, R²",
    "glitches": "1% glitches in training",
    "glitches at test": "1% glitches at test only",
    "drift 1, as trained": "Drift, statistics of training",
    "drift 1, by batches": "Drift, those of test batches",
    "drift 1, recalibrated": "Drift, recalibrated, no labels",
}
COLOURS = dict(zip(FIRST, (FAINT, INK, *sns.color_palette("colorblind", 5)), strict=True))


def draw_panel(ax: Axes, tests: dict[str, Any], test: str) -> None:
    """Draw each seed as a point and the mean as a number; drifts have two draws."""
    names = [name for name in tests if name.replace("drift 2", "drift 1") == test]
    for place, first in enumerate(reversed(FIRST)):
        found = [tests[name][first] for name in names if first in tests[name]]
        values = [value for entry in found for value in entry["seeds"]]
        if not values:
            continue
        failed = min(values) <= WORST
        if not failed:
            ax.scatter(values, [place] * len(values), s=26, color=COLOURS[first], alpha=0.75, lw=0)
        ax.text(
            1.03,
            place,
            "≤ -100" if failed else f"{np.mean(values):.1f}",
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=9.5,
            color=COLOURS[first],
        )
    batch = np.mean([tests[name]["BatchNorm1d"]["mean"] for name in names])
    ax.axvline(float(batch), color=INK, lw=0.8, ls=(0, (4, 3)), zorder=0)
    ax.set_title(PANELS[test], loc="left", fontsize=11)
    ax.set(ylim=(-0.6, len(FIRST) - 0.4), yticks=range(len(FIRST)), yticklabels=reversed(FIRST))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color="#eeeeee")
    ax.set_axisbelow(True)
    sns.despine(ax=ax, left=True)


def draw(tests: dict[str, Any], seeds: int, steps: int) -> Figure:
    """Draw a panel for each test."""
    sns.set_theme(style="ticks", rc={"axes.labelsize": 10})
    figure = Figure(figsize=(14, 7.6), dpi=120)
    axes = figure.subplots(2, 4, sharey=True)
    for ax, test in zip(axes.flat, PANELS, strict=False):
        draw_panel(ax, tests, test)
        ax.set_xlabel("R² in %" if test == "regression" else "accuracy in %")
    note = axes.flat[-1]
    note.axis("off")
    says = (
        f"A point is one seed ({seeds}); of drift there are two draws. Numbers: means. Dashed: "
        f"BatchNorm1d. Each has its best rate of {len(RATES)} in validation, {steps} Adam steps. "
        "QuantileTransformer: fitted to the training rows before training; where it says "
        "recalibrated, to the same unlabelled rows."
    )
    note.text(
        -0.1,
        0.97,
        "\n".join(textwrap.wrap(says, 38)),
        transform=note.transAxes,
        va="top",
        fontsize=9.5,
        color="#555555",
        linespacing=1.5,
    )
    figure.suptitle(
        "The first layer on raw features", x=0.012, ha="left", fontsize=16, weight="bold"
    )
    figure.tight_layout(rect=(0, 0, 1, 0.98), w_pad=2.6, h_pad=2.0)
    return figure


def main() -> None:
    """Run all trainings on two processes, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--first", nargs="*", default=list(FIRST), choices=list(FIRST))
    arguments = parser.parse_args()
    jobs = [
        (task, seed, first, arguments.steps)
        for seed in range(arguments.seeds)
        for task in TRAININGS
        for first in arguments.first
    ]
    results = []
    with ProcessPoolExecutor(arguments.processes) as pool:
        for result in pool.map(run, jobs):
            results.append(result)
            print(f"{len(results)} of {len(jobs)}", result, file=sys.stderr, flush=True)
    tests = summary(results)
    figures = {
        "seeds": arguments.seeds,
        "steps": arguments.steps,
        "rates": RATES,
        "rows": ROWS,
        "seconds": {
            first: round(sum(r["seconds"] for r in results if r["first"] == first), 1)
            for first in arguments.first
        },
        "tests": tests,
    }
    machine.write("raw_features", figures)
    draw(tests, arguments.seeds, arguments.steps).savefig(machine.RESULTS / "raw_features.png")


if __name__ == "__main__":
    main()
