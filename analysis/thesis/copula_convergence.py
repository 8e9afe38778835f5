"""Convergence on MNIST and CIFAR-10: the copula transform against batch norm and no layer.

The slides show test accuracy and training loss for the copula transform (CT), batch norm (BN) and
the regular network, and say that CT comes out ahead on both data sets. They name no network for
CIFAR-10 and no rates. Here: the network of the MNIST tables (784-100-100-100-10, ReLU) on both
data sets, and a small convnet on CIFAR-10; plain SGD, batches of 50; every layer at a rate of
.007, as in tables.py, and at its own best rate (one run each of a seed that is not used again,
chosen by images held back from training). The MNIST runs are those of tables.py. Layers are
compared seed by seed, as runs of a seed share their first weights and the order of their batches:
the lead of the copula layer is the mean difference over seeds, of the accuracy and of the training
loss averaged over all marks (who is ahead on the way) and at the last mark, with a 99% interval by
Student's t.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any

import tables
from lab import data, script, style, sweeps, training
from lab.data import Source
from lab.findings import Finding
from lab.paired import difference
from lab.training import SAMPLES, THESIS_RATE, Setting
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, SymmetricalLogLocator

WEAK = "BatchNorm, gamma0 = 0.1"
LAYERS = ("Regular", "BatchNorm", WEAK, "Copula")
RIVALS = LAYERS[:3]
CURVES = {"test_accuracy": ("test accuracy, %", 1), "train_loss": ("training loss", -1)}
PANELS = {"thesis_rate": "at a rate of .007", "best_rate": "at best rates"}
SWEEP_SEED = tables.SWEEP_SEED
WIDE = 5.0  # largest over least training loss of a logarithmic axis


@dataclass(frozen=True)
class Experiment:
    """A network on a data set, with the marks and rates of its runs."""

    name: str
    title: str
    data: str
    network: str
    samples: tuple[int, ...]
    rates: tuple[float, ...]
    seeds: int  # at most


FULL = (
    Experiment("mnist_mlp", "MNIST, mlp", "mnist", "mlp", SAMPLES, tables.RATES, 10),
    Experiment(
        "cifar10_mlp",
        "CIFAR-10, mlp",
        "cifar10",
        "mlp",
        tuple(range(5_000, 50_001, 5_000)),
        (THESIS_RATE, 0.02, 0.07, 0.2),
        10,
    ),
    Experiment(
        "cifar10_convnet",
        "CIFAR-10, convnet",
        "cifar10",
        "convnet",
        (5_000, 10_000, 15_000),
        (0.02, 0.07, 0.2),
        3,
    ),
)
QUICK = (
    Experiment(
        "mnist_mlp", "digits, mlp", "mnist", "mlp", tables.QUICK_SAMPLES, tables.QUICK_RATES, 2
    ),
    Experiment("cifar10_mlp", "digits, mlp", "cifar10", "mlp", (1_000, 2_000, 3_000), (0.07,), 2),
    Experiment(
        "cifar10_convnet", "digits, convnet", "cifar10", "convnet", (1_000, 2_000), (0.07,), 2
    ),
)


def measured(lab: script.Script, one: Experiment, source: Source) -> dict[str, Any]:
    """Run the sweep of an experiment, then every layer at the thesis' rate and at its own."""
    base = [Setting(layer, THESIS_RATE, SWEEP_SEED, one.samples, one.network) for layer in LAYERS]
    tried = training.sweep(base, one.rates)
    trials = list(zip(tried, lab.each(training.train, tried, source), strict=True))
    best = training.best_rates(trials)
    seeds = min(lab.seeds, one.seeds)
    panels, _ = sweeps.at_both_rates(lab, source, base, best, seeds, tuple(CURVES))
    return {
        "samples": one.samples,
        "seeds": seeds,
        "images": counts(source),
        "sweep": {f"{s.layer} at {s.rate:g}": run["validation_accuracy"][-1] for s, run in trials},
        **panels,
        "lead": {panel: leads(table) for panel, table in panels.items()},
    }


