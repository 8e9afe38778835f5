"""Other targets than the normal law for the copula transform, fixed and learned, in the MLP.

The slides' future work: "from learnable transformations and copula transform we can see that many
shapes and distributions are worthy of further explorations". Here the copula layer gives its
columns, before gain and offset,

- N(0, 1), as in the thesis;
- three other shapes of mean 0 and variance 1: Laplace, uniform, and the two peaks that the thesis
  saw behind batch norm (a higher, narrower one below zero, a lower, wider one above);
- the uniform law on [0, 1], of another place and scale, where at the start no ReLU ever cuts;
- a mixture of two normal laws for each feature, which starts as these two peaks and is learned by
  the loss, weights, means and scales.

MNIST, 784-100-100-100-10, ReLU, SGD, batches of 50, each target at its best rate: that of a sweep,
in whole runs of a seed that is not used again, with the best accuracy on images held back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from lab import ladder, paired, script, style, training
from lab.copula import mixtures
from lab.data import Source, images
from lab.findings import Finding
from lab.training import Setting
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

TARGETS = {  # layer: what its columns become
    "Copula": "N(0, 1)",
    "Copula, laplace": "Laplace",
    "Copula, centred uniform": "uniform",
    "Copula, bimodal": "two peaks",
    "Copula, learned": "two peaks, learned",
    "Copula, uniform": "uniform on [0, 1]",
}
NORMAL, LEARNED, BIMODAL = "Copula", "Copula, learned", "Copula, bimodal"
PLACED, CENTRED = "Copula, uniform", "Copula, centred uniform"  # of one shape
PEER = "BatchNorm"
QUICK_LAYERS = (NORMAL, BIMODAL, LEARNED)
RATES, QUICK_RATES = (0.02, 0.07, 0.2), (0.2,)
SAMPLES, QUICK_SAMPLES = (5_000, 10_000, 25_000), (1_000, 2_000)
SWEEP_SEED = 100
LINES = {BIMODAL: "--", LEARNED: "-.", "Copula, uniform": ":", "Copula, centred uniform": "--"}
GRID = np.linspace(-4, 4, 161)
LABELS = {"test_accuracy": "test accuracy, %", "train_loss": "training loss"}


def shaped(setting: Setting, source: Source) -> dict[str, Any]:
    """Train a network, and return its curves and the parameters of its learned targets."""
    data = images(source)
    model = training.build(setting, data.shape)
    names = ("train_loss", "test_accuracy", "validation_accuracy")
    curves: dict[str, list[float]] = {name: [] for name in names}
    for mark in training.trained(model, data.train, setting):
        curves["train_loss"].append(mark.train_loss)
        curves["test_accuracy"].append(training.measured(model, data.test)[0])
        curves["validation_accuracy"].append(training.measured(model, data.validation)[0])
    return {**curves, "mixtures": mixtures.of(model)}


def densities() -> dict[str, Any]:
    """Return the density of each fixed target at the points of `GRID`."""
    root = 3**0.5
    return {
        NORMAL: stats.norm.pdf(GRID),
        "Copula, laplace": stats.laplace.pdf(GRID, scale=0.5**0.5),
        "Copula, centred uniform": stats.uniform.pdf(GRID, -root, 2 * root),
        BIMODAL: mixtures.densities(mixtures.start(), GRID)[0],
        "Copula, uniform": stats.uniform.pdf(GRID),
    }


def measured(lab: script.Script, source: Source, layers: Sequence[str]) -> dict[str, Any]:
    """Sweep, train each layer at its best rate, and describe what was learned."""
    rates = QUICK_RATES if lab.quick else RATES
    samples = QUICK_SAMPLES if lab.quick else SAMPLES
    bases = [Setting(layer, 0.0, SWEEP_SEED, samples) for layer in layers]
    chosen = ladder.climbed(lab, shaped, bases, rates, source)
    wanted = [
        Setting(layer, chosen.best[layer], seed, samples)
        for layer in layers
        for seed in range(lab.seeds)
    ]
    runs = list(zip(wanted, lab.each(shaped, wanted, source), strict=True))
    own = {layer: [run for setting, run in runs if setting.layer == layer] for layer in layers}
    trained = {
        layer: {
            "rate": chosen.best[layer],
            **{curve: training.summary(own[layer], curve) for curve in LABELS},
        }
        for layer in layers
    }
    return {
        "sweep": chosen.tried,
        "trained": trained,
        "less_normal": {
            layer: {
                "first": less_normal(trained, layer, 0),
                "last": less_normal(trained, layer, -1),
            }
            for layer in layers
            if layer not in (NORMAL, PEER)
        },
        "learned": mixtures.described([run["mixtures"] for run in own[LEARNED]], GRID),
    }


def less_normal(trained: dict[str, Any], layer: str, mark: int) -> dict[str, Any]:
    """Return the accuracy of a layer less that of the normal target, paired by seed."""
    values = [
        [seed[mark] for seed in trained[each]["test_accuracy"]["seeds"]] for each in (layer, NORMAL)
    ]
    return paired.difference(*values)


def placed_less_centred(trained: dict[str, Any]) -> dict[str, Any]:
    """Return the accuracy with the uniform law on [0, 1] less that with the centred one."""
    if PLACED not in trained:
        return {}
    both = [trained[layer]["test_accuracy"]["seeds"] for layer in (PLACED, CENTRED)]
    return {
        name: paired.difference(*([seed[mark] for seed in seeds] for seeds in both))
        for name, mark in (("first", 0), ("last", -1))
    }


def findings(numbers: dict[str, Any], thousands: Sequence[float]) -> list[Finding]:
    """Return what became of the wish for other shapes, of the two peaks and of learning."""
    found = [
        _other_shapes(numbers, thousands),
        _one_ahead(
            numbers,
            BIMODAL,
            "The shape with two peaks is what a deep network prefers.",
            "slides, Learnable Transformations",
            "With the two peaks as target",
        ),
        _learned(numbers),
    ]
    return [*found, _place(numbers)] if numbers["place"] else found


RULE = "Ahead or behind counts where a 99% interval of the differences seed by seed leaves out 0."


def _other_shapes(numbers: dict[str, Any], thousands: Sequence[float]) -> Finding:
    """Answer whether any other target is ahead of the normal one."""
    less = numbers["less_normal"]
    ahead = {
        mark: [TARGETS[layer] for layer in less if less[layer][mark]["verdict"] == "ahead"]
        for mark in ("first", "last")
    }
    parts = [f"{TARGETS[layer]} {{{_key(layer)}:+.2f}}" for layer in less]
    return Finding(
        claim="Other shapes and distributions than N(0, 1) are worth exploring as targets.",
        source="slides, Future work",
        holds=bool(ahead["last"]),
        condition=(
            f"after {thousands[0]:g},000 samples, no longer at the end: {', '.join(ahead['first'])}"
            if ahead["first"]
            else ""
        ),
        text=(
            f"After {thousands[-1]:g},000 samples, each at its best rate, N(0, 1) as target "
            "reaches {normal:.2f}% (standard deviation over seeds {std:.2f}), batch norm "
            f"{{peer:.2f}}%. The other targets, less N(0, 1): {', '.join(parts)} points. {RULE}"
        ),
        numbers={
            "normal": f"trained/{NORMAL}/test_accuracy/mean/-1",
            "std": f"trained/{NORMAL}/test_accuracy/std/-1",
            "peer": f"trained/{PEER}/test_accuracy/mean/-1",
            **{_key(layer): f"less_normal/{layer}/last/mean" for layer in less},
        },
        figure="targets",
    )


def _key(layer: str) -> str:
    """Return a name for the number of a layer in a text."""
    return layer.replace("Copula, ", "").replace(" ", "_")


def _one_ahead(numbers: dict[str, Any], layer: str, claim: str, source: str, start: str) -> Finding:
    """Answer whether one target is ahead of the normal one at the last mark."""
    less = numbers["less_normal"][layer]
    early = less["first"]["verdict"] == "ahead"
    undecided = less["last"]["verdict"] == "tie" and not early
    return Finding(
        claim=claim,
        source=source,
        holds=None if undecided else less["last"]["verdict"] == "ahead",
        condition="early in training" if early else "",
        text=(
            f"{start} the test accuracy differs from that with N(0, 1) by {{last:+.2f}} points at "
            "the last mark (99% interval {low:+.2f} to {high:+.2f}) and {first:+.2f} at the first."
        ),
        numbers={
            "last": f"less_normal/{layer}/last/mean",
            "low": f"less_normal/{layer}/last/low",
            "high": f"less_normal/{layer}/last/high",
            "first": f"less_normal/{layer}/first/mean",
        },
        figure="targets",
    )


def _learned(numbers: dict[str, Any]) -> Finding:
    """Answer whether a learned target is ahead, and tell what it became."""
    answer = _one_ahead(
        numbers,
        LEARNED,
        "A target that each feature learns is better than a fixed normal one.",
        "ours, after the slides' Future work",
        "With a learned mixture as target, which starts as the two peaks,",
    )
    text = (
        " At the end {kept1:.0%}, {kept2:.0%} and {kept3:.0%} of the features of the three layers "
        "have two peaks, as all had at the start. The mixtures' standard deviation, 1 at the "
        "start, is {std1:.2f}, {std2:.2f} and {std3:.2f} in the median, their skewness "
        "{skew1:.2f}, {skew2:.2f} and {skew3:.2f}, at the start {skew0:.2f}."
    )
    paths = {"skew0": "learned_start/skewness"}
    for level in (1, 2, 3):
        of = f"learned/norm{level}"
        paths |= {
            f"kept{level}": f"{of}/two_peaks",
            f"std{level}": f"{of}/quantiles/std/1",
            f"skew{level}": f"{of}/quantiles/skewness/1",
        }
    return replace(
        answer,
        text=answer.text + text,
        numbers={**answer.numbers, **paths},
        figure="targets_learned",
    )


def _place(numbers: dict[str, Any]) -> Finding:
    """Compare what place and scale do with what shape does, by the uniform law."""
    less = numbers["less_normal"]
    shapes = [layer for layer in less if layer not in (PLACED, LEARNED)]
    most = max(shapes, key=lambda layer: abs(less[layer]["last"]["mean"]))
    shape, gap = abs(less[most]["last"]["mean"]), numbers["place"]["last"]
    holds = None
    if gap["verdict"] != "tie":
        near, far = sorted(abs(gap[end]) for end in ("low", "high"))
        holds = True if near > shape else False if far < shape else None
    return Finding(
        claim="At the end of training the place and scale of a target matter more than its shape.",
        source="ours",
        holds=holds,
        text=(
            "Test accuracy with the uniform law on [0, 1] less that with the uniform law of mean "
            "0 and variance 1, paired by seed: {last:+.2f} points at the last mark (99% interval "
            "{low:+.2f} to {high:+.2f}), {first:+.2f} at the first ({first_low:+.2f} to "
            "{first_high:+.2f}). Of the fixed shapes of mean 0 and variance 1 "
            f"{TARGETS[most]} is furthest from N(0, 1) at the last mark, by {{most:+.2f}}. The "
            "claim is taken to hold where the whole interval at the last mark is further from 0 "
            "than that. It rests on one pair of laws."
        ),
        numbers={
            "last": "place/last/mean",
            "low": "place/last/low",
            "high": "place/last/high",
            "first": "place/first/mean",
            "first_low": "place/first/low",
            "first_high": "place/first/high",
            "most": f"less_normal/{most}/last/mean",
        },
        figure="targets",
    )


def draw(numbers: dict[str, Any], thousands: Sequence[float]) -> Figure:
    """Draw the targets, the curves of accuracy and the differences from the normal target."""
    figure, axes = style.figure(13, 7.4, 2, 2)
    for layer, density in numbers["density"].items():
        if layer in numbers["trained"]:
            colour, line = style.COLOURS[layer], LINES.get(layer, "-")
            axes[0, 0].plot(GRID, density, color=colour, ls=line, lw=1.8)
    axes[0, 0].set(xlabel="x", ylabel="density", title="the targets", xlim=(-4, 4), ylim=(0, None))
    for ax, (curve, label) in zip((axes[0, 1], axes[1, 1]), LABELS.items(), strict=True):
        for layer, entry in numbers["trained"].items():
            name = f"{TARGETS.get(layer, 'batch norm')} ({entry['rate']:g})"
            line = {"ls": LINES.get(layer, "-"), "marker": "o", "ms": 4}
            style.curve(ax, thousands, entry[curve], layer, name, **line)
        ax.set(xticks=thousands, ylabel=label, xlabel="samples seen, thousands")
    _draw_differences(axes[1, 0], numbers["less_normal"])
    style.legend_outside(figure, axes[0, 1])
    return figure


def _draw_differences(ax: Axes, less: dict[str, Any]) -> None:
    """Draw the accuracy less that with the normal target, first and last mark, with intervals."""
    names = [TARGETS.get(layer, "batch norm") for layer in less]
    for shift, (mark, marker) in zip((-0.15, 0.15), (("first", "o"), ("last", "s")), strict=True):
        for y, (layer, each) in enumerate(less.items()):
            gap = each[mark]
            ends = [gap["mean"] if end is None else end for end in (gap["low"], gap["high"])]
            colour = style.COLOURS[layer]
            ax.plot(ends, [y + shift] * 2, color=colour, lw=1.4)
            face = "white" if mark == "first" else colour
            ax.plot(gap["mean"], y + shift, marker, color=colour, mfc=face, ms=6)
    ax.axvline(0, color=style.GREY, lw=0.8, ls=(0, (4, 3)))
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel("test accuracy less that with N(0, 1), points")
    ax.set_title("open: first mark, full: last mark; 99% intervals")


def draw_learned(learned: dict[str, Any]) -> Figure:
    """Draw the densities that were learned, a panel a layer, over the one that all started as."""
    figure, axes = style.figure(12, 3.9, 1, len(learned), sharex=True, sharey=True)
    start = mixtures.densities(mixtures.start(), GRID)[0]
    for level, (ax, each) in enumerate(zip(axes, learned.values(), strict=True), 1):
        low, middle, high = each["density"]
        ax.fill_between(GRID, low, high, color=style.BLUE, alpha=0.2, lw=0, label="10 to 90%")
        ax.plot(GRID, middle, color=style.BLUE, label="median of features")
        ax.plot(GRID, start, color=style.INK, lw=1.2, ls=(0, (4, 3)), label="at the start")
        ax.set(title=f"layer {level}: {each['two_peaks']:.0%} with two peaks", xlabel="x")
        ax.set(xlim=(-4, 4), ylim=(0, None))
    axes[0].set_ylabel("density")
    style.legend_outside(figure, axes[0])
    return figure


def table(numbers: dict[str, Any], samples: Sequence[int]) -> str:
    """Return accuracies in Markdown."""
    marks = " | ".join(f"{n / 1000:g}K" for n in samples)
    lines = [f"| target | rate | {marks} |", "|---" * (len(samples) + 2) + "|"]
    for layer, entry in numbers["trained"].items():
        curve = entry["test_accuracy"]
        both = zip(curve["mean"], curve["std"], strict=True)
        cells = " | ".join(f"{mean:.2f} ± {std or 0:.2f}" for mean, std in both)
        lines.append(f"| {TARGETS.get(layer, 'batch norm')} | {entry['rate']:g} | {cells} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Sweep, train, compare, describe and write."""
    lab = script.begin(__file__, __doc__, arguments)
    source = lab.source("mnist")
    layers = (PEER, *(QUICK_LAYERS if lab.quick else TARGETS))
    samples = QUICK_SAMPLES if lab.quick else SAMPLES
    settings = {
        "layers": layers,
        "rates": QUICK_RATES if lab.quick else RATES,
        "samples": samples,
        "sweep_seed": SWEEP_SEED,
        "batch": training.BATCH,
    }
    results = lab.results("Other targets of the copula transform", settings, source)
    _, _, skewness = mixtures.moments(mixtures.start())
    numbers = {
        **measured(lab, source, layers),
        "density": densities(),
        "learned_start": {"skewness": float(skewness[0])},
    }
    numbers["place"] = placed_less_centred(numbers["trained"])
    thousands = [n / 1000 for n in samples]
    figures = {
        "targets": (
            draw(numbers, thousands),
            "The targets, and the network with each as the copula layer's, at its best rate (in "
            "brackets). Lines: means over seeds, bands one standard deviation.",
        ),
        "targets_learned": (
            draw_learned(numbers["learned"]),
            "The mixtures that were learned, all features of all seeds: at each x the median of "
            "their densities, and 10 to 90% of them.",
        ),
    }
    tables = {"Test accuracy, %, by the target": table(numbers, samples)}
    results.write(numbers, findings(numbers, thousands), figures, tables)


if __name__ == "__main__":
    script.run(main)
