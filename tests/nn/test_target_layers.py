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
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import distfit_nn as dn
from distfit_nn.errors import InputError
from distfit_nn.nn.targets import BIMODAL, GaussianMixture
from tests import tolerances
from tests.devices import one_thread  # noqa: F401

ROWS, COLUMNS = 5_000, 3
MANY = 20_000  # rows to compare the phases by
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
    "copula": lambda rng, rows: np.stack(
        [rng.normal(2, 3, rows), rng.gamma(2.0, size=rows), rng.uniform(-1, 1, rows)], axis=1
    ),
    "moment": lambda rng, rows: rng.normal([0, 2, -5], [1, 3, 0.2], (rows, COLUMNS)),
}


def batch(layer: str, seed: int = 0, rows: int = ROWS) -> Tensor:
    return torch.as_tensor(SHAPES[layer](np.random.default_rng(seed), rows), dtype=torch.float32)


def made(layer: str, target: Any, rows: int = ROWS, **options: Any) -> nn.Module:
    """Return a layer whose running statistics are those of a batch of the law."""
    norm = LAYERS[layer](target=target, momentum=None, **options)
    with torch.no_grad():
        norm(batch(layer, 1, rows))
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
    norm = made(layer, ALL[kind][0], MANY)
    x = batch(layer, rows=MANY)
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


def of_learnable(layer: str, **options: Any) -> nn.Module:
    target = GaussianMixture(*MIXTURE, learnable=True)
    return made(layer, target, dtype=torch.float64, **options).eval()


@pytest.mark.parametrize("layer", LAYERS)
def test_the_table_of_a_learnable_target_is_that_of_its_parameters(layer: str) -> None:
    norm = of_learnable(layer)
    x = batch(layer, 5)[:200].double()
    optimizer = torch.optim.SGD(norm.target.parameters(), lr=0.5)
    before = None
    for _ in range(2):
        exact = norm(x)  # element by element: gradients may be asked for
        with torch.no_grad():
            tabulated = norm(x)
        with torch.inference_mode():
            torch.testing.assert_close(norm(x), tabulated, rtol=0, atol=0)
        rms = (tabulated - exact).square().mean().sqrt()
        assert 0 < rms < tolerances.TEST_PHASE_TABLE
        assert before is None or (tabulated - before).abs().max() > 0.1
        before = tabulated
        exact.square().mean().backward()
        assert all((part.grad != 0).any() for part in norm.target.parameters())
        optimizer.step()


@pytest.mark.parametrize("layer", LAYERS)
def test_the_table_of_a_learnable_target_follows_the_running_statistics(layer: str) -> None:
    norm = of_learnable(layer)
    x = batch(layer, 5)[:200].double()
    with torch.no_grad():
        norm(x)
        other = copy.deepcopy(norm)
        for _ in range(3):  # as often as the original has changed
            other.target.means.add_(0.2)
        for layer_ in (norm, other):
            layer_.train()(3 * x + 1)
            tabulated = layer_.eval()(x)
            with torch.enable_grad():
                exact = layer_(x).detach()
            assert (tabulated - exact).square().mean().sqrt() < tolerances.TEST_PHASE_TABLE
        assert (other(x) - norm(x)).abs().mean() > 0.3


@pytest.mark.parametrize("layer", LAYERS)
def test_a_learnable_target_that_is_frozen_is_tabulated_with_gradients_too(layer: str) -> None:
    norm = of_learnable(layer)
    norm.target.requires_grad_(False)
    x = batch(layer, 5)[:50].double().requires_grad_()
    with torch.inference_mode():
        tabulated = norm(x)
    y = norm(x)
    torch.testing.assert_close(y, tabulated, rtol=0, atol=0)
    y.sum().backward()
    assert x.grad is not None
    assert norm.weight.grad is not None
    assert (x.grad > 0).all()


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


@pytest.mark.parametrize("target", ["bimodal", stats.laplace()], ids=["bimodal", "Laplace"])
@pytest.mark.parametrize("layer", LAYERS)
def test_an_average_of_models_has_the_same_target(layer: str, target: Any) -> None:
    norm = made(layer, target)
    average = AveragedModel(norm, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for _ in range(3):
        average.update_parameters(norm)
    x = batch(layer)[:50]
    with torch.no_grad():
        for phase in (True, False):
            ours, true = (part.train(phase)(x) for part in (average, norm))
            torch.testing.assert_close(ours, true, rtol=1e-5, atol=1e-5)
    assert not list(norm.target.buffers())


@pytest.mark.parametrize("target", ["bimodal", stats.laplace()], ids=["bimodal", "Laplace"])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_made_on_the_meta_device_takes_a_state(layer: str, target: Any) -> None:
    norm = made(layer, target)
    with torch.device("meta"):
        first = LAYERS[layer](target=target)
    x = batch(layer)[:50]
    for other in (first, LAYERS[layer](target=target, device="meta")):
        other.load_state_dict(norm.state_dict(), strict=True, assign=True)
        with torch.no_grad():
            for phase in (False, True):
                ours = other.train(phase)(x)
                torch.testing.assert_close(ours, copy.deepcopy(norm).train(phase)(x))


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
