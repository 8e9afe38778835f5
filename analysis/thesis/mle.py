"""Maximum likelihood, the blog's first idea: its objective degenerates, on paper and in a network.

The blog reshapes a column x by z = (x - mu) / sigma, to make z likely under N(0, 1). With m and v
the mean and variance of x, the negative log likelihood of a value of z is

    L(mu, sigma) = (v + (m - mu)^2) / (2 sigma^2) + log(2 pi) / 2.

dL / d log sigma = -(v + (m - mu)^2) / sigma^2 is below 0 everywhere: L falls to its infimum as
sigma goes to infinity, where z = 0, and has no minimum. Under gradient descent in log sigma from
mu = m and sigma^2 = v, d(sigma^2)/dt = 2 v: sigma = sqrt(v (1 + 2 t)), without end.

Independence is not why. Rows with any covariance C give z' C^-1 z / (2 n) in place of the first
term, again a constant over sigma^2. What is missing is the change of variables: the likelihood of
x itself, N(mu, sigma^2), adds log sigma to L, and its minimum is mu = m, sigma^2 = v: batch norm.

Measured: descent by automatic differentiation on columns of MNIST (what enters the activations of
a trained network without a layer), for the three objectives; and the layer that learns mu and
sigma by the loss plus a weight times L (MLENorm) or times the divergence, which has the logarithm
(KLNorm), in a network, each at its best rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from lab import script, style, training
from lab.data import Source, images
from lab.divergence import learned
from lab.findings import Finding
from lab.training import SAMPLES, THESIS_RATE, Setting
from matplotlib.figure import Figure
from torch import Tensor

RATES = (0.002, THESIS_RATE, 0.02, 0.07, 0.2, 0.7)
SWEEP_SEED = 100
MARKS = (500, 1000, 2500, 5000, 10_000, *SAMPLES)
QUICK_RATES = (THESIS_RATE, 0.07)
QUICK_SAMPLES, QUICK_MARKS = (2000, 4000, 6000), (500, 2000, 4000, 6000)
MLE = ("MLENorm", "MLENorm, weight 0.1")
LEARNED, PLAIN = (*MLE, "KLNorm"), ("Regular", "BatchNorm")
LAYERS = (*LEARNED, *PLAIN)

CORRELATION = 0.5  # of neighbouring rows, in the likelihood of rows that are not independent
HEADS = {
    "likelihood of z": "likelihood of z, the blog's",
    "dependent rows": "the same, neighbouring rows correlated by .5",
    "likelihood of x": "likelihood of x: with log sigma",
}


@dataclass(frozen=True)
class Descent:
    """Descent on columns of one network: what it was trained by, rows, steps."""

    training: Setting
    rows: int
    steps: int
    rate: float


def independent(z: Tensor, log_sigma: Tensor) -> Tensor:
    """Return the negative log likelihood of the columns of z, a value, but for a constant."""
    del log_sigma
    return z.square().mean(0) / 2


def dependent(z: Tensor, log_sigma: Tensor) -> Tensor:
    """Return that of rows of which neighbours are correlated: an autoregression of order 1."""
    del log_sigma
    noise = (z[1:] - CORRELATION * z[:-1]) / math.sqrt(1 - CORRELATION**2)
    return (z[0].square() + noise.square().sum(0)) / (2 * len(z))


def of_the_data(z: Tensor, log_sigma: Tensor) -> Tensor:
    """Return that of x itself, independent rows."""
    return z.square().mean(0) / 2 + log_sigma


def descended(setting: Descent, source: Source) -> dict[str, Any]:
    """Descend on the columns of a trained network by each objective: a task for `Script.each`."""
    data = images(source)
    model = training.build(setting.training, data.shape)
    for _ in training.trained(model, data.train, setting.training):
        pass
    found = learned.columns(model, data.test.pixels[: setting.rows])
    x = torch.cat(list(found.values()), 1).double()
    std = x.std(0, correction=0)
    x = x[:, std > 0]
    scaled = (x - x.mean(0)) / std[std > 0]
    return {
        "columns": x.shape[1],
        **{
            "likelihood of z": descent(independent, scaled, (0.0, 1.0), setting),
            "dependent rows": descent(dependent, scaled, (0.0, 1.0), setting),
            "likelihood of x": descent(of_the_data, scaled, (1.0, 2.0), setting),
        },
    }


def descent(
    objective: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    start: tuple[float, float],
    setting: Descent,
) -> dict[str, Any]:
    """Return sigma of each step in standard deviations of the columns, and where mu ends."""
    shift = torch.full_like(x[0], start[0], requires_grad=True)
    log_sigma = torch.full_like(x[0], math.log(start[1]), requires_grad=True)
    kept = set(np.unique(np.geomspace(1, setting.steps, 40).astype(int)).tolist())
    found: dict[str, Any] = {"step": [], "median": [], "low": [], "high": []}
    for step in range(1, setting.steps + 1):
        value = objective((x - shift) * torch.exp(-log_sigma), log_sigma).sum()
        for learnt, slope in zip(
            (shift, log_sigma), torch.autograd.grad(value, (shift, log_sigma)), strict=True
        ):
            learnt.data -= setting.rate * slope
        if step in kept:
            sigma = log_sigma.detach().exp()
            found["step"].append(step)
            for name, at in (("median", sigma.median()), ("low", sigma.min())):
                found[name].append(at.item())
            found["high"].append(sigma.max().item())
    return {**found, "furthest_mu": shift.detach().abs().max().item()}


def trained(lab: script.Script, source: Source) -> dict[str, Any]:
    """Sweep the rates, then follow each layer that learns at its own; accuracy of all."""
    rates, marks = (QUICK_RATES, QUICK_MARKS) if lab.quick else (RATES, MARKS)
    samples = QUICK_SAMPLES if lab.quick else SAMPLES
    tried = training.sweep([Setting(name, 0.0, SWEEP_SEED, samples) for name in LAYERS], rates)
    trials = list(zip(tried, lab.each(training.train, tried, source), strict=True))
    best = training.best_rates(trials)
    found: dict[str, Any] = {"best_rate": best, "marks": marks, "samples": samples, "layers": {}}
    found["sweep"] = {
        name: {
            f"{setting.rate:g}": run["validation_accuracy"][-1]
            for setting, run in trials
            if setting.layer == name
        }
        for name in LAYERS
    }
    seeds = range(lab.seeds)
    plain = [Setting(name, best[name], seed, samples) for name in PLAIN for seed in seeds]
    learns = [Setting(name, best[name], seed, marks) for name in LEARNED for seed in seeds]
    runs = lab.each(learned.followed, learns, source) + lab.each(training.train, plain, source)
    for at, name in enumerate((*LEARNED, *PLAIN)):
        own = runs[at * lab.seeds : (at + 1) * lab.seeds]
        entry = {"test_accuracy": training.summary(own, "test_accuracy")}
        if name in LEARNED:
            entry["learned"] = learned.over_seeds(own, ("squeezed", "grown"))
        found["layers"][name] = entry
    return found


def measured(lab: script.Script, source: Source, descent_setting: Descent) -> dict[str, Any]:
    """Return the descents, what they should be, and the training."""
    found = lab.each(descended, [descent_setting], source)[0]
    time = descent_setting.rate * descent_setting.steps
    expected = math.sqrt(1 + 2 * time)
    return {
        "descent": {
            **found,
            "time": time,
            "expected": expected,
            "error": max(
                abs(found["likelihood of z"][end][-1] / expected - 1) for end in ("low", "high")
            ),
            "back": max(
                abs(found["likelihood of x"]["low"][-1] - 1),
                abs(found["likelihood of x"]["high"][-1] - 1),
                found["likelihood of x"]["furthest_mu"],
            ),
        },
        "network": trained(lab, source),
    }


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return what the descent says of the blog's claim and its reason, and what the layer does."""
    descent = numbers["descent"]
    runaway = descent["likelihood of z"]["low"][-1] > 0.9 * descent["expected"]
    held = descent["back"] < 0.01
    tied = descent["dependent rows"]["low"][-1] > 5
    degenerates = Finding(
        claim="MLE does not work: its optimum squeezes all data to zero, divided by infinity.",
        source="blog",
        holds=runaway and held,
        text=(
            "From the mean and deviation of each of {columns} columns, descent by the likelihood "
            "of z takes sigma to between {low:.2f} and {high:.2f} deviations in {steps} steps; on "
            "paper it is {expected:.2f} and grows for ever. By the likelihood of x, with its "
            "logarithm of sigma, the same descent from a wrong start comes back to the mean and "
            "deviation, {back:.1g} deviations from them at most. That is batch norm."
        ),
        numbers={
            "columns": "descent/columns",
            "low": "descent/likelihood of z/low/-1",
            "high": "descent/likelihood of z/high/-1",
            "steps": "descent/likelihood of z/step/-1",
            "expected": "descent/expected",
            "back": "descent/back",
        },
        figure="mle",
    )
    reason = Finding(
        claim="MLE degenerates because each data entry is assumed to be independent.",
        source="blog",
        holds=not (tied and held),
        text=(
            "Rows taken as correlated degenerate as well: sigma reaches {tied:.2f} deviations at "
            "least. Rows taken as independent do not, when the change of variables is counted: "
            "sigma ends at {x:.4f} deviations. The cause is the missing logarithm of sigma."
        ),
        numbers={
            "tied": "descent/dependent rows/low/-1",
            "x": "descent/likelihood of x/median/-1",
        },
        figure="mle",
    )
    return [degenerates, reason, in_the_network(numbers["network"])]


