"""What tensors may come in: real numbers, one in each place, where the work is to be done."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from distfit_nn._checks import to_numpy
from distfit_nn.errors import InputError


def plain(tensor: Tensor, name: str) -> Tensor:
    """Return the tensor if it holds real numbers, one in each place.

    Not if it is complex, sparse, nested, quantised or on "meta".
    """
    layout, device = "nested" if tensor.is_nested else tensor.layout, tensor.device.type
    if tensor.is_complex() or tensor.is_quantized or layout != torch.strided or device == "meta":
        raise InputError(
            f"{name} must be a plain tensor of real numbers, got {tensor.dtype}, {layout}, {device}"
        )
    return tensor


def at_hand(tensor: Tensor, name: str) -> Tensor:
    """Return a plain tensor if its numbers can be looked at now.

    They cannot where it stands for others, within the transforms of torch.func or torch.export;
    and are not to be where a trace would take what comes of them for constants.
    """
    recorded = torch.jit.is_tracing()  # type: ignore[attr-defined]
    try:
        known = not recorded and (plain(tensor, name).data_ptr() != 0 or tensor.numel() == 0)
    except RuntimeError:  # there is no memory that it has
        known = False
    if not known:
        raise InputError(
            f"{name} must be a tensor whose numbers are at hand, outside torch.func (grad, vmap,"
            " jacrev, ...), torch.export and torch.jit.trace; torch.autograd.grad and backward"
            " give gradients, and many columns are taken at once"
        )
    return tensor


def on_device(values: Any, name: str, device: torch.device) -> Tensor:
    """Return numbers as a tensor on a device; a tensor must be there already.

    A tensor keeps its dtype and graph, all else becomes float64.
    """
    if not isinstance(values, Tensor):
        with np.errstate(over="ignore"):
            return torch.as_tensor(to_numpy(values, name).astype(np.float64), device=device)
    if values.device != device:
        raise InputError(f"{name} must be on {device}, as the density is, got {values.device}")
    return plain(values, name)
