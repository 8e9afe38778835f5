"""Batch statistics are noisy: by how much, and does it keep a network from overfitting?

The third text: mu and sigma of a mini-batch of k are noisy, noise regularises, hence the network is
less likely to overfit. Measured in two parts. First, the noise: over many batches of k images, the
standard deviation of the mean and of the variance of each unit, against theory (sigma / sqrt(k) for
the mean; for the variance the fourth moment enters), and how far the output of each layer moves for
the company an image is in. Second, what it does: the same network, the same 128 images a step, and
only the number of images that share their statistics changes: groups of 4 to 128 of the batch, or
all training images, which leaves no noise at all. 1,024 training images, 40 rounds. In the test
phase all use the exact statistics of the training set. Gap: training accuracy minus test accuracy,
both in the test phase. At one rate for all, and each at its best (a sweep of a seed that is not
used again). One is ahead where the 99% interval of the mean difference, seed by seed, leaves out 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lab import paired, script, style, training
from lab.data import Source
from lab.findings import Finding
from lab.noise import noise
from lab.noise.ghost import Ghost, regularised
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COMMON_RATE = 0.1
PANELS = {"common": f"all at a rate of {COMMON_RATE:g}", "best": "each at its best rate"}
SHOWN = 50  # the thesis' batch, for the texts
CAPTION = (
    "Above: standard deviation of the mean and the variance of a unit over batches, points "
    "measured, lines theory; and how far the output of four layers moves with the company in the "
    "batch. Below: the same 128 images a step, statistics shared by 4 to 128 of them, or by the "
    "whole training set, which leaves no noise. Means over seeds, bars one standard deviation."
)
SWEEP_SEED = 100


def plan(quick: bool) -> dict[str, Any]:
    """Return the settings of the measurement."""
    if quick:
        return {
            "noise": {"sizes": (8, 32, 128), "samples": 1_000, "draws": 200, "companies": 10},
            "groups": (8, 512, None),
            "rows": 512,
            "rounds": 10,
            "rates": (COMMON_RATE,),
        }
    return {
        "noise": {
            "sizes": (4, 8, 16, 32, SHOWN, 64, 128),
            "samples": 5_000,
            "draws": 400,
            "companies": 30,
        },
        "groups": (4, 8, 16, 32, 64, 128, 1_024, None),
        "rows": 1_024,
        "rounds": 40,
        "rates": (0.03, COMMON_RATE, 0.3, 1.0, 3.0),
    }


def measured(lab: script.Script, source: Source, chosen: dict[str, Any]) -> dict[str, Any]:
    """Measure the noise, and train with statistics of groups of every size."""
    base = [
        Ghost(group, COMMON_RATE, SWEEP_SEED, chosen["rows"], chosen["rounds"])
        for group in chosen["groups"]
    ]
    rates = chosen["rates"]
    tried = training.sweep(base, rates) if len(rates) > 1 else []
    trials = list(zip(tried, lab.each(regularised, tried, source), strict=True))
    best = training.best_rates(trials)
    wanted = {
        panel: {
            one.layer: [replace(one, rate=rate, seed=seed) for seed in range(lab.seeds)]
            for one in base
            for rate in [COMMON_RATE if panel == "common" else best.get(one.layer, COMMON_RATE)]
        }
        for panel in PANELS
    }
    settings = dict.fromkeys(
        one for groups in wanted.values() for group in groups.values() for one in group
    )
    runs = dict(zip(settings, lab.each(regularised, list(settings), source), strict=True))
    noises = lab.each(
        noise.noise, [noise.Noise(seed, **chosen["noise"]) for seed in range(lab.seeds)], source
    )
    numbers = {
        "noise": noise.summary(noises),
        "training": {
            panel: {name: told([runs[one] for one in group]) for name, group in groups.items()}
            for panel, groups in wanted.items()
        },
        "rates": {name: group[0].rate for name, group in wanted["best"].items()},
        "sweep": [[one.layer, one.rate, run["validation_accuracy"][0]] for one, run in trials],
        "noise_free": str(chosen["rows"]),
    }
    numbers["pairs"] = pairs(numbers["training"], numbers["noise_free"])
    return {**numbers, **noise_share(numbers)}


def noise_share(numbers: dict[str, Any]) -> dict[str, float]:
    """Return how much of the gain over no layer is gone without the noise, at best rates.

    `noise_share_high` is the same for the upper end of the interval of what the noise brings.
    """
    reached = {
        name: row["test_accuracy"]["mean"] for name, row in numbers["training"]["best"].items()
    }
    none, free = reached["None"], reached[numbers["noise_free"]]
    pairs_ = numbers["pairs"]["best"]
    best = max(pairs_, key=reached.__getitem__)
    gain = reached[best] - none
    high = pairs_[best]["test_accuracy"]["high"]
    brought = {"noise_share": reached[best] - free, "noise_share_high": high or 0.0}
    return {name: max(value, 0.0) / gain if gain > 0 else 0.0 for name, value in brought.items()}


def told(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and standard deviation over seeds of each number."""
    plain = ("gap", "loss_gap", "train_loss", "test_loss")
    return {
        **{name: training.spread([run[name] for run in runs]) for name in plain},
        **{
            name: training.spread([run[name][0] for run in runs])
            for name in ("train_accuracy", "test_accuracy")
        },
    }


