"""A picture of fitted densities."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from distfit_nn.maxent.density import Density

Array = NDArray[np.float64]

TAIL = 1e-4  # mass that may be left out at either side
LEVELS = 200  # of quantiles at which a curve is drawn
STEPS = 300  # of equal width, besides
MOST_LABELS = 10


def plot(density: Density, ax: Axes | None, **line: Any) -> Axes:
    """Draw the pdf of each column that has one, from the TAIL-quantile to that of 1 - TAIL."""
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.gca()
    if not callable(getattr(ax, "update_datalim", None)):
        raise InputError(f"ax must be the axes of a figure, got {reprlib.repr(ax)}")
    columns = [density] if density.single else list(density)
    named = 1 < len(columns) <= MOST_LABELS
    for j, column in enumerate(columns):
        x = _grid(column)
        if len(x):
            label: dict[str, Any] = {"label": f"column {j}"} if named else {}
            ax.plot(x, column.pdf(x), **label | line)
    ax.update_datalim([(0, 0)], updatex=False)  # a fixed limit would cut off what is drawn later
    ax.autoscale_view()
    ax.set_xlabel("x")
    ax.set_ylabel("density")
    if named:
        ax.legend(frameon=False)
    return ax


def _grid(column: Density) -> Array:
    """Return points to draw at: quantiles, dense where the mass is, and equal steps between."""
    a, b = column.interval(1 - 2 * TAIL)
    if not np.isfinite([a, b]).all():
        return np.empty(0)
    levels = np.linspace(TAIL, 1 - TAIL, LEVELS)
    return np.unique(np.concatenate([column.ppf(levels), np.linspace(a, b, STEPS)]))
