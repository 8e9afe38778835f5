"""What ranks and scores are given and give back: axes, columns, strengths, dtypes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn._checks import to_numpy
from distfit_nn.errors import InputError

Array = NDArray[Any]

EXACT = 2**53  # whole numbers beyond it are not all float64


def check_axis(shape: tuple[int, ...], dim: Any) -> int:
    """Return `dim` as an axis from 0, of an array that has values to rank."""
    if len(shape) == 0 or 0 in shape:
        raise InputError(f"x must have an axis and at least one value, got shape {shape}")
    whole = isinstance(dim, (int, np.integer)) and not isinstance(dim, bool)
    if not whole or not -len(shape) <= dim < len(shape):
        raise InputError(f"dim must be an axis of x, of shape {shape}, got {dim!r}")
    return int(dim) % len(shape)


def check_alike(y: tuple[int, ...], x: tuple[int, ...], dim: int) -> int:
    """Return the axis `dim` after checking that it is the only one in which the shapes differ."""
    axis = check_axis(x, dim)
    if y[:axis] + y[axis + 1 :] != x[:axis] + x[axis + 1 :] or len(y) != len(x):
        raise InputError(f"y must have the shape of x, {x}, but for axis {axis}, got {y}")
    return axis


def per_column(
    strength: Any, shape: tuple[int, ...], columns: int, axis: int | None = None
) -> NDArray[np.float64]:
    """Return the strength of each column (d,), from one number or an array of that shape.

    `axis` is that of the values, which an array may have kept with a length of 1.
    """
    given = to_numpy(strength, "strength").astype(np.float64)
    good = (given > 0) & (given < np.inf)
    if not good.all():
        raise InputError(f"strength must be positive and finite, got {given[~good].flat[0]}")
    try:
        return np.broadcast_to(of_columns(given, shape, axis), shape).reshape(columns)
    except ValueError:
        raise InputError(
            f"strength must be one number, or have the shape {shape} of x without dim or one that"
            f" is broadcast to it, or that of x with 1 for dim, got shape {given.shape}"
        ) from None


def of_columns(strength: Any, shape: tuple[int, ...], axis: int | None) -> Any:
    """Return an array or tensor without the axis of the values, one element as a number."""
    if math.prod(strength.shape) == 1:
        return strength.reshape(())
    kept = axis is not None and strength.ndim == len(shape) + 1 and strength.shape[axis] == 1
    return strength.squeeze(axis) if kept else strength


def array_columns(
    x: ArrayLike, dim: Any, by_order: bool = False
) -> tuple[Array, tuple[int, ...], np.dtype[Any]]:
    """Return x as float columns (n, d), its shape with `dim` in front, and the dtype of ranks.

    With `by_order`, only the order of values is kept where float64 cannot tell them apart.
    """
    array = to_numpy(x)
    axis = check_axis(array.shape, dim)
    dtype = array.dtype if array.dtype.kind == "f" else np.dtype(np.float64)
    moved = np.moveaxis(array, axis, 0)
    shape = moved.shape
    columns = moved.reshape(len(moved), -1)
    if by_order and array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        columns = _exact(columns)
    plain = np.float32 if dtype.itemsize <= 4 else np.float64
    with np.errstate(over="ignore"):  # a long double may become inf
        return columns.astype(plain, copy=False), shape, dtype


def _exact(columns: Array) -> Array:
    """Return integers, or, of a column that float64 cannot hold, the order of each among them."""
    if max(int(columns.max()), -int(columns.min())) <= EXACT:
        return columns
    places = [np.unique(column, return_inverse=True)[1] for column in columns.T]
    return np.stack(places, axis=1)


def cast(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the values in a dtype; what is finite and beyond its range, as its largest."""
    if dtype.itemsize < values.itemsize:
        largest = np.finfo(dtype).max
        finite = np.isfinite(values)
        np.clip(values, -largest, largest, out=values, where=finite)
    return values.astype(dtype, copy=False)


def restored(columns: Array, shape: tuple[int, ...], dim: int) -> Array:
    """Return columns in the shape (with `dim` in front) and order of axes that they came in."""
    return np.moveaxis(columns.reshape(shape), 0, dim)
