"""Targets: torch's distributions as arrays and as tensors, with and without a quantile function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import (
    Beta,
    Categorical,
    Cauchy,
    Distribution,
    Exponential,
    Gamma,
    Laplace,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    Pareto,
    Poisson,
    StudentT,
    Uniform,
)

from distfit_nn import maxent
from distfit_nn.errors import InputError
from distfit_nn.targets import tensors
from distfit_nn.targets.arrays import as_target
from tests import tolerances


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def two_bumps(means: Tensor) -> MixtureSameFamily:
    scales = torch.tensor([0.5, 1.0], dtype=torch.float64)
    return MixtureSameFamily(Categorical(torch.ones(2, dtype=torch.float64)), Normal(means, scales))


PAIRS: dict[str, tuple[Callable[[], Distribution], Any]] = {
    "normal": (lambda: Normal(number(1.0), 2.0), stats.norm(1.0, 2.0)),
    "laplace": (lambda: Laplace(number(0.0), 1.0), stats.laplace()),
    "uniform": (lambda: Uniform(number(1.0), 4.0), stats.uniform(1.0, 3.0)),
    "cauchy, no mean": (lambda: Cauchy(number(0.0), 1.0), stats.cauchy()),
    "pareto": (lambda: Pareto(number(1.0), 3.0), stats.pareto(3.0)),
    "exponential": (lambda: Exponential(number(2.0)), stats.expon(scale=0.5)),
    "gamma, no icdf": (lambda: Gamma(number(2.0), 1.0), stats.gamma(2.0)),
    "gamma, a pole at 0": (lambda: Gamma(number(0.2), 1.0), stats.gamma(0.2)),
}
TAILS = np.array([1e-6, 1e-3, 0.2, 0.5])


@pytest.mark.parametrize("name", PAIRS)
def test_those_of_torch_are_those_of_scipy(name: str) -> None:
    made, scipy_law = PAIRS[name]
    ours, theirs = as_target(made()), as_target(scipy_law)
    assert ours.columns() is None
    for upper in (np.zeros((4, 3), bool), np.ones((4, 3), bool)):
        q = np.repeat(TAILS[:, None], 3, axis=1)
        y = theirs.quantile(q, upper)
        # torch's upper tails are 1 - cdf, known to eps.
        error = (tolerances.eps() / q + tolerances.FEW_ROUNDINGS) * 8
        slack = error * q / np.exp(theirs.logpdf(y)) + 8 * tolerances.eps() * np.abs(y)
        assert (np.abs(ours.quantile(q, upper) - y) <= slack).all()
        np.testing.assert_array_less(np.abs(ours.mass(y, upper) / q - 1), 100 * error)
        np.testing.assert_allclose(ours.logpdf(y), theirs.logpdf(y), rtol=1e-12)
    for end, known in zip(ours.ends(), theirs.ends(), strict=True):
        assert end == known


def test_a_column_each() -> None:
    law = Normal(torch.arange(3.0, dtype=torch.float64), 1.0)
    ours = as_target(law)
    assert ours.columns() == 3
    y = ours.quantile(np.full((2, 3), 0.5), np.zeros((2, 3), bool))
    np.testing.assert_array_equal(y, np.tile(np.arange(3.0), (2, 1)))


def test_nan_stays() -> None:
    q = np.array([[np.nan], [0.5]])
    out = as_target(Gamma(number(2.0), 1.0)).quantile(q, np.zeros((2, 1), bool))
    assert np.isnan(out[0, 0])
    assert np.isfinite(out[1, 0])


def test_a_mixture_of_two_normals_by_bisection() -> None:
    means = torch.tensor([-2.0, 1.0], dtype=torch.float64)
    target = tensors.as_target(two_bumps(means), 1, torch.device("cpu"))
    q = torch.tensor([[1e-9], [0.1], [0.5], [0.9]], dtype=torch.float64)
    y = target.quantile(q, torch.zeros_like(q, dtype=torch.bool))
    by_hand = (stats.norm.cdf(y.numpy(), -2.0, 0.5) + stats.norm.cdf(y.numpy(), 1.0, 1.0)) / 2
    np.testing.assert_allclose(by_hand, q.numpy(), rtol=1e-12, atol=tolerances.eps())


def test_its_gradient_is_that_of_the_inverse_function() -> None:
    q = torch.tensor([[0.01], [0.3], [0.45]], dtype=torch.float64, requires_grad=True)
    means = torch.tensor([-2.0, 1.0], dtype=torch.float64, requires_grad=True)

    def quantile(means: Tensor, q: Tensor) -> Tensor:
        target = tensors.as_target(two_bumps(means), 1, torch.device("cpu"))
        return target.quantile(q, q.detach() > 0.2)

    assert torch.autograd.gradcheck(quantile, (means, q), **tolerances.GRADCHECK)


@pytest.mark.parametrize(
    "law",
    [
        Beta(2.0, 1.0),
        StudentT(3.0),
        Poisson(2.0),
        MultivariateNormal(torch.zeros(2), torch.eye(2)),
    ],
    ids=lambda law: type(law).__name__,
)
def test_without_a_cdf_it_is_no_target(law: Distribution) -> None:
    with pytest.raises(InputError, match="target must have cdf, and icdf or a mean"):
        as_target(law)


def test_an_infinite_quantile_is_infinite_and_no_gradient_is_nan() -> None:
    # The quantiles are (1 - q)^-1000: the second is 1e305, where 1 / p is beyond float64.
    q = torch.tensor([[0.4], [0.505], [0.51], [0.75]], dtype=torch.float64, requires_grad=True)
    alpha = number(1e-3).requires_grad_()
    target = tensors.as_target(Pareto(number(1.0), alpha), 1, torch.device("cpu"))
    y = target.quantile(q, torch.zeros_like(q, dtype=torch.bool))
    exact = np.power(1 - q[:2].detach().numpy(), -1000)
    np.testing.assert_allclose(y[:2].detach(), exact, rtol=1e4 * tolerances.eps())
    assert (y[2:] == torch.inf).all()
    near = torch.where(y < 1e300, y, 0.0)
    for slope in torch.autograd.grad(near.log1p().sum(), (q, alpha)):
        assert slope.isfinite().all()


def test_densities_must_exist() -> None:
    constant = maxent.fit(np.ones((5, 1)), 2)
    with pytest.raises(InputError, match="column 0 is DEGENERATE"):
        as_target(constant)
    assert as_target(maxent.fit(np.random.default_rng(0).normal(size=(50, 2)), 2)).columns() == 2
