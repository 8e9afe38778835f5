"""Scores with a weight and a bias as one operation, against torch's composition of the parts."""

from __future__ import annotations

import pytest
import torch

from distfit_nn.copula.tensors.lines import weighted_scores
from distfit_nn.copula.tensors.ranks import soft_normal_scores
from distfit_nn.errors import InputError
from tests.tolerances import GRADCHECK, eps


def leaves(n: int, d: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Return x, strength, weight and bias."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(n, d, dtype=dtype, generator=generator)
    rest = [torch.rand(d, dtype=dtype, generator=generator).add_(0.5) for _ in range(3)]
    return [leaf.requires_grad_() for leaf in (x, *rest)]


@pytest.mark.parametrize("shape", [(1, 1), (30, 3), (700, 20)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_what_the_parts_make(shape, dtype):
    x, strength, weight, bias = given = leaves(*shape, dtype)
    g = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(5))
    y = weighted_scores(*given)
    expected = torch.addcmul(bias, soft_normal_scores(x, strength), weight)
    # The product and the sum may be rounded one by one or at once.
    sizes = (expected - bias).abs() + expected.abs()
    assert ((y - expected).abs() <= torch.finfo(dtype).eps * sizes).all()
    found = torch.autograd.grad(y, given, g)
    wanted = torch.autograd.grad(expected, given, g)
    rounding = eps("float32" if dtype == torch.float32 else "float64")
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == dtype
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=0, atol=100 * shape[0] * rounding)


def test_its_gradients_are_differences():
    assert torch.autograd.gradcheck(weighted_scores, leaves(12, 3, torch.float64), **GRADCHECK)


@pytest.mark.parametrize("missing", range(4))
def test_any_of_the_four_may_go_without_a_gradient(missing):
    given = leaves(40, 3, torch.float64)
    full = torch.autograd.grad(weighted_scores(*given).square().sum(), given)
    given[missing] = given[missing].detach()
    rest = [leaf for leaf in given if leaf.requires_grad]
    found = torch.autograd.grad(weighted_scores(*given).square().sum(), rest)
    for a, b in zip(found, full[:missing] + full[missing + 1 :], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_without_gradients_nothing_is_kept():
    with torch.no_grad():
        assert weighted_scores(*leaves(40, 3, torch.float64)).grad_fn is None


def test_it_is_differentiated_once():
    given = leaves(20, 2, torch.float64)
    (dx, *_) = torch.autograd.grad(weighted_scores(*given).sum(), given, create_graph=True)
    with pytest.raises(RuntimeError, match="once, not twice"):
        dx.sum().backward()


def test_other_dtypes_of_the_weights_are_composed():
    x, strength, weight, bias = leaves(20, 2, torch.float32)
    y = weighted_scores(x, strength, weight.double(), bias.double())
    torch.testing.assert_close(y.float(), weighted_scores(x, strength, weight, bias))


def test_a_strength_that_is_not_positive():
    x, strength, weight, bias = leaves(20, 2, torch.float32)
    with pytest.raises(InputError, match="strength must be positive and finite"):
        weighted_scores(x, -strength, weight, bias)
