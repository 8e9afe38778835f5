"""The law of recent batches: an exact mixture, kept without a unit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distfit_nn.nn import running_law
from tests import tolerances

ORDERS = range(2, 9)


def law_of(x: Tensor, order: int, weights: Tensor | None = None) -> Tensor:
    """Return mean, variance, E z^3.. and max |z| of columns, rows weighted."""
    share = torch.ones(len(x), dtype=torch.float64) if weights is None else weights
    share = (share / share.sum())[:, None]
    mean = (share * x).sum(dim=0)
    var = (share * (x - mean) ** 2).sum(dim=0)
    z = (x - mean) / var.sqrt()
    high = [(share * z**i).sum(dim=0) for i in range(3, order + 1)]
    return torch.stack([mean, var, *high, z.abs().amax(dim=0)])


def parts(seed: int = 0, rows: int = 40) -> tuple[Tensor, Tensor]:
    """Return rows of two laws that differ in place, width and shape."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(rows, 4, generator=generator, dtype=torch.float64) ** 3 + 100.0
    second = torch.rand(rows, 4, generator=generator, dtype=torch.float64)
    return first, second * torch.tensor([1e-3, 1.0, 1e3, 1.0])


@pytest.mark.parametrize("order", ORDERS)
def test_a_mixture_has_the_moments_of_all_rows(order: int):
    first, second = parts()
    both = torch.cat([first, second])
    share = torch.full((4,), 0.25, dtype=torch.float64)
    weights = torch.cat([torch.full((40,), 0.75), torch.full((40,), 0.25)]).double()
    found = running_law.mixture(law_of(first, order), law_of(second, order), share)
    expected = law_of(both, order, weights)
    torch.testing.assert_close(found[:-1], expected[:-1], **tolerances.LAYER_DOUBLE)


@settings(max_examples=30)
@given(
    order=st.integers(2, 8),
    shares=st.lists(st.floats(0.01, 0.99), min_size=2, max_size=2),
    seed=st.integers(0, 100),
)
def test_mixing_may_be_done_in_any_order(order: int, shares: list[float], seed: int):
    (a, b), (c, _) = (
        [law_of(part, order) for part in parts(seed)],
        [law_of(part, order) for part in parts(seed + 1)],
    )
    p, q = (torch.tensor(share, dtype=torch.float64) for share in shares)
    left = running_law.mixture(running_law.mixture(a, b, p), c, q)
    outer = p * (1 - q) + q
    right = running_law.mixture(a, running_law.mixture(b, c, q / outer), outer)
    torch.testing.assert_close(left[:-1], right[:-1], **tolerances.LAYER_DOUBLE)


def test_a_normal_law_mixed_with_itself_stays():
    normal = running_law.normal(8, torch.tensor([1.0, -2.0]), torch.tensor([4.0, 0.25])).double()
    mixed = running_law.mixture(normal, normal, torch.tensor(0.3, dtype=torch.float64))
    torch.testing.assert_close(mixed, normal, **tolerances.LAYER_DOUBLE)
    assert normal[2:-1, 0].tolist() == [0, 3, 0, 15, 0, 105]


def test_the_reach_fades_as_the_last_moment():
    far = torch.tensor([[0.0], [1.0], [0.0], [3.0], [50.0]], dtype=torch.float64)
    near = torch.tensor([[0.0], [1.0], [0.0], [3.0], [2.0]], dtype=torch.float64)
    share = torch.tensor(0.1, dtype=torch.float64)
    mixed = running_law.mixture(far, near, share)
    assert float(mixed[-1, 0]) == pytest.approx(50 * 0.9**0.25)
    assert float(running_law.mixture(near, far, share)[-1, 0]) == pytest.approx(50.0)


def test_relative_and_back():
    law = law_of(parts()[0], 5)
    mean, length = torch.full((4,), 3.0).double(), torch.full((4,), 7.0).double()
    kept = running_law.relative(law, mean, length)
    torch.testing.assert_close(
        running_law.absolute(kept, mean, length), law, **tolerances.LAYER_DOUBLE
    )


def batches(rows: int = 32) -> list[Tensor]:
    """Return batches with a normal, a narrow far, a constant, a NaN and an enormous column."""
    generator = torch.Generator().manual_seed(3)
    out = []
    for step in range(5):
        x = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
        x = x * torch.tensor([1.0, 1e-3, 0.0, 1.0, 1.0]) + 100.0  # and 32 rows: no rounding
        if step % 2 == 0:
            x[4, 3] = torch.nan
        if step == 1:
            x[4, 4] = 1e30
        out.append(x)
    return out


def run(order: int, dtype: torch.dtype, by_torch: bool) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return the states after each batch, with momentum=None."""
    state = torch.zeros(5, dtype=dtype), torch.ones(5, dtype=dtype)
    whole = (*state, torch.zeros(order + 1, 5, dtype=dtype))
    out = []
    step_of = running_law._followed if by_torch else running_law.followed
    for step, x in enumerate(batches()):
        rate = torch.tensor(1 / (step + 1), dtype=torch.float64)
        whole = step_of(whole, law_of(x, order), rate, rate, len(x), 1e-5)
        out.append(whole)
    return out


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernel_and_operators_agree(order: int, dtype: torch.dtype):
    tolerance = tolerances.LAYER_SINGLE if dtype == torch.float32 else tolerances.LAYER_DOUBLE
    for fast, slow in zip(run(order, dtype, False), run(order, dtype, True), strict=True):
        for one, other in zip(fast, slow, strict=True):
            assert one.dtype == other.dtype == dtype
            torch.testing.assert_close(one, other, **tolerance)


@pytest.mark.parametrize("by_torch", [True, False])
def test_many_batches_are_one(by_torch: bool):
    """Though the mean is 10^5 deviations from 0, which float32 hardly tells apart."""
    mean, var, kept = (part.double() for part in run(6, torch.float32, by_torch)[-1])
    found = running_law.absolute(kept, mean, running_law.unit(var, 1e-5))
    expected = law_of(torch.cat(batches()), 6)
    torch.testing.assert_close(found[:-1, :2], expected[:-1, :2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("by_torch", [True, False])
def test_what_cannot_be_counted_is_left_out(by_torch: bool):
    first, second, third, *_, last = run(4, torch.float32, by_torch)
    for old, new in zip(first, second, strict=True):
        np.testing.assert_array_equal(new[..., 4], old[..., 4])  # variance of 1e58
    assert not first[2][:, 3].any()  # NaN: no law yet
    for old, new in zip(second, third, strict=True):
        np.testing.assert_array_equal(new[..., 3], old[..., 3])
    assert all(part.isfinite().all() for part in last)
    assert running_law.is_known(last[2]).tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("by_torch", [True, False])
def test_a_law_that_a_cast_made_infinite_begins_anew(by_torch: bool):
    x = parts()[0]
    state = torch.zeros(4), torch.ones(4), torch.full((5, 4), torch.inf)
    rate = torch.tensor(0.1, dtype=torch.float64)
    step_of = running_law._followed if by_torch else running_law.followed
    mean, var, kept = (part.double() for part in step_of(state, law_of(x, 4), rate, rate, 40, 0.0))
    found = running_law.absolute(kept, mean, running_law.unit(var, 0.0))
    torch.testing.assert_close(found, law_of(x, 4), rtol=1e-5, atol=1e-4)
