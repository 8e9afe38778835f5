"""Polynomials against SciPy and NumPy; panels against the laws of a composite rule."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distfit_nn.maxent import basis
from tests.maxent import oracle
from tests.maxent.handmade import hermite_coefficients
from tests.tolerances import FEW_ROUNDINGS, eps


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (0,)])
def test_hermite_is_scipys(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    z = rng.normal(size=shape)
    np.testing.assert_allclose(
        basis.hermite(z, 12), oracle.hermite(z, 12), rtol=FEW_ROUNDINGS, atol=100 * eps()
    )


def test_hermite_is_orthonormal_under_the_normal() -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    h = basis.hermite(nodes, 12)
    gram = (h * weights) @ h.T / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(gram, np.eye(13), atol=1e3 * eps())


def test_hermite_of_order_0_is_1() -> None:
    np.testing.assert_array_equal(basis.hermite(np.array([2.0, -3.0]), 0), [[1.0, 1.0]])


@given(
    st.lists(st.floats(-3, 3), min_size=1, max_size=7),
    st.floats(-2, 2),
    st.floats(-2, 2),
)
@settings(deadline=None, derandomize=True, max_examples=50)
def test_times_affine_multiplies(coefficients: list[float], slope: float, shift: float) -> None:
    c = np.array(coefficients)
    z = np.linspace(-2, 2, 9)
    product = basis.times_affine(c, slope, shift)
    assert len(product) == len(c) + 1
    np.testing.assert_allclose(
        product @ basis.hermite(z, len(c)),
        (slope * z + shift) * (c @ basis.hermite(z, len(c) - 1)),
        atol=1e3 * eps(),
    )


@pytest.mark.parametrize("order", [1, 4, 6, 9, 12])
def test_monomials_in_hermite(order: int) -> None:
    z = np.linspace(-3, 3, 13)
    table = basis.monomials_in_hermite(order)
    powers = z ** np.arange(order + 1)[:, None]
    terms = np.abs(table) @ np.abs(basis.hermite(z, order))
    assert (np.abs(table @ basis.hermite(z, order) - powers) <= FEW_ROUNDINGS * terms).all()
    assert not table.flags.writeable


@pytest.mark.parametrize("order", [1, 5, 12])
def test_products_are_those_of_the_polynomials(order: int) -> None:
    z = np.linspace(-3, 3, 13)
    h = basis.hermite(z, 2 * order)
    c = basis.products(order)
    assert not c.flags.writeable
    for i in range(order + 1):
        for j in range(order + 1):
            least = min(i, j)
            assert not c[i, j, least + 1 :].any()
            terms = np.array([c[i, j, r] * h[i + j - 2 * r] for r in range(least + 1)])
            error = np.abs(terms.sum(axis=0) - h[i] * h[j])
            assert (
                error <= FEW_ROUNDINGS * (np.abs(terms).sum(axis=0) + np.abs(h[i] * h[j]))
            ).all()


@pytest.mark.parametrize("order", [1, 2, 7, 12])
def test_a_power_series_in_hermite_keeps_its_digits(order: int, rng: np.random.Generator) -> None:
    """Both sides in 50 digits: what is lost is the rounding of the low part."""
    series = rng.normal(size=(order + 1, 2)) * np.array([1e12, 1e-6])
    found = basis.power_series_in_hermite(series)
    assert found.shape == series.shape
    with mp.workdps(50):
        given = [mp.mpf(float(high)) + mp.mpf(float(low)) for high, low in series]
        wanted = hermite_coefficients(given)
        for one, (high, low) in zip(wanted, found, strict=True):
            assert high == float(one)
            error = abs(mp.mpf(float(high)) + mp.mpf(float(low)) - one)
            assert error <= eps() ** 2 * abs(one)


def test_rule_of_a_panel_is_exact_to_degree_23() -> None:
    nodes, weights = basis.panel_nodes(np.array([0.5, 2.0]))
    for power in (0, 1, 22, 23):
        exact = (2.0 ** (power + 1) - 0.5 ** (power + 1)) / (power + 1)
        assert float((weights * nodes**power).sum()) == pytest.approx(exact, rel=100 * eps())
    assert not any(part.flags.writeable for part in basis.legendre_rule())


@given(st.floats(1.0, 1e4), st.floats(1.0, 1e4), st.floats(1.0, 10.0), st.floats(1.0, 10.0))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_first_edges_cover_the_support(
    left: float, right: float, grow_left: float, grow_right: float
) -> None:
    edges = basis.first_edges(-left * grow_left, right * grow_right, -left, right)
    assert edges[0] == -left * grow_left
    assert edges[-1] == right * grow_right
    widths = np.diff(edges)
    assert (widths > 0).all()
    assert widths[:-1].min(initial=1.0) > 1e-3 * 0.999  # slivers were dropped
    assert len(edges) - 1 <= basis.MAX_PANELS // 4


def test_first_edges_end_at_the_data() -> None:
    edges = basis.first_edges(-9.0, 9.0, -2.3, 2.7)
    assert {-2.3, 2.7, 0.0, 1.0} <= set(edges)


def test_first_edges_drop_one_of_two_that_coincide() -> None:
    edges = basis.first_edges(-9.0, 9.0, -2.00001, 9.0 - 1e-6)
    assert np.diff(edges).min() > 1e-3
    assert edges[-1] == 9.0


def test_halved_cuts_what_is_marked() -> None:
    edges = basis.halved(np.array([0.0, 1.0, 3.0]), np.array([False, True]))
    np.testing.assert_array_equal(edges, [0.0, 1.0, 2.0, 3.0])