def counts(source: Source) -> dict[str, int]:
    """Return how many images there are to train on, to choose rates by and to test on."""
    images = data.images(source)
    return {part: len(getattr(images, part)) for part in ("train", "validation", "test")}


def leads(table: dict[str, Any]) -> dict[str, Any]:
    """Return the lead of the copula layer over each rival, on the way and at the last mark."""
    return {
        rival: {
            curve: {
                "all_marks": lead(table, rival, curve, statistics.fmean),
                "last_mark": lead(table, rival, curve, itemgetter(-1)),
            }
            for curve in CURVES
        }
        for rival in RIVALS
    }


def lead(
    table: dict[str, Any], rival: str, curve: str, level: Callable[[Sequence[float]], float]
) -> dict[str, Any]:
    """Return by how much the copula layer is better, seed by seed, with an interval."""
    levels = [
        [CURVES[curve][1] * level(run) for run in table[layer][curve]["seeds"]]
        for layer in ("Copula", rival)
    ]
    return difference(*levels)


def where(one: dict[str, Any], rival: str) -> list[str]:
    """Return in a few words where the copula layer is ahead of a rival, over all marks."""
    found = []
    for panel, words in PANELS.items():
        curves = [
            CURVES[curve][0].split(",")[0]
            for curve in CURVES
            if one["lead"][panel][rival][curve]["all_marks"]["verdict"] == "ahead"
        ]
        whole = len(curves) == len(CURVES)
        found += [words] if whole else [f"in {curve} {words}" for curve in curves]
    return found


def condition(experiments: dict[str, dict[str, Any]]) -> str:
    """Return where the copula layer is ahead of batch norm, or else of one with a weak start."""
    for rival, words in (("BatchNorm", ""), (WEAK, "against a batch norm that starts at 0.1: ")):
        places = {title: where(one, rival) for title, one in experiments.items()}
        told = [
            (f"{title} " if len(experiments) > 1 else "") + " and ".join(found)
            for title, found in places.items()
            if found
        ]
        if told:
            return words + "; ".join(told)
    return ""


RULE = (
    " Leads are means over all marks, a plus for the copula layer, paired by seed ({} seeds); in "
    "brackets their 99% intervals. One that has 0 in it decides nothing."
).format
UNITS = {"test_accuracy": (".2f", "points of accuracy"), "train_loss": (".3f", "of training loss")}


