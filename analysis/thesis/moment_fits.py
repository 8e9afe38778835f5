"""Moment matching on sample columns: data, fitted density, target, and the data transformed.

The slides' figure "Moment-matching on some sample MNIST data inputs", at k = 2, 4, 6. To each
column of pre-activations (of the thesis' network before and after training, and of one with batch
norm) and to each pixel belongs the density of largest entropy with its first k moments on three
times its range; the column is carried to N(0, 1) by quantiles. How near it comes is the Kolmogorov
distance, for the rows that were fitted and for as many fresh ones, beside that of draws from
N(0, 1) itself; k = 2 is, all but exactly, batch norm's affine map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from lab import script, style, training
from lab.data import Source
from lab.findings import Finding, plain
from lab.matching import carrying
from lab.matching.carrying import ORDERS, Columns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

import distfit_nn as dn

Array = NDArray[np.float64]

NAMES = ("two", "four", "six")
FULL, QUICK = (2000, 125_000), (200, 6_000)  # rows to fit, and as many fresh; samples trained on
FEWER = (50, 200, 500)  # rows to fit; 50 is a batch of the thesis
KINDS = ("before training", "Regular", "BatchNorm", "pixels")
DRAWN = (("Regular", 1), ("Regular", 3), ("BatchNorm", 3), ("pixels", 0))  # kind, which picked
QUANTILES = {"low": 0.1, "median": 0.5, "high": 0.9}
BINS = np.linspace(-4, 4, 41)
COLOURS = {2: style.ORANGE, 4: style.GREEN, 6: style.BLUE}
SHORT = {
    "before training": "before training",
    "Regular": "no layer",
    "BatchNorm": "before batch norm",
    "pixels": "pixels",
}


def measured(lab: script.Script, source: Source) -> dict[str, Any]:
    """Return all numbers: quantiles over the columns of all seeds, and the columns to draw."""
    rows, seen = QUICK if lab.quick else FULL
    wanted = [Columns(kind, rows, rows, seen, seed) for kind in KINDS for seed in range(lab.seeds)]
    runs = list(zip(wanted, lab.each(carrying.fitted, wanted, source), strict=True))
    numbers: dict[str, Any] = {"fits": {}, "samples": []}
    for kind in KINDS:
        own = [run["orders"] for setting, run in runs if setting.kind == kind]
        numbers["fits"][kind] = {
            str(order): over_columns([run[str(order)] for run in own], rows) for order in ORDERS
        }
    first = {setting.kind: run for setting, run in reversed(runs)}
    for kind, at in DRAWN:
        numbers["samples"].append(sample(kind, *first[kind]["picked"][at]))
    numbers["chance"] = runs[0][1]["orders"][str(ORDERS[0])]["chance"][0]
    numbers["rows"] = by_rows(lab, source, rows, seen)
    networks = [numbers["fits"][kind] for kind in KINDS[:-1]]
    each = [found[str(order)] for found in networks for order in ORDERS]
    numbers["columns"] = sum(found["columns"] for found in each)
    numbers["ok"] = sum(found["ok"] for found in each)
    numbers["worst_residual"] = max(found["worst_residual"] for found in each)
    return numbers


def by_rows(lab: script.Script, source: Source, most: int, seen: int) -> dict[str, Any]:
    """Return the median distance of fresh rows by how many rows were fitted, before batch norm."""
    counts = [rows for rows in (*FEWER, most) if rows <= most]
    wanted = [
        Columns("BatchNorm", rows, most, seen, seed)
        for rows in dict.fromkeys(counts)
        for seed in range(lab.seeds)
    ]
    runs = list(zip(wanted, lab.each(carrying.fitted, wanted, source), strict=True))

    def median(rows: int, order: int) -> dict[str, Any]:
        chosen = [run["orders"][str(order)]["fresh"] for at, run in runs if at.rows == rows]
        return training.spread([float(np.median(values)) for values in chosen])

    return {str(rows): {str(order): median(rows, order) for order in ORDERS} for rows in counts}


def over_columns(runs: Sequence[dict[str, list[Any]]], rows: int) -> dict[str, Any]:
    """Return statuses, and quantiles over the columns of all seeds where there is a density.

    `near_normal` is the share of columns with a skewness and a kurtosis within two standard
    deviations of those of samples from N(0, 1).
    """

    def column(name: str) -> Array:
        return np.concatenate([np.array(run[name], float) for run in runs])

    fine = column("status") == 0
    skewness, kurtosis = np.abs(column("skewness")), np.abs(column("kurtosis"))
    near = (skewness < 2 * (6 / rows) ** 0.5) & (kurtosis < 2 * (24 / rows) ** 0.5)
    found = {
        "columns": len(fine),
        "ok": int(fine.sum()),
        "ok_share": 100 * float(fine.mean()),
        "worst_residual": float(column("residual")[fine].max()),
        "iterations": float(np.median(column("iterations")[fine])),
        "near_normal": 100 * float(near[fine].mean()),
        "median_by_seed": [float(np.nanmedian(np.array(run["fresh"], float))) for run in runs],
    }
    for name in ("distance", "fresh", "outside"):
        values = column(name)[fine]
        found[name] = {what: float(np.quantile(values, q)) for what, q in QUANTILES.items()}
    return found


def sample(kind: str, unit: int, values: list[float]) -> dict[str, Any]:
    """Return what is drawn of a column: histograms of it and of what it becomes, densities."""
    x = np.array(values)
    low, high = x.min(), x.max()
    edges = np.linspace(low, high, 41)
    points = np.linspace(low - 0.15 * (high - low), high + 0.15 * (high - low), 161)
    found: dict[str, Any] = {
        "kind": kind,
        "unit": unit,
        "edges": edges,
        "data": np.histogram(x, edges, density=True)[0],
        "points": points,
        "density": {},
        "carried": {},
        "distance": {},
    }
    for order in ORDERS:
        carry = dn.transforms.QuantileMap.fit(x, order)
        y = carry.forward(x)
        found["density"][str(order)] = carry.source.pdf(points)
        inside = np.histogram(y, BINS)[0] / (len(y) * np.diff(BINS))
        found["carried"][str(order)] = inside
        found["distance"][str(order)] = float(dn.stats.kolmogorov_smirnov(y).statistic)
    return found


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return what the fits say."""
    return [nearer(numbers), stable(numbers), moments_of_target(numbers), spikes(numbers)]


