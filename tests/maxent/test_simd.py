"""Passes over nodes against NumPy and `math`."""

from __future__ import annotations

import math

import numpy as np
import pytest

from distfit_nn.maxent import simd
from tests.maxent import oracle
from tests.tolerances import FEW_ROUNDINGS, eps, sum_error

SIZES = [1, 2, 3, 7, 8, 9, 31, 100, 1000]  # below, at and beyond the width of vectors


def exp_by_simd(x: np.ndarray, shift: float = 0.0) -> np.ndarray:
    out = np.full(len(x) + 1, np.nan)
    simd.weigh(x, shift, np.ones(len(x)), len(x), out)
    assert np.isnan(out[-1])  # nothing is written beyond the end
    return out[:-1]


def test_exp_over_its_whole_range() -> None:
    """Against math.exp, which is right to half a rounding unit or little more."""
    halves = (np.arange(-1010, 1010) + 0.5) * math.log(2)  # where the power of 2 changes
    halves = halves[np.abs(halves) < 700]
    x = np.concatenate(
        [
            np.linspace(-700, 700, 200_001),
            np.random.default_rng(0).normal(size=20_000),
            halves,
            np.nextafter(halves, 1e3),
            np.nextafter(halves, -1e3),
            [-700.0, 700.0, 0.0, -0.0, 1e-300, -1e-17],
        ]
    )
    exact = np.array([math.exp(v) for v in x])
    assert np.abs(exp_by_simd(x) / exact - 1).max() < 4 * eps()
    np.testing.assert_array_equal(exp_by_simd(np.array([0.0, -0.0])), 1.0)


def test_exponents_are_cut() -> None:
    x = np.array([-np.inf, -1e9, -700.1, 700.1, 1e9, np.inf])
    ends = np.array([math.exp(-700.0), math.exp(700.0)])
    np.testing.assert_allclose(exp_by_simd(x), np.repeat(ends, 3), rtol=4 * eps())


@pytest.mark.parametrize("size", SIZES)
def test_weigh(size: int, rng: np.random.Generator) -> None:
    u, weights = rng.normal(size=size) * 5 + 900, rng.random(size)
    out = np.empty(size + 2)
    out[size:] = 7.0
    simd.weigh(u, 900.0, weights, size, out)
    np.testing.assert_allclose(out[:size], weights * np.exp(u - 900.0), rtol=FEW_ROUNDINGS)
    np.testing.assert_array_equal(out[size:], 7.0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("top", [1, 2, 5, 24])
def test_fill_basis(size: int, top: int, rng: np.random.Generator) -> None:
    h = np.full((top + 1, size + 2), 7.0)
    z = h[1, :size] = rng.normal(size=size) * 3
    simd.fill_basis(h, size, top)
    wanted = oracle.hermite(z, top)
    # The recurrence adds two terms in each step: errors relative to the largest so far.
    scale = np.maximum.accumulate(np.abs(wanted), axis=0) + 1
    assert (np.abs(h[:, :size] - wanted) <= top * FEW_ROUNDINGS * scale).all()
    np.testing.assert_array_equal(h[:, size:], 7.0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("order", range(1, 13))
def test_log_density(size: int, order: int, rng: np.random.Generator) -> None:
    h = rng.normal(size=(2 * order + 1, size + 1))
    coefficients = rng.normal(size=order + 1)
    u = np.full(size + 1, 7.0)
    first = size // 3
    simd.log_density(coefficients, h, first, size, u)
    terms = coefficients[1:, None] * h[1 : order + 1, :size]
    bound = FEW_ROUNDINGS * np.abs(terms).sum(axis=0)
    assert (np.abs(u[:size] - terms.sum(axis=0)) <= bound)[first:].all()
    assert u[size] == 7.0
    assert (u[:first] == 7.0).all()


@pytest.mark.parametrize("classes", [1, 3, 4])
@pytest.mark.parametrize("points", [1, 8, 16])
@pytest.mark.parametrize("order", [1, 2, 5, 12])
def test_largest(classes: int, points: int, order: int, rng: np.random.Generator) -> None:
    polynomial = rng.normal(size=order + 1)
    powers = rng.normal(size=(order + 1, points, classes))
    powers[0] = 1.0
    values = np.empty((2, points * classes))
    simd.largest(polynomial, powers.reshape(order + 1, -1), classes, values)
    signs = np.where(np.arange(order + 1) % 2, -1.0, 1.0)
    both = [np.einsum("i,ipc->pc", polynomial * sign, powers) for sign in (1.0, signs)]
    wanted = np.maximum(*both).max(axis=0)
    np.testing.assert_allclose(values[0, :classes], wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_total(size: int, rng: np.random.Generator) -> None:
    p = rng.random(size + 1)
    assert simd.total(p, size) == pytest.approx(math.fsum(p[:size]), rel=sum_error(size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("order", [1, 2, 5, 12])
def test_moments(size: int, order: int, rng: np.random.Generator) -> None:
    p, h = rng.random(size + 1), rng.normal(size=(2 * order + 1, size + 1))
    out = np.full(2 * order + 1, 7.0)
    simd.moments(p, h, size, out)
    terms = h[1:, :size] * p[:size]
    bound = sum_error(size) * np.abs(terms).sum(axis=1)
    assert (np.abs(out[1:] - terms.sum(axis=1)) <= bound).all()
    assert out[0] == 7.0