def told(prefix: str, name: str, one: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the sentence on the leads of an experiment and where its numbers are."""
    numbers = {
        f"{prefix}rate": f"{name}/best_rate/Copula/rate",
        f"{prefix}rival_rate": f"{name}/best_rate/BatchNorm/rate",
    }

    def leading(panel: str, rival: str) -> str:
        parts = []
        for curve, (form, unit) in UNITS.items():
            key = f"{prefix}{panel}_{curve}_{RIVALS.index(rival)}"
            path = f"{name}/lead/{panel}/{rival}/{curve}/all_marks"
            numbers.update({f"{key}_{end}": f"{path}/{end}" for end in ("mean", "low", "high")})
            mean, low, high = (f"{{{key}_{end}:+{form}}}" for end in ("mean", "low", "high"))
            verdict = one["lead"][panel][rival][curve]["all_marks"]["verdict"]
            parts.append(
                f"{mean} {unit} ({low} to {high}, {verdict})".replace("tie", "not decided")
            )
        return " and ".join(parts)

    text = (
        f"lead over batch norm at .007 {leading('thesis_rate', 'BatchNorm')}; each at its best "
        f"rate ({{{prefix}rate:g}} and {{{prefix}rival_rate:g}}) "
        f"{leading('best_rate', 'BatchNorm')}; over one whose gamma starts at 0.1, at .007, "
        f"{leading('thesis_rate', WEAK)}"
    )
    return text, numbers


def holds(experiments: Sequence[dict[str, Any]], rival: str) -> bool | None:
    """Return whether the copula layer is ahead everywhere; None if no interval decides."""
    verdicts = {
        one["lead"][panel][rival][curve]["all_marks"]["verdict"]
        for one in experiments
        for panel in PANELS
        for curve in CURVES
    }
    return None if verdicts == {"tie"} else verdicts == {"ahead"}


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return what the curves say of the slides' claims."""
    mnist, mlp, conv = (numbers[name] for name in ("mnist_mlp", "cifar10_mlp", "cifar10_convnet"))
    text, places = told("", "mnist_mlp", mnist)
    first = Finding(
        claim="On MNIST the copula transform outperforms batch norm in the convergence of both "
        "training loss and test accuracy.",
        source="slides, Results, Copula Transform",
        holds=holds([mnist], "BatchNorm"),
        condition=condition({"MNIST": mnist}),
        text=f"MNIST: {text}.{RULE('{seeds}')}",
        numbers={**places, "seeds": "mnist_mlp/seeds"},
        figure="copula_convergence",
    )
    one, places = told("mlp_", "cifar10_mlp", mlp)
    other, more = told("conv_", "cifar10_convnet", conv)
    second = Finding(
        claim="On CIFAR-10 the copula transform outperforms batch norm in the convergence of both "
        "training loss and test accuracy.",
        source="slides, Results, Copula Transform",
        holds=holds([mlp, conv], "BatchNorm"),
        condition=condition({"mlp": mlp, "convnet": conv}),
        text=(
            "On {images:,} training images, few of the full set (the slides name neither network "
            "nor rate). Each best rate rests on one run and {validation:,} images held back. "
            f"mlp: {one}. Convnet: {other}."
            f"{RULE('{seeds}, convnet {conv_seeds}')}"
        ),
        numbers={
            **places,
            **more,
            "images": "cifar10_mlp/images/train",
            "validation": "cifar10_mlp/images/validation",
            "seeds": "cifar10_mlp/seeds",
            "conv_seeds": "cifar10_convnet/seeds",
        },
        figure="copula_convergence",
    )
    return [first, second, regular(numbers)]


def regular(numbers: dict[str, Any]) -> Finding:
    """Return whether the copula layer converges faster than a network without a layer."""
    path = "{}/lead/{}/Regular/test_accuracy/all_marks/{}".format
    names = ("mnist_mlp", "cifar10_mlp", "cifar10_convnet")
    places = {name: where(numbers[name], "Regular") for name in names}
    titles = ("MNIST", "CIFAR-10 mlp", "CIFAR-10 convnet")
    parts = [
        f"{title}: "
        + " and ".join(
            f"{{{name}_{panel}_mean:+.1f}} points ({{{name}_{panel}_low:+.1f}} to "
            f"{{{name}_{panel}_high:+.1f}})"
            for panel in PANELS
        )
        for title, name in zip(titles, names, strict=True)
    ]
    return Finding(
        claim="The copula transform converges faster than the regular network.",
        source="slides, Results, Copula Transform",
        holds=holds([numbers[name] for name in names], "Regular"),
        condition="; ".join(
            f"{title} {' and '.join(places[name])}"
            for title, name in zip(titles, names, strict=True)
            if places[name]
        ),
        text=(
            "Lead in test accuracy over the network without a layer, mean over all marks, at .007 "
            "and each at its best rate (in brackets 99% intervals over seeds). "
            f"{'; '.join(parts)}. The claim is taken to hold where both curves are ahead at both "
            "rates in all three; an interval that has 0 in it decides nothing."
        ),
        numbers={
            f"{name}_{panel}_{end}": path(name, panel, end)
            for name in names
            for panel in PANELS
            for end in ("mean", "low", "high")
        },
        figure="copula_convergence",
    )


def draw(one: Experiment, numbers: dict[str, Any]) -> Figure:
    """Draw accuracy and loss against the samples seen, at both rates."""
    figure, axes = style.figure(12.5, 7.0, 2, 2, sharex=True, sharey="row")
    thousands = [n / 1000 for n in one.samples]
    for row, (curve, (label, _)) in enumerate(CURVES.items()):
        for ax, (panel, words) in zip(axes[row], PANELS.items(), strict=True):
            for layer, entry in numbers[panel].items():
                name = layer if panel == "thesis_rate" else f"{layer} ({entry['rate']:g})"
                style.curve(ax, thousands, entry[curve], layer, name, marker="o", ms=3.5)
            if row == 0:
                ax.set_title(f"{one.title}, {words}")
        axes[row, 0].set_ylabel(label)
    if WIDE * min(ax.dataLim.y0 for ax in axes[1]) < axes[1, 0].get_ylim()[1]:
        axes[1, 0].set_yscale("log")
        axes[1, 0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes[1, 0].yaxis.set_major_formatter("{x:g}")
        axes[1, 0].yaxis.set_minor_formatter("")
    for ax in axes[1]:
        ax.set(xticks=thousands, xlabel="samples seen, thousands")
    style.legend_outside(figure, axes[0, 1])
    return figure


def draw_leads(experiments: Sequence[Experiment], numbers: dict[str, Any]) -> Figure:
    """Draw the leads over each rival with their intervals."""
    figure, axes = style.figure(11.5, 4.8, 1, len(CURVES), sharey=True)
    rows = [(one, panel) for one in experiments for panel in PANELS]
    for ax, (curve, (label, sign)) in zip(axes, CURVES.items(), strict=True):
        for place, (one, panel) in enumerate(rows):
            for shift, rival in zip((-0.22, 0.0, 0.22), RIVALS, strict=True):
                found = numbers[one.name]["lead"][panel][rival][curve]["all_marks"]
                ends = (found["low"], found["high"])
                y, colour = place + shift, style.COLOURS[rival]
                if None not in ends:
                    ax.plot(ends, (y, y), color=colour, lw=2, solid_capstyle="butt")
                name = f"over {rival}" if place == 0 else None
                ax.plot(found["mean"], y, "o", ms=5, color=colour, label=name)
        ax.axvline(0, color=style.GREY, lw=0.8)
        near = 1.0 if sign > 0 else 0.1
        ax.set_xscale("symlog", linthresh=near, linscale=0.6)
        ax.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=near, subs=(1, 4)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set_xlabel(f"lead in {label.replace('%', 'points')}")
    names = [f"{one.title},\n{PANELS[panel]}" for one, panel in rows]
    axes[0].set_yticks(range(len(rows)), names)
    axes[0].invert_yaxis()
    style.legend_outside(figure, axes[0])
    return figure


def drawn(experiments: Sequence[Experiment], numbers: dict[str, Any]) -> dict[str, Any]:
    """Return all figures with their captions."""
    figures = {
        "copula_convergence": (
            draw_leads(experiments, numbers),
            "The lead of the copula layer, mean over all marks, with its 99% interval over seeds: "
            "to the right of 0 it is ahead. The scale is linear near 0, then logarithmic.",
        )
    }
    for one in experiments:
        images = numbers[one.name]["images"]["train"]
        figures[f"copula_convergence_{one.name}"] = (
            draw(one, numbers[one.name]),
            f"{one.title}: {images:,} training images, {numbers[one.name]['seeds']} seeds; lines "
            "are means, bands one standard deviation; best rates in brackets. Training loss: mean "
            "over the batches since the mark before.",
        )
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, compare and write."""
    lab = script.begin(__file__, __doc__, arguments)
    experiments = QUICK if lab.quick else FULL
    sources = {one.data: lab.source(one.data) for one in experiments}
    settings = {
        "experiments": {one.name: asdict(one) for one in experiments},
        "images": {name: counts(source) for name, source in sources.items()},
        "layers": LAYERS,
        "thesis_rate": THESIS_RATE,
        "sweep_seed": SWEEP_SEED,
        "batch": training.BATCH,
    }
    title = "Convergence on MNIST and CIFAR-10: copula, batch norm, regular"
    results = lab.results(title, settings, *sources.values())
    numbers = {
        one.name: measured(lab, one, sources[one.data])
        for one in sorted(experiments, key=lambda one: one.data)  # CIFAR-10 first
    }
    results.write(numbers, findings(numbers), drawn(experiments, numbers))


if __name__ == "__main__":
    script.run(main)
