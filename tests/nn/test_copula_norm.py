"""The copula norms: layouts, strengths, the running table and the test phases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from distfit_nn.errors import InputError
from distfit_nn.nn import convert_norms, copula_running, score_table
from distfit_nn.nn.copula_norm import CopulaNorm1d, CopulaNorm2d
from tests import tolerances
from tests.copula.relative_oracle import KINDS, drawn, share

Array = NDArray[np.float64]


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_planes_are_columns_in_any_memory_format(memory):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(5, 9, 4, 3, generator=generator).contiguous(memory_format=memory)
    g = torch.randn(5, 9, 4, 3, generator=generator)
    layer, flat = CopulaNorm2d(9), CopulaNorm1d(9)
    rows = x.permute(0, 2, 3, 1).reshape(-1, 9).clone().requires_grad_()
    x.requires_grad_()
    y, wanted = layer(x), flat(rows)
    assert y.is_contiguous(memory_format=memory)
    torch.testing.assert_close(y.permute(0, 2, 3, 1).reshape(-1, 9), wanted, rtol=0, atol=0)
    y.backward(g)
    wanted.backward(g.permute(0, 2, 3, 1).reshape(-1, 9))
    torch.testing.assert_close(x.grad.permute(0, 2, 3, 1).reshape(-1, 9), rows.grad)
    torch.testing.assert_close(layer.table, flat.table, rtol=0, atol=0)
    torch.testing.assert_close(layer.raw_strength.grad, flat.raw_strength.grad)


def test_a_gradient_in_another_memory_than_x():
    x, g = torch.randn(5, 9, 4, 3), torch.randn(5, 9, 4, 3)
    found = []
    for one in (torch.contiguous_format, torch.channels_last):
        for two in (torch.contiguous_format, torch.channels_last):
            given = x.clone(memory_format=one).requires_grad_()
            CopulaNorm2d(9)(given).backward(g.contiguous(memory_format=two))
            found.append(given.grad)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=1e-6)


def test_gradients_of_sums_have_no_memory_of_their_own():
    x = torch.randn(6, 3, 4, 4, requires_grad=True)
    layer = CopulaNorm2d(3)
    layer(x).sum().backward()
    assert x.grad is not None
    assert (layer.bias.grad == 96).all()


# The strength


@pytest.mark.parametrize("start", [1e-4, 0.5, 5.0, 50.0, 1e4])
def test_any_strength_can_be_started_from(start):
    layer = CopulaNorm1d(3, strength=start)
    torch.testing.assert_close(layer.strength, torch.full((3,), start), rtol=1e-6, atol=0)
    assert layer.raw_strength.requires_grad
    assert not CopulaNorm1d(3, learn_strength=False).raw_strength.requires_grad


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan, "5", True])
def test_a_strength_that_is_not_positive_is_refused(bad):
    with pytest.raises(InputError, match="strength must be"):
        CopulaNorm1d(3, strength=bad)


def test_an_unknown_test_phase_is_refused():
    with pytest.raises(InputError, match="test_phase must be one of"):
        CopulaNorm1d(3, test_phase="spline")


def test_small_units_keep_their_shape():
    """Features of 1e-3 are scaled as others; those of 1e-7, below the floor, are not blown up."""
    x = torch.randn(500, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y, small, noise = (CopulaNorm1d(1)(scale * x) for scale in (1.0, 1e-3, 1e-7))
    torch.testing.assert_close(small, y, rtol=1e-3, atol=1e-3)
    assert noise.abs().max() < 0.2


# The running table


def trained(strength: float, momentum: float | None, rows: int, batches: int) -> CopulaNorm1d:
    """Return a layer that has seen batches of all kinds."""
    rng = np.random.default_rng(11)
    layer = CopulaNorm1d(len(KINDS), momentum=momentum, strength=strength)
    with torch.no_grad():
        for _ in range(batches):
            layer(torch.from_numpy(drawn(rows, rng)).float())
    return layer


def error(layer: CopulaNorm1d, rows: int = 20_000) -> Array:
    """Return the RMS difference between eval and the train phase of a large batch, by kind."""
    x = torch.from_numpy(drawn(rows, np.random.default_rng(12))).float()
    with torch.no_grad():
        layer._counting = False
        wanted = layer.train()(x)
        found = layer.eval()(x)
    return (found - wanted).square().mean(dim=0).sqrt().numpy()


@pytest.mark.parametrize("strength", [5.0, 50.0])
def test_eval_is_the_train_phase_of_a_large_batch(strength):
    found = error(trained(strength, None, 1024, 60))
    assert (found < tolerances.COPULA_TEST_PHASE).all(), found


def test_eval_is_near_with_momentum():
    """0.1 averages about 19 batches."""
    found = error(trained(5.0, 0.1, 1024, 60))
    assert np.sqrt((found**2).mean()) < tolerances.COPULA_TEST_PHASE, found


def test_knots_stay_where_they_are():
    """Batches of one law do not move them, so that nothing is lost by interpolation."""
    layer, rng = trained(5.0, None, 1024, 20), np.random.default_rng(5)
    before = layer.knots.clone()
    with torch.no_grad():
        for _ in range(20):
            layer(torch.from_numpy(drawn(1024, rng)).float())
    assert (layer.knots == before).all(dim=0).sum() >= len(KINDS) - 1


def test_the_table_is_the_mean_over_batches():
    """At knots that stay, it is linear in the data, whatever the order of the batches."""
    rng = np.random.default_rng(8)
    batches = [torch.from_numpy(rng.standard_normal((300, 2))) for _ in range(4)]
    layer = CopulaNorm1d(2, momentum=None, dtype=torch.float64)
    for x in batches:
        layer(x)
    assert (layer.knots[:, 0] == torch.linspace(-4, 4, 65, dtype=torch.float64)).all()
    at = layer.knots[:, 0].numpy()
    wanted = np.mean([share(x[:, 0].numpy(), 5.0, at) for x in batches], axis=0)
    wanted[33:] -= 1.0
    np.testing.assert_allclose(layer.table[:, 0], wanted, atol=tolerances.COPULA_SHARE)


def test_the_first_batches_count_alike_and_the_start_for_nothing():
    """Then the newest counts by the momentum; at knots that stay, tables are averages."""
    generator = torch.Generator().manual_seed(4)
    batches = torch.randn(5, 300, 2, dtype=torch.float64, generator=generator)
    layer = CopulaNorm1d(2, momentum=0.3, dtype=torch.float64)
    tables = []
    for x in batches:
        whole = CopulaNorm1d(2, momentum=None, dtype=torch.float64)
        whole(x), layer(x)
        tables.append(whole.table)
        if len(tables) == 3:
            torch.testing.assert_close(layer.table, sum(tables) / 3)
    wanted = 0.7 * (0.7 * sum(tables[:3]) / 3 + 0.3 * tables[3]) + 0.3 * tables[4]
    torch.testing.assert_close(layer.table, wanted)


@pytest.mark.parametrize("phase", ["table", "linear"])
def test_one_batch_is_enough(phase):
    x = 100 + 0.1 * torch.randn(2000, 2, generator=torch.Generator().manual_seed(4))
    layer = CopulaNorm1d(2, test_phase=phase)
    y = layer(x)
    assert (layer.eval()(x) - y).square().mean().sqrt() < 2 * tolerances.COPULA_TEST_PHASE


@pytest.mark.parametrize("phase", ["table", "linear"])
def test_a_momentum_of_zero_moves_nothing(phase):
    layer = CopulaNorm1d(2, momentum=0.0, test_phase=phase)
    before = [buffer.clone() for buffer in layer.buffers()]
    layer(3 + torch.randn(100, 2, generator=torch.Generator().manual_seed(4)))
    for one, two in zip(layer.buffers(), before, strict=True):
        assert one.ndim == 0 or torch.equal(one, two)


@pytest.mark.parametrize("phase", ["table", "linear"])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_one_row_is_not_counted(phase, momentum):
    generator = torch.Generator().manual_seed(4)
    one, two = (CopulaNorm1d(2, momentum=momentum, test_phase=phase) for _ in range(2))
    for _ in range(3):
        x = torch.randn(50, 2, generator=generator)
        one(x), two(x), two(x[:1] + 9)
    assert two.num_batches_tracked == 3
    for name, buffer in one.named_buffers():
        assert torch.equal(two.get_buffer(name), buffer)


@pytest.mark.parametrize("phase", ["table", "linear"])
@pytest.mark.parametrize("count", [0, 3, 500])
def test_what_is_taken_over_is_not_replaced(phase, count):
    """Of batches that count as many as are known, or else as the momentum averages."""
    norm = torch.nn.BatchNorm1d(1)
    norm.running_mean.fill_(7.0)
    norm.running_var.fill_(4.0)
    norm.num_batches_tracked.fill_(count)
    model = torch.nn.Sequential(norm)
    convert_norms(model, CopulaNorm1d, test_phase=phase)
    layer = model[0]
    x = torch.tensor([[5.0], [7.0], [9.0]])
    wanted = torch.tensor([[-1.0], [0.0], [1.0]])
    torch.testing.assert_close(layer.eval()(x), wanted, **tolerances.LOOKED_UP)
    layer.train()(7 + 2 * torch.randn(500, 1, generator=torch.Generator().manual_seed(4)) + 2)
    share = {0: 0.1, 3: 0.25, 500: 0.1}[count]
    middle = layer.eval()(torch.tensor([[7.0]])).item()
    assert -1.5 * share < middle < -0.6 * share


def test_knots_follow_a_column_that_moves():
    generator = torch.Generator().manual_seed(9)
    layer = CopulaNorm1d(1, momentum=0.1)
    x = 100 + 0.1 * torch.randn(1024, 1, generator=generator)
    for _ in range(120):
        layer(x)
    assert ((layer.knots > 99.3) & (layer.knots < 100.7)).sum() > 50
    with torch.no_grad():
        assert (layer.eval()(x) - layer.train()(x)).abs().max() < 0.1


def test_before_any_batch_it_is_the_identity_to_4():
    layer = CopulaNorm1d(2).eval()
    x = torch.tensor([[-9.0, -4.0], [-2.0, 0.5], [3.0, 1e30]])
    torch.testing.assert_close(layer(x), x.clamp(-4, 4), **tolerances.LOOKED_UP)
    layer._start_from(torch.tensor([1.0, -50.0]), torch.tensor([4.0, 0.25]))
    x = torch.tensor([[1.0, -50.0], [3.0, -49.0], [100.0, -51.5]])
    wanted = torch.tensor([[0.0, 0.0], [1.0, 2.0], [4.0, -3.0]])
    torch.testing.assert_close(layer(x), wanted, **tolerances.LOOKED_UP)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_few_rows(rows):
    layer = CopulaNorm1d(2, strength=50.0)
    before = layer.table.clone()
    x = torch.tensor([[0.0, 5.0], [1.0, 5.0], [3.0, 5.0]])[:rows].requires_grad_()
    y = layer(x)
    y.square().sum().backward()
    wanted = ndtri((np.arange(rows) + 0.5) / rows)
    np.testing.assert_allclose(y[:, 0].detach(), wanted, atol=1e-4)
    assert (y[:, 1] == 0).all()
    assert x.grad.isfinite().all()
    assert (rows == 1) == bool((layer.table == before).all())


def test_outliers_only_at_test_hold_at_the_end():
    layer = trained(5.0, None, 256, 3).eval()
    x = torch.tensor([[-1e30], [-1e9], [1e9], [1e30]]).expand(-1, len(KINDS))
    y = layer(x)
    assert y.isfinite().all()
    assert (y.abs() <= score_table.BOUND).all()
    torch.testing.assert_close(y[0], y[1])
    torch.testing.assert_close(y[2], y[3])


@pytest.mark.parametrize("phase", ["table", "linear"])
def test_buffers_that_change_are_seen(phase):
    layer = CopulaNorm1d(2, test_phase=phase).eval()
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    before = layer(x)
    layer._start_from(torch.ones(2), torch.full((2,), 4.0))
    torch.testing.assert_close(layer(2 * x + 1), before, **tolerances.LOOKED_UP)


def test_linear_is_the_regression_of_scores():
    rng = np.random.default_rng(2)
    layer = CopulaNorm1d(2, momentum=None, test_phase="linear", dtype=torch.float64)
    x = rng.gamma(2.0, size=(500, 2))
    z = layer(torch.from_numpy(x)).detach().numpy()
    found = layer.eval()(torch.from_numpy(x)).detach().numpy()
    for j in range(2):
        line = np.polynomial.Polynomial.fit(x[:, j], z[:, j], 1)
        np.testing.assert_allclose(found[:, j], line(x[:, j]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_moments_of_a_line_are_those_of_numpy(memory):
    generator = torch.Generator().manual_seed(3)
    x = 100 + torch.randn(5, 9, 4, 3, generator=generator)
    x[:, 3] = 7.0
    x[0, 4, 0, 0] = 1e30
    z = (x + torch.randn(x.shape, generator=generator)).contiguous(memory_format=memory)
    found = copula_running.line_moments(x.flatten(2), z.flatten(2))
    for j in range(9):
        a, b = x[:, j].double().numpy().ravel(), z[:, j].double().numpy().ravel()
        (var, cov), (_, _) = np.cov(a, b)
        wanted = a.mean(), var, b.mean(), cov
        np.testing.assert_allclose([part[j] for part in found], wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("target", ["normal", "uniform"])
def test_a_steep_table_is_searched_where_the_fast_one_would_err(target, monkeypatch):
    """Two narrow modes at a high strength: the table itself is used, with its gradient."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((4096, 3))
    x[:, 1] = 0.01 * x[:, 1] + rng.choice([-2.0, 2.0], 4096)
    tensor = torch.from_numpy(x).requires_grad_()
    options = {"strength": 50.0, "dtype": torch.float64, "target": target}
    layer = CopulaNorm1d(3, momentum=None, **options)
    wanted = layer(tensor).detach()
    y = layer.eval()(tensor)
    assert layer.rough.tolist() == [1]
    monkeypatch.setattr(layer, "_by_search", lambda x, some: x[:, some] if len(some) == 1 else None)
    assert layer(tensor)[:, [0, 2]].equal(y[:, [0, 2]])  # others are not
    off = (y - wanted).square().mean(dim=0).sqrt()
    assert (off < tolerances.COPULA_TEST_PHASE).all()
    (dx,) = torch.autograd.grad(y.sum(), tensor)
    assert (dx >= 0).all()
    assert (dx > 0).any(dim=0).all()


