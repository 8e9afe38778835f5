"""Batch norm by the central 90% of each column, and cut at three deviations."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from distfit_nn.nn import column_work, layout
from distfit_nn.nn.base import ColumnNorm, Statistics, moved, with_line

SHARE = 20  # one value of so many is left out at either end
CUT = 3.0


class TrimmedNorm1d(ColumnNorm):
    """y = weight * clip((x - mean_90) / sqrt(var_90 + eps), -3, 3) + bias for each feature.

    mean_90 and var_90 are the mean and the (biased) variance of the central 90% of the n values of
    a feature in the batch: of the values in order, without the k lowest and the k highest, where k
    is n / 20, rounded down. Below 20 rows nothing is left out. The variance is that of the values
    that remain, as it is: of normal data 0.62 of the whole. Of values that tie with the first or
    the last that remains, each counts the same share, so that the order of rows does not matter.

    The gradient is that of the formula with the values that remain fixed; where y is cut, nothing
    flows through it but through the mean and the variance of the others.

    Parameters
    ----------
    num_features, eps, momentum, affine, track_running_stats, device, dtype, feature_dim, sync
        As BatchNorm has them. ``running_mean`` and ``running_var`` are those of the central 90%,
        var with n - 2k - 1 in its denominator.

    Notes
    -----
    One row gives the bias, with zero gradient, and leaves the running statistics alone. Infinite
    values are cut to +-3 deviations while they are among those left out; if not, or with a NaN
    anywhere in it, a feature is NaN, and leaves its running statistics as they were.

    It is the cheap robust rival that the shaped layers are compared with; it is not in the thesis.
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
        columns = layout.columns(x)
        share, origin = _shares(columns.detach())
        kept = len(columns) - 2 * (len(columns) // SHARE)
        # Values are taken from one of them: those of a constant column are exactly 0.
        wide, counts = columns.double() - origin, share > 0
        # What is left out may be infinite: it is out before anything is added up.
        mean = (torch.where(counts, wide, 0.0) * share).sum(0) / kept
        off = torch.where(counts, wide - mean, 0.0)
        variance = (off * off * share).sum(0) / kept
        deviation = (variance + self.eps).sqrt()
        reach = ((CUT + 1) * deviation).detach()
        near = wide.clamp(mean.detach() - reach, mean.detach() + reach)
        z = ((near - mean) / deviation).clamp(-CUT, CUT).to(x.dtype)
        y = with_line(layout.from_columns(z, x), *self.line(x.dtype))
        unbiased = variance.detach() * (kept / max(kept - 1, 1))
        return y, (mean.detach() + origin, unbiased)

    def _track(self, statistics: Statistics, rate: Tensor | float, rows: int) -> None:
        if rows == 1 or self.running_mean is None or self.running_var is None:
            return
        known = torch.stack(statistics).isfinite().all(0)  # both move, or none
        moved(self.running_mean, torch.where(known, statistics[0], torch.nan), rate)
        moved(self.running_var, torch.where(known, statistics[1], torch.nan), rate)

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


class TrimmedNorm2d(TrimmedNorm1d):
    __doc__ = TrimmedNorm1d.__doc__
    DIMS: ClassVar[tuple[int, ...]] = (4,)


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
    if column_work.compiled(x):
        rows = np.partition(np.ascontiguousarray(x.numpy().T), (out, last), axis=1)
        return torch.from_numpy(rows[:, out].copy()), torch.from_numpy(rows[:, last].copy())
    ordered = x.sort(0).values
    return ordered[out], ordered[last]
