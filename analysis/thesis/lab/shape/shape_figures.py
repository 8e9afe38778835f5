"""Figures of what `shapes.watch` measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab import style
from lab.shape.shape_numbers import VERDICTS

COLOURS = {
    "unimodal": "#c9d6e2",
    "undecided": style.ORANGE,
    "bimodal": style.RED,
    "other": style.INK,
}
LEVEL_COLOURS = (style.GREEN, style.ORANGE, style.BLUE)
LEAST_DIP = 0.01  # of what is called bimodal
TITLES = {"pre": "before batch norm", "post": "after batch norm"}


def edges(found: Mapping[str, Any]) -> Any:
    """Return the edges of a histogram of `pools.histogram`."""
    return np.linspace(found["low"], found["high"], len(found["heights"]) + 1)


def filled(ax: Axes, found: Mapping[str, Any], colour: str, label: str | None = None) -> None:
    """Draw a histogram as an area."""
    ax.stairs(found["heights"], edges(found), fill=True, color=colour, alpha=0.45, label=label)
    ax.stairs(found["heights"], edges(found), color=colour, lw=1.0)
    ax.set_ylim(bottom=0)


def pooled(levels: Mapping[str, Sequence[Mapping[str, Any]]], units: str) -> Figure:
    """Draw all units' values pooled: a row a setting, before and after; the last level filled."""
    figure, axes = style.figure(9.5, 3.1 * len(levels), len(levels), 2, squeeze=False)
    for row, (name, network) in zip(axes, levels.items(), strict=True):
        for ax, side in zip(row, TITLES, strict=True):
            last = len(network) - 1
            for at, level in enumerate(network):
                found, colour = level[side]["pool"]["histogram"], LEVEL_COLOURS[at]
                if at == last:
                    filled(ax, found, LEVEL_COLOURS[2], f"layer {at + 1}")
                else:
                    ax.stairs(
                        found["heights"],
                        edges(found),
                        color=colour,
                        lw=1.6,
                        label=f"layer {at + 1}",
                    )
            low, high = (network[last][side]["pool"]["histogram"][end] for end in ("low", "high"))
            margin = 0.25 * (high - low)
            ax.set_xlim(low - margin, high + margin)
            ax.axvline(0, color=style.GREY, lw=0.8)
            ax.set_title(f"{name}: {TITLES[side]}")
            ax.set_xlabel(f"value ({units})")
            ax.set_ylim(bottom=0)
        row[0].set_ylabel("density")
        row[1].legend(frameon=False)
    return figure


def single_units(levels: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw four units of one layer of each setting, before and after the norm."""
    figure, axes = style.figure(11, 4.2 * len(levels), 2 * len(levels), 4)
    for at, (name, level) in enumerate(levels.items()):
        for column, unit in enumerate(level["examples"]):
            for ax, side in zip(axes[2 * at : 2 * at + 2, column], TITLES, strict=True):
                filled(
                    ax, unit[side], COLOURS["bimodal"] if unit["shape"] == "bimodal" else style.BLUE
                )
                ax.axvline(0, color=style.GREY, lw=0.8)
                ax.set_yticks([])
                if column == 0:
                    ax.set_ylabel(f"{name}\n{TITLES[side]}", fontsize=9)
            below = unit["shape"] == "unimodal" and unit["dip"] < LEAST_DIP
            verdict = f"not bimodal: below {LEAST_DIP:g}" if below else unit["shape"]
            axes[2 * at, column].set_title(
                f"unit {unit['unit']}: dip {unit['dip']:.3f}\n{verdict}", fontsize=9
            )
    for ax in axes[-1]:
        ax.set_xlabel("value")
    return figure


def shares(conditions: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw the shares of verdicts of each layer at each mark, one panel a condition."""
    count = len(conditions)
    figure, axes = style.figure(3.1 * count, 3.8, 1, count, sharey=True, squeeze=False)
    for ax, (name, marks) in zip(axes[0], conditions.items(), strict=True):
        places, labels = [], []
        for group, mark in enumerate(marks):
            levels = mark["levels"]
            for at, level in enumerate(levels):
                places.append(group * (len(levels) + 0.8) + at)
                named = f"\n{seen(mark['seen'])}" if at == len(levels) // 2 else ""
                labels.append(f"{at + 1}{named}")
                _stack(ax, places[-1], level["verdicts"], labelled=group == at == 0)
        ax.set_xticks(places, labels, fontsize=9)
        ax.tick_params(axis="x", length=0)
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("layer, samples seen")
        ax.set_ylim(0, 100)
    axes[0, 0].set_ylabel("units, %")
    style.legend_outside(figure, axes[0, 0])
    return figure


def _stack(ax: Axes, place: float, verdicts: Mapping[str, Any], *, labelled: bool) -> None:
    bottom = 0.0
    for name in reversed((*VERDICTS, "other")):
        height = verdicts[name]["mean"]
        label = name if labelled else None
        ax.bar(place, height, 0.85, bottom, color=COLOURS[name], label=label, lw=0)
        bottom += height


def seen(samples: int) -> str:
    """Return a number of samples in thousands."""
    return f"{samples / 1000:g}K" if samples else "start"


def skew_and_coefficient(points: Mapping[str, Mapping[str, Sequence[Any]]]) -> Figure:
    """Draw the bimodality coefficient against the skewness, units coloured by the dip's verdict."""
    count = len(points)
    figure, axes = style.figure(4.2 * count, 4.0, 1, count, sharey=True, sharex=True, squeeze=False)
    for ax, (name, found) in zip(axes[0], points.items(), strict=True):
        verdict = np.array(found["verdict"])
        skewness, value = np.abs(found["skewness"]), np.array(found["coefficient"])
        for each in VERDICTS:
            chosen = verdict == each
            ax.scatter(skewness[chosen], value[chosen], s=11, color=COLOURS[each], label=each,
                       edgecolor=style.GREY if each == "unimodal" else "none", lw=0.4)  # fmt: skip
        ax.axhline(5 / 9, color=style.INK, lw=0.9, ls=(0, (4, 3)))
        ax.set_title(name)
        ax.set_xlabel("skewness, magnitude")
    axes[0, 0].set_ylabel("bimodality coefficient (dashed: 5/9)")
    style.legend_outside(figure, axes[0, 0])
    return figure
