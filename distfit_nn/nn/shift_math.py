"""The shifts of one float32 number, in operations of which the compiler makes vectors of them.

Both shifts are of one form. With an outer gain A, an inner gain B and an exponent C,

    y = weight * sign(x) * A * F(v) + bias,    v = C log(B |x|),

log-shift having F(v) = log(e^v + 1) and sqrt-shift A = 1, F(v) = sqrt(e^v + 1/4) - 1/2. Everything
is computed of v, which is never far from 0 even where e^v overflows. With D = dF/dv,

    dy/dx = weight A C D / |x|,  dy/dlog A = weight A sign(x) F,
    dy/dlog B = weight A C sign(x) D,  dy/dlog C = weight A sign(x) v D.

The exponent is taken to the base 2, in two parts: C times the binary exponent of |x|, without
rounding, and the rest; so that e^v is good to some units of the last digit however small x is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from distfit_nn._floats import _same_bits

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
inlined = njit(**OPTIONS, forceinline=True, fastmath={"contract"})
quick = njit(
    **OPTIONS, forceinline=True, fastmath={"contract", "arcp", "afn", "ninf", "nsz"}
)  # quotients and roots from the processor's estimates, within two units of the last digit


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
SIGN = whole(-(2**31))
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
    t = s * s
    low, high = L1 * s + L0, L5 * s + L4
    low, high = (L3 * s + L2) * t + low, (L7 * s + L6) * t + high
    u = t * t
    return ((L8 * u + high) * u + low) * s


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
    t2 = r * r
    high = (E6 * r + E5) * t2 + (E4 * r + E3)
    y = (high * r + E2) * t2 + (E1 * r + ONE)
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
    t = e * e
    low, high = G1 * e + ONE, G5 * e + G4
    low, high = (G3 * e + G2) * t + low, (G7 * e + G6) * t + high
    u = t * t
    return ((G8 * u + high) * u + low) * e, e


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
def shift(log, x, outer, shift, high, low, power, start):  # type: ignore[no-untyped-def]
    """Return y of one value."""
    size = abs(x)  # the bits of infinity read as 2^128
    first, rest = _power(size, high, low, power, start)
    return _signed(_value(log, first, rest), size, x, outer, shift)


@inlined
def plain_shift(log, x, outer, shift, inner):  # type: ignore[no-untyped-def]
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
    return outer * of_int_bits(whole(int_bits(value) ^ whole(int_bits(x) & SIGN))) + shift


@inlined
def slopes(log, x, g, high, low, power, start, steep, least, flat):  # type: ignore[no-untyped-def]
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
