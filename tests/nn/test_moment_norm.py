"""MomentNorm: BatchNorm at order 2, the moments' map above; running moments and the test phase."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distfit_nn import maxent
from distfit_nn.errors import InputError
from distfit_nn.nn import GaussianMixture, MomentNorm1d, MomentNorm2d, running_law
from distfit_nn.transforms import QuantileMap
from distfit_nn.transforms.moments.law import OK
from distfit_nn.transforms.moments.match import matched
from tests import tolerances
from tests.devices import one_thread  # noqa: F401

ORDERS = range(2, 9)
HIGHER = [3, 4, 5, 6, 8]


def columns(rows: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a normal, a gamma, a bimodal and a half-zero column."""
    rng = np.random.default_rng(seed)
    each = [
        rng.normal(size=rows),
        rng.gamma(2.0, size=rows),
        np.where(rng.random(rows) < 0.5, -2.0, 2.0) + 0.5 * rng.normal(size=rows),
        np.maximum(rng.normal(size=rows), 0.0),
    ]
    return torch.from_numpy(np.stack(each, axis=1)).to(dtype)


def seen(layer: nn.Module, *batches: Tensor) -> nn.Module:
    """Return the layer after it has been trained on batches."""
    layer.train()
    with torch.no_grad():
        for x in batches:
            layer(x)
    return layer


def rms(y: Tensor) -> Tensor:
    """Return the root of the mean square of columns."""
    return y.double().square().mean(dim=0).sqrt()


# Order 2 is BatchNorm


@pytest.mark.parametrize("momentum", [0.1, None, 0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_order_two_is_batch_norm(momentum: float | None, dtype: torch.dtype):
    tolerance = tolerances.batch_norm(dtype)
    own = MomentNorm1d(4, order=2, momentum=momentum, dtype=dtype)
    peer = nn.BatchNorm1d(4, momentum=momentum, dtype=dtype)
    for layer in (own, peer):
        layer.weight.data = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=dtype)
        layer.bias.data = torch.tensor([0.0, 1.0, -1.0, 5.0], dtype=dtype)
    for seed, rows in enumerate((50, 7, 200, 2, 31)):
        x = 3 * columns(rows, seed, dtype) + 10
        results = []
        for layer in (own, peer):
            given = x.clone().requires_grad_()
            y = layer(given)
            layer.zero_grad()
            (y * torch.linspace(-1, 1, y.numel(), dtype=dtype).reshape(y.shape)).sum().backward()
            gradients = given.grad, layer.weight.grad, layer.bias.grad
            results.append((y.detach(), *gradients, layer.running_mean, layer.running_var))
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, **tolerance)
    assert own.num_batches_tracked == peer.num_batches_tracked
    x = 3 * columns(64, 99, dtype) + 10
    torch.testing.assert_close(own.eval()(x), peer.eval()(x), **tolerance)


def test_order_two_is_batch_norm_on_planes():
    own, peer = MomentNorm2d(4, order=2), nn.BatchNorm2d(4)
    x = columns(6 * 5 * 7).reshape(6, 5, 7, 4).permute(0, 3, 1, 2)
    torch.testing.assert_close(own(x), peer(x), **tolerances.batch_norm(torch.float32))
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(
            getattr(own, name), getattr(peer, name), **tolerances.batch_norm(torch.float32)
        )


def test_the_identity_is_recovered():
    x = 3 * columns(200, dtype=torch.float64) + 10
    layer = MomentNorm1d(4, order=2, dtype=torch.float64)
    layer.weight.data = (x.var(dim=0, correction=0) + layer.eps).sqrt()
    layer.bias.data = x.mean(dim=0)
    torch.testing.assert_close(layer(x), x, **tolerances.LAYER_DOUBLE)


# Higher orders, in training


@pytest.mark.parametrize("order", HIGHER)
def test_a_normal_column_is_standardised(order: int):
    x = 5 * torch.from_numpy(np.random.default_rng(0).normal(size=(4000, 6))) - 2
    with torch.no_grad():
        difference = MomentNorm1d(6, order=order)(x) - nn.BatchNorm1d(6, dtype=x.dtype)(x)
    assert rms(difference).max() < tolerances.normal_scores(4000)


