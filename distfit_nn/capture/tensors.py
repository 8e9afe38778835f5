"""Tensors among the arguments and results of a call, and which of them can be recorded."""

from __future__ import annotations

from typing import Any

import torch
from torch._C import _functorch

SINGLE = "it is a single number"


def tensors(values: Any) -> list[torch.Tensor]:
    """Return the tensors in nested tuples, lists and dicts, in order."""
    if isinstance(values, torch.Tensor):
        return [values]
    found: list[torch.Tensor] = []
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, (tuple, list)):
        return found
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list, dict)):
            found += tensors(value)
    return found


def first_tensor(values: Any) -> torch.Tensor | None:
    """Return the first tensor in nested tuples, lists and dicts, else None."""
    found = tensors(values)
    return found[0] if found else None


def unwrapped(tensor: torch.Tensor) -> torch.Tensor:
    """Return the values within what `torch.func.grad` and the like wrap, but not `vmap`."""
    while _functorch.is_functorch_wrapped_tensor(tensor):
        if _functorch.is_batchedtensor(tensor):
            break
        tensor = _functorch.get_unwrapped(tensor)
    return tensor


def why_not(tensor: torch.Tensor) -> str | None:
    """Return why `tensor`, which is `unwrapped`, cannot be recorded, or None if it can."""
    kind = type(tensor).__name__
    if _functorch.is_batchedtensor(tensor):
        return "torch.func.vmap runs the model on many inputs at once, hidden from each other"
    if tensor.is_nested:
        return "it is a nested tensor, whose parts differ in shape"
    if kind == "DTensor":
        return "it is a DTensor, spread over several devices"
    if tensor.is_quantized:
        return "it is quantised"
    if not tensor.is_floating_point():
        return f"it holds {str(tensor.dtype).removeprefix('torch.')}, not real numbers"
    if tensor.layout != torch.strided:
        return f"it is sparse (its layout is {str(tensor.layout).removeprefix('torch.')})"
    if tensor.is_meta or kind == "FakeTensor":
        return "it has a shape but no values (a meta or fake tensor)"
    if tensor.ndim == 0:
        return SINGLE
    return "it is empty" if tensor.numel() == 0 else None