def pairs(panels: dict[str, Any], free: str) -> dict[str, Any]:
    """Return each group size against statistics without noise: test accuracy, and both gaps."""
    return {
        panel: {
            name: {
                "test_accuracy": paired.difference(
                    row["test_accuracy"]["seeds"], rows[free]["test_accuracy"]["seeds"]
                ),
                # A smaller gap is ahead.
                "gap": paired.difference(rows[free]["gap"]["seeds"], row["gap"]["seeds"]),
                "loss_gap": paired.difference(
                    rows[free]["loss_gap"]["seeds"], row["loss_gap"]["seeds"]
                ),
            }
            for name, row in rows.items()
            if name not in (free, "None")
        }
        for panel, rows in panels.items()
    }


def sizes_with(numbers: dict[str, Any], panel: str, verdict: str) -> list[str]:
    """Return the group sizes whose test accuracy is ahead of, or behind, that without noise."""
    return [
        name
        for name, row in numbers["pairs"][panel].items()
        if row["test_accuracy"]["verdict"] == verdict
    ]


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return how large the noise is, and what it does."""
    k = str(SHOWN) if str(SHOWN) in numbers["noise"]["statistics"] else "32"
    free, sizes = numbers["noise_free"], list(numbers["pairs"]["best"])
    best = max(sizes, key=lambda name: numbers["pairs"]["best"][name]["test_accuracy"]["mean"])
    gain = numbers["pairs"]["best"][best]["test_accuracy"]["mean"]
    ahead, behind = (sizes_with(numbers, "best", verdict) for verdict in ("ahead", "behind"))
    closer = [name for name in sizes if numbers["pairs"]["best"][name]["gap"]["verdict"] == "ahead"]
    at = "training/best/{}/{}/mean".format
    return [
        Finding(
            claim="Mean and deviation of a mini-batch of k are noisy.",
            source="third text",
            holds=numbers["noise"]["off_theory"] < 0.05,
            text=(
                f"With {k} images a batch the mean of a unit is off by {{mean:.3f}} of its "
                "deviation (theory: 1/sqrt(k) = {theory:.3f}), the variance by {variance:.3f} of "
                "itself (theory, with the fourth moment: {variance_theory:.3f}). The output of "
                "batch norm moves by {batch:.2f} deviations, that of TrimmedNorm by {trimmed:.2f}, "
                "Copula {copula:.2f}, MomentNorm 4 {moment:.2f}. Over all sizes the noise is "
                "within {off:.1%} of theory (the claim holds below 5%)."
            ),
            numbers={
                "mean": f"noise/statistics/{k}/mean",
                "theory": f"noise/statistics/{k}/mean_theory",
                "variance": f"noise/statistics/{k}/variance",
                "variance_theory": f"noise/statistics/{k}/variance_theory",
                "batch": f"noise/output/BatchNorm/{k}",
                "trimmed": f"noise/output/TrimmedNorm/{k}",
                "copula": f"noise/output/Copula/{k}",
                "moment": f"noise/output/MomentNorm 4/{k}",
                "off": "noise/off_theory",
            },
            figure="batch_noise",
        ),
        Finding(
            claim="This noise regularises: the network is less likely to overfit.",
            source="third text",
            holds=len(ahead) == len(sizes) if ahead or gain <= 0 else None,
            condition=f"with {' or '.join(ahead)} images sharing statistics" if ahead else "",
            text=(
                f"Each at its best rate: with statistics of {best} images, the best of the sizes, "
                "test accuracy is {test:.2f}%, without any noise in them {free:.2f}%, {gain:+.2f} "
                "points. The gap between training and test accuracy is {gap:.2f} and "
                f"{{free_gap:.2f}} points. Sizes with a test accuracy ahead: {_listed(ahead)}; "
                f"behind: {_listed(behind)}; with a smaller gap: {_listed(closer)}. "
                "The claim holds where the test accuracy is ahead; where it is higher, but no "
                "interval leaves out 0, it is not decided."
            ),
            numbers={
                "test": at(best, "test_accuracy"),
                "free": at(free, "test_accuracy"),
                "gain": f"pairs/best/{best}/test_accuracy/mean",
                "gap": at(best, "gap"),
                "free_gap": at(free, "gap"),
            },
            figure="batch_noise",
        ),
        Finding(
            claim="Most of what batch norm gains on few images is not the noise of its statistics.",
            source="ours",
            holds=numbers["noise_share_high"] < 0.5,
            text=(
                "Without a layer the test accuracy is {none:.2f}%, with statistics that have no "
                "noise {free:.2f}%, with the best noise {test:.2f}%. The noise brings "
                "about {share:.0%} of the gain; its 99% interval allows up to {high:.0%}, and the "
                "claim holds where that is below 50%."
            ),
            numbers={
                "none": at("None", "test_accuracy"),
                "free": at(free, "test_accuracy"),
                "test": at(best, "test_accuracy"),
                "share": "noise_share",
                "high": "noise_share_high",
            },
            figure="batch_noise",
        ),
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"


def markdown(numbers: dict[str, Any]) -> str:
    """Return a table: a row for each number of images that share statistics."""
    lines = [
        "| images sharing statistics | best rate | test accuracy, % | against no noise, points | "
        "gap, points | gap of the loss |",
        "|---" * 6 + "|",
    ]
    for name, row in numbers["training"]["best"].items():
        words = {"None": "no layer", numbers["noise_free"]: f"all {name}: no noise"}
        cells = [
            f"{row[key]['mean']:.{digits}f} ± {row[key]['std'] or 0:.{digits}f}"
            for key, digits in (("test_accuracy", 2), ("gap", 2), ("loss_gap", 3))
        ]
        pair = numbers["pairs"]["best"].get(name)
        against = "" if pair is None else _interval(pair["test_accuracy"])
        head = f"| {words.get(name, name)} | {numbers['rates'][name]:g} | "
        lines.append(head + " | ".join([cells[0], against, *cells[1:]]) + " |")
    return "\n".join(lines)


def _interval(pair: dict[str, Any]) -> str:
    if pair["low"] is None:
        return f"{pair['mean']:+.2f}"
    return f"{pair['mean']:+.2f} ({pair['low']:+.2f} to {pair['high']:+.2f})"


def draw(numbers: dict[str, Any]) -> Figure:
    """Draw the noise above, what it does to test accuracy and gap below."""
    figure, axes = style.figure(11.5, 8.0, 2, 2)
    draw_noise(axes[0], numbers["noise"])
    draw_training(axes[1], numbers)
    return figure


def draw_noise(axes: Sequence[Axes], found: dict[str, Any]) -> None:
    """Draw the noise of statistics and of outputs against batch size."""
    sizes = [int(k) for k in found["statistics"]]
    rows = list(found["statistics"].values())
    for name, colour in (("mean", style.BLUE), ("variance", style.RED)):
        axes[0].plot(sizes, [row[name] for row in rows], "o", ms=5, color=colour, label=name)
        theory = [row[f"{name}_theory"] for row in rows]
        axes[0].plot(sizes, theory, color=colour, lw=1.2, label=f"{name}, theory")
    axes[0].set(title="noise of batch statistics", ylabel="in sigma, in sigma squared")
    for layer, row in found["output"].items():
        k = [int(size) for size in row]
        axes[1].plot(k, list(row.values()), "o-", ms=4, color=style.COLOURS[layer], label=layer)
    axes[1].set(title="noise of a layer's output", ylabel="in deviations of the output")
    for ax in axes:
        ax.set(xscale="log", yscale="log", xlabel="images a batch")
        plain_ticks(ax, sizes)
        ax.set_yticks([0.1, 0.2, 0.5], ["0.1", "0.2", "0.5"])
        ax.legend(frameon=False)


def draw_training(axes: Sequence[Axes], numbers: dict[str, Any]) -> None:
    """Draw test accuracy and gap against the number of images that share statistics."""
    names = [*numbers["pairs"]["best"], numbers["noise_free"]]
    for ax, key, label in (
        (axes[0], "test_accuracy", "test accuracy, %"),
        (axes[1], "gap", "training minus test accuracy, points"),
    ):
        for panel, colour, shift in (("common", style.GREY, -0.06), ("best", style.INK, 0.06)):
            rows = [numbers["training"][panel][name][key] for name in names]
            ax.errorbar(
                [place + shift for place in range(len(names))],
                [row["mean"] for row in rows],
                [row["std"] or 0 for row in rows],
                fmt="o-",
                ms=5,
                lw=1.4,
                color=colour,
                label=PANELS[panel],
            )
        ax.set_xticks(range(len(names)), [*names[:-1], "all: no noise"])
        ax.set(xlabel="images that share statistics", ylabel=label)
        ax.margins(y=0.35)
        ax.legend(frameon=False)


def plain_ticks(ax: Axes, sizes: Sequence[int]) -> None:
    """Mark the powers of two among the sizes on a logarithmic axis."""
    marked = [size for size in sizes if size & (size - 1) == 0]
    ax.set_xticks(marked, [str(size) for size in marked])
    ax.minorticks_off()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, train, compare and write."""
    lab = script.begin(__file__, __doc__, arguments, seeds=12)
    source = lab.source("mnist")
    chosen = plan(lab.quick)
    settings = {**chosen, "sweep_seed": SWEEP_SEED}
    results = lab.results("The noise of batch statistics", settings, source)
    numbers = measured(lab, source, chosen)
    tables = {"what the noise does, each at its best rate": markdown(numbers)}
    results.write(numbers, findings(numbers), {"batch_noise": (draw(numbers), CAPTION)}, tables)


if __name__ == "__main__":
    script.run(main)
