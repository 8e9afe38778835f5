"""The transport on tensors: values, both tails, inverse, derivative, laws and all gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import Gamma, Laplace, Normal, StudentT

from distfit_nn import maxent
from distfit_nn.errors import InputError
from distfit_nn.maxent.tensors import fit as torch_fit
from distfit_nn.transforms.quantile import QuantileMap
from distfit_nn.transforms.torch_transport import TensorTransport, transport
from tests import cases, tolerances
from tests.devices import DEVICES, one_thread  # noqa: F401

NAMES = ("normal", "exponential", "bimodal", "post_relu", "lognormal")


def columns(n: int = 200) -> Tensor:
    """One column of each of the names."""
    arrays = [cases.column(name, n, seed=j) for j, name in enumerate(NAMES)]
    return torch.tensor(np.stack(arrays, axis=1))


def samples(n: int = 9, seed: int = 0) -> Tensor:
    """A few values of two different columns, that require grad."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return torch.stack([x[:, 0], x[:, 1].exp() + 3.0], dim=1).requires_grad_()


# Values


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_values_are_those_of_numpy(backend: str, device: str) -> None:
    x = columns()
    ours = transport(x.to(device), backend=backend)
    theirs = QuantileMap.fit(x.numpy()).forward(x.numpy())
    np.testing.assert_allclose(ours.cpu().numpy(), theirs, atol=1e-6)


def test_beyond_the_data_and_the_support_as_in_numpy() -> None:
    x = columns()
    density = torch_fit.fit(x, 4)
    far = torch.cat([x.amin(dim=0) - 1e-3, x.amax(dim=0) * 1.5, x.amax(dim=0) * 50]).reshape(3, -1)
    for within in ("data", "support"):
        for outside in ("extrapolate", "clip", "exact"):
            choice = {"within": within, "outside": outside}
            ours = TensorTransport(density, **choice).forward(far)
            theirs = QuantileMap(density.numpy(), **choice).forward(far.numpy())
            np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sigma", [-8.0, -5.0, 5.0, 8.0])
def test_eight_deviations_out_a_normal_is_mapped_to_itself(sigma: float) -> None:
    # Of order 2 on a wide support the density is N(0, 1), whose map to N(0, 1) is the identity.
    m = torch.tensor([0.0, 1.0], dtype=torch.float64)
    density = torch_fit.fit_moments(m, (-12.0, 12.0), backend="torch")
    to_normal = TensorTransport(density)
    x = torch.tensor([sigma, sigma + 0.01], dtype=torch.float64)
    # Cut off at 12 deviations the variance is short of 1 by 1e-29: nothing.
    torch.testing.assert_close(to_normal(x), x, rtol=0, atol=tolerances.TENSOR_CDF)
    torch.testing.assert_close(to_normal.inverse(x), x, rtol=0, atol=tolerances.TENSOR_CDF)
    slope = to_normal.log_derivative(x)
    torch.testing.assert_close(slope, torch.zeros_like(x), rtol=0, atol=1e-8)


TARGETS = {
    "normal": lambda: "normal",
    "uniform": lambda: "uniform",
    "Normal": lambda: Normal(torch.tensor(1.0, dtype=torch.float64), 2.0),
    "Laplace": lambda: Laplace(torch.tensor(0.5, dtype=torch.float64), 2.0),
    "Gamma": lambda: Gamma(torch.tensor(3.0, dtype=torch.float64), 2.0),
    "fitted": lambda: torch_fit.fit(columns()[:, 1], 3, backend="torch"),
    "fitted each": lambda: torch_fit.fit(columns()[:, [0, 2]], 4, backend="torch"),
    "logistic": lambda: scipy.stats.logistic(1.0, 2.0),
    "numpy density": lambda: torch_fit.fit(columns()[:, 1], 4, backend="torch").numpy(),
}


