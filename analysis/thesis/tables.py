"""The two tables of the slides, MNIST at 25K to 125K samples: theirs beside ours, every layer.

784-100-100-100-10, ReLU, PyTorch's default start, plain SGD, batches of 50. The slides name neither
rate nor how images are scaled. With pixels of 0 to 1 and a rate of .007 the network without a layer
follows their numbers; both were chosen after seeing these, so that the match is a hypothesis about
them and no more. It is shown for the three networks of the slides' tables. All layers are compared
on standardised pixels, at that rate and at each one's best: that of a sweep, in whole runs of seeds
that are not used again, with the best accuracy on images held back from training. Training loss:
the mean over the batches since the mark before, in training mode.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from lab import paired, script, style, sweeps, training
from lab.data import Source, images, zero_to_one
from lab.findings import Finding
from lab.training import SAMPLES, THESIS_RATE, Setting
from matplotlib.figure import Figure

LAYERS = (
    "Regular",
    "BatchNorm",
    "BatchNorm, gamma0 = 0.1",
    "Copula",
    "MomentNorm 4",
    "MomentNorm 6",
    "LogShift",
    "LogShift, gain 4",
    "SqrtShift",
    "SqrtShift, gain 4",
    "KLNorm",
    "TrimmedNorm",
)
RATES = (0.002, THESIS_RATE, 0.02, 0.07, 0.2, 0.7)
QUICK_LAYERS = ("Regular", "BatchNorm", "BatchNorm, gamma0 = 0.1", "Copula")
QUICK_RATES = (THESIS_RATE, 0.07)
QUICK_SAMPLES = (2_000, 4_000, 6_000)
SWEEP_SEED = 100
WEAK = "BatchNorm, gamma0 = 0.1"
THESIS = {
    "test_accuracy": {
        "BatchNorm": (62.84, 80.84, 91.59, 95.01, 95.90),
        "Copula": (92.54, 95.15, 96.03, 96.48, 96.84),
        "Regular": (24.41, 28.78, 56.44, 77.54, 82.49),
    },
    "train_loss": {
        "BatchNorm": (1.738, 1.243, 1.050, 0.632, 0.634),
        "Copula": (0.717, 0.270, 0.246, 0.167, 0.361),
        "Regular": (2.292, 2.135, 1.577, 0.764, 1.034),
    },
}
SHOWN = {"raw_pixels": (20, 99), "thesis_rate": (60, 99), "best_rate": (89, 98)}  # % of accuracy
LOSSES = (0.07, 3)
CURVES = {"test_accuracy": ("test accuracy, %", 1), "train_loss": ("training loss", 3)}
PANELS = {
    "raw_pixels": "pixels 0 to 1, a rate of .007",
    "thesis_rate": "standardised pixels, a rate of .007",
    "best_rate": "standardised pixels, each at its best rate",
}
ROWS = {"Regular": "Regular", "BatchNorm": "BatchNorm", WEAK: "BatchNorm", "Copula": "Copula"}


def on_raw_pixels(setting: Setting, source: Source) -> dict[str, Any]:
    """Train one network on pixels of 0 to 1, and return its curves."""
    data = zero_to_one(images(source))
    model = training.build(setting, data.shape)
    curves: dict[str, list[float]] = {"train_loss": [], "test_accuracy": []}
    for mark in training.trained(model, data.train, setting):
        curves["train_loss"].append(mark.train_loss)
        curves["test_accuracy"].append(training.measured(model, data.test)[0])
    return curves


def measured(lab: script.Script, source: Source, samples: tuple[int, ...]) -> dict[str, Any]:
    """Run the sweep, then every layer at the thesis' rate and at its own."""
    layers, rates = (QUICK_LAYERS, QUICK_RATES) if lab.quick else (LAYERS, RATES)
    base = [Setting(layer, THESIS_RATE, SWEEP_SEED, samples) for layer in layers]
    best, tried = sweeps.chosen(lab, source, base, rates)
    panels, runs = sweeps.at_both_rates(lab, source, base, best, lab.seeds, tuple(CURVES))
    raw = {
        layer: [Setting(layer, THESIS_RATE, seed, samples) for seed in range(lab.seeds)]
        for layer in ROWS
    }
    raw_runs = iter(lab.each(on_raw_pixels, [one for own in raw.values() for one in own], source))

    def on_raw(own: list[Setting]) -> dict[str, Any]:
        found = [next(raw_runs) for _ in own]
        return {"rate": THESIS_RATE} | {curve: training.summary(found, curve) for curve in CURVES}

    return {
        "thesis": THESIS,
        "sweep": {layer: {f"{rate:g}": tried[layer][rate] for rate in rates} for layer in layers},
        "raw_pixels": {layer: on_raw(own) for layer, own in raw.items()},
        **panels,
        "not_finite": {
            layer: sum(run["not_finite"] for setting, run in runs if setting.layer == layer)
            for layer in layers
        },
    }


