"""Which calls of a model are recorded, under which names, and which axis holds the units.

Three kinds of sites exist. ``"pre_activation"`` is the input of every call of an activation
function, by a module (`torch.nn.ReLU`) or not (``torch.relu(x)``, ``x.relu_()``, ``F.gelu(x)``);
``"norm"`` the input and the output of every normalisation layer: torch's own, and any module
without children whose class name ends in Norm, Norm1d, Norm2d or Norm3d; a module's name, in which
``*``, ``?`` and ``[...]`` match as in `fnmatch`, the input and the output of that module. The two
words win over modules that bear them as names (``"[n]orm"`` finds a module that is called norm).

Activation functions are known by name, so that all their forms are seen: module, function, method,
in place. A fused kernel that computes its activation within (`torch.nn.LSTM`) shows nothing, and
neither does an activation that is spelt out in arithmetic, such as ``x.clamp(min=0)``: name the
module instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from distfit_nn.errors import InputError, SiteError

WORDS = ("pre_activation", "norm")

# Names of functions, without the marks of their form (relu_, _threshold, relu.default).
# fmt: off
_ACTIVATIONS = frozenset((
    "celu", "elu", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu",
    "log_sigmoid", "mish", "prelu", "relu", "relu6", "rrelu", "selu", "sigmoid", "silu", "softplus",
    "softshrink", "softsign", "special_expit", "tanh", "tanhshrink", "threshold",
))
# fmt: on
_ACTIVATION_MODULES = (
    *(nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Mish, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU),
    *(nn.SELU, nn.CELU, nn.Tanh, nn.Sigmoid, nn.LogSigmoid, nn.Softplus, nn.Softsign),
    *(nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh),
    nn.Threshold,
)
_CHANNEL_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm)  # BatchNorm*, SyncBatchNorm, ...
_NORMS = (*_CHANNEL_NORMS, nn.LayerNorm, nn.RMSNorm)
_CHANNEL_MODULES = (*_CHANNEL_NORMS, nn.modules.conv._ConvNd)
_LAST_MODULES = (nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag)
_NORM_NAME = re.compile(r"[A-Za-z]\w*Norm([123]d)?")
_NORM_OF_CHANNELS = re.compile(r"Norm[123]d$")


@dataclass(frozen=True)
class Plan:
    """What is to be recorded of one model.

    Attributes
    ----------
    wanted : tuple of str
        The words and patterns that were asked for.
    modules : dict of str to tuple of str
        For each module by its path: the words and patterns that ask for its input and output.
    expected : dict of str to tuple of str
        For each word and pattern: the layers that a forward pass is likely to reach.
    """

    wanted: tuple[str, ...]
    modules: dict[str, tuple[str, ...]]
    expected: dict[str, tuple[str, ...]]

    @property
    def activations(self) -> bool:
        """Whether the inputs of activation functions are recorded."""
        return "pre_activation" in self.wanted


def resolve(model: nn.Module, sites: str | Iterable[str]) -> Plan:
    """Find the modules of `model` that `sites` asks for.

    Parameters
    ----------
    model : torch.nn.Module
    sites : str or iterable of str
        ``"pre_activation"``, ``"norm"`` and names of modules with wildcards, in any mixture.

    Raises
    ------
    InputError
        `sites` is empty or holds something else than text.
    SiteError
        A name matches no module of the model, or there is no normalisation layer for ``"norm"``.
    """
    wanted = _as_words(sites)
    paths = dict(model.named_modules())
    modules: dict[str, tuple[str, ...]] = {}
    expected: dict[str, tuple[str, ...]] = {}
    for word in wanted:
        if word == "pre_activation":
            found = [path for path, module in paths.items() if is_activation(module)]
        elif word == "norm":
            found = [path for path, module in paths.items() if is_norm(module)]
        else:
            found = _matching(model, paths, word)
        if not found and word != "pre_activation":
            raise SiteError(_no_match(model, word))
        expected[word] = tuple(layer_name(model, path) for path in found)
        if word != "pre_activation":
            for path in found:
                modules[path] = (*modules.get(path, ()), word)
    return Plan(wanted, modules, expected)


def layer_name(model: nn.Module, path: str) -> str:
    """Return a module's name in a store: its path, or its class name where it is the model."""
    return path or type(model).__name__


