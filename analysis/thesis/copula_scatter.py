"""Input against output of the copula layer, and whether a line can stand for it in the test phase.

The slides show the scatter of input and output after 3 and after 6 epochs of training on MNIST
and take the linear regression of the one on the other for the test phase, "a choice by
observation". Here: the MNIST network of the tables with the copula layer, at a rate of .007. For
each of its 300 units, over training images: the true soft transform z (soft ranks among all these
images); the regression line of z on x, and a table of 65 points, both averaged over batches of 50
of these images; the layer's own running table, which comes from the batches of training; and what
a batch of 50 gives, which is what training works with. All in units of z, before theta and beta.
R2 is the share of the variance of the true z that the line explains; RMS errors are against the
true z. Flips are outputs whose sign is another than with the true z, after theta and beta: the
ReLU sees these. Then the test accuracy of the same weights with tables and with lines in all
layers; and the strengths gamma that were learned, at a rate of .2 too, and from bad starts: the
slides call the strength learnable through backpropagation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from lab import data, script, style, training
from lab.copula.soft import NORMS, Columns
from lab.copula.stand_ins import KINDS, ROWS, SHOWN, Scatter, scatter, shapes
from lab.copula.strengths import Begun, begun
from lab.data import Source
from lab.findings import Finding
from lab.paired import difference
from lab.training import BATCH, THESIS_RATE
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

EPOCHS = (3, 6)
SHAPES = ("normal", "gamma", "bimodal")
SHAPE_KINDS = ("line", "table", "batch")
FAST_RATE = 0.2
START = 5.0  # the strength of a new layer
STARTS = (1.0, START, 20.0)
BEGUN_RATE, BEGUN_SAMPLES, QUICK_BEGUN_SAMPLES = 0.07, 25_000, 1_000
MOST = 90.0  # % of units
DRAWN = {
    "line": ("line", style.RED),
    "table": ("table", style.BLUE),
    "running_table": ("running table", style.GREEN),
    "batch": ("batch of 50", style.GREY),
}


def gathered(runs: Sequence[dict[str, Any]], epochs: Sequence[int]) -> dict[str, Any]:
    """Return percentiles over the units of all seeds, and accuracies over seeds."""
    found = {}
    for epoch in map(str, epochs):
        units = {name: pooled([run[epoch]["units"] for run in runs], (name,)) for name in NORMS}
        everything = pooled([run[epoch]["units"] for run in runs], NORMS)
        accuracy = {
            phase: [run[epoch]["accuracy"][phase] for run in runs]
            for phase in runs[0][epoch]["accuracy"]
        }
        found[epoch] = {
            "samples": runs[0][epoch]["samples"],
            "units": {name: percentiles(values) for name, values in units.items()},
            "all_units": percentiles(everything),
            "line_nearer_than_batch": 100
            * float(np.mean(everything["rms_line"] < everything["rms_batch"])),
            "accuracy": {phase: training.spread(values) for phase, values in accuracy.items()},
            "line_against_table": difference(accuracy["line"], accuracy["table"]),
        }
    return found


def pooled(units: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Return what was measured of the units of some layers of all seeds."""
    metrics = units[0][names[0]]
    return {
        metric: np.concatenate([each[name][metric] for each in units for name in names])
        for metric in metrics
    }


