"""The law of recent batches, by its mean, variance and standardised moments, column by column.

A law of order k is a tensor (k + 1, d) of float64: mean, variance, E z^i for i = 3..k and max |z|,
with z = (x - mean) / std. The mixture (1 - a) P_0 + a P_1 has the moments, about its own mean, of
P_0 and P_1 shifted there by the binomial theorem, weighted: so the law of many small batches is
that of all their rows in one. An average of moments that each batch was standardised by itself for
is not. A value counts for max |z| as long as for the last moment: its distance falls as the k-th
root of its weight.

A layer keeps a law as numbers without a unit, relative to its running mean and variance; before
the first batch these are zeros.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor


def normal(order: int, mean: Tensor, var: Tensor) -> Tensor:
    """Return N(mean, var) as a law: E z^i is (i - 1)!! for even i and 0 for odd; max |z| is 0."""
    shape = [math.prod(range(1, i, 2)) if i % 2 == 0 else 0 for i in range(3, order + 1)]
    rest = torch.tensor([*shape, 0], dtype=mean.dtype, device=mean.device)
    return torch.cat([mean[None], var[None], rest[:, None].expand(-1, len(mean))])


def unit(var: Tensor, eps: float) -> Tensor:
    """Return the length that a layer keeps its law in: sqrt(var + eps), 1 where that is 0."""
    return _positive(var + eps).sqrt()


def relative(law: Tensor, mean: Tensor, length: Tensor) -> Tensor:
    """Return a law with its mean counted from `mean`, in units of `length`; of no width, zeros."""
    offset, ratio = (law[0] - mean) / length, law[1] / (length * length)
    return torch.where(ratio > 0, torch.cat([offset[None], ratio[None], law[2:]]), 0.0)


def absolute(kept: Tensor, mean: Tensor, length: Tensor) -> Tensor:
    """Return the law that `relative` was given."""
    own, var = mean + kept[0] * length, kept[1] * length * length
    return torch.cat([own[None], var[None], kept[2:]])


def is_known(kept: Tensor) -> Tensor:
    """Return which columns (d,) have a law: all zeros are none."""
    return (kept[1] > 0) & kept.isfinite().all(dim=0)


def followed(
    state: tuple[Tensor, Tensor, Tensor],
    batch: Tensor,
    rate: Tensor | float,
    share: Tensor | float,
    rows: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return running mean, running variance and kept law after a batch.

    Parameters
    ----------
    state : (d,), (d,), (k + 1, d)
        Those before, of any floating dtype. The running mean and variance move by the `rate` as
        BatchNorm's; the law by the `share`, or, where there was none, to that of the batch.
    batch : (k + 1, d)
        Its law, of float64. Columns that are not finite, or beyond the dtype of the state, count
        for nothing.
    rate, share : Tensor () or float
    rows : int
        Of the batch, at least 2.
    eps : float
        Of the layer.
    """
    mean, var, kept = state
    if batch.device.type != "cpu" or mean.dtype not in (torch.float32, torch.float64):
        options: dict[str, Any] = {"dtype": torch.float64, "device": batch.device}
        first, second = (torch.as_tensor(part, **options) for part in (rate, share))
        return _followed(state, batch, first, second, rows, eps)
    from distfit_nn.nn import running_law_kernel

    arrays = [part.contiguous().numpy() for part in (mean, var, kept, batch)]
    numbers = float(rate), float(share), rows / (rows - 1), eps, torch.finfo(mean.dtype).max
    first, second, third = running_law_kernel.followed(*arrays, numbers)
    return torch.from_numpy(first), torch.from_numpy(second), torch.from_numpy(third)


def _followed(
    state: tuple[Tensor, Tensor, Tensor],
    batch: Tensor,
    rate: Tensor,
    share: Tensor,
    rows: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Do the same by operators of torch."""
    dtype = state[0].dtype
    mean, var, kept = (part.double() for part in state)
    unbiased = batch[1] * (rows / (rows - 1))
    largest = torch.finfo(dtype).max
    counts = (batch[0].abs() <= largest) & (unbiased <= largest)
    new_mean = torch.where(counts, torch.lerp(mean, batch[0], rate), mean).to(dtype)
    new_var = torch.where(counts, torch.lerp(var, unbiased, rate), var).to(dtype)
    known, law = is_known(kept), absolute(kept, mean, unit(var, eps))
    mixed = torch.where(known, mixture(law, batch, share), batch)
    new = torch.where(mixed.isfinite().all(dim=0), mixed, torch.where(known, law, 0.0))
    # Relative to what the buffers will hold: what rounding takes from the mean stays in the law.
    moved = relative(new, new_mean.double(), unit(new_var.double(), eps))
    return new_mean, new_var, torch.where(counts, moved, kept).to(dtype)


def mixture(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return the law of which `second` has the share, (d,) or one number, and `first` the rest.

    Powers are taken in units of the wider part, or of its distance from the common mean where that
    is more: they stay within the range of float64 where the standardised moments do. A law without
    width is a point, whatever its other moments.
    """
    order = len(first) - 1
    parts = torch.stack([first, second])  # (2, k + 1, d)
    weights = torch.stack([1 - share, share]).reshape(2, -1)
    mean = torch.lerp(first[0], second[0], share)
    std, away = parts[:, 1].sqrt(), parts[:, 0] - mean
    length = _positive(torch.maximum(std, away.abs()).amax(dim=0))
    about = _shifted(_central(parts[:, 2:-1], std / length), away / length)  # E u^i, i = 2..k
    moments = (weights[:, None] * about).sum(dim=0)
    width = _positive(moments[0]).sqrt()
    high = moments[1:] / _powers(width, order)[3:]
    reach = (parts[:, -1] * std + away.abs()) / (width * length)
    held = torch.maximum(reach[0] * (1 - share) ** (1 / order), reach[1])
    return torch.cat([torch.stack([mean, moments[0] * length * length]), high, held[None]])


def _positive(values: Tensor) -> Tensor:
    return torch.where(values > 0, values, 1.0)


def _central(shape: Tensor, std: Tensor) -> Tensor:
    """Return central moments 0..k, (2, k + 1, d), from E z^3.. (2, k - 2, d) and std (2, d)."""
    ones, zeros = torch.ones_like(std), torch.zeros_like(std)
    standardised = torch.cat([torch.stack([ones, zeros, ones], dim=1), shape], dim=1)
    powers = _powers(std, standardised.shape[1] - 1).transpose(0, 1)
    return torch.where(powers > 0, standardised * powers, powers)


def _shifted(central: Tensor, away: Tensor) -> Tensor:
    """Return E (x + away)^i, i = 2..k, from E x^i, i = 0..k: (2, k - 1, d)."""
    order = central.shape[1] - 1
    choose, gap = _binomial(order)
    powers = _powers(away, order).transpose(0, 1)
    terms = choose.to(central)[:, :, None] * powers[:, gap.to(central.device)]
    return (terms * central[:, None]).sum(dim=2)


def _powers(base: Tensor, order: int) -> Tensor:
    """Return base^0..base^order, stacked on a new first axis."""
    return torch.cat([torch.ones_like(base)[None], base.expand(order, *base.shape).cumprod(0)])


@cache
def _binomial(order: int) -> tuple[Tensor, Tensor]:
    """Return C(i, j), 0 above the diagonal, and i - j, for i = 2..order and j = 0..order."""
    rows, columns = range(2, order + 1), range(order + 1)
    choose = torch.tensor([[math.comb(i, j) for j in columns] for i in rows], dtype=torch.float64)
    gap = torch.tensor([[max(i - j, 0) for j in columns] for i in rows])
    return choose, gap
