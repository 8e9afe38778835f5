"""What all layers have in common: BatchNorm's arguments, columns, phases and the affine part.

A layer is told by its class how many dimensions an input has and writes three methods on blocks
(N, C, L), see `layout`, of float32 or float64:

- ``_of_batch(x)`` returns what the layer makes of a batch by its own statistics, affine part
  included, and the statistics, a tuple of tensors without graph;
- ``_track(statistics, rate, rows)`` moves the running statistics by a share `rate` towards them;
- ``_of_running(x)`` returns what the layer makes of x by the running statistics.

A layer that prepares something for the test phase, such as a table, writes ``_prepare``, and keeps
it as a plain attribute: ranks broadcast buffers to each other, and averages of models average them.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.nn import distributed, layout

Statistics = tuple[Tensor, ...]


class ColumnNorm(nn.Module):
    """A layer that treats each feature of its input by itself, in BatchNorm's place.

    Parameters
    ----------
    num_features : int
        Number of features or channels, C.
    eps : float, default 1e-5
        Added to the variance.
    momentum : float or None, default 0.1
        Share of the newest batch in the running statistics, from 0 to 1. None makes them those of
        all batches since the last reset, each of the same weight.
    affine : bool, default True
        Whether the result y of the layer becomes ``weight * y + bias``, with a learnable number of
        each for every feature, which start at 1 and 0.
    track_running_stats : bool, default True
        Whether running statistics are kept, for use in eval mode. Without them each batch is
        treated by its own in eval mode, too.
    device, dtype
        Of parameters and buffers.
    feature_dim : {1, -1}, default 1
        The dimension of the features: 1, as BatchNorm has it, or the last, as in (B, T, C).
    sync : bool, default False
        In training, take the statistics of the batches of all ranks of torch.distributed together,
        gradients included. Each rank gathers these batches and does the work of all. Without an
        initialised process group it does nothing.

    Raises
    ------
    InputError
        An argument breaks its rule; or, at a call, an input of another shape, an integer one, or an
        empty one in training.
    """

    DIMS: ClassVar[tuple[int, ...]] = (2, 3)
    """How many dimensions an input may have with the features in dimension 1."""

    num_batches_tracked: Tensor | None

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
        super().__init__()
        self.num_features = _checks.positive_int(num_features, "num_features")
        self.eps = _checks.number_between(eps, "eps", 0.0, float("inf"))
        self.momentum = (
            None if momentum is None else _checks.number_between(momentum, "momentum", 0.0, 1.0)
        )
        self.affine = _checks.flag(affine, "affine")
        self.track_running_stats = _checks.flag(track_running_stats, "track_running_stats")
        self.feature_dim = _checks.one_of(feature_dim, (1, -1), "feature_dim")
        self.sync = _checks.flag(sync, "sync")
        if dtype is not None and not dtype.is_floating_point:
            raise InputError(f"dtype must be a floating dtype, got {dtype}")
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weight = nn.Parameter(torch.ones(num_features, **options)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features, **options)) if affine else None
        count = torch.zeros((), dtype=torch.int64, device=device) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)

    # What a layer writes

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Statistics]:
        """Return y and the statistics of a batch (N, C, L), affine part included."""
        raise NotImplementedError

    def _track(self, statistics: Statistics, rate: Tensor | float, rows: int) -> None:
        """Move the running statistics by the share `rate` towards those of a batch of `rows`."""
        raise NotImplementedError

    def _of_running(self, x: Tensor) -> Tensor:
        """Return y of x (N, C, L) by the running statistics, affine part included."""
        raise NotImplementedError

    def _start(self) -> None:
        """Set running statistics to their start."""

    def _prepare(self) -> None:
        """Make ready what the test phase needs: called on entering eval mode, and on loading."""

    # What all layers do

    def forward(self, x: Tensor) -> Tensor:
        """Return y, of the shape, dtype and memory format of x."""
        self._check_input(x)
        given = layout.blocks(x, self.feature_dim)
        working = given.to(torch.promote_types(x.dtype, torch.float32))
        kind = x.device.type
        # To enter a context takes its time, and the meta device has none.
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            with torch.autocast(kind, enabled=False):
                y = self._of_blocks(working)
        else:
            y = self._of_blocks(working)
        return layout.restored(y.to(x.dtype), x)

    def _of_blocks(self, x: Tensor) -> Tensor:
        """Return y of blocks (N, C, L) as the phase has it."""
        if self.training or not self.track_running_stats:
            return self._trained(x)
        return self._of_running(x)

    def _trained(self, x: Tensor) -> Tensor:
        """Return y by the statistics of the batch, or of the union of the batches of all ranks."""
        if x.shape[0] * x.shape[2] == 0:
            raise InputError(
                f"x must have at least one row of features, got shape {tuple(x.shape)}"
            )
        shared = self.sync and self.training and distributed.is_shared()
        whole, own = distributed.union(x) if shared else (x, None)
        y, statistics = self._of_batch(whole)
        rows = whole.shape[0] * whole.shape[2]
        rate = self._rate(rows)
        if rate is not None and statistics:
            with torch.no_grad():
                self._track(statistics, rate, rows)
        return y if own is None else y[own]

    def _rate(self, rows: int) -> Tensor | float | None:
        """Count a batch and return its share in the running statistics; None if it has none.

        One row does not count, nor what activation checkpointing computes once more, in the
        backward pass.
        """
        count = self.num_batches_tracked
        tracks = self.training and self.track_running_stats and rows > 1
        if not tracks or count is None:
            return None
        if torch._C._current_graph_task_id() != -1:
            return None
        count.add_(1)
        return 1.0 / count.double() if self.momentum is None else self.momentum

    def _check_input(self, x: Tensor) -> None:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            what = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"x must be a tensor of a floating dtype, got {what}")
        fits = x.ndim >= 1 if self.feature_dim == -1 else x.ndim in self.DIMS
        if not fits or x.shape[self.feature_dim] != self.num_features:
            raise InputError(f"x must have {self._shape_rule()}, got shape {tuple(x.shape)}")

    def _shape_rule(self) -> str:
        """Return what the shape of an input must have, in words."""
        features = f"{self.num_features} feature{'s' * (self.num_features > 1)}"
        if self.feature_dim == -1:
            return f"{features} in its last dimension"
        return f"{' or '.join(map(str, self.DIMS))} dimensions, with {features} in dimension 1"

    def line(self, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
        """Return weight and bias in the dtype of the work."""
        weight, bias = self.weight, self.bias
        if weight is None or bias is None or weight.dtype == dtype == bias.dtype:
            return weight, bias
        return weight.to(dtype), bias.to(dtype)

    def reset_running_stats(self) -> None:
        """Set the running statistics, if there are any, to their start.

        To take them from other data, or after a change of the weights such as their average, use
        `distfit_nn.nn.recalibrate`: `torch.optim.swa_utils.update_bn` knows torch's BatchNorm only.
        """
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.zero_()
            self._start()
            if not self.training:
                self._prepare()

    def reset_parameters(self) -> None:
        """Set the running statistics and the affine part to their start."""
        self.reset_running_stats()
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def train(self, mode: bool = True) -> ColumnNorm:
        """Set training or eval mode; on entering eval mode the test phase is made ready."""
        super().train(mode)
        if not mode and self.track_running_stats:
            self._prepare()
        return self

    def _apply(self, *args: Any, **kwargs: Any) -> ColumnNorm:
        super()._apply(*args, **kwargs)
        if not self.training and self.track_running_stats:
            self._prepare()
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        if not self.training and self.track_running_stats:
            self._prepare()

    def extra_repr(self) -> str:
        """Return the arguments, as BatchNorm shows them."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
            + (", feature_dim=-1" if self.feature_dim == -1 else "")
            + (", sync=True" if self.sync else "")
        )


def with_line(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Return weight * y + bias of blocks (N, C, L), where there are such, in memory of its own."""
    if weight is None and bias is None:
        return y.clone()  # y may be kept for its gradient, and what follows may work in place
    if weight is not None:
        y = y * weight[:, None]
    return y if bias is None else y + bias[:, None]


def moved(running: Tensor, batch: Tensor, rate: Tensor | float) -> None:
    """Move running statistics by a share towards those of a batch, where the result is finite."""
    share = torch.as_tensor(rate, dtype=batch.dtype, device=batch.device)
    new = torch.lerp(running.to(batch.dtype), batch, share).to(running.dtype)
    running.copy_(torch.where(new.isfinite(), new, running))
