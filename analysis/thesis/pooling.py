"""Why a layer pooled does not look like its units: the parts of a mixture, before and after a norm.

Figures of the values of a layer, as the slides show, pool its units. A pool is a mixture, and its
cumulants are sums: of the units' own shapes, and of how their means and scales differ. Its
divergence from N(0, 1) is that of its units, on average, less the mutual information between a
value and its unit. Both are measured on the networks of distributions.py, before and after batch
norm (gamma starts at 1, and at 0.1). Made layers show both ways to be misled: units with one mode
whose pool has the slides' two peaks, and units with two modes whose pool has one.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from lab import script, style
from lab.findings import Finding
from lab.shape import pools, shape_figures, shapes
from lab.shape.shape_numbers import mean_parts
from lab.training import THESIS_RATE, spread
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

import distfit_nn as dn

LAYERS = {
    "gamma0 = 1": ("BatchNorm", THESIS_RATE),
    "gamma0 = 0.1": ("BatchNorm, gamma0 = 0.1", THESIS_RATE),
}
SAMPLES, QUICK_SAMPLES = (0, 25_000, 125_000), (0, 5_000)  # as in distributions.py: the same runs
PARTS = {
    "skewness": ("shapes", "means", "both"),
    "kurtosis": ("shapes", "scales", "means", "both"),
    "divergence": ("pool", "units", "hidden"),
}
UNITS, ROWS = 100, 3000  # of the made layers
SOME = 5  # % of a layer's units: more than the tests let through by chance
Levels = list[dict[str, Any]]


def numbers_of(runs: dict[str, list[list[dict[str, Any]]]]) -> dict[str, Any]:
    """Return the parts of all pools at the end, and what made layers show."""
    ends = {name: [marks[-1]["levels"] for marks in found] for name, found in runs.items()}
    return {
        "parts": {
            name: [level_parts(same) for same in zip(*networks, strict=True)]
            for name, networks in ends.items()
        },
        "modes": modes([levels for networks in ends.values() for levels in networks]),
        "made": {name: made_numbers(values) for name, values in made().items()},
    }


def level_parts(same: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the parts of one level's pools, mean over seeds, and totals with their spread."""
    found: dict[str, Any] = {}
    for side in ("pre", "post"):
        each = [level[side]["pool"] for level in same]
        found[side] = {
            **{
                name: mean_parts([pool[name] for pool in each], parts)
                for name, parts in PARTS.items()
            },
            "total": {
                name: spread([pool[name]["total"] for pool in each])
                for name in ("skewness", "kurtosis")
            },
            "normal_kurtosis": statistics.fmean(
                pool["kurtosis"]["total"] - pool["kurtosis"]["shapes"] for pool in each
            ),
            "bimodal": sum(pool["verdict"] == "bimodal" for pool in each),
            "bimodal_if_units_normal": sum(
                pool["units_normal"]["verdict"] == "bimodal" for pool in each
            ),
            "standardised": mean_parts(
                [pool["units_standardised"] for pool in each], ("skewness", "kurtosis")
            ),
        }
    return found


def modes(networks: Sequence[Levels]) -> dict[str, int]:
    """Return how many pools after the norm have one mode, and how many of these hide others."""
    levels = [level for levels in networks for level in levels]
    shares = [
        100 * level["post"]["verdicts"].get("bimodal", 0) / level["post"]["units"]
        for level in levels
    ]
    bimodal = [level["post"]["pool"]["verdict"] == "bimodal" for level in levels]
    pairs = list(zip(shares, bimodal, strict=True))
    return {
        "pools": len(levels),
        "bimodal": sum(bimodal),
        "with_bimodal_units": sum(share >= SOME for share in shares),
        "hiding": sum(share >= SOME and not two for share, two in pairs),
        "bimodal_of_unimodal": sum(share < SOME and two for share, two in pairs),
    }


def made() -> dict[str, NDArray[np.float64]]:
    """Return made layers (rows, units).

    `one mode`: normal units, of which 60 lie about -0.4, narrow, and 40 about 1.5, wide. `two
    modes`: units of two normal peaks three to four widths apart, of any weights and places.
    """
    rng = np.random.default_rng(0)
    low = np.arange(UNITS) < 60
    normal = rng.normal(np.where(low, -0.4, 1.5), np.where(low, 0.3, 0.8), (ROWS, UNITS))
    weight, gap = rng.uniform(0.25, 0.75, UNITS), rng.uniform(3.5, 4.5, UNITS)
    peaks = rng.normal(gap * (rng.random((ROWS, UNITS)) < weight), 1.0)
    centre = rng.normal(0.0, 1.5, UNITS)
    return {"one mode": normal, "two modes": (peaks - gap * weight) / 2 + centre}


