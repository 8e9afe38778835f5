"""What the copula norms keep of their batches: running tables of scores, or moments of a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from distfit_nn.copula.tensors import relative
from distfit_nn.copula.tensors.memory import laid
from distfit_nn.copula.tensors.relative import Scores
from distfit_nn.nn import layout, score_table
from distfit_nn.nn.base import moved


class Kinds(NamedTuple):
    """What tells how columns are scored: strengths (C,) in float64, and the floor of scales."""

    strength: Tensor
    floor: float


def scored(
    x: Tensor,
    strength: Tensor,
    floor: float,
    weight: Tensor | None,
    bias: Tensor | None,
    knots: Tensor,
    through: bool = False,
) -> Scores:
    """Return weight * z + bias of blocks x (N, C, L), and more of them: see `relative`."""
    if torch.compiler.is_compiling():
        whole: Scores = torch.compiler.disable(scored)(
            x, strength, floor, weight, bias, knots, through
        )
        return whole
    if x.device.type == "cpu":
        return relative.compiled(x, strength, floor, weight, bias, knots, through)
    found = relative.composed(layout.columns(x), strength, floor, weight, bias, knots, through)
    return found._replace(y=layout.from_columns(found.y, x))


def track_table(
    knots: Tensor,
    table: Tensor,
    x: Tensor,
    batch: Tensor,
    rate: Tensor | float,
    rows: int,
    kinds: Kinds,
) -> None:
    """Move a running table towards the shares `batch` of blocks x at its knots, in place."""
    before = table.clone()
    moved(table, score_table.entries(batch), rate)
    off = score_table.misplaced(knots, table, rows)
    if bool(off.any()):
        _lay(off.nonzero()[:, 0], knots, table, before, x, rate, kinds)


def _lay(
    off: Tensor,
    knots: Tensor,
    table: Tensor,
    before: Tensor,
    x: Tensor,
    rate: Tensor | float,
    kinds: Kinds,
) -> None:
    """Lay the knots of some columns anew, and move their tables from before the batch."""
    columns = layout.columns(x)[:, off].to(torch.float64)
    finite = columns.isfinite().all(dim=0)
    off, columns = off[finite], columns[:, finite]
    if len(off) == 0:
        return
    strength, blocks = kinds.strength[off], columns[:, :, None]
    none = columns.new_empty((0, len(off)))
    found = scored(blocks, strength, kinds.floor, None, None, none)
    ordered, places = columns.sort(dim=0)
    z = found.y[:, :, 0].gather(0, places)
    batch = score_table.Batch(ordered, z, strength / found.scale)
    limit = torch.finfo(knots.dtype).max / 4
    at = score_table.laid(knots[:, off], before[:, off], batch, rate).clamp(-limit, limit)
    at = at.to(knots.dtype).to(torch.float64)
    fresh = scored(blocks, strength, kinds.floor, None, None, at).shares
    old = score_table.shares(knots[:, off], before[:, off], at)
    share = torch.as_tensor(rate, dtype=old.dtype, device=old.device)
    knots[:, off] = at.to(knots.dtype)
    table[:, off] = score_table.entries(torch.lerp(old, fresh, share)).to(table.dtype)


def track_line(running: Sequence[Tensor], x: Tensor, z: Tensor, rate: Tensor | float) -> None:
    """Move running means of x and z, and the variance of x and covariance of both, in place.

    `running` are the mean and variance of x, the mean of z, and the covariance, (C,) each.
    """
    for buffer, batch in zip(running, line_moments(x, z), strict=True):
        largest = torch.finfo(buffer.dtype).max / 4
        moved(buffer, batch.clamp(-largest, largest), rate)


def line_moments(x: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return mean and (unbiased) variance of blocks x, the mean of z, and the covariance."""
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        mean, var, score, cov = torch.from_numpy(_sums(x, z))
        return mean, var, score, cov
    x, z = x.to(torch.float64), z.to(torch.float64)
    n, axes = x.shape[0] * x.shape[2], (0, 2)
    mean, score = x.mean(axes), z.mean(axes)
    away = x - mean[:, None]
    var = away.square().sum(axes) / (n - 1)
    cov = (away * (z - score[:, None])).sum(axes) / (n - 1)
    return mean, var, score, cov


def _sums(x: Tensor, z: Tensor) -> Any:
    """Return the same (4, C) by the compiled kernel."""
    from distfit_nn.copula import columns, relative_kernel

    given, scores = laid(x).numpy(), laid(z, x).numpy()
    n, d = columns.size(given)
    out = np.empty((4, d))

    def task(room: columns.Room, first: int, last: int) -> None:
        rows, others = (part[: last - first] for part in room.rows)
        columns.read(given, first, room.tile, rows)
        columns.read(scores, first, room.tile, others)
        relative_kernel.line_moments(rows, others, out[:, first:last])

    columns.in_rooms(n, d, lambda m: columns.Room(m, n, given.dtype, 2), task)
    return out
