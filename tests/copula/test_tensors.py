"""Ranks of tensors and their gradients, by the compiled kernels and by torch's operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import Tensor
from torch.autograd import gradcheck

from distfit_nn.copula import hard_rank, normal_scores, soft_rank
from distfit_nn.copula.tensors import ranks as tensors
from distfit_nn.errors import InputError
from tests.copula import pairs
from tests.devices import DEVICES, one_thread  # noqa: F401
from tests.tolerances import GRADCHECK, SOFT_GRADIENT, SOFT_SHARE, soft_count_rounding

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture(params=["kernels", "operators"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take tensors on the CPU through the kernels, or through what other devices use."""
    if request.param == "operators":
        monkeypatch.setattr(tensors, "_compiled", lambda _: False)
    return str(request.param)


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).to(
        dtype
    )


# Values


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("shape", [(1,), (7,), (5, 3), (4, 3, 2), (2, 1, 300)])
def test_ranks_along_every_axis_are_those_of_the_array(shape: tuple[int, ...]) -> None:
    x = normal(*shape)
    for dim in range(-len(shape), len(shape)):
        soft, hard = soft_rank(x, 3.0, dim), hard_rank(x, dim)
        np.testing.assert_allclose(soft, soft_rank(x.numpy(), 3.0, dim), rtol=SOFT_SHARE)
        np.testing.assert_array_equal(hard, hard_rank(x.numpy(), dim))
        assert soft.shape == hard.shape == x.shape


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("dtype", FLOATS)
def test_strides_do_not_matter(dtype: torch.dtype) -> None:
    base = normal(6, 40, 10, dtype=dtype)
    for view in (base[::2, 3::3, 1:], base.permute(2, 0, 1), base[:1].expand(4, 40, 10)):
        plain = view.contiguous()
        for dim in range(3):
            torch.testing.assert_close(soft_rank(view, 2.0, dim), soft_rank(plain, 2.0, dim))
            assert torch.equal(hard_rank(view, dim), hard_rank(plain, dim))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_keep_their_dtype_and_device(dtype: torch.dtype, device: str) -> None:
    x = normal(400, 2, dtype=dtype).to(device)
    soft, hard = soft_rank(x, 4.0), hard_rank(x)
    assert soft.dtype == hard.dtype == dtype
    assert soft.device == hard.device == x.device
    exact, _ = pairs.counts(x.cpu(), torch.tensor(4.0))
    unit = torch.finfo(dtype).eps / 2 + soft_count_rounding(np.float32)  # the result's, the work's
    torch.testing.assert_close(soft.cpu().double(), exact, rtol=unit, atol=0.0)
    wanted = scipy.stats.rankdata(x.cpu().double().numpy(), axis=0) - 0.5
    np.testing.assert_array_equal(hard.cpu().double(), torch.from_numpy(wanted).to(dtype).double())


@pytest.mark.usefixtures("path")
def test_ranks_beyond_a_short_dtype_are_its_largest_number() -> None:
    x = torch.zeros(70_000, 2, dtype=torch.float16)
    x[:3000, 0], x[7, 1] = 1.0, torch.nan
    for ranked in (soft_rank(x, 100.0), hard_rank(x)):
        assert ranked[:3000, 0].unique().tolist() == [65504.0]
        assert ranked[3000:, 0].unique().tolist() == [33504.0]
        assert ranked[:, 1].isnan().all()
    assert float(hard_rank(x.bfloat16())[0, 0]) == float(torch.tensor(68500.0).bfloat16())


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int8, torch.int32, torch.int64, torch.uint64]
)
def test_integers_are_ranked_in_the_default_dtype(dtype: torch.dtype) -> None:
    x = torch.arange(12).view(6, 2).to(dtype)
    wanted = hard_rank(x.double())
    for result in (soft_rank(x, 100.0), hard_rank(x)):
        assert result.dtype == torch.get_default_dtype()
        assert torch.equal(result.double(), wanted)


def test_hard_ranks_tell_long_integers_apart() -> None:
    x = torch.tensor([2**62 + 2, 2**62 + 1, 2**62, -(2**63), 2**63 - 1])
    assert hard_rank(x).tolist() == [3.5, 2.5, 1.5, 0.5, 4.5]
    unsigned = torch.from_numpy(np.array([2**63, 2**64 - 1, 0, 2**63 - 1, 2**64 - 2], np.uint64))
    assert hard_rank(unsigned).tolist() == [2.5, 4.5, 0.5, 1.5, 3.5]


