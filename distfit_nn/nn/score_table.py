"""Running tables of normal scores: distribution functions at adaptive knots, averaged.

A column has KNOTS knots t_k and there the running mean of its batches' soft shares F(t_k); above
the middle knot F(t_k) - 1 is kept, so that either tail has its digits. Shares are linear in the
data, so that at fixed knots the mean over batches is that of their union. The
knots were laid where the running scores Phi^{-1}(F) were LEVELS, evenly spaced from -SPAN to SPAN:
atoms, modes and heavy tails all get as many as their share of the score. A knot whose score has
since moved by more than `hysteresis` lets the knots of its column be laid anew, on what the
running table and the batch together tell, and the table is carried over by interpolation. As this
is rare, what interpolation loses does not add up.

All functions take columns side by side: (K, d), or (n, d) for batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from distfit_nn.nn import lookup

KNOTS = 65
SPAN = 4.0  # of scores
BOUND = 5.0  # no score is beyond, whatever is left of a share by rounding
DECILE = 1.2815515655446004  # the score of a share of 0.9
OUTER = 0.5  # steps of scores at either end of a batch that tell how its tails go on
FASTEST = 8.0  # a tail gets wider by this factor, at most, from one such step to the next
SAME = 1e-5  # scores that are told apart by rounding only
SCALES = (1.0, 4.0, 16.0)  # of fast tables that are tried, over the least
FINE = 0.001  # RMS error of a fast table, in scores, below which no other is tried
GOOD = 0.005  # RMS error of a fast table, in scores, up to which it serves

Shape = Callable[[Tensor], Tensor]


def levels(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the scores (K, 1) at which knots are laid."""
    return torch.linspace(-SPAN, SPAN, KNOTS, dtype=dtype, device=device)[:, None]


def normal_entries(device: torch.device) -> Tensor:
    """Return what a table holds (K, 1), in float64, if its knots are at these scores exactly."""
    level = levels(torch.float64, device)
    share = torch.special.ndtr(-level.abs())
    return torch.where(level > 0, -share, share)


