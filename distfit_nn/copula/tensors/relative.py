"""Scores of soft ranks whose strength is relative to each column's own scale, with gradients.

With x_(i) the sorted column, q10 and q90 its quantiles and

    scale = sqrt(s^2 + floor^2),   s = (q90 - q10) / 2.563, or, where that is 0, the deviation,

the scores are z_i = Phi^{-1}((1/n) sum_j sigmoid(strength (x_i - x_j) / scale)). The scale counts
as a constant, no gradient going through it, unless `through` asks for that. A constant column has
scores and gradients 0, one that holds a NaN, or whose scale is infinite, is NaN.

With them come the soft shares F(t) = (1/n) sum_j sigmoid(strength (t - x_j) / scale) at given knots
(`relative_kernel`), which have no gradient. `compiled` is for the CPU, `composed` of torch's own
operators for every other device.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from distfit_nn.copula.tensors import operators
from distfit_nn.copula.tensors.memory import as_blocks, laid
from distfit_nn.copula.tensors.ranks import _lent

TENTH = 0.1
WIDTH = 2.5631031310892007  # of a standard normal variable, between its tenths
NEAR = 1e-6  # gaps below which sinh is a line


class Scores(NamedTuple):
    """What `compiled` and `composed` return."""

    y: Tensor
    """weight * z + bias, of the shape of x."""
    scale: Tensor
    """(d,), without gradient."""
    shares: Tensor
    """(K, d) at knots (K, d), without gradient."""


def compiled(
    x: Tensor,
    strength: Tensor,
    floor: float,
    weight: Tensor | None,
    bias: Tensor | None,
    knots: Tensor,
    through: bool = False,
) -> Scores:
    """Return weight * z + bias of blocks x (N, d, L) on the CPU, float32 or float64.

    Each channel is one column of N L values. `strength`, `weight` and `bias` hold d numbers, the
    strengths positive; knots are (K, d), each column going up, K may be 0.
    """
    return Scores(*_Relative.apply(x, strength, weight, bias, floor, knots, through))


class _Relative(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        strength: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        floor: float,
        knots: Tensor,
        through: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        from distfit_nn.copula import columns

        keep = any(ctx.needs_input_grad)
        d = x.shape[1]
        factor = torch.ones(d) if weight is None else weight
        term = torch.zeros(d) if bias is None else bias
        points = _lent(knots.T)
        given = _lent(laid(x)), _lent(strength), floor, _lent(factor), _lent(term), points
        found = columns.relative_scores(*given, keep)
        y, scale, shares, *kept = (torch.from_numpy(part) for part in found)
        ctx.mark_non_differentiable(scale, shares)
        if keep:
            rates, scores, _, order, bad = kept
            ctx.save_for_backward(x, factor, strength, scale, rates, scores, order, bad)
            ctx.lines = weight is not None, bias is not None
            ctx.floor = floor if through else None
        return as_blocks(y, x), scale, shares.T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        # Only with create_graph=True are gradients on a graph, too.
        slopes = _Slopes.apply if torch.is_grad_enabled() else _Slopes.forward
        dx, dstrength, dweight, dbias = slopes(gradient, ctx.floor, *ctx.saved_tensors)
        has_weight, has_bias = ctx.lines
        line = dweight if has_weight else None, dbias if has_bias else None
        return dx, dstrength, *line, None, None, None


class _Slopes(Function):
    """The gradients, which have none of their own."""

    @staticmethod
    def forward(
        gradient: Tensor, floor: float | None, x: Tensor, *saved: Tensor
    ) -> tuple[Tensor, ...]:
        from distfit_nn.copula import columns

        weight, strength, scale, rates, scores, order, bad = (part.detach() for part in saved)
        values, given = laid(x.detach()), laid(gradient.detach(), x).contiguous()
        dx, drate, *line = columns.line_slopes(
            columns.Kept(values.numpy(), order.numpy(), bad.numpy()),
            rates.numpy(),
            _lent(given),
            scores.numpy(),
            _lent(weight),
        )
        by_rate, by_x = torch.from_numpy(drate), as_blocks(torch.from_numpy(dx), x)
        if floor is not None:
            _add_through_scale(by_x, x.detach(), -by_rate * rates / scale, scale, floor, order)
        dstrength = by_rate / scale
        dstrength = torch.where(rates == 0, 0.0, dstrength).to(strength.dtype)
        dweight, dbias = (torch.from_numpy(part).to(weight.dtype) for part in line)
        return by_x, dstrength, dweight, dbias

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> NoReturn:
        raise RuntimeError("soft ranks can be differentiated once, not twice")


def _add_through_scale(
    dx: Tensor, x: Tensor, by_scale: Tensor, scale: Tensor, floor: float, order: Tensor
) -> None:
    """Add the gradient through the scales of blocks (N, d, L) to dx, in place.

    `by_scale` (d,) is that by the scales; `order` (d, n) holds the places of the sorted values.
    """
    n, length = order.shape[1], x.shape[2]
    own = (scale.square() - floor**2).clamp(min=0).sqrt()
    by_own = torch.where(scale > 0, by_scale * own / scale, 0.0)
    ends = []
    for at, sign in ((TENTH * (n - 1), -1.0), ((1 - TENTH) * (n - 1), 1.0)):
        i = min(int(at), n - 1)
        ends += [(i, sign * (1 - at + i)), (min(i + 1, n - 1), sign * (at - i))]
    column = torch.arange(len(order))
    rows = [order[:, i].long() for i, _ in ends]
    places = [(row // length, column, row % length) for row in rows]
    low_a, low_b, high_a, high_b = (x[place] for place in places)
    varied = ~((low_a == low_b) & (low_b == high_a) & (high_a == high_b))
    for place, (_, share) in zip(places, ends, strict=True):
        add = torch.where(varied, by_own * share / WIDTH, 0.0).to(dx.dtype)
        dx.index_put_(place, add, accumulate=True)
    rest = (~varied & (own > 0)).nonzero()[:, 0]
    if len(rest):  # those whose scale is their standard deviation
        some = x[:, rest].to(torch.float64)
        away = some - some.mean((0, 2), keepdim=True)
        factor = by_own[rest] / (n * own[rest])
        dx[:, rest] += (away * factor[:, None]).to(dx.dtype)


def composed(
    x: Tensor,
    strength: Tensor,
    floor: float,
    weight: Tensor | None,
    bias: Tensor | None,
    knots: Tensor,
    through: bool = False,
) -> Scores:
    """Return weight * z + bias of columns x (n, d) on any device: see `compiled`."""
    ordered, places = x.sort(dim=0)
    fixed = ordered.detach()
    flat = fixed[0] == fixed[-1]
    scale = _scale(ordered if through else fixed, flat, floor)
    rate = strength / torch.where(flat, max(floor, torch.finfo(x.dtype).tiny), scale)
    lost = fixed[-1].isnan() | ~(scale < torch.inf)
    known = torch.where(flat | lost, torch.ones_like(rate), rate).clamp(
        torch.finfo(x.dtype).tiny, torch.finfo(x.dtype).max
    )
    scores, counts = _Ordered.apply(ordered, known)
    scores = torch.where(flat, 0.0, torch.where(lost, torch.nan, scores))
    y = torch.empty_like(scores).scatter(0, places, scores)
    if weight is not None:
        y = y * weight
    if bias is not None:
        y = y + bias
    shares = _shares(fixed, counts, rate.detach(), knots)
    return Scores(y, scale.detach(), torch.where(lost, torch.nan, shares))


def _scale(ordered: Tensor, flat: Tensor, floor: float) -> Tensor:
    """Return the scales (d,) of sorted columns; NaN beside a NaN."""
    last = len(ordered) - 1
    low, high = _quantile(ordered, TENTH * last), _quantile(ordered, (1 - TENTH) * last)
    scale = 2 * (high - low) / WIDTH
    base = 0.5 * ordered[0]
    reach = torch.where(flat, 1.0, 0.5 * ordered[-1] - base)
    away = (0.5 * ordered - base) / reach
    deviation = (
        2 * reach * away.var(dim=0, correction=0).clamp(min=torch.finfo(away.dtype).tiny).sqrt()
    )
    scale = torch.where(flat, 0.0, torch.where(scale == 0, deviation, scale))
    least = torch.full_like(scale, floor)
    return torch.where(ordered[-1].isnan(), torch.nan, torch.hypot(scale, least))


def _quantile(ordered: Tensor, place: float) -> Tensor:
    """Return half the quantiles at a place between the rows of sorted columns."""
    i = min(int(place), len(ordered) - 1)
    low, high = 0.5 * ordered[i], 0.5 * ordered[min(i + 1, len(ordered) - 1)]
    return torch.where(low == high, low, low + (place - i) * (high - low))


class _Ordered(Function):
    """Normal scores and soft counts of sorted columns (n, d), the latter without gradient."""

    @staticmethod
    def forward(ctx: Any, ordered: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        below, above, _ = operators.soft_counts(ordered, rate, in_order=True)
        scores = operators.normal_scores(below, above)
        ctx.save_for_backward(ordered, rate, scores)
        ctx.mark_non_differentiable(below)
        return scores, below

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Any) -> tuple[Tensor, ...]:
        slopes = _OrderedSlopes.apply if torch.is_grad_enabled() else _OrderedSlopes.forward
        return tuple(slopes(gradient, *ctx.saved_tensors))


class _OrderedSlopes(Function):
    """The gradients, which have none of their own."""

    @staticmethod
    def forward(
        gradient: Tensor, ordered: Tensor, rate: Tensor, scores: Tensor
    ) -> tuple[Tensor, Tensor]:
        net = operators.normal_scores_backward(scores, gradient)
        none = torch.empty_like(ordered[:0], dtype=torch.int32)
        return operators.soft_counts_backward((ordered, rate, none), net, None, in_order=True)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> NoReturn:
        raise RuntimeError("soft ranks can be differentiated once, not twice")


def _shares(ordered: Tensor, counts: Tensor, rate: Tensor, knots: Tensor) -> Tensor:
    """Return the soft shares (K, d) of sorted columns with soft counts: see `relative_kernel`."""
    n = len(ordered)
    rows, points = ordered.T.contiguous(), knots.to(ordered.dtype).T.contiguous()
    place = torch.searchsorted(rows, points, right=True)
    lower, upper = (place - 1).clamp(min=0), place.clamp(max=n - 1)
    low, high = rows.gather(1, lower), rows.gather(1, upper)
    a = place - torch.searchsorted(rows, low)
    b = torch.searchsorted(rows, high, right=True) - place
    a, b = torch.where(place > 0, a, 0), torch.where(place < n, b, 0)
    first = place - a
    gap_a = torch.where(place > 0, _gap(low, points, rate), torch.inf)
    gap_b = torch.where(place < n, _gap(points, high, rate), torch.inf)
    near_a, near_b = torch.exp(-gap_a), torch.exp(-gap_b)
    both = near_a * near_b
    columns = counts.T
    f_a = columns.gather(1, lower) - 0.5 * a - b * both / (1 + both) - first
    f_b = columns.gather(1, upper) - 0.5 * b - a / (1 + both) - first
    f_a, f_b = torch.where(place > 0, f_a, 0.0), torch.where(place < n, f_b, 0.0)
    gaps = gap_a + gap_b
    line = f_a + torch.where(gap_a > 0, gap_a / gaps, 0.0) * (f_b - f_a)
    curve = f_a * near_a * (1 - near_b * near_b) + f_b * near_b * (1 - near_a * near_a)
    f = torch.where(gaps < NEAR, line, curve / (1 - both * both))
    f = f.clamp(torch.minimum(f_a, f_b), torch.maximum(f_a, f_b))
    count = first + f + a / (1 + near_a) + b * near_b / (1 + near_b)
    return (count / n).clamp(0, 1).cummax(dim=1).values.T


def _gap(low: Tensor, high: Tensor, rate: Tensor) -> Tensor:
    """Return rate * (high - low), 0 between equal ones."""
    return torch.where(low == high, 0.0, (0.5 * high - 0.5 * low) * (2 * rate[:, None]))