def compared(numbers: dict[str, Any]) -> dict[str, Any]:
    """Return who is ahead of whom, seed by seed, and how far we are from the slides."""
    ahead = {
        panel: {
            layer: against(numbers, panel, layer, "BatchNorm")
            for layer in numbers[panel]
            if layer != "BatchNorm"
        }
        for panel in PANELS
    }
    apart = {
        curve: {
            layer: statistics.fmean(
                abs(ours - theirs)
                for ours, theirs in zip(
                    numbers["raw_pixels"][layer][curve]["mean"],
                    THESIS[curve][row],
                    strict=False,  # the quick setting has fewer marks
                )
            )
            for layer, row in ROWS.items()
        }
        for curve in CURVES
    }
    last = {layer: at[-1] for layer, at in ahead["best_rate"].items()}
    best, worst = (choose(last, key=lambda name: last[name]["mean"]) for choose in (max, min))
    verdicts = [at["verdict"] for panel in PANELS for at in ahead[panel]["Copula"]]
    return {
        "ahead_of_batch_norm": ahead,
        "copula_ahead_of_weak": {
            panel: against(numbers, panel, "Copula", WEAK) for panel in PANELS
        },
        "copula": {name: verdicts.count(name) for name in ("ahead", "tie", "behind")}
        | {"marks": len(verdicts)},
        "apart_from_thesis": apart,
        "extremes": {
            "best": {"layer": best, **last[best]},
            "worst": {"layer": worst, **last[worst]},
            "ahead": [layer for layer, at in last.items() if at["verdict"] == "ahead"],
        },
    }


def against(numbers: dict[str, Any], panel: str, ours: str, theirs: str) -> list[dict[str, Any]]:
    """Return by how much one layer is ahead of another at each mark, in points of accuracy."""
    both = (accuracies(numbers, panel, layer) for layer in (ours, theirs))
    return [paired.difference(*at) for at in zip(*both, strict=True)]


