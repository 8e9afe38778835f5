"""L-moments against their definition over all subsets, exact laws, and the bounds they keep."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, special, stats

from distfit_nn.errors import InputError
from distfit_nn.stats.l_moments import NORMAL_TAU4, LMoments, l_moments, l_moments_of_rows
from distfit_nn.stats.l_moments_kernel import legendre
from distfit_nn.stats.rows import sorted_rows
from tests import tolerances


def by_definition(x: np.ndarray, r: int) -> float:
    """l_r: over all subsets of r values, the mean of their alternating sum, over r."""
    signs = np.array([(-1) ** k * math.comb(r - 1, k) for k in range(r)])[::-1]
    subsets = np.array(list(combinations(np.sort(x), r)))
    return float(np.mean(subsets @ signs) / r)


def by_weighted_moments(x: np.ndarray, r: int) -> float:
    """l_r by Hosking's unbiased probability-weighted moments, in whole numbers where x is."""
    n, ordered = len(x), np.sort(x)
    total = 0.0
    for k in range(r):
        weights = [math.comb(i, k) / math.comb(n - 1, k) for i in range(n)]
        b = math.fsum(w * v for w, v in zip(weights, ordered, strict=True)) / n
        total += (-1) ** (r - 1 - k) * math.comb(r - 1, k) * math.comb(r - 1 + k, k) * b
    return total


def assert_close(got: LMoments, l1, l2, ratios, n: int) -> None:
    error = tolerances.l_moment_error(n, len(ratios) + 2)
    np.testing.assert_allclose([got.l1, got.l2], [l1, l2], rtol=error, atol=error * abs(l2))
    np.testing.assert_allclose(got.ratios, ratios, rtol=error, atol=error)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 12])
@pytest.mark.parametrize("family", ["normal", "gamma", "cauchy", "ties"])
def test_agrees_with_the_definition(rng, n, family):
    draw = {
        "normal": lambda: rng.normal(size=n),
        "gamma": lambda: rng.gamma(0.5, size=n),
        "cauchy": lambda: rng.standard_cauchy(n),
        "ties": lambda: np.append(rng.integers(0, 3, n - 2), [0, 3]).astype(float),
    }
    x = draw[family]()
    got = l_moments(x, order=6)
    want = [by_definition(x, r) for r in range(1, min(n, 6) + 1)]
    known = len(want)
    assert_close(got._replace(ratios=got.ratios[: known - 2]), *want[:2],
                 np.array(want[2:]) / want[1], n)  # fmt: skip
    assert np.isnan(got.ratios[known - 2 :]).all()
    assert got.n == n


@pytest.mark.parametrize("n", [50, 500])
def test_agrees_with_weighted_moments(rng, n):
    x = rng.standard_t(3, size=n)
    want = [by_weighted_moments(x, r) for r in range(1, 6)]
    assert_close(l_moments(x, order=5), *want[:2], np.array(want[2:]) / want[1], n)


def expected_order_statistics(name: str, n: int) -> np.ndarray:
    """E X_(i) of a sample of n: in closed form where there is one, else by quadrature."""
    i = np.arange(1, n + 1)
    if name == "uniform":
        return i / (n + 1)
    if name == "exponential":
        return np.cumsum(1 / np.arange(n, 0, -1))
    if name == "logistic":
        return special.digamma(i) - special.digamma(n + 1 - i)
    law = {"normal": stats.norm, "gumbel": stats.gumbel_r}[name]

    def integrand(x: float, k: int) -> float:
        return x * law.pdf(x) * stats.beta.pdf(law.cdf(x), k, n + 1 - k)

    return np.array([integrate.quad(integrand, -12, 50, args=(k,), limit=200)[0] for k in i])


