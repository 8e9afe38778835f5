"""What the drawings share: bars, axes without clutter, round numbers at ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import StepPatch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from distfit_nn.report.numbers import count, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from distfit_nn.report.shapes import Array

READABLE = FuncFormatter(lambda value, _: number(value))


def steps(
    ax: Axes,
    values: Array,
    edges: Array,
    colour: str,
    *,
    alpha: float,
    baseline: float = 0.0,
    zorder: float = 1.0,
) -> None:
    """Draw filled steps (b,) over edges (b + 1,), as the bars of a histogram."""
    # Axes.stairs would also measure every corner for limits that are set by hand here.
    steps = StepPatch(values, edges, baseline=baseline, fill=True, color=colour, alpha=alpha)
    steps.set(linewidth=0, zorder=zorder)
    ax.add_artist(steps)


def only_baseline(ax: Axes) -> None:
    """Leave the lower of the four lines around the axes."""
    # seaborn.despine does this too, but makes ticks only to look at them: a third of the time.
    ax.spines[["left", "right", "top"]].set_visible(False)


def plain_axis(ax: Axes, ticks: int) -> None:
    """Label the horizontal axis at about so many round values."""
    ax.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_formatter(READABLE)


def log_ticks(ax: Axes) -> None:
    """Label an axis that holds log10 of the values with the values."""
    low, high = np.clip(ax.get_xlim(), -300, 300)  # powers of ten that a float can hold
    values = round_values(10.0**low, 10.0**high)
    ax.set_xticks(np.log10(values), labels=[number(value) for value in values])


def round_values(low: float, high: float) -> list[float]:
    """Return round values for a logarithmic axis: powers of ten, or 1, 2, 5 where those are few."""
    exponents = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
        values = np.sort(np.outer(10.0**exponents, steps).ravel())
        values = values[(values >= low) & (values <= high)]
        if len(values) >= 3:
            break
    kept: list[float] = values[:: max(1, -(-len(values) // 4))].tolist()
    return kept


def step_ticks(ax: Axes, steps: np.ndarray) -> None:
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