def in_the_network(network: dict[str, Any]) -> Finding:
    """Return what the layer does in a network: worse than KLNorm by more than the spread."""
    heavy = MLE[1]

    def ends(layer: str) -> tuple[float, float]:
        curve = network["layers"][layer]["test_accuracy"]
        return curve["mean"][-1], curve["std"][-1] or 0.0

    behind = [
        ends(layer)[0] + ends(layer)[1] < ends("KLNorm")[0] - ends("KLNorm")[1] for layer in MLE
    ]
    last = "network/layers/{}/test_accuracy/{}/-1".format
    return Finding(
        claim="A layer that learns mu and sigma by the likelihood of z squeezes its data and "
        "trains worse than one that learns them by the divergence.",
        source="ours",
        holds=all(behind),
        condition="with ten times its weight" if behind[1] else "",
        text=(
            "Each at its best rate, after {samples} samples: the median deviation of z in the "
            "first layer is {z:.2f} with weight .01 and {z_heavy:.2f} with .1, and {z_kl:.2f} by "
            "the divergence. Test accuracy is {mle:.1f}% ({mle_std:.1f}), {heavy:.1f}% "
            "({heavy_std:.1f}) and {kl:.1f}% ({kl_std:.1f}), without a layer {regular:.1f}% "
            "({regular_std:.1f}). In "
            "brackets the standard deviation over seeds. With weight .1 sigma itself is "
            "{grown:.2f} times that of the first batch; the rest of the squeeze is in the weights "
            "before the layer, which learn by the objective, too."
        ),
        numbers={
            "samples": "network/marks/-1",
            "z": "network/layers/MLENorm/learned/norm1/squeezed/mean/-1",
            "z_heavy": f"network/layers/{heavy}/learned/norm1/squeezed/mean/-1",
            "z_kl": "network/layers/KLNorm/learned/norm1/squeezed/mean/-1",
            "mle": last("MLENorm", "mean"),
            "mle_std": last("MLENorm", "std"),
            "heavy": last(heavy, "mean"),
            "heavy_std": last(heavy, "std"),
            "kl": last("KLNorm", "mean"),
            "kl_std": last("KLNorm", "std"),
            "regular": last("Regular", "mean"),
            "regular_std": last("Regular", "std"),
            "grown": f"network/layers/{heavy}/learned/norm1/grown/mean/-1",
        },
        figure="mle",
    )


