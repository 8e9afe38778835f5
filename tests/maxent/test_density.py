"""The laws of a density, its shapes, and its numbers."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from distfit_nn.errors import InputError
from distfit_nn.maxent import Density, Status, fit, fit_moments
from tests import cases, tolerances
from tests.maxent import oracle
from tests.tolerances import (
    FEW_ROUNDINGS,
    MAXENT_AGREEMENT,
    MAXENT_CDF,
    MAXENT_EQUIVARIANCE,
    MAXENT_RESIDUAL,
    STANDARD_ERRORS,
)

LAW = settings(deadline=None, derandomize=True, max_examples=30)
NAMES = ("normal", "uniform", "exponential", "bimodal", "post_relu", "u_shaped", "lognormal", "t3")
problems = st.tuples(
    st.sampled_from(NAMES),
    st.integers(0, 5),
    st.sampled_from([2, 4, 6]),
    st.sampled_from(["data", 1.5, 3.0, 10.0]),
)


def made(problem: tuple[str, int, int, Any]) -> tuple[Density, np.ndarray]:
    name, seed, order, support = problem
    x = cases.column(name, 60, seed)
    density = fit(x, order, support)
    assert density.status == Status.OK
    return density, x


def points(density: Density, count: int = 61) -> np.ndarray:
    """From beyond one end of the support to beyond the other, denser over the bulk."""
    a, b = density.support()
    wide = np.linspace(a - 0.1 * (b - a), b + 0.1 * (b - a), count)
    near = density.mean() + density.std() * np.linspace(-4, 4, count)
    return np.sort(np.concatenate([wide, near, [a, b]]))


@given(problems)
@LAW
def test_pdf_cdf_and_sf(problem: Any) -> None:
    density, _ = made(problem)
    t = points(density)
    a, b = density.support()
    pdf, cdf, sf = density.pdf(t), density.cdf(t), density.sf(t)
    ulp = FEW_ROUNDINGS * (abs(a) + abs(b))
    outside, inside = (t < a - ulp) | (t > b + ulp), (t >= a) & (t <= b)
    assert (pdf[outside] == 0).all()
    assert (density.logpdf(t)[outside] == -np.inf).all()
    assert np.isfinite(density.logpdf(t)[inside]).all()
    assert (pdf >= 0).all()
    np.testing.assert_allclose(np.exp(density.logpdf(t)), pdf, rtol=FEW_ROUNDINGS)
    assert (np.diff(cdf) >= -MAXENT_CDF * cdf[1:]).all()
    assert (np.diff(sf) <= MAXENT_CDF * sf[1:] + MAXENT_CDF * sf[:-1]).all()
    np.testing.assert_allclose(cdf + sf, 1.0, atol=MAXENT_CDF)
    assert (cdf[t < a - ulp] == 0).all()
    assert (sf[t > b + ulp] == 0).all()
    for one, zero, end in ((cdf, sf, t >= b), (sf, cdf, t <= a)):
        np.testing.assert_allclose(one[end], 1.0, rtol=MAXENT_CDF)
        np.testing.assert_allclose(zero[end], 0.0, atol=MAXENT_CDF)


@given(problems, st.floats(0.02, 0.98), st.floats(0.0, 0.98))
@LAW
def test_cdf_is_the_integral_of_pdf(problem: Any, upper: float, lower: float) -> None:
    density, _ = made(problem)
    left, right = density.ppf(lower * upper), density.ppf(upper)
    mass, _ = integrate.quad(density.pdf, left, right, limit=200, epsabs=1e-11, epsrel=1e-11)
    assert density.cdf(right) - density.cdf(left) == pytest.approx(mass, abs=1e-9)
    assert density.sf(left) - density.sf(right) == pytest.approx(mass, abs=1e-9)


@given(problems, st.lists(st.floats(1e-12, 1 - 1e-12), min_size=1, max_size=8))
@LAW
def test_quantiles_invert(problem: Any, levels: list[float]) -> None:
    density, _ = made(problem)
    q = np.array([*levels, 1e-30, 1e-9, 0.5])
    t, u = density.ppf(q), density.isf(q)
    # A quantile is a float64: its own rounding moves the mass by pdf times that.
    slack = 64 * np.finfo(float).eps * (np.abs(t) + density.std())
    room = slack * density.pdf(t) * np.exp(10 * slack)
    np.testing.assert_array_less(np.abs(density.cdf(t) - q), MAXENT_CDF * q + 10 * room + 1e-300)
    room = 64 * np.finfo(float).eps * (np.abs(u) + density.std()) * density.pdf(u)
    np.testing.assert_array_less(np.abs(density.sf(u) - q), MAXENT_CDF * q + 10 * room + 1e-300)
    order = np.argsort(q)
    assert (np.diff(t[order]) >= -slack.max()).all()
    assert (np.diff(u[order]) <= slack.max()).all()
    x = density.ppf([0.01, 0.3, 0.8])
    np.testing.assert_allclose(density.ppf(density.cdf(x)), x, atol=1e-9 * density.std())
    np.testing.assert_allclose(density.isf(density.sf(x)), x, atol=1e-9 * density.std())


def test_tails_keep_their_digits() -> None:
    """Order 2 on a wide support is the normal, out to probabilities of 1e-100 on either side."""
    x = cases.column("normal")
    density = fit(x, 2, 12.0)
    normal = stats.norm(x.mean(), x.std())
    q = 10.0 ** -np.arange(1.0, 100.0, 7.0)
    np.testing.assert_allclose(density.ppf(q), normal.ppf(q), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(density.isf(q), normal.isf(q), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(density.cdf(normal.ppf(q)), q, rtol=1e-7)
    np.testing.assert_allclose(density.sf(normal.isf(q)), q, rtol=1e-7)


@given(problems)
@LAW
def test_ends_of_the_quantiles(problem: Any) -> None:
    density, _ = made(problem)
    a, b = density.support()
    np.testing.assert_array_equal(density.ppf([0.0, 1.0]), [a, b])
    np.testing.assert_array_equal(density.isf([0.0, 1.0]), [b, a])
    outside = [-0.1, -1e-300, 1.0 + 1e-15, 2.0, np.nan, np.inf, -np.inf]
    assert np.isnan(density.ppf(outside)).all()
    assert np.isnan(density.isf(outside)).all()


@given(problems)
@LAW
def test_values_at_nan_and_infinity(problem: Any) -> None:
    density, _ = made(problem)
    t = [np.nan, -np.inf, np.inf]
    np.testing.assert_array_equal(density.pdf(t), [np.nan, 0, 0])
    np.testing.assert_array_equal(density.logpdf(t), [np.nan, -np.inf, -np.inf])
    np.testing.assert_allclose(density.cdf(t), [np.nan, 0, 1], atol=MAXENT_CDF)
    np.testing.assert_allclose(density.sf(t), [np.nan, 1, 0], atol=MAXENT_CDF)


@given(problems, st.floats(-3, 3), st.floats(-5, 5), st.sampled_from([-1.0, 1.0]))
@LAW
def test_fit_follows_shift_and_scale(problem: Any, log_a: float, b: float, sign: float) -> None:
    order, support = problem[2:]
    density, x = made(problem)
    a = sign * 10.0**log_a
    b = b * abs(a) * x.std()
    moved = fit(a * x + b, order, support)
    t = density.ppf(np.linspace(0.01, 0.99, 25))
    for ours, theirs in (
        (moved.pdf(a * t + b), density.pdf(t) / abs(a)),
        (moved.cdf(a * t + b), density.cdf(t) if a > 0 else density.sf(t)),
        (moved.sf(a * t + b), density.sf(t) if a > 0 else density.cdf(t)),
        (moved.entropy(), density.entropy() + math.log(abs(a))),
        (moved.std(), density.std() * abs(a)),
        (moved.mass_outside(), density.mass_outside()),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=MAXENT_EQUIVARIANCE)
    q = np.array([0.01, 0.4, 0.9])
    shift = 1e-7 * abs(a) * density.std()
    np.testing.assert_allclose(
        moved.ppf(q), a * (density.ppf(q) if a > 0 else density.isf(q)) + b, atol=shift
    )


@given(problems)
@LAW
def test_mean_and_std_are_the_datas(problem: Any) -> None:
    density, x = made(problem)
    assert density.mean() == pytest.approx(x.mean(), abs=MAXENT_RESIDUAL * x.std())
    assert density.std() == pytest.approx(x.std(), rel=MAXENT_RESIDUAL)
    assert density.var() == pytest.approx(x.var(), rel=2 * MAXENT_RESIDUAL)


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e170, 1e300])
def test_numbers_at_extreme_scales(scale: float) -> None:
    x = cases.column("normal", 100)
    plain, far = fit(x, 4), fit(x * scale, 4)
    assert far.status == Status.OK
    assert far.std() == pytest.approx(plain.std() * scale, rel=1e-9)
    assert far.mean() == pytest.approx(plain.mean() * scale, rel=1e-9)
    assert far.entropy() == pytest.approx(plain.entropy() + math.log(scale), rel=1e-9)
    assert far.pdf(0.0) == pytest.approx(plain.pdf(0.0) / scale, rel=1e-9)
    assert far.ppf(0.2) == pytest.approx(plain.ppf(0.2) * scale, rel=1e-9)
    assert far.var() in (0.0, math.inf)
    np.testing.assert_allclose(far.cdf([-1.7e308, 1.7e308]), [0.0, 1.0])


def test_pdf_that_exceeds_float64_is_infinite() -> None:
    assert fit(cases.column("normal", 100) * 1e-309, 4).pdf(0.0) == np.inf


def test_offset_of_1e8() -> None:
    x = cases.column("offset")
    density = fit(x, 6)
    np.testing.assert_allclose(density.cdf(np.sort(x)[[40, 200, 360]]), [0.1, 0.5, 0.9], atol=0.03)
    assert density.std() == pytest.approx(x.std(), rel=1e-7)


@pytest.mark.parametrize("support", ["data", 1.0, 1.3, 3.0, 10.0, "range"])
def test_the_density_is_positive_on_all_of_its_support(support: Any) -> None:
    """Rounding of (t - loc) / scale must not throw its ends out, nor the data."""
    for seed in range(40):
        x = cases.column("normal", 30, seed) * 0.3 + seed / 7
        ends = (float(x.min()), float(x.max())) if support == "range" else support
        density = fit(x, 4, ends)
        assert np.isfinite(density.logpdf(x)).all()
        assert np.isfinite(density.logpdf(np.array(density.support()))).all()


@given(problems)
@LAW
def test_mass_outside_is_that_of_cdf_and_sf(problem: Any) -> None:
    density, x = made(problem)
    wanted = density.cdf(x.min()) + density.sf(x.max())
    assert density.mass_outside() == pytest.approx(wanted, abs=MAXENT_CDF)
    if problem[3] == "data":
        assert density.mass_outside() == pytest.approx(0.0, abs=MAXENT_CDF)


def test_mass_outside_of_moments_is_unknown() -> None:
    assert math.isnan(fit_moments([0.5, 1 / 3], (0, 1)).mass_outside())


@given(problems)
@LAW
def test_entropy_is_minus_the_mean_of_log_p(problem: Any) -> None:
    density, _ = made(problem)
    wanted = oracle.dense(density).entropy() + math.log(density.scale[0])
    assert density.entropy() == pytest.approx(wanted, abs=MAXENT_AGREEMENT)


def test_no_density_of_these_moments_has_more_entropy() -> None:
    """The normal has more than a mixture of the same moments; the truth less than its fit."""
    x = stats.gamma(3.0).ppf((np.arange(4000) + 0.5) / 4000)
    entropies = [fit(x, order, (0.0, 40.0)).entropy() for order in (2, 4, 6)]
    assert entropies[0] > entropies[1] > entropies[2] > stats.gamma(3.0).entropy() - 1e-3


# Shapes and columns


@pytest.fixture(scope="module")
def wide() -> Density:
    return fit(np.stack([cases.column(n, 80) for n in ("normal", "uniform", "t3")], axis=1), 4)


@pytest.fixture(scope="module")
def single() -> Density:
    return fit(cases.column("normal", 80), 4)


METHODS = ("pdf", "logpdf", "cdf", "sf", "ppf", "isf")


@pytest.mark.parametrize("method", METHODS)
def test_shapes(wide: Density, single: Density, method: str) -> None:
    of_wide, of_single = getattr(wide, method), getattr(single, method)
    t = np.array([0.1, 0.4, 0.7, 0.9])
    assert of_wide(0.4).shape == (3,)
    assert of_wide(t).shape == (4, 3)
    assert of_wide(list(t)).shape == (4, 3)
    assert of_wide([]).shape == (0, 3)
    matrix = np.stack([t, t**2, t**3], axis=1)
    assert of_wide(matrix).shape == (4, 3)
    for j in range(3):
        np.testing.assert_array_equal(of_wide(t)[:, j], getattr(wide[j], method)(t))
        np.testing.assert_array_equal(of_wide(matrix)[:, j], getattr(wide[j], method)(matrix[:, j]))
        np.testing.assert_array_equal(of_wide(0.4)[j], getattr(wide[j], method)(0.4))
    assert isinstance(of_single(0.4), float)
    assert of_single(t).shape == (4,)
    assert of_single(matrix).shape == (4, 3)
    np.testing.assert_array_equal(of_single(matrix)[:, 1], of_single(matrix[:, 1]))
    assert of_single([]).shape == (0,)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(4, 2), (3, 4), (1, 1), (2, 2, 3), (4, 1)])
def test_wrong_shapes(wide: Density, method: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"[qt] must .* \(m, 3\) for 3 columns, got \("):
        getattr(wide, method)(np.full(shape, 0.5))


@pytest.mark.parametrize("t", ["a", 1j, [[1, 2], [3]], None, [object()]])
def test_points_must_be_real_numbers(wide: Density, t: Any) -> None:
    for method in METHODS:
        name = "q" if method in ("ppf", "isf") else "t"
        with pytest.raises(InputError, match=f"{name} must be an array of real numbers"):
            getattr(wide, method)(t)


def test_one_column_as_vector_and_as_matrix() -> None:
    x = cases.column("uniform", 80)
    vector, matrix = fit(x, 4), fit(x[:, None], 4)
    t = np.linspace(0, 1, 5)
    assert vector.cdf(t).shape == (5,)
    assert matrix.cdf(t).shape == (5, 1)
    np.testing.assert_array_equal(matrix.cdf(t)[:, 0], vector.cdf(t))
    for name in ("status", "ok", "residual", "iterations", "epsilon", "decrement"):
        assert np.shape(getattr(vector, name)) == ()
        assert np.shape(getattr(matrix, name)) == (1,)
        assert getattr(matrix, name)[0] == getattr(vector, name)
    for name in ("entropy", "mean", "var", "std", "mass_outside"):
        assert isinstance(getattr(vector, name)(), float)
        np.testing.assert_array_equal(getattr(matrix, name)(), [getattr(vector, name)()])
    np.testing.assert_array_equal(np.array(matrix.support()).ravel(), vector.support())
    assert isinstance(vector.status, Status)
    assert vector.ok is True


def test_columns(wide: Density) -> None:
    assert len(wide) == 3
    assert [one.single for one in wide] == [True] * 3
    t = np.linspace(-1, 1, 5)
    for j, one in enumerate(wide):
        assert len(one) == 1
        assert one.entropy() == wide.entropy()[j]
        assert one.mean() == wide.mean()[j]
        assert one.support() == (wide.support()[0][j], wide.support()[1][j])
        np.testing.assert_array_equal(wide[j - 3].cdf(t), one.cdf(t))
        np.testing.assert_array_equal(wide[np.int64(j)].cdf(t), one.cdf(t))
    for j in (3, -4, 100):
        with pytest.raises(IndexError, match=f"column {j} of 3"):
            wide[j]


def test_one_column_cannot_be_indexed(single: Density) -> None:
    with pytest.raises(InputError, match="one column"):
        single[0]


def test_repr_counts_statuses() -> None:
    x = np.stack([cases.column("normal", 50), np.ones(50), np.full(50, np.nan)], axis=1)
    assert repr(fit(x, 4)) == ("<Density of order 4: 3 columns, 1 OK, 1 DEGENERATE, 1 INVALID>")


def test_densities_can_be_compared_copied_and_pickled(wide: Density) -> None:
    assert wide == wide
    assert wide != copy.copy(wide)
    assert len({wide, wide}) == 1
    wide.cdf(0.0)
    again = pickle.loads(pickle.dumps(wide))  # noqa: S301
    np.testing.assert_array_equal(again.cdf(0.1), wide.cdf(0.1))


# Random numbers


def test_rvs_is_seeded(wide: Density, single: Density) -> None:
    assert wide.rvs(7, 3).shape == (7, 3)
    assert single.rvs(7, 3).shape == (7,)
    assert single.rvs().shape == (1,)
    assert single.rvs(0, 3).shape == (0,)
    assert wide.rvs(np.int64(2), 3).shape == (2, 3)
    np.testing.assert_array_equal(wide.rvs(7, 3), wide.rvs(7, np.random.default_rng(3)))
    assert (wide.rvs(7, 3) != wide.rvs(7, 4)).all()
    generator = np.random.default_rng(3)
    assert (single.rvs(7, generator) != single.rvs(7, generator)).all()


@pytest.mark.parametrize("size", [-1, 2.5, (2, -3), (2.0,), [2, 3], "3", True, None])
def test_rvs_of_a_bad_size(single: Density, size: Any) -> None:
    with pytest.raises(InputError, match="size must be a whole number of at least 0, got"):
        single.rvs(size)


@pytest.mark.parametrize("name", ["normal", "u_shaped", "post_relu"])
def test_rvs_follow_the_density(name: str) -> None:
    x = cases.column(name)
    density = fit(x, 6)
    n = 20_000
    drawn = density.rvs(n, 1)
    assert stats.kstest(drawn, density.cdf).pvalue > 1e-3
    assert drawn.mean() == pytest.approx(x.mean(), abs=STANDARD_ERRORS * x.std() / math.sqrt(n))
    fourth = float(oracle.raw_moments(oracle.standardised(x), 4)[3])
    error = STANDARD_ERRORS * math.sqrt((fourth - 1) / n) / 2
    assert drawn.std() == pytest.approx(x.std(), rel=error)
    a, b = density.support()
    assert ((drawn >= a) & (drawn <= b)).all()


# Columns without a density


def test_columns_without_a_density_give_nan() -> None:
    x = np.stack([cases.column("normal", 50), np.ones(50), np.full(50, np.inf)], axis=1)
    density = fit(x, 4)
    assert list(density.status) == [Status.OK, Status.DEGENERATE, Status.INVALID]
    assert list(density.ok) == [True, False, False]
    numbers = [density.entropy(), density.mean(), density.var(), density.std(), *density.support()]
    numbers += [density.mass_outside(), density.residual, density.epsilon, density.decrement]
    numbers += [getattr(density, method)(0.5) for method in METHODS]
    numbers += list(density.rvs(3, 0))
    for values in numbers:
        assert list(np.isnan(values)) == [False, True, True]
    assert list(density.iterations[1:]) == [0, 0]
    assert math.isnan(density[1].pdf(1.0))
    assert density[2].status == Status.INVALID


def test_bad_columns_leave_their_neighbours_bit_identical() -> None:
    good = np.stack([cases.column(n, 70) for n in ("normal", "uniform", "lognormal", "t3")], axis=1)
    bad = np.insert(good, [1, 2, 4], np.nan, axis=1)  # columns 1, 3 and 6
    bad[0, 1], bad[:, 3], bad[:, 6] = np.inf, 4.0, np.where(np.arange(70) < 35, 0.0, 1.0)
    bad[1:, 1] = 0.0
    one, two = fit(good, 6), fit(bad, 6)
    assert list(two.status) == [0, 3, 0, 2, 0, 0, 2]
    kept = [0, 2, 4, 5]
    t = np.linspace(-1, 2, 9)
    np.testing.assert_array_equal(two.solution.coefficients[:, kept], one.solution.coefficients)
    np.testing.assert_array_equal(two.cdf(t)[:, kept], one.cdf(t))
    np.testing.assert_array_equal(two.ppf(0.3)[kept], one.ppf(0.3))
    np.testing.assert_array_equal(two.entropy()[kept], one.entropy())


def test_columns_can_be_permuted() -> None:
    names = ("normal", "uniform", "lognormal", "t3", "bimodal")
    x = np.stack([cases.column(n, 70) for n in names], axis=1)
    order = np.array([3, 0, 4, 2, 1])
    one, two = fit(x, 6), fit(x[:, order], 6)
    t = np.linspace(-2, 2, 9)
    np.testing.assert_allclose(two.cdf(t), one.cdf(t)[:, order], atol=MAXENT_CDF)
    np.testing.assert_array_equal(two.status, one.status[order])
    np.testing.assert_array_equal(two.iterations, one.iterations[order])


def test_a_slice_is_a_batch(rng):
    x = rng.normal(size=(100, 4)) * [1.0, 2.0, 3.0, 4.0]
    density = fit(x, 4)
    part = density[1:3]
    assert len(part) == 2
    assert np.array_equal(part.pdf([0.5]), density.pdf([0.5])[:, 1:3])
    assert len(density[::-2]) == 2
    assert np.array_equal(density[::-2].loc, density.loc[::-2])
    assert density[2:2].pdf([0.5, 1.0]).shape == (2, 0)


def test_quantiles_in_a_spike_at_the_end_of_the_support():
    x = np.array([0, 0.02, 0.04, 2.4, 2.5, 2.6, 100.0])
    density = fit(x, 4, "data")
    assert density.ok
    q = np.logspace(-13, -1, 49)
    t = density.ppf(q)
    assert (np.diff(t) > 0).all()
    # t = loc + scale z is known to a rounding of its terms, q to the density times that.
    rounding = 4 * tolerances.eps() * (abs(density.loc[0]) + density.scale[0])
    assert (np.abs(density.cdf(t) - q) <= density.pdf(t) * rounding + 1e-9 * q).all()
