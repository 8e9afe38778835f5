"""Inputs of any layout as blocks (N, C, L), and blocks as columns (n, d), n = N L and d = C.

A block is a view wherever the memory allows it: (N, C) has L = 1, (N, C, H, W) has L = H W in
either memory format, (B, T, D) with features last is (B T, D, 1). What is computed block by block
goes back in the strides it came in.
"""

from __future__ import annotations

import torch
from torch import Tensor


def blocks(x: Tensor, feature_dim: int) -> Tensor:
    """Return x as (N, C, L); features are its dimension 1, or its last where that is -1."""
    if feature_dim == -1:
        return x.reshape(-1, x.shape[-1], 1)
    return x.flatten(2) if x.ndim > 2 else x.unsqueeze(2) if x.ndim == 2 else x.reshape(1, -1, 1)


def restored(y: Tensor, x: Tensor) -> Tensor:
    """Return blocks in the shape of x and its memory format, without gaps."""
    if x.ndim == 2:
        return y.squeeze(2).contiguous()
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    memory = torch.channels_last if last else torch.contiguous_format
    return y.reshape(x.shape).contiguous(memory_format=memory)


def columns(x: Tensor) -> Tensor:
    """Return blocks (N, C, L) as (n, C), rows contiguous or columns contiguous, as is nearest."""
    if x.shape[2] == 1:
        return x[:, :, 0]
    if x.stride(1) == 1 and x.stride(0) == x.shape[2] * x.stride(2):
        return x.transpose(1, 2).reshape(-1, x.shape[1])
    return x.transpose(0, 1).reshape(x.shape[1], -1).T


def from_columns(y: Tensor, x: Tensor) -> Tensor:
    """Return columns (n, C) as blocks of the shape of x (N, C, L)."""
    n, c, length = x.shape
    if length == 1:
        return y.unsqueeze(2)
    if y.stride(0) == 1:
        return y.T.reshape(c, n, length).transpose(0, 1)
    return y.reshape(n, length, c).transpose(1, 2)
