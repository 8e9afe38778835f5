"""Batch norm by the central 90% of each column, and cut at three deviations."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from distfit_nn.copula.tensors.memory import as_blocks, laid
from distfit_nn.nn import column_work, layout
from distfit_nn.nn.base import ColumnNorm, Statistics, moved, with_line
from distfit_nn.nn.docstrings import completed_by

# As in the kernel, which only those load that use it.
SHARE = 20  # one value of so many is left out at either end
CUT = 3.0


@completed_by(ColumnNorm, summary=False)
class TrimmedNorm1d(ColumnNorm):
    """y = weight * clip((x - mean_90) / sqrt(var_90 + eps), -3, 3) + bias for each feature.

    mean_90 and var_90 are the mean and the (biased) variance of the central 90% of the n values of
    a feature in the batch: of the values in order, without the k lowest and the k highest, where k
    is n / 20, rounded down. Below 20 rows nothing is left out. The variance is that of the values
    that remain, as it is: of normal data 0.62 of the whole. Of values that tie with the first or
    the last that remains, each counts the same share, so that the order of rows does not matter.

    The gradient is that of the formula with the values that remain fixed; where y is cut, nothing
    flows through it but through the mean and the variance of the others.

    It is the cheap robust rival that the shaped layers are compared with; it is not in the thesis.

    Parameters
    ----------
    num_features, eps, momentum, affine, track_running_stats, device, dtype
        As in `torch.nn.BatchNorm1d`.
    feature_dim : {1, -1}, default 1
        The dimension of the features: 1, as BatchNorm has it, or the last, as in (B, T, C).
    sync : bool, default False
        In training, trim the batches of all ranks of torch.distributed together, gradients
        included. Each rank gathers these batches and does the work of all.

    Shape
    -----
    (N, C) or (N, C, L), and the same back; with `feature_dim=-1` any (..., C). A feature has n = N
    L values.

    Attributes
    ----------
    weight, bias : (C,), or None without `affine`
        Parameters of the line, which start at 1 and 0.
    running_mean, running_var : (C,), or None without `track_running_stats`
        Buffers: BatchNorm's, but of the central 90%, var with n - 2k - 1 in its denominator.
    num_batches_tracked : (), or None without `track_running_stats`
        Number of batches that were counted.

    Notes
    -----
    One row gives the bias, with zero gradient by x, and leaves the running statistics alone.
    Infinite values are cut to +-3 deviations while they are among those left out; if not, or with a
    NaN anywhere in it, a feature is NaN, and leaves its running statistics as they were.
    `torch.optim.swa_utils.update_bn` passes this layer by: use `recalibrate`.

    Float32 on the CPU goes through a compiled kernel, whose gradients can be taken once, not twice.
    The first calls compile it, for some seconds, once per machine.

    Examples
    --------
    >>> import torch
    >>> from distfit_nn.nn import TrimmedNorm1d
    >>> x = torch.arange(40.0)[:, None]
    >>> x[39] = 1e6  # an outlier
    >>> TrimmedNorm1d(1)(x)[-2:].detach().round(decimals=2)
    tensor([[1.7800],
            [3.0000]])
    """

    running_mean: Tensor | None
    running_var: Tensor | None

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
        ones = torch.ones(self.num_features, device=device, dtype=dtype)
        self.register_buffer(
            "running_mean", torch.zeros_like(ones) if track_running_stats else None
        )
        self.register_buffer("running_var", ones if track_running_stats else None)

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Statistics]:
        line = self.line(x.dtype)
        n = x.shape[0] * x.shape[2]
        kept = n - 2 * (n // SHARE)
        if column_work.compiled(x) and not torch._C._are_functorch_transforms_active():
            y, mean, variance = _Trimmed.apply(x, self.eps, *line)
        else:
            z, mean, variance = _composed(x, self.eps, kept)
            y = with_line(z, *line)
        return y, (mean, variance * (kept / max(kept - 1, 1)))

    def _track(self, statistics: Statistics, rate: Tensor | float, _rows: int) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        mean, variance = statistics  # the variance is NaN where the mean is not finite
        largest = torch.finfo(self.running_var.dtype).max / 4
        moved(self.running_mean, mean, rate)
        moved(self.running_var, variance.clamp(max=largest), rate)

    def _of_running(self, x: Tensor) -> Tensor:
        if self.running_mean is None or self.running_var is None:
            return self._of_batch(x)[0]
        mean, variance = self.running_mean.to(x.dtype), self.running_var.to(x.dtype)
        z = functional.batch_norm(x, mean, variance, eps=self.eps)
        z = z.clamp(-CUT, CUT) if torch.is_grad_enabled() else z.clamp_(-CUT, CUT)
        same = torch.zeros_like(mean), torch.ones_like(mean)
        return functional.batch_norm(z, *same, *self.line(x.dtype), eps=0.0)

    def _start(self) -> None:
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)

    def _start_from(self, mean: Tensor, variance: Tensor) -> None:
        """Set the running statistics, where there are any, to a mean and a variance (C,)."""
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.copy_(mean)
            self.running_var.copy_(variance)


@completed_by(TrimmedNorm1d)
class TrimmedNorm2d(TrimmedNorm1d):
    """y = weight * clip((x - mean_90) / sqrt(var_90 + eps), -3, 3) + bias for each channel.

    Shape
    -----
    (N, C, H, W), and the same back; with `feature_dim=-1` any (..., C). A channel has n = N H W
    values.

    Examples
    --------
    >>> import torch
    >>> from distfit_nn.nn import TrimmedNorm2d
    >>> layer = TrimmedNorm2d(3)
    >>> bool(layer(torch.randn(8, 3, 5, 5)).abs().max() <= 3)
    True
    """

    DIMS: ClassVar[tuple[int, ...]] = (4,)


class _Trimmed(Function):
    """y of blocks (N, C, L) by the compiled kernel, and mean and variance, without gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, eps: float, weight: Tensor | None, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        from distfit_nn.nn import trim_kernel

        factor = x.new_ones(x.shape[1]) if weight is None else weight
        term = x.new_zeros(x.shape[1]) if bias is None else bias
        given = (part.detach().numpy() for part in (factor, term))
        y, about = map(torch.from_numpy, trim_kernel.trimmed(laid(x.detach()).numpy(), eps, *given))
        mean, variance = about[:, :2].unbind(1)
        ctx.mark_non_differentiable(mean, variance)
        ctx.save_for_backward(x, factor, about)
        ctx.eps, ctx.affine = eps, weight is not None
        return as_blocks(y, x), mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        # Only with create_graph=True are gradients on a graph, too.
        slopes = _Slopes.apply if torch.is_grad_enabled() else _Slopes.forward
        dx, dweight, dbias = slopes(gradient, ctx.eps, *ctx.saved_tensors)
        return dx, None, *((dweight, dbias) if ctx.affine else (None, None))


