"""Gradients through a fitted density by the implicit function theorem, never through iterations.

The multipliers solve E_p h = mu on [a, b]. With H = Cov_p(h), differentiating that equation gives

    d lambda = H^{-1} (d mu + p(a) (h(a) - mu) d a - p(b) (h(b) - mu) d b),

and what a density says of a point then has closed derivatives to the point, the multipliers and the
ends. All functions here work in standardised coordinates and float64, columns first; they can be
differentiated once.

Sources: B. Christianson, Reverse accumulation and attractive fixed points, Optim. Methods Softw. 3
(1994) 311-326; A. Griewank and A. Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, chapter 15.
"""

# ruff: noqa: ARG004  (values come from the table, gradients go to the arguments)
from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from distfit_nn.maxent.tensors import panels as torch_panels
from distfit_nn.maxent.tensors.table import Table

RIDGE = 1e-15  # of a unit diagonal: what rounding leaves of a singular Hessian


def solve_hessian(hessian: Tensor, g: Tensor) -> Tensor:
    """Return H^{-1} g for H (d, k, k), g (d, k), by Cholesky on the unit-diagonal H.

    Where rounding leaves H not positive definite, small eigenvalues are raised.
    """
    tiny = torch.finfo(g.dtype).tiny
    scale = hessian.diagonal(dim1=1, dim2=2).clamp_min(tiny).rsqrt()
    scaled = torch.nan_to_num(hessian * (scale[:, :, None] * scale[:, None, :]))
    factor, info = torch.linalg.cholesky_ex(scaled)
    right = (g * scale)[:, :, None]
    out = torch.cholesky_solve(right, factor)
    failed = info.nonzero()[:, 0]
    if len(failed):
        values, vectors = torch.linalg.eigh(scaled[failed])
        values = values.clamp_min(RIDGE * g.shape[1])
        out[failed] = vectors @ ((vectors.mT @ right[failed]) / values[:, :, None])
    return out[:, :, 0] * scale


class Optimum(Function):
    """lambda (d, k) as a function of moments mu (d, k) and ends a, b (d,).

    `table` holds the solution; `exact` (d,) the columns that have these moments: in others the
    gradient is 0.
    """

    @staticmethod
    def forward(
        ctx: Any, moments: Tensor, lower: Tensor, upper: Tensor, table: Table, exact: Tensor
    ) -> Tensor:
        """Return the multipliers of the table."""
        ctx.table, ctx.exact = table, exact
        return table.coefficients.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Return H^{-1} g and its products with what the ends do to E_p h."""
        table = ctx.table
        g = torch.where(ctx.exact[:, None], g, 0.0)
        r = solve_hessian(table.covariance, g)
        r = torch.where(ctx.exact[:, None], r, 0.0)

        def rate(end: Tensor) -> Tensor:
            at = end[:, None]
            inner = torch_panels.series(r, at)[:, 0] - (r * table.moments).sum(dim=1)
            return table.log_density(at)[:, 0].exp() * inner

        return r, rate(table.lower), -rate(table.upper), None, None


class SampleMeans(Function):
    """Weighted means mu (d, k) of h_1..h_k of z = (x - loc) / scale, as a function of x (n, d).

    The value is `means`, known from the fit. The gradient, w_l sqrt(i) h_{i-1}(z_l) / scale, treats
    loc and scale as constants: they only choose the coordinates.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, loc: Tensor, scale: Tensor, shares: Tensor | None, means: Tensor
    ) -> Tensor:
        """Return the means that are known."""
        ctx.save_for_backward(x)
        ctx.parts = loc, scale, shares
        return means.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient to x, of its dtype, made in blocks of rows."""
        (x,) = ctx.saved_tensors
        loc, scale, shares = ctx.parts
        out = torch.empty_like(x)
        step = torch_panels.block_values(x.device) // x.shape[1]
        for rows in torch_panels.slices(len(x), step):
            z = ((x[rows].to(g.dtype) - loc) / scale).T
            slope = torch_panels.slope(g, z).T / scale
            share = 1 / len(x) if shares is None else shares[rows].to(g.dtype)
            out[rows] = torch.nan_to_num(slope * share, posinf=math.inf, neginf=-math.inf)
        return out, None, None, None, None


class LogNormaliser(Function):
    """log Z (d,) as a function of lambda (d, k) and the ends: gradient E_p h, -p(a) and p(b)."""

    @staticmethod
    def forward(
        ctx: Any, coefficients: Tensor, lower: Tensor, upper: Tensor, table: Table
    ) -> Tensor:
        """Return log Z of the table."""
        ctx.table = table
        return table.log_z.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Return g times the gradient."""
        table = ctx.table
        ends = torch.stack([table.lower, table.upper], dim=1)
        below, above = (table.log_density(ends).exp() * g[:, None]).unbind(dim=1)
        return table.moments * g[:, None], -below, above, None


