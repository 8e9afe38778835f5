"""TrimmedNorm against its definition in NumPy, its gradient, ties and hard columns."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from distfit_nn.errors import InputError
from distfit_nn.nn import TrimmedNorm1d, TrimmedNorm2d, trimmed_norm
from tests import tolerances

CASES = [
    (TrimmedNorm1d, (100, 7), 1),
    (TrimmedNorm1d, (19, 7), 1),
    (TrimmedNorm1d, (9, 5, 13), 1),
    (TrimmedNorm1d, (4, 11, 5), -1),
    (TrimmedNorm2d, (4, 6, 9, 9), 1),
]


@pytest.fixture(autouse=True)
def _one_thread():
    """Small batches gain nothing by threads, which wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sample(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def trimmed(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean and variance of the central 90% of columns (n, C), and of how many values that is."""
    out = len(x) // 20
    kept = np.sort(x, axis=0)[out : len(x) - out]
    return kept.mean(0), kept.var(0), len(kept)


def formula(x: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    mean, variance, _ = trimmed(x)
    return np.clip((x - mean) / np.sqrt(variance + eps), -3, 3)


@pytest.mark.parametrize(("kind", "shape", "feature_dim"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_definition_in_each_layout(kind, shape, feature_dim, dtype):
    c = shape[feature_dim]
    layer = kind(c, feature_dim=feature_dim, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(1 + 0.3 * sample((c,), 1))
        layer.bias.copy_(sample((c,), 2))
    x = (sample(shape) ** 3 + 2).to(dtype)
    columns = x.double().movedim(feature_dim, -1).reshape(-1, c).numpy()
    line = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    expected = formula(columns) * line[0] + line[1]
    y = layer(x)
    assert y.dtype == dtype
    error = tolerances.LAYER32 if dtype == torch.float32 else tolerances.CLOSED_FORM
    found = y.detach().double().movedim(feature_dim, -1).reshape(-1, c).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=10 * error)
    mean, variance, kept = trimmed(columns)
    np.testing.assert_allclose(layer.running_mean, 0.1 * mean, rtol=error, atol=error)
    unbiased = variance * kept / (kept - 1)
    np.testing.assert_allclose(layer.running_var, 0.9 + 0.1 * unbiased, rtol=error)
    layer.momentum = 1.0
    layer(x)
    layer.eval()
    z = np.clip((columns - mean) / np.sqrt(unbiased + 1e-5), -3, 3)
    found = layer(x).detach().double().movedim(feature_dim, -1).reshape(-1, c).numpy()
    np.testing.assert_allclose(found, z * line[0] + line[1], rtol=0, atol=10 * error)


@pytest.mark.parametrize("n", [1, 2, 19, 20, 41])
def test_gradcheck(n):
    layer = TrimmedNorm1d(3).double()
    weights = [(1 + sample((3,), seed)).double().requires_grad_() for seed in (1, 2)]
    x = sample((n, 3)).double().requires_grad_()

    def function(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, x)

    assert torch.autograd.gradcheck(function, (x, *weights), **tolerances.GRADCHECK)
    layer.eval()
    assert torch.autograd.gradcheck(function, (x, *weights), **tolerances.GRADCHECK)


def test_below_twenty_rows_it_is_batch_norm():
    x = sample((19, 6))
    layer, norm = TrimmedNorm1d(6), nn.BatchNorm1d(6)
    expected = norm(x).clamp(-3, 3)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=tolerances.LAYER32)
    torch.testing.assert_close(layer.running_var, norm.running_var)
    torch.testing.assert_close(layer.eval()(x), norm.eval()(x).clamp(-3, 3), rtol=0, atol=1e-5)


@given(
    values=st.lists(st.integers(-2, 2), min_size=1, max_size=90),
    seed=st.integers(0, 1000),
)
def test_ties_and_the_order_of_rows(values, seed):
    x = torch.tensor(values, dtype=torch.float64)[:, None]
    g = sample(x.shape, seed).double()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    results = []
    for rows in (torch.arange(len(x)), order):
        given_ = x[rows].clone().requires_grad_()
        y = TrimmedNorm1d(1, dtype=torch.float64)(given_)
        y.backward(g[rows])
        results.append((y.detach(), given_.grad))
    np.testing.assert_allclose(results[0][0], formula(x.numpy()), atol=1e-9)
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one[order], other, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hard_columns(dtype):
    x = sample((40, 6)).to(dtype)
    x[3, 0] = torch.nan
    x[:, 1] = 7.0
    x[:20, 2] = 0.0
    x[0, 3], x[1, 3] = 1e30, -1e30
    x[0, 4], x[1, 4] = torch.inf, -torch.inf
    x[:3, 5] = torch.inf  # one more than is left out
    x.requires_grad_()
    layer = TrimmedNorm1d(6, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = layer(x)
        y.backward(sample((40, 6), 1).to(dtype))
    assert y[:, [0, 5]].isnan().all()
    assert y[:, 1:5].isfinite().all()
    assert x.grad[:, 1:5].isfinite().all()
    assert (y[:, 1] == 0).all()
    for column in (3, 4):
        assert y[:2, column].tolist() == [3.0, -3.0]
        assert (x.grad[:2, column] == 0).all()
    assert layer.running_mean[[0, 5]].tolist() == [0.0, 0.0]
    assert layer.running_var[[0, 5]].tolist() == [1.0, 1.0]
    assert layer.eval()(x)[:, 4].isfinite().all()


def test_one_row():
    layer = TrimmedNorm1d(3)
    x = sample((1, 3)).requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert torch.equal(y, layer.bias.expand(1, 3))
    assert (x.grad == 0).all()
    assert (layer.running_mean == 0).all()
    assert (layer.running_var == 1).all()


# The compiled kernel against torch's operators


def columns_of_all_kinds(n: int, seed: int) -> Tensor:
    """Normal, tied, huge, half of them 0, constant, skewed, far from 0, subnormal; float32."""
    x = sample((n, 8), seed)
    x[:, 1] = x[:, 1].round()
    x[:, 2] *= 1e30
    x[:, 3] = x[:, 3].relu()
    x[:, 4] = 5.0
    x[:, 5] = -x[:, 5].exp()
    x[:, 6] = 100 + 1e-2 * x[:, 6]
    x[:, 7] *= 1e-40
    return x


@pytest.mark.parametrize("n", [1, 2, 19, 20, 41, 333, 4100])
@pytest.mark.parametrize("eps", [1e-5, 1e-12])
def test_the_kernel_is_the_composed_formula(n, eps):
    x, g = columns_of_all_kinds(n, n), sample((n, 8), n + 1)
    single, double = TrimmedNorm1d(8, eps), TrimmedNorm1d(8, eps, dtype=torch.float64)
    found = []
    for layer in (single, double):
        with torch.no_grad():
            layer.weight.copy_(torch.linspace(-1, 2, 8))
            layer.bias.copy_(torch.linspace(-1, 1, 8))
        given_ = x.to(layer.weight.dtype, copy=True).requires_grad_()
        y = layer(given_)
        y.backward(g.to(y.dtype))
        parts = (y, given_.grad, layer.weight.grad, layer.bias.grad)
        running = layer.running_mean, layer.running_var[[0, 1, 3, 4, 5, 6, 7]]
        found.append([part.detach().double() for part in (*parts, *running)])
    wide = x.double()
    variance = torch.from_numpy(trimmed(wide.numpy())[1])
    steep = torch.linspace(-1, 2, 8).abs() / (variance + eps).sqrt()
    sizes = (4.0, 4 * steep, n**0.5, n**0.5, wide.abs().amax(0), found[1][5])
    for one, two, size in zip(*found, sizes, strict=True):
        assert ((one - two).abs() <= tolerances.LAYER32 * size).all()


@given(
    values=st.lists(st.sampled_from([-1e30, -1.0, -0.0, 0.0, 1e-45, 1.0, 2.0]), max_size=70),
    out=st.integers(0, 3),
)
def test_the_ends_are_those_of_the_values_in_order(values, out):
    from distfit_nn.nn import trim_kernel

    x = np.array([3.0, *values] + 6 * [0.5], np.float32)
    found = trim_kernel._ends(x, out, np.empty(len(x), np.int32))
    assert found == tuple(np.sort(x)[[out, len(x) - 1 - out]])


def test_gradients_in_another_memory_than_x():
    x, g = sample((4, 6, 5, 5)), sample((4, 6, 5, 5), 1)
    found = []
    for one in (torch.contiguous_format, torch.channels_last):
        for two in (torch.contiguous_format, torch.channels_last):
            blocks = x.contiguous(memory_format=one).flatten(2).requires_grad_()
            y, _, _ = trimmed_norm._Trimmed.apply(blocks, 1e-5, None, None)
            y.backward(g.contiguous(memory_format=two).flatten(2))
            found.append(blocks.grad)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(600, 130), (40, 33, 100)])
def test_threads_change_nothing(shape):
    x, g = sample(shape), sample(shape, 1)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        given_ = x.clone().requires_grad_()
        y = TrimmedNorm1d(shape[1])(given_)
        y.backward(g)
        found.append((y, given_.grad))
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


def test_the_kernel_is_differentiated_once():
    x = sample((30, 2)).requires_grad_()
    (dx,) = torch.autograd.grad(TrimmedNorm1d(2)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once, not twice"):
        dx.sum().backward()


def test_a_variance_beyond_float32_is_held():
    layer = TrimmedNorm1d(1, momentum=1.0)
    layer(1e30 * sample((50, 1)))
    assert layer.running_var.isfinite().all()


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_affine_maps_of_x_do_not_matter(scale):
    x = sample((60, 4)).double()
    layer = TrimmedNorm1d(4, eps=0.0, dtype=torch.float64)
    torch.testing.assert_close(layer(scale * x + 5 * scale), layer(x))


def test_half_and_autocast():
    x = sample((40, 4)).half()
    layer = TrimmedNorm1d(4)
    assert torch.equal(layer(x), layer(x.float()).half())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x.float()).dtype == torch.float32


def test_state_start_and_copies():
    layer = TrimmedNorm1d(4)
    layer(sample((40, 4)) + 3)
    other = TrimmedNorm1d(4)
    other.load_state_dict(layer.state_dict(), strict=True)
    x = sample((9, 4))
    assert torch.equal(other.eval()(x), copy.deepcopy(layer).eval()(x))
    fresh = TrimmedNorm1d(4)
    fresh._start_from(layer.running_mean, layer.running_var)
    assert torch.equal(fresh.eval()(x), other(x))
    layer.reset_running_stats()
    assert (layer.running_mean == 0).all()
    assert (layer.running_var == 1).all()


def test_without_running_statistics():
    layer = TrimmedNorm1d(4, track_running_stats=False)
    x = sample((40, 4))
    y = layer(x)
    assert torch.equal(layer.eval()(x), y)
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert TrimmedNorm1d(4, affine=False)(x).abs().max() <= 3


def test_bad_input():
    with pytest.raises(InputError, match="dimensions"):
        TrimmedNorm2d(3)(torch.zeros(2, 3))
    with pytest.raises(InputError, match="at least one row"):
        TrimmedNorm1d(3)(torch.zeros(0, 3))


@pytest.mark.slow
def test_compiled_and_exported():
    layer = TrimmedNorm1d(4)
    x = sample((40, 4))
    torch.testing.assert_close(torch.compile(layer)(x), layer(x), rtol=1e-5, atol=1e-5)
    layer.eval()
    plain = layer(x)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True)(x), plain)
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), plain)
