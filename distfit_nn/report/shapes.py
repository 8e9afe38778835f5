"""What the figures of the report draw: heights, curves, ranges and shares, as plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from distfit_nn.stats.densities import Histogram

Array = NDArray[np.float64]

_MOST_BARS = 120  # more bars than this cannot be told apart in a figure
_BARS = (
    4.0  # bars or bins per cube root of the number of values: with more, chance makes them ragged
)
_POINTS = 160  # of a curve
_WIDEST = 4.0  # widen an axis to show N(0,1) only up to this factor
_MOST_BINS = 30  # of a spread over units
_COINCIDE = 0.02  # of the height of an axis: the width of a line
LARGEST = 1e100  # figures cannot show what is larger, or spans less than its inverse


@dataclass(frozen=True)
class Shape:
    """One column, ready to draw.

    Attributes
    ----------
    edges, height : array (b + 1,), (b,)
        Bars; a height is a share of all finite values over the width of its bar, so bars that
        leave out far values have an area below 1.
    grid, fitted : array (m,)
        The fitted density on `grid`; None where the fit is not to be trusted.
    low, high, top : float
        The range of the axes; `top` may lie below the tallest bar.
    peak : float
        Highest point that is drawn of bars and fitted density.
    n, outside : int
        Finite values; those beyond the outermost edges.
    """

    edges: Array
    height: Array
    grid: Array
    fitted: Array | None
    low: float
    high: float
    top: float
    peak: float
    n: int
    outside: int

    @classmethod
    def of(cls, histogram: Histogram, density: Any, column: int = 0) -> Shape | None:
        """Return column `column`, or None where it has no finite value or none that can be drawn.

        `density` is that column's density alone, or None for no curve.
        """
        edges, counts = _merge(histogram.edges[:, column], histogram.counts[:, column])
        n = int(histogram.n[column])
        width = np.diff(edges)
        span = edges[-1] - edges[0]
        if n == 0 or not 1 / LARGEST < span < LARGEST or np.any(width <= 0):
            return None
        height = counts / (n * width)
        low, high = _range(edges[0], edges[-1])
        grid = np.linspace(low, high, _POINTS)
        fitted = _fitted(density, grid)
        peak = _peak(height, fitted)
        if peak <= 0:
            return None
        top = 1.12 * max(peak, min(1.5 * peak, _normal_top(low, high)))
        outside = int(histogram.below[column]) + int(histogram.above[column])
        return cls(edges, height, grid, fitted, low, high, top, peak, n, outside)


@dataclass(frozen=True)
class Spread:
    """How one statistic is spread over the units of one or two sites, on common bins.

    Attributes
    ----------
    edges : array (b + 1,)
        Bins; of log10 of the statistic if `log`.
    shares : tuple of array (b,)
        Units per bin, over the fullest bin of that site.
    medians : tuple of float
        Median over units.
    beyond : tuple of (int, int)
        Units left and right of the bins.
    n : tuple of int
        Units with a finite value.
    log : bool
        Whether the axis is logarithmic.
    """

    edges: Array
    shares: tuple[Array, ...]
    medians: tuple[float, ...]
    beyond: tuple[tuple[int, int], ...]
    n: tuple[int, ...]
    log: bool

    @classmethod
    def of(cls, samples: Sequence[ArrayLike], *, log: bool = False) -> Spread | None:
        """Return the spread of one array of unit values per site; None if no value is finite.

        The axis runs over the central 98% of the units of both sites, widened by a tenth; what
        lies beyond is counted. On a logarithmic axis values of 0 and less count as beyond it.
        """
        columns = [_finite(sample) for sample in samples]
        beyond_zero = [0 for _ in columns]
        sizes = tuple(column.size for column in columns)
        if log:
            beyond_zero = [int(np.sum(column <= 0)) for column in columns]
            columns = [np.log10(column[column > 0]) for column in columns]
        together = np.clip(np.concatenate(columns), -LARGEST, LARGEST)
        if together.size == 0:
            return None
        edges = _common_bins(together, _bars_for(max(sizes), _MOST_BINS))
        counts = [np.histogram(column, edges)[0].astype(float) for column in columns]
        return cls(
            edges,
            tuple(count / max(count.max(), 1.0) for count in counts),
            tuple(float(np.median(column)) if column.size else np.nan for column in columns),
            tuple(
                (int(np.sum(column < edges[0])) + zeros, int(np.sum(column > edges[-1])))
                for column, zeros in zip(columns, beyond_zero, strict=True)
            ),
            sizes,
            log,
        )


def track(units: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return quartiles over units of `column`, for each site and step.

    Parameters
    ----------
    units : DataFrame
        Columns ``site``, ``step`` and `column`; what is not finite, or beyond drawing, is
        left out.

    Returns
    -------
    DataFrame
        Columns ``site``, ``step``, ``low``, ``median``, ``high``, in order of steps.
    """
    finite = units.loc[units[column].abs() < LARGEST, ["site", "step", column]]
    groups = finite.groupby(["site", "step"])[column]
    quartiles = {"low": 0.25, "median": 0.5, "high": 0.75}
    return pd.DataFrame({k: groups.quantile(q) for k, q in quartiles.items()}).reset_index()


