"""The logistic function as a short sum of exponentials, and how its coefficients are found.

For t >= 0 and q = exp(-t), in (0, 1],

    1 / (1 + exp(t)) = q / (1 + q) ~ sum_{k=1..K} c_k q^k = sum_k c_k exp(-k t).

The only singularity is at q = -1, so that the error of the best polynomial falls like
(3 + sqrt 8)^-K. The sums over sorted points of each exp(-k t) are recursions of one line, which is
what makes ranks near-linear in their number.

The fit is made to the derivative, for a gradient needs it: the polynomial sum_k k c_k q^(k-1) with

    min max_{0 <= q <= 1} abs(e(q)),   e(q) = 1 / (1 + q)^2 - sum_k k c_k q^(k-1),

whose error attains its largest size with changing sign at K + 1 points, which Remez' exchange
(1934) finds. Then c_1 is moved by the integral of e, so that sum c_k = 1/2 and the two sides of
t = 0, 1 - sum c_k q^k and sum c_k q^k, meet there with their derivatives. e is nearly a multiple of
the Chebyshev polynomial of degree K, whose integral is at most 1 / (K^2 - 1) of its size: that much
the constraint costs.

    python -m distfit_nn.copula.logistic_sum 12        # the coefficients for K = 12
    python -m distfit_nn.copula.logistic_sum 1e-9      # those for an error of 1e-9 in s / n
"""

from __future__ import annotations

import sys
from decimal import Decimal, localcontext
from functools import cache
from math import cos, pi
from typing import NamedTuple

from distfit_nn.errors import InputError

LARGEST = 24  # beyond it float64 cannot tell the sum from the function
DIGITS = 60  # those of the largest K and of the alternation that is left, with room
GRID = 12  # points of the search for extrema, for each of the coefficients
EXCHANGES = 30
LEVEL = Decimal("1e-6")  # extrema are levelled to this relative difference

TERMS = {"float32": 10, "float64": 14}
"""K for the work in a dtype. Errors: 1.3e-8 and 1.1e-11 of s / n; 1.0e-6 and 1.2e-9 of the
derivative, relative to it."""

Numbers = list[Decimal]


class LogisticSum(NamedTuple):
    """Coefficients c_1, ..., c_K and the errors of what they give.

    `value` is the largest abs(q / (1 + q) - sum c_k q^k) over 0 <= q <= 1, hence of s / n;
    `slope` that of q abs(1 / (1 + q)^2 - sum k c_k q^(k-1)), of the derivative of the logistic
    function with respect to t; and `relative_slope` that relative to the derivative.
    """

    coefficients: tuple[float, ...]
    value: float
    slope: float
    relative_slope: float


@cache
def logistic_sum(terms: int) -> LogisticSum:
    """Return the sum of `terms` exponentials that is nearest to the logistic function.

    Parameters
    ----------
    terms : int
        K, from 2 to 24.

    Raises
    ------
    InputError
        `terms` is no such number.
    """
    if isinstance(terms, bool) or not isinstance(terms, int) or not 2 <= terms <= LARGEST:
        raise InputError(f"terms must be a whole number from 2 to {LARGEST}, got {terms!r}")
    with localcontext(prec=DIGITS):
        slopes = _levelled(terms)
        rounded = [float(slope / k) for k, slope in enumerate(slopes, 1)]
        return LogisticSum(tuple(rounded), *_errors([Decimal(c) for c in rounded]))


def for_error(error: float) -> LogisticSum:
    """Return the shortest sum with an error of the value, hence of s / n, of at most `error`.

    Raises
    ------
    InputError
        No sum that float64 can hold is so near; 1e-15 is about the least.
    """
    for terms in range(2, LARGEST + 1):
        found = logistic_sum(terms)
        if found.value <= error:
            return found
    raise InputError(f"no sum of up to {LARGEST} terms has an error of at most {error!r}")


def _residual(slopes: Numbers, q: Decimal) -> Decimal:
    """Return 1 / (1 + q)^2 - sum_k slopes_k q^(k-1)."""
    value = Decimal(0)
    for slope in reversed(slopes):
        value = value * q + slope
    return 1 / (1 + q) ** 2 - value