@pytest.mark.parametrize("name", TARGETS)
def test_inverse_and_derivative(name: str) -> None:
    x = samples(60).detach()
    there = TensorTransport(torch_fit.fit(x, 4, backend="torch"), TARGETS[name]())
    y = there.forward(x)
    assert y.isfinite().all()
    torch.testing.assert_close(there.inverse(y), x, rtol=1e-6, atol=1e-6)
    inner = x[(x > x.amin(dim=0)).all(dim=1) & (x < x.amax(dim=0)).all(dim=1)]
    h = 1e-5
    slope = (there.forward(inner + h) - there.forward(inner - h)) / (2 * h)
    torch.testing.assert_close(there.log_derivative(inner), slope.log(), rtol=1e-4, atol=1e-4)


def test_scores_follow_the_target() -> None:
    x = columns(2000)[:, [0, 2]]
    y = transport(x, 6, target=Laplace(0.0, 1.0), backend="torch")
    for column in y.T.numpy():
        # 2,000 draws of the target itself are within 0.044 with probability 0.999.
        assert scipy.stats.kstest(column, scipy.stats.laplace.cdf).statistic < 0.044


def test_poor_columns_are_standardised_and_leave_their_neighbours_alone() -> None:
    x = samples().detach()
    alone = x.clone().requires_grad_()
    y = transport(alone, 4, backend="torch")
    y.square().sum().backward()
    bad = torch.ones(9, 3, dtype=torch.float64)
    bad[:, 0] = torch.arange(9) % 2
    bad[2, 1] = math.nan
    mixed = torch.cat([bad, x], dim=1).requires_grad_()
    z = transport(mixed, 4, backend="torch")
    z[:, [0, 2, 3, 4]].square().sum().backward()
    assert mixed.grad is not None
    torch.testing.assert_close(z[:, 3:], y, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(mixed.grad[:, 3:], alone.grad, rtol=1e-7, atol=1e-9)
    two = bad[:, 0]
    expected = (two - two.mean()) / two.std(correction=0)
    torch.testing.assert_close(z[:, 0].detach(), expected)
    assert z[:, 1].isnan().all()
    assert (z[:, 2] == 0).all()
    assert mixed.grad[:, [0, 2]].isfinite().all()


def test_an_outlier_of_a_poor_column_is_finite() -> None:
    x = torch.zeros(5000, dtype=torch.float64)
    x[0] = 1.0  # 70 deviations from the mean of two values that have no density of order 4
    y = transport(x, 4, backend="torch")
    torch.testing.assert_close(y, (x - x.mean()) / x.std(correction=0), rtol=1e-9, atol=1e-9)


def test_the_affine_map_of_a_poor_column_has_its_gradient() -> None:
    x = (torch.arange(9, dtype=torch.float64) % 2).requires_grad_()

    def affine(x: Tensor) -> Tensor:
        return (x - x.mean()) / x.std(correction=0)

    (ours,) = torch.autograd.grad(transport(x, 4, backend="torch")[0], x)
    (theirs,) = torch.autograd.grad(affine(x)[0], x)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_narrow_dtypes(dtype: torch.dtype) -> None:
    x = columns()[:, :3].to(dtype).requires_grad_()
    y = transport(x, 4, backend="torch")
    y.square().sum().backward()
    assert y.dtype == dtype
    assert x.grad is not None
    assert x.grad.dtype == dtype
    assert x.grad.isfinite().all()
    wide = transport(x.detach().to(torch.float64), 4, backend="torch")
    room = 8 * torch.finfo(dtype).eps * wide.abs().clamp_min(1) + 1e-4
    assert bool(((y.detach().to(torch.float64) - wide).abs() <= room).all())


def test_strides_change_nothing() -> None:
    x = columns()
    y = transport(x, 4, backend="torch")
    for other in (x.T.contiguous().T, torch.stack([x, x], dim=2)[:, :, 0]):
        torch.testing.assert_close(transport(other, 4, backend="torch"), y, rtol=1e-9, atol=1e-9)
    one = transport(x[:, 1], 4, backend="torch")
    assert one.shape == (200,)
    torch.testing.assert_close(one, y[:, 1], rtol=1e-9, atol=1e-9)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([1, 2, 3, 4, 6]), st.floats(0.01, 100), st.booleans())
