"""Recorded activations on disk: a folder of safetensors shards and one manifest.

docs/format.md and `distfit_nn.capture.manifest` describe the format. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable
from itertools import count, islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save

from distfit_nn import _checks
from distfit_nn.capture.atomic import replace, stamp
from distfit_nn.capture.claim import claimed
from distfit_nn.capture.manifest import (
    DTYPES,
    MANIFEST,
    VERSION,
    Manifest,
    Record,
    Shard,
    file_error,
)
from distfit_nn.capture.manifest_text import entry_text, manifest_text
from distfit_nn.capture.stored import Store
from distfit_nn.errors import FileError, InputError

if TYPE_CHECKING:
    from distfit_nn.stats.accumulator import Accumulator

__all__ = ["FLUSH_SECONDS", "MODES", "Mode", "Store", "StoreWriter"]

MODES = ("x", "a", "w")
FLUSH_SECONDS = 10.0  # a killed recording loses a little more than this; shards stay few
MOST_TENSORS = 2**16  # of a shard, whose header may have 100 MB
SLOW_SECONDS, SLOW_SHARE = 0.5, 20  # a write that takes longer is due 20 times as late
Mode = Literal["x", "a", "w"]
Ids = tuple[int, ...]


class StoreWriter:
    """Write a store, a shard at a time.

    Arrays are gathered in memory until they exceed `buffer_bytes`, then written as one shard; what
    is not yet written is lost if the process is killed, what was flushed never is. Only one writer
    may have a folder open (see `distfit_nn.capture.lock`). While a shard is written, twice its size
    is needed in memory.

    Where a write fails (a full disk, a folder that is gone), a `FileError` says so and the store
    stays as it was; what was to be written is kept and tried again with the next `flush`. `close`
    tries once more and lets the folder go in any case.

    The store is written by the process that opened it: in one that was forked off, adding and
    flushing raise `FileError`, and `close` writes nothing.

    Parameters
    ----------
    path : str or path-like
        The folder; it is created where it is missing.
    mode : {"x", "a", "w"}, default "x"
        "x": the folder must be new or empty. "a": add to the store that is there, or create one.
        "w": replace the store that is there, or create one; the old one can be read until the new
        one's first shard is on disk, and stays if nothing is added. A folder that holds something
        else than a store is never touched. What a killed writer left unfinished counts as nothing.
    model : str, default ""
        Class name of the model, kept in the manifest ("a" keeps the one that is there).
    buffer_bytes : int, default 64 MiB
        Size at which a shard is written.
    rank : int, optional
        Write the part of one of several processes, in the folder ``rank-00000`` (and so on) of
        `path`; reading `path` joins them.
    ranks : int, optional
        How many processes write: a reader then knows which are missing, and which are left from
        another recording.

    Raises
    ------
    InputError
        An argument breaks its rule.
    FileError
        The folder is not free for this mode, another writer has it open, or it cannot be written.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        mode: Mode = "x",
        *,
        model: str = "",
        buffer_bytes: int = 64 * 2**20,
        rank: int | None = None,
        ranks: int | None = None,
    ) -> None:
        _checks.one_of(mode, MODES, "mode")
        _checks.text(model, "model")
        _check_rank(rank, ranks)
        self._buffer_bytes = _checks.positive_int(buffer_bytes, "buffer_bytes")
        self.path, self._lock, old = claimed(Path(path), mode, rank)
        self._replaced = list(old.shards) if old is not None and mode == "w" else []
        if old is None or mode == "w":
            old = Manifest(_program(), model, (), (), rank, ranks)
        self._begin(old)
        self._stamp = stamp(self.path / MANIFEST)
        self._flushed, self._took = time.monotonic(), 0.0
        self._clear()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Close; where the block has failed and this does too, the first error stays in front.

        A rank that had nothing to write says so, by a manifest without entries.
        """
        if error is None and self._head.rank is not None and not self._entries:
            self._changed = True
        try:
            self.close()
        except FileError as second:
            if error is None:
                raise
            if str(second) != str(error):
                error.add_note(f"and the store could not be closed: {second}")

    def add(
        self,
        values: NDArray[Any],
        *,
        layer: str,
        site: str,
        step: int,
        call: int = 0,
        activation: str | None = None,
        rows_seen: int | None = None,
        ids: Ids | None = None,
    ) -> int:
        """Add an array of shape (rows, units), which must not change until the next `flush`.

        Parameters
        ----------
        values : float16, float32 or float64 array (rows, units)
        layer, site : str
        step, call : int
        activation : str, optional
            Of the function that takes the values.
        rows_seen : int, optional
            Rows that there were to sample from. Default: `rows`.
        ids : tuple of int, optional
            Numbers of the units in their layer, where not all of them are recorded.

        Returns
        -------
        int
            The place of its entry, for `set_activation`.

        Raises
        ------
        InputError
            The array is not two-dimensional, is empty, or is not float16, float32 or float64; or
            another argument breaks its rule.
        FileError
            A shard was due and could not be written, or the writer is closed.
        """
        if values.ndim != 2 or 0 in values.shape:
            raise InputError(f"layer {layer!r}: shape must be (rows, units), got {values.shape}")
        if values.dtype.name not in DTYPES:
            raise InputError(f"layer {layer!r}: dtype must be a float, got {values.dtype}")
        rows, units = values.shape
        record = self._record(
            "values", rows, units, layer, site, step, call, activation, rows_seen, ids
        )
        tensors = {record.key: np.ascontiguousarray(values)}
        return self._gather(record._replace(dtype=values.dtype.name), tensors)

    def add_summary(
        self,
        summary: Accumulator,
        *,
        layer: str,
        site: str,
        step: int,
        call: int = 0,
        activation: str | None = None,
        rows_seen: int | None = None,
        ids: Ids | None = None,
    ) -> int:
        """Add what an accumulator holds, in place of rows; it may be used on.

        Its sample of rows, if it keeps one, is stored too: ``Accumulator(..., rows=0)`` keeps none.
        The other arguments, and what is returned and raised, are those of `add`.
        """
        arrays = summary.to_arrays()
        rows = int(arrays["sample"][0])
        if rows == 0:
            raise InputError(f"layer {layer!r}: a summary must be of one row or more")
        record = self._record(
            "summary", rows, summary.columns, layer, site, step, call, activation, rows_seen, ids
        )
        return self._gather(record, {f"{record.key}.{name}": a for name, a in arrays.items()})

    def set_activation(self, place: int, activation: str) -> None:
        """Say which activation function takes the values that were added at `place`."""
        entry = json.loads(self._entries[place])
        entry["activation"] = _checks.text(activation, "activation")
        self._entries[place] = json.dumps(entry, separators=(",", ":"))
        self._changed = True

    def flush(self) -> None:
        """Write what is buffered as one shard, then the manifest that names it."""
        self._lock.check_own()
        if self._buffer or self._changed:
            self._write(spare=False)

    def flush_if_due(self) -> None:
        """Write what is buffered if the last time was more than `FLUSH_SECONDS` ago, and keep it.

        The shard is a spare, which the next write replaces: in the end the shards are the same
        however long the recording took. Where writing is slow it is due later, so that it takes a
        twentieth of the time at most.
        """
        self._lock.check_own()
        wait = FLUSH_SECONDS
        if self._took > SLOW_SECONDS:
            wait = max(wait, SLOW_SHARE * self._took)
        if self._changed and time.monotonic() - self._flushed > wait:
            self._write(spare=True)

    def close(self) -> None:
        """Write what is left and let the folder go. A writer may be closed more than once."""
        if self._lock.is_released:
            return
        try:
            if self._lock.is_own:
                self.flush()
        finally:
            self._lock.release()
            self._clear()

    def _begin(self, head: Manifest) -> None:
        """Start from what is on disk: entries are kept as the text that each write repeats."""
        self._head = Manifest(head.written_by, head.model, (), (), head.rank, head.ranks)
        self._shards = list(head.shards)
        self._unit_sets: dict[Ids, int] = {}
        self._entries = [entry_text(each, self._unit_set(each.ids)) for each in head.records]
        self.last_step = max((each.step for each in head.records), default=-1)  # that was there

    def _unit_set(self, ids: Ids | None) -> int | None:
        return None if ids is None else self._unit_sets.setdefault(ids, len(self._unit_sets))

    def _record(
        self,
        kind: str,
        rows: int,
        units: int,
        layer: str,
        site: str,
        step: int,
        call: int,
        activation: str | None,
        rows_seen: int | None,
        ids: Ids | None,
    ) -> Record:
        """Return the entry of what is added, once all that it says is checked."""
        if self._lock.is_released:
            raise file_error(self.path, "the writer is closed; nothing is added")
        self._lock.check_own()
        seen = rows if rows_seen is None else _checks.positive_int(rows_seen, "rows_seen")
        if seen < rows:
            raise InputError(f"rows_seen must be at least the {rows} rows, got {seen}")
        return Record(
            kind=kind,
            shard=len(self._shards),
            key=f"t{self._gathered}",
            layer=_checks.text(layer, "layer"),
            site=_checks.text(site, "site"),
            step=_checks.whole_number(step, "step"),
            call=_checks.whole_number(call, "call"),
            activation=None if activation is None else _checks.text(activation, "activation"),
            rows=rows,
            units=units,
            rows_seen=seen,
            dtype=None,
            ids=None if ids is None else _checked_ids(ids, units),
        )

    def _gather(self, record: Record, tensors: dict[str, NDArray[Any]]) -> int:
        """Take tensors into the buffer; return the place of their entry."""
        self._buffer |= tensors
        self._entries.append(entry_text(record, self._unit_set(record.ids)))
        self._gathered += 1
        self._buffered += sum(array.nbytes for array in tensors.values())
        self._changed = True
        place = len(self._entries) - 1
        if self._buffered >= self._buffer_bytes or len(self._buffer) >= MOST_TENSORS:
            self.flush()
        return place

    def _clear(self) -> None:
        self._buffer: dict[str, NDArray[Any]] = {}
        self._gathered = self._buffered = 0
        self._changed = False  # is there something that is not on disk?

    def _write(self, *, spare: bool) -> None:
        """Write buffer and manifest, and remove what they replace."""
        begun = time.monotonic()
        self._check_folder()
        new = [self._write_shard(spare=spare)] if self._buffer else []
        try:
            shards = [*self._shards, *new]
            text = manifest_text(self._head, self._unit_sets, shards, self._entries)
            replace(self.path / MANIFEST, text)
        finally:  # an interrupt may come when the new manifest is there already
            if stamp(self.path / MANIFEST) == self._stamp:
                self._remove(new)
            else:
                self._adopt(new, spare=spare)
        self._flushed = time.monotonic()
        self._took = self._flushed - begun

    def _adopt(self, new: list[Shard], *, spare: bool) -> None:
        """Go on from the manifest that was written, which names `new` shards."""
        self._stamp = stamp(self.path / MANIFEST)
        replaced, self._replaced = self._replaced, new if spare else []
        self._changed = False
        if not spare:
            self._shards += new
            self._clear()
        self._remove(replaced)

    def _check_folder(self) -> None:
        """Raise `FileError` unless the folder is as this writer left it."""
        if not self.path.is_dir():
            raise file_error(self.path, "the folder of the store was removed while it was written")
        if stamp(self.path / MANIFEST) != self._stamp:
            raise file_error(self.path, "the store was changed by another writer; nothing is added")

    def _write_shard(self, *, spare: bool) -> Shard:
        """Write the buffer under the first free name, or as a spare under the second."""
        names = (self.path / f"shard-{number:05d}.safetensors" for number in count())
        free = (name for name in names if not os.path.lexists(name))
        path = next(islice(free, int(spare), None))
        try:
            content = save(self._buffer)
        except (SafetensorError, ValueError) as error:
            raise file_error(path, f"cannot be written: {error}") from None
        shard = Shard(path.name, len(content), hashlib.sha256(content).hexdigest(), VERSION)
        try:
            replace(path, content)
        except BaseException:
            self._remove([shard])
            raise
        return shard

    def _remove(self, shards: Iterable[Shard]) -> None:
        for shard in shards:
            with contextlib.suppress(OSError):  # an unnamed shard is no part of the store
                (self.path / shard.file).unlink()


def _program() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"distfit_nn {version('distfit-nn')}"
    except PackageNotFoundError:  # used from a source tree
        return "distfit_nn"


def _check_rank(rank: int | None, ranks: int | None) -> None:
    if ranks is not None:
        _checks.positive_int(ranks, "ranks")
    if rank is None:
        return
    _checks.whole_number(rank, "rank")
    if rank >= (10**9 if ranks is None else ranks):
        raise InputError(f"rank must be below the number of ranks, got {rank} of {ranks}")


def _checked_ids(ids: Any, units: int) -> Ids:
    """Return numbers of units as a tuple, if they are different ones, as many as there are."""
    numbers = tuple(_checks.whole_number(number, "each of ids") for number in ids)
    if len(numbers) != units or len(set(numbers)) != units:
        raise InputError(f"ids must be {units} different numbers, got {len(numbers)}")
    return numbers
