"""Put another norm in each norm's place, in a model of any make."""

from __future__ import annotations

import copy
import inspect
import math
import re
import sys
import warnings
import weakref
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize

from distfit_nn.errors import InputError
from distfit_nn.nn.base import ColumnNorm
from distfit_nn.nn.exchange import fused
from distfit_nn.nn.exchange.conversion import Conversion, Row
from distfit_nn.nn.learned_norm import LearnedNorm
from distfit_nn.nn.trimmed_norm import TrimmedNorm1d

_PARAMETERS = ("weight", "bias")
_STATISTICS = ("running_mean", "running_var")
_OWN = {*_PARAMETERS, *_STATISTICS, "num_batches_tracked"}
_FROM_NORM = ("num_features", "affine", "device", "dtype", "feature_dim", "normalized_shape")
_HOOKS = (
    "_backward_pre_hooks",
    "_backward_hooks",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_OF = "running mean and variance were those of"
_OF_TABLE = "running mean and variance are about those of its table, clipped to its outermost knots"
_NONE = "no running statistics to go on from: recalibrate"
_FORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INPUTS = {1: (2, 3), 2: (4,), 3: (5,)}  # how many dimensions those take
_ANY_DIMS = (2, 3, 4, 5)  # those of a SyncBatchNorm


def convert_norms(
    model: nn.Module,
    layer: type[nn.Module],
    *,
    layer_norms: bool = False,
    names: str | Iterable[str] | None = None,
    **options: Any,
) -> Conversion:
    """Put `layer` in the place of every BatchNorm of a model, in place, and tell what was done.

    Parameters
    ----------
    model : torch.nn.Module
        Convert it before it is wrapped for several devices or compiled.
    layer : type
        A layer of this package, such as ``CopulaNorm2d``: it takes the place of every BatchNorm1d,
        BatchNorm2d and SyncBatchNorm; of the forms 1d and 2d the one that fits is taken. For the
        way back a BatchNorm class of torch, which takes the place of every layer of this package,
        or ``torch.nn.LayerNorm``, which takes that of those with their features last.
    layer_norms : bool, default False
        Put the layer in the place of every LayerNorm over one dimension, too, with
        ``feature_dim=-1``: it then treats each feature over rows, no longer each row over features.
    names : str or iterable of str, optional
        Names of the norms to convert, with wildcards (``"layer1.*"``). Default: all.
    **options
        Further arguments of the layer. ``eps``, ``momentum``, ``track_running_stats`` and ``sync``
        are those of each norm unless they are given here. Each layer gets a copy of its own.

    Returns
    -------
    Conversion
        ``model``, a row for each norm in ``rows``, ``converted`` and ``left``; ``len()`` is the
        number of norms that were replaced.

    Raises
    ------
    InputError
        `layer` is no such class, an option is not one of its arguments or breaks its rule, or a
        name matches no norm. The model is then as it was.

    Warns
    -----
    UserWarning
        There are norms, but none could be converted.

    Notes
    -----
    A layer keeps the very parameters weight and bias of its norm, hooks and their handles, names,
    order, eps, momentum, device, dtype, train or eval mode, and the count of batches. Running mean
    and variance go on where both have them; a layer that keeps other statistics starts from those
    of a normal law of that mean and variance, which the row says. From the table of a `CopulaNorm`
    BatchNorm gets its approximate mean and variance. A norm under several names stays one. If both
    parameters of a norm are frozen, so are those that its layer adds.

    Left as they are and reported: BatchNorm3d, lazy and parametrized norms, LayerNorm over several
    dimensions, and norms of a class that computes something else (a forward, parameters, buffers or
    modules of its own). ``torch.nn.TransformerEncoderLayer`` calls the new layers, since the kernel
    that would pass them over is switched off for it.
    """
    _check(model, layer, options)
    found = _found(model, layer, layer_norms, names)
    new: dict[nn.Module, nn.Module] = {}
    rows = []
    for norm, paths in found.items():
        target = _target(norm, layer)
        if isinstance(target, str):
            rows.append(Row(paths, type(norm).__name__, note=target))
            continue
        place = _place(norm, model)
        new[norm] = target(**_arguments(norm, target, place | copy.deepcopy(options)))
        kept, note = _carry_over(norm, new[norm])
        rows.append(_row(paths, norm, new[norm], kept, note))
    if rows and not new:
        reasons = "; ".join(dict.fromkeys(row.note for row in rows))
        warnings.warn(f"no norm was converted, {len(rows)} left: {reasons}", stacklevel=2)
    _put_in(model, new)
    return Conversion(new.get(model, model), tuple(rows))


def checked_layer(layer: Any, allowed: tuple[type[nn.Module], ...] = (ColumnNorm,)) -> None:
    """Raise `InputError` unless `layer` is a class that can be put in."""
    if not isinstance(layer, type) or not issubclass(layer, allowed) or layer is ColumnNorm:
        what = "class of distfit_nn.nn, such as CopulaNorm2d"
        back = ", or BatchNorm1d, BatchNorm2d, SyncBatchNorm or LayerNorm of torch.nn"
        raise InputError(
            f"layer must be a layer {what}{back if len(allowed) > 1 else ''}, got {layer!r}"
        )


def check_options(layer: type[nn.Module], options: dict[str, Any], given: Iterable[str]) -> None:
    """Raise `InputError` for an option that is no argument of the layer, or one that is `given`."""
    free = [name for name in _parameters(layer) if name not in set(given)]
    for name in options:
        if name not in free:
            raise InputError(
                f"options must be among the arguments of {layer.__name__} that the model does not "
                f"tell ({', '.join(free)}), got {name!r}"
            )


def _parameters(layer: type[nn.Module]) -> list[str]:
    """Return the names of the arguments of a class; what it passes on is that of its base."""
    names: dict[str, None] = {}
    for kind in layer.__mro__:
        if "__init__" in vars(kind):
            parameters = inspect.signature(vars(kind)["__init__"]).parameters.values()
            names |= dict.fromkeys(p.name for p in parameters if p.kind not in _VARIABLE)
            if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters):
                break
    return list(names)[1:]  # without self


