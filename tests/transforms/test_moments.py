"""The moment match against the exact transport, its adjoint against differences, hard columns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.functional import batch_norm

from distfit_nn.errors import InputError
from distfit_nn.maxent.tensors.fit import fit
from distfit_nn.transforms.moments import rules
from distfit_nn.transforms.moments.density import evaluated, solve
from distfit_nn.transforms.moments.law import AFFINE, INVALID, OK
from distfit_nn.transforms.moments.match import matched
from distfit_nn.transforms.moments.tensors import composed
from distfit_nn.transforms.torch_transport import TensorTransport
from tests import cases, tolerances

NAMES = ("normal", "exponential", "bimodal", "post_relu", "t3")
ORDERS = range(3, 9)


def columns(n: int, dtype: torch.dtype = torch.float64, names: tuple[str, ...] = NAMES) -> Tensor:
    """One column of each of the names."""
    arrays = [cases.column(name, n, seed=j) for j, name in enumerate(names)]
    return torch.tensor(np.stack(arrays, axis=1), dtype=dtype)


def exact(x: Tensor, order: int, radius: Tensor, eps: float = 1e-5) -> Tensor:
    """The map by definition, column by column, with a gradient; scores are believed up to 3."""
    out = []
    for column, end in zip(x.double().T, radius.tolist(), strict=True):
        z = (column - column.mean()) / column.std(correction=0)
        scores = TensorTransport(fit(z, order, (-end, end)), outside="exact").forward(z)
        excess = (scores.abs() - 3).clamp(min=0)
        scores = scores.clamp(-3, 3) + scores.sign() * torch.asinh(2 * excess) / 2
        var = column.var(correction=0)
        out.append(scores * (var / (var + eps)).sqrt())
    return torch.stack(out, dim=1)


def line(d: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """A weight and a bias that require grad."""
    weight = torch.linspace(0.5, 1.5, d, dtype=dtype)
    return weight.requires_grad_(), torch.linspace(-1, 1, d, dtype=dtype).requires_grad_()


# Values


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [40, 128])
@pytest.mark.parametrize("order", ORDERS)
def test_the_map_is_the_exact_one(order: int, n: int, dtype: torch.dtype) -> None:
    x = columns(n, dtype)
    y, moments = matched(x, order)
    assert (moments.status == OK).all()
    torch.testing.assert_close(
        y.double(),
        exact(x, order, moments.radius),
        rtol=0,
        atol=tolerances.moment_table(order, dtype),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("order", [6, 7])
def test_a_rise_at_the_end_of_the_support_is_seen(order: int, dtype: torch.dtype) -> None:
    """The last values have scores of 5, where half of what lies beyond is a rise of 1e-3 width."""
    x = columns(3000, dtype, ("bimodal",))
    y, moments = matched(x, order)
    assert (moments.status == OK).all()
    room = tolerances.moment_table(order, dtype)
    torch.testing.assert_close(y.double(), exact(x, order, moments.radius), rtol=0, atol=room)


@pytest.mark.parametrize("reach", [2.0, None])
def test_scores_count_by_a_logarithm_beyond_their_reach(reach: float | None) -> None:
    x = columns(400)
    plain = matched(x, 4, eps=0.0, reach=None)[0]
    y = matched(x, 4, eps=0.0, reach=reach)[0]
    limit = math.inf if reach is None else reach
    excess = (plain.abs() - limit).clamp(min=0)
    assert reach is None or (excess > 1).any()
    expected = plain.clamp(-limit, limit) + plain.sign() * torch.asinh(2 * excess) / 2
    torch.testing.assert_close(y, expected, rtol=0, atol=tolerances.MOMENT_TABLE["torch.float64"])


@pytest.mark.parametrize("reach", [0, -1.0, math.inf, math.nan, "3"])
def test_reaches_that_there_are_not(reach: object) -> None:
    with pytest.raises(InputError, match="reach"):
        matched(torch.zeros(3, 2), 4, reach=reach)  # type: ignore[arg-type]


def test_moments_are_those_of_the_batch() -> None:
    x = columns(100)
    _, moments = matched(x, 6)
    z = (x - x.mean(0)) / x.std(0, correction=0)
    shape = torch.stack([(z**r).mean(0) for r in range(3, 7)])
    torch.testing.assert_close(moments.mean, x.mean(0))
    torch.testing.assert_close(moments.var, x.var(0, correction=0))
    torch.testing.assert_close(moments.shape, shape)
    torch.testing.assert_close(moments.extreme, z.abs().amax(dim=0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_order_two_is_batch_norm(dtype: torch.dtype) -> None:
    x = columns(50, dtype).requires_grad_()
    weight, bias = line(5, dtype)
    ours = matched(x, 2, weight, bias)[0]
    theirs = batch_norm(x, None, None, weight, bias, training=True)
    torch.testing.assert_close(ours, theirs)
    g = torch.randn(50, 5, generator=torch.Generator().manual_seed(0), dtype=dtype)
    gradients = [torch.autograd.grad((y * g).sum(), (x, weight, bias)) for y in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", [4, 6, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_map_increases(order: int, dtype: torch.dtype) -> None:
    x = columns(300, dtype, (*NAMES, "trimodal", "spike_and_slab", "u_shaped", "far_outlier"))
    y = matched(x, order)[0]
    ordered = y.gather(0, x.argsort(dim=0))
    room = 4 * tolerances.eps(str(dtype).removeprefix("torch.")) * y.abs().max()
    assert (ordered.diff(dim=0) >= -room).all()


@pytest.mark.parametrize("order", [2, 4, 6])
def test_layouts_and_threads_change_nothing(order: int) -> None:
    x = torch.randn(70, 83, generator=torch.Generator().manual_seed(1))
    rows = matched(x, order)[0]
    assert torch.equal(rows, matched(x.T.contiguous().T, order)[0])
    assert torch.equal(rows, matched(torch.cat([x, x], dim=1)[:, :83], order)[0])
    assert torch.equal(rows[:, 40:], matched(x[:, 40:].contiguous(), order)[0])
    assert matched(x.T.contiguous().T, order)[0].stride(0) == 1


# Gradients


@pytest.mark.parametrize("order", ORDERS)
def test_gradients_by_differences(order: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(14, 2, generator=generator, dtype=torch.float64)
    x = torch.cat([x, x[:, :1].exp()], dim=1).requires_grad_()
    assert gradcheck(
        lambda *given: matched(given[0], order, *given[1:], eps=1e-2)[0],
        (x, *line(3)),
        **(tolerances.GRADCHECK if order < 8 else tolerances.GRADCHECK_MOMENTS),
    )


@pytest.mark.parametrize("order", [4, 6])
def test_gradients_are_those_of_the_exact_map(order: int) -> None:
    x = columns(60).requires_grad_()
    g = torch.randn(60, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y, moments = matched(x, order)
    ours = torch.autograd.grad((y * g).sum(), x)[0]
    theirs = torch.autograd.grad((exact(x, order, moments.radius) * g).sum(), x)[0]
    scale = theirs.abs().amax(dim=0)
    assert ((ours - theirs).abs() <= tolerances.MOMENT_SLOPE * scale).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reach", [3.0, 1.0])
@pytest.mark.parametrize("order", [2, 3, 4, 6])
def test_operators_of_torch_do_the_same(order: int, reach: float, dtype: torch.dtype) -> None:
    x = torch.cat([columns(40, dtype), torch.ones(40, 1, dtype=dtype)], dim=1).requires_grad_()
    weight, bias = line(6, dtype)
    g = torch.randn(40, 6, generator=torch.Generator().manual_seed(4), dtype=dtype)
    results = []
    for function in (matched, composed):
        y, moments = function(x, order, weight, bias, 1e-3, reach)
        results.append((y, *torch.autograd.grad((y * g).sum(), (x, weight, bias)), *moments))
    for ours, theirs in zip(*results, strict=True):
        allowed = tolerances.MOMENT_OPERATORS[str(dtype)]
        torch.testing.assert_close(ours, theirs, **allowed, equal_nan=True)


def test_once_differentiable() -> None:
    x = columns(20).requires_grad_()
    (gradient,) = torch.autograd.grad(matched(x, 4)[0].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        gradient.sum().backward()


# Columns without a density


def test_poor_columns_are_standardised_and_leave_their_neighbours_alone() -> None:
    x = torch.randn(64, 7, generator=torch.Generator().manual_seed(5))
    alone = matched(x, 4)[0][:, 6]
    x[0, 0] = math.nan
    x[1, 1] = math.inf
    x[:, 2] = 3.0
    x[:, 3] = x[:, 3].sign()
    x[5, 4] = 1e30
    x[::2, 5] = 0.0
    x.requires_grad_()
    y, moments = matched(x, 4)
    y.square().sum().backward()
    assert moments.status.tolist() == [INVALID, INVALID, AFFINE, AFFINE, AFFINE, OK, OK]
    assert y[:, :2].isnan().all()
    assert (y[:, 2] == 0).all()
    assert moments.shape[:, 2].isnan().all()
    torch.testing.assert_close(
        y[:, 3:5].double(), batch_norm(x[:, 3:5].double(), None, None, training=True)
    )
    assert torch.equal(y[:, 6], alone)
    assert x.grad is not None
    assert x.grad[:, 2:].isfinite().all()


@pytest.mark.parametrize("n", [1, 2, 4, 5, 9])
def test_few_rows(n: int) -> None:
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(6), requires_grad=True)
    y, moments = matched(x, 4, bias=torch.ones(3))
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    if n <= 4:
        assert (moments.status == AFFINE).all()
    if n == 1:
        assert (y == 1).all()
        assert (x.grad == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("n", [32, 1024])
@pytest.mark.parametrize(("order", "share"), [(4, 0.01), (6, 0.02), (8, 0.04)])
def test_failures_are_rare_and_nothing_is_wild(order: int, share: float, n: int) -> None:
    for name in (*NAMES, "junk_line", "integers"):
        rng = np.random.default_rng(7)
        x = torch.tensor(np.stack([cases.COLUMNS[name](rng, n) for _ in range(100)], axis=1))
        y, moments = matched(x.float(), order)
        assert (moments.status != OK).double().mean() <= share, name
        assert y.isfinite().all(), name
        assert y.abs().max() < 40, name


# The test phase


@pytest.mark.parametrize("order", [2, 4, 5, 6])
def test_solved_and_evaluated_it_is_the_same_map(order: int) -> None:
    x = columns(200).sort(dim=0).values
    y, moments = matched(x, order, eps=0.0)
    multipliers, status = solve(moments.shape, moments.radius)
    assert torch.equal(status, moments.status)
    given = (multipliers, moments.radius, moments.mean, moments.var.sqrt())
    values, slopes = evaluated(x, *given)
    torch.testing.assert_close(values, y, rtol=0, atol=tolerances.MOMENT_TABLE["torch.float64"])
    step = 1e-5
    ahead, behind = (evaluated(x + way * step, *given)[0] for way in (1, -1))
    torch.testing.assert_close(slopes, (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-4)


def test_beyond_the_support_the_map_goes_on_straight() -> None:
    x = columns(100)
    _, moments = matched(x, 4)
    multipliers, _ = solve(moments.shape, moments.radius)
    nodes = torch.linspace(-60, 60, 241, dtype=torch.float64)[:, None].expand(-1, 5)
    values, slopes = evaluated(
        nodes, multipliers, moments.radius, torch.zeros(5).double(), torch.ones(5).double(), None
    )
    assert values.isfinite().all()
    assert (values.diff(dim=0) >= 0).all()
    assert (slopes > 0).all()
    beyond = values[nodes[:, 0] > 30]
    assert (beyond.diff(n=2, dim=0).abs() <= 1e-9 * beyond.abs().amax(dim=0)).all()


def test_moments_that_are_no_moments_are_affine_or_invalid() -> None:
    shape = torch.tensor([[0.0, 5.0, math.nan], [0.5, 3.0, 3.0]], dtype=torch.float64)
    multipliers, status = solve(shape, torch.full((3,), 10.0, dtype=torch.float64))
    assert status.tolist() == [AFFINE, AFFINE, INVALID]
    assert torch.equal(multipliers[:, 0], torch.tensor([0, -0.5, 0, 0], dtype=torch.float64))


@pytest.mark.parametrize("order", [1, 9, 2.5, True])
def test_orders_that_there_are_not(order: int) -> None:
    with pytest.raises(InputError, match="order"):
        matched(torch.zeros(3, 2), order)


@pytest.mark.parametrize("x", [torch.zeros(3), torch.zeros(0, 2), torch.zeros(2, 2).half()])
def test_inputs_that_are_not_columns(x: Tensor) -> None:
    with pytest.raises(InputError, match="float32 or float64"):
        matched(x, 4)


@pytest.mark.parametrize("order", [6, 8])
@pytest.mark.parametrize("function", [matched, composed])
def test_gradients_are_bounded(order: int, function: Callable[..., Any]):
    """Spikes have moments at the edge of what a density can have."""
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(1024, 100, generator=generator)
    x = torch.where(torch.rand(1024, 100, generator=generator) < 0.9, 0.01 * z, z).requires_grad_()
    y, told = function(x, order, None, None, 1e-5)
    gradient = torch.randn(1024, 100, generator=generator)
    (slopes,) = torch.autograd.grad(y, x, gradient)
    rate = slopes.double().norm(dim=0) / gradient.double().norm(dim=0) * told.var.sqrt()
    assert slopes.isfinite().all()
    assert rate.max() <= rules.STEEPEST * (1 + 16 * tolerances.eps(np.float32))
