"""Numbers as people read them."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distfit_nn.report.numbers import (
    count,
    not_finite,
    number,
    percent,
    plural,
    qvalue,
)

THIN = "\u202f"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (0.12345, "0.123"),
        (-0.5, "−0.5"),
        (999.6, f"1{THIN}000"),
        (123456.0, f"123{THIN}000"),
        (1e6, "1 × 10⁶"),
        (0.000123456, "1.23 × 10⁻⁴"),
        (0.001, "0.001"),
        (-1.5e-12, "−1.5 × 10⁻¹²"),
        (5e-324, "4.94 × 10⁻³²⁴"),
        (-1e-320, "−1 × 10⁻³²⁰"),
        (1.7976931348623157e308, "1.8 × 10³⁰⁸"),
        (99999.6, f"100{THIN}000"),
        (999999.0, "1 × 10⁶"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
    ],
)
def test_number(value, text):
    assert number(value) == text


def test_rounding_noise_is_shown_as_zero():
    assert number(-3e-16, scale=1.0) == "0"
    assert number(-3e-16) == "−3 × 10⁻¹⁶"
    assert number(1e-300, scale=1e-299) == "1 × 10⁻³⁰⁰"


def _parse(text: str) -> Fraction:
    digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-", THIN)
    return Fraction(text.translate(digits).replace(" × 10", "e"))


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(5e-324)
@example(-2e-310)
@example(1.7976931348623157e308)
def test_number_reads_back_to_three_digits(value):
    # Half a unit of the third digit is at most half a per cent, in exact arithmetic.
    exact = Fraction(value)
    assert abs(_parse(number(value)) - exact) <= Fraction(1, 200) * abs(exact)


@given(st.integers(0, 10**15))
def test_count_is_exact(value):
    assert int(count(value).replace(THIN, "")) == value


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 300, "0%"),
        (1, 300, "0.3%"),
        (1, 100_000, f"<{THIN}0.1%"),
        (12, 300, "4%"),
        (299, 300, "99.6%"),
        (9999, 10_000, "99.9%"),
        (300, 300, "100%"),
        (0, 0, "–"),
        (math.nan, 3, "–"),
    ],
)
def test_percent(part, whole, text):
    assert percent(part, whole) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, f"<{THIN}0.001"), (0.04, "= 0.04"), (1.0, "= 1"), (math.nan, "–")]
)
def test_no_qvalue_of_zero(value, text):
    assert qvalue(value) == text


def test_plural():
    assert (plural(1, "unit"), plural(0, "unit"), plural(2, "unit")) == (
        "1 unit",
        "0 units",
        "2 units",
    )


def test_only_what_there_is_is_named():
    assert not_finite(0, 0) == ""
    assert not_finite(3, 0) == "3 NaN"
    assert not_finite(1200, 17) == f"1{THIN}200 NaN and 17 infinite"
