"""Ranks, their gradients and normal scores by torch's own operators, on any device.

This is what runs where the compiled kernel does not: on CUDA and every other device that is not the
CPU. It needs no compiler and no package but torch, gives the same bits each time, and makes no
synchronisation with the host. Columns of up to `DIRECT` points are summed pair by pair; longer ones
are sorted and summed by blocks (`blocks`).

A column is first multiplied by a power of two, and the strength divided by it, so that no finite
value is beyond an eighth of the largest number. Infinities become a quarter of that number: they
are ties among each other, as far from everything else as the exponential can tell, and all
differences are finite.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import pi, sqrt

import torch
from torch import Tensor

from distfit_nn.copula.logistic_sum import TERMS, logistic_sum
from distfit_nn.copula.tensors.blocks import one_sided_sums, slope_sums

DIRECT = 256
LEAST = {torch.float32: 2.0**-100, torch.float64: 2.0**-1000}
"""The smallest power of two that a column is multiplied by: its inverse is finite, too."""

Saved = tuple[Tensor, Tensor, Tensor]


def soft_counts(
    x: Tensor, strength: Tensor, *, in_order: bool = False
) -> tuple[Tensor, Tensor, Saved]:
    """Return how many points lie below and above each, in the soft sense, per column.

    below_i = sum_j 1 / (1 + exp(-strength (x_i - x_j))), above_i = n - below_i, the point itself
    counted half in each. Each is summed from its own side, so that small counts are exact.

    Parameters
    ----------
    x : Tensor
        (n, d) of a floating dtype. Equal infinities are ties; a NaN makes its column NaN.
    strength : Tensor
        Positive and finite, () or (d,).
    in_order : bool, default False
        Whether the columns are sorted already.

    Returns
    -------
    below, above : Tensor
        (n, d), float64 where x is, float32 otherwise. Ties have equal counts, to the last bit in
        sorted columns.
    saved : tuple of tensors
        For `soft_counts_backward`; beside x and strength, the order of the columns as int32.
    """
    n, d = x.shape
    gamma = _per_column(strength, x)
    below = x.new_empty((n, d), dtype=gamma.dtype)
    above = torch.empty_like(below)
    sorting = n > DIRECT and not in_order
    order = x.new_empty((n if sorting else 0, d), dtype=torch.int32)
    for part in _parts(x):
        values, rate, _ = _scaled(x[:, part], gamma[part])
        if n > DIRECT and in_order:
            below[:, part], above[:, part] = _sorted_counts(values, rate)
        elif n > DIRECT:
            ordered, places = values.sort(dim=0)
            counts = _sorted_counts(ordered, rate)
            order[:, part] = places
            for out, count in zip((below, above), counts, strict=True):
                out[:, part] = torch.empty_like(count).scatter_(0, places, count)
        else:
            tile = (values[:, None] - values).mul_(rate).sigmoid_()
            below[:, part], above[:, part] = tile.sum(1), tile.sum(0)
    return below, above, (x, strength, order)


def soft_counts_backward(
    saved: Saved, grad_below: Tensor | None, grad_above: Tensor | None, *, in_order: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the gradients with respect to x and strength.

    With kappa the derivative of the logistic function, g the gradient by below less that by above,
    and u = strength x,

        dL/du_m = sum_j kappa(u_m - u_j) (g_m - g_j),
        dL/dstrength = sum_{i<j} kappa(u_i - u_j) (x_i - x_j) (g_i - g_j).

    The latter is sum_m x_m dL/du_m as well, but that loses its digits where strength is large.

    Returns
    -------
    dx : Tensor
        (n, d), of the dtype of the counts.
    dstrength : Tensor
        Of the shape of strength, of the dtype of the counts.
    """
    x, strength, order = saved
    n, d = x.shape
    gamma = _per_column(strength, x)
    sorting = n > DIRECT and not in_order
    dx = x.new_empty((n, d), dtype=gamma.dtype)
    dgamma = torch.empty_like(dx[0])
    for part in _parts(x):
        values, rate, unit = _scaled(x[:, part], gamma[part])
        g = _net(grad_below, grad_above, part, values)
        places = order[:, part].long()
        if sorting:
            values, g = values.gather(0, places), g.gather(0, places)
        du, moment = _slopes(values, g, rate)
        dgamma[part] = moment / unit
        if sorting:
            du = torch.empty_like(du).scatter_(0, places, du)
        dx[:, part] = du.mul_(gamma[part])
    return dx, dgamma if strength.ndim else dgamma.sum()


