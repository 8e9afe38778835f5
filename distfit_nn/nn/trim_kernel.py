"""Columns of float32 by their central 90%, and cut, with the gradient: compiled, in threads.

The two ends of the central part are found by bisection on the bits of a float, which sort as whole
numbers: so many values are below the middle of what is left, which a loop of vector instructions
counts, until that number is the one sought, or, where values tie, one value is left.
"""

from __future__ import annotations

import numpy as np

from distfit_nn._floats import bits32, of_bits32
from distfit_nn.copula import columns
from distfit_nn.copula.columns import Array, Room
from distfit_nn.copula.vector_math import compiled, summing

SHARE = 20  # one value of so many is left out at either end
CUT = 3.0
MEAN, VARIANCE, LOW, HIGH, AT_LOW, AT_HIGH = range(6)  # what is known of a column
PARTS = 6

SIZE, END = np.int32((1 << 31) - 1), np.int32(0x7F800000)  # the bits of a size, of infinity


@compiled
def _keys(x, keys):  # type: ignore[no-untyped-def]
    """Write whole numbers that sort as values do, and return how many of these are NaN."""
    count = np.int32(0)
    for i in range(len(x)):
        bits = np.int32(bits32(x[i]))
        keys[i] = bits if bits >= 0 else -(bits & SIZE)
        count = np.int32(count + np.int32(x[i] != x[i]))
    return count


@compiled
def _number(key):  # type: ignore[no-untyped-def]
    """Return the value of a key."""
    size = of_bits32(np.uint32(abs(key)))
    return -size if key < 0 else size


@compiled
def _below(keys, key):  # type: ignore[no-untyped-def]
    """Return how many keys are below one."""
    count = np.int32(0)
    for i in range(len(keys)):
        count = np.int32(count + np.int32(keys[i] < key))
    return count


@compiled
def _first_from(keys, key):  # type: ignore[no-untyped-def]
    """Return the lowest that is not below one."""
    first = END
    for i in range(len(keys)):
        other = keys[i] if keys[i] >= key else END
        first = other if other < first else first
    return first


@compiled
def _at(keys, rank):  # type: ignore[no-untyped-def]
    """Return the key that has a rank, from 0, no value being NaN."""
    low, high = np.int64(-END), np.int64(END) + 1
    while high - low > 1:
        middle = (low + high) >> 1
        key = np.int32(middle)
        count = _below(keys, key)
        if count == rank:
            return _first_from(keys, key)
        if count < rank:
            low = middle
        else:
            high = middle
    return np.int32(low)


@compiled
def _ends(x, out, keys):  # type: ignore[no-untyped-def]
    """Return the lowest and the highest value without `out` at either end; NaN if there is one."""
    if _keys(x, keys) > 0:
        return np.float32(np.nan), np.float32(np.nan)
    if out > 0:
        return _number(_at(keys, out)), _number(_at(keys, len(x) - 1 - out))
    low = high = x[0]
    for i in range(len(x)):
        low, high = min(low, x[i]), max(high, x[i])
    return low, high


@summing
def _inside(x, low, high):  # type: ignore[no-untyped-def]
    """Return the sums of d and d^2 of values between the ends, d = x - low."""
    start, total, squares = np.float64(low), 0.0, 0.0
    for i in range(len(x)):
        inside = (x[i] > low) & (x[i] < high)
        d = np.float64(x[i]) - start if inside else 0.0
        total += d
        squares += d * d
    return total, squares


@compiled
def _counts(x, low, high):  # type: ignore[no-untyped-def]
    """Return how many values are below the ends, at the low one, at the high one, and above."""
    below = at_low = at_high = above = np.int32(0)
    for i in range(len(x)):
        below = np.int32(below + np.int32(x[i] < low))
        at_low = np.int32(at_low + np.int32(x[i] == low))
        at_high = np.int32(at_high + np.int32(x[i] == high))
        above = np.int32(above + np.int32(x[i] > high))
    return below, at_low, at_high, above


@compiled
def central(x, out, keys, about):  # type: ignore[no-untyped-def]
    """Write mean, variance and ends of the central part, and what a value at an end counts."""
    low, high = _ends(x, out, keys)
    about[LOW], about[HIGH] = low, high
    width = np.float64(high) - np.float64(low)
    if not width < np.inf:  # infinite, or NaN
        about[MEAN] = about[VARIANCE] = about[AT_LOW] = about[AT_HIGH] = np.nan
        return
    kept = np.float64(len(x) - 2 * out)
    below, at_low, at_high, above = _counts(x, low, high)
    if low == high:  # where all that remains is one value, it is both ends
        about[MEAN], about[VARIANCE] = low, 0.0
        about[AT_LOW] = about[AT_HIGH] = kept / at_low
        return
    few, many = np.float64(below + at_low - out), np.float64(above + at_high - out)
    about[AT_LOW], about[AT_HIGH] = few / at_low, many / at_high
    # The lowest counts at least as one value: its distance from the mean is not much larger than
    # the deviation, which is all that the difference of squares could lose.
    total, squares = _inside(x, low, high)
    mean = (total + many * width) / kept
    about[MEAN] = low + mean
    about[VARIANCE] = max((squares + many * width * width) / kept - mean * mean, 0.0)