def chosen(names: str | Iterable[str] | None, known: Iterable[str], what: str) -> set[str]:
    """Return which of the known names match the wanted ones; each of these must match one."""
    known = list(known)
    if names is None:
        return set(known)
    wanted = [names] if isinstance(names, str) else list(names)
    for pattern in wanted:
        if not isinstance(pattern, str) or not any(fnmatchcase(n, pattern) for n in known):
            listed = ", ".join(map(repr, known[:8])) + (", ..." if len(known) > 8 else "")
            raise InputError(f"names must match a {what}, got {pattern!r}; there are {listed}")
    return {name for name in known if any(fnmatchcase(name, pattern) for pattern in wanted)}


def _check(model: Any, layer: Any, options: dict[str, Any]) -> None:
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise InputError(f"model must be a torch.nn.Module, not scripted, got {type(model)}")
    checked_layer(layer, (ColumnNorm, _BatchNorm, nn.LayerNorm))
    if issubclass(layer, LazyModuleMixin):
        raise InputError(f"layer must not be lazy, got {layer.__name__}")
    check_options(layer, options, _FROM_NORM)


def _found(
    model: nn.Module, layer: type[nn.Module], layer_norms: bool, names: str | Iterable[str] | None
) -> dict[nn.Module, tuple[str, ...]]:
    """Return the norms to look at with all their names."""
    kinds: tuple[type[nn.Module], ...] = (ColumnNorm,)
    if issubclass(layer, ColumnNorm):
        kinds = (_BatchNorm, nn.LayerNorm) if layer_norms else (_BatchNorm,)
    found: dict[nn.Module, tuple[str, ...]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, kinds):
            found[module] = (*found.get(module, ()), path)
    wanted = chosen(names, [path for paths in found.values() for path in paths], "norm")
    return {norm: paths for norm, paths in found.items() if wanted.intersection(paths)}


def _target(norm: nn.Module, layer: type[nn.Module]) -> type[nn.Module] | str:
    """Return the class to put in a norm's place, or why it is left."""
    if isinstance(norm, ColumnNorm):
        return _way_back(norm, layer)
    obstacle = _obstacle(norm)
    if obstacle:
        return obstacle
    if isinstance(norm, nn.SyncBatchNorm):
        return layer  # which says nothing of dimensions
    if isinstance(norm, nn.LayerNorm):
        return sibling(layer, 1) or layer
    dims = _dimensions(norm)
    if dims is None:
        return "it does not say for how many dimensions it is"
    return sibling(layer, dims) or f"{layer.__name__} has no form for {dims} dimensions"


def _dimensions(norm: nn.Module) -> int | None:
    return next((dims for dims, kind in _FORMS.items() if isinstance(norm, kind)), None)