@pytest.mark.parametrize("order", HIGHER)
def test_training_is_the_quantile_map(order: int):
    x = columns(3000, dtype=torch.float64)
    with torch.no_grad():
        y = MomentNorm1d(4, order=order, eps=0.0)(x).numpy()
        plain = MomentNorm1d(4, order=order, eps=0.0, reach=None)(x).numpy()
    z = ((x - x.mean(dim=0)) / x.std(dim=0, correction=0)).numpy()
    solved = matched(x, order)[1].status == OK
    assert solved.all()
    for j in range(4):
        density = maxent.fit(z[:, j], order, (-10.0, 10.0))
        exact = QuantileMap(density, outside="exact").forward(z[:, j])
        np.testing.assert_allclose(plain[:, j], exact, atol=tolerances.QUANTILE_MAP)
        excess = np.maximum(np.abs(exact) - 3, 0)
        shown = np.clip(exact, -3, 3) + np.sign(exact) * np.arcsinh(2 * excess) / 2
        np.testing.assert_allclose(y[:, j], shown, atol=tolerances.QUANTILE_MAP_BELIEVED)


@pytest.mark.parametrize("reach", [None, 3.0, 1.0])
@pytest.mark.parametrize("order", [2, 3, 4, 5, 6])
def test_gradients(order: int, reach: float | None):
    x = columns(14, dtype=torch.float64).requires_grad_()
    layer = MomentNorm1d(4, order=order, dtype=torch.float64, reach=reach)
    assert torch.autograd.gradcheck(layer, (x,), atol=tolerances.LAYER_GRADIENT)


@pytest.mark.parametrize("reach", [0.0, -1.0, math.inf, math.nan, "3", True])
def test_reaches_that_there_are_not(reach: object):
    with pytest.raises(InputError, match="reach must be"):
        MomentNorm1d(3, reach=reach)


@pytest.mark.parametrize("order", ORDERS)
def test_few_rows(order: int):
    """At most `order` rows are standardised; one gives the bias, and no gradient."""
    for rows in (1, 2, order, order + 1):
        x = columns(rows, seed=5, dtype=torch.float64)[:, :3].requires_grad_()
        layer = MomentNorm1d(3, order=order, dtype=torch.float64)
        layer.bias.data.fill_(0.75)
        y = layer(x)
        y.sum().backward()
        assert y.isfinite().all()
        assert x.grad.isfinite().all()
        if rows == 1:
            assert (y == 0.75).all()
            assert (x.grad == 0).all()
            assert (layer.running_mean == 0).all()
            assert (layer.running_var == 1).all()
        elif rows <= order:
            line = nn.functional.batch_norm(x, None, None, training=True) + 0.75
            torch.testing.assert_close(y, line, **tolerances.LAYER_DOUBLE)


@pytest.mark.parametrize("order", [1, 9, 4.0, "4", True])
def test_orders_that_there_are_not(order: object):
    with pytest.raises(InputError, match="order must be"):
        MomentNorm1d(3, order=order)


# The running law


@pytest.mark.parametrize("order", HIGHER)
def test_the_running_law_is_that_of_all_rows(order: int):
    """As one batch of all of them has it, be they in many small ones."""
    x = columns(1200, dtype=torch.float64)
    many = seen(MomentNorm1d(4, order=order, momentum=None, dtype=x.dtype), *x.split(12))
    one = seen(MomentNorm1d(4, order=order, momentum=None, dtype=x.dtype), x)
    torch.testing.assert_close(many._law()[:-1], one._law()[:-1], rtol=1e-9, atol=1e-9)
    z = (x - x.mean(dim=0)) / x.std(dim=0, correction=0)
    for power in range(3, order + 1):
        torch.testing.assert_close(many._law()[power - 1], (z**power).mean(dim=0))


def test_momentum_weighs_the_batches():
    x = columns(300, dtype=torch.float64)
    layer = seen(MomentNorm1d(4, order=4, momentum=0.3, dtype=x.dtype), *x.split(100))
    weights = torch.tensor([0.7**2, 0.7, 1.0], dtype=x.dtype).repeat_interleave(100)[:, None]
    weights /= weights.sum()
    mean = (weights * x).sum(dim=0)
    std = (weights * (x - mean) ** 2).sum(dim=0).sqrt()
    for power in (3, 4):
        expected = (weights * ((x - mean) / std) ** power).sum(dim=0)
        torch.testing.assert_close(layer._law()[power - 1], expected)


