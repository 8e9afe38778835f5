"""The coefficients of the sum of exponentials, against mpmath and against what is possible."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from distfit_nn.copula import logistic_sum as module
from distfit_nn.copula.logistic_sum import LARGEST, for_error, logistic_sum
from distfit_nn.errors import InputError
from tests.tolerances import eps

# K, the error of s / n, the absolute and the relative error of the slope: what was first found.
TABLE = [
    (8, 4.7e-7, 7.1e-6, 2.9e-5),
    (12, 3.7e-10, 8.8e-9, 3.5e-8),
    (14, 1.1e-11, 3.0e-10, 1.2e-9),
]


def residuals(terms: int, points: int = 4000) -> tuple[list[mpmath.mpf], list[mpmath.mpf]]:
    """Return the errors of the value and of the derivative by q at many points, by mpmath."""
    c = [mpmath.mpf(value) for value in logistic_sum(terms).coefficients]
    with mpmath.workdps(50):
        grid = [(1 - mpmath.cos(mpmath.pi * i / points)) / 2 for i in range(points + 1)]
        value = [q / (1 + q) - mpmath.polyval([*reversed(c), 0], q) for q in grid]
        slopes = [k * c_k for k, c_k in enumerate(c, 1)]
        derivative = [1 / (1 + q) ** 2 - mpmath.polyval(slopes[::-1], q) for q in grid]
    return value, derivative


@pytest.mark.parametrize(("terms", "value", "slope", "relative"), TABLE)
def test_the_errors_are_those_of_the_table(terms, value, slope, relative):
    found = logistic_sum(terms)
    assert found.value == pytest.approx(value, rel=0.1)
    assert found.slope == pytest.approx(slope, rel=0.1)
    assert found.relative_slope == pytest.approx(relative, rel=0.1)


@pytest.mark.parametrize("terms", [2, 5, 10, 12, 18])
def test_the_errors_that_are_told_are_those_that_mpmath_finds(terms):
    found = logistic_sum(terms)
    value, derivative = residuals(terms)
    grid = [(1 - mpmath.cos(mpmath.pi * i / 4000)) / 2 for i in range(4001)]
    assert float(max(abs(e) for e in value)) == pytest.approx(found.value, rel=1e-3)
    sloped = [q * abs(e) for q, e in zip(grid, derivative, strict=True)]
    assert float(max(sloped)) == pytest.approx(found.slope, rel=1e-3)
    relative = [(1 + q) ** 2 * abs(e) for q, e in zip(grid, derivative, strict=True)]
    assert float(max(relative)) == pytest.approx(found.relative_slope, rel=1e-3)


@pytest.mark.parametrize("terms", [2, 6, 12, 16])
def test_no_other_coefficients_are_much_better(terms):
    # De la Vallee Poussin: a residual that changes sign at K + 1 points is, at the least of them in
    # size, below the best that K coefficients can do. The condition sum c_k = 1/2 shifts it by at
    # most 1 / (K^2 - 1), or so, of its size.
    _, derivative = residuals(terms)
    peaks = [derivative[0]]
    for e in derivative[1:]:
        if mpmath.sign(e) == mpmath.sign(peaks[-1]):
            peaks[-1] = max(peaks[-1], e, key=abs)
        else:
            peaks.append(e)
    assert len(peaks) >= terms + 1
    sizes = [abs(peak) for peak in peaks]
    assert min(sizes) > 0
    assert max(sizes) / min(sizes) < (1 + 1.5 / (terms**2 - 1)) / (1 - 1.5 / (terms**2 - 1))


@pytest.mark.parametrize("terms", range(2, LARGEST + 1))
def test_the_two_sides_meet_at_one_half(terms):
    c = logistic_sum(terms).coefficients
    assert len(c) == terms
    assert abs(sum(c) - 0.5) <= terms * eps() / 2  # each is rounded, and is at most 1
    assert max(map(abs, c)) <= 1.0  # well conditioned


def test_more_terms_are_nearer_as_the_pole_at_minus_one_says():
    fall = (logistic_sum(16).value / logistic_sum(4).value) ** (1 / 12)
    assert fall == pytest.approx((3 + np.sqrt(8)) ** -1.0, rel=0.05)


@pytest.mark.parametrize("error", [1e-2, 1e-6, 1e-9, 1e-13])
def test_the_shortest_sum_for_an_error(error):
    found = for_error(error)
    assert found.value <= error
    assert logistic_sum(len(found.coefficients) - 1).value > error


@pytest.mark.parametrize("terms", [1, 0, -3, LARGEST + 1, 12.0, True, "12", None])
def test_other_numbers_of_terms_are_refused(terms):
    with pytest.raises(InputError, match="terms must be a whole number from 2 to 24, got"):
        logistic_sum(terms)


def test_an_error_out_of_reach_is_refused():
    with pytest.raises(InputError, match="at most 1e-30"):
        for_error(1e-30)


@pytest.mark.parametrize(("arguments", "terms"), [([], 12), (["8"], 8), (["1e-9"], 12)])
def test_anyone_can_print_them(arguments, terms, capsys):
    module.main(arguments)
    printed = capsys.readouterr().out.splitlines()
    c = logistic_sum(terms).coefficients
    assert [float(line.split(" = ")[1]) for line in printed[:-1]] == list(c)
    assert printed[-1].startswith("error of the value")
