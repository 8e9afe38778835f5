"""The law of recent batches, by its mean, variance and standardised moments, column by column.

A law of order k is a tensor (k + 1, d) of float64: mean, variance, E z^i for i = 3..k and max |z|,
with z = (x - mean) / std. The mixture (1 - a) P_0 + a P_1 has the moments, about its own mean, of
P_0 and P_1 shifted there by the binomial theorem, weighted: so the law of many small batches is
that of all their rows in one. An average of moments that each batch was standardised by itself for
is not. A value counts for max |z| as long as for the last moment: its distance falls as the k-th
root of its weight.

A layer keeps a law as numbers without a unit, relative to its running mean and variance.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor


def normal(order: int, mean: Tensor, var: Tensor) -> Tensor:
    """Return N(mean, var) as a law: E z^i is (i - 1)!! for even i and 0 for odd; max |z| is 0."""
    shape = [math.prod(range(1, i, 2)) if i % 2 == 0 else 0 for i in range(3, order + 1)]
    rest = torch.tensor([*shape, 0], dtype=mean.dtype, device=mean.device)
    return torch.cat([mean[None], var[None], rest[:, None].expand(-1, len(mean))])


def relative(law: Tensor, mean: Tensor, unit: Tensor) -> Tensor:
    """Return a law with its mean from `mean` on and its variance in units of `unit` (d,)."""
    offset, ratio = (law[0] - mean) / unit, law[1] / (unit * unit)
    return torch.cat([offset[None], ratio[None], law[2:]])


def absolute(law: Tensor, mean: Tensor, unit: Tensor) -> Tensor:
    """Return the law that `relative` was given."""
    return torch.cat([(mean + law[0] * unit)[None], (law[1] * unit * unit)[None], law[2:]])


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
    unit = _positive(torch.maximum(std, away.abs()).amax(dim=0))
    about = _shifted(_central(parts[:, 2:-1], std / unit), away / unit)  # E u^i, i = 2..k
    moments = (weights[:, None] * about).sum(dim=0)
    width = _positive(moments[0]).sqrt()
    high = moments[1:] / _powers(width, order)[3:]
    reach = (parts[:, -1] * std + away.abs()) / (width * unit)
    held = torch.maximum(reach[0] * (1 - share) ** (1 / order), reach[1])
    return torch.cat([torch.stack([mean, moments[0] * unit * unit]), high, held[None]])


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