def test_increasing_and_blind_to_affine_maps(
    seed: int, order: int, stretch: float, mirrored: bool
) -> None:
    x = torch.randn(30, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = transport(x, order, backend="torch")
    assert (y[x.argsort()].diff() >= 0).all()
    factor = -stretch if mirrored else stretch
    moved = transport(factor * x + 3.0, order, backend="torch")
    torch.testing.assert_close(moved, -y if mirrored else y, rtol=1e-6, atol=1e-6)


def test_bad_input_is_named() -> None:
    x = columns()
    with pytest.raises(InputError, match="floating dtype"):
        transport(x.to(torch.int64))
    with pytest.raises(InputError, match="cdf, and icdf or a mean"):
        transport(x, target=StudentT(torch.tensor(3.0)))
    with pytest.raises(InputError, match='"normal", "uniform" or a distribution'):
        transport(x, target="gumbel")
    constant = torch_fit.fit(torch.ones(5, dtype=torch.float64), 2, backend="torch")
    with pytest.raises(InputError, match="column 0 is DEGENERATE"):
        transport(x, target=constant)
    there = TensorTransport(torch_fit.fit(x, 2))
    with pytest.raises(InputError, match="x must have shape"):
        there.forward(x[:, :2])
    with pytest.raises(InputError, match="outside must be one of"):
        TensorTransport(there.source, outside="wrap")


@pytest.mark.parametrize("wrong", [None, "a", 3, np.ones(4), torch.ones(3), maxent.Density])
def test_what_is_no_density(wrong: object) -> None:
    with pytest.raises(InputError, match="source must be a TensorDensity, got"):
        TensorTransport(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, "a", np.ones(9), [1.0, 2.0]])
def test_what_is_no_tensor(wrong: object) -> None:
    there = TensorTransport(torch_fit.fit(samples().detach(), 2))
    for method in (there.forward, there.inverse, there.log_derivative, transport):
        with pytest.raises(InputError, match=r"[xy] must be a tensor, got"):
            method(wrong)  # type: ignore[operator]
    for tensor in (torch.ones(2, dtype=torch.complex64), torch.eye(2).to_sparse()):
        with pytest.raises(InputError, match="y must be a plain tensor of real numbers"):
            there.inverse(tensor)


@pytest.mark.parametrize("name", ["loc", "scale"])
def test_constants_of_other_columns(name: str) -> None:
    density = torch_fit.fit(samples().detach(), 2)
    for wrong in (torch.ones(3), 1.0, torch.ones(2, 2)):
        with pytest.raises(InputError, match=rf"{name} must have shape \(2,\), got"):
            TensorTransport(density, **{name: wrong})
    with pytest.raises(InputError, match=f"{name} must be an array of real numbers"):
        TensorTransport(density, **{name: "a"})


def test_targets_of_another_number_of_columns() -> None:
    density = torch_fit.fit(samples().detach(), 2)
    for target in (Normal(torch.zeros(5), 1.0), torch_fit.fit(columns(), 2)):
        with pytest.raises(InputError, match="target must be one distribution, or 2 for as many"):
            TensorTransport(density, target)


def test_scores_of_whole_numbers_are_not_rounded() -> None:
    x = torch.arange(20)
    there = TensorTransport(maxent.fit(x, 4))
    y = there.forward(x)
    assert y.dtype == torch.get_default_dtype()
    torch.testing.assert_close(y, there.forward(x.to(torch.float64)).to(y.dtype))


# Gradients


