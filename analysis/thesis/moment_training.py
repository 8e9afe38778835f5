"""Moment matching in training: MomentNorm of order 2, 4 and 6 against batch norm.

The slides ask what happens when moments beyond the second are matched, "for instance, k = 6", and
leave the gradient and the test phase open. Here networks of the thesis train with each layer, at
.007 and at each layer's best rate (the runs are those of the tables). What enters the layers in
training is recorded, and a density of order k fitted to each column of each batch. The layer's
gradient is compared with finite differences on recorded batches, its test phase with what batches
give, and its cost with batch norm's, step by step in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from lab import paired, script, style, sweeps, training
from lab.data import Source
from lab.findings import Finding
from lab.matching import matching
from lab.training import SAMPLES, THESIS_RATE, Setting
from matplotlib.figure import Figure
from tables import RATES, SWEEP_SEED

LAYERS = ("BatchNorm", "MomentNorm 2", "MomentNorm 4", "MomentNorm 6")
ORDERS = (2, 4, 6)
QUICK_RATES, QUICK_SAMPLES = (THESIS_RATE, 0.07), (1_000, 2_000, 3_000)
TIMED, WARM = 220, 20  # steps of each layer, and how many of them do not count
PHASE_SEEDS = 3
PANELS = {"thesis_rate": "all at a rate of .007", "best_rate": "each at its best rate"}
HELP = 0.5  # points of accuracy: less is no help
MARKS = {"first": 0, "last": -1}
PHASED = ("BatchNorm", "MomentNorm 4", "MomentNorm 6")


def curves(lab: script.Script, source: Source, samples: tuple[int, ...]) -> dict[str, Any]:
    """Run the sweep, then each layer at the thesis' rate and at its own, as the tables do."""
    rates = QUICK_RATES if lab.quick else RATES
    base = [Setting(name, THESIS_RATE, SWEEP_SEED, samples) for name in LAYERS]
    tried = training.sweep(base, rates)
    trials = list(zip(tried, lab.each(training.train, tried, source), strict=True))
    panels, runs = sweeps.at_both_rates(
        lab, source, base, training.best_rates(trials), lab.seeds, ("test_accuracy", "train_loss")
    )

    return {
        "sweep": {
            name: {
                f"{setting.rate:g}": run["validation_accuracy"][-1]
                for setting, run in trials
                if setting.layer == name
            }
            for name in LAYERS
        },
        **panels,
        "not_finite": sum(run["not_finite"] for _, run in trials + runs),
    }


def gains(table: dict[str, Any], name: str) -> dict[str, dict[str, float | None]]:
    """Return by how many points a layer is ahead of batch norm, seed by seed with equal starts.

    `error` is half the interval of `paired.difference`; None of one seed.
    """
    own, theirs = (table[each]["test_accuracy"]["seeds"] for each in (name, "BatchNorm"))
    found: dict[str, dict[str, float | None]] = {}
    for mark, at in MARKS.items():
        gap = paired.difference([run[at] for run in own], [run[at] for run in theirs])
        error = None if gap["high"] is None else gap["high"] - gap["mean"]
        found[mark] = {"mean": gap["mean"], "error": error}
    return found


def measured(lab: script.Script, source: Source, samples: tuple[int, ...]) -> dict[str, Any]:
    """Return all numbers."""
    numbers = curves(lab, source, samples)
    best = {name: entry["rate"] for name, entry in numbers["best_rate"].items()}
    numbers["ahead"] = {
        panel: {name: gains(numbers[panel], name) for name in LAYERS[1:]} for panel in PANELS
    }
    seen, every = (samples[-1], 50) if not lab.quick else (samples[0], 20)
    watched = [
        matching.Watched(order, seen, every, rate=rate)
        for order in ORDERS
        for rate in dict.fromkeys((THESIS_RATE, best[matching.name_of(order)]))
    ]
    found = lab.each(matching.statuses, watched, source)
    numbers["statuses"] = {
        f"{matching.name_of(setting.order)} at {setting.rate:g}": entry
        for setting, entry in zip(watched, found, strict=True)
    }
    count = [entry["count"] for entry in found]
    numbers["fits"] = sum(sum(each.values()) for each in count)
    numbers["fits_ok"] = sum(each["ok"] for each in count)
    numbers["worst_residual"] = max(entry["worst_residual"] for entry in found)
    few = [matching.Watched(order, min(seen, 5000), 25) for order in ORDERS]
    found = lab.each(matching.gradients, few, source)
    numbers["gradients"] = dict(zip(map(matching.name_of, ORDERS), found, strict=True))
    numbers["worst_gradient"] = max(entry["worst"] for entry in found)
    numbers["second_order"] = lab.each(matching.second_order, few[:1], source)[0]
    timed, warm = (TIMED, WARM) if not lab.quick else (30, 5)
    numbers["step_ms"] = lab.each(matching.costs, [matching.Timed(LAYERS, timed, warm)], source)[0]
    numbers["step_ratio"] = {
        name: taken / numbers["step_ms"]["BatchNorm"] for name, taken in numbers["step_ms"].items()
    }
    numbers["phases"] = in_phases(lab, source, samples, best)
    return numbers


