"""Gaussian mixtures with a quantile function that can be differentiated, also in their parameters.

    F(y) = sum_k w_k Phi((y - m_k) / s_k),   F(y) = Phi(z)

has its solution between the smallest and the largest of m_k + s_k z. Cubics between nodes around
the components are a start, and Newton steps find it, on the logarithm of the mass on that side of y
that z is on; bisection stands in where they would be longer than the bracket. Gradients follow from
the equation itself: dy = (phi(z) dz - d_theta F(y)) / p(y).

On the CPU a compiled kernel does it (`mixture_kernel`); elsewhere, under `torch.compile`,
`torch.export`, `torch.jit.trace` and the transforms of `torch.func`, torch's own operators do.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.nn import column_work
from distfit_nn.nn.once import once

ROOT_2 = math.sqrt(2)
ROOT_2_PI = math.sqrt(2 * math.pi)
EDGE = 8.5  # of z: beyond, the quantile goes on with the slope of the widest component
NODES = 35  # of each component, by operators
ITERATIONS = 4
LEAST_DENSITY = 1e-6  # of y relative to that of z: no gradient is larger than 1 / that
SUM_OF_WEIGHTS = 1e-6
TOLERANCE = {torch.float32: 3e-8, torch.float64: 1e-15}  # of a mass, relative, in the kernel
SHORT = 64  # runs of one feature that are shorter are gathered before the kernel takes them

Parts = list[tuple[Tensor, Tensor, Tensor]]  # weight, mean, scale of each component


class GaussianMixture(nn.Module):
    """The mixture sum_k w_k N(m_k, s_k^2), as a distribution and as a layer's target.

    Parameters
    ----------
    weights, means, scales : array_like (K,) or (num_features, K)
        Of the components: weights are positive and sum to 1, scales are positive.
    learnable : bool, default False
        Whether they are parameters of the module: `means` themselves, the logarithms of the scales
        and, up to a constant, those of the weights. Otherwise they are constants, which are not in
        its state_dict.
    num_features : int, optional
        Of how many features each has a mixture of its own, which start alike if (K,) are given. 1
        makes one mixture serve all. By default what the arguments tell; then one mixture serves all
        features, but a learnable one that is given to a layer becomes one for each of them.
    device, dtype
        Of parameters and constants.

    Raises
    ------
    InputError
        The arguments do not describe mixtures, or not so many.

    Notes
    -----
    Methods take a tensor, with gradients in it and the parameters (`ppf`, `isf` and `forward`
    once), or an array or number, which gives an array. Mixtures of their own are for the last
    dimension of what they are given. Both tails are exact.

    A layer takes a copy, `layer.target`. With ``affine=True`` its weight and bias can do what a
    common factor of means and scales and a common shift of the means do; with ``affine=False``
    every parameter has a part of its own.
    """

    logits: Tensor
    means: Tensor
    log_scales: Tensor

    def __init__(
        self,
        weights: Any,
        means: Any,
        scales: Any,
        learnable: bool = False,
        num_features: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.learnable = _checks.flag(learnable, "learnable")
        w, m, s = _checked(weights, means, scales)
        if num_features is not None:
            count = _checks.positive_int(num_features, "num_features")
            if w.ndim == 2 and len(w) != count:
                raise InputError(
                    f"num_features must be the number of mixtures, {len(w)}, got {num_features}"
                )
            w, m, s = (np.broadcast_to(part, (count, part.shape[-1])) for part in (w, m, s))
        for name, value in (("logits", np.log(w)), ("means", m), ("log_scales", np.log(s))):
            tensor = torch.tensor(value, device=device, dtype=dtype or torch.get_default_dtype())
            if learnable:
                self.register_parameter(name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor, persistent=False)

    @property
    def num_features(self) -> int | None:
        """Of how many features each has a mixture of its own; None if that is open."""
        return None if self.means.ndim == 1 else len(self.means)

    @property
    def weights(self) -> Tensor:
        """Weights of the components, (K,) or (num_features, K)."""
        return self.logits.softmax(dim=-1)

    @property
    def scales(self) -> Tensor:
        """Standard deviations of the components, (K,) or (num_features, K)."""
        return self.log_scales.exp()

    def _given(self) -> tuple[Tensor, ...]:
        """Return logits, means and logarithms of scales, (features or 1, K)."""
        given = (self.logits, self.means, self.log_scales)
        return tuple(part.reshape(-1, part.shape[-1]) for part in given)

    def _parts(self, dtype: torch.dtype) -> Parts:
        """Return weight, mean and scale of each component, (features or 1, 1)."""
        rows = [part.to(dtype) for part in self._given()]
        w, m, s = rows[0].softmax(dim=-1), rows[1], rows[2].exp()
        return [(w[:, k, None], m[:, k, None], s[:, k, None]) for k in range(w.shape[-1])]

    # The distribution

    def pdf(self, t: Any) -> Any:
        """Return the density at t (..., num_features), or of any shape if one serves all."""
        return self._called(_density, t)

    def logpdf(self, t: Any) -> Any:
        """Return the logarithm of the density, exact far out, too."""
        return self._called(_log_density, t)

    def cdf(self, t: Any) -> Any:
        """Return the mass below t."""
        return self._called(lambda t, parts: _mass(t, parts, torch.full_like(t, -1)), t)

    def sf(self, t: Any) -> Any:
        """Return the mass above t."""
        return self._called(lambda t, parts: _mass(t, parts, torch.ones_like(t)), t)

    def ppf(self, q: Any) -> Any:
        """Return the point with the mass q below it: NaN unless 0 <= q <= 1."""
        return self._called(lambda q, _: self._quantile(torch.special.ndtri(q)), q)

    def isf(self, q: Any) -> Any:
        """Return the point with the mass q above it: NaN unless 0 <= q <= 1."""
        return self._called(lambda q, _: self._quantile(-torch.special.ndtri(q)), q)

    def _called(self, function: Any, t: Any) -> Any:
        if not isinstance(t, Tensor):
            values = torch.as_tensor(_checks.to_numpy(t, "t").astype(np.float64))
            with torch.no_grad():
                return self._called(function, values.to(self.means.device)).cpu().numpy()
        dtype = torch.promote_types(t.dtype, torch.promote_types(self.means.dtype, torch.float32))
        columns = 1 if self.num_features is None else self.num_features
        if columns > 1:
            t = t.expand(torch.broadcast_shapes(t.shape, (columns,)))
        rows = t.to(dtype).reshape(-1, columns).T
        result = function(rows, self._parts(dtype)).T.reshape(t.shape)
        return result.to(t.dtype if t.is_floating_point() else dtype)

    # The target

    def forward(self, z: Tensor) -> Tensor:
        """Return F^-1(Phi(z)) of blocks z (N, C, L); NaN stays NaN."""
        working = z.to(torch.promote_types(z.dtype, torch.float32))
        features = len(self._given()[0])
        run = z.shape[2] if features > 1 else z.shape[1] * z.shape[2]
        if run >= SHORT:
            y = self._quantile(working.reshape(-1, run)).reshape(z.shape)
        else:
            rows = working.transpose(0, 1)
            y = self._quantile(rows.reshape(features, -1)).reshape(rows.shape).transpose(0, 1)
        return y.to(z.dtype)

    def _quantile(self, z: Tensor) -> Tensor:
        """Return F^-1(Phi(z)) of rows (R, n), those of the features in turn."""
        if _compiled(z, self.means):
            y: Tensor = _Solved.apply(z, *self._given())
            return y
        parts, features = self._parts(z.dtype), len(self._given()[0])
        turns = z.reshape(-1, features, z.shape[1]).transpose(0, 1)
        y = _quantile(turns.reshape(features, -1), parts).reshape(turns.shape)
        return y.transpose(0, 1).reshape(z.shape)

    def extra_repr(self) -> str:
        """Return the number of components and of features, and whether they are learnable."""
        return (
            f"components={self.means.shape[-1]}, num_features={self.num_features}, "
            f"learnable={self.learnable}"
        )


def _checked(weights: Any, means: Any, scales: Any) -> tuple[np.ndarray, ...]:
    """Return the arguments as float64 arrays of one shape, the weights with the sum 1."""
    parts = {"weights": weights, "means": means, "scales": scales}
    w, m, s = (_checks.to_numpy(value, name).astype(np.float64) for name, value in parts.items())
    if not (w.shape == m.shape == s.shape) or w.ndim not in (1, 2) or 0 in w.shape:
        raise InputError(
            "weights, means and scales must have one shape, (K,) or (num_features, K), got "
            f"{w.shape}, {m.shape} and {s.shape}"
        )
    if not (np.isfinite(w) & (w > 0)).all() or not np.allclose(
        w.sum(axis=-1), 1, rtol=0, atol=SUM_OF_WEIGHTS
    ):
        raise InputError(f"weights must be positive and sum to 1, got {w.tolist()}")
    if not np.isfinite(m).all():
        raise InputError(f"means must be finite, got {m.tolist()}")
    if not (np.isfinite(s) & (s > 0)).all():
        raise InputError(f"scales must be positive and finite, got {s.tolist()}")
    return w / w.sum(axis=-1, keepdims=True), m, s


def _compiled(z: Tensor, means: Tensor) -> bool:
    """Tell whether the kernel takes z."""
    plain = z.device.type == "cpu" == means.device.type and type(z) is Tensor
    return plain and not (
        torch.compiler.is_compiling()
        or torch.compiler.is_exporting()
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state()
    )


class _Solved(Function):
    """F^-1(Phi(z)) of rows (R, n) by the kernel; logits, means and log scales are (F, K)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, *given: Tensor) -> Tensor:
        from distfit_nn.nn import mixture_kernel as kernel

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
        from distfit_nn.nn import mixture_kernel as kernel

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


