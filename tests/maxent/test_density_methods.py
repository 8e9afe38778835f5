"""What a user of SciPy expects of a distribution: moments, expectations, divergence, picking."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from distfit_nn.errors import InputError
from distfit_nn.maxent import Density, Status, fit, fit_moments, tables
from tests import cases
from tests.maxent.handmade import density_of, from_powers
from tests.tolerances import DIVERGENCE, FEW_ROUNDINGS, QUADRATURE, TABLE, TABLE_MOMENT

NAMES = ("normal", "uniform", "exponential", "bimodal", "post_relu", "u_shaped")
fitted = st.tuples(
    st.sampled_from(NAMES), st.sampled_from([2, 4, 6]), st.sampled_from(["data", 3.0])
)


@pytest.fixture(scope="module")
def wide() -> Density:
    x = np.stack([cases.column(n, 80) for n in ("normal", "uniform", "exponential")], axis=1)
    return fit(np.column_stack([x, np.ones(80)]), 4)


def made(problem: tuple[str, int, Any]) -> Density:
    name, order, support = problem
    return fit(cases.column(name, 60), order, support)


@given(fitted)
def test_logarithms_are_those_of_cdf_and_sf(problem: Any) -> None:
    density = made(problem)
    a, b = density.support()
    t = np.linspace(a - 0.1, b + 0.1, 41)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(np.exp(density.logcdf(t)), density.cdf(t), rtol=TABLE)
        np.testing.assert_allclose(np.exp(density.logsf(t)), density.sf(t), rtol=TABLE)
    inside = (t > a) & (t < b)
    assert np.isfinite(density.logcdf(t)[inside]).all()
    assert np.isfinite(density.logsf(t)[inside]).all()


@given(fitted, st.integers(0, 9))
def test_moments_are_the_integrals(problem: Any, order: int) -> None:
    density = made(problem)
    spots = density.ppf(np.linspace(0, 1, 33))
    wanted = size = 0.0
    for low, high in pairwise(spots):
        part = integrate.quad(lambda t: t**order * density.pdf(t), low, high)[0]
        wanted, size = wanted + part, size + abs(part)
    error = QUADRATURE * max(size, 1.0)
    assert density.moment(order) == pytest.approx(wanted, abs=error)
    assert density.expect(lambda t: t**order) == pytest.approx(density.moment(order), abs=error)


@given(fitted)
def test_shape_follows_from_the_raw_moments(problem: Any) -> None:
    density = made(problem)
    first, second, third, fourth = (density.moment(r) for r in (1, 2, 3, 4))
    var = second - first**2
    size = fourth / var**2 + 1
    assert density.mean() == pytest.approx(first, rel=TABLE_MOMENT)
    assert density.var() == pytest.approx(var, rel=TABLE_MOMENT * size)
    skewness = (third - 3 * first * second + 2 * first**3) / var**1.5
    assert density.skewness() == pytest.approx(skewness, abs=10 * TABLE_MOMENT * size)
    kurtosis = (fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4) / var**2 - 3
    assert density.kurtosis() == pytest.approx(kurtosis, abs=10 * TABLE_MOMENT * size)
    assert density.stats("kvms") == (
        density.kurtosis(),
        density.var(),
        density.mean(),
        density.skewness(),
    )
    assert density.stats() == (density.mean(), density.var())


def test_order_one_has_a_second_moment_too() -> None:
    density = density_of(from_powers([0, -3.0], 0, 2), 1.0, 0.5)
    law = stats.truncexpon(6, loc=1.0, scale=0.5 / 3)
    for name in ("mean", "std", "var", "entropy"):
        assert getattr(density, name)() == pytest.approx(getattr(law, name)(), rel=1e-10)
    assert density.stats("sk") == pytest.approx(law.stats("sk"), rel=1e-8)
    assert density.median() == pytest.approx(law.median(), rel=1e-12)


def test_shape_of_a_regularised_column() -> None:
    x = cases.column("far_outlier", 400)
    density = fit(x, 6)
    assert density.status in (Status.OK, Status.REGULARISED)
    mean = density.expect(lambda t: t)
    assert density.mean() == pytest.approx(mean, rel=1e-10)
    assert density.var() == pytest.approx(density.expect(lambda t: (t - mean) ** 2), rel=1e-9)
    assert density.cdf(density.support()[1]) == 1.0


def test_expectations_of_functions_with_kinks_and_jumps() -> None:
    density = fit(cases.column("bimodal"), 6)
    share = density.expect(lambda t: t > 0.3)
    assert share == pytest.approx(density.sf(0.3), abs=1e-11)
    wanted = sum(
        integrate.quad(lambda t: abs(t - 0.3) * density.pdf(t), *ends, epsabs=1e-12)[0]
        for ends in ((density.support()[0], 0.3), (0.3, density.support()[1]))
    )
    assert density.expect(lambda t: np.abs(t - 0.3)) == pytest.approx(wanted, abs=1e-10)
    assert density.expect(lambda _: 2.0) == pytest.approx(2.0, rel=TABLE)


@pytest.mark.parametrize("func", [lambda t: t[:1], lambda t: t * 1j, lambda _: "a"])
def test_expectations_of_no_function_of_points(func: Any) -> None:
    with pytest.raises(InputError, match="func must return a real number for each point"):
        fit(cases.column("normal"), 2).expect(func)


@pytest.mark.parametrize("order", [-1, 1.5, "2", None])
def test_orders_of_moments(wide: Density, order: Any) -> None:
    with pytest.raises(InputError, match="order must be a whole number"):
        wide.moment(order)


@pytest.mark.parametrize("moments", ["", "x", "mm2"])
def test_letters_of_stats(wide: Density, moments: str) -> None:
    with pytest.raises(InputError, match="letters of 'mvsk'"):
        wide.stats(moments)


def test_interval_and_median(wide: Density) -> None:
    low, high = wide.interval(0.9)
    np.testing.assert_allclose(wide.cdf(low[None])[0, :3], 0.05, rtol=1e-12)
    np.testing.assert_allclose(wide.sf(high[None])[0, :3], 0.05, rtol=1e-12)
    assert np.isnan([low[3], high[3]]).all()
    assert wide.interval([0.5, 0.9])[0].shape == (2, 4)
    one = wide[0]
    assert one.interval(0.0)[0] == pytest.approx(one.median(), abs=FEW_ROUNDINGS)
    assert one.interval(1.0) == one.support()


def test_numbers_of_columns_without_a_density_are_nan(wide: Density) -> None:
    for name in ("mean", "var", "std", "skewness", "kurtosis", "entropy", "median"):
        values = getattr(wide, name)()
        assert list(np.isnan(values)) == [False] * 3 + [True]
        assert values[1] == getattr(wide[1], name)()
    assert math.isnan(wide[3].kurtosis())
    assert np.isnan(wide.moment(3)[3])
    assert np.isnan(wide.expect(np.cos)[3])
    assert np.isnan(wide.logcdf(1.0)[3])


# Divergence


def test_divergence_of_normals() -> None:
    p = density_of(from_powers([0, 0, -0.5], -30, 30), 1.0, 0.5)
    q = density_of(from_powers([0, 0, -0.5], -40, 40), 0.0, 2.0)
    wanted = math.log(4) + (0.25 + 1) / 8 - 0.5
    assert p.kl_divergence(q) == pytest.approx(wanted, abs=DIVERGENCE)
    assert p.kl_divergence(stats.norm(0, 2)) == pytest.approx(wanted, abs=DIVERGENCE)
    assert p.kl_divergence(p) == 0.0
    assert q.kl_divergence(p) == math.inf  # its support is wider


@given(fitted)
def test_divergence_is_the_negentropy_of_a_fit(problem: Any) -> None:
    density = made(problem)
    normal = stats.norm(density.mean(), density.std())
    wanted = normal.entropy() - density.entropy()
    assert density.kl_divergence(normal) == pytest.approx(wanted, abs=1e-10)
    assert density.kl_divergence(normal) >= 0


def test_divergence_from_laws_with_kinks() -> None:
    density = fit(cases.column("bimodal"), 6)
    laplace = stats.laplace(0.3, 2.0)
    size = density.expect(lambda t: np.abs(t - 0.3)) / 2.0 + math.log(4.0)
    assert density.kl_divergence(laplace) == pytest.approx(size - density.entropy(), abs=1e-10)
    assert density.kl_divergence(stats.expon()) == math.inf
    a, b = density.support()
    assert density.kl_divergence(stats.uniform(a, b - a)) == pytest.approx(
        math.log(b - a) - density.entropy(), abs=1e-10
    )
    assert density.kl_divergence(stats.uniform(a, 0.9 * (b - a))) == math.inf


def test_divergence_pairs_columns(wide: Density) -> None:
    other = wide[[1, 2, 0, 0]]
    assert wide.kl_divergence(wide[2]).shape == (4,)
    for j, value in enumerate(wide.kl_divergence(other)[:3]):
        np.testing.assert_equal(value, wide[j].kl_divergence(other[j]))
    assert np.isnan(wide.kl_divergence(other)[3])
    each = wide[0].kl_divergence(wide)
    assert each[0] == pytest.approx(0, abs=DIVERGENCE)
    assert np.isnan(each[3])
    assert wide.kl_divergence(stats.norm(0, 9)).shape == (4,)
    with pytest.raises(InputError, match="4 columns, or one, got 2"):
        wide.kl_divergence(wide[:2])
    for nonsense in (3, "normal", stats.poisson(3)):
        with pytest.raises(InputError, match="other must be"):
            wide.kl_divergence(nonsense)
    with pytest.raises(InputError, match="one distribution, got 2"):
        wide.kl_divergence(stats.norm([0, 1], 1))


# Random numbers, picking columns, many columns


def test_rvs_of_a_tuple(wide: Density) -> None:
    assert wide.rvs((2, 3), 1).shape == (2, 3, 4)
    assert wide[0].rvs((2, 3), 1).shape == (2, 3)
    np.testing.assert_array_equal(wide.rvs((2, 3), 1).reshape(6, 4), wide.rvs(6, 1))
    assert wide[0].rvs(()).shape == ()
    with pytest.raises(InputError, match="random_state must be"):
        wide.rvs(3, "seed")  # type: ignore[arg-type]


@pytest.mark.parametrize("func", [3, None, "mean", [len]])
def test_expectations_of_what_is_no_function(wide: Density, func: Any) -> None:
    with pytest.raises(InputError, match="func must be a function of an array of points, got"):
        wide.expect(func)


def test_picking_columns(wide: Density) -> None:
    t = np.array([0.2, 0.7])
    for pick in ([2, 0], np.array([True, False, True, False]), (-1, 1), np.array([], int), []):
        part = wide[pick]
        index = np.arange(4)[np.array(pick, dtype=None if len(pick) else int)]
        np.testing.assert_array_equal(part.pdf(t), wide.pdf(t)[:, index])
        np.testing.assert_array_equal(part.status, wide.status[index])
    for bad in ([0.5], "a", [[0]], None, True, np.array([True, False])):
        with pytest.raises(InputError):
            wide[bad]
    with pytest.raises(IndexError, match="column 4 of 4"):
        wide[[0, 4]]


def test_repr_of_one_column(wide: Density) -> None:
    assert repr(wide[3]).startswith("<Density of order 4: DEGENERATE, loc 1")
    assert "OK, loc" in repr(wide[0])


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """Tables are made for as many columns as the buffer holds, and few of them are kept."""
    density = fit(rng.normal(size=(50, 300)), 4)
    wanted = density.cdf([0.1, 0.5]), density.entropy(), density.ppf(0.3)
    monkeypatch.setattr(tables, "SLOTS", 2000)
    monkeypatch.setattr(tables, "KEPT_BYTES", 200_000)
    fresh = density[:]
    for _ in range(2):
        found = fresh.cdf([0.1, 0.5]), fresh.entropy(), fresh.ppf(0.3)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
    source = fresh._tables
    assert len(list(source)) > 2
    assert 0 < sum(part.bytes for part in source._kept) <= 200_000


def test_moments_at_extreme_scales() -> None:
    x = cases.column("normal", 100)
    plain, far = fit(x, 4), fit(x * 1e-170, 4)
    assert far.skewness() == pytest.approx(plain.skewness(), abs=1e-9)
    assert far.moment(1) == pytest.approx(plain.moment(1) * 1e-170, rel=1e-9)
    assert far.moment(2) == 0.0
    assert fit(x * 1e170, 4).moment(2) == math.inf


def test_moments_on_the_unit_interval() -> None:
    density = fit_moments([1 / 2, 1 / 3], (0, 1))
    for order in (0, 1, 7, 40):
        assert density.moment(order) == pytest.approx(1 / (order + 1), rel=1e-11)