def _levelled(terms: int) -> Numbers:
    """Return k c_k, k = 1..K, whose residual has K + 1 extrema of one size, with sum c_k = 1/2."""
    grid = _chebyshev(GRID * terms)
    points = _chebyshev(terms)
    for _ in range(EXCHANGES):
        *slopes, level = _through(points)
        points, highest = _extrema(slopes, grid)
        if highest <= (1 + LEVEL) * abs(level):
            slopes[0] += Decimal("0.5") - sum(slope / k for k, slope in enumerate(slopes, 1))
            return slopes
    raise ArithmeticError(f"Remez' exchange did not converge for {terms} terms")


def _chebyshev(intervals: int) -> Numbers:
    """Return the extrema of the Chebyshev polynomial of a degree on [0, 1], in order."""
    return [Decimal((1 - cos(pi * i / intervals)) / 2) for i in range(intervals + 1)]


def _through(points: Numbers) -> Numbers:
    """Return the slopes whose residual is +level, -level, ... at K + 1 points, and the level."""
    return _solved(
        [
            [*_powers(q, len(points) - 1), Decimal((-1) ** i), 1 / (1 + q) ** 2]
            for i, q in enumerate(points)
        ]
    )


def _powers(q: Decimal, count: int) -> Numbers:
    """Return 1, q, ..., q^(count - 1); Decimal does not know what 0^0 is."""
    return [Decimal(1), *(q**k for k in range(1, count))]


def _solved(rows: list[Numbers]) -> Numbers:
    """Solve linear equations by elimination; the right side is the last entry of each row."""
    size = len(rows)
    for i in range(size):
        pivot = max(range(i, size), key=lambda j: abs(rows[j][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for j in range(i + 1, size):
            factor = rows[j][i] / rows[i][i]
            rows[j] = [a - factor * b for a, b in zip(rows[j], rows[i], strict=True)]
    solution = [Decimal(0)] * size
    for i in reversed(range(size)):
        known = sum((rows[i][j] * solution[j] for j in range(i + 1, size)), Decimal(0))
        solution[i] = (rows[i][-1] - known) / rows[i][i]
    return solution


def _extrema(slopes: Numbers, grid: Numbers) -> tuple[Numbers, Decimal]:
    """Return where the residual is extreme between its changes of sign, and its largest size.

    Each extremum of the grid is moved to the vertex of the parabola through its neighbours.
    """
    values = [_residual(slopes, q) for q in grid]
    found: list[tuple[Decimal, Decimal]] = []
    for i, value in enumerate(values):
        q, top = grid[i], value
        if 0 < i < len(grid) - 1:
            if abs(value) < max(abs(values[i - 1]), abs(values[i + 1])):
                continue
            q = _vertex(grid[i - 1 : i + 2], values[i - 1 : i + 2])
            top = _residual(slopes, q)
        if not found or (top > 0) != (found[-1][1] > 0):
            found.append((q, top))
        elif abs(top) > abs(found[-1][1]):
            found[-1] = (q, top)
    return [q for q, _ in found], max(abs(top) for _, top in found)


def _vertex(q: Numbers, y: Numbers) -> Decimal:
    """Return the vertex of the parabola through three points, if it lies among them."""
    rise, fall = (y[1] - y[0]) / (q[1] - q[0]), (y[2] - y[1]) / (q[2] - q[1])
    bend = (fall - rise) / (q[2] - q[0])
    if bend == 0:
        return q[1]
    return min(max((q[0] + q[1] - rise / bend) / 2, q[0]), q[2])


def _errors(coefficients: Numbers) -> tuple[float, float, float]:
    """Return the largest errors of the value, of the slope, and of it relative to itself."""
    slopes = [k * c for k, c in enumerate(coefficients, 1)]
    value = slope = relative = Decimal(0)
    for q in _chebyshev(4 * GRID * len(slopes)):
        total = Decimal(0)
        for c in reversed(coefficients):
            total = (total + c) * q
        residual = abs(_residual(slopes, q))
        value = max(value, abs(q / (1 + q) - total))
        slope = max(slope, q * residual)
        relative = max(relative, residual * (1 + q) ** 2)
    return float(value), float(slope), float(relative)


def main(arguments: list[str]) -> None:
    """Print the coefficients for a number of terms, or for an error below 1."""
    asked = float(arguments[0]) if arguments else 12.0
    found = for_error(asked) if asked < 1 else logistic_sum(int(asked))
    for k, c in enumerate(found.coefficients, 1):
        print(f"c_{k} = {c!r}")
    print(
        f"error of the value {found.value:.2g}, of the slope {found.slope:.2g}"
        f" ({found.relative_slope:.2g} of it)"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