def made_numbers(values: NDArray[np.float64]) -> dict[str, Any]:
    """Return the share of bimodal units of a made layer, and its pool's verdicts."""
    shape = dn.stats.classify(values)
    found = pools.pool(values)
    return {
        "bimodal_units": 100 * float((shape.verdict == "bimodal").mean()),
        "pool": {name: found[name] for name in ("verdict", "dip", "signature", "histogram")},
        "standardised": found["units_standardised"]["verdict"],
        "examples": [
            pools.histogram(column, column.mean(0), column.std(0))
            for column in np.split(values[:, [0, 30, 60, 90]], 4, axis=1)
        ],
    }


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return what pooling does."""
    return [misled(numbers), tails(numbers), hidden(numbers)]


def misled(numbers: dict[str, Any]) -> Finding:
    """Return that the modes of a pool are not those of its units."""
    one, two = numbers["made"]["one mode"], numbers["made"]["two modes"]
    return Finding(
        claim="How many modes a pooled layer has does not tell how many its units have.",
        source="ours",
        holds=bool(
            one["bimodal_units"] < SOME
            and one["pool"]["verdict"] == "bimodal"
            and one["standardised"] != "bimodal"
            and two["bimodal_units"] > 100 - SOME
            and two["pool"]["verdict"] != "bimodal"
        ),
        text=(
            "A made layer of normal units, {one:.0f}% of them bimodal, has a pool with the slides' "
            "two peaks (dip {one_dip:.3f}), which is gone when each unit is standardised. Another, "
            "of units of which {two:.0f}% are bimodal, has a pool with one (dip {two_dip:.4f}). In "
            "the networks {some} of {pools} layers have at least "
            f"{SOME}% bimodal units; in {{hiding}} of these the pool has one mode, and {{bimodal}} "
            "pools are bimodal in all."
        ),
        numbers={
            "one": "made/one mode/bimodal_units",
            "one_dip": "made/one mode/pool/dip",
            "two": "made/two modes/bimodal_units",
            "two_dip": "made/two modes/pool/dip",
            "some": "modes/with_bimodal_units",
            **{name: f"modes/{name}" for name in ("pools", "hiding", "bimodal")},
        },
        figure="pooling_made",
    )


def tails(numbers: dict[str, Any]) -> Finding:
    """Return where the heavy tails of pools after the norm come from, where gamma starts at 0.1."""
    after = [level["post"]["kurtosis"] for level in numbers["parts"]["gamma0 = 0.1"]]
    path = "parts/gamma0 = 0.1/-1/post/{}/{}".format
    return Finding(
        claim=(
            "Where gamma starts at 0.1, the pool's heavy tails come from units of different scales "
            "more than from the units' own shapes."
        ),
        source="ours",
        holds=all(parts["scales"] > abs(parts["shapes"]) for parts in after),
        condition="in some layers"
        if any(parts["scales"] > abs(parts["shapes"]) for parts in after)
        else "",
        text=(
            "After batch norm the last layer's pool has a skewness of {skew:.2f} and an excess "
            "kurtosis of {kurtosis:.2f}. Of the kurtosis {shapes:.2f} are the units' own shapes, "
            "{scales:.2f} that their scales differ, {means:.2f} their means, {both:.2f} how these "
            "go together; with each unit standardised {standard:.2f} would be left. Where gamma "
            "starts at 1 the scales give {one:.2f}. The claim is asked of every layer."
        ),
        numbers={
            "skew": path("total", "skewness/mean"),
            "kurtosis": path("total", "kurtosis/mean"),
            **{part: path("kurtosis", part) for part in PARTS["kurtosis"]},
            "standard": path("standardised", "kurtosis"),
            "one": "parts/gamma0 = 1/-1/post/kurtosis/scales",
        },
        figure="pooling",
    )


def hidden(numbers: dict[str, Any]) -> Finding:
    """Return how much of the units' divergence from N(0, 1) does not show in the pool."""
    one, weak = LAYERS
    after = [level["post"]["divergence"] for level in numbers["parts"][one]]
    path = "parts/{}/-1/{}/divergence/{}".format
    return Finding(
        claim=(
            "Where gamma starts at 1, a pooled layer after batch norm hides more of its units' "
            "distance from N(0, 1) than it shows."
        ),
        source="ours",
        holds=all(found["hidden"] > found["pool"] for found in after),
        condition="in some layers" if any(f["hidden"] > f["pool"] for f in after) else "",
        text=(
            "In the last layer the units are {units:.3f} nats from N(0, 1) on average and their "
            "pool {pool:.3f}; {hidden:.3f} are hidden, the mutual information between a value and "
            "its unit (before batch norm {before:.3f}). Where gamma starts at 0.1 the scale of the "
            "layer shows in both: {weak_units:.3f}, {weak_pool:.3f} and {weak_hidden:.3f}. The "
            "claim is asked of every layer."
        ),
        numbers={
            **{name: path(one, "post", name) for name in PARTS["divergence"]},
            "before": path(one, "pre", "hidden"),
            **{f"weak_{name}": path(weak, "post", name) for name in PARTS["divergence"]},
        },
        figure="pooling",
    )


