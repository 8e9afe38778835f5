"""Scores of tensors, with gradients: `distfit_nn.copula.scores` on the tensor's own device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from distfit_nn.copula import lines
from distfit_nn.copula.arguments import check_alike, check_axis
from distfit_nn.copula.tensors import operators, ranks
from distfit_nn.errors import InputError
from distfit_nn.maxent.tensors.checks import at_hand, plain
from distfit_nn.maxent.tensors.density import TensorDensity
from distfit_nn.targets.tensors import Target, as_target, bounded


def are_constant(x: Tensor, target: Any, strength: Any) -> bool:
    """Tell whether scores are on the CPU and nothing has a gradient: neither x nor the target."""
    learns = strength is not None or isinstance(target, (TensorDensity, Distribution))
    return at_hand(x, "x").device.type == "cpu" and not learns


def normal_scores(x: Tensor, target: Any, strength: Any, dim: int) -> Tensor:
    """Return the scores of a tensor: see `distfit_nn.copula.normal_scores`."""
    axis = check_axis(tuple(at_hand(x, "x").shape), dim)
    if strength is not None and isinstance(target, str) and target == "normal":
        columns = ranks._columns(x, axis)
        return _shaped(
            ranks.soft_normal_scores(columns, _each(strength, columns, x, axis)), x, axis
        )
    below, above = _counts(x, strength, axis)
    law = as_target(target, below.shape[1], x.device)
    upper = below.detach() > above.detach()
    mass = torch.where(upper, above, below).to(torch.float64) / len(below)
    missing = mass.isnan()
    found = law.quantile(torch.where(missing, 0.5, mass), upper)
    found = bounded(found)
    return _shaped(torch.where(missing, torch.nan, found), x, axis)


def inverse_scores(y: Tensor, x: Tensor, target: Any, dim: int, *, extrapolate: bool) -> Tensor:
    """Return the values of scores: see `distfit_nn.copula.inverse_scores`."""
    if y.device != x.device:
        raise InputError(f"y must be on {x.device}, as x is, got {y.device}")
    axis = check_alike(tuple(plain(y, "y").shape), tuple(plain(x, "x").shape), dim)
    columns = ranks._flattened(x, axis).to(torch.float64)
    points = y.movedim(axis, 0).reshape(y.shape[axis], columns.shape[1]).to(torch.float64)
    law = as_target(target, columns.shape[1], x.device)
    ordered = columns.sort(dim=0).values  # NaN last
    missing = points.isnan() | ordered[-1].isnan()
    ordered = torch.where(ordered[-1].isnan(), 0.0, ordered)  # NaN would pass to every gradient
    unit = torch.finfo(y.dtype).eps if y.is_floating_point() else 0.0
    error = lines.roundings(unit, len(columns))
    with torch.no_grad():
        half = torch.full_like(points, 0.5)
        middle = law.quantile(half, torch.zeros_like(half, dtype=torch.bool))
    known = torch.where(missing, middle, points)
    out = _carried(known, middle, ordered, law, error, extrapolate)
    return _shaped(torch.where(missing, torch.nan, out), x, axis)


# Ranks


def _each(strength: Any, columns: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return the strength, one or one for each column."""
    return ranks._strength(strength, columns, tuple(x.movedim(axis, 0).shape[1:]), axis)


def _counts(x: Tensor, strength: Any, axis: int) -> tuple[Tensor, Tensor]:
    """Return how many values, soft or hard, lie below and above each: (n, d)."""
    if strength is None and x.dtype in (torch.int64, torch.uint64):
        return operators.hard_counts(ranks._flattened(ranks._ordered(x), axis))
    columns = ranks._columns(x, axis)
    if strength is None:
        return ranks.hard_counts(columns)
    return ranks.soft_counts(columns, _each(strength, columns, x, axis))


def held(values: Tensor, x: Tensor) -> Tensor:
    """Return values in the dtype of x, torch's default for integers, and within its range."""
    dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    largest = torch.finfo(dtype).max
    return torch.where(values.isinf(), values, values.clamp(-largest, largest)).to(dtype)