def _density(y: Tensor, parts: Parts) -> Tensor:
    terms = [w / s * torch.exp(-((y - m) / s).square() / 2) for w, m, s in parts]
    return torch.stack(terms).sum(dim=0) / ROOT_2_PI


def _log_density(y: Tensor, parts: Parts) -> Tensor:
    terms = [(w / s).log() - ((y - m) / s).square() / 2 for w, m, s in parts]
    return torch.stack(terms).logsumexp(dim=0) - math.log(ROOT_2_PI)


def _mass(y: Tensor, parts: Parts, side: Tensor) -> Tensor:
    """Return the mass above y where `side` is 1, below it where that is -1."""
    terms = [w * torch.erfc(side * (y - m) / (ROOT_2 * s)) for w, m, s in parts]
    return torch.stack(terms).sum(dim=0) / 2


def _quantile(z: Tensor, parts: Parts) -> Tensor:
    """Return F^-1(Phi(z)), differentiable in z and the parts, once."""
    inner = z.clamp(-EDGE, EDGE)
    side = torch.where(z.detach() > 0, 1.0, -1.0).to(z.dtype)
    with torch.no_grad():
        y = _solved(inner, parts, side)
        density = _density(y, parts)
        normal = torch.exp(-inner.square() / 2) / ROOT_2_PI
        rate = side / torch.maximum(density, LEAST_DENSITY * normal)
    excess = _mass(y, parts, side) - torch.erfc(side * inner / ROOT_2) / 2
    y = y + (excess - excess.detach()) * rate
    widest = torch.stack([s for _, _, s in parts]).amax(dim=0)
    y = y + (z - inner) * widest
    return y if torch.compiler.is_compiling() else once(y)


