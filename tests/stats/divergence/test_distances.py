"""Distances against SciPy, quadrature, closed forms and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.special import ndtri

from distfit_nn import maxent
from distfit_nn.errors import InputError
from distfit_nn.stats.divergence.distances import (
    distances,
    distances_of_rows,
    energy_distance,
    kolmogorov_smirnov,
    wasserstein,
)
from distfit_nn.stats.divergence.kolmogorov import tail_of_one, tail_of_two
from distfit_nn.stats.divergence.normal_order import normal_order_means
from distfit_nn.stats.rows import sorted_rows
from tests import tolerances
from tests.stats.divergence.cases import BAD

LAWS = {
    "normal": stats.norm(),
    "other normal": stats.norm(1e3, 2.0),
    "laplace": stats.laplace(0.3, 0.8),
    "uniform": stats.uniform(-1, 3),
    "gamma": stats.gamma(3.0),
    "t": stats.t(5),
}
SAMPLES = st.lists(st.floats(-50, 50), min_size=1, max_size=40)


def pieces(x, law, power):
    """Integral of |Q_n - Q|^power over the masses, cut at the steps and where they cross."""
    x = np.sort(x)
    n, total = len(x), 0.0
    for i, value in enumerate(x):
        cuts = sorted({i / n, (i + 1) / n, float(np.clip(law.cdf(value), i / n, (i + 1) / n))})
        for a, b in itertools.pairwise(cuts):
            total += integrate.quad(
                lambda u, value=value: abs(value - law.ppf(u)) ** power, a, b, limit=200
            )[0]
    return total ** (1 / power)


@pytest.mark.parametrize("n", [1, 2, 3, 30])
@pytest.mark.parametrize("name", LAWS)
def test_wasserstein_against_quadrature(rng, name, n):
    law = LAWS[name]
    x = law.rvs(n, random_state=rng) + law.std() * rng.choice([0.0, 0.5])
    reference = "normal" if name == "normal" else law
    for p in (1, 2):
        got = wasserstein(x, p=p, reference=reference)
        want = pieces(x, law, p)
        slack = 100 * tolerances.QUADRATURE if p == 2 else 10 * tolerances.DISTANCE_QUADRATURE
        assert got.statistic == pytest.approx(want, rel=slack, abs=slack)
        assert got.n == n


@pytest.mark.parametrize("name", LAWS)
def test_energy_and_kolmogorov_against_quadrature(rng, name):
    law = LAWS[name]
    x = np.sort(law.rvs(25, random_state=rng))
    reference = "normal" if name == "normal" else law
    low, high = law.ppf(1e-13), law.isf(1e-13)
    ends = [min(low, x[0]), *x, max(high, x[-1])]
    square = sum(
        integrate.quad(lambda t, i=i: (i / len(x) - law.cdf(t)) ** 2, ends[i], ends[i + 1])[0]
        for i in range(len(x) + 1)
    )
    got = energy_distance(x, reference=reference)
    assert got.statistic**2 == pytest.approx(2 * square, abs=10 * tolerances.DISTANCE_QUADRATURE)
    test, want = kolmogorov_smirnov(x, reference=reference), stats.kstest(x, law.cdf)
    assert test.statistic == pytest.approx(want.statistic, abs=tolerances.DISTANCE_QUADRATURE)
    assert test.pvalue == pytest.approx(want.pvalue, rel=tolerances.KOLMOGOROV_TAIL)


def test_closed_forms_agree_with_the_integrated_law(rng):
    x = rng.normal(0.2, 1.3, size=(200, 3))
    closed, integrated = distances(x), distances(x, reference=stats.norm())
    for name in ("wasserstein_1", "wasserstein_2", "energy", "kolmogorov", "chance_1"):
        np.testing.assert_allclose(
            getattr(closed, name), getattr(integrated, name), rtol=tolerances.DISTANCE_QUADRATURE
        )


@pytest.mark.parametrize("var", [0.25, 1.0, 9.0])
@pytest.mark.parametrize("mean", [0.0, -2.0])
def test_quantiles_of_a_normal_law_are_as_far_as_the_law(mean, var):
    x = mean + np.sqrt(var) * ndtri((np.arange(20_000) + 0.5) / 20_000)
    got = wasserstein(x, p=2).statistic
    assert got**2 == pytest.approx(
        mean**2 + (np.sqrt(var) - 1) ** 2, abs=tolerances.QUANTILES_AS_LAW
    )


@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 7), (30, 45), (200, 11)])
def test_two_samples_against_scipy(rng, n, m):
    x, y = np.round(rng.normal(size=(n, 4)), 1), np.round(rng.normal(0.5, 2, size=(m, 4)), 1)
    got = distances(x, reference=y)
    for j in range(4):
        u, v = x[:, j], y[:, j]
        error = tolerances.distance_error(n + m) * 10
        assert got.wasserstein_1[j] == pytest.approx(stats.wasserstein_distance(u, v), abs=error)
        assert got.energy[j] == pytest.approx(stats.energy_distance(u, v), abs=error)
        copies = np.repeat(np.sort(u), m) - np.repeat(np.sort(v), n)
        assert got.wasserstein_2[j] == pytest.approx(np.sqrt(np.mean(copies**2)), abs=error)
        want = stats.ks_2samp(u, v, method="exact")
        assert got.kolmogorov[j] == pytest.approx(want.statistic, abs=error)
        assert got.kolmogorov_pvalue[j] == pytest.approx(want.pvalue, rel=tolerances.REORDERED)


def test_one_reference_sample_serves_all_columns(rng):
    x, y = rng.normal(size=(40, 2, 3)), rng.normal(size=25)
    got = distances(x, 0, reference=y)
    want = distances(x, 0, reference=np.broadcast_to(y[:, None, None], (25, 2, 3)))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)
    assert got.energy.shape == (2, 3)


def test_one_density_per_column(rng):
    x = rng.gamma(3.0, size=(300, 3))
    x[:5, 1] = np.nan
    density = maxent.fit(x, 4, nan_policy="omit")
    got = distances(x, reference=density)
    for j in range(3):
        column = x[np.isfinite(x[:, j]), j]
        want = distances(column, reference=density[j])
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a[j], b, rtol=tolerances.DISTANCE_QUADRATURE)
    assert np.isnan(distances(x[:, :1], reference=maxent.fit(np.ones((9, 1)), 2)).energy).all()


@pytest.mark.parametrize("n", [20, 500])
def test_chance_is_what_samples_of_the_reference_show(rng, n):
    replicates = 1000
    got = distances(rng.normal(size=(n, replicates)))
    two = distances(
        rng.gamma(2, size=(n, replicates)), reference=rng.gamma(2, size=(n, replicates))
    )
    pairs = [
        (got.wasserstein_1, got.chance_1[0], 0.06),  # an expansion in 1 / n
        (got.wasserstein_2**2, got.chance_2[0] ** 2, 0.0),
        (got.energy**2, got.chance_energy[0] ** 2, 0.0),
        (got.kolmogorov, got.chance_kolmogorov[0], 0.06),
        (two.energy**2, np.mean(two.chance_energy**2), 0.0),
        (two.wasserstein_1, np.mean(two.chance_1), 0.06),
    ]
    for shown, chance, bias in pairs:
        error = tolerances.STANDARD_ERRORS * shown.std() / np.sqrt(replicates)
        assert abs(shown.mean() - chance) <= error + bias * chance


def test_means_of_normal_order_statistics():
    for n, i in [(1, 1), (2, 1), (9, 5), (500, 61), (500, 200), (130, 61), (5000, 70)]:
        want = stats.beta(i, n + 1 - i).expect(stats.norm.ppf)
        assert normal_order_means(n)[i - 1] == pytest.approx(want, abs=tolerances.ORDER_MEANS)
        assert len(normal_order_means(n)) == n


@pytest.mark.parametrize("n", [3, 10, 11, 40, 200, 201, 300, 301, 2000])
def test_tail_of_kolmogorovs_distance_against_scipy(n):
    p = np.array([0.9, 0.5, 0.21, 0.19, 0.1, 0.05, 1e-3, 1e-7])
    got = tail_of_one(stats.kstwo.isf(p, n), np.full(len(p), n))
    kept = p >= 1e-3 if n > 300 else p > 0
    np.testing.assert_allclose(got[kept], p[kept], rtol=tolerances.KOLMOGOROV_TAIL)
    assert tail_of_one(np.ones(1), np.array([10**6])) > 0


def test_tail_of_two_samples_beyond_the_paths():
    d, n = np.array([0.05, 0.02]), np.array([2000, 2000])
    want = [stats.kstwobign.sf(np.sqrt(1000) * v) for v in d]
    np.testing.assert_allclose(tail_of_two(d, n, n), want, rtol=tolerances.CLOSED_FORM)


@pytest.mark.parametrize("n", [50, 500])
@pytest.mark.parametrize("two", [False, True])
def test_null_share_of_kolmogorov(rng, n, two):
    x = rng.normal(size=(n, 400))
    share = np.mean(
        kolmogorov_smirnov(x, reference=rng.normal(size=(n, 400)) if two else "normal").pvalue
        < 0.05
    )
    error = tolerances.STANDARD_ERRORS * np.sqrt(0.05 * 0.95 / 400)
    assert share <= 0.05 + error
    assert two or share >= 0.05 - error


@given(SAMPLES, st.floats(-20, 20), st.floats(0.1, 10))
def test_shift_and_scale_of_both_samples(values, shift, scale):
    x, y = np.array(values), np.array([0.0, 1.0, 1.0, -3.0])
    one, two = distances(x, reference=y), distances(scale * x + shift, reference=scale * y + shift)
    error = 1e3 * tolerances.distance_error(len(x) + 4)
    assert two.wasserstein_1 == pytest.approx(scale * one.wasserstein_1, abs=error)
    assert two.wasserstein_2 == pytest.approx(scale * one.wasserstein_2, abs=error)
    assert two.energy**2 == pytest.approx(scale * one.energy**2, abs=error)


@given(SAMPLES, st.randoms(use_true_random=False))
def test_order_and_reflection_do_not_matter(values, random):
    shuffled = list(values)
    random.shuffle(shuffled)
    one, mixed, mirrored = (distances(v) for v in (values, shuffled, [-v for v in values]))
    assert one == mixed
    error = 100 * tolerances.distance_error(len(values))
    for name in ("wasserstein_1", "wasserstein_2", "kolmogorov"):
        assert getattr(mirrored, name) == pytest.approx(getattr(one, name), abs=error)
    assert mirrored.energy**2 == pytest.approx(one.energy**2, abs=error)
    assert one.wasserstein_1 <= one.wasserstein_2 + error


@given(SAMPLES, SAMPLES)
def test_two_samples_are_alike_both_ways(first, second):
    a, b = distances(first, reference=second), distances(second, reference=first)
    error = 100 * tolerances.distance_error(len(first) + len(second))
    assert a.wasserstein_1 == pytest.approx(b.wasserstein_1, abs=error)
    assert a.wasserstein_2 == pytest.approx(b.wasserstein_2, abs=error)
    assert a.energy**2 == pytest.approx(b.energy**2, abs=error)
    same = distances(first, reference=first)
    assert same[:4] == (0, 0, 0, 0)
    assert same.kolmogorov_pvalue == 1


@pytest.mark.parametrize("axis", [0, 1, (0, 2), -1, None])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8])
def test_axes_and_dtypes(rng, axis, dtype):
    x = (10 * rng.normal(size=(12, 3, 5))).astype(dtype)
    wide = x.astype(np.float64)
    moved = wide.reshape(-1) if axis is None else wide
    got = distances(x, axis)
    want = distances(moved, 0 if axis is None else axis)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.shape(a) == wide.mean(axis).shape


def test_rows_are_left_alone(rng):
    rows = sorted_rows(rng.normal(size=(50, 3)))
    before = rows.values.copy()
    distances_of_rows(rows)
    np.testing.assert_array_equal(rows.values, before)


def test_laws_without_moments(rng):
    x = rng.normal(size=20)
    cauchy, heavy = distances(x, reference=stats.cauchy()), distances(x, reference=stats.t(2))
    assert cauchy.wasserstein_1 == cauchy.wasserstein_2 == np.inf
    assert np.isfinite(cauchy.kolmogorov)
    assert np.isfinite(heavy.wasserstein_1)
    assert heavy.wasserstein_2 == np.inf


@pytest.mark.parametrize("name", BAD)
def test_distances_bad_input(rng, name):
    x = BAD[name]
    finite = np.isfinite(np.asarray(x, float)).sum()
    for reference in ("normal", stats.laplace(), rng.normal(size=8), [], [1.0, np.nan]):
        got = distances(x, reference=reference)
        assert got.n == finite
        known = finite > 0 and not (isinstance(reference, list) and not reference)
        for value in got[:5]:
            assert np.isfinite(value) if known else np.isnan(value)
        if known:
            assert 0 < got.kolmogorov_pvalue <= 1


def test_bad_arguments(rng):
    x = rng.normal(size=(9, 2))
    with pytest.raises(InputError, match="p must be one of 1, 2, got 3"):
        wasserstein(x, p=3)
    with pytest.raises(InputError, match="reference must be"):
        wasserstein(x, reference="gamma")
    with pytest.raises(InputError, match="reference must have one column or the 2 of x, got 3"):
        energy_distance(x, reference=rng.normal(size=(5, 3)))
    with pytest.raises(InputError, match="reference must have one column or the 2 of x, got 3"):
        energy_distance(x, reference=stats.norm(np.zeros(3)))
    with pytest.raises(InputError, match="one axis or as many as x, got 3"):
        kolmogorov_smirnov(x, reference=np.zeros((2, 2, 2)))