def coincide(track: pd.DataFrame, *, log: bool) -> bool:
    """Return whether the sites of a `track` lie on each other: lines and bands, at every step.

    Apart by at most a line's width, 2% of the height of the (logarithmic) axis.
    """
    names = ["low", "median", "high"]
    heights = track[names].map(np.log10) if log else track[names]
    wide = track[["site", "step"]].join(heights).pivot_table(names, "step", "site")
    if track["site"].nunique() < 2 or wide.isna().any(axis=None):
        return False
    by_quartile = wide.T.groupby(level=0)
    gap = (by_quartile.max() - by_quartile.min()).max(axis=None)
    return bool(gap <= _COINCIDE * (heights["high"].max() - heights["low"].min()))


def standard_normal(grid: Array) -> Array:
    """Return the density of N(0,1) on `grid`."""
    return np.exp(-0.5 * np.square(np.clip(grid, -40, 40))) / np.sqrt(2 * np.pi)  # 0 beyond


def _finite(sample: ArrayLike) -> Array:
    column = np.asarray(sample, dtype=np.float64)
    return column[np.isfinite(column)]


def _merge(edges: ArrayLike, counts: ArrayLike) -> tuple[Array, Array]:
    """Join neighbouring bars until there are few enough to be seen, and for their values."""
    edge, height = np.asarray(edges, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    most = _bars_for(height.sum(), _MOST_BARS)
    group = -(-height.size // most)
    starts = np.arange(0, height.size, group)
    return np.append(edge[starts], edge[-1]), np.add.reduceat(height, starts)


def _bars_for(values: float, most: int) -> int:
    """Return how many bars so many values can fill."""
    return min(most, max(8, round(_BARS * float(np.cbrt(values)))))


def _range(low: float, high: float) -> tuple[float, float]:
    """Widen the range of the bars to hold [-3, 3], unless that would squeeze the bars."""
    wide_low, wide_high = min(low, -3.0), max(high, 3.0)
    if wide_high - wide_low > _WIDEST * (high - low):
        return float(low), float(high)
    return float(wide_low), float(wide_high)


def _fitted(density: Any, grid: Array) -> Array | None:
    if density is None or not np.all(density.ok):
        return None
    values = np.asarray(density.pdf(grid), dtype=np.float64).reshape(grid.size)
    return values if np.all(np.isfinite(values)) else None


def _peak(height: Array, fitted: Array | None) -> float:
    """Return the tallest bar, or thrice the third tallest where one value takes most of them."""
    ordered = np.sort(height)[::-1]
    third = ordered[min(2, ordered.size - 1)]
    peak = min(ordered[0], 3 * third) if third > 0 else ordered[0]
    if fitted is not None:
        peak = max(peak, min(fitted.max(), 1.5 * peak))
    return float(peak)


def _normal_top(low: float, high: float) -> float:
    inside = min(max(low, 0.0), high)
    return float(standard_normal(np.array([inside]))[0])


def _common_bins(values: Array, bins: int) -> Array:
    low, high = np.quantile(values, [0.01, 0.99])
    room = 0.1 * (high - low)
    if room <= 1e-9 * max(abs(low), abs(high)):
        room = max(0.05 * abs(low), 0.05)
    return np.linspace(low - room, high + room, bins + 1)
