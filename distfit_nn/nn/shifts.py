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
from distfit_nn.nn.docstrings import completed_by

# As in the kernel, which only those load that use it.
GAIN, EXPONENT = 20.0, 2.0794415416798357  # logarithms are cut to +-20 and to +-log 8
FLOOR = 1e-30  # |x| below which the slope of an exponent of 1 or more is that at 0
PLAIN = 1e8  # sqrt(h^2 + 1/4) is h beyond it

Logs = tuple[Tensor, ...]
Tables = tuple[tuple[int, ...], Any, bool, Any]  # see the kernel's `fill`
Slopes = tuple[Tensor, Logs, Logs]


@completed_by(ColumnNorm, summary=False)
class Shift(ColumnNorm):
    """What both shifts have in common: y = weight * sign(x) * A * F(C log(B |x|)) + bias.

    Parameters
    ----------
    num_features : int
        Number of features or channels, C.
    eps : float, default 1e-5
        Below this abs(x) an exponent below 1 has the slope at `eps`: at 0 it would be infinite.
    momentum, track_running_stats, sync
        Without effect: a shift knows no statistics. They are here as other layers have them.
    affine, device, dtype
        As in `torch.nn.BatchNorm1d`.
    feature_dim : {1, -1}, default 1
        The dimension of the features: 1, as BatchNorm has it, or the last, as in (B, T, C).
    learnable : bool, default True
        Whether gains and exponents are parameters. If not, they are buffers: the thesis' fixed map.
    shared : bool, default False
        Whether all features have gains and exponents in common.

    Shape
    -----
    (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), and the same back; with `feature_dim=-1` any
    (..., C).

    Notes
    -----
    The map is steep around 0, and so a network with shifts needs smaller learning rates than one
    with the other layers: plain SGD at 0.3 diverged on MNIST (`SqrtShift`). On small images of
    digits, SGD with a momentum of 0.9 failed at 0.05 and reached an accuracy of 0.97 at 0.01.

    What is learnt are logarithms: gains and exponents stay positive whatever an optimiser does, and
    a step changes them in proportion to themselves. In use, logarithms of gains are cut to +-20 and
    those of exponents to +-log 8; one beyond has the gradient of the end it is cut to, and so comes
    back where the loss asks for it.

    One row is a batch like any other, but is not counted. An infinite x gives an infinite y; its
    gradient is 0 and it counts as 2^128 in those of parameters. NaN gives NaN in its own entry.
    Gradients can be taken once, not twice. Float32 on the CPU goes through a compiled kernel, which
    the first calls compile, for some seconds, once per machine.

    References
    ----------
    S. Bai, The Effect of Pre-ReLU Input Distribution on Deep Neural Network Performance, senior
    thesis, Carnegie Mellon University, 2017.
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
        rows = x.shape[0] * x.shape[2]
        if rows == 0:
            raise InputError(
                f"x must have at least one row of features, got shape {tuple(x.shape)}"
            )
        self._rate(rows)
        return self._of_running(x)  # which ranks need not share

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Statistics]:
        return self._of_running(x), ()

    def _of_running(self, x: Tensor) -> Tensor:
        weight, bias = self.line(x.dtype)
        logs = tuple(log.to(x.dtype) for log in self._logs())
        if self.shared:
            logs = tuple(log.expand(x.shape[1]) for log in logs)
        if not torch.is_grad_enabled():
            return _shifted(x, weight, bias, logs, _tables(x, weight, bias, logs))
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


@completed_by(Shift, summary=False)
class LogShift(Shift):
    """Log-shift: y = weight * sign(x) * a log((b abs(x))^c + 1) + bias for each feature.

    At the start a, b, c = 3, 5, 1, weight = 1 and bias = 0. With `learnable` False it is the fixed
    logarithm. A large gain at the start matters: with a = b = c = 1 a network trains worse than
    without any layer. The map has a slope, but at 0 no second derivative, and with c < 1 no finite
    slope there: see `eps`.

    Attributes
    ----------
    weight, bias : (C,), or None without `affine`
        Parameters of the line.
    log_a, log_b, log_c : (C,), or (1,) if `shared`
        Logarithms of gains and exponent: parameters, or buffers without `learnable`.
    a, b, c : (C,)
        Gains and exponent as they are used, without graph.
    num_batches_tracked : (), or None without `track_running_stats`
        Number of batches that were counted.

    Examples
    --------
    >>> import torch
    >>> from distfit_nn.nn import LogShift
    >>> layer = LogShift(2)
    >>> layer(torch.tensor([[0.0, 0.1], [-1.0, 10.0]])).detach().round(decimals=2)
    tensor([[ 0.0000,  1.2200],
            [-5.3800, 11.8000]])
    """

    STARTS: ClassVar[dict[str, float]] = {"a": 3.0, "b": 5.0, "c": 1.0}

    @property
    def c(self) -> Tensor:
        """As `a`, the exponent c."""
        return self._in_use("c")


@completed_by(Shift, summary=False)
class SqrtShift(Shift):
    """Sqrt-shift: y = weight * sign(x) * (sqrt((a abs(x))^b + 1/4) - 1/2) + bias for each feature.

    At the start a, b = 20, 1, weight = 1 and bias = 0. With `learnable` False it is the fixed
    square root. A large gain at the start matters, as in `LogShift`. The map has a slope, but at 0
    no second derivative, and with b < 1 no finite slope there: see `eps`.

    Attributes
    ----------
    weight, bias : (C,), or None without `affine`
        Parameters of the line.
    log_a, log_b : (C,), or (1,) if `shared`
        Logarithms of gain and exponent: parameters, or buffers without `learnable`.
    a, b : (C,)
        Gain and exponent as they are used, without graph.
    num_batches_tracked : (), or None without `track_running_stats`
        Number of batches that were counted.

    Examples
    --------
    >>> import torch
    >>> from distfit_nn.nn import SqrtShift
    >>> layer = SqrtShift(2)
    >>> layer(torch.tensor([[0.0, 0.1], [-1.0, 10.0]])).detach().round(decimals=2)
    tensor([[ 0.0000,  1.0000],
            [-4.0000, 13.6500]])
    """

    STARTS: ClassVar[dict[str, float]] = {"a": 20.0, "b": 1.0}


def _shifted(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, logs: Logs, tables: Tables | None
) -> Tensor:
    """Return y of blocks; of two logarithms by sqrt-shift."""
    if tables is None:
        return with_line(_value(x, logs), weight, bias)
    from distfit_nn.nn import shift_kernel

    rows = column_work.as_rows(x)
    plain = column_work.unfolded(x, rows)
    y = torch.empty_like(plain)
    shift = shift_kernel.shift_rows if rows else shift_kernel.shift_runs
    arrays = *tables, plain.numpy(), y.numpy()
    column_work.in_parts(lambda *part: shift(*arrays, *part), len(y), y.numel())
    return column_work.folded(y, x, rows)


def _tables(x: Tensor, weight: Tensor | None, bias: Tensor | None, logs: Logs) -> Tables | None:
    """Return what the kernels take of parameters, without graph; None where there are no such."""
    if not column_work.compiled(x):
        return None
    from distfit_nn.nn import shift_kernel

    line = () if weight is None or bias is None else (weight, bias)
    numbers = torch.stack([*logs, *line]).numpy()
    rooms = shift_kernel.rooms(x.shape[1])
    kind = (0,) * len(logs)
    return kind, numbers, shift_kernel.fill(kind, numbers, rooms), rooms


class _Shift(Function):
    """The same, with gradients by x, weight, bias and the logarithms."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, eps: float, weight: Tensor | None, bias: Tensor | None, *logs: Tensor
    ) -> Tensor:
        ctx.eps, ctx.tables = eps, _tables(x, weight, bias, logs)
        ctx.save_for_backward(x, weight, bias, *logs)
        return _shifted(x, weight, bias, logs, ctx.tables)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # Only with create_graph=True are gradients on a graph, too.
        slopes = _Slopes.apply if torch.is_grad_enabled() else _Slopes.forward
        by_x, *others = slopes(gradient, ctx.eps, ctx.tables, *ctx.saved_tensors)
        return by_x, None, *others


