"""Numbers and counts as short text: what lets all units of a network fit on one page.

A number keeps three significant digits, as everywhere on the page, and takes three characters of
the alphabet of base64; the script of the page reads them back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_LETTERS = np.frombuffer(ALPHABET.encode(), dtype=np.uint8)
LEAST, MOST = -70, 74  # powers of ten; what is nearer to 0 becomes 0, what is larger infinite
NAN, ZERO, INF, MINUS_INF, FIRST = range(5)


def numbers(values: ArrayLike) -> str:
    """Return numbers of any size as text, three characters each.

    The code of a number m 10**(e - 2), with 100 <= m < 1000, is
    ``4 + 2 (900 (e + 70) + m - 100)``, plus 1 if it is negative; codes 0 to 3 are NaN, 0 and the
    infinities. The most significant six bits come first.
    """
    given = np.asarray(values, dtype=np.float64).ravel()
    size = np.abs(given)
    usual = np.isfinite(given) & (size >= 10.0**LEAST)
    held = np.where(usual, size, 1.0)
    power = np.floor(np.log10(held))
    digits = np.rint(held / 10.0 ** np.clip(power - 2, -300, 300))
    short, long = digits < 100, digits >= 1000  # the logarithm was rounded, or the digits were
    digits = np.where(short, np.rint(digits * 10), np.where(long, np.rint(digits / 10), digits))
    power += np.where(long, 1, 0) - np.where(short, 1, 0)
    code = FIRST + 2 * (900 * (power - LEAST) + digits - 100) + (given < 0)
    large = np.where(given < 0, MINUS_INF, INF)
    code = np.where(usual & (power <= MOST), code, np.where(size < 1, ZERO, large))
    return _text(np.where(np.isnan(given), NAN, code).astype(np.int64), 3)


def flags(columns: ArrayLike) -> str:
    """Return up to six truth values for each unit, (units, flags), as one character a unit."""
    table = np.asarray(columns, dtype=np.int64)
    return _text(table @ (1 << np.arange(table.shape[1])), 1)


def levels(codes: ArrayLike) -> str:
    """Return whole numbers from 0 to 63 as one character each."""
    return _text(np.asarray(codes, dtype=np.int64).ravel(), 1)


def bars(counts: ArrayLike, most: int) -> str:
    """Return the counts (bins, units) of histograms as `most` characters a unit.

    Neighbouring bins are joined; each unit's fullest bin is 63, and no bin with a value is 0.
    """
    table = np.asarray(counts, dtype=np.float64)
    starts = np.linspace(0, len(table), most, endpoint=False).astype(int)
    joined = np.add.reduceat(table, starts).T
    top = np.maximum(joined.max(axis=1, keepdims=True), 1)
    return levels(np.ceil(63 * joined / top))


def _text(codes: NDArray[np.int64], width: int) -> str:
    """Return codes of 6 `width` bits as text."""
    shifts = 6 * np.arange(width - 1, -1, -1)
    return _LETTERS[(codes[:, None] >> shifts) & 63].tobytes().decode()