@pytest.mark.parametrize("order", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("support", [3.0, (-9.0, 30.0)])
def test_gradient_in_x(order: int, support: object) -> None:
    def carried(x: Tensor) -> Tensor:
        return transport(x, order, support, backend="torch")

    assert gradcheck(carried, samples(), **tolerances.GRADCHECK)


@pytest.mark.parametrize("order", [2, 5])
def test_gradient_in_x_where_the_support_ends_at_the_data(order: int) -> None:
    def carried(x: Tensor) -> Tensor:
        return transport(x, order, "data", backend="torch")

    assert gradcheck(carried, samples(), **tolerances.GRADCHECK_AT_THE_ENDS)


def test_leaving_out_the_fit_would_change_the_gradient() -> None:
    x = samples()
    density = torch_fit.fit(x.detach(), 4, backend="torch")
    (part,) = torch.autograd.grad(TensorTransport(density).forward(x).pow(3).sum(), x)
    (whole,) = torch.autograd.grad(transport(x, 4, backend="torch").pow(3).sum(), x)
    assert (whole - part).norm() > 0.03 * whole.norm()


@pytest.mark.parametrize("name", TARGETS)
def test_gradient_for_every_target(name: str) -> None:
    def carried(x: Tensor) -> Tensor:
        return transport(x, 3, target=TARGETS[name](), backend="torch")

    assert gradcheck(carried, samples(), **tolerances.GRADCHECK)


@pytest.mark.parametrize("support", [3.0, (-9.0, 30.0)])
@pytest.mark.parametrize("kind", [Normal, Laplace])
def test_gradient_in_parameters_of_the_target(kind: type, support: object) -> None:
    loc = torch.tensor([0.5, -1.0], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([2.0, 0.7], dtype=torch.float64, requires_grad=True)

    def carried(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        return transport(x, 4, support, target=kind(loc, scale), backend="torch")

    assert gradcheck(carried, (samples(), loc, scale), **tolerances.GRADCHECK)


@pytest.mark.parametrize("support", [3.0, 1.2, (-9.0, 30.0)])
def test_gradient_of_inverse_and_derivative_in_the_samples(support: object) -> None:
    points = torch.tensor([[-0.5, 3.5], [0.6, 4.4]], dtype=torch.float64, requires_grad=True)
    scores = torch.tensor([[-0.4, 0.9]], dtype=torch.float64, requires_grad=True)

    def carried(x: Tensor, points: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        there = TensorTransport(torch_fit.fit(x, 4, support, backend="torch"))
        return there.inverse(scores), there.forward(points), there.log_derivative(points)

    assert gradcheck(carried, (samples(), points, scores), **tolerances.GRADCHECK)


def test_gradient_in_the_ends_of_the_support() -> None:
    ends = torch.tensor([-9.0, 30.0], dtype=torch.float64, requires_grad=True)

    def carried(x: Tensor, ends: Tensor) -> Tensor:
        return transport(x, 4, ends, backend="torch")

    assert gradcheck(carried, (samples(), ends), **tolerances.GRADCHECK)


def test_gradient_in_what_a_fitted_target_was_fitted_to() -> None:
    goal = samples(seed=3)[:, :1].detach().requires_grad_()

    def carried(x: Tensor, goal: Tensor) -> Tensor:
        density = torch_fit.fit(goal[:, 0], 3, backend="torch")
        return transport(x, 4, target=density, backend="torch")

    assert gradcheck(carried, (samples(), goal), **tolerances.GRADCHECK)


def test_gradient_in_moments_and_ends() -> None:
    m = torch.tensor([0.1, 1.2, 0.4, 3.5], dtype=torch.float64, requires_grad=True)
    a = torch.tensor(-5.0, dtype=torch.float64, requires_grad=True)
    b = torch.tensor(6.0, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([-1.5, 0.2, 2.0], dtype=torch.float64, requires_grad=True)

    def carried(m: Tensor, a: Tensor, b: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        there = TensorTransport(torch_fit.fit_moments(m, (a, b), backend="torch"))
        return there.forward(x), there.inverse(x), there.log_derivative(x)

    assert gradcheck(carried, (m, a, b, x), **tolerances.GRADCHECK)


def test_gradient_beyond_the_data_of_the_fit() -> None:
    density = torch_fit.fit(columns()[:, 1], 4, backend="torch")
    there = TensorTransport(density)
    x = (columns()[:5, 1] * 20).clone().requires_grad_()
    assert gradcheck(there.forward, x, **tolerances.GRADCHECK)
    assert maxent.Status(int(density.status)) == maxent.Status.OK
