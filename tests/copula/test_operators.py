"""Soft and hard counts by torch's operators, against sums over pairs in float64."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis.extra.numpy import arrays
from torch import Tensor

from distfit_nn.copula.logistic_sum import TERMS, logistic_sum
from distfit_nn.copula.tensors import operators
from distfit_nn.copula.tensors.operators import DIRECT
from tests.copula import pairs
from tests.devices import DEVICES, one_thread  # noqa: F401
from tests.tolerances import soft_count_rounding, soft_slope_rounding

DTYPES = [torch.float32, torch.float64]
SIZES = [1, 2, 33, DIRECT, DIRECT + 1, 500, 1025]


def numpy_dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def approximation(n: int, dtype: torch.dtype) -> float:
    """Relative error of a slope, which bounds the value's: that is its integral."""
    return logistic_sum(TERMS[numpy_dtype(dtype)]).relative_slope if n > DIRECT else 0.0


def count_tolerance(n: int, dtype: torch.dtype) -> float:
    """Relative error of a soft count."""
    return approximation(n, dtype) + soft_count_rounding(numpy_dtype(dtype))


def slope_tolerance(n: int, dtype: torch.dtype) -> float:
    """Error of a gradient relative to the sum of the sizes of its terms."""
    return approximation(n, dtype) + soft_slope_rounding(numpy_dtype(dtype))


def assert_within(got: Tensor, wanted: Tensor, allowed: Tensor) -> None:
    error = (got.cpu().double() - wanted).abs()
    assert (error <= allowed).all(), float((error / allowed).max())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_soft_counts_are_sums_over_pairs(n: int, dtype: torch.dtype, device: str) -> None:
    x = pairs.columns(n).to(dtype)
    for strength in pairs.STRENGTHS:
        gamma = torch.tensor(strength, dtype=dtype)
        *got, _ = operators.soft_counts(x.to(device), gamma.to(device))
        for count, wanted in zip(got, pairs.counts(x, gamma), strict=True):
            assert count.dtype == dtype
            assert_within(count, wanted, count_tolerance(n, dtype) * wanted)