def _obstacle(norm: nn.Module) -> str | None:
    """Return what a norm of torch has beyond what a layer can take over."""
    if isinstance(norm, LazyModuleMixin):
        return "it is lazy: run the model once before"
    if parametrize.is_parametrized(norm):
        return "it is parametrized"
    base: Any = next(k for k in type(norm).__mro__ if k.__module__.startswith("torch.nn.modules"))
    if type(norm).forward is not base.forward or "forward" in vars(norm):
        return "it has a forward of its own"
    if not set(norm._parameters).issuperset(_PARAMETERS):
        return "its weight or bias is no plain parameter"
    if norm._modules or not _OWN.issuperset([*norm._parameters, *norm._buffers]):
        return "it has parameters, buffers or modules of its own"
    if isinstance(norm, nn.LayerNorm) and len(norm.normalized_shape) > 1:
        return "it is over several dimensions"
    return None


def _way_back(norm: ColumnNorm, layer: type[nn.Module]) -> type[nn.Module] | str:
    last = norm.feature_dim == -1
    if issubclass(layer, nn.LayerNorm):
        return layer if last else "its features are not last, as LayerNorm has them"
    if last:
        return "its features are last, which BatchNorm does not know"
    if norm.sync:
        return nn.SyncBatchNorm
    dims = next((d for d, own in _INPUTS.items() if tuple(norm.DIMS) == own), None)
    return (sibling(layer, dims) if dims else None) or layer


def sibling(layer: type[nn.Module], dims: int) -> type[nn.Module] | None:
    """Return the form of a layer for inputs of (N, C) and `dims` more dimensions (or one less)."""
    parts = re.fullmatch(r"(\w+)[123]d", layer.__name__)
    if parts is None:
        return layer if dims + 2 in getattr(layer, "DIMS", _ANY_DIMS) else None
    return getattr(sys.modules[layer.__module__], f"{parts[1]}{dims}d", None)


def _place(norm: nn.Module, model: nn.Module) -> dict[str, Any]:
    """Return device and dtype of a norm; if it has no tensor, those of the model."""
    for tensor in (*norm.parameters(), *norm.buffers(), *model.parameters()):
        if tensor.is_floating_point():
            return {"device": tensor.device, "dtype": tensor.dtype}
    return {}


