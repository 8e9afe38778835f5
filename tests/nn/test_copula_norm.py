"""The copula norms: scores against sums over all pairs, the running table, the test phases."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri
from torch import Tensor

from distfit_nn.copula.tensors.relative import Scores, compiled, composed
from distfit_nn.errors import InputError
from distfit_nn.nn import score_table
from distfit_nn.nn.copula_norm import CopulaNorm1d, CopulaNorm2d
from tests import tolerances

Array = NDArray[np.float64]
FLOOR = 1e-5

KINDS: dict[str, Callable[[int, np.random.Generator], Array]] = {
    "normal": lambda n, rng: rng.standard_normal(n),
    "gamma": lambda n, rng: rng.gamma(2.0, size=n),
    "bimodal": lambda n, rng: 0.5 * rng.standard_normal(n) + rng.choice([-2.0, 2.0], n),
    "narrow": lambda n, rng: 0.05 * rng.standard_normal(n) + rng.choice([-2.0, 2.0], n),
    "half zero": lambda n, rng: rng.standard_normal(n).clip(0),
    "mostly zero": lambda n, rng: np.where(rng.random(n) < 0.95, 0.0, rng.standard_normal(n)),
    "cauchy": lambda n, rng: rng.standard_cauchy(n),
    "lognormal": lambda n, rng: np.exp(rng.standard_normal(n)),
}


def drawn(n: int, rng: np.random.Generator) -> Array:
    """Return one column of each kind, (n, d)."""
    return np.stack([kind(n, rng) for kind in KINDS.values()], axis=1)


def robust_scale(x: Array) -> float:
    """Return the scale of one column, floor included."""
    low, high = np.quantile(x, [0.1, 0.9])
    own = (high - low) / (ndtri(0.9) - ndtri(0.1))
    return math.hypot(own if own > 0 else x.std(), FLOOR)


def share(x: Array, strength: float, at: Array) -> Array:
    """Return F(t) of one column by the sum over all pairs."""
    return expit(strength / robust_scale(x) * (at[:, None] - x)).mean(axis=1)


def by_pairs(x: Array, strength: float) -> Array:
    """Return the scores of one column by the sum over all pairs."""
    return ndtri(share(x, strength, x))


def both(path: str, x: Tensor, *rest: object) -> Scores:
    """Return the scores of columns (n, d) by either path."""
    if path == "composed":
        return composed(x, *rest)  # type: ignore[arg-type]
    found = compiled(x[:, :, None], *rest)  # type: ignore[arg-type]
    return found._replace(y=found.y[:, :, 0])


PATHS = ["compiled", "composed"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("strength", [0.3, 5.0, 50.0])
@pytest.mark.parametrize("n", [1, 2, 3, 64, 301])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_and_scale_are_those_of_the_sum_over_pairs(path, strength, n, dtype, rng):
    x = torch.from_numpy(drawn(n, rng)).to(dtype)
    d, name = x.shape[1], str(dtype).removeprefix("torch.")
    strengths = torch.full((d,), strength, dtype=dtype)
    found = both(path, x, strengths, FLOOR, None, None, x.new_empty((0, d)))
    exact = x.double().numpy()
    wanted = np.stack([by_pairs(column, strength) for column in exact.T], axis=1)
    scales = [robust_scale(column) for column in exact.T]
    np.testing.assert_allclose(found.scale, scales, rtol=tolerances.COPULA_SCALE[name])
    np.testing.assert_allclose(found.y, wanted, rtol=0, atol=tolerances.COPULA_SCORE[name])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("strength", [5.0, 50.0])
def test_shares_at_knots_among_the_data(path, strength, rng):
    """They are exact at the data, and near between and beyond where these are dense."""
    x = drawn(2000, rng)[:, :5]
    inside = np.quantile(x, np.linspace(0, 1, 40), axis=0)
    width = np.array([robust_scale(column) for column in x.T])
    at = np.concatenate([x.min(0) - width * np.array([[2.0], [0.3]]), inside, x.max(0)[None] + 1])
    tensors = torch.from_numpy(x), torch.full((5,), strength, dtype=torch.float64)
    found = both(path, *tensors, FLOOR, None, None, torch.from_numpy(at)).shares.numpy()
    for j in range(5):
        wanted = share(x[:, j], strength, at[:, j])
        on = np.isin(at[:, j], x[:, j])
        assert on.sum() >= 2
        np.testing.assert_allclose(found[on, j], wanted[on], atol=tolerances.COPULA_SHARE_AT_DATA)
        np.testing.assert_allclose(found[:, j], wanted, atol=tolerances.COPULA_SHARE)
    assert (np.diff(found, axis=0) >= 0).all()


def test_shares_of_two_atoms_are_exact():
    x = torch.tensor([0.0] * 30 + [1.0] * 70, dtype=torch.float64)[:, None]
    at = torch.linspace(-1, 2, 65, dtype=torch.float64)[:, None]
    wanted = share(x[:, 0].numpy(), 5.0, at[:, 0].numpy())
    for path in PATHS:
        found = both(path, x, torch.tensor([5.0]).double(), FLOOR, None, None, at).shares
        np.testing.assert_allclose(found[:, 0], wanted, atol=tolerances.COPULA_SHARE_AT_DATA)


def leaves(n: int, d: int) -> list[Tensor]:
    """Return x, strength, weight and bias, in float64."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, d, dtype=torch.float64, generator=generator)
    rest = [torch.rand(d, dtype=torch.float64, generator=generator) + 0.5 for _ in range(3)]
    return [leaf.requires_grad_() for leaf in (x, *rest)]


