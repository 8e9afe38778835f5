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
    rounded = float(f"{value:.{digits}g}")
    if rounded == 0 or abs(rounded) < _NOISE * scale:
        return "0"
    exponent = math.floor(math.log10(abs(rounded)))
    if exponent < -3 or exponent >= 6:
        mantissa = f"{rounded / 10.0**exponent:.{digits}g}".replace("-", "−")
        return f"{mantissa} × 10{str(exponent).translate(_SUPERSCRIPT)}"
    decimals = max(0, digits - 1 - exponent)
    text = f"{rounded:,.{decimals}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace(",", _NARROW).replace("-", "−")


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
