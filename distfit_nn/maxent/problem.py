"""From samples or raw moments to the standardised problem that the solvers take.

Each column is shifted and scaled to mean 0 and variance 1; its targets are the means of the scaled
Hermite polynomials. A column for which no density exists is told apart here, before any solver.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn._checks import to_numpy
from distfit_nn.errors import InputError
from distfit_nn.maxent import basis
from distfit_nn.maxent.gauss_rule import Rule, gauss_rule_of_moments, gauss_rule_of_samples
from distfit_nn.maxent.sample_moments import SampleMoments, power_of_two, sample_moments
from distfit_nn.maxent.solution import Problem, Status

Array = NDArray[np.float64]
Wide = NDArray[np.longdouble]
Support = float | tuple[float, float] | str
# The values of a column, and their weights if they have any.
Column = Callable[[int], tuple[NDArray[np.generic], NDArray[np.generic] | None]]

EPS, TINY = float(np.finfo(float).eps), float(np.finfo(float).tiny)
HUGE = float(np.finfo(float).max)
# A smallest eigenvalue of the unit-diagonal moment matrix below minus the first is a contradiction,
# below the second it cannot be told from 0: the moments are those of a few points. Where rounding
# of the raw moments moves it by more than these, that rounding takes their place.
CONTRADICTION, EDGE = 1e-9, 1e-13
# No distribution has more than 1e-40 of its mass beyond this many standard deviations (Chebyshev):
# a wider support is cut there, for the powers of its ends to stay within the range of float64.
WIDEST = 1e20
MAX_ORDER = 12  # moments higher than that are noise in float64


@dataclass(frozen=True, eq=False)
class Standardised:
    """d columns in standardised coordinates, with x = loc + scale z and the status so far.

    `rule(j)` returns the Gauss rule (nodes, masses) of the targets of column j, in z, exact to the
    order of the fit; where the data is at hand it is made from it. Only for columns that are OK.
    """

    loc: Array
    scale: Array
    status: NDArray[np.int8]
    problem: Problem
    rule: Callable[[int], Rule]


def check_order(order: object) -> int:
    """Return `order` as an int if it is a whole number from 1 to MAX_ORDER."""
    whole = isinstance(order, (int, np.integer)) and not isinstance(order, bool)
    if not (whole and 1 <= order <= MAX_ORDER):  # type: ignore[operator]
        raise InputError(
            f"order must be a whole number from 1 to {MAX_ORDER}, got {reprlib.repr(order)}"
        )
    return int(order)  # type: ignore[call-overload]


def check_support(support: Support) -> float | tuple[float, float]:
    """Return `support` if it is a factor of at least 1, a pair a < b, or "data"."""
    if isinstance(support, str):
        if support != "data":
            raise InputError(
                f'support must be a number, a pair (a, b) or "data", got {reprlib.repr(support)}'
            )
        return 1.0
    if isinstance(support, (int, float, np.integer, np.floating)) and not isinstance(support, bool):
        try:
            factor = float(support)
        except OverflowError:  # an int beyond the range of float64
            factor = math.inf
        if not (math.isfinite(factor) and factor >= 1):
            raise InputError(
                f"a support factor must be finite and at least 1, got {reprlib.repr(support)}"
            )
        return factor
    try:
        a, b = (float(end) for end in to_numpy(support, "a pair"))
    except (InputError, TypeError, ValueError):
        raise InputError(
            f'support must be a number, a pair (a, b) or "data", got {reprlib.repr(support)}'
        ) from None
    if not (math.isfinite(a) and math.isfinite(b) and a < b):
        raise InputError(f"support (a, b) must be finite with a < b, got {reprlib.repr(support)}")
    return a, b


def from_samples(
    x: NDArray[np.generic],
    order: int,
    support: Support,
    omit: bool,
    weights: ArrayLike | None = None,
    threads: int = 1,
) -> Standardised:
    """Standardise the columns of x (n, d) with weights (n,) or (n, d).

    `omit` leaves out NaN and inf instead of failing. A value of weight 0 is as if it were not
    there. x is read in blocks and never copied as a whole, nor are the weights; `rule` refers to
    both. `threads` share the rows where there are many.
    """
    order, ends = check_order(order), check_support(support)
    if x.shape[0] == 0:
        raise InputError(f"x must have at least one row, got shape {x.shape}")
    shares = None if weights is None else check_weights(weights, x.shape)
    found = sample_moments(x, order, shares, omit, order // 2 + 2, threads)

    def column(j: int) -> tuple[NDArray[np.generic], NDArray[np.generic] | None]:
        return x[:, j], shares if shares is None or shares.ndim == 1 else shares[:, j]

    return _standardised(found, order, ends, column)


def from_summary(
    found: SampleMoments, order: int, support: Support, column: Column
) -> Standardised:
    """Standardise columns of which only a summary is left.

    `found` has `order` Hermite means, and distinct values counted up to order // 2 + 2 at least.
    `column` gives values and weights near enough to the data to start from, for columns that are
    hard to solve.
    """
    return _standardised(found, check_order(order), check_support(support), column)


def _standardised(
    found: SampleMoments, order: int, ends: float | tuple[float, float], column: Column
) -> Standardised:
    usable, low, high = found.usable, found.low, found.high
    if isinstance(ends, tuple):
        _support_holds(ends, low[usable], high[usable])
    status = np.where(_too_few(found, order, ends), Status.DEGENERATE, Status.OK)
    status = np.where(usable, status, Status.INVALID).astype(np.int8)
    solvable = status == Status.OK

    # In units of a power of two, exactly, differences of the largest numbers there are stay finite.
    unit = power_of_two(np.maximum(np.abs(low), np.abs(high)))
    loc, low, high = found.mean / unit, low / unit, high / unit
    if isinstance(ends, tuple):
        with np.errstate(over="ignore"):
            lower, upper = ends[0] / unit, ends[1] / unit
    else:
        beyond = (ends - 1) / 2 * (high - low)
        lower, upper = low - beyond, high + beyond
    spread = found.std / unit
    if order == 1:
        with np.errstate(over="ignore"):
            spread = _scale_of_one_moment(loc - lower, upper - loc)
            spread = np.minimum(spread, HUGE / unit)  # for the scale to be finite
    spread = np.where(solvable, spread, 1.0)
    targets = found.hermite
    if order == 1:  # the mean of z, in the units of this other scale
        targets = np.where(found.std > 0, targets * (found.std / unit), 0.0) / spread
    with np.errstate(over="ignore"):
        lower, upper = (lower - loc) / spread, (upper - loc) / spread
    data_lower, data_upper = (low - loc) / spread, (high - loc) / spread
    lower = np.clip(lower, np.minimum(-WIDEST, data_lower), data_lower)
    upper = np.clip(upper, data_upper, np.maximum(WIDEST, data_upper))
    loc = np.where(usable, found.mean, np.nan)
    scale = np.where(solvable, spread * unit, 0.0)

    def rule(j: int) -> Rule:
        values, share = column(j)
        return _rule_of_column(values, share, loc[j], scale[j], order // 2 + 1)

    problem = Problem(targets, lower, upper, data_lower, data_upper)
    return Standardised(loc, scale, status, problem, rule)


def check_weights(weights: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Return the weights if they are (n,) or (n, d), finite, not negative and not all 0."""
    shares = to_numpy(weights, "weights")
    if shares.shape not in (shape, shape[:1]):
        raise InputError(
            f"weights must have shape {shape[:1]} or {shape}, as x has, got {shares.shape}"
        )
    least, most = (float(value) for value in (shares.min(), shares.max()))
    if not (math.isfinite(least) and math.isfinite(most) and least >= 0):
        wrong = least if least < 0 else most
        raise InputError(f"weights must be finite and not negative, got {wrong}")
    if most == 0:
        raise InputError("weights must not all be zero")
    return shares