def bare_name(function: Callable[..., Any]) -> str:
    """Return the name of a torch function or property without the marks of its form."""
    name = str(getattr(function, "__name__", ""))
    if name == "__get__":
        name = function.__self__.__name__  # type: ignore[attr-defined]
    return name.partition(".")[0].strip("_")


def activation_of(function: Callable[..., Any]) -> str | None:
    """Return the name of an activation function (``"relu"`` for all its forms), else None."""
    name = bare_name(function)
    return name if name in _ACTIVATIONS else None


def unit_axis_of(module: nn.Module, tensor: torch.Tensor) -> int | None:
    """Return the unit axis of the input and output of `module`, or None if it is unknown.

    A norm over several axes has its units on the first of them.
    """
    if isinstance(module, _CHANNEL_MODULES) or _NORM_OF_CHANNELS.search(type(module).__name__):
        return 1
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        moves = tensor.shape[-1] != module.normalized_shape[-1]
        # a subclass may move the channels to the end and back
        return 1 if moves else -len(module.normalized_shape)
    return -1 if isinstance(module, _LAST_MODULES) else None


def is_activation(module: nn.Module) -> bool:
    """Return whether `module` is one of torch's activation layers."""
    return isinstance(module, _ACTIVATION_MODULES)


def is_norm(module: nn.Module) -> bool:
    """Return whether `module` normalises: one of torch's layers, or one that is called so."""
    named = _NORM_NAME.fullmatch(type(module).__name__) is not None
    return isinstance(module, _NORMS) or (named and next(module.children(), None) is None)


def site_names(word: str) -> tuple[str, str]:
    """Return the names under which the input and output of a module are stored."""
    return ("norm_input", "norm_output") if word == "norm" else ("input", "output")


def tensors(values: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested tuples, lists and dicts, in order."""
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, (tuple, list, dict)):
        for value in values.values() if isinstance(values, dict) else values:
            yield from tensors(value)


def first_tensor(values: Any) -> torch.Tensor | None:
    """Return the first tensor in nested tuples, lists and dicts, else None."""
    return next(tensors(values), None)


def why_not(tensor: torch.Tensor) -> str | None:
    """Return why `tensor` cannot be recorded, or None if it can."""
    if not tensor.is_floating_point():
        return f"it holds {str(tensor.dtype).removeprefix('torch.')}, not real numbers"
    if tensor.ndim == 0:
        return "it is a single number"
    return "it is empty" if tensor.numel() == 0 else None


def reject_compiled(model: nn.Module) -> None:
    """Raise `SiteError` if `model` or a part of it is compiled: compiled code runs no hooks."""
    for path, module in model.named_modules():
        compiled = getattr(module, "_compiled_call_impl", None) is not None
        if compiled or type(module).__name__ == "OptimizedModule":
            part = f"its module {path!r}" if path else "the model"
            raise SiteError(
                f"{part} is compiled by torch.compile, which does not run hooks reliably; "
                "record the original module instead"
            )


def _as_words(sites: str | Iterable[str]) -> tuple[str, ...]:
    try:
        words = (sites,) if isinstance(sites, str) else tuple(dict.fromkeys(sites))
    except TypeError:
        words = ()
    if not words or not all(isinstance(word, str) and word for word in words):
        raise InputError(
            f"sites must be {' or '.join(map(repr, WORDS))}, a module's name, or a list of these, "
            f"got {sites!r}"
        )
    return words


def _matching(model: nn.Module, paths: dict[str, nn.Module], pattern: str) -> list[str]:
    """Return the paths that match; a module with several names is found by any of them."""
    first = {id(module): path for path, module in paths.items()}
    names = model.named_modules(remove_duplicate=False)
    found = [first[id(module)] for name, module in names if name and fnmatchcase(name, pattern)]
    return list(dict.fromkeys(found))


def _no_match(model: nn.Module, word: str) -> str:
    if word == "norm":
        return "sites asks for 'norm', but the model has no normalisation layer that is known"
    names = [name for name, _ in model.named_modules() if name]
    near = get_close_matches(word, (*WORDS, *names), n=5)
    hint = f"near misses: {', '.join(near)}" if near else f"it has {len(names)} named modules"
    return f"sites asks for {word!r}, which is no site and matches no module of the model; {hint}"
