"""The blog's last comparison: the sqrt-shift before a sigmoid and a tanh as before a ReLU; MNIST.

The blog says that it worked well with other activations, with a similar boost, and names neither
rates nor epochs. Measured: no layer, log-shift, sqrt-shift and batch norm in the network of
tables.py with each activation, after 50,000 samples: at .007 for all, as the thesis may have had
it, and each at its own best rate, from a sweep of one further seed by the accuracy on images held
back. The runs with ReLU are those of tables.py, read at 50,000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from lab import comparison, script, style, training
from lab.comparison import PANELS
from lab.data import Source
from lab.findings import Finding
from lab.training import SAMPLES, THESIS_RATE, Setting
from matplotlib.figure import Figure
from tables import QUICK_RATES, RATES, SWEEP_SEED

LAYERS = ("Regular", "LogShift", "SqrtShift", "BatchNorm")
SHIFTS = ("LogShift", "SqrtShift")
MARK = SAMPLES[1]
MARKS = {"relu": SAMPLES, "sigmoid": SAMPLES[:2], "tanh": SAMPLES[:2]}
ALL_RATES = {  # a sigmoid without a layer wants a rate above 1
    "relu": RATES,
    "sigmoid": (0.002, THESIS_RATE, 0.02, 0.07, 0.2, 0.7, 2.0, 5.0),
    "tanh": RATES,
}
QUICK_MARK = 4_000
QUICK_MARKS = {"relu": (4_000,), "sigmoid": (4_000,), "tanh": (4_000,)}
QUICK_ALL_RATES = {"relu": QUICK_RATES, "sigmoid": (THESIS_RATE, 0.07, 0.7), "tanh": QUICK_RATES}
OTHERS = ("sigmoid", "tanh")
KEPT_UP = 1.0  # at most so many points of accuracy behind
NAMES = {"relu": "ReLU", "sigmoid": "sigmoid", "tanh": "tanh"}


def measured(lab: script.Script, source: Source) -> dict[str, Any]:
    """Sweep each activation, and train each layer at .007 and at its best rate."""
    marks, all_rates, mark = (
        (QUICK_MARKS, QUICK_ALL_RATES, QUICK_MARK) if lab.quick else (MARKS, ALL_RATES, MARK)
    )
    sweeps: dict[str, Any] = {}
    wanted: dict[tuple[str, str], list[Setting]] = {}
    for name, samples in marks.items():
        bases = [
            Setting(layer, THESIS_RATE, SWEEP_SEED, samples, activation=name) for layer in LAYERS
        ]
        sweeps[name] = comparison.sweep(lab, source, bases, all_rates[name], mark)
        best = comparison.best(sweeps[name])
        wanted["thesis_rate", name] = bases
        wanted["best_rate", name] = [replace(base, rate=best[base.layer]) for base in bases]
    every = list(dict.fromkeys(setting for chosen in wanted.values() for setting in chosen))
    runs = iter(lab.each(training.train, comparison.over_seeds(every, lab.seeds), source))
    entries = {
        setting: comparison.entry(setting, [next(runs) for _ in range(lab.seeds)], mark)
        for setting in every
    }
    numbers: dict[str, Any] = {"mark": mark, "sweep": sweeps, "gaps": {}}
    for (panel, name), chosen in wanted.items():
        found = {setting.layer: entries[setting] for setting in chosen}
        numbers.setdefault(panel, {})[name] = found
        numbers["gaps"].setdefault(panel, {})[name] = {
            f"over {rival}": comparison.gaps(found, SHIFTS, rival)
            for rival in ("Regular", "BatchNorm")
        }
    return numbers


def gaps(numbers: dict[str, Any], rival: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return for sigmoid and tanh, at both rates, how far sqrt-shift is ahead of a rival."""
    return {
        (panel, name): numbers["gaps"][panel][name][f"over {rival}"]["SqrtShift"]
        for panel in PANELS
        for name in OTHERS
    }