def _too_few(
    found: SampleMoments, order: int, ends: float | tuple[float, float]
) -> NDArray[np.bool_]:
    """Return which columns have no density with their moments.

    One exists if and only if the distinct values, each of them that is an end of the support
    counted half, are more than order / 2: the moment point then is inside the moment space.
    """
    low, high = found.low, found.high
    # A range of a few roundings of the values is that of one value.
    one = high / 2 - low / 2 <= 2 * EPS * np.maximum(np.abs(low), np.abs(high))
    one |= found.std == 0  # below the least number there is
    distinct = np.where(one, 1, found.distinct)
    if isinstance(ends, tuple):
        halves = (low <= ends[0]).astype(int) + (high >= ends[1])
    else:
        halves = np.where(one | (ends == 1), 2, 0)
    return np.asarray(2 * distinct - halves <= order)


def _scale_of_one_moment(below: Array | Wide, above: Array | Wide) -> Array:
    """Return about the standard deviation of the density of largest entropy with a given mean.

    With one moment that is a truncated exponential, however wide the data. `below` and `above` are
    the distances of the mean from the ends of the support. Exact for the uniform in the middle, 15%
    too large for an exponential near an end.
    """
    nearer, farther = np.minimum(below, above), np.maximum(below, above)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(np.isinf(farther), 1.0, 1 / (1 + nearer / farther))
        return np.asarray(2 / math.sqrt(3) * np.maximum(nearer, 0.0) * share, float)


