"""Quadrature rules that all columns share.

A support [-R, R] has panels between -4 and 4 standard deviations and geometric ones beyond, on
which Gauss-Legendre nodes lie; there are a few levels, each of about twice the nodes of the last.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distfit_nn.maxent import basis

Array = NDArray[np.float64]

RADIUS = 10.0  # of the support, in standard deviations
WIDER, MARGIN, RADII = 1.25, 1.2, 13  # steps of wider supports, each at least MARGIN max|z|
CORE, GROWTH = 4.0, 2.5  # where the middle panel ends, and how much wider than the last one is
# Nodes of the middle panel and of each other one, level by level.
LEVELS = ((32, 12), (48, 16), (96, 28), (192, 48), (384, 80))


class Rules(NamedTuple):
    """Rules side by side: rule (level, j) has the nodes first[level, j] up to last[level, j]."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    z: Array
    weights: Array


def radius(step: int) -> float:
    """Return half the width of support number `step`."""
    return RADIUS * WIDER**step


def _rule(half_width: float, middle: int, beside: int) -> tuple[Array, Array]:
    """Return nodes and weights of one rule."""
    sides = max(1, math.ceil(math.log(half_width / CORE) / math.log(GROWTH)))
    beyond = CORE * (half_width / CORE) ** (np.arange(sides + 1) / sides)
    edges = np.concatenate([-beyond[::-1], beyond])
    nodes, weights = [], []
    for low, high in pairwise(edges):
        t, w = basis.legendre_rule(middle if low == -CORE else beside)
        nodes.append((low + high) / 2 + (high - low) / 2 * t)
        weights.append((high - low) / 2 * w)
    return np.concatenate(nodes), np.concatenate(weights)


@cache
def rules() -> Rules:
    """Return the rules of all levels and supports. Read only."""
    parts = [[_rule(radius(j), *sizes) for j in range(RADII)] for sizes in LEVELS]
    flat = [part for level in parts for part in level]
    sizes = np.array([len(nodes) for nodes, _ in flat])
    last = np.cumsum(sizes).reshape(len(LEVELS), RADII)
    z, weights = (np.concatenate(some) for some in zip(*flat, strict=True))
    return Rules(last - sizes.reshape(last.shape), last, z, weights)
