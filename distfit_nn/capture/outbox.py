"""Samples on their way from a pass to the store: off the device, held where that is not yet clear.

A copy from a CUDA device goes to pinned memory and does not wait: its samples are written after the
next pass, when it has long been done.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from distfit_nn.capture.arena import Arena
from distfit_nn.capture.sampling import Table
from distfit_nn.errors import InputError

LIMIT = 64 * 2**20
"""Bytes of samples of one pass that are gathered before they are written in the midst of it."""


@dataclass
class Sample:
    """A table and what it is called.

    Attributes
    ----------
    values : torch.Tensor (rows, units)
        In memory of the CPU; a copy from a device may still be under way.
    place : int or None
        Of its entry in the store, once it is written.
    """

    values: torch.Tensor
    layer: str
    site: str
    step: int
    call: int
    activation: str | None
    rows_seen: int
    ids: tuple[int, ...] | None
    place: int | None = None

    def array(self, dtype: torch.dtype | None, arena: Arena) -> NDArray[np.floating]:
        """Return the values as `dtype`; None keeps theirs, and takes float32 for bfloat16.

        They are a copy in the `arena`.

        Raises
        ------
        InputError
            A finite value overflows `dtype`.
        """
        own = self.values.dtype
        if dtype is None:
            kept = own in (torch.float16, torch.float32, torch.float64)
            dtype = own if kept else torch.float32
        stored = self.values.to(dtype)
        if torch.finfo(dtype).max < torch.finfo(own).max:
            lost = self.values[stored.isinf() & self.values.isfinite()]
            if lost.numel():
                raise InputError(
                    f"layer {self.layer!r}: {lost[0].item():g} is too large for "
                    f"{str(dtype).removeprefix('torch.')}; record with a wider dtype"
                )
        return arena.array(stored.numpy())


@dataclass(frozen=True)
class Taken:
    """What was taken of a tensor, in case that it is asked for again: a norm's output is what the
    activation after it gets.

    Attributes
    ----------
    tensor : weakref to torch.Tensor
    version : int or None
        Grows when the tensor is written to; None where torch does not count.
    axis : int
    values : torch.Tensor (rows, units)
        In memory of the CPU; a copy from a device may still be under way.
    rows_seen : int
    ids : tuple of int or None
    """

    tensor: weakref.ref[torch.Tensor]
    version: int | None
    axis: int
    values: torch.Tensor
    rows_seen: int
    ids: tuple[int, ...] | None

    @classmethod
    def of(cls, tensor: torch.Tensor, axis: int, table: Table, values: torch.Tensor) -> Taken:
        """Note what was taken."""
        return cls(weakref.ref(tensor), _version(tensor), axis, values, table.rows_seen, table.ids)

    def is_of(self, tensor: torch.Tensor, axis: int) -> bool:
        """Return whether it was taken of this tensor as it is now."""
        known = self.version is not None and self.tensor() is tensor
        return known and self.axis == axis and self.version == tensor._version


def _version(tensor: torch.Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version


class _Batch:
    """The samples of a pass, and the copies from CUDA devices that are under way to them."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self.samples: list[Sample] = []
        self.bytes = 0
        self._events: dict[torch.cuda.Stream, torch.cuda.Event] = {}

    @property
    def under_way(self) -> bool:
        """Whether copies may not be complete."""
        return bool(self._events)

    def host(self, table: Table) -> torch.Tensor:
        """Return a copy of the values in memory of the CPU, complete after `wait`."""
        values = table.values
        if values.device.type == "cuda":
            return self._begin(values)
        return self._arena.tensor(values)

    def wait(self) -> None:
        """Return when all copies are complete."""
        for event in self._events.values():
            event.synchronize()
        self._events.clear()

    def _begin(self, values: torch.Tensor) -> torch.Tensor:
        copy = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        copy.copy_(values, non_blocking=True)
        # An event is done when all is that its stream was given before: record it anew each time.
        stream = torch.cuda.current_stream(values.device)
        if stream not in self._events:
            self._events[stream] = torch.cuda.Event()
        self._events[stream].record(stream)
        return copy


class Outbox:
    """Hand samples to `write`, in the order of their passes.

    Those of a pass that is kept are written at its end, or as soon as they exceed `LIMIT`; from a
    CUDA device, at the end of the next pass. Those of other passes are held until another pass
    ends, and written only if none does.
    """

    def __init__(self, write: Callable[[Sample], None]) -> None:
        self._write = write
        self._keep: bool | None = None  # None between passes
        self.arena = Arena()
        self._current, self._sent, self._held = (_Batch(self.arena) for _ in range(3))

    def begin(self, keep: bool) -> None:
        """Begin a pass; one that was broken off ends here."""
        if self._keep is not None:
            self.end()
        self._keep = keep

    def host(self, table: Table) -> torch.Tensor:
        """Return the table's values in memory of the CPU, perhaps before they are all there."""
        return self._current.host(table)

    def add(self, sample: Sample) -> None:
        """Take a sample of the pass that has begun."""
        self._current.samples.append(sample)
        self._current.bytes += sample.values.nbytes
        if self._keep and self._current.bytes > LIMIT:
            sent, self._sent = self._sent, _Batch(self.arena)
            current, self._current = self._current, _Batch(self.arena)
            self._write_all(sent)
            self._write_all(current)

    def end(self) -> None:
        """End the pass."""
        sent, self._sent = self._sent, _Batch(self.arena)
        current, self._current = self._current, _Batch(self.arena)
        keep, self._keep = self._keep, None
        self._held = _Batch(self.arena) if keep else current
        self._write_all(sent)
        if keep and current.under_way:
            self._sent = current
        elif keep:
            self._write_all(current)

    def close(self) -> None:
        """Write all that is left, also of a pass that was broken off."""
        if self._keep is not None:
            self.end()
        sent, self._sent = self._sent, _Batch(self.arena)
        held, self._held = self._held, _Batch(self.arena)
        self._write_all(sent)
        self._write_all(held)

    def _write_all(self, batch: _Batch) -> None:
        batch.wait()
        for sample in batch.samples:
            self._write(sample)