def percentiles(values: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the 5, 50 and 95% points over units."""
    return {
        name: {str(p): float(np.percentile(part, p)) for p in SHOWN}
        for name, part in values.items()
    }


def findings(numbers: dict[str, Any], epochs: Sequence[int], samples: int) -> list[Finding]:
    """Return whether the line is justified, where it is not, and what became of gamma."""
    last = numbers["thesis_rate"][str(epochs[-1])]
    at = f"thesis_rate/{epochs[-1]}/{{}}".format
    line = Finding(
        claim="In the test phase a linear regression can stand for the copula transform.",
        source="slides, Copula Transform",
        holds=last["line_nearer_than_batch"] >= MOST
        and last["line_against_table"]["verdict"] != "behind",
        text=(
            f"After {epochs[-1]} epochs the line explains {{r2:.3f}} of the variance of the "
            "true transform in the median unit, {r2_low:.3f} at the lowest twentieth; its RMS "
            "error is {line:.3f}, that of a batch of 50, with which training works, {batch:.3f}. "
            "It is nearer than the batch in {nearer:.1f}% of the units. Test accuracy of the same "
            "weights: {with_line:.2f}% with lines, {with_table:.2f}% with tables from the same "
            f"batches. Called justified where it is nearer in at least {MOST:g}% of the units and "
            "not behind in accuracy (paired over seeds)."
        ),
        numbers={
            "r2": at("all_units/r2/50"),
            "r2_low": at("all_units/r2/5"),
            "line": at("all_units/rms_line/50"),
            "batch": at("all_units/rms_batch/50"),
            "nearer": at("line_nearer_than_batch"),
            "with_line": at("accuracy/line/mean"),
            "with_table": at("accuracy/table/mean"),
        },
        figure="copula_scatter",
    )
    return [
        line,
        other_shapes(numbers, epochs[-1]),
        table(numbers, epochs),
        learned(numbers, epochs[-1], samples),
    ]


def other_shapes(numbers: dict[str, Any], last: int) -> Finding:
    """Return what the line is worth where columns are not normal."""
    far = {kind: numbers["shapes"][kind]["rms_line"] for kind in SHAPES}
    fine = [kind for kind in SHAPES if far[kind] < numbers["shapes"][kind]["rms_batch"] / 2]
    return Finding(
        claim="The line serves columns of any shape.",
        source="ours",
        holds=len(fine) == len(SHAPES),
        condition="on " + " and ".join(fine) + " columns" if fine else "",
        text=(
            "RMS error of the line at a strength of 5: {normal:.3f} on normal columns, "
            "{bimodal:.3f} on two peaks, {gamma:.3f} on gamma columns of shape 1/2, where a table "
            "has {table:.3f} and a batch of 50 {batch:.3f}. In the median unit of the "
            "network the line has {network:.3f}: columns before its norms are nearer to normal "
            "ones. The claim is taken to hold where the line has less than half the error of a "
            "batch."
        ),
        numbers={
            **{kind: f"shapes/{kind}/rms_line" for kind in SHAPES},
            "table": "shapes/gamma/rms_table",
            "batch": "shapes/gamma/rms_batch",
            "network": f"thesis_rate/{last}/all_units/rms_line/50",
        },
        figure="copula_scatter_errors",
    )


def table(numbers: dict[str, Any], epochs: Sequence[int]) -> Finding:
    """Return whether a table is nearer than a line."""
    last = numbers["thesis_rate"][str(epochs[-1])]
    middle = {kind: last["all_units"][f"rms_{kind}"]["50"] for kind in KINDS}
    at = f"thesis_rate/{epochs[-1]}/{{}}".format
    return Finding(
        claim="A table of 65 points is nearer to the transform than the line.",
        source="ours",
        holds=middle["running_table"] < middle["line"],
        condition="from the same inputs as the line" if middle["table"] < middle["line"] else "",
        text=(
            "Median RMS errors over units: line {line:.3f}, table from the same batches "
            "{table:.3f}, the layer's own running table {running:.3f} ({running1:.3f} in the "
            "first norm, {running3:.3f} in the third). The running table is that of training, "
            "where the inputs of the later norms come from batches of 50 and from earlier "
            "weights. Outputs on the wrong side of the ReLU, median unit: line {flips_line:.3f}, "
            "table {flips_table:.3f}, running table {flips_running:.3f}, batch {flips_batch:.3f}."
        ),
        numbers={
            "line": at("all_units/rms_line/50"),
            "table": at("all_units/rms_table/50"),
            "running": at("all_units/rms_running_table/50"),
            "running1": at("units/norm1/rms_running_table/50"),
            "running3": at("units/norm3/rms_running_table/50"),
            "flips_line": at("all_units/flips_line/50"),
            "flips_table": at("all_units/flips_table/50"),
            "flips_running": at("all_units/flips_running_table/50"),
            "flips_batch": at("all_units/flips_batch/50"),
        },
        figure="copula_scatter_errors",
    )


def begun_at(lab: script.Script, source: Source, samples: int) -> dict[str, Any]:
    """Train networks whose strengths start at each of `STARTS`, and say where they end."""
    wanted = [
        Begun(start, BEGUN_RATE, seed, samples) for start in STARTS for seed in range(lab.seeds)
    ]
    runs = list(zip(wanted, lab.each(begun, wanted, source), strict=True))
    own = {start: [run for setting, run in runs if setting.strength == start] for start in STARTS}
    accuracy = {start: [run["test_accuracy"] for run in own[start]] for start in STARTS}
    return {
        f"{start:g}": {
            **percentiles({"strength": [run["strengths"] for run in own[start]]}),
            "accuracy": training.spread(accuracy[start]),
            "less_usual": difference(accuracy[start], accuracy[START]),
        }
        for start in STARTS
    }


def gone(begun_: dict[str, Any], start: str) -> float:
    """Return which part of the way to the end from the usual start strengths went, in logs."""
    end, usual = (begun_[each]["strength"]["50"] for each in (start, f"{START:g}"))
    return float(np.log(end / float(start)) / np.log(usual / float(start)))


def learned(numbers: dict[str, Any], last: int, samples: int) -> Finding:
    """Return how far the strengths went, from the usual start and from bad ones."""
    begun_ = numbers["starts"]
    bad = [f"{start:g}" for start in STARTS if start != START]
    found = [start for start in bad if gone(begun_, start) >= 0.5]
    better = [start for start in bad if begun_[start]["less_usual"]["verdict"] == "ahead"]
    places = {"slow": "thesis_rate/rate", "fast": "fast_rate/rate"}
    for name, panel in (("slow", "thesis_rate"), ("fast", "fast_rate")):
        for end, point in (("low", "5"), ("high", "95")):
            places[f"{name}_{end}"] = f"{panel}/{last}/all_units/strength/{point}"
    for start in begun_:
        places |= {f"low{start}": f"starts/{start}/strength/5"}
        places |= {f"high{start}": f"starts/{start}/strength/95"}
        places |= {f"accuracy{start}": f"starts/{start}/accuracy/mean"}
        for part in ("mean", "low", "high"):
            places |= {f"{part}_gap{start}": f"starts/{start}/less_usual/{part}"}
    ends = " and ".join(f"between {{low{s}:.2f}} and {{high{s}:.2f}} from {s}" for s in bad)
    reached = ", ".join(f"{{accuracy{start}:.2f}}% from {start}" for start in begun_)
    gaps = " and ".join(
        f"{{mean_gap{s}:+.2f}} points from {s} (99% interval {{low_gap{s}:+.2f}} to "
        f"{{high_gap{s}:+.2f}})"
        for s in bad
    )
    return Finding(
        claim="A reasonable strength gamma can be learned through backpropagation.",
        source="slides, Copula Transform",
        holds=len(found) == len(bad),
        condition=" and ".join(f"from a start of {start}" for start in found),
        text=(
            f"Strengths start at {START:g}. After {last} epochs nine tenths of the units lie "
            "between {slow_low:.2f} and {slow_high:.2f} at a rate of {slow}, and between "
            "{fast_low:.2f} and {fast_high:.2f} at {fast} (one seed). Other starts, at a rate of "
            f"{BEGUN_RATE:g} for {samples:,} samples: nine tenths end {ends}. Test accuracy: "
            f"{reached}; against {START:g}, {gaps}. "
            + ("" if better else f"Neither is shown to do better than {START:g}. ")
            + "The claim is taken to hold where from both the median goes at least half of the "
            f"way (in the logarithm) to that from {START:g}: else the start decides, not "
            "backpropagation."
        ),
        numbers=places,
    )


def draw(run: dict[str, Any], epochs: Sequence[int]) -> Figure:
    """Draw input against output for units whose line is bad, as usual and good."""
    figure, axes = style.figure(11.5, 7.2, len(epochs), len(SHOWN), sharey=True)
    for row, epoch in zip(axes, epochs, strict=True):
        for ax, unit in zip(row, run[str(epoch)]["shown"], strict=True):
            curves, points = unit["curves"], unit["points"]
            ax.plot(points["x"], points["batch"], ".", ms=3.5, color=style.GREY, alpha=0.55)
            ax.plot(curves["x"], curves["true"], color=style.BLUE, lw=2)
            ax.plot(curves["x"], curves["line"], color=style.RED, lw=1.4)
            ax.set(
                title=f"{epoch} epochs, layer {unit['layer']}, unit {unit['unit']}: "
                f"R$^2$ = {unit['r2']:.3f}",
                xlabel="input x",
            )
            ax.xaxis.set_major_locator(MaxNLocator(5))
        row[0].set_ylabel("output z")
    first = axes[0, 0]
    for part, label in zip(first.lines, ("batches of 50", "true transform", "line"), strict=True):
        part.set_label(label)
    first.legend(frameon=False, loc="upper left", fontsize=8.5)
    return figure


def draw_errors(runs: Sequence[dict[str, Any]], epochs: Sequence[int]) -> Figure:
    """Draw how the RMS errors are distributed over units, one panel a layer."""
    figure, axes = style.figure(11.5, 4.0, 1, len(NORMS), sharex=True, sharey=True)
    for ax, name in zip(axes, NORMS, strict=True):
        for epoch, line in zip(epochs, ((0, (4, 2)), "-"), strict=True):
            units = pooled([run[str(epoch)]["units"] for run in runs], (name,))
            for kind, (label, colour) in DRAWN.items():
                error = np.sort(units[f"rms_{kind}"])
                share = (np.arange(len(error)) + 0.5) / len(error) * 100
                ax.plot(error, share, ls=line, lw=1.6, color=colour, label=label)
        ax.set(xscale="log", title=f"norm {name[-1]}", xlabel="RMS error, in units of z")
    axes[0].set_ylabel("% of units with no more")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles[len(KINDS) :], labels[len(KINDS) :], loc="outside right center", frameon=False
    )
    return figure


def markdown(numbers: dict[str, Any]) -> str:
    """Return the table of columns of known shapes."""
    lines = ["| column | R2 of the line | " + " | ".join(f"RMS, {k}" for k in SHAPE_KINDS) + " |"]
    lines.append("|---" * (len(SHAPE_KINDS) + 2) + "|")
    for kind, entry in numbers["shapes"].items():
        cells = " | ".join(f"{entry[f'rms_{each}']:.3f}" for each in SHAPE_KINDS)
        lines.append(f"| {kind} | {entry['r2']:.3f} | {cells} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, compare and write."""
    lab = script.begin(__file__, __doc__, arguments, seeds=3)
    source = lab.source("mnist")
    samples = QUICK_BEGUN_SAMPLES if lab.quick else BEGUN_SAMPLES
    settings = {
        "epochs": EPOCHS,
        "training_images": len(data.images(source).train),
        "rates": (THESIS_RATE, FAST_RATE),
        "batch": BATCH,
        "rows": ROWS,
        "starts": {"strengths": STARTS, "rate": BEGUN_RATE, "samples": samples},
    }
    results = lab.results("Input against output of the copula layer", settings, source)
    wanted = [Scatter(EPOCHS, THESIS_RATE, seed) for seed in range(lab.seeds)]
    runs = lab.each(scatter, wanted, source)
    fast = lab.each(scatter, [Scatter(EPOCHS, FAST_RATE, 0)], source)
    found = lab.each(shapes, [Columns(kind, ROWS, 0, 0) for kind in SHAPES], source)
    numbers = {
        "thesis_rate": {"rate": THESIS_RATE, **gathered(runs, EPOCHS)},
        "fast_rate": {"rate": FAST_RATE, **gathered(fast, EPOCHS)},
        "shapes": dict(zip(SHAPES, found, strict=True)),
        "starts": begun_at(lab, source, samples),
    }
    results.write(
        numbers,
        findings(numbers, EPOCHS, samples),
        {
            "copula_scatter": (
                draw(runs[0], EPOCHS),
                "Input against output of units of one network: that at the 5, 50 and 95% point of "
                "R2 over all units. The units are chosen anew at each epoch.",
            ),
            "copula_scatter_errors": (
                draw_errors(runs, EPOCHS),
                "RMS errors against the true transform over the units of all seeds. Full lines: "
                f"after {EPOCHS[-1]} epochs, dashed: after {EPOCHS[0]}.",
            ),
        },
        {"columns of known shape": markdown(numbers)},
    )


if __name__ == "__main__":
    script.run(main)
