"""MomentNorm: each feature is given the shape of a target, by its first k moments.

In training F1 is that of the batch (`transforms.moments`). The test phase knows the law of
recent batches by its moments alone (`running_law`), solves for its density once and looks the map
up in a table (`lookup`).
"""

from __future__ import annotations

import reprlib
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from distfit_nn.errors import InputError
from distfit_nn.nn import layout, lookup, running_law
from distfit_nn.nn.base import ColumnNorm, Statistics, with_line
from distfit_nn.nn.docstrings import completed_by
from distfit_nn.nn.targets import as_target
from distfit_nn.nn.versions import Versions, unchanged, versions
from distfit_nn.transforms.moments.density import evaluated, solve
from distfit_nn.transforms.moments.law import support_radius
from distfit_nn.transforms.moments.match import matched
from distfit_nn.transforms.moments.reach import REACH, checked

ORDERS = tuple(range(2, 9))

_matched = torch.compiler.disable(matched)  # it is Numba's work


class MomentNorm(ColumnNorm):
    """What `MomentNorm1d` and `MomentNorm2d` have in common; see there."""

    running_mean: Tensor
    running_var: Tensor
    running_moments: Tensor | None

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
        order: int = 4,
        target: Any = "normal",
        reach: float | None = REACH,
        feature_dim: int = 1,
        sync: bool = False,
    ) -> None:
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        arguments = (num_features, eps, momentum, affine, track_running_stats)
        super().__init__(*arguments, **options, feature_dim=feature_dim, sync=sync)
        self.order = _order(order)
        checked(reach)
        self.reach = None if reach is None else float(reach)
        self.target: Any = as_target(target, self.num_features, device, dtype)
        shapes = {
            "running_mean": (num_features,),
            "running_var": (num_features,),
            "running_moments": (self.order + 1, num_features) if self.order > 2 else None,
        }
        for name, shape in shapes.items():
            kept = track_running_stats and shape is not None
            self.register_buffer(name, torch.empty(shape or (), **options) if kept else None)
        self.lookup: Tensor | None = None
        self._made_from: Versions = []  # what the table was made from
        if track_running_stats:
            self._start()

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"{super().extra_repr()}, order={self.order}, reach={self.reach}"

    # The running law

    def _start(self) -> None:
        self.running_mean.zero_()
        self.running_var.fill_(1.0)
        if self.running_moments is not None:
            self.running_moments.zero_()

    def _start_from(self, mean: Tensor, var: Tensor) -> None:
        """Let the running law be N(mean, var)."""
        self._start()
        self.running_mean.copy_(mean)
        self.running_var.copy_(var)
        if not self.training:
            self._prepare()

    def _law(self) -> Tensor:
        """Return the running law; before the first batch it is N(running_mean, running_var)."""
        mean, var, kept = (
            self.running_mean.double(),
            self.running_var.double(),
            self.running_moments,
        )
        start = running_law.normal(self.order, mean, var)
        if kept is None:
            return start
        own = running_law.absolute(kept.double(), mean, running_law.unit(var, self.eps))
        return torch.where(running_law.is_known(kept), own, start)

    @torch.compiler.disable
    def _track(self, statistics: Statistics, rate: Tensor | float, rows: int) -> None:
        (batch,) = statistics
        if self.momentum == 0:
            return
        kept = self.running_moments
        if kept is None:
            kept = torch.zeros_like(batch)
        state, shares = (self.running_mean, self.running_var, kept), (rate, self._weight(rate))
        new = running_law.followed(state, batch, *shares, rows, self.eps)
        for buffer, value in zip(state, new, strict=True):
            buffer.copy_(value)

    def _weight(self, rate: Tensor | float) -> Tensor | float:
        """Return the share of the newest in all batches so far: the start counts for nothing."""
        count = self.num_batches_tracked
        if self.momentum is None or count is None:
            return rate
        so_far = int(count) if count.device.type == "cpu" else count
        weight: Tensor | float = rate / (1 - (1 - rate) ** so_far)
        return weight

    # Training

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Statistics]:
        weight, bias = self.line(x.dtype)
        columns = layout.columns(x)
        if self.target is None:
            y, found = _matched(columns, self.order, weight, bias, self.eps, self.reach)
            y = layout.from_columns(y, x)
        else:
            scores, found = _matched(columns, self.order, None, None, self.eps, self.reach)
            y = with_line(self.target(layout.from_columns(scores, x)), weight, bias)
        return y, (found.law,)

    # Test phase

    def _of_running(self, x: Tensor) -> Tensor:
        weight, bias = self.line(x.dtype)
        if self._is_line:
            mean, var = self.running_mean.to(x.dtype), self.running_var.to(x.dtype)
            return functional.batch_norm(x, mean, var, weight, bias, False, 0.0, self.eps)
        if not torch.compiler.is_compiling():
            self._prepare()
        table = self.lookup
        if table is None:
            raise RuntimeError("the test phase was not made ready: call eval()")
        if self.target is None or not self.target.learnable:
            return lookup.look_up(x, table, weight, bias)
        held = self.target.held(table)
        if held is not None:
            return lookup.look_up(x, held, weight, bias)
        return with_line(self.target(lookup.look_up(x, table, None, None)), weight, bias)

    @property
    def _is_line(self) -> bool:
        """Whether the test phase is BatchNorm's."""
        return self.order == 2 and self.target is None

    def _prepare(self) -> None:
        """Refit the running law and tabulate its map, unless the table at hand is of that."""
        made_from = versions(self.running_mean, self.running_var, self.running_moments)
        fresh = self.lookup is not None and unchanged(made_from, self._made_from)
        if self._is_line or fresh or self.running_mean.is_meta:
            return
        with torch.inference_mode(False), torch.no_grad():  # for a table that autograd may keep
            self.lookup = self._table()
        self._made_from = made_from

    def _table(self) -> Tensor:
        """Return the map of the running law as a table; of what the target makes of it, if fixed.

        Where no density has the moments of a column it is that of its mean and variance.
        """
        law = self._law()
        whole = running_law.unit(law[1], self.eps)
        scale = torch.where(law[1] > 0, law[1].sqrt(), whole)
        shrink = scale / whole
        radius = support_radius(law[-1])
        kept = self.running_moments
        # Without a batch there is a line, which knows no reach.
        shape = law[2:-1]
        shape = shape if kept is None else torch.where(running_law.is_known(kept), shape, torch.nan)
        multipliers, _ = solve(shape, radius)
        nodes = lookup.nodes(law[0], scale)
        density = multipliers.to(nodes.device), radius
        scores, slopes = evaluated(nodes, *density, law[0], scale, self.reach)
        scores, slopes = scores * shrink, slopes * shrink
        if self.target is not None and not self.target.learnable:
            scores, slopes = _carried(self.target, scores, slopes)
        table = lookup.pack(law[0], scale, scores, slopes)
        return table.to(torch.promote_types(self.running_var.dtype, torch.float32))


