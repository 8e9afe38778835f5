"""Copula normalisation: each feature by the normal scores of its soft ranks in the batch.

The test phase is a running table (`score_table`) or, as in the thesis, the regression of z on x.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from distfit_nn import _checks
from distfit_nn.nn import copula_running, layout, lookup, score_table
from distfit_nn.nn.base import ColumnNorm, Statistics, with_line
from distfit_nn.nn.docstrings import completed_by
from distfit_nn.nn.targets import as_target
from distfit_nn.nn.versions import Versions, unchanged, versions

PHASES = ("table", "linear")
LINE = ("mean", "var", "score", "cov")  # running moments of x and z that make a line


class CopulaNorm(ColumnNorm):
    """What `CopulaNorm1d` and `CopulaNorm2d` have in common; see there."""

    knots: Tensor | None
    table: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-10,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        feature_dim: int = 1,
        sync: bool = False,
        strength: float = 5.0,
        learn_strength: bool = True,
        target: Any = "normal",
        test_phase: str = "table",
        scale_gradient: bool = False,
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
        self.start_strength = _checks.number_inside(strength, "strength", 0.0, float("inf"))
        self.learn_strength = _checks.flag(learn_strength, "learn_strength")
        self.test_phase = _checks.one_of(test_phase, PHASES, "test_phase")
        self.scale_gradient = _checks.flag(scale_gradient, "scale_gradient")
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        raw = torch.empty(num_features, **options)
        self.raw_strength = nn.Parameter(raw, requires_grad=self.learn_strength)
        self.target: Any = as_target(target, num_features, device, dtype)
        self._register_running(options)
        self.reset_parameters()

    def _register_running(self, options: dict[str, Any]) -> None:
        """Register the running statistics of the test phase; what it has none of is None.

        As a plain attribute: torch.export counts buffers that are None along with the others.
        """
        tables = self.test_phase == "table"
        for name in ("knots", "table"):
            shape = score_table.KNOTS, self.num_features
            self._register(name, shape if tables else None, options)
        for name in LINE:
            self._register(f"running_{name}", None if tables else (self.num_features,), options)
        self.lookup: Tensor | None = None
        self.rough: Tensor | None = None  # features that `lookup` fails
        self._made_from: Versions = []  # what `lookup` was made from

    def _register(self, name: str, shape: tuple[int, ...] | None, options: dict[str, Any]) -> None:
        """Register a buffer, or set it None."""
        if shape is None or not self.track_running_stats:
            setattr(self, name, None)
        else:
            self.register_buffer(name, torch.empty(shape, **options))

    @property
    def strength(self) -> Tensor:
        """The strength of each feature, (C,)."""
        return nn.functional.softplus(self.raw_strength)

    def reset_parameters(self) -> None:
        """Set running statistics, affine part and strength to their start."""
        super().reset_parameters()
        # The inverse of softplus, for small and large numbers alike.
        start = self.start_strength
        raw = start + math.log(-math.expm1(-start))
        with torch.no_grad():
            self.raw_strength.fill_(raw)

    # Training

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Statistics]:
        weight, bias = self.line(x.dtype)
        plain = self.target is None and self.test_phase == "table"
        line = (weight, bias) if plain else (None, None)
        found = copula_running.scored(
            x, self._strength(x.dtype), self._floor(), *line, self._points(x), self.scale_gradient
        )
        if plain:
            y = found.y
        else:
            y = found.y if self.target is None else self.target(found.y)
            y = with_line(y, weight, bias)
        if self.test_phase == "table":
            return y, (x.detach(), found.shares)
        return y, (x.detach(), found.y.detach())

    def _strength(self, dtype: torch.dtype) -> Tensor:
        """Return the strengths in the dtype of the work; never 0."""
        g = nn.functional.softplus(self.raw_strength.to(dtype))
        return g.clamp(min=torch.finfo(dtype).tiny)

    def _floor(self) -> float:
        return math.sqrt(self.eps)

    def _points(self, x: Tensor) -> Tensor:
        """Return the knots, if there are such and they are to be used."""
        if self.knots is None or not self.training:
            return x.new_empty((0, self.num_features), dtype=torch.float64)
        return self.knots.to(torch.float64 if x.device.type == "cpu" else x.dtype)

    def _rate(self, rows: int) -> Tensor | float | None:
        """Return the share of a batch, that of the mean of all batches while these are few.

        So the start counts for nothing from the first batch on.
        """
        rate, count = super()._rate(rows), self.num_batches_tracked
        if not self.momentum or rate is None or count is None:
            return rate
        return (1.0 / count.double()).clamp(min=self.momentum)

    def _track(self, statistics: Statistics, rate: Tensor | float, rows: int) -> None:
        x, batch = statistics
        if self.test_phase == "linear":
            buffers = [_present(getattr(self, f"running_{name}")) for name in LINE]
            copula_running.track_line(buffers, x, batch, rate)
            return
        kinds = copula_running.Kinds(self._strength(torch.float64), self._floor())
        running = _present(self.knots), _present(self.table)
        track = copula_running.track_table
        if torch.compiler.is_compiling():
            track = torch.compiler.disable(track)
        track(*running, x, batch, rate, rows, kinds)

    # Test phase

    def _start(self) -> None:
        mean = self.raw_strength.new_zeros(self.num_features)
        self._be_normal(mean, mean + 1)

    def _start_from(self, mean: Tensor, var: Tensor) -> None:
        """Take over a running mean and variance (C,) as those of normal features.

        They are of as many batches as are counted; of those that the momentum averages, if none
        is: the first batch does not replace them.
        """
        self._be_normal(mean, var)
        if self.momentum and self.num_batches_tracked is not None:
            known = math.ceil(1 / self.momentum)
            self.num_batches_tracked.masked_fill_(self.num_batches_tracked == 0, known)

    def _be_normal(self, mean: Tensor, var: Tensor) -> None:
        """Set the running statistics to those of normal features of some mean and variance (C,).

        The scores of their table are (x - mean) / std, from -4 to 4.
        """
        with torch.no_grad():
            std = var.clamp(min=torch.finfo(var.dtype).tiny).sqrt()
            if self.test_phase == "linear":
                parts = {"mean": mean, "var": var, "score": torch.zeros_like(var), "cov": std}
                for name, value in parts.items():
                    _present(getattr(self, f"running_{name}")).copy_(value)
                return
            level = score_table.levels(torch.float64, mean.device)
            _present(self.knots).copy_(mean + std * level)
            start = score_table.normal_entries(mean.device)
            _present(self.table).copy_(start.expand(-1, self.num_features))

    def _mean_and_var(self) -> tuple[Tensor, Tensor]:
        """Return the mean and variance (C,) of features that the running table tells of, about."""
        knots, table = _present(self.knots), _present(self.table)
        strength = self._strength(torch.float64).detach()
        found = score_table.mean_and_var(knots, table, strength, self.eps)
        largest = torch.finfo(knots.dtype).max
        mean, var = (part.clamp(-largest, largest).to(knots.dtype) for part in found)
        return mean, var

    def _of_running(self, x: Tensor) -> Tensor:
        weight, bias = self.line(x.dtype)
        if self.test_phase == "linear":
            if self.target is None:
                return self._on_line(x, weight, bias)
            return with_line(self.target(self._on_line(x, None, None)), weight, bias)
        fixed = torch.compiler.is_compiling() or torch.compiler.is_exporting()
        if not fixed:
            self._prepare()
        if self.lookup is None or self.rough is None:
            return with_line(self._shaped(self._by_search(x, None)), weight, bias)
        few = len(self.rough) > 0
        if not few and (self.target is None or not self.target.learnable):
            return lookup.look_up(x, self.lookup, weight, bias)  # it holds the target
        held = None if few or self.target is None else self.target.held(self.lookup)
        if held is not None:
            return lookup.look_up(x, held, weight, bias)
        z = lookup.look_up(x, self.lookup, None, None)
        if few:
            z = z.index_copy(1, self.rough, self._by_search(x, self.rough))
        return with_line(self._shaped(z), weight, bias)

    def _shaped(self, z: Tensor) -> Tensor:
        """Return scores as those of the target."""
        return z if self.target is None else self.target(z)

    def _on_line(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Return weight * z + bias, z being the regression of the score on x, in one pass."""
        mean, var, term, cov = (
            _present(getattr(self, f"running_{name}")).to(x.dtype) for name in LINE
        )
        factor = cov / var.clamp(min=torch.finfo(x.dtype).tiny)  # a constant feature has cov = 0
        if weight is not None and bias is not None:
            factor, term = factor * weight, torch.addcmul(bias, term, weight)
        return nn.functional.batch_norm(x, mean, torch.ones_like(mean), factor, term, eps=0.0)

    def _by_search(self, x: Tensor, some: Tensor | None) -> Tensor:
        """Return the scores of some features of blocks x, or of all, by the table itself."""
        knots, table = _present(self.knots), _present(self.table)
        if some is not None:
            x, knots, table = x[:, some], knots[:, some], table[:, some]
        z = score_table.scores(table).to(x.dtype)
        found, _ = score_table.cubic(knots.to(x.dtype), z, layout.columns(x))
        return layout.from_columns(found, x)

    def _prepare(self) -> None:
        """Make the table for look-ups, unless that at hand is of the running table as it is."""
        if self.test_phase != "table" or self.table is None or self.table.is_meta:
            return
        now = versions(self.knots, self.table)
        if self.lookup is not None and unchanged(now, self._made_from):
            return
        shape = None if self.target is None or self.target.learnable else self._shaped
        with torch.inference_mode(False), torch.no_grad():  # for a table that autograd may keep
            self.lookup, self.rough = score_table.fast(_present(self.knots), self.table, shape)
        self._made_from = now

    def extra_repr(self) -> str:
        """Return the arguments, but the strength at the start: state is told by `strength`."""
        return (
            f"{super().extra_repr()}, learn_strength={self.learn_strength}, "
            f"test_phase={self.test_phase!r}"
            + (", scale_gradient=True" if self.scale_gradient else "")
        )


