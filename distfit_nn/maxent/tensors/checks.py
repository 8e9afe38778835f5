"""What tensors may come in: real numbers, one in each place, where the work is to be done."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from distfit_nn._checks import to_numpy
from distfit_nn.errors import InputError


def plain(tensor: Tensor, name: str) -> Tensor:
    """Return the tensor if it holds real numbers: not complex, sparse, quantised or on "meta"."""
    layout, device = tensor.layout, tensor.device.type
    if tensor.is_complex() or tensor.is_quantized or layout != torch.strided or device == "meta":
        raise InputError(
            f"{name} must be a plain tensor of real numbers, got {tensor.dtype}, {layout}, {device}"
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
