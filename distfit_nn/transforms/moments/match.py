"""Columns carried to normal scores by their own moments, for use inside a training step.

Column by column, with z = (x - mean) / std, F1 the density of largest entropy on [-R, R] with the
standardised moments m_3, ..., m_k of the column (and mean 0, variance 1), and Phi the normal
distribution function,

    y = weight * sqrt(var / (var + eps)) * g(Phi^-1(F1(z))) + bias,

with g of `reach`: scores are believed up to +-3 and count by a logarithm beyond. Of order 2
this is batch norm. g(Phi^-1(F1)) is tabulated on the range of the column, as monotone
cubics; the gradient is the exact adjoint of the table, by way of the values and of the moments.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from distfit_nn._checks import whole_number
from distfit_nn.errors import InputError
from distfit_nn.transforms.moments.law import Moments
from distfit_nn.transforms.moments.reach import REACH, checked

ORDERS = (2, 8)


def matched(
    x: Tensor,
    order: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    reach: float | None = REACH,
) -> tuple[Tensor, Moments]:
    """Carry the columns of x to normal scores by their first moments.

    Parameters
    ----------
    x : (n, d) float32 or float64, n, d >= 1
        On the CPU contiguous columns as well as rows are worked on without a copy.
    order : int
        k, the number of moments, 2 to 8.
    weight, bias : (d,), optional
        1 and 0 by default.
    eps : float
        Added to the variance.
    reach : float, optional
        How far scores Phi^-1(F1(z)) are believed, above 0; beyond it their excess counts by its
        logarithm. None believes all of them. A column that is standardised only knows no reach.

    Returns
    -------
    y : (n, d)
        Increasing in each column, of the dtype of x, with gradients in x, weight and bias, once.
        That of a column by x is cut to 100 weight / std times the length of that by y: moments at
        the edge of what a density can have would give it any length.
        Float64 is within 1e-7 of the exact map where |y| <= 3, and 1e-6 beyond (without a reach
        5e-6, at scores of 10); float32 within 3e-4 and, where the density falls or rises steeply,
        3e-3 beyond. Columns of at most k rows, of at most k / 2 distinct values, or whose density
        is not found, also with moments drawn towards those of N(0, 1), are standardised.
    moments : Moments

    Raises
    ------
    InputError
        Another shape, dtype, order or reach.
    """
    order = whole_number(order, "order", ORDERS[0])
    if order > ORDERS[1]:
        raise InputError(f"order must be from 2 to 8, got {order}")
    limit = checked(reach)
    if x.ndim != 2 or 0 in x.shape or x.dtype not in (torch.float32, torch.float64):
        raise InputError(
            "x must be float32 or float64 of shape (n, d), n, d >= 1, "
            f"got {x.dtype} {tuple(x.shape)}"
        )
    if x.device.type != "cpu":
        from distfit_nn.transforms.moments.tensors import composed

        return composed(x, order, weight, bias, eps, reach)
    line = (
        (x.new_ones(x.shape[1]) if weight is None else weight),
        (x.new_zeros(x.shape[1]) if bias is None else bias),
    )
    y, *told = _Matched.apply(x, *line, order, float(eps), limit)
    return y, Moments(*told)


class _Matched(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, order: int, eps: float, reach: float
    ) -> tuple[Tensor, ...]:
        from distfit_nn.transforms.moments import columns as engine

        columns = x.detach().numpy()
        if not (columns.flags.c_contiguous or columns.T.flags.c_contiguous):
            columns = np.ascontiguousarray(columns)
        line = _plain(weight), _plain(bias)
        y, kept = engine.forward(columns, order, *line, eps, reach)
        _, *parts = (torch.from_numpy(part) for part in kept)
        ctx.eps, ctx.reach = eps, reach
        ctx.save_for_backward(x, weight, bias, *parts)
        told = [torch.from_numpy(part) for part in engine.told(kept)]
        ctx.mark_non_differentiable(*told)
        return torch.from_numpy(y), *told

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_told: Tensor) -> tuple[Tensor | None, ...]:
        # Only with create_graph=True are gradients on a graph, too.
        slopes = _Slopes.apply if torch.is_grad_enabled() else _Slopes.forward
        return (*slopes(gradient, ctx.eps, ctx.reach, *ctx.saved_tensors), None, None, None)


class _Slopes(Function):
    """The gradients, which have none of their own."""

    @staticmethod
    def forward(
        gradient: Tensor,
        eps: float,
        reach: float,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        *parts: Tensor,
    ) -> tuple[Tensor, ...]:
        from distfit_nn.transforms.moments import columns as engine

        columns, slopes = x.detach().numpy(), gradient.detach().numpy()
        if not (columns.flags.c_contiguous or columns.T.flags.c_contiguous):
            columns = np.ascontiguousarray(columns)
        kept = engine.Kept(columns, *(part.numpy() for part in parts))
        dx, dweight, dbias = engine.backward(kept, slopes, _plain(weight), eps, reach)
        return (
            torch.from_numpy(dx),
            torch.from_numpy(dweight).to(weight.dtype),
            torch.from_numpy(dbias).to(bias.dtype),
        )

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> NoReturn:
        raise RuntimeError("the moment match can be differentiated once, not twice")


def _plain(values: Tensor) -> Any:
    """Return numbers as a contiguous array of float64."""
    return values.detach().to(torch.float64).contiguous().numpy()