def upper(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return 1 for the knots above the middle one, 0 for the others (K, 1)."""
    return (levels(dtype, device) > 0).to(dtype)


def entries(shares: Tensor) -> Tensor:
    """Return what a table holds of shares (K, d) at its knots."""
    return shares - upper(shares.dtype, shares.device)


@cache
def hysteresis(dtype: torch.dtype, device: torch.device, rows: int) -> tuple[Tensor, Tensor]:
    """Return the least and the largest entry (K, 1) that a knot may have before it is laid anew.

    Its score may be off by 0.375, and more where batches of few rows know less. Beyond 2 it may be
    any that is further out: a batch knows little of its tails.
    """
    level = levels(torch.float64, device)
    leeway = 0.375 + 2 / rows**0.5 + 0.5 * (level.abs() - 2).clamp(min=0)
    low, high = torch.special.ndtr(level - leeway), torch.special.ndtr(level + leeway)
    low, high = torch.where(level < -2, 0.0, low), torch.where(level > 2, 1.0, high)
    return entries(low).to(dtype), entries(high).to(dtype)


class Batch(NamedTuple):
    """Sorted columns (n, d), their scores, and by which rate these decay beyond the ends (d,)."""

    x: Tensor
    scores: Tensor
    rate: Tensor


def scores(table: Tensor) -> Tensor:
    """Return the normal scores of a table, in float64."""
    entry = table.to(torch.float64)
    above = upper(torch.float64, table.device) > 0
    size = torch.special.ndtri(torch.where(above, -entry, entry).clamp(0, 1))
    return torch.where(above, -size, size).clamp(-BOUND, BOUND)


def misplaced(knots: Tensor, table: Tensor, rows: int) -> Tensor:
    """Tell which columns need other knots (d,), after batches of so many rows."""
    low, high = hysteresis(table.dtype, table.device, 1 << (rows.bit_length() - 1))
    off = ((table < low) | (table > high)).any(dim=0)
    # Of a column that is constant but for rounding no knots are better than others.
    size = torch.maximum(knots[0].abs(), knots[-1].abs())
    near = knots[-1] - knots[0] <= 256 * torch.finfo(knots.dtype).eps * size
    return off & ~(near & (table[0] <= 0.5) & (table[-1] >= -0.5))


def between(places: Tensor, values: Tensor, at: Tensor) -> Tensor:
    """Return values (K, d) at places (K, d), on lines between them, at (M, d); held at the ends."""
    rows = places.T.contiguous()
    upper = torch.searchsorted(rows, at.T.contiguous(), right=True).T.clamp(1, len(places) - 1)
    lower = upper - 1
    start, end = places.gather(0, lower), places.gather(0, upper)
    width = end - start
    share = torch.where(width > 0, (at - start) / torch.where(width > 0, width, 1.0), 1.0)
    first = values.gather(0, lower)
    return first + share.clamp(0, 1) * (values.gather(0, upper) - first)


def points(batch: Batch) -> Tensor:
    """Return where batches have the scores LEVELS (K, d), beyond their ends by extrapolation."""
    level = levels(batch.x.dtype, batch.x.device).expand(KNOTS, batch.x.shape[1])
    inside = between(batch.scores, batch.x, level)
    low = _beyond(batch, level)
    mirrored = Batch(-batch.x.flip(0), -batch.scores.flip(0), batch.rate)
    high = -_beyond(mirrored, -level)
    below, above = level < batch.scores[0], level > batch.scores[-1]
    return torch.where(below, low, torch.where(above, high, inside)).cummax(dim=0).values


def _beyond(batch: Batch, level: Tensor) -> Tensor:
    """Return where batches would have scores below those of their smallest values.

    The quantile goes on as in the last two steps of scores: straight, or at a growing pace if it
    has grown from one to the other. It reaches at least as far as the soft share, which decays by
    the strength.
    """
    first = batch.scores[:1]
    steps = first + OUTER * torch.arange(3, dtype=first.dtype, device=first.device)[:, None]
    near, middle, far = between(batch.scores, batch.x, steps)
    outer, inner = middle - near, far - middle
    ratio = torch.where(inner > 0, outer / torch.where(inner > 0, inner, 1.0), 1.0)
    pace = ratio.clamp(1.0, FASTEST).log() / OUTER
    depth = (first - level).clamp(min=0)
    grown = torch.where(pace > 0, torch.expm1(pace * depth) / torch.where(pace > 0, pace, 1), depth)
    decay = torch.special.log_ndtr(first) - torch.special.log_ndtr(first - depth)
    return batch.x[0] - torch.maximum(outer / OUTER * grown, decay / batch.rate)


def laid(knots: Tensor, table: Tensor, batch: Batch, rate: Tensor | float) -> Tensor:
    """Return new knots for columns that a batch moves by the share `rate`, in float64."""
    at = points(batch)
    places = torch.cat([knots.to(at.dtype), at]).sort(dim=0).values
    level = levels(at.dtype, at.device).expand(at.shape)
    fresh = torch.special.ndtr(between(at, level, places))
    mixed = torch.lerp(shares(knots, table, places), fresh, torch.as_tensor(rate, dtype=at.dtype))
    score = torch.special.ndtri(mixed).clamp(-BOUND, BOUND).cummax(dim=0).values
    # Where the score stays the same, a knot is at the inner end.
    inner = torch.where(level < 0, level + SAME, level - SAME)
    rows, wanted = score.T.contiguous(), inner.T.contiguous()
    right, left = (torch.searchsorted(rows, wanted, right=side).T for side in (True, False))
    upper = torch.where(level < 0, right, left).clamp(1, len(places) - 1)
    start, end = score.gather(0, upper - 1), score.gather(0, upper)
    rise = end - start
    share = torch.where(rise > 0, (inner - start) / torch.where(rise > 0, rise, 1.0), 0.0)
    first = places.gather(0, upper - 1)
    out = first + share.clamp(0, 1) * (places.gather(0, upper) - first)
    return out.cummax(dim=0).values


def shares(knots: Tensor, table: Tensor, at: Tensor) -> Tensor:
    """Return the shares of a table at any points (M, d), in float64."""
    return torch.special.ndtr(cubic(knots.to(torch.float64), scores(table), at)[0])


def mean_and_var(
    knots: Tensor, table: Tensor, strength: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Return mean and variance (d,) of the law whose soft shares a table holds, in float64.

    A table is the distribution function of t = x + scale / g * L with L logistic, of variance
    pi^2 / 3; values beyond the outermost knots count as these. With k = pi^2 / (3 g^2) and s the
    robust scale of t, scale^2 is about (s^2 + eps) / (1 + k) where k is small, and
    var x = var t - k scale^2: within some per cent for g from 2 on, up to thrice for 0.5.

    A table of `normal_entries` is no average of soft shares: its mean and variance are exact.
    """
    wide = knots.to(torch.float64)
    level = levels(torch.float64, knots.device).expand(wide.shape)
    centre, length = wide[KNOTS // 2], (wide[-1] - wide[0]) / (2 * SPAN)
    unit = torch.where(length > 0, length, 1.0)
    wide = (wide - centre) / unit
    mean, var = _moments(wide, table, level)
    deciles = wide.new_tensor([[-DECILE], [DECILE]]).expand(2, wide.shape[1])
    low, high = between(scores(table), wide, deciles)
    k = math.pi**2 / 3 / strength.to(torch.float64).square()
    var = (var - k / (1 + k) * (((high - low) / (2 * DECILE)) ** 2 + eps / unit**2)).clamp(min=0)
    exact = (table == normal_entries(table.device).to(table.dtype)).all(dim=0)
    mean, var = torch.where(exact, 0.0, mean), torch.where(exact, 1.0, var)
    return centre + length * mean, length.square() * var


def _moments(knots: Tensor, table: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance (d,) of the law of a table, uniform within a quarter of a step."""
    steps = torch.linspace(-SPAN, SPAN, 4 * KNOTS - 3, dtype=knots.dtype, device=knots.device)
    at = between(level, knots, steps[:, None].expand(-1, knots.shape[1]))
    share = shares(knots, table, at)
    mass, first, last = share.diff(dim=0), at[:-1], at[1:]
    mean = (mass * (first + last)).sum(0) / 2 + share[0] * at[0] + (1 - share[-1]) * at[-1]
    a, b = first - mean, last - mean
    ends = share[0] * (at[0] - mean) ** 2 + (1 - share[-1]) * (at[-1] - mean) ** 2
    return mean, (mass * (a * a + a * b + b * b)).sum(0) / 3 + ends


def slopes(x: Tensor, y: Tensor) -> Tensor:
    """Return slopes for a monotone cubic through the points of each column (K, d).

    At an inner point it is the harmonic mean of the secants beside it, weighted by their widths
    (Fritsch and Butland, SIAM J. Sci. Stat. Comput. 5, 1984); at the ends it is the secant.
    """
    width, rise = x.diff(dim=0), y.diff(dim=0)
    none = width <= 0
    secant = torch.where(none, 0.0, rise / torch.where(none, 1.0, width))
    a, b = width[1:] + 2 * width[:-1], 2 * width[1:] + width[:-1]
    before, after = secant[:-1], secant[1:]
    flat = before * after <= 0
    known = torch.where(flat, 1.0, before), torch.where(flat, 1.0, after)
    mean = (a + b) / (b / known[0] + a / known[1])
    return torch.cat([secant[:1], torch.where(flat, 0.0, mean), secant[-1:]])


def cubic(x: Tensor, y: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Return the monotone cubic through the points of each column, and its slope, at (M, d).

    Beyond the ends it is held. Differentiable in `at`.
    """
    return through(x, y, slopes(x, y), at)


def through(x: Tensor, y: Tensor, slope: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Return Hermite's cubic through points (K, d) with slopes, and its slope: see `cubic`."""
    x, y, slope, at = (part.T.contiguous() for part in (x, y, slope, at))  # columns as rows
    upper = torch.searchsorted(x, at.detach(), right=True).clamp(1, x.shape[1] - 1)
    lower = upper - 1
    start = x.gather(1, lower)
    width = x.gather(1, upper) - start
    some = torch.where(width > 0, width, 1.0)
    t = ((at - start) / some).clamp(0, 1)
    y0 = y.gather(1, lower)
    rise = y.gather(1, upper) - y0
    m0, m1 = slope.gather(1, lower) * width, slope.gather(1, upper) * width
    b, c = 3 * rise - 2 * m0 - m1, m0 + m1 - 2 * rise
    value = y0 + t * (m0 + t * (b + t * c))
    inside = (at >= x[:, :1]) & (at <= x[:, -1:])
    steep = torch.where(inside, (m0 + t * (2 * b + 3 * t * c)) / some, 0.0)
    return value.T, steep.T


def fast(knots: Tensor, table: Tensor, shape: Shape | None = None) -> tuple[Tensor, Tensor]:
    """Return the `lookup` table that is nearest to a running one, and which columns it fails.

    A `lookup` table has its own grid, fine around a centre only. That is where the score rises most
    steeply; of a few scales the best is taken, column by column, by the scores at the knots and
    halfway between, weighted as normal scores are frequent. `shape` maps scores (M, d, 1) to what
    the table is to hold; where some columns fail, it holds the scores.
    """
    places, score = knots.to(torch.float64), scores(table)
    tests = torch.cat([places, (places[1:] + places[:-1]) / 2])
    true, _ = cubic(places, score, tests)
    known = places, score, tests, true
    centre, least = _steepest(places)
    best = _tried(known, centre, least * SCALES[0])
    for factor in SCALES[1:]:
        bad = (best.error > FINE**2).nonzero()[:, 0]
        if len(bad) == 0:
            break
        some = tuple(part[:, bad] for part in known)
        best = _better(best, _tried(some, centre[bad], least[bad] * factor), bad)
    failed = (best.error > GOOD**2).nonzero()[:, 0]
    packed, values, rises = best.packed, best.values, best.rises
    if shape is not None and len(failed) == 0:
        values = shape(values[:, :, None])[:, :, 0].to(values.dtype)
        rises = held(slopes(lookup.nodes(centre, best.scale), values))
        packed = None
    if packed is None:
        packed = lookup.pack(centre, best.scale, values, rises)
    return packed.to(table.dtype), failed


class _Fast(NamedTuple):
    """Fast tables: scales (d,), values and slopes at the nodes, as packed, mean square errors."""

    scale: Tensor
    values: Tensor
    rises: Tensor
    packed: Tensor | None
    error: Tensor


def _tried(known: tuple[Tensor, ...], centre: Tensor, scale: Tensor) -> _Fast:
    """Return fast tables of some scale, held beyond their ends.

    `known` are knots and their scores, tests and the scores there.
    """
    knots, score, tests, true = known
    values, rises = cubic(knots, score, lookup.nodes(centre, scale))
    packed = lookup.pack(centre, scale, values, held(rises))
    found = lookup.look_up(tests[:, :, None], packed, None, None)[:, :, 0]
    weights = torch.exp(-0.5 * true.square())
    error = ((found - true).square() * weights).sum(0) / weights.sum(0)
    return _Fast(scale, values, rises, packed, error)


def _better(best: _Fast, other: _Fast, places: Tensor) -> _Fast:
    """Return the best tables, with others for the columns at some places where these are nearer."""
    nearer = other.error < best.error[places]
    if not bool(nearer.any()):
        return best
    here = places[nearer]
    for name in ("scale", "values", "rises", "error"):
        getattr(best, name)[..., here] = getattr(other, name)[..., nearer]
    return best._replace(packed=None)


def held(rises: Tensor) -> Tensor:
    """Return slopes, level at the ends."""
    rises[0] = rises[-1] = 0.0
    return rises


def _steepest(knots: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the score of each column rises by 1 over the least distance, and that (d,)."""
    half = KNOTS // 16
    wide = knots[2 * half :] - knots[: -2 * half]
    level = levels(knots.dtype, knots.device)[half:-half].abs()
    inner = torch.where(level <= 2.5, wide * (1 + 0.1 * level), torch.inf)
    place = inner.argmin(dim=0, keepdim=True)
    size = torch.maximum(knots[0].abs(), knots[-1].abs())
    floor = (knots[-1] - knots[0] + torch.finfo(knots.dtype).eps * size).clamp(min=1e-30) * 1e-9
    centre = knots[half:-half].gather(0, place)[0]
    return centre, torch.maximum(wide.gather(0, place)[0], floor)