def in_phases(
    lab: script.Script, source: Source, samples: tuple[int, ...], best: dict[str, float]
) -> dict[str, Any]:
    """Return test accuracy by running and by batch statistics, each layer at its best rate."""
    seeds = 1 if lab.quick else min(lab.seeds, PHASE_SEEDS)
    wanted = [
        Setting(name, best[name], seed, samples[-1:]) for name in PHASED for seed in range(seeds)
    ]
    runs = list(zip(wanted, lab.each(matching.phases, wanted, source), strict=True))
    return {
        name: {
            what: training.spread([run[what] for setting, run in runs if setting.layer == name])
            for what in ("running", "batches", "gap")
        }
        for name in PHASED
    }


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return what training says of the slides' questions."""
    return [more_moments(numbers), same_as_batch_norm(numbers), stable(numbers), usable(numbers)]


def more_moments(numbers: dict[str, Any]) -> Finding:
    """Return whether a higher order beats batch norm: by more than chance over the seeds."""

    def helps(panel: str, name: str, mark: str) -> bool:
        ahead = numbers["ahead"][panel][name][mark]
        return ahead["error"] is not None and ahead["mean"] > ahead["error"]

    seeds = len(numbers["best_rate"]["BatchNorm"]["test_accuracy"]["seeds"])
    higher, told = LAYERS[2:], {"thesis_rate": "at .007", "best_rate": "at the best rate"}
    where = [
        f"{name} {words}, {mark} mark"
        for name in higher
        for panel, words in told.items()
        for mark in MARKS
        if helps(panel, name, mark)
    ]
    ends = [numbers["ahead"]["best_rate"][name]["last"] for name in higher]
    excluded = seeds > 2 and all(abs(at["mean"]) + at["error"] < HELP for at in ends)
    decided = excluded or bool(where)
    last = "ahead/best_rate/{}/last/{}".format
    first = "ahead/thesis_rate/{}/first/{}".format
    return Finding(
        claim="Matching more moments than two, for instance six, helps training.",
        source="slides, Moment-Matching",
        holds=any(helps("best_rate", name, "last") for name in higher) if decided else None,
        condition="; ".join(where),
        text=(
            "Points of test accuracy ahead of batch norm, seed by seed, with the 99% interval of "
            "the mean over seeds. To help, it must lie above 0; it does not help where half a "
            "point is excluded. At the last mark, each at its best rate: "
            "order 4 {four:+.2f} ± {four_error:.2f}, order 6 {six:+.2f} ± {six_error:.2f}. At the "
            "first mark and a rate of .007: order 4 {four_first:+.2f} ± {four_first_error:.2f}, "
            "order 6 {six_first:+.2f} ± {six_first_error:.2f}. A step of the network takes "
            "{cost_four:.1f} and {cost_six:.1f} times that with batch norm."
        ),
        numbers={
            "four": last("MomentNorm 4", "mean"),
            "four_error": last("MomentNorm 4", "error"),
            "six": last("MomentNorm 6", "mean"),
            "six_error": last("MomentNorm 6", "error"),
            "four_first": first("MomentNorm 4", "mean"),
            "four_first_error": first("MomentNorm 4", "error"),
            "six_first": first("MomentNorm 6", "mean"),
            "six_first_error": first("MomentNorm 6", "error"),
            "cost_four": "step_ratio/MomentNorm 4",
            "cost_six": "step_ratio/MomentNorm 6",
        },
        figure="moment_training",
    )


def same_as_batch_norm(numbers: dict[str, Any]) -> Finding:
    """Return whether order 2 is batch norm: to rounding in float64."""
    differences = numbers["second_order"]
    return Finding(
        claim="Batch norm is moment matching with two moments.",
        source="slides, Moment-Matching",
        holds=max(differences.values()) < 1e-12,
        text=(
            "In float64, on batches recorded in training, MomentNorm of order 2 and BatchNorm "
            "differ by at most {output:.1e} in their output and {gradient:.1e}, relatively, in "
            "their gradient. Trained in float32 at .007 they end {apart:+.2f} ± {error:.2f} points "
            "apart."
        ),
        numbers={
            "output": "second_order/output",
            "gradient": "second_order/gradient",
            "apart": "ahead/thesis_rate/MomentNorm 2/last/mean",
            "error": "ahead/thesis_rate/MomentNorm 2/last/error",
        },
    )


def stable(numbers: dict[str, Any]) -> Finding:
    """Return whether every column of every recorded batch has its density."""
    return Finding(
        claim="Moment matching converges stably in training.",
        source="slides, Moment-Matching (results)",
        holds=numbers["fits_ok"] == numbers["fits"],
        text=(
            "Of {fits} columns of 50 rows that entered the layers in training with order 2, 4 and "
            "6, {ok} have a density with their moments, the worst to {worst:.0e}. In "
            "all runs, {lost} losses were not finite. This is this "
            "package's solver; the slides' own is in moment_newton."
        ),
        numbers={
            "fits": "fits",
            "ok": "fits_ok",
            "worst": "worst_residual",
            "lost": "not_finite",
        },
    )