def _shaped(columns: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return (m, d) in the shape and dtype of x."""
    others = x.movedim(axis, 0).shape[1:]
    return held(columns, x).reshape(len(columns), *others).movedim(0, axis)


# The way back


def _carried(
    y: Tensor, middle: Tensor, ordered: Tensor, law: Target, error: float, extrapolate: bool
) -> Tensor:
    """Return Q(F(y)) for y (m, d) and sorted columns (n, d); `middle` is any y with a slope."""
    n = len(ordered)
    lower, upper = law.ends()
    y = torch.where(y < lower, lower, torch.where(y > upper, upper, y))
    endless = y.isinf()  # where F has no slope that is a number
    mass, above = law.mass(torch.where(endless, middle, y))
    mass, above = torch.where(endless, 0.0, mass), torch.where(endless, y > 0, above)
    place = n * mass - 0.5  # counted from its own end
    nearest = place.detach().round()
    away = nearest - place.detach()
    place = place + torch.where(away.abs() <= error, away, 0.0)
    inner = place.clamp(0, n - 1)
    step = inner.detach().floor()
    k = step.long()
    start, stop = (
        ordered.gather(0, torch.where(above, n - 1 - i, i)) for i in (k, (k + 1).clamp(max=n - 1))
    )
    out = _between(start, stop, inner - step)
    beyond = place.detach() < 0
    if extrapolate and bool(beyond.any()):
        out = torch.where(beyond, _beyond(y, above, ordered, law), out)
    return out


def _between(start: Tensor, stop: Tensor, share: Tensor) -> Tensor:
    """Return start + share (stop - start), where both may be infinite, or far apart."""
    infinite = start.isinf() | stop.isinf()
    gap = torch.where(infinite, 0.0, stop / 2 - start / 2)
    nearest = torch.where(start.isinf() | (share == 0), start, stop)
    inside = torch.where(infinite, nearest, start + 2 * share * gap)
    low, high = torch.minimum(start, stop), torch.maximum(start, stop)
    return torch.where(inside < low, low, torch.where(inside > high, high, inside))


def _beyond(y: Tensor, above: Tensor, ordered: Tensor, law: Target) -> Tensor:
    """Return the points of the lines that leave the smallest and the largest value."""
    start, at, rate = (torch.where(above, part[1], part[0]) for part in _end_lines(ordered, law))
    out = start + rate * torch.where((rate == 0) | start.isinf() | y.isinf(), 0.0, y - at)
    ahead = torch.where(above, out >= start, out <= start)
    out = torch.where(ahead, out, start)
    out = torch.where(start.isinf(), out, bounded(out))
    return torch.where(y.isinf() & (rate > 0), y.detach(), out)


def _end_lines(ordered: Tensor, law: Target) -> tuple[Tensor, Tensor, Tensor]:
    """Return the end values of sorted columns, their scores and the slopes dx/dy, (2, d) each."""
    n, d = ordered.shape
    count = lines.outer(n)
    mass = ((torch.arange(count, dtype=torch.float64, device=ordered.device) + 0.5) / n)[:, None]
    mass = mass.expand(count, d)
    values = torch.stack([ordered[:count], ordered.flip(0)[:count]])
    at = torch.stack(
        [
            law.quantile(mass, torch.full_like(mass, side, dtype=torch.bool))
            for side in (False, True)
        ]
    )
    at = bounded(at)
    first, score = values[:, 0], at[:, 0]
    return first, score, torch.stack([_slopes(*side) for side in zip(values, at, strict=True)])


def _slopes(values: Tensor, at: Tensor) -> Tensor:
    """Return the slopes of the lines beyond one end: see `lines.slopes`."""
    i, j = (torch.as_tensor(index, device=values.device) for index in lines.pairs(len(values)))
    rise = _rise(values[i], values[j], at[i], at[j])
    if len(rise) == 0:
        return torch.zeros_like(values[0])
    finite = rise.isfinite()
    known = torch.where(finite, rise, torch.inf).sort(dim=0).values
    middle = (finite.sum(dim=0) - 1).clamp(min=0) // 2
    slope = known.gather(0, middle[None])[0]
    return torch.where((slope > 0) & slope.isfinite(), slope, 0.0)


def _rise(start: Tensor, stop: Tensor, at_start: Tensor, at_stop: Tensor) -> Tensor:
    """Return the slope between two points, NaN where there is none."""
    run = at_stop - at_start
    none = (run == 0) | start.isinf() | stop.isinf()
    gap = torch.where(none, 0.0, stop / 2 - start / 2)
    return torch.where(none, torch.nan, 2 * (gap / torch.where(none, 1.0, run)))
