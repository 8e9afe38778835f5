"""Layers before ReLUs that are no module of their own, by way of a traced graph.

The graph is that of `torch.fx`. Only what contains a ReLU to norm is traced through; all other
modules stay whole, and the graph calls the very modules of the model. ``self.training`` stays a
question that is asked at each call, so that a dropout within a forward goes on to follow the mode.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from distfit_nn.capture import sites
from distfit_nn.errors import InputError
from distfit_nn.nn.exchange.relus import Relu


def traced(model: nn.Module, relus: list[Relu], example: Any) -> tuple[fx.GraphModule, list[str]]:
    """Return the graph of a model and the names of its calls of these ReLUs, in their order.

    Raises
    ------
    InputError
        The model cannot be traced, or modules that are traced through have hooks.
    """
    inner = _inner(model, relus)
    for path in inner - {""}:
        module = model.get_submodule(path)
        if any(vars(module)[name] for name in ("_forward_hooks", "_forward_pre_hooks")):
            raise InputError(f"model cannot be traced: module {path!r} would lose its hooks")
    tracer = _Tracer(inner)
    try:
        graph = tracer.trace(model, _left_out(model, example))
        result = fx.GraphModule(model, graph, type(model).__name__)
    except Exception as error:  # whatever the model's own code raises on symbols
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"model cannot be traced, as ReLUs that are functions or modules of several calls need "
            f"({relus[0].name}): {reason}; make each ReLU a module of its own, or leave it out"
        ) from error
    finally:
        tracer.restore()
    _complete(result, model, "", inner)
    _take_modes(result, model)
    return result, [node.name for node in graph.nodes if _is_relu(node, model)]


def put_before(graph: fx.GraphModule, name: str, path: str, layer: nn.Module) -> None:
    """Let the node `name` take what `layer`, a new submodule at `path`, makes of its input.

    What comes after a ReLU in place and uses its input gets its output, as before.
    """
    nodes = list(graph.graph.nodes)
    index = next(index for index, node in enumerate(nodes) if node.name == name)
    node, given = nodes[index], nodes[index].all_input_nodes[0]
    graph.add_submodule(path, layer)
    if _is_in_place(node, graph):
        given.replace_all_uses_with(node, lambda user: user in nodes[index + 1 :])
    with graph.graph.inserting_before(node):
        new = graph.graph.call_module(path, (given,))
    node.replace_input_with(given, new)


class _Tracer(fx.Tracer):
    """Traces through the modules of certain paths only, and keeps their modes open."""

    def __init__(self, inner: set[str]) -> None:
        super().__init__()
        self._inner = inner
        self._modes: dict[nn.Module, bool] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        return module_qualified_name not in self._inner

    def create_args_for_root(self, *args: Any, **kwargs: Any) -> Any:
        result = super().create_args_for_root(*args, **kwargs)
        for path in sorted(self._inner):
            module = self.root.get_submodule(path)
            self._modes.setdefault(module, module.training)
            mode = f"{path}.training" if path else "training"
            vars(module)["training"] = self.create_proxy("get_attr", mode, (), {})
        return result

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        graph = super().trace(root, concrete_args)
        for node in list(graph.nodes):
            if node.op == "get_attr" and node.target.endswith("training") and not node.users:
                graph.erase_node(node)
        return graph

    def restore(self) -> None:
        """Give the modules their modes back."""
        for module, mode in self._modes.items():
            module.training = mode


def _inner(model: nn.Module, relus: list[Relu]) -> set[str]:
    """Return the paths of all modules that contain a ReLU or call one as a function."""
    names: dict[nn.Module, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(path)
    inner = {""}
    for relu in relus:
        module = model.get_submodule(relu.path)
        for path in names[module]:
            parts = path.split(".") if path else []
            last = len(parts) if sites.is_activation(module) else len(parts) + 1
            inner.update(".".join(parts[:depth]) for depth in range(last))
    return inner


def _left_out(model: nn.Module, example: Any) -> dict[str, Any]:
    """Return the arguments of forward that the example leaves at their defaults."""
    signature = inspect.signature(model.forward)
    if isinstance(example, dict):
        given = signature.bind(**example)
    else:
        given = signature.bind(*(example if isinstance(example, (tuple, list)) else (example,)))
    return {
        name: parameter.default
        for name, parameter in signature.parameters.items()
        if name not in given.arguments and parameter.default is not inspect.Parameter.empty
    }


def _is_relu(node: fx.Node, model: nn.Module) -> bool:
    if node.op == "call_module":
        return isinstance(model.get_submodule(str(node.target)), nn.ReLU)
    if node.op == "call_method":
        return str(node.target).strip("_") == "relu"
    target: Callable[..., Any] | str = node.target
    return node.op == "call_function" and callable(target) and sites.activation_of(target) == "relu"


def _is_in_place(node: fx.Node, graph: fx.GraphModule) -> bool:
    if node.op == "call_module":
        return bool(getattr(graph.get_submodule(str(node.target)), "inplace", False))
    name = node.target if isinstance(node.target, str) else node.target.__name__
    return name.endswith("_") or bool(node.kwargs.get("inplace", any(node.args[1:])))


def _complete(graph: nn.Module, model: nn.Module, path: str, inner: set[str]) -> None:
    """Give a graph what the pass did not use, and all in the order of the model."""
    for kind in ("_parameters", "_buffers", "_modules"):
        mine, whole = vars(graph)[kind], vars(model)[kind]
        vars(graph)[kind] = {name: mine.get(name, value) for name, value in whole.items()} | mine
    graph._non_persistent_buffers_set |= model._non_persistent_buffers_set
    for name, child in model._modules.items():
        below = f"{path}.{name}" if path else name
        copied = graph._modules[name]
        if child is not None and copied is not None and copied is not child and below in inner:
            _complete(copied, child, below, inner)


def _take_modes(graph: nn.Module, model: nn.Module) -> None:
    modes = {path: module.training for path, module in model.named_modules()}
    for path, module in graph.named_modules():
        module.training = modes.get(path, module.training)


def same(one: Any, other: Any) -> bool:
    """Tell whether two outputs hold the same numbers."""
    pairs = list(sites.tensors(one)), list(sites.tensors(other))
    return len(pairs[0]) == len(pairs[1]) and all(
        isinstance(b, Tensor) and a.shape == b.shape and torch.allclose(a, b, equal_nan=True)
        for a, b in zip(*pairs, strict=True)
    )