def _present(buffer: Tensor | None) -> Tensor:
    """Return a buffer that must be there."""
    if buffer is None:
        raise RuntimeError("this layer keeps no running statistics of its test phase")
    return buffer


@completed_by(ColumnNorm, summary=False)
class CopulaNorm1d(CopulaNorm):
    """Copula normalisation of inputs (N, C) or (N, C, L), in the place of BatchNorm1d.

    In training, and without running statistics in eval mode too, with x_1, ..., x_n the values of a
    feature in the batch,

        y_i = weight * T(z_i) + bias,   z_i = Phi^{-1}(s_i / n),
        s_i = sum_j sigmoid(g (x_i - x_j) / scale),   scale = sqrt(own^2 + eps),

    where own is (q90 - q10) / 2.563, and the standard deviation where that is 0. T is the identity,
    or the map to another target. Scores do not change with location and scale of the feature, go up
    with x, and are bounded by Phi^{-1}(1 - 1 / (2 n)): among more than ten values, a single outlier
    counts as the largest or least value, no more.

    Parameters
    ----------
    num_features, momentum, affine, track_running_stats, device, dtype
        As in `torch.nn.BatchNorm1d`; early batches count for more than `momentum`, see Notes.
    eps : float, default 1e-10
        Added to the square of the scale: features of units of 1e-4 keep their shape, while those of
        1e-6, rounding noise as a rule, are not blown up.
    feature_dim : {1, -1}, default 1
        The dimension of the features: 1, as BatchNorm has it, or the last, as in (B, T, C).
    sync : bool, default False
        In training, rank the batches of all ranks of torch.distributed together, gradients
        included. Each rank gathers these batches and does the work of all.
    strength : float, default 5.0
        The start of g, positive: at 5 a sigmoid goes from 0.08 to 0.92 within one scale. As it
        grows the soft ranks become ranks; at 50 a monotone change of a feature hardly matters.
    learn_strength : bool, default True
        Whether g is learned, for each feature.
    target : str, distribution or GaussianMixture, default "normal"
        What y is distributed as before weight and bias: "normal", "uniform", "bimodal", an object
        with `cdf` and `ppf`, a fitted density, or a `GaussianMixture`. See `nn.targets.as_target`.
    test_phase : {"table", "linear"}, default "table"
        What stands for the batch in eval mode: a running table of F(t) = E sigmoid(g (t - X) /
        scale), hence z = Phi^{-1}(F(x)), held beyond its ends at scores of about -4 and 4; or the
        regression of z on x, as in the thesis.
    scale_gradient : bool, default False
        Whether gradients go through the scale. Otherwise it counts as a constant.

    Shape
    -----
    (N, C) or (N, C, L), or with `feature_dim=-1` any (..., C), and the same back.

    Attributes
    ----------
    weight, bias : (C,), or None without `affine`
        Parameters of the line, which start at 1 and 0.
    raw_strength : (C,)
        Parameter: g = softplus(raw_strength), which `strength` reads.
    target : torch.nn.Module or None
        The map T; None for "normal".
    knots, table : (65, C)
        Buffers of "table": values x of each feature, and F there, but F - 1 in the place of F above
        the middle knot, which keeps its digits.
    running_mean, running_var, running_score, running_cov : (C,)
        Buffers of "linear": mean and variance of x, mean of z, and the covariance of x and z.
    num_batches_tracked : ()
        Number of batches that were counted.

    Notes
    -----
    Each batch moves `table` towards its own F at the knots. Knots stay where they are until the
    score at one of them is off by about half or more; then those of that feature are laid anew. The
    k-th batch counts in the running statistics by the larger of `momentum` and 1 / k: the first
    replaces the start, the second counts for half. (With a `momentum` of 0 none counts.) Until the
    first, eval mode has z = x, held at -4 and 4, as of N(0, 1). A layer that `convert_norms` puts
    in BatchNorm's place starts from a normal law of its running mean and variance, and goes on from
    its count of batches; if that is 0, from 1 / momentum. `torch.optim.swa_utils.update_bn` passes
    this layer by: use `recalibrate`.

    A batch of one row, and a constant feature, give weight * median of the target + bias (the
    median of "normal" is 0), with no gradient by x; one row leaves the running statistics as they
    are, and is not counted. A NaN makes its feature NaN in that batch, as infinities in more than a
    tenth of it do; the feature's running statistics stay as they were. Gradients can be taken once,
    not twice.

    On the CPU the first calls compile, for about 10 s; the result is kept beside the package.

    References
    ----------
    S. Bai, The Effect of Pre-ReLU Input Distribution on Deep Neural Network Performance, senior
    thesis, Carnegie Mellon University, 2017. The scale and the table are this library's.

    Examples
    --------
    >>> import torch
    >>> from distfit_nn.nn import CopulaNorm1d
    >>> layer = CopulaNorm1d(3, strength=50.0)
    >>> x = torch.distributions.Gamma(0.5, 1.0).sample((512, 3))  # all positive, most near 0
    >>> bool((layer(x) < 0).float().mean().sub(0.5).abs() < 0.05)
    True
    """


@completed_by(CopulaNorm1d)
class CopulaNorm2d(CopulaNorm):
    """Copula normalisation of inputs (N, C, H, W), in the place of BatchNorm2d.

    Shape
    -----
    (N, C, H, W), or with `feature_dim=-1` any (..., C), and the same back; n = N H W.

    Examples
    --------
    >>> import torch
    >>> from distfit_nn.nn import CopulaNorm2d
    >>> layer = CopulaNorm2d(3)
    >>> layer(torch.randn(8, 3, 5, 5)).shape
    torch.Size([8, 3, 5, 5])
    """

    DIMS: ClassVar[tuple[int, ...]] = (4,)
