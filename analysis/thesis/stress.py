"""Three hardships where a shaped layer might help: tiny batches, depth, wrong labels.

The thesis compares its layers with batch norm in a healthy network of three layers. Here the
network is made hard to train in three ways, each in three steps: batches of 8, 4 and 2 images;
3, 10 and 20 layers; 0, 20 and 40% of the labels of 2,000 training images replaced by others, and
trained for four rounds. Each layer stands at its own best learning rate for each hardship: that of
a sweep with a seed that is not used again, by accuracy on images held back, whose labels are right.
Small budgets: these are the first steps of training. There the running statistics that the test
phase uses lag behind the weights, in some layers more than in others, which is no merit of a shape:
before accuracy is measured they are taken anew from 1,000 training images, in batches of the size
of training. Accuracy with the statistics as they were is told beside it. Two layers are compared
seed by seed, and one is ahead where the 99% interval of the mean difference leaves out 0.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from lab import paired, script, style, training
from lab.data import Source, Split, images
from lab.findings import Finding
from lab.networks import CLASSES
from lab.training import Setting
from matplotlib.figure import Figure

import distfit_nn as dn

LAYERS = ("BatchNorm", "TrimmedNorm", "LayerNorm", "Copula", "MomentNorm 4")
SHAPED, RIVALS = ("Copula", "MomentNorm 4"), ("BatchNorm", "TrimmedNorm", "LayerNorm")
SWEEP_SEED = 100
SETTLED, SETTLED_BATCHES = 1_000, 100  # training images, and batches of them at most
CLAIMS = {
    "batch": (
        "With tiny batches a shaped layer does no better than the simple ones.",
        "images a batch",
    ),
    "depth": ("In deep networks a shaped layer does no better than the simple ones.", "layers"),
    "wrong": (
        "With wrong labels a shaped layer does no better than the simple ones.",
        "% wrong labels",
    ),
}
WORDS = ("batch_norm", "trimmed", "layer", "copula", "moment")  # the layers, in texts
PANELS = {
    "batch": ("tiny batches", "images a batch"),
    "depth": ("depth", "layers"),
    "wrong": ("wrong labels", "training labels that are wrong, %"),
}
CAPTION = (
    "Test accuracy of each layer at its best rate, as training is made harder from left to right "
    "in each panel: means over seeds, bars one standard deviation; hollow: with the running "
    "statistics as they were. The panels have budgets and vertical scales of their own."
)
FLIP_SEED = 1000  # the wrong labels of seed s are drawn by 1000 + s


@dataclass(frozen=True)
class Stressed(Setting):
    """A run, and the share of its training labels that are wrong."""

    wrong: float = 0.0


@dataclass(frozen=True)
class Case:
    """A step of one hardship: what differs from the plain setting, and the rates to try."""

    kind: str
    step: int
    changes: dict[str, Any]
    rates: tuple[float, ...]


def flipped(split: Split, share: float, seed: int) -> Split:
    """Return the split with a share of the labels replaced by another class, drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    n = len(split)
    chosen = torch.randperm(n, generator=generator)[: round(share * n)]
    labels = split.labels.clone()
    other = torch.randint(1, CLASSES, (len(chosen),), generator=generator)
    labels[chosen] = (labels[chosen] + other) % CLASSES
    return Split(split.pixels, labels)


def stressed(setting: Stressed, source: Source) -> dict[str, Any]:
    """Train one network under its hardship; return accuracies, statistics settled and as they are.

    Validation images choose the rates, with settled statistics.
    """
    data = images(source)
    split = flipped(data.train.first(setting.rows), setting.wrong, FLIP_SEED + setting.seed)
    model = training.build(setting, data.shape)
    not_finite = 0
    for mark in training.trained(model, split, setting):
        not_finite = mark.not_finite
    as_trained = training.measured(model, data.test)[0]
    if setting.layer != "LayerNorm":
        # A network that diverged has nothing to settle.
        with contextlib.suppress(dn.errors.InputError):
            batches = split.pixels[:SETTLED].split(setting.batch)[:SETTLED_BATCHES]
            dn.nn.recalibrate(model, batches)
    return {
        "validation_accuracy": [training.measured(model, data.validation)[0]],
        "test_accuracy": [training.measured(model, data.test)[0]],
        "as_trained": as_trained,
        "not_finite": not_finite,
    }


