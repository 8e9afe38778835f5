"""From samples or raw moments to the standardised problem, on tensors: `problem` on a device.

The moments are taken in float64 whatever the dtype of the samples, in blocks of rows, so that no
whole copy of them in float64 is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from distfit_nn.errors import InputError
from distfit_nn.maxent.problem import CONTRADICTION, EDGE, EPS, WIDEST
from distfit_nn.maxent.solution import Status
from distfit_nn.maxent.tensors import panels as torch_panels
from distfit_nn.maxent.tensors.problem import TensorProblem

SAMPLED_ROWS = 64  # in which most columns show that they have values enough


@dataclass(frozen=True, eq=False)
class TensorStandardised:
    """d columns with x = loc + scale z, their status (d,) so far, and the problem in z."""

    loc: Tensor
    scale: Tensor
    status: Tensor
    problem: TensorProblem


def from_samples(
    x: Tensor,
    order: int,
    support: float | tuple[float, float],
    omit: bool,
    weights: Tensor | None = None,
) -> TensorStandardised:
    """Standardise the columns of x (n, d); see `problem.from_samples`.

    `support` is a factor of the data's range or a pair of ends; weights (n,) or (n, d), checked.
    """
    source = _Samples(x, weights, omit)
    low, high, usable, total = source.range()
    if isinstance(support, tuple):
        _support_holds(support, low[usable], high[usable])
    status = torch.where(_too_few(source, low, high, order, support), Status.DEGENERATE, Status.OK)
    status = torch.where(usable, status, Status.INVALID).to(torch.int8)
    solvable = status == Status.OK

    # Powers of two keep squares of very large and very small values within range, exactly.
    unit = power_of_two(torch.maximum(low.abs(), high.abs()))
    low, high = low / unit, high / unit
    centre = source.mean(lambda z: z / unit, total)
    std = source.mean(lambda z: (z / unit - centre).square(), total).sqrt()
    if isinstance(support, tuple):
        lower, upper = support[0] / unit, support[1] / unit
    else:
        beyond = (support - 1) / 2 * (high - low)
        lower, upper = low - beyond, high + beyond
    spread = _scale_of_one_moment(centre, lower, upper) if order == 1 else std
    spread = torch.where(solvable, spread, 1.0)
    targets = source.hermite_means(unit, centre, spread, order, total)
    data_lower, data_upper = (low - centre) / spread, (high - centre) / spread
    lower, upper = (lower - centre) / spread, (upper - centre) / spread
    lower = torch.minimum(lower.clamp_min(-WIDEST), data_lower)
    upper = torch.maximum(upper.clamp_max(WIDEST), data_upper)
    loc = torch.where(usable, centre * unit, math.nan)
    scale = torch.where(solvable, spread * unit, 0.0)
    problem = TensorProblem(targets, lower, upper, data_lower, data_upper)
    return TensorStandardised(loc, scale, status, problem)


class _Samples:
    """x (n, d) and its weights, read in blocks of rows in float64."""

    def __init__(self, x: Tensor, weights: Tensor | None, omit: bool) -> None:
        self.x, self.omit = x.detach(), omit
        self.weights = weights
        self.step = max(1, torch_panels.block_values(x.device) // x.shape[1])

    def blocks(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Iterate over values, 0 where they are left out, weights, and where a value is unfit."""
        for rows in torch_panels.slices(len(self.x), self.step):
            values = self.x[rows].to(torch.float64)
            finite = values.isfinite()
            share = finite.to(torch.float64)
            unfit = ~finite
            if self.weights is not None:
                given = self.weights[rows].to(torch.float64)
                given = given if given.ndim == 2 else given[:, None]
                share, unfit = share * given, unfit & (given > 0)
            yield torch.where(finite, values, 0.0), share, unfit

    def range(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return least and largest values, 0 in columns that are not usable, these, and weights."""
        low = torch.full((self.x.shape[1],), math.inf, dtype=torch.float64, device=self.x.device)
        high, total = -low, torch.zeros_like(low)
        unfit = torch.zeros_like(low, dtype=torch.bool)
        for values, share, wrong in self.blocks():
            there = share > 0
            low = torch.minimum(low, torch.where(there, values, math.inf).amin(dim=0))
            high = torch.maximum(high, torch.where(there, values, -math.inf).amax(dim=0))
            total += share.sum(dim=0)
            unfit |= wrong.any(dim=0)
        usable = total > 0
        if not self.omit:
            usable &= ~unfit
        low, high = torch.where(usable, low, 0.0), torch.where(usable, high, 0.0)
        return low, high, usable, torch.where(total > 0, total, 1.0)

    def mean(self, function, total: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        """Return the weighted means of a function of the values, (d,)."""
        out = torch.zeros_like(total)
        for values, share, _ in self.blocks():
            out += (function(values) * share).sum(dim=0)
        return out / total

    def hermite_means(
        self, unit: Tensor, centre: Tensor, spread: Tensor, order: int, total: Tensor
    ) -> Tensor:
        """Return the weighted means of h_1..h_order of (x / unit - centre) / spread, (d, order)."""
        out = torch.zeros((order, *total.shape), dtype=torch.float64, device=total.device)
        for values, share, _ in self.blocks():
            z = (values / unit - centre) / spread
            for i, h in enumerate(torch_panels.hermite(z, order)):
                if i:
                    out[i - 1] += (h * share).sum(dim=0)
        return (out / total).T.contiguous()

    def distinct(self, limit: int) -> Tensor:
        """Return the number of distinct values of each column, counted up to the limit."""
        rows = torch.arange(0, len(self.x), max(1, len(self.x) // SAMPLED_ROWS))
        count = self._count(rows.to(self.x.device), slice(None))
        doubtful = (count < limit).nonzero()[:, 0]
        width = max(1, torch_panels.block_values(self.x.device) // len(self.x))
        for part in torch_panels.slices(len(doubtful), width):
            count[doubtful[part]] = self._count(slice(None), doubtful[part])
        return count.clamp_max(limit)

    def _count(self, rows: Tensor | slice, columns: Tensor | slice) -> Tensor:
        values = self.x[rows][:, columns].to(torch.float64)
        used = values.isfinite()
        if self.weights is not None:
            given = self.weights if self.weights.ndim == 2 else self.weights[:, None]
            given = given.expand(self.x.shape)
            used &= given[rows][:, columns] > 0
        ordered = torch.where(used, values, math.inf).sort(dim=0).values
        new = (ordered[1:] != ordered[:-1]) & ordered[1:].isfinite()
        return new.sum(dim=0) + ordered[0].isfinite()


def _too_few(
    source: _Samples,
    low: Tensor,
    high: Tensor,
    order: int,
    support: float | tuple[float, float],
) -> Tensor:
    """Return which columns have no density with their moments; see `problem`."""
    one = high / 2 - low / 2 <= 2 * EPS * torch.maximum(low.abs(), high.abs())
    distinct = torch.where(one, 1, source.distinct(order // 2 + 2))
    if isinstance(support, tuple):
        halves = (low <= support[0]).long() + (high >= support[1]).long()
    else:
        halves = torch.where(one, 2, 2 if support == 1 else 0)
    return 2 * distinct - halves <= order


def power_of_two(size: Tensor) -> Tensor:
    """Return the largest power of two up to each size, 1 for 0, with a finite reciprocal."""
    exponent = torch.frexp(torch.where(size > 0, size, 1.0)).exponent.to(size.dtype) - 1
    return torch.exp2(exponent.clamp_min(-1022))


def _scale_of_one_moment(loc: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Return about the deviation of the density of order 1 with this mean; see `problem`."""
    left, right = (loc - lower).clamp_min(0), (upper - loc).clamp_min(0)
    least, most = torch.minimum(left, right), torch.maximum(left, right)
    share = torch.where(most.isinf(), 1.0, most / (least + most))
    return 2 / math.sqrt(3) * least * share


def _support_holds(support: tuple[float, float], low: Tensor, high: Tensor) -> None:
    """Raise unless all data lie on the support."""
    if len(low):
        least, most = float(low.min()), float(high.max())
        if least < support[0] or most > support[1]:
            raise InputError(
                f"support must hold the data: they range from {least:.6g} to {most:.6g}, "
                f"support is {support}"
            )


def hermite_of_monomials(loc: Tensor, scale: Tensor, order: int) -> Tensor:
    """Return B (d, order, order + 1) with h_i((x - loc) / scale) = sum_j B[i-1, j] x^j."""
    columns = len(loc)
    row = torch.zeros(columns, order + 1, dtype=loc.dtype, device=loc.device)
    row[:, 0] = 1.0
    low, rows = torch.zeros_like(row), []
    for i in range(order):
        times_x = torch.nn.functional.pad(row[:, :-1], (1, 0))
        times_z = (times_x - loc[:, None] * row) / scale[:, None]
        low, row = row, (times_z - math.sqrt(i) * low) / math.sqrt(i + 1)
        rows.append(row)
    return torch.stack(rows, dim=1)


def from_moments(raw: Tensor, support: tuple[float, float]) -> TensorStandardised:
    """Standardise raw moments E x^i, i = 1..k, (k, d) of float64; see `problem.from_moments`."""
    order, _ = raw.shape
    a, b = support
    centre, half = a / 2 + b / 2, b / 2 - a / 2
    i = torch.arange(1, order + 1, dtype=raw.dtype, device=raw.device)[:, None]
    possible = (raw.abs() < 2 * max(abs(a), abs(b)) ** i).all(dim=0)
    moments = torch.cat([torch.ones_like(raw[:1]), torch.where(possible, raw, 0.0)])
    powers = half ** torch.arange(order + 1, dtype=raw.dtype, device=raw.device)[:, None]
    by = torch.full_like(raw[0], centre)
    rounding = EPS * _shifted(moments.abs(), -by.abs()) / powers
    moments = _shifted(moments, by) / powers
    mean = moments[1]
    central = _shifted(moments, mean)
    status = _moment_status(mean, central, _shifted(rounding, -mean.abs()), possible)
    solvable = status == Status.OK
    ends = torch.ones_like(mean)
    one_moment = _scale_of_one_moment(mean, -ends, ends)
    spread = one_moment if order == 1 else central[2].clamp_min(0).sqrt()
    spread = torch.where(solvable, spread, 1.0)
    in_z = central / spread ** torch.arange(order + 1, dtype=raw.dtype, device=raw.device)[:, None]
    in_z[1] = 0.0
    to_hermite = hermite_of_monomials(torch.zeros_like(mean[:1]), ends[:1], order)[0]
    targets = (to_hermite @ in_z).T.contiguous()
    lower, upper = (-1 - mean) / spread, (1 - mean) / spread
    even = order - order % 2
    reach = 1.5 * in_z[even].abs().clamp_min(1) ** (1 / max(even, 1))
    problem = TensorProblem(
        targets, lower, upper, torch.maximum(lower, -reach), torch.minimum(upper, reach)
    )
    loc = torch.where(status == Status.INVALID, math.nan, centre + half * mean)
    scale = torch.where(solvable, half * spread, 0.0)
    return TensorStandardised(loc, scale, status, problem)


def _shifted(moments: Tensor, by: Tensor) -> Tensor:
    """Return E (x - by)^i from E x^i, i = 0..k, by the binomial theorem; (k + 1, d)."""
    rows = []
    for i in range(len(moments)):
        terms = [math.comb(i, j) * moments[j] * (-by) ** (i - j) for j in range(i + 1)]
        rows.append(torch.stack(terms).sum(dim=0))
    return torch.stack(rows)


def _moment_status(mean: Tensor, central: Tensor, rounding: Tensor, possible: Tensor) -> Tensor:
    """Tell moments of a density from those of a few points and impossible ones; see `problem`."""
    order = len(central) - 1
    right, left = 1 + mean, 1 - mean
    if order % 2:
        wider = 2 * rounding[:-1] + rounding[1:]
        tests = [
            (right * central[:-1] + central[1:], wider),
            (left * central[:-1] - central[1:], wider),
        ]
    else:
        inner = right * left * central[:-2] - 2 * mean * central[1:-1] - central[2:]
        bound = rounding[:-2] + 2 * rounding[1:-1] + rounding[2:]
        tests = [(central, rounding), (inner, bound)]
    few, impossible = torch.zeros_like(possible), ~possible
    for sequence, bound in tests:
        size = (len(sequence) + 1) // 2
        at = torch.arange(size, device=mean.device)
        hankel, doubtful = (part[at[:, None] + at].movedim(-1, 0) for part in (sequence, bound))
        known, unsure = (part.diagonal(dim1=1, dim2=2) for part in (hankel, doubtful))
        scale = torch.maximum(known, unsure).clamp_min(torch.finfo(mean.dtype).tiny).rsqrt()
        scale = scale[:, :, None] * scale[:, None, :]
        smallest = torch.linalg.eigvalsh(hankel * scale)[:, 0]
        doubt = size * (doubtful * scale).amax(dim=(1, 2))
        few |= smallest < doubt.clamp_min(EDGE)
        impossible |= smallest < -doubt.clamp_min(CONTRADICTION)
    status = torch.where(few, Status.DEGENERATE, Status.OK)
    return torch.where(impossible, Status.INVALID, status).to(torch.int8)
