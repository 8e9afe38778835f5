"""Sigmoids for the indicator: soft ranks at several strengths, how near, how steep, how fast.

The slides put sigmoid(gamma y) in the place of the indicator 1{y > 0} that counts a sort index,
draw it at several strengths gamma, and call the approximation good in most cases for a reasonable
gamma. Strengths are here relative to the column's scale, (q90 - q10) / 2.563, which is 1 for
N(0, 1). Columns: normal, gamma (shape 1/2), two normal peaks, and inputs of the norms of an MNIST
network (batch norm, 25,000 samples at .007), drawn anew each time. Measured at each strength:
the RMS and largest difference of soft and hard ranks in % of n; the standard deviation of the
scores; and the gradient by x of sum_i g_i score_i, g from N(0, 1), in units of 1 / scale, which
batch norm passes on at a size of about 1: its median, its 99% point, and the share of vanishing
ones, below 1/100. For an absolute gamma: the scales of a network's columns at PyTorch's start and
after training. Last, the time of the direct sum over all n^2 pairs, by torch, against `soft_rank`,
float64, one thread; where n^2 is large the direct sum is timed for some of its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
from lab import script, style
from lab.copula.soft import (
    NORMS,
    SPEED_STRENGTH,
    STRENGTHS,
    VALUES,
    Columns,
    Scales,
    Speed,
    ranks,
    scales,
    speed,
)
from lab.findings import Finding
from lab.training import THESIS_RATE
from matplotlib.figure import Figure
from scipy.special import expit

KINDS = ("normal", "gamma", "bimodal", "MNIST, norm1", "MNIST, norm2", "MNIST, norm3")
LENGTHS = (50, 500, 5_000)
QUICK_LENGTHS = (50, 500)
TRAINED, QUICK_TRAINED = 25_000, 2_000
SPEED_LENGTHS = (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
QUICK_SPEED_LENGTHS = (50, 500, 5_000)
SPEED_VALUES, QUICK_SPEED_VALUES = 200_000, 50_000
NEAR, FEW = 2.0, 5.0  # %: differences that are called good, and vanishing gradients
USUAL = 5.0  # the strength at which the package's layers start
DRAWN = (1.0, 3.0, 5.0, 10.0, 30.0)
PANELS = {
    "rms": "soft against hard ranks, RMS",
    "std": "standard deviation of the scores",
    "vanishing": "vanishing gradients",
}
NAMES = {"gamma": "gamma, shape 1/2", "bimodal": "two peaks"}
HUES = dict(
    zip(
        KINDS,
        (style.INK, style.RED, style.GREEN, "#1b4f8a", style.BLUE, "#7ab8e0"),
        strict=True,
    )
)


def gathered(
    wanted: Sequence[Columns], compared: Sequence[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return what was measured at each kind, length and strength, the mean over seeds."""
    found: dict[str, dict[str, Any]] = {}
    for setting in wanted:
        same = [
            run
            for other, run in zip(wanted, compared, strict=True)
            if (other.kind, other.n) == (setting.kind, setting.n)
        ]
        found.setdefault(setting.kind, {})[str(setting.n)] = {
            entry: {name: fmean(run[entry][name] for run in same) for name in values}
            for entry, values in same[0].items()
        }
    return found


