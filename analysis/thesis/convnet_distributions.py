"""Before and after batch norm in a convnet: are its channels bimodal, and is it the background?

The slides' figures of values before and after batch norm, for two convolutions (16 and 32 channels
of 3 by 3, each halved by max pooling) and a linear layer. A channel's values are those of all
positions of an image. On MNIST more than half of the positions see nothing but the background:
there a channel has one and the same value, a point mass. It is counted as a mode, set apart, or
left out with its positions, and CIFAR-10, which has no such background, is looked at beside it.

ReLU, plain SGD at the thesis' rate, batches of 50; 500 test images in eval mode, of whose positions
5,000 are drawn. Positions of one image are not independent: a dip of at least 0.01 is asked for
beside its significance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab import paired, script, style
from lab.findings import Finding
from lab.shape import shape_figures, shape_numbers, shapes
from lab.training import THESIS_RATE, spread
from matplotlib.figure import Figure

MNIST = {
    "MNIST, gamma0 = 1": ("BatchNorm", THESIS_RATE),
    "MNIST, gamma0 = 0.1": ("BatchNorm, gamma0 = 0.1", THESIS_RATE),
}
CIFAR = {"CIFAR-10, gamma0 = 1": ("BatchNorm", THESIS_RATE)}
NAMES = (*MNIST, *CIFAR)
SAMPLES, QUICK_SAMPLES = (0, 5_000, 25_000), (0, 2_000)
MOST = 50  # % of the channels
WAYS = {
    "kept": "point masses are modes",
    "apart": "point masses set apart",
    "seen": "no flat positions",
}
Runs = dict[str, list[list[dict[str, Any]]]]


def numbers_of(runs: Runs) -> dict[str, Any]:
    """Return the numbers of all conditions."""
    conditions = {name: shape_numbers.over_seeds(found) for name, found in runs.items()}
    return {
        "conditions": conditions,
        "background": {
            name: backgrounds([marks[-1]["background"] for marks in found])
            for name, found in runs.items()
        },
        "affine": shape_numbers.affine(
            [mark["levels"] for found in runs.values() for marks in found for mark in marks]
        ),
        "pools": {name: shape_numbers.pool_counts(marks[1:]) for name, marks in conditions.items()},
        "by_training": by_training(conditions[NAMES[0]]),
    }


def by_training(marks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return trained less untrained networks, seed by seed: bimodal channels in points."""
    first, last = (mark["all"]["verdicts"]["bimodal"]["seeds"] for mark in (marks[0], marks[-1]))
    return paired.difference(last, first)


