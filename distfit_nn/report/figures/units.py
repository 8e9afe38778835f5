"""One number for each unit: how it is spread, and which units stand out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from distfit_nn.report.figures.frame import (
    READABLE,
    log_ticks,
    only_baseline,
    plain_axis,
    round_values,
    steps,
)
from distfit_nn.report.numbers import count
from distfit_nn.report.palette import PAGE, Palette
from distfit_nn.report.shapes.limits import drawable
from distfit_nn.report.svg import AFTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from distfit_nn.report.shapes import Channels, Spread


def spread(
    ax: Axes,
    spread: Spread,
    colours: Sequence[str],
    labels: Sequence[str],
    *,
    palette: Palette = PAGE,
) -> Axes:
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
        steps(ax, sign * share, spread.edges, colour, alpha=0.6)
        if np.isfinite(median):
            ax.plot([median, median], [0, sign], color=palette.ink, linewidth=1.6)
        _beyond(ax, beyond, sign, palette)
    ax.axhline(0, color=palette.muted, linewidth=0.8)
    ax.set_ylim(-1.12 if both else 0, 1.12)
    ax.set_xlim(spread.edges[0], spread.edges[-1])
    named = [(y, label) for y, label in zip((0.5, -0.5), labels, strict=False) if label]
    ax.set_yticks([y for y, _ in named], labels=[label for _, label in named])
    if spread.log:
        log_ticks(ax)
    else:
        plain_axis(ax, ticks=4)
    only_baseline(ax)
    return ax


def outliers(ax: Axes, channels: Channels, colour: str = AFTER, *, palette: Palette = PAGE) -> Axes:
    """Draw the largest magnitude of each unit, the usual one and what makes an outlier channel.

    Parameters
    ----------
    channels : Channels
        A bar for each unit, or for some neighbours the largest; the median is solid, the threshold
        dashed. Flagged units are drawn in full, the largest named. What lies below the axis is
        drawn at its foot.
    colour : str
    palette : Palette
    """
    base, log = channels.base, channels.log
    median, threshold = drawable([channels.median, channels.threshold])
    ax.set_yscale("log" if log else "linear")
    steps(ax, np.maximum(channels.height, base), channels.edges, colour, alpha=0.5, baseline=base)
    reach = max(float(channels.height.max()), median, threshold)
    ax.set_ylim(base, reach * 4 if log else (reach or 1.0) * 1.18)
    for level, dash, label in (
        (median, "-", "median"),
        (threshold, (0, (4, 2.5)), "threshold"),
    ):
        ax.axhline(max(level, base), color=palette.ink, linewidth=1.1, linestyle=dash, label=label)
    ax.set_xlim(0, len(channels.magnitude))
    _name_flagged(ax, channels, colour, palette)
    if log:
        ax.yaxis.set_major_locator(FixedLocator(round_values(*ax.get_ylim())))
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(READABLE)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    only_baseline(ax)
    return ax


def _name_flagged(ax: Axes, channels: Channels, colour: str, palette: Palette) -> None:
    """Draw the flagged units as lines with a dot, and write the names of the largest."""
    heights = np.maximum(drawable(channels.magnitude[channels.flagged]), channels.base)
    places = channels.flagged + 0.5
    ax.vlines(places, ax.get_ylim()[0], heights, color=colour, linewidth=1.6)
    ax.plot(places, heights, "o", color=colour, markersize=4)
    middle = len(channels.magnitude) / 2
    for place, height, name in zip(places, heights, channels.names, strict=False):
        left = place > middle
        ax.annotate(
            name,
            (place, height),
            xytext=(-6 if left else 6, 2),
            textcoords="offset points",
            ha="right" if left else "left",
            va="bottom",
            color=palette.ink,
            fontsize="small",
        )


def _beyond(ax: Axes, beyond: tuple[int, int], sign: int, palette: Palette) -> None:
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
                color=palette.muted,
                fontsize=10,
            )
