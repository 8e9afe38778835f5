"""What layers have in common that learn a mean and a deviation, with a penalty beside the loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from distfit_nn.nn import layout, lines
from distfit_nn.nn.base import ColumnNorm, Statistics

FAR = 50.0  # where a penalty begins to grow like a logarithm
LIMIT = 30.0  # the logarithm of a deviation, in units of that of the first batch, is cut to +-30


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

    def _register_learned(self, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        """Make what is learnt, and the buffers for the first batch; a scale of 0 means none yet."""
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.shift = nn.Parameter(torch.zeros(self.num_features, **options))
        self.log_scale = nn.Parameter(torch.zeros(self.num_features, **options))
        self.register_buffer("center", torch.zeros(self.num_features, **options))
        self.register_buffer("scale", torch.zeros(self.num_features, **options))
        self.last_penalty: Tensor | None = None

    def _of_moments(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the penalty of each feature, with the mean and variance of z, and its slopes.

        The slopes are those by the mean, and twice that by the variance.
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
        return (self._started()[1] * _cut(self.log_scale.double()).exp()).detach().to(
            self.shift.dtype
        )

    def _started(self) -> tuple[Tensor, Tensor]:
        """Return center and scale in float64; 0 and 1 where there has been no batch."""
        scale = self.scale.double()
        return self.center.double(), torch.where(scale > 0, scale, 1.0)

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
        factor, offset = self._map(scale, torch.float64)
        on_line = self._on_line(factor, offset)
        if rows == 1:
            return lines.line(x, center, *on_line), (center, scale)
        distance = mean - center
        penalty = self._penalty(distance, variance, factor, offset)
        self.last_penalty = penalty.detach()
        share = self.penalty_weight
        if share == 0:
            return lines.line(x, center, *on_line), (center, scale)
        with torch.no_grad():
            slopes = self._slopes(distance, variance, factor, offset, share / rows)
        y = lines.line(x, center, *on_line, *slopes)
        return _Beside.apply(y, share * penalty.sum()), (center, scale)

    def _first(self, mean: Tensor, variance: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Return center and scale, of features that have none yet those of this batch.

        One row has no deviation: it gives the bias, with an infinite scale that is not kept.
        """
        old = self.scale.double()
        first = torch.where(variance == 0, 1.0, (variance + self.eps).sqrt())
        first = first.to(self.scale.dtype).double() if rows > 1 else first / 0.0
        mean = mean.to(self.center.dtype).double()
        fresh = old == 0
        return torch.where(fresh, mean, self.center.double()), torch.where(fresh, first, old)

    def _penalty(
        self, distance: Tensor, variance: Tensor, factor: Tensor, offset: Tensor
    ) -> Tensor:
        """Return the penalty of each feature, of a batch whose mean is that far from the center."""
        plain, *_ = self._of_moments(distance * factor + offset, variance * factor * factor)
        beyond = FAR * (1 + (plain.clamp(min=FAR) / FAR).log())
        return torch.where(plain > FAR, beyond, plain)

    def _slopes(
        self, distance: Tensor, variance: Tensor, factor: Tensor, offset: Tensor, share: float
    ) -> tuple[Tensor, Tensor]:
        """Return the gradient of n * share penalties by x: level + slope * (x - center)."""
        plain, by_mean, by_spread = self._of_moments(
            distance * factor + offset, variance * factor * factor
        )
        damping = torch.where(plain > FAR, FAR / plain, 1.0) * factor * share
        slope = damping * by_spread * factor
        return damping * by_mean - slope * distance, slope

    def _track(self, statistics: Statistics, _rate: Tensor | float, _rows: int) -> None:
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
        return self._penalty(mean - center, variance, *self._map(scale, torch.float64)).sum()

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


class _Beside(Function):
    """y as it is; in the backward pass a penalty gets the gradient it has in a loss."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, penalty: Tensor) -> Tensor:
        ctx.save_for_backward(penalty)
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return gradient, torch.ones_like(ctx.saved_tensors[0])
