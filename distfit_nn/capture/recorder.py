"""Record the activations of a torch model to a store while the model runs as it always does."""

from __future__ import annotations

from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distfit_nn import _checks
from distfit_nn.capture import models, weights
from distfit_nn.capture.arena import Arena
from distfit_nn.capture.coverage import Coverage
from distfit_nn.capture.options import Options, rows_or_share, stored_dtype
from distfit_nn.capture.outbox import Outbox, Sample, Taken
from distfit_nn.capture.sampling import Sampler
from distfit_nn.capture.sites import Plan, Sites, resolve
from distfit_nn.capture.store import MODES, Mode, StoreWriter
from distfit_nn.capture.tensors import why_not
from distfit_nn.capture.watch import Event, Output, Watcher
from distfit_nn.errors import InputError, SiteError
from distfit_nn.stats.accumulator import Accumulator


def record(
    model: nn.Module,
    path: str | PathLike[str],
    sites: Sites = "pre_activation",
    every: int = 1,
    *,
    last: bool = True,
    rows: int | float | None = None,
    units: int | None = None,
    summaries_only: bool = False,
    first_step: int | None = None,
    mode: Mode = "x",
    dtype: str | None = None,
    seed: int = 0,
    missing: str = "error",
    unit_axis: int | None = None,
) -> Recorder:
    """Record what passes the `sites` of `model` into the store at `path`.

    Use it as ``with record(model, "run/") as recorder: ...``. Every forward pass of `model` within
    the block is one step. The model's results and gradients stay as they are, to the last bit, and
    no hook stays behind; only fused kernels are not used while it is watched, which may change
    last bits: the fast path of torch's transformer layers, and what torch.compile made.

    Parameters
    ----------
    model : torch.nn.Module
        Compiled models and `torch.nn.parallel.DistributedDataParallel` stand for the model within.
    path : str or path-like
        Folder of the store.
    sites : str, callable (str, Module) -> bool, class of modules, or list, default "pre_activation"
        ``"pre_activation"``: the input of every activation, each call by its own index. ``"norm"``:
        the input and output of every normalisation layer. ``"weights"``: every parameter. Else a
        module's name, with wildcards (``"layers.*.fc1"``): the input and output of each module that
        matches, or that a function or class picks. See `distfit_nn.capture.sites`; what would be
        recorded is listed by `distfit_nn.sites`.
    every : int, default 1
        Record the steps ``first_step``, ``first_step + every``, ... and the first pass.
    last : bool, default True
        Record the last pass, too. As nobody knows which it is, every pass is then sampled, and held
        in memory until the next has ended.
    rows : int or float, optional
        Keep at most so many rows of each tensor, or this share of them, above 0 and below 1: a
        uniform sample, the same rows at all sites with the same number of rows in one pass, so that
        input and output stay aligned. Weights are kept whole. Default: all.
    units : int, optional
        Keep at most so many units of each tensor: the same at all steps and in all tensors with the
        same number of units. Their numbers are stored. Default: all.
    summaries_only : bool, default False
        Store no values but sums that can be merged, a `distfit_nn.stats.Accumulator` for each table
        (about 8 KiB a unit in memory): moments and a sketch of the distribution, no dependence.
    first_step : int, optional
        Number of the first step; `Recorder.step` can be set at any time. Default: 0, and in mode
        "a" the one after the last in the store (of ranks: in each one's part), so that new rows do
        not join old ones.
    mode : {"x", "a", "w"}, default "x"
        Write a new store, add to one, or replace one. See `distfit_nn.capture.store.StoreWriter`.
    dtype : {"float16", "float32", "float64"}, optional
        Convert to this. Default: as it is, and bfloat16 exactly as float32.
    seed : int, default 0
        Seed of the samples of rows and units.
    missing : {"error", "warn"}, default "error"
        What to do at the end of the block about layers that were to be recorded and never were,
        while others were: a model may have parts that it does not always use. Of those that a
        pattern, function or class found, it always warns only.
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
        A site does not exist; the model holds a `torch.nn.DataParallel` or a `torch.jit` module,
        where hooks see nothing. While recording: it runs in two threads at once, or is captured as
        a CUDA graph. At the end of the block, with all that was recorded in the store: no forward
        pass ran, a site was never reached, or a mask never applied.
    FileError
        The store cannot be written.

    Warns
    -----
    UserWarning
        At the end of the block: some passes recorded nothing for a site that others did; or modules
        ran outside of a call of the model, as in ``model.forward(x)``, which runs no hooks.

    Notes
    -----
    A tensor is stored as (rows, units). Two axes are rows and units already; one axis is one unit.
    Of more axes the units are axis 1 after a convolution or a channel norm, the last one after a
    linear layer, embedding or attention, and the first of those that a layer norm normalises. From
    there the axis is followed to where the model moves it (``permute``, ``transpose``, ``.mT``), or
    divides it (``view``: the last part). Where it is merged with another or summed over, and before
    the first layer, it is axis 1 of four or more (the heads, of the scores of an attention), else
    the last: `unit_axis` is for models where that is wrong. Parameters have a unit for each output,
    and in its rows the weights that lead there; biases and weights of norms are one unit.

    The second call of a layer in one pass is called ``name#1``, the third ``name#2``. Integers,
    complex, quantised, sparse, nested and meta tensors, single numbers and empty tensors are not
    recorded; of several tensors a module's first is. What runs in a backward pass, such as the
    recomputation of a checkpoint, is not recorded again. Within the block, all that torch.compile
    compiled runs as it was written, in all threads. Under `torch.func.vmap` nothing can be seen.

    A pass that an exception breaks off is a step like any other, with what it recorded until then.

    Where several processes work together (`torch.distributed` with a world size above 1), each
    writes its own part of the store, which are read as one; the first writes the parameters.

    A pass keeps its samples in memory until it ends, up to 64 MiB, after which they are written in
    its midst; the store gathers up to 64 MiB more, and takes twice that again while it writes them:
    some 320 MiB, 512 with what the heap wastes. With `last`, samples of one or two passes beside
    the steps of `every` are held. Rows and units are chosen on the tensor's own device, before it
    is copied; from a CUDA device through pinned memory without waiting: what a pass gives is
    written at the end of the next. A mask is brought to the CPU when it is set.

    The store is written when it has gathered 64 MiB, after a pass if it was last written more than
    10 seconds ago, and at the end of the block, also by an exception. A process that is killed
    (SIGKILL, and SIGTERM unless it is handled) loses what was recorded since it was last written;
    the store stays whole.
    """
    model = models.original(model)
    if not isinstance(path, (str, PathLike)):
        raise InputError(f"path must be the path of a folder, got {path!r}")
    _checks.one_of(mode, MODES, "mode")
    options = Options(
        every=_checks.positive_int(every, "every"),
        last=_checks.flag(last, "last"),
        rows=rows_or_share(rows),
        units=None if units is None else _checks.positive_int(units, "units"),
        summaries_only=_checks.flag(summaries_only, "summaries_only"),
        first_step=None if first_step is None else _checks.whole_number(first_step, "first_step"),
        mode=mode,
        dtype=stored_dtype(dtype),
        seed=_checks.whole_number(seed, "seed"),
        missing=_checks.one_of(missing, ("error", "warn"), "missing"),
        unit_axis=_checks.optional_axis(unit_axis, "unit_axis"),
    )
    return Recorder(model, Path(path), resolve(model, sites), options)


