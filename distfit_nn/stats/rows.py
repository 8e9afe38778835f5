"""The columns of an array as sorted rows, a few at a time: what order statistics are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn._threads import threads

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Axis = int | tuple[int, ...] | None
RandomState = int | np.random.Generator | None

CHUNK = 1 << 20  # values that are copied and sorted at once
_TILE = 64  # rows that are turned at once

Result = TypeVar("Result")


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
        has length d. It is also called with d = 0, and by several threads at once.
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
    table, kept = columns_of(x, axis, name)
    return joined(by_batches(table, measure), kept)


def columns_of(x: ArrayLike, axis: Axis, name: str = "x") -> tuple[NDArray[Any], tuple[int, ...]]:
    """Return x as a table (n, d), a view where that can be, and the shape of its kept axes.

    Raises
    ------
    InputError
        If x is not an array of real numbers or `axis` does not name axes of it.
    """
    array = _checks.to_numpy(x, name)
    if array.dtype.itemsize > np.dtype(np.float64).itemsize:
        with np.errstate(over="ignore"):  # a long double may become inf
            array = array.astype(np.float64)
    view, reduced = _checks.reduced_first(array, axis, name)
    kept = view.shape[reduced:]
    return view.reshape(math.prod(view.shape[:reduced]), math.prod(kept)), kept


def joined(
    parts: Sequence[tuple[NDArray[Any], ...]], kept: tuple[int, ...]
) -> tuple[NDArray[Any], ...]:
    """Join the results of batches of columns, and give them the shape of the kept axes."""
    whole = (np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True))
    return tuple(in_shape(array, kept) for array in whole)


def in_shape(array: NDArray[Any], kept: tuple[int, ...]) -> Any:
    """Give the last axis of an array, that of columns, the shape of the kept axes."""
    return array.reshape((*array.shape[:-1], *kept))[()]


def by_batches(
    table: NDArray[Any], measure: Callable[[Rows], Result], values: int = CHUNK
) -> list[Result]:
    """Return what `measure` says of the columns of a table (n, d), some at a time, in threads.

    A batch has about so many `values`; there is always one, if only of no columns.
    """
    length, columns = table.shape
    step = max(1, values // max(1, length))
    starts = range(0, max(columns, 1), step)

    def measured(start: int) -> Result:
        return measure(sorted_rows(table[:, start : start + step]))

    workers = min(threads(), len(starts))
    if workers < 2:
        return [measured(start) for start in starts]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(measured, starts))


def sorted_rows(table: NDArray[Any]) -> Rows:
    """Return the columns of a table (n, d) as sorted rows, all at once, in a copy."""
    values = _transposed(table)
    missing = ~np.isfinite(values)
    if missing.any():
        values[missing] = np.nan  # NaN sorts last, behind the values that count
        counts = len(table) - missing.sum(axis=1, dtype=np.int64)
    else:
        counts = np.full(len(values), len(table), np.int64)
    values.sort(axis=1)
    return Rows(values.astype(np.float64, copy=False), counts)


def _transposed(table: NDArray[Any]) -> NDArray[Any]:
    """Copy columns to rows of float32 or float64, tile by tile for the sake of the cache."""
    length, columns = table.shape
    plain = np.float32 if np.can_cast(table.dtype, np.float32) else np.float64
    values = np.empty((columns, length), plain)
    with np.errstate(over="ignore"):  # a long double may become inf: left out
        for start in range(0, length, _TILE):
            values[:, start : start + _TILE] = table[start : start + _TILE].T
    return values
