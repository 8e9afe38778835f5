"""The damped Newton on the dual problem, on batches of columns, on any device of torch.

As `reference` it minimises log Z(lambda) - lambda . mu over the columns' multipliers, but all
columns take their steps together: a pass over the quadrature evaluates log Z and the moments of
h_0..h_2k at each column's trial point, from which come the value, the gradient and, by
h_i h_j = sum_m c_ijm h_m, the Hessian. A column whose trial does not bring the decrease of Armijo's
rule tries a shorter step in the next pass, the others set off for their next point. Columns that
have converged are masked, and the rest gathered into a smaller batch when half have.

Each column has panels of its own, all the same number of them. After convergence every panel is
compared with its two halves in float64; columns with an inexact panel go on with more panels, put
where their own errors are. What is not exact after some rounds is left to the solver on the CPU.

Memory: besides what comes in and goes out, WORK_BYTES of the device at the most, on which the
number of columns that are worked on at once depends.

Source: L. R. Mead and N. Papanicolaou, J. Math. Phys. 25 (1984) 2404, the dual.
"""

from __future__ import annotations

import math
from dataclasses import fields
from functools import cache

import numpy as np
import torch
from torch import Tensor

from distfit_nn.maxent import basis
from distfit_nn.maxent.solution import RESIDUAL_TOLERANCE
from distfit_nn.maxent.tensors import panels as torch_panels
from distfit_nn.maxent.tensors.problem import Minimum, TensorProblem

WORK_BYTES = {"cpu": 1 << 24, "other": 1 << 31}
FIRST_PANELS = (12, 12, 12, 14, 14, 16, 16, 18, 18, 20, 20, 22, 22)  # by order
MOST_PANELS = 96
PANEL_TOLERANCE = 1e-12  # of an integral over a panel against its halves
ROUNDS = 12  # of Newton steps, after each of which panels are refined
MOST_PASSES = 30  # over the quadrature, in one round
DECREMENT = {torch.float64: 1e-9, torch.float32: 1e-4}  # one full step follows
# A residual of columns solved in float32, whose rounding is 1e-7 (times the conditioning).
FLOAT32_TOLERANCE = 2e-6
# A rule may have no solution where the integral has one, and Newton then runs away. A column that
# has not converged, with errors of the panels above this, goes back to where it last had smaller
# ones, or to its start, and on from there with better panels.
LOST = 1e-2
ARMIJO = 1e-4
LEAST_STEP = 1e-9  # of a line search
LARGEST_RIDGE = 1e3


@cache
def _products(order: int) -> np.ndarray:
    """Return c (2k + 1, k k) with h_i h_j = sum_m c[m, (i, j)] h_m, i, j = 1..k."""
    out = np.zeros((2 * order + 1, order, order))
    by_order = basis.products(order)
    for i in range(order):
        for j in range(order):
            r = np.arange(min(i, j) + 2)
            out[i + j + 2 - 2 * r, i, j] = by_order[i + 1, j + 1, r]
    return out.reshape(2 * order + 1, order * order)


@cache
def _to_monomials(order: int) -> np.ndarray:
    return np.array(basis.monomials_in_hermite(order)[1:])


def residual(moments: Tensor, targets: Tensor) -> Tensor:
    """Return max_i abs(E_p z^i - m_i) / max(1, abs(m_i)), (d,), from moments of h_1..h_k (d, k)."""
    matrix = torch.as_tensor(_to_monomials(targets.shape[1]), device=targets.device)
    wanted = matrix[:, 0] + targets @ matrix[:, 1:].T
    error = ((moments - targets) @ matrix[:, 1:].T).abs()
    return (error / wanted.abs().clamp_min(1)).amax(dim=1)


def bumps(targets: Tensor) -> Tensor:
    """Return the multipliers (d, k) of -a pi^2, pi orthonormal of degree k // 2 under the targets.

    See `reference.start`. 0, the uniform density, at order 1 and where the targets have no such pi.
    """
    columns, order = targets.shape
    degree = order // 2
    out = torch.zeros_like(targets)
    if degree == 0:
        return out
    products = torch.as_tensor(_products(degree), device=targets.device)
    mean = targets[:, :degree]
    even = targets[:, : 2 * degree]
    covariance = (products[0] + even @ products[1:]).reshape(columns, degree, degree)
    covariance = covariance - mean[:, :, None] * mean[:, None, :]
    factor, info = torch.linalg.cholesky_ex(covariance)
    last = torch.zeros_like(mean)
    last[:, -1] = 1.0
    pi = torch.linalg.solve_triangular(factor.mT, last[:, :, None], upper=True)[:, :, 0]
    constant = -(pi * mean).sum(dim=1, keepdim=True)
    square = (pi[:, :, None] * pi[:, None, :]).reshape(columns, -1) @ products.T
    square[:, 1 : degree + 1] += 2 * constant * pi
    height = 0.5 if degree == 1 else 0.25
    out[:, : 2 * degree] = -height * square[:, 1:]
    known = (info == 0) & out.isfinite().all(dim=1)
    return torch.where(known[:, None], out, 0.0)


