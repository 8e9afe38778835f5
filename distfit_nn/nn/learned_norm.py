"""What layers have in common that learn a mean and a deviation, with a penalty beside the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from distfit_nn.nn import layout, lines
from distfit_nn.nn.base import ColumnNorm, Statistics

FAR = 50.0  # where a penalty begins to grow like a logarithm
LIMIT = 30.0  # the logarithm of a deviation, in units of that of the first batch, is cut to +-30


Moments = Callable[[Any, Any, Any], tuple[Any, Any, Any]]


class LearnedNorm(ColumnNorm):
    """z = (x - mu) / sigma with mu and sigma learnt, y = weight * z + bias.

    With the center and scale of the first batch, z = ((x - center) / scale - shift) exp(-log_scale)
    and shift and log_scale start at 0: a step of theirs means the same whatever the unit of x.
    """

    center: Tensor
    scale: Tensor

    @property
    def penalty_weight(self) -> float:
        """What the penalty counts beside the loss."""
        raise NotImplementedError

    def _register_learned(
        self, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> None:
        """Make what is learnt, and the buffers for the first batch; a scale of 0 means none yet."""
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.shift = nn.Parameter(torch.zeros(self.num_features, **options))
        self.log_scale = nn.Parameter(torch.zeros(self.num_features, **options))
        self.register_buffer("center", torch.zeros(self.num_features, **options))
        self.register_buffer("scale", torch.zeros(self.num_features, **options))
        self.last_penalty: Tensor | None = None

    def _of_moments(self, xp: Any, mean: Any, variance: Any) -> tuple[Any, Any, Any]:
        """Return the penalty of each feature, with the mean and variance of z, and its slopes.

        The slopes are those by the mean, and twice that by the variance. `xp` is numpy or torch.
        """
        raise NotImplementedError

    @property
    def mu(self) -> Tensor:
        """The mean of each feature (C,) that is taken from x, without graph."""
        center, scale = self._started()
        return (center + scale * self.shift.double()).detach().to(self.shift.dtype)

    @property
    def sigma(self) -> Tensor:
        """The deviation of each feature (C,) by which x - mu is divided, without graph."""
        return (
            (self._started()[1] * _cut(self.log_scale.double()).exp()).detach().to(self.shift.dtype)
        )

    def _started(self) -> tuple[Tensor, Tensor]:
        """Return center and scale in float64; 0 and 1 where there has been no batch."""
        scale = self.scale.double()
        return self.center.double(), torch.where(scale > 0, scale, 1.0)

    def _all_started(self) -> bool:
        """Tell whether all features have their first batch, where that is told at no cost."""
        at_hand = self.scale.device.type == "cpu" and not torch.compiler.is_compiling()
        return at_hand and bool(self.scale.all())

    def _map(self, scale: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return factor and offset of z = (x - center) * factor + offset."""
        shrink = torch.exp(-_cut(self.log_scale.to(dtype)))
        return shrink / scale.to(dtype), -self.shift.to(dtype) * shrink

    def _on_line(self, factor: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Return those of weight * z + bias."""
        weight, bias = self.line(factor.dtype)
        if weight is not None:
            factor, offset = factor * weight, offset * weight
        return factor, offset if bias is None else offset + bias

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Statistics]:
        rows = x.shape[0] * x.shape[2]
        mean, variance = lines.mean_and_variance(x)
        center, scale = self._first(mean, variance, rows)
        share = self.penalty_weight / rows if rows > 1 else 0.0
        batch = mean - center, variance, rows, share, self._of_moments
        learned = self.shift, self.log_scale, *self.line(x.dtype)
        y, penalty = _Standardised.apply(x, center, scale, *learned, *batch)
        if rows > 1:
            self.last_penalty = penalty
        return y, (center, scale)

    def _first(self, mean: Tensor, variance: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Return center and scale, of features that have none yet those of this batch.

        One row has no deviation: it gives the bias, with an infinite scale that is not kept.
        """
        old = self.scale.double()
        if self._all_started():
            return self.center.double(), old
        first = torch.where(variance == 0, 1.0, (variance + self.eps).sqrt())
        first = first.to(self.scale.dtype).double() if rows > 1 else first / 0.0
        mean = mean.to(self.center.dtype).double()
        fresh = old == 0
        return torch.where(fresh, mean, self.center.double()), torch.where(fresh, first, old)

    def _track(self, statistics: Statistics, _rate: Tensor | float, _rows: int) -> None:
        if self._all_started():
            return
        center, scale = statistics
        fresh = (self.scale == 0) & scale.isfinite() & center.isfinite()
        self.center.copy_(torch.where(fresh, center, self.center))
        self.scale.copy_(torch.where(fresh, scale, self.scale))

    def _of_running(self, x: Tensor) -> Tensor:
        scale = torch.where(self.scale > 0, self.scale, 1.0)
        line = self._on_line(*self._map(scale, x.dtype))
        ones = torch.ones_like(scale, dtype=x.dtype)
        return functional.batch_norm(x, self.center.to(x.dtype), ones, *line, eps=0.0)

    def penalty(self, x: Tensor) -> Tensor:
        """Return the sum over features of the penalty of a batch x, with its graph.

        For those who add it to their loss themselves, with a weight of 0 in the layer. It changes
        no statistics.
        """
        self._check_input(x)
        wide = layout.blocks(x, self.feature_dim).double()
        mean, variance = wide.mean((0, 2)), wide.var((0, 2), correction=0)
        rows = wide.shape[0] * wide.shape[2]
        center, scale = self._first(mean.detach(), variance.detach(), rows)
        factor, offset = self._map(scale, torch.float64)
        of_z = (mean - center) * factor + offset, variance * factor * factor
        return _damped(torch, self._of_moments(torch, *of_z)[0]).sum()

    def _start(self) -> None:
        self.center.zero_()
        self.scale.zero_()

    def _start_from(self, mean: Tensor, variance: Tensor) -> None:
        """Start from a mean and a variance (C,) as if they were those of a first batch."""
        with torch.no_grad():
            self.center.copy_(mean)
            self.scale.copy_((variance.double() + self.eps).sqrt())
            self.shift.zero_()
            self.log_scale.zero_()

    def reset_parameters(self) -> None:
        """Forget the first batch, and set what is learnt to its start."""
        super().reset_parameters()
        for learned in (self._parameters.get("shift"), self._parameters.get("log_scale")):
            if learned is not None:
                nn.init.zeros_(learned)


def _cut(log_scale: Tensor) -> Tensor:
    """Return a logarithm cut to +-30; one beyond has the gradient of the end."""
    if not torch.is_grad_enabled():
        return log_scale.clamp(-LIMIT, LIMIT)
    return log_scale + (log_scale.clamp(-LIMIT, LIMIT) - log_scale).detach()


class _Standardised(Function):
    """y = weight * z + bias, and the penalty (C,), whose gradient joins that of y by itself.

    With d = x - center, z = d f + o, f = exp(-log_scale) / scale and o = -shift exp(-log_scale); a
    batch with the mean `distance` and the variance `variance` of d has the penalty of
    m = distance f + o and v = variance f^2. All numbers of features are taken in float64.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        center: Tensor,
        scale: Tensor,
        shift: Tensor,
        log_scale: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        distance: Tensor,
        variance: Tensor,
        rows: int,
        share: float,
        of_moments: Moments,
    ) -> tuple[Tensor, Tensor]:
        xp, numbers = _numbers(center, scale, shift, log_scale, weight, bias, distance, variance)
        with np.errstate(all="ignore"):
            *parts, penalty = _parts(xp, numbers, rows, share, of_moments)
        table, extra, own, penalty = (torch.as_tensor(part) for part in (*parts, penalty))
        ctx.save_for_backward(x, weight, bias, shift, table, extra, own)
        ctx.mark_non_differentiable(penalty)
        return lines.line(x, table), penalty

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        # Only with create_graph=True are gradients on a graph, too.
        slopes = _Slopes.apply if torch.is_grad_enabled() else _Slopes.forward
        by_x, *by_learned = slopes(gradient, *ctx.saved_tensors)
        return by_x, None, None, *by_learned, None, None, None, None, None


class _Slopes(Function):
    """The gradients by x, shift, log_scale, weight and bias, which have none of their own."""

    @staticmethod
    def forward(
        gradient: Tensor,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        shift: Tensor,
        table: Tensor,
        extra: Tensor,
        own: Tensor,
    ) -> tuple[Tensor | None, ...]:
        by_x, sums = lines.line_slopes(gradient, x, table, extra)
        _, (line, found, mine) = _numbers(weight, sums, own)
        with np.errstate(all="ignore"):
            shrunk, scaled, by_weight = _chained(line, found, mine)
        by_shift, by_scale, by_line, by_bias = (
            torch.as_tensor(part).to(shift.dtype) for part in (shrunk, scaled, by_weight, found[0])
        )
        return (
            by_x,
            by_shift,
            by_scale,
            None if weight is None else by_line,
            None if bias is None else by_bias,
        )

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> NoReturn:
        raise RuntimeError("a layer with a penalty can be differentiated once, not twice")


# Numbers of features are taken by NumPy where they are at hand: it takes a third of the time for as
# few of them. `xp` is the one or the other, float64 (C,) all.


def _numbers(*given: Tensor | None) -> tuple[Any, tuple[Any, ...]]:
    """Return what computes with numbers of features, and the numbers for it."""
    first = next(part for part in given if part is not None)
    wide = tuple(None if part is None else part.detach().double() for part in given)
    if first.device.type != "cpu" or torch.compiler.is_compiling():
        return torch, wide
    return np, tuple(None if part is None else part.numpy() for part in wide)


def _parts(
    xp: Any, numbers: tuple[Any, ...], rows: int, share: float, of_moments: Moments
) -> tuple[Any, Any, Any, Any]:
    """Return the table of the line, its extra gradients, what chains them, and the penalty."""
    center, scale, shift, log_scale, weight, bias, distance, variance = numbers
    shrink = xp.exp(-xp.clip(log_scale, -LIMIT, LIMIT))
    f, o = shrink / scale, -shift * shrink
    factor, offset = (f, o) if weight is None else (f * weight, o * weight)
    table = xp.stack((center, factor, offset if bias is None else offset + bias))
    plain, by_mean, by_spread = of_moments(xp, distance * f + o, variance * f * f)
    damping = share * FAR / xp.clip(plain, FAR, None)
    level, slope = damping * by_mean, damping * by_spread * f  # by o, and by d in units of f
    extra = xp.stack(((level - slope * distance) * f, slope * f))
    own = xp.stack((f, o, shrink, rows * (level * distance + slope * variance), rows * level))
    return table, extra, own, _damped(xp, plain)


def _chained(weight: Any, found: Any, own: Any) -> tuple[Any, Any, Any]:
    """Return the gradients by shift, log_scale and weight, of the sums of g and of g d."""
    total, tilted = found
    f, o, shrink, by_f, by_o = own
    by_weight = f * tilted + o * total
    by_f = by_f + (tilted if weight is None else tilted * weight)
    by_o = by_o + (total if weight is None else total * weight)
    return -by_o * shrink, -(by_f * f + by_o * o), by_weight


def _damped(xp: Any, penalty: Any) -> Any:
    """Return a penalty that grows like a logarithm from FAR on."""
    far = FAR * (1 + xp.log(xp.clip(penalty, FAR, None) / FAR))
    return xp.where(penalty > FAR, far, penalty)