def test_the_start_has_no_part_in_the_law():
    """BatchNorm's running mean is still far off, where the data is far from 0."""
    x = 1e-2 * columns(400, dtype=torch.float64) + 1000
    layer = seen(MomentNorm1d(4, order=4), *x.split(100))
    assert (layer.running_mean < 500).all()
    with torch.no_grad():
        y = layer.eval()(x)
        expected = MomentNorm1d(4, order=4)(x)
    assert rms(y - expected).max() < 0.1


def test_rounding_of_the_running_mean_stays_in_the_law():
    x = 1e-3 * columns(400, dtype=torch.float64) + 100  # float32 tells 0.008 deviations apart
    layer = seen(MomentNorm1d(4, order=3, momentum=None), x)
    torch.testing.assert_close(
        layer._law()[0], x.mean(dim=0), rtol=0, atol=1e-3 * tolerances.LAYER_SINGLE["atol"]
    )


def test_columns_that_do_not_count_leave_the_law():
    layer = seen(MomentNorm1d(4, order=4), columns(50))
    before = copy.deepcopy(layer.state_dict())
    x = columns(50, 1)
    x[3, 1], x[4, 2] = math.nan, 1e30
    seen(layer, x)
    for name in ("running_mean", "running_var", "running_moments"):
        after = layer.state_dict()[name]
        assert torch.equal(after[..., 1:3], before[name][..., 1:3])
        assert not torch.equal(after[..., 0], before[name][..., 0])


def test_one_row_and_no_momentum_leave_everything():
    layer = seen(MomentNorm1d(4, order=4), columns(50))
    before = copy.deepcopy(layer.state_dict())
    seen(layer, columns(1))
    layer.momentum = 0.0
    seen(layer, columns(50, 2))
    after = layer.state_dict()
    assert all(torch.equal(after[n], before[n]) for n in before if n != "num_batches_tracked")
    assert int(after["num_batches_tracked"]) == 2  # one row is no batch


# The test phase


@pytest.mark.parametrize("order", ORDERS)
def test_fresh_it_is_the_identity(order: int):
    x = 3 * columns(50)
    layer = MomentNorm1d(4, order=order).eval()
    torch.testing.assert_close(layer(x), x / math.sqrt(1 + 1e-5), **tolerances.LAYER_SINGLE)


def test_started_from_mean_and_variance():
    layer = MomentNorm1d(4, order=6).eval()
    mean, var = torch.tensor([0.0, 1.0, -5.0, 100.0]), torch.tensor([1.0, 4.0, 1e-6, 0.0])
    layer._start_from(mean, var)
    x = columns(50) + mean
    expected = (x - mean) / (var + layer.eps).sqrt()
    torch.testing.assert_close(layer(x), expected, **tolerances.LAYER_SINGLE)


@pytest.mark.parametrize("order", HIGHER)
def test_after_one_batch_it_does_what_training_did(order: int):
    x = columns(2000, dtype=torch.float64)
    layer = MomentNorm1d(4, order=order, dtype=x.dtype)
    with torch.no_grad():
        y = layer(x)
        difference = layer.eval()(x) - y
    assert rms(difference).max() < tolerances.TEST_PHASE_TABLE


@pytest.mark.parametrize("momentum", [None, 0.1])
def test_it_is_near_a_large_batch_in_training(momentum: float | None):
    """On average over samples: in some, sampling alone takes a normal column beyond that."""
    copies = 8

    def drawn(rows: int, seed: int) -> Tensor:
        return columns(rows * copies, seed).reshape(rows, copies * 4)

    layer = MomentNorm1d(4 * copies, order=4, momentum=momentum)
    seen(layer, *[drawn(1024, seed) for seed in range(1, 61)])
    x = drawn(40_000, 0)
    with torch.no_grad():
        difference = layer.eval()(x) - MomentNorm1d(4 * copies, order=4)(x)
    each = rms(difference).reshape(copies, 4)
    assert rms(each).max() < tolerances.TEST_PHASE_OF_MOMENTS