def draw(numbers: dict[str, Any], first: dict[str, Levels]) -> Figure:
    """Draw pools beside those of normal units of the same means and scales, and their parts."""
    figure, axes = style.figure(12, 6.6, len(first), 4, squeeze=False)
    for row, (name, levels) in zip(axes, first.items(), strict=True):
        for ax, side in zip(row, shape_figures.TITLES, strict=False):
            found = levels[-1][side]["pool"]["histogram"]
            shape_figures.filled(ax, found, style.BLUE, "the pool")
            edges = shape_figures.edges(found)
            ax.plot((edges[1:] + edges[:-1]) / 2, found["units_normal"], color=style.RED, lw=1.6,
                    label="were units normal")  # fmt: skip
            ax.set_title(f"{name}\n{shape_figures.TITLES[side]}", fontsize=10)
            ax.set_xlabel("value, layer 3 pooled")
        row[0].set_ylabel("density")
        bars(row[2], numbers["parts"][name], "kurtosis", "excess kurtosis")
        bars(row[3], numbers["parts"][name], "divergence", "nats")
    for column in (0, 2, 3):
        axes[-1, column].legend(
            frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.22)
        )
    return figure


def bars(ax: Axes, levels: Levels, name: str, label: str) -> None:
    """Draw the parts of one measure in each level, after the norm."""
    colours = (style.BLUE, style.ORANGE, style.GREEN, style.PURPLE)
    parts = PARTS[name]
    width = 0.85 / len(parts)
    for at, part in enumerate(parts):
        places = [level + width * (at - (len(parts) - 1) / 2) for level in range(len(levels))]
        heights = [level["post"][name][part] or 0.0 for level in levels]
        ax.bar(places, heights, width * 0.92, color=colours[at], label=part)
    ax.axhline(0, color=style.INK, lw=0.8)
    ax.set_xticks(range(len(levels)), [str(level + 1) for level in range(len(levels))])
    ax.set_xlabel("layer, after batch norm")
    ax.set_ylabel(label)
    ax.set_title(f"parts of the pool's {name}" if name == "kurtosis" else "KL to N(0, 1)",
                 fontsize=10)  # fmt: skip


def draw_made(numbers: dict[str, Any]) -> Figure:
    """Draw the made layers: some of their units, and the pool."""
    figure, axes = style.figure(9.5, 3.6, 1, 2)
    for ax, (name, found) in zip(axes, numbers["made"].items(), strict=True):
        shape_figures.filled(ax, found["pool"]["histogram"], style.BLUE, "all 100 units pooled")
        highest = max(found["pool"]["histogram"]["heights"])
        for at, unit in enumerate(found["examples"]):
            heights = np.reshape(unit["heights"], (-1, 4)).mean(1)
            centres = shape_figures.edges(unit)[2::4]
            ax.plot(centres, heights, color=style.RED, lw=1.2, label=None if at else "four of them")
            highest = max(highest, *heights)
        ax.axvline(0, color=style.GREY, lw=0.8)
        ax.set_title(f"made units with {name}")
        ax.set_xlabel("value")
        ax.set_ylim(0, 1.05 * highest)
    axes[0].set_ylabel("density")
    axes[0].legend(frameon=False, fontsize=9)
    return figure


def markdown(numbers: dict[str, Any]) -> str:
    """Return the parts of skewness, kurtosis and divergence of every pool."""
    lines = [
        "| setting | layer | side | "
        + " | ".join(f"{name}: {part}" for name, parts in PARTS.items() for part in parts)
        + " |",
        "|---" * (3 + sum(map(len, PARTS.values()))) + "|",
    ]
    for name, levels in numbers["parts"].items():
        for at, level in enumerate(levels, 1):
            for side, title in shape_figures.TITLES.items():
                values = [
                    level[side][each][part] for each, parts in PARTS.items() for part in parts
                ]
                cells = " | ".join("" if value is None else f"{value:.3f}" for value in values)
                lines.append(f"| {name} | {at} | {title} | {cells} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train or take what distributions.py trained, take pools apart, and write."""
    lab = script.begin(__file__, __doc__, arguments, seeds=3)
    source = lab.source("mnist")
    samples = QUICK_SAMPLES if lab.quick else SAMPLES
    settings = {"layers": LAYERS, "samples": samples, "images": shapes.IMAGES}
    results = lab.results("Pools and their units", settings, source)
    wanted = shapes.watched(LAYERS, samples, lab.seeds, "mlp")
    runs = shapes.by_name(LAYERS, lab.each(shapes.watch, wanted, source))
    numbers = numbers_of(runs)
    first = {name: runs[name][0][-1]["levels"] for name in LAYERS}
    figures = {
        "pooling": (
            draw(numbers, first),
            "The last layer pooled, first seed, and what the pool would be, were every unit normal "
            "with its own mean and scale; the parts of the pools' kurtosis, and the divergence of "
            "pool and units from N(0, 1), mean over seeds.",
        ),
        "pooling_made": (
            draw_made(numbers),
            "Made layers. Left: normal units of two kinds pool to the slides' two peaks. Right: "
            "units of two modes pool to one.",
        ),
    }
    results.write(numbers, findings(numbers), figures, {"parts at the end": markdown(numbers)})


if __name__ == "__main__":
    script.run(main)
