"""LogShift and SqrtShift against their formulas in float64, and their laws."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distfit_nn.errors import InputError
from distfit_nn.nn import LogShift, SqrtShift
from tests import tolerances


@pytest.fixture
def _one_thread():
    """Small batches gain nothing by threads, which wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


KINDS = [LogShift, SqrtShift]
LAYOUTS = [
    ((50, 300), 1),
    ((7, 5, 3), 1),
    ((7, 5, 40), 1),
    ((4, 6, 9, 9), 1),
    ((2, 3, 4, 4, 3), 1),
    ((2, 3, 4, 5), -1),
    ((1, 600), 1),
]
EDGES = [0.0, -0.0, 1e30, -1e30, 3e38, 1e-40, np.inf, -np.inf]


def formula(layer: LogShift | SqrtShift, x: Tensor) -> Tensor:
    """The thesis' formulas with weight and bias, features along the last dimension."""
    size = x.abs()
    logs = [value.clone() for name, value in layer.state_dict().items() if name.startswith("log_")]
    gains = [value.double().exp() for value in logs]
    if isinstance(layer, LogShift):
        a, b, c = gains
        y = a * torch.log1p((b * size) ** c)
    else:
        a, b = gains
        y = ((a * size) ** b + 0.25).sqrt() - 0.5
    return layer.weight.double() * x.sign() * y + layer.bias.double()


def unlike_the_start(layer: torch.nn.Module, by: float = 0.3) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += by * torch.randn(parameter.shape, generator=generator)
    return layer