@completed_by(ColumnNorm, summary=False)
class MomentNorm1d(MomentNorm):
    """Carry each feature to a target distribution, of N(0, 1) by default, by its first k moments.

    With mu and sigma^2 the mean and variance of a feature over the batch, z = (x - mu) / sigma, F1
    the distribution function of the density of largest entropy that has the moments 1..k of z, and
    F2 that of the target,

        y = weight * F2^{-1}(Phi(rho g(Phi^{-1}(F1(z))))) + bias, rho = sigma / sqrt(sigma^2 + eps),

    and for the target N(0, 1) simply weight * rho g(Phi^{-1}(F1(z))) + bias. Scores are believed up
    to +-`reach`, where g(s) = s; beyond, their excess e counts by a logarithm, as asinh(2 e) / 2.
    For the outermost scores are mostly noise: a fitted tail is steep and gives 6 and more, though
    no sample of 20,000 has a normal score much beyond 4. Gradients go through the moments. At order
    2 the density is normal and the layer is BatchNorm, in training and in the test phase. At order
    k a feature that is normal already is standardised, nearly: its sample moments are not quite
    those of N(0, 1).

    Parameters
    ----------
    num_features, eps, momentum, affine, track_running_stats, device, dtype
        As in `torch.nn.BatchNorm1d`.
    order : int, default 4
        Number of moments, k, from 2 to 8. A batch of at most k rows, a feature without a density of
        these moments (constant, or of at most k/2 distinct values) is standardised only.
    target : str, distribution or GaussianMixture, default "normal"
        What y is distributed as before weight and bias: "normal", "uniform", "bimodal", an object
        with `cdf` and `ppf`, a fitted density, or a `GaussianMixture`. See `nn.targets.as_target`.
    reach : float or None, default 3.0
        How far normal scores are believed, above 0; None believes all. A feature that is
        standardised only, as all are at order 2, knows no reach.
    feature_dim : {1, -1}, default 1
        The dimension of the features: 1, as BatchNorm has it, or the last, as in (B, T, C).
    sync : bool, default False
        In training, take the moments of the batches of all ranks of torch.distributed together,
        gradients included. Each rank gathers these batches and does the work of all.

    Shape
    -----
    (N, C) or (N, C, L), and the same back; with `feature_dim=-1` any (..., C). The moments are
    those over N and L.

    Attributes
    ----------
    weight, bias : (C,), or None without `affine`
        Parameters of the line, which start at 1 and 0.
    target : torch.nn.Module or None
        The map F2^{-1}(Phi(.)); None for "normal".
    running_mean, running_var : (C,)
        BatchNorm's: moved by `momentum` towards each batch's mean and variance (divided by n - 1).
    running_moments : (order + 1, C), or None at order 2
        The law of recent batches, the mixture of all batches with the weights that `momentum` gives
        them: its mean, from running_mean on, and its variance, both in units of sqrt(running_var +
        eps); E z^i for i = 3..order and max abs(z) of z standardised by that mean and variance.
        Unlike running_mean and running_var, which start at 0 and 1 and take some 1 / momentum
        batches to forget it, it is that of the batches alone; before the first it is zeros and the
        test phase standardises by running_mean and running_var.
    num_batches_tracked : ()
        Number of batches that were counted.

    Notes
    -----
    One row gives weight * median of the target + bias (the median of "normal" is 0) with no
    gradient by x, and leaves the running statistics alone. A feature with NaN gives NaN, and its
    running statistics stay. Where a number exceeds the dtype of the buffers, as that of a feature
    with an outlier of 1e30 would in float32, these stay, too. Gradients can be taken once, not
    twice.

    The support of F1 is mu +- 10 sigma, and 1.25 or 1.25^2, ... times as wide where a value lies
    farther out than a 1.2th of that: batches of 128 and of 20,000 rows have the same one otherwise.

    The test phase finds the density of the running moments on entering eval mode, on loading a
    state in eval mode, or at the first batch in eval mode after the buffers were changed. What lies
    beyond the data seen goes on straight. `torch.optim.swa_utils.update_bn` passes this layer by:
    use `recalibrate`.

    On the CPU the first calls compile, for about 30 s in all, once per machine: what is compiled is
    kept beside the package.

    References
    ----------
    L. R. Mead and N. Papanicolaou, Maximum entropy in the problem of moments, J. Math. Phys. 25
    (1984) 2404-2417.

    Examples
    --------
    >>> import torch
    >>> from distfit_nn.nn import MomentNorm1d
    >>> layer = MomentNorm1d(3, order=4)
    >>> x = torch.distributions.Gamma(2.0, 1.0).sample((512, 3))
    >>> y = layer(x)
    >>> bool((y.argsort(dim=0) == x.argsort(dim=0)).all())
    True
    """

    DIMS: ClassVar[tuple[int, ...]] = (2, 3)


