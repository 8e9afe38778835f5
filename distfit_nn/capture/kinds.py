"""What torch's functions and modules are: activations, norms, and where they have their units."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import nn

# Names of functions, without the marks of their form (relu_, _threshold, relu.default).
# fmt: off
_ACTIVATIONS = frozenset((
    "celu", "elu", "gelu", "glu", "gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish",
    "hardtanh", "leaky_relu", "log_sigmoid", "log_softmax", "mish", "prelu", "relu", "relu6",
    "rrelu", "selu", "sigmoid", "silu", "softmax", "softmin", "softplus", "softshrink", "softsign",
    "special_expit", "special_log_softmax", "special_softmax", "tanh", "tanhshrink", "threshold",
))
_SYNONYMS = {"logsigmoid": "log_sigmoid", "safe_softmax": "softmax"}
# What is asked of a tensor and is no tensor: most calls of a pass, by number.
_QUIET = frozenset((
    "contiguous_format", "data_ptr", "device", "dim", "dtype", "element_size", "get_device",
    "is_complex", "is_contiguous", "is_cpu", "is_cuda", "is_floating_point", "is_inference",
    "is_leaf", "is_meta", "is_mps", "is_nested", "is_quantized", "is_sparse", "layout", "len",
    "names", "ndim", "ndimension", "nelement", "numel", "requires_grad", "shape", "size",
    "storage_offset", "stride",
))
# fmt: on
_ACTIVATION_MODULES: dict[type[nn.Module], str] = {
    **{kind: kind.__name__.lower() for kind in (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Mish)},
    **{kind: kind.__name__.lower() for kind in (nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU)},
    **{kind: kind.__name__.lower() for kind in (nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign)},
    **{kind: kind.__name__.lower() for kind in (nn.Tanhshrink, nn.Softshrink, nn.Hardshrink)},
    **{kind: kind.__name__.lower() for kind in (nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh)},
    **{kind: kind.__name__.lower() for kind in (nn.Threshold, nn.Softmax, nn.Softmin, nn.GLU)},
    nn.LeakyReLU: "leaky_relu",
    nn.LogSigmoid: "log_sigmoid",
    nn.LogSoftmax: "log_softmax",
    nn.Softmax2d: "softmax",
}
_BY_SHORT_NAME = {name.replace("_", ""): name for name in _ACTIVATIONS}
# QuickGELU, NewGELUActivation, ReLUSquaredActivation, GELUTanh, HardSwishMe, SiLU, ...
_ACTIVATION_NAME = re.compile(
    r"([A-Za-z_]*(ReLU|Relu|GELU|Gelu|SiLU|Silu|SELU|CELU|ELU|Swish|Mish|Tanh|Sigmoid|Softplus"
    r"|Softsign|Softmax|SoftMax|Snake)"
    r"(\d|Tanh|Squared|Activation|Act|Fn|Function|Python|Jit|Me|Beta)*)|[A-Za-z_]*Activation"
)
_NO_ACTIVATION = re.compile(r"Linear|Conv|Norm|GLU|Glu|BN|MLP|Mlp|Block|Layer|Identity|Checkpoint")

_CHANNEL_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm)  # BatchNorm*, SyncBatchNorm, ...
_NORMS = (*_CHANNEL_NORMS, nn.LayerNorm, nn.RMSNorm)
_CHANNEL_MODULES = (*_CHANNEL_NORMS, nn.modules.conv._ConvNd)
_LAST_MODULES = (nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag)
_NORM_NAME = re.compile(r"[A-Za-z]\w*Norm([123]d)?")
_NORM_OF_CHANNELS = re.compile(r"Norm[123]d$")


@lru_cache(maxsize=4096)
def bare_name(function: Callable[..., Any]) -> str:
    """Return the name of a torch function or property without the marks of its form."""
    name = str(getattr(function, "__name__", ""))
    if name == "__get__":
        name = function.__self__.__name__  # type: ignore[attr-defined]
    return name.partition(".")[0].strip("_")


@lru_cache(maxsize=4096)
def activation_of(function: Callable[..., Any]) -> str | None:
    """Return the name of an activation function (``"relu"`` for all its forms), else None."""
    name = bare_name(function)
    name = _SYNONYMS.get(name, name)
    return name if name in _ACTIVATIONS else None


@lru_cache(maxsize=4096)
def is_quiet(function: Callable[..., Any]) -> bool:
    """Return whether `function` tells something of a tensor that is no tensor: its shape."""
    return bare_name(function) in _QUIET


def is_activation(module: nn.Module) -> bool:
    """Return whether `module` is one of torch's activation layers, or derived from one."""
    return isinstance(module, tuple(_ACTIVATION_MODULES))


def activation_name(module: nn.Module) -> str | None:
    """Return which activation `module` is as a whole, None if it is none that is known.

    Torch's own are known by type. Others, which may compute theirs by any arithmetic, are known by
    the name of their class, if they have no children and no matrix of parameters: ``QuickGELU``,
    ``NewGELUActivation``.
    """
    own = _ACTIVATION_MODULES.get(type(module))
    if own is not None:
        return own
    name = type(module).__name__
    if _ACTIVATION_NAME.fullmatch(name) is None or _NO_ACTIVATION.search(name):
        return None
    if next(module.children(), None) is not None or any(
        parameter.ndim > 1 for parameter in module.parameters(recurse=False)
    ):
        return None
    short = name.replace("_", "").lower().removesuffix("activation")
    for family, found in (("gelu", "gelu"), ("silu", "silu")):
        if family in short:
            return found
    return _BY_SHORT_NAME.get(short, short) or name.lower()


def is_norm(module: nn.Module) -> bool:
    """Return whether `module` normalises: one of torch's layers, or one that is called so."""
    named = _NORM_NAME.fullmatch(type(module).__name__) is not None
    return isinstance(module, _NORMS) or (named and next(module.children(), None) is None)


def calls_nothing_known(module: nn.Module) -> bool:
    """Return whether `module` is a layer of torch whose own code calls no activation function."""
    of_torch = type(module).__module__.startswith("torch.nn.modules.")
    plain = "forward" not in vars(module) and next(module.children(), None) is None
    return of_torch and plain and not is_activation(module)


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
