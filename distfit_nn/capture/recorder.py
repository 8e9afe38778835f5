"""Record the activations of a torch model to a store while the model runs as it always does."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distfit_nn import _checks
from distfit_nn.capture import sites as _sites
from distfit_nn.capture.manifest import DTYPES
from distfit_nn.capture.sites import Plan
from distfit_nn.capture.store import MODES, Mode, StoreWriter
from distfit_nn.capture.watch import Event, Output, Watcher
from distfit_nn.errors import InputError, SiteError


def record(
    model: nn.Module,
    path: str | PathLike[str],
    sites: str | Iterable[str] = "pre_activation",
    every: int = 1,
    *,
    rows: int | None = None,
    first_step: int = 0,
    mode: Mode = "x",
    dtype: str | None = None,
    seed: int = 0,
    missing: str = "error",
    unit_axis: int | None = None,
) -> Recorder:
    """Record what passes the `sites` of `model` into the store at `path`.

    Use it as ``with record(model, "run/") as recorder: ...``. Every forward pass of `model` within
    the block is one step. The model's results and gradients stay as they are, to the last bit, and
    no hook stays behind; only the fused fast path of torch's transformer layers is not taken while
    they are watched, which may change their last bits.

    Parameters
    ----------
    model : torch.nn.Module
        The model itself, not its compiled form.
    path : str or path-like
        Folder of the store.
    sites : str or iterable of str, default "pre_activation"
        ``"pre_activation"``: the input of every activation function, each call by its own index.
        ``"norm"``: the input and output of every normalisation layer. Else a module's name, with
        wildcards (``"layers.*.fc1"``): the input and output of each module that matches. See
        `distfit_nn.capture.sites`.
    every : int, default 1
        Record the steps ``first_step``, ``first_step + every``, ...
    rows : int, optional
        Keep at most so many rows of each tensor: a uniform sample, the same rows at all sites with
        the same number of rows in one pass, so that input and output stay aligned. Default: all.
    first_step : int, default 0
        Number of the first step; `Recorder.step` can be set at any time.
    mode : {"x", "a", "w"}, default "x"
        Write a new store, add to one, or replace one. See `distfit_nn.capture.store.StoreWriter`.
    dtype : {"float16", "float32", "float64"}, optional
        Convert to this. Default: as it is, and bfloat16 exactly as float32.
    seed : int, default 0
        Seed of the sample of rows.
    missing : {"error", "warn"}, default "error"
        What to do at the end of the block about layers that were to be recorded and never were,
        while others were: a model may have parts that it does not always use.
    unit_axis : int, optional
        Axis of the units of every recorded tensor of more than two axes, in place of the rules
        below.

    Returns
    -------
    Recorder

    Raises
    ------
    InputError
        An argument breaks its rule, a module's name is not valid Unicode text, or (while recording)
        a value overflows `dtype` or a tensor has no axis `unit_axis`.
    SiteError
        A site does not exist, the model is compiled, or (at the end of the block, with all that
        was recorded in the store) no forward pass was recorded or a site was never reached.
    FileError
        The store cannot be written.

    Notes
    -----
    A tensor is stored as (rows, units). Two axes are rows and units already; one axis is one unit.
    Of more axes the units are axis 1 after a convolution or a channel norm, the last one after a
    linear layer, embedding or attention, and the first of those that a layer norm normalises. From
    there the axis is followed to where the model moves it (``permute``, ``transpose``, ``.mT``), or
    divides it (``view``: the last part). Where it is merged with another, and before the first
    layer, it is axis 1 of four or more, else the last: `unit_axis` is for models where that is
    wrong. The second call of a layer in one pass is called ``name#1``, the third ``name#2``.
    Integers, complex numbers, single numbers and empty tensors are not recorded. Of several tensors
    a module's first is. One pass at a time is watched: a model must not run in two threads at once.

    The store is written when 64 MiB are gathered, after a pass if it was last written more than 10
    seconds ago, and at the end of the block, also by an exception. A process that is killed
    (SIGKILL, and SIGTERM unless it is handled) loses what was recorded since it was last written;
    the store stays whole.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not isinstance(path, (str, PathLike)):
        raise InputError(f"path must be the path of a folder, got {path!r}")
    for name, _ in model.named_modules():
        _checks.text(name, "the name of a module")
    _sites.reject_compiled(model)
    _checks.one_of(mode, MODES, "mode")
    kind = None
    if dtype is not None:
        kind = _checks.one_of(str(dtype).removeprefix("torch."), DTYPES, "dtype")
    return Recorder(
        model,
        Path(path),
        _sites.resolve(model, sites),
        every=_checks.positive_int(every, "every"),
        rows=None if rows is None else _checks.positive_int(rows, "rows"),
        first_step=_checks.whole_number(first_step, "first_step"),
        mode=mode,
        dtype=None if kind is None else getattr(torch, kind),
        seed=_checks.whole_number(seed, "seed"),
        missing=_checks.one_of(missing, ("error", "warn"), "missing"),
        unit_axis=_checks.optional_axis(unit_axis, "unit_axis"),
    )


