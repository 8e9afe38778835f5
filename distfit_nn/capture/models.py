"""The model itself, within whatever wraps it, and what cannot be watched at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from distfit_nn import _checks
from distfit_nn.errors import InputError, SiteError

# Modules that hold one other, of which they are a form: torch.compile, checkpoint_wrapper.
_WRAPPED = ("_orig_mod", "_checkpoint_wrapped_module")


def original(model: Any) -> nn.Module:
    """Return the model within `torch.compile` and `DistributedDataParallel`.

    Raises
    ------
    InputError
        It is no module, or the name of one of its modules is not valid Unicode text.
    SiteError
        It, or a part of it, runs where no hook can see it.
    """
    if type(model).__name__ == "ExportedProgram":
        raise InputError("model must be a torch.nn.Module, got an ExportedProgram; use .module()")
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif _inner_name(model) is not None:
            model = getattr(model, str(_inner_name(model)))
        else:
            break
    for path, module in model.named_modules():
        _checks.text(path, "the name of a module")
        problem = _unseen(module)
        if problem is not None:
            raise SiteError(f"{f'its module {path!r}' if path else 'the model'} {problem}")
    return model


def parts(model: nn.Module, unique: bool = True) -> Iterator[tuple[str, nn.Module]]:
    """Yield each module with its path, as they are without wrappers; shared ones once if asked."""
    for path, module in model.named_modules(remove_duplicate=unique):
        if _inner_name(module) is None:
            yield without_wrappers(path), module


def without_wrappers(path: str) -> str:
    """Return the path of a module or parameter without the names that wrappers put in."""
    return ".".join(part for part in path.split(".") if part not in _WRAPPED)


def is_called(module: nn.Module) -> bool:
    """Return whether `module` has a forward: `torch.nn.ModuleList` and its like have none."""
    return "forward" in vars(module) or type(module).forward is not nn.Module.forward


class _Eager:
    """How many recordings run, in all threads, and the stance of torch.compile before the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._before: Any = None

    def begin(self) -> None:
        with self._lock:
            stance = torch.compiler.set_stance("force_eager")
            if not self._running:
                self._before = stance
            self._running += 1

    def end(self) -> None:
        with self._lock:
            self._running -= 1
            if not self._running:
                self._before.__exit__(None, None, None)


_EAGER = _Eager()


@contextmanager
def uncompiled() -> Iterator[None]:
    """Let all that torch.compile compiled, or will, run as it was written, in all threads.

    Compiled code runs no hooks that it was not compiled with. Several contexts may end in any
    order: what was set before the first is set again when none is left.
    """
    _EAGER.begin()
    try:
        yield
    finally:
        _EAGER.end()


def layer_name(model: nn.Module, path: str) -> str:
    """Return a module's name in a store: its path, or its class name where it is the model."""
    return path or type(model).__name__


def _inner_name(module: nn.Module) -> str | None:
    """Return under which name `module` holds the one that it wraps, None if it wraps none."""
    return next((name for name in _WRAPPED if name in module._modules), None)


def _unseen(module: nn.Module) -> str | None:
    """Return why hooks see nothing of `module`, or None if they do."""
    if isinstance(module, nn.DataParallel):
        return (
            "is a torch.nn.DataParallel, which runs copies of the model in threads, where hooks "
            "see nothing; record its .module on one device, or use DistributedDataParallel"
        )
    if isinstance(module, torch.jit.ScriptModule):
        return (
            "is compiled by torch.jit, whose code runs no hooks; record the module that it was "
            "made from"
        )
    return None