def accuracies(numbers: dict[str, Any], panel: str, layer: str) -> list[list[float]]:
    """Return the test accuracies of all seeds, mark by mark."""
    seeds = numbers[panel][layer]["test_accuracy"]["seeds"]
    return [list(at) for at in zip(*seeds, strict=True)]


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return what the tables say of the thesis' main claim, and of the thesis' own numbers."""
    return [_of_the_copula(numbers), _of_the_handicap(), _of_the_others(numbers)]


def _of_the_copula(numbers: dict[str, Any]) -> Finding:
    weak = numbers["copula_ahead_of_weak"]
    at_one_rate = all(
        at["verdict"] == "ahead" for panel in ("raw_pixels", "thesis_rate") for at in weak[panel]
    )
    return Finding(
        claim="On MNIST the copula transform converges faster than batch norm, and ends higher.",
        source="slides, Copula Transform",
        holds=numbers["copula"]["ahead"] == numbers["copula"]["marks"],
        condition="against a gamma that starts at 0.1, all at a rate of .007"
        if at_one_rate
        else "",
        text=(
            "Pixels of 0 to 1, a rate of .007, the first mark: copula {copula:.1f}%, batch norm "
            "{batch:.1f}%, batch norm with a gamma that starts at 0.1 {weak:.1f}%. Standardised "
            "pixels, the last mark, each at its best rate: copula {copula_best:.2f}% and batch "
            "norm {batch_best:.2f}%, {gap:+.2f} points (99% interval {low:+.2f} to {high:+.2f}); "
            "over the batch norm that starts at 0.1 {weak_gap:+.2f} ({weak_low:+.2f} to "
            "{weak_high:+.2f}). Over all {marks} marks of the three panels the copula layer is "
            "ahead of batch norm at {ahead}, ties at {tie} and is behind at {behind}. It would "
            "hold if it were ahead at all."
        ),
        numbers={
            "copula": "raw_pixels/Copula/test_accuracy/mean/0",
            "batch": "raw_pixels/BatchNorm/test_accuracy/mean/0",
            "weak": f"raw_pixels/{WEAK}/test_accuracy/mean/0",
            "copula_best": "best_rate/Copula/test_accuracy/mean/-1",
            "batch_best": "best_rate/BatchNorm/test_accuracy/mean/-1",
            "gap": "ahead_of_batch_norm/best_rate/Copula/-1/mean",
            "low": "ahead_of_batch_norm/best_rate/Copula/-1/low",
            "high": "ahead_of_batch_norm/best_rate/Copula/-1/high",
            "weak_gap": "copula_ahead_of_weak/best_rate/-1/mean",
            "weak_low": "copula_ahead_of_weak/best_rate/-1/low",
            "weak_high": "copula_ahead_of_weak/best_rate/-1/high",
            **{name: f"copula/{name}" for name in ("marks", "ahead", "tie", "behind")},
        },
        figure="tables",
    )


def _of_the_handicap() -> Finding:
    names = {"regular": "Regular", "batch": "BatchNorm", "weak": WEAK, "copula": "Copula"}
    return Finding(
        claim="The thesis' batch norm had a handicap, such as a gamma that starts at 0.1.",
        source="ours, a hypothesis about the slides' table",
        holds=None,
        text=(
            "With pixels of 0 to 1 and a rate of .007, chosen because the network without a layer "
            "then follows the slides ({regular:.1f} points of accuracy apart on average over the "
            "marks), batch norm is {batch:.1f} points from their row, with a gamma that starts at "
            "0.1 {weak:.1f}; the copula layer is {copula:.1f} points from theirs. Their training "
            "loss fits neither start: on average ours is {batch_loss:.2f} from it with a gamma "
            "that starts at 1, and {weak_loss:.2f} at 0.1. The slides name neither rate, start nor "
            "scale, so that this decides nothing."
        ),
        numbers={
            **{name: f"apart_from_thesis/test_accuracy/{row}" for name, row in names.items()},
            "batch_loss": "apart_from_thesis/train_loss/BatchNorm",
            "weak_loss": f"apart_from_thesis/train_loss/{WEAK}",
        },
        figure="tables",
    )


def _of_the_others(numbers: dict[str, Any]) -> Finding:
    return Finding(
        claim="Each at its best rate, no layer of the thesis ends ahead of batch norm on MNIST.",
        source="ours",
        holds=not numbers["extremes"]["ahead"],
        text=(
            "At the last mark the best of the others is {best} with {most:+.2f} points over batch "
            "norm (99% interval {low:+.2f} to {high:+.2f}), the last is {worst} with {least:+.2f}."
        ),
        numbers={
            "best": "extremes/best/layer",
            "most": "extremes/best/mean",
            "low": "extremes/best/low",
            "high": "extremes/best/high",
            "worst": "extremes/worst/layer",
            "least": "extremes/worst/mean",
        },
        figure="tables",
    )


def markdown(numbers: dict[str, Any], curve: str, samples: Sequence[int]) -> str:
    """Return one table: the thesis' rows, then ours in each panel, mean and standard deviation."""
    digits = CURVES[curve][1]
    lines = [
        "| layer | rate | " + " | ".join(f"{n / 1000:g}K" for n in samples) + " |",
        "|---" * (len(samples) + 2) + "|",
    ]
    for layer, row in THESIS[curve].items():
        if len(row) == len(samples):
            cells = " | ".join(f"{value:.{digits}f}" for value in row)
            lines.append(f"| thesis: {layer} | not told | {cells} |")
    for panel in PANELS:
        for layer, entry in numbers[panel].items():
            name = f"{layer}, pixels 0 to 1" if panel == "raw_pixels" else layer
            both = zip(entry[curve]["mean"], entry[curve]["std"], strict=True)
            cells = " | ".join(f"{m:.{digits}f} ± {s or 0:.{digits}f}" for m, s in both)
            lines.append(f"| {name} | {entry['rate']:g} | {cells} |")
    return "\n".join(lines)


