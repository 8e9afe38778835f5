"""The bars and curves of one distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from distfit_nn.report.shapes.limits import LARGEST, Array, bars_for
from distfit_nn.stats.bimodality.peaks import peaks_of_density

if TYPE_CHECKING:
    from distfit_nn.stats.densities import Histogram

_MOST_BARS = 120  # more bars than this cannot be told apart in a figure
_POINTS = 160  # of a curve
_WIDEST = 4.0  # widen an axis to show N(0,1) only up to this factor


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


def clear_modes(density: Any) -> tuple[float, ...]:
    """Return where the density of one unit has its clear modes; none where its fit is not trusted.

    Clear modes have a valley of some depth between them and some mass each: those that the column
    ``modes`` counts, but of the density of all values, point masses included.
    """
    if density is None or not np.all(density.ok):
        return ()
    return tuple(float(place) for place in peaks_of_density(density)[0].position)


def standard_normal(grid: Array) -> Array:
    """Return the density of N(0,1) on `grid`."""
    return np.exp(-0.5 * np.square(np.clip(grid, -40, 40))) / np.sqrt(2 * np.pi)  # 0 beyond


def _merge(edges: ArrayLike, counts: ArrayLike) -> tuple[Array, Array]:
    """Join neighbouring bars until there are few enough to be seen, and for their values."""
    edge, height = np.asarray(edges, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    most = bars_for(height.sum(), _MOST_BARS)
    group = -(-height.size // most)
    starts = np.arange(0, height.size, group)
    return np.append(edge[starts], edge[-1]), np.add.reduceat(height, starts)


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
