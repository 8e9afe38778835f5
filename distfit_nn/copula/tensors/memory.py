"""Blocks (N, d, L) in memory: as columns and back, for kernels that take both."""

from __future__ import annotations

from torch import Tensor


def laid(x: Tensor, like: Tensor | None = None) -> Tensor:
    """Return blocks (N, d, L) as (n, d), if they are in memory, or else as contiguous blocks.

    With `like`, as that is laid, whatever the memory of x.
    """
    form = x if like is None else like
    if form.shape[2] == 1:
        return x[:, :, 0]
    if form.stride(1) == 1 and form.stride(0) == form.shape[2] * form.stride(2):
        return x.transpose(1, 2).reshape(-1, x.shape[1])
    return x.contiguous()


def as_blocks(y: Tensor, x: Tensor) -> Tensor:
    """Return what `laid` made of blocks like x as such blocks."""
    if y.ndim == 3:
        return y
    return alone(y.view(x.shape[0], x.shape[2], x.shape[1]).transpose(1, 2))


def alone(y: Tensor) -> Tensor:
    """Return y, made in the forward pass of a Function, as a tensor that is no view of another.

    A view that a Function returns may not be worked on in place, as a ReLU that follows may.
    """
    if not y._is_view():
        return y
    return y.new_empty(0).set_(y.untyped_storage(), y.storage_offset(), y.shape, y.stride())
