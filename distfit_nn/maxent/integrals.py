"""Expectations under a fitted density, by the Gauss rule on the panels of its table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from distfit_nn.maxent import basis
from distfit_nn.maxent.tables import Tables

Array = NDArray[np.float64]
Function = Callable[[Array, Array], Array]

# A panel is halved until that changes an expectation by less than this share of E |f|.
TOLERANCE = 1e-13
ROUNDS = 40
MOST_PANELS = 1 << 14
DEGREE = 6  # of a factor that a panel as it stands integrates beside p


@dataclass(frozen=True, eq=False)
class Nodes:
    """Nodes of the rule: z - origin, log p and mass, (panels, 12), and where each column starts.

    The origin of a column, zero for those that have no density, keeps the digits of nodes in a
    narrow spike.
    """

    filled: NDArray[np.intp]
    starts: NDArray[np.intp]
    origin: Array
    z: Array
    log_p: Array
    mass: Array

    def mean(self, values: Array, columns: int) -> Array:
        """Return the mean of values (panels, 12) for each column, NaN where it has no density."""
        out = np.full(columns, np.nan)
        if self.filled.size:
            out[self.filled] = np.add.reduceat((self.mass * values).sum(axis=1), self.starts)
        return out

    def of_panels(self, per_column: Array) -> Array:
        """Return a number per column as (panels, 1)."""
        counts = np.diff(np.append(self.starts, len(self.z)))
        return np.repeat(per_column[self.filled], counts)[:, None]


def _at(
    tables: Tables, slots: NDArray[np.intp], low: Array, high: Array, origin: Array | float = 0.0
) -> tuple[Array, Array, Array]:
    """Return z - origin, log p and mass at the nodes of parts [low, high] of panels, in t."""
    nodes, weights = basis.legendre_rule()
    a, b = tables.edges[slots], tables.edges[slots + 1]
    middle, half = (a + b) / 2, (b - a) / 2
    # A panel's ends in t are -1 and 1 but for the rounding of its middle, which counts in spikes.
    start, whole = (a - middle) / half, (b - a) / half
    low, high = start + (low + 1) / 2 * whole, start + (high + 1) / 2 * whole
    t = ((low + high) / 2)[:, None] + ((high - low) / 2)[:, None] * nodes
    log_p = np.zeros_like(t)
    for c in tables.local[slots].T[::-1]:
        log_p *= t
        log_p += c[:, None]
    z = (middle - origin)[:, None] + half[:, None] * t
    with np.errstate(under="ignore"):
        mass = (half * (high - low) / 2)[:, None] * weights * np.exp(log_p)
    return z, log_p, mass


def nodes(tables: Tables, parts: int = 1) -> Nodes:
    """Return the nodes of all columns, each panel cut into equal parts."""
    counts = np.diff(tables.starts)
    filled = np.flatnonzero(counts)
    used = np.ones(len(tables.edges), bool)
    used[tables.starts[1:][filled] - 1] = False  # the last slot of a column is no panel
    slots = np.repeat(np.flatnonzero(used), parts)
    cuts = np.linspace(-1.0, 1.0, parts + 1)
    panels = (counts[filled] - 1) * parts
    starts = np.concatenate([[0], np.cumsum(panels)[:-1]]).astype(np.intp)
    repeat = len(slots) // parts
    low, high = np.tile(cuts[:-1], repeat), np.tile(cuts[1:], repeat)
    origin = np.zeros(len(counts))
    origin[filled] = _middles(tables)[filled]
    offset = np.repeat(origin[filled], panels)
    return Nodes(filled, starts, origin, *_at(tables, slots, low, high, offset))


def _middles(tables: Tables) -> Array:
    """Return the middle of the panel that holds the median of each column."""
    out = np.zeros(len(tables.series))
    for j, (start, end) in enumerate(pairwise(tables.starts)):
        if end > start:
            p = start + np.searchsorted(tables.left[start : end - 1], 0.5) - 1
            out[j] = (tables.edges[p] + tables.edges[p + 1]) / 2
    return out


def shape(tables: Tables) -> Array:
    """Return mean, the central moments 2, 3, 4 and the entropy in z, (5, columns)."""
    at = nodes(tables)
    columns = len(tables.series)
    mean = at.mean(at.z, columns)
    centred = at.z - at.of_panels(mean)
    square = centred * centred
    powers = (square, square * centred, square * square)
    central = [at.mean(values, columns) for values in powers]
    return np.stack([at.origin + mean, *central, -at.mean(at.log_p, columns)])


def power_mean(tables: Tables, slope: Array, intercept: Array, order: int) -> Array:
    """Return E (intercept + slope z)^order for each column."""
    at = nodes(tables, 1 + order // DEGREE)
    values = at.of_panels(intercept + slope * at.origin) + at.of_panels(slope) * at.z
    with np.errstate(under="ignore", over="ignore"):
        return at.mean(values**order, len(tables.series))


def expectation(tables: Tables, function: Function) -> float:
    """Return E f(z, log p(z)) of the only column of `tables`, by halving panels where f needs it.

    Kinks, jumps and logarithms at an end are found by the change that halving a panel makes.
    """
    if not len(tables.edges):
        return np.nan

    def integrals(slots: NDArray[np.intp], low: Array, high: Array) -> tuple[Array, Array]:
        z, log_p, mass = _at(tables, slots, low, high)
        with np.errstate(all="ignore"):
            values = np.where(mass > 0, mass * function(z, log_p), 0.0)
        return values.sum(axis=1), np.abs(values).sum(axis=1)

    slots = np.arange(len(tables.edges) - 1)
    low, high = np.full(len(slots), -1.0), np.ones(len(slots))
    whole, size = integrals(slots, low, high)
    allowed = TOLERANCE * size.sum()
    total = 0.0
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        left, right = integrals(slots, low, middle)[0], integrals(slots, middle, high)[0]
        with np.errstate(invalid="ignore"):
            split = np.abs(left + right - whole) > allowed  # never where one is NaN
        split &= np.isfinite(whole) & (len(slots) < MOST_PANELS)
        total += float((left + right)[~split].sum())
        slots = np.tile(slots[split], 2)
        low, high = (
            np.concatenate([low[split], middle[split]]),
            np.concatenate([middle[split], high[split]]),
        )
        whole = np.concatenate([left[split], right[split]])
        if not len(slots):
            return total
    return total + float(whole.sum())
