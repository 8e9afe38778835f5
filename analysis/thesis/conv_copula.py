"""The copula transform on convolutional layers: what it costs there, and what it is worth.

The slides' future work asks for a copula transform that is more efficient on convolutional layers,
and parallel on CUDA. There a column is a channel and has n = N H W values; the slides' sum over all
pairs takes n^2 time and memory. Measured here, of `CopulaNorm2d`, which sorts:

- the time of a forward and a backward pass, and the bytes kept for the backward pass, beside
  `BatchNorm2d` and beside the sum over all pairs where it fits. One thread, float32, its processor
  time; the layers take turns, and a ratio is the median over rounds. Of the sum over all pairs one
  channel is timed, times the number of channels. On a CUDA device, too, if there is one;
- the accuracy of a convnet (3 x 3 convolutions of 16 and 32 channels, each halved by pooling; SGD,
  batches of 50) on MNIST and on the first CIFAR-10 images, each layer at its best rate: that of a
  sweep, in runs of a seed that is not used again, with the best accuracy on 2,000 images held back.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from lab import ladder, paired, script, style, training
from lab.copula.feature_maps import Shape, cost, timed
from lab.data import Source, images
from lab.findings import Finding
from lab.training import Setting
from matplotlib.figure import Figure

SHAPES = ((16, 16, 4, 4), (16, 16, 8, 8), (50, 16, 8, 8), (50, 32, 14, 14), (50, 16, 28, 28))
QUICK_SHAPES = ((16, 4, 4, 4), (16, 4, 8, 8))
ROUNDS, QUICK_ROUNDS = 11, 5
ROWS_OF_LAYERS = 1000  # from here on a column is one of a convolutional layer
LAYERS = ("Regular", "BatchNorm", "Copula", "TrimmedNorm")
QUICK_LAYERS = ("BatchNorm", "Copula")
RATES, QUICK_RATES = (0.02, 0.07, 0.2), (0.07, 0.2)
SAMPLES, QUICK_SAMPLES = (2_500, 5_000, 10_000), (1_000, 2_000)
SWEEP_SEED = 100
TO_VALIDATE, TO_TEST = 2_000, 4_000  # images, at most
DATA = {"mnist": "MNIST", "cifar10": "CIFAR-10"}


# Time and memory


def costs(lab: script.Script) -> dict[str, Any]:
    """Measure all shapes, on the CPU and on a CUDA device if there is one."""
    found = {}
    for device in ("cpu", *(("cuda",) if torch.cuda.is_available() else ())):
        rounds = QUICK_ROUNDS if lab.quick else ROUNDS
        chosen = QUICK_SHAPES if lab.quick else SHAPES
        shapes = [Shape(*shape, rounds, device) for shape in chosen]
        runs = replace(lab, jobs=1).each(timed, shapes)  # two at once would disturb each other
        found[device] = [cost(shape, run) for shape, run in zip(shapes, runs, strict=True)]
    return found


# Accuracy


def tried(setting: Setting, source: Source) -> dict[str, Any]:
    """Train a network, and return its accuracy on images held back: a run of the sweep."""
    data = images(source)
    model = training.build(setting, data.shape)
    for _ in training.trained(model, data.train, setting):
        pass
    accuracy, _ = training.measured(model, data.validation.first(TO_VALIDATE))
    return {"validation_accuracy": [accuracy]}


def told(setting: Setting, source: Source) -> dict[str, Any]:
    """Train a network, and return its curves and the processor time of a step."""
    data = images(source)
    test = data.test.first(TO_TEST)
    model = training.build(setting, data.shape)
    curves: dict[str, list[float]] = {"train_loss": [], "test_accuracy": []}
    seconds, start = 0.0, time.process_time()
    for mark in training.trained(model, data.train, setting):
        seconds += time.process_time() - start
        curves["train_loss"].append(mark.train_loss)
        curves["test_accuracy"].append(training.measured(model, test)[0])
        start = time.process_time()
    steps = setting.samples[-1] / setting.batch
    return {**curves, "milliseconds_a_step": 1e3 * seconds / steps}


def accuracies(lab: script.Script, source: Source) -> dict[str, Any]:
    """Sweep and train on one data set."""
    layers, rates = (QUICK_LAYERS, QUICK_RATES) if lab.quick else (LAYERS, RATES)
    samples = QUICK_SAMPLES if lab.quick else SAMPLES
    bases = [Setting(layer, 0.0, SWEEP_SEED, samples[-1:], network="convnet") for layer in layers]
    chosen = ladder.climbed(lab, tried, bases, rates, source)
    wanted = [
        Setting(layer, chosen.best[layer], seed, samples, network="convnet")
        for layer in layers
        for seed in range(lab.seeds)
    ]
    runs = list(zip(wanted, lab.each(told, wanted, source), strict=True))
    found = {}
    for layer in layers:
        own = [run for setting, run in runs if setting.layer == layer]
        found[layer] = {
            "rate": chosen.best[layer],
            "train_loss": training.summary(own, "train_loss"),
            "test_accuracy": training.summary(own, "test_accuracy"),
            "milliseconds_a_step": statistics.median(run["milliseconds_a_step"] for run in own),
        }
    return {
        "validation": min(TO_VALIDATE, len(images(source).validation)),
        "sweep": chosen.tried,
        "layers": found,
        "copula_over_batch_norm": against(found),
    }


def against(found: dict[str, Any]) -> dict[str, Any]:
    """Return copula less batch norm, paired by seed, at the first and the last mark."""

    def at(layer: str, mark: int) -> list[float]:
        return [seed[mark] for seed in found[layer]["test_accuracy"]["seeds"]]

    step = {layer: found[layer]["milliseconds_a_step"] for layer in ("Copula", "BatchNorm")}
    return {
        "first": paired.difference(at("Copula", 0), at("BatchNorm", 0)),
        "last": paired.difference(at("Copula", -1), at("BatchNorm", -1)),
        "step": step["Copula"] / step["BatchNorm"],
    }


# What it says


def findings(numbers: dict[str, Any], data: Sequence[str]) -> list[Finding]:
    """Return what became of the two wishes, and of the copula layer in a convnet."""
    return [_efficiency(numbers["cost"]["cpu"], data[0]), _cuda(numbers["cost"]), _worth(numbers)]


def _efficiency(cpu: list[dict[str, Any]], data: str) -> Finding:
    """Answer the first wish: at least three times faster than all pairs, in memory linear in n."""
    both = [i for i, each in enumerate(cpu) if each["all_pairs_over_copula"] is not None]
    last = both[-1]
    wide = [cpu[i] for i in both if cpu[i]["rows"] >= ROWS_OF_LAYERS]
    sizes = [each["bytes_per_entry"]["Copula"] for each in cpu]
    holds = all(each["all_pairs_over_copula"] >= 3 for each in wide) and max(sizes) < 2 * min(sizes)
    return Finding(
        claim="The copula transform can be made more efficient for convolutional layers.",
        source="slides, Future work",
        holds=holds if wide else None,
        text=(
            "With {rows:,} values a channel the sum over all pairs takes {pairs:.0f} times the "
            "time of sorting and keeps {pair_bytes:,.0f} bytes an entry against {bytes:.0f}, for "
            "the same result to {difference:.0e}. A forward and backward pass takes {ratio:.0f} "
            "times that of BatchNorm2d there, {largest_ratio:.0f} times at {largest:,} values a "
            "channel, where all pairs would keep {gigabytes:.2g} GB. A whole training step of the "
            "convnet takes {step:.1f} times that with batch norm. The rule: at least 3 times "
            "faster than all pairs from 1,000 values on, in memory that grows no faster than n."
        ),
        numbers={
            "rows": f"cost/cpu/{last}/rows",
            "pairs": f"cost/cpu/{last}/all_pairs_over_copula",
            "pair_bytes": f"cost/cpu/{last}/bytes_per_entry/all pairs",
            "bytes": f"cost/cpu/{last}/bytes_per_entry/Copula",
            "difference": f"cost/cpu/{last}/largest_difference",
            "ratio": f"cost/cpu/{last}/over_batch_norm",
            "largest_ratio": "cost/cpu/-1/over_batch_norm",
            "largest": "cost/cpu/-1/rows",
            "gigabytes": "cost/cpu/-1/all_pairs_gigabytes",
            "step": f"accuracy/{data}/copula_over_batch_norm/step",
        },
        figure="conv_copula_cost",
    )


def _cuda(cost: dict[str, Any]) -> Finding:
    """Answer the second wish, or say that nothing was measured."""
    claim = "The copula transform can be made parallel on CUDA, which speeds up training."
    if "cuda" not in cost:
        text = "Not measured: the machine had no CUDA device. The script measures it where one is."
        return Finding(claim, "slides, Future work", None, text, {})
    return Finding(
        claim=claim,
        source="slides, Future work",
        holds=all(
            on_cuda["nanoseconds_per_entry"]["Copula"] < on_cpu["nanoseconds_per_entry"]["Copula"]
            for on_cuda, on_cpu in zip(cost["cuda"], cost["cpu"], strict=True)
            if on_cuda["rows"] >= ROWS_OF_LAYERS
        ),
        text=(
            "With {rows:,} values a channel a pass takes {cuda:.2f} ns an entry on CUDA, {cpu:.0f} "
            "on one thread of the CPU, and {ratio:.0f} times that of BatchNorm2d on CUDA."
        ),
        numbers={
            "rows": "cost/cuda/-1/rows",
            "cuda": "cost/cuda/-1/nanoseconds_per_entry/Copula",
            "cpu": "cost/cpu/-1/nanoseconds_per_entry/Copula",
            "ratio": "cost/cuda/-1/over_batch_norm",
        },
        figure="conv_copula_cost",
    )


DECIDED = {"ahead": "copula ahead", "behind": "copula behind", "tie": "not decided"}


def _worth(numbers: dict[str, Any]) -> Finding:
    """Compare copula with batch norm in the convnet, at the last mark, on each data set."""
    verdicts = {
        name: each["copula_over_batch_norm"]["last"]["verdict"]
        for name, each in numbers["accuracy"].items()
    }
    ahead = [DATA.get(name, name) for name, verdict in verdicts.items() if verdict == "ahead"]
    decided = any(verdict != "tie" for verdict in verdicts.values())
    parts, paths = [], {}
    for name, verdict in verdicts.items():
        parts.append(
            f"{DATA.get(name, name)}: copula {{{name}_copula:.2f}}%, batch norm "
            f"{{{name}_batch:.2f}}%, difference {{{name}_gap:+.2f}} (99% interval "
            f"{{{name}_low:+.1f}} to {{{name}_high:+.1f}}: {DECIDED[verdict]}; at the first mark "
            f"{{{name}_first:+.2f}}, {{{name}_first_low:+.1f}} to {{{name}_first_high:+.1f}}); "
            f"rates chosen by one run each on {{{name}_validation:,}} images."
        )
        layers, gap = f"accuracy/{name}/layers", f"accuracy/{name}/copula_over_batch_norm"
        paths |= {
            f"{name}_copula": f"{layers}/Copula/test_accuracy/mean/-1",
            f"{name}_batch": f"{layers}/BatchNorm/test_accuracy/mean/-1",
            f"{name}_gap": f"{gap}/last/mean",
            f"{name}_low": f"{gap}/last/low",
            f"{name}_high": f"{gap}/last/high",
            f"{name}_first": f"{gap}/first/mean",
            f"{name}_first_low": f"{gap}/first/low",
            f"{name}_first_high": f"{gap}/first/high",
            f"{name}_validation": f"accuracy/{name}/validation",
        }
    return Finding(
        claim="The copula transform outperforms batch norm, in a convnet as well.",
        source="slides, Copula Transform",
        holds=len(ahead) == len(verdicts) if decided else None,
        condition="on " + " and ".join(ahead) if ahead else "",
        text=(
            "Test accuracy at the last mark, each layer at its best rate, means over {seeds} "
            f"seeds. {' '.join(parts)} The copula layer counts as ahead or behind where the "
            "interval of the differences, paired by seed, leaves out 0; with so few seeds only a "
            "large difference does."
        ),
        numbers={**paths, "seeds": "seeds"},
        figure="conv_copula",
    )


def draw_cost(cost: dict[str, Any]) -> Figure:
    """Draw time and bytes an entry against the values of a channel."""
    figure, axes = style.figure(10.5, 4.4, 1, 2, sharex=True)
    colours = {"BatchNorm": style.INK, "Copula": style.BLUE, "all pairs": style.RED}
    names = {"BatchNorm": "BatchNorm2d", "Copula": "CopulaNorm2d, sorts", "all pairs": "all pairs"}
    units = {"nanoseconds_per_entry": "nanoseconds", "bytes_per_entry": "bytes kept"}
    for ax, (key, unit) in zip(axes, units.items(), strict=True):
        for device, line in zip(cost, ("o-", "s--"), strict=False):
            for name, colour in colours.items():
                points = [(c["rows"], c[key][name]) for c in cost[device] if name in c[key]]
                label = names[name] + (", CUDA" if device == "cuda" else "")
                ax.plot(*zip(*points, strict=True), line, color=colour, ms=4.5, label=label)
        ax.set(xscale="log", yscale="log", xlabel="values of a channel, n = N H W")
        ax.set_ylabel(f"{unit} an entry")
    axes[0].set_title("forward and backward pass, one thread")
    axes[1].set_title("kept for the backward pass")
    style.legend_outside(figure, axes[0])
    return figure


def draw_accuracy(accuracy: dict[str, Any], samples: Sequence[int]) -> Figure:
    """Draw test accuracy and training loss against samples seen, a column a data set."""
    figure, axes = style.figure(10.5, 6.6, 2, len(accuracy), sharex=True, squeeze=False)
    thousands = [n / 1000 for n in samples]
    labels = {"test_accuracy": "test accuracy, %", "train_loss": "training loss"}
    for column, (name, each) in enumerate(accuracy.items()):
        for ax, (curve, label) in zip(axes[:, column], labels.items(), strict=True):
            for layer, entry in each["layers"].items():
                style.curve(ax, thousands, entry[curve], layer, marker="o", ms=4)
            ax.set(xticks=thousands)
            ax.set_ylabel(label if column == 0 else "")
        axes[0, column].set_title(DATA.get(name, name))
        axes[1, column].set_xlabel("samples seen, thousands")
    style.legend_outside(figure, axes[0, 0])
    return figure


def tables(numbers: dict[str, Any], samples: Sequence[int]) -> dict[str, str]:
    """Return the costs and the accuracies in Markdown."""
    rows = [
        "| N x C x H x W | n | over BatchNorm2d | all pairs over CopulaNorm2d |",
        "|---" * 4 + "|",
    ]
    for each in numbers["cost"]["cpu"]:
        pairs = each["all_pairs_over_copula"]
        rows.append(
            f"| {' x '.join(map(str, each['shape']))} | {each['rows']:,} | "
            f"{each['over_batch_norm']:.1f} | {'' if pairs is None else f'{pairs:.1f}'} |"
        )
    found = {"Time of a forward and backward pass": "\n".join(rows)}
    for name, each in numbers["accuracy"].items():
        marks = " | ".join(f"{n / 1000:g}K" for n in samples)
        rows = [f"| layer | rate | {marks} | ms a step |", "|---" * (len(samples) + 3) + "|"]
        for layer, entry in each["layers"].items():
            curve = entry["test_accuracy"]
            both = zip(curve["mean"], curve["std"], strict=True)
            cells = " | ".join(f"{mean:.2f} ± {std or 0:.2f}" for mean, std in both)
            step = f"{entry['milliseconds_a_step']:.0f}"
            rows.append(f"| {layer} | {entry['rate']:g} | {cells} | {step} |")
        found[f"Test accuracy of the convnet, %, {DATA.get(name, name)}"] = "\n".join(rows)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Time, sweep, train, compare and write."""
    lab = script.begin(__file__, __doc__, arguments, seeds=3)
    sources = [lab.source(name) for name in (("mnist",) if lab.quick else DATA)]
    samples = QUICK_SAMPLES if lab.quick else SAMPLES
    settings = {
        "shapes": QUICK_SHAPES if lab.quick else SHAPES,
        "layers": QUICK_LAYERS if lab.quick else LAYERS,
        "rates": QUICK_RATES if lab.quick else RATES,
        "samples": samples,
        "sweep_seed": SWEEP_SEED,
        "batch": training.BATCH,
        "images": {"validation": TO_VALIDATE, "test": TO_TEST},
    }
    results = lab.results("The convolutional copula", settings, *sources)
    numbers = {
        "cost": costs(lab),
        "accuracy": {source.name: accuracies(lab, source) for source in sources},
        "seeds": lab.seeds,
    }
    rows = [each["rows"] for each in numbers["cost"]["cpu"]]
    figures = {
        "conv_copula_cost": (
            draw_cost(numbers["cost"]),
            "Time of a forward and backward pass, and bytes kept in between, per entry of the "
            f"input, from {rows[0]:,} to {rows[-1]:,} values a channel. "
            "The cost of the sum over all pairs grows with n, that of sorting does not.",
        ),
        "conv_copula": (
            draw_accuracy(numbers["accuracy"], samples),
            "The convnet with each layer at its best rate: means over seeds, bands one standard "
            "deviation.",
        ),
    }
    names = [source.name for source in sources]
    results.write(numbers, findings(numbers, names), figures, tables(numbers, samples))


if __name__ == "__main__":
    script.run(main)
