"""The densities of the moment match by themselves: for the test phase, and other devices."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from distfit_nn.maxent.basis import legendre_rule
from distfit_nn.transforms.moments.law import status_of
from distfit_nn.transforms.moments.reach import REACH, belief, believed, checked
from distfit_nn.transforms.moments.rules import MARGIN

PANEL, EDGES = 8, 201  # Gauss nodes of a panel, and edges of panels besides the nodes of a table
CHUNK = 64  # panels at a time
SEEN = 4.0  # how far data are thought to reach where only their moments are known
LARGEST, LEAST = 700.0, 1e-290  # exponents and masses are cut


class Solution(NamedTuple):
    """Densities of d columns."""

    multipliers: Tensor
    """(k, d)."""
    share: Tensor
    """(d,): that of N(0, 1) in the moments; 1 where there is no density."""
    inverse: Tensor
    """(d, k, k): the inverse of the Hessian of the dual."""

    def of(self, columns: Tensor) -> Solution:
        """Return the solution of some of the columns."""
        return Solution(self.multipliers[:, columns], self.share[columns], self.inverse[columns])


def solution_of(
    shape: Tensor, radius: Tensor, low: Tensor, high: Tensor, dtype: torch.dtype
) -> Solution:
    """Return densities for standardised moments (k - 2, d), found on the CPU as for a dtype.

    `radius`, `low` and `high`, the range of the data, have shape (d,). A column with a NaN among
    its moments has none.
    """
    from distfit_nn.transforms.moments import rules as quadrature
    from distfit_nn.transforms.moments import solve_kernel as kernel
    from distfit_nn.transforms.moments.patient import solve_rest

    order, d = len(shape) + 2, shape.shape[1]
    known = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)[:, None].expand(3, d)
    moments = torch.cat([known, _on_cpu(shape)]).T.contiguous()
    ranges = torch.stack([_on_cpu(radius), _on_cpu(low), _on_cpu(high)], dim=1).numpy()
    c = torch.zeros(d, order + 1, dtype=torch.float64)
    factors = torch.zeros(d, order + 1, order + 1, dtype=torch.float64)
    share = torch.ones(d, dtype=torch.float64)
    if order > 2:
        kernel.solve(
            moments.numpy(),
            ranges,
            kernel.DOUBLE if dtype == torch.float64 else kernel.SINGLE,
            quadrature.rules(),
            kernel.new_work(order),
            c.numpy(),
            factors.numpy(),
            share.numpy(),
        )
        solve_rest(moments.numpy(), ranges, share.numpy(), c.numpy(), factors.numpy())
    # L D L' with L below the diagonal, and 1 / D on it.
    lower = torch.where((share < 1)[:, None, None], factors[:, 1:, 1:], 0.0)
    scales = lower.diagonal(dim1=1, dim2=2)
    unit = torch.eye(order, dtype=torch.float64)
    back = torch.linalg.solve_triangular(lower.tril(-1) + unit, unit, upper=False)
    inverse = back.mT @ (scales[:, :, None] * back)
    return Solution(*(part.to(shape.device) for part in (c[:, 1:].T, share, inverse)))


def _on_cpu(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float64)


def solve(shape: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Return multipliers (k, d) for standardised moments (k - 2, d), and the status (d,).

    The density is proportional to exp(sum_i c_i z^i), i = 1..k, on [-radius, radius] (d,). The
    multipliers are those of N(0, 1), (0, -1/2, 0, ...), where no density is found (AFFINE) and
    where a moment or a radius is not finite (INVALID). On the CPU, whatever the device.
    """
    finite = shape.isfinite().all(dim=0) & radius.isfinite()
    seen = (radius / MARGIN).clamp(max=SEEN)
    found = solution_of(
        torch.where(finite, shape.double(), math.nan), radius, -seen, seen, torch.float64
    )
    normal = torch.zeros_like(found.multipliers)
    normal[1] = -0.5
    multipliers = torch.where(found.share < 1, found.multipliers, normal)
    return multipliers, status_of(found.share, finite)


def evaluated(
    nodes: Tensor,
    multipliers: Tensor,
    radius: Tensor,
    loc: Tensor,
    scale: Tensor,
    reach: float | None = REACH,
) -> tuple[Tensor, Tensor]:
    """Return s = g(Phi^-1(F1(z))), z = (nodes - loc) / scale, and its slope in the nodes; (W, d).

    `nodes` (W, d) increase down a column; multipliers (k, d) as `solve` returns them; radius, loc
    and scale (d,). Beyond |z| = radius / 1.2, farther than any column has values, Phi^-1(F1) goes
    on in a straight line. `reach` is that of `matched`. A column with the multipliers of N(0, 1) is
    standardised.
    """
    limit = checked(reach)
    z = (nodes.double() - loc) / scale
    c, wide = multipliers.double(), radius.double()
    ends = wide / MARGIN
    held = torch.cat([-ends[None], torch.minimum(torch.maximum(z, -ends), ends), ends[None]])
    height = log_density(held, c)
    top = height.amax(dim=0)
    # Between the nodes, which may be far apart, lie edges that are not.
    angles = torch.linspace(-1, 1, EDGES, dtype=torch.float64, device=z.device) * (math.pi / 2)
    breaks = angles.sin()[:, None] * wide  # closest at the ends, where densities may rise
    edges, order = torch.cat([held, breaks]).sort(dim=0, stable=True)
    places = order.argsort(dim=0)[: len(held)]
    chunks = zip(edges[:-1].split(CHUNK), edges[1:].split(CHUNK), strict=True)
    cells = torch.cat([_mass(low, high, c, top) for low, high in chunks])
    nothing, total = torch.zeros_like(cells[:1]), cells.sum(dim=0)
    below = torch.cat([nothing, cells.cumsum(dim=0)]).gather(0, places) / total
    above = torch.cat([cells.flip(0).cumsum(dim=0).flip(0), nothing]).gather(0, places) / total
    below, above = below.clamp(min=LEAST), above.clamp(min=LEAST)
    values = torch.where(below < above, torch.special.ndtri(below), -torch.special.ndtri(above))
    logs = (height - top).clamp(min=-LARGEST) + 0.5 * values.square()
    slopes = math.sqrt(2 * math.pi) * logs.exp() / total
    line = values[1:-1], slopes[1:-1]
    for side, at in ((0, -ends), (-1, ends)):
        beyond = z < at if side == 0 else z > at
        value = torch.where(beyond, values[side] + slopes[side] * (z - at), line[0])
        line = value, torch.where(beyond, slopes[side], line[1])
    rest = torch.cat([c[:1], c[2:]])
    normal = (c[1] == -0.5) & (rest == 0).all(dim=0)
    shown, steep = believed(line[0], limit), belief(line[0], limit) * line[1]
    return torch.where(normal, z, shown), torch.where(normal, 1.0, steep) / scale


def log_density(z: Tensor, c: Tensor) -> Tensor:
    """Return sum_i c_i z^i."""
    out = torch.zeros_like(z)
    for coefficient in c.flip(0):
        out = (out + coefficient) * z
    return out


def _mass(low: Tensor, high: Tensor, c: Tensor, top: Tensor) -> Tensor:
    """Return the integrals of exp(sum_i c_i z^i - top) over [low, high], (m, d) each."""
    nodes, weights = (torch.tensor(part, device=low.device) for part in legendre_rule(PANEL))
    half = (high - low) / 2
    z = (low + high) / 2 + half * nodes[:, None, None]
    height = (log_density(z, c) - top).clamp(-LARGEST, LARGEST)
    return half * (weights[:, None, None] * height.exp()).sum(dim=0)