@pytest.mark.parametrize("path", PATHS)
def test_gradients_with_the_scale_are_those_of_finite_differences(path):
    none = torch.empty((0, 2), dtype=torch.float64)

    def scored(x: Tensor, strength: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return both(path, x, strength, FLOOR, weight, bias, none, True).y

    assert torch.autograd.gradcheck(scored, leaves(14, 2), **tolerances.GRADCHECK)


@pytest.mark.parametrize("path", PATHS)
def test_gradients_with_the_deviation_for_scale(path, rng):
    """Where nine tenths are tied, the scale is the standard deviation, of all of them."""
    none = torch.empty((0, 1), dtype=torch.float64)
    few = torch.tensor([[-1.0], [2.5]], dtype=torch.float64, requires_grad=True)
    strength = torch.tensor([5.0], dtype=torch.float64, requires_grad=True)

    def scored(few: Tensor, strength: Tensor) -> Tensor:
        x = torch.cat([few, torch.zeros(30, 1, dtype=torch.float64)])
        return both(path, x, strength, FLOOR, None, None, none, True).y

    assert torch.autograd.gradcheck(scored, (few, strength), **tolerances.GRADCHECK)


@pytest.mark.parametrize("path", PATHS)
def test_by_default_the_scale_is_a_constant(path):
    """The gradient is that of ranks of the strength over a scale that does not move."""
    x, strength, weight, bias = leaves(40, 3)
    none = torch.empty((0, 3), dtype=torch.float64)
    g = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    found = both(path, x, strength, FLOOR, weight, bias, none)
    rate = strength / found.scale
    shares = torch.sigmoid(rate * (x[:, None] - x)).mean(dim=1)
    wanted = weight * torch.special.ndtri(shares) + bias
    ours = torch.autograd.grad(found.y, (x, strength, weight, bias), g)
    theirs = torch.autograd.grad(wanted, (x, strength, weight, bias), g)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **tolerances.COPULA_SLOPE)
    through = both(path, x, strength, FLOOR, weight, bias, none, True)
    (other,) = torch.autograd.grad(through.y, x, g)
    assert not torch.allclose(other, ours[0], **tolerances.COPULA_SLOPE)


@pytest.mark.parametrize("path", PATHS)
def test_a_second_gradient_is_refused(path):
    x, strength, weight, bias = leaves(9, 2)
    y = both(path, x, strength, FLOOR, weight, bias, x.new_empty((0, 2))).y
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once, not twice"):
        dx.sum().backward()


@pytest.mark.parametrize("path", PATHS)
def test_a_constant_column_is_the_bias(path):
    x = torch.full((8, 2), 3.0)
    x[:, 1] = torch.arange(8.0)
    x.requires_grad_()
    given = torch.full((2,), 5.0), 1e-5, torch.full((2,), 2.0), torch.full((2,), 0.25)
    y = both(path, x, *given, x.new_empty((0, 2))).y
    (dx,) = torch.autograd.grad((y * torch.randn(8, 2)).sum(), x)
    assert (y[:, 0] == 0.25).all()
    assert (dx[:, 0] == 0).all()
    assert (dx[:, 1] != 0).any()


@pytest.mark.parametrize("path", PATHS)
def test_what_is_not_finite_stays_in_its_column(path):
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    knots = torch.linspace(-3, 3, 65)[:, None].repeat(1, 4)
    strength = torch.full((4,), 5.0)
    clean = both(path, x, strength, FLOOR, None, None, knots)
    x[3, 0], x[:20, 1], x[4, 2] = torch.nan, torch.inf, torch.inf
    found = both(path, x.requires_grad_(), strength, FLOOR, None, None, knots)
    (dx,) = torch.autograd.grad(found.y.nan_to_num().sum(), x)
    assert found.y[:, :2].isnan().all()
    assert found.shares[:, :2].isnan().all()
    assert found.y[:, 2:].isfinite().all()
    assert dx[:, 2:].isfinite().all()
    torch.testing.assert_close(found.y[:, 3], clean.y[:, 3], rtol=0, atol=0)


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
    """0.1 averages about 19 batches; what the start leaves, 0.9^60, is in the tails."""
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


def test_momentum_is_that_of_batch_norm():
    x = torch.randn(300, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    layer, whole = (CopulaNorm1d(2, momentum=m, dtype=torch.float64) for m in (0.25, None))
    start = layer.table.clone()
    layer(x), whole(x)
    torch.testing.assert_close(layer.table, 0.75 * start + 0.25 * whole.table)


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


@pytest.mark.parametrize("target", ["normal", "uniform"])
def test_a_steep_table_is_searched_where_the_fast_one_would_err(target):
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
