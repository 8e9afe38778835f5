"""The KL layer: in closed form it is batch norm; learned, how it trains beside batch norm.

The blog fits N(mu0, sigma0^2) to z = (x - mu) / sigma, and takes the mu and sigma that minimise
KL(N(mu0, sigma0^2) || N(0, 1)). With m and v the mean and variance of a column x over a batch,

    mu0 = (m - mu) / sigma,  sigma0^2 = v / sigma^2,
    KL = (mu0^2 + sigma0^2 - 1) / 2 - log sigma0,

which is 0 for mu0 = 0 and sigma0 = 1 and larger for all else (t - 1 - log t > 0 for t not 1). So
mu = m and sigma^2 = v, and the layer is batch norm without its affine part, exactly.

Measured: the minimum found by a search that does not know the answer, on columns of MNIST; the
closed form, written out, against torch's batch norm in float64, outputs and gradients; training
with the layer that learns mu and sigma through the loss plus .01 of the divergence, at the thesis'
rate and at each layer's best (the closed form at batch norm's); and how near what is learned
stays to the mean and the deviation of the data. The blog gives no numbers for its own KL layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lab import script, style, sweeps, training
from lab.data import Source, images
from lab.divergence import learned, normals
from lab.findings import Finding
from lab.training import SAMPLES, THESIS_RATE, Setting
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

import distfit_nn.nn as dnn

SWEPT = ("Regular", "BatchNorm", "KLNorm")
LAYERS = (*SWEPT, "KLNorm, closed")
RATES = (0.002, THESIS_RATE, 0.02, 0.07, 0.2, 0.7)
SWEEP_SEED = 100
MARKS = (500, 1000, 2500, 5000, 10_000, *SAMPLES)
QUICK_RATES = (THESIS_RATE, 0.07)
QUICK_SAMPLES, QUICK_MARKS = (2000, 4000, 6000), (500, 2000, 4000, 6000)
CURVES = {"test_accuracy": "test accuracy, %", "train_loss": "training loss"}
PANELS = {"thesis_rate": "all at a rate of .007", "best_rate": "each at its best rate"}
TICKS = (0.5, 1, 2.5, 5, 10, 25, 50, 125)
NUMBERS = FuncFormatter(lambda value, _: f"{value:g}")
LEVELS = {"norm1": style.BLUE, "norm2": style.ORANGE, "norm3": style.GREEN}
WRITTEN, PACKAGE = "written out", "KLNorm, closed"
MEASURES = ("offset", "offset_90", "ratio", "ratio_10", "ratio_90", "kl", "kl_90")


@dataclass(frozen=True)
class Exactness:
    """Columns of one network: how it was trained, batches to compare on, columns to search."""

    training: Setting
    batches: int
    searched: int
    rows: int


def compared(setting: Exactness, source: Source) -> dict[str, Any]:
    """Compare the closed form with batch norm, and search for the minimum: a `Script.each` task."""
    data = images(source)
    model = training.build(setting.training, data.shape)
    for _ in training.trained(model, data.train, setting.training):
        pass
    found = learned.columns(model, data.test.pixels[: setting.rows])
    x = torch.cat(list(found.values()), 1).double()
    x = x[:, x.std(0) > 0]
    width = x.shape[1]
    layer = dnn.KLNorm1d(width, form="closed", affine=False, dtype=torch.float64)
    differences = {
        WRITTEN: normals.differences_to_batch_norm(
            normals.closed_form, x, setting.batches, training.BATCH
        ),
        PACKAGE: normals.differences_to_batch_norm(layer, x, setting.batches, training.BATCH),
    }
    chosen = np.linspace(0, x.shape[1] - 1, min(setting.searched, x.shape[1])).astype(int)
    off = []
    for column in x[:, chosen].numpy().T:
        mu, sigma = normals.best_line(column)
        off.append((abs(mu - column.mean()) / column.std(), abs(sigma / column.std() - 1)))
    return {
        "columns": x.shape[1],
        "differences": differences,
        "searched": len(chosen),
        "search_mu": max(mu for mu, _ in off),
        "search_sigma": max(sigma for _, sigma in off),
    }


def trained(lab: script.Script, source: Source) -> dict[str, Any]:
    """Sweep the rates, train at the thesis' and at the best, follow the learned layer at its."""
    rates, samples, marks = (
        (QUICK_RATES, QUICK_SAMPLES, QUICK_MARKS) if lab.quick else (RATES, SAMPLES, MARKS)
    )
    tried = training.sweep([Setting(name, 0.0, SWEEP_SEED, samples) for name in SWEPT], rates)
    trials = list(zip(tried, lab.each(training.train, tried, source), strict=True))
    best = training.best_rates(trials)
    best[PACKAGE] = best["BatchNorm"]  # the same layer: see `compared`
    bases = [Setting(name, THESIS_RATE, SWEEP_SEED, samples) for name in LAYERS]
    panels, _ = sweeps.at_both_rates(lab, source, bases, best, lab.seeds, tuple(CURVES))
    looked = [Setting("KLNorm", best["KLNorm"], seed, marks) for seed in range(lab.seeds)]
    followed = lab.each(learned.followed, looked, source)
    return {
        "samples": samples,
        "marks": marks,
        "sweep": {
            name: {
                f"{setting.rate:g}": run["validation_accuracy"][-1]
                for setting, run in trials
                if setting.layer == name
            }
            for name in SWEPT
        },
        "highest_rate": {name: highest_rate(trials, name) for name in SWEPT},
        **panels,
        "learned": learned.over_seeds(followed, MEASURES),
    }


