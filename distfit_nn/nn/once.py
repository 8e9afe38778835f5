"""What can be differentiated once: a second time is an error, not a wrong number."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import Function


class _Last(Function):
    @staticmethod
    def forward(_ctx: Any, gradient: Tensor, _of: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> NoReturn:
        raise RuntimeError("a target can be differentiated once, not twice")


def last(gradient: Tensor, of: Tensor) -> Tensor:
    """Return a gradient, which depends on what `of` does, but cannot be differentiated."""
    # Only with create_graph=True are gradients on a graph, too.
    out: Tensor = _Last.apply(gradient, of) if torch.is_grad_enabled() else gradient
    return out


class _Once(Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return last(gradient, *ctx.saved_tensors)


def once(y: Tensor) -> Tensor:
    """Return y, whose gradients cannot be differentiated."""
    out: Tensor = _Once.apply(y) if y.requires_grad else y
    return out
