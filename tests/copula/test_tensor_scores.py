"""Scores of tensors: those of arrays, and gradients against autograd of the sum over all pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from distfit_nn import maxent
from distfit_nn.copula import inverse_scores, normal_scores
from distfit_nn.copula.tensors import scores
from distfit_nn.errors import InputError
from tests import cases
from tests.devices import DEVICES
from tests.tolerances import SCORE_SLOPE, SCORE_TENSOR
from tests.transforms.laws import TARGETS, Logistic

D = torch.distributions
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def direct(x: Tensor, strength: Tensor, icdf: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the soft scores of columns by the sum over all pairs."""
    gaps = x[:, None] - x[None]
    return icdf(torch.sigmoid(strength * gaps).sum(dim=1) / len(x))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("strength", [None, 2.0])
def test_scores_are_those_of_arrays(target, strength, device):
    x = np.stack([cases.column(name, 150) for name in ("normal", "cauchy", "integers")], axis=1)
    law = TARGETS[target]()
    tensor = torch.tensor(x, device=device)
    y = normal_scores(tensor, law, strength)
    assert y.device == tensor.device
    assert y.dtype == torch.float64
    expected = normal_scores(x, law, strength)
    np.testing.assert_allclose(y.cpu(), expected, rtol=SCORE_TENSOR, atol=SCORE_TENSOR)
    if strength is None:
        back = inverse_scores(y, tensor, law)
        np.testing.assert_array_equal(back.cpu(), x)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("target", ["normal", "uniform"])
def test_a_strength_may_keep_the_axis(dim, target, rng):
    x = torch.tensor(rng.normal(size=(3, 4, 5)))
    strength = torch.tensor(rng.uniform(1.0, 5.0, (3, 4, 5))).select(dim, 0)
    kept = strength.unsqueeze(dim)
    expected = normal_scores(x, target, strength, dim)
    assert torch.equal(normal_scores(x, target, kept, dim), expected)
    arrays = (part.numpy() for part in (strength, kept))
    plain, same = (normal_scores(x.numpy(), target, each, dim) for each in arrays)
    np.testing.assert_array_equal(plain, same)