class _Slopes(Function):
    """The gradients, which have none of their own."""

    @staticmethod
    def forward(
        gradient: Tensor,
        eps: float,
        tables: Tables | None,
        x: Tensor,
        weight: Tensor | None,
        _bias: Tensor | None,
        *logs: Tensor,
    ) -> tuple[Tensor | None, ...]:
        if tables is None:
            by_x, by_line, by_logs = _slopes(gradient, x, weight, logs, eps)
        else:
            by_x, by_line, by_logs = _compiled_slopes(gradient, x, tables, eps)
        return by_x, *((None, None) if weight is None else by_line), *by_logs

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> NoReturn:
        raise RuntimeError("shifts can be differentiated once, not twice")


def _compiled_slopes(gradient: Tensor, x: Tensor, tables: Tables, eps: float) -> Slopes:
    """Return the gradients by x, by weight and bias, and by the logarithms."""
    from distfit_nn.nn import shift_kernel

    kind, numbers, _, rooms = tables
    rows = column_work.as_rows(x)
    plain, g = (column_work.unfolded(part.detach(), rows) for part in (x, gradient))
    by_x = torch.empty_like(plain)
    slopes = shift_kernel.slopes_rows if rows else shift_kernel.slopes_runs
    shift_kernel.fill_slopes(kind, numbers, eps, rooms)
    arrays = plain.numpy(), g.numpy(), by_x.numpy()

    def work(first: int, last: int) -> Any:
        sums = np.zeros((shift_kernel.SUMS, x.shape[1]))
        room = np.empty(shift_kernel.SUMS * shift_kernel.WIDTH, np.float32)
        slopes(kind, numbers, rooms, *arrays, room, sums, first, last)
        return sums

    sums = column_work.in_parts(work, len(by_x), by_x.numel())
    found = np.empty((2 + len(kind), x.shape[1]), np.float32)
    shift_kernel.chain(kind, numbers, rooms, sums, found)
    by_weight, by_bias, *by_logs = (torch.from_numpy(row) for row in found)
    return column_work.folded(by_x, x, rows), (by_weight, by_bias), tuple(by_logs)


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


def _slopes(g: Tensor, x: Tensor, weight: Tensor | None, logs: Logs, eps: float) -> Slopes:
    """As `_compiled_slopes`."""
    log, size = len(logs) == 3, x.abs()
    power, v = _exponent(size, logs)
    shape, slope = _shape_and_slope(v, log)
    signed = g * x.sign()
    tilted = signed * slope
    by_bias, values, slopes, logarithms = (
        part.sum((0, 2)) for part in (g, signed * shape, tilted, tilted * v)
    )
    least = torch.where(power < 1, max(eps, FLOOR), FLOOR).to(x.dtype)
    _, flat = _shape_and_slope(_exponent(least, logs)[1], log)
    outer = _outer(logs)
    line = outer if weight is None else outer * weight
    by_x = g * (line[:, None] * power) * torch.where(size <= least, flat / least, slope / size)
    by_outer = (line * values,) if log else ()
    by_logs = *by_outer, line * power[:, 0] * slopes, line * logarithms
    return by_x, (outer * values, by_bias), by_logs
