"""A straight line for each feature of float32 arrays: y = (x - center) * factor + offset.

Its gradient by x may be given a share that depends on x alone: g * factor + level + slope * d, with
d = x - center. Rows are (n, C), runs (N C, L), those of the C features in turn; a part of either is
worked on, from `first` to `last`. `table` (5, C) holds center, factor, offset, level, slope.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
compiled = njit(**OPTIONS)
inlined = njit(**OPTIONS, forceinline=True, fastmath={"contract"})
summing = njit(**OPTIONS, fastmath={"contract", "reassoc", "nsz"})

# Features worked on at a time: what they need lies side by side. It is no power of two: what one
# feature needs would then be in the same few places of the cache.
WIDTH = 1040
BLOCK = 32  # rows summed in single precision before they are added up in double
RUN = 512  # values along a run that are
CENTER, FACTOR, OFFSET, LEVEL, SLOPE = range(5)

FAR = 50.0  # where a penalty begins to grow like a logarithm
LIMIT = 30.0  # the logarithm of a deviation, in units of that of the first batch, is cut to +-30


@compiled
def _take(table, low, high, room):  # type: ignore[no-untyped-def]
    """Lay what the features from `low` to `high` need side by side."""
    for k in range(len(table)):
        for j in range(low, high):
            room[k * WIDTH + j - low] = table[k, j]


@compiled
def _add_sums(room, place, low, high, sums):  # type: ignore[no-untyped-def]
    """Add the two sums of the features from `low` to `high` to `sums` (2, C)."""
    for k in range(2):
        for j in range(low, high):
            sums[k, j] += room[(place + k) * WIDTH + j - low]


@inlined
def _add_powers(x, room):  # type: ignore[no-untyped-def]
    """Add d and d^2, d = x - center, to the sums behind the centers."""
    for j in range(len(x)):
        d = np.float64(x[j]) - room[j]
        room[WIDTH + j] += d
        room[2 * WIDTH + j] += d * d


@compiled
def powers_rows(x, center, room, sums, first, last):  # type: ignore[no-untyped-def]
    """Add the sums of d and d^2, d = x - center, to `sums` (2, C); `room` has 3 WIDTH float64."""
    for low in range(0, x.shape[1], WIDTH):
        high = min(low + WIDTH, x.shape[1])
        for j in range(high - low):
            room[j] = center[low + j]
            room[WIDTH + j], room[2 * WIDTH + j] = 0.0, 0.0
        for i in range(first, last):
            _add_powers(x[i, low:high], room)
        _add_sums(room, 1, low, high, sums)


@summing
def _powers_run(x, center):  # type: ignore[no-untyped-def]
    total, squares = 0.0, 0.0
    for q in range(len(x)):
        d = np.float64(x[q]) - center
        total += d
        squares += d * d
    return total, squares


@compiled
def powers_runs(x, center, _room, sums, first, last):  # type: ignore[no-untyped-def]
    """As `powers_rows`, of runs."""
    for i in range(first, last):
        j = i % len(center)
        total, squares = _powers_run(x[i], center[j])
        sums[0, j] += total
        sums[1, j] += squares


@inlined
def _line_row(x, t, y):  # type: ignore[no-untyped-def]
    for j in range(len(x)):
        y[j] = (x[j] - t[j]) * t[FACTOR * WIDTH + j] + t[OFFSET * WIDTH + j]


@compiled
def line_rows(x, table, y, room, first, last):  # type: ignore[no-untyped-def]
    """Write y; `room` has (5 + 2) WIDTH float32."""
    for low in range(0, x.shape[1], WIDTH):
        high = min(low + WIDTH, x.shape[1])
        _take(table, low, high, room)
        for i in range(first, last):
            _line_row(x[i, low:high], room, y[i, low:high])


@inlined
def _line_run(x, center, factor, offset, y):  # type: ignore[no-untyped-def]
    for q in range(len(x)):
        y[q] = (x[q] - center) * factor + offset


@compiled
def line_runs(x, table, y, _room, first, last):  # type: ignore[no-untyped-def]
    """As `line_rows`, of runs."""
    for i in range(first, last):
        j = i % table.shape[1]
        _line_run(x[i], table[CENTER, j], table[FACTOR, j], table[OFFSET, j], y[i])


@inlined
def _slopes_row(x, g, t, dx):  # type: ignore[no-untyped-def]
    for j in range(len(x)):
        d, h = x[j] - t[j], g[j]
        dx[j] = h * t[FACTOR * WIDTH + j] + (t[LEVEL * WIDTH + j] + t[SLOPE * WIDTH + j] * d)
        t[5 * WIDTH + j] += h
        t[6 * WIDTH + j] += h * d


@compiled
def slopes_rows(x, table, g, dx, room, sums, first, last):  # type: ignore[no-untyped-def]
    """Write the gradient by x, and add the sums of g and g d to `sums` (2, C)."""
    for low in range(0, x.shape[1], WIDTH):
        high = min(low + WIDTH, x.shape[1])
        _take(table, low, high, room)
        for block in range(first, last, BLOCK):
            for j in range(high - low):
                room[5 * WIDTH + j], room[6 * WIDTH + j] = 0.0, 0.0
            for i in range(block, min(block + BLOCK, last)):
                _slopes_row(x[i, low:high], g[i, low:high], room, dx[i, low:high])
            _add_sums(room, 5, low, high, sums)


@summing
def _slopes_run(x, g, center, factor, level, slope, dx):  # type: ignore[no-untyped-def]
    total, tilted = np.float32(0.0), np.float32(0.0)
    for q in range(len(x)):
        d, h = x[q] - center, g[q]
        dx[q] = h * factor + (level + slope * d)
        total += h
        tilted += h * d
    return total, tilted


@compiled
def slopes_runs(x, table, g, dx, _room, sums, first, last):  # type: ignore[no-untyped-def]
    """As `slopes_rows`, of runs."""
    for i in range(first, last):
        j = i % table.shape[1]
        center, factor = table[CENTER, j], table[FACTOR, j]
        for low in range(0, x.shape[1], RUN):
            q = slice(low, low + RUN)
            total, tilted = _slopes_run(
                x[i, q], g[i, q], center, factor, table[LEVEL, j], table[SLOPE, j], dx[i, q]
            )
            sums[0, j] += total
            sums[1, j] += tilted


@compiled
def to_moments(sums, center, count):  # type: ignore[no-untyped-def]
    """Turn the sums of d and d^2 into the mean and variance of x, in place."""
    for j in range(len(center)):
        first, second = sums[0, j] / count, sums[1, j] / count
        sums[0, j] = center[j] + first
        spread = second - first * first
        sums[1, j] = 0.0 if spread < 0.0 else spread


@compiled
def prepare(learned, moments, rows, share, eps, entropy, table, own, penalty):  # type: ignore[no-untyped-def]
    """Write the table of the line, what chains its gradients, and the penalties, see `lines`.

    `learned` (6, C) holds center, scale, shift, log_scale, and weight and bias if there are such.
    Where there is no center and scale yet, those of this batch are written there. Tell if any were.
    One row has no deviation: it gives the bias, by an infinite scale.
    """
    first = False
    for j in range(len(penalty)):
        if learned[1, j] == 0.0:
            first = True
            deviation = math.sqrt(moments[1, j] + eps) if moments[1, j] != 0.0 else 1.0
            learned[0, j], learned[1, j] = moments[0, j], deviation if rows > 1 else math.inf
        center, scale = np.float64(np.float32(learned[0, j])), np.float64(learned[1, j])
        shrink = math.exp(-min(max(np.float64(learned[3, j]), -LIMIT), LIMIT))
        f, o = shrink / scale, -learned[2, j] * shrink
        weight, bias = 1.0, 0.0
        if len(learned) > 4:
            weight, bias = np.float64(learned[4, j]), np.float64(learned[5, j])
        distance, variance = moments[0, j] - center, moments[1, j]
        mean, spread = distance * f + o, variance * f * f
        plain, by_spread = 0.5 * (mean * mean + spread), 1.0
        if entropy:
            plain -= 0.5 * (1.0 + math.log(spread + eps))
            by_spread -= 1.0 / (spread + eps)
        far = plain > FAR
        penalty[j] = FAR * (1.0 + math.log(plain / FAR)) if far else plain
        damping = share * FAR / plain if far else share
        level, slope = 0.0, 0.0  # by o, and by d in units of f
        if share > 0.0:
            level, slope = damping * mean, damping * by_spread * f
        table[CENTER, j], table[FACTOR, j], table[OFFSET, j] = center, f * weight, o * weight + bias
        table[LEVEL, j], table[SLOPE, j] = (level - slope * distance) * f, slope * f
        own[0, j], own[1, j], own[2, j], own[3, j] = f, o, shrink, weight
        own[4, j], own[5, j] = rows * (level * distance + slope * variance), rows * level
    return first


@compiled
def chain(sums, own, found):  # type: ignore[no-untyped-def]
    """Write the gradients (4, C) by shift, log_scale, weight, bias, of the sums of g and g d."""
    for j in range(sums.shape[1]):
        f, o, shrink, weight = own[0, j], own[1, j], own[2, j], own[3, j]
        by_f, by_o = own[4, j] + sums[1, j] * weight, own[5, j] + sums[0, j] * weight
        found[0, j], found[1, j] = -by_o * shrink, -(by_f * f + by_o * o)
        found[2, j], found[3, j] = f * sums[1, j] + o * sums[0, j], sums[0, j]
