"""Quadrature rules that all columns share.

The support [-R, R] has panels between -4 and 4 standard deviations and beyond, on which
Gauss-Legendre nodes lie; there are a few levels, each of up to twice the nodes of the last.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distfit_nn.maxent import basis

Array = NDArray[np.float64]

RADIUS = 10.0  # of the support, in standard deviations
WIDER, MARGIN, RADII = 1.25, 1.2, 13  # steps of wider supports, each at least MARGIN max|z|
# A gradient of a column by x is at most that many times as long as weight / std times that by y. Of
# batch norm it is never longer; of columns far from spikes at most 60 times. Where moments are at
# the edge of what a density can have, it has no bound.
STEEPEST = 100.0
CORE = 4.0  # where the middle panel ends
# Nodes of the middle panel and of each other one, level by level.
LEVELS = ((32, 12), (48, 16), (96, 28), (192, 48))


class Rules(NamedTuple):
    """Rules one after the other: that of a level has the nodes first[level] up to last[level]."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    z: Array
    weights: Array


@cache
def rules() -> Rules:
    """Return the rules of all levels. Read only."""
    nodes, weights, sizes = [], [], []
    for middle, beside in LEVELS:
        for low, high, size in (
            (-RADIUS, -CORE, beside),
            (-CORE, CORE, middle),
            (CORE, RADIUS, beside),
        ):
            t, w = basis.legendre_rule(size)
            nodes.append((low + high) / 2 + (high - low) / 2 * t)
            weights.append((high - low) / 2 * w)
        sizes.append(middle + 2 * beside)
    last = np.cumsum(sizes, dtype=np.int64)
    return Rules(last - np.array(sizes), last, np.concatenate(nodes), np.concatenate(weights))
