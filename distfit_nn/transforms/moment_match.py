"""Columns carried to normal scores by their own moments, for use inside a training step.

Column by column, with z = (x - mean) / std, F1 the density of largest entropy on [-R, R] with the
standardised moments m_3, ..., m_k of the column (and mean 0, variance 1), and Phi the normal
distribution function,

    y = weight * sqrt(var / (var + eps)) * g(Phi^-1(F1(z))) + bias,

with g of `moment_reach`: scores are believed up to +-3 and count by a logarithm beyond. Of order 2
this is batch norm. g(Phi^-1(F1)) is tabulated on the range of the column, as monotone
cubics; the gradient is the exact adjoint of the table, by way of the values and of the moments.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from distfit_nn._checks import whole_number
from distfit_nn.errors import InputError
from distfit_nn.maxent.basis import legendre_rule
from distfit_nn.transforms.moment_reach import REACH, belief, believed, checked
from distfit_nn.transforms.moment_rules import MARGIN, RADII, RADIUS, WIDER

ORDERS = (2, 8)
OK, REGULARISED, AFFINE, INVALID = range(4)
PANEL, EDGES = 8, 201  # Gauss nodes of a panel, and edges of panels besides the nodes of a table
CHUNK = 64  # panels at a time
SEEN = 4.0  # how far data are thought to reach where only their moments are known
LARGEST, LEAST = 700.0, 1e-290  # exponents and masses are cut


class Moments(NamedTuple):
    """What a batch says of its columns: float64, without graph."""

    law: Tensor
    """(k + 1, d): mean, variance, the means of z^3, ..., z^k, and max |z|."""
    radius: Tensor
    """(d,): half the width of the support, in standard deviations."""
    status: Tensor
    """(d,) int64: OK; REGULARISED (the moments were drawn towards the normal distribution's);
    AFFINE (no density: the column is standardised); INVALID (NaN or inf: y is NaN)."""

    @property
    def mean(self) -> Tensor:
        """(d,)."""
        return self.law[0]

    @property
    def var(self) -> Tensor:
        """(d,), of the population (divided by n)."""
        return self.law[1]

    @property
    def shape(self) -> Tensor:
        """(k - 2, d): the means of z^3, ..., z^k; NaN of a constant."""
        return self.law[2:-1]

    @property
    def extreme(self) -> Tensor:
        """(d,): max |z|; 0 of a constant."""
        return self.law[-1]


def support_radius(extreme: Tensor) -> Tensor:
    """Return R for the largest |z| of a column: 10, or the least 10 * 1.25^j above 1.2 max|z|.

    For odd k the density follows the support. It is the same, then, for batches of any size, of any
    law, that reach less far than 10 / 1.2 standard deviations.
    """
    steps = torch.log(MARGIN * extreme.double() / RADIUS) / math.log(WIDER)
    return RADIUS * WIDER ** steps.nan_to_num(0.0).ceil().clamp(0, RADII - 1)


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
        from distfit_nn.transforms.moment_tensors import composed

        return composed(x, order, weight, bias, eps, reach)
    line = (
        (x.new_ones(x.shape[1]) if weight is None else weight),
        (x.new_zeros(x.shape[1]) if bias is None else bias),
    )
    y, *told = _Matched.apply(x, *line, order, float(eps), limit)
    return y, Moments(*told)


def status_of(share: Tensor, finite: Tensor) -> Tensor:
    """Return the status of columns from the share of N(0, 1) in their moments."""
    status = (share > 0).long() + (share >= 1).long()
    return torch.where(finite, status, INVALID)


class _Matched(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, order: int, eps: float, reach: float
    ) -> tuple[Tensor, ...]:
        from distfit_nn.transforms import moment_columns

        columns = x.detach().numpy()
        if not (columns.flags.c_contiguous or columns.T.flags.c_contiguous):
            columns = np.ascontiguousarray(columns)
        line = _plain(weight), _plain(bias)
        y, kept = moment_columns.forward(columns, order, *line, eps, reach)
        _, *parts = (torch.from_numpy(part) for part in kept)
        ctx.eps, ctx.reach = eps, reach
        ctx.save_for_backward(x, weight, bias, *parts)
        told = [torch.from_numpy(part) for part in moment_columns.told(kept)]
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
        from distfit_nn.transforms import moment_columns

        columns, slopes = x.detach().numpy(), gradient.detach().numpy()
        if not (columns.flags.c_contiguous or columns.T.flags.c_contiguous):
            columns = np.ascontiguousarray(columns)
        kept = moment_columns.Kept(columns, *(part.numpy() for part in parts))
        dx, dweight, dbias = moment_columns.backward(kept, slopes, _plain(weight), eps, reach)
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
    from distfit_nn.transforms import moment_rules
    from distfit_nn.transforms import moment_solve_kernel as kernel
    from distfit_nn.transforms.moment_patient import solve_rest

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
            moment_rules.rules(),
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