def nearer(numbers: dict[str, Any]) -> Finding:
    """Return whether columns come nearer N(0, 1) at each higher order, in each network and seed."""
    fits, by_rows = numbers["fits"], numbers["rows"]

    def falls(medians: list[list[float]]) -> bool:
        return bool((np.diff(medians, axis=0) < 0).all())

    whole = [[fits[kind][str(k)]["median_by_seed"] for k in ORDERS] for kind in KINDS[1:-1]]
    batch = [by_rows[str(FEWER[0])][str(k)]["seeds"] for k in ORDERS]
    path, few = "fits/{}/{}/fresh/median".format, f"rows/{FEWER[0]}/{{}}/mean".format
    return Finding(
        claim="Matching moments beyond the second carries the data nearer to N(0, 1).",
        source="slides, Moment-Matching",
        holds=all(map(falls, whole)) and falls(batch),
        condition="with enough rows, not in batches of 50" if all(map(falls, whole)) else "",
        text=(
            "Median Kolmogorov distance of pre-activations of trained networks from N(0, 1), rows "
            "not used in the fit: {two:.3f}, {four:.3f} and {six:.3f} at k = 2, 4 and 6 without a "
            "layer, {two_norm:.3f}, {four_norm:.3f} and {six_norm:.3f} before batch norm. As many "
            "draws from N(0, 1) itself have {chance:.3f} on average. Fitted to batches of 50, "
            "fresh rows have {two_few:.3f}, {four_few:.3f} and {six_few:.3f}. (It holds if the "
            "median falls with k in every seed, of such batches too.)"
        ),
        numbers={
            **{name: path("Regular", k) for name, k in zip(NAMES, ORDERS, strict=True)},
            **{f"{name}_norm": path("BatchNorm", k) for name, k in zip(NAMES, ORDERS, strict=True)},
            **{f"{name}_few": few(k) for name, k in zip(NAMES, ORDERS, strict=True)},
            "chance": "chance",
        },
        figure="moment_fits_distance",
    )


