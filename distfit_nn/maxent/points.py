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


def spread(
    t: ArrayLike, columns: int, single: bool, name: str = "t"
) -> tuple[Array, tuple[int, ...]]:
    """Return a copy of the points as (m, 1) or (m, columns), and the shape of the result."""
    given = to_numpy(t, name)
    with np.errstate(over="ignore"):
        points = np.array(given, dtype=np.float64, order="C")
    if single:
        return points.reshape(-1, 1), points.shape
    if points.ndim < 2:
        return points.reshape(-1, 1), (*points.shape, columns)
    if points.ndim != 2 or points.shape[1] != columns:
        raise InputError(
            f"{name} must have shape (m,) or (m, {columns}) for {columns} columns, "
            f"got {points.shape}"
        )
    return points, points.shape


def evaluate(kind: str, source: Iterable[Tables], place: Array, t: Array) -> Array:
    """Return pdf, cdf, ... at t (m, 1) or (m, d) as (m, d); place as `point_kernel` wants it."""
    return _by_tables("evaluate", KINDS.index(kind), source, place, t)


def quantiles(upper: bool, source: Iterable[Tables], place: Array, q: Array) -> Array:
    """Return the points with mass q (m, 1) or (m, d) left of them, or right, as (m, d)."""
    return _by_tables("quantiles", upper, source, place, q)


def _by_tables(loop: str, kind: int, source: Iterable[Tables], place: Array, given: Array) -> Array:
    """Run a loop of `point_kernel` on some columns after the other, and of `deep_kernel` if asked.

    It asks where a mass is too small for the tables.
    """
    from distfit_nn.maxent import point_kernel

    out = np.empty((len(given), len(place)))
    for tables in source:
        part = given if given.shape[1] == 1 else given[:, tables.columns].copy()
        values = np.empty((len(given), len(tables.series)))
        rest = tables.arrays(), place[tables.columns].copy(), constants(tables.order), values
        if getattr(point_kernel, loop)(kind, part, *rest):
            from distfit_nn.maxent import deep_kernel

            getattr(deep_kernel, loop)(kind, part, *rest)
        out[:, tables.columns] = values
    return out
