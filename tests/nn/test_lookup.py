"""Look-ups in tables against the functions that they hold, in all layouts, ways and dtypes."""

from __future__ import annotations

import copy

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from scipy.interpolate import CubicHermiteSpline
from scipy.special import expit, ndtri
from scipy.stats import norm
from torch import Tensor, nn

from distfit_nn.nn import lookup
from distfit_nn.nn.base import ColumnNorm
from distfit_nn.nn.lookup_grid import CELLS, NODES, OCTAVES, REACH
from tests import tolerances

DTYPES = [torch.float32, torch.float64]
SHAPES = [
    (40, 3, 1),
    (7, 20, 1),
    (9, 16, 1),
    (5, 37, 9),
    (3, 5, 16),
    (4, 2, 300),
    (1, 1, 1),
    (2, 3, 2),
]
ORDERS = [(0, 1, 2), (0, 2, 1), (1, 0, 2)]  # of memory


def wavy(u: Tensor) -> Tensor:
    """A function that rises with ripples."""
    return torch.tanh(u) + 0.1 * u


def wavy_slope(u: Tensor) -> Tensor:
    return 1 / torch.cosh(u).square() + 0.1


def columns(d: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Centres and scales of d columns."""
    generator = torch.Generator().manual_seed(d)
    loc = 3 * torch.randn(d, generator=generator, dtype=torch.float64)
    return loc.to(dtype), (0.5 + torch.rand(d, generator=generator, dtype=torch.float64)).to(dtype)


def table(d: int, dtype: torch.dtype, far: float = 0.1) -> Tensor:
    """The table of the wavy function of u, level beyond the ends where `far` is 0."""
    loc, scale = columns(d)
    u = (lookup.nodes(loc, scale) - loc) / scale
    values, slopes = torch.tanh(u) + far * u, (1 / torch.cosh(u).square() + far) / scale
    return lookup.pack(loc, scale, values.to(dtype), slopes.to(dtype))


def values(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    """Blocks of values of u up to beyond the ends, a tenth of them 0."""
    generator = torch.Generator().manual_seed(1)
    u = torch.randn(shape, generator=generator, dtype=torch.float64)
    u *= torch.exp(6 * torch.rand(shape, generator=generator, dtype=torch.float64))
    u[torch.rand(shape, generator=generator) < 0.1] = 0.0
    loc, scale = columns(shape[1])
    return (loc[:, None] + scale[:, None] * u).to(dtype)


def line(d: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    weight, bias = torch.randn(2, d, generator=generator, dtype=torch.float64).to(dtype)
    return weight.requires_grad_(), bias.requires_grad_()


def spline(d: int, x: Tensor) -> Tensor:
    """The oracle: scipy's cubics between the nodes, lines beyond."""
    loc, scale = columns(d)
    nodes = lookup.nodes(loc, scale)
    u = (nodes - loc) / scale
    y = np.empty(x.shape)
    for j in range(d):
        at, f, slope = (part[:, j].numpy() for part in (nodes, wavy(u), wavy_slope(u) / scale))
        inside = np.clip(x[:, j].double().numpy(), at[0], at[-1])
        beyond = x[:, j].double().numpy() - inside
        y[:, j] = CubicHermiteSpline(at, f, slope)(inside) + beyond * 0.1 / float(scale[j])
    return torch.from_numpy(y)


def by_operators(x: Tensor, packed: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return lookup._by_operators(x, packed) * weight[:, None] + bias[:, None]


# Nodes and tables


def test_nodes_rise_and_the_centre_is_one():
    loc, scale = columns(5)
    nodes = lookup.nodes(loc, scale)
    assert nodes.shape == (2 * NODES + 1, 5)
    assert (nodes.diff(dim=0) > 0).all()
    assert torch.equal(nodes[NODES], loc)
    torch.testing.assert_close(nodes[NODES + 1] - loc, scale / CELLS)
    torch.testing.assert_close(nodes[-1] - loc, REACH * scale)
    assert REACH >= 255
    assert 2.0**OCTAVES - 1 == REACH


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_at_nodes_are_those_of_the_table(dtype: torch.dtype):
    loc, scale = torch.zeros(4, dtype=dtype), torch.full((4,), 0.5, dtype=dtype)  # all exact
    nodes = lookup.nodes(loc, scale)
    f = torch.rand(nodes.shape, dtype=dtype).cumsum(0)
    y = lookup.look_up(nodes[:, :, None], lookup.pack(loc, scale, f, 0 * f), None, None)
    assert torch.equal(y[:, :, 0], f)


@pytest.mark.parametrize(("strength", "rms", "most"), [(5.0, 1e-4, 1e-3), (50.0, 2e-3, 2e-2)])
def test_error_of_the_table_of_soft_ranks(strength: float, rms: float, most: float):
    """Scores of soft ranks of two modes of 0.3 at +-2, and of a column with half of it at 0."""
    quantiles = ndtri((np.arange(2000) + 0.5) / 2000)
    for x in (np.concatenate([0.3 * quantiles - 2, 0.3 * quantiles + 2]), np.maximum(quantiles, 0)):
        low, middle, high = np.quantile(x, [0.1, 0.5, 0.9])
        loc, scale = torch.tensor([[middle], [(high - low) / 2.563]], dtype=torch.float64)
        soft = strength / float(scale)

        def score(t: np.ndarray, soft: float = soft, x: np.ndarray = x) -> tuple[Tensor, Tensor]:
            shares = expit(soft * (t[:, None] - x))
            rank = np.clip(shares.mean(1), 1e-9, 1 - 1e-9)
            rate = soft * (shares * (1 - shares)).mean(1)
            z = ndtri(rank)
            return torch.from_numpy(z)[:, None], torch.from_numpy(rate / norm.pdf(z))[:, None]

        packed = lookup.pack(loc, scale, *score(lookup.nodes(loc, scale)[:, 0].numpy()))
        at = x[::7]
        error = lookup.look_up(torch.from_numpy(at)[:, None, None], packed, None, None)[:, 0]
        error = error - score(at)[0]
        assert error.square().mean().sqrt() < rms
        assert error.abs().max() < most


@given(st.integers(0, 10**6))
def test_tables_of_monotone_values_are_monotone(seed: int):
    """Whatever the slopes that are given."""
    rng = np.random.default_rng(seed)
    loc, scale = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    nodes = lookup.nodes(loc, scale)
    steps = rng.choice([0.0, 1e-3, 1.0], nodes.shape) * rng.random(nodes.shape)
    f, slopes = torch.from_numpy(steps.cumsum(0)), torch.from_numpy(rng.exponential(5, nodes.shape))
    x = torch.sort(torch.from_numpy(rng.standard_t(1, 4000))).values
    y = lookup.look_up(x[:, None, None], lookup.pack(loc, scale, f, slopes), None, None)[:, 0, 0]
    assert (y.diff() >= -tolerances.eps() * 8 * f.max()).all()
    down = lookup.look_up(x[:, None, None], lookup.pack(loc, scale, -f, -slopes), None, None)
    torch.testing.assert_close(down[:, 0, 0], -y)


# Ways to look up


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_all_layouts(shape: tuple[int, ...], order: tuple[int, ...], dtype: torch.dtype):
    x = values(shape, dtype).permute(order).contiguous().permute(order)
    weight, bias = line(shape[1], dtype)
    y = lookup.look_up(x, table(shape[1], dtype), weight, bias)
    expected = spline(shape[1], x) * weight[:, None] + bias[:, None]
    tolerance = tolerances.look_up(x.numpy().dtype)
    torch.testing.assert_close(y.double(), expected, rtol=tolerance, atol=tolerance)
    assert y.dtype == dtype
    assert (
        y.stride() == torch.empty_like(x).stride()
        or 1 in shape
        or lookup._way(x) is not lookup.TURNED
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_memory_with_gaps_and_overlaps(shape: tuple[int, ...]):
    wide = values((2 * shape[0], shape[1], 3 * shape[2]))
    for x in (wide[::2, :, 1::3], wide[:1, :, :1].expand(shape), wide[:0], wide[:, :, :0]):
        y = lookup.look_up(x, table(shape[1], torch.float64), None, None)
        torch.testing.assert_close(y, spline(shape[1], x), **tolerances.LOOK_UP_SAME)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [*SHAPES, (2, 520, 1), (3, 17, 600)])
def test_kernel_and_operators_agree(
    shape: tuple[int, ...], order: tuple[int, ...], dtype: torch.dtype
):
    x = values(shape, dtype).permute(order).contiguous().permute(order).requires_grad_()
    leaves = (x, *line(shape[1], dtype))
    packed = table(shape[1], dtype)
    back = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(3))
    y, slow = (look(x, packed, *leaves[1:]) for look in (lookup.look_up, by_operators))
    tolerance = tolerances.look_up(x.detach().numpy().dtype)
    torch.testing.assert_close(y, slow, rtol=tolerance, atol=tolerance)
    pairs = zip(*(torch.autograd.grad(out, leaves, back) for out in (y, slow)), strict=True)
    for fast, slowly in pairs:
        size = tolerance * float(slowly.abs().max()) * 10
        torch.testing.assert_close(fast, slowly, rtol=tolerance, atol=size)


def test_threads_share_the_work():
    x = values((70, 40, 100)).requires_grad_()
    assert x.numel() >= lookup.WORTH_A_THREAD
    for given_ in (x, x.transpose(1, 2).contiguous().transpose(1, 2)):
        leaves, packed = (given_, *line(40, torch.float64)), table(40, torch.float64)
        found = [lookup.look_up(given_, packed, *leaves[1:])]
        found += torch.autograd.grad(found[0].square().sum(), leaves)
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            one = [lookup.look_up(given_, packed, *leaves[1:])]
            one += torch.autograd.grad(one[0].square().sum(), leaves)
        finally:
            torch.set_num_threads(before)
        for many, single in zip(found, one, strict=True):
            size = tolerances.sum_error(7000) * float(single.abs().max())
            torch.testing.assert_close(many, single, rtol=0, atol=size)


@pytest.mark.parametrize("shape", [(12, 3, 1), (5, 18, 1), (2, 3, 17)])
def test_gradients(shape: tuple[int, ...]):
    leaves = (values(shape).requires_grad_(), *line(shape[1], torch.float64))
    packed = table(shape[1], torch.float64)
    assert torch.autograd.gradcheck(
        lambda x, w, b: lookup.look_up(x, packed, w, b), leaves, eps=1e-7, atol=1e-5
    )


def test_a_second_derivative_is_refused():
    x = values((20, 3, 1)).requires_grad_()
    y = lookup.look_up(x, table(3, torch.float64), None, None)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once, not twice"):
        slope.sum().backward()


@pytest.mark.parametrize("look", [lookup.look_up, lambda x, p, *_: lookup._by_operators(x, p)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(20, 3, 1), (2, 17, 1)])
def test_what_is_not_finite(look: object, dtype: torch.dtype, shape: tuple[int, ...]):
    for far in (0.0, 0.1):
        end = float(
            look(torch.full(shape, 3e5, dtype=dtype), table(shape[1], dtype, far), None, None)[0, 0]
        )
        for number, expected in (
            (float("nan"), float("nan")),
            (float("inf"), float("inf") if far else end),
            (-float("inf"), -float("inf") if far else -end),
        ):
            x = values(shape, dtype)
            clean = look(x, table(shape[1], dtype, far), None, None)
            x[1, 2] = number
            y = look(x, table(shape[1], dtype, far), None, None)
            assert float(y[1, 2]) == pytest.approx(expected, nan_ok=True)
            x[1, 2], y[1, 2] = 0, clean[1, 2]
            assert torch.equal(y, clean)


def test_a_far_centre_costs_no_digits():
    """The centre is rounded to float32, the nodes are not."""
    loc, scale = (
        torch.tensor([1e6 + 0.03125 / 3, -3e7 / 7]).double(),
        torch.tensor([0.5, 2.0]).double(),
    )
    u = (lookup.nodes(loc, scale) - loc) / scale
    packed = lookup.pack(loc, scale, wavy(u).float(), (wavy_slope(u) / scale).float())
    x = (loc + scale * torch.linspace(-3, 3, 50).double()[:, None]).float()
    expected = wavy((x.double() - loc) / scale).float()
    for y in (
        lookup.look_up(x[:, :, None], packed, None, None),
        lookup._by_operators(x[:, :, None], packed),
    ):
        torch.testing.assert_close(y[:, :, 0], expected, rtol=0, atol=2e-6)


def test_dtypes_are_mixed_in_the_wider_one():
    x, single, double = values((20, 3, 1)), table(3, torch.float32), table(3, torch.float64)
    weight, bias = line(3, torch.float32)
    for values_, packed in ((x, single), (x.float(), double)):
        y = lookup.look_up(values_, packed, weight, bias)
        assert y.dtype == values_.dtype
        expected = spline(3, values_) * weight[:, None] + bias[:, None]
        torch.testing.assert_close(y.double(), expected, rtol=1e-6, atol=1e-6)
        y.sum().backward()
        assert weight.grad is not None
        assert weight.grad.dtype == torch.float32


# Inside a layer, where torch wants to see what is done


class Looking(ColumnNorm):
    """A layer that looks up."""

    DIMS = (2, 3, 4)

    def __init__(self, d: int) -> None:
        super().__init__(d)
        self.register_buffer("lookup", table(d, torch.float32), persistent=False)

    def _of_running(self, x: Tensor) -> Tensor:
        return lookup.look_up(x, self.lookup, *self.line(x.dtype))


@pytest.fixture
def layer() -> nn.Module:
    return Looking(5).eval()


def some(rows: int) -> Tensor:
    return values((rows, 5, 12), torch.float32).reshape(rows, 5, 3, 4)


def agree(one: Tensor, other: Tensor) -> None:
    tolerance = tolerances.look_up(np.float32)
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_compiled(layer: nn.Module):
    whole = torch.compile(layer, fullgraph=True)
    for rows in (8, 3, 5):
        agree(whole(some(rows)), layer(some(rows)))
    x = some(8).requires_grad_()
    leaves = [x, *layer.parameters()]
    pairs = [torch.autograd.grad(each(x).square().sum(), leaves) for each in (whole, layer)]
    for fast, slow in zip(*pairs, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5 * float(slow.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("strict", [True, False])
def test_exported_with_any_batch_size(layer: nn.Module, strict: bool):
    sizes = ({0: torch.export.Dim("rows", min=1)},)
    program = torch.export.export(layer, (some(8),), dynamic_shapes=sizes, strict=strict)
    for rows in (1, 8, 11):
        agree(program.module()(some(rows)), layer(some(rows)))


def test_traced_and_transformed(layer: nn.Module):
    agree(torch.jit.trace(layer, (some(8),))(some(4)), layer(some(4)))
    rows = some(6).flatten(2)
    agree(torch.func.vmap(layer)(rows.reshape(2, 3, 5, 12)).reshape(6, 5, 12), layer(rows))

    def total(weight: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight}, (some(6),)).sum()

    (expected,) = torch.autograd.grad(layer(some(6)).sum(), layer.weight)
    torch.testing.assert_close(torch.func.grad(total)(layer.weight.detach()), expected)
    assert copy.deepcopy(layer).to("meta")(some(6).to("meta")).shape == (6, 5, 3, 4)