def rough(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return gradients by either count that have nothing to do with x."""
    made = torch.randn(2, *x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(len(x)))
    return made[0], made[1]


def smooth(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return gradients whose differences are small between near points, and up to 1e12 others."""
    return (x / 2).square(), torch.zeros_like(x)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", [rough, smooth])
def test_gradients_are_sums_over_pairs(
    kind: Callable[[Tensor], tuple[Tensor, Tensor]], n: int, dtype: torch.dtype, device: str
) -> None:
    x = pairs.columns(n).to(dtype)
    g, h = kind(x)
    for strength in pairs.STRENGTHS:
        gamma = torch.full((x.shape[1],), strength, dtype=dtype)
        *_, saved = operators.soft_counts(x.to(device), gamma.to(device))
        got = operators.soft_counts_backward(saved, g.to(device), h.to(device))
        net = g.double() - h.double()
        wanted = pairs.gradients(x, gamma, net, apart=kind is rough)
        largest = 1 + float(net.abs().max())
        lost = torch.finfo(dtype).tiny * n * 10 * strength * largest  # of kappa below the least
        for slope, (value, size) in zip(got, wanted, strict=True):
            assert slope.dtype == dtype
            assert_within(slope, value, slope_tolerance(n, dtype) * size + lost)


@pytest.mark.parametrize("n", [40, 300])
def test_a_gradient_by_one_count_alone(n: int) -> None:
    x, gamma = pairs.columns(n), torch.tensor(2.0, dtype=torch.float64)
    g = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    *_, saved = operators.soft_counts(x, gamma)
    below, total = operators.soft_counts_backward(saved, g, None)
    above, turned = operators.soft_counts_backward(saved, None, -g)
    assert torch.equal(below, above)
    assert torch.equal(total, turned)
    assert total.shape == ()
    nothing, _ = operators.soft_counts_backward(saved, None, None)
    assert torch.equal(nothing, torch.zeros_like(x))


@pytest.mark.parametrize("n", [100, 400])
def test_what_a_gradient_has_in_common_costs_no_digits(n: int) -> None:
    x, g = pairs.columns(n)[:, :3].float(), torch.randint(0, 9, (n, 3)).float()
    *_, saved = operators.soft_counts(x, torch.tensor(2.0))
    wanted, _ = operators.soft_counts_backward(saved, g, None)
    got, _ = operators.soft_counts_backward(saved, g + 2.0**20, None)  # exact
    _, size = pairs.gradients(x, torch.tensor(2.0), g, apart=True)[0]
    assert_within(got, wanted.double(), 2 * slope_tolerance(n, torch.float32) * size)


def test_the_errors_of_the_sums_are_those_stated() -> None:
    for dtype, value, slope in (("float32", 1.3e-8, 1.0e-6), ("float64", 1.1e-11, 1.2e-9)):
        found = logistic_sum(TERMS[dtype])
        assert found.value == pytest.approx(value, rel=0.1)
        assert found.relative_slope == pytest.approx(slope, rel=0.1)


@pytest.mark.parametrize("n", [100, 400])
def test_strengths_of_columns_are_their_own(n: int) -> None:
    x = pairs.columns(n)
    strength = torch.logspace(-2, 3, x.shape[1], dtype=torch.float64)
    together = operators.soft_counts(x, strength)
    g = torch.ones_like(x).cumsum(0)
    dx, dstrength = operators.soft_counts_backward(together[2], g, None)
    for j, each in enumerate(strength):
        alone = operators.soft_counts(x[:, j : j + 1], each)
        dx_j, dstrength_j = operators.soft_counts_backward(alone[2], g[:, j : j + 1], None)
        torch.testing.assert_close(alone[0][:, 0], together[0][:, j])
        torch.testing.assert_close(dx_j[:, 0], dx[:, j])
        torch.testing.assert_close(dstrength_j, dstrength[j])


@pytest.mark.parametrize("n", [DIRECT, DIRECT + 4])
def test_columns_taken_in_parts_are_those_taken_at_once(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, strength = pairs.columns(n), torch.tensor(3.0)

    def work() -> list[Tensor]:
        below, above, saved = operators.soft_counts(x, strength)
        slopes = operators.soft_counts_backward(saved, x, None)
        return [below, above, *slopes, *operators.hard_counts(x)]

    at_once = work()
    thirds = [slice(0, 3), slice(3, 6), slice(6, 8)]
    monkeypatch.setattr(operators, "_parts", lambda _: iter(thirds))
    for part, whole in zip(work(), at_once, strict=True):
        torch.testing.assert_close(part, whole)  # sums are vectorised in another order


def test_memory_of_the_work_is_bounded() -> None:
    for n, d in ((100, 100000), (131072, 64), (5, 7), (2**24, 3)):
        parts = list(operators._parts(torch.empty(n, d, device="meta")))
        assert [parts[0].start, parts[-1].stop] == [0, d]
        assert all(a.stop == b.start for a, b in pairwise(parts))
        width = parts[0].stop
        assert width == 1 or width * min(n, DIRECT + 1) * n <= 2**23 * (DIRECT + 1)


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_are_the_extremes_and_tie(dtype: torch.dtype, n: int) -> None:
    x = torch.arange(n, dtype=dtype)[:, None] * 1e-3
    x[:3], x[-2:] = torch.inf, -torch.inf
    below, above, saved = operators.soft_counts(x, torch.tensor(7.0, dtype=dtype))
    inner, *_ = operators.soft_counts(x[3:-2], torch.tensor(7.0, dtype=dtype))
    tolerance = count_tolerance(n, dtype) * n
    assert torch.equal(below[-2:], torch.full((2, 1), 1.0, dtype=dtype))
    assert torch.equal(above[:3], torch.full((3, 1), 1.5, dtype=dtype))
    torch.testing.assert_close(below[3:-2], inner + 2, rtol=0, atol=tolerance)
    dx, dstrength = operators.soft_counts_backward(saved, x.nan_to_num(0, 0, 0), None)
    assert torch.equal(dx[:3], torch.zeros(3, 1, dtype=dtype))
    assert torch.isfinite(dx).all()
    assert torch.isfinite(dstrength)
    opposite = torch.tensor([[torch.inf], [-torch.inf]], dtype=dtype).repeat(n, 1)
    below, *_ = operators.soft_counts(opposite, torch.tensor(1.0))
    assert below.unique().tolist() == [n / 2, 3 * n / 2]


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_nan_makes_its_own_column_nan(dtype: torch.dtype, n: int) -> None:
    x = pairs.columns(n).to(dtype)
    clean, _, saved = operators.soft_counts(x, torch.ones(8))
    slopes, _ = operators.soft_counts_backward(saved, x, None)
    for at in (0, n // 2, n - 1):
        spoilt = x.clone()
        spoilt[at, 2] = torch.nan
        spoilt[0, 5] = torch.inf
        below, above, saved = operators.soft_counts(spoilt, torch.ones(8))
        dx, dstrength = operators.soft_counts_backward(saved, spoilt.nan_to_num(0, 0, 0), None)
        for result in (below, above, dx, *operators.hard_counts(spoilt)):
            assert result[:, 2].isnan().all()
            assert result[:, [0, 1, 3, 4, 5, 6, 7]].isfinite().all()
        assert dstrength.isnan().tolist() == [False] * 2 + [True] + [False] * 5
        assert torch.equal(below[:, :2], clean[:, :2])
        assert torch.equal(dx[:, :2], slopes[:, :2])


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("power", [-120, -90, 100, 120])
def test_a_power_of_two_moves_from_x_to_strength(dtype: torch.dtype, n: int, power: int) -> None:
    x, g = pairs.columns(n)[:, [0, 2, 3]].to(dtype), torch.arange(3 * n).view(n, 3).to(dtype)
    unit = 2.0**power
    below, _, saved = operators.soft_counts(x, torch.tensor(4.0, dtype=dtype))
    moved, _, other = operators.soft_counts(x * unit, torch.tensor(4.0 / unit, dtype=dtype))
    if dtype == torch.float64:
        assert torch.equal(below, moved)
    tolerance = count_tolerance(n, dtype)
    torch.testing.assert_close(moved, below, rtol=tolerance, atol=0.0)
    dx, dstrength = operators.soft_counts_backward(saved, g, None)
    dx_other, dstrength_other = operators.soft_counts_backward(other, g, None)
    scale = float(dx.abs().max()) * slope_tolerance(n, dtype)
    if abs(power) < 100 or dtype == torch.float64:
        torch.testing.assert_close(dx_other * unit, dx, rtol=0, atol=scale)
        torch.testing.assert_close(dstrength_other / unit, dstrength)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [20, 300])
def test_the_largest_and_the_smallest_numbers(dtype: torch.dtype, n: int) -> None:
    limit = torch.finfo(dtype)
    x = torch.linspace(-1, 1, n, dtype=dtype)[:, None] * limit.max
    hard, _ = operators.hard_counts(x)
    for strength in (limit.tiny, 1.0, limit.max):
        gamma = torch.tensor(strength, dtype=dtype)
        below, above, saved = operators.soft_counts(x, gamma)
        wanted = hard if strength >= 1 else pairs.counts(x / 4, 4 * gamma)[0]
        assert_within(below, wanted.double(), count_tolerance(n, dtype) * wanted.double())
        dx, _ = operators.soft_counts_backward(saved, torch.ones_like(x).cumsum(0), None)
        assert torch.isfinite(dx).all()
        assert torch.isfinite(above).all()


@pytest.mark.parametrize("n", [64, 512])
def test_the_same_bits_every_time(n: int) -> None:
    x = pairs.columns(n).float()
    runs = []
    for _ in range(2):
        below, above, saved = operators.soft_counts(x, torch.tensor(5.0))
        slopes = operators.soft_counts_backward(saved, x, None)
        runs.append([below, above, *slopes, *operators.hard_counts(x)])
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("n", [DIRECT, DIRECT + 1])
def test_nothing_waits_for_the_device(n: int) -> None:
    x = torch.empty(n, 3, device="meta")  # on which no value can be looked at
    below, above, saved = operators.soft_counts(x, torch.ones(3, device="meta"))
    dx, dstrength = operators.soft_counts_backward(saved, below, above)
    scores = operators.normal_scores(below, above)
    slopes = operators.normal_scores_backward(scores, dx)
    for result in (*operators.hard_counts(x), slopes):
        assert result.shape == (n, 3)
    assert dstrength.shape == (3,)


values = st.floats(-50, 50, width=32).map(lambda v: round(v * 64) / 64)
samples = arrays(np.float64, st.integers(1, 400), elements=values).map(
    lambda a: torch.from_numpy(a)[:, None]
)


@given(samples, st.sampled_from([0.03, 1.0, 40.0, 1e5]), st.randoms(use_true_random=False))
def test_laws_of_ranks(x: Tensor, strength: float, random: object) -> None:
    n, gamma = len(x), torch.tensor(strength, dtype=torch.float64)
    below, above, _ = operators.soft_counts(x, gamma)
    tolerance = count_tolerance(n, torch.float64) * n
    ordered = below.gather(0, x.argsort(dim=0))
    assert (ordered.diff(dim=0) >= -tolerance).all()
    torch.testing.assert_close(below + above, torch.full_like(x, n), rtol=0, atol=tolerance)
    assert abs(float(below.sum()) - n * n / 2) <= n * tolerance
    shuffled = torch.tensor(random.sample(range(n), n))  # type: ignore[attr-defined]
    again, *_ = operators.soft_counts(x[shuffled], gamma)
    torch.testing.assert_close(again, below[shuffled], rtol=0, atol=tolerance)
    shifted, *_ = operators.soft_counts(x + 1024.0, gamma)  # multiples of 1/64: nothing is rounded
    torch.testing.assert_close(shifted, below, rtol=0, atol=tolerance)
    mirrored, *_ = operators.soft_counts(-x, gamma)
    torch.testing.assert_close(mirrored, above, rtol=0, atol=tolerance)
    limit, *_ = operators.soft_counts(x, torch.tensor(1e6, dtype=torch.float64))
    assert torch.equal(limit, operators.hard_counts(x)[0])  # points are tied, or 1/64 apart


@pytest.mark.parametrize("n", [300, 1000])
def test_ties_have_equal_counts_to_the_last_bit(n: int) -> None:
    x = torch.randint(-4, 5, (n, 3), generator=torch.Generator().manual_seed(0)).float()
    for counts in (operators.soft_counts(x, torch.tensor(0.7))[:2], operators.hard_counts(x)):
        for count in counts:
            for j in range(3):
                assert len(count[:, j].unique()) == len(x[:, j].unique())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n", [1, 6, 600])
def test_hard_counts_are_mid_ranks(n: int, dtype: torch.dtype, device: str) -> None:
    x = pairs.columns(n).to(dtype)
    x[0, 0] = -torch.inf
    below, above = (count.cpu().double().numpy() for count in operators.hard_counts(x.to(device)))
    wanted = scipy.stats.rankdata(x.double().numpy(), axis=0) - 0.5
    np.testing.assert_array_equal(below, wanted)
    np.testing.assert_array_equal(above, n - wanted)


@pytest.mark.parametrize("n", [10, 300])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_are_counted_in_float32(dtype: torch.dtype, n: int) -> None:
    x, gamma = pairs.columns(n)[:, :6].clamp(-100, 100).to(dtype), torch.tensor(2.0)
    short, long = (operators.soft_counts(each, gamma) for each in (x, x.float()))
    assert short[0].dtype == torch.float32
    assert torch.equal(short[0], long[0])
    slopes = [operators.soft_counts_backward(s[2], x.float(), None)[0] for s in (short, long)]
    assert torch.equal(*slopes)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_scores_keep_the_digits_of_either_tail(dtype: torch.dtype, device: str) -> None:
    n = 131072
    below = (torch.arange(n, dtype=torch.float64) + 0.5)[:, None]
    got = operators.normal_scores(below.to(device, dtype), (n - below).to(device, dtype)).cpu()
    wanted = scipy.special.ndtri((below / n).numpy())
    unit = soft_count_rounding(numpy_dtype(dtype))
    np.testing.assert_allclose(got.double().numpy(), wanted, rtol=unit, atol=unit)
    assert torch.equal(got, -got.flip(0))


def test_the_gradient_of_scores() -> None:
    n = 50
    below = torch.linspace(0.5, n - 0.5, n, dtype=torch.float64)[:, None].requires_grad_()
    scores = torch.special.ndtri(below / n)
    g = torch.arange(n, dtype=torch.float64)[:, None]
    (wanted,) = torch.autograd.grad(scores, below, g)
    got = operators.normal_scores_backward(scores.detach(), g)
    torch.testing.assert_close(got, wanted)
