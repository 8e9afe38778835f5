"""What holds for all layers, in training: gradients, monotone, invariant, hard columns."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests import tolerances
from tests.devices import one_thread  # noqa: F401
from tests.nn.cases import CASES, EVERY, PLANES, Case, batch, name_of, rows_of, trained

every = pytest.mark.parametrize("case", EVERY, ids=name_of)
columnwise = pytest.mark.parametrize("case", CASES, ids=name_of)


def run(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output in training and a gradient by x."""
    x = x.clone().requires_grad_()
    y = layer.train()(x)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    y.backward(weights)
    assert x.grad is not None
    return y.detach(), x.grad


def of_parameters(layer: nn.Module, x: Tensor, *values: Tensor) -> Tensor:
    names = [name for name, _ in layer.named_parameters()]
    return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))


@every
def test_gradients_in_training_are_those_of_finite_differences(case: Case):
    options = {"scale_gradient": True} if case.name.startswith("copula") else {}
    if case.name in ("kl", "mle"):  # their penalty is not seen in the output
        options = {"kl_weight": 0.0} if case.name == "kl" else {"mle_weight": 0.0}
    x = batch(case, rows=18, dtype=torch.float64).requires_grad_()
    layer = case(3, dtype=torch.float64, **options).train()
    layer(x.detach())
    values = tuple(p.detach().clone().requires_grad_() for p in layer.parameters())
    assert torch.autograd.gradcheck(
        lambda x, *v: of_parameters(layer, x, *v), (x, *values), atol=tolerances.LAYER_GRADIENT
    )


@every
def test_gradients_in_eval_are_those_of_finite_differences(case: Case):
    x = batch(case, rows=18, dtype=torch.float64)
    layer = trained(case(3, dtype=torch.float64), x).eval()
    values = tuple(p.detach().clone().requires_grad_() for p in layer.parameters())
    assert torch.autograd.gradcheck(
        lambda x, *v: of_parameters(layer, x, *v),
        (x.requires_grad_(), *values),
        atol=tolerances.LAYER_GRADIENT,
        # training parameters of what is tabulated have no part in the test phase
        check_undefined_grad=False,
    )


@every
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_monotone_in_each_column(case: Case, training: bool):
    x = batch(case, rows=96)
    layer = trained(case(3), x).train(training)
    with torch.no_grad():
        y = layer(x)
    order = rows_of(x).argsort(dim=0)
    rises = rows_of(y).gather(0, order).diff(dim=0)
    assert rises.min() >= -tolerances.layer_rise(float(y.abs().max()))
    assert rises.max() > 0


@pytest.mark.parametrize("case", [c for c in EVERY if c.normalises], ids=name_of)
@settings(max_examples=15)
@given(scale=st.floats(0.5, 1000.0), shift=st.floats(-50.0, 50.0))
def test_location_and_scale_do_not_matter(case: Case, scale: float, shift: float):
    x = batch(case, rows=96, dtype=torch.float64)
    layer = case(3, dtype=torch.float64, eps=0.0)
    with torch.no_grad():
        difference = layer(scale * x + shift) - layer(x)
    assert difference.abs().max() < tolerances.LAYER_INVARIANCE


@columnwise
def test_order_of_rows_does_not_matter(case: Case):
    x = batch(case, rows=48, dtype=torch.float64)
    order = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        layer = trained(case(3, dtype=torch.float64), x).train()
        difference = layer(x[order]) - layer(x)[order]
    assert difference.abs().max() < tolerances.LAYER_INVARIANCE


