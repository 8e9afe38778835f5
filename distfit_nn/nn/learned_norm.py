"""What layers have in common that learn a mean and a deviation, with a penalty beside the loss."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from distfit_nn.nn import column_work, layout, lines
from distfit_nn.nn.base import ColumnNorm, Statistics

# As in the kernel, which only those load that use it.
FAR = 50.0  # where a penalty begins to grow like a logarithm
LIMIT = 30.0  # the logarithm of a deviation, in units of that of the first batch, is cut to +-30


class LearnedNorm(ColumnNorm):
    """z = (x - mu) / sigma with mu and sigma learnt, y = weight * z + bias.

    With the center and scale of the first batch, z = ((x - center) / scale - shift) exp(-log_scale)
    and shift and log_scale start at 0: a step of theirs means the same whatever the unit of x.

    With m and v the mean and variance of z over a batch, a feature has the penalty (m^2 + v) / 2,
    and with ENTROPY, - (1 + log(v + eps)) / 2 more.
    """

    ENTROPY: ClassVar[bool] = False
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

    def _map(self, scale: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return factor and offset of z = (x - center) * factor + offset."""
        shrink = torch.exp(-_cut(self.log_scale.to(dtype)))
        return shrink / scale.to(dtype), -self.shift.to(dtype) * shrink

    def _on_line(self, x: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Return weight * z + bias."""
        factor, offset = self._map(scale, x.dtype)
        weight, bias = self.line(x.dtype)
        if weight is not None and bias is not None:
            factor, offset = factor * weight, offset * weight + bias
        center = center.to(x.dtype)
        return functional.batch_norm(x, center, torch.ones_like(center), factor, offset, eps=0.0)

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Statistics]:
        rows = x.shape[0] * x.shape[2]
        if column_work.compiled(x):
            share = self.penalty_weight / rows if rows > 1 else 0.0
            given = lines.Penalty(lines.moments(x), rows, share, self.eps, self.ENTROPY)
            learned = self.shift.to(x.dtype), self.log_scale.to(x.dtype), *self.line(x.dtype)
            y, penalty, start = lines.standardised(x, (self.center, self.scale), learned, given)
        else:
            mean, variance = _moments(x)
            start = self._first(mean.detach(), variance.detach(), rows)
            y, penalty = self._on_line(x, *start), self._penalties(mean, variance, *start)
            if rows > 1:
                y = _WithPenalty.apply(y, self.penalty_weight * penalty.sum())
        if rows > 1:
            self.last_penalty = penalty.detach()
        return y, start

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

    def _track(self, statistics: Statistics, _rate: Tensor | float, _rows: int) -> None:
        center, scale = statistics
        fresh = (self.scale == 0) & scale.isfinite() & center.isfinite()
        self.center.copy_(torch.where(fresh, center, self.center))
        self.scale.copy_(torch.where(fresh, scale, self.scale))

    def _of_running(self, x: Tensor) -> Tensor:
        return self._on_line(x, self.center, torch.where(self.scale > 0, self.scale, 1.0))

    def penalty(self, x: Tensor) -> Tensor:
        """Return the sum over features of the penalty of a batch x, with its graph.

        For those who add it to their loss themselves, with a weight of 0 in the layer. It changes
        no statistics.
        """
        self._check_input(x)
        wide = layout.blocks(x, self.feature_dim)
        mean, variance = _moments(wide)
        start = self._first(mean.detach(), variance.detach(), wide.shape[0] * wide.shape[2])
        return self._penalties(mean, variance, *start).sum()

    def _penalties(self, mean: Tensor, variance: Tensor, center: Tensor, scale: Tensor) -> Tensor:
        """Return the penalty of each feature, by the mean and variance of x."""
        factor, offset = self._map(scale, mean.dtype)
        mean, variance = (mean - center) * factor + offset, variance * factor * factor
        plain = 0.5 * (mean * mean + variance)
        if self.ENTROPY:
            plain = plain - 0.5 * (1 + torch.log(variance + self.eps))
        far = FAR * (1 + torch.log(plain.clamp(min=FAR) / FAR))
        return torch.where(plain > FAR, far, plain)

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


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the (biased) variance of each feature, float64 (C,)."""
    wide = x.double()
    return wide.mean((0, 2)), wide.var((0, 2), correction=0)


class _WithPenalty(Function):
    """y, with a penalty whose gradient joins that of y by itself."""

    @staticmethod
    def forward(_ctx: Any, y: Tensor, _penalty: Tensor) -> Tensor:
        return y.clone()  # a view could not be worked on in place by what follows

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return gradient, torch.ones((), dtype=torch.float64, device=gradient.device)