def _solved(z: Tensor, parts: Parts, side: Tensor) -> Tensor:
    """Return the solution of F(y) = Phi(z), z (features, n), without a graph."""
    y, low, high = _started(z, parts)
    wanted = (torch.erfc(side * z / ROOT_2) / 2).log()
    for _ in range(ITERATIONS):
        mass = _mass(y, parts, side)
        gap = (mass.log() - wanted) * side  # falls as y grows, on either side
        low, high = torch.where(gap > 0, y, low), torch.where(gap > 0, high, y)
        newton = gap * mass / _density(y, parts)
        within = (y + newton).clamp(low, high)
        y = torch.where(newton.abs() < high - low, within, low + (high - low) / 2)
    return y


def _started(z: Tensor, parts: Parts) -> tuple[Tensor, Tensor, Tensor]:
    """Return first guesses of y (features, n), and brackets.

    Nodes in y lie around each component; between the z of two of them stands the cubic by z.
    """
    steps = torch.linspace(-EDGE, EDGE, NODES, dtype=z.dtype, device=z.device)
    nodes = torch.cat([m + s * steps for _, m, s in parts], dim=-1).sort(dim=-1).values
    masses = [_mass(nodes, parts, torch.full_like(nodes, side)) for side in (-1, 1)]
    below, above = (torch.special.ndtri(mass) for mass in masses)
    scores = torch.where(masses[0] < masses[1], below, -above)
    slopes = torch.exp(-scores.square() / 2) / ROOT_2_PI / _density(nodes, parts)

    place = torch.searchsorted(scores, z.contiguous()).clamp(1, nodes.shape[-1] - 1)
    table = torch.stack([nodes, scores, slopes], dim=-1)
    row = torch.arange(len(nodes), device=z.device)[:, None] * torch.ones_like(place)
    (y0, z0, s0), (y1, z1, s1) = (table[row, at].unbind(-1) for at in (place - 1, place))
    width, rise = z1 - z0, y1 - y0
    t = ((z - z0) / width.clamp(min=torch.finfo(z.dtype).tiny)).clamp(0, 1)
    m0, m1 = (torch.minimum(slope * width, 3 * rise) for slope in (s0, s1))
    y = y0 + t * (m0 + t * (3 * rise - 2 * m0 - m1 + t * (m0 + m1 - 2 * rise)))
    return y, y0, y1
