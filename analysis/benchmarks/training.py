"""Does every layer train, and what does it reach: the network of the thesis with each in turn.

    python analysis/benchmarks/training.py [--data mnist.npz] [--seeds 3] [--jobs 2]

784-100-100-100-10 with ReLU, the layer before each ReLU, PyTorch's default start, batches of 50,
125,000 samples; without ``--data`` on scikit-learn's digits, which have 64 inputs. SGD without
momentum and Adam. Each layer and optimiser has the rate of RATES that after 25,000 samples, with
the first seed, is best on a validation split of the training images; SGD also that of the thesis.
Test accuracy is told for these, in eval mode. Losses and logits that are not finite are counted in
all of these runs, and trials that had any are named: the largest rate is too large for some layers.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import machine
import numpy as np
import seaborn as sns
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import distfit_nn.nn as dnn
from distfit_nn.nn.targets import BIMODAL

WIDTH, CLASSES, DEPTH, BATCH = 100, 10, 3, 50
SAMPLES = (25_000, 50_000, 75_000, 100_000, 125_000)
THESIS_RATE = 0.007
RATES = {"SGD": (0.001, THESIS_RATE, 0.05, 0.3), "Adam": (0.0003, 0.001, 0.005)}
TRIAL = (25_000,)
OPTIMIZERS = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081  # of the pixels of MNIST's training images, from 0 to 1
HELD_BACK = 1 / 6  # of the training images, to choose a rate by

LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda _: nn.Identity(),
    "BatchNorm": nn.BatchNorm1d,
    "LogShift": dnn.LogShift,
    "SqrtShift": dnn.SqrtShift,
    "KLNorm, learned": dnn.KLNorm1d,
    "KLNorm, closed": partial(dnn.KLNorm1d, form="closed"),
    "MLENorm": dnn.MLENorm1d,
    "MomentNorm 4": partial(dnn.MomentNorm1d, order=4),
    "MomentNorm 6": partial(dnn.MomentNorm1d, order=6),
    "CopulaNorm": dnn.CopulaNorm1d,
    "CopulaNorm, bimodal": partial(dnn.CopulaNorm1d, target="bimodal"),
    "CopulaNorm, learnable mixture": lambda width: dnn.CopulaNorm1d(
        width, affine=False, target=dnn.GaussianMixture(*BIMODAL, learnable=True)
    ),
    "TrimmedNorm": dnn.TrimmedNorm1d,
}


@dataclass(frozen=True)
class Split:
    """Standardised pixels (n, inputs) and labels (n,)."""

    pixels: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Images:
    """What is trained on, what a rate is chosen by, and what is told."""

    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True)
class Setting:
    """One run: a layer, an optimiser with its rate, and the seed of start and order."""

    layer: str
    optimizer: str
    rate: float
    seed: int


@dataclass
class Run:
    """What a run came to: accuracies in percent, for validation at the end, and its seconds."""

    validation: float
    test: list[float]
    not_finite: int
    seconds: float


def load(path: str | None) -> Images:
    """Read MNIST from an .npz file, or take the digits of scikit-learn."""
    if path:
        with np.load(path, allow_pickle=False) as file:
            x, x_test = (
                (torch.tensor(file[name]).flatten(1).float() / 255 - MNIST_MEAN) / MNIST_STD
                for name in ("x_train", "x_test")
            )
            y, y_test = (torch.tensor(file[name]).long() for name in ("y_train", "y_test"))
    else:
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels, labels = torch.tensor(digits.data).float(), torch.tensor(digits.target)
        pixels = (pixels - pixels[:1347].mean()) / pixels[:1347].std()
        (x, x_test), (y, y_test) = pixels.split([1347, 450]), labels.split([1347, 450])
    kept = len(x) - int(len(x) * HELD_BACK)
    return Images(Split(x[:kept], y[:kept]), Split(x[kept:], y[kept:]), Split(x_test, y_test))


def build(inputs: int, layer: Callable[[int], nn.Module]) -> nn.Sequential:
    """Return the network with a layer before each ReLU."""
    parts: list[nn.Module] = []
    for level in range(DEPTH):
        parts += [nn.Linear(WIDTH if level else inputs, WIDTH), layer(WIDTH), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(WIDTH, CLASSES))


def batches(split: Split, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches for ever, in a new order each time round; a last, smaller one is left out."""
    while True:
        order = torch.randperm(len(split.pixels), generator=generator)
        for chosen in order[: len(order) // BATCH * BATCH].split(BATCH):
            yield split.pixels[chosen], split.labels[chosen]


@torch.no_grad()
def accuracy(model: nn.Module, split: Split) -> tuple[float, int]:
    """Return the percentage told right in eval mode, and how many logits are not finite."""
    model.eval()
    logits = torch.cat([model(part) for part in split.pixels.split(5000)])
    right = (logits.argmax(dim=1) == split.labels).double().mean().item()
    return 100 * right, int((~logits.isfinite()).sum())


def run(setting: Setting, images: Images, samples: Sequence[int] = SAMPLES) -> Run:
    """Train a network and return its accuracies after so many samples."""
    torch.manual_seed(setting.seed)
    model = build(images.train.pixels.shape[1], LAYERS[setting.layer])
    optimizer = OPTIMIZERS[setting.optimizer](model.parameters(), lr=setting.rate)
    stream = batches(images.train, torch.Generator().manual_seed(setting.seed))
    done = Run(0.0, [], 0, 0.0)
    seen, start = 0, time.perf_counter()
    for goal in samples:
        model.train()
        while seen < goal:
            pixels, labels = next(stream)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(pixels), labels)
            loss.backward()
            optimizer.step()
            done.not_finite += not math.isfinite(loss.item())
            seen += BATCH
        percent, not_finite = accuracy(model, images.test)
        done.test.append(percent)
        done.not_finite += not_finite
    done.validation, not_finite = accuracy(model, images.validation)
    done.not_finite += not_finite
    done.seconds = time.perf_counter() - start
    return done