@pytest.mark.usefixtures("path")
def test_a_nan_keeps_to_its_column() -> None:
    x = normal(50, 3).requires_grad_()
    with torch.no_grad():
        x[7, 1] = torch.nan
    ranked = soft_rank(x, 2.0)
    ranked[:, [0, 2]].square().sum().backward()
    assert ranked.isnan().any(0).tolist() == [False, True, False]
    assert ranked[:, 1].isnan().all()
    assert x.grad is not None
    assert x.grad[:, [0, 2]].isfinite().all()
    assert hard_rank(x)[:, 1].isnan().all()


@pytest.mark.usefixtures("path")
def test_scores_are_the_quantiles_of_the_counts() -> None:
    x = pairs.columns(600)
    strength = torch.logspace(0, 2, 8, dtype=torch.float64)
    below, above = tensors.soft_counts(x, strength)
    torch.testing.assert_close(below + above, torch.full_like(x, 600), rtol=SOFT_SHARE, atol=0)
    fewer = scipy.special.ndtri(torch.minimum(below, above).numpy() / 600)
    wanted = np.where(below < above, fewer, -fewer)
    scores = tensors.soft_normal_scores(x, strength)
    np.testing.assert_allclose(scores, wanted, rtol=SOFT_GRADIENT, atol=SOFT_GRADIENT)
    hard, rest = tensors.hard_counts(x)
    assert torch.equal(hard, hard_rank(x))
    assert torch.equal(hard + rest, torch.full_like(x, 600))


def test_an_array_beside_a_strength_that_is_a_tensor() -> None:
    strength = torch.tensor(2.0, requires_grad=True)
    ranked = soft_rank(np.arange(6), strength)
    assert ranked.dtype == torch.float64
    ranked[0].backward()
    assert strength.grad is not None
    assert strength.grad < 0


def test_the_memory_of_a_tensor_is_lent() -> None:
    x = normal(3, 4).requires_grad_()
    assert tensors._lent(x).ctypes.data == x.data_ptr()
    assert tensors._lent(tensors._columns(x, 0)).ctypes.data == x.data_ptr()


# Gradients


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("n", [60, 700])
def test_gradients_are_those_of_sums_over_pairs(n: int) -> None:
    x = pairs.columns(n)
    g, h = torch.stack([normal(n, 8), normal(n, 8).square()])
    for size in pairs.STRENGTHS[:4]:
        strength = torch.full((8,), size, dtype=torch.float64, requires_grad=True)
        leaf = x.clone().requires_grad_()
        below, above = tensors.soft_counts(leaf, strength)
        got = torch.autograd.grad([below, above], [leaf, strength], [g, h])
        (dx, terms), (dstrength, _) = pairs.gradients(x, strength.detach(), g - h, apart=True)
        assert ((got[0] - dx).abs() <= SOFT_GRADIENT * terms).all()
        largest = (x - x.median(0).values).abs().mul(terms).sum(0)
        assert ((got[1] - dstrength).abs() <= SOFT_GRADIENT * largest / size).all()


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("n", [6, 300])
def test_gradcheck(n: int) -> None:
    # A sum of exponentials has the slope of the logistic function's approximation, not its own.
    tolerances = {**GRADCHECK, "fast_mode": n > 100}
    x = normal(n, 2).requires_grad_()
    shared = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    each = torch.tensor([0.7, 3.0], dtype=torch.float64, requires_grad=True)
    for strength in (shared, each):
        for function in (soft_rank, tensors.soft_counts, tensors.soft_normal_scores):
            assert gradcheck(function, (x, strength), **tolerances)
    assert gradcheck(lambda x: soft_rank(x, 2.0, 1), (x,), **tolerances)


@pytest.mark.usefixtures("path")
def test_a_strength_is_broadcast_and_its_gradient_summed() -> None:
    x = normal(3, 20, 4)
    strength = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)[:, None].requires_grad_()
    ranked = soft_rank(x, strength, dim=1)
    for i in range(3):
        torch.testing.assert_close(ranked[i], soft_rank(x[i], strength[i].item()))
    assert gradcheck(lambda s: soft_rank(x, s, 1), (strength,), **GRADCHECK)
    numbers = soft_rank(x, strength.detach().numpy(), dim=1)
    torch.testing.assert_close(numbers, ranked)


