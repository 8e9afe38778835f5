"""Log-shift and sqrt-shift, the learnable maps of the thesis: steep around 0, flat farther out."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.nn import column_work
from distfit_nn.nn.base import ColumnNorm, Statistics, with_line

# As in the kernel, which only those load that use it.
GAIN, EXPONENT = 20.0, 2.0794415416798357  # logarithms are cut to +-20 and to +-log 8
FLOOR = 1e-30  # |x| below which the slope of an exponent of 1 or more is that at 0
PLAIN = 1e8  # sqrt(h^2 + 1/4) is h beyond it

Logs = tuple[Tensor, ...]


class _Shifts(ColumnNorm):
    """What both shifts have in common: y = weight * sign(x) * A * F(C log(B |x|)) + bias.

    Parameters
    ----------
    num_features, eps, momentum, affine, track_running_stats, device, dtype, feature_dim, sync
        As BatchNorm has them, in any of its layouts. `eps` is the |x| below which an exponent
        below 1 has the slope at `eps`: at 0 it would be infinite. A shift knows no statistics, so
        that `momentum`, `track_running_stats` and `sync` change nothing.
    learnable : bool, default True
        Whether gains and exponents are parameters. If not, they are buffers: the thesis' fixed map.
    shared : bool, default False
        Whether all features have gains and exponents in common.

    Notes
    -----
    What is learnt and kept in the state are the logarithms ``log_a``, ``log_b`` and, of log-shift,
    ``log_c``: gains and exponents stay positive whatever an optimiser does, and a step changes them
    in proportion to themselves. In use, logarithms of gains are cut to +-20 and those of exponents
    to +-log 8; one beyond has the gradient of the end it is cut to, and so comes back where the
    loss asks for it.

    An infinite x gives an infinite y; its gradient is 0 and it counts as 2^128 in those of
    parameters. NaN gives NaN in its own entry. Gradients can be taken once, not twice.
    """

    DIMS: ClassVar[tuple[int, ...]] = (2, 3, 4, 5)
    STARTS: ClassVar[dict[str, float]] = {}

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        feature_dim: int = 1,
        sync: bool = False,
        learnable: bool = True,
        shared: bool = False,
    ) -> None:
        super().__init__(
            num_features,
            eps,
            momentum,
            affine,
            track_running_stats,
            device,
            dtype,
            feature_dim=feature_dim,
            sync=sync,
        )
        self.learnable = _checks.flag(learnable, "learnable")
        self.shared = _checks.flag(shared, "shared")
        size = 1 if shared else self.num_features
        for name, start in self.STARTS.items():
            log = torch.full((size,), start, device=device, dtype=dtype).log()
            if learnable:
                self.register_parameter(f"log_{name}", nn.Parameter(log))
            else:
                self.register_buffer(f"log_{name}", log)

    def _logs(self) -> Logs:
        """Return the logarithms of gains and exponent as they are."""
        return tuple(getattr(self, f"log_{name}") for name in self.STARTS)

    def _in_use(self, name: str) -> Tensor:
        """Return the gain or exponent of each feature."""
        log: Tensor = getattr(self, f"log_{name}")
        limit = EXPONENT if name == [*self.STARTS][-1] else GAIN
        return log.detach().clamp(-limit, limit).exp().expand(self.num_features)

    @property
    def a(self) -> Tensor:
        """The gain a of each feature (C,), as it is used, without graph."""
        return self._in_use("a")

    @property
    def b(self) -> Tensor:
        """As `a`, the gain b of log-shift, the exponent b of sqrt-shift."""
        return self._in_use("b")

    def _trained(self, x: Tensor) -> Tensor:
        if x.shape[0] * x.shape[2] == 0:
            raise InputError(
                f"x must have at least one row of features, got shape {tuple(x.shape)}"
            )
        self._rate()
        return self._of_running(x)

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Statistics]:
        return self._of_running(x), ()

    def _of_running(self, x: Tensor) -> Tensor:
        weight, bias = self.line(x.dtype)
        logs = tuple(log.to(x.dtype) for log in self._logs())
        if self.shared:
            logs = tuple(log.expand(x.shape[1]) for log in logs)
        if not torch.is_grad_enabled():
            return _shifted(x, weight, bias, logs)
        result: Tensor = _Shift.apply(x, self.eps, weight, bias, *logs)
        return result

    def reset_parameters(self) -> None:
        """Set gains, exponents, the count of batches and the affine part to their start."""
        super().reset_parameters()
        with torch.no_grad():
            for log, start in zip(self._logs(), self.STARTS.values(), strict=True):
                log.copy_(torch.full_like(log, start).log())

    def extra_repr(self) -> str:
        """Return the arguments, as BatchNorm shows them."""
        return (
            super().extra_repr()
            + ("" if self.learnable else ", learnable=False")
            + (", shared=True" if self.shared else "")
        )


class LogShift(_Shifts):
    """Log-shift: y = weight * sign(x) * a log((b |x|)^c + 1) + bias for each feature.

    At the start a, b, c = 3, 5, 1, weight = 1 and bias = 0. With `learnable` False it is the fixed
    logarithm. A large gain at the start matters: with a = b = c = 1 a network trains worse than
    without any layer. The map has a slope, but at 0 no second derivative, and with c < 1 no finite
    slope there: see `eps`.

    Source: S. Bai, The Effect of Pre-ReLU Input Distribution on Deep Neural Network Performance,
    senior thesis, Carnegie Mellon University, 2017.
    """

    STARTS: ClassVar[dict[str, float]] = {"a": 3.0, "b": 5.0, "c": 1.0}

    @property
    def c(self) -> Tensor:
        """As `a`, the exponent c."""
        return self._in_use("c")


class SqrtShift(_Shifts):
    """Sqrt-shift: y = weight * sign(x) * (sqrt((a |x|)^b + 1/4) - 1/2) + bias for each feature.

    At the start a, b = 20, 1, weight = 1 and bias = 0. With `learnable` False it is the fixed
    square root. See `LogShift` for the gain, the slope at 0 and the source.
    """

    STARTS: ClassVar[dict[str, float]] = {"a": 20.0, "b": 1.0}


LogShift.__doc__ = f"{LogShift.__doc__}\n{(_Shifts.__doc__ or '').split(chr(10), 2)[2]}"
SqrtShift.__doc__ = f"{SqrtShift.__doc__}\n{(_Shifts.__doc__ or '').split(chr(10), 2)[2]}"


def _shifted(x: Tensor, weight: Tensor | None, bias: Tensor | None, logs: Logs) -> Tensor:
    """Return y of blocks; of two logarithms by sqrt-shift."""
    if column_work.compiled(x):
        return _Kernel(x, weight, bias, logs).y()
    return with_line(_value(x, logs), weight, bias)


class _Shift(Function):
    """The same, with gradients by x, weight, bias and the logarithms."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, eps: float, weight: Tensor | None, bias: Tensor | None, *logs: Tensor
    ) -> Tensor:
        ctx.eps = eps
        ctx.save_for_backward(x, weight, bias, *logs)
        return _shifted(x, weight, bias, logs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # Only with create_graph=True are gradients on a graph, too.
        slopes = _Slopes.apply if torch.is_grad_enabled() else _Slopes.forward
        by_x, by_weight, by_bias, *by_logs = slopes(gradient, ctx.eps, *ctx.saved_tensors)
        return by_x, None, by_weight, by_bias, *by_logs


class _Slopes(Function):
    """The gradients, which have none of their own."""

    @staticmethod
    def forward(
        gradient: Tensor,
        eps: float,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        *logs: Tensor,
    ) -> tuple[Tensor | None, ...]:
        if column_work.compiled(x):
            by_x, sums = _Kernel(x, weight, bias, logs).slopes(gradient, eps)
        else:
            by_x, sums = _slopes(gradient, x, weight, logs, eps)
        outer, power = _outer(logs), logs[-1].clamp(-EXPONENT, EXPONENT).exp()
        line = outer if weight is None else weight * outer
        by_logs = line * power * sums[2], line * sums[3]
        return (
            by_x,
            None if weight is None else outer * sums[1],
            None if bias is None else sums[0],
            *((line * sums[1], *by_logs) if len(logs) == 3 else by_logs),
        )

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> NoReturn:
        raise RuntimeError("shifts can be differentiated once, not twice")


class _Kernel:
    """The compiled kernels on blocks, laid out as is nearest."""

    def __init__(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, logs: Logs) -> None:
        from distfit_nn.nn import shift_kernel

        self.kernel, self.x, self.rows = shift_kernel, x, column_work.as_rows(x)
        self.plain = column_work.unfolded(x.detach(), self.rows)
        c = x.shape[1]
        self.logs = tuple(log.detach().contiguous().numpy() for log in logs)
        self.rooms = shift_kernel.rooms(c)
        ones = np.ones(c, np.float32) if weight is None else weight.detach().numpy()
        zeros = np.zeros(c, np.float32) if bias is None else bias.detach().numpy()
        self.is_plain = shift_kernel.fill(self.logs, ones, zeros, self.rooms)

    def y(self) -> Tensor:
        """Return the shift of x."""
        shift = self.kernel.shift_rows if self.rows else self.kernel.shift_runs
        y = torch.empty_like(self.plain)
        arrays = self.logs, self.is_plain, self.rooms, self.plain.numpy(), y.numpy()
        column_work.in_parts(lambda *part: shift(*arrays, *part), len(y), y.numel())
        return column_work.folded(y, self.x, self.rows)

    def slopes(self, gradient: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Return the gradient by x, and the sums of four terms (4, C)."""
        slopes = self.kernel.slopes_rows if self.rows else self.kernel.slopes_runs
        self.kernel.fill_slopes(self.logs, eps, self.rooms)
        g, dx = column_work.unfolded(gradient.detach(), self.rows), torch.empty_like(self.plain)
        arrays = self.plain.numpy(), g.numpy(), dx.numpy()

        def work(*part: int) -> Any:
            sums = np.zeros((self.kernel.SUMS, self.x.shape[1]))
            slopes(self.logs, self.rooms.copy(), *arrays, sums, *part)
            return sums

        total = column_work.in_parts(work, len(dx), dx.numel())
        total[3] *= math.log(2)
        by_x = column_work.folded(dx, self.x, self.rows)
        return by_x, torch.from_numpy(total.astype(np.float32))


# By torch's operators, wherever the kernels do not reach.


def _outer(logs: Logs) -> Tensor:
    """Return the outer gain A (C,): a of log-shift, 1 of sqrt-shift."""
    return logs[0].clamp(-GAIN, GAIN).exp() if len(logs) == 3 else torch.ones_like(logs[0])


def _exponent(size: Tensor, logs: Logs) -> tuple[Tensor, Tensor]:
    """Return C (C, 1) and v = C log(B |x|), of |x| between the least and the largest number."""
    inner = logs[-2].clamp(-GAIN, GAIN)[:, None]
    power = logs[-1].clamp(-EXPONENT, EXPONENT).exp()[:, None]
    limits = torch.finfo(size.dtype)
    return power, power * (size.clamp(limits.tiny, limits.max).log() + inner)


def _shape_and_slope(v: Tensor, log: bool) -> tuple[Tensor, Tensor]:
    """Return F and dF/dv."""
    if log:
        return v.clamp(min=0) + torch.log1p((-v.abs()).exp()), torch.sigmoid(v)
    h = (0.5 * v).clamp(max=math.log(torch.finfo(v.dtype).max)).exp()
    near = h.clamp(max=PLAIN)
    root = (near * near + 0.25).sqrt()
    return near * near / (root + 0.5) + (h - near), h * (0.5 * near / root)


def _value(x: Tensor, logs: Logs) -> Tensor:
    """Return sign(x) A F."""
    size = x.abs()
    shape, _ = _shape_and_slope(_exponent(size, logs)[1], len(logs) == 3)
    signed = _outer(logs)[:, None] * shape * x.sign()
    return torch.where(x.isinf(), x, signed)


def _slopes(
    g: Tensor, x: Tensor, weight: Tensor | None, logs: Logs, eps: float
) -> tuple[Tensor, Tensor]:
    """Return the gradient by x, and the sums of g, g sign F, g sign D and g sign D v (4, C)."""
    log, size = len(logs) == 3, x.abs()
    power, v = _exponent(size, logs)
    shape, slope = _shape_and_slope(v, log)
    signed = g * x.sign()
    tilted = signed * slope
    sums = torch.stack([part.sum((0, 2)) for part in (g, signed * shape, tilted, tilted * v)])
    least = torch.where(power < 1, max(eps, FLOOR), FLOOR).to(x.dtype)
    _, flat = _shape_and_slope(_exponent(least, logs)[1], log)
    steep = _outer(logs)[:, None] * power
    steep = steep if weight is None else steep * weight[:, None]
    return g * steep * torch.where(size <= least, flat / least, slope / size), sums