@compiled
def cut(x, about, eps):  # type: ignore[no-untyped-def]
    """Write the scores of a column in its place."""
    mean, inverse = about[MEAN], 1.0 / np.sqrt(about[VARIANCE] + eps)
    for i in range(len(x)):
        z = (np.float64(x[i]) - mean) * inverse
        z = CUT if z > CUT else z
        x[i] = -CUT if z < -CUT else z


@compiled
def cut_columns(x, out, eps, keys, about):  # type: ignore[no-untyped-def]
    """Write the scores of columns (m, n) in their place, and what is known of each (m, PARTS)."""
    for j in range(len(x)):
        central(x[j], out, keys, about[j])
        cut(x[j], about[j], eps)


@summing
def _sums(x, g, mean, inverse):  # type: ignore[no-untyped-def]
    """Return the sums of g and of g z; and, of what is not cut, of g and of g z."""
    whole, tilted, plain, slanted = 0.0, 0.0, 0.0, 0.0
    for i in range(len(x)):
        u, h = (np.float64(x[i]) - mean) * inverse, np.float64(g[i])
        z = CUT if u > CUT else u
        z = -CUT if u < -CUT else z
        free = h if z == u else 0.0
        whole += h
        tilted += h * z
        plain += free
        slanted += free * z
    return whole, tilted, plain, slanted


@compiled
def _slopes(x, g, about, inverse, factor, level, slope):  # type: ignore[no-untyped-def]
    """Write the gradient by a column in its place."""
    mean, at_low, at_high = about[MEAN], about[AT_LOW], about[AT_HIGH]
    low, high = np.float32(about[LOW]), np.float32(about[HIGH])
    for i in range(len(x)):
        u = (np.float64(x[i]) - mean) * inverse
        counts = at_low if x[i] == low else at_high if x[i] == high else 1.0
        back = counts * (level + slope * u)
        back = back if (x[i] >= low) & (x[i] <= high) else 0.0
        free = np.float64(g[i]) if abs(u) <= CUT else 0.0
        x[i] = factor * (free - back)


@compiled
def slope_columns(x, g, out, eps, weight, about, sums):  # type: ignore[no-untyped-def]
    """Write the gradients by columns (m, n) in their place, those by weight and bias to `sums`."""
    kept = np.float64(x.shape[1] - 2 * out)
    for j in range(len(x)):
        inverse = 1.0 / np.sqrt(about[j, VARIANCE] + eps)
        bias, line, plain, slanted = _sums(x[j], g[j], about[j, MEAN], inverse)
        sums[j, 0], sums[j, 1] = line, bias
        factor = weight[j] * inverse
        _slopes(x[j], g[j], about[j], inverse, factor, plain / kept, slanted / kept)


def trimmed(x: Array, eps: float, weight: Array, bias: Array) -> tuple[Array, Array]:
    """Return weight * scores + bias of columns, and what is known of each, float64 (d, PARTS).

    `x` are columns (n, d) of any strides or contiguous blocks (N, d, L), of float32.
    """
    n, d = columns.size(x)
    y, about = np.empty(x.shape, x.dtype), np.empty((d, PARTS))
    line = weight.astype(x.dtype), bias.astype(x.dtype)

    def room(m: int) -> tuple[Room, Array]:
        return Room(m, n, x.dtype, 1), np.empty(n, np.int32)

    def task(mine: tuple[Room, Array], first: int, last: int) -> None:
        room, keys = mine
        rows = room.rows[0][: last - first]
        columns.read(x, first, room.tile, rows)
        cut_columns(rows, n // SHARE, eps, keys, about[first:last])
        columns.write(rows, line, first, room.tile, y)

    columns.in_rooms(n, d, room, task, _grain(x))
    return y, about


def slopes(
    x: Array, gradient: Array, eps: float, weight: Array, about: Array
) -> tuple[Array, Array]:
    """Return the gradients by x, and by weight and bias, float64 (d, 2)."""
    n, d = columns.size(x)
    dx, sums = np.empty(x.shape, x.dtype), np.empty((d, 2))
    factors, same = weight.astype(np.float64), (np.ones(d, x.dtype), np.zeros(d, x.dtype))

    def task(room: Room, first: int, last: int) -> None:
        rows, given = (part[: last - first] for part in room.rows)
        columns.read(x, first, room.tile, rows)
        columns.read(gradient, first, room.tile, given)
        here = slice(first, last)
        slope_columns(rows, given, n // SHARE, eps, factors[here], about[here], sums[here])
        columns.write(rows, same, first, room.tile, dx)

    columns.in_rooms(n, d, lambda m: Room(m, n, x.dtype, 2), task, _grain(x))
    return dx, sums


def _grain(x: Array) -> int:
    """Return how many columns are worked on at least: of blocks, one, to stay in the cache."""
    return 1 if x.ndim == 3 else 0
