"""Gaussian mixtures: as distributions, their kernel against torch's operators, and learning."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtr
from torch import Tensor

from distfit_nn.errors import InputError
from distfit_nn.nn.targets import BIMODAL, GaussianMixture, as_target, mixture_quantile
from tests import tolerances
from tests.devices import one_thread  # noqa: F401
from tests.nn.target_cases import COLUMNS, NUMPY, blocks, seeded


@pytest.mark.parametrize("num_features", [1, COLUMNS])
def test_gradient_in_the_parameters(num_features: int) -> None:
    mixture = GaussianMixture(
        [0.5, 0.2, 0.3], [-1, 0.5, 2], [0.5, 1, 0.7], True, num_features, dtype=torch.float64
    )
    with torch.no_grad():
        for part in mixture.parameters():
            part.add_(0.1 * torch.randn(part.shape, dtype=torch.float64, generator=seeded()))
    z = torch.randn(9, COLUMNS, 1, dtype=torch.float64, generator=seeded()).requires_grad_()
    names = [name for name, _ in mixture.named_parameters()]

    def called(z: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(mixture, dict(zip(names, values, strict=True)), (z,))

    values = [part.detach().clone().requires_grad_() for part in mixture.parameters()]
    assert torch.autograd.gradcheck(called, (z, *values))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([torch.float32, torch.float64]))
def test_any_mixture_is_solved_and_rises(seed: int, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 5))
    weights = rng.dirichlet(np.ones(k)) + 1e-6
    means, scales = 2 * rng.normal(size=k), np.exp(rng.normal(size=k))
    mixture = GaussianMixture(weights / weights.sum(), means, scales, True, dtype=dtype)
    z = torch.linspace(-8.4, 8.4, 401, dtype=dtype)[:, None, None]
    with torch.no_grad():
        y = mixture(z)
        exact = copy.deepcopy(mixture).double()
        tail = torch.where(z > 0, exact.sf(y.double()), exact.cdf(y.double()))
        # An error of the mass over the density, in y.
        missed = (tail - torch.as_tensor(ndtr(-z.abs().double().numpy()))).abs()
        missed = missed / exact.pdf(y.double())
    room = tolerances.mixture_quantile(NUMPY[dtype]) * (y.abs() + float(scales.max()))
    # Masses near 1/2 are known to the rounding of 1/2 only, which a gap makes wide.
    gap = 8 * torch.finfo(dtype).eps * tail / exact.pdf(y.double())
    assert (missed <= room + gap).all()
    assert (y.diff(dim=0) >= -(room + gap)[1:]).all()


MIXTURES: dict[str, tuple[list[float], list[float], list[float]]] = {
    "one": ([1.0], [0.5], [2.0]),
    "two": ([0.6, 0.4], [-0.7, 1.05], [0.3, 0.726]),
    "three": ([0.2, 0.5, 0.3], [-3.0, 0.0, 2.0], [0.3, 1.0, 0.1]),
    "equal": ([0.5, 0.5], [0.0, 0.0], [1.0, 1.0]),
    "far apart": ([0.3, 0.7], [-20.0, 30.0], [1.0, 0.5]),
    "narrow": ([0.5, 0.5], [0.0, 0.1], [1.0, 1e-3]),
    "hardly there": ([1 - 1e-9, 1e-9], [0.0, 3.0], [1.0, 0.2]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("name", MIXTURES)
def test_the_kernel_agrees_with_operators(
    name: str, own: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture = GaussianMixture(*MIXTURES[name], True, COLUMNS if own else 1, dtype=dtype)
    if own:
        with torch.no_grad():
            mixture.means.add_(0.1 * torch.arange(COLUMNS, dtype=dtype)[:, None])
    z = torch.randn(5, COLUMNS, 130, generator=seeded(), dtype=torch.float64).to(dtype)
    z[0, :, :4] = torch.tensor([-9.5, -8.5, 8.5, 9.5], dtype=dtype)
    pull = torch.randn(z.shape, generator=seeded(), dtype=torch.float64)
    for part in (z, z[:, :, :3], z.transpose(1, 2).contiguous().transpose(1, 2), z[::2]):
        found = values_and_slopes(mixture, part, pull)
        with monkeypatch.context() as patch:
            patch.setattr(mixture_quantile, "compiled", lambda *_: False)
            exact = values_and_slopes(copy.deepcopy(mixture).double(), part.double(), pull)
        room = tolerances.mixture_quantile(NUMPY[dtype])
        # A mass that is rounded moves y by the mass over the density, of which dz knows.
        widest = float(mixture.scales.detach().max())
        spread = widest + float(exact[1].abs().max())
        torch.testing.assert_close(found[0].double(), exact[0], rtol=room, atol=room * spread)
        for ours, true in zip(found[1:], exact[1:], strict=True):
            largest = max(float(true.abs().max()), widest)  # terms of that size may cancel
            slack = tolerances.mixture_slope(NUMPY[dtype])
            torch.testing.assert_close(ours.double(), true, rtol=0, atol=slack * largest)


def values_and_slopes(mixture: GaussianMixture, z: Tensor, pull: Tensor) -> list[Tensor]:
    z = z.detach().clone().requires_grad_()
    y = mixture(z)
    weighted = (y * pull[: z.shape[0], :, : z.shape[2]].to(y.dtype)).sum()
    return [y.detach(), *torch.autograd.grad(weighted, (z, *mixture.parameters()))]


def test_the_kernel_takes_what_is_empty_or_not_a_number() -> None:
    mixture = GaussianMixture(*BIMODAL, True, COLUMNS)
    for shape in ((0, COLUMNS, 1), (4, COLUMNS, 0), (0, COLUMNS, 100)):
        assert mixture(torch.empty(shape)).shape == shape
    with torch.no_grad():
        mixture.means[1] = torch.nan
        y = mixture(torch.randn(200, COLUMNS, 1))
    assert y.isnan().all(dim=0).flatten().tolist() == [False, True, False]
    assert not y[:, [0, 2]].isnan().any()


def test_many_values_of_a_mixture_are_shared_by_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = GaussianMixture(*BIMODAL, True, 6)
    z = torch.randn(30_000, 6, 1, generator=seeded())
    pull = torch.ones_like(z, dtype=torch.float64)
    alone = values_and_slopes(mixture, z, pull)
    monkeypatch.setattr("distfit_nn.nn.column_work.threads", lambda: 2)
    for ours, true in zip(values_and_slopes(mixture, z, pull), alone, strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-6, atol=0)


def test_a_mixture_as_a_distribution() -> None:
    weights, means, scales = [0.3, 0.7], [-1.0, 2.0], [0.5, 1.5]
    mixture = GaussianMixture(weights, means, scales, dtype=torch.float64)
    t = np.linspace(-12, 20, 50).reshape(10, 5)
    norms = stats.norm(np.array(means), scales)
    for name in ("pdf", "cdf", "sf"):
        true = getattr(norms, name)(t[..., None]) @ weights
        np.testing.assert_allclose(getattr(mixture, name)(t), true, rtol=1e-12)
    np.testing.assert_allclose(mixture.logpdf(t), np.log(mixture.pdf(t)), rtol=1e-12)
    assert mixture.logpdf(500.0) == pytest.approx(np.log(0.7) + norms.logpdf(500.0)[1])
    q = np.array([0.0, 1e-12, 0.2, 0.5, 1.0, -0.1])
    y = mixture.ppf(q)
    assert (y[0], y[4]) == (-np.inf, np.inf)
    assert np.isnan(y[5])
    np.testing.assert_allclose(mixture.cdf(y[1:4]), q[1:4], rtol=1e-10)
    np.testing.assert_allclose(mixture.sf(mixture.isf(q[1:4])), q[1:4], rtol=1e-10)


def test_mixtures_of_their_own_for_each_feature() -> None:
    weights = [[0.5, 0.5], [0.1, 0.9], [0.3, 0.7]]
    means, scales = [[-1, 1], [0, 2], [-2, 0]], [[1, 1], [0.5, 2], [1, 0.3]]
    mixtures = GaussianMixture(weights, means, scales, dtype=torch.float64)
    assert mixtures.num_features == COLUMNS
    q = np.linspace(0.01, 0.99, 8)
    target = as_target(mixtures, COLUMNS, dtype=torch.float64)
    y = target(blocks(stats.norm.ppf(q)))[:, :, 0].numpy()
    for j in range(COLUMNS):
        one = GaussianMixture(weights[j], means[j], scales[j], dtype=torch.float64)
        np.testing.assert_allclose(mixtures.ppf(q[:, None])[:, j], one.ppf(q), rtol=1e-10)
        np.testing.assert_allclose(y[:, j], one.ppf(q), rtol=1e-6, atol=1e-6)


def test_a_learnable_mixture_gets_parameters_for_each_feature() -> None:
    given_one = GaussianMixture(*BIMODAL, learnable=True)
    own = as_target(given_one, 5)
    assert own.learnable
    assert [tuple(p.shape) for p in own.parameters()] == [(5, 2)] * 3
    assert given_one.num_features is None
    shared = as_target(GaussianMixture(*BIMODAL, learnable=True, num_features=1), 5)
    assert [tuple(p.shape) for p in shared.parameters()] == [(1, 2)] * 3


def test_learning_finds_a_mixture() -> None:
    torch.manual_seed(0)
    z = torch.randn(1000, 1, 1, dtype=torch.float64)
    wanted = GaussianMixture([0.7, 0.3], [-1.0, 2.0], [0.4, 0.8], dtype=torch.float64)(z)
    mixture = as_target(GaussianMixture(*BIMODAL, True, dtype=torch.float64), 1)
    optimizer = torch.optim.Adam(mixture.parameters(), lr=0.03)
    for _ in range(200):
        optimizer.zero_grad()
        loss = (mixture(z) - wanted).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-4
    np.testing.assert_allclose(mixture.weights.detach()[0], [0.7, 0.3], atol=0.03)
    np.testing.assert_allclose(mixture.means.detach()[0], [-1.0, 2.0], atol=0.05)
    np.testing.assert_allclose(mixture.scales.detach()[0], [0.4, 0.8], atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_fixed_mixture_follows_moves_without_rounding(dtype: torch.dtype) -> None:
    mixture = GaussianMixture([0.3, 0.7], [-1.1, 2.3], [0.5, 1.5], dtype=torch.float64)
    assert not list(mixture.buffers())
    assert mixture.state_dict() == {}
    moved = copy.deepcopy(mixture).to(dtype).to("meta").to_empty(device="cpu")
    assert moved.means.dtype == dtype
    torch.testing.assert_close(moved.double().means, mixture.means, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.6], [0, 1], [1, 1]), "sum to 1"),
        (([1.5, -0.5], [0, 1], [1, 1]), "positive"),
        (([0.5, 0.5], [0, 1], [1, 0]), "scales must be positive"),
        (([0.5, 0.5], [0, np.nan], [1, 1]), "means must be finite"),
        (([0.5, 0.5], [0, 1, 2], [1, 1]), "one shape"),
        ((0.5, 0.5, 1.0), "one shape"),
        (([[0.5, 0.5]] * 2, [[0, 1]] * 2, [[1, 1]] * 2, True, 3), "num_features must be"),
        (([0.5, 0.5], [0, 1], [1, 1], "yes"), "learnable"),
    ],
)
def test_what_is_no_mixture_is_told(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GaussianMixture(*arguments)