LAWS = {
    "uniform": lambda: D.Uniform(0.0, 1.0),
    "half Cauchy": lambda: D.HalfCauchy(1.0),
    "chi square": lambda: D.Chi2(3.0),
    "gamma, one a column": lambda: D.Gamma(torch.tensor([0.5, 4.0]), 1.0),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("strength", [None, 2.0])
def test_laws_of_torch_with_parameters_in_float32(law, dtype, strength, rng):
    x = torch.tensor(rng.normal(size=(30, 2))).to(dtype).requires_grad_(strength is not None)
    y = normal_scores(x, LAWS[law](), strength)
    assert y.dtype == dtype
    assert y.isfinite().all()
    if strength is not None:
        (slope,) = torch.autograd.grad(y.float().sum(), x)
        assert slope.isfinite().all()
    back = inverse_scores(y.detach(), x.detach(), LAWS[law]())
    assert back.isfinite().all()


def test_a_trace_is_refused():
    with pytest.raises(InputError, match="outside torch"):
        torch.jit.trace(normal_scores, torch.zeros(3))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_dtypes_shapes_and_strides(dtype, dim, device, rng):
    x = torch.tensor(rng.normal(size=(5, 30, 4)), device=device).to(dtype)[:, ::2].transpose(0, 2)
    for strength in (None, 3.0):
        y = normal_scores(x, strength=strength, dim=dim)
        assert y.dtype == dtype
        assert y.shape == x.shape
        expected = normal_scores(x.double().cpu().numpy(), strength=strength, dim=dim)
        error = 16 * torch.finfo(dtype).eps + SCORE_TENSOR
        np.testing.assert_allclose(y.double().cpu(), expected, rtol=error, atol=error)
    points = torch.linspace(-5, 5, 7, device=device, dtype=dtype)
    y = points.reshape([7 if axis == dim % 3 else 1 for axis in range(3)])
    y = y.expand([7 if axis == dim % 3 else size for axis, size in enumerate(x.shape)])
    back = inverse_scores(y, x, dim=dim)
    assert (back.dtype, back.shape) == (dtype, y.shape)
    wide = (part.double().cpu().numpy() for part in (y, x))
    # A score within four roundings of that of a value is taken for it, in units of the rank.
    error = (4 + 4 * x.shape[dim] * float(x.max() - x.min())) * torch.finfo(dtype).eps
    np.testing.assert_allclose(
        back.double().cpu(), inverse_scores(*wide, dim=dim), rtol=error, atol=error
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["normal", "cauchy", "post_relu", "integers", "huge"])
@pytest.mark.parametrize("n", [1, 2, 5, 60])
@pytest.mark.parametrize("outside", ["extrapolate", "clip"])
def test_the_way_back_is_that_of_arrays(kind, n, outside, device):
    x = cases.column(kind, n)
    y = np.concatenate([np.linspace(-6, 6, 49), [-np.inf, np.inf]])
    for law in ("normal", "uniform", stats.laplace()):
        made = inverse_scores(
            torch.tensor(y, device=device), torch.tensor(x, device=device), law, outside=outside
        )
        expected = inverse_scores(y, x, law, outside=outside)
        np.testing.assert_allclose(
            made.cpu(), expected, rtol=SCORE_TENSOR, atol=SCORE_TENSOR * np.abs(x).max()
        )


def test_the_way_back_beside_infinite_values_is_that_of_arrays():
    y = np.concatenate([np.linspace(-3, 3, 61), [-np.inf, np.inf]])
    for values in ([-np.inf, 0, 1, np.inf], [-np.inf] * 3 + [3, 5], [np.inf] * 3):
        x = np.array(values, float)
        made = inverse_scores(torch.tensor(y), torch.tensor(x))
        np.testing.assert_allclose(made, inverse_scores(y, x), rtol=SCORE_TENSOR, atol=SCORE_TENSOR)


def test_a_point_between_two_values_is_between_them(rng):
    start, stop = torch.tensor(rng.normal(size=(2, 1000)))
    share = 1 - torch.tensor(rng.integers(0, 4, 1000)) * torch.finfo(torch.float64).eps / 2
    inside = scores._between(start, stop, share)
    assert (inside >= torch.minimum(start, stop)).all()
    assert (inside <= torch.maximum(start, stop)).all()


def test_nan_infinities_and_integers():
    x = torch.tensor([[1.0, torch.nan, torch.inf], [2.0, 0.0, -torch.inf], [0.0, 1.0, torch.inf]])
    for law in ("normal", stats.norm(), D.Normal(0.0, 1.0), D.Laplace(0.0, 1.0)):
        for strength in (None, 4.0):
            y = normal_scores(x, law, strength)
            assert y[:, 1].isnan().all()
            assert y[:, ::2].isfinite().all()
        assert inverse_scores(normal_scores(x, law), x, law)[:, 1].isnan().all()
    numbers = torch.tensor([2**62 + 1, 2**62, 3])
    assert normal_scores(numbers).dtype == torch.get_default_dtype()
    for made in (normal_scores(numbers), normal_scores(numbers, D.Normal(0.0, 1.0))):
        torch.testing.assert_close(made, normal_scores(torch.tensor([3.0, 2.0, 1.0])))


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_beyond_a_dtype_are_its_largest(dtype):
    for strength in (None, 1e3):
        y = normal_scores(torch.arange(100.0).to(dtype), stats.pareto(1e-3), strength)
        assert y.isfinite().all()
        assert y[-1] == torch.finfo(dtype).max


# Gradients

ICDFS: dict[str, tuple[Any, Callable[[Tensor], Tensor]]] = {
    "normal": ("normal", torch.special.ndtri),
    "uniform": ("uniform", lambda p: p),
    "frozen": (stats.expon(), lambda p: -torch.log1p(-p)),
    "logistic": (stats.logistic(), torch.logit),
    "cauchy of torch": (D.Cauchy(number(0.0), number(1.0)), D.Cauchy(0.0, 1.0).icdf),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("target", ICDFS)
@pytest.mark.parametrize("n", [3, 40, 400])
def test_gradient_in_values_and_strength(target, n, device, rng):
    if "torch" in target and device != "cpu":
        pytest.skip("a distribution lives on one device")
    law, icdf = ICDFS[target]
    x = torch.tensor(rng.normal(size=(n, 2)), device=device, requires_grad=True)
    strength = torch.tensor([0.7, 4.0], dtype=torch.float64, device=device, requires_grad=True)
    weights = torch.tensor(rng.normal(size=(n, 2)), device=device)
    made = torch.autograd.grad((normal_scores(x, law, strength) * weights).sum(), (x, strength))
    expected = torch.autograd.grad((direct(x, strength, icdf) * weights).sum(), (x, strength))
    for ours, theirs in zip(made, expected, strict=True):
        scale = float(theirs.abs().max())
        np.testing.assert_allclose(ours.cpu(), theirs.cpu(), rtol=0, atol=SCORE_SLOPE * scale)


def test_gradient_in_the_parameters_of_a_target(rng):
    x = torch.tensor(rng.normal(size=(20, 2)), requires_grad=True)
    loc, scale = (number(value).requires_grad_() for value in (1.0, 2.0))
    for strength in (None, 2.0):
        standard = normal_scores(x, "normal", strength).detach()
        y = normal_scores(x, D.Normal(loc, scale), strength)
        torch.testing.assert_close(y, 1 + 2 * standard)
        grads = torch.autograd.grad(y.square().sum(), (loc, scale))
        torch.testing.assert_close(grads[0], (2 * y).sum().detach())
        torch.testing.assert_close(grads[1], (2 * y * standard).sum().detach())


def test_gradient_in_what_a_fitted_target_was_fitted_to(rng):
    x = torch.tensor(rng.normal(size=(30, 1)))
    sample = torch.tensor(rng.gamma(3.0, size=(200, 1)), requires_grad=True)
    weights = torch.tensor(rng.normal(size=(30, 1)))

    def loss(given: Tensor) -> Tensor:
        return (normal_scores(x, maxent.fit(given, 4)) * weights).sum()

    (slope,) = torch.autograd.grad(loss(sample), sample)
    way = torch.tensor(rng.normal(size=(200, 1)))
    step = 1e-5
    with torch.no_grad():
        change = (loss(sample + step * way) - loss(sample - step * way)) / (2 * step)
    np.testing.assert_allclose((slope * way).sum(), change, rtol=1e-6, atol=1e-6)


def test_hard_scores_are_constants():
    x = torch.arange(5.0, requires_grad=True)
    for law in ("normal", Logistic(), stats.norm()):
        assert not normal_scores(x, law).requires_grad


def test_a_gradient_needs_a_density():
    x = torch.arange(5.0, dtype=torch.float64)
    assert normal_scores(x, Logistic(), 2.0).isfinite().all()
    with pytest.raises(InputError, match="logpdf or pdf for a gradient"):
        normal_scores(x.requires_grad_(), Logistic(), 2.0)


def test_one_backward_alone():
    x = torch.arange(5.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(
        normal_scores(x, strength=1.0).square().sum(), x, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once"):
        slope.sum().backward()


@pytest.mark.parametrize("target", ["normal", "uniform", "frozen"])
def test_gradient_of_the_way_back(target, rng):
    law, _ = ICDFS[target]
    x = torch.tensor(rng.normal(size=(30, 2)), requires_grad=True)
    y = torch.tensor([[-4.0, -0.3], [0.21, 0.4], [0.77, 6.0]], requires_grad=True).double()
    y = y.detach().requires_grad_()
    if target != "normal":  # y beyond the ends has no slope
        y = y.detach().abs().clamp(max=0.9).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda y, x: inverse_scores(y, x, law), (y, x), eps=1e-7, atol=1e-5, rtol=1e-4
    )


def test_gradients_pass_by_what_is_missing_or_infinite(rng):
    x = torch.tensor(rng.normal(size=(20, 3)))
    tame = x.clone()
    x[3, 1] = torch.nan
    low, high = int(x[:, 2].argmin()), int(x[:, 2].argmax())
    x[low, 2], x[high, 2] = -torch.inf, torch.inf
    y = torch.tensor([-4.0, 0.1, 4.0], dtype=torch.float64)[:, None].expand(3, 3)

    def slopes(x: Tensor) -> tuple[Tensor, ...]:
        loc, scale = (number(value).requires_grad_() for value in (0.2, 0.9))
        given, points = x.clone().requires_grad_(), y.clone().requires_grad_()
        back = inverse_scores(points, given, D.Normal(loc, scale))
        used = back[:, 0].sum() + back[1, 2]  # of the last column none that an infinite one moves
        return torch.autograd.grad(used, (loc, scale, given, points))

    for made, expected in zip(slopes(x), slopes(tame), strict=True):
        torch.testing.assert_close(made, expected)


@pytest.mark.parametrize("outside", ["extrapolate", "clip"])
@pytest.mark.parametrize("kind", [D.Normal, D.Laplace])
def test_infinite_scores_leave_the_gradients_of_others_alone(kind, outside, rng):
    x = torch.tensor(rng.normal(size=(30, 1)))
    y = torch.tensor([[-torch.inf], [-4.0], [0.3], [torch.inf]], dtype=torch.float64)

    def slopes(points: Tensor) -> tuple[Tensor, ...]:
        leaves = [part.clone().requires_grad_() for part in (number(0.2), number(0.9), x, points)]
        loc, scale, given, scores = leaves
        back = inverse_scores(scores, given, kind(loc, scale), outside=outside)
        grads = torch.autograd.grad(back[back.isfinite()].sum(), leaves)
        return *grads[:3], grads[3][points.isfinite()]

    expected = list(slopes(y[1:-1]))
    if outside == "clip":  # infinite ones become the smallest and the largest value
        expected[2] = expected[2] + 1.0 * ((x == x.min()) | (x == x.max()))
    for ours, theirs in zip(slopes(y), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("strength", [None, 2.0])
def test_a_target_whose_quantiles_overflow(strength):
    x = torch.arange(100.0, dtype=torch.float64, requires_grad=True)
    alpha = number(1e-3).requires_grad_()
    law = D.Pareto(number(1.0), alpha)
    y = normal_scores(x, law, strength)
    largest = torch.finfo(torch.float64).max
    assert (y.diff() >= 0).all()
    assert (y[-20:] == largest).all()
    assert torch.autograd.grad(y[:2].log().sum(), alpha)[0].isfinite()
    assert not inverse_scores(y, x, law).isnan().any()
    drawn = normal_scores(x.detach().numpy(), law)
    np.testing.assert_array_equal(drawn[-20:], largest)


def test_no_scores_give_no_values():
    assert inverse_scores(torch.empty(4, 0, 2), torch.ones(4, 3, 2), dim=1).shape == (4, 0, 2)


def test_the_way_back_of_a_constant_and_of_one_value():
    for n in (1, 4):
        x = torch.full((n,), 2.0, dtype=torch.float64, requires_grad=True)
        y = torch.tensor([-9.0, 0.0, 0.1, 9.0], dtype=torch.float64, requires_grad=True)
        back = inverse_scores(y, x)
        assert (back == 2).all()
        slopes = torch.autograd.grad(back.sum(), (x, y))
        assert float(slopes[0].sum()) == pytest.approx(4.0)
        assert (slopes[1] == 0).all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: normal_scores(x[:0]), "at least one value"),
        (lambda x: normal_scores(x, dim=1), "dim must be an axis"),
        (lambda x: normal_scores(x, "gaussian", 2.0), "target must be"),
        (lambda x: normal_scores(x, strength=-1.0), "strength must be positive"),
        (lambda x: normal_scores(x, strength=x), "strength must"),
        (lambda x: normal_scores(x.to_sparse()), "x must"),
        (lambda x: normal_scores(x, D.Normal(torch.zeros(2), 1.0)), "target must be one"),
        (lambda x: inverse_scores(x, x[:, None]), "y must have the shape of x"),
        (lambda x: inverse_scores(x, x.numpy()), "both be tensors, or arrays"),
        (lambda x: inverse_scores(x, x.to("meta")), "y must be on meta"),
    ],
)
def test_what_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call(torch.arange(4.0))
