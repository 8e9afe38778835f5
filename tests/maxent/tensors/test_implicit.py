"""Gradients at the optimum against finite differences of whole fits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from distfit_nn.maxent.tensors import fit as torch_fit
from distfit_nn.maxent.tensors import implicit
from distfit_nn.maxent.tensors.density import TensorDensity
from tests import cases, tolerances
from tests.devices import DEVICES, one_thread  # noqa: F401

ORDERS = [1, 2, 3, 4, 6]


def samples(n: int = 9, columns: int = 2, seed: int = 0, device: str = "cpu") -> Tensor:
    """A few values of two different columns, that require grad."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, columns, generator=generator, dtype=torch.float64)
    x[:, 1:] = x[:, 1:].exp() + 3.0
    return x.to(device).requires_grad_()


def fit(x: Tensor, order: int, support: object = 3.0, **more: object) -> TensorDensity:
    """A fit on the kernel of torch, in which every column is OK."""
    density = torch_fit.fit(x, order, support, backend="torch", **more)
    assert bool(density.ok.all())
    return density


def raw_moments(x: Tensor, order: int) -> Tensor:
    """Means of x^1..x^order."""
    return torch.stack([x.pow(i).mean(dim=0) for i in range(1, order + 1)])


POINTS = torch.tensor([[-0.7, 3.4], [0.1, 4.0], [0.9, 5.1]], dtype=torch.float64)


def numbers(density: TensorDensity, points: Tensor = POINTS) -> tuple[Tensor, ...]:
    """Everything that a density says, in one tuple."""
    t = points.to(density.device)
    q = torch.tensor([0.05, 0.4, 0.8], dtype=torch.float64, device=density.device)
    return (
        density.logpdf(t),
        density.pdf(t),
        density.cdf(t),
        density.sf(t),
        density.logcdf(t),
        density.logsf(t),
        density.ppf(q),
        density.isf(q),
        density.median(),
        *density.interval(0.7),
        density.entropy(),
        density.mean(),
        density.var(),
        density.std(),
        density.skewness(),
        density.kurtosis(),
        density.moment(3),
        *density.support(),
    )


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("support", [3.0, (-9.0, 30.0)])
def test_all_of_a_density_in_the_samples(order: int, support: object, device: str) -> None:
    x = samples(device=device)
    assert gradcheck(lambda x: numbers(fit(x, order, support)), x, **tolerances.GRADCHECK)


@pytest.mark.parametrize("order", ORDERS)
def test_all_of_a_density_in_the_moments_and_the_ends(order: int) -> None:
    m = raw_moments(samples()[:, :1].detach(), order).requires_grad_()
    a = torch.tensor(-4.0, dtype=torch.float64, requires_grad=True)
    b = torch.tensor(3.5, dtype=torch.float64, requires_grad=True)

    def said(m: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        density = torch_fit.fit_moments(m, (a, b), backend="torch")
        assert bool(density.ok.all())
        return numbers(density, POINTS[:, :1])

    assert gradcheck(said, (m, a, b), **tolerances.GRADCHECK)


@pytest.mark.parametrize("order", [1, 4])
def test_the_ends_of_a_pair_in_a_fit_to_samples(order: int) -> None:
    x = samples(columns=1)
    a = torch.tensor(-5.0, dtype=torch.float64, requires_grad=True)
    b = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)

    def said(x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        return numbers(fit(x, order, (a, b)), POINTS[:, :1])

    assert gradcheck(said, (x, a, b), **tolerances.GRADCHECK)


@pytest.mark.parametrize("order", [2, 3])
def test_a_support_that_ends_at_the_data_moves_with_them(order: int) -> None:
    def said(x: Tensor) -> tuple[Tensor, ...]:
        density = fit(x, order, "data")
        return density.cdf(POINTS), density.entropy(), density.var(), *density.support()

    assert gradcheck(said, samples(), **tolerances.GRADCHECK_AT_THE_ENDS)


def test_a_fixed_support_does_not_move() -> None:
    x = samples()
    assert not any(end.requires_grad for end in fit(x, 4, (-9.0, 30.0)).support())
    # Three times the range: from twice the least minus the largest, to the reverse.
    (gradient,) = torch.autograd.grad(fit(x, 4).support()[0].sum(), x)
    expected = torch.zeros_like(x)
    for j in range(x.shape[1]):
        expected[x[:, j].argmin(), j], expected[x[:, j].argmax(), j] = 2.0, -1.0
    torch.testing.assert_close(gradient, expected)


def test_a_pair_in_one_tensor_has_the_gradient_of_two() -> None:
    x = samples(columns=1).detach()
    pair = torch.tensor([-5.0, 4.0], dtype=torch.float64, requires_grad=True)
    a, b = (end.clone().requires_grad_() for end in pair.detach())
    fit(x, 4, pair).cdf(POINTS[:, :1]).sum().backward()
    fit(x, 4, (a, b)).cdf(POINTS[:, :1]).sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    assert pair.grad is not None
    assert pair.grad.tolist() == [float(a.grad), float(b.grad)]
    assert (pair.grad != 0).all()


@pytest.mark.parametrize("shape", ["rows", "values"])
def test_weighted_samples(shape: str) -> None:
    x = samples()
    weights = torch.arange(9.0) if shape == "rows" else torch.arange(18.0).reshape(9, 2)
    assert gradcheck(lambda x: fit(x, 2, weights=weights).cdf(POINTS), x, **tolerances.GRADCHECK)


def test_omitted_values_have_no_gradient_and_the_others_have_theirs() -> None:
    full = samples()
    holes = torch.cat([full, torch.tensor([[math.nan, math.inf]], dtype=torch.float64)]).detach()
    holes.requires_grad_()
    fit(full, 4).cdf(POINTS).sum().backward()
    fit(holes, 4, nan_policy="omit").cdf(POINTS).sum().backward()
    assert full.grad is not None
    assert holes.grad is not None
    assert holes.grad[-1].tolist() == [0.0, 0.0]
    torch.testing.assert_close(holes.grad[:-1], full.grad, rtol=1e-9, atol=1e-12)


def test_both_backends_have_the_same_gradient() -> None:
    grads = []
    for backend in ("torch", "auto"):
        x = samples()
        torch_fit.fit(x, 4, backend=backend).cdf(POINTS).square().sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-7, atol=1e-9)


