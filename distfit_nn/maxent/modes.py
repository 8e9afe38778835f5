"""Modes of a fitted density: its maxima, how they stand out, and the valleys between."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from distfit_nn.maxent.tables import Tables

Array = NDArray[np.float64]
Modes = NDArray[np.void]
Reached = tuple[NDArray[np.bool_], NDArray[np.bool_]]

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
_PLACES, _HEIGHTS, _WIDTH = [0, 4], [1, 2, 5], 3  # fields in units of x, and of 1 / x
REACHED = 1e-9  # share of the support's width within which data lie at its end


def modes_of(tables: Tables, place: tuple[Array, Array], reached: Reached) -> list[Modes]:
    """Return the modes of the columns of `tables`, in x, from left to right: see `MODE`.

    `place` holds loc and scale of these columns, `reached` whether a maximum at the lower and at
    the upper end of their supports counts.
    """
    from distfit_nn.maxent import mode_kernel

    rows = np.empty((tables.local.shape[1] + 2, len(MODE.names or ())))
    found = []
    for j, (first, last) in enumerate(pairwise(tables.starts)):
        count = 0
        if first < last:
            panels = tables.edges[first:last], tables.local[first:last]
            count = mode_kernel.modes(*panels, bool(reached[0][j]), bool(reached[1][j]), rows)
        found.append(_in_x(rows[:count], place[0][j], place[1][j]))
    return found


def _in_x(rows: Array, loc: float, scale: float) -> Modes:
    """Return modes in z as records in x."""
    table = rows.copy()
    with np.errstate(over="ignore", under="ignore"):
        table[:, _PLACES] = loc + scale * table[:, _PLACES]
        table[:, _HEIGHTS] /= scale
        table[:, _WIDTH] *= scale
    out = np.empty(len(rows), MODE)
    for number, name in enumerate(MODE.names or ()):
        out[name] = table[:, number]
    return out
