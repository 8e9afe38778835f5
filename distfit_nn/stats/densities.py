"""Maximum-entropy densities and histograms of columns, or of what a summary has left of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn import _checks, maxent
from distfit_nn.maxent import arrays
from distfit_nn.maxent.density import Density
from distfit_nn.maxent.sample_moments import SampleMoments, sample_moments, to_hermite
from distfit_nn.stats.moments_result import Moments
from distfit_nn.stats.sketch_bins import Sketch

Array = NDArray[np.float64]

CENTRAL = 0.005  # share of the values in each tail that a histogram may leave out
LARGEST = 1e300  # bins end here, so that their widths cannot overflow


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts over the central part of d columns.

    Attributes
    ----------
    edges : (bins + 1, d)
        Equal bins; they hold all values where there are no outliers.
    counts : (bins, d) int64
    below, above, n : (d,) int64
        Finite values left and right of the bins, and of all.
    """

    edges: Array
    counts: NDArray[np.int64]
    below: NDArray[np.int64]
    above: NDArray[np.int64]
    n: NDArray[np.int64]


def fitted_to(table: NDArray[Any], order: int) -> Density | None:
    """Fit densities to the finite values of the columns of a table (n, d); None if it is empty."""
    order = _checks.positive_int(order, "order")
    if not table.size:
        return None
    return maxent.fit(table, order, nan_policy="omit")


def density_of(moments: Moments, sketch: Sketch, order: int) -> Density:
    """Fit densities of largest entropy to d columns, on three times their range.

    The moments are exact. Where their powers leave the range of float64 those of the sketch, in
    units of the column's own size, take their place: bins of width w shift a moment of order r of
    the standardised column by r (r - 1) / 24 (w / std)**2 of that of order r - 2.
    """
    found = SampleMoments(
        usable=np.asarray(moments.n > 0),
        low=moments.minimum,
        high=moments.maximum,
        distinct=sketch.distinct(),
        mean=moments.mean,
        std=moments.std,
        hermite=_hermite_means(moments, order),
    )
    spread = np.asarray(moments.minimum < moments.maximum)
    lost = spread & ~(np.isfinite(found.hermite).all(axis=0) & np.isfinite(found.mean))
    points, shares = sketch.points(), sketch.weights()
    for j in np.flatnonzero(lost):
        part = sample_moments(points[j][:, None], order, shares[j], limit=order // 2 + 2)
        found.put(np.array([j]), part)
    return arrays.fit_summary(found, order, lambda j: (points[j], shares[j]))


def _hermite_means(moments: Moments, order: int) -> Array:
    powers = [np.ones(np.shape(moments.n)), np.zeros(np.shape(moments.n))]
    powers += [moments.standardised(r) for r in range(2, order + 1)]
    means: Array = to_hermite(order) @ np.stack(powers[: order + 1])
    return means


def histogram(sketch: Sketch, bins: int) -> Histogram:
    """Count the finite values of each column in equal bins over its central part.

    The bins reach half the width of the central 99% beyond it on either side, but not (more than
    a bin) beyond the data: a column without outliers is covered whole, and an outlier does not
    squeeze the rest into one bin.
    """
    low, high = _central(sketch)
    edges = sketch.aligned_edges(low, high, bins)
    counts, below, above = sketch.histogram(edges)
    return Histogram(edges, counts, below, above, sketch.n)


def _central(sketch: Sketch) -> tuple[Array, Array]:
    """Return the ends of the bins of each column."""
    ends = sketch.quantile(np.array([0.0, CENTRAL, 1 - CENTRAL, 1.0]))
    left, inner, outer, right = np.clip(ends, -LARGEST, LARGEST)
    low = np.maximum(left, inner - (outer - inner) / 2)
    high = np.minimum(right, outer + (outer - inner) / 2)
    low, high = np.where(low < high, low, left), np.where(low < high, high, right)
    room = np.where(low < high, 0.0, np.maximum(0.5, np.abs(low) * 1e-6))
    nothing = np.isnan(low)
    return np.where(nothing, 0.0, low - room), np.where(nothing, 1.0, high + room)
