"""The parameters of a model as tables: a column for each unit of the output."""

from __future__ import annotations

import torch
from torch import nn

from distfit_nn.capture import tensors
from distfit_nn.capture.models import without_wrappers


def recordable(model: nn.Module) -> list[str]:
    """Return the names of the parameters of one axis or more; of a shared one the first."""
    named = model.named_parameters()
    return [without_wrappers(name) for name, p in named if _is_lazy(p) or p.ndim > 0]


def owners(model: nn.Module) -> dict[str, tuple[nn.Module, torch.Tensor]]:
    """Return each parameter by its name, with the module that it belongs to."""
    modules = dict(model.named_modules())
    return {
        without_wrappers(name): (modules[name.rpartition(".")[0]], tensors.unwrapped(parameter))
        for name, parameter in model.named_parameters()
    }


def why_not(parameter: torch.Tensor | None) -> str | None:
    """Return why a parameter cannot be recorded, or None if it can."""
    if parameter is None:
        return "the model has it no more"
    if _is_lazy(parameter):
        return "it has no values before the first forward pass ends"
    return tensors.why_not(parameter)


def _is_lazy(parameter: torch.Tensor) -> bool:
    return isinstance(parameter, nn.parameter.UninitializedParameter)


def unit_axis(module: nn.Module, parameter: torch.Tensor) -> int | None:
    """Return which axis of `parameter` of `module` holds the units; None where it is one unit.

    One axis is one unit, and so is the weight of a norm over several axes. The units of a linear
    layer or convolution are its outputs; those of an embedding the features of a vector, as of any
    other parameter of three axes or more of which the first has length 1; else those on axis 0.
    """
    if parameter.ndim == 1 or isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return None
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return 1  # (inputs, outputs of a group, ...)
    # The Conv1D of GPT-2 is a linear layer whose weight is (inputs, outputs).
    transposed = type(module).__name__ == "Conv1D" and parameter.ndim == 2
    # A class token or a table of positions is (1, length, units).
    makes_units = isinstance(module, (nn.modules.conv._ConvNd, nn.Bilinear))
    table = parameter.ndim > 2 and parameter.shape[0] == 1 and not makes_units
    if transposed or table or isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return parameter.ndim - 1
    return 0


def matrix(module: nn.Module, parameter: torch.Tensor) -> torch.Tensor:
    """Return `parameter` of `module` as (rows, units): for each unit what feeds into it."""
    values = parameter.detach()
    axis = unit_axis(module, values)
    if axis is None:
        return values.reshape(-1, 1)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        grouped = values.unflatten(0, (module.groups, -1)).movedim(2, 1).flatten(0, 1)
        return grouped.flatten(1).T  # (groups, inputs, outputs, ...) to (all outputs, inputs, ...)
    return values.movedim(axis, -1).flatten(0, -2)
