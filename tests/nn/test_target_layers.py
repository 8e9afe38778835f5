"""CopulaNorm and MomentNorm with every kind of target: what comes out has its distribution."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import distfit_nn as dn
from distfit_nn.errors import InputError
from distfit_nn.nn.targets import BIMODAL, GaussianMixture
from tests import tolerances

ROWS, COLUMNS = 20_000, 3
MIXTURE = ((0.3, 0.7), (-1.0, 2.0), (0.5, 1.0))


def of_mixture(parts: Any) -> Callable[[np.ndarray], np.ndarray]:
    weights, means, scales = (np.asarray(part) for part in parts)
    return lambda t: stats.norm(means, scales).cdf(np.asarray(t)[..., None]) @ weights


MOMENTS = dn.maxent.fit_moments([0.0, 1.0, 0.5, 4.0], support=(-5, 5))
FITTED = dn.maxent.fit(np.random.default_rng(1).gamma(3.0, size=(5000, COLUMNS)), order=4)
ALL: dict[str, tuple[Any, Callable[[np.ndarray], np.ndarray]]] = {
    "normal": ("normal", stats.norm().cdf),
    "uniform": ("uniform", stats.uniform().cdf),
    "bimodal": ("bimodal", of_mixture(BIMODAL)),
    "SciPy": (stats.gamma(2.0), stats.gamma(2.0).cdf),
    "torch": (torch.distributions.Laplace(1.0, 2.0), stats.laplace(1, 2).cdf),
    "moments": (MOMENTS, MOMENTS.cdf),
    "fixed mixture": (GaussianMixture(*MIXTURE), of_mixture(MIXTURE)),
    "learnable mixture": (GaussianMixture(*MIXTURE, learnable=True), of_mixture(MIXTURE)),
    "one each": (FITTED, None),
}
LAYERS: dict[str, Callable[..., nn.Module]] = {
    # A strong one: its scores are then those of ranks.
    "copula": lambda **options: dn.nn.CopulaNorm1d(COLUMNS, strength=50.0, **options),
    "moment": lambda **options: dn.nn.MomentNorm1d(COLUMNS, order=6, **options),
}
# Six moments do not tell all of a distribution; for a normal column they do.
SHAPES = {
    "copula": lambda rng: np.stack(
        [rng.normal(2, 3, ROWS), rng.gamma(2.0, size=ROWS), rng.uniform(-1, 1, ROWS)], axis=1
    ),
    "moment": lambda rng: rng.normal([0, 2, -5], [1, 3, 0.2], (ROWS, COLUMNS)),
}


def batch(layer: str, seed: int = 0) -> Tensor:
    return torch.as_tensor(SHAPES[layer](np.random.default_rng(seed)), dtype=torch.float32)


def made(layer: str, target: Any, **options: Any) -> nn.Module:
    """Return a layer whose running statistics are those of a batch of the law."""
    norm = LAYERS[layer](target=target, momentum=None, **options)
    with torch.no_grad():
        norm(batch(layer, 1))
    return norm


def distance(y: np.ndarray, column: int, cdf: Callable[[np.ndarray], np.ndarray] | None) -> float:
    if cdf is None:
        return float(stats.ks_1samp(y, lambda t: np.asarray(FITTED[column].cdf(t))).statistic)
    return float(stats.ks_1samp(y, cdf).statistic)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("layer", LAYERS)
def test_outputs_have_the_distribution_of_the_target(layer: str, kind: str) -> None:
    target, cdf = ALL[kind]
    norm = made(layer, target)
    x = batch(layer)
    for phase in (norm.train(), norm.eval()):
        with torch.no_grad():
            y = phase(x).double().numpy()
        assert np.isfinite(y).all()
        for j in range(COLUMNS):
            assert distance(y[:, j], j, cdf) < tolerances.target_distance(ROWS)


@pytest.mark.parametrize("kind", ["uniform", "bimodal", "SciPy", "learnable mixture", "one each"])
@pytest.mark.parametrize("layer", LAYERS)
def test_the_test_phase_agrees_with_the_train_phase(layer: str, kind: str) -> None:
    norm = made(layer, ALL[kind][0])
    x = batch(layer)
    with torch.no_grad():
        trained = copy.deepcopy(norm)(x)
        tested = norm.eval()(x)
    difference = (trained - tested).square().mean(dim=0).sqrt() / trained.std(dim=0)
    assert (difference < tolerances.TEST_PHASE_OF_TARGET).all()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_mixture_learns_through_the_layer(layer: str) -> None:
    torch.manual_seed(0)
    norm = LAYERS[layer](target=GaussianMixture(*BIMODAL, learnable=True), affine=False)
    assert {name for name, _ in norm.target.named_parameters()} <= {
        "logits", "means", "log_scales"
    }  # fmt: skip
    before = {name: value.detach().clone() for name, value in norm.target.named_parameters()}
    x = batch(layer)[:500]
    with torch.no_grad():
        wanted = LAYERS[layer](target=GaussianMixture(*MIXTURE), affine=False)(x)
    optimizer = torch.optim.Adam(norm.target.parameters(), lr=0.05)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = (norm(x) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    for name, value in norm.target.named_parameters():
        assert value.shape == (COLUMNS, 2)
        assert (value != before[name]).all()


@pytest.mark.parametrize("kind", ["uniform", "bimodal", "SciPy", "learnable mixture"])
@pytest.mark.parametrize("layer", LAYERS)
def test_state_of_a_layer_with_a_target(layer: str, kind: str) -> None:
    target = ALL[kind][0]
    norm = made(layer, target).eval()
    other = LAYERS[layer](target=target).eval()
    other.load_state_dict(norm.state_dict(), strict=True)
    x = batch(layer)[:50]
    with torch.no_grad():
        torch.testing.assert_close(other(x), norm(x), rtol=0, atol=0)
    plain = set(LAYERS[layer](target="normal").state_dict())
    own = {f"target.{name}" for name, _ in norm.target.named_parameters()}
    assert set(norm.state_dict()) == plain | own


@pytest.mark.parametrize("layer", LAYERS)
def test_gradients_reach_the_input(layer: str) -> None:
    for kind in ("bimodal", "uniform", "learnable mixture"):
        through = {"scale_gradient": True} if layer == "copula" else {}
        norm = LAYERS[layer](target=ALL[kind][0], dtype=torch.float64, **through)
        x = batch(layer)[:30].double().requires_grad_()
        pull = torch.as_tensor(np.random.default_rng(3).normal(size=(30, COLUMNS)))
        (slope,) = torch.autograd.grad((norm(x) * pull).sum(), x)
        direction = torch.as_tensor(np.random.default_rng(4).normal(size=(30, COLUMNS)))
        h = 1e-6
        with torch.no_grad():
            rise = ((norm(x + h * direction) - norm(x - h * direction)) * pull).sum() / (2 * h)
        assert (slope * direction).sum().item() == pytest.approx(rise.item(), rel=1e-4)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("target", ["gauss", stats.gamma(np.array([1.0, 2.0])), 3])
def test_what_is_no_target_is_told(layer: str, target: Any) -> None:
    with pytest.raises(InputError, match="target must"):
        LAYERS[layer](target=target)