@completed_by(MomentNorm1d)
class MomentNorm2d(MomentNorm):
    """Carry each channel to a target distribution, of N(0, 1) by default, by its first k moments.

    Shape
    -----
    (N, C, H, W), and the same back; with `feature_dim=-1` any (..., C). The moments are those over
    N, H and W.

    Examples
    --------
    >>> import torch
    >>> from distfit_nn.nn import MomentNorm2d
    >>> layer = MomentNorm2d(3, target="uniform", affine=False)
    >>> y = layer(torch.randn(8, 3, 5, 5))
    >>> bool(((y > 0) & (y < 1)).all())
    True
    """

    DIMS: ClassVar[tuple[int, ...]] = (4,)


def _order(order: Any) -> int:
    """Return `order` if it is a whole number from 2 to 8."""
    whole = isinstance(order, (int, np.integer)) and not isinstance(order, bool)
    if not whole or order not in ORDERS:
        raise InputError(f"order must be a whole number from 2 to 8, got {reprlib.repr(order)}")
    return int(order)


def _carried(target: Any, scores: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Return target(scores) (W, d) and the slopes of that."""
    with torch.enable_grad():
        z = scores[..., None].requires_grad_()
        y = target(z)
        (rise,) = torch.autograd.grad(y.sum(), z)
    return y.detach()[..., 0], slopes * rise[..., 0]
