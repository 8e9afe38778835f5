"""The largest magnitude of each unit: outlier channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from distfit_nn.report.select import unit_label
from distfit_nn.report.shapes.limits import LARGEST, Array, drawable
from distfit_nn.stats.health import OUTLIER_RATIO

_MOST_BARS = 256
_MARKED = 60  # flagged units that are drawn one by one
_NAMED = 6
_SPAN = 1e30  # of a logarithmic axis
_DECADES = 20.0  # the axis is logarithmic where the largest is so many times the median


@dataclass(frozen=True)
class Channels:
    """The largest magnitude of each unit of a recording, the usual one, and what is flagged.

    Attributes
    ----------
    magnitude : array (d,)
        max |x| of each unit; NaN without a finite value.
    height : array (b,)
        As drawn, 0 or in [1e-100, 1e100]: of each unit, or of more than 256 the largest of
        neighbours.
    edges : array (b + 1,)
        Of the bars, in numbers of units from 0.
    median, threshold : float
        Median over the units that are not all 0, and what an outlier channel lies above.
    outliers : int
        Units that the table calls outlier channels.
    flagged : int array (f,)
        Rows of these, the largest first, at most 60.
    names : tuple of str
        Of the first of these.
    log : bool
        Whether the axis is logarithmic.
    base : float
        Where it starts: at 0, or where it is logarithmic below the usual units, at most 30 decades
        below the largest.
    """

    magnitude: Array
    height: Array
    edges: Array
    median: float
    threshold: float
    outliers: int
    flagged: NDArray[np.intp]
    names: tuple[str, ...]
    log: bool
    base: float

    @classmethod
    def of(cls, units: pd.DataFrame) -> Channels | None:
        """Return the magnitudes in a table of units of one recording; None if none is finite."""
        extremes = units[["min", "max"]].to_numpy(dtype=float)
        magnitude = np.abs(extremes).max(axis=1)
        if not np.isfinite(magnitude).any():
            return None
        usual = magnitude[magnitude > 0]
        median = _median(usual)
        rows = np.flatnonzero(units["outlier"].to_numpy(dtype=bool))
        rows = rows[np.argsort(-magnitude[rows], kind="stable")]
        height, edges = _bars(drawable(magnitude))
        largest, level = float(height.max()), float(drawable(median))
        log = largest > _DECADES * level > 0
        return cls(
            magnitude,
            height,
            edges,
            median,
            OUTLIER_RATIO * median if median < LARGEST else median,
            len(rows),
            rows[:_MARKED],
            tuple(unit_label(units.iloc[row])[0] for row in rows[:_NAMED]),
            log,
            _base(height, level) if log else 0.0,
        )


def _median(sizes: Array) -> float:
    """Return the median of sizes whose sums may overflow; 0 where there is none."""
    if not sizes.size:
        return 0.0
    ordered = np.sort(sizes)
    low, high = float(ordered[(len(sizes) - 1) // 2]), float(ordered[len(sizes) // 2])
    return low + (high - low) / 2


def _base(height: Array, median: float) -> float:
    """Return where a logarithmic axis starts, so that what is far smaller does not stretch it."""
    least = min(float(height[height > 0].min()), median) / 2
    return max(least, float(height.max()) / _SPAN)


def _bars(height: Array) -> tuple[Array, Array]:
    """Return the height of at most 256 bars, and their edges."""
    group = -(-len(height) // _MOST_BARS)
    starts = np.arange(0, len(height), group)
    return np.maximum.reduceat(height, starts), np.append(starts, len(height)).astype(np.float64)