DERIVATION = """\
| objective of mu and sigma, a value (m, v: mean and variance of x) | its slope in log sigma | minimum |
|---|---|---|
| likelihood of z under N(0, 1): (v + (m - mu)^2) / (2 sigma^2) | -(v + (m - mu)^2) / sigma^2, below 0 always | none: sigma to infinity, z to 0 |
| the same, rows with covariance C: q / (2 sigma^2), q = (x - mu)' C^-1 (x - mu) / n | -q / sigma^2, below 0 always | none |
| likelihood of x under N(mu, sigma^2): the first + log sigma | 1 - (v + (m - mu)^2) / sigma^2 | mu = m, sigma^2 = v: batch norm |
| likelihood of z under N(mu0, sigma0^2), by mu0 and sigma0 | | mu0 = (m - mu) / sigma, sigma0^2 = v / sigma^2; they are 0 and 1 for mu = m, sigma^2 = v: batch norm |
"""  # noqa: E501


def markdown(network: dict[str, Any]) -> str:
    """Return each layer's best rate, its accuracy, and how far its data are squeezed."""
    lines = [
        "| layer | best rate | test accuracy, % | deviation of z: layer 1 | 2 | 3 |",
        "|---|---|---|---|---|---|",
    ]
    for name, entry in network["layers"].items():
        accuracy = entry["test_accuracy"]
        spread = accuracy["std"][-1] or 0
        learnt = entry.get("learned")
        squeezed = [
            f"{learnt[each]['squeezed']['mean'][-1]:.2f}" if learnt else ""
            for each in ("norm1", "norm2", "norm3")
        ]
        lines.append(
            f"| {name} | {network['best_rate'][name]:g} | {accuracy['mean'][-1]:.1f} ± "
            f"{spread:.1f} | {' | '.join(squeezed)} |"
        )
    return "\n".join(lines)


