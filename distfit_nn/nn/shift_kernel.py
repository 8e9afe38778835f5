"""The shifts on float32 arrays, in loops that the compiler turns into vector instructions.

See `shift_math` for the formulas. Arrays are rows (n, C), along which the parameters change, or
runs (N C, L) of the C features in turn; a part of either is worked on, from `first` to `last`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from distfit_nn._floats import LOG2_E, exponential
from distfit_nn.nn.shift_math import (
    DOWN,
    LOG_2,
    NO,
    ONE,
    OPTIONS,
    inlined,
    int_bits,
    of_int_bits,
    plain_shift,
    shift,
    single,
    slopes,
    whole,
    wide,
)

compiled = njit(**OPTIONS)
summing = njit(**OPTIONS, fastmath={"contract", "reassoc", "nsz"})

GAIN, EXPONENT = 20.0, math.log(8.0)  # how far logarithms of gains and exponents go from 0
FLOOR = 1e-30  # |x| below which the slope of an exponent of 1 or more is that at 0

# What a feature needs, a row each; a tile of features is WIDTH columns.
OUTER, SHIFT, HIGH, LOW, POWER, START, INNER, STEEP, LEAST, FLAT = range(10)
# It is no power of two: what one feature needs would then be in the same few places of the cache.
ROWS, SUMS, WIDTH = 10, 4, 1040
BLOCK = 64  # rows summed in single precision before they are added up in double
RUN = 1024  # values along a run that are


def rooms(count: int) -> NDArray[np.float32]:
    """Return room for what `count` features need."""
    return np.empty((-(-count // WIDTH), ROWS, WIDTH), np.float32)


@compiled
def _cut(log, limit):  # type: ignore[no-untyped-def]
    """Return a logarithm, cut to +-limit."""
    return min(max(np.float64(log), -limit), limit)


@compiled
def fill(kind, numbers, rooms):  # type: ignore[no-untyped-def]
    """Write what y takes to `rooms` (tiles, ROWS, WIDTH); tell if the plain shift will do.

    That is so where all exponents are 1 and no inner gain is very large. `kind` is a tuple of three
    for log-shift, of two for sqrt-shift; as many rows of `numbers` (..., C) are the logarithms of
    the gains and of the exponent, and the next two, if there are such, weight and bias.
    """
    count, plain = len(kind), True
    for tile in range(len(rooms)):
        t, low = rooms[tile].reshape(-1), tile * WIDTH
        here = numbers[:, low : min(low + WIDTH, numbers.shape[1])]
        for j in range(here.shape[1]):
            outer = exponential(_cut(here[0, j], GAIN)) if len(kind) == 3 else 1.0
            inner, power = (
                _cut(here[count - 2, j], GAIN),
                exponential(_cut(here[count - 1, j], EXPONENT)),
            )
            nearest = of_int_bits(whole(int_bits(single(power)) & whole(-256)))
            t[HIGH * WIDTH + j], t[LOW * WIDTH + j] = nearest, power - np.float64(nearest)
            t[POWER * WIDTH + j], t[START * WIDTH + j] = power, power * inner * LOG2_E
            t[INNER * WIDTH + j] = exponential(inner) * DOWN
            t[OUTER * WIDTH + j], t[SHIFT * WIDTH + j] = outer, NO
            plain &= (power == 1.0) & (t[INNER * WIDTH + j] <= ONE)
        if len(here) > count:
            for j in range(here.shape[1]):
                t[OUTER * WIDTH + j] *= here[count, j]
                t[SHIFT * WIDTH + j] = here[count + 1, j]
    return plain


@compiled
def fill_slopes(kind, numbers, eps, rooms):  # type: ignore[no-untyped-def]
    """Write what slopes take, too."""
    for j in range(numbers.shape[1]):
        room, i = rooms[j // WIDTH], j % WIDTH
        power, inner = np.float64(room[POWER, i]), _cut(numbers[len(kind) - 2, j], GAIN)
        least = max(eps, FLOOR) if power < 1.0 else FLOOR
        t = math.exp(power * (inner + math.log(least)))
        slope = t / (1.0 + t) if len(kind) == 3 else 0.5 * t / math.sqrt(t + 0.25)
        room[STEEP, i] = room[OUTER, i] * power
        room[LEAST, i], room[FLAT, i] = least, room[STEEP, i] * slope / least


@inlined
def _shift_row(log, x, t, y):  # type: ignore[no-untyped-def]
    """Write y of a row; t holds what the features need, one after the other."""
    wide()
    for j in range(len(x)):
        y[j] = shift(
            log,
            x[j],
            t[OUTER * WIDTH + j],
            t[SHIFT * WIDTH + j],
            t[HIGH * WIDTH + j],
            t[LOW * WIDTH + j],
            t[POWER * WIDTH + j],
            t[START * WIDTH + j],
        )


@inlined
def _plain_row(log, x, t, y):  # type: ignore[no-untyped-def]
    wide()
    for j in range(len(x)):
        outer, offset = t[OUTER * WIDTH + j], t[SHIFT * WIDTH + j]
        y[j] = plain_shift(log, x[j], outer, offset, t[INNER * WIDTH + j])


@compiled
def shift_rows(kind, _numbers, plain, rooms, x, y, first, last):  # type: ignore[no-untyped-def]
    """Write y of rows x (n, C), from `first` to `last`."""
    d = x.shape[1]
    for tile in range(len(rooms)):
        t, here = rooms[tile].reshape(-1), slice(tile * WIDTH, min((tile + 1) * WIDTH, d))
        for i in range(first, last):
            if plain:
                _plain_row(len(kind) == 3, x[i, here], t, y[i, here])
            else:
                _shift_row(len(kind) == 3, x[i, here], t, y[i, here])


@inlined
def _shift_run(log, x, t, k, y):  # type: ignore[no-untyped-def]
    """Write y of a run of the k-th feature of a tile."""
    wide()
    outer, offset, high, low = t[OUTER, k], t[SHIFT, k], t[HIGH, k], t[LOW, k]
    power, start = t[POWER, k], t[START, k]
    for q in range(len(x)):
        y[q] = shift(log, x[q], outer, offset, high, low, power, start)


@inlined
def _plain_run(log, x, t, k, y):  # type: ignore[no-untyped-def]
    wide()
    outer, offset, inner = t[OUTER, k], t[SHIFT, k], t[INNER, k]
    for q in range(len(x)):
        y[q] = plain_shift(log, x[q], outer, offset, inner)


@compiled
def shift_runs(kind, numbers, plain, rooms, x, y, first, last):  # type: ignore[no-untyped-def]
    """Write y of runs x (N C, L) from `first` to `last`, those of the C features in turn."""
    for i in range(first, last):
        j = i % numbers.shape[1]
        room, k = rooms[j // WIDTH], j % WIDTH
        if plain:
            _plain_run(len(kind) == 3, x[i], room, k, y[i])
        else:
            _shift_run(len(kind) == 3, x[i], room, k, y[i])


@inlined
def _slopes_row(log, x, g, t, dx, sums):  # type: ignore[no-untyped-def]
    """Write the gradient by a row x, and add to the sums."""
    wide()
    for j in range(len(x)):
        dx[j], by_bias, by_outer, by_inner, by_power = slopes(
            log,
            x[j],
            g[j],
            t[HIGH * WIDTH + j],
            t[LOW * WIDTH + j],
            t[POWER * WIDTH + j],
            t[START * WIDTH + j],
            t[STEEP * WIDTH + j],
            t[LEAST * WIDTH + j],
            t[FLAT * WIDTH + j],
        )
        sums[j] += by_bias
        sums[WIDTH + j] += by_outer
        sums[2 * WIDTH + j] += by_inner
        sums[3 * WIDTH + j] += by_power


@compiled
def slopes_rows(kind, _numbers, rooms, x, g, dx, room, sums, first, last):  # type: ignore[no-untyped-def]
    """Write the gradient by rows x (n, C), and add the sums of the four terms to `sums` (4, C).

    `room` has SUMS WIDTH float32.
    """
    d = x.shape[1]
    for tile in range(len(rooms)):
        t = rooms[tile].reshape(-1)
        low, high = tile * WIDTH, min((tile + 1) * WIDTH, d)
        for block in range(first, last, BLOCK):
            for k in range(SUMS):
                room[k * WIDTH : k * WIDTH + high - low] = 0.0
            for i in range(block, min(block + BLOCK, last)):
                _slopes_row(
                    len(kind) == 3, x[i, low:high], g[i, low:high], t, dx[i, low:high], room
                )
            for k in range(SUMS):
                for j in range(high - low):
                    sums[k, low + j] += room[k * WIDTH + j]


@summing
def _slopes_run(log, x, g, t, k, dx):  # type: ignore[no-untyped-def]
    """Write the gradient by a run, and return the sums of the four terms."""
    wide()
    high, low, power, start = t[HIGH, k], t[LOW, k], t[POWER, k], t[START, k]
    steep, least, flat = t[STEEP, k], t[LEAST, k], t[FLAT, k]
    by_bias, by_outer, by_inner, by_power = NO, NO, NO, NO
    for q in range(len(x)):
        dx[q], one, two, three, four = slopes(
            log, x[q], g[q], high, low, power, start, steep, least, flat
        )
        by_bias += one
        by_outer += two
        by_inner += three
        by_power += four
    return by_bias, by_outer, by_inner, by_power


@compiled
def slopes_runs(kind, numbers, rooms, x, g, dx, _room, sums, first, last):  # type: ignore[no-untyped-def]
    """As `slopes_rows`, of runs x (N C, L)."""
    for i in range(first, last):
        j = i % numbers.shape[1]
        room, k = rooms[j // WIDTH], j % WIDTH
        for low in range(0, x.shape[1], RUN):
            q = slice(low, low + RUN)
            found = _slopes_run(len(kind) == 3, x[i, q], g[i, q], room, k, dx[i, q])
            for m in range(SUMS):
                sums[m, j] += found[m]


@compiled
def chain(kind, numbers, rooms, sums, found):  # type: ignore[no-untyped-def]
    """Write the gradients by weight, bias and the logarithms, of the sums of the four terms."""
    for j in range(numbers.shape[1]):
        room, i = rooms[j // WIDTH], j % WIDTH
        outer = exponential(_cut(numbers[0, j], GAIN)) if len(kind) == 3 else 1.0
        line = np.float64(room[OUTER, i])
        found[0, j], found[1, j] = outer * sums[1, j], sums[0, j]
        if len(kind) == 3:
            found[2, j] = line * sums[1, j]
        found[-2, j] = line * room[POWER, i] * sums[2, j]
        found[-1, j] = line * LOG_2 * sums[3, j]