def told(cases: dict[tuple[str, str], bool]) -> str:
    """Return in words in which of the cases a claim holds."""
    parts = []
    for panel, words in (("thesis_rate", "at a rate of .007"), ("best_rate", "at the best rates")):
        names = [name for name in OTHERS if cases[panel, name]]
        if names:
            parts.append(f"with {' and '.join(names)} {words}")
    return "; ".join(parts)


def _numbers(layers: dict[str, str]) -> dict[str, str]:
    """Return where accuracy, spread and rate of these layers are found."""
    found = {}
    for short, panel in (("at", "thesis_rate"), ("best", "best_rate")):
        for name in OTHERS:
            for word, layer in layers.items():
                found[f"{short}_{name}_{word}"] = f"{panel}/{name}/{layer}/mean"
    return found


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return what became of the blog's sentence, and how the map stands beside batch norm."""
    over_none = {case: gap["verdict"] == "ahead" for case, gap in gaps(numbers, "Regular").items()}
    over_norm = {case: gap["mean"] >= -KEPT_UP for case, gap in gaps(numbers, "BatchNorm").items()}
    sigmoid = numbers["gaps"]["thesis_rate"]["sigmoid"]["over BatchNorm"]
    beaten = all(sigmoid[layer]["verdict"] == "ahead" for layer in SHIFTS)
    return [
        Finding(
            claim="The sqrt-shift works with other activations: with sigmoid and tanh, too, a "
            "network trains better with it than without.",
            source="blog",
            holds=all(over_none.values()),
            condition=told(over_none),
            text=(
                "Test accuracy after {mark:,} samples without and with the sqrt-shift, means over "
                "seeds. At .007: sigmoid {at_sigmoid_none:.1f}% and {at_sigmoid_shift:.1f}%, tanh "
                "{at_tanh_none:.1f}% and {at_tanh_shift:.1f}%. Each at its best rate: sigmoid "
                "{best_sigmoid_none:.1f}% and {best_sigmoid_shift:.1f}%, tanh "
                "{best_tanh_none:.1f}% and {best_tanh_shift:.1f}%. The claim holds where the "
                "sqrt-shift is ahead in a paired 99% interval over seeds."
            ),
            numbers={
                "mark": "mark",
                **_numbers({"none": "Regular", "shift": "SqrtShift"}),
            },
            figure="activations",
        ),
        Finding(
            claim="With sigmoid and tanh the sqrt-shift keeps up with batch norm.",
            source="ours, after the blog",
            holds=all(over_norm.values()),
            condition=told(over_norm),
            text=(
                "Test accuracy after {mark:,} samples with batch norm and with the sqrt-shift. At "
                ".007: sigmoid {at_sigmoid_norm:.1f}% and {at_sigmoid_shift:.1f}%, tanh "
                "{at_tanh_norm:.1f}% and {at_tanh_shift:.1f}%. Each at its best rate: sigmoid "
                "{best_sigmoid_norm:.1f}% and {best_sigmoid_shift:.1f}%, tanh "
                "{best_tanh_norm:.1f}% and {best_tanh_shift:.1f}%. "
                + ("With sigmoid at .007 the maps beat batch norm. " if beaten else "")
                + "With sigmoid at .007 sqrt-shift less batch norm is {sqrt_mean:+.1f} points (99% "
                "interval {sqrt_low:+.1f} to {sqrt_high:+.1f}), log-shift less batch norm "
                "{log_mean:+.1f} ({log_low:+.1f} to {log_high:+.1f}). It keeps up where its mean "
                f"is at most {KEPT_UP:g} point behind."
            ),
            numbers={
                "mark": "mark",
                **_numbers({"norm": "BatchNorm", "shift": "SqrtShift"}),
                **{
                    f"{word}_{end}": f"gaps/thesis_rate/sigmoid/over BatchNorm/{layer}/{end}"
                    for word, layer in (("log", "LogShift"), ("sqrt", "SqrtShift"))
                    for end in ("mean", "low", "high")
                },
            },
            figure="activations",
        ),
    ]


