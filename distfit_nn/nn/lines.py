"""The work of a layer that learns a mean and a deviation, compiled: float32 blocks on the CPU.

With d = x - center, z = d f + o, f = exp(-log_scale) / scale and o = -shift exp(-log_scale), the
layer is y = weight * z + bias, and each feature has a penalty, by the mean and variance of z, whose
gradient joins that of y by itself. Numbers of features are taken in float64, by `line_kernel`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from distfit_nn.nn import column_work

Numbers = NDArray[np.float64]


class Penalty(NamedTuple):
    """What the penalties of a batch take.

    Mean and variance (2, C) of x, how many rows they are of, what the penalties count for each row,
    what is added to the variance in the logarithm, and whether there is a logarithm.
    """

    moments: Numbers
    rows: int
    share: float
    eps: float
    entropy: bool


def moments(x: Tensor) -> Numbers:
    """Return the mean and the (biased) variance of each feature, (2, C), without graph.

    They are added up in double precision, about the first value of the feature.
    """
    from distfit_nn.nn import line_kernel

    rows, c = column_work.as_rows(x), x.shape[1]
    plain = column_work.unfolded(x.detach(), rows).numpy()
    powers = line_kernel.powers_rows if rows else line_kernel.powers_runs
    center = (plain[0] if rows else plain[:c, 0]).astype(np.float64)

    def work(first: int, last: int) -> Numbers:
        sums = np.zeros((2, c))
        powers(plain, center, np.empty(3 * line_kernel.WIDTH), sums, first, last)
        return sums

    found = column_work.in_parts(work, len(plain), plain.size)
    line_kernel.to_moments(found, center, x.shape[0] * x.shape[2])
    return found


def standardised(
    x: Tensor, start: tuple[Tensor, Tensor], learned: tuple[Tensor | None, ...], given: Penalty
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Return y, the penalties (C,), and center and scale of a first batch, if it is one.

    `start` is center and scale, `learned` shift, log_scale, weight and bias, in float32.
    """
    from distfit_nn.nn import line_kernel

    with torch.no_grad():
        numbers = torch.stack([*start, *(part for part in learned if part is not None)])
    count = x.shape[1]
    table, own, penalty = np.empty((5, count), np.float32), np.empty((6, count)), np.empty(count)
    arrays = numbers.numpy(), *given, table, own, penalty
    first = line_kernel.prepare(*arrays)
    if first:  # a batch is standardised by what is kept of it, rounded as that is
        numbers[:2] = numbers[:2].to(start[0].dtype)
        line_kernel.prepare(*arrays)
    y: Tensor = _Standardised.apply(x, *learned, table, own)
    return y, torch.from_numpy(penalty), tuple(numbers[:2]) if first else ()


class _Standardised(Function):
    """y, by the tables of `line_kernel.prepare`, with gradients by x and all that is learnt."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *given: Any) -> Tensor:
        from distfit_nn.nn import line_kernel

        *learned, ctx.table, ctx.own = given
        ctx.save_for_backward(x, *learned)
        rows = column_work.as_rows(x)
        plain = column_work.unfolded(x, rows)
        y = torch.empty_like(plain)
        line = line_kernel.line_rows if rows else line_kernel.line_runs
        arrays = plain.numpy(), ctx.table, y.numpy()

        def work(first: int, last: int) -> None:
            line(*arrays, np.empty(7 * line_kernel.WIDTH, np.float32), first, last)

        column_work.in_parts(work, len(y), y.numel())
        return column_work.folded(y, x, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # Only with create_graph=True are gradients on a graph, too.
        slopes = _Slopes.apply if torch.is_grad_enabled() else _Slopes.forward
        return (*slopes(gradient, ctx.table, ctx.own, *ctx.saved_tensors), None, None)


class _Slopes(Function):
    """The gradients by x, shift, log_scale, weight and bias, which have none of their own."""

    @staticmethod
    def forward(
        gradient: Tensor, table: Any, own: Numbers, x: Tensor, *learned: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        from distfit_nn.nn import line_kernel

        rows = column_work.as_rows(x)
        plain, g = (column_work.unfolded(part.detach(), rows) for part in (x, gradient))
        by_x = torch.empty_like(plain)
        slopes = line_kernel.slopes_rows if rows else line_kernel.slopes_runs
        arrays = plain.numpy(), table, g.numpy(), by_x.numpy()

        def work(first: int, last: int) -> Numbers:
            sums = np.zeros((2, x.shape[1]))
            slopes(*arrays, np.empty(7 * line_kernel.WIDTH, np.float32), sums, first, last)
            return sums

        sums = column_work.in_parts(work, len(by_x), by_x.numel())
        found = np.empty((len(learned), x.shape[1]), np.float32)
        line_kernel.chain(sums, own, found)
        by_learned = (
            None if part is None else torch.from_numpy(row)
            for part, row in zip(learned, found, strict=True)
        )
        return column_work.folded(by_x, x, rows), *by_learned

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> NoReturn:
        raise RuntimeError("a layer with a penalty can be differentiated once, not twice")
