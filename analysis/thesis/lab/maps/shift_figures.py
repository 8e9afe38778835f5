"""Figures and a table of the learnable maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab import style
from lab.comparison import PANELS
from lab.maps import shifts

SHOWN = {  # gains and exponents of the curves shown; the first is the start
    "LogShift": (
        {"a": 3.0, "b": 5.0, "c": 1.0},
        {"a": 3.0, "b": 5.0, "c": 0.5},
        {"a": 3.0, "b": 5.0, "c": 2.0},
        {"a": 1.0, "b": 1.0, "c": 1.0},
        {"a": 6.0, "b": 10.0, "c": 1.0},
    ),
    "SqrtShift": (
        {"a": 20.0, "b": 1.0},
        {"a": 20.0, "b": 0.5},
        {"a": 20.0, "b": 2.0},
        {"a": 1.0, "b": 1.0},
        {"a": 80.0, "b": 1.0},
    ),
}
HUES = (style.INK, style.BLUE, style.ORANGE, style.RED, style.PURPLE)
FAMILIES = {"LogShift": style.GREEN, "SqrtShift": "#8fbf3f", "Line": style.BLUE}
NAMES = {"LogShift": "log-shift", "SqrtShift": "sqrt-shift", "Line": "a line: no shape"}

Gains = Mapping[str, Mapping[int, str]]


def all_of(numbers: dict[str, Any], gains: Gains) -> dict[str, tuple[Figure, str]]:
    """Return the figures of maps.py with their captions."""
    return {
        "maps": (
            functions(),
            "The maps for several gains and exponents, black: as they start; and their slopes. An "
            "exponent below 1 makes the slope at 0 infinite, one above 1 makes it 0.",
        ),
        "maps_starts": (
            starts(numbers, gains),
            "Test accuracy against the slope at 0 at the start. Means over seeds, bars one "
            "standard deviation; crosses: gains and exponents fixed.",
        ),
        "maps_learned": (
            learned(numbers),
            "What was learned at the best rate: a thin line is the map of a feature, with its own "
            "line, over the inner 98% of the level's values; dashed the start. One seed.",
        ),
        "maps_parameters": (
            parameters(numbers),
            "Gains, exponents and lines of the features after training, over all seeds: median, "
            "and 5th to 95th percentile; dashed the start.",
        ),
        "maps_values": (
            values(numbers),
            "All units of the third layer together, after training at the best rate, on test "
            "images: before the layer (above) and behind it (below), with the ends of the values. "
            "One seed.",
        ),
    }


def functions() -> Figure:
    """Draw the maps, and their slopes near 0."""
    figure, axes = style.figure(10.5, 7, 2, 2)
    near = np.geomspace(1e-4, 1, 200)
    x = np.concatenate([-3 * near[::-1], [0.0], 3 * near])
    for column, (layer, shown) in enumerate(SHOWN.items()):
        above, below = axes[:, column]
        for starts, colour in zip(shown, HUES, strict=True):
            label = ", ".join(f"{name} = {value:g}" for name, value in starts.items())
            y, _ = shifts.curve(layer, torch.tensor(x), **starts)
            _, slope = shifts.curve(layer, torch.tensor(near), **starts)
            above.plot(x, y, color=colour, label=label)
            below.plot(near, slope, color=colour)
        above.axvline(0, color=style.FAINT, lw=0.8, zorder=0)
        above.axhline(0, color=style.FAINT, lw=0.8, zorder=0)
        above.set(title=NAMES[layer], xlabel="x", ylim=(-30, 30))
        above.legend(frameon=False, fontsize=8.5, loc="upper left")
        below.set(xscale="log", yscale="log", xlabel="distance from 0", ylim=(0.05, 2e3))
    axes[0, 0].set_ylabel("y")
    axes[1, 0].set_ylabel("slope")
    return figure


def starts(numbers: dict[str, Any], gains: Gains) -> Figure:
    """Draw accuracy against the gain at the start, at both rates."""
    figure, axes = style.figure(11, 4.6, 1, 2)
    for ax, (panel, title) in zip(axes, PANELS.items(), strict=True):
        entries = numbers[panel]
        for family, layers in gains.items():
            found = [entries[layer] for layer in layers.values()]
            bars = [each["std"] or 0.0 for each in found]
            means = [each["mean"] for each in found]
            line = {"marker": "o", "ms": 4, "capsize": 2, "label": NAMES[family]}
            ax.errorbar(list(layers), means, bars, color=FAMILIES[family], **line)
            if family in shifts.FIXED:
                (at,) = [gain for gain, layer in layers.items() if layer == family]
                fixed = entries[shifts.FIXED[family]]["mean"]
                label = f"{NAMES[family]}, fixed"
                ax.plot([at], [fixed], "x", ms=8, mew=2, color=FAMILIES[family], label=label)
        for layer, label in (("Regular", "no layer"), ("BatchNorm", "batch norm")):
            colour = style.COLOURS[layer]
            ax.axhline(entries[layer]["mean"], color=colour, ls=(0, (4, 3)), label=label)
        ax.set(xscale="log", xlabel="slope at 0 at the start", title=title)
        ticks = sorted({gain for layers in gains.values() for gain in layers} - {15})
        ax.set_xticks(ticks, map(str, ticks))
        ax.minorticks_off()
    axes[0].set_ylabel(f"test accuracy after {numbers['mark'] / 1000:g}K samples, %")
    style.legend_outside(figure, axes[0])
    return figure


def learned(numbers: dict[str, Any]) -> Figure:
    """Draw the learned map of every feature at each level, and the map at the start."""
    figure, axes = style.figure(11.5, 6.4, 2, len(shifts.LEVELS))
    for row, layer in zip(axes, shifts.FIXED, strict=True):
        entry = numbers["learned"]["best_rate"][layer]
        for level, ax in enumerate(row):
            low, high = entry["inner"][level]
            x = torch.linspace(low, high, 201)
            y = shifts.learned_curves(layer, entry["units"][level], x)
            start, _ = shifts.curve(layer, x, **SHOWN[layer][0])
            ax.plot(x, y, color=style.COLOURS[layer], lw=0.5, alpha=0.5)
            ax.plot(x, start, color=style.INK, ls=(0, (4, 3)), lw=1.6)
            ax.set(title=f"{NAMES[layer]}, level {level + 1}", xlabel="x")
        row[0].set_ylabel(f"y (rate {entry['rate']:g})")
    return figure


def parameters(numbers: dict[str, Any]) -> Figure:
    """Draw the spread of each parameter over features, level by level, at both rates."""
    figure, axes = style.figure(12, 5.6, 2, 6)
    for row, layer in zip(axes, shifts.FIXED, strict=True):
        names = shifts.PARAMETERS[layer]
        for ax, name in zip(row, names, strict=False):
            entries = {
                numbers["learned"][panel][layer]["rate"]: numbers["learned"][panel][layer]
                for panel in PANELS
            }
            for place, (entry, colour) in enumerate(
                zip(entries.values(), (style.COLOURS[layer], style.ORANGE), strict=False)
            ):
                _spreads(ax, entry, name, 0.22 * (place - (len(entries) - 1) / 2), colour)
            start = entry["parameters"][0][name]["start"]
            ax.axhline(start, color=style.INK, lw=0.9, ls=(0, (4, 3)), zorder=0)
            ax.set(title=name, xticks=shifts.LEVELS, xlim=(0.5, 3.5), xlabel="level")
        for ax in row[len(names) :]:
            ax.set_axis_off()
        row[-1].legend(
            *row[0].get_legend_handles_labels(),
            loc="center",
            frameon=False,
            title=NAMES[layer],
            alignment="left",
        )
    return figure


def _spreads(ax: Axes, entry: dict[str, Any], name: str, aside: float, colour: str) -> None:
    """Draw median and 5th to 95th percentile of a parameter at each level."""
    found = [level[name] for level in entry["parameters"]]
    middle = np.array([each["median"] for each in found])
    reach = np.abs([[each["low"] for each in found], [each["high"] for each in found]] - middle)
    at = np.array(shifts.LEVELS) + aside
    label = f"rate {entry['rate']:g}"
    ax.errorbar(at, middle, reach, fmt="o", ms=5, capsize=3, color=colour, label=label)


def values(numbers: dict[str, Any]) -> Figure:
    """Draw the histograms of the third layer, before and behind it."""
    layers = tuple(shifts.PARAMETERS)
    figure, axes = style.figure(11.5, 5.8, 2, len(layers))
    for column, layer in enumerate(layers):
        entry = numbers["learned"]["best_rate"][layer]
        for ax, side in zip(axes[:, column], ("before", "after"), strict=True):
            third = entry["third"][side]
            low, high = third["edges"]
            edges = np.linspace(low, high, len(third["counts"]) + 1)
            share = 100 * np.array(third["counts"]) / sum(third["counts"])
            ax.stairs(share, edges, fill=True, color=style.COLOURS[layer])
            ax.text(0.98, 0.93, f"{low:.1f} to {high:.1f}", transform=ax.transAxes, ha="right")
            ax.set_ylim(0, 1.2 * share.max())
        axes[0, column].set(title=f"{NAMES.get(layer, 'batch norm')} at {entry['rate']:g}")
        axes[0, column].set_xlabel("x, before")
        axes[1, column].set_xlabel("y, behind")
    for ax in axes[:, 0]:
        ax.set_ylabel("share of values, %")
    return figure


def table(numbers: dict[str, Any]) -> str:
    """Return accuracy, reach by mark, and units with two peaks, a row for each layer and rate."""
    marks = [f"{mark / 1000:g}K" for mark in numbers["marks"]]
    head = "largest absolute value behind level 3, at "
    lines = [
        f"| layer | rate | test accuracy, % | {head}{' / '.join(marks)} samples "
        "| units with two peaks before and behind, % |",
        "|---|---|---|---|---|",
    ]
    rows = {
        (layer, entry["rate"]): entry
        for panel in PANELS
        for layer, entry in numbers["learned"][panel].items()
    }
    for (layer, rate), entry in rows.items():
        accuracy, third = entry["test_accuracy"], entry["third"]
        reached = " / ".join(f"{value:.3g}" for value in entry["reach"][-1])
        two = [100 * third[side]["bimodal_units"]["mean"] for side in ("before", "after")]
        lines.append(
            f"| {layer} | {rate:g} | {accuracy['mean']:.2f} ± {accuracy['std'] or 0:.2f} "
            f"| {reached} | {two[0]:.0f}, {two[1]:.0f} |"
        )
    return "\n".join(lines)
