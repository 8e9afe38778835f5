"""The shifts on float32 arrays, in loops that the compiler turns into vector instructions.

Both shifts are of one form. With an outer gain A, an inner gain B and an exponent C,

    y = weight * sign(x) * A * F(v) + bias,    v = C log(B |x|),

log-shift having F(v) = log(e^v + 1) and sqrt-shift A = 1, F(v) = sqrt(e^v + 1/4) - 1/2. Everything
is computed of v, which is never far from 0 even where e^v overflows. With D = dF/dv,

    dy/dx = weight A C D / |x|,  dy/dlog A = weight A sign(x) F,
    dy/dlog B = weight A C sign(x) D,  dy/dlog C = weight A sign(x) v D.

The exponent is taken to the base 2, in two parts: C times the binary exponent of |x|, without
rounding, and the rest; so that e^v is good to some units of the last digit however small x is.

An array (N, C, L) has the parameters of a feature along its last dimension; one with L = 1 is
worked on as rows (n, C), along which the parameters change.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from distfit_nn._floats import LOG2_E, _same_bits, exponential

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
compiled = njit(**OPTIONS)
inlined = njit(**OPTIONS, forceinline=True, fastmath={"contract"})
quick = njit(
    **OPTIONS, forceinline=True, fastmath={"contract", "arcp", "afn", "ninf", "nsz"}
)  # quotients and roots from the processor's estimates, within two units of the last digit
summing = njit(**OPTIONS, fastmath={"contract", "reassoc", "nsz"})


def _wide(_typing):  # type: ignore[no-untyped-def]
    """Let the compiler use the widest vectors there are in the function that calls this.

    It prefers half of 512 bits, for the sake of code that uses them now and then; loops as long
    and as full of arithmetic as these take two thirds of the time in whole ones.
    """

    def generate(context, builder, _signature, _arguments):  # type: ignore[no-untyped-def]
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), generate


wide: Any = intrinsic(_wide)

int_bits, of_int_bits = (
    _same_bits(types.float32, types.int32),
    _same_bits(types.int32, types.float32),
)
single, whole = np.float32, np.int32

GAIN, EXPONENT = 20.0, math.log(8.0)  # how far logarithms of gains and exponents go from 0
FLOOR = 1e-30  # |x| below which the slope of an exponent of 1 or more is that at 0

# What a feature needs, a row each; a tile of features is WIDTH columns, then sums of gradients.
OUTER, SHIFT, HIGH, LOW, POWER, START, INNER, STEEP, LEAST, FLAT = range(10)
ROWS, SUMS, WIDTH = 10, 4, 256
BLOCK = 64  # rows summed in single precision before they are added up in double
RUN = 1024  # values along a run that are

BIGGEST = single(np.finfo(np.float32).max)
HUGE = single(1e37)  # the reciprocal of anything larger is subnormal
# 1 + B |x| is taken times DOWN, which cannot overflow for gains of at most 1 / DOWN.
DOWN, UP = single(2.0**-10), single(2.0**10)
ROOT_UP = single(2.0**5)
NO, HALF, ONE = single(0.0), single(0.5), single(1.0)
LOG_2, TEN = single(math.log(2.0)), single(10.0)
ROUNDER = single(1.5 * 2.0**23)  # adding it leaves the nearest whole number in the low bits
LEAST_POWER, MOST_POWER = single(-126.0), single(127.0)
QUARTER, PLAIN = single(0.25), single(1e6)  # sqrt(h^2 + 1/4) = h to 1e-13 of it beyond PLAIN
MANTISSA, BIAS, ROOT_HALF = whole(23), whole(127), whole(0x3F3504F3)

# log2(1 + s) / s for s from sqrt(1/2) - 1 to sqrt(2) - 1, through it at the Chebyshev points: the
# error of log2 is 1.4e-8.
L0, L1, L2 = single(1.4426950216), single(-0.7213473320), single(0.4809105992)
L3, L4, L5 = single(-0.3607048392), single(0.2879183292), single(-0.2389203459)
L6, L7, L8 = single(0.2156698555), single(-0.2074210346), single(0.1261484623)
# 2^r, |r| <= 1/2: error 2.6e-9 of it.
E1, E2, E3 = single(0.6931471825), single(0.2402265072), single(0.0555032715)
E4, E5, E6 = single(0.0096180253), single(0.0013400433), single(0.0001546973)
# log(1 + e) / e for e from 0 to 1: error 3.1e-8 of it.
G1, G2, G3 = single(-0.4999950230), single(0.3331927061), single(-0.2484436929)
G4, G5, G6 = single(0.1911143064), single(-0.1367477030), single(0.0783616677)
G7, G8 = single(-0.0295885075), single(0.0052534579)


@quick
def _quotient(a, b):  # type: ignore[no-untyped-def]
    return a / b


@quick
def _square_root(a):  # type: ignore[no-untyped-def]
    return np.sqrt(a)


@inlined
def _log2_of_mantissa(s):  # type: ignore[no-untyped-def]
    """Return log2(1 + s) for s from sqrt(1/2) - 1 to sqrt(2) - 1."""
    f = L8 * s + L7
    f = f * s + L6
    f = f * s + L5
    f = f * s + L4
    f = f * s + L3
    f = f * s + L2
    f = f * s + L1
    f = f * s + L0
    return f * s


@inlined
def _power(size, high, low, power, start):  # type: ignore[no-untyped-def]
    """Return power * log2(size) + start in two parts, the first without rounding."""
    bits = int_bits(size)
    octave = whole(whole(bits - ROOT_HALF) >> MANTISSA)
    k = single(octave)
    s = of_int_bits(whole(bits - whole(octave << MANTISSA))) - ONE
    return high * k, power * _log2_of_mantissa(s) + (low * k + start)


@inlined
def _exp2(first, rest):  # type: ignore[no-untyped-def]
    """Return 2^(first + rest) for a sum below 128, cut to normal numbers."""
    least = LEAST_POWER - first
    rest = least if rest < least else rest
    t = (first + rest) + ROUNDER
    r = (first - (t - ROUNDER)) + rest
    y = E6 * r + E5
    y = y * r + E4
    y = y * r + E3
    y = y * r + E2
    y = y * r + E1
    y = y * r + ONE
    return y * of_int_bits(whole(whole(int_bits(t) + BIAS) << MANTISSA))


@inlined
def _root(first, rest):  # type: ignore[no-untyped-def]
    """Return 2^((first + rest) / 2), cut to normal numbers."""
    most = MOST_POWER - HALF * first
    rest = HALF * rest
    return _exp2(HALF * first, most if rest > most else rest)


@inlined
def _softplus(first, rest):  # type: ignore[no-untyped-def]
    """Return log(1 + e) and e, for e = 2^-|first + rest|; with e^v = 2^(first + rest)."""
    above = first + rest > NO
    e = _exp2(-first if above else first, -rest if above else rest)
    g = G8 * e + G7
    g = g * e + G6
    g = g * e + G5
    g = g * e + G4
    g = g * e + G3
    g = g * e + G2
    g = g * e + G1
    g = g * e + ONE
    return g * e, e


@inlined
def _over_root(t):  # type: ignore[no-untyped-def]
    """Return sqrt(t + 1/4) - 1/2 without cancellation."""
    return _quotient(t, _square_root(t + QUARTER) + HALF)


@inlined
def _value(log, first, rest):  # type: ignore[no-untyped-def]
    """Return F of e^v = 2^(first + rest)."""
    if log:
        small, _ = _softplus(first, rest)
        v = first + rest
        return (v if v > NO else NO) * LOG_2 + small
    h = _root(first, rest)
    near = h if h < PLAIN else PLAIN
    return _over_root(near * near) + (h - near)


@inlined
def _value_and_slope(log, first, rest):  # type: ignore[no-untyped-def]
    """Return F and dF/dv."""
    v = first + rest
    if log:
        small, e = _softplus(first, rest)
        return (v if v > NO else NO) * LOG_2 + small, _quotient(ONE if v > NO else e, ONE + e)
    h = _root(first, rest)
    near = h if h < PLAIN else PLAIN
    root = _square_root(near * near + QUARTER)
    value = _quotient(near * near, root + HALF) + (h - near)
    return value, h * _quotient(HALF * near, root)


@inlined
def _shift(log, x, outer, shift, high, low, power, start):  # type: ignore[no-untyped-def]
    """Return y of one value."""
    size = abs(x)  # the bits of infinity read as 2^128
    first, rest = _power(size, high, low, power, start)
    return _signed(_value(log, first, rest), size, x, outer, shift)


@inlined
def _plain_shift(log, x, outer, shift, inner):  # type: ignore[no-untyped-def]
    """Return y of one value for an exponent of 1."""
    size = abs(x)
    down = size * inner
    if log:
        total = down + DOWN
        bits = int_bits(total)
        octave = whole(whole(bits - ROOT_HALF) >> MANTISSA)
        scale = of_int_bits(whole(whole(BIAS - octave) << MANTISSA))
        s = (total * scale - ONE) + (down - (total - DOWN)) * scale  # with what rounding lost
        value = (single(octave) + TEN) * LOG_2 + _log2_of_mantissa(s) * LOG_2
    else:
        root = _square_root(down + QUARTER * DOWN)
        value = UP * _quotient(down, ROOT_UP * root + HALF)
    return _signed(value, size, x, outer, shift)


@inlined
def _signed(value, size, x, outer, shift):  # type: ignore[no-untyped-def]
    """Return the value with the sign of x, on its line."""
    value = value if size <= BIGGEST else size  # what is infinite stays so, NaN as well
    value = NO if size == NO else value
    return outer * (value if x >= NO else -value) + shift


@inlined
def _slopes(log, x, g, high, low, power, start, steep, least, flat):  # type: ignore[no-untyped-def]
    """Return the gradient by x and the terms of g, g sign F, g sign D, g sign D v / log 2."""
    g = g if x == x else x
    size = abs(x)  # the bits of infinity read as 2^128
    first, rest = _power(size, high, low, power, start)
    value, slope = _value_and_slope(log, first, rest)
    signed = g if x > NO else -g
    signed = signed if size > NO else NO
    far = _quotient(steep * slope, size if size < HUGE else HUGE)
    by_x = g * (far if size > least else flat)
    tilted = signed * slope
    return by_x, g, signed * value, tilted, tilted * (first + rest)


def rooms(count: int) -> NDArray[np.float32]:
    """Return room for what `count` features need, and behind it for sums of their gradients."""
    return np.empty((-(-count // WIDTH), ROWS + SUMS, WIDTH), np.float32)


@compiled
def _cut(log, limit):  # type: ignore[no-untyped-def]
    """Return a logarithm, cut to +-limit."""
    return min(max(np.float64(log), -limit), limit)


@compiled
def fill(logs, weight, bias, rooms):  # type: ignore[no-untyped-def]
    """Write what y takes to `rooms` (tiles, ROWS + SUMS, WIDTH); tell if the plain shift will do.

    That is so where all exponents are 1 and no inner gain is very large. `logs` holds the
    logarithms of the gains and of the exponent: three of log-shift, two of sqrt-shift.
    """
    plain = True
    for j in range(len(weight)):
        room, i = rooms[j // WIDTH], j % WIDTH
        outer = exponential(_cut(logs[0][j], GAIN)) if len(logs) == 3 else 1.0
        power = exponential(_cut(logs[-1][j], EXPONENT))
        nearest = of_int_bits(whole(int_bits(single(power)) & whole(-256)))
        room[HIGH, i], room[LOW, i], room[POWER, i] = nearest, power - np.float64(nearest), power
        inner = _cut(logs[-2][j], GAIN)
        room[START, i], room[INNER, i] = power * inner * LOG2_E, exponential(inner) * DOWN
        room[OUTER, i], room[SHIFT, i] = np.float64(weight[j]) * outer, bias[j]
        plain = plain and power == 1.0 and room[INNER, i] <= ONE
    return plain


@compiled
def fill_slopes(logs, eps, rooms):  # type: ignore[no-untyped-def]
    """Write what slopes take, too."""
    for j in range(len(logs[0])):
        room, i = rooms[j // WIDTH], j % WIDTH
        power = np.float64(room[POWER, i])
        least = max(eps, FLOOR) if power < 1.0 else FLOOR
        t = math.exp(power * (_cut(logs[-2][j], GAIN) + math.log(least)))
        slope = t / (1.0 + t) if len(logs) == 3 else 0.5 * t / math.sqrt(t + 0.25)
        room[STEEP, i] = room[OUTER, i] * power
        room[LEAST, i], room[FLAT, i] = least, room[STEEP, i] * slope / least


@inlined
def _shift_row(log, x, t, y):  # type: ignore[no-untyped-def]
    """Write y of a row; t holds what the features need, one after the other."""
    wide()
    for j in range(len(x)):
        y[j] = _shift(
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
        outer, shift = t[OUTER * WIDTH + j], t[SHIFT * WIDTH + j]
        y[j] = _plain_shift(log, x[j], outer, shift, t[INNER * WIDTH + j])


@compiled
def shift_rows(logs, plain, rooms, x, y, first, last):  # type: ignore[no-untyped-def]
    """Write y of rows x (n, C), from `first` to `last`."""
    d = x.shape[1]
    for tile in range(len(rooms)):
        t, here = rooms[tile].reshape(-1), slice(tile * WIDTH, min((tile + 1) * WIDTH, d))
        for i in range(first, last):
            if plain:
                _plain_row(len(logs) == 3, x[i, here], t, y[i, here])
            else:
                _shift_row(len(logs) == 3, x[i, here], t, y[i, here])


@inlined
def _shift_run(log, x, t, k, y):  # type: ignore[no-untyped-def]
    """Write y of a run of the k-th feature of a tile."""
    wide()
    outer, shift, high, low = t[OUTER, k], t[SHIFT, k], t[HIGH, k], t[LOW, k]
    power, start = t[POWER, k], t[START, k]
    for q in range(len(x)):
        y[q] = _shift(log, x[q], outer, shift, high, low, power, start)


@inlined
def _plain_run(log, x, t, k, y):  # type: ignore[no-untyped-def]
    wide()
    outer, shift, inner = t[OUTER, k], t[SHIFT, k], t[INNER, k]
    for q in range(len(x)):
        y[q] = _plain_shift(log, x[q], outer, shift, inner)


@compiled
def shift_runs(logs, plain, rooms, x, y, first, last):  # type: ignore[no-untyped-def]
    """Write y of runs x (N C, L) from `first` to `last`, those of the C features in turn."""
    for i in range(first, last):
        j = i % len(logs[0])
        room, k = rooms[j // WIDTH], j % WIDTH
        if plain:
            _plain_run(len(logs) == 3, x[i], room, k, y[i])
        else:
            _shift_run(len(logs) == 3, x[i], room, k, y[i])


@inlined
def _slopes_row(log, x, g, t, dx):  # type: ignore[no-untyped-def]
    """Write the gradient by a row x, and add to the sums behind what the features need."""
    wide()
    for j in range(len(x)):
        dx[j], by_bias, by_outer, by_inner, by_power = _slopes(
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
        t[ROWS * WIDTH + j] += by_bias
        t[(ROWS + 1) * WIDTH + j] += by_outer
        t[(ROWS + 2) * WIDTH + j] += by_inner
        t[(ROWS + 3) * WIDTH + j] += by_power


@compiled
def slopes_rows(logs, rooms, x, g, dx, sums, first, last):  # type: ignore[no-untyped-def]
    """Write the gradient by rows x (n, C), and add the sums of the four terms to `sums` (4, C)."""
    d = x.shape[1]
    for tile in range(len(rooms)):
        room, t = rooms[tile], rooms[tile].reshape(-1)
        low, high = tile * WIDTH, min((tile + 1) * WIDTH, d)
        for block in range(first, last, BLOCK):
            room[ROWS:] = 0.0
            for i in range(block, min(block + BLOCK, last)):
                _slopes_row(len(logs) == 3, x[i, low:high], g[i, low:high], t, dx[i, low:high])
            for k in range(SUMS):
                for j in range(high - low):
                    sums[k, low + j] += room[ROWS + k, j]


@summing
def _slopes_run(log, x, g, t, k, dx):  # type: ignore[no-untyped-def]
    """Write the gradient by a run, and return the sums of the four terms."""
    wide()
    high, low, power, start = t[HIGH, k], t[LOW, k], t[POWER, k], t[START, k]
    steep, least, flat = t[STEEP, k], t[LEAST, k], t[FLAT, k]
    by_bias, by_outer, by_inner, by_power = NO, NO, NO, NO
    for q in range(len(x)):
        dx[q], one, two, three, four = _slopes(
            log, x[q], g[q], high, low, power, start, steep, least, flat
        )
        by_bias += one
        by_outer += two
        by_inner += three
        by_power += four
    return by_bias, by_outer, by_inner, by_power


@compiled
def slopes_runs(logs, rooms, x, g, dx, sums, first, last):  # type: ignore[no-untyped-def]
    """As `slopes_rows`, of runs x (N C, L)."""
    for i in range(first, last):
        j = i % len(logs[0])
        room, k = rooms[j // WIDTH], j % WIDTH
        for low in range(0, x.shape[1], RUN):
            q = slice(low, low + RUN)
            found = _slopes_run(len(logs) == 3, x[i, q], g[i, q], room, k, dx[i, q])
            for m in range(SUMS):
                sums[m, j] += found[m]
