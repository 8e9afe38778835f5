"""Quantiles of a unit against those of the normal distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from distfit_nn.report.figures.frame import READABLE, only_baseline
from distfit_nn.report.numbers import count
from distfit_nn.report.palette import PAGE, Palette
from distfit_nn.report.svg import AFTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from distfit_nn.report.shapes import QQ


def qq(ax: Axes, quantiles: QQ, colour: str = AFTER, *, palette: Palette = PAGE) -> Axes:
    """Draw quantiles of a unit (dots) against those of N(0,1), with the line of a normal unit.

    Parameters
    ----------
    quantiles : QQ
        Points, line and the pointwise band in which chance leaves a normal unit's quantiles. What
        lies beyond the axis is counted at its end.
    colour : str
        Of the dots.
    palette : Palette
    """
    x = quantiles.normal
    ax.fill_between(x, quantiles.low, quantiles.high, color=palette.muted, alpha=0.22, linewidth=0)
    line = quantiles.mean + quantiles.std * x
    ax.plot(x, line, color=palette.ink, linewidth=1.1, dashes=(4, 2.5))
    ax.plot(x, quantiles.values, "o", color=colour, markersize=3.2, markeredgewidth=0)
    ax.set_xlim(*_ends(x))
    ax.set_ylim(quantiles.bottom, quantiles.top)
    _count_beyond(ax, quantiles, palette)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.xaxis.set_major_formatter(READABLE)
    ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(READABLE)
    only_baseline(ax)
    return ax


def _ends(x: np.ndarray) -> tuple[float, float]:
    room = 0.04 * (x[-1] - x[0])
    return float(x[0] - room), float(x[-1] + room)


def _count_beyond(ax: Axes, quantiles: QQ, palette: Palette) -> None:
    below, above = quantiles.beyond
    for points, x, y, pattern, align in (
        (below, 0.01, 0.02, "↓ {}", "bottom"),
        (above, 0.99, 0.98, "{} ↑", "top"),
    ):
        if points:
            ax.text(
                x,
                y,
                pattern.format(count(points)),
                transform=ax.transAxes,
                va=align,
                ha="left" if x < 0.5 else "right",
                color=palette.muted,
                fontsize="small",
            )
