"""What a reader finds, and how it becomes an entry: which axis is units, which rows are left."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn import _checks
from distfit_nn._checks import shortened
from distfit_nn.capture.entries import Entry
from distfit_nn.capture.npy import RawArray
from distfit_nn.capture.slabs import Held, OnDisk, Piece
from distfit_nn.capture.spans import Array, Chosen, Sliced, Span, Table
from distfit_nn.errors import InputError


@dataclass(frozen=True, eq=False)
class Found:
    """One layer of a source.

    Attributes
    ----------
    layer : str
    values : array, tensor, OnDisk, Array or Table
        In memory, or in a file that is read in pieces; a `Table` has its units behind its rows.
    names : tuple of str, or None
        Of the columns of a table.
    step : int
    rows_seen : int or None
        Rows that the values stand for; None where they are all there were.
    unit_axis : int or None
        The axis of units where the caller names none.
    """

    layer: str
    values: Any
    names: tuple[str, ...] | None = None
    step: int = 0
    rows_seen: int | None = None
    unit_axis: int | None = None


Mask = NDArray[np.bool_]


def entry(found: Found, unit_axis: int | None, mask: Mask | None = None) -> Entry:
    """Return a layer as an entry.

    Parameters
    ----------
    found : Found
    unit_axis : int, optional
        What the caller said.
    mask : array of bool, optional
        Its axes are the first axes of rows; rows where it is False are left out.

    Raises
    ------
    InputError
        The values have no rows or columns, or a shape that does not suit axis or mask.
    """
    layer = _checks.text(found.layer, "the name of a layer")
    name = f"layer {shortened(repr(layer))}"
    given = found.unit_axis if unit_axis is None else unit_axis
    piece, row_shape = _piece(found.values, name, given)
    rows_seen = piece.rows if found.rows_seen is None else found.rows_seen
    if mask is not None:
        piece = _masked(piece, row_shape, mask, name)
        rows_seen = piece.rows
    names = found.names if given in (None, 1, -1) else None
    return Entry(layer, "values", found.step, None, (piece,), rows_seen, names)


def _piece(values: Any, name: str, unit_axis: int | None) -> tuple[Piece, tuple[int, ...]]:
    """Return values as a table, and the shape of the axes that are its rows."""
    if _is_table(values):
        return Span.of(_with_rows(values, name)), (values.rows,)
    in_file = isinstance(values, OnDisk) or hasattr(values, "opened")
    array: Any = values if in_file else _checks.to_numpy(values, name)
    axis = axis_of_units(array.shape, name, unit_axis)
    shape = array.shape if axis is None else (*array.shape[:axis], *array.shape[axis + 1 :])
    if not in_file:
        return Held(_columns(array, axis)), shape
    last = axis is None or axis == len(array.shape) - 1
    if isinstance(array, OnDisk) and last:
        return array.slab(math.prod(shape), 1 if axis is None else array.shape[axis]), shape
    lazy: Array = RawArray.of(array) if isinstance(array, OnDisk) else array
    return Span.of(Sliced(lazy, axis)), shape


def _is_table(values: Any) -> bool:
    return hasattr(values, "opened") and hasattr(values, "units")


def _with_rows(table: Table, name: str) -> Table:
    if table.rows == 0 or table.units == 0:
        shape = (table.rows, table.units)
        raise InputError(f"{name} must have rows and columns, got shape {shape}")
    return table


def _columns(array: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """Return `array` as (rows, units)."""
    if axis is None:
        return array[:, None]
    return np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])


def axis_of_units(shape: tuple[int, ...], name: str, unit_axis: int | None) -> int | None:
    """Return the axis of the units, not negative; None for the one unit of a vector."""
    if not shape:
        raise InputError(f"{name} must have shape (n,) or (n, d), got a single number")
    if 0 in shape:
        raise InputError(f"{name} must have rows and columns, got shape {shape}")
    if len(shape) == 1:
        return None
    if unit_axis is None:
        if len(shape) == 2:
            return 1
        raise InputError(f"{name} has shape {shape}; unit_axis must say which axis is units")
    if not -len(shape) <= unit_axis < len(shape):
        raise InputError(f"{name} has shape {shape}, it has no axis {unit_axis} (unit_axis)")
    return unit_axis % len(shape)


def checked_mask(mask: Any) -> Mask | None:
    """Return a mask as an array of bool: True, or 1, is kept.

    Raises
    ------
    InputError
        It holds something else than True and False, or 1 and 0, or keeps nothing.
    """
    if mask is None:
        return None
    array = _checks.to_numpy(mask, "mask")
    if array.ndim == 0 or not np.isin(array, (0, 1)).all():
        raise InputError("mask must be an array of True and False, or of 1 and 0")
    if not array.any():
        raise InputError(f"mask must keep at least one row, all {array.size} are False")
    return array.astype(bool)


def _masked(piece: Piece, row_shape: tuple[int, ...], mask: Mask, name: str) -> Piece:
    """Return the rows that a mask keeps."""
    if row_shape[: mask.ndim] != mask.shape:
        raise InputError(
            f"mask has shape {mask.shape}, the first axes of {name} without its units have "
            f"{row_shape[: mask.ndim]}"
        )
    behind = (1,) * (len(row_shape) - mask.ndim)
    kept = np.broadcast_to(mask.reshape(mask.shape + behind), row_shape).ravel()
    if isinstance(piece, Held):
        return Held(piece.table[kept])
    table = piece.table if isinstance(piece, Span) else None
    location = getattr(piece if table is None else table, "location", "")
    stamp = getattr(piece if table is None else table, "stamp", None)
    return Span.of(Chosen(piece, np.flatnonzero(kept), location, stamp))
