"""What changes over the steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import seaborn as sns
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from distfit_nn.report.figures.frame import (
    READABLE,
    only_baseline,
    plain_axis,
    round_values,
    step_ticks,
)
from distfit_nn.report.palette import PAGE, Palette
from distfit_nn.report.shapes.limits import LARGEST
from distfit_nn.report.shapes.tracks import BEYOND, DRIFTED, WITHIN
from distfit_nn.report.svg import AFTER

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from distfit_nn.report.shapes import Moved


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
        ax.yaxis.set_major_locator(FixedLocator(round_values(*ax.get_ylim())))
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(READABLE)
    step_ticks(ax, np.unique(track["step"]))
    ax.grid(axis="y", linewidth=0.8)
    ax.set_axisbelow(True)
    only_baseline(ax)
    return ax


def drift(ax: Axes, moved: Moved, colour: str = AFTER, *, palette: Palette = PAGE) -> Axes:
    """Draw how far layers or units have drifted: a dot each, over a bar of what chance gives.

    Parameters
    ----------
    moved : Moved
        From top to bottom. The bar reaches to what exchanged rows exceed with probability alpha,
        the line in it is their mean. A full dot has drifted, a half-full one has moved beyond
        chance, but less far than that, an empty one has not; what is infinite stands at the right
        end, with an arrow.
    colour : str
    palette : Palette
    """
    places = np.arange(len(moved.effect))[::-1]
    finite = moved.effect[np.isfinite(moved.effect)]
    chance = np.nan_to_num(moved.chance_high, posinf=0.0)
    right = 1.08 * max(float(np.max(np.append(finite, 0.0))), float(chance.max()))
    right = min(max(right, 0.01), LARGEST)
    effect = np.minimum(moved.effect, right)
    ax.barh(places, np.minimum(chance, right), height=0.62, color=palette.grid, linewidth=0)
    mean = np.minimum(np.nan_to_num(moved.chance, posinf=0.0), right)
    ax.vlines(mean, places - 0.31, places + 0.31, color=palette.muted, linewidth=1.4)
    for standing, fill in ((DRIFTED, "full"), (BEYOND, "left"), (WITHIN, "none")):
        here = moved.standing == standing
        if not here.any():  # a line without points would still take room in layouts
            continue
        ax.plot(
            effect[here],
            places[here],
            "o",
            markersize=6,
            fillstyle=fill,
            markeredgecolor=colour,
            markerfacecolor=colour,
            markerfacecoloralt="none",
            clip_on=False,
        )
    for place in places[np.isinf(moved.effect)]:
        ax.annotate(
            "∞ →",
            (right, place),
            xytext=(-7, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            color=palette.muted,
        )
    ax.set_yticks(places, labels=list(moved.labels))
    ax.set_ylim(-0.7, len(places) - 0.3)
    ax.set_xlim(0, right)
    plain_axis(ax, ticks=5)
    only_baseline(ax)
    return ax
