"""The drawings of the report: each takes numbers and axes, draws, and returns the axes.

Nothing is computed here that a reader would want to check; see `shapes` for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import seaborn as sns
from matplotlib.patches import StepPatch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from distfit_nn.report.numbers import count, number
from distfit_nn.report.shapes import standard_normal
from distfit_nn.report.svg import AFTER, GRID, INK, MUTED, PAPER

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from distfit_nn.report.shapes import Array, Shape, Spread

_READABLE = FuncFormatter(lambda value, _: number(value))


def distribution(ax: Axes, shape: Shape, colour: str = AFTER, *, scale: bool = True) -> Axes:
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
    ax.plot(shape.grid, standard_normal(shape.grid), color=INK, linewidth=1.1, dashes=(4, 2.5))
    ax.set_xlim(shape.low, shape.high)
    ax.set_ylim(0, shape.top)
    _cut_bar(ax, shape)
    _plain_axis(ax, ticks=5 if scale else 3)
    if scale:
        ax.yaxis.set_major_locator(MaxNLocator(3))
        ax.yaxis.set_major_formatter(_READABLE)
    else:
        ax.yaxis.set_major_locator(NullLocator())
    _only_baseline(ax)
    return ax


def glyph(ax: Axes, shape: Shape, colour: str = AFTER) -> Axes:
    """Draw a distribution as small as a word: bars and N(0,1), no axes."""
    _bars(ax, shape, colour, alpha=0.75)
    ax.plot(shape.grid, standard_normal(shape.grid), color=INK, linewidth=1.1, dashes=(3, 2))
    ax.axhline(0, color=MUTED, linewidth=1)
    ax.set_xlim(shape.low, shape.high)
    ax.set_ylim(0, shape.top)
    ax.set_axis_off()
    return ax


def spread(ax: Axes, spread: Spread, colours: Sequence[str], labels: Sequence[str]) -> Axes:
    """Draw how one statistic is spread over units: the first site upwards, the second downwards.

    Parameters
    ----------
    spread : Spread
        Shares of units per bin for one or two sites, on the same bins.
    colours, labels : sequence of str
        One for each site of `spread`.
    """
    both = len(spread.shares) == 2
    for sign, share, median, beyond, colour in zip(
        (1, -1), spread.shares, spread.medians, spread.beyond, colours, strict=False
    ):
        _steps(ax, sign * share, spread.edges, colour, alpha=0.6)
        if np.isfinite(median):
            ax.plot([median, median], [0, sign], color=INK, linewidth=1.6)
        _beyond(ax, beyond, sign)
    ax.axhline(0, color=MUTED, linewidth=0.8)
    ax.set_ylim(-1.12 if both else 0, 1.12)
    ax.set_xlim(spread.edges[0], spread.edges[-1])
    ax.set_yticks([0.5, -0.5][: len(spread.shares)], labels=list(labels))
    if spread.log:
        _log_ticks(ax)
    else:
        _plain_axis(ax, ticks=4)
    _only_baseline(ax)
    return ax


def over_steps(ax: Axes, track: pd.DataFrame, colours: Mapping[str, str], *, log: bool) -> Axes:
    """Draw the median (line) and the middle half of the units (band) against the step.

    Parameters
    ----------
    track : DataFrame
        Columns ``step``, ``site``, ``low``, ``median`` and ``high``, in order of steps.
    colours : mapping
        Colour of each site. The second is dashed and on top, so that two equal lines
        show as one in two colours.
    log : bool
        Use a logarithmic axis.
    """
    sites = list(colours)
    ax.set_yscale("log" if log else "linear")
    for site in sites:
        band = track[track["site"] == site]
        ax.fill_between(
            band["step"], band["low"], band["high"], color=colours[site], alpha=0.18, linewidth=0
        )
    sns.lineplot(
        data=track,
        x="step",
        y="median",
        hue="site",
        style="site",
        hue_order=sites,
        style_order=sites,
        palette=dict(colours),
        dashes=["", (3.5, 3)][: len(sites)],
        linewidth=2.4,
        markers=["o", "o"][: len(sites)] if track["step"].nunique() <= 12 else False,
        markersize=4.5,
        markeredgewidth=0,
        estimator=None,
        errorbar=None,
        legend=False,
        ax=ax,
    )
    ax.set(xlabel="", ylabel="")
    if log:
        ax.yaxis.set_major_locator(FixedLocator(_round_values(*ax.get_ylim())))
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(_READABLE)
    _step_ticks(ax, np.unique(track["step"]))
    ax.grid(axis="y", linewidth=0.8)
    ax.set_axisbelow(True)
    _only_baseline(ax)
    return ax


def ridge(ax: Axes, rows: Sequence[tuple[str, Shape]], colour: str = AFTER) -> Axes:
    """Draw one distribution for each step, the first on top, each scaled to its own peak."""
    low = min(shape.low for _, shape in rows)
    high = max(shape.high for _, shape in rows)
    for place, (_, shape) in enumerate(rows):
        base = float(len(rows) - 1 - place)
        peak = shape.peak or 1.0
        order = 2 * place
        ax.axhline(base, color=GRID, linewidth=0.8, zorder=order)
        heights = base + 1.25 * np.minimum(shape.height / peak, 1)
        for tint, alpha in ((PAPER, 1.0), (colour, 0.55)):  # a row hides what is behind it
            _steps(ax, heights, shape.edges, tint, alpha=alpha, baseline=base, zorder=order + 1)
        if shape.fitted is not None:
            line = base + 1.25 * np.minimum(shape.fitted / peak, 1.1)
            ax.plot(shape.grid, line, color=colour, linewidth=1.5, zorder=order + 1)
    ax.set_xlim(low, high)
    ax.set_ylim(0, len(rows) + 0.45)
    ax.set_yticks(range(len(rows) - 1, -1, -1), labels=[label for label, _ in rows])
    _plain_axis(ax, ticks=5)
    _only_baseline(ax)
    return ax


def _bars(ax: Axes, shape: Shape, colour: str, alpha: float = 0.38) -> None:
    _steps(ax, np.minimum(shape.height, shape.top), shape.edges, colour, alpha=alpha)


def _steps(
    ax: Axes,
    values: Array,
    edges: Array,
    colour: str,
    *,
    alpha: float,
    baseline: float = 0.0,
    zorder: float = 1.0,
) -> None:
    # Axes.stairs would also measure every corner for limits that are set by hand here.
    steps = StepPatch(values, edges, baseline=baseline, fill=True, color=colour, alpha=alpha)
    steps.set(linewidth=0, zorder=zorder)
    ax.add_artist(steps)


def _cut_bar(ax: Axes, shape: Shape) -> None:
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
        color=MUTED,
    )


def _beyond(ax: Axes, beyond: tuple[int, int], sign: int) -> None:
    """Write how many units lie left and right of the axis."""
    place = 0.97 if sign > 0 else 0.03
    for units, x, align, pattern in zip(
        beyond, (0.01, 0.99), ("left", "right"), ("← {}", "{} →"), strict=True
    ):
        if units:
            ax.text(
                x,
                place,
                pattern.format(count(units)),
                transform=ax.transAxes,
                ha=align,
                va="top" if sign > 0 else "bottom",
                color=MUTED,
                fontsize=10,
            )


def _only_baseline(ax: Axes) -> None:
    # seaborn.despine does this too, but makes ticks only to look at them: a third of the time.
    ax.spines[["left", "right", "top"]].set_visible(False)


def _plain_axis(ax: Axes, ticks: int) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_formatter(_READABLE)


def _log_ticks(ax: Axes) -> None:
    """Label an axis that holds log10 of the values with the values."""
    low, high = np.clip(ax.get_xlim(), -300, 300)  # powers of ten that a float can hold
    values = _round_values(10.0**low, 10.0**high)
    ax.set_xticks(np.log10(values), labels=[number(value) for value in values])


def _round_values(low: float, high: float) -> list[float]:
    """Return round values for a logarithmic axis: powers of ten, or 1, 2, 5 where those are few."""
    exponents = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
        values = np.sort(np.outer(10.0**exponents, steps).ravel())
        values = values[(values >= low) & (values <= high)]
        if len(values) >= 3:
            break
    kept: list[float] = values[:: max(1, -(-len(values) // 4))].tolist()
    return kept


def _step_ticks(ax: Axes, steps: np.ndarray) -> None:
    """Label the first step, the last and at most one in between."""
    middle = steps[np.argmin(np.abs(steps - (steps[0] + steps[-1]) / 2))]
    far_apart = 0.3 * (steps[-1] - steps[0])
    keep = [steps[0], steps[-1]]
    if min(middle - steps[0], steps[-1] - middle) > far_apart:
        keep.insert(1, middle)
    ax.xaxis.set_major_locator(FixedLocator(keep))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    # The outermost labels grow inwards, so that none leaves the drawing.
    for label in ax.get_xticklabels():
        label.set_horizontalalignment("center")
    ax.get_xticklabels()[0].set_horizontalalignment("left")
    ax.get_xticklabels()[-1].set_horizontalalignment("right")