def _rule_of_column(
    column: NDArray[np.generic],
    weights: NDArray[np.generic] | None,
    loc: float,
    scale: float,
    points: int,
) -> Rule:
    """Return the Gauss rule, in z, of one column; NaN and inf are left out."""
    with np.errstate(over="ignore"):
        values = column.astype(np.float64)
    kept = np.isfinite(values)
    z = (values[kept].astype(np.longdouble) - loc) / scale
    return gauss_rule_of_samples(z, None if weights is None else weights[kept], points)


def _support_holds(support: tuple[float, float], low: Array, high: Array) -> None:
    """Raise unless all data lie on the support."""
    if len(low) and (low.min() < support[0] or high.max() > support[1]):
        raise InputError(
            f"support must hold the data: they range from {low.min():.6g} to {high.max():.6g}, "
            f"support is {support}"
        )


def from_moments(raw: Array, support: tuple[float, float]) -> Standardised:
    """Standardise raw moments E[x^i], i = 1..k, (k, d), of densities on `support`.

    They are taken in units of half its length, so that powers stay in range, and about the mean, by
    the binomial theorem in long double: the digits that are lost were lost in the input.
    """
    order, columns = raw.shape
    a, b = (np.longdouble(end) for end in support)
    half = b / 2 - a / 2
    # Beyond this, twofold against rounding, a moment is impossible on the support.
    most = 2 * max(abs(a), abs(b)) ** np.arange(1, order + 1)[:, None]
    possible: NDArray[np.bool_] = np.all(np.abs(raw) < most, axis=0)
    moments = np.vstack([np.ones(columns), np.where(possible, raw, 0.0)]).astype(np.longdouble)
    moments /= half ** np.arange(order + 1)[:, None]
    mean = moments[1].copy()
    central = _shifted(moments, mean)
    rounding = EPS * np.asarray(_shifted(np.abs(moments), -np.abs(mean)), float)
    below, above = mean - a / half, b / half - mean
    slack = [EPS * np.asarray(np.abs(mean) + abs(end) / half, float) for end in (a, b)]
    status = _moment_status(central, rounding, (below, above), slack, possible)
    solvable = status == Status.OK
    if order == 1:
        spread = np.where(solvable, _scale_of_one_moment(below, above), 1.0).astype(np.longdouble)
    else:
        spread = np.sqrt(np.where(solvable, central[2], 1.0))
    in_z = central / spread ** np.arange(order + 1)[:, None]
    in_z[1] = 0.0
    standardised = np.asarray(in_z, float)
    targets = np.linalg.solve(basis.monomials_in_hermite(order), standardised)[1:]
    with np.errstate(over="ignore"):  # a spread below the normal numbers
        lower, upper = (np.asarray(end, float) for end in (-below / spread, above / spread))
    narrow = (status == Status.OK) & ~(np.isfinite(lower) & np.isfinite(upper))
    status = np.where(narrow, Status.DEGENERATE, status).astype(np.int8)
    solvable = status == Status.OK
    # Where the data may lie: a little beyond the root mean k-th power, k even.
    even = order - order % 2
    reach = 1.5 * np.maximum(1.0, np.abs(standardised[even])) ** (1 / max(even, 1))
    problem = Problem(targets, lower, upper, np.maximum(lower, -reach), np.minimum(upper, reach))
    loc = np.where(status == Status.INVALID, np.nan, np.asarray(half * mean, float))
    scale = np.where(solvable, np.asarray(half * spread, float), 0.0)

    def rule(j: int) -> Rule:
        return gauss_rule_of_moments(in_z[:, j], lower[j], upper[j])

    return Standardised(loc, scale, status, problem, rule)