def _arguments(norm: Any, target: type[nn.Module], options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments for the layer that takes a norm's place."""
    affine = norm.weight is not None or norm.bias is not None
    if issubclass(target, nn.LayerNorm):
        own = {"normalized_shape": norm.num_features, "elementwise_affine": affine}
        return {**own, "eps": norm.eps, **options}
    if isinstance(norm, nn.LayerNorm):
        own = {"num_features": norm.normalized_shape[0], "feature_dim": -1}
        return {**own, "eps": norm.eps, "affine": affine, **options}
    tracks = norm.num_batches_tracked is not None or _statistics(norm) is not None
    tracks = getattr(norm, "asked_to_track", tracks)  # of a layer that learns them
    own = {"num_features": norm.num_features, "momentum": norm.momentum, "eps": norm.eps}
    if isinstance(norm, nn.SyncBatchNorm):
        own["sync"] = True
    return {**own, "affine": affine, "track_running_stats": tracks, **options}


def _notes_of_eps(norm: Any, new: Any) -> list[str]:
    """Say where the eps of a norm is more than a layer has by default."""
    own = inspect.signature(type(new)).parameters.get("eps")
    if not isinstance(new, ColumnNorm) or own is None or not own.default < new.eps == norm.eps:
        return []
    least = f"{math.sqrt(new.eps):.0e}".replace("e-0", "e-")
    return [
        f"eps is that of the norm, {new.eps:g}, by default {own.default:g}: features of scale "
        f"below {least} are flattened as BatchNorm does (eps= overrides)"
    ]


def _carry_over(norm: nn.Module, new: nn.Module) -> tuple[tuple[str, ...], str]:
    """Give a new layer what it can take over; return the names of that, and what is to be said."""
    for name in _PARAMETERS:
        setattr(new, name, getattr(norm, name))
    if isinstance(norm, _BatchNorm) and isinstance(new, ColumnNorm):
        # The inputs that the norm took, which a layer of several forms would else forget.
        vars(new)["DIMS"] = _INPUTS.get(_dimensions(norm) or 0, _ANY_DIMS)
    kept = [name for name in _PARAMETERS if getattr(norm, name) is not None]
    frozen = [not getattr(norm, name).requires_grad for name in kept]
    if frozen and all(frozen):
        new.requires_grad_(False)
    statistics, note = _carry_statistics(norm, new)
    new.train(norm.training)  # after the statistics: a layer makes ready for eval mode here
    hooks = ["hooks"] if any(vars(norm)[name] for name in _HOOKS) else []
    return (*kept, *statistics, *hooks), note


def _carry_statistics(norm: nn.Module, new: Any) -> tuple[list[str], str]:
    """Let running statistics go on; return which they are, and what means another thing."""
    before = _statistics(norm)
    kept: list[str] = []
    if getattr(new, "num_batches_tracked", None) is None:
        return [], "" if before is None else "no running statistics any more"
    count = getattr(norm, "num_batches_tracked", None)
    if count is not None:
        new.num_batches_tracked.copy_(count)
        kept.append("num_batches_tracked")
    if before is None:
        first = isinstance(new, LearnedNorm)
        return kept, "starts from the first batch in training" if first else _NONE
    if hasattr(new, "_start_from"):
        if not _untouched(count, *before):
            new._start_from(*before)
        if set(new.state_dict()) <= _OWN:  # it has no statistics but these
            return [*_STATISTICS, *kept], ""
        return kept, "starts from a normal law of its running mean and variance"
    if not all(isinstance(getattr(new, name, None), Tensor) for name in _STATISTICS):
        return kept, "running mean and variance have no counterpart"
    for name, value in zip(_STATISTICS, before, strict=True):
        new._buffers[name] = value.detach().clone()
    return [*_STATISTICS, *kept], "" if getattr(norm, "knots", None) is None else _OF_TABLE


def _statistics(norm: Any) -> tuple[Tensor, Tensor] | None:
    """Return the mean and variance by which a norm goes in eval mode, if it knows them."""
    if isinstance(getattr(norm, "sigma", None), Tensor):
        return norm.mu, (norm.sigma.square() - norm.eps).clamp(min=0)
    if getattr(norm, "knots", None) is not None:
        return tuple(norm._mean_and_var())
    mean, var = (getattr(norm, name, None) for name in _STATISTICS)
    return (mean, var) if isinstance(mean, Tensor) and isinstance(var, Tensor) else None


def _untouched(count: Tensor | None, mean: Tensor, var: Tensor) -> bool:
    """Tell whether running statistics are still those at the start."""
    if mean.is_meta:
        return True
    return (count is None or not count) and not mean.any() and bool((var == 1).all())


def _row(
    paths: tuple[str, ...], norm: nn.Module, new: nn.Module, kept: tuple[str, ...], note: str
) -> Row:
    added = tuple(name for name, _ in new.named_parameters() if name not in _PARAMETERS)
    notes = [note] if note else []
    if isinstance(norm, TrimmedNorm1d) and "running_var" in kept:
        notes.append(f"{_OF} the central 90%, are of all values now")
    if isinstance(new, TrimmedNorm1d) and "running_var" in kept:
        notes.append(f"{_OF} all values, are of the central 90% now")
    if getattr(norm, "process_group", None) is not None:
        notes.append("its process group is dropped")
    if isinstance(norm, nn.LayerNorm) != isinstance(new, nn.LayerNorm):
        over = "each row" if isinstance(new, nn.LayerNorm) else "each feature"
        notes = [f"statistics are of {over} now"]
    notes += _notes_of_eps(norm, new)
    return Row(paths, type(norm).__name__, type(new).__name__, kept, added, "; ".join(notes))


def _put_in(model: nn.Module, new: dict[nn.Module, nn.Module]) -> None:
    """Exchange modules wherever they are registered, with their hooks."""
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child in new:
                parent._modules[name] = new[child]
    for norm, layer in new.items():
        _move_hooks(norm, layer)
    fused.update(new.get(model, model))


def _move_hooks(norm: nn.Module, layer: nn.Module) -> None:
    """Let a layer have the hooks of a norm: the very dicts, to which their handles refer."""
    for name in _HOOKS:
        hooks = vars(norm)[name]
        hooks.update(vars(layer)[name])
        setattr(layer, name, hooks)
    layer._is_full_backward_hook = norm._is_full_backward_hook
    for hook in layer._load_state_dict_pre_hooks.values():
        if "module" in vars(hook):
            vars(hook)["module"] = weakref.ref(layer)  # torch keeps the module with these
