"""The columns of an array as sorted rows, a few at a time: what order statistics are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Axis = int | tuple[int, ...] | None

_CHUNK = 1 << 20  # values that are copied and sorted at once


class Rows(NamedTuple):
    """Some columns, each as a row.

    Attributes
    ----------
    values : float64 array of shape (d, n), C-contiguous
        Each row ascending and finite up to its count, NaN from there on.
    counts : int64 array of shape (d,)
        How many values of each row are finite.
    """

    values: Float
    counts: Int

    def of(self, row: int) -> Float:
        """Return the finite values of a row, ascending, as a view."""
        return self.values[row, : self.counts[row]]


def per_column(
    x: ArrayLike,
    axis: Axis,
    measure: Callable[[Rows], tuple[NDArray[Any], ...]],
    name: str = "x",
) -> tuple[NDArray[Any], ...]:
    """Measure every column of x over `axis`, whatever its shape and dtype, from its sorted values.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        Read as float64, about a million values at a time (where the axes to reduce are not
        adjacent, x is copied once before); NaN and infinite values are left out.
    axis : int, tuple of ints or None
        The axes to reduce, as in NumPy.
    measure : callable
        Takes `Rows` of d columns, which it may overwrite, and returns arrays whose last axis
        has length d. It is also called with d = 0.
    name : str
        What errors call x.

    Returns
    -------
    tuple of arrays
        Those of `measure`, joined, with the kept axes of x in place of their last axis; where
        that leaves no axis, numbers.

    Raises
    ------
    InputError
        If x is not an array of real numbers or `axis` does not name axes of it.
    """
    view, reduced = _checks.reduced_first(_checks.to_numpy(x, name), axis, name)
    kept = view.shape[reduced:]
    parts = [measure(rows) for rows in _batches(view, reduced)]
    joined = (np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True))
    return tuple(array.reshape((*array.shape[:-1], *kept))[()] for array in joined)


def sorted_rows(table: NDArray[Any]) -> Rows:
    """Return the columns of a table (n, d) as sorted rows, all at once, in a copy."""
    with np.errstate(over="ignore"):  # a long double may become inf: left out
        values = np.array(table.T, dtype=np.float64, order="C")
    finite = np.isfinite(values)
    counts = finite.sum(axis=1, dtype=np.int64)
    values[~finite] = np.nan  # NaN sorts last, behind the values that count
    values.sort(axis=1)
    return Rows(values, counts)


def _batches(view: NDArray[Any], reduced: int) -> Iterator[Rows]:
    """Cut the columns into batches; there is always one, if only of no columns."""
    length, columns = math.prod(view.shape[:reduced]), math.prod(view.shape[reduced:])
    table = view.reshape(length, columns)
    step = max(1, _CHUNK // max(1, length))
    for start in range(0, max(columns, 1), step):
        yield sorted_rows(table[:, start : start + step])