def cases(quick: bool) -> list[Case]:
    """Return the steps of the three hardships, easiest first."""
    if quick:
        return [
            Case("batch", 2, {"batch": 2, "samples": (200,)}, (0.03,)),
            Case("depth", 8, {"depth": 8, "samples": (2_000,)}, (0.1,)),
            Case("wrong", 40, _wrong(40, 300, 2_000), (0.1,)),
        ]
    small, large = (0.01, 0.03, 0.1, 0.3), (0.03, 0.1, 0.3, 1.0)
    return [
        *(
            Case("batch", n, {"batch": n, "samples": (1_500,)}, rates)
            for n, rates in ((8, small), (4, (0.003, *small)), (2, (0.001, 0.003, *small, 1.0)))
        ),
        *(Case("depth", n, {"depth": n, "samples": (5_000,)}, large) for n in (3, 10, 20)),
        *(Case("wrong", n, _wrong(n, 2_000, 8_000), (*small, 1.0, 3.0)) for n in (0, 20, 40)),
    ]


def rates(case: Case, layer: str) -> tuple[float, ...]:
    """Return the rates to try; in deep networks those of LayerNorm are lower."""
    lower = case.kind == "depth" and layer == "LayerNorm" and len(case.rates) > 1
    return (*(rate / 10 for rate in case.rates[:2]), *case.rates) if lower else case.rates


def _wrong(percent: int, rows: int, samples: int) -> dict[str, Any]:
    return {"wrong": percent / 100, "rows": rows, "samples": (samples,)}


def measured(lab: script.Script, source: Source, chosen: Sequence[Case]) -> dict[str, Any]:
    """Sweep each layer in each case, then train it at its best rate with every seed."""
    tried = {
        (case.kind, case.step, layer): [
            Stressed(layer, rate, SWEEP_SEED, **case.changes) for rate in rates(case, layer)
        ]
        for case, layer in product(chosen, LAYERS)
    }
    swept = [setting for group in tried.values() if len(group) > 1 for setting in group]
    trials = _by_setting(lab, source, swept)
    wanted = {}
    for at, group in tried.items():
        best = training.best_rates((one, trials[one]) for one in group if one in trials)
        rate = best.get(group[0].layer, group[0].rate)
        wanted[at] = [replace(group[0], rate=rate, seed=seed) for seed in range(lab.seeds)]
    runs = _by_setting(lab, source, [setting for group in wanted.values() for setting in group])
    numbers: dict[str, Any] = {}
    for (kind, step, layer), group in wanted.items():
        numbers.setdefault(kind, {}).setdefault(str(step), {})[layer] = {
            "rate": group[0].rate,
            "sweep": {
                f"{setting.rate:g}": trials[setting]["validation_accuracy"][-1]
                for setting in tried[kind, step, layer]
                if setting in trials
            },
            "test_accuracy": training.spread([runs[one]["test_accuracy"][-1] for one in group]),
            "as_trained": training.spread([runs[one]["as_trained"] for one in group]),
            "not_finite": sum(runs[one]["not_finite"] for one in group),
        }
    return {"cases": numbers, "pairs": pairs(numbers)}


def _by_setting(
    lab: script.Script, source: Source, settings: list[Stressed]
) -> dict[Stressed, dict[str, Any]]:
    """Return what became of each setting."""
    return dict(zip(settings, lab.each(stressed, settings, source), strict=True))


