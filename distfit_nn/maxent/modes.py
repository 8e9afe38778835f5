"""Modes of a fitted density: its maxima, how they stand out, and the valleys between."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from distfit_nn.maxent.tables import Tables

Array = NDArray[np.float64]

MODE = np.dtype(
    [
        ("position", float),
        ("height", float),
        ("prominence", float),
        ("width", float),
        ("valley", float),
        ("valley_height", float),
        ("at_boundary", bool),
    ]
)
LEAST_RISE = 1e-9  # of log p between a valley and a maximum: less is rounding


def modes_of(
    tables: Tables, loc: float, scale: float, reached: tuple[bool, bool]
) -> NDArray[np.void]:
    """Return the modes of the only column of `tables`, in x, from left to right: see `MODE`.

    `reached` tells for either end of the support whether a maximum there counts.
    """
    if not len(tables.edges):
        return np.empty(0, MODE)
    z, u, peak = _extremes(tables)
    if len(z) == 2 and abs(u[1] - u[0]) < LEAST_RISE:
        return np.empty(0, MODE)
    last = len(z) - 1
    kept = [
        i
        for i in map(int, np.flatnonzero(peak))
        if 0 < i < last or (i == 0 and reached[0]) or (i == last and reached[1])
    ]
    out = np.empty(len(kept), MODE)
    for row, i in enumerate(kept):
        between = slice(i, kept[row + 1] + 1) if row + 1 < len(kept) else slice(0)
        out[row] = (*_shape(tables, z, u, i), *_valley(z[between], u[between]), i in (0, last))
    with np.errstate(over="ignore", under="ignore"):
        for name in ("position", "valley"):
            out[name] = loc + scale * out[name]
        for name in ("height", "prominence", "valley_height"):
            out[name] /= scale
        out["width"] *= scale
    return out


def _extremes(tables: Tables) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return z and log p at the ends and the turning points, and which of these are maxima."""
    from distfit_nn.maxent import mode_kernel, point_kernel

    edges, local = tables.edges, tables.local
    inner = np.empty(local.shape[1])
    count = mode_kernel.turning_points(edges, local, inner)
    z = np.unique(np.concatenate([edges[[0]], inner[:count], edges[[-1]]]))
    u = np.empty((len(z), 1))
    whole = np.array([[0.0, 1.0, z[0], z[-1]]])
    constants = (np.empty((0, 0, 0)), np.empty((0, 0)), np.empty((0, 0)))
    point_kernel.evaluate(
        point_kernel.LOGPDF, z[:, None].copy(), tables.arrays(), whole, constants, u
    )
    z, u = _without_ripples(z, u[:, 0])
    rises = np.concatenate([[True], np.diff(u) > 0])
    falls = np.concatenate([np.diff(u) < 0, [True]])
    return z, u, rises & falls


def _without_ripples(z: Array, u: Array) -> tuple[Array, Array]:
    """Drop turning points, least difference first, until log p differs between neighbours."""
    while len(z) > 2:
        step = np.abs(np.diff(u))
        i = int(np.argmin(step))
        if step[i] >= LEAST_RISE:
            break
        gone = [k for k in (i, i + 1) if 0 < k < len(z) - 1]
        z, u = np.delete(z, gone), np.delete(u, gone)
    return z, u


def _shape(tables: Tables, z: Array, u: Array, i: int) -> tuple[float, float, float, float]:
    """Return position, height, prominence and width of the maximum i."""
    from distfit_nn.maxent import mode_kernel

    bases = [_base(u[i::-1]), _base(u[i:])]
    # At an end of the support there is but one side to come down on.
    base = max(side for side in bases if side < u[i])
    share = math.exp(base - u[i])
    level = u[i] + math.log((1 + share) / 2)
    ends = []
    for step in (-1, 1):
        k = i
        while 0 <= k < len(z) and u[k] >= level:
            k += step
        if 0 <= k < len(z):
            crossed = mode_kernel.crossing(tables.edges, tables.local, z[k], z[k - step], level)
            ends.append(crossed)
        else:
            ends.append(z[0] if step < 0 else z[-1])
    return float(z[i]), math.exp(u[i]), -math.exp(u[i]) * math.expm1(base - u[i]), ends[1] - ends[0]


def _base(u: Array) -> float:
    """Return the lowest log p from the first point on until higher ground."""
    higher = np.flatnonzero(u > u[0])
    return float(u[: higher[0]].min() if len(higher) else u.min())


def _valley(z: Array, u: Array) -> tuple[float, float]:
    """Return position and height of the lowest point, NaN where there is none."""
    if not len(z):
        return math.nan, math.nan
    lowest = int(np.argmin(u))
    return float(z[lowest]), math.exp(u[lowest])
