"""What the scripts of MLE and KL compute themselves: lines, maps, descents, names of shapes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import norm, shapiro


@pytest.mark.parametrize("reverse", [False, True])
def test_the_closed_form_is_the_integral(reverse: bool) -> None:
    from lab.divergence import normals

    laws = norm(0.7, 1.6), norm(0, 1)
    p, q = laws[::-1] if reverse else laws
    whole, _ = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -12, 12)
    mean, variance = torch.tensor([0.7, 1.6**2], dtype=torch.float64)
    found = normals.divergence(mean, variance, reverse)
    assert found.item() == pytest.approx(whole, abs=1e-8)


@pytest.mark.parametrize("reverse", [False, True])
def test_both_directions_choose_mean_and_deviation(rng: np.random.Generator, reverse: bool) -> None:
    from lab.divergence import normals

    column = 3 + 0.2 * rng.exponential(size=400)
    mu, sigma = normals.best_line(column, reverse)
    assert mu == pytest.approx(column.mean(), abs=1e-6)
    assert sigma == pytest.approx(column.std(), rel=1e-6)


def test_the_closed_form_differs_from_batch_norm_by_rounding_and_others_do_not(
    rng: np.random.Generator,
) -> None:
    from lab.divergence import normals

    x = torch.from_numpy(rng.normal(2, 3, (100, 4)))
    same = normals.differences_to_batch_norm(normals.closed_form, x, 2, 50)
    assert max(same.values()) < 1e-12
    detached = normals.differences_to_batch_norm(
        lambda x: (x - x.mean(0).detach()) / x.std(0, correction=0).detach(), x, 2, 50
    )
    assert detached["gradient"] > 0.01


def test_the_line_of_the_second_direction_is_that_of_a_search_by_quadrature() -> None:
    from lab.divergence import higher_order

    points = np.linspace(-4, 4, 25)
    curves = np.array([[0.1, 0.3, -0.6, 0.05, -0.02], [0.0, 0.0, -0.5, 0.0, 0.0]])
    values = np.stack([np.polynomial.polynomial.polyval(points, each) for each in curves], 1)
    mu, sigma = higher_order.reverse_line(points, values, 4)
    assert (mu[1], sigma[1]) == pytest.approx((0, 1), abs=1e-4)

    def divergence(at: np.ndarray) -> float:
        x = np.linspace(-12, 12, 1001)
        log_q = norm(at[0], math.exp(at[1])).logpdf(x)
        log_p = np.polynomial.polynomial.polyval(x, curves[0])
        return float(np.trapezoid(np.exp(log_q) * (log_q - log_p), x))

    best = minimize(divergence, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-6}).x
    assert (mu[0], math.log(sigma[0])) == pytest.approx(tuple(best), abs=1e-3)


def test_the_map_makes_a_column_of_its_own_family_normal(rng: np.random.Generator) -> None:
    from lab.divergence import higher_order

    z = rng.normal(size=(1200, 1))
    x = 5 + 2 * np.sinh((np.arcsinh(z) + 0.6) / 0.8)
    assert shapiro(x[:, 0]).pvalue < 1e-10
    mapped = higher_order.mapped(x[:600], x[600:])
    assert shapiro(mapped[:, 0]).pvalue > 0.01
    inner = np.abs(z[600:]) < 2
    np.testing.assert_allclose(mapped[inner], z[600:][inner], atol=0.3)


def test_descent_by_the_likelihood_runs_away_and_comes_back_with_the_logarithm(
    rng: np.random.Generator,
) -> None:
    import mle
    from lab.training import Setting

    x = torch.from_numpy(rng.normal(size=(100, 3)))
    x = (x - x.mean(0)) / x.std(0, correction=0)
    setting = mle.Descent(Setting("Regular", 0.1, 0), rows=100, steps=120, rate=0.1)
    away = mle.descent(mle.independent, x, (0.0, 1.0), setting)
    assert away["low"][-1] == pytest.approx(math.sqrt(1 + 2 * 12), rel=0.02)
    back = mle.descent(mle.of_the_data, x, (1.0, 2.0), setting)
    assert (back["low"][-1], back["high"][-1]) == pytest.approx((1, 1), abs=1e-4)
    assert mle.descent(mle.dependent, x, (0.0, 1.0), setting)["low"][-1] > 4


def test_the_likelihood_of_dependent_rows_is_that_of_their_covariance(
    rng: np.random.Generator,
) -> None:
    import mle

    z = rng.normal(size=(6, 1))
    apart = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    inverse = np.linalg.inv(mle.CORRELATION**apart)
    found = mle.dependent(torch.from_numpy(z), torch.zeros(1)).item()
    assert found == pytest.approx((z.T @ inverse @ z).item() / 12, rel=1e-12)


def test_shapes_and_the_worst_that_two_rankings_share() -> None:
    from lab.divergence import directions

    skewness, kurtosis = np.array([0.9, 0.1, 0.1, 0.0]), np.array([2.0, 0.8, -0.8, 0.0])
    named = directions.shapes(skewness, kurtosis, False).tolist()
    assert named == ["skewed", "heavy-tailed", "short-tailed", "near normal"]
    assert set(directions.shapes(skewness, kurtosis, True)) == {"bounded"}
    first = np.arange(20.0)
    second = np.where(first == 18, -1, first)
    assert directions.worst_shared(first, second) == 0.5