class Recorder:
    """Records while its with-block runs; made by `record`.

    Attributes
    ----------
    path : pathlib.Path
        Folder of the store.
    step : int
        The step that the next forward pass is filed under. It grows by one with each pass and can
        be set, for instance to the number of samples seen.
    mask : numpy.ndarray of bool or None
        Which rows are kept, such as a batch's attention mask of shape (batch, length): set it, to
        a tensor of bool, before the passes that it is for; None (the default) ends it. It applies
        to tensors whose axes other than that of the units begin with the mask's shape, and leaves
        others, and parameters, alone. That it never applied is an error at the end of the block.
    """

    def __init__(self, model: nn.Module, path: Path, plan: Plan, options: Options) -> None:
        self.path = path
        self._model, self._plan, self._options = model, plan, options
        self._first = self._step = options.first_step or 0
        self._broken = False  # has a pass begun that has not ended?
        self._passes = self._repeat = 0
        self._last: int | None = None
        self._weighed: int | None = None
        self._sampler = Sampler(options.rows, options.units, options.seed, options.unit_axis)
        self._outbox = Outbox(self._write)
        self._stored = Arena()  # kept for longer than what the outbox may forget
        self._samples: dict[Output, Sample] = {}
        self._latest: Taken | None = None  # what is an output and then an input is sampled once
        self._check = Coverage(plan)
        self._watcher = Watcher(model, plan, self._begin, self._save, self._feeds, self._end)

    @property
    def step(self) -> int:
        """The step that the next forward pass is filed under."""
        return self._step

    @step.setter
    def step(self, value: int) -> None:
        self._step = _checks.whole_number(value, "step")
        self._broken = False

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """Which rows are kept of tensors whose axes, but for the units', begin with its shape."""
        return self._sampler.mask

    @mask.setter
    def mask(self, value: Any) -> None:
        self._sampler.mask = value

    def __enter__(self) -> Recorder:
        self._rank, ranks = _rank()
        name = type(self._model).__name__
        with ExitStack() as stack:
            writer = StoreWriter(
                self.path, self._options.mode, model=name, rank=self._rank, ranks=ranks
            )
            self._writer = stack.enter_context(writer)
            if self._options.first_step is None and not self._step:
                self._first = self._step = writer.last_step + 1
            stack.push(self._close)
            stack.enter_context(models.uncompiled())
            stack.callback(self._watcher.detach)
            self._watcher.attach()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)
        if kind is None:
            self._check.finish(
                self._passes,
                self._sampler.unused_mask,
                self._options.missing,
                self._watcher.alone,
                stacklevel=3,
            )

    def _close(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Write what is left; where the block has failed and this does too, that stays in front."""
        try:
            self._outbox.close()
        except Exception as second:
            if error is None:
                raise
            error.add_note(f"and the last samples could not be written: {second}")

    def _begin(self) -> bool:
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            raise SiteError(
                "the model is captured as a CUDA graph, whose replays run no hooks; record outside"
            )
        if self._broken:  # by a KeyboardInterrupt, after which torch runs no hooks
            self._step += 1
        self._broken = True
        on_grid = (self._step - self._first) % self._options.every == 0
        keep = on_grid or self._passes == 0
        self._passes += 1
        wanted = keep or self._options.last
        if wanted:
            self._repeat = self._repeat + 1 if self._step == self._last else 0
            self._last = self._step
            self._sampler.begin(self._step, self._repeat)
            self._samples.clear()
            self._latest = None
            self._check.begin_pass()
            self._outbox.begin(keep)
        self._watched = wanted
        return wanted

    def _end(self) -> None:
        if self._watched:
            self._latest = None
            self._weigh()
            self._check.end_pass(self._step)
            self._outbox.end()
        self._step += 1
        self._broken = False
        self._writer.flush_if_due()

    def _save(self, event: Event) -> None:
        problem = why_not(event.tensor)
        if problem is None:
            layer = f"{event.layer}#{event.call}" if event.call else event.layer
            axis = self._sampler.axis(event.tensor, event.axis, layer)
            sample = self._take(event.tensor, axis, layer, event.site, event.call, event.activation)
            if sample is not None:
                self._samples[Output(event.layer, event.site, event.call)] = sample
                self._check.saw(event.word, event.layer)
                return
            problem = "the mask leaves none of its rows"
        self._check.skipped(event.layer, problem)

    def _weigh(self) -> None:
        """Record the parameters, once a step; ranks have the same, of which the first records."""
        if self._weighed == self._step:
            return
        self._weighed = self._step
        named = weights.owners(self._model) if self._plan.weights else {}
        for name, words in self._plan.weights.items():
            module, parameter = named.get(name, (self._model, None))
            problem = weights.why_not(parameter)
            if parameter is None or problem is not None:
                self._check.skipped(name, str(problem))
                continue
            if not self._rank:
                matrix = weights.matrix(module, parameter)
                self._take(matrix, 1, name, "weights", 0, None, whole=True)
            for word in words:
                self._check.saw(word, name)

    @torch.no_grad()
    def _take(
        self,
        tensor: torch.Tensor,
        axis: int,
        layer: str,
        site: str,
        call: int,
        activation: str | None,
        whole: bool = False,
    ) -> Sample | None:
        """Put what is kept of `tensor` on its way, unless that is nothing."""
        latest = self._latest
        if latest is None or not latest.is_of(tensor, axis):
            table = self._sampler.table(tensor.detach(), axis, whole)
            if table is None:
                return None
            latest = self._latest = Taken.of(tensor, axis, table, self._outbox.host(table))
        rows, ids = latest.rows_seen, latest.ids
        sample = Sample(latest.values, layer, site, self._step, call, activation, rows, ids)
        self._outbox.add(sample)
        return sample

    def _feeds(self, output: Output, activation: str) -> None:
        sample = self._samples.get(output)
        if sample is not None:
            sample.activation = activation
            if sample.place is not None:
                self._writer.set_activation(sample.place, activation)

    def _write(self, sample: Sample) -> None:
        values = sample.array(self._options.dtype, self._stored)
        told: dict[str, Any] = {
            "layer": sample.layer,
            "site": sample.site,
            "step": sample.step,
            "call": sample.call,
            "activation": sample.activation,
            "rows_seen": sample.rows_seen,
        }
        if sample.ids is not None:
            told["ids"] = sample.ids
        if self._options.summaries_only:
            summary = Accumulator(values.shape[1], rows=0)
            summary.update(values)
            sample.place = self._writer.add_summary(summary, **told)
        else:
            sample.place = self._writer.add(values, **told)


def _rank() -> tuple[int | None, int | None]:
    """Return this process's number among those that work together, and theirs; None alone."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return None, None
    ranks = distributed.get_world_size()
    return (distributed.get_rank(), ranks) if ranks > 1 else (None, None)