def stable(numbers: dict[str, Any]) -> Finding:
    """Return whether all columns of pre-activations have their density."""
    path = "fits/{}/{}/ok_share".format
    return Finding(
        claim="Moment matching converges on MNIST data.",
        source="slides, Moment-Matching (results)",
        holds=numbers["ok"] == numbers["columns"],
        text=(
            "Of {columns} fits to columns of pre-activations at k = 2, 4 and 6, {ok} have the "
            "moments asked for, the worst to {worst:.0e}. Of pixel columns {pixels_two:.0f}, "
            "{pixels_four:.0f} and {pixels_six:.0f}% have a density at all: the others take at "
            "most k/2 distinct values, most of them one."
        ),
        numbers={
            "columns": "columns",
            "ok": "ok",
            "worst": "worst_residual",
            "pixels_two": path("pixels", 2),
            "pixels_four": path("pixels", 4),
            "pixels_six": path("pixels", 6),
        },
        figure="moment_fits",
    )


def moments_of_target(numbers: dict[str, Any]) -> Finding:
    """Return whether the data carried over have the target's moments: on 90% of the columns."""
    path = "fits/{}/{}/near_normal".format
    shares = [numbers["fits"][kind][str(ORDERS[-1])]["near_normal"] for kind in KINDS[1:-1]]
    return Finding(
        claim="Data that are carried over have the moments of N(0, 1): 0, 1, 0, 3, 0, 15.",
        source="slides, Moment-Matching",
        holds=min(shares) >= 90,
        text=(
            "What is matched are the moments of the density, not those of the data carried over. "
            "Of these, not used in the fit, {two:.0f}, {four:.0f} and {six:.0f}% of the columns "
            "without a layer have a skewness and a kurtosis like samples of N(0, 1) at k = 2, 4 "
            "and 6 (within two standard deviations), {two_norm:.0f}, {four_norm:.0f} and "
            "{six_norm:.0f}% before batch norm. (It holds from 90% on at k = 6.)"
        ),
        numbers={
            **{name: path("Regular", k) for name, k in zip(NAMES, ORDERS, strict=True)},
            **{f"{name}_norm": path("BatchNorm", k) for name, k in zip(NAMES, ORDERS, strict=True)},
        },
    )


def spikes(numbers: dict[str, Any]) -> Finding:
    """Return whether pixels stay where they are: the median distance falls by under a tenth."""
    two, six = (numbers["fits"]["pixels"][str(k)]["fresh"]["median"] for k in (2, 6))
    path = "fits/pixels/{}/{}/median".format
    return Finding(
        claim="More moments do not help columns that are mostly one value, such as pixels.",
        source="ours",
        holds=six > 0.9 * two,
        text=(
            "Pixels with a density have a median distance of {two:.2f} from N(0, 1) at k = 2 and "
            "{six:.2f} at k = 6: a map of values moves a spike and cannot spread it. Of the fitted "
            "density a mass of {outside:.2f} (median, k = 6) lies beyond the data, at the ends of "
            "the support; for pre-activations without a layer it is {outside_units:.4f}."
        ),
        numbers={
            "two": path(2, "fresh"),
            "six": path(6, "fresh"),
            "outside": path(6, "outside"),
            "outside_units": "fits/Regular/6/outside/median",
        },
        figure="moment_fits",
    )


def draw(numbers: dict[str, Any]) -> Figure:
    """Draw sample columns with their densities, and what they become at each order."""
    samples = numbers["samples"]
    figure, axes = style.figure(12.0, 2.6 * len(samples), len(samples), 1 + len(ORDERS))
    for row, found in zip(axes, samples, strict=True):
        row[0].stairs(found["data"], found["edges"], fill=True, color=style.FAINT)
        for order in ORDERS:
            density = found["density"][str(order)]
            row[0].plot(
                found["points"], density, color=COLOURS[order], lw=1.6, label=f"k = {order}"
            )
        row[0].set_ylim(0, 1.25 * max(*found["density"]["4"][10:-10], np.median(found["data"])))
        row[0].set_title(f"{SHORT[found['kind']]}, column {found['unit']}", fontsize=10)
        for ax, order in zip(row[1:], ORDERS, strict=True):
            draw_carried(ax, found, order)
    axes[0, 0].legend(frameon=False, fontsize=8.5)
    axes[0, 1].legend(frameon=False, fontsize=8.5, loc="upper right")
    axes[-1, 0].set_xlabel("value")
    for ax in axes[-1, 1:]:
        ax.set_xlabel("transformed value")
    for ax in axes[:, 0]:
        ax.set_ylabel("density")
    return figure


