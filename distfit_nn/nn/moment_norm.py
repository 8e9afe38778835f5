"""MomentNorm: each feature of a batch is given the shape of the target, by its first k moments."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from distfit_nn import _checks
from distfit_nn.nn import layout, lookup, running_law
from distfit_nn.nn.base import ColumnNorm, Statistics, moved, with_line
from distfit_nn.transforms import moment_curve, moment_match

ORDERS = tuple(range(2, 9))


class _MomentNorm(ColumnNorm):
    running_mean: Tensor
    running_var: Tensor
    running_moments: Tensor | None
    lookup: Tensor | None

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
        feature_dim: int = 1,
        sync: bool = False,
    ) -> None:
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        arguments = (num_features, eps, momentum, affine, track_running_stats)
        super().__init__(*arguments, **options, feature_dim=feature_dim, sync=sync)
        self.order = int(_checks.one_of(order, ORDERS, "order"))
        self.target = _target(target, self.num_features, device, dtype)
        shapes = {
            "running_mean": (num_features,),
            "running_var": (num_features,),
            "running_moments": (order + 1, num_features) if order > 2 else None,
        }
        for name, shape in shapes.items():
            kept = track_running_stats and shape is not None
            self.register_buffer(name, torch.empty(shape or (), **options) if kept else None)
        self.register_buffer("lookup", None, persistent=False)
        self._made_from: list[tuple[Tensor, int]] = []  # what the table was made from
        if track_running_stats:
            self._start()

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"{super().extra_repr()}, order={self.order}"

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

    def _unit(self) -> Tensor:
        """Return the length that the running law is kept in."""
        return _root(self.running_var.double() + self.eps)

    def _law(self) -> Tensor:
        """Return the running law; before the first batch it is N(running_mean, running_var)."""
        mean, kept = self.running_mean.double(), self.running_moments
        start = running_law.normal(self.order, mean, self.running_var.double())
        if kept is None:
            return start
        own = running_law.absolute(kept.double(), mean, self._unit())
        return torch.where(kept[1] > 0, own, start)

    def _track(self, statistics: Statistics, rate: Tensor | float, rows: int) -> None:
        if rows < 2:
            return
        (batch,) = statistics
        unbiased = batch[1] * (rows / (rows - 1))
        largest = torch.finfo(self.running_var.dtype).max
        fits = (batch[0].abs() <= largest) & (unbiased <= largest)
        law = self._law()
        moved(self.running_mean, torch.where(fits, batch[0], torch.nan), rate)
        moved(self.running_var, torch.where(fits, unbiased, torch.nan), rate)
        kept = self.running_moments
        if kept is None or self.momentum == 0:
            return
        share = torch.where(kept[1] > 0, self._share(rate), 1.0)
        new = running_law.mixture(law, batch, share)
        new = running_law.relative(new, self.running_mean.double(), self._unit())
        old = running_law.relative(law, self.running_mean.double(), self._unit())
        fits &= new.isfinite().all(dim=0)
        kept.copy_(torch.where(fits, new, torch.where(kept[1] > 0, old, 0.0)))

    def _share(self, rate: Tensor | float) -> Tensor:
        """Return the weight of the newest of all batches so far, of which the start is none."""
        share = torch.as_tensor(rate, dtype=torch.float64, device=self.running_var.device)
        if self.momentum is None:
            return share
        count: Any = self.num_batches_tracked
        return share / (1 - (1 - share) ** count)

    # Training

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Statistics]:
        weight, bias = self.line(x.dtype)
        columns = layout.columns(x)
        if self.target is None:
            y, found = moment_match.matched(columns, self.order, weight, bias, self.eps)
            y = layout.from_columns(y, x)
        else:
            scores, found = moment_match.matched(columns, self.order, None, None, self.eps)
            y = with_line(self.target(layout.from_columns(scores, x)), weight, bias)
        extreme = getattr(found, "extreme", found.radius / moment_match.ROOM)
        law = torch.stack([found.mean, found.var, *found.shape, extreme])
        return y, (law,)

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
        return with_line(self.target(lookup.look_up(x, table, None, None)), weight, bias)

    @property
    def _is_line(self) -> bool:
        """Whether the test phase is BatchNorm's."""
        return self.order == 2 and self.target is None

    def _prepare(self) -> None:
        """Refit the running law and tabulate its map, unless the table at hand is of that."""
        state = [self.running_mean, self.running_var, self.running_moments]
        made_from = [(part, _version(part)) for part in state if part is not None]
        fresh = self.lookup is not None and _same(made_from, self._made_from)
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
        scale = _root(torch.where(law[1] > 0, law[1], self.eps))
        shrink = torch.where(law[1] > 0, scale / _root(law[1] + self.eps), 1.0)
        z = lookup.nodes(torch.zeros_like(scale[:1]), torch.ones_like(scale[:1]))[:, 0]
        scores, slopes = (part * shrink for part in _scores(law, z))
        if self.target is not None and not self.target.learnable:
            scores, slopes = _carried(self.target, scores, slopes)
        table = lookup.pack(law[0], scale, scores, slopes / scale)
        return table.to(torch.promote_types(self.running_var.dtype, torch.float32))


class MomentNorm1d(_MomentNorm):
    DIMS: ClassVar[tuple[int, ...]] = (2, 3)


class MomentNorm2d(_MomentNorm):
    DIMS: ClassVar[tuple[int, ...]] = (4,)


def _target(target: Any, *arguments: Any) -> Any:
    from distfit_nn.nn import targets

    return targets.as_target(target, *arguments)


def _root(var: Tensor) -> Tensor:
    """Return the square root of a variance, 1 of none."""
    return torch.where(var > 0, var, 1.0).sqrt()


def _version(buffer: Tensor) -> int:
    """Return how often a buffer has been written to; what inference made does not count that."""
    return 0 if buffer.is_inference() else buffer._version


def _same(first: list[tuple[Tensor, int]], second: list[tuple[Tensor, int]]) -> bool:
    """Return whether these are the same buffers, with nothing written to them since."""
    return len(first) == len(second) and all(
        one is other and count == counted
        for (one, count), (other, counted) in zip(first, second, strict=True)
    )


def _scores(law: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the normal scores of a law at standardised places z (W,), and their slopes: (W, d)."""
    shape, radius = law[2:-1].cpu(), moment_match.support_radius(law[-1].cpu())
    multipliers, status = moment_match.solve(shape, radius)
    solved = (status == moment_match.OK).to(z.device)
    given = (part.cpu().numpy() for part in (multipliers, radius, z))
    values, slopes = (torch.as_tensor(part, device=z.device) for part in moment_curve.curve(*given))
    return torch.where(solved, values, z[:, None]), torch.where(solved, slopes, 1.0)


def _carried(target: Any, scores: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Return target(scores) (W, d) and the slopes of that."""
    with torch.enable_grad():
        z = scores[..., None].requires_grad_()
        y = target(z)
        (rise,) = torch.autograd.grad(y.sum(), z)
    return y.detach()[..., 0], slopes * rise[..., 0]