_images: Images


def _prepare(path: str | None) -> None:
    """Read the data once in each process, which works on one thread."""
    global _images
    torch.set_num_threads(1)
    _images = load(path)


def _try(setting: Setting) -> Run:
    return run(setting, _images, TRIAL)


def _run(setting: Setting) -> Run:
    return run(setting, _images)


Runs = dict[Setting, Run]


def chosen_rates(trials: Runs) -> dict[tuple[str, str], float]:
    """Return the rate with the best validation accuracy of each layer and optimiser."""
    best: dict[tuple[str, str], tuple[float, float]] = {}
    for setting, result in trials.items():
        key = setting.layer, setting.optimizer
        best[key] = max(best.get(key, (-1.0, 0.0)), (result.validation, setting.rate))
    return {key: rate for key, (_, rate) in best.items()}


def summary(runs: Runs, layer: str, optimizer: str, rate: float) -> dict[str, Any]:
    """Return mean and range of the test accuracies over seeds, at each number of samples."""
    curves = [
        result.test
        for setting, result in runs.items()
        if (setting.layer, setting.optimizer, setting.rate) == (layer, optimizer, rate)
    ]
    at = list(zip(*curves, strict=True))
    return {
        "rate": rate,
        "seeds": len(curves),
        "test_accuracy": [round(statistics.mean(values), 2) for values in at],
        "lowest": [round(min(values), 2) for values in at],
        "highest": [round(max(values), 2) for values in at],
    }


def run_all(path: str | None, layers: Sequence[str], seeds: int, jobs: int) -> tuple[Runs, Runs]:
    """Return the trials of every rate, and the runs with the chosen ones and that of the thesis."""
    grid = [
        Setting(layer, optimizer, rate, 0)
        for layer in layers
        for optimizer, rates in RATES.items()
        for rate in rates
    ]
    with ProcessPoolExecutor(jobs, get_context("spawn"), _prepare, (path,)) as pool:
        trials = dict(zip(grid, pool.map(_try, grid), strict=True))
        wanted = {(*key, rate) for key, rate in chosen_rates(trials).items()}
        wanted |= {(layer, "SGD", THESIS_RATE) for layer in layers}
        settings = [Setting(*key, seed) for key in sorted(wanted) for seed in range(seeds)]
        return trials, dict(zip(settings, pool.map(_run, settings), strict=True))


def figures_of(trials: Runs, runs: Runs, layers: Sequence[str]) -> dict[str, Any]:
    """Return, for each layer, accuracies, trials, values not finite, and what a run costs."""
    rates = chosen_rates(trials)
    table = {}
    for layer in layers:
        tried = {s: r for s, r in trials.items() if s.layer == layer}
        full = {s: r for s, r in runs.items() if s.layer == layer}
        table[layer] = {
            "SGD, thesis' rate": summary(runs, layer, "SGD", THESIS_RATE),
            "SGD, best rate": summary(runs, layer, "SGD", rates[layer, "SGD"]),
            "Adam, best rate": summary(runs, layer, "Adam", rates[layer, "Adam"]),
            "validation_in_trials": {
                f"{s.optimizer} {s.rate:g}": round(r.validation, 2) for s, r in tried.items()
            },
            "not_finite": sum(r.not_finite for r in full.values()),
            "runs": len(full),
            "trials_not_finite": [
                f"{s.optimizer} {s.rate:g}" for s, r in tried.items() if r.not_finite
            ],
            "seconds_per_run": round(statistics.median(r.seconds for r in full.values()), 1),
        }
    return table