def pairs(cases_: dict[str, Any]) -> dict[str, Any]:
    """Return each shaped layer against each rival, step by step, and how often it is ahead."""
    found: dict[str, Any] = {}
    for kind, steps in cases_.items():
        table = {
            step: {
                ours: {
                    rival: paired.difference(
                        entry[ours]["test_accuracy"]["seeds"],
                        entry[rival]["test_accuracy"]["seeds"],
                    )
                    for rival in RIVALS
                }
                for ours in SHAPED
            }
            for step, entry in steps.items()
        }
        verdicts = [
            pair["verdict"]
            for step in table.values()
            for row in step.values()
            for pair in row.values()
        ]
        counts = {name: verdicts.count(name) for name in ("ahead", "tie", "behind")}
        found[kind] = {"steps": table, "counts": {**counts, "all": len(verdicts)}}
    return found


def wins(steps: dict[str, Any]) -> list[str]:
    """Return the steps at which a shaped layer is ahead of each of its rivals."""
    return [
        step
        for step, rows in steps.items()
        if any(all(pair["verdict"] == "ahead" for pair in row.values()) for row in rows.values())
    ]


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return one finding for each hardship, and what two images a batch do."""
    found = []
    for kind, (claim, unit) in CLAIMS.items():
        steps = numbers["pairs"][kind]["steps"]
        won, hardest = wins(steps), list(steps)[-1]
        lost = [step for step in steps if step not in won]
        found.append(
            Finding(
                claim=claim,
                source="ours",
                holds=not won,
                condition=f"at {' and '.join(lost)} {unit}" if won and lost else "",
                text=(
                    f"At {hardest} {unit}, each at its best rate: batch norm {{batch_norm:.1f}}%, "
                    "TrimmedNorm {trimmed:.1f}%, LayerNorm {layer:.1f}%, Copula {copula:.1f}%, "
                    "MomentNorm 4 {moment:.1f}%. Over all steps the two shaped layers are ahead in "
                    "{ahead} of {all} pairs with the other three, tie in {tie} and are behind in "
                    "{behind} (99% intervals of paired differences). The claim holds where "
                    "no shaped layer is ahead of all three."
                ),
                numbers={
                    **{
                        name: f"cases/{kind}/{hardest}/{layer}/test_accuracy/mean"
                        for name, layer in zip(WORDS, LAYERS, strict=True)
                    },
                    **{
                        name: f"pairs/{kind}/counts/{name}"
                        for name in ("ahead", "tie", "behind", "all")
                    },
                },
                figure="stress",
            )
        )
    return [*found, lagging(numbers), without_batch(numbers)]


def lagging(numbers: dict[str, Any]) -> Finding:
    """Return what running statistics do to a deep network after few steps."""
    deep = list(numbers["cases"]["depth"])[-1]
    entry = numbers["cases"]["depth"][deep]
    pair = paired.difference(
        entry["BatchNorm"]["test_accuracy"]["seeds"], entry["BatchNorm"]["as_trained"]["seeds"]
    )
    path = f"cases/depth/{deep}/{{}}/{{}}/mean".format
    return Finding(
        claim="Early in training a deep network is measured wrongly: running statistics lag.",
        source="ours",
        holds=pair["verdict"] == "ahead",
        text=(
            f"{deep} layers: with its running statistics as they are batch norm reaches "
            "{batch_norm_was:.1f}%, with statistics taken anew {batch_norm:.1f}%; TrimmedNorm "
            "{trimmed_was:.1f}% and {trimmed:.1f}%, Copula {copula_was:.1f}% and {copula:.1f}%, "
            "MomentNorm 4 {moment_was:.1f}% and {moment:.1f}%. The claim holds where batch norm "
            "gains, seed by seed."
        ),
        numbers={
            name + ending: path(layer, key)
            for name, layer in zip(WORDS, LAYERS, strict=True)
            if layer != "LayerNorm"
            for ending, key in (("", "test_accuracy"), ("_was", "as_trained"))
        },
        figure="stress",
    )


def without_batch(numbers: dict[str, Any]) -> Finding:
    """Return what becomes of statistics of two images, beside a layer that takes none."""
    at = numbers["cases"]["batch"]["2"]
    others = [layer for layer in LAYERS if layer != "LayerNorm"]
    ahead = [
        paired.difference(
            at["LayerNorm"]["test_accuracy"]["seeds"], at[layer]["test_accuracy"]["seeds"]
        )["verdict"]
        == "ahead"
        for layer in others
    ]
    path = "cases/batch/2/{}/test_accuracy/{}".format
    return Finding(
        claim=(
            "With two images a batch every layer that takes its statistics from the batch falls "
            "behind LayerNorm, which takes them from one image."
        ),
        source="ours",
        holds=all(ahead),
        condition="against some of the four" if any(ahead) else "",
        text=(
            "LayerNorm {layer:.1f}%; batch norm "
            "{batch_norm:.1f}%, TrimmedNorm {trimmed:.1f}%, Copula {copula:.1f}%, MomentNorm 4 "
            "{moment:.1f}%. Two values of a unit become plus and minus the same number, whatever "
            "they were."
        ),
        numbers={name: path(layer, "mean") for name, layer in zip(WORDS, LAYERS, strict=True)},
        figure="stress",
    )


def markdown(numbers: dict[str, Any]) -> str:
    """Return a table: a row for each step of a hardship, a column for each layer."""
    lines = ["| | " + " | ".join(LAYERS) + " |", "|---" * (len(LAYERS) + 1) + "|"]
    for kind, (_, unit) in CLAIMS.items():
        for step, entry in numbers["cases"][kind].items():
            cells = (entry[layer]["test_accuracy"] for layer in LAYERS)
            told = " | ".join(f"{cell['mean']:.1f} ± {cell['std'] or 0:.1f}" for cell in cells)
            lines.append(f"| {step} {unit} | {told} |")
    return "\n".join(lines)


def draw(numbers: dict[str, Any]) -> Figure:
    """Draw the accuracy of each layer at each step of each hardship."""
    figure, axes = style.figure(12.5, 4.4, 1, 3)
    for ax, (kind, (title, label)) in zip(axes, PANELS.items(), strict=True):
        steps = numbers["cases"][kind]
        for index, layer in enumerate(LAYERS):
            entries = [entry[layer]["test_accuracy"] for entry in steps.values()]
            at = [place + 0.1 * (index - 2) for place in range(len(entries))]
            ax.errorbar(
                at,
                [entry["mean"] for entry in entries],
                [entry["std"] or 0 for entry in entries],
                fmt="o",
                ms=5,
                lw=1.4,
                color=style.COLOURS[layer],
                label=layer,
            )
            was = [entry[layer]["as_trained"]["mean"] for entry in steps.values()]
            ax.plot(at, was, "o", ms=5, mfc="white", color=style.COLOURS[layer], zorder=1)
        ax.set_xticks(range(len(steps)), list(steps))
        ax.set(title=title, xlabel=label)
        ax.grid(axis="y", color=style.FAINT, lw=0.7)
    axes[0].set_ylabel("test accuracy, %")
    style.legend_outside(figure, axes[0])
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Sweep, train, compare and write."""
    lab = script.begin(__file__, __doc__, arguments)
    source = lab.source("mnist")
    chosen = cases(lab.quick)
    settings = {
        "layers": LAYERS,
        "cases": [[case.kind, case.step, case.changes] for case in chosen],
        "rates": {
            f"{case.kind} {case.step}": {layer: rates(case, layer) for layer in LAYERS}
            for case in chosen
        },
        "sweep_seed": SWEEP_SEED,
    }
    results = lab.results("Tiny batches, depth, wrong labels", settings, source)
    numbers = measured(lab, source, chosen)
    figures = {"stress": (draw(numbers), CAPTION)}
    results.write(numbers, findings(numbers), figures, {"test accuracy, %": markdown(numbers)})


if __name__ == "__main__":
    script.run(main)