def middle(networks: Sequence[Scales], found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the points of the scales before and after training, the mean over seeds."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for setting, run in zip(networks, found, strict=True):
        runs.setdefault("trained" if setting.trained else "start", []).append(run)
    return {
        when: {name: np.mean([run[name] for run in same], axis=0) for name in NORMS}
        for when, same in runs.items()
    }


def chosen(numbers: dict[str, Any], n: int) -> dict[str, Any]:
    """Return the strength that is good for most kinds of columns of a length, and for which."""
    best: dict[str, Any] = {"kinds": []}
    for strength in STRENGTHS:
        good = good_at(numbers, n, strength)
        if len(good) > len(best["kinds"]):
            best = {"strength": f"{strength:g}", "kinds": good}
    usual = len(good_at(numbers, n, SPEED_STRENGTH))
    return {**best, "count": len(best["kinds"]), "of": len(KINDS), "count_at_usual": usual}


def good_at(numbers: dict[str, Any], n: int, strength: float) -> list[str]:
    """Return the kinds of columns of a length for which a strength is good."""
    at = {kind: numbers[kind][str(n)][f"{strength:g}"] for kind in KINDS}
    return [
        kind for kind, value in at.items() if value["rms"] <= NEAR and value["vanishing"] <= FEW
    ]


def findings(numbers: dict[str, Any], lengths: Sequence[int]) -> list[Finding]:
    """Return what the numbers say of the approximation, of gamma, and of its cost."""
    short, long = str(lengths[0]), str(lengths[-1])
    at = f"columns/{{}}/{short}/{{}}/{{}}".format
    vanishing = {
        (n, each): numbers["columns"]["normal"][n][each]["vanishing"]
        for n in (short, long)
        for each in ("5", "100")
    }
    steep = Finding(
        claim="A larger strength buys nearness to the ranks with gradients that vanish.",
        source="ours",
        holds=all(vanishing[n, "100"] > 3 * vanishing[n, "5"] for n in (short, long)),
        condition=f"in batches of {short}"
        if vanishing[short, "100"] > 3 * vanishing[short, "5"]
        else "",
        text=(
            f"Normal columns of {short}: from a strength of 5 to 100 the RMS difference falls "
            "from {far:.1f}% to {near:.2f}%, and the share of gradients below a hundredth rises "
            f"from {{few:.1f}}% to {{many:.0f}}% (batch norm {{batch_norm:.1f}}%). In columns of "
            f"{long} it is {{few_long:.1f}}% and {{many_long:.1f}}%: there are more neighbours "
            "near enough. The claim is taken to hold where the share grows threefold."
        ),
        numbers={
            "far": at("normal", "5", "rms"),
            "near": at("normal", "100", "rms"),
            "few": at("normal", "5", "vanishing"),
            "many": at("normal", "100", "vanishing"),
            "batch_norm": at("normal", "batch_norm", "vanishing"),
            "few_long": f"columns/normal/{long}/5/vanishing",
            "many_long": f"columns/normal/{long}/100/vanishing",
        },
        figure="soft_ranks",
    )
    return [nearness(numbers, short), steep, absolute(numbers, short), cost(numbers)]


def nearness(numbers: dict[str, Any], short: str) -> Finding:
    """Return whether a strength is near to ranks with gradients that do not vanish."""
    best = numbers["chosen"][short]
    strength = best.get("strength", f"{STRENGTHS[-1]:g}")
    at = f"columns/{{}}/{short}/{{}}/{{}}".format
    return Finding(
        claim="The sort index is well approximated by sigmoids in most cases, for a reasonable "
        "strength.",
        source="slides, Copula Transform",
        holds=best["count"] > best["of"] / 2,
        text=(
            f"Called good where soft and hard ranks differ by at most {NEAR:g}% of n (RMS) while "
            f"at most {FEW:g}% of the gradients vanish. In columns of {short} that is so for "
            f"{{count}} of {{of}} kinds at a strength of {strength} over the column's scale: "
            "{normal:.1f}% on normal columns, {mnist:.1f}% on inputs of the first norm, "
            "{bimodal:.1f}% with two peaks, {gamma:.1f}% with gamma of shape 1/2, whose peak at 0 "
            "is narrow against its scale. The largest difference on normal columns is "
            "{largest:.0f}%. The scores of normal columns have a standard deviation of "
            "{std:.2f}, those of hard ranks {hard:.2f}. "
            f"At {USUAL:g}, where the package's layers start, it is so for {{usual}} of {{of}}: "
            "{usual_normal:.1f}% on normal columns, {usual_first:.1f}, {usual_second:.1f} and "
            "{usual_third:.1f}% on inputs of the three norms."
        ),
        numbers={
            "count": f"chosen/{short}/count",
            "of": f"chosen/{short}/of",
            "normal": at("normal", strength, "rms"),
            "mnist": at("MNIST, norm1", strength, "rms"),
            "bimodal": at("bimodal", strength, "rms"),
            "gamma": at("gamma", strength, "rms"),
            "largest": at("normal", strength, "largest"),
            "std": at("normal", strength, "std"),
            "hard": at("normal", "hard", "std"),
            "usual": f"chosen/{short}/count_at_usual",
            "usual_normal": at("normal", f"{USUAL:g}", "rms"),
            "usual_first": at("MNIST, norm1", f"{USUAL:g}", "rms"),
            "usual_second": at("MNIST, norm2", f"{USUAL:g}", "rms"),
            "usual_third": at("MNIST, norm3", f"{USUAL:g}", "rms"),
        },
        figure="soft_ranks",
    )


def absolute(numbers: dict[str, Any], n: str) -> Finding:
    """Return what a gamma of 1 means in a network that starts."""
    return Finding(
        claim="A gamma of 1 that knows nothing of the data's scale is no reasonable start.",
        source="ours",
        holds=numbers["scales"]["start"]["norm3"][1] < STRENGTHS[0],
        text=(
            "At PyTorch's start the columns before the three norms have scales of {first:.2f}, "
            "{second:.2f} and {third:.3f} (medians over units; network without norms). There a "
            f"gamma of 1 is a strength of that size. At a strength of {STRENGTHS[0]:g}, the least "
            "tried, ranks are off by {rms:.0f}% (29% if all were the same) and scores have a "
            "standard deviation of {std:.2f}. The claim is taken to hold where the third norm "
            "has less than that."
        ),
        numbers={
            "first": "scales/start/norm1/1",
            "second": "scales/start/norm2/1",
            "third": "scales/start/norm3/1",
            "rms": f"columns/normal/{n}/{STRENGTHS[0]:g}/rms",
            "std": f"columns/normal/{n}/{STRENGTHS[0]:g}/std",
        },
        figure="soft_ranks",
    )


def cost(numbers: dict[str, Any]) -> Finding:
    """Return what the matrix of all pairs costs."""
    timed = list(numbers["speed"])
    slower = [n for n in timed if numbers["speed"][n]["ratio"] > 1]
    return Finding(
        claim="The copula transform can be had more cheaply than by the matrix of all pairs.",
        source="future work",
        holds=slower == timed,
        condition=f"from n = {slower[0]}" if slower else "",
        text=(
            "Direct sum over the time of soft_rank, a column, one thread: {least:.1f} at "
            f"n = {timed[0]} and {{most:,.0f}} at n = {timed[-1]}, where it takes {{fast:.0f}} ns "
            "a value. The ranks are the same to {difference:.0e} of n."
        ),
        numbers={
            "least": f"speed/{timed[0]}/ratio",
            "most": f"speed/{timed[-1]}/ratio",
            "fast": f"speed/{timed[-1]}/fast",
            "difference": "largest_difference",
        },
        figure="soft_ranks_speed",
    )


def draw(numbers: dict[str, Any], lengths: Sequence[int]) -> Figure:
    """Draw the slides' sigmoids, and nearness, width and steepness against the strength."""
    figure, axes = style.figure(11.5, 8.0, 2, 2)
    y = np.linspace(-2, 2, 801)
    for strength, shade in zip(DRAWN, np.linspace(0.25, 1.0, len(DRAWN)), strict=True):
        axes[0, 0].plot(
            y, expit(strength * y), color=style.BLUE, alpha=shade, label=f"gamma = {strength:g}"
        )
    axes[0, 0].step((-2, 0, 2), (0, 0, 1), color=style.INK, lw=1, label="indicator")
    axes[0, 0].set(title="sigmoids for the indicator", xlabel="difference, in scales of the column")
    axes[0, 0].legend(frameon=False, loc="upper left", fontsize=8.5)
    short, long = str(lengths[0]), str(lengths[-1])
    for ax, (name, title) in zip(axes.flat[1:], PANELS.items(), strict=True):
        for kind in KINDS:
            for n, line in ((short, "-"), (long, (0, (4, 2)))):
                values = [numbers["columns"][kind][n][f"{s:g}"][name] for s in STRENGTHS]
                label = NAMES.get(kind, kind) if n == short and ax is axes[0, 1] else None
                ax.plot(STRENGTHS, values, ls=line, lw=1.5, color=HUES[kind], label=label)
        ax.set(xscale="log", xlabel="strength, over the column's scale", title=title)
        ax.set_xticks((0.3, 1, 3, 10, 30, 100), ("0.3", "1", "3", "10", "30", "100"))
        ax.minorticks_off()
    axes[0, 1].set(yscale="log", ylabel="% of n")
    axes[0, 1].axhline(NEAR, color=style.GREY, lw=0.8)
    axes[1, 0].set_ylim(0, 1.05)
    axes[1, 1].set(ylabel="% of gradients", ylim=(0, None))
    axes[1, 1].axhline(FEW, color=style.GREY, lw=0.8)
    style.legend_outside(figure, axes[0, 1])
    return figure


def draw_speed(numbers: dict[str, Any]) -> Figure:
    """Draw the time a value of both ways, with their ratio."""
    figure, ax = style.figure(8.0, 4.6)
    n = [int(each) for each in numbers["speed"]]
    for name, colour, label in (
        ("direct", style.RED, "direct sum over all pairs"),
        ("fast", style.BLUE, "soft_rank"),
    ):
        values = [entry[name] for entry in numbers["speed"].values()]
        ax.plot(n, values, "o-", ms=4, color=colour, label=label)
    for each, entry in numbers["speed"].items():
        at = (int(each), entry["direct"])
        ax.annotate(
            f"{entry['ratio']:,.0f}x",
            at,
            (-3, 7),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
        )
    ax.set(xscale="log", yscale="log", xlabel="length n of the column", ylabel="time, ns a value")
    ax.set_xlim(n[0] / 2, n[-1] * 1.4)
    ax.legend(frameon=False, loc="upper left")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, compare and write."""
    lab = script.begin(__file__, __doc__, arguments, seeds=3, quick_seeds=1)
    source = lab.source("mnist")
    trained = QUICK_TRAINED if lab.quick else TRAINED
    lengths = QUICK_LENGTHS if lab.quick else LENGTHS
    timed = QUICK_SPEED_LENGTHS if lab.quick else SPEED_LENGTHS
    values = QUICK_SPEED_VALUES if lab.quick else SPEED_VALUES
    settings = {
        "strengths": STRENGTHS,
        "lengths": lengths,
        "values": VALUES,
        "kinds": KINDS,
        "trained": trained,
        "rate": THESIS_RATE,
        "speed_lengths": timed,
        "speed_values": values,
        "speed_strength": SPEED_STRENGTH,
    }
    results = lab.results("Soft ranks: nearness, steepness, speed", settings, source)
    wanted = [
        Columns(kind, n, seed, trained if kind.startswith("MNIST") else 0)
        for kind in KINDS
        for n in lengths
        for seed in range(lab.seeds)
    ]
    compared = lab.each(ranks, wanted, source)
    networks = [Scales("Regular", seen, seed) for seen in (0, trained) for seed in range(lab.seeds)]
    found = lab.each(scales, networks, source)
    times = lab.each(speed, [Speed(n, values) for n in timed])
    numbers = {
        "columns": gathered(wanted, compared),
        "scales": middle(networks, found),
        "speed": {
            str(n): {**run, "ratio": run["direct"] / run["fast"]}
            for n, run in zip(timed, times, strict=True)
        },
        "largest_difference": max(run["difference"] for run in times),
    }
    numbers["chosen"] = {str(n): chosen(numbers["columns"], n) for n in lengths}
    results.write(
        numbers,
        findings(numbers, lengths),
        {
            "soft_ranks": (
                draw(numbers, lengths),
                "The slides' sigmoids; then soft ranks against hard ones, the standard deviation "
                "of the scores, and the share of gradients below a hundredth, against the "
                f"strength. Full lines: columns of {lengths[0]}, dashed: of {lengths[-1]}. Grey "
                "lines: what is called good here.",
            ),
            "soft_ranks_speed": (
                draw_speed(numbers),
                "Time of soft ranks a value, float64, one thread, and the ratio.",
            ),
        },
    )


if __name__ == "__main__":
    script.run(main)