def settings_of(data: str, seeds: int) -> dict[str, Any]:
    """Return what all runs have in common."""
    return {
        "data": data,
        "network": f"inputs-{WIDTH}-{WIDTH}-{WIDTH}-{CLASSES}, ReLU, PyTorch's default start",
        "batch": BATCH,
        "samples": SAMPLES,
        "seeds": list(range(seeds)),
        "rates": RATES,
        "rate_chosen_by": f"validation accuracy of seed 0 after {TRIAL[-1]} samples",
        "held_back_for_validation": round(HELD_BACK, 4),
        "threads_per_run": 1,
    }


PANELS = ("SGD, thesis' rate", "SGD, best rate", "Adam, best rate")


def draw(figures: dict[str, Any]) -> Figure:
    """Return test accuracy against samples seen, a panel for each way of training."""
    figure = Figure(figsize=(12, 5.2), layout="constrained")
    axes = figure.subplots(1, len(PANELS), sharey=True)
    names = list(figures["layers"])
    colours = dict(zip(names, sns.color_palette("husl", len(names)), strict=True))
    colours |= {"none": "#8a8a8a", "BatchNorm": "#222222"}
    thousands = [n / 1000 for n in SAMPLES]
    for ax, panel in zip(axes, PANELS, strict=True):
        for name, dashes in zip(names, itertools.cycle(("-", "--", ":")), strict=False):
            entry = figures["layers"][name][panel]
            strong = name in ("none", "BatchNorm")
            ax.plot(
                thousands, entry["test_accuracy"], color=colours[name], label=name,
                ls="-" if strong else dashes,
                lw=2.5 if strong else 1.3, marker="o", ms=3, zorder=3 if strong else 2,
            )  # fmt: skip
            ax.fill_between(
                thousands, entry["lowest"], entry["highest"], color=colours[name], alpha=0.12, lw=0
            )
        ax.set(title=panel, xlabel="samples seen, thousands", xticks=thousands)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set(ylabel="test accuracy, % (band: range over seeds)")
    floor = min(v for e in figures["layers"].values() for p in PANELS[1:] for v in e[p]["lowest"])
    axes[0].set_ylim(max(0, floor - 15), 100)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    return figure


def beside_others(figures: dict[str, Any], date: str) -> dict[str, Any]:
    """Return the rows of layers with their date, and of other layers those of the last results.

    These stay where data, network and rates are the same: so one layer can be trained anew.
    """
    rows = {name: {**row, "date": date} for name, row in figures["layers"].items()}
    path = machine.RESULTS / "training.json"
    if set(rows) == set(LAYERS) or not path.exists():
        return rows
    last = json.loads(path.read_text("utf-8"))
    if last["figures"]["settings"] != json.loads(json.dumps(figures["settings"])):
        return rows
    before = {
        name: {"date": last["machine"]["date"], **row}
        for name, row in last["figures"]["layers"].items()
    }
    return {name: (before | rows)[name] for name in LAYERS if name in before or name in rows}


def replaced(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name, then give it its own."""
    path.parent.mkdir(exist_ok=True)
    half = path.with_name(f".{path.name}")
    write(half)
    os.replace(half, path)


def print_table(figures: dict[str, Any]) -> None:
    """Print the mean test accuracies."""
    for panel in PANELS:
        print(f"\n{panel}: test accuracy in % after samples")
        print(f"{'':32}{'rate':>7}" + "".join(f"{n // 1000:>7}K" for n in SAMPLES) + "   spread")
        for name, entry in figures["layers"].items():
            part = entry[panel]
            spread = part["highest"][-1] - part["lowest"][-1]
            curve = "".join(f"{value:8.1f}" for value in part["test_accuracy"])
            print(f"{name:32}{part['rate']:7g}{curve}{spread:9.1f}")
    for name, entry in figures["layers"].items():
        print(
            f"{name:32}{entry['seconds_per_run']:7.1f} s a run, {entry['not_finite']} not finite "
            f"in {entry['runs']} runs; trials with such: {entry['trials_not_finite'] or 'none'}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, train, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", metavar="PATH.npz", help="MNIST; default: scikit-learn's digits")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    described = machine.described()
    trials, runs = run_all(options.data, options.layers, options.seeds, options.jobs)
    figures = {
        "settings": settings_of(
            "MNIST" if options.data else "digits of scikit-learn", options.seeds
        ),
        "layers": figures_of(trials, runs, options.layers),
        "seconds": round(time.perf_counter() - start),
    }
    print_table(figures)
    if options.dry:
        return
    figures["layers"] = beside_others(figures, described["date"])
    text = json.dumps({"machine": described, "figures": figures}, indent=1) + "\n"
    replaced(machine.RESULTS / "training.json", lambda path: path.write_text(text, "utf-8"))
    figure = draw(figures)
    replaced(
        machine.RESULTS / "training.png", lambda path: figure.savefig(path, dpi=110, format="png")
    )


if __name__ == "__main__":
    main()
