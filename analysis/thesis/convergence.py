"""The blog's figure of convergence: usual network, log-shift, sqrt-shift and batch norm, MNIST.

The blog shows test accuracy against training for four networks and says that sqrt-shift works
almost as well as batch norm; the slides say that with learnable maps convergence is slightly worse
than with batch norm but much better than without. Neither names a learning rate. Measured here at
.007, at which a network without a layer follows the tables of the slides, and with each layer at
its own best rate, from the sweep of tables.py. Network, start and batches as there. Test accuracy
is taken every few thousand samples up to 50,000, then every 25,000. Mean accuracy over the run, the
area under the curve, is the measure of how fast a network converges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from lab import comparison, paired, script, style, sweeps, training
from lab.comparison import PANELS
from lab.data import Source, images
from lab.findings import Finding
from lab.training import SAMPLES, THESIS_RATE, Setting
from matplotlib.figure import Figure
from tables import QUICK_RATES, QUICK_SAMPLES, RATES, SWEEP_SEED

LAYERS = ("Regular", "LogShift", "SqrtShift", "BatchNorm")
SHIFTS = ("LogShift", "SqrtShift")
FINE = (
    *(1_000, 2_000, 3_000, 4_000, 5_000, 7_500, 10_000, 12_500, 15_000, 20_000, 25_000),
    *(30_000, 35_000, 40_000, 45_000, 50_000),
)
QUICK_FINE = (500, 1_000, 1_500, 2_000, 3_000, 4_000)
ALMOST = 0.9  # of what batch norm gains over the usual network counts as almost as well
SETTLED = 3  # the mark from which on curves are shown in full
MUCH = 0.5  # of it counts as much better than usual


def early(setting: Setting, source: Source) -> dict[str, Any]:
    """Train one network, and return its test accuracy at each mark."""
    data = images(source)
    model = training.build(setting, data.shape)
    marks = training.trained(model, data.train, setting)
    return {"test_accuracy": [training.measured(model, data.test)[0] for _ in marks]}


def curves(
    lab: script.Script, source: Source, settings: Sequence[Setting], fine: tuple[int, ...]
) -> list[list[float]]:
    """Return test accuracy at fine marks, then at the later ones of the tables' own runs."""
    firsts = lab.each(early, [replace(setting, samples=fine) for setting in settings], source)
    wholes = lab.each(training.train, settings, source)
    return [
        [
            *first["test_accuracy"],
            *(
                accuracy
                for seen, accuracy in zip(setting.samples, whole["test_accuracy"], strict=True)
                if seen > fine[-1]
            ),
        ]
        for setting, first, whole in zip(settings, firsts, wholes, strict=True)
    ]


def described(rate: float, runs: Sequence[list[float]], marks: Sequence[int]) -> dict[str, Any]:
    """Return a layer's curve, its mean over the run and its end, over seeds."""
    width = marks[-1] - marks[0]
    areas = [float(np.trapezoid(run, marks)) / width for run in runs]
    return {
        "rate": rate,
        "curve": training.summary([{"accuracy": run} for run in runs], "accuracy"),
        "area": training.spread(areas),
        "last": training.spread([run[-1] for run in runs]),
    }


def compared(entries: dict[str, Any]) -> dict[str, Any]:
    """Return each shift beside batch norm and the usual network, by area and by last accuracy."""

    def gap(layer: str, rival: str, measure: str) -> dict[str, Any]:
        return paired.difference(*(entries[name][measure]["seeds"] for name in (layer, rival)))

    found: dict[str, Any] = {}
    for layer in SHIFTS:
        found[layer] = {
            f"{measure} over {rival}": gap(layer, rival, measure)
            for measure in ("area", "last")
            for rival in ("Regular", "BatchNorm")
        }
        usual, ours, norm = (
            entries[name]["area"]["mean"] for name in ("Regular", layer, "BatchNorm")
        )
        found[layer]["share"] = (ours - usual) / (norm - usual)
    return found


def measured(
    lab: script.Script, source: Source, samples: tuple[int, ...], fine: tuple[int, ...]
) -> dict[str, Any]:
    """Read the sweep, run what is missing, and compare."""
    bases = [Setting(layer, THESIS_RATE, SWEEP_SEED, samples) for layer in LAYERS]
    rates = QUICK_RATES if lab.quick else RATES
    best = sweeps.chosen(lab, source, bases, rates).best
    marks = [*fine, *(seen for seen in samples if seen > fine[-1])]
    wanted = {
        "thesis_rate": bases,
        "best_rate": [replace(base, rate=best[base.layer]) for base in bases],
    }
    settings = comparison.over_seeds([each for both in wanted.values() for each in both], lab.seeds)
    found = list(zip(settings, curves(lab, source, settings, fine), strict=True))
    panels = {
        panel: {
            base.layer: described(
                base.rate,
                [run for each, run in found if (each.layer, each.rate) == (base.layer, base.rate)][
                    : lab.seeds
                ],
                marks,
            )
            for base in chosen
        }
        for panel, chosen in wanted.items()
    }
    gaps = {panel: compared(entries) for panel, entries in panels.items()}
    return {"marks": marks, **panels, "compared": gaps}