@pytest.mark.usefixtures("path")
def test_a_strength_may_keep_the_axis_or_be_one_number_of_any_shape() -> None:
    x = normal(3, 20, 4)
    each = torch.rand(3, 1, 4, dtype=torch.float64).add_(0.5).requires_grad_()
    wanted = soft_rank(x, each[:, 0], dim=1)
    for dim in (1, -2):
        assert torch.equal(soft_rank(x, each, dim), wanted)
        assert torch.equal(soft_rank(x, each.detach().numpy(), dim), wanted)
    (slope,) = torch.autograd.grad(soft_rank(x, each, 1).square().sum(), each)
    (inner,) = torch.autograd.grad(wanted.square().sum(), each)
    assert torch.equal(slope, inner)
    one = torch.full((1, 1, 1, 1), 2.0, requires_grad=True)
    ranked = soft_rank(x, one)
    assert torch.equal(ranked, soft_rank(x, 2.0))
    (slope,) = torch.autograd.grad(ranked.square().sum(), one)
    assert slope.shape == one.shape
    assert torch.equal(soft_rank(x, [[2.0]]), soft_rank(x, 2.0))


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("dtype", FLOATS)
def test_gradients_have_the_dtypes_of_what_they_are_by(dtype: torch.dtype) -> None:
    x = normal(30, 2, dtype=dtype).requires_grad_()
    for kind in (torch.float32, torch.float64):
        strength = torch.ones(2, dtype=kind, requires_grad=True)
        dx, dstrength = torch.autograd.grad(soft_rank(x, strength).square().sum(), [x, strength])
        assert (dx.dtype, dstrength.dtype) == (dtype, kind)
        exact = soft_rank(x.detach().double().requires_grad_(), strength)
        (wanted,) = torch.autograd.grad(exact.square().sum(), strength)
        assert abs(dstrength - wanted).max() <= 8 * torch.finfo(dtype).eps * 30**2


@pytest.mark.usefixtures("path")
def test_the_gradient_of_a_gradient_raises() -> None:
    x, strength = normal(9, 2).requires_grad_(), torch.ones(2).double().requires_grad_()
    for function in (soft_rank, tensors.soft_normal_scores):
        for wanted in (x, strength):
            total = function(x, strength).sum()  # whose gradient does not depend on g
            (slope,) = torch.autograd.grad(total, wanted, create_graph=True)
            with pytest.raises(RuntimeError, match="differentiated once, not twice"):
                torch.autograd.grad(slope.sum(), x)


@pytest.mark.usefixtures("path")
def test_of_a_second_gradient_only_what_is_its_own_raises() -> None:
    x, weight = normal(9, 2).requires_grad_(), torch.tensor(2.0, requires_grad=True)
    loss = weight**3 * soft_rank(x, 1.0)[0].sum()
    (slope,) = torch.autograd.grad(loss, weight, create_graph=True)
    (second,) = torch.autograd.grad(slope, weight)
    torch.testing.assert_close(second, 12 * soft_rank(x, 1.0)[0].sum().detach().float())


def test_hard_ranks_have_no_gradient() -> None:
    x = normal(9, 2).requires_grad_()
    for result in (hard_rank(x), *tensors.hard_counts(x)):
        assert not result.requires_grad


def test_without_a_gradient_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from distfit_nn.copula import columns

    kept: list[bool] = []
    work = columns.soft_counts

    def noting(*arguments: object) -> object:
        kept.append(bool(arguments[-1]))
        return work(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(columns, "soft_counts", noting)
    x = normal(9, 2)
    soft_rank(x, 1.0)
    with torch.no_grad():
        soft_rank(x.clone().requires_grad_(), 1.0)
    with torch.inference_mode():
        soft_rank(x.clone(), 1.0)
    assert kept == [False] * 3
    assert soft_rank(x, torch.ones(2, requires_grad=True)).requires_grad
    assert kept[-1]


@pytest.mark.usefixtures("path")
def test_the_same_bits_every_time() -> None:
    x = normal(3000, 4, dtype=torch.float32).round(decimals=2)
    runs = []
    for _ in range(2):
        leaf, strength = x.clone().requires_grad_(), torch.tensor(2.0, requires_grad=True)
        scores = tensors.soft_normal_scores(leaf, strength)
        runs.append([scores, *torch.autograd.grad(scores.exp().sum(), [leaf, strength])])
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)


# With the rest of torch


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_under_autocast(dtype: torch.dtype) -> None:
    x = normal(50, 3, dtype=torch.float32).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        ranked = soft_rank(x, 2.0)
        short = soft_rank(x @ torch.eye(3), 2.0)
    assert torch.equal(ranked, soft_rank(x, 2.0))
    assert short.dtype == dtype
    short.float().square().mean().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.usefixtures("path")