def test_columns_without_a_fit_leave_their_neighbours_alone() -> None:
    lone = samples(columns=1)
    fit(lone, 4).cdf(POINTS[:, :1]).sum().backward()
    bad = torch.ones(9, 3, dtype=torch.float64)
    bad[4, 1] = math.nan
    bad[:, 2] = torch.tensor(cases.column("far_outlier", 9))
    x = torch.cat([lone.detach(), bad], dim=1).requires_grad_()
    density = torch_fit.fit(x, 4, backend="torch")
    assert density.ok.tolist()[:3] == [True, False, False]
    values = density.cdf(POINTS[:, :1].expand(-1, 4))
    assert values[:, 1:3].isnan().all()
    values[:, 0].sum().backward()
    assert x.grad is not None
    assert lone.grad is not None
    torch.testing.assert_close(x.grad[:, :1], lone.grad, rtol=1e-9, atol=1e-12)
    assert (x.grad[:, 1:] == 0).all()


def test_gradients_of_what_is_nan_are_zero_or_nan_in_their_own_column_only() -> None:
    x = torch.cat([samples(columns=1), torch.ones(9, 1)], dim=1).detach().requires_grad_()
    density = torch_fit.fit(x, 4, backend="torch")
    density.logpdf(POINTS).nan_to_num().sum().backward()
    assert x.grad is not None
    assert x.grad[:, 0].isfinite().all()
    assert (x.grad[:, 0] != 0).any()


def test_float32_gradients_come_in_float32() -> None:
    wide = samples()
    narrow = wide.detach().to(torch.float32).requires_grad_()
    fit(wide, 4).cdf(POINTS).sum().backward()
    fit(narrow, 4).cdf(POINTS).sum().backward()
    assert narrow.grad is not None
    assert narrow.grad.dtype == torch.float32
    torch.testing.assert_close(narrow.grad.to(torch.float64), wide.grad, rtol=1e-3, atol=1e-4)


def test_no_graph_is_made_where_none_is_wanted() -> None:
    with torch.no_grad():
        assert not fit(samples(), 4).cdf(POINTS).requires_grad
    assert not fit(samples().detach(), 4).cdf(POINTS).requires_grad


def test_a_singular_hessian_still_solves() -> None:
    v = torch.tensor([[1.0, 2.0], [1.0, 0.0]], dtype=torch.float64)
    hessian = v[:, :, None] * v[:, None, :]
    hessian[1, 1, 1] = 1.0
    out = implicit.solve_hessian(hessian, torch.ones(2, 2, dtype=torch.float64))
    assert out.isfinite().all()
    torch.testing.assert_close(out[1], torch.ones(2, dtype=torch.float64))
