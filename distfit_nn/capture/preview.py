"""What would be recorded of a model, before anyone pays for it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy, deepcopy
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from distfit_nn import _checks
from distfit_nn.capture import models, weights
from distfit_nn.capture.coverage import Coverage
from distfit_nn.capture.options import rows_or_share, stored_dtype
from distfit_nn.capture.sampling import Sampler
from distfit_nn.capture.sites import Plan, Sites, resolve, site_names
from distfit_nn.capture.tensors import why_not
from distfit_nn.capture.watch import Event, Output, Watcher

_COLUMNS = {
    "layer": "str",
    "site": "str",
    "call": "int64",
    "activation": "object",
    "module": "str",
    "shape": "object",
    "dtype": "object",
    "rows": "Int64",
    "units": "Int64",
    "unit_axis": "Int64",
    "bytes": "Int64",
}


def sites(
    model: nn.Module,
    example: Any = None,
    sites: Sites = "pre_activation",
    *,
    rows: int | float | None = None,
    units: int | None = None,
    dtype: str | None = None,
    unit_axis: int | None = None,
) -> pd.DataFrame:
    """List what `record` would record in one pass of `model`, with shapes and bytes.

    Parameters
    ----------
    model : torch.nn.Module
    example : tensor, tuple of arguments or mapping of named arguments, optional
        What the model is called with, once, without gradients. Anything else is passed on as the
        only argument. Default: the model is not called; listed is what is known of it as it stands.
    sites, rows, units, dtype, unit_axis
        As for `record`.

    Returns
    -------
    pandas.DataFrame
        A line for each table of the store, in the order of the pass:

        layer, site, call, activation
            As in the store.
        module
            Class of the module; of the one that calls a function.
        shape, dtype
            Of the tensor in the model (a tuple, and text such as ``"float32"``).
        rows, units
            That are kept of it.
        unit_axis
            Axis of the units, counted from the front; missing where the tensor is one unit.
        bytes
            On disk, of each pass that is recorded; parameters are recorded once a step.

        Where nothing is known, or nothing can be recorded, the last six are missing: of all sites
        but ``"weights"`` without an example; of layers that the pass did not reach, which come
        last. ``attrs["not_recorded"]`` tells, for layers that were reached in vain, why.

    Raises
    ------
    InputError, SiteError
        As for `record`.

    Notes
    -----
    The pass runs in the modes in which the modules are. Afterwards the model is as it was: modes,
    buffers such as running statistics, gradients, attributes of its modules and the states of the
    random generators of torch, NumPy and Python. Its buffers are copied for that. A model whose
    parameters have no shape yet (lazy ones) is copied as a whole and left as it is. Parameters
    that a pass itself changes in place, and what it does elsewhere, are not restored.
    """
    model = models.original(model)
    plan = resolve(model, sites)
    units = None if units is None else _checks.positive_int(units, "units")
    axis = _checks.optional_axis(unit_axis, "unit_axis")
    preview = _Preview(model, plan, Sampler(rows_or_share(rows), units, 0, axis), dtype)
    if example is not None:
        preview.run(example)
    return preview.table()


class _Preview:
    """The lines of the table, gathered in a pass or without one."""

    def __init__(self, model: nn.Module, plan: Plan, sampler: Sampler, dtype: str | None) -> None:
        self._model, self._plan, self._sampler = model, plan, sampler
        self._dtype = stored_dtype(dtype)
        self._check = Coverage(plan)
        self._lines: list[dict[str, Any]] = []

    def run(self, example: Any) -> None:
        """Call the model once, and leave it as it was."""
        lazy = any(nn.parameter.is_lazy(p) for p in self._model.parameters())
        model = deepcopy(self._model) if lazy else self._model
        watcher = Watcher(
            model, self._plan, lambda: True, self._see, self._feeds, lambda: self._weigh(model)
        )
        with untouched(model), models.uncompiled(), torch.no_grad():
            watcher.attach()
            try:
                _call(model, example)
            finally:
                watcher.detach()

    def table(self) -> pd.DataFrame:
        """Return all lines, those of what is expected but was not seen last."""
        if not self._lines:
            self._weigh(self._model)
        modules = dict(models.parts(self._model))
        names = {models.layer_name(self._model, path): path for path in modules}
        for word in self._plan.wanted:
            for layer in self._check.idle(word):
                path = names.get(layer, layer.rpartition(".")[0])
                self._expect(word, layer, path, modules.get(path, self._model))
        table = pd.DataFrame(self._lines, columns=list(_COLUMNS), dtype=object).astype(_COLUMNS)
        table.attrs["not_recorded"] = self._check.reasons
        return table

    def _expect(self, word: str, layer: str, path: str, module: nn.Module) -> None:
        """Add lines for what `word` expects of a layer, of which nothing is known."""
        if word == "pre_activation":
            named: tuple[str, ...] = (word,)
        else:
            named = ("weights",) if layer in self._plan.weights else site_names(word)
        for site in named:
            line = self._line(layer, site, 0, type(module).__name__)
            if word == "pre_activation":
                line["activation"] = self._plan.activation_modules.get(path)
            if line not in self._lines:
                self._lines.append(line)

    def _line(self, layer: str, site: str, call: int, module: str) -> dict[str, Any]:
        told = {"layer": layer, "site": site, "call": call, "module": module}
        return {**dict.fromkeys(_COLUMNS), **told}

    def _see(self, event: Event) -> None:
        problem = why_not(event.tensor)
        if problem is not None:
            self._check.skipped(event.layer, problem)
            return
        layer = f"{event.layer}#{event.call}" if event.call else event.layer
        line = self._line(layer, event.site, event.call, event.module)
        line["activation"] = event.activation
        self._fill(line, event.tensor, self._sampler.axis(event.tensor, event.axis, layer))
        self._check.saw(event.word, event.layer)

    def _fill(
        self, line: dict[str, Any], tensor: torch.Tensor, axis: int, whole: bool = False
    ) -> None:
        shape = tuple(tensor.shape)
        rows, units = self._sampler.size(shape, axis, whole)
        own = torch.float16 if tensor.dtype == torch.float16 else torch.float32
        kept = self._dtype or (torch.float64 if tensor.dtype == torch.float64 else own)
        line |= {"shape": shape, "dtype": str(tensor.dtype).removeprefix("torch.")}
        line |= {"rows": rows, "units": units, "bytes": rows * units * kept.itemsize}
        line["unit_axis"] = axis if tensor.ndim > 1 else None
        self._lines.append(line)

    def _feeds(self, output: Output, activation: str) -> None:
        layer = f"{output.layer}#{output.call}" if output.call else output.layer
        for line in self._lines:
            if (line["layer"], line["site"]) == (layer, output.site):
                line["activation"] = activation

    def _weigh(self, model: nn.Module) -> None:
        named = weights.owners(model) if self._plan.weights else {}
        for name, words in self._plan.weights.items():
            module, parameter = named[name]
            problem = weights.why_not(parameter)
            if problem is not None:
                self._check.skipped(name, problem)
                continue
            line = self._line(name, "weights", 0, type(module).__name__)
            matrix = weights.matrix(module, parameter)
            self._fill(line, matrix, 1, whole=True)
            line |= {
                "shape": tuple(parameter.shape),
                "unit_axis": weights.unit_axis(module, parameter),
            }
            for word in words:
                self._check.saw(word, name)


def _call(model: nn.Module, example: Any) -> None:
    if isinstance(example, Mapping):
        model(**example)
    elif isinstance(example, tuple):
        model(*example)
    else:
        model(example)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Let a forward pass run; afterwards the model and the random generators are as they were."""
    modules = list(model.modules())
    attributes = [_shallow(vars(module)) for module in modules]
    values = {id(buffer): (buffer, buffer.clone()) for buffer in model.buffers()}
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.is_cuda})
    numpys, pythons = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        np.random.set_state(numpys)  # noqa: NPY002
        random.setstate(pythons)
        for module, kept in zip(modules, attributes, strict=True):
            vars(module).clear()
            vars(module).update(kept)
        with torch.no_grad():
            for buffer, value in values.values():
                buffer.copy_(value)
        for parameter, gradient in gradients:
            parameter.grad = gradient


def _shallow(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return a copy in which containers are copies, too."""
    kinds = (list, dict, set)
    return {name: copy(v) if isinstance(v, kinds) else v for name, v in attributes.items()}
