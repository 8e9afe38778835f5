"""Numbers as people read them: three digits, narrow spaces, a dash for what is missing."""

from __future__ import annotations

import math

MISSING = "–"
_NOISE = 1e-9
_NARROW = "\u202f"  # narrow no-break space
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def count(value: float) -> str:
    """Return a whole number with narrow spaces between thousands: ``125 000``; NaN gives a dash."""
    if not math.isfinite(value):
        return MISSING
    return f"{round(value):,}".replace(",", _NARROW).replace("-", "−")


def number(value: float, digits: int = 3, *, scale: float = 0.0) -> str:
    """Return `value` to `digits` significant digits, with a power of ten outside [0.001, 10⁶).

    What is below a billionth of `scale` is rounding noise and shown as 0.
    """
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0 or abs(value) < _NOISE * scale:
        return "0"
    # Digits and exponent come from the text: powers of ten as floats overflow and underflow.
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    exponent = int(power)
    if exponent < -3 or exponent >= 6:
        return f"{_signed(mantissa)} × 10{str(exponent).translate(_SUPERSCRIPT)}"
    decimals = max(0, digits - 1 - exponent)
    return _signed(f"{float(f'{mantissa}e{power}'):,.{decimals}f}")


def percent(part: float, whole: float) -> str:
    """Return ``part / whole`` in per cent; never 0% for some, nor 100% for less than all."""
    if whole <= 0 or not math.isfinite(part):
        return MISSING
    share = 100.0 * part / whole
    if 0 < share < 0.1:
        return "<" + _NARROW + "0.1%"
    if 0 < share < 1:
        return f"{share:.1f}%"
    if 99 < share < 100:
        return f"{math.floor(share * 10) / 10:.1f}%"
    return f"{share:.0f}%"


def qvalue(value: float) -> str:
    """Return a corrected p-value with its relation: ``= 0.032``, or ``< 0.001``, never 0."""
    if math.isnan(value):
        return MISSING
    return f"<{_NARROW}0.001" if value < 0.001 else f"= {number(value, 2)}"


def plural(value: int, noun: str) -> str:
    """Return ``1 unit``, ``300 units``."""
    return f"{count(value)} {noun}" if value == 1 else f"{count(value)} {noun}s"


def not_finite(nan: int, infinite: int) -> str:
    """Return ``3 NaN and 17 infinite``, naming only what there is; nothing gives ``""``."""
    found = ((nan, "NaN"), (infinite, "infinite"))
    return " and ".join(f"{count(k)} {kind}" for k, kind in found if k)


def _signed(digits: str) -> str:
    """Return digits without trailing zeros, with a true minus and narrow spaces."""
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return digits.replace(",", _NARROW).replace("-", "−")
