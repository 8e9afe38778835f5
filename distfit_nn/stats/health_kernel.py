"""The compiled tails, ties and grids of sorted rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

LOWER, UPPER = range(2)
SUM_LOGS, USED, OF = range(3)
DISTINCT, PAIRS, LOGS = range(3)

_jit = njit(cache=True, nogil=True)
_ROUNDING = 2.0**-22  # of the largest value: what a few operations in float32 leave
_STEPS = 65536.0  # levels of a grid at most: 16 bits


@_jit
def _log_excesses(row: Array, n: int, centre: float, k: int, upper: bool) -> float:
    """Return the sum of log(distance / limit) over the k values of a side farthest from the centre.

    The limit is the distance of the next one. Halves are taken, as a difference may overflow.
    """
    next_one = row[n - 1 - k] if upper else row[k]
    limit = abs(next_one / 2 - centre / 2)
    total = 0.0
    for i in range(k):
        value = row[n - 1 - i] if upper else row[i]
        total += np.log(abs(value / 2 - centre / 2) / limit)
    return total


@_jit
def tail_logs(rows: Array, counts: Array, centres: Array, share: float, least: int) -> Array:
    """Return what Hill's estimator is made of, for the values below and above the centre.

    Of the `of` values on a side, the k = ceil(share * of) farthest from the centre are used, at
    least `least` of them; where 4 k > of, none.

    Returns
    -------
    float64 array of shape (d, 2, 3)
        Row, side (LOWER, UPPER), and SUM_LOGS, USED (k or 0) or OF.
    """
    out = np.zeros((len(counts), 2, 3))
    for r in range(len(counts)):
        n, row = counts[r], rows[r]
        sides = (
            np.searchsorted(row[:n], centres[r], side="left"),
            n - np.searchsorted(row[:n], centres[r], side="right"),
        )
        for side in range(2):
            of = sides[side]
            k = max(int(np.ceil(share * of)), least)
            out[r, side, OF] = of
            if 4 * k <= of:
                out[r, side, SUM_LOGS] = _log_excesses(row, n, centres[r], k, side == UPPER)
                out[r, side, USED] = k
    return out


@_jit
def ties(rows: Array, counts: Array) -> Array:
    """Return of each row the number of distinct values, sum c (c - 1) and sum c log c.

    c is how often a value occurs; shape (d, 3).
    """
    out = np.zeros((len(counts), 3))
    for r in range(len(counts)):
        row, start = rows[r], 0
        for i in range(1, counts[r] + 1):
            if i == counts[r] or row[i] > row[start]:
                c = float(i - start)
                out[r, DISTINCT] += 1
                out[r, PAIRS] += c * (c - 1)
                out[r, LOGS] += c * np.log(c)
                start = i
    return out


@_jit
def end_counts(rows: Array, counts: Array) -> Array:
    """Return how many values of each row equal the least and the largest, shape (d, 2)."""
    out = np.zeros((len(counts), 2))
    for r in range(len(counts)):
        row, n = rows[r], counts[r]
        if n > 0:
            out[r, 0] = np.searchsorted(row[:n], row[0], side="right")
            out[r, 1] = n - np.searchsorted(row[:n], row[n - 1], side="left")
    return out


@_jit
def _common_step(row: Array, n: int, error: float) -> float:
    """Return a number that all gaps are multiples of, but for rounding; 0 if there is none.

    Euclid's algorithm, ended where the remainders are no more than the rounding of the values.
    """
    step = 0.0
    for i in range(1, n):
        gap = row[i] - row[i - 1]
        if gap <= 0:
            continue
        other = step
        step = gap
        while other > 0:
            times = np.rint(step / other)
            rest = abs(step - times * other)
            if rest <= 2 * error * (times + 1):
                rest = 0.0
            step, other = other, rest
        if step < 64 * error or (row[n - 1] - row[0]) > _STEPS * step:
            return 0.0
    return step


@_jit
def _is_grid(row: Array, n: int, step: float, error: float) -> bool:
    """Whether all values are multiples of a step from the least, but for their rounding.

    Euclid's remainders add up: of a few values that lie on no grid he may make one.
    """
    for i in range(1, n):
        distance = row[i] - row[0]
        if abs(distance - step * np.rint(distance / step)) > 4 * error:
            return False
    return True


@_jit
def grid_steps(rows: Array, counts: Array) -> Array:
    """Return the step of the grid that the values of each row lie on; NaN where there is none."""
    out = np.full(len(counts), np.nan)
    for r in range(len(counts)):
        n = counts[r]
        if n == 0:
            continue
        row = rows[r]
        largest = max(abs(row[0]), abs(row[n - 1]))
        if largest > 1e300:
            continue
        error = _ROUNDING * largest
        step = _common_step(row, n, error)
        if step > 0:
            width = row[n - 1] - row[0]
            step = width / np.rint(width / step)
            if _is_grid(row, n, step, error):
                out[r] = step
    return out