class _Slopes(Function):
    """The gradients, which have none of their own."""

    @staticmethod
    def forward(
        gradient: Tensor, eps: float, x: Tensor, weight: Tensor, about: Tensor
    ) -> tuple[Tensor, ...]:
        from distfit_nn.nn import trim_kernel

        arrays = laid(x.detach()).numpy(), laid(gradient.detach(), x).numpy()
        dx, sums = trim_kernel.slopes(*arrays, eps, weight.detach().numpy(), about.numpy())
        return as_blocks(torch.from_numpy(dx), x), *torch.from_numpy(sums).to(weight.dtype).T

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> NoReturn:
        raise RuntimeError("trimmed scores can be differentiated once, not twice")


# By torch's operators, wherever the kernel does not reach.


def _composed(x: Tensor, eps: float, kept: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scores of blocks (N, C, L), and mean and variance (C,) in float64."""
    columns = layout.columns(x)
    share, origin = _shares(columns.detach())
    # Values are taken from one of them: those of a constant column are exactly 0.
    wide, counts = columns.double() - origin, share > 0
    # What is left out may be infinite: it is out before anything is added up.
    mean = (torch.where(counts, wide, 0.0) * share).sum(0) / kept
    off = torch.where(counts, wide - mean, 0.0)
    variance = (off * off * share).sum(0) / kept
    deviation = (variance + eps).sqrt()
    reach = ((CUT + 1) * deviation).detach()
    near = wide.clamp(mean.detach() - reach, mean.detach() + reach)
    z = ((near - mean) / deviation).clamp(-CUT, CUT).to(x.dtype)
    return layout.from_columns(z, x), mean.detach() + origin, variance.detach()


def _shares(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return what each value of columns (n, C) counts, and the lowest that does (C,), in float64.

    It is 1, 0, or a share between ties at an end; NaN in a column with a NaN.
    """
    n, out = len(x), len(x) // SHARE
    low, high = _ends(x, out)
    inside = ((x > low) & (x < high)).double()
    below, above = (x < low).sum(0), (x > high).sum(0)
    at_low, at_high = x == low, x == high
    few, many = at_low.sum(0).double(), at_high.sum(0).double()
    share_low = (below + few - out) / few
    share_high = (above + many - out) / many
    # Where all that remains is one value, it is both ends.
    share_low = torch.where(low == high, (n - 2 * out) / few, share_low)
    shares = torch.where(at_high, share_high, inside)
    shares = torch.where(at_low, share_low, shares)
    return torch.where(x.isnan().any(0), torch.nan, shares), low.double()


def _ends(x: Tensor, out: int) -> tuple[Tensor, Tensor]:
    """Return the lowest and the highest value of columns (n, C) without `out` at either end."""
    last = len(x) - 1 - out
    if out == 0:
        return x.amin(0), x.amax(0)
    ordered = x.sort(0).values
    return ordered[out], ordered[last]
