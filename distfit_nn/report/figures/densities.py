"""One distribution, or several: bars, fitted densities and N(0,1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator, NullLocator

from distfit_nn.report.figures.frame import READABLE, only_baseline, plain_axis, steps
from distfit_nn.report.numbers import number
from distfit_nn.report.palette import PAGE, Palette
from distfit_nn.report.shapes import standard_normal
from distfit_nn.report.svg import AFTER, BEFORE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from distfit_nn.report.shapes import Shape


def distribution(
    ax: Axes,
    shape: Shape,
    colour: str = AFTER,
    *,
    scale: bool = True,
    modes: Sequence[float] = (),
    palette: Palette = PAGE,
) -> Axes:
    """Draw a histogram, its fitted density (solid) and N(0,1) (dashed).

    Parameters
    ----------
    shape : Shape
        Bars, curves and the range of both axes. A bar above the top is cut and its height written.
    colour : str
        Of bars and fitted density.
    scale : bool
        Label the vertical axis, in units of density.
    """
    _bars(ax, shape, colour)
    if shape.fitted is not None:
        ax.plot(shape.grid, shape.fitted, color=colour, linewidth=1.9)
    ax.plot(
        shape.grid, standard_normal(shape.grid), color=palette.ink, linewidth=1.1, dashes=(4, 2.5)
    )
    ax.set_xlim(shape.low, shape.high)
    ax.set_ylim(0, shape.top)
    _cut_bar(ax, shape, palette)
    _mark_modes(ax, shape, modes, palette)
    plain_axis(ax, ticks=5 if scale else 3)
    if scale:
        ax.yaxis.set_major_locator(MaxNLocator(3))
        ax.yaxis.set_major_formatter(READABLE)
    else:
        ax.yaxis.set_major_locator(NullLocator())
    only_baseline(ax)
    return ax


def glyph(ax: Axes, shape: Shape, colour: str = AFTER, *, palette: Palette = PAGE) -> Axes:
    """Draw a distribution as small as a word: bars and N(0,1), no axes."""
    _bars(ax, shape, colour, alpha=0.75)
    ax.plot(
        shape.grid, standard_normal(shape.grid), color=palette.ink, linewidth=1.1, dashes=(3, 2)
    )
    ax.axhline(0, color=palette.muted, linewidth=1)
    ax.set_xlim(shape.low, shape.high)
    ax.set_ylim(0, shape.top)
    ax.set_axis_off()
    return ax


def ridge(
    ax: Axes,
    rows: Sequence[tuple[str, Shape]],
    colour: str = AFTER,
    *,
    palette: Palette = PAGE,
) -> Axes:
    """Draw one distribution for each step, the first on top, each scaled to its own peak."""
    low = min(shape.low for _, shape in rows)
    high = max(shape.high for _, shape in rows)
    for place, (_, shape) in enumerate(rows):
        base = float(len(rows) - 1 - place)
        peak = shape.peak or 1.0
        order = 2 * place
        ax.axhline(base, color=palette.grid, linewidth=0.8, zorder=order)
        heights = base + 1.25 * np.minimum(shape.height / peak, 1)
        for tint, alpha in ((palette.paper, 1.0), (colour, 0.55)):  # a row hides what is behind it
            steps(ax, heights, shape.edges, tint, alpha=alpha, baseline=base, zorder=order + 1)
        if shape.fitted is not None:
            line = base + 1.25 * np.minimum(shape.fitted / peak, 1.1)
            ax.plot(shape.grid, line, color=colour, linewidth=1.5, zorder=order + 1)
    ax.set_xlim(low, high)
    ax.set_ylim(0, len(rows) + 0.45)
    ax.set_yticks(range(len(rows) - 1, -1, -1), labels=[label for label, _ in rows])
    plain_axis(ax, ticks=5)
    only_baseline(ax)
    return ax


def _bars(ax: Axes, shape: Shape, colour: str, alpha: float = 0.38) -> None:
    steps(ax, np.minimum(shape.height, shape.top), shape.edges, colour, alpha=alpha)


def _cut_bar(ax: Axes, shape: Shape, palette: Palette) -> None:
    """Write the height of the tallest bar where it is cut by the top of the axes."""
    tallest = int(np.argmax(shape.height))
    if shape.height[tallest] <= shape.top:
        return
    middle = (shape.edges[tallest] + shape.edges[tallest + 1]) / 2
    right = middle < (shape.low + shape.high) / 2
    ax.annotate(
        f"bar cut: {number(shape.height[tallest])}",
        (middle, shape.top),
        xytext=(6 if right else -6, -2),
        textcoords="offset points",
        ha="left" if right else "right",
        va="top",
        color=palette.muted,
    )


def _mark_modes(ax: Axes, shape: Shape, modes: Sequence[float], palette: Palette) -> None:
    """Mark each mode on the fitted density: a tick up from it, and its place above that."""
    if shape.fitted is None:
        return
    for place in modes:
        if not shape.low <= place <= shape.high:
            continue
        height = min(float(np.interp(place, shape.grid, shape.fitted)), 0.9 * shape.top)
        ax.annotate(
            number(place, 2, scale=shape.high - shape.low),
            (place, height),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=palette.ink,
            fontsize="small",
            arrowprops={
                "arrowstyle": "-",
                "color": palette.ink,
                "linewidth": 1.4,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )


def before_after(
    ax: Axes,
    before: Shape,
    after: Shape,
    colours: Sequence[str] = (BEFORE, AFTER),
    labels: Sequence[str] = ("before", "after"),
    *,
    palette: Palette = PAGE,
) -> Axes:
    """Draw both sides of a normalisation on one axis: after it upwards, before it downwards.

    Parameters
    ----------
    before, after : Shape
        Each is scaled to its own peak: heights of the two cannot be compared, places and widths
        can. N(0,1) is dashed, on the scale of its side.
    colours, labels : sequence of two str
        Of before and after.
    palette : Palette
    """
    low, high = min(before.low, after.low), max(before.high, after.high)
    for sign, shape, colour in ((-1, before, colours[0]), (1, after, colours[1])):
        heights = np.minimum(shape.height, shape.top) / shape.top
        steps(ax, sign * heights, shape.edges, colour, alpha=0.38)
        if shape.fitted is not None:
            ax.plot(shape.grid, sign * shape.fitted / shape.top, color=colour, linewidth=1.9)
        grid = np.linspace(max(low, -5.0), min(high, 5.0), 160)
        normal = standard_normal(grid) / shape.top
        normal[normal > 1.05] = np.nan  # cut, not closed, at the end of the axis
        ax.plot(grid, sign * normal, color=palette.ink, linewidth=1.1, dashes=(4, 2.5))
    ax.axhline(0, color=palette.muted, linewidth=0.8)
    ax.set_xlim(low, high)
    ax.set_ylim(-1.05, 1.05)
    ax.set_yticks([0.5, -0.5], labels=[labels[1], labels[0]])
    plain_axis(ax, ticks=5)
    only_baseline(ax)
    return ax