def markdown(numbers: dict[str, Any]) -> str:
    """Return the accuracies as a table, a row for each layer and choice of rate."""
    lines = [
        "| layer | rate | " + " | ".join(f"{name} (rate)" for name in NAMES.values()) + " |",
        "|---" * (len(NAMES) + 2) + "|",
    ]
    for panel, words in (("thesis_rate", ".007"), ("best_rate", "its best")):
        for layer in LAYERS:
            cells = []
            for name in NAMES:
                found = numbers[panel][name][layer]
                cells.append(f"{found['mean']:.1f} ± {found['std'] or 0:.1f} ({found['rate']:g})")
            lines.append(f"| {layer} | {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(numbers: dict[str, Any]) -> Figure:
    """Draw test accuracy by activation and layer, every seed a point, at both rates."""
    figure, axes = style.figure(11, 4.4, 1, 2, sharey=True)
    for ax, (panel, title) in zip(axes, PANELS.items(), strict=True):
        for place, layer in enumerate(LAYERS):
            x = np.arange(len(NAMES)) + 0.2 * (place - 1.5)
            found = [numbers[panel][name][layer] for name in NAMES]
            means = [each["mean"] for each in found]
            ax.bar(x, means, 0.18, color=style.COLOURS[layer], alpha=0.85, label=layer)
            for at, each in zip(x, found, strict=True):
                ax.plot([at] * len(each["seeds"]), each["seeds"], "o", ms=3, mfc="white", mec="k")
                ax.text(at, 101, f"{each['mean']:.1f}", ha="center", fontsize=7.5, rotation=90)
        ax.set(xticks=range(len(NAMES)), xticklabels=NAMES.values(), ylim=(0, 112))
        ax.set(yticks=range(0, 101, 20), title=title)
    axes[0].set_ylabel(f"test accuracy after {numbers['mark'] / 1000:g}K samples, %")
    style.legend_outside(figure, axes[0])
    return figure


def draw_sweep(numbers: dict[str, Any]) -> Figure:
    """Draw the accuracy on images held back against the rate, a panel for each activation."""
    figure, axes = style.figure(11.5, 3.9, 1, 3, sharey=True)
    for ax, (name, title) in zip(axes, NAMES.items(), strict=True):
        for layer, tried in numbers["sweep"][name].items():
            rates = [float(rate) for rate in tried]
            colour = style.COLOURS[layer]
            ax.plot(rates, list(tried.values()), "o-", ms=4, color=colour, label=layer)
        ax.axvline(THESIS_RATE, color=style.GREY, lw=0.8, ls=(0, (4, 3)))
        ax.set(xscale="log", xlabel="learning rate (dashed: .007)", title=title)
        ax.minorticks_off()
        ax.set_xticks(rates, [f"{rate:g}".lstrip("0") for rate in rates], fontsize=9)
    axes[0].set_ylabel("validation accuracy, %")
    style.legend_outside(figure, axes[0])
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Sweep, train, compare and write."""
    lab = script.begin(__file__, __doc__, arguments)
    source = lab.source("mnist")
    settings = {
        "samples": QUICK_MARK if lab.quick else MARK,
        "layers": LAYERS,
        "rates": QUICK_ALL_RATES if lab.quick else ALL_RATES,
        "thesis_rate": THESIS_RATE,
        "sweep_seed": SWEEP_SEED,
        "batch": training.BATCH,
    }
    results = lab.results("Learnable maps before other activations", settings, source)
    numbers = measured(lab, source)
    figures = {
        "activations": (
            draw(numbers),
            "Test accuracy by layer and activation: bars are means, points are seeds.",
        ),
        "activations_sweep": (
            draw_sweep(numbers),
            "Accuracy on images held back against the learning rate, one seed: a steep map moves "
            "the useful rates down, and does not raise the best accuracy by itself.",
        ),
    }
    title = f"test accuracy after {numbers['mark']:,} samples, %"
    results.write(numbers, findings(numbers), figures, {title: markdown(numbers)})


if __name__ == "__main__":
    script.run(main)
