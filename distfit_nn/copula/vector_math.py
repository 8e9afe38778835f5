"""Elementary functions on arrays, in loops that the compiler turns into vector instructions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from distfit_nn._floats import BIAS, MANTISSA, bits64, exponential, of_bits64

# Nothing is allocated in compiled code, so references need not be counted.
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
compiled = njit(**OPTIONS)
fused = njit(**OPTIONS, fastmath={"contract"})
summing = njit(**OPTIONS, fastmath={"contract", "reassoc"})  # sums in any order, always the same

# log((1 + s) / (1 - s)) = 2 (s + s^3 / 3 + s^5 / 5 + ...); at abs(s) <= (sqrt 2 - 1)^2, what is
# left out after s^21 is 1e-19.
LOG_2_WHOLE = 0.6931471805599453
T1, T2, T3, T4, T5 = 1.0 / 3, 1.0 / 5, 1.0 / 7, 1.0 / 9, 1.0 / 11
T6, T7, T8, T9, T10 = 1.0 / 13, 1.0 / 15, 1.0 / 17, 1.0 / 19, 1.0 / 21
HALF_OCTAVE = (1 << 52) - 0x6A09E667F3BCD  # added to the bits of sqrt 2, it makes those of 2

# Below exp(-FAR) = 1e-20 a term is nothing beside the 1/2 that a point counts for itself; and its
# 14th power is still a normal number, which takes a processor a sixth of the time of a subnormal.
FAR = 46.0

# The normal quantile by Wichura's algorithm AS 241 (Applied Statistics 37, 1988), rational in
# 0.425^2 - (p - 1/2)^2 or, for p < 0.075, in sqrt(-log p) - 1.6; the error is about 1e-16 of it.
SPLIT2 = 0.180625  # 0.425^2
TAIL = 0.075
SHIFT = 1.6
A0, A1, A2 = 3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3
A3, A4, A5 = 1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4
A6, A7 = 3.3430575583588128105e4, 2.5090809287301226727e3
B1, B2, B3 = 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3
B4, B5, B6 = 2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4
B7 = 5.2264952788528545610e3
C0, C1, C2 = 1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0
C3, C4, C5 = 3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1
C6, C7 = 2.27238449892691845833e-2, 7.74545014278341407640e-4
D1, D2, D3 = 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1
D4, D5, D6 = 1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4
D7 = 1.05075007164441684324e-9


@summing
def mean(values):  # type: ignore[no-untyped-def]
    """Return the mean of an array, summed in float64."""
    total = 0.0
    for i in range(len(values)):
        total += np.float64(values[i])
    return total / len(values)


@summing
def dot(a, b):  # type: ignore[no-untyped-def]
    """Return the sum of the products of two arrays, in float64."""
    total = 0.0
    for i in range(len(a)):
        total += np.float64(a[i]) * np.float64(b[i])
    return total


@fused
def decay(gaps, count):  # type: ignore[no-untyped-def]
    """Replace each gap > -700 by exp(-gap), by 0 where that is below 1e-20."""
    for j in range(count):
        gap = gaps[j]
        near = exponential(-min(gap, FAR))
        gaps[j] = near if gap < FAR else 0.0


@fused
def normal_quantiles(below, above, spare, inverse, count):  # type: ignore[no-untyped-def]
    """Replace `below` by the normal quantile of below * inverse; `above` * inverse is 1 minus it.

    The smaller of the two counts is used; it must be above 1e-11. Replaces `above` and `spare`.
    """
    for j in range(count):
        p = min(below[j], above[j]) * inverse
        q = p - 0.5
        r = SPLIT2 - q * q
        top = ((((((A7 * r + A6) * r + A5) * r + A4) * r + A3) * r + A2) * r + A1) * r + A0
        low = ((((((B7 * r + B6) * r + B5) * r + B4) * r + B3) * r + B2) * r + B1) * r + 1.0
        z = q * top / low
        below[j] = z if below[j] <= above[j] else -z
        above[j] = p
    tails = 0  # they are brought together, for a loop without a choice
    for j in range(count):
        p = above[j]
        above[tails], spare[tails] = p, j
        tails += 1 if p < TAIL else 0
    tail_quantiles(above, tails)
    for i in range(tails):
        place = np.int64(spare[i])
        below[place] = math.copysign(above[i], below[place])


@fused
def tail_quantiles(p, count):  # type: ignore[no-untyped-def]
    """Replace probabilities below 0.075 by the sizes of their normal quantiles."""
    for i in range(count):
        bits = np.int64(bits64(p[i]))
        # p = 2^power * (1 + s) / (1 - s), with a quotient between 1 / sqrt 2 and sqrt 2.
        power = ((bits + HALF_OCTAVE) >> MANTISSA) - BIAS
        quotient = of_bits64(bits - (power << MANTISSA))
        s = (quotient - 1.0) / (quotient + 1.0)
        t = s * s
        series = T10
        for c in (T9, T8, T7, T6, T5, T4, T3, T2, T1):
            series = series * t + c
        log_p = power * LOG_2_WHOLE + 2.0 * (s + s * t * series)
        r = math.sqrt(-log_p) - SHIFT
        top = ((((((C7 * r + C6) * r + C5) * r + C4) * r + C3) * r + C2) * r + C1) * r + C0
        low = ((((((D7 * r + D6) * r + D5) * r + D4) * r + D3) * r + D2) * r + D1) * r + 1.0
        p[i] = top / low