@pytest.mark.parametrize("case", [c for c in EVERY if c.normalises], ids=name_of)
def test_a_constant_column_gives_the_bias(case: Case):
    x = batch(case, rows=24)
    x[:, 1] = 7.5  # whose sums are exact
    layer = case(3)
    layer.bias.data = torch.tensor([0.0, -2.5, 0.0])
    y, gradient = run(layer, x)
    expected = -2.5 if layer.__dict__["_modules"].get("target") is None else y[:, 1].mean()
    torch.testing.assert_close(
        y[:, 1], torch.full_like(y[:, 1], float(expected)), **tolerances.LAYER_LEVEL
    )
    assert gradient.isfinite().all()
    if case.name.startswith("copula"):  # the others are affine there, with a slope of 1 / sqrt(eps)
        assert gradient[:, 1].abs().max() == 0


@columnwise
def test_any_number_of_rows(case: Case):
    for rows in (1, 2, 3, case.order, case.order + 1, case.order + 2):
        layer = case(3)
        y, gradient = run(layer, batch(case, rows=rows))
        assert y.isfinite().all(), rows
        assert gradient.isfinite().all(), rows
        assert all(b.isfinite().all() for b in layer.buffers() if b.is_floating_point()), rows
        with torch.no_grad():
            assert layer.eval()(batch(case, rows=rows)).isfinite().all(), rows


@every
def test_nan_stays_in_its_column(case: Case):
    x = batch(case, rows=24)
    with_nan = x.clone()
    with_nan[(1, 1) if case.dims == 1 else (1, 1, 0, 2)] = math.nan
    y, gradient = run(case(3), x)
    layer = trained(case(3), x)
    running = {name: b.clone() for name, b in layer.named_buffers() if b.is_floating_point()}
    layer_y, layer_gradient = run(case(3), with_nan)
    if not case.fixed and case.name not in ("kl", "mle"):
        assert layer_y[:, 1].isnan().all()
    for column in (0, 2):
        torch.testing.assert_close(layer_y[:, column], y[:, column])
        torch.testing.assert_close(layer_gradient[:, column], gradient[:, column])
    trained(layer, with_nan, steps=1)
    for name, buffer in layer.named_buffers():
        if name in running:
            assert buffer.isfinite().all(), name
    with torch.no_grad():
        assert layer.eval()(x).isfinite().all()


@every
def test_half_of_the_entries_zero(case: Case):
    x = batch(case, rows=96).relu()
    x.view(-1)[::2] = 0.0
    layer = case(3)
    y, gradient = run(layer, x)
    assert y.isfinite().all()
    assert gradient.isfinite().all()
    with torch.no_grad():
        assert layer.eval()(x).isfinite().all()


@every
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_a_huge_outlier(case: Case, size: float):
    x = batch(case, rows=96)
    x.view(-1)[5] = size
    layer = case(3)
    y, gradient = run(layer, x)
    assert y.isfinite().all()
    assert gradient.isfinite().all()
    assert all(b.isfinite().all() for b in layer.buffers() if b.is_floating_point())
    with torch.no_grad():
        assert layer.eval()(x).isfinite().all()


@pytest.mark.parametrize("case", PLANES, ids=name_of)
def test_channels_are_columns(case: Case):
    """A 2d layer is the 1d layer on N H W rows."""
    x = batch(case, rows=48, dtype=torch.float64)
    flat = next(c for c in CASES if c.name == case.name)
    y = case(3, dtype=torch.float64)(x)
    rows = flat(3, dtype=torch.float64)(rows_of(x))
    torch.testing.assert_close(rows_of(y), rows)


@columnwise
def test_a_batch_is_counted_once_by_momentum_none(case: Case):
    """With momentum=None two halves leave what their average is, where that is linear."""
    x = batch(case, rows=96, dtype=torch.float64)
    one = trained(case(3, dtype=torch.float64, momentum=None), x, steps=1)
    many = trained(case(3, dtype=torch.float64, momentum=None), x, steps=4)
    assert int(many.num_batches_tracked) == 4
    for (name, first), (_, other) in zip(one.named_buffers(), many.named_buffers(), strict=True):
        if name != "num_batches_tracked":
            torch.testing.assert_close(first, other, rtol=1e-9, atol=1e-9, msg=name)
