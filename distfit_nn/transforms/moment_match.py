"""Columns carried to normal scores by their own moments, for use inside a training step.

Column by column, with z = (x - mean) / std, F1 the density of largest entropy on [-R, R] with the
standardised moments m_3, ..., m_k of the column (and mean 0, variance 1), and Phi the normal
distribution function,

    y = weight * sqrt(var / (var + eps)) * Phi^-1(F1(z)) + bias.

Of order 2 this is batch norm.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from distfit_nn.maxent.basis import legendre_rule
from distfit_nn.maxent.solution import Status
from distfit_nn.maxent.tensors.fit import fit
from distfit_nn.transforms.torch_transport import TensorTransport

RADIUS = 10.0  # of the support, in standard deviations
WIDER, ROOM, RADII = 1.25, 1.2, 13  # steps of wider supports, each at least ROOM max|z|
NORMAL = -(0.5**0.5)  # the second multiplier of N(0, 1)

OK, REGULARISED, AFFINE, INVALID = range(4)


class Moments(NamedTuple):
    """What a batch says of its columns: float64, without graph."""

    mean: Tensor
    """(d,)"""
    var: Tensor
    """(d,), of the population (divided by n)."""
    shape: Tensor
    """(k - 2, d): the means of z^3, ..., z^k."""
    radius: Tensor
    """(d,): half the width of the support, in standard deviations."""
    status: Tensor
    """(d,) int64: OK; REGULARISED (moments drawn towards the normal distribution's); AFFINE (no
    density: the column is standardised); INVALID (NaN or inf: y is NaN)."""


def support_radius(extreme: Tensor) -> Tensor:
    """Return R for the largest |z| of a column: 10, or the least 10 * 1.25^j above 1.2 max|z|."""
    steps = torch.log(ROOM * extreme.double() / RADIUS) / torch.log(torch.tensor(WIDER))
    return RADIUS * WIDER ** steps.nan_to_num(0.0).ceil().clamp(0, RADII - 1)


def matched(
    x: Tensor,
    order: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Moments]:
    """Return y (n, d) of the columns of x (n, d), and their moments."""
    points = x.double()
    mean = points.mean(dim=0)
    var = (points - mean).square().mean(dim=0)
    std = torch.where(var > 0, var, 1.0).sqrt()
    z = (points - mean) / std
    with torch.no_grad():
        powers = [(z**r).mean(dim=0) for r in range(3, order + 1)]
        shape = torch.stack(powers) if powers else z[:0]
        radius = support_radius(z.abs().amax(dim=0))
        status = torch.full_like(mean, AFFINE, dtype=torch.int64)
        status[~mean.isfinite()] = INVALID
    out = z
    for r in radius[status == AFFINE].unique() if len(x) > order > 2 else []:
        some = ((radius == r) & (status == AFFINE)).nonzero()[:, 0]
        part = z[:, some]
        density = fit(part, order, (-float(r), float(r)))
        good = density.solution.status == Status.OK
        scores = TensorTransport(density, outside="exact").forward(part)
        out = out.index_copy(1, some, torch.where(good, scores, part))
        status[some[good]] = OK
    y = out * (var / (var + eps)).clamp(min=0).sqrt() if eps else out
    y = torch.where(var > 0, y, 0.0 * out)
    if weight is not None:
        y = y * weight
    if bias is not None:
        y = y + bias
    return y.to(x.dtype), Moments(mean.detach(), var.detach(), shape, radius, status)


def solve(shape: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Return multipliers (k, d) for standardised moments (k - 2, d), and the status (d,).

    The density is proportional to exp(sum_i lambda_i h_i(z)) on [-radius, radius], h_i = He_i /
    sqrt(i!), i = 1..k. Multipliers of N(0, 1), (0, -1/sqrt 2, 0, ...), where there is no other.
    """
    from distfit_nn.maxent import fit_moments

    order, d = len(shape) + 2, shape.shape[1]
    multipliers = torch.zeros(order, d, dtype=torch.float64)
    multipliers[1] = NORMAL
    status = torch.full((d,), AFFINE)
    if order == 2:
        return multipliers, status
    m = torch.cat([torch.zeros(1, d), torch.ones(1, d), shape]).double()
    for j in range(d):
        if not m[:, j].isfinite().all():
            status[j] = INVALID
            continue
        found = fit_moments(m[:, j].numpy(), (-float(radius[j]), float(radius[j])))
        if found.ok:
            multipliers[:, j] = torch.as_tensor(found.solution.coefficients[:, 0])
            status[j] = OK
    return multipliers, status


def evaluated(
    nodes: Tensor, multipliers: Tensor, radius: Tensor, loc: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Return Phi^-1(F1(z)) at z = (nodes - loc) / scale, and its slope in the nodes; both (W, d).

    `nodes` (W, d) increase down a column; multipliers (k, d); radius, loc, scale (d,). Beyond
    |z| = radius / 1.2, farther than any column has values, the map goes on in a straight line. A
    column with the multipliers of N(0, 1) is standardised.
    """
    z = ((nodes - loc) / scale).double()
    ends = (radius / ROOM).double()
    held = torch.cat([-ends[None], torch.minimum(torch.maximum(z, -ends), ends), ends[None]])
    edges = torch.cat([-radius[None].double(), held, radius[None].double()])
    masses = []
    for low, high in pairwise(edges):
        masses.append(_mass(low, high, multipliers))
    cells = torch.stack(masses)
    total = cells.sum(dim=0)
    below = cells.cumsum(dim=0)[:-1] / total
    above = cells.flip(0).cumsum(dim=0).flip(0)[1:] / total
    values = torch.where(below < above, torch.special.ndtri(below), -torch.special.ndtri(above))
    density = _log_density(held, multipliers).exp() / total
    slopes = density * (2 * torch.pi) ** 0.5 * (0.5 * values.square()).exp()
    values, (low, high), slope = values[1:-1], (values[0], values[-1]), slopes[1:-1]
    values = torch.where(z < -ends, low + slopes[0] * (z + ends), values)
    values = torch.where(z > ends, high + slopes[-1] * (z - ends), values)
    normal = (multipliers[1] == NORMAL) & (multipliers == 0).sum(dim=0).eq(len(multipliers) - 1)
    values, slope = torch.where(normal, z, values), torch.where(normal, 1.0, slope)
    return values, slope / scale


def _log_density(z: Tensor, multipliers: Tensor) -> Tensor:
    """Return sum_i lambda_i h_i(z)."""
    before, last = torch.ones_like(z), z
    out = multipliers[0] * last
    for i in range(1, len(multipliers)):
        before, last = last, (z * last - i**0.5 * before) / (i + 1) ** 0.5
        out = out + multipliers[i] * last
    return out


def _mass(low: Tensor, high: Tensor, multipliers: Tensor) -> Tensor:
    """Return the integrals of exp(sum_i lambda_i h_i) over [low, high], (d,) each."""
    nodes, weights = (torch.tensor(part) for part in legendre_rule(32))
    half = (high - low) / 2
    z = (low + high) / 2 + half * nodes[:, None]
    return half * (weights[:, None] * _log_density(z, multipliers).exp()).sum(dim=0)
