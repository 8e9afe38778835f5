"""Mean and variance of features, and a straight line for each, on blocks (N, C, L), without graph.

On the CPU float32 goes through compiled kernels, which take a pass over memory each; elsewhere it
is torch's operators. A line is a table (3, C) of center, factor and offset in float64:
y = (x - center) * factor + offset.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

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


def line(x: Tensor, table: Tensor) -> Tensor:
    """Return y of blocks, by the table (3, C)."""
    numbers = _rounded(table, x)
    if not column_work.compiled(x):
        center, factor, offset = numbers[:, :, None]
        return (x - center) * factor + offset
    from distfit_nn.nn import line_kernel

    rows = column_work.as_rows(x)
    plain = column_work.unfolded(x.detach(), rows)
    y, kernel = torch.empty_like(plain), line_kernel.line_rows if rows else line_kernel.line_runs
    arrays = plain.numpy(), numbers.numpy()

    def work(first: int, last: int) -> None:
        kernel(*arrays, np.empty(3 * line_kernel.WIDTH, np.float32), y.numpy(), first, last)

    column_work.in_parts(work, len(y), y.numel())
    return column_work.folded(y, x, rows)


def line_slopes(g: Tensor, x: Tensor, table: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient by x of a line, and the sums of g and of g d (2, C) in float64.

    With `extra` (2, C) of level and slope, level + slope * d is added to the gradient by x, and
    d = x - center.
    """
    numbers = torch.cat((_rounded(table, x), extra.to(x.dtype)))
    off = (numbers[0].to(table.dtype) - table[0]) if table.dtype != x.dtype else 0.0
    if column_work.compiled(x):
        by_x, sums = _compiled_slopes(g, x, numbers)
    else:
        center, factor, _, level, slope = numbers[:, :, None]
        d = x - center
        by_x = g * factor + (level + slope * d)
        sums = torch.stack((g.sum((0, 2)), (g * d).sum((0, 2)))).double()
    return by_x, torch.stack((sums[0], sums[1] + off * sums[0]))


def _rounded(table: Tensor, x: Tensor) -> Tensor:
    """Return a table in the dtype of x; what rounding moves the center, the offset takes back."""
    near = table.to(x.dtype)
    if x.dtype != table.dtype:
        moved = near[0].to(table.dtype) - table[0]
        near[2] = table[2] + moved * table[1]
    return near


def _compiled_slopes(g: Tensor, x: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    from distfit_nn.nn import line_kernel

    rows = column_work.as_rows(x)
    plain, given = (column_work.unfolded(part.detach(), rows) for part in (x, g))
    kernel = line_kernel.slopes_rows if rows else line_kernel.slopes_runs
    by_x, found = torch.empty_like(plain), []
    arrays = plain.numpy(), numbers.numpy()

    def work(first: int, last: int) -> None:
        sums, room = np.zeros((2, x.shape[1])), np.empty(7 * line_kernel.WIDTH, np.float32)
        kernel(*arrays, room, given.numpy(), by_x.numpy(), sums, first, last)
        found.append(sums)

    column_work.in_parts(work, len(by_x), by_x.numel())
    return column_work.folded(by_x, x, rows), torch.from_numpy(sum(found[1:], found[0]))