class _Batch:
    """The state of the columns that still take Newton steps on panels of their own."""

    def __init__(self, start: Tensor, targets: Tensor, edges: Tensor, dtype: torch.dtype) -> None:
        columns, order = targets.shape
        nodes, weights = (grid.reshape(columns, -1) for grid in torch_panels.panel_nodes(edges))
        self.h = nodes.new_empty((columns, 2 * order + 1, nodes.shape[1]), dtype=dtype)
        for i, row in enumerate(torch_panels.hermite(nodes, 2 * order)):
            self.h[:, i] = row
        self.weights = weights.to(dtype)
        self.targets = targets.to(dtype)
        self.products = torch.as_tensor(_products(order), device=targets.device).to(dtype)
        self.columns = torch.arange(columns, device=targets.device)
        self.point = start.to(dtype)
        self.direction = torch.zeros_like(self.point)
        self.step = self.point.new_ones(columns)
        self.value = torch.full_like(self.step, math.inf)
        self.noise = torch.zeros_like(self.step)
        self.slope = torch.zeros_like(self.step)
        self.ridge = torch.zeros_like(self.step)
        self.decrement = torch.full_like(self.step, math.inf)
        self.taken = torch.zeros_like(self.columns)
        self.converged = torch.zeros_like(self.columns, dtype=torch.bool)
        self.active = torch.ones_like(self.converged)

    def evaluate(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Return log Z (d,) and the moments E h_0..E h_2k (d, 2k + 1)."""
        order = point.shape[1]
        u = torch.bmm(point[:, None], self.h[:, 1 : order + 1])[:, 0]
        top = u.amax(dim=1, keepdim=True)
        mass = u.sub_(top).exp_().mul_(self.weights)
        sums = torch.bmm(self.h, mass[:, :, None])[:, :, 0]
        total = sums[:, :1]
        return (top + total.log())[:, 0], sums / total

    def advance(self) -> None:
        """Evaluate the trial points; move the columns that accept them, shorten other steps."""
        eps = torch.finfo(self.point.dtype).eps
        trial = self.point + self.step[:, None] * self.direction
        log_z, moments = self.evaluate(trial)
        linear = (trial * self.targets).sum(dim=1)
        value = log_z - linear
        bound = self.value + ARMIJO * self.step * self.slope + self.noise
        accepted = (value <= bound) & self.active
        noise = 8 * eps * (log_z.abs() + linear.abs())
        direction, slope, factored = self._direction(moments)
        ridge = torch.where(factored, 0.0, (100 * self.ridge).clamp_min(100 * eps))

        self.step = torch.where(accepted, (4 * self.step).clamp_max(1.0), self._shorter(value))
        self.point = torch.where(accepted[:, None], trial, self.point)
        for name, new in (("value", value), ("noise", noise), ("slope", slope), ("ridge", ridge)):
            setattr(self, name, torch.where(accepted, new, getattr(self, name)))
        self.direction = torch.where(accepted[:, None], direction, self.direction)
        self.taken += accepted & factored
        decrement = (-slope).clamp_min(0).sqrt()
        self.decrement = torch.where(accepted & factored, decrement, self.decrement)
        done = accepted & factored & (decrement < DECREMENT[self.point.dtype])
        self.point = torch.where(done[:, None], self.point + self.direction, self.point)
        self.converged |= done
        stuck = (self.step < LEAST_STEP) | ~(self.ridge <= LARGEST_RIDGE)
        self.active &= ~(done | stuck)

    def _shorter(self, value: Tensor) -> Tensor:
        """Return the step where a parabola through value and slope here, and there, is least."""
        rise = value - self.value - self.step * self.slope
        least = -self.slope * self.step / (2 * rise)
        return self.step * torch.nan_to_num(least, nan=0.1).clamp(0.1, 0.5)

    def _direction(self, moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the Newton directions (d, k), their slopes, and where the Hessian was factored.

        Elsewhere the direction is 0: the column meets the next pass where it is, with more ridge.
        """
        order = self.targets.shape[1]
        mean = moments[:, 1 : order + 1]
        hessian = (moments @ self.products).reshape(-1, order, order)
        hessian = hessian - mean[:, :, None] * mean[:, None, :]
        tiny = torch.finfo(mean.dtype).tiny
        scale = hessian.diagonal(dim1=1, dim2=2).clamp_min(tiny).rsqrt()
        scaled = hessian * (scale[:, :, None] * scale[:, None, :])
        scaled.diagonal(dim1=1, dim2=2).add_(self.ridge[:, None])
        gradient = mean - self.targets
        factor, info = torch.linalg.cholesky_ex(torch.nan_to_num(scaled))
        solved = torch.cholesky_solve((-gradient * scale)[:, :, None], factor)[:, :, 0] * scale
        slope = (gradient * solved).sum(dim=1)
        factored = (info == 0) & slope.isfinite()
        direction = torch.where(factored[:, None], solved, 0.0)
        return direction, torch.where(factored, slope, 0.0), factored

    def keep(self, chosen: Tensor) -> None:
        """Keep the chosen columns only."""
        for name, value in vars(self).items():
            if name != "products":
                setattr(self, name, value[chosen])


def newton(
    start: Tensor, targets: Tensor, edges: Tensor, dtype: torch.dtype, passes: int
) -> Minimum:
    """Take damped Newton steps on fixed panels (d, panels + 1), in `passes` passes at the most.

    start, targets (d, k) of float64. Of the answer only the coefficients, iterations, decrement and
    `solved`, here whether Newton converged, are written.
    """
    problem = TensorProblem(targets, *(targets[:, 0],) * 4)
    out = Minimum.empty(problem)
    batch = _Batch(start, targets, edges, dtype)
    for _ in range(passes):
        batch.advance()
        remaining = int(batch.active.sum())  # the one wait for the device in a pass
        if 2 * remaining <= len(batch.active):
            _store(out, batch, ~batch.active)
            if remaining == 0:
                return out
            batch.keep(batch.active.nonzero()[:, 0])
    _store(out, batch, torch.ones_like(batch.active))
    return out


def _store(out: Minimum, batch: _Batch, which: Tensor) -> None:
    """Write the batch's columns marked in `which` to the answer."""
    rows = which.nonzero()[:, 0]
    columns = batch.columns[rows]
    out.coefficients[columns] = batch.point[rows].to(out.coefficients.dtype)
    out.decrement[columns] = batch.decrement[rows].to(out.decrement.dtype)
    out.iterations[columns] = batch.taken[rows]
    out.solved[columns] = batch.converged[rows]


def check(coefficients: Tensor, edges: Tensor) -> tuple[Minimum, Tensor, Tensor]:
    """Compare every panel with its two halves, in float64; see `reference.check`.

    Returns
    -------
    Minimum
        Of which moments, log_normaliser and quadrature_error are written.
    errors : (d, panels)
        Largest change of an integral of p h_i, relative to max(1, E_p abs(h_i)).
    limit : (d,)
        What an error may be: the tolerance, or what rounding in sum_i lambda_i h_i does.
    """
    columns, order = coefficients.shape
    panels = edges.shape[1] - 1
    eps = torch.finfo(coefficients.dtype).eps
    fine_z, fine_w = torch_panels.panel_nodes(torch_panels.halved(edges))
    z, w = torch_panels.panel_nodes(edges)
    u = torch_panels.series(coefficients, fine_z)
    top = u.amax(dim=(1, 2), keepdim=True)
    p = (u - top).exp_().mul_(fine_w)
    total = p.sum(dim=(1, 2), keepdim=True)
    p /= total
    log_z = (top + total.log())[:, 0, 0]
    coarse = (torch_panels.series(coefficients, z) - log_z[:, None, None]).clamp_max(700.0)
    coarse = coarse.exp_().mul_(w)
    errors = torch_panels.hidden_mass(coefficients, edges, log_z)
    noise = torch.zeros_like(log_z)
    moments = []
    both = zip(torch_panels.hermite(fine_z, order), torch_panels.hermite(z, order), strict=True)
    for i, (fine_h, h) in enumerate(both):
        term = fine_h * p
        fine = term.sum(dim=2)
        size = term.abs_().sum(dim=(1, 2))
        halves = fine.reshape(columns, panels, 2).sum(dim=2)
        change = ((h * coarse).sum(dim=2) - halves).abs() / size.clamp_min(1)[:, None]
        errors = torch.maximum(errors, change)
        if i:
            moments.append(fine.sum(dim=1))
            noise += 16 * eps * coefficients[:, i - 1].abs() * size
    answer = Minimum.empty(TensorProblem(coefficients, *(log_z,) * 4))
    answer.moments[:] = torch.stack(moments, dim=1)
    answer.log_normaliser[:] = log_z
    answer.quadrature_error[:] = errors.amax(dim=1)
    return answer, errors, noise.clamp_min(PANEL_TOLERANCE)


def minimise_columns(problem: TensorProblem, dtype: torch.dtype = torch.float64) -> Minimum:
    """Fit all columns of the problem, as far as batches on tensors lead.

    Parameters
    ----------
    problem : TensorProblem
        d columns in float64.
    dtype : torch.float64 or torch.float32
        Of the Newton steps. Whether a column is solved is decided in float64: by a residual of at
        most 1e-8, or 2e-6 after steps in float32; where these do not get there, others in float64
        follow.

    Returns
    -------
    Minimum
        Columns that are not `solved` await another solver.
    """
    out = Minimum.empty(problem)
    order = problem.targets.shape[1]
    for part in torch_panels.slices(
        len(problem.targets), _columns_at_once(problem.targets, FIRST_PANELS[order])
    ):
        out.write(part, _rounds(problem[part], dtype))
    return out


def _columns_at_once(targets: Tensor, panels: int) -> int:
    """Return how many columns with so many panels WORK_BYTES suffice for."""
    # The basis to order 2k, and some rows more; in the check rows of twice the width.
    rows = 2 * targets.shape[1] + 12
    kind = "cpu" if targets.device.type == "cpu" else "other"
    return WORK_BYTES[kind] // (8 * rows * panels * torch_panels.NODES)


def _attempt(
    start: Tensor, targets: Tensor, edges: Tensor, dtype: torch.dtype
) -> tuple[Minimum, Tensor, Tensor, Tensor]:
    """Take Newton steps on fixed panels, and compare these with their halves.

    Returns what `check` returns, with the numbers of `newton` written, and where that converged.
    """
    panels = edges.shape[1] - 1
    parts = []
    for part in torch_panels.slices(len(start), _columns_at_once(targets, panels)):
        attempt = newton(start[part], targets[part], edges[part], dtype, MOST_PASSES)
        answer, errors, limit = check(attempt.coefficients, edges[part])
        for name in ("coefficients", "decrement", "iterations", "solved"):
            getattr(answer, name)[:] = getattr(attempt, name)
        parts.append((answer, errors, limit))
    answer = parts[0][0]
    if len(parts) > 1:
        joined = (torch.cat([getattr(p[0], f.name) for p in parts]) for f in fields(Minimum))
        answer = Minimum(*joined)
    errors, limit = torch.cat([p[1] for p in parts]), torch.cat([p[2] for p in parts])
    return answer, errors, limit, answer.solved.clone()


def _rounds(problem: TensorProblem, dtype: torch.dtype) -> Minimum:
    """Alternate Newton steps and refinement of the panels, on the columns that need them."""
    order = problem.targets.shape[1]
    tolerance = RESIDUAL_TOLERANCE if dtype == torch.float64 else FLOAT32_TOLERANCE
    edges = torch_panels.first_edges(problem.lower, problem.upper, FIRST_PANELS[order])
    start = bumps(problem.targets)
    safe = start.clone()
    out = Minimum.empty(problem)
    columns = torch.arange(len(start), device=start.device)
    for i in range(ROUNDS):
        targets = problem.targets[columns]
        kind = torch.float64 if i else dtype  # what float32 does not solve, it has begun
        answer, errors, limit, converged = _attempt(start, targets, edges, kind)
        answer.iterations[:] += out.iterations[columns]
        answer.residual[:] = residual(answer.moments, targets)
        exact = (errors <= limit[:, None]).all(dim=1)
        answer.solved[:] = converged & exact & (answer.residual <= tolerance)
        out.write(columns, answer)
        parts = torch_panels.parts_for(errors, limit)
        count = parts.sum(dim=1)
        again = ~answer.solved & (count <= MOST_PANELS) & answer.log_normaliser.isfinite()
        rows = again.nonzero()[:, 0]
        if len(rows) == 0:
            break
        wrong = ~(answer.quadrature_error <= LOST)
        last = torch.where(wrong[:, None], safe[columns], answer.coefficients)
        safe[columns] = last
        lost = wrong & ~converged
        start = torch.where(lost[:, None], last, answer.coefficients)[rows]
        columns = columns[rows]
        edges = torch_panels.cut(edges[rows], parts[rows], int(count[rows].max()))
    return out
