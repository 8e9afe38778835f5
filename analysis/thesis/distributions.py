"""Before and after batch norm on MNIST: is what a ReLU is fed bimodal, unit by unit and pooled?

The slides show two figures, "setting 1" and "setting 2", with values before batch norm on the left
and after it on the right, and say that batch norm and ReLU make them bimodal: a higher, narrower
peak just below zero and a shorter, wider one farther on the positive side. They do not say what the
settings are, nor whether the values are those of one unit. Here the settings are batch norm whose
gamma starts at 1 and at 0.1, at the thesis' rate: our reading. Networks without a norm, at that
rate and at one where they learn as well, show what batch norm adds.

784-100-100-100-10, ReLU, plain SGD, batches of 50. Measured on 5,000 test images in eval mode, at
the start (running statistics of 20 batches), midway and at the end, three seeds. Modes are told by
Hartigan's dip, Benjamini-Hochberg over the units of a layer, and a dip of at least 0.01; a second
mode of a few percent of the images, such as one digit's, has less. Beside it stand the modes of a
density of largest entropy, which sees such modes, and sometimes one too many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lab import script
from lab.findings import Finding
from lab.shape import shape_figures, shape_numbers, shapes
from lab.training import THESIS_RATE, spread

LAYERS = {
    "gamma0 = 1": ("BatchNorm", THESIS_RATE),
    "gamma0 = 0.1": ("BatchNorm, gamma0 = 0.1", THESIS_RATE),
    "no norm": ("Regular", THESIS_RATE),
    "no norm, rate .07": ("Regular", 0.07),
}
SETTINGS = ("gamma0 = 1", "gamma0 = 0.1")  # the slides' two, as we read them
CONTROLS = ("no norm", "no norm, rate .07")
SAMPLES, QUICK_SAMPLES = (0, 25_000, 125_000), (0, 5_000)
MOST = 50  # % of the units: "batch norm makes its input bimodal" is said of a layer, not of a few
SAME = 1e-9  # rounding


def numbers_of(runs: dict[str, list[list[dict[str, Any]]]]) -> dict[str, Any]:
    """Return the numbers of all conditions, and of both settings together."""
    conditions = {name: shape_numbers.over_seeds(found) for name, found in runs.items()}
    ends = {name: [marks[-1]["levels"] for marks in found] for name, found in runs.items()}
    both = [levels for name in SETTINGS for levels in ends[name]]
    trained = [mark for name in SETTINGS for mark in conditions[name][1:]]
    most, control = (most_bimodal(conditions, names) for names in (SETTINGS, CONTROLS))
    return {
        "conditions": conditions,
        "most_bimodal_level": most,
        "most_bimodal_control": control,
        "deviations_apart": deviations_apart(most, control),
        "affine": shape_numbers.affine(
            [mark["levels"] for name in SETTINGS for marks in runs[name] for mark in marks]
        ),
        "own_statistics": {
            name: own_statistics([marks[-1]["own_statistics"] for marks in runs[name]])
            for name in SETTINGS
        },
        "coefficient": shape_numbers.coefficient(both),
        "pools": shape_numbers.pool_counts(trained),
        "points": {name: shape_numbers.points(ends[name][:1]) for name in SETTINGS},
    }


def most_bimodal(conditions: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return which layer, of which condition, has the largest share of bimodal units at the end."""
    found = [
        {"condition": name, "layer": at + 1, **level["verdicts"]["bimodal"]}
        for name in names
        for at, level in enumerate(conditions[name][-1]["levels"])
    ]
    return max(found, key=lambda each: float(each["mean"]))


def deviations_apart(one: dict[str, Any], other: dict[str, Any]) -> float | None:
    """Return by how many combined standard deviations over seeds two means differ."""
    both = math.hypot(one["std"] or 0.0, other["std"] or 0.0)
    return (one["mean"] - other["mean"]) / both if both else None


