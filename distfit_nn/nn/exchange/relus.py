"""Which ReLUs a network calls on an example, seen as the recorder of activations sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from distfit_nn.capture import sites
from distfit_nn.capture.watch import Event, Output, Watcher
from distfit_nn.nn.base import ColumnNorm


@dataclass(frozen=True)
class Relu:
    """One call of a ReLU, in the order of the pass.

    Attributes
    ----------
    name : str
        As the recorder names it: the module's path, or ``path.relu`` for a function called in the
        module `path`; with ``:0``, ``:1``, ... where there are several calls.
    path : str
        Path of the ReLU module, or of the module that called the function.
    is_module : bool
        Whether it is a module, and only this call uses it.
    normed : str or None
        Class of the norm that gives its input as it is.
    shape : tuple of int
        Of its input.
    axis : int
        Of the features of its input.
    device, dtype
        Of its input.
    """

    name: str
    path: str
    is_module: bool
    normed: str | None
    shape: tuple[int, ...]
    axis: int
    device: torch.device
    dtype: torch.dtype


def called(model: nn.Module, example: Any) -> tuple[list[Relu], Any]:
    """Run a model once in eval mode on a copy of `example` and return its ReLUs and its output.

    The model's modes, buffers and the state of torch's generator are afterwards as they were.
    """
    paths = dict(model.named_modules())
    norms: dict[str, tuple[str, ...]] = {p: ("norm",) for p, m in paths.items() if _is_norm(m)}
    seen: list[Event] = []
    fed: dict[int, str] = {}  # which norm gives the input of the event that comes next

    def feeds(output: Output, activation: str) -> None:
        if activation == "relu":
            fed[len(seen)] = type(paths.get(output.layer, model)).__name__

    def see(event: Event) -> None:
        if event.word == "pre_activation" and event.activation == "relu":
            seen.append(event)

    plan = sites.Plan(("pre_activation", "norm"), norms, {})
    watcher = Watcher(model, plan, lambda: True, see, feeds, lambda: None)
    with untouched(model), torch.no_grad():
        watcher.attach()
        try:
            output = run(model, example)
        finally:
            watcher.detach()
    return _relus(model, paths, seen, fed), output


def run(model: nn.Module, example: Any) -> Any:
    """Return what a model makes of a copy of a tensor, of a tuple of arguments, or of a dict."""
    given = _copied(example)
    if isinstance(given, dict):
        return model(**given)
    return model(*given) if isinstance(given, (tuple, list)) else model(given)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Set eval mode; afterwards modes, buffers and torch's generators are as they were."""
    modes = {module: module.training for module in model.modules()}
    buffers = {buffer: buffer.detach().clone() for buffer in model.buffers()}
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.is_cuda})
    with torch.random.fork_rng(devices):
        try:
            for module in modes:
                module.training = False
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode
            with torch.no_grad():
                for buffer, value in buffers.items():
                    buffer.copy_(value)


def _is_norm(module: nn.Module) -> bool:
    return sites.is_norm(module) or isinstance(module, ColumnNorm)


def _relus(
    model: nn.Module, paths: dict[str, nn.Module], seen: list[Event], fed: dict[int, str]
) -> list[Relu]:
    """Name the calls; several of one module or of one function in a module are told apart."""
    modules = {sites.layer_name(model, path): path for path in paths}
    calls = Counter(event.layer for event in seen)
    found = []
    for index, event in enumerate(seen):
        path = modules.get(event.layer)
        of_module = path is not None and sites.is_activation(paths[path])
        if not of_module:
            path = "" if event.layer == "relu" else event.layer.removesuffix(".relu")
        once = calls[event.layer] == 1
        name = event.layer if once else f"{event.layer}:{event.call}"
        x = event.tensor
        found.append(
            Relu(
                name,
                path or "",
                of_module and once,
                fed.get(index),
                tuple(x.shape),
                event.axis % x.ndim,
                x.device,
                x.dtype,
            )
        )
    return found


def _copied(values: Any) -> Any:
    """Return nested tuples, lists and dicts with copies of their tensors: ReLU can be in place."""
    if isinstance(values, Tensor):
        return values.detach().clone()
    if isinstance(values, (tuple, list)):
        return tuple(_copied(value) for value in values)
    if isinstance(values, dict):
        return {key: _copied(value) for key, value in values.items()}
    return values