def _shifted(moments: Wide, by: Wide) -> Wide:
    """Return E (x - by)^i from E x^i, i = 0..k, by the binomial theorem."""
    out = np.zeros_like(moments)
    for i in range(len(moments)):
        for j in range(i + 1):
            out[i] += math.comb(i, j) * moments[j] * (-by) ** (i - j)
    return out


def _moment_status(
    central: Wide,
    error: Array,
    ends: tuple[Wide, Wide],
    slack: list[Array],
    possible: NDArray[np.bool_],
) -> NDArray[np.int8]:
    """Tell moments of a density from those of a few points and from impossible ones.

    A density exists if and only if some Hankel matrices are positive definite (the truncated
    Hausdorff problem). With t = x - mean, on a support from -below to above, those are for even
    order of the moments of dP and of (below + t)(above - t) dP; for odd order, of (below + t) dP
    and (above - t) dP. `error` (order + 1, d) bounds the rounding of `central`, `slack` those of
    the `ends` below and above.
    """
    below, above = ends
    size = np.asarray(np.abs(central), float)
    left, right = (np.asarray(np.abs(end), float) for end in ends)
    if len(central) % 2 == 0:
        tests = [
            (
                below * central[:-1] + central[1:],
                left * error[:-1] + error[1:] + slack[0] * size[:-1],
            ),
            (
                above * central[:-1] - central[1:],
                right * error[:-1] + error[1:] + slack[1] * size[:-1],
            ),
        ]
    else:
        inner = below * above * central[:-2] + (above - below) * central[1:-1] - central[2:]
        bound = left * right * error[:-2] + (left + right) * error[1:-1] + error[2:]
        bound += (left * slack[1] + right * slack[0]) * size[:-2]
        bound += (slack[0] + slack[1]) * size[1:-1]
        tests = [(central, error), (inner, bound)]
    status = np.where(possible, Status.OK, Status.INVALID)
    for sequence, bound in tests:
        few, impossible = _hankel_signs(np.asarray(sequence, float), bound)
        status = np.where(few, np.maximum(status, Status.DEGENERATE), status)
        status = np.where(impossible, Status.INVALID, status)
    return status.astype(np.int8)


def _hankel_signs(sequence: Array, error: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where the Hankel matrix is singular to rounding, and where it is not semidefinite.

    The smallest eigenvalue of a matrix of unit diagonal is known no better than the largest error
    of its entries.
    """
    size = (len(sequence) + 1) // 2
    index = np.add.outer(np.arange(size), np.arange(size))
    hankel, doubtful = (np.moveaxis(part[index], -1, 0) for part in (sequence, error))
    known, unsure = (np.diagonal(part, axis1=1, axis2=2) for part in (hankel, doubtful))
    scale = 1 / np.sqrt(np.maximum(np.maximum(known, unsure), TINY))
    scale = scale[:, :, None] * scale[:, None, :]
    smallest = np.linalg.eigvalsh(hankel * scale)[:, 0]
    doubt = size * (doubtful * scale).max(axis=(1, 2))
    return smallest < np.maximum(EDGE, doubt), smallest < -np.maximum(CONTRADICTION, doubt)