class Recorder:
    """Records while its with-block runs; made by `record`.

    Attributes
    ----------
    path : pathlib.Path
        Folder of the store.
    step : int
        The step that the next forward pass is filed under. It grows by one with each pass and can
        be set, for instance to the number of samples seen.
    """

    def __init__(
        self,
        model: nn.Module,
        path: Path,
        plan: Plan,
        *,
        every: int,
        rows: int | None,
        first_step: int,
        mode: Mode,
        dtype: torch.dtype | None,
        seed: int,
        missing: str,
        unit_axis: int | None,
    ) -> None:
        self.path = path
        self._model, self._plan, self._mode = model, plan, mode
        self._every, self._rows, self._dtype, self._seed = every, rows, dtype, seed
        self._missing, self._unit_axis = missing, unit_axis
        self._first = self._step = first_step
        self._passes = self._recorded = self._repeat = 0
        self._last: int | None = None
        self._samples: dict[int, NDArray[np.int64] | None] = {}
        self._places: dict[Output, int] = {}
        self._seen: dict[str, set[str]] = {word: set() for word in plan.wanted}
        self._skipped: dict[str, str] = {}
        self._watcher = Watcher(model, plan, self._begin, self._save, self._feeds, self._end)

    @property
    def step(self) -> int:
        """The step that the next forward pass is filed under."""
        return self._step

    @step.setter
    def step(self, value: int) -> None:
        self._step = _checks.whole_number(value, "step")

    def __enter__(self) -> Recorder:
        self._writer = StoreWriter(self.path, self._mode, model=type(self._model).__name__)
        try:
            self._watcher.attach()
        except BaseException:
            self._watcher.detach()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._watcher.detach()
        self._writer.close()
        if kind is None:
            self._check_complete()

    def _begin(self) -> bool:
        self._passes += 1
        wanted = (self._step - self._first) % self._every == 0
        if wanted:
            self._recorded += 1
            self._repeat = self._repeat + 1 if self._step == self._last else 0
            self._last = self._step
            self._samples, self._places = {}, {}
        return wanted

    def _end(self) -> None:
        self._step += 1
        self._writer.flush_if_due()

    def _save(self, event: Event) -> None:
        problem = _sites.why_not(event.tensor)
        if problem is not None:
            self._skipped[event.layer] = problem
            return
        layer = f"{event.layer}#{event.call}" if event.call else event.layer
        with torch.no_grad():
            values, rows_seen = self._matrix(event.tensor.detach(), event.axis, layer)
        place = self._writer.add(
            values,
            layer=layer,
            site=event.site,
            step=self._step,
            call=event.call,
            activation=event.activation,
            rows_seen=rows_seen,
        )
        self._places[Output(event.layer, event.site, event.call)] = place
        self._seen[event.word].add(event.layer)

    def _feeds(self, output: Output, activation: str) -> None:
        place = self._places.get(output)
        if place is not None:
            self._writer.set_activation(place, activation)

    def _matrix(self, tensor: torch.Tensor, axis: int, layer: str) -> tuple[NDArray[Any], int]:
        """Return a copy of `tensor` as (rows, units) in memory of the CPU, and its rows in all."""
        if tensor.ndim > 2 and self._unit_axis is not None:
            axis = self._unit_axis
            if not -tensor.ndim <= axis < tensor.ndim:
                shape = tuple(tensor.shape)
                raise InputError(
                    f"layer {layer!r} has shape {shape}, it has no axis {axis} (unit_axis)"
                )
        table = tensor[:, None] if tensor.ndim == 1 else tensor.movedim(axis, -1)
        units = table.shape[-1]
        rows_seen = table.numel() // units
        chosen = self._sample(rows_seen)
        if chosen is not None:
            places = np.unravel_index(chosen, table.shape[:-1])
            table = table[tuple(torch.from_numpy(place).to(table.device) for place in places)]
        stored = table.to("cpu", dtype=self._stored_dtype(table.dtype), copy=True)
        _check_overflow(table, stored, layer)
        return stored.contiguous().reshape(-1, units).numpy(), rows_seen

    def _sample(self, total: int) -> NDArray[np.int64] | None:
        """Return which of `total` rows are kept in this pass, in order; None for all."""
        if self._rows is None or total <= self._rows:
            return None
        if total not in self._samples:
            rng = np.random.default_rng((self._seed, self._step, self._repeat, total))
            self._samples[total] = np.sort(rng.choice(total, self._rows, replace=False))
        return self._samples[total]

    def _stored_dtype(self, dtype: torch.dtype) -> torch.dtype:
        if self._dtype is not None:
            return self._dtype
        return dtype if dtype in (torch.float16, torch.float32, torch.float64) else torch.float32

    def _check_complete(self) -> None:
        """Raise if something that was asked for was never recorded; or warn of single layers."""
        if self._recorded == 0:
            raise SiteError(
                "no forward pass of the model was recorded in the with-block "
                f"({self._passes} ran; recorded are the steps {self._first} + k * {self._every})"
            )
        for word, seen in self._seen.items():
            if not seen:
                raise SiteError(f"{word!r} was asked for but nothing was recorded{self._why()}")
        for word, layers in self._plan.expected.items():
            idle = [layer for layer in layers if layer not in self._seen[word]]
            if not idle:
                continue
            problem = (
                f"{word!r} has {len(layers)} layers, of which {len(idle)} recorded nothing: "
                f"{', '.join(idle[:5])}{', ...' if idle[5:] else ''}{self._why()}"
            )
            if self._missing == "error":
                raise SiteError(f'{problem} (missing="warn" makes this a warning)')
            warnings.warn(problem, stacklevel=3)

    def _why(self) -> str:
        reasons = [f"{layer!r}: {reason}" for layer, reason in self._skipped.items()]
        return f" (not recorded: {'; '.join(reasons[:5])})" if reasons else ""


def _check_overflow(table: torch.Tensor, stored: torch.Tensor, layer: str) -> None:
    """Raise `InputError` if a finite value of `table` became infinite in `stored`."""
    if torch.finfo(stored.dtype).max >= torch.finfo(table.dtype).max:
        return
    lost = table.cpu()[stored.isinf()]
    lost = lost[lost.isfinite()]
    if lost.numel():
        raise InputError(
            f"layer {layer!r}: {lost[0].item():g} is too large for "
            f"{str(stored.dtype).removeprefix('torch.')}; record with a wider dtype"
        )