# Hosking (1990), table 1
LAWS = {
    "uniform": (1 / 2, 1 / 6, 0.0, 0.0),
    "exponential": (1.0, 1 / 2, 1 / 3, 1 / 6),
    "logistic": (0.0, 1.0, 0.0, 1 / 6),
    "normal": (0.0, 1 / math.sqrt(math.pi), 0.0, NORMAL_TAU4),
    "gumbel": (
        np.euler_gamma,
        math.log(2),
        2 * math.log(3) / math.log(2) - 3,
        (5 * math.log(4) - 10 * math.log(3) + 6 * math.log(2)) / math.log(2),
    ),
}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("n", [4, 9])
def test_unbiased_for_known_laws(name, n):
    """L-moments are linear in the order statistics: expected ones have the law's own."""
    got = l_moments(expected_order_statistics(name, n))
    want = LAWS[name]
    np.testing.assert_allclose([got.l1, got.l2, got.tau3, got.tau4], want,
                               atol=tolerances.QUADRATURE * n)  # fmt: skip


def test_reference_values_as_printed():
    assert pytest.approx(0.1226, abs=tolerances.FOUR_DIGITS) == NORMAL_TAU4
    assert LAWS["gumbel"][2:] == pytest.approx((0.1699, 0.1504), abs=tolerances.FOUR_DIGITS)


@pytest.mark.parametrize("n", [1, 2, 5, 6, 40])
def test_weights_are_discrete_legendre_polynomials(n):
    w = legendre(n, 6)
    gram = w @ w.T
    for k in range(6):
        want = (
            n * math.prod((n + j) / (n - j) for j in range(1, k + 1)) / (2 * k + 1) if k < n else 0
        )
        assert gram[k, k] == pytest.approx(want, rel=tolerances.l_moment_error(n, 6))
        if k < n:
            assert w[k, -1] == pytest.approx(1.0, rel=tolerances.l_moment_error(n, 6))
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0,
                               atol=tolerances.l_moment_error(n, 6) * gram.max())  # fmt: skip


NUMBERS = st.lists(st.integers(-40, 40), min_size=4, max_size=40)


@given(NUMBERS, st.randoms(), st.integers(-300, 300))
def test_laws_of_equivariance(values, random, power):
    x = np.array(values, dtype=float)
    assume(np.ptp(x) > 0)
    got = l_moments(x)
    shuffled = x.copy()
    random.shuffle(shuffled)
    np.testing.assert_array_equal(np.hstack(l_moments(shuffled)), np.hstack(got))
    scaled = l_moments(x * 2.0**power)
    np.testing.assert_array_equal([scaled.l1, scaled.l2], np.ldexp([got.l1, got.l2], power))
    np.testing.assert_array_equal(scaled.ratios, got.ratios)
    moved = l_moments(x + 2.0**45)  # exact: so are the differences
    np.testing.assert_array_equal([moved.l2, *moved.ratios], [got.l2, *got.ratios])
    mirrored = l_moments(-x)
    assert_close(mirrored, -got.l1, got.l2, [-got.tau3, got.tau4], len(x))


@given(NUMBERS)
def test_bounds(values):
    """Of samples: |t_3| <= 1 and t_4 <= 1. Of their empirical laws, in the limit of many copies,
    (5 t_3**2 - 1) / 4 <= t_4, too."""
    x = np.array(values, dtype=float)
    assume(np.ptp(x) > 0)
    slack = tolerances.l_moment_error(len(x), 4)
    got = l_moments(x)
    assert got.l2 > 0
    assert abs(got.tau3) <= 1 + slack
    assert got.tau4 <= 1 + slack
    copies = 500
    law = l_moments(np.repeat(x, copies))
    assert law.tau4 >= (5 * law.tau3**2 - 1) / 4 - tolerances.L_MOMENT_BIAS / copies
    assert abs(law.tau3) < 1


def test_large_offset(rng):
    x = rng.normal(size=300)
    moved = (x + 1e8) - 1e8  # what is left of x
    want, got = l_moments(moved), l_moments(moved + 1e8)
    np.testing.assert_array_equal([got.l2, *got.ratios], [want.l2, *want.ratios])
    assert got.l1 == pytest.approx(1e8 + want.l1, rel=tolerances.eps())


