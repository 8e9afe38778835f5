"""The batches of all ranks of torch.distributed as one, with a gradient to each.

With whole = [x_0; x_1; ...] and L_r the loss of rank r,

    d(sum_r L_r) / d x_s = sum_r (d L_r / d whole)[rows of s]:

the backward pass adds the gradients of all ranks up and takes the own rows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function


def is_shared() -> bool:
    """Tell whether there are other ranks."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def union(x: Tensor) -> tuple[Tensor, slice]:
    """Return the batches (N_r, C, L) of all ranks along dimension 0, and where the own one is.

    All ranks must call it, with blocks alike but for N.
    """
    size = torch.tensor(x.shape[0], device=x.device)
    gathered = [torch.zeros_like(size) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, size)
    sizes = [int(each) for each in gathered]
    first = sum(sizes[: dist.get_rank()])
    whole: Tensor = _Union.apply(x, sizes, first)
    return whole, slice(first, first + x.shape[0])


class _Union(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int], first: int) -> Tensor:
        ctx.rows = slice(first, first + x.shape[0])
        padded = x.new_zeros(max(sizes), *x.shape[1:])  # gathering takes parts of one size
        padded[: x.shape[0]] = x
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.rows], None, None
