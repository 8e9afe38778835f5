"""Post-training quantisation: does a layer that shapes its output make a network easier to round?

Outliers are what hurts when activations are rounded: the range is set by the largest value, and the
steps of the grid are as coarse as the range is wide. CopulaNorm and MomentNorm give each unit a
normal shape, which has no outliers; but so does a clip at three deviations. Networks of three
layers are trained in float32, each with its own best learning rate (a sweep, in whole runs of a
seed that is not used again), then rounded without further training: the input of each layer
("before"), its output ("after"), or its output and all weights ("weights too"), uniformly between
the lowest and the highest value seen on training images, with one range for all units ("tensor") or
one a unit ("channel"). What is told is the accuracy lost, in points, against the same network in
float32. Layers are compared seed by seed; one is ahead where the 99% interval of the mean
difference leaves out 0.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from lab import paired, script, style, training
from lab.data import Source, Split, images
from lab.findings import Finding
from lab.training import Setting
from matplotlib.figure import Figure
from torch import Tensor, nn

PLAIN, CLIPPED, SHAPED = (
    "BatchNorm",
    ("BatchNorm, clipped", "TrimmedNorm"),
    ("Copula", "MomentNorm 4"),
)
RIVALS = (PLAIN, *CLIPPED)
WORDS = ("batch", "clipped", "trimmed", "copula", "moment")  # the layers but the first, in texts
LAYERS = ("Regular", PLAIN, *CLIPPED, *SHAPED)
RATES, SAMPLES, SWEEP_SEED = (0.03, 0.1, 0.3, 1.0), 15_000, 100
QUICK_RATES, QUICK_SAMPLES = (0.1,), 1_500
BITS = (8, 4, 3, 2)
CALIBRATION = 2_000  # training images that set the ranges
SITES = {"before": "linear", "after": "norm"}  # names of the modules whose output is rounded
GRAINS = ("tensor", "channel")
WAYS = tuple(f"{site}, {grain}" for grain in GRAINS for site in (*SITES, "weights too"))
FEW = ("4", "3", "2")  # bits at which a range matters
FREE = 0.3  # points: less lost is nothing lost
CAPTION = (
    "Accuracy lost by rounding, in points, against bits; means over seeds, bars one standard "
    "deviation. Above: one range for all units of a layer; below: one a unit. From left to right: "
    "the input of each layer is rounded, its output, its output and all weights. The scale is "
    "linear up to 1 and logarithmic from there."
)


def rounded(x: Tensor, low: Tensor, high: Tensor, bits: int) -> Tensor:
    """Return the nearest of 2^bits equally spaced values from low to high."""
    step = ((high - low) / (2**bits - 1)).clamp(min=torch.finfo(x.dtype).tiny)
    return low + step * ((x - low) / step).round().clamp(0, 2**bits - 1)


def ends(x: Tensor, grain: str, units: int) -> tuple[Tensor, Tensor]:
    """Return the lowest and the highest value of all of x, or of each slice along `units`."""
    if grain == "tensor":
        return x.amin(), x.amax()
    others = [axis for axis in range(x.ndim) if axis != units]
    return x.amin(others, keepdim=True), x.amax(others, keepdim=True)


@torch.no_grad()
def ranges(model: nn.Sequential, split: Split, site: str, grain: str) -> dict[str, Any]:
    """Return the ends of the values at each place of a site, on training images."""
    model.eval()
    found, x = {}, split.pixels
    for name, module in model.named_children():
        x = module(x)
        if name.startswith(SITES[site]):
            found[name] = ends(x, grain, 1)
    return found


@torch.no_grad()
def accuracy(model: nn.Sequential, split: Split, found: dict[str, Any], bits: int) -> float:
    """Return the accuracy in % with values rounded wherever a range was found."""
    right = 0
    for pixels, labels in zip(split.pixels.split(2_000), split.labels.split(2_000), strict=True):
        x = pixels
        for name, module in model.named_children():
            x = module(x)
            if name in found:
                x = rounded(x, *found[name], bits)
        right += int((x.argmax(1) == labels).sum())
    return 100 * right / len(split)


@torch.no_grad()
def with_rounded_weights(model: nn.Sequential, grain: str, bits: int) -> nn.Sequential:
    """Return a copy of the model with the weights of all linear maps rounded."""
    made = copy.deepcopy(model)
    for module in made.children():
        if isinstance(module, nn.Linear):
            module.weight.copy_(rounded(module.weight, *ends(module.weight, grain, 0), bits))
    return made


@torch.no_grad()
def crest(model: nn.Sequential, split: Split, site: str) -> float:
    """Return the range over the standard deviation of all values of a site, mean over places."""
    model.eval()
    found, x = [], split.pixels
    for name, module in model.named_children():
        x = module(x)
        if name.startswith(SITES[site]):
            found.append(((x.amax() - x.amin()) / x.std()).item())
    return sum(found) / len(found)


def quantised(setting: Setting, source: Source) -> dict[str, Any]:
    """Train one network, round it in every way, and return the accuracies."""
    data = images(source)
    model = training.build(setting, data.shape)
    for _ in training.trained(model, data.train, setting):
        pass
    exact = training.measured(model, data.test)[0]
    calibration = data.train.first(CALIBRATION)
    found: dict[str, dict[str, float]] = {}
    for site, grain in product(SITES, GRAINS):
        limits = ranges(model, calibration, site, grain)
        found[f"{site}, {grain}"] = {
            str(bits): accuracy(model, data.test, limits, bits) for bits in BITS
        }
    for grain in GRAINS:
        row = found[f"weights too, {grain}"] = {}
        for bits in BITS:
            coarse = with_rounded_weights(model, grain, bits)
            limits = ranges(coarse, calibration, "after", grain)
            row[str(bits)] = accuracy(coarse, data.test, limits, bits)
    return {
        "float": exact,
        "accuracy": found,
        "crest": {site: crest(model, calibration, site) for site in SITES},
    }


def measured(lab: script.Script, source: Source) -> dict[str, Any]:
    """Sweep, train at the best rates, round, and compare."""
    rates, samples = (QUICK_RATES, QUICK_SAMPLES) if lab.quick else (RATES, SAMPLES)
    base = [Setting(layer, rates[0], SWEEP_SEED, (samples,)) for layer in LAYERS]
    tried = training.sweep(base, rates) if len(rates) > 1 else []
    trials = list(zip(tried, lab.each(training.train, tried, source), strict=True))
    best = training.best_rates(trials)
    wanted = {
        layer: [
            Setting(layer, best.get(layer, rates[0]), seed, (samples,)) for seed in range(lab.seeds)
        ]
        for layer in LAYERS
    }
    settings = [one for group in wanted.values() for one in group]
    runs = dict(zip(settings, lab.each(quantised, settings, source), strict=True))
    layers = {}
    for layer, group in wanted.items():
        chosen = [runs[one] for one in group]
        layers[layer] = {
            "rate": group[0].rate,
            "float": training.spread([run["float"] for run in chosen]),
            "crest": {
                site: training.spread([run["crest"][site] for run in chosen]) for site in SITES
            },
            "lost": {
                way: {
                    bits: training.spread(
                        [run["float"] - run["accuracy"][way][bits] for run in chosen]
                    )
                    for bits in row
                }
                for way, row in chosen[0]["accuracy"].items()
            },
        }
    sweep = {
        layer: {
            f"{one.rate:g}": run["validation_accuracy"][-1]
            for one, run in trials
            if one.layer == layer
        }
        for layer in LAYERS
    }
    numbers = {
        "layers": layers,
        "sweep": sweep,
        "pairs": {ours: {rival: pairs(layers, ours, rival) for rival in RIVALS} for ours in SHAPED},
        "most_lost_at_8": max(
            layers[layer]["lost"][way]["8"]["mean"] for layer in LAYERS for way in WAYS
        ),
    }
    behind = [
        any(numbers["pairs"][ours][rival][way][bits]["verdict"] == "behind" for rival in CLIPPED)
        for ours, way, bits in product(SHAPED, WAYS, FEW)
    ]
    counts = {"ahead": len(won(numbers, CLIPPED)), "behind": sum(behind), "all": len(behind)}
    return {**numbers, "against_clip": counts}


def pairs(layers: dict[str, Any], ours: str, rival: str) -> dict[str, Any]:
    """Return what a rival loses more than ours, in every way and at every number of bits."""
    return {
        way: {
            bits: paired.difference(
                layers[rival]["lost"][way][bits]["seeds"], layers[ours]["lost"][way][bits]["seeds"]
            )
            for bits in layers[ours]["lost"][way]
        }
        for way in WAYS
    }


def won(numbers: dict[str, Any], rivals: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return layer, way and bits wherever a shaped layer loses less than each of the rivals."""
    return [
        (ours, way, bits)
        for ours, way, bits in product(SHAPED, WAYS, FEW)
        if all(numbers["pairs"][ours][rival][way][bits]["verdict"] == "ahead" for rival in rivals)
    ]


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return what shaping saves, against batch norm as it is and against a clip."""
    against_plain, against_clip = won(numbers, (PLAIN,)), won(numbers, CLIPPED)
    every = len(SHAPED) * len(WAYS) * len(FEW)
    tensor = [("after, tensor", bits) for bits in FEW]
    common = {
        name: f"layers/{layer}/lost/after, tensor/4/mean"
        for name, layer in zip(WORDS, LAYERS[1:], strict=True)
    }
    crests = {
        f"{name}_crest": f"layers/{layer}/crest/after/mean"
        for name, layer in zip(WORDS, LAYERS[1:], strict=True)
    }
    return [
        Finding(
            claim="With 8 bits nothing is lost, whatever the layer.",
            source="ours",
            holds=numbers["most_lost_at_8"] < FREE,
            text="The most that any layer loses in any way with 8 bits is {most:.2f} points "
            f"(the claim holds below {FREE} points).",
            numbers={"most": "most_lost_at_8"},
            figure="quantisation",
        ),
        Finding(
            claim="With few bits a layer that shapes its output loses less than batch norm.",
            source="ours",
            holds=all((ours, *at) in against_plain for ours in SHAPED for at in tensor),
            condition=f"in {len(against_plain)} of {every} comparisons" if against_plain else "",
            text=(
                "Output rounded to 4 bits, one range for all units: batch norm loses {batch:.2f} "
                "points, Copula {copula:.2f}, MomentNorm 4 {moment:.2f}. The output spans "
                "{batch_crest:.1f}, {copula_crest:.1f} and {moment_crest:.1f} standard deviations. "
                "The claim holds where both shaped layers are ahead there with 4, 3 and 2 bits."
            ),
            numbers={
                name: path
                for name, path in (common | crests).items()
                if "cli" not in name and "trim" not in name
            },
            figure="quantisation",
        ),
        Finding(
            claim="A clip at three deviations saves at least as much as a shaped layer.",
            source="ours",
            holds=not against_clip,
            condition=f"in {every - len(against_clip)} of {every} comparisons"
            if len(against_clip) < every
            else "",
            text=(
                "Output rounded to 4 bits, one range for all units: batch norm with its output "
                "clipped loses {clipped:.2f} points, TrimmedNorm {trimmed:.2f}, Copula "
                "{copula:.2f}, MomentNorm 4 {moment:.2f}. Over all ways of rounding to 4 "
                "bits or fewer a shaped layer is behind one of the clipped ones in {behind} of "
                "{all} comparisons, and ahead of both in {ahead}. The claim holds where it is "
                "never ahead of both."
            ),
            numbers={
                **{name: path for name, path in common.items() if name != "batch"},
                **{name: f"against_clip/{name}" for name in ("behind", "all", "ahead")},
            },
            figure="quantisation",
        ),
    ]


def markdown(numbers: dict[str, Any]) -> str:
    """Return a table: a row for each layer, a column for each way with 4 bits."""
    lines = [
        "| layer | rate | float, % | " + " | ".join(WAYS) + " |",
        "|---" * (len(WAYS) + 3) + "|",
    ]
    for layer, entry in numbers["layers"].items():
        exact = entry["float"]
        told = [entry["lost"][way]["4"] for way in WAYS]
        cells = [f"{cell['mean']:.2f} ± {cell['std'] or 0:.2f}" for cell in (exact, *told)]
        lines.append(f"| {layer} | {entry['rate']:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(numbers: dict[str, Any]) -> Figure:
    """Draw the accuracy lost against bits, a panel for each way of rounding."""
    figure, axes = style.figure(12.5, 6.4, 2, 3, sharex=True, sharey=True)
    for ax, way in zip(axes.flat, WAYS, strict=True):
        for index, (layer, entry) in enumerate(numbers["layers"].items()):
            cells = list(entry["lost"][way].values())
            ax.errorbar(
                [place + 0.08 * (index - 2.5) for place in range(len(cells))],
                [cell["mean"] for cell in cells],
                [cell["std"] or 0 for cell in cells],
                fmt="o",
                ms=5,
                lw=1.4,
                color=style.COLOURS[layer],
                label=layer,
            )
        ax.set_yscale("symlog", linthresh=1, linscale=0.8)
        ax.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        ax.set_xticks(range(len(BITS)), [str(bits) for bits in BITS])
        ax.set_title(way)
        ax.grid(axis="y", color=style.FAINT, lw=0.7)
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy lost, points")
    for ax in axes[1]:
        ax.set_xlabel("bits")
    style.legend_outside(figure, axes[0, 0])
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, round, compare and write."""
    lab = script.begin(__file__, __doc__, arguments)
    source = lab.source("mnist")
    settings = {
        "layers": LAYERS,
        "samples": QUICK_SAMPLES if lab.quick else SAMPLES,
        "rates": QUICK_RATES if lab.quick else RATES,
        "sweep_seed": SWEEP_SEED,
        "bits": BITS,
        "calibration": CALIBRATION,
    }
    results = lab.results("Post-training quantisation", settings, source)
    numbers = measured(lab, source)
    tables = {"accuracy lost with 4 bits, points": markdown(numbers)}
    results.write(numbers, findings(numbers), {"quantisation": (draw(numbers), CAPTION)}, tables)


if __name__ == "__main__":
    script.run(main)
