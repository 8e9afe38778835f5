"""Normal scores of soft ranks with a weight and a bias for each column, as one operation.

On the CPU the gradients by weight and bias are taken while those by the scores are at hand, which
spares three passes over memory and two arrays of the size of x. Elsewhere torch composes them.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from distfit_nn.copula.tensors import ranks


def weighted_scores(x: Tensor, strength: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return weight * Phi^-1(s / n) + bias of the columns of x (n, d), s being their soft ranks.

    `x` is float32 or float64; `strength`, `weight` and `bias` hold d numbers, the strengths
    positive and finite. With gradients with respect to all four, once.
    """
    if x.device.type != "cpu" or weight.dtype != x.dtype or bias.dtype != x.dtype:
        return torch.addcmul(bias, ranks.soft_normal_scores(x, strength), weight)
    checked = ranks._strength(strength, x, (x.shape[1],))
    result: Tensor = _Weighted.apply(x, checked, weight, bias)
    return result


class _Weighted(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        from distfit_nn.copula import columns

        line = ranks._lent(weight), ranks._lent(bias)
        keep = any(ctx.needs_input_grad)
        results = columns.line_scores(ranks._lent(x), ranks._numbers(strength, x), *line, keep)
        out, *kept = (torch.from_numpy(result) for result in results)
        if keep:
            ctx.save_for_backward(x, strength, weight, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        # Only with create_graph=True are gradients on a graph, too.
        slopes = _Slopes.apply if torch.is_grad_enabled() else _Slopes.forward
        return tuple(slopes(gradient, *ctx.saved_tensors))


class _Slopes(Function):
    """The gradients, which have none of their own."""

    @staticmethod
    def forward(gradient: Tensor, x: Tensor, *saved: Tensor) -> tuple[Tensor, ...]:
        from distfit_nn.copula import columns

        strength, weight, scores, *kept = (part.detach() for part in saved)
        dx, *each = columns.line_slopes(
            columns.Kept(*(part.numpy() for part in kept)),
            ranks._numbers(strength, x),
            gradient.detach().contiguous().numpy(),
            scores.numpy(),
            weight.numpy(),
        )
        dstrength, dweight, dbias = (torch.from_numpy(part) for part in each)
        return (
            torch.from_numpy(dx),
            (dstrength if strength.ndim else dstrength.sum()).to(strength.dtype),
            dweight.to(weight.dtype),
            dbias.to(weight.dtype),
        )

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> NoReturn:
        raise RuntimeError("soft ranks can be differentiated once, not twice")
