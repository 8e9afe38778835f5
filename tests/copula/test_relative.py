"""Scores of relative strengths, compiled and by torch's operators, against sums over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from distfit_nn.copula.tensors.relative import Scores, compiled, composed
from tests import tolerances
from tests.copula.relative_oracle import FLOOR, by_pairs, drawn, robust_scale, share


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
