"""Tables against 40 digits: tails, spikes, odd orders, multipliers that cancel."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import mpmath as mp
import numpy as np
import pytest
from scipy import stats

from distfit_nn.maxent import Density
from tests.maxent.handmade import Exact, around, density_of, from_powers, rounded, shifted
from tests.tolerances import FEW_ROUNDINGS, TABLE_MOMENT, eps, table_error

Case = tuple[Exact, float]


def chebyshev_wells() -> list[float]:
    roots = np.cos(np.pi * (np.arange(12) + 0.5) / 12) * 3
    return list(-0.02 * np.polynomial.polynomial.polyfromroots(roots))


CASES: dict[str, Callable[[], Case]] = {
    "normal": lambda: (from_powers([0, 0, -0.5], -12, 12), 1.0),
    "exponential": lambda: (from_powers([0, -3.0], -1, 9), 1.0),
    "cubic": lambda: (from_powers([0, 1, -0.5, -0.2], -3, 6), 1.0),
    "two bumps": lambda: (from_powers([0, 0.3, 8, 0, -4.0], -6, 6), 1.0),
    "both ends": lambda: (from_powers([0, 1, 30, 0, 0, 0, 3], -2, 2), 1.0),
    "order 11": lambda: (from_powers([0, 0.1, -0.5, 0.01, *[0.0] * 7, -1e-9], -20, 14), 1e6),
    "spike 1e-4": lambda: (
        from_powers(shifted([0, 0, -0.5, 0.05, -0.01], 0.3, 1e-4), -3, 3, *around(0.3, 1e-4)),
        1e14,
    ),
    "spike 1e-6": lambda: (
        from_powers(shifted([0, 0, -0.5, 0.05, -0.01], 0.3, 1e-6), -3, 3, *around(0.3, 1e-6)),
        1e20,
    ),
    "spike 1e-8": lambda: (
        from_powers(shifted([0, 0, -0.5], 0.7, 1e-8), -30, 3, *around(0.7, 1e-8)),
        1e16,
    ),
}
SLOW: dict[str, Callable[[], Case]] = {
    "order 12": lambda: (from_powers(chebyshev_wells(), -3.3, 3.3), 1e6)
}


@cache
def case(name: str) -> Case:
    """Return a density in 40 digits, and the size of the terms of log p that cancel."""
    return (CASES | SLOW)[name]()


LEVELS = np.array([1e-300, 1e-100, 1e-43, 1e-38, 1e-30, 1e-10, 1e-3, 0.2, 0.5])


def points(density: Density) -> np.ndarray:
    a, b = density.support()
    z = np.concatenate([density.ppf(LEVELS), density.isf(LEVELS), np.linspace(a, b, 6)])
    return np.unique(z[(z > a) & (z < b)])


def check_points(exact: Exact, condition: float) -> None:
    density = density_of(exact)
    z = points(density)
    found = {
        name: getattr(density, name)(z)
        for name in ("logpdf", "pdf", "cdf", "sf", "logcdf", "logsf")
    }
    for i, x in enumerate(z):
        u = exact.u(x)
        error = table_error(float(u), condition)
        assert abs(found["logpdf"][i] - u) <= error
        if abs(u) < 700:
            assert abs(found["pdf"][i] / mp.exp(u) - 1) <= error
        lower, upper = exact.mean(lambda _: 1, high=x), exact.mean(lambda _: 1, low=x)
        for tail, mass, logarithm in ((lower, "cdf", "logcdf"), (upper, "sf", "logsf")):
            error = table_error(float(mp.log(tail)), condition)
            assert abs(found[logarithm][i] - mp.log(tail)) <= error
            if tail > 1e-300:
                assert abs(mp.mpf(found[mass][i]) / tail - 1) <= error


def check_numbers(exact: Exact) -> None:
    density = density_of(exact)
    mean = exact.mean(lambda z: z)
    var = exact.mean(lambda z: (z - mean) ** 2)
    std = mp.sqrt(var)
    # The mean is a float64 and may lie far from 0 in units of the spread.
    assert abs(density.mean() - mean) <= TABLE_MOMENT * std + 4 * eps() * abs(mean)
    assert abs(density.std() / std - 1) <= TABLE_MOMENT
    assert abs(density.var() / var - 1) <= 2 * TABLE_MOMENT
    third = exact.mean(lambda z: ((z - mean) / std) ** 3)
    fourth = exact.mean(lambda z: ((z - mean) / std) ** 4)
    assert abs(density.skewness() - third) <= TABLE_MOMENT
    assert abs(density.kurtosis() - (fourth - 3)) <= TABLE_MOMENT * fourth
    entropy = -exact.mean(lambda z: exact.u(z))
    assert abs(density.entropy() - entropy) <= TABLE_MOMENT * max(1, abs(entropy))


@pytest.mark.parametrize("name", [n for n in CASES if n != "normal"])
def test_tails_against_40_digits(name: str) -> None:
    check_points(*case(name))


@pytest.mark.parametrize("name", [n for n in CASES if n != "normal"])
def test_numbers_against_40_digits(name: str) -> None:
    check_numbers(case(name)[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["normal", *SLOW])
def test_slow_cases_against_40_digits(name: str) -> None:
    exact, condition = case(name)
    check_points(exact, condition)
    check_numbers(exact)


@pytest.mark.parametrize("name", ["cubic", "two bumps", "spike 1e-4"])
def test_deep_quantiles(name: str) -> None:
    """A point of float64 tells its mass, however small, to the pdf times its rounding."""
    density = density_of(case(name)[0])
    levels = 10.0 ** -np.arange(30.0, 308.0, 11.0)
    for quantile, logarithm, sign in (("ppf", "logcdf", 1), ("isf", "logsf", -1)):
        z = getattr(density, quantile)(levels)
        if name == "cubic" and quantile == "ppf":
            assert (z == -3.0).all()  # nearer to the end than the next float64
            continue
        assert (sign * np.diff(z) <= eps() * np.abs(z[1:])).all()
        slope = np.exp(density.logpdf(z) - getattr(density, logarithm)(z))
        error = 8 * eps() * (slope * np.abs(z) + np.abs(np.log(levels)))
        assert (np.abs(getattr(density, logarithm)(z) - np.log(levels)) <= error).all()


def test_low_parts_of_the_multipliers_count() -> None:
    """Without them a spike of width 1e-6 is another density."""
    exact, _ = case("spike 1e-6")
    whole = density_of(exact)
    assert whole.ppf(0.5) == pytest.approx(0.3, abs=1e-6)
    assert np.any(whole.solution.coefficients_low != 0)
    cut = density_of(rounded(exact))
    assert abs(cut.ppf(0.5) - whole.ppf(0.5)) > 3e-7


def test_the_truncated_normal_of_scipy() -> None:
    density = density_of(case("normal")[0])
    normal = stats.truncnorm(-12, 12)
    q = 10.0 ** -np.arange(1.0, 32.0, 2.0)
    np.testing.assert_allclose(density.ppf(q), normal.ppf(q), rtol=1e-11)
    z = np.linspace(-11.9, 11.9, 101)
    np.testing.assert_allclose(density.pdf(z), normal.pdf(z), rtol=1e-12)
    np.testing.assert_allclose(density.cdf(z[:51]), normal.cdf(z[:51]), rtol=1e-11)
    np.testing.assert_allclose(density.logsf(z[50:]), normal.logsf(z[50:]), rtol=1e-10)


def test_the_exponential_law_to_the_ends_of_its_support() -> None:
    """cdf is relative to the distance from the end, however short, and inverts there."""
    density = density_of(from_powers([0, -2.0], 0, 20))
    z = 10.0 ** -np.arange(0.0, 300.0, 13.0)
    norm = -np.expm1(-40.0)
    np.testing.assert_allclose(density.cdf(z), -np.expm1(-2 * z) / norm, rtol=1e-13)
    np.testing.assert_allclose(density.ppf(density.cdf(z)), z, rtol=1e-12)
    far = 20 - 2.0 ** -np.arange(0.0, 48.0, 5.0)
    wanted = np.exp(-40.0) * np.expm1(2 * (20 - far)) / norm
    np.testing.assert_allclose(density.sf(far), wanted, rtol=1e-13)
    np.testing.assert_allclose(density.isf(density.sf(far)), far, rtol=1e-14)


def test_the_uniform_law() -> None:
    density = density_of(from_powers([0, 0, 0], -1, 3))
    z = np.linspace(-1, 3, 23)
    np.testing.assert_allclose(density.pdf(z), 0.25, rtol=FEW_ROUNDINGS)
    np.testing.assert_allclose(density.cdf(z), (z + 1) / 4, rtol=FEW_ROUNDINGS)
    np.testing.assert_allclose(density.sf(z), (3 - z) / 4, rtol=FEW_ROUNDINGS)
    np.testing.assert_allclose(density.isf(density.sf(z)), z, atol=FEW_ROUNDINGS)
    assert density.entropy() == pytest.approx(np.log(4), abs=FEW_ROUNDINGS)
    assert density.kurtosis() == pytest.approx(-1.2, abs=FEW_ROUNDINGS)


def test_a_log_normaliser_that_float64_cannot_hold() -> None:
    """log Z is 1e22 beside this spike; the table finds the top by itself."""
    exact, _ = case("spike 1e-6")
    density = density_of(exact)
    assert abs(density.solution.log_normaliser[0]) > 1e20
    assert density.cdf(density.support()[1]) == 1.0
    assert density.cdf(0.3) == pytest.approx(float(exact.mean(lambda _: 1, high=0.3)), abs=1e-9)


@pytest.mark.parametrize("name", ["normal", "cubic", "two bumps", "both ends", "order 11"])
def test_points_come_back_from_the_nearer_tail(name: str) -> None:
    density = density_of(case(name)[0])
    a, b = density.support()
    z = np.linspace(a, b, 2001)
    pdf, cdf, sf = density.pdf(z), density.cdf(z), density.sf(z)
    shown = pdf > 1e-12
    nearest = np.minimum(cdf, sf)
    back = np.where(cdf <= sf, density.ppf(cdf), density.isf(sf))
    # A mass in float64 tells the point to eps times it over the pdf, beside a valley no better.
    room = 1e-10 + 4 * eps() * nearest / np.maximum(pdf, 1e-300)
    assert (np.abs(back - z)[shown] <= room[shown]).all()
    if name in ("normal", "cubic", "two bumps"):
        assert (room[shown & (nearest < 1e-3)] < 2e-10).sum() > 20