def own_statistics(runs: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """Return the share of bimodal units where batches of 50 normalise themselves, in %."""
    shares = []
    for levels in runs:
        counts = [level["verdicts"] for level in levels]
        bimodal = sum(each.get("bimodal", 0) for each in counts)
        shares.append(100 * bimodal / sum(sum(each.values()) for each in counts))
    return spread(shares)


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return what becomes of the slides' claim, and why."""
    return [bimodal(numbers), signature(numbers), affine(numbers), coefficient(numbers)]


def bimodal(numbers: dict[str, Any]) -> Finding:
    """Return whether most units are bimodal."""
    at = {name: numbers["conditions"][name][-1]["all"] for name in LAYERS}
    path = "conditions/{}/-1/all/verdicts/bimodal/{}".format
    return Finding(
        claim="Batch norm and ReLU make what the ReLU is fed bimodal.",
        source="slides, Learnable Transformations",
        holds=all(at[name]["verdicts"]["bimodal"]["mean"] > MOST for name in SETTINGS),
        text=(
            "At the end {one:.1f}% (standard deviation {one_std:.1f}) of the units are bimodal "
            "where gamma starts at 1, and {weak:.1f}% ({weak_std:.1f}) where it starts at 0.1; "
            "without a norm {none:.1f}%, and {fast:.1f}% at a rate of .07 (their densities have "
            "two modes in {one_modes:.1f}, {weak_modes:.1f}, {none_modes:.1f} and "
            "{fast_modes:.1f}%). The most are in layer {level} with {condition}: {most:.1f}% "
            "({most_std:.1f}); without a norm in layer {control_level} with {control_condition}: "
            "{control:.1f}% ({control_std:.1f}). They are {apart:.1f} combined standard deviations "
            "apart, and each is the largest of six. Batch norm in test mode changes {verdicts} of "
            f"{{units}} verdicts. The claim would need more than {MOST}% in both settings."
        ),
        numbers={
            "one": path(SETTINGS[0], "mean"),
            "one_std": path(SETTINGS[0], "std"),
            "weak": path(SETTINGS[1], "mean"),
            "weak_std": path(SETTINGS[1], "std"),
            "none": path(CONTROLS[0], "mean"),
            "fast": path(CONTROLS[1], "mean"),
            **{
                f"{short}_modes": f"conditions/{name}/-1/all/two_modes/mean"
                for short, name in zip(("one", "weak", "none", "fast"), LAYERS, strict=True)
            },
            "level": "most_bimodal_level/layer",
            "condition": "most_bimodal_level/condition",
            "most": "most_bimodal_level/mean",
            "most_std": "most_bimodal_level/std",
            "control_level": "most_bimodal_control/layer",
            "control_condition": "most_bimodal_control/condition",
            "control": "most_bimodal_control/mean",
            "control_std": "most_bimodal_control/std",
            "apart": "deviations_apart",
            **{name: f"affine/{name}" for name in ("verdicts", "units")},
        },
        figure="distributions_shares",
    )


def signature(numbers: dict[str, Any]) -> Finding:
    """Return whether the two peaks lie and look as the slides say."""
    shares = [
        numbers["conditions"][name][-1]["all"]["signature"]["post"]["mean"] for name in SETTINGS
    ]
    pools = numbers["pools"]
    in_pools = 2 * pools["signature"] > pools["pools"]
    units = "conditions/{}/-1/all/signature/post/mean".format
    pool = "conditions/{}/-1/levels/-1/pool/post/{}/mean".format
    return Finding(
        claim=(
            "The shape is a higher, narrower peak just below zero and a shorter, wider one on the "
            "positive side."
        ),
        source="slides, Learnable Transformations",
        holds=min(shares) > MOST and in_pools,
        condition="for the values of a layer pooled" if in_pools else "",
        text=(
            "At the end {one:.1f}% of the units have that shape after batch norm (gamma starts at "
            "1) and {weak:.1f}% (at 0.1). Of {pools} layers pooled after training {pool_signature} "
            "have it, and {pool_bimodal} are bimodal by the dip. In the last layer the pool's "
            "highest peak is at {mode:.2f} and {weak_mode:.2f}, and its skewness {skew:.2f} and "
            f"{{weak_skew:.2f}}. The claim would need more than {MOST}% of the units, and of the "
            "pools."
        ),
        numbers={
            "one": units(SETTINGS[0]),
            "weak": units(SETTINGS[1]),
            "pools": "pools/pools",
            "pool_signature": "pools/signature",
            "pool_bimodal": "pools/bimodal",
            "mode": pool(SETTINGS[0], "highest_mode"),
            "weak_mode": pool(SETTINGS[1], "highest_mode"),
            "skew": pool(SETTINGS[0], "skewness"),
            "weak_skew": pool(SETTINGS[1], "skewness"),
        },
        figure="distributions",
    )


def affine(numbers: dict[str, Any]) -> Finding:
    """Return that batch norm cannot change the number of a unit's modes."""
    found = numbers["affine"]
    kl = "conditions/gamma0 = 1/-1/levels/-1/kl/{}/{}".format
    return Finding(
        claim="In test mode batch norm cannot make a unit bimodal: it is an affine map of it.",
        source="ours",
        holds=found["dip"] < SAME and found["verdicts"] == 0,
        text=(
            "Over {units} measurements of units the dip before and after batch norm differs by at "
            "most {dip:.1e}, the shape part of the divergence from N(0, 1) by {shape:.1e}, and "
            "{verdicts} verdicts change. What batch norm takes away is location and scale: in the "
            "last layer (gamma starts at 1) {pre_location:.3f} and {pre_scale:.3f} nats before, "
            "{post_location:.3f} and {post_scale:.3f} after, in the median unit; the shape stays "
            "at {post_shape:.3f}. With statistics of each batch of 50, as in training, "
            "{own:.1f}% of the units are bimodal (gamma starts at 0.1: {weak:.1f}%)."
        ),
        numbers={
            **{name: f"affine/{name}" for name in ("units", "dip", "verdicts")},
            "shape": "affine/kl_shape",
            "pre_location": kl("pre", "location"),
            "pre_scale": kl("pre", "scale"),
            "post_location": kl("post", "location"),
            "post_scale": kl("post", "scale"),
            "post_shape": kl("post", "shape"),
            "own": "own_statistics/gamma0 = 1/mean",
            "weak": "own_statistics/gamma0 = 0.1/mean",
        },
        figure="distributions_units",
    )


def coefficient(numbers: dict[str, Any]) -> Finding:
    """Return what the bimodality coefficient is worth here."""
    found = numbers["coefficient"]
    return Finding(
        claim="A high bimodality coefficient is no evidence of two modes: skew alone raises it.",
        source="ours",
        holds=found["not_bimodal_percent"] > MOST if found["high_coefficient"] else None,
        text=(
            "Of {units} units after training with batch norm {high} have a coefficient above 5/9; "
            "of these {wrong:.0f}% are not bimodal by the dip. Of the {bimodal} that are, the "
            "coefficient misses {missed:.0f}%."
        ),
        numbers={
            "units": "coefficient/units",
            "high": "coefficient/high_coefficient",
            "wrong": "coefficient/not_bimodal_percent",
            "bimodal": "coefficient/bimodal",
            "missed": "coefficient/missed_percent",
        },
        figure="distributions_coefficient",
    )


def markdown(conditions: dict[str, Any]) -> str:
    """Return a row for each layer at the end: verdicts, and the median unit's divergence."""
    lines = [
        "| network | layer | bimodal, % | undecided, % | location, before | scale, before "
        "| location, after | scale, after | shape | pooled skewness, after | pooled dip, after |",
        "|---" * 11 + "|",
    ]
    for name, marks in conditions.items():
        for at, level in enumerate(marks[-1]["levels"], 1):
            side = "post" if "post" in level["kl"] else "pre"
            before, after, pool = level["kl"]["pre"], level["kl"][side], level["pool"][side]
            two, doubt = (level["verdicts"][each] for each in ("bimodal", "undecided"))
            cells = (
                f"{two['mean']:.1f} ± {two['std'] or 0:.1f}",
                f"{doubt['mean']:.1f}",
                *(f"{before[part]:.3f}" for part in ("location", "scale")),
                *(f"{after[part]:.3f}" if side == "post" else "" for part in ("location", "scale")),
                f"{before['shape']:.3f}",
                f"{pool['skewness']['mean']:.2f}",
                f"{pool['dip']['mean']:.4f}",
            )
            lines.append(f"| {name} | {at} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(numbers: dict[str, Any], runs: dict[str, list[list[dict[str, Any]]]]) -> dict[str, Any]:
    """Return the figures with their captions."""
    first = {name: runs[name][0][-1]["levels"] for name in SETTINGS}
    return {
        "distributions": (
            shape_figures.pooled(first, "all units of a layer pooled, first seed"),
            "The slides' figure: inputs of the ReLUs before and after batch norm, all units of a "
            "layer pooled, at the end of training. One peak near zero, no second one.",
        ),
        "distributions_units": (
            shape_figures.single_units({name: levels[-1] for name, levels in first.items()}),
            "Four units of the last layer of each setting (dip: the largest, the ninth decile, the "
            "median; and the most skewed): batch norm moves and scales, and leaves the shape.",
        ),
        "distributions_shares": (
            shape_figures.shares(numbers["conditions"]),
            "Units by verdict, mean over seeds, in each layer as training goes on; the same before "
            "and after batch norm.",
        ),
        "distributions_coefficient": (
            shape_figures.skew_and_coefficient(numbers["points"]),
            "The bimodality coefficient follows the skewness: above 5/9 most units have one mode. "
            "First seed, all layers, at the end.",
        ),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure and write."""
    lab = script.begin(__file__, __doc__, arguments, seeds=3)
    source = lab.source("mnist")
    samples = QUICK_SAMPLES if lab.quick else SAMPLES
    settings = {
        "layers": LAYERS,
        "samples": samples,
        "images": shapes.IMAGES,
        "network": "784-100-100-100-10, ReLU",
    }
    results = lab.results("Before and after batch norm, MNIST", settings, source)
    runs = shapes.by_name(
        LAYERS,
        lab.each(shapes.watch, shapes.watched(LAYERS, samples, lab.seeds, "mlp"), source),
    )
    numbers = numbers_of(runs)
    tables = {"at the end of training": markdown(numbers["conditions"])}
    results.write(numbers, findings(numbers), draw(numbers, runs), tables)


if __name__ == "__main__":
    script.run(main)
