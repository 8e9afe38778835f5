"""Mean and variance of features, and a straight line for each, on blocks (N, C, L).

On the CPU float32 goes through compiled kernels, which take a pass over memory each; elsewhere it
is torch's operators.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from distfit_nn.nn import column_work


def mean_and_variance(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the (biased) variance of each feature, float64 (C,), without graph.

    float32 is added up in double precision, about the first value of the feature.
    """
    x = x.detach()
    if not column_work.compiled(x):
        wide = x.to(torch.float64)
        return wide.mean((0, 2)), wide.var((0, 2), correction=0)
    from distfit_nn.nn import line_kernel

    rows = column_work.as_rows(x)
    plain, count = column_work.unfolded(x, rows).numpy(), x.shape[0] * x.shape[2]
    powers = line_kernel.powers_rows if rows else line_kernel.powers_runs
    center = x[0, :, 0].numpy().astype(np.float64)
    found = []

    def work(first: int, last: int) -> None:
        sums = np.zeros((2, x.shape[1]))
        powers(plain, center, np.empty(3 * line_kernel.WIDTH), sums, first, last)
        found.append(sums)

    column_work.in_parts(work, len(plain), plain.size)
    first, second = torch.from_numpy(sum(found[1:], found[0]) / count)
    variance = (second - first * first).clamp(min=0)
    return torch.from_numpy(center) + first, variance


def line(
    x: Tensor,
    center: Tensor,
    factor: Tensor,
    offset: Tensor,
    level: Tensor | None = None,
    slope: Tensor | None = None,
) -> Tensor:
    """Return y = (x - center) * factor + offset of blocks, with (C,) numbers of any float dtype.

    The gradient by x is that, with `level` + `slope` * (x - center) added: of what depends on x
    beside y. There is none by `center`, and none twice.
    """
    near = center.to(x.dtype)
    # What rounding the center moves, the offset takes back.
    offset = offset + (near.to(center.dtype) - center) * factor
    extra = () if level is None or slope is None else (level.to(x.dtype), slope.to(x.dtype))
    result: Tensor = _Line.apply(x, near, factor.to(x.dtype), offset.to(x.dtype), *extra)
    return result


class _Line(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *table: Tensor) -> Tensor:
        ctx.save_for_backward(x, *table)
        center, factor, offset, *_ = table
        if not column_work.compiled(x):
            return (x - center[:, None]) * factor[:, None] + offset[:, None]
        from distfit_nn.nn import line_kernel

        rows = column_work.as_rows(x)
        plain = column_work.unfolded(x.detach(), rows)
        kernel = line_kernel.line_rows if rows else line_kernel.line_runs
        y = torch.empty_like(plain)
        numbers = torch.stack((center, factor, offset)).numpy()

        def work(first: int, last: int) -> None:
            kernel(plain.numpy(), numbers, _room(), y.numpy(), first, last)

        column_work.in_parts(work, len(y), y.numel())
        return column_work.folded(y, x, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # Only with create_graph=True are gradients on a graph, too.
        slopes = _Slopes.apply if torch.is_grad_enabled() else _Slopes.forward
        by_x, sums = slopes(gradient, *ctx.saved_tensors)
        return by_x, None, sums[1], sums[0], *([None] * (len(ctx.saved_tensors) - 4))


class _Slopes(Function):
    """The gradients by x, and by offset and factor (2, C)."""

    @staticmethod
    def forward(g: Tensor, x: Tensor, *table: Tensor) -> tuple[Tensor, Tensor]:
        center, factor, offset, *extra = table
        if not column_work.compiled(x):
            d = x - center[:, None]
            by_x = g * factor[:, None]
            if extra:
                by_x = by_x + (extra[0][:, None] + extra[1][:, None] * d)
            return by_x, torch.stack((g.sum((0, 2)), (g * d).sum((0, 2))))
        from distfit_nn.nn import line_kernel

        rows = column_work.as_rows(x)
        plain, g = (column_work.unfolded(part.detach(), rows) for part in (x, g))
        kernel = line_kernel.slopes_rows if rows else line_kernel.slopes_runs
        none = torch.zeros_like(center)
        numbers = torch.stack((center, factor, offset, *(extra or (none, none)))).numpy()
        by_x, found = torch.empty_like(plain), []

        def work(first: int, last: int) -> None:
            sums = np.zeros((2, x.shape[1]))
            arrays = plain.numpy(), numbers, _room(), g.numpy(), by_x.numpy(), sums
            kernel(*arrays, first, last)
            found.append(sums)

        column_work.in_parts(work, len(by_x), by_x.numel())
        sums = torch.from_numpy(sum(found[1:], found[0]).astype(np.float32))
        return column_work.folded(by_x, x, rows), sums

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> NoReturn:
        raise RuntimeError("this layer can be differentiated once, not twice")


def _room() -> np.ndarray[Any, np.dtype[np.float32]]:
    from distfit_nn.nn import line_kernel

    return np.empty(7 * line_kernel.WIDTH, np.float32)