@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("name", ["soft_rank", "hard_rank", "normal_scores", "strength"])
def test_where_numbers_are_not_at_hand_is_refused(name: str) -> None:
    taken: Callable[[Tensor], Tensor] = {
        "soft_rank": lambda x: soft_rank(x, 1.5),
        "hard_rank": hard_rank,
        "normal_scores": lambda x: normal_scores(x, strength=2.0),
        "strength": lambda x: soft_rank(torch.ones(20, 3), x[0].exp()),
    }[name]

    class Layer(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return taken(x)

    x = normal(20, 3)
    for transform in (
        lambda: torch.func.grad(lambda x: taken(x).sum())(x),
        lambda: torch.func.vmap(taken)(x[None]),
        lambda: torch.func.jacrev(taken)(x),
        lambda: torch.func.jvp(taken, (x,), (x,)),
        lambda: torch.func.functionalize(taken)(x),
        lambda: torch.export.export(Layer(), (x,), strict=False),
        lambda: torch.jit.trace(taken, x),
    ):
        with pytest.raises(InputError, match=r"numbers are at hand, outside torch\.func"):
            transform()


@pytest.mark.usefixtures("path")
def test_a_negative_bit_is_resolved() -> None:
    lazy = torch.view_as_complex(normal(40, 3, 2)).conj().imag
    assert lazy.is_neg()
    numbers = lazy.resolve_neg()
    assert torch.equal(soft_rank(lazy, 2.0), soft_rank(numbers, 2.0))
    assert torch.equal(hard_rank(lazy), hard_rank(numbers))
    assert torch.equal(normal_scores(lazy), normal_scores(numbers))
    strength = torch.tensor([1 - 2j] * 3, dtype=torch.complex128).conj().imag
    assert torch.equal(soft_rank(numbers, strength), soft_rank(numbers, 2.0))
    x = numbers.clone().requires_grad_()
    slopes = [torch.autograd.grad(soft_rank(x, 2.0), x, g)[0] for g in (lazy, numbers)]
    assert torch.equal(*slopes)


@pytest.mark.slow
@pytest.mark.filterwarnings("error:Dynamo")
def test_torch_compile_gives_the_same_numbers() -> None:
    x = normal(20, 3).requires_grad_()

    def loss(x: Tensor) -> Tensor:
        scores = tensors.soft_normal_scores(x, 2.0)
        return (soft_rank(2 * x, 1.5) * x + hard_rank(x) * scores).sum()

    value = loss(x)
    compiled = torch.compile(loss, backend="aot_eager")(x)
    torch.testing.assert_close(compiled, value)
    torch.testing.assert_close(*(torch.autograd.grad(v, x)[0] for v in (compiled, value)))


# Bad input


@pytest.mark.parametrize("strength", [0.0, -1.0, np.inf, np.nan])
def test_a_strength_must_be_positive_and_finite(strength: float) -> None:
    x = normal(5, 2)
    tensor = torch.tensor(strength, requires_grad=True)
    for given in (strength, np.float32(strength), tensor, tensor.expand(2)):
        with pytest.raises(InputError, match=f"positive and finite, got {strength}"):
            soft_rank(x, given)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested")
def test_what_cannot_be_ranked() -> None:
    ragged = torch.nested.as_nested_tensor([torch.ones(3), torch.ones(4)])
    for bad, dim, match in [
        (torch.tensor(1.0), 0, "at least one value"),
        (torch.empty(0), 0, "at least one value"),
        (torch.empty(3, 0), 0, "at least one value"),
        (torch.ones(3), 1, "dim must be an axis"),
        (torch.ones(3), 0.5, "dim must be an axis"),
        (torch.ones(3, dtype=torch.complex64), 0, "plain tensor of real numbers"),
        (torch.ones(3).to_sparse(), 0, "plain tensor of real numbers"),
        (ragged, 0, "numbers, got .* nested"),
    ]:
        with pytest.raises(InputError, match=match):
            soft_rank(bad, 1.0, dim)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=match):
            hard_rank(bad, dim)  # type: ignore[arg-type]
    for wrong in (torch.ones(3), np.ones(3), torch.ones(4, 2), torch.ones(2, 1)):
        with pytest.raises(InputError, match=r"strength must be one number, .* broadcast"):
            soft_rank(torch.ones(4, 2), wrong)
