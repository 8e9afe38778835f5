"""Put a layer before every ReLU of a network, be it a module or a function."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.nn.base import ColumnNorm
from distfit_nn.nn.exchange import fused, relu_graph, relus
from distfit_nn.nn.exchange.conversion import Conversion, Row
from distfit_nn.nn.exchange.convert import check_options, checked_layer, chosen, sibling
from distfit_nn.nn.exchange.relus import Relu

_FROM_EXAMPLE = ("num_features", "device", "dtype")


def insert_norms(
    model: nn.Module,
    layer: type[ColumnNorm],
    example: Any,
    *,
    names: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] = (),
    **options: Any,
) -> Conversion:
    """Put a layer before every ReLU of a network that has none, and tell what was done.

    Parameters
    ----------
    model : torch.nn.Module
    layer : type
        A layer of this package; of the forms 1d and 2d the one that fits is taken.
    example : tensor, tuple or dict
        An input of the model; a tuple or a dict holds its arguments. The model runs on it once or
        twice in eval mode, without gradients; its modes and buffers stay as they are.
    names : str or iterable of str, optional
        Names of the ReLUs, with wildcards. Default: all.
    exclude : str or iterable of str, optional
        Names of those to leave out, such as the last.
    **options
        Further arguments of the layer; each gets a copy of its own. Without ``feature_dim`` it is
        where the layer that made a ReLU's input has its features: -1 after a Linear on (B, T, D).

    Returns
    -------
    Conversion
        ``model``: the one to use from here on; a row for each call of a ReLU in ``rows``.

    Raises
    ------
    InputError
        An argument breaks its rule, no ReLU was called, a model that has to be traced cannot be,
        or a ReLU would be missed. The model is then as it was.

    Notes
    -----
    ReLUs are called by their names in a recording (`distfit_nn.record`): the path of the module;
    ``path.relu`` for a function or method that the module `path` calls; with ``:0``, ``:1``, ...
    where it is called several times. A ReLU that gets the output of a norm as it is, is left.

    Where each ReLU is a module that is called once, it becomes ``Sequential(norm, relu)`` in
    place: the model keeps its class and the names of all its parameters. Else (``F.relu(x)``,
    ``x.relu_()``, one ReLU module for several calls) the model is traced by `torch.fx`, and
    ``Conversion.model`` is a GraphModule with the parameters, modules and names of the model,
    which itself stays as it is. Either way a second run on `example` checks that each of the ReLUs
    gets what a new layer gives. What is spelt otherwise, ``x.clamp(min=0)``, is not seen.
    """
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise InputError(f"model must be a torch.nn.Module, not scripted, got {type(model)}")
    checked_layer(layer)
    check_options(layer, options, _FROM_EXAMPLE)
    if "feature_dim" in options:
        _checks.one_of(options["feature_dim"], (1, -1), "feature_dim")
    found, output = relus.called(model, example)
    if not found:
        raise InputError("model must call a ReLU on the example, got none")
    rows, layers = _planned(found, layer, names, exclude, options)
    if not layers:
        return Conversion(model, tuple(rows))
    if all(relu.is_module for relu in layers):
        _in_place(model, found, layers, example)
        return Conversion(model, tuple(rows))
    return Conversion(_in_graph(model, found, layers, example, output), tuple(rows))


def _planned(
    found: list[Relu],
    layer: type[ColumnNorm],
    names: str | Iterable[str] | None,
    exclude: str | Iterable[str],
    options: dict[str, Any],
) -> tuple[list[Row], dict[Relu, ColumnNorm]]:
    """Make the layers; return them and what is to be told of each ReLU."""
    known = [relu.name for relu in found]
    wanted = chosen(names, known, "ReLU") - (chosen(exclude, known, "ReLU") if exclude else set())
    rows, layers = [], {}
    for relu in found:
        source = "ReLU" if relu.is_module else "relu"
        why = f"it gets the output of {relu.normed}" if relu.normed else "not asked for"
        if relu.normed or relu.name not in wanted:
            rows.append(Row((relu.name,), source, note=why))
            continue
        layers[relu] = _layer(relu, layer, copy.deepcopy(options))
        new = tuple(name for name, _ in layers[relu].named_parameters())
        rows.append(Row((relu.name,), source, type(layers[relu]).__name__, new=new))
    return rows, layers


def _layer(relu: Relu, layer: type[ColumnNorm], options: dict[str, Any]) -> ColumnNorm:
    last = len(relu.shape) - 1
    by_axis = 1 if relu.axis == 1 else -1 if relu.axis == last else relu.axis
    feature_dim = options.pop("feature_dim", by_axis)
    kind: Any = sibling(layer, 1 if feature_dim == -1 else max(last - 1, 1))
    if kind is None or last < 1 or feature_dim not in (1, -1):
        raise InputError(
            f"{layer.__name__} must suit the input of each ReLU, got shape {relu.shape} at "
            f"{relu.name!r}; leave it out by `exclude`"
        )
    place = {"device": relu.device, "dtype": relu.dtype, "feature_dim": feature_dim}
    made: ColumnNorm = kind(relu.shape[feature_dim], **place, **options)
    return made


def _in_place(
    model: nn.Module, found: list[Relu], layers: dict[Relu, ColumnNorm], example: Any
) -> None:
    """Put Sequential(norm, relu) wherever one of these ReLUs is registered."""
    new: dict[nn.Module, nn.Module] = {}
    for relu, layer in layers.items():
        old = model.get_submodule(relu.path)
        pair = nn.Sequential(OrderedDict(norm=layer, relu=old))
        new[old] = pair.train(old.training)
    if model in new:
        raise InputError("model must be more than a ReLU")
    places = [(m._modules, name) for m in model.modules() for name in m._modules]
    before = [(entries, name, entries[name]) for entries, name in places]
    try:
        for entries, name, child in before:
            entries[name] = new.get(child, child) if child is not None else None
        fused.update(model)
        _check(model, found, layers, example)
    except BaseException:
        for entries, name, child in before:
            entries[name] = child
        fused.update(model)
        raise


def _in_graph(
    model: nn.Module,
    found: list[Relu],
    layers: dict[Relu, ColumnNorm],
    example: Any,
    output: Any,
) -> nn.Module:
    """Return the graph of a model with the layers."""
    graph, nodes = relu_graph.traced(model, found, example)
    with relus.untouched(graph), torch.no_grad():
        again = relus.run(graph, example)
    if len(nodes) != len(found) or not relu_graph.same(output, again):
        raise InputError(
            f"model must do the same when traced as it does on the example, got {len(nodes)} "
            f"calls of ReLUs for {len(found)}, or other numbers"
        )
    taken = {path for path, _ in model.named_modules()}
    for relu, node in zip(found, nodes, strict=True):
        if relu in layers:
            path = _free(relu.name.replace(":", "_") + "_norm", taken)
            layers[relu].train(model.training)
            relu_graph.put_before(graph, node, path, layers[relu])
    graph.recompile()
    _check(graph, found, layers, example)
    return graph


def _free(path: str, taken: set[str]) -> str:
    while path in taken:
        path += "_"
    taken.add(path)
    return path


def _check(
    model: nn.Module, found: list[Relu], layers: dict[Relu, ColumnNorm], example: Any
) -> None:
    """Raise `InputError` unless each of the ReLUs found gets what its layer gives."""
    expected = [type(layers[r]).__name__ if r in layers else r.normed for r in found]
    got = [relu.normed for relu in relus.called(model, example)[0]]
    if got != expected:
        raise InputError(
            f"each layer must come to stand before its ReLU, got norms {got} before the ReLUs in "
            f"place of {expected}: the model calls a ReLU past its modules"
        )