def draw(numbers: dict[str, Any], samples: Sequence[int]) -> Figure:
    """Draw both tables as curves, in each panel, the thesis' rows as points."""
    figure, axes = style.figure(15, 7.2, 2, 3, sharex=True)
    thousands = [n / 1000 for n in samples]
    for row, (curve, (label, _)) in enumerate(CURVES.items()):
        for ax, (panel, title) in zip(axes[row], PANELS.items(), strict=True):
            for layer, entry in numbers[panel].items():
                style.curve(ax, thousands, entry[curve], layer)
            if panel == "raw_pixels" and len(samples) == len(SAMPLES):
                for layer, values in THESIS[curve].items():
                    ax.plot(thousands, values, "o", mfc="white", color=style.COLOURS[layer])
            ax.set(xticks=thousands)
            if row == 0:
                ax.set(title=title, ylim=SHOWN[panel])
            else:
                ax.set(yscale="log", ylim=LOSSES)
        axes[row, 0].set_ylabel(label)
    for ax in axes[1]:
        ax.set_xlabel("samples seen, thousands")
    style.legend_outside(figure, axes[0, 1])
    return figure


def draw_sweep(numbers: dict[str, Any]) -> Figure:
    """Draw the accuracy on images held back against the learning rate, failures below a break."""
    figure, (top, bottom) = style.figure(
        9, 6.2, 2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1)}
    )
    for ax in (top, bottom):
        for layer, tried in numbers["sweep"].items():
            rates = [float(rate) for rate in tried]
            ax.plot(
                rates, list(tried.values()), "o-", ms=4, color=style.COLOURS[layer], label=layer
            )
        ax.axvline(THESIS_RATE, color=style.GREY, lw=0.8, ls=(0, (4, 3)))
    top.set(ylim=(90, 98.2), ylabel="validation accuracy, %")
    bottom.set(ylim=(0, 90), xlabel="learning rate (dashed: .007)", ylabel="below 90%")
    style.logarithmic(bottom, [float(rate) for rate in next(iter(numbers["sweep"].values()))])
    style.legend_outside(figure, top)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Sweep, train, compare and write."""
    lab = script.begin(__file__, __doc__, arguments)
    source = lab.source("mnist")
    samples = QUICK_SAMPLES if lab.quick else SAMPLES
    settings = {
        "samples": samples,
        "layers": QUICK_LAYERS if lab.quick else LAYERS,
        "rates": QUICK_RATES if lab.quick else RATES,
        "thesis_rate": THESIS_RATE,
        "sweep_seed": SWEEP_SEED,
        "sweep_seeds_of_the_two_best": 1 + sweeps.MORE_SEEDS,
        "batch": training.BATCH,
    }
    results = lab.results("The two tables: MNIST, loss and accuracy", settings, source)
    numbers = measured(lab, source, samples)
    numbers |= compared(numbers)
    figures = {
        "tables": (
            draw(numbers, samples),
            "Test accuracy and training loss against samples seen. Lines: means over seeds, "
            "bands one standard deviation. Circles: the thesis' tables. The panels of accuracy "
            "have scales of their own.",
        ),
        "tables_sweep": (
            draw_sweep(numbers),
            "The sweep of learning rates, whole runs: one seed, of the two best rates of each "
            "layer the mean of three. Below: what failed, or had hardly begun.",
        ),
    }
    tables = {label: markdown(numbers, curve, samples) for curve, (label, _) in CURVES.items()}
    results.write(numbers, findings(numbers), figures, tables)


if __name__ == "__main__":
    script.run(main)
