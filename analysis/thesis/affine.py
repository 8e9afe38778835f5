"""Gamma and beta: can a network opt out of normalisation, does it, and are they of use?

The third text: gamma and beta are learned, so that a network is not locked to mean 0 and deviation
1; with gamma = sigma and beta = mu the layer gives its input back, and where that lowers the loss
the network learns it. Measured: the identity in float64; a task whose loss falls only if the layer
becomes the identity, with gamma and beta trained by SGD and Adam on batches of 50, half of the
columns normal, half exponential; the same where each batch has a location of its own; and the
network of the thesis on MNIST with and without gamma and beta, with ReLU and sigmoid, each at its
best learning rate (a sweep of three seeds that are not used again): accuracy, and where gamma and
beta end. One is ahead where the 99% interval of the mean difference, seed by seed, leaves out 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from lab import paired, script, style, training
from lab.data import Source
from lab.findings import Finding
from lab.noise import optout
from lab.noise.gamma_beta import NEAR, Line, averaged, is_alike, trained
from lab.noise.optout import EXACT, OptOut, recovered
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ACTIVATIONS = ("relu", "sigmoid")
SAMPLES, RATES = (5_000, 10_000, 15_000, 20_000, 25_000), (0.03, 0.1, 0.3, 1.0)
QUICK_SAMPLES, QUICK_RATES = (1_000, 2_000), (0.1,)
SWEEP_SEEDS = (100, 101, 102)
BATCH = 50
STEPS, QUICK_STEPS = 2_000, 1_000
WANDERS = (0.1, 0.3, 1.0)  # how far batches differ, in sigma
CAPTION = (
    "Above left: a task whose loss is 0 only at the identity; dashed: what the noise of 50 normal "
    "rows leaves, by theory. Above right: the network of the thesis with and without gamma and "
    "beta, each at its best rate; means over seeds, bars one standard deviation. Below: gamma and "
    "beta over training, median over units and the band of their central 90%; dashed: the start."
)
ALMOST = 0.01  # of the variance: less lost is the identity


def opting_out(lab: script.Script) -> dict[str, Any]:
    """Train layers to be the identity, in every way."""
    steps = QUICK_STEPS if lab.quick else STEPS
    ways = {
        "no gamma and beta": OptOut("none", "sgd", 0.05, 0, steps),
        "BatchNorm, SGD": OptOut("BatchNorm", "sgd", 0.05, 0, steps),
        "BatchNorm, Adam": OptOut("BatchNorm", "adam", 0.02, 0, steps),
        **{
            way_apart(wander): OptOut("BatchNorm", "sgd", 0.05, 0, steps, wander=wander)
            for wander in (WANDERS[1:2] if lab.quick else WANDERS)
        },
    }
    if not lab.quick:
        ways["MomentNorm 4, SGD"] = OptOut("MomentNorm 4", "sgd", 0.05, 0, steps)
        ways["Copula, SGD"] = OptOut("Copula", "sgd", 0.05, 0, steps)
    settings = [replace(one, seed=seed) for one in ways.values() for seed in range(lab.seeds)]
    runs = iter(lab.each(optout.opted_out, settings))
    return {name: together([next(runs) for _ in range(lab.seeds)]) for name in ways}


def together(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return losses as mean and deviation over seeds, and how near gamma and beta came."""
    losses = {
        phase: {
            shape: training.spread([run[phase][shape] for run in runs])
            for shape in ("normal", "exponential")
        }
        for phase in ("training", "test")
    }
    if runs[0]["gamma"] is None:
        return losses
    gamma, beta = (np.array([run[name] for run in runs]) for name in ("gamma", "beta"))
    return {
        **losses,
        "gamma": float(np.median(np.abs(gamma))),
        "gamma_off": float(np.median(np.abs(gamma - 1))),
        "beta_off": float(np.median(np.abs(beta))),
    }


