"""Bumps on their way: what Newton's method moves by a width a step is carried on by many at once.

Between its spikes a density close to the edge of the moment space can hold a bump of next to no
mass that belongs elsewhere, thousands of its own widths away. Along a straight line in log p a bump
does not move, it fades and another one rises, so that each step is good for about one width.
From two densities some steps apart this module reads how far each bump has come, and writes
densities whose bumps are further along, their masses kept. The rest of the density changes as
little as it can: with p' the density without its moving bumps, and pi_j the polynomials orthonormal
under p', the change of log p is the sum a_j pi_j of least sum a_j^2 that puts a maximum of the
right height at each new place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distfit_nn.maxent import hard_grid, hard_kernel
from distfit_nn.maxent.panel_kernel import add_product, expand

Array = NDArray[np.float64]
Shifts = dict[int, float]

LEAST_MASS = 1e-25  # of what counts as a bump
MATTERS = 1e-6  # mass of a bump without which the moments are wrong
MOVED = 0.5  # widths by which a bump must have come on
POLISHING = 30  # steps that find a maximum
AGAIN = 4  # corrections of the heights, for the widths to come
SAME_MASS = 0.05  # error of the logarithm of a mass
LONGEST = 2.0**27  # times what was seen


class Bump(NamedTuple):
    """A maximum of log p, its mass and width, and the nodes start:stop around it.

    At an end of the support, not inside, the width is that of an exponential.
    """

    place: float
    mass: float
    width: float
    inside: bool
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Layout:
    """A density on nodes, with its bumps from left to right; `series` is normalised."""

    series: Array
    nodes: Array
    p: Array
    bumps: list[Bump]

    @property
    def is_resolved(self) -> bool:
        """Whether float64 has several numbers z within each bump that matters."""
        return all(b.width > np.spacing(abs(b.place)) for b in self.bumps if b.mass > MATTERS)


def layout(
    series: Array,
    points: Array,
    ends: Array,
    constants: tuple[Array, Array, Array],
    grid: hard_grid.Grid,
) -> Layout | None:
    """Find the bumps of a density given as a series; None where it cannot be laid out."""
    panels, count, log_z = hard_grid.spread_mass(series, -np.inf, points, ends, constants, grid)
    if panels == 0:
        return None
    series = series.copy()
    add_product(series, 0, -log_z, 0.0, 1.0, 0.0)
    nodes, p = grid.nodes[:count].copy(), grid.p[:count].copy()
    height = p / grid.weights[:count]
    padded = np.concatenate([[-1.0], height, [-1.0]])
    tops = np.flatnonzero(
        (height > 0) & (padded[1:-1] >= padded[:-2]) & (padded[1:-1] > padded[2:])
    )
    valleys = [a + int(np.argmin(height[a : b + 1])) for a, b in pairwise(tops)]
    cuts = [0, *valleys, count]
    bumps = []
    for top, (start, stop) in zip(tops, pairwise(cuts), strict=True):
        mass = float(p[start:stop].sum())
        if mass > LEAST_MASS:
            place, width, inside = _maximum(series, float(nodes[top]), ends)
            bumps.append(Bump(place, mass, width, inside, start, stop))
    return Layout(series, nodes, p, bumps)


def shifts(before: Layout, after: Layout) -> Shifts:
    """Return how far the bumps inside the support have come, of those that have."""
    if len(before.bumps) != len(after.bumps):
        return {}
    return {
        i: new.place - old.place
        for i, (old, new) in enumerate(zip(before.bumps, after.bumps, strict=True))
        if old.inside and new.inside and abs(new.place - old.place) > MOVED * new.width
    }


def carry(at: Layout, shifts: Shifts, ends: Array, dual: Callable[[Array], float]) -> Array:
    """Return the series of lowest dual with bumps carried on by 1, 2, 4, ... times their shifts."""
    best, lowest = at.series, dual(at.series)
    choices = [shifts] if len(shifts) == 1 else [shifts, *({i: s} for i, s in shifts.items())]
    for choice in choices:
        factor, failures = 1.0, 0
        while factor < LONGEST and failures < 2:
            series = moved(at, {i: factor * shift for i, shift in choice.items()}, ends)
            value = math.inf if series is None else dual(series)
            failures += 1
            if series is not None and value < lowest:
                best, lowest, failures = series, value, 0
            factor *= 2
    return best


def moved(at: Layout, shifts: Shifts, ends: Array) -> Array | None:
    """Return the series with bumps moved and their masses kept; None where there is no room."""
    places = np.array([at.bumps[i].place + shift for i, shift in shifts.items()])
    if not _in_order(at, dict(zip(shifts, places, strict=True)), ends):
        return None
    rest = np.ones(len(at.nodes), bool)
    for i in shifts:
        rest[at.bumps[i].start : at.bumps[i].stop] = False
    size, nodes = len(at.series), at.nodes[rest]
    pi, values = np.empty((size, len(nodes))), np.empty((size, len(places)))
    hessenberg = np.zeros((size, size - 1))
    mass = at.p[rest].sum()
    if not mass > 0 or not hard_kernel.orthonormalise(
        nodes, at.p[rest] / mass, len(nodes), places, pi, values, hessenberg
    ):
        return None
    rows = np.concatenate([values, _derivatives(values, places, hessenberg)], axis=1).T
    scale = np.abs(rows).max(axis=1)
    if not (np.isfinite(scale).all() and scale.all()):
        return None
    local = np.array([_local(at.series, place)[:2] for place in places])
    masses = np.log([at.bumps[i].mass for i in shifts])
    widths = np.array([at.bumps[i].width for i in shifts])
    heights = masses - np.log(math.sqrt(2 * math.pi) * widths)
    out = np.empty((size, 2))
    for _ in range(AGAIN):
        wanted = np.concatenate([heights - local[:, 0], -local[:, 1]]) / scale
        parts = np.linalg.lstsq(rows / scale[:, None], wanted, rcond=None)[0]
        hard_kernel.move(at.series, _combination(parts, hessenberg), 1.0, out)
        off = masses - [_log_mass(out, place, ends) for place in places]
        if not np.isfinite(off).all():
            return None
        if (np.abs(off) < SAME_MASS).all():
            break
        heights += off
    return out


def _local(series: Array, z: float) -> Array:
    """Return the coefficients of log p in powers of the distance from z."""
    out = np.empty(len(series))
    expand(series, z, 1.0, np.empty_like(series), out)
    return out


def _maximum(series: Array, z: float, ends: Array) -> tuple[float, float, bool]:
    """Return the maximum near z, its width, and whether it is one inside the support."""
    for _ in range(POLISHING):
        _, slope, half_curvature, *_ = _local(series, z)
        if not half_curvature < 0:
            break
        width = 1 / math.sqrt(-2 * half_curvature)
        step = slope * width * width
        if abs(step) < 1e-3 * width and ends[0] < z < ends[1]:
            return z, width, True
        z = min(max(z + step, ends[0]), ends[1])
    return z, 1 / max(abs(_local(series, z)[1]), 1e-300), False


def _log_mass(series: Array, z: float, ends: Array) -> float:
    """Return the logarithm of the mass of the bump near z as if it were Gaussian, or NaN."""
    place, width, inside = _maximum(series, z, ends)
    if not inside:
        return math.nan
    height = _local(series, place)[0]
    return float(height) + math.log(math.sqrt(2 * math.pi) * width)


def _in_order(at: Layout, places: dict[int, float], ends: Array) -> bool:
    """Return whether bumps at new places keep their order, inside the support."""
    if not all(ends[0] < place < ends[1] for place in places.values()):
        return False
    after = [places.get(i, bump.place) for i, bump in enumerate(at.bumps)]
    return all(a < b for a, b in pairwise(after))


def _derivatives(values: Array, places: Array, hessenberg: Array) -> Array:
    """Return pi_j' at the places, from z pi_j = sum_l hessenberg[l, j] pi_l."""
    out = np.zeros_like(values)
    for j in range(len(values) - 1):
        lower = hessenberg[: j + 1, j] @ out[: j + 1]
        out[j + 1] = (values[j] + places * out[j] - lower) / hessenberg[j + 1, j]
    return out


def _combination(parts: Array, hessenberg: Array) -> Array:
    """Return sum_j parts[j] pi_j as a power series."""
    size = len(parts)
    out = np.empty((size, 2))
    hard_kernel.combination(hessenberg, parts, np.empty((size, size, 2)), out)
    add_product(out, 0, parts[0], 0.0, 1.0, 0.0)
    return out
