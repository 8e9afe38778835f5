"""From samples or raw moments to the standardised problem that the solvers take.

Each column is shifted and scaled to mean 0 and variance 1; its targets are the means of the scaled
Hermite polynomials. A column for which no density exists is told apart here, before any solver.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distfit_nn.errors import InputError
from distfit_nn.maxent import basis
from distfit_nn.maxent.solution import Problem, Status

Array = NDArray[np.float64]
Support = float | tuple[float, float] | str

EPS, TINY = float(np.finfo(float).eps), float(np.finfo(float).tiny)
# A smallest eigenvalue of the unit-diagonal moment matrix below minus the first is a contradiction,
# below the second it cannot be told from 0: the moments are those of a few points. Where rounding
# of the raw moments moves it by more than these, that rounding takes their place.
CONTRADICTION, EDGE = 1e-9, 1e-13
# No distribution has more than 1e-40 of its mass beyond this many standard deviations (Chebyshev):
# a wider support is cut there, for the powers of its ends to stay within the range of float64.
WIDEST = 1e20
BLOCK = 1 << 16  # values whose polynomials are held at once


@dataclass(frozen=True, eq=False)
class Standardised:
    """d columns in standardised coordinates, with x = loc + scale z and the status so far."""

    loc: Array
    scale: Array
    status: NDArray[np.int8]
    problem: Problem


def check_support(support: Support) -> float | tuple[float, float]:
    """Return `support` if it is a factor of at least 1, a pair a < b, or "data"."""
    if isinstance(support, str):
        if support != "data":
            raise InputError(f'support must be a number, a pair (a, b) or "data", got {support!r}')
        return 1.0
    if isinstance(support, (int, float, np.integer, np.floating)) and not isinstance(support, bool):
        try:
            factor = float(support)
        except OverflowError:  # an int beyond the range of float64
            factor = math.inf
        if not (math.isfinite(factor) and factor >= 1):
            raise InputError(f"a support factor must be finite and at least 1, got {support!r}")
        return factor
    try:
        a, b = (float(end) for end in support)  # type: ignore[union-attr]
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f'support must be a number, a pair (a, b) or "data", got {support!r}'
        ) from None
    if not (math.isfinite(a) and math.isfinite(b) and a < b):
        raise InputError(f"support (a, b) must be finite with a < b, got {support!r}")
    return a, b


def from_samples(x: NDArray[np.generic], order: int, support: Support, omit: bool) -> Standardised:
    """Standardise the columns of x (n, d); `omit` leaves out NaN and inf instead of failing."""
    ends = check_support(support)
    values, kept, finite = _finite_values(x, omit)
    low, high = values.min(axis=0), values.max(axis=0)
    if isinstance(ends, tuple):
        _support_holds(ends, low[finite], high[finite])
    status = np.where(_too_few(values, low, high, order, ends), Status.DEGENERATE, Status.OK)
    status = np.where(finite, status, Status.INVALID).astype(np.int8)

    # Powers of two keep squares of very large and very small values within range, exactly.
    size = np.maximum(np.abs(low), np.abs(high))
    unit = np.ldexp(1.0, np.frexp(np.where(size > 0, size, 1.0))[1] - 1)
    values /= unit
    centre = _mean(values, kept)
    values -= centre
    spread = np.sqrt(_mean(values * values, kept))
    spread[status != Status.OK] = 1.0
    values /= spread
    targets = _hermite_means(values, kept, order)
    data_lower, data_upper = values.min(axis=0), values.max(axis=0)
    with np.errstate(over="ignore"):
        if isinstance(ends, tuple):
            lower, upper = ((end / unit - centre) / spread for end in ends)
        else:
            beyond = (ends - 1) / 2 * (data_upper - data_lower)
            lower, upper = data_lower - beyond, data_upper + beyond
    lower = np.clip(lower, np.minimum(-WIDEST, data_lower), data_lower)
    upper = np.clip(upper, data_upper, np.maximum(WIDEST, data_upper))
    loc = np.where(finite, centre * unit, np.nan)
    scale = np.where(status == Status.OK, spread * unit, 0.0)
    return Standardised(loc, scale, status, Problem(targets, lower, upper, data_lower, data_upper))


def _finite_values(
    x: NDArray[np.generic], omit: bool
) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return a finite float64 copy of x, which values are its own, and which columns can be fitted.

    A value that is left out is replaced by one of its column: range and distinct values stay.
    """
    with np.errstate(over="ignore"):  # a long double may become inf: an INVALID column
        values = x.astype(np.float64)
    kept = np.isfinite(values)
    finite: NDArray[np.bool_] = np.asarray(kept.any(axis=0) if omit else kept.all(axis=0))
    if not kept.all():
        stand_in = np.take_along_axis(values, kept.argmax(axis=0)[None], axis=0)
        values = np.where(kept, values, np.where(finite, stand_in, 0.0))
    return values, kept, finite


