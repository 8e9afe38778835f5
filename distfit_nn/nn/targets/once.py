"""What can be differentiated once: a second time is an error, not a wrong number."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import Function


class _Last(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, _of: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> NoReturn:
        raise RuntimeError("a target can be differentiated once, not twice")


def last(gradient: Tensor, of: Tensor) -> Tensor:
    """Return a gradient, which depends on what `of` does, but cannot be differentiated."""
    # Only with create_graph=True are gradients on a graph, too.
    out: Tensor = _Last.apply(gradient, of) if torch.is_grad_enabled() else gradient
    return out


class _Once(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor) -> Tensor:
        return y.view_as(y)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Any) -> None:
        """Keep y."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return last(gradient, *ctx.saved_tensors)


def once(y: Tensor) -> Tensor:
    """Return y, whose gradients cannot be differentiated."""
    out: Tensor = _Once.apply(y) if y.requires_grad else y
    return out
