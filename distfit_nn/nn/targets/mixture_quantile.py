"""z -> F^-1(Phi(z)) of Gaussian mixtures F, by torch's operators or the compiled kernel.

See `mixture` for the equations. Mixtures are given by logits, means and logarithms of scales, each
(F, K), or as `Parts`.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from distfit_nn.nn import column_work
from distfit_nn.nn.targets.constants import is_traced
from distfit_nn.nn.targets.once import once

ROOT_2 = math.sqrt(2)
ROOT_2_PI = math.sqrt(2 * math.pi)
EDGE = 8.5  # of z: beyond, the quantile goes on with the slope of the widest component
NODES = 35  # of each component, by operators
ITERATIONS = 4
LEAST_DENSITY = 1e-6  # of y relative to that of z: no gradient is larger than 1 / that
TOLERANCE = {torch.float32: 3e-8, torch.float64: 1e-15}  # of a mass, relative, in the kernel

Parts = list[tuple[Tensor, Tensor, Tensor]]  # weight, mean, scale of each component


def compiled(z: Tensor, means: Tensor) -> bool:
    """Tell whether the kernel takes z."""
    plain = z.device.type == "cpu" == means.device.type and type(z) is Tensor
    return plain and not is_traced()


def solved(z: Tensor, given: tuple[Tensor, ...]) -> Tensor:
    """Return F^-1(Phi(z)) of rows (R, n) by the kernel; row r has the mixture r % F."""
    y: Tensor = _Solved.apply(z, *given)
    return y


class _Solved(Function):
    """F^-1(Phi(z)) of rows (R, n) by the kernel; logits, means and log scales are (F, K)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, *given: Tensor) -> Tensor:
        from distfit_nn.nn.targets import mixture_kernel as kernel

        parts = _numbers(*given)
        _, features, k = parts.shape
        size = 1 << (k * kernel.NODES - 1).bit_length()
        table, rows = np.empty((features, 3, size)), z.detach().contiguous()
        y = torch.empty_like(rows)
        arrays = rows.numpy(), parts, table, TOLERANCE[z.dtype], y.numpy()
        column_work.in_parts(
            lambda *part: kernel.tabulate(parts, table, *part), features, table.size
        )
        column_work.in_parts(lambda *part: kernel.solve(*arrays, *part), len(y), y.numel())
        ctx.save_for_backward(rows, y, *given)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        # Only with create_graph=True are gradients on a graph, too.
        slopes = _Slopes.apply if torch.is_grad_enabled() else _Slopes.forward
        by_all: tuple[Tensor, ...] = slopes(gradient, *ctx.saved_tensors)
        return by_all


