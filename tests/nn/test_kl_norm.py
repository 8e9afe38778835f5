"""KLNorm and MLENorm against their formulas in float64, what they learn, and their state."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from distfit_nn.errors import InputError
from distfit_nn.nn import KLNorm1d, KLNorm2d, MLENorm1d
from tests import tolerances


@pytest.fixture(autouse=True)
def _one_thread():
    """Small batches gain nothing by threads, which wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


CASES = [
    (KLNorm1d, (50, 300), 1),
    (KLNorm1d, (7, 5, 3), 1),
    (KLNorm1d, (7, 5, 40), 1),
    (KLNorm1d, (2, 3, 4, 5), -1),
    (KLNorm2d, (4, 6, 9, 9), 1),
    (MLENorm1d, (40, 5), 1),
]


def sample(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def formula(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """y and what is added to the loss, features along the last dimension."""
    z = ((x - layer.center) / layer.scale - layer.shift) * torch.exp(-layer.log_scale)
    axes = tuple(range(x.ndim - 1))
    mean, variance = z.mean(axes), z.var(axes, correction=0)
    objective = 0.5 * (mean**2 + variance)
    if not isinstance(layer, MLENorm1d):
        objective = objective - 0.5 - 0.5 * torch.log(variance + layer.eps)
    return z * layer.weight + layer.bias, layer.penalty_weight * objective.sum()


def started(
    kind: type, shape: tuple[int, ...], feature_dim: int = 1, **options: object
) -> nn.Module:
    """A layer that has had a first batch, and has learnt something."""
    layer = kind(shape[feature_dim], feature_dim=feature_dim, **options)
    layer(3 * sample(shape, 5) + 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * sample(parameter.shape, 6)
    return layer


@pytest.mark.parametrize(("kind", "shape", "feature_dim"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_formula_and_its_gradients_in_each_layout(kind, shape, feature_dim, dtype):
    layer = started(kind, shape, feature_dim)
    oracle = copy.deepcopy(layer).double()
    layer = layer.to(dtype)
    x, g = sample(shape), sample(shape, 1)
    given = x.to(dtype, copy=True).requires_grad_()
    layer.zero_grad()
    y = layer(given)
    y.backward(g.to(dtype))
    exact = x.double().requires_grad_()
    expected, penalty = formula(oracle, exact.movedim(feature_dim, -1))
    expected = expected.movedim(-1, feature_dim)
    oracle.zero_grad()
    ((expected * g).sum() + penalty).backward()
    single = dtype == torch.float32
    pairs = [(y, expected), (given.grad, exact.grad)]
    pairs += [
        (a.grad, b.grad) for a, b in zip(layer.parameters(), oracle.parameters(), strict=True)
    ]
    for found, wanted in pairs:
        error = tolerances.LAYER32 if single else tolerances.CLOSED_FORM
        torch.testing.assert_close(
            found.double(), wanted, rtol=0, atol=error * max(1, wanted.abs().max().item())
        )
    torch.testing.assert_close(layer.penalty_weight * layer.last_penalty.sum(), penalty.detach())
    torch.testing.assert_close(
        layer.penalty_weight * layer.penalty(given).detach(), penalty.detach()
    )


@pytest.mark.parametrize("kind", [KLNorm1d, MLENorm1d])
def test_gradcheck_of_the_layer_and_of_the_penalty(kind):
    option = {"kl_weight": 0.0} if kind is KLNorm1d else {"mle_weight": 0.0}
    layer = started(kind, (6, 3), **option).double()
    names = [name for name, _ in layer.named_parameters()]
    values = [value.detach().clone().requires_grad_() for value in layer.parameters()]
    x = sample((6, 3)).double().requires_grad_()

    def function(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), x)

    assert torch.autograd.gradcheck(function, (x, *values), **tolerances.GRADCHECK)
    assert torch.autograd.gradcheck(layer.penalty, (x,), **tolerances.GRADCHECK)
    layer.eval()
    assert torch.autograd.gradcheck(function, (x, *values), **tolerances.GRADCHECK)


def test_the_first_batch_is_standardised_and_stays():
    x = 100 + 7 * sample((64, 5))
    layer, norm = KLNorm1d(5), nn.BatchNorm1d(5)
    torch.testing.assert_close(layer(x), norm(x), rtol=0, atol=100 * tolerances.LAYER32)
    np.testing.assert_allclose(layer.mu, x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(layer.sigma, x.std(0, correction=0), rtol=1e-5)
    before = copy.deepcopy(layer.state_dict())
    other = layer(x + 50)
    torch.testing.assert_close(other, layer.eval()(x + 50), rtol=0, atol=1e-4)
    for name in ("center", "scale"):
        assert torch.equal(layer.state_dict()[name], before[name])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_first_batch_is_standardised_by_what_is_kept_of_it(dtype):
    layer, x = KLNorm1d(5, dtype=dtype), 100 + 7 * sample((64, 5))
    torch.testing.assert_close(layer(x), layer.eval()(x), rtol=0, atol=1e-4)


def test_eval_mode_before_any_batch_is_the_affine_part():
    layer = KLNorm1d(3).eval()
    x = sample((4, 3))
    assert torch.equal(layer(x), x)


def test_the_closed_form_is_batch_norm():
    layer, norm = KLNorm1d(5, affine=False, form="closed"), nn.BatchNorm1d(5, affine=False)
    x, g = sample((9, 5)) + 2, sample((9, 5), 1)
    both = [x.clone().requires_grad_() for _ in range(2)]
    for each, given in zip((layer, norm), both, strict=True):
        each(given).backward(g)
    assert torch.equal(both[0].grad, both[1].grad)
    assert torch.equal(layer(x), norm(x))
    torch.testing.assert_close(layer.running_mean, norm.running_mean)
    torch.testing.assert_close(layer.running_var, norm.running_var)
    torch.testing.assert_close(layer.eval()(x), norm.eval()(x), rtol=0, atol=1e-5)
    assert layer.state_dict().keys() == norm.state_dict().keys()


def test_the_closed_form_minimises_the_divergence():
    x = 3 * sample((200, 1)).double() - 5
    layer = KLNorm1d(1, dtype=torch.float64, eps=0.0)
    layer(x)
    least = layer.penalty(x).item()
    assert least == pytest.approx(0.0, abs=1e-12)
    for name in ("shift", "log_scale"):
        for step in (-0.1, 0.1):
            other = copy.deepcopy(layer)
            with torch.no_grad():
                getattr(other, name).add_(step)
            assert other.penalty(x).item() > least + 1e-3


def test_a_far_divergence_grows_like_a_logarithm():
    layer = KLNorm1d(1, dtype=torch.float64)
    layer(sample((50, 1)).double())
    values = []
    for factor in (1e2, 1e4, 1e6, 1e150):
        x = (factor * sample((50, 1), 1).double()).requires_grad_()
        y = layer(x)
        layer.zero_grad()
        y.backward(torch.zeros_like(y))
        values.append(layer.last_penalty.item())
        assert abs(layer.log_scale.grad.item()) <= 0.01 * 102
        assert x.grad.isfinite().all()
    np.testing.assert_allclose(np.diff(values), 100 * np.log([1e2, 1e2, 1e144]), rtol=1e-2)


def test_the_divergence_alone_brings_mean_and_deviation_to_zero_and_one():
    layer = KLNorm1d(3, kl_weight=3.0)
    layer(sample((64, 3)))
    optimiser = torch.optim.SGD([layer.shift, layer.log_scale], 0.1)
    x = 2 + 3 * sample((64, 3), 1)
    for _ in range(1000):
        optimiser.zero_grad()
        layer(x).backward(torch.zeros(64, 3))
        optimiser.step()
    np.testing.assert_allclose(layer.mu, x.mean(0), rtol=1e-3)
    np.testing.assert_allclose(layer.sigma, x.std(0, correction=0), rtol=1e-3)


def test_the_likelihood_sends_sigma_to_infinity():
    layer = MLENorm1d(3, mle_weight=1.0)
    x = sample((64, 3))
    layer(x)
    optimiser = torch.optim.SGD(layer.parameters(), 0.5)
    sigmas = []
    for steps in (100, 400, 1600):
        for _ in range(steps):
            optimiser.zero_grad()
            layer(x).backward(torch.zeros(64, 3))
            optimiser.step()
        sigmas.append(layer.sigma.max().item())
    assert sigmas[0] > 5
    assert sigmas[1] > 1.8 * sigmas[0]
    assert sigmas[2] > 1.8 * sigmas[1]
    assert layer(x).isfinite().all()
    with torch.no_grad():
        layer.log_scale.fill_(1e9)
    assert (layer(1e30 * x).abs() < 1e18).all()


def test_checkpointing_takes_the_first_batch_once():
    for reentrant in (True, False):
        plain, saving = KLNorm1d(4), KLNorm1d(4)
        x = 5 + 3 * sample((16, 4))
        one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
        plain(one).square().sum().backward()
        checkpoint(saving, two, use_reentrant=reentrant).square().sum().backward()
        assert saving.num_batches_tracked.item() == 1
        for a, b in zip(plain.state_dict().values(), saving.state_dict().values(), strict=True):
            assert torch.equal(a, b)
        torch.testing.assert_close(one.grad, two.grad)
        torch.testing.assert_close(plain.log_scale.grad, saving.log_scale.grad)


def test_state_says_that_there_was_a_first_batch():
    layer = started(KLNorm1d, (16, 4))
    other = KLNorm1d(4)
    other.load_state_dict(layer.state_dict(), strict=True)
    x = 9 + sample((16, 4))
    assert torch.equal(other(x), layer(x))
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    layer.reset_parameters()
    assert layer.scale.eq(0).all()
    torch.testing.assert_close(layer(x).mean(0), torch.zeros(4), rtol=0, atol=1e-4)


def test_a_start_from_given_statistics():
    layer, norm = KLNorm1d(4), nn.BatchNorm1d(4)
    norm(5 + 2 * sample((64, 4)))
    layer._start_from(norm.running_mean, norm.running_var)
    x = sample((8, 4))
    torch.testing.assert_close(layer(x), norm.eval()(x), rtol=0, atol=1e-5)
    closed = KLNorm1d(4, form="closed")
    closed._start_from(norm.running_mean, norm.running_var)
    torch.testing.assert_close(closed.eval()(x), norm(x), rtol=0, atol=1e-5)


def test_gradient_accumulation_and_two_forwards_before_a_backward():
    one, two = started(KLNorm1d, (16, 4)), started(KLNorm1d, (16, 4))
    batches = [sample((16, 4), seed) for seed in (1, 2)]
    for layer in (one, two):
        layer.zero_grad()
    for batch in batches:
        one(batch).square().sum().backward()
    sum(two(batch).square().sum() for batch in batches).backward()
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-4)


def test_one_row():
    layer = KLNorm1d(3)
    x = sample((1, 3)).requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert torch.equal(y, layer.bias.expand(1, 3))
    assert (x.grad == 0).all()
    assert (layer.scale == 0).all()
    layer(sample((5, 3)))
    torch.testing.assert_close(layer(x), layer.eval()(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hard_columns(dtype):
    x = sample((20, 5)).to(dtype)
    x[3, 0] = torch.nan
    x[:, 1] = 7.0
    x[:10, 2] = 0.0
    x[0, 3] = 1e30
    x.requires_grad_()
    layer = KLNorm1d(5, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = layer(x)
        y.backward(torch.ones_like(y))
    assert y[:, 0].isnan().all()
    assert y[:, 1:].isfinite().all()
    assert x.grad[:, 1:].isfinite().all()
    assert (y[:, 1] == 0).all()
    assert layer.scale[0] == 0
    assert layer.sigma[1] == 1
    whole = layer(sample((20, 5), 1).to(dtype))
    assert whole[:, 0].std(correction=0).item() == pytest.approx(1, abs=1e-4)


def test_the_unit_of_x_does_not_matter():
    x, g = sample((32, 4)), sample((32, 4), 1)
    found = []
    for unit in (1.0, 1e-6, 1e6):
        layer = KLNorm1d(4, eps=0.0)
        layer(unit * x)
        layer(unit * (x + 1)).backward(g)
        found.append(torch.stack([layer.shift.grad, layer.log_scale.grad]))
    for other in found[1:]:
        torch.testing.assert_close(found[0], other, rtol=1e-4, atol=1e-4)


def test_bad_input():
    with pytest.raises(InputError, match="form"):
        KLNorm1d(3, form="open")
    with pytest.raises(InputError, match="kl_weight"):
        KLNorm1d(3, kl_weight=-1)
    with pytest.raises(InputError, match="kl_weight"):
        KLNorm1d(3, kl_weight=float("inf"))
    with pytest.raises(InputError, match="mle_weight"):
        MLENorm1d(3, mle_weight="1")
    with pytest.raises(InputError, match="closed"):
        KLNorm1d(3, form="closed").penalty(torch.zeros(2, 3))
    with pytest.raises(InputError, match="dimensions"):
        KLNorm2d(3)(torch.zeros(2, 3))


def test_second_derivatives_are_refused():
    x = sample((3, 2)).requires_grad_()
    (dx,) = torch.autograd.grad(KLNorm1d(2)(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        dx.sum().backward()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["learned", "closed"])
def test_compiled_and_exported(form):
    layer = KLNorm1d(4, form=form)
    layer(sample((16, 4)))
    training = torch.compile(layer)(sample((16, 4), 1))
    torch.testing.assert_close(training, layer(sample((16, 4), 1)), rtol=1e-5, atol=1e-5)
    layer.eval()
    x = sample((9, 4))
    plain = layer(x)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True)(x), plain)
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), plain)


def _accuracy(layer: object, seed: int) -> float:
    """Test accuracy on digits after 15 epochs of SGD, rate 0.05."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target)
    torch.manual_seed(seed)
    parts: list[nn.Module] = []
    for wide in (64, 100, 100):
        parts += [nn.Linear(wide, 100), layer(100), nn.ReLU()]
    net = nn.Sequential(*parts, nn.Linear(100, 10))
    optimiser = torch.optim.SGD(net.parameters(), 0.05)
    order = torch.randperm(len(x))
    train, test = order[:1400], order[1400:]
    for _ in range(15):
        for some in train[torch.randperm(len(train))].split(50):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[some]), y[some]).backward()
            optimiser.step()
    net.eval()
    with torch.no_grad():
        return (net(x[test]).argmax(1) == y[test]).float().mean().item()


@pytest.mark.slow
def test_it_trains_nearly_as_well_as_batch_norm():
    learned = np.mean([_accuracy(KLNorm1d, seed) for seed in range(3)])
    norm = np.mean([_accuracy(nn.BatchNorm1d, seed) for seed in range(3)])
    assert learned > norm - 0.02