@pytest.mark.parametrize("order", HIGHER)
def test_normal_columns_hardly_know_a_reach(order: int):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(20_000, 4)))
    with torch.no_grad():
        y, plain = (MomentNorm1d(4, order=order, reach=reach)(x) for reach in (3.0, None))
    assert rms(y - plain).square().mean().sqrt() < 0.005


def test_the_refit_is_done_once_and_anew_when_something_changed():
    layer = seen(MomentNorm1d(4, order=4), columns(100)).eval()
    table = layer.lookup
    layer.eval()
    layer(columns(5))
    assert layer.lookup is table
    layer.running_moments[3] += 0.5
    y = layer(columns(5))
    assert layer.lookup is not table
    table = layer.lookup
    layer.load_state_dict(layer.state_dict())
    assert layer.lookup is not table
    torch.testing.assert_close(layer(columns(5)), y)
    assert "lookup" not in layer.state_dict()


@pytest.mark.parametrize("order", [4, 6])
def test_without_a_density_it_is_a_line(order: int):
    """Two values have no density of four moments, in the running law as in a batch."""
    x = torch.where(torch.arange(64) % 3 == 0, -1.0, 4.0)[:, None]
    layer = MomentNorm1d(1, order=order, momentum=None)
    with torch.no_grad():
        y = layer(x)
        torch.testing.assert_close(layer.eval()(x), y, **tolerances.LAYER_SINGLE)
        slope = layer(torch.tensor([[0.0], [1.0]])).diff(dim=0)
    expected = 1 / math.sqrt(float(x.var(correction=0)) + 1e-5)
    assert float(slope) == pytest.approx(expected, rel=1e-4)


def test_a_constant_column():
    x = torch.full((32, 1), 7.25)
    layer = seen(MomentNorm1d(1, order=4, momentum=None), x, x).eval()
    with torch.no_grad():
        assert float(layer(x).abs().max()) < tolerances.LAYER_LEVEL["atol"]
        assert layer(x + 1e3).isfinite().all()


def test_far_out_it_is_finite_and_increasing():
    layer = seen(MomentNorm1d(4, order=6), columns(500)).eval()
    x = torch.tensor([-1e30, -1e6, -100.0, -10.0, 0.0, 10.0, 100.0, 1e6, 1e30])[:, None].expand(
        9, 4
    )
    with torch.no_grad():
        y = layer(x)
    assert y.isfinite().all()
    assert (y.diff(dim=0) >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_law_survives_half_precision(dtype: torch.dtype):
    x = columns(1000)
    layer = seen(MomentNorm1d(4, order=4), x).eval()
    with torch.no_grad():
        expected = layer(x)
        y = layer.to(dtype).float()(x)
    assert rms(y - expected).max() < tolerances.half_law(dtype)


@pytest.mark.parametrize("learnable", [False, True])
def test_a_target_in_the_test_phase(learnable: bool):
    x = columns(2000, dtype=torch.float64)
    target = GaussianMixture([0.5, 0.5], [-1.5, 1.5], [0.5, 0.7], learnable=learnable)
    layer = MomentNorm1d(4, order=4, target=target, dtype=x.dtype)
    with torch.no_grad():
        y = layer(x)
    z = layer.eval()(x)
    assert rms(z.detach() - y).max() < 4 * tolerances.TEST_PHASE_TABLE
    inner = [name for name, _ in layer.named_parameters() if name.startswith("target")]
    assert bool(inner) == learnable
    z.square().sum().backward()
    assert all(dict(layer.named_parameters())[name].grad.abs().sum() > 0 for name in inner)


def test_its_law_can_be_read():
    layer = seen(
        MomentNorm1d(4, order=4, momentum=None, eps=0.0), columns(500, dtype=torch.float64)
    )
    assert layer.running_moments.shape == (5, 4)
    assert running_law.is_known(layer.running_moments).all()
    assert layer.running_moments[0].abs().max() < 1e-5  # its mean is BatchNorm's
    torch.testing.assert_close(layer.running_moments[1], torch.full((4,), 499 / 500))
    assert MomentNorm1d(4, order=2).running_moments is None
    assert "order=4" in repr(layer)