def hard_counts(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many points lie below and above each, ties and the point itself counted half.

    `x` is (n, d); the counts are float64 where x is, float32 otherwise. Columns with NaN are NaN.
    """
    below = torch.empty_like(x, dtype=_work_dtype(x), memory_format=torch.contiguous_format)
    above = torch.empty_like(below)
    for part in _parts(x):
        ordered, places = x[:, part].sort(dim=0)
        first, last = _ties(ordered)
        poison = torch.where(ordered.isnan().any(0), torch.nan, 0.0).to(below.dtype)
        for out, twice in ((below, first + last + 1), (above, 2 * len(x) - 1 - first - last)):
            count = twice.to(below.dtype).mul_(0.5).add_(poison)
            out[:, part] = torch.empty_like(count).scatter_(0, places, count)
    return below, above


def normal_scores(below: Tensor, above: Tensor) -> Tensor:
    """Return the standard normal quantiles of below / n, n = below + above, from either tail.

    The smaller count alone enters, so that a score keeps its digits in both tails, and columns that
    are mirrored have scores that are mirrored.
    """
    fewer = torch.minimum(below, above).div_(len(below))
    scores = torch.special.ndtri(fewer)
    return torch.where(below > above, -scores, scores)


def normal_scores_backward(scores: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient with respect to below, with above = n - below.

    dz/dbelow = 1 / (n phi(z)), phi the standard normal density.
    """
    return (scores * scores).mul_(0.5).exp_().mul_(grad).mul_(sqrt(2 * pi) / max(len(scores), 1))


def _work_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _per_column(strength: Tensor, x: Tensor) -> Tensor:
    """Return the strength as (d,), on the device and in the dtype of the work."""
    return strength.detach().to(x.device, _work_dtype(x)).expand(x.shape[1])


def _parts(x: Tensor) -> Iterator[slice]:
    """Yield slices of columns, so large that a device is busy, so small that memory is bounded.

    The work takes about ten times the memory of the columns in hand, or for few points a tile of
    n^2 numbers a column.
    """
    n, d = x.shape
    room = 2**19 if x.device.type == "cpu" else 2**23
    width = max(1, room // max(n if n > DIRECT else n * n, 1))
    return (slice(j, min(j + width, d)) for j in range(0, d, width))


def _scaled(x: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return columns times a power of two, at most 1/8, the strength over it, and the power.

    Where the strength is below 1 the power is about the strength, so that what an exponential tells
    apart from 0 is far from underflow.
    """
    dtype, limit = gamma.dtype, torch.finfo(gamma.dtype)
    mantissa, _ = torch.frexp(gamma)
    unit = (gamma / mantissa).clamp(LEAST[dtype], 1.0).mul_(0.125)  # exact: a power of two
    values = (x.to(dtype) * unit).clamp_(limit.min / 4, limit.max / 4)
    return values, (gamma / unit).clamp_(max=limit.max), unit


@cache
def _coefficients(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return c_k and k c_k on a device."""
    terms = TERMS[str(dtype).removeprefix("torch.")]
    c = torch.tensor(logistic_sum(terms).coefficients, dtype=torch.float64)
    slopes = c * torch.arange(1, len(c) + 1)
    return c.to(device, dtype), slopes.to(device, dtype)


def _sorted_counts(x: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """Return the counts of sorted columns.

    The hard counts, less what of the points before counts as above, plus what of those after counts
    as below. The points before are summed at the first of a group of ties and those after at its
    last, so that ties are in neither sum: they count half exactly.
    """
    c, _ = _coefficients(x.dtype, x.device)
    before, after = one_sided_sums(x, rate, c)
    first, last = _ties(x)
    before, after = before.gather(0, first), after.gather(0, last)
    hard = (first + last + 1).to(x.dtype).mul_(0.5)
    return (hard - before).add_(after), (len(x) - hard).sub_(after).add_(before)


def _ties(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the places of the first and the last of the points equal to each, columns in order."""
    place = torch.arange(len(x), device=x.device)[:, None]
    rises = x[1:] != x[:-1]
    ends = torch.ones_like(x[:1], dtype=torch.bool)
    first = torch.where(torch.cat([ends, rises]), place, 0).cummax(0).values
    last = torch.where(torch.cat([rises, ends]), place, len(x)).flip(0).cummin(0).values.flip(0)
    return first, last


def _net(grad_below: Tensor | None, grad_above: Tensor | None, part: slice, like: Tensor) -> Tensor:
    """Return the gradient by below less that by above, in the dtype of the work."""
    g = torch.zeros_like(like)
    if grad_below is not None:
        g += grad_below[:, part]
    if grad_above is not None:
        g -= grad_above[:, part]
    return g


def _slopes(x: Tensor, g: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """Return dL/du (n, d) and dL/drate (d,)."""
    if len(x) > DIRECT:
        _, slopes = _coefficients(x.dtype, x.device)
        return slope_sums(x, g, rate, slopes)
    distance = x[:, None] - x
    tile = distance.abs().mul_(-rate).sigmoid_()  # of the tail: 1 - tile keeps its digits
    tile.addcmul_(tile, tile, value=-1).mul_(g[:, None] - g)
    return tile.sum(1), distance.mul_(tile).sum((0, 1)).mul_(0.5)
