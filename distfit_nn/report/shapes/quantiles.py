"""Quantiles of a unit against those of the normal distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from distfit_nn.report.shapes.limits import LARGEST, Array, finite

if TYPE_CHECKING:
    from distfit_nn.stats.summary import Recording

LEVEL = 0.95  # of the band
_POINTS = 150  # more cannot be told apart in a figure
_CENTRAL = 0.01  # share of the values on either side that may lie beyond the axis
_ROOM = 1.5  # spans of the central values that the axis reaches beyond these
_FILLIBEN = (0.3175, 0.365)


@dataclass(frozen=True)
class QQ:
    """Quantiles of one unit and of N(0,1), with what chance would give a normal unit.

    Attributes
    ----------
    normal, values : array (k,)
        Medians of the order statistics of N(0,1) (Filliben 1975), and the unit's own: all values
        where there are at most 150, else those nearest to equal steps of `normal`.
    mean, std : float
        The line ``mean + std * normal`` is where a normal unit would lie; of the same values.
    low, high : array (k,)
        Pointwise band: each quantile of n independent values of that normal distribution lies in
        it with probability `level` (the mean and the std taken as known: near the middle the band
        is a little too wide).
    level : float
    bottom, top : float
        Range of the vertical axis: the central 98% and one and a half times their span.
    beyond : tuple of (int, int)
        Points below and above it.
    n : int
        Finite values.
    source : str
        "values", "sample" (some of the rows) or "histogram" (only its edges are known).
    """

    normal: Array
    values: Array
    mean: float
    std: float
    low: Array
    high: Array
    level: float
    bottom: float
    top: float
    beyond: tuple[int, int]
    n: int
    source: str

    @classmethod
    def of(cls, recording: Recording, row: int = 0) -> QQ | None:
        """Return the quantiles of the unit in `row` of the table; None if it has no shape.

        They are those of the rows that the recording keeps; without such, of its histogram.
        """
        if recording.sample is not None:
            source = "values" if len(recording.sample) == recording.rows else "sample"
            return cls.of_values(recording.sample[:, row], source=source)
        return cls._of_histogram(recording, row)

    @classmethod
    def of_values(cls, values: ArrayLike, *, source: str = "values") -> QQ | None:
        """Return the quantiles of the finite values; None if these are fewer than 2, or equal."""
        ordered = np.sort(np.clip(finite(values), -LARGEST, LARGEST))
        if ordered.size < 2 or ordered[-1] - ordered[0] < 1 / LARGEST:
            return None
        normal = special.ndtri(_medians(ordered.size))
        near = np.unique(
            np.searchsorted(normal, np.linspace(normal[0], normal[-1], _POINTS), side="left")
        )
        at = near if ordered.size > _POINTS else np.arange(ordered.size)
        mean, std = float(np.mean(ordered)), float(np.std(ordered))
        inner: Array = np.quantile(ordered, [_CENTRAL, 1 - _CENTRAL])
        ends = (ordered[0], ordered[-1])
        return cls._made(
            normal[at],
            ordered[at],
            mean,
            std,
            at + np.float64(1),
            ordered.size,
            inner,
            ends,
            source,
        )

    @classmethod
    def _of_histogram(cls, recording: Recording, row: int) -> QQ | None:
        bars, unit = recording.histogram, recording.units.iloc[row]
        edges, n = bars.edges[:, row], int(bars.n[row])
        mean, std = float(unit["mean"]), float(unit["std"])
        if n < 2 or not 1 / LARGEST < std < LARGEST or not abs(mean) < LARGEST:
            return None
        rank = bars.below[row] + np.append(0, np.cumsum(bars.counts[:, row]))
        known = (rank > 0) & (rank < n)
        share, edges = rank[known] / n, edges[known]
        if len(edges) < 2:
            return None
        ends = (float(unit["min"]), float(unit["max"]))
        inner = np.interp([_CENTRAL, 1 - _CENTRAL], share, edges)
        return cls._made(
            special.ndtri(share), edges, mean, std, share * n, n, inner, ends, "histogram"
        )

    @classmethod
    def _made(
        cls,
        normal: Array,
        values: Array,
        mean: float,
        std: float,
        rank: Array,
        n: int,
        inner: Array,
        ends: tuple[float, float],
        source: str,
    ) -> QQ:
        tail = (1 - LEVEL) / 2
        low, high = (
            mean + std * special.ndtri(special.betaincinv(rank, n + 1 - rank, share))
            for share in (tail, 1 - tail)
        )
        span = float(inner[1] - inner[0]) or std
        bottom = max(ends[0], float(inner[0]) - _ROOM * span)
        top = min(ends[1], float(inner[1]) + _ROOM * span)
        room = 0.05 * (top - bottom)
        bottom, top = bottom - room, top + room
        beyond = (int(np.sum(values < bottom)), int(np.sum(values > top)))
        return cls(normal, values, mean, std, low, high, LEVEL, bottom, top, beyond, n, source)


def _medians(n: int) -> Array:
    """Return Filliben's medians of the order statistics of n uniform values."""
    shift, more = _FILLIBEN
    medians: Array = (np.arange(1, n + 1, dtype=np.float64) - shift) / (n + more)
    medians[-1] = 0.5 ** (1 / n)
    medians[0] = 1 - medians[-1]
    return medians