def sample(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def with_gradients(layer: torch.nn.Module, x: Tensor, g: Tensor) -> list[Tensor]:
    """y and the gradients by x and parameters."""
    x = x.detach().clone().requires_grad_()
    layer.zero_grad()
    y = layer(x)
    y.backward(g.to(y.dtype))
    return [y.detach(), x.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", [0.0, 0.3])
@pytest.mark.parametrize(("shape", "feature_dim"), LAYOUTS)
def test_the_formula_in_each_layout(kind, by, shape, feature_dim):
    layer = unlike_the_start(kind(shape[feature_dim], feature_dim=feature_dim), by)
    x = 3 * sample(shape)
    expected = formula(layer, x.double().movedim(feature_dim, -1)).movedim(-1, feature_dim)
    bias = layer.bias.detach().abs().max().item()
    for mode in (True, False):
        layer.train(mode)
        y = layer(x)
        torch.testing.assert_close(
            y.double(), expected, rtol=tolerances.SHIFT, atol=tolerances.SHIFT * (bias + 0.1)
        )
    torch.testing.assert_close(
        layer.double()(x.double()), expected, rtol=1e4 * tolerances.eps(), atol=1e-13
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", [0.0, 0.3])
@pytest.mark.parametrize(("shape", "feature_dim"), LAYOUTS)
def test_gradients_of_single_precision_are_those_of_double(kind, by, shape, feature_dim):
    layer = unlike_the_start(kind(shape[feature_dim], feature_dim=feature_dim), by)
    x, g = sample(shape), sample(shape, 1)
    found = with_gradients(layer, x, g)
    expected = with_gradients(copy.deepcopy(layer).double(), x.double(), g.double())
    torch.testing.assert_close(found[1].double(), expected[1], rtol=tolerances.SHIFT, atol=1e-12)
    rows = x.numel() // layer.num_features
    for one, other in zip(found[2:], expected[2:], strict=True):
        largest = 10 * g.abs().max().item() * rows  # a term is at most ten times g here
        error = tolerances.SHIFT_SUM * largest
        torch.testing.assert_close(one.double(), other, rtol=0, atol=error)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exponent", [-0.5, 0.0, 0.5])
def test_gradcheck(kind, exponent):
    layer = unlike_the_start(kind(3, dtype=torch.float64))
    with torch.no_grad():
        layer._logs()[-1].fill_(exponent)
    x = sample((6, 3), dtype=torch.float64)
    x = (x + 0.1 * x.sign()).requires_grad_()  # away from 0
    names = [name for name, _ in layer.named_parameters()]
    values = [value.detach().clone().requires_grad_() for value in layer.parameters()]

    def function(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), x)

    assert torch.autograd.gradcheck(function, (x, *values), **tolerances.GRADCHECK)


def test_the_start_is_the_thesis():
    x = torch.tensor([[-2.0, -0.1, 0.0, 0.1, 2.0]])
    log, sqrt = LogShift(5), SqrtShift(5)
    size, sign = x.abs().double().numpy(), x.sign().numpy()
    expected = sign * 3 * np.log1p(5 * size)
    np.testing.assert_allclose(log(x).detach().numpy(), expected, rtol=tolerances.SHIFT)
    expected = sign * (np.sqrt(20 * size + 0.25) - 0.5)
    np.testing.assert_allclose(sqrt(x).detach().numpy(), expected, rtol=tolerances.SHIFT)
    for layer, gains in ((log, (3, 5, 1)), (sqrt, (20, 1))):
        found = [getattr(layer, name)[0].item() for name in "abc"[: len(gains)]]
        np.testing.assert_allclose(found, gains, rtol=tolerances.SHIFT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("exponent", [-5.0, -0.7, 0.0, 0.7, 5.0])
def test_no_value_is_too_far_or_too_near(kind, dtype, exponent):
    layer = kind(1, dtype=dtype)
    with torch.no_grad():
        layer._logs()[-1].fill_(exponent)
    x = torch.tensor(EDGES, dtype=dtype)[:, None].requires_grad_()
    y = layer(x)
    y.backward(torch.ones_like(y))
    assert not y.isnan().any()
    if kind is LogShift or exponent < 1:  # the slope of |x|^4 is infinite there indeed
        assert x.grad.isfinite().all()
    assert not x.grad.isnan().any()
    assert (y[:2] == 0).all()
    assert y[-2:].tolist() == [[np.inf], [-np.inf]]
    if kind is LogShift:
        assert all(parameter.grad.isfinite().all() for parameter in layer._logs())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_slope_at_zero_is_that_at_eps_for_exponents_below_one(kind, dtype):
    layer = kind(1, eps=1e-3, dtype=dtype)
    slopes = []
    with torch.no_grad():
        layer._logs()[-1].fill_(-0.5)
    for place in (0.0, 1e-4, 1e-3):
        x = torch.full((1, 1), place, dtype=dtype, requires_grad=True)
        layer(x).backward()
        slopes.append(x.grad.item())
    np.testing.assert_allclose(slopes, slopes[-1], rtol=2 * tolerances.SHIFT)
    with torch.no_grad():
        layer._logs()[-1].fill_(0.0)
    x = torch.zeros(1, 1, dtype=dtype, requires_grad=True)
    layer(x).backward()
    np.testing.assert_allclose(x.grad.item(), {3: 15.0, 2: 20.0}[len(layer._logs())], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nan_stays_in_its_entry(kind, dtype):
    layer = unlike_the_start(kind(3, dtype=dtype))
    x = sample((5, 3), dtype=dtype)
    x[2, 1] = torch.nan
    y, dx, *by_parameters = with_gradients(layer, x, torch.ones(5, 3))
    nan = x.isnan()
    assert torch.equal(y.isnan(), nan)
    assert torch.equal(dx.isnan(), nan)
    for gradient in by_parameters:
        assert gradient[[0, 2]].isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@given(
    logs=st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=2, max_size=30),
)
def test_monotone_and_odd(kind, logs, values):
    layer = kind(1)
    with torch.no_grad():
        for log, value in zip(layer._logs(), logs, strict=False):
            log.fill_(value)
        x = torch.tensor(sorted(values))[:, None]
        y = layer(x)
    assert ((y[1:] - y[:-1]) >= -tolerances.SHIFT * y[1:].abs()).all()
    assert torch.equal(layer(-x), -y)


@pytest.mark.parametrize("kind", KINDS)
def test_gains_stay_positive_and_come_back(kind):
    layer = kind(2)
    with torch.no_grad():
        for log in layer._logs():
            log[0], log[1] = 1e6, -1e6
    y = layer(torch.ones(1, 2))
    assert y.isfinite().all()
    for name in layer.STARTS:
        gain = getattr(layer, name)
        assert gain.isfinite().all()
        assert (gain > 0).all()
    y.sum().backward()
    assert layer._logs()[0].grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_fixed_maps_keep_gains_as_buffers(kind):
    layer, learnable = kind(4, learnable=False), kind(4)
    assert layer.state_dict().keys() == learnable.state_dict().keys()
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    learnable.load_state_dict(layer.state_dict(), strict=True)
    x = sample((9, 4))
    assert torch.equal(layer(x), learnable(x))
    layer(x).sum().backward()


@pytest.mark.parametrize("kind", KINDS)
def test_shared_gains_have_the_sum_of_the_gradients(kind):
    shared, each = kind(4, shared=True), kind(4)
    x, g = sample((9, 4)), sample((9, 4), 1)
    one, other = with_gradients(shared, x, g), with_gradients(each, x, g)
    assert torch.equal(one[0], other[0])
    for few, many in zip(one[4:], other[4:], strict=True):
        torch.testing.assert_close(few, many.sum().reshape(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_without_affine_part(kind):
    layer, full = kind(4, affine=False), kind(4)
    x, g = sample((9, 4)), sample((9, 4), 1)
    assert torch.equal(layer(x), full(x))
    found, expected = with_gradients(layer, x, g), with_gradients(full, x, g)
    assert torch.equal(found[1], expected[1])
    assert torch.equal(found[-1], expected[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_strides_and_memory_formats(kind):
    layer = unlike_the_start(kind(6))
    x, g = sample((4, 6, 5, 5)), sample((4, 6, 5, 5), 1)
    last = x.to(memory_format=torch.channels_last)
    plain, other = with_gradients(layer, x, g), with_gradients(layer, last, g)
    assert layer(last).is_contiguous(memory_format=torch.channels_last)
    for one, two in zip(plain, other, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-4)
    wide = sample((8, 12))
    assert torch.equal(layer(wide[:, ::2]), layer(wide[:, ::2].contiguous()))
    assert torch.equal(layer(wide[:6].T[:6].T), layer(wide[:6, :6].contiguous()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_goes_through_single(kind, dtype):
    layer = kind(4)
    x = sample((9, 4), dtype=dtype)
    assert torch.equal(layer(x), layer(x.float()).to(dtype))
    half = kind(4).to(dtype)
    assert half(x).dtype == dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x.float()), layer(x.float()))


@pytest.mark.parametrize("kind", KINDS)
def test_large_inputs_are_shared_between_threads(kind):
    layer = unlike_the_start(kind(300))
    for shape in ((440, 300), (3, 300, 150)):
        x, g = sample(shape), sample(shape, 1)
        found = with_gradients(layer, x, g)
        parts = [with_gradients(layer, *both) for both in zip(x.chunk(3), g.chunk(3), strict=True)]
        assert torch.equal(found[0], torch.cat([part[0] for part in parts]))
        for i in range(2, len(found)):
            total = sum(part[i].double() for part in parts)
            size = sum(part[i].double().abs() for part in parts)
            assert ((found[i] - total).abs() <= 10 * tolerances.SHIFT_SUM * (1 + size)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_state_and_copies(kind):
    layer = unlike_the_start(kind(4))
    layer(sample((9, 4)))
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = kind(4)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    x = sample((9, 4), 2)
    assert torch.equal(other(x), layer(x))
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    layer.reset_parameters()
    assert torch.equal(layer(x), kind(4)(x))


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_are_refused(kind):
    x = sample((3, 2)).requires_grad_()
    (dx,) = torch.autograd.grad(kind(2)(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        dx.sum().backward()


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input(kind):
    with pytest.raises(InputError, match="learnable"):
        kind(3, learnable="no")
    with pytest.raises(InputError, match="shared"):
        kind(3, shared=2)
    with pytest.raises(InputError, match="shape"):
        kind(3)(torch.zeros(4, 2))
    with pytest.raises(InputError, match="at least one row"):
        kind(3)(torch.zeros(0, 3))
    assert kind(3).eval()(torch.zeros(0, 3)).shape == (0, 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_and_exported(kind):
    layer = unlike_the_start(kind(4)).eval()
    x = sample((9, 4))
    plain = layer(x)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True)(x), plain)
    exported = torch.export.export(layer, (x,)).module()
    torch.testing.assert_close(exported(x), plain)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimiser", [torch.optim.SGD, torch.optim.Adam])
def test_training_is_stable_at_a_high_rate(kind, optimiser):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(8, 16), kind(16), torch.nn.ReLU(), torch.nn.Linear(16, 1)
    )
    steps = optimiser(net.parameters(), 0.02)
    x = torch.randn(256, 8)
    target = x[:, :1] * x[:, 1:2]
    losses = []
    for _ in range(100):
        loss = (net(x) - target).square().mean()
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.5 * losses[0]
