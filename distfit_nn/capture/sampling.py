"""Which rows and units of a tensor are kept: chosen on its own device, before anything is copied.

A tensor of any shape is seen as (rows, units). Choices are drawn from seeded generators of NumPy,
so that torch's are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError

_Int = NDArray[np.int64]
_Shape = tuple[int, ...]


@dataclass(frozen=True)
class Table:
    """What is kept of a tensor.

    Attributes
    ----------
    values : torch.Tensor (rows, units)
        On the tensor's device; shares no memory with it where `copied`.
    copied : bool
    rows_seen : int
        Rows before sampling, without those that were masked out.
    ids : tuple of int or None
        Numbers of the units; None for all of them.
    """

    values: torch.Tensor
    copied: bool
    rows_seen: int
    ids: tuple[int, ...] | None


class Sampler:
    """Choose rows and units of the tensors of one pass after another.

    Parameters
    ----------
    rows : int, float or None
        At most so many rows of each tensor, or this share of them (at least one); None for all.
    units : int or None
        At most so many units of each tensor; None for all.
    seed : int
    unit_axis : int or None
        The axis of the units of tensors of more than two axes, whatever is told of them.
    """

    def __init__(
        self, rows: int | float | None, units: int | None, seed: int, unit_axis: int | None
    ) -> None:
        self._rows, self._units, self._seed, self._unit_axis = rows, units, seed, unit_axis
        self._mask: NDArray[np.bool_] | None = None
        self._mask_used = False
        self._chosen_units: dict[int, tuple[int, ...] | None] = {}
        self.begin(0, 0)

    def begin(self, step: int, repeat: int) -> None:
        """Forget the rows of the last pass; a step may have several, which are counted."""
        self._pass = (step, repeat)
        self._chosen: dict[int, _Int | None] = {}
        self._places: dict[tuple[Any, ...], tuple[int, tuple[torch.Tensor, ...] | None]] = {}

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """Where rows are kept: see `Recorder.mask`."""
        return self._mask

    @mask.setter
    def mask(self, value: Any) -> None:
        if value is None:
            self._mask = None
            return
        mask = _checks.to_numpy(value, "mask")
        if mask.dtype != np.bool_ or mask.ndim == 0:
            raise InputError(
                "mask must be a tensor of bool with one axis or more, "
                f"got {mask.dtype} of shape {mask.shape}"
            )
        self._mask = mask.copy()

    @property
    def unused_mask(self) -> tuple[int, ...] | None:
        """Shape of the mask, if one is set and no tensor ever had rows for one."""
        return None if self._mask is None or self._mask_used else self._mask.shape

    def axis(self, tensor: torch.Tensor, told: int, layer: str) -> int:
        """Return the axis of the units, counted from the front."""
        if tensor.ndim > 2 and self._unit_axis is not None:
            told = self._unit_axis
            if not -tensor.ndim <= told < tensor.ndim:
                shape = tuple(tensor.shape)
                raise InputError(
                    f"layer {layer!r} has shape {shape}, it has no axis {told} (unit_axis)"
                )
        return told % tensor.ndim if tensor.ndim > 2 else 1

    def table(self, tensor: torch.Tensor, axis: int, whole: bool = False) -> Table | None:
        """Return what is kept of `tensor`, whose units are on `axis`; None if that is nothing.

        Of a `whole` one, a parameter, that is all its rows.
        """
        values = tensor[:, None] if tensor.ndim == 1 else tensor.movedim(axis, -1)
        if values.element_size() == 1:  # the eight bits of float8, which little is defined for
            values = values.float()
        *lengths, units = values.shape
        ids = self._units_of(units)
        values = _merged(values)
        merged = tuple(values.shape[:-1])
        rows_seen, places = self._rows_of(tuple(lengths), merged, whole, values.device)
        if rows_seen == 0:
            return None
        if places is not None:
            values = values.index_select(0, *places) if len(places) == 1 else values[places]
        if ids is not None:
            values = values.index_select(-1, torch.tensor(ids, device=values.device))
        copied = places is not None or ids is not None
        return Table(values.reshape(-1, values.shape[-1]), copied, rows_seen, ids)

    def size(self, shape: tuple[int, ...], axis: int, whole: bool = False) -> tuple[int, int]:
        """Return how many rows and units of a tensor of this shape are kept."""
        lengths = shape if len(shape) == 1 else (*shape[:axis], *shape[axis + 1 :])
        units = 1 if len(shape) == 1 else shape[axis]
        kept = None if whole else self._shown(lengths)
        total = int(np.prod(lengths, dtype=np.int64)) if kept is None else len(kept)
        return total if whole else self._count(total), min(units, self._units or units)

    def _units_of(self, total: int) -> tuple[int, ...] | None:
        """Return which of `total` units are kept, in order: a function of the seed and `total`."""
        if self._units is None or total <= self._units:
            return None
        if total not in self._chosen_units:
            rng = np.random.default_rng((self._seed, total))
            chosen = np.sort(rng.choice(total, self._units, replace=False, shuffle=False))
            self._chosen_units[total] = tuple(chosen.tolist())
        return self._chosen_units[total]

    def _rows_of(
        self, lengths: _Shape, merged: _Shape, whole: bool, device: torch.device
    ) -> tuple[int, tuple[torch.Tensor, ...] | None]:
        """Return how many rows there are, and where those kept are on each axis of `merged`."""
        if whole:
            return int(np.prod(lengths, dtype=np.int64)), None
        key = (lengths, merged, device)
        if key not in self._places:
            kept = self._shown(lengths)
            total = int(np.prod(lengths, dtype=np.int64)) if kept is None else len(kept)
            chosen = self._sample(total)
            if kept is not None:
                chosen = kept if chosen is None else kept[chosen]
            places = None if chosen is None else np.unravel_index(chosen, merged)
            self._places[key] = (
                total,
                None if places is None else tuple(torch.from_numpy(p).to(device) for p in places),
            )
        return self._places[key]

    def _shown(self, lengths: tuple[int, ...]) -> _Int | None:
        """Return the rows that the mask shows; None where it does not apply."""
        if self._mask is None or lengths[: self._mask.ndim] != self._mask.shape:
            return None
        self._mask_used = True
        rest = lengths[self._mask.ndim :]
        whole = np.broadcast_to(self._mask.reshape(self._mask.shape + (1,) * len(rest)), lengths)
        return np.flatnonzero(whole)

    def _sample(self, total: int) -> _Int | None:
        """Return which of `total` rows are kept in this pass, in order; None for all."""
        count = self._count(total)
        if count == total:
            return None
        if total not in self._chosen:
            rng = np.random.default_rng((self._seed, *self._pass, total))
            self._chosen[total] = np.sort(rng.choice(total, count, replace=False, shuffle=False))
        return self._chosen[total]

    def _count(self, total: int) -> int:
        """Return how many of `total` rows are kept."""
        if self._rows is None:
            return total
        if isinstance(self._rows, float):
            return min(total, max(1, round(self._rows * total)))
        return min(total, self._rows)


def _merged(values: torch.Tensor) -> torch.Tensor:
    """Return a view of (..., units) with as few axes of rows as memory allows: fewer to look up."""
    for axis in range(values.ndim - 2, 0, -1):
        if values.stride(axis - 1) == values.size(axis) * values.stride(axis):
            values = values.flatten(axis - 1, axis)
    return values
