"""Watch the forward passes of a model and report the tensors that pass its sites.

Hooks on every module keep track of where a pass is; a `TorchFunctionMode`, active during the pass
only, sees each activation function before it runs, so that in-place functions have not yet
overwritten their input. Both see the calls as they are and change nothing.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from distfit_nn.capture import sites
from distfit_nn.capture.axes import UnitAxes
from distfit_nn.capture.sites import Plan

_MODULE_FILE = nn.Module._call_impl.__code__.co_filename


@dataclass(frozen=True)
class Event:
    """A tensor at a site: what it is called, and which of its axes holds the units."""

    word: str
    layer: str
    site: str
    call: int
    activation: str | None
    tensor: torch.Tensor
    axis: int


@dataclass(frozen=True)
class Output:
    """Which reported tensor it was: the output of a module."""

    layer: str
    site: str
    call: int


@dataclass(frozen=True)
class _Call:
    """A call of a module that is under way."""

    module: nn.Module
    path: str
    index: int


class Watcher:
    """Report to three functions what the forward passes of `model` do.

    Parameters
    ----------
    model : torch.nn.Module
    plan : Plan
        What to report.
    begin : callable () -> bool
        Called as a pass begins; tells whether its events are wanted.
    see : callable (Event) -> None
        Called for each tensor at a site.
    feeds : callable (Output, str) -> None
        Called where the output of a module, reported earlier in the pass, goes into an activation
        function as it is: what a norm before a ReLU gives is what the ReLU gets.
    end : callable () -> None
        Called as a pass ends, also with an exception, but not with a KeyboardInterrupt, for which
        torch runs no hooks. A pass within a pass (a model that calls itself) is part of it.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: Plan,
        begin: Callable[[], bool],
        see: Callable[[Event], None],
        feeds: Callable[[Output, str], None],
        end: Callable[[], None],
    ) -> None:
        self._model = model
        self._plan = plan
        self._begin, self._see, self._feeds, self._end = begin, see, feeds, end
        self._handles: list[RemovableHandle] = []
        self._mode: _FunctionMode | None = None
        self._root: FrameType | None = None
        self._forget()

    def attach(self) -> None:
        """Put the hooks in place."""
        for path, module in self._model.named_modules():
            before, after = self._hooks(module, path)
            self._handles += [
                module.register_forward_pre_hook(before, with_kwargs=True),
                module.register_forward_hook(after, always_call=True),
            ]

    def detach(self) -> None:
        """Remove every hook and forget a pass that was broken off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._forget()

    def _hooks(
        self, module: nn.Module, path: str
    ) -> tuple[Callable[..., None], Callable[..., None]]:
        # A deep copy of the model shares these functions: they stay silent for its modules.
        def before(called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if called is not module:
                return
            if called is self._model and not self._running():
                self._start(_module_call(sys._getframe(1)))
            if self._concerns(called):
                self._enter(module, path, (args, kwargs))

        def after(called: nn.Module, _inputs: Any, output: Any) -> None:
            if called is module and self._concerns(called):
                self._leave(module, output)

        return before, after

    def _concerns(self, module: nn.Module) -> bool:
        """Return whether a call of `module` is to be followed.

        Of a pass that is not recorded only the calls of the model itself are.
        """
        return (self._recording or module is self._model) and self._running()

    def _running(self) -> bool:
        """Return whether the code that asks runs within the pass that began last.

        A KeyboardInterrupt breaks a pass off without an end, and the program may go on.
        """
        if self._root is None:
            return False
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame is not self._root:
            frame = frame.f_back
        return frame is not None

    def _start(self, root: FrameType) -> None:
        self._forget()
        self._root = root
        self._recording = self._begin()
        if self._recording:
            self._mode = _FunctionMode(self)
            self._mode.__enter__()

    def _forget(self) -> None:
        """Return to the state between two passes."""
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
        self._mode = None
        self._root = None
        self._recording = False
        self._stack: list[_Call] = []
        self._axes = UnitAxes()
        self._counts: Counter[str] = Counter()
        self._outputs: dict[int, tuple[weakref.ref[torch.Tensor], list[Output]]] = {}

    def _enter(self, module: nn.Module, path: str, inputs: Any) -> None:
        call = _Call(module, path, self._counts[f"module {path}"])
        self._counts[f"module {path}"] += 1
        self._stack.append(call)
        self._see_module(call, 0, inputs)

    def _leave(self, module: nn.Module, output: Any) -> None:
        depths = [depth for depth, call in enumerate(self._stack) if call.module is module]
        if not depths:  # a hook of someone else failed before the module was entered
            return
        call = self._stack[depths[-1]]
        # Calls above it were broken off by an interrupt that the module caught.
        del self._stack[depths[-1] :]
        try:
            self._see_module(call, 1, output)
        finally:
            if not self._stack:
                self._forget()
                self._end()

    def _see_module(self, call: _Call, side: int, values: Any) -> None:
        words = self._plan.modules.get(call.path, ()) if self._recording else ()
        tensor = sites.first_tensor(values) if words else None
        if tensor is None:
            return
        axis = sites.unit_axis_of(call.module, tensor)
        layer = sites.layer_name(self._model, call.path)
        for word in words:
            site = sites.site_names(word)[side]
            self._report(word, layer, site, call.index, None, tensor, axis)
            if side == 1:
                _, known = self._outputs.setdefault(id(tensor), (weakref.ref(tensor), []))
                known.append(Output(layer, site, call.index))

    def before_function(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        """Report the input of `function` if it is an activation."""
        activation = sites.activation_of(function)
        if activation is None or not self._running() or not self._stack:
            return
        tensor = sites.first_tensor((args, dict(kwargs)))
        if tensor is None:
            return
        reference, outputs = self._outputs.pop(id(tensor), (None, []))
        if reference is not None and reference() is tensor:
            for output in outputs:
                self._feeds(output, activation)
        if not self._plan.activations:
            return
        module, path = self._stack[-1].module, self._stack[-1].path
        if sites.is_activation(module):
            layer = sites.layer_name(self._model, path)
        else:
            layer = f"{path}.{activation}" if path else activation
        call = self._counts[f"activation {layer}"]
        self._counts[f"activation {layer}"] += 1
        self._report("pre_activation", layer, "pre_activation", call, activation, tensor, None)

    def after_function(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        result: Any,
    ) -> None:
        """Follow the units through `function`."""
        self._axes.follow(function, args, kwargs, result)

    def _report(
        self,
        word: str,
        layer: str,
        site: str,
        call: int,
        activation: str | None,
        tensor: torch.Tensor,
        axis: int | None,
    ) -> None:
        if axis is None or tensor.ndim <= 2:
            axis = self._axes.of(tensor)
        self._see(Event(word, layer, site, call, activation, tensor, axis))


def _module_call(frame: FrameType) -> FrameType:
    """Return the outermost frame of the call of a module, one of whose hooks runs in `frame`.

    torch runs hooks for a pass that failed in an outer one of these frames.
    """
    while frame.f_back is not None and frame.f_back.f_code.co_filename == _MODULE_FILE:
        frame = frame.f_back
    return frame


class _FunctionMode(TorchFunctionMode):
    """Show a watcher every torch function before and after it runs."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__()
        self._watcher = watcher

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        self._watcher.before_function(func, args, kwargs)
        result = func(*args, **kwargs)
        self._watcher.after_function(func, args, kwargs, result)
        return result