def on_images(lab: script.Script, source: Source) -> dict[str, Any]:
    """Sweep, then train with and without gamma and beta at the best rates."""
    samples, rates = (QUICK_SAMPLES, QUICK_RATES) if lab.quick else (SAMPLES, RATES)
    found: dict[str, Any] = {}
    base = {
        (activation, affine): Line(
            "BatchNorm", rates[0], SWEEP_SEEDS[0], samples, activation=activation, affine=affine
        )
        for activation in ACTIVATIONS
        for affine in (True, False)
    }
    swept = [replace(one, seed=seed) for one in base.values() for seed in SWEEP_SEEDS]
    tried = training.sweep(swept, rates) if len(rates) > 1 else []
    trials = dict(zip(tried, lab.each(trained, tried, source), strict=True))
    wanted = {}
    for at, one in base.items():
        ours = [(each, run) for each, run in trials.items() if is_alike(each, one)]
        best = training.best_rates(ours).get(one.layer, one.rate)
        wanted[at] = [replace(one, rate=best, seed=seed) for seed in range(lab.seeds)]
        found.setdefault(at[0], {})["with" if at[1] else "without"] = {
            "rate": best,
            "sweep": {
                f"{rate:g}": [
                    run["validation_accuracy"][-1] for each, run in ours if each.rate == rate
                ]
                for rate in rates
            },
        }
    settings = [one for group in wanted.values() for one in group]
    runs = dict(zip(settings, lab.each(trained, settings, source), strict=True))
    for (activation, affine), group in wanted.items():
        chosen = [runs[one] for one in group]
        entry = found[activation]["with" if affine else "without"]
        entry["test_accuracy"] = training.summary(chosen, "test_accuracy")
        if affine:
            entry["lines"] = averaged([run["lines"] for run in chosen])
    for entry in found.values():
        last = {
            name: [seed[-1] for seed in entry[name]["test_accuracy"]["seeds"]]
            for name in ("with", "without")
        }
        entry["difference"] = paired.difference(last["with"], last["without"])
    return found


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return what the third text says of gamma and beta, and what became of it."""
    return [identity(numbers), learned(numbers), apart(numbers), *uses(numbers)]


def identity(numbers: dict[str, Any]) -> Finding:
    """Return the finding on gamma = sigma and beta = mu."""
    worst = max(numbers["recovered"][name] for name in EXACT)
    return Finding(
        claim="With gamma = sigma and beta = mu the layer gives its input back.",
        source="third text",
        holds=worst < 1e-10,
        text=(
            "In float64, columns 1e-3 to 1e3 wide: batch norm is off by {batch:.1e} sigma at most, "
            "MomentNorm of order 2 by {moment:.1e} (the claim holds below 1e-10), with the eps of "
            "the layer in gamma. A layer that shapes cannot: of an exponential column MomentNorm 4 "
            "loses {moment4:.0%} of the variance, Copula {copula:.0%}, with the best line."
        ),
        numbers={
            "batch": "recovered/BatchNorm",
            "moment": "recovered/MomentNorm 2",
            "moment4": "recovered/MomentNorm 4",
            "copula": "recovered/Copula",
        },
    )


def learned(numbers: dict[str, Any]) -> Finding:
    """Return the finding on gamma and beta trained where opting out lowers the loss."""
    ways = [numbers["opting_out"][f"BatchNorm, {name}"] for name in ("SGD", "Adam")]

    def below(phase: str, limit: float) -> bool:
        return all(way[phase][shape]["mean"] < limit for way in ways for shape in way[phase])

    path = "opting_out/BatchNorm, {}/{}".format
    return Finding(
        claim="Where it lowers the loss, the network learns gamma = sigma and beta = mu.",
        source="third text",
        holds=below("training", ALMOST) and below("test", ALMOST),
        condition="in the test phase; in training the noise of the batch remains"
        if below("test", ALMOST)
        else "",
        text=(
            "Trained by SGD, gamma is off by {gamma:.1%} of sigma and beta by {beta:.1%} in the "
            "median, by Adam {adam_gamma:.1%} and {adam_beta:.1%}. In the test phase {test:.2%} of "
            "the variance of normal columns are lost, {exponential:.2%} of exponential ones; "
            "without gamma and beta the loss is {none:.0f} times the variance. In training "
            "{training:.1%} and {training_exponential:.1%} remain lost, whatever gamma and beta: "
            "mean and deviation of 50 rows are noisy, which theory puts at {theory:.1%} and "
            f"{{theory_exponential:.1%}}. The claim holds where less than {ALMOST:.0%} is lost."
        ),
        numbers={
            "gamma": path("SGD", "gamma_off"),
            "beta": path("SGD", "beta_off"),
            "adam_gamma": path("Adam", "gamma_off"),
            "adam_beta": path("Adam", "beta_off"),
            "test": path("SGD", "test/normal/mean"),
            "exponential": path("SGD", "test/exponential/mean"),
            "none": "opting_out/no gamma and beta/test/normal/mean",
            "training": path("SGD", "training/normal/mean"),
            "training_exponential": path("SGD", "training/exponential/mean"),
            "theory": "floor/normal",
            "theory_exponential": "floor/exponential",
        },
        figure="affine",
    )


def apart(numbers: dict[str, Any]) -> Finding:
    """Return the finding on batches that differ from each other."""
    found = numbers["opting_out"]
    alike = found["BatchNorm, SGD"]["training"]["normal"]
    name, wander = next((n, w) for w in WANDERS[1:] if (n := way_apart(w)) in found)
    other = found[name]["training"]["normal"]
    return Finding(
        claim="Where batches differ, no gamma and beta give the input back in training.",
        source="ours",
        holds=paired.difference(other["seeds"], alike["seeds"])["verdict"] == "ahead"
        and other["mean"] > 0.5 * wander**2,
        text=(
            f"Where the location of each batch is its own, with a deviation of {wander:g} sigma, "
            "{other:.1%} of the variance remain lost in training, against {alike:.1%} where "
            "batches are alike: what the layer takes away with the mean of the batch "
            f"({wander:g} squared) is gone. The claim holds where at least half of that is lost."
        ),
        numbers={
            "other": f"opting_out/{name}/training/normal/mean",
            "alike": "opting_out/BatchNorm, SGD/training/normal/mean",
        },
        figure="affine",
    )


def uses(numbers: dict[str, Any]) -> list[Finding]:
    """Return the findings on gamma and beta in the network of the thesis."""
    found = numbers["on_images"]
    ahead = [name for name in ACTIVATIONS if found[name]["difference"]["verdict"] == "ahead"]
    path = "on_images/{}/{}/test_accuracy/{}/-1".format
    return [
        Finding(
            claim="Normalising alone constrains the network; gamma and beta lift that.",
            source="third text",
            holds=len(ahead) == len(ACTIVATIONS),
            condition=f"with {ahead[0]}" if ahead else "",
            text=(
                "Test accuracy with and without gamma and beta, each at its best rate: ReLU "
                "{relu:.2f}% and {relu_without:.2f}% (difference {relu_gap:+.2f}), sigmoid "
                "{sigmoid:.2f}% and {sigmoid_without:.2f}% ({sigmoid_gap:+.2f}). The claim holds "
                "where they are ahead with both."
            ),
            numbers={
                **{
                    name + ending: path(name, way, "mean")
                    for name in ACTIVATIONS
                    for ending, way in (("", "with"), ("_without", "without"))
                },
                **{f"{name}_gap": f"on_images/{name}/difference/mean" for name in ACTIVATIONS},
            },
            figure="affine",
        ),
        Finding(
            claim="In training on images, units do opt out of normalisation.",
            source="third text",
            holds=numbers["opted_out"] > 0.5,
            condition=f"{numbers['opted_out']:.0%} of the units"
            if numbers["opted_out"] > NEAR
            else "",
            text=(
                f"At the end {{share:.1%}} of the units (both activations) have gamma within "
                f"{NEAR:.0%} of sigma and beta within {NEAR:g} sigma of mu. With ReLU, gamma over "
                "sigma is {first:.2f}, {second:.2f} and {third:.2f} in the median of the three "
                "layers. The claim holds above 50%: that the network could opt out does not "
                "mean that it does."
            ),
            numbers={
                "share": "opted_out",
                **{
                    word: f"on_images/relu/with/lines/-1/norm{level}/gamma_over_sigma/2"
                    for level, word in enumerate(("first", "second", "third"), 1)
                },
            },
            figure="affine",
        ),
    ]


def way_apart(wander: float) -> str:
    """Return the name of the task where batches differ."""
    return f"BatchNorm, batches {wander:g} sigma apart"


def markdown(numbers: dict[str, Any]) -> str:
    """Return a table: what each layer leaves of the loss where only the identity has none."""
    lines = [
        "| layer | training, normal | training, exponential | test, normal | test, exponential |",
        "|---" * 5 + "|",
    ]
    for name, entry in numbers["opting_out"].items():
        cells = [
            f"{entry[phase][shape]['mean']:.4f} ± {entry[phase][shape]['std'] or 0:.4f}"
            for phase in ("training", "test")
            for shape in ("normal", "exponential")
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(numbers: dict[str, Any], samples: Sequence[int]) -> Figure:
    """Draw what is left of the loss, accuracies with and without, gamma and beta."""
    figure, axes = style.figure(12.0, 8.4, 2, 2)
    draw_remaining(axes[0, 0], numbers)
    thousands = [n / 1000 for n in samples]
    draw_accuracy(axes[0, 1], numbers["on_images"], thousands)
    for ax, key in zip(axes[1], ("gamma", "beta"), strict=True):
        marks = numbers["on_images"]["relu"]["with"]["lines"]
        for level, colour in enumerate((style.BLUE, style.ORANGE, style.GREEN), 1):
            at = np.array([mark[f"norm{level}"][key] for mark in marks])
            ax.plot(thousands, at[:, 2], color=colour, lw=1.8, label=f"layer {level}")
            ax.fill_between(thousands, at[:, 0], at[:, -1], color=colour, alpha=0.15, lw=0)
        ax.axhline(1.0 if key == "gamma" else 0.0, color=style.GREY, lw=0.8, ls=(0, (4, 3)))
        ax.set(title=f"{key} on images, ReLU", xlabel="samples seen, thousands", ylabel=key)
        ax.legend(frameon=False)
    return figure


def draw_remaining(ax: Axes, numbers: dict[str, Any]) -> None:
    """Draw the loss of each layer over the variance, in both phases."""
    names = list(numbers["opting_out"])
    for phase, marker, colour in (("training", "o", style.INK), ("test", "D", style.BLUE)):
        for shape, filled in (("normal", True), ("exponential", False)):
            values = [numbers["opting_out"][name][phase][shape]["mean"] for name in names]
            ax.plot(
                values,
                range(len(names)),
                marker,
                ms=6,
                color=colour,
                mfc=colour if filled else "white",
                label=f"{phase}, {shape} columns",
            )
    ax.axvline(numbers["floor"]["normal"], color=style.GREY, lw=0.8, ls=(0, (4, 3)))
    ax.set_yticks(range(len(names)), [name.replace("BatchNorm, b", "b") for name in names])
    ax.invert_yaxis()
    ax.set(
        xscale="log", xlabel="loss left, over the variance", title="the loss is 0 at the identity"
    )
    ax.grid(axis="x", color=style.FAINT, lw=0.7)
    ax.legend(frameon=False, fontsize=8, loc="center right")


def draw_accuracy(ax: Axes, found: dict[str, Any], thousands: Sequence[float]) -> None:
    """Draw test accuracy with and without gamma and beta."""
    for activation, colour in zip(ACTIVATIONS, (style.INK, style.RED), strict=True):
        for way, dash in (("with", "-"), ("without", (0, (2, 2)))):
            mean = found[activation][way]["test_accuracy"]["mean"]
            std = [value or 0 for value in found[activation][way]["test_accuracy"]["std"]]
            ax.errorbar(
                thousands, mean, std, color=colour, ls=dash, lw=1.6, label=f"{activation}, {way}"
            )
    ax.set(title="gamma and beta on images", xlabel="samples seen, thousands")
    ax.set_ylabel("test accuracy, %")
    ax.legend(frameon=False, loc="lower right")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, train, compare and write."""
    lab = script.begin(__file__, __doc__, arguments)
    source = lab.source("mnist")
    samples = QUICK_SAMPLES if lab.quick else SAMPLES
    settings = {
        "samples": samples,
        "rates": QUICK_RATES if lab.quick else RATES,
        "sweep_seeds": SWEEP_SEEDS,
        "steps": QUICK_STEPS if lab.quick else STEPS,
        "batch": BATCH,
    }
    results = lab.results("Gamma and beta", settings, source)
    on = on_images(lab, source)
    numbers = {
        "recovered": recovered(),
        "opting_out": opting_out(lab),
        # Var(mean) + Var(deviation), over sigma^2: (1 + (kurtosis - 1) / 4) / k
        "floor": {"normal": 1.5 / BATCH, "exponential": 3.0 / BATCH},
        "on_images": on,
        "opted_out": float(
            np.mean(
                [
                    layer["opted_out"]
                    for entry in on.values()
                    for layer in entry["with"]["lines"][-1].values()
                ]
            )
        ),
    }
    figures = {"affine": (draw(numbers, samples), CAPTION)}
    tables = {"loss left, over the variance": markdown(numbers)}
    results.write(numbers, findings(numbers), figures, tables)


if __name__ == "__main__":
    script.run(main)
