"""Points into the compiled loops, values out: shapes, chunks of columns, and deep tails."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn._checks import to_numpy
from distfit_nn.errors import InputError
from distfit_nn.maxent.tables import Tables, constants

Array = NDArray[np.float64]

KINDS = ("logpdf", "pdf", "cdf", "sf", "logcdf", "logsf")  # in the order of `point_kernel`


def spread(t: ArrayLike, columns: int, single: bool) -> tuple[Array, tuple[int, ...]]:
    """Return a copy of the points as (m, 1) or (m, columns), and the shape of the result."""
    given = to_numpy(t, "t")
    with np.errstate(over="ignore"):
        points = np.array(given, dtype=np.float64, order="C")
    if single:
        return points.reshape(-1, 1), points.shape
    if points.ndim < 2:
        return points.reshape(-1, 1), (*points.shape, columns)
    if points.ndim != 2 or points.shape[1] != columns:
        raise InputError(
            f"t must have shape (m,) or (m, {columns}) for {columns} columns, got {points.shape}"
        )
    return points, points.shape


def evaluate(kind: str, source: Iterable[Tables], place: Array, t: Array) -> Array:
    """Return pdf, cdf, ... at t (m, 1) or (m, d) as (m, d); place as `point_kernel` wants it."""
    from distfit_nn.maxent import point_kernel

    number = KINDS.index(kind)
    out = np.empty((len(t), len(place)))
    for tables, at, points, values in _chunks(source, place, t):
        rule = constants(tables.order)
        if point_kernel.evaluate(number, points, tables.arrays(), at, rule, values):
            from distfit_nn.maxent import deep_kernel

            deep_kernel.evaluate(number, points, tables.arrays(), at, rule, values)
        out[:, tables.columns] = values
    return out


def quantiles(upper: bool, source: Iterable[Tables], place: Array, q: Array) -> Array:
    """Return the points with mass q (m, 1) or (m, d) left of them, or right, as (m, d)."""
    from distfit_nn.maxent import point_kernel

    out = np.empty((len(q), len(place)))
    for tables, at, levels, values in _chunks(source, place, q):
        rule = constants(tables.order)
        if point_kernel.quantiles(upper, levels, tables.arrays(), at, rule, values):
            from distfit_nn.maxent import deep_kernel

            deep_kernel.quantiles(upper, levels, tables.arrays(), at, rule, values)
        out[:, tables.columns] = values
    return out


def _chunks(
    source: Iterable[Tables], place: Array, points: Array
) -> Iterable[tuple[Tables, Array, Array, Array]]:
    """Yield tables, places, points and room for the values of some columns after the other."""
    for tables in source:
        part = points if points.shape[1] == 1 else points[:, tables.columns].copy()
        at = place[tables.columns].copy()
        yield tables, at, part, np.empty((len(points), len(at)))