def highest_rate(trials: Sequence[tuple[Setting, dict[str, Any]]], layer: str) -> float:
    """Return the largest rate of the sweep at which all losses were numbers."""
    return max(
        (each.rate for each, run in trials if each.layer == layer and not run["not_finite"]),
        default=0.0,
    )


def measured(lab: script.Script, source: Source, exactness: Exactness) -> dict[str, Any]:
    """Return the comparison with batch norm and the training; what differs between the two."""
    compared_to = lab.each(compared, [exactness], source)[0]
    numbers = {"closed": compared_to, **trained(lab, source)}
    gaps = []
    for panel in PANELS:
        if numbers[panel][PACKAGE]["rate"] == numbers[panel]["BatchNorm"]["rate"]:
            ours, theirs = (
                np.array(numbers[panel][name]["test_accuracy"]["seeds"])
                for name in (PACKAGE, "BatchNorm")
            )
            gaps.append(np.abs(ours - theirs).max())
    numbers["closed"]["accuracy"] = float(max(gaps))
    return numbers


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return what the layer is in closed form, how it trains, and what it learns."""
    closed = numbers["closed"]
    searched = max(closed["search_mu"], closed["search_sigma"])
    same = Finding(
        claim="The KL layer in closed form is batch norm without the affine part.",
        source="ours",
        holds=max(closed["differences"][WRITTEN].values()) < 1e-9 and searched < 1e-4,
        text=(
            "A search for the smallest divergence, on {searched} columns of a trained network, "
            "ends within {mu:.0e} deviations of the mean and, relatively, {sigma:.0e} of the "
            "deviation. Written out from the derivation, in float64, on {columns} columns, the "
            "outputs differ from torch's batch norm by {output:.0e} at most, the gradients by "
            "{gradient:.0e}. The package's own closed form therefore calls torch's batch norm: "
            "trained on the same seeds the two differ by {accuracy:.2f} points of accuracy."
        ),
        numbers={
            "columns": "closed/columns",
            "output": f"closed/differences/{WRITTEN}/output",
            "gradient": f"closed/differences/{WRITTEN}/gradient",
            "searched": "closed/searched",
            "mu": "closed/search_mu",
            "sigma": "closed/search_sigma",
            "accuracy": "closed/accuracy",
        },
    )
    return [same, as_good(numbers), high_rates(numbers), what_is_learned(numbers)]


def accuracies(numbers: dict[str, Any], panel: str, mark: int) -> dict[str, tuple[float, float]]:
    """Return mean and deviation of the test accuracy of each layer at a mark."""
    found = {}
    for name, entry in numbers[panel].items():
        curve = entry["test_accuracy"]
        found[name] = curve["mean"][mark], curve["std"][mark] or 0.0
    return found


def level(found: dict[str, tuple[float, float]], name: str, rival: str) -> bool:
    """Return whether a layer is not behind its rival by more than both deviations together."""
    return found[name][0] + found[name][1] + found[rival][1] >= found[rival][0]


def as_good(numbers: dict[str, Any]) -> Finding:
    """Return how the learned layer trains beside batch norm."""
    at = {
        panel: all(
            level(accuracies(numbers, panel, mark), "KLNorm", "BatchNorm") for mark in (0, -1)
        )
        for panel in PANELS
    }
    path = "{}/{}/test_accuracy/{}/{}".format
    return Finding(
        claim="A layer that learns mu and sigma by the divergence trains as fast as batch norm "
        "and ends as high.",
        source="ours",
        holds=all(at.values()),
        condition="at a rate of .007" if at["thesis_rate"] else "",
        text=(
            "At a rate of .007 it reaches {kl0:.1f}% ({kl0_std:.1f}) at the first mark, batch norm "
            "{bn0:.1f}% ({bn0_std:.1f}); at the last {kl1:.2f}% ({kl1_std:.2f}) and {bn1:.2f}% "
            "({bn1_std:.2f}). Each at its best rate, {kl_rate:g} and {bn_rate:g}, they end at "
            "{kl2:.2f}% ({kl2_std:.2f}) and {bn2:.2f}% ({bn2_std:.2f}), a network without a layer "
            "at {regular:.2f}%. In brackets the standard deviation over seeds; level means not "
            "behind by more than both together, at the first and the last mark."
        ),
        numbers={
            "kl0": path("thesis_rate", "KLNorm", "mean", 0),
            "kl0_std": path("thesis_rate", "KLNorm", "std", 0),
            "bn0": path("thesis_rate", "BatchNorm", "mean", 0),
            "bn0_std": path("thesis_rate", "BatchNorm", "std", 0),
            "kl1": path("thesis_rate", "KLNorm", "mean", -1),
            "kl1_std": path("thesis_rate", "KLNorm", "std", -1),
            "bn1": path("thesis_rate", "BatchNorm", "mean", -1),
            "bn1_std": path("thesis_rate", "BatchNorm", "std", -1),
            "kl2": path("best_rate", "KLNorm", "mean", -1),
            "kl2_std": path("best_rate", "KLNorm", "std", -1),
            "bn2": path("best_rate", "BatchNorm", "mean", -1),
            "bn2_std": path("best_rate", "BatchNorm", "std", -1),
            "regular": path("best_rate", "Regular", "mean", -1),
            "kl_rate": "best_rate/KLNorm/rate",
            "bn_rate": "best_rate/BatchNorm/rate",
        },
        figure="kl_layer",
    )


def high_rates(numbers: dict[str, Any]) -> Finding:
    """Return which rates the layers bear."""
    highest = numbers["highest_rate"]
    return Finding(
        claim="The learned KL layer bears the learning rates that batch norm bears.",
        source="ours",
        holds=highest["KLNorm"] >= highest["BatchNorm"],
        text=(
            "In the sweep, one seed, the largest rate at which every loss is a number is {kl:g} "
            "for the learned layer, {bn:g} for batch norm and {regular:g} without a layer."
        ),
        numbers={
            "kl": "highest_rate/KLNorm",
            "bn": "highest_rate/BatchNorm",
            "regular": "highest_rate/Regular",
        },
        figure="kl_layer",
    )


def what_is_learned(numbers: dict[str, Any]) -> Finding:
    """Return how near mu and sigma are to what batch norm would take."""
    last = [
        (entry["offset"]["mean"][-1], abs(entry["ratio"]["mean"][-1] - 1))
        for entry in numbers["learned"].values()
    ]
    path = "learned/{}/{}/mean/-1".format
    return Finding(
        claim="What the layer learns stays near the mean and the deviation of its data.",
        source="ours",
        holds=max(max(each) for each in last) < 0.2,
        text=(
            "At the end, at its best rate, the median sigma is {ratio1:.2f}, {ratio2:.2f} and "
            "{ratio3:.2f} deviations of the data in layers 1, 2 and 3; mu is {offset1:.2f}, "
            "{offset2:.2f} and {offset3:.2f} deviations from the mean; the divergence is "
            "{kl1:.3f}, {kl2:.3f} and {kl3:.3f} nats. Near means within a fifth of a deviation."
        ),
        numbers={
            f"{short}{at}": path(f"norm{at}", measure)
            for short, measure in (("ratio", "ratio"), ("offset", "offset"), ("kl", "kl"))
            for at in (1, 2, 3)
        },
        figure="kl_layer_learned",
    )


def markdown(numbers: dict[str, Any]) -> str:
    """Return the accuracies at both rates, mean and standard deviation."""
    marks = numbers["samples"]
    lines = [
        "| layer | rate | " + " | ".join(f"{n / 1000:g}K" for n in marks) + " |",
        "|---" * (len(marks) + 2) + "|",
    ]
    for panel in PANELS:
        for layer, entry in numbers[panel].items():
            curve = entry["test_accuracy"]
            both = zip(curve["mean"], curve["std"], strict=True)
            cells = " | ".join(f"{mean:.1f} ± {std or 0:.1f}" for mean, std in both)
            lines.append(f"| {layer} | {entry['rate']:g} | {cells} |")
    return "\n".join(lines)


def differences(closed: dict[str, Any]) -> str:
    """Return a table of the differences between the closed form and batch norm."""
    lines = ["| closed form | output | gradient |", "|---|---|---|"]
    for name, found in closed["differences"].items():
        lines.append(f"| {name} | {found['output']:.1e} | {found['gradient']:.1e} |")
    return "\n".join(lines)


def draw(numbers: dict[str, Any]) -> Figure:
    """Draw accuracy and loss by samples seen, at both rates."""
    figure, axes = style.figure(10.5, 7.2, 2, 2, sharex=True)
    thousands = [seen / 1000 for seen in numbers["samples"]]
    for row, (curve, label) in enumerate(CURVES.items()):
        for ax, (panel, title) in zip(axes[row], PANELS.items(), strict=True):
            for name, entry in numbers[panel].items():
                shown = name if panel == "thesis_rate" else f"{name} ({entry['rate']:g})"
                line = {"ls": (0, (3, 2)), "lw": 2.6} if name == "KLNorm, closed" else {}
                style.curve(ax, thousands, entry[curve], name, shown, **line)
            ax.set(xticks=thousands)
            if row == 0:
                ax.set_title(title)
                ax.legend(frameon=False, fontsize=9, loc="lower right")
        axes[row, 0].set_ylabel(label)
    for ax in axes[1]:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(NUMBERS)
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_xlabel("samples seen, thousands")
    return figure


def draw_learned(numbers: dict[str, Any]) -> Figure:
    """Draw what the layer learns beside what batch norm would take, over training."""
    figure, axes = style.figure(12, 3.9, 1, 3)
    thousands = [seen / 1000 for seen in numbers["marks"]]
    panels = {
        "ratio": ("ratio_10", "ratio_90", "sigma, deviations of the data"),
        "offset": (None, "offset_90", "mu from the mean, deviations"),
        "kl": (None, "kl_90", "divergence from N(0, 1), nats"),
    }
    for ax, (measure, (low, high, label)) in zip(axes, panels.items(), strict=True):
        for at, (name, colour) in enumerate(LEVELS.items(), 1):
            entry = {
                each: np.array(found["mean"]) for each, found in numbers["learned"][name].items()
            }
            ax.plot(thousands, entry[measure], color=colour, lw=1.8, label=f"layer {at}")
            under = entry[low] if low else entry[measure]
            ax.fill_between(thousands, under, entry[high], color=colour, alpha=0.13, lw=0)
        style.logarithmic(ax, TICKS if len(thousands) > 4 else thousands)
        ax.set(xlabel="samples seen, thousands", ylabel=label)
    axes[0].axhline(1, color=style.GREY, lw=0.8, ls=(0, (4, 3)))
    for ax in axes[1:]:
        ax.set_ylim(bottom=0)
    axes[0].legend(frameon=False, fontsize=9)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, train, follow and write."""
    lab = script.begin(__file__, __doc__, arguments)
    source = lab.source("mnist")
    before = Setting("Regular", 0.07, 0, (4000 if lab.quick else 25_000,))
    exactness = Exactness(before, *((4, 10, 300) if lab.quick else (20, 100, 1000)))
    settings = {
        "layers": LAYERS,
        "rates": QUICK_RATES if lab.quick else RATES,
        "thesis_rate": THESIS_RATE,
        "sweep_seed": SWEEP_SEED,
        "marks": QUICK_MARKS if lab.quick else MARKS,
        "batch": training.BATCH,
        "kl_weight": 0.01,
    }
    results = lab.results("The KL layer: closed form and learned", settings, source)
    numbers = measured(lab, source, exactness)
    figures = {
        "kl_layer": (
            draw(numbers),
            "Test accuracy and training loss with the KL layer, learned and in closed form, with "
            "batch norm and without a layer. Lines: means over seeds, bands one standard "
            "deviation. The closed form (dashed) lies on batch norm.",
        ),
        "kl_layer_learned": (
            draw_learned(numbers),
            "What the KL layer learns, at its best rate, on 2,000 training images. Lines: medians "
            "over features, means over seeds; bands from the 10th (left) or the median to the "
            "90th percentile of the features.",
        ),
    }
    tables = {
        "test accuracy, %": markdown(numbers),
        "largest difference to batch norm, float64": differences(numbers["closed"]),
    }
    results.write(numbers, findings(numbers), figures, tables)


if __name__ == "__main__":
    script.run(main)