class _Slopes(Function):
    """The gradients by z, logits, means and log scales, which have none of their own."""

    @staticmethod
    def forward(gradient: Tensor, z: Tensor, y: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        from distfit_nn.nn.targets import mixture_kernel as kernel

        parts = _numbers(*given)
        by_z, g = torch.empty_like(z), gradient.detach().contiguous()
        arrays = [part.detach().numpy() for part in (z, y, g)]

        def work(*part: int) -> np.ndarray:
            sums = np.zeros_like(parts)
            kernel.slopes(*arrays, parts, by_z.numpy(), sums, *part)
            return sums

        sums = torch.from_numpy(column_work.in_parts(work, len(z), z.numel()))
        return by_z, *(total.to(part.dtype) for total, part in zip(sums, given, strict=True))

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> NoReturn:
        raise RuntimeError("a target can be differentiated once, not twice")


def _numbers(logits: Tensor, means: Tensor, log_scales: Tensor) -> np.ndarray:
    """Return weights, means and scales in float64, (3, F, K)."""
    wide = [part.detach().double() for part in (logits, means, log_scales)]
    return torch.stack([wide[0].softmax(dim=-1), wide[1], wide[2].exp()]).numpy()


def density(y: Tensor, parts: Parts) -> Tensor:
    """Return the density at y (F, n)."""
    terms = [w / s * torch.exp(-((y - m) / s).square() / 2) for w, m, s in parts]
    return torch.stack(terms).sum(dim=0) / ROOT_2_PI


def log_density(y: Tensor, parts: Parts) -> Tensor:
    """Return its logarithm, exact far out, too."""
    terms = [(w / s).log() - ((y - m) / s).square() / 2 for w, m, s in parts]
    return torch.stack(terms).logsumexp(dim=0) - math.log(ROOT_2_PI)


def mass(y: Tensor, parts: Parts, side: Tensor) -> Tensor:
    """Return the mass above y where `side` is 1, below it where that is -1."""
    terms = [w * torch.erfc(side * (y - m) / (ROOT_2 * s)) for w, m, s in parts]
    return torch.stack(terms).sum(dim=0) / 2


def quantile(z: Tensor, parts: Parts) -> Tensor:
    """Return F^-1(Phi(z)) of rows (F, n) by operators, differentiable in z and the parts, once."""
    inner = z.clamp(-EDGE, EDGE)
    side = torch.where(z.detach() > 0, 1.0, -1.0).to(z.dtype)
    with torch.no_grad():
        y = _solved(inner, parts, side)
        normal = torch.exp(-inner.square() / 2) / ROOT_2_PI
        rate = side / torch.maximum(density(y, parts), LEAST_DENSITY * normal)
    excess = mass(y, parts, side) - torch.erfc(side * inner / ROOT_2) / 2
    y = y + (excess - excess.detach()) * rate
    widest = torch.stack([s for _, _, s in parts]).amax(dim=0)
    y = y + (z - inner) * widest
    return y if torch.compiler.is_compiling() else once(y)


def _solved(z: Tensor, parts: Parts, side: Tensor) -> Tensor:
    """Return the solution of F(y) = Phi(z), z (features, n), without a graph."""
    y, low, high = _started(z, parts)
    wanted = (torch.erfc(side * z / ROOT_2) / 2).log()
    for _ in range(ITERATIONS):
        found = mass(y, parts, side)
        gap = (found.log() - wanted) * side  # falls as y grows, on either side
        low, high = torch.where(gap > 0, y, low), torch.where(gap > 0, high, y)
        newton = gap * found / density(y, parts)
        within = (y + newton).clamp(low, high)
        y = torch.where(newton.abs() < high - low, within, low + (high - low) / 2)
    return y


def _started(z: Tensor, parts: Parts) -> tuple[Tensor, Tensor, Tensor]:
    """Return first guesses of y (features, n), and brackets.

    Nodes in y lie around each component; between the z of two of them stands the cubic by z.
    """
    steps = torch.linspace(-EDGE, EDGE, NODES, dtype=z.dtype, device=z.device)
    nodes = torch.cat([m + s * steps for _, m, s in parts], dim=-1).sort(dim=-1).values
    masses = [mass(nodes, parts, torch.full_like(nodes, side)) for side in (-1, 1)]
    below, above = map(torch.special.ndtri, masses)
    scores = torch.where(masses[0] < masses[1], below, -above)
    slopes = torch.exp(-scores.square() / 2) / ROOT_2_PI / density(nodes, parts)

    place = torch.searchsorted(scores, z.contiguous()).clamp(1, nodes.shape[-1] - 1)
    table = torch.stack([nodes, scores, slopes], dim=-1)
    row = torch.arange(len(nodes), device=z.device)[:, None] * torch.ones_like(place)
    (y0, z0, s0), (y1, z1, s1) = (table[row, at].unbind(-1) for at in (place - 1, place))
    width, rise = z1 - z0, y1 - y0
    t = ((z - z0) / width.clamp(min=torch.finfo(z.dtype).tiny)).clamp(0, 1)
    m0, m1 = (torch.minimum(slope * width, 3 * rise) for slope in (s0, s1))
    y = y0 + t * (m0 + t * (3 * rise - 2 * m0 - m1 + t * (m0 + m1 - 2 * rise)))
    return y, y0, y1