def backgrounds(runs: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return for each level how many channels are bimodal, in %, by what is done with the flat."""
    return [
        {
            "flat": spread([100 * level["flat"] for level in same]),
            **{
                way: {
                    "bimodal": spread(
                        [100 * level[way]["bimodal"] / level["channels"] for level in same]
                    ),
                    "dip": spread([level[way]["dip"] for level in same]),
                }
                for way in WAYS
            },
        }
        for same in zip(*runs, strict=True)
    ]


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return what becomes of the slides' claim in a convnet, and why."""
    return [bimodal(numbers), background(numbers), signature(numbers)]


def bimodal(numbers: dict[str, Any]) -> Finding:
    """Return whether most channels are bimodal."""
    ends = [numbers["conditions"][name][-1]["all"]["verdicts"]["bimodal"] for name in NAMES]
    told = {
        "tie": "no difference that three seeds could tell",
        "ahead": "more with training",
        "behind": "fewer with training",
    }[numbers["by_training"]["verdict"]]
    level = f"conditions/{NAMES[0]}/{{}}/levels/{{}}/verdicts/bimodal/mean".format
    path = "conditions/{}/-1/all/verdicts/bimodal/{}".format
    return Finding(
        claim="Batch norm and ReLU make what the ReLU is fed bimodal: in a convnet.",
        source="slides, Learnable Transformations",
        holds=all(each["mean"] > MOST for each in ends),
        text=(
            "With point masses set apart {one:.0f}% (standard deviation {one_std:.0f}) of the "
            "channels are bimodal on MNIST where gamma starts at 1, {weak:.0f}% ({weak_std:.0f}) "
            "where it starts at 0.1, and {cifar:.0f}% ({cifar_std:.0f}) on CIFAR-10; where point "
            "masses are modes, {kept:.0f}% in the first layer on MNIST. Of untrained channels of "
            "the two convolutions {start_1:.0f} and {start_2:.0f}% are bimodal (MNIST, gamma "
            f"starts at 1), of trained ones {{end_1:.0f}} and {{end_2:.0f}}%: {told}. The dip "
            "before and after batch norm differs by at most {dip:.1e}, and {verdicts} verdicts of "
            f"{{units}} change. The claim would need more than {MOST}% in all."
        ),
        numbers={
            "one": path(NAMES[0], "mean"),
            "one_std": path(NAMES[0], "std"),
            "weak": path(NAMES[1], "mean"),
            "weak_std": path(NAMES[1], "std"),
            "cifar": path(NAMES[2], "mean"),
            "cifar_std": path(NAMES[2], "std"),
            "kept": f"background/{NAMES[0]}/0/kept/bimodal/mean",
            **{
                f"{name}_{at + 1}": level(mark, at)
                for name, mark in (("start", 0), ("end", -1))
                for at in range(2)
            },
            **{name: f"affine/{name}" for name in ("dip", "verdicts", "units")},
        },
        figure="convnet_distributions_shares",
    )


def background(numbers: dict[str, Any]) -> Finding:
    """Return whether channels lose their second mode with the background."""
    layers = [
        f"convolution {at + 1}"
        for at in range(2)
        if all(lost(numbers["background"][name][at]) for name in MNIST)
    ]
    both = tuple(MNIST)
    return Finding(
        claim="Most of the bimodality of channels on MNIST is the flat background of its images.",
        source="ours",
        holds=len(layers) == 2,
        condition=f"for {layers[0]}" if layers else "",
        text=(
            "In the first layer {flat_1:.0f}% of the positions see one grey only, in the second "
            "{flat_2:.0f}%. With them as point masses {kept_1:.0f} and {kept_2:.0f}% of the "
            "channels are bimodal. Without these positions {seen_1:.0f}% (standard deviation "
            "{seen_std_1:.0f}) and {seen_2:.0f}% ({seen_std_2:.0f}) are left where gamma starts at "
            "1, {weak_1:.0f}% ({weak_std_1:.0f}) and {weak_2:.0f}% ({weak_std_2:.0f}) where it "
            "starts at 0.1. On CIFAR-10 {cifar_flat:.1f}% of the positions are flat in the first "
            "layer, and {cifar:.0f}% of its channels bimodal with all of them. The claim needs "
            "less than half left, by two standard deviations, in both layers and settings on "
            "MNIST."
        ),
        numbers={
            **{
                f"{name}_{at + 1}": f"background/{network}/{at}/{what}"
                for at in range(2)
                for name, network, what in (
                    ("flat", both[0], "flat/mean"),
                    ("kept", both[0], "kept/bimodal/mean"),
                    ("seen", both[0], "seen/bimodal/mean"),
                    ("seen_std", both[0], "seen/bimodal/std"),
                    ("weak", both[1], "seen/bimodal/mean"),
                    ("weak_std", both[1], "seen/bimodal/std"),
                )
            },
            "cifar_flat": f"background/{NAMES[2]}/0/flat/mean",
            "cifar": f"background/{NAMES[2]}/0/kept/bimodal/mean",
        },
        figure="convnet_distributions_background",
    )


def lost(level: dict[str, Any]) -> bool:
    """Return whether less than half of the bimodal channels are left, by two deviations."""
    kept, seen = (level[way]["bimodal"] for way in ("kept", "seen"))
    return bool(seen["mean"] + 2 * (seen["std"] or 0.0) < kept["mean"] / 2)


def signature(numbers: dict[str, Any]) -> Finding:
    """Return whether channels or pools have the slides' shape."""
    ends = [numbers["conditions"][name][-1]["all"]["signature"]["post"]["mean"] for name in NAMES]
    pools = numbers["pools"].values()
    share = sum(each["signature"] for each in pools) / sum(each["pools"] for each in pools)
    path = "conditions/{}/-1/all/signature/post/mean".format
    return Finding(
        claim=(
            "The shape is a higher, narrower peak just below zero and a shorter, wider one on the "
            "positive side: in a convnet."
        ),
        source="slides, Learnable Transformations",
        holds=min(ends) > MOST and 100 * share > MOST,
        condition="for the values of a layer pooled" if 100 * share > MOST else "",
        text=(
            "{one:.0f}% of the channels have that shape on MNIST (gamma starts at 1), {weak:.0f}% "
            "(at 0.1), and {cifar:.0f}% on CIFAR-10; of the pooled layers after training {pool} of "
            "{pools}, {weak_pool} of {weak_pools} and {cifar_pool} of {cifar_pools}. Two modes of "
            "any place have {two} of the {pools} pools on MNIST where gamma starts at 1."
        ),
        numbers={
            "one": path(NAMES[0]),
            "weak": path(NAMES[1]),
            "cifar": path(NAMES[2]),
            **{
                f"{prefix}{each}": f"pools/{name}/{field}"
                for prefix, name in zip(("", "weak_", "cifar_"), NAMES, strict=True)
                for each, field in (("pool", "signature"), ("pools", "pools"))
            },
            "two": f"pools/{NAMES[0]}/bimodal",
        },
        figure="convnet_distributions",
    )


def draw_background(numbers: dict[str, Any]) -> Figure:
    """Draw the share of bimodal channels by what is done with flat positions."""
    figure, axes = style.figure(10, 3.8, 1, 2, sharey=True)
    colours = (style.RED, style.ORANGE, style.BLUE)
    for at, ax in enumerate(axes):
        for shift, (way, label) in enumerate(WAYS.items()):
            found = [numbers["background"][name][at][way]["bimodal"] for name in NAMES]
            places = [place + 0.27 * (shift - 1) for place in range(len(NAMES))]
            ax.bar(places, [each["mean"] for each in found], 0.25, color=colours[shift],
                   yerr=[each["std"] or 0 for each in found], label=label, ecolor=style.INK,
                   error_kw={"lw": 1})  # fmt: skip
        flat = [numbers["background"][name][at]["flat"]["mean"] for name in NAMES]
        names = [
            name.replace(", ", "\n") + f"\nflat: {share:.0f}%"
            for name, share in zip(NAMES, flat, strict=True)
        ]
        ax.set_xticks(range(len(NAMES)), names, fontsize=9)
        ax.set_title(f"convolution {at + 1}")
        ax.set_ylim(0, 105)
    axes[0].set_ylabel("bimodal channels, %")
    style.legend_outside(figure, axes[0])
    return figure


def draw(numbers: dict[str, Any], runs: Runs) -> dict[str, tuple[Figure, str]]:
    """Return the figures with their captions."""
    first = {name: found[0][-1]["levels"] for name, found in runs.items()}
    return {
        "convnet_distributions": (
            shape_figures.pooled(first, "all channels and positions pooled, first seed"),
            "Inputs of the ReLUs before and after batch norm, all channels and positions of a "
            "layer pooled, at the end of training. On MNIST the spikes are the background.",
        ),
        "convnet_distributions_units": (
            shape_figures.single_units({name: first[name][-1] for name in (NAMES[0], NAMES[2])}),
            "Four channels of the second convolution (dip: the largest, the ninth decile, the "
            "median; and the most skewed): batch norm moves and scales, and leaves the shape.",
        ),
        "convnet_distributions_shares": (
            shape_figures.shares(numbers["conditions"]),
            "Channels by verdict, point masses set apart, mean over seeds, as training goes on; "
            "the same before and after batch norm.",
        ),
        "convnet_distributions_background": (
            draw_background(numbers),
            "Bimodal channels at the end, by what is done with positions that see one grey only; "
            "bars: one standard deviation over seeds.",
        ),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure and write."""
    lab = script.begin(__file__, __doc__, arguments, seeds=3)
    mnist, cifar = lab.source("mnist"), lab.source("cifar10")
    samples = QUICK_SAMPLES if lab.quick else SAMPLES
    settings = {
        "layers": {**MNIST, **CIFAR},
        "samples": samples,
        "images": shapes.CONV_IMAGES,
        "positions": shapes.POSITIONS,
        "network": "convolutions of 16 and 32 channels, ReLU, max pooling, a linear layer",
    }
    results = lab.results("Before and after batch norm in a convnet", settings, mnist, cifar)
    runs: Runs = {}
    for layers, source in ((MNIST, mnist), (CIFAR, cifar)):
        wanted = shapes.watched(layers, samples, lab.seeds, "convnet")
        runs |= shapes.by_name(layers, lab.each(shapes.watch, wanted, source))
    numbers = numbers_of(runs)
    results.write(numbers, findings(numbers), draw(numbers, runs))


if __name__ == "__main__":
    script.run(main)
