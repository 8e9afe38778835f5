"""The largest magnitude of each unit: outlier channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from distfit_nn.report.select import unit_label
from distfit_nn.report.shapes.limits import LARGEST, Array
from distfit_nn.stats.health import OUTLIER_RATIO

_MOST_BARS = 256
_NAMED = 6
_DECADES = 20.0  # the axis is logarithmic where the largest is so many times the median


@dataclass(frozen=True)
class Channels:
    """The largest magnitude of each unit of a recording, the usual one, and what is flagged.

    Attributes
    ----------
    magnitude : array (d,)
        max |x| of each unit; NaN without a finite value.
    height : array (b,)
        As drawn: of each unit, or where there are more than 256 the largest of neighbours.
    edges : array (b + 1,)
        Of the bars, in numbers of units from 0.
    median, threshold : float
        Median over the units that are not all 0, and what an outlier channel lies above.
    flagged : int array (f,)
        Rows of the units that the table calls outliers, the largest first.
    names : tuple of str
        Of the first of these.
    log : bool
    """

    magnitude: Array
    height: Array
    edges: Array
    median: float
    threshold: float
    flagged: NDArray[np.intp]
    names: tuple[str, ...]
    log: bool

    @classmethod
    def of(cls, units: pd.DataFrame) -> Channels | None:
        """Return the magnitudes in a table of units of one recording; None if none is finite."""
        extremes = units[["min", "max"]].to_numpy(dtype=float)
        magnitude = np.abs(extremes).max(axis=1)
        usual = magnitude[magnitude > 0]
        if not np.isfinite(magnitude).any():
            return None
        median = float(np.median(usual)) if usual.size else 0.0
        rows = np.flatnonzero(units["outlier"].to_numpy(dtype=bool))
        rows = rows[np.argsort(-magnitude[rows], kind="stable")]
        height, edges = _bars(np.clip(magnitude, 0, LARGEST))
        largest = float(np.nanmax(magnitude))
        return cls(
            magnitude,
            height,
            edges,
            median,
            min(OUTLIER_RATIO * median, LARGEST),
            rows,
            tuple(unit_label(units.iloc[row])[0] for row in rows[:_NAMED]),
            bool(largest > _DECADES * median > 0),
        )


def _bars(magnitude: ArrayLike) -> tuple[Array, Array]:
    """Return the height of at most 256 bars, and their edges."""
    values = np.nan_to_num(np.asarray(magnitude, dtype=np.float64))
    group = -(-len(values) // _MOST_BARS)
    starts = np.arange(0, len(values), group)
    return np.maximum.reduceat(values, starts), np.append(starts, len(values)).astype(np.float64)