def _numbers(layer: str) -> dict[str, str]:
    """Return where the numbers of a text on one shift are found."""
    found = {}
    for short, panel in (("at", "thesis_rate"), ("best", "best_rate")):
        for name, key in (("usual", "Regular"), ("shift", layer), ("norm", "BatchNorm")):
            found[f"{short}_{name}"] = f"{panel}/{key}/area/mean"
            found[f"{short}_{name}_std"] = f"{panel}/{key}/area/std"
            found[f"{short}_{name}_last"] = f"{panel}/{key}/last/mean"
            found[f"{short}_{name}_rate"] = f"{panel}/{key}/rate"
    return found


TEXT = (
    "Test accuracy, mean over the run and over seeds, at .007: none {at_usual:.1f}%, %s "
    "{at_shift:.1f}%, batch norm {at_norm:.1f}%; at the end {at_usual_last:.1f}%, "
    "{at_shift_last:.1f}% and {at_norm_last:.1f}%. Each at its best rate ({best_usual_rate:g}, "
    "{best_shift_rate:g}, {best_norm_rate:g}): {best_usual:.1f}%, {best_shift:.1f}% and "
    "{best_norm:.1f}%; at the end {best_usual_last:.1f}%, {best_shift_last:.1f}% and "
    "{best_norm_last:.1f}%. "
)


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return what became of the blog's and of the slides' sentence."""
    gaps = numbers["compared"]

    def as_well(panel: str) -> bool:
        """Ahead of the usual network, with at least ALMOST of what batch norm gains over it."""
        found = gaps[panel]["SqrtShift"]
        return found["area over Regular"]["verdict"] == "ahead" and found["share"] >= ALMOST

    def much(panel: str) -> bool:
        """Both maps ahead of the usual network, with at least MUCH of batch norm's gain."""
        return all(
            found["area over Regular"]["verdict"] == "ahead" and found["share"] >= MUCH
            for found in gaps[panel].values()
        )

    def behind(panel: str) -> bool:
        """Both maps behind batch norm."""
        return all(
            found["area over BatchNorm"]["verdict"] == "behind" for found in gaps[panel].values()
        )

    small = "when all have the small rate of .007"
    between = {panel: much(panel) and behind(panel) for panel in PANELS}
    half = "much better than usual training holds, at a rate of .007"
    return [
        Finding(
            claim="The sqrt-shift works almost as well as batch norm.",
            source="blog",
            holds=all(as_well(panel) for panel in PANELS),
            condition=small if as_well("thesis_rate") else "",
            text=(TEXT.replace("%s", "sqrt-shift"))
            + "Almost as well is to mean: ahead of none in a paired 99% interval, and with at "
            f"least {100 * ALMOST:.0f}% of batch norm's gain over none, in the mean over the run.",
            numbers=_numbers("SqrtShift"),
            figure="convergence",
        ),
        Finding(
            claim="With learnable maps convergence is slightly worse than with batch norm, but "
            "much better than in usual training.",
            source="slides, Learnable transformations",
            holds=all(between.values()),
            condition=small if between["thesis_rate"] else half if much("thesis_rate") else "",
            text=(TEXT.replace("%s", "log-shift"))
            + "The sqrt-shift is told with the claim on it. The sentence is taken to hold where "
            f"both maps have at least {100 * MUCH:.0f}% of batch norm's gain over none and are "
            "behind it, both in paired 99% intervals.",
            numbers=_numbers("LogShift"),
            figure="convergence",
        ),
    ]


def draw(numbers: dict[str, Any]) -> Figure:
    """Draw the four curves, at both rates."""
    figure, axes = style.figure(11.5, 4.8, 1, 2)
    thousands = [mark / 1000 for mark in numbers["marks"]]
    for ax, (panel, title) in zip(axes, PANELS.items(), strict=True):
        for layer, entry in numbers[panel].items():
            label = layer if panel == "thesis_rate" else f"{layer}: rate {entry['rate']:g}"
            style.curve(ax, thousands, entry["curve"], layer, label, marker=".", ms=5)
        least = min(entry["curve"]["mean"][SETTLED] for entry in numbers[panel].values())
        ax.set(title=title, xlabel="samples seen, thousands", ylim=(least // 10 * 10, 100))
        ax.grid(axis="y", color=style.FAINT, lw=0.8)
        ax.legend(loc="lower right", frameon=False)
    axes[0].set_ylabel("test accuracy, %")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, compare and write."""
    lab = script.begin(__file__, __doc__, arguments)
    source = lab.source("mnist")
    samples, fine = (QUICK_SAMPLES, QUICK_FINE) if lab.quick else (SAMPLES, FINE)
    settings = {
        "samples": samples,
        "fine": fine,
        "layers": LAYERS,
        "rates": QUICK_RATES if lab.quick else RATES,
        "thesis_rate": THESIS_RATE,
        "sweep_seed": SWEEP_SEED,
        "batch": training.BATCH,
    }
    results = lab.results("Convergence with learnable maps", settings, source)
    numbers = measured(lab, source, samples, fine)
    caption = (
        "Test accuracy against samples seen, as in the blog's figure. Lines: means over seeds, "
        "bands one standard deviation."
    )
    results.write(numbers, findings(numbers), {"convergence": (draw(numbers), caption)})


if __name__ == "__main__":
    script.run(main)