def draw(numbers: dict[str, Any]) -> Figure:
    """Draw the objectives, the descents, and what happens in the network."""
    figure, axes = style.figure(10.5, 7.6, 2, 2)
    draw_objectives(axes[0, 0])
    draw_descents(axes[0, 1], numbers["descent"])
    network = numbers["network"]
    thousands = [seen / 1000 for seen in network["marks"]]
    for name in LAYERS:
        entry = network["layers"][name]
        label = f"{name} ({network['best_rate'][name]:g})"
        x = [seen / 1000 for seen in network["samples"]] if name not in LEARNED else thousands
        style.curve(axes[1, 1], x, entry["test_accuracy"], name, label)
        if name in LEARNED:
            style.curve(axes[1, 0], x, entry["learned"]["norm1"]["squeezed"], name)
    axes[1, 0].axhline(1, color=style.GREY, lw=0.8, ls=(0, (4, 3)))
    style.logarithmic(axes[1, 0], (0.05, 0.1, 0.2, 0.5, 1), "y")
    axes[1, 0].set(ylim=(None, 1.5), ylabel="deviation of z, first layer, median")
    axes[1, 0].set_title("In a network: the layer's data, squeezed or not")
    axes[1, 1].set(ylabel="test accuracy, %")
    axes[1, 1].set_title("Accuracy, each at its best rate (in brackets)")
    for ax in axes[1]:
        style.logarithmic(
            ax, (0.5, 1, 2.5, 5, 10, 25, 50, 125) if len(thousands) > 4 else thousands
        )
        ax.set(xlabel="samples seen, thousands")
        ax.legend(frameon=False, fontsize=8)
    return figure


def draw_objectives(ax: Any) -> None:
    """Draw what a value of a column costs, mu at its mean, against sigma."""
    sigma = np.geomspace(0.4, 20, 200)
    blog = 1 / (2 * sigma**2)
    ax.plot(sigma, blog, color=style.RED, label=HEADS["likelihood of z"])
    ax.plot(sigma, blog + np.log(sigma), color=style.BLUE, label=HEADS["likelihood of x"])
    ax.plot([1], [0.5], "o", color=style.BLUE)
    style.logarithmic(ax, (0.5, 1, 2, 5, 10, 20))
    ax.set(ylim=(-0.1, 3.2), xlabel="sigma, deviations of the column")
    ax.set(ylabel="negative log likelihood, a value")
    ax.set_title("One objective has a minimum, at batch norm's sigma")
    ax.legend(frameon=False, fontsize=8, loc="upper center")


def draw_descents(ax: Any, descent: dict[str, Any]) -> None:
    """Draw sigma by the steps of descent, and what it should be on paper."""
    colours = (style.RED, style.ORANGE, style.BLUE)
    for (name, label), colour in zip(HEADS.items(), colours, strict=True):
        found = descent[name]
        ax.plot(found["step"], found["median"], color=colour, label=label)
        ax.fill_between(found["step"], found["low"], found["high"], color=colour, alpha=0.2, lw=0)
    steps = np.array(descent["likelihood of z"]["step"])
    rate = descent["time"] / steps[-1]
    paper = np.sqrt(1 + 2 * rate * steps)
    ax.plot(steps, paper, ":", color=style.INK, label="on paper: sqrt(1 + 2 t)")
    style.logarithmic(ax, (1, 10, 100, 1000) if steps[-1] >= 1000 else (1, 10, 100))
    style.logarithmic(ax, (1, 2, 5, 10, 20), "y")
    ax.set(xlabel=f"steps of descent, rate {rate:g}")
    ax.set(ylabel="sigma, deviations of the column")
    ax.set_title(f"Descent on {descent['columns']} columns")
    ax.legend(frameon=False, fontsize=8, loc="upper left")


def main(arguments: Sequence[str] | None = None) -> None:
    """Descend, train, compare and write."""
    lab = script.begin(__file__, __doc__, arguments)
    source = lab.source("mnist")
    before = Setting("Regular", 0.07, 0, (4000 if lab.quick else 25_000,))
    setting = Descent(before, *((300, 200, 0.1) if lab.quick else (1000, 1000, 0.1)))
    settings = {
        "layers": LAYERS,
        "rates": QUICK_RATES if lab.quick else RATES,
        "sweep_seed": SWEEP_SEED,
        "marks": QUICK_MARKS if lab.quick else MARKS,
        "batch": training.BATCH,
        "descent": asdict(setting),
    }
    results = lab.results("Maximum likelihood degenerates", settings, source)
    numbers = measured(lab, source, setting)
    caption = (
        "Above: the two objectives of a column, and descent on the columns of a trained network "
        "(lines: medians, bands: from the least to the largest of all columns). Below: "
        "layers that learn mu and sigma by either objective, means and standard deviations over "
        "seeds."
    )
    tables = {"derivation": DERIVATION, "in a network": markdown(numbers["network"])}
    results.write(numbers, findings(numbers), {"mle": (draw(numbers), caption)}, tables)


if __name__ == "__main__":
    script.run(main)