def _too_few(
    values: Array, low: Array, high: Array, order: int, ends: float | tuple[float, float]
) -> NDArray[np.bool_]:
    """Return which columns have too few distinct values for a density with their moments."""
    size = np.maximum(np.abs(low), np.abs(high))
    few = _at_most_distinct(values, order // 2) | (high / 2 - low / 2 <= 2 * EPS * size)
    # Of values at an end of the support each counts half: with both ends, one value more is few.
    touching = (low <= ends[0]) & (high >= ends[1]) if isinstance(ends, tuple) else ends == 1
    few |= touching & _at_most_distinct(values, order // 2 + 1)
    return few


def _mean(values: Array, kept: NDArray[np.bool_]) -> Array:
    """Return the mean of the kept values of each column; of all where none is kept."""
    if kept.all():
        return values.mean(axis=0)
    return values.mean(axis=0, where=kept | ~kept.any(axis=0))


def _hermite_means(z: Array, kept: NDArray[np.bool_], order: int) -> Array:
    """Return the means of h_1..h_order over the kept values of each column, (order, d).

    In blocks of rows: the polynomials of all values at once would take `order` times their memory.
    """
    rows, columns = z.shape
    used = kept | ~kept.any(axis=0)
    sums = np.zeros((order, columns))
    step = max(1, BLOCK // columns)
    for i in range(0, rows, step):
        block = slice(i, i + step)
        sums += basis.hermite(z[block], order)[1:].sum(axis=1, where=used[block])
    return sums / used.sum(axis=0)


def _support_holds(support: tuple[float, float], low: Array, high: Array) -> None:
    """Raise unless all data lie on the support."""
    if len(low) and (low.min() < support[0] or high.max() > support[1]):
        raise InputError(
            f"support must hold the data: they range from {low.min():.6g} to {high.max():.6g}, "
            f"support is {support}"
        )


def _at_most_distinct(values: Array, limit: int) -> NDArray[np.bool_]:
    """Return which columns have at most `limit` distinct values, in `limit` passes."""
    other = np.ones(values.shape, bool)
    for _ in range(limit):
        seen = np.take_along_axis(values, other.argmax(axis=0)[None], axis=0)
        other &= values != seen
    return np.logical_not(other.any(axis=0))


def from_moments(raw: Array, support: tuple[float, float]) -> Standardised:
    """Standardise raw moments E[x^i], i = 1..k, (k, d), of densities on `support`.

    The support is mapped to [-1, 1] first: powers of its distance from 0 then do not swamp the
    moments any more than they already do in the input.
    """
    order, columns = raw.shape
    a, b = support
    centre, half = a / 2 + b / 2, b / 2 - a / 2
    # Beyond this, twofold against rounding, a moment is impossible on the support.
    most = 2 * np.longdouble(max(abs(a), abs(b))) ** np.arange(1, order + 1)[:, None]
    possible: NDArray[np.bool_] = np.all(np.abs(raw) < most, axis=0)
    moments = np.vstack([np.ones(columns), np.where(possible, raw, 0.0)]).astype(np.longdouble)
    powers = np.longdouble(half) ** np.arange(order + 1)[:, None]
    rounding = EPS * _shifted(np.abs(moments), -abs(centre)) / powers
    moments = _shifted(moments, centre) / powers
    mean = moments[1].copy()
    central = _shifted(moments, mean)
    rounding = np.asarray(_shifted(rounding, -np.abs(mean)), float)
    status = _moment_status(
        np.asarray(moments, float), np.asarray(central, float), rounding, possible
    )
    solvable = status == Status.OK
    spread = np.sqrt(np.where(solvable, central[2], 1.0))
    standardised = np.asarray(central / spread ** np.arange(order + 1)[:, None], float)
    standardised[1] = 0.0
    targets = np.linalg.solve(basis.monomials_in_hermite(order), standardised)[1:]
    mean, spread = np.asarray(mean, float), np.asarray(spread, float)
    lower, upper = (-1 - mean) / spread, (1 - mean) / spread
    # Where the data may lie: a little beyond the root mean k-th power.
    reach = 1.5 * np.maximum(1.0, np.abs(standardised[order])) ** (1 / order)
    problem = Problem(targets, lower, upper, np.maximum(lower, -reach), np.minimum(upper, reach))
    loc = np.where(status == Status.INVALID, np.nan, centre + half * mean)
    return Standardised(loc, np.where(solvable, half * spread, 0.0), status, problem)


def _shifted(moments: NDArray[np.longdouble], by: NDArray[np.longdouble] | float):  # type: ignore[no-untyped-def]
    """Return E (x - by)^i from E x^i, i = 0..k, by the binomial theorem."""
    out = np.zeros_like(moments)
    for i in range(len(moments)):
        for j in range(i + 1):
            out[i] += math.comb(i, j) * moments[j] * np.power(-by, i - j)
    return out


def _moment_status(
    moments: Array, central: Array, rounding: Array, possible: NDArray[np.bool_]
) -> NDArray[np.int8]:
    """Tell moments of a density on [-1, 1] from those of a few points and from impossible ones.

    A density exists if and only if the Hankel matrices of the moments m_i and of m_i - m_{i+2}
    (those of (1 - y^2) dP) are positive definite (the truncated Hausdorff problem, even order).
    `rounding` (order + 1, d) bounds the errors of the moments: the smallest eigenvalue of a matrix
    of unit diagonal is known no better than the largest error of its entries.
    """
    order = len(moments) - 1
    half = order // 2
    status = np.where(possible, Status.OK, Status.INVALID)
    for sequence, size in ((central, half + 1), (moments[:-2] - moments[2:], half)):
        index = np.add.outer(np.arange(size), np.arange(size))
        hankel, error = (np.moveaxis(part[index], -1, 0) for part in (sequence, rounding))
        known, doubtful = (np.diagonal(part, axis1=1, axis2=2) for part in (hankel, error))
        scale = 1 / np.sqrt(np.maximum(np.maximum(known, doubtful), TINY))
        scale = scale[:, :, None] * scale[:, None, :]
        smallest = np.linalg.eigvalsh(hankel * scale)[:, 0]
        doubt = size * (error * scale).max(axis=(1, 2))
        few = smallest < np.maximum(EDGE, doubt)
        impossible = smallest < -np.maximum(CONTRADICTION, doubt)
        status = np.where(few, np.maximum(status, Status.DEGENERATE), status)
        status = np.where(impossible, Status.INVALID, status)
    return status.astype(np.int8)
