"""Gauss rules of samples and of moments, against exact sums, NumPy's rules and mpmath."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distfit_nn.maxent import gauss_rule
from distfit_nn.maxent.gauss_rule import gauss_rule_of_moments, gauss_rule_of_samples
from tests import cases
from tests.maxent import oracle
from tests.tolerances import GAUSS_RULE, MOMENT_RULE

POINTS = (1, 2, 3, 4, 5, 6, 7)


def check_rule(nodes: np.ndarray, masses: np.ndarray, z: np.ndarray, weights: np.ndarray) -> None:
    """Exact to degree 2m - 1, in the hull, ascending, positive."""
    wide, share = z.astype(np.longdouble), weights.astype(np.longdouble)
    share = share / share.sum()
    assert np.all(np.diff(nodes) > 0)
    assert nodes[0] >= float(wide.min())
    assert nodes[-1] <= float(wide.max())
    assert masses.min() > 0
    assert masses.sum() == pytest.approx(1, abs=GAUSS_RULE)
    for degree in range(2 * len(nodes)):
        size = (share * np.abs(wide) ** degree).sum()
        wanted = (share * wide**degree).sum()
        got = (masses * nodes.astype(np.longdouble) ** degree).sum()
        assert abs(got - wanted) <= GAUSS_RULE * size, degree


@pytest.mark.parametrize("points", POINTS)
@pytest.mark.parametrize("name", list(cases.COLUMNS))
def test_rules_of_samples(name: str, points: int) -> None:
    z = oracle.standardised(cases.column(name))
    nodes, masses = gauss_rule_of_samples(z, None, points)
    assert len(nodes) == points
    check_rule(nodes, masses, z, np.ones(len(z)))


def test_a_bulk_far_narrower_than_its_outlier_is_resolved(rng: np.random.Generator) -> None:
    z = oracle.standardised(np.append(1e-8 * rng.normal(size=1000), 300.0))
    nodes, masses = gauss_rule_of_samples(z, None, 7)
    check_rule(nodes, masses, z, np.ones(len(z)))
    bulk = z[:-1]
    assert np.all(nodes[:-1] <= float(bulk.max()) + np.spacing(1.0))
    assert masses[-1] == pytest.approx(1 / 1001, rel=1e-12)


@pytest.mark.parametrize("points", POINTS)
def test_weights_are_repetitions(points: int, rng: np.random.Generator) -> None:
    z, times = rng.normal(size=40), rng.integers(0, 4, 40)
    nodes, masses = gauss_rule_of_samples(z, times.astype(float), points)
    again = gauss_rule_of_samples(np.repeat(z, times), None, points)
    np.testing.assert_allclose(nodes, again[0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(masses, again[1], rtol=0, atol=1e-13)
    check_rule(nodes, masses, z, times)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_few_distinct_values_are_their_own_rule(count: int) -> None:
    z = cases.distinct(count, 7 * count)
    weights = np.where(z == 0, 2.0, 1.0)
    nodes, masses = gauss_rule_of_samples(z, weights, 5)
    np.testing.assert_array_equal(nodes, np.arange(count))
    np.testing.assert_allclose(masses, np.append(2.0, np.ones(count - 1)) / (count + 1), rtol=1e-15)


def test_values_of_no_weight_are_not_there() -> None:
    nodes, masses = gauss_rule_of_samples(np.array([0.0, 1.0, 9.0]), np.array([1.0, 3.0, 0.0]), 4)
    np.testing.assert_array_equal(nodes, [0, 1])
    np.testing.assert_array_equal(masses, [0.25, 0.75])


def test_points_that_differ_by_rounding_do_not_break_the_rule() -> None:
    z = np.array([-1.0, -1.0 + 2**-52, 1.0, 1.0 - 2**-53, 1.0 + 2**-52])
    for points in POINTS:
        nodes, masses = gauss_rule_of_samples(z, None, points)
        assert np.all(np.isfinite(nodes))
        assert masses.min() > 0
        assert (masses * nodes).sum() == pytest.approx(z.mean(), abs=1e-15)


@pytest.mark.parametrize("points", range(1, 8))
def test_legendre_and_hermite_rules_come_from_their_jacobi_matrices(points: int) -> None:
    j = np.arange(1, points, dtype=np.longdouble)
    for off, known in (
        (j / np.sqrt(4 * j * j - 1), np.polynomial.legendre.leggauss(points)),
        (np.sqrt(j), np.polynomial.hermite_e.hermegauss(points)),
    ):
        nodes, masses = gauss_rule.rule_of_jacobi(np.zeros(points, np.longdouble), off)
        np.testing.assert_allclose(nodes, known[0], rtol=0, atol=1e-13)
        np.testing.assert_allclose(masses, known[1] / known[1].sum(), rtol=1e-12)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30), st.integers(1, 7))
def test_any_data_has_a_rule(values: list[float], points: int) -> None:
    z = np.array(values)
    nodes, masses = gauss_rule_of_samples(z, None, points)
    assert len(nodes) <= points
    assert np.all((z.min() <= nodes) & (nodes <= z.max()))
    assert masses.min() > 0
    for degree in range(2 * len(nodes)):
        size = 1e-300 + (np.abs(z) ** degree).mean()
        assert abs((masses * nodes**degree).sum() - (z**degree).mean()) <= 1e-13 * size


# From moments


def uniform_moments(order: int) -> np.ndarray:
    """E z^i on [-sqrt 3, sqrt 3]."""
    i = np.arange(order + 1)
    return np.where(i % 2 == 0, np.sqrt(np.longdouble(3)) ** i / (i + 1), 0)


@pytest.mark.parametrize("order", range(1, 13))
def test_rules_of_the_uniform(order: int) -> None:
    root = math.sqrt(3)
    nodes, masses = gauss_rule_of_moments(uniform_moments(order), -root, root)
    known = np.polynomial.legendre.leggauss(order // 2 + 1)
    # Of even order the free entry is 0 by symmetry: Gauss's own rule.
    np.testing.assert_allclose(nodes, root * known[0], rtol=0, atol=MOMENT_RULE)
    np.testing.assert_allclose(masses, known[1] / 2, rtol=0, atol=MOMENT_RULE)


@pytest.mark.parametrize("order", range(1, 13))
@pytest.mark.parametrize("name", ["normal", "exponential", "u_shaped", "trimodal", "post_relu"])
def test_rules_of_moments_keep_them(name: str, order: int) -> None:
    z = oracle.standardised(cases.column(name))
    moments = np.array([(z**i).mean() for i in range(order + 1)])
    lower, upper = float(z.min()) - 0.01, float(z.max()) + 5.0
    nodes, masses = gauss_rule_of_moments(moments, lower, upper)
    assert len(nodes) == order // 2 + 1
    assert lower < nodes[0]
    assert nodes[-1] < upper
    assert masses.min() > 0
    for degree in range(order + 1):
        size = (np.abs(z) ** degree).mean()
        error = (masses * nodes.astype(np.longdouble) ** degree).sum() - moments[degree]
        assert abs(error) <= MOMENT_RULE * size, degree
    if order % 2:  # then it is the rule of the data
        alike = gauss_rule_of_samples(z, None, order // 2 + 1)
        np.testing.assert_allclose(nodes, alike[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", [1, 3, 5, 7, 9, 11])
def test_rules_of_moments_against_mpmath(order: int) -> None:
    """Nodes are the roots of the orthogonal polynomial, by its determinant in 60 digits."""
    with mp.workdps(60):
        exact = [mp.mpf(1) / (i + 2) * 2 for i in range(order + 1)]  # density 2 x on [0, 1]
        moments = np.array([np.longdouble(str(value)) for value in exact])
        m = order // 2 + 1
        hankel = mp.matrix(m, m)
        right = mp.matrix(m, 1)
        for i in range(m):
            right[i] = -exact[i + m]
            for j in range(m):
                hankel[i, j] = exact[i + j]
        monic = mp.lu_solve(hankel, right)
        roots = mp.polyroots(
            [1, *[monic[m - 1 - i] for i in range(m)]], maxsteps=500, extraprec=200
        )
        wanted = np.array(sorted(float(mp.re(root)) for root in roots))
    nodes, masses = gauss_rule_of_moments(moments, 0.0, 1.0)
    # The raw moments on [0, 1] cost long double the condition of a Hilbert matrix, up to 1e9.
    np.testing.assert_allclose(nodes, wanted, rtol=0, atol=1e-9)
    assert (masses * nodes).sum() == pytest.approx(2 / 3, abs=1e-13)
