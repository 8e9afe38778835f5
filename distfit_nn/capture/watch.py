"""Watch the forward passes of a model and report the tensors that pass its sites.

Hooks on the modules that matter keep track of where a pass is; a `TorchFunctionMode`, active during
the pass only, sees each activation function before it runs, so that in-place functions have not yet
overwritten their input. Both see the calls as they are and change nothing.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from distfit_nn.capture import models
from distfit_nn.capture.axes import UnitAxes
from distfit_nn.capture.kinds import (
    activation_of,
    calls_nothing_known,
    is_activation,
    is_quiet,
    unit_axis_of,
)
from distfit_nn.capture.models import layer_name
from distfit_nn.capture.sites import Plan, site_names
from distfit_nn.capture.tensors import first_tensor, unwrapped
from distfit_nn.errors import SiteError

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
    module: str = ""


@dataclass(frozen=True)
class Output:
    """Which reported tensor it was: the output of a module."""

    layer: str
    site: str
    call: int


@dataclass(frozen=True)
class _Place:
    """A module, and what is asked of it."""

    module: nn.Module
    path: str
    layer: str
    words: tuple[str, ...]
    activation: str | None


@dataclass(frozen=True)
class _Call:
    """A call of a module that is under way."""

    place: _Place
    index: int


class Watcher:
    """Report to four functions what the forward passes of `model` do.

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
        torch runs no hooks. A pass within a pass (a model that calls itself) is part of it. What
        runs within a backward pass, such as the recomputation of a checkpoint, is no pass and no
        part of one.

    Attributes
    ----------
    alone : dict of str to None
        Layers that ran outside of the passes and of backward passes, in order: parts that were
        called alone, and those of ``model.forward(x)``, which runs none of the model's hooks.

    Raises
    ------
    SiteError
        In the model's call: it runs in another thread already.
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
        self._functions = plan.activations or bool(plan.modules)
        self._handles: list[RemovableHandle] = []
        self._mode: _FunctionMode | None = None
        self._root: FrameType | None = None
        self._thread = 0
        self.alone: dict[str, None] = {}
        self._forget()

    def attach(self) -> None:
        """Put the hooks in place."""
        others: list[_Place] = []
        for path, module in models.parts(self._model):
            place = _Place(
                module,
                path,
                layer_name(self._model, path),
                self._plan.modules.get(path, ()),
                self._plan.activation_modules.get(path) if self._plan.activations else None,
            )
            if not self._matters(place):
                others.append(place)
                continue
            before, after = self._hooks(place)
            self._handles += [
                module.register_forward_pre_hook(before, with_kwargs=True),
                module.register_forward_hook(after, always_call=True),
            ]
        # Where the model alone matters, nothing else would tell that it runs unseen.
        if self._functions and len(self._handles) == 2:
            self._handles += [
                place.module.register_forward_pre_hook(self._notices(place)) for place in others
            ]

    def detach(self) -> None:
        """Remove every hook and forget a pass that was broken off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._forget()

    def _matters(self, place: _Place) -> bool:
        """Return whether something can happen at or within a module that is to be reported."""
        if place.module is self._model or place.words or place.activation:
            return True
        return self._functions and not calls_nothing_known(place.module)

    def _notices(self, place: _Place) -> Callable[[nn.Module, Any], None]:
        """Return a hook for a module at which nothing is to be reported."""

        def before(called: nn.Module, _args: Any) -> None:
            if called is place.module and not (_in_backward() or self._running()):
                self._ran_alone(place)

        return before

    def _ran_alone(self, place: _Place) -> None:
        # Parametrizations run where a parameter is read: in an optimiser, say.
        if "parametrizations" not in place.path.split("."):
            self.alone[place.layer] = None

    def _hooks(self, place: _Place) -> tuple[Callable[..., None], Callable[..., None]]:
        # A deep copy of the model shares these functions: they stay silent for its modules.
        module, is_model = place.module, place.module is self._model

        def before(called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if called is not module or _in_backward():
                return
            running = self._running()
            if is_model and not running:
                self._start(_module_call(sys._getframe(1)))
                running = True
            elif not running:
                self._ran_alone(place)
            if running and (self._recording or is_model):
                self._enter(place, (args, kwargs))

        def after(called: nn.Module, _inputs: Any, output: Any) -> None:
            if called is not module or not (self._recording or is_model) or _in_backward():
                return
            if self._running():
                self._leave(module, output)

        return before, after

    def _running(self) -> bool:
        """Return whether the code that asks runs within the pass that began last.

        A KeyboardInterrupt breaks a pass off without an end, and the program may go on.
        """
        return self._root is not None and _is_within(sys._getframe(1), self._root)

    def _start(self, root: FrameType) -> None:
        if self._runs_elsewhere():
            raise SiteError(
                "the model is recorded and runs in two threads at once; "
                "run its passes one after another, or record a copy for each thread"
            )
        self._forget()
        self._root = root
        self._thread = threading.get_ident()
        self._recording = self._begin()
        if self._recording and self._functions:
            self._mode = _FunctionMode(self)
            self._mode.__enter__()

    def _runs_elsewhere(self) -> bool:
        """Return whether the pass that began last still runs, in another thread."""
        if self._root is None or self._thread == threading.get_ident():
            return False
        frame = sys._current_frames().get(self._thread)
        return frame is not None and _is_within(frame, self._root)

    def _forget(self) -> None:
        """Return to the state between two passes."""
        # Modes are a thread's own: that of a pass broken off in another thread ended with it.
        if self._mode is not None and self._thread == threading.get_ident():
            self._mode.__exit__(None, None, None)
        self._mode = None
        self._root = None
        self._recording = False
        self._stack: list[_Call] = []
        self._axes = UnitAxes()
        self.follow = self._axes.follow
        self._counts: Counter[tuple[str, str]] = Counter()
        self._outputs: dict[int, tuple[weakref.ref[torch.Tensor], list[Output]]] = {}

    def _enter(self, place: _Place, inputs: Any) -> None:
        call = _Call(place, self._next("module", place.path))
        self._stack.append(call)
        if place.words and self._recording:
            self._see_module(call, 0, inputs)
        if place.activation and self._recording:
            tensor = first_tensor(inputs)
            if tensor is not None:
                self._see_activation(place.layer, place.activation, tensor)

    def _leave(self, module: nn.Module, output: Any) -> None:
        depths = [depth for depth, call in enumerate(self._stack) if call.place.module is module]
        if not depths:  # a hook of someone else failed before the module was entered
            return
        call = self._stack[depths[-1]]
        # Calls above it were broken off by an interrupt that the module caught.
        del self._stack[depths[-1] :]
        try:
            if call.place.words and self._recording:
                self._see_module(call, 1, output)
        finally:
            if not self._stack:
                self._forget()
                with _unwatched():
                    self._end()

    def _next(self, kind: str, name: str) -> int:
        """Return how often this was asked before in the pass."""
        self._counts[kind, name] += 1
        return self._counts[kind, name] - 1

    def _see_module(self, call: _Call, side: int, values: Any) -> None:
        tensor = first_tensor(values)
        if tensor is None:
            return
        place = call.place
        with _unwatched():
            axis = unit_axis_of(place.module, tensor)
        for word in place.words:
            site = site_names(word)[side]
            self._report(word, place.layer, site, call.index, None, tensor, axis, place.module)
            if side == 1:
                _, known = self._outputs.setdefault(id(tensor), (weakref.ref(tensor), []))
                known.append(Output(place.layer, site, call.index))

    def before_activation(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        """Report the input of `function`, an activation."""
        if not self._stack or not self._running() or _in_backward():
            return
        place = self._stack[-1].place
        if place.activation:  # it was reported as a whole
            return
        tensor = first_tensor((args, kwargs))
        if tensor is None:
            return
        activation = str(activation_of(function))
        if is_activation(place.module):
            layer = place.layer
        else:
            layer = f"{place.path}.{activation}" if place.path else activation
        self._see_activation(layer, activation, tensor)

    def _see_activation(self, layer: str, activation: str, tensor: torch.Tensor) -> None:
        reference, outputs = self._outputs.pop(id(tensor), (None, []))
        if reference is not None and reference() is tensor:
            for output in outputs:
                self._feeds(output, activation)
        if self._plan.activations:
            call = self._next("activation", layer)
            word = "pre_activation"
            module = self._stack[-1].place.module
            self._report(word, layer, word, call, activation, tensor, None, module)

    def _report(
        self,
        word: str,
        layer: str,
        site: str,
        call: int,
        activation: str | None,
        tensor: torch.Tensor,
        axis: int | None,
        module: nn.Module,
    ) -> None:
        with _unwatched():
            if not tensor.is_nested and (axis is None or tensor.ndim <= 2):
                axis = self._axes.of(tensor)
            plain, name = unwrapped(tensor), type(module).__name__
            self._see(Event(word, layer, site, call, activation, plain, axis or 0, name))


@contextmanager
def _unwatched() -> Iterator[None]:
    """Keep torch's modes, and what `torch.func` wraps tensors in, away from our own work."""
    with torch._C.DisableTorchFunction(), torch._C._DisableFuncTorch():
        yield


def _in_backward() -> bool:
    """Return whether this thread is in a backward pass, which may run parts of a model again."""
    return torch._C._current_graph_task_id() != -1


def _is_within(frame: FrameType | None, root: FrameType) -> bool:
    while frame is not None and frame is not root:
        frame = frame.f_back
    return frame is not None


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
        if is_quiet(func):
            return func(*args, **kwargs)
        if activation_of(func) is not None:
            self._watcher.before_activation(func, args, kwargs)
        result = func(*args, **kwargs)
        self._watcher.follow(func, args, kwargs, result)
        return result