def test_a_table_goes_up():
    layer = trained(50.0, 0.1, 64, 30).eval()
    x = torch.linspace(-8, 8, 4001)[:, None].expand(-1, len(KINDS)).contiguous()
    assert (layer(x).diff(dim=0) >= -tolerances.LOOKED_UP["atol"]).all()


def test_a_target_is_what_the_table_holds():
    layer = CopulaNorm1d(2, momentum=None, target="uniform")
    x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(1))
    y = layer(x)
    assert ((y > 0) & (y < 1)).all()
    assert (layer.eval()(x) - y).square().mean().sqrt() < tolerances.COPULA_TEST_PHASE
    ends = layer(torch.tensor([[-1e9, 1e9]]))
    np.testing.assert_allclose(ends[0].detach(), [ndtr(-4.0), ndtr(4.0)], atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 3.0, 1e5])
def test_a_column_that_stays_constant_leaves_its_knots(value):
    """Also where no float32 lies within its scale, the square root of eps."""
    layer = CopulaNorm1d(1, momentum=None)
    x = torch.full((64, 1), value)
    layer(x), layer(x)
    assert not score_table.misplaced(layer.knots, layer.table, 64).any()
    torch.testing.assert_close(layer.eval()(x), torch.zeros(64, 1), **tolerances.LOOKED_UP)
    layer.train()
    for _ in range(9):
        layer(x + 10)
    assert (layer.knots > value + 9.9).sum() > score_table.KNOTS / 2