class LogDensity(Function):
    """u(z) = sum_i lambda_i h_i(z) (d, m), as a function of z (d, m) and lambda."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, coefficients: Tensor) -> Tensor:
        """Return the sum."""
        ctx.save_for_backward(z, coefficients)
        return torch_panels.series(coefficients, z)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Return g u'(z), and the sums of g h_i(z)."""
        z, coefficients = ctx.saved_tensors
        rows = torch_panels.hermite(z, coefficients.shape[1])
        sums = torch.stack([(g * h).sum(dim=1) for h in rows][1:], dim=1)
        return g * torch_panels.slope(coefficients, z), sums


class Tail(Function):
    """The mass of the tail that ends at z (d, m): above z where `upper` is set, below it elsewhere.

    As a function of z, lambda and the ends; the derivatives are in `Table.adjoint`.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, coefficients: Tensor, lower: Tensor, upper: Tensor, table: Table
    ) -> tuple[Tensor, Tensor]:
        """Return the mass, and which tail it is."""
        mass, above = table.tail(z)
        ctx.table = table
        ctx.save_for_backward(z, above)
        ctx.mark_non_differentiable(above)
        return mass, above

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Return g dm/dz = +-g p(z), 0 outside the support, and the adjoint of g."""
        z, above = ctx.saved_tensors
        table: Table = ctx.table
        to_z = None
        if ctx.needs_input_grad[0]:
            to_z = g * _density(table, z) * torch.where(above, -1.0, 1.0)
        rest: tuple[Tensor | None, ...] = (None, None, None)
        if any(ctx.needs_input_grad[1:4]):
            rest = table.adjoint(z, above, torch.where(_inside(table, z), g, 0.0))
        return to_z, *rest, None


class Quantile(Function):
    """The point z (d, m) with mass q above it where `above` is set, below it elsewhere.

    As a function of q, lambda and the ends: with m(z, theta) = q, dz = (dq - dm/dtheta) / (dm/dz).
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        above: Tensor,
        coefficients: Tensor,
        lower: Tensor,
        upper: Tensor,
        table: Table,
    ) -> Tensor:
        """Return the points."""
        z = table.quantile(q, above)
        ctx.table = table
        ctx.save_for_backward(z, above)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Return g / (dm/dz) and the adjoint of minus that."""
        z, above = ctx.saved_tensors
        table: Table = ctx.table
        v = g / _density(table, z) * torch.where(above, -1.0, 1.0)
        v = torch.where(g == 0, 0.0, v)
        rest: tuple[Tensor | None, ...] = (None, None, None)
        if any(ctx.needs_input_grad[2:5]):
            # The signs of both tails are those of the masses; a point at an end stays there.
            rest = tuple(-part for part in table.adjoint(z, above, v))
        return v, None, *rest, None


def _inside(table: Table, z: Tensor) -> Tensor:
    """Return which points (d, m) are on the support: beyond it the masses are 0 and 1 for good."""
    return (z >= table.lower[:, None]) & (z <= table.upper[:, None])


def _density(table: Table, z: Tensor) -> Tensor:
    """Return p(z), 0 outside the support."""
    inside = _inside(table, z)
    return torch.where(inside, table.log_density(torch.where(inside, z, 0.0)).exp(), 0.0)
