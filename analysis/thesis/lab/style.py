"""How the figures look: one colour a layer in all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

INK, GREY, FAINT = "#222222", "#8a8a8a", "#e4e4e4"
_HUES = sns.color_palette("colorblind", 10).as_hex()
BLUE, ORANGE, GREEN, RED, PURPLE = _HUES[0], _HUES[1], _HUES[2], _HUES[3], _HUES[4]
COLOURS: Mapping[str, str] = {
    "Regular": GREY,
    "BatchNorm": INK,
    "BatchNorm, gamma0 = 0.1": "#6b5b4b",
    "Copula": BLUE,
    "Copula, linear test": _HUES[9],
    "Copula, uniform": "#5aa9e6",
    "Copula, bimodal": "#1b4f8a",
    "Copula, learned": "#7a9cc6",
    "MomentNorm 2": "#f2b48a",
    "MomentNorm 4": RED,
    "MomentNorm 6": "#8c2d04",
    "LogShift": GREEN,
    "SqrtShift": "#8fbf3f",
    "LogShift, gain 4": "#00594a",
    "SqrtShift, gain 4": "#4f6d1c",
    "LogShift, fixed": "#9fd8c4",
    "SqrtShift, fixed": "#cfe3a0",
    "KLNorm": PURPLE,
    "KLNorm, closed": "#e3b7d4",
    "MLENorm": _HUES[5],
    "MLENorm, weight 0.1": "#7d5436",
    "TrimmedNorm": ORANGE,
    "LayerNorm": _HUES[6],
    "BatchNorm, clipped": "#9467bd",
    "Copula, centred uniform": "#2aa198",
    "Copula, laplace": "#d1495b",
}


def figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """Return a figure and its axes, as `plt.subplots` would, laid out without overlaps."""
    sns.set_theme(
        style="ticks",
        rc={"axes.labelsize": 10, "axes.titlesize": 11, "axes.titlelocation": "left"},
    )
    made = Figure(figsize=(width, height), layout="constrained")
    axes = made.subplots(rows, columns, **options)
    for ax in np.ravel(axes):
        ax.spines[["top", "right"]].set_visible(False)
    return made, axes


def curve(
    ax: Axes,
    x: Sequence[float],
    summary: Mapping[str, Any],
    name: str,
    label: str | None = None,
    **line: Any,
) -> None:
    """Draw the mean of a `training.summary` over x, in a band of one standard deviation."""
    colour = COLOURS.get(name, INK)
    mean = np.array(summary["mean"], float)
    std = np.array([value or 0.0 for value in summary["std"]])
    ax.plot(x, mean, color=colour, label=label or name, **{"lw": 1.8, **line})
    ax.fill_between(x, mean - std, mean + std, color=colour, alpha=0.15, lw=0)


def legend_outside(made: Figure, ax: Axes) -> None:
    """Put the legend of one of the axes to the right of all."""
    handles, labels = ax.get_legend_handles_labels()
    made.legend(handles, labels, loc="outside right center", frameon=False)


def logarithmic(ax: Axes, ticks: Sequence[float], which: str = "x") -> None:
    """Make an axis logarithmic, with plain numbers at these ticks and nowhere else."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    axis.set_ticks(list(ticks), labels=[f"{tick:g}" for tick in ticks])
    axis.set_minor_locator(NullLocator())