def test_columns_axes_and_left_out_values(rng):
    x = rng.normal(size=(30, 3, 4))
    x[rng.random(x.shape) < 0.2] = np.nan
    x[0], x[1] = np.inf, -np.inf
    x[:, 1, 2] = np.nan
    got, moved = l_moments(x, order=5), l_moments(np.moveaxis(x, 0, 2), axis=-1, order=5)
    assert got.ratios.shape == (3, 3, 4)
    for j in range(3):
        for k in range(4):
            column = x[:, j, k]
            alone = np.hstack(l_moments(column[np.isfinite(column)], order=5))
            for whole in (got, moved):
                here = [whole.l1[j, k], whole.l2[j, k], *whole.ratios[:, j, k], whole.n[j, k]]
                np.testing.assert_array_equal(here, alone)
    assert l_moments(x, axis=None).l1.shape == ()
    assert l_moments(np.empty((5, 0))).ratios.shape == (2, 0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int16", "bool"])
def test_dtypes_and_tensors(rng, dtype):
    x = (10 * rng.normal(size=(200, 2))).astype(dtype)
    for given_ in (x, torch.tensor(x)):
        for got, want in zip(l_moments(given_), l_moments(x.astype(float)), strict=True):
            np.testing.assert_array_equal(got, want)
    assert l_moments(torch.tensor(x, dtype=torch.bfloat16)).n.tolist() == [200, 200]


NAN = np.nan
BAD = {  # what is given, then l1, l2, tau3, tau4, n; None: finite
    "none": ([], (NAN, NAN, NAN, NAN, 0)),
    "one": ([1.0], (1.0, NAN, NAN, NAN, 1)),
    "two": ([1.0, 2.0], (1.5, 0.5, NAN, NAN, 2)),
    "three": ([1.0, 2.0, 3.0], (2.0, 2 / 3, 0.0, NAN, 3)),
    "equal": ([3.0] * 50, (3.0, 0.0, NAN, NAN, 50)),
    "two values": ([0.0] * 25 + [1.0] * 25, (0.5, None, 0.0, None, 50)),
    "nan": ([NAN] * 10, (NAN, NAN, NAN, NAN, 0)),
    "inf": ([np.inf, -np.inf, *np.arange(20.0)], (9.5, 3.5, 0.0, 0.0, 20)),
    "ints": (np.arange(20), (9.5, 3.5, 0.0, 0.0, 20)),
    "float16": (np.array([6e4, 6.1e4, 6.2e4, 6.5e4] * 5, np.float16), (None,) * 4 + (20,)),
    "huge": (np.array([1.7e308, -1.7e308, 0.0, 1e300] * 5), (None,) * 4 + (20,)),
    "tiny": (np.array([5e-324, 0.0, 5e-324, 0.0]), (None, 0.0, NAN, NAN, 4)),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("error")
def test_l_moments_bad_input(case):
    x, want = BAD[case]
    got = l_moments(np.asarray(x))
    found = (got.l1, got.l2, got.tau3, got.tau4, got.n)
    for number, expected in zip(found, want, strict=True):
        if expected is None:
            assert np.isfinite(number)
        else:
            error = tolerances.l_moment_error(50, 4)
            assert number == pytest.approx(expected, abs=error, nan_ok=True)


@pytest.mark.parametrize("order", [3, 0, 4.0, True, "4"])
def test_bad_order(order):
    with pytest.raises(InputError, match="order must be a whole number of at least 4"):
        l_moments([1.0, 2.0], order=order)


def test_rows_are_left_alone(rng):
    rows = sorted_rows(rng.normal(size=(50, 3)))
    before = rows.values.copy()
    l_moments_of_rows(rows)
    np.testing.assert_array_equal(rows.values, before)
