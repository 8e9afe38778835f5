"""Floating-point numbers in compiled code: their bits, and an exponential made for vectors."""

from __future__ import annotations

from typing import Any

from numba import njit, types
from numba.extending import intrinsic

# exp(x) = 2^m exp(r), |r| <= log(2) / 2, and exp(r) by the polynomial of degree 11 through it at
# the Chebyshev points: the error is 5e-18 before rounding.
LOG2_E = 1.4426950408889634
LOG_2, LOG_2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
ROUNDER = 6755399441055744.0  # 1.5 * 2^52: adding it leaves the nearest whole number in low bits
BIAS, MANTISSA = 1023, 52
C0, C1, C2, C3 = 1.0, 1.0, 0.5000000000000019, 0.1666666666666668
C4, C5, C6 = 0.0416666666664881, 0.008333333333319601, 0.0013888888952314775
C7, C8, C9 = 0.00019841269890047113, 2.4801485482328494e-05, 2.755724091857897e-06
C10, C11 = 2.763263963904103e-07, 2.5110037605963777e-08


# Products may be fused with sums; reordered, the rounding to a whole number would be lost.
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False, "fastmath": {"contract"}}


def _same_bits(source: Any, target: Any) -> Any:
    """Return what reads the bits of a number of one type as one of another type of that size."""

    def cast(_typing, _number):  # type: ignore[no-untyped-def]
        def generate(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
            return builder.bitcast(arguments[0], context.get_value_type(target))

        return target(source), generate

    return intrinsic(cast)


bits32, of_bits32 = _same_bits(types.float32, types.uint32), _same_bits(types.uint32, types.float32)
bits64, of_bits64 = _same_bits(types.float64, types.int64), _same_bits(types.int64, types.float64)


@njit(**OPTIONS)
def exponential(x):  # type: ignore[no-untyped-def]
    """Return exp(x), to about an ulp, for abs(x) <= 700."""
    t = x * LOG2_E + ROUNDER
    whole = t - ROUNDER
    r = (x - whole * LOG_2) - whole * LOG_2_LOW
    y = C11 * r + C10
    y = y * r + C9
    y = y * r + C8
    y = y * r + C7
    y = y * r + C6
    y = y * r + C5
    y = y * r + C4
    y = y * r + C3
    y = y * r + C2
    y = y * r + C1
    y = y * r + C0
    return y * of_bits64((bits64(t) + BIAS) << MANTISSA)
