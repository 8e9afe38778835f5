"""What the data gives a fit: range, distinct values, mean, deviation and Hermite means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distfit_nn.maxent import basis

Array = NDArray[np.float64]
BLOCK = 1 << 16  # values whose polynomials are held at once


@dataclass(frozen=True, eq=False)
class SampleMoments:
    """What is known of d columns.

    Attributes
    ----------
    usable : (d,) bool
        False where the column has no values of its own, or (unless they are omitted) NaN or inf.
        What follows has no meaning there.
    low, high : (d,)
        Range of the values.
    distinct : (d,) int64
        Number of distinct values, counted up to the limit that was asked for.
    mean, std : (d,)
        The latter with divisor n, or the sum of the weights, about `mean` as it is rounded.
    hermite : (order, d)
        Means of h_1, ..., h_order of z = (x - mean) / std; NaN where std is 0.
    """

    usable: NDArray[np.bool_]
    low: Array
    high: Array
    distinct: NDArray[np.int64]
    mean: Array
    std: Array
    hermite: Array


def sample_moments(
    x: NDArray[np.generic], order: int, weights: NDArray[np.generic] | None, omit: bool, limit: int
) -> SampleMoments:
    """Return the moments of the columns of x (n, d), in float64, and distinct values to `limit`."""
    with np.errstate(over="ignore"):
        values = x.astype(np.float64)
    kept = np.isfinite(values)
    share = np.ones(x.shape) if weights is None else np.broadcast_to(weights.T, x.shape[::-1]).T
    kept = kept | (share == 0)
    usable = kept.any(axis=0) if omit else kept.all(axis=0)
    share = np.where(np.isfinite(values), share, 0.0)
    usable = usable & (share > 0).any(axis=0)
    share[:, ~usable] = 1.0
    stand_in = np.take_along_axis(values, (share > 0).argmax(axis=0)[None], axis=0)
    values = np.where(share > 0, values, stand_in)
    values[:, ~usable] = 0.0
    share = share / share.max(axis=0)
    total = share.sum(axis=0)
    low, high = values.min(axis=0), values.max(axis=0)
    size = np.maximum(np.abs(low), np.abs(high))
    unit = np.ldexp(1.0, np.maximum(np.frexp(np.where(size > 0, size, 1.0))[1] - 1, -1022))
    distinct = np.array([min(len(np.unique(column)), limit) for column in values.T])
    values /= unit
    centre = (values * share).sum(axis=0) / total
    values -= centre
    spread = np.sqrt((values * values * share).sum(axis=0) / total)
    with np.errstate(divide="ignore", invalid="ignore"):
        values /= spread
    sums = np.zeros((order, x.shape[1]))
    step = max(1, BLOCK // x.shape[1])
    with np.errstate(invalid="ignore"):
        for i in range(0, len(x), step):
            block = slice(i, i + step)
            sums += (basis.hermite(values[block], order)[1:] * share[block]).sum(axis=1)
    return SampleMoments(usable, low, high, distinct, centre * unit, spread * unit, sums / total)