def usable(numbers: dict[str, Any]) -> Finding:
    """Return whether gradient and test phase work: exact, and no worse than batch norm's."""
    phase = numbers["phases"]

    def lost(name: str) -> float:
        return phase[name]["batches"]["mean"] - phase[name]["running"]["mean"]

    layers = PHASED[1:]
    path = "phases/{}/{}/mean".format
    return Finding(
        claim="Moment matching can be given a gradient and a test phase.",
        source="slides, Future work",
        holds=numbers["worst_gradient"] < 1e-5 and all(lost(name) < 0.5 for name in layers),
        text=(
            "The layer's gradient differs from finite differences in float64 by at most "
            "{worst:.0e} of the largest derivative. In the test phase (the density of the running "
            "moments, found once) order 4 has {four:.2f}% of test images right and order 6 "
            "{six:.2f}%; by the statistics of batches of 50 they have {four_batches:.2f}% and "
            "{six_batches:.2f}%. Batch norm has {norm:.2f}% and {norm_batches:.2f}%. To hold, the "
            "first must be below 1e-5 and the test phase lose less than half a point."
        ),
        numbers={
            "worst": "worst_gradient",
            "four": path("MomentNorm 4", "running"),
            "six": path("MomentNorm 6", "running"),
            "four_batches": path("MomentNorm 4", "batches"),
            "six_batches": path("MomentNorm 6", "batches"),
            "norm": path("BatchNorm", "running"),
            "norm_batches": path("BatchNorm", "batches"),
        },
    )


def table(numbers: dict[str, Any], samples: Sequence[int]) -> str:
    """Return test accuracy at each mark and both rates, and the cost of a step."""
    marks = " | ".join(f"{n / 1000:g}K" for n in samples)
    lines = [f"| layer | rate | {marks} | ms a step |", "|---" * (len(samples) + 3) + "|"]
    for panel in PANELS:
        for name, entry in numbers[panel].items():
            curve = entry["test_accuracy"]
            both = zip(curve["mean"], curve["std"], strict=True)
            cells = " | ".join(f"{mean:.1f} ± {std or 0:.1f}" for mean, std in both)
            cost = numbers["step_ms"][name]
            lines.append(f"| {name} | {entry['rate']:g} | {cells} | {cost:.2f} |")
    return "\n".join(lines)


def draw(numbers: dict[str, Any], samples: Sequence[int]) -> Figure:
    """Draw how far each order is from batch norm, and the cost of a step."""
    figure, axes = style.figure(12.0, 4.4, 1, 3, width_ratios=(3, 3, 2.2))
    thousands = [n / 1000 for n in samples]
    for ax, (panel, title) in zip(axes, PANELS.items(), strict=False):
        norm = np.array(numbers[panel]["BatchNorm"]["test_accuracy"]["seeds"])
        for name in LAYERS[1:]:
            entry = numbers[panel][name]
            ahead = np.array(entry["test_accuracy"]["seeds"]) - norm
            error = np.zeros(ahead.shape[1])
            if len(ahead) > 1:
                error = ahead.std(axis=0, ddof=1) / np.sqrt(len(ahead))
            label = name if panel == "thesis_rate" else f"{name} ({entry['rate']:g})"
            style.curve(ax, thousands, {"mean": ahead.mean(axis=0), "std": error}, name, label)
        ax.axhline(0, color=style.INK, lw=0.8)
        ax.set(xticks=thousands, xlabel="samples seen, thousands", title=title)
        ax.legend(frameon=False, fontsize=8.5)
    axes[0].set_ylabel("test accuracy minus batch norm's, points")
    colours = [style.COLOURS[name] for name in LAYERS]
    axes[2].barh(LAYERS[::-1], [numbers["step_ms"][name] for name in LAYERS[::-1]])
    for bar, colour in zip(axes[2].patches, colours[::-1], strict=True):
        bar.set_color(colour)
    axes[2].set(xlabel="ms for a step of training", title="cost, batches of 50")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, check and write."""
    lab = script.begin(__file__, __doc__, arguments)
    source = lab.source("mnist")
    samples = QUICK_SAMPLES if lab.quick else SAMPLES
    settings = {
        "samples": samples,
        "layers": LAYERS,
        "rates": QUICK_RATES if lab.quick else RATES,
        "thesis_rate": THESIS_RATE,
        "sweep_seed": SWEEP_SEED,
        "batch": training.BATCH,
        "finite_difference": matching.STEP,
    }
    results = lab.results("Moment matching in training: 2, 4 and 6 moments", settings, source)
    numbers = measured(lab, source, samples)
    caption = (
        "Test accuracy minus that of batch norm with the same seed: means over seeds, bands one "
        "standard error of the mean. Right: median time of a training step of the whole network, "
        "one thread, the layers in turn."
    )
    figures = {"moment_training": (draw(numbers, samples), caption)}
    tables = {"test accuracy, %": table(numbers, samples)}
    results.write(numbers, findings(numbers), figures, tables)


if __name__ == "__main__":
    script.run(main)