def draw_carried(ax: Axes, found: dict[str, Any], order: int) -> None:
    """Draw a column as transformed, and the target."""
    heights = found["carried"][str(order)]
    ax.stairs(heights, BINS, fill=True, color=COLOURS[order], alpha=0.45)
    points = np.linspace(BINS[0], BINS[-1], 121)
    target = np.exp(-(points**2) / 2) / np.sqrt(2 * np.pi)
    ax.plot(points, target, color=style.INK, lw=1.4, label="N(0, 1)")
    ax.set(ylim=(0, 0.75), xlim=(BINS[0], BINS[-1]))
    ax.set_title(f"k = {order}, distance {found['distance'][str(order)]:.3f}", fontsize=10)


def draw_distances(numbers: dict[str, Any]) -> Figure:
    """Draw how near N(0, 1) the columns come: medians and the middle 80%; medians by rows."""
    figure, axes = style.figure(12.0, 4.0, 1, 3, sharey=True, width_ratios=(1.15, 1.15, 1))
    panels = {"distance": "rows that were fitted", "fresh": "as many fresh rows"}
    for at, order in enumerate(ORDERS):
        style_of = {"color": COLOURS[order], "label": f"k = {order}"}
        for ax, name in zip(axes, panels, strict=False):
            found = [numbers["fits"][kind][str(order)][name] for kind in KINDS[:-1]]
            middle = np.array([each["median"] for each in found])
            ends = [middle - [e["low"] for e in found], [e["high"] for e in found] - middle]
            ax.errorbar(np.arange(3) + 0.22 * (at - 1), middle, ends, fmt="o", **style_of)
        means = [found[str(order)]["mean"] for found in numbers["rows"].values()]
        axes[2].plot([int(rows) for rows in numbers["rows"]], means, "o-", **style_of)
    for ax, title in zip(axes, panels.values(), strict=False):
        ax.set_xticks(range(3), [SHORT[kind].replace(" ", "\n", 1) for kind in KINDS[:-1]])
        ax.set_title(title)
    for ax in axes:
        ax.axhline(numbers["chance"], color=style.GREY, lw=1, ls=(0, (4, 3)))
    rows = [int(each) for each in numbers["rows"]]
    axes[2].set(xscale="log", xlabel="rows fitted", title="fresh rows, before batch norm")
    axes[2].set_xticks(rows, [str(each) for each in rows])
    axes[2].minorticks_off()
    axes[0].set(ylabel="Kolmogorov distance from N(0, 1)", ylim=(0, None))
    axes[0].legend(frameon=False, fontsize=9)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, carry over, draw and write."""
    lab = script.begin(__file__, __doc__, arguments, seeds=3, quick_seeds=1)
    source = lab.source("mnist")
    rows, seen = QUICK if lab.quick else FULL
    settings = {
        "orders": ORDERS,
        "rows": rows,
        "fewer_rows": FEWER,
        "samples_seen": seen,
        "rate": training.THESIS_RATE,
        "kinds": KINDS,
    }
    results = lab.results("Moment matching on sample columns", settings, source)
    numbers = plain(measured(lab, source))
    figures = {
        "moment_fits": (
            draw(numbers),
            "Left: sample columns and their densities at k = 2, 4 and 6. Others: the column "
            "transformed, with its Kolmogorov distance from the target. The columns are those with "
            "the median and the largest distance at k = 2, the largest before batch norm, and the "
            "nearest pixel; bars of its spikes are cut off.",
        ),
        "moment_fits_distance": (
            draw_distances(numbers),
            "Distance of all columns from N(0, 1) once transformed: medians and the middle 80%. "
            "Dashed: the mean for draws from N(0, 1) itself. Right: medians when "
            "fewer rows are fitted, means over seeds.",
        ),
    }
    results.write(numbers, findings(numbers), figures, {"all columns": table(numbers)})


def table(numbers: dict[str, Any]) -> str:
    """Return statuses, steps and distances by kind and order."""
    lines = [
        "| columns | k | fits | with a density, % | steps | distance, fitted rows | fresh |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        for order in ORDERS:
            found = numbers["fits"][kind][str(order)]
            lines.append(
                f"| {SHORT[kind]} | {order} | {found['columns']} | {found['ok_share']:.1f} | "
                f"{found['iterations']:.0f} | {found['distance']['median']:.4f} | "
                f"{found['fresh']['median']:.4f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    script.run(main)
