"""`fit` and `fit_moments`: what they take, what they refuse, and closed forms end to end."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import mpmath as mp
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from distfit_nn.errors import FitError, InputError
from distfit_nn.maxent import ORDERS, Density, Status, fit, fit_moments, numba_kernel
from distfit_nn.maxent.tensors.density import TensorDensity
from tests import cases
from tests.maxent import oracle
from tests.maxent.stubs import only_regularised
from tests.tolerances import MAXENT_AGREEMENT, MAXENT_CDF, MAXENT_RESIDUAL, TENSOR_CDF

# Each field of the solution in float64, of order 6 at most, several times over: in z, in x, ...
NUMBERS_OF_A_COLUMN = 8 * 30 * 8
GRID = np.linspace(-2.0, 3.0, 21)


def columns(n: int = 90) -> np.ndarray:
    return np.stack([cases.column(c, n) for c in ("normal", "uniform", "exponential")], axis=1)


def same(one: Density, two: Density) -> None:
    np.testing.assert_array_equal(one.status, two.status)
    np.testing.assert_allclose(one.cdf(GRID), two.cdf(GRID), atol=MAXENT_CDF)
    np.testing.assert_allclose(one.entropy(), two.entropy(), atol=MAXENT_AGREEMENT)


# What it takes


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_floats_are_taken_at_their_value(dtype: str) -> None:
    x = columns().astype(dtype)
    same(fit(x), fit(x.astype(np.float64)))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64", "int32"])
def test_integers(dtype: str) -> None:
    x = np.array([0, 1, 1, 2, 3, 5, 8, 13, 21, 100], dtype)
    same(fit(x), fit(x.astype(float)))


def test_large_integers_do_not_wrap() -> None:
    x = np.array([-(2**62), 0, 2**62, 2**61], np.int64)
    density = fit(x, 4)
    assert density.mean() == pytest.approx(x.astype(float).mean())
    assert density.status == Status.OK


def test_booleans() -> None:
    x = np.arange(40) % 3 == 0
    same(fit(x, 2), fit(x.astype(float), 2))
    assert fit(x, 4).status == Status.DEGENERATE


def test_lists() -> None:
    x = columns(20)
    same(fit(x.tolist(), 4), fit(x, 4))
    assert fit([1, 2, 4, 9], 2).status == Status.OK
    assert fit((1.0, 2.0, 4.0), 2).mean() == pytest.approx(7 / 3)


def test_memory_layouts() -> None:
    x = columns()
    wide = np.zeros((180, 6))
    wide[::2, ::2] = x
    backwards = x[::-1, ::-1].copy()
    for other in (np.asfortranarray(x), wide[::2, ::2], backwards[::-1, ::-1], x.T.copy().T):
        same(fit(other), fit(x))


@pytest.mark.parametrize("support", ["data", 3.0])
def test_input_is_never_written_to(support: Any) -> None:
    x = columns()
    x[3, 1] = np.nan
    before = x.copy()
    x.setflags(write=False)
    fit(x, support=support)
    fit(x, support=support, nan_policy="omit")
    np.testing.assert_array_equal(x, before)
    m = 1 / np.arange(2.0, 6.0)
    m.setflags(write=False)
    fit_moments(m, (0, 1))


def test_the_density_does_not_hold_on_to_the_input() -> None:
    x = columns()
    density = fit(x)
    before = density.cdf(GRID)
    x[:] = 0.0
    np.testing.assert_array_equal(density.cdf(GRID), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_torch_tensors(dtype: torch.dtype) -> None:
    x = torch.tensor(columns(), dtype=dtype, requires_grad=True)
    density, expected = fit(x), fit(x.detach().double().numpy())
    assert isinstance(density, TensorDensity)
    assert density.ok.all()
    points = torch.tensor(GRID)
    cdf = density.cdf(points).detach().numpy()
    np.testing.assert_allclose(cdf, expected.cdf(GRID), atol=TENSOR_CDF)
    entropy = density.entropy().detach().double().numpy()
    rounding = TENSOR_CDF + torch.finfo(dtype).eps
    np.testing.assert_allclose(entropy, expected.entropy(), rtol=rounding, atol=TENSOR_CDF)
    assert x.grad is None


def test_torch_of_other_layout() -> None:
    x = torch.tensor(columns())
    points = torch.tensor(GRID)
    for other, expected in ((x.T.contiguous().T, x), (x[::2], x[::2].clone())):
        cdf = fit(other).cdf(points)
        np.testing.assert_allclose(cdf, fit(expected.numpy()).cdf(GRID), atol=TENSOR_CDF)


def test_pandas() -> None:
    frame = pd.DataFrame(columns(), columns=["a", "b", "c"])
    same(fit(frame), fit(frame.to_numpy()))
    same(fit(frame["b"]), fit(frame["b"].to_numpy()))
    assert fit(frame["b"]).single


def test_order_may_be_any_kind_of_int() -> None:
    x = cases.column("normal", 50)
    assert fit(x, np.int8(4)).order == 4
    assert fit(x).order == 6


# What it refuses


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (13, "order must be a whole number from 1 to 12, got 13"),
        (0, "got 0"),
        (-2, "got -2"),
        ("6", "got '6'"),
        (True, "got True"),
        (6.0, "got 6.0"),
        (None, "got None"),
        ([2, 4], r"got \[2, 4\]"),
        (np.array([2, 4]), "got array"),
    ],
)
def test_bad_orders(order: Any, says: str) -> None:
    with pytest.raises(InputError, match="order must be .*" + says.split("order must be ")[-1]):
        fit([1.0, 2.0, 3.0], order)


@pytest.mark.parametrize(
    ("support", "says"),
    [
        (0.5, "at least 1, got 0.5"),
        (math.nan, "at least 1, got nan"),
        ((1, 0), r"a < b, got \(1, 0\)"),
        ((-math.inf, math.inf), "finite with a < b"),
        ((1.5, 9), "must hold the data: they range from 1 to 3, support is"),
        ("dta", "got 'dta'"),
    ],
)
def test_bad_supports(support: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        fit([1.0, 2.0, 3.0], 2, support)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        ([1j, 2j], "real numbers, got dtype complex128"),
        (np.array([1, None], object), "real numbers, got dtype object"),
        (["a", "b"], "real numbers, got dtype <U1"),
        (np.array(["2020-01-01"], "M8[D]"), "real numbers, got dtype datetime64"),
        ([[1.0, 2.0], [3.0]], "real numbers"),
        (None, "real numbers"),
        (3.0, r"shape \(n,\) or \(n, d\), got \(\)"),
        (np.zeros((2, 3, 4)), r"shape \(n,\) or \(n, d\), got \(2, 3, 4\)"),
        (np.zeros((0, 3)), r"at least one row, got shape \(0, 3\)"),
        ([], "at least one row"),
        (np.zeros((5, 0)), r"at least one column, got shape \(5, 0\)"),
        (torch.zeros(4, dtype=torch.complex64), "real numbers, got torch.complex64"),
    ],
)
def test_bad_data(x: Any, says: str) -> None:
    with pytest.raises(InputError, match="x must .*" + says):
        fit(x, 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [("backend", "cuda"), ("backend", 1), ("nan_policy", "drop"), ("nan_policy", None)],
)
def test_bad_choices(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} must be one of .*, got {value!r}"):
        fit([1.0, 2.0, 3.0], 2, **{name: value})


def test_every_error_is_a_value_error_of_one_line() -> None:
    with pytest.raises(ValueError, match="order") as caught:
        fit([1.0, 2.0], 13)
    assert "\n" not in str(caught.value)


# Failure is data, raising is the caller's choice


def test_statuses_of_a_mixed_batch() -> None:
    x = np.tile(columns(40), 2)
    x[0, 1], x[:, 2], x[:, 4] = np.nan, 7.0, np.arange(40) % 3
    density = fit(x, 6)
    assert [Status(s).name for s in density.status] == [
        "OK", "INVALID", "DEGENERATE", "OK", "DEGENERATE", "OK",
    ]  # fmt: skip
    assert fit(x, 4).status[4] == Status.OK
    with pytest.raises(
        FitError, match="3 of 6 columns have no exact fit: column 1 INVALID, column 2 DEGENERATE"
    ):
        fit(x, 6, raise_on_failure=True)
    assert fit(x[:, [0, 3, 5]], raise_on_failure=True).ok.all()


def test_failures_beyond_five_are_counted() -> None:
    with pytest.raises(FitError, match=r"9 of 9 columns .* column 4 DEGENERATE and 4 more"):
        fit(np.ones((5, 9)), raise_on_failure=True)


def test_regularised_columns_raise_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    x = columns()
    only_regularised(monkeypatch, least=1e-3)
    assert (fit(x, 6).status == Status.REGULARISED).all()
    with pytest.raises(FitError, match="3 of 3 columns have no exact fit: column 0 REGULARISED"):
        fit(x, 6, raise_on_failure=True)


def test_omitting_is_fitting_what_is_left() -> None:
    x = columns()
    x[3, 1], x[5, 1], x[7, 2] = np.nan, np.inf, -np.inf
    density = fit(x, nan_policy="omit")
    assert density.ok.all()
    for j in range(3):
        kept = x[np.isfinite(x[:, j]), j]
        same(density[j], fit(kept))
        assert density[j].mean() == pytest.approx(kept.mean(), abs=MAXENT_RESIDUAL)
        assert density[j].support() == pytest.approx(fit(kept).support())
    assert list(fit(x).status) == [Status.OK, Status.INVALID, Status.INVALID]
    assert fit([np.nan, np.nan], nan_policy="omit").status == Status.INVALID


def test_columns_in_parts_are_the_whole() -> None:
    """More columns than a thread takes at a time."""
    x = np.random.default_rng(0).gamma(2.0, size=(30, numba_kernel.CHUNK + 5))
    x[0, 4] = np.nan
    whole = fit(x, 4)
    edge = slice(numba_kernel.CHUNK - 5, None)
    parts = fit(x[:, edge], 4)
    for name in ("status", "coefficients", "moments", "iterations", "lower", "upper"):
        one, two = getattr(whole.solution, name), getattr(parts.solution, name)
        np.testing.assert_array_equal(one[..., edge], two)


def test_memory_is_bounded() -> None:
    """What is allocated grows with the columns, by what the solution holds, and not with rows."""
    rng = np.random.default_rng(0)
    fit(rng.normal(size=(1000, 2)), 2)
    for rows, width in ((20_000, 50), (1000, 1000)):
        x = rng.normal(size=(rows, width)).astype(np.float32)
        tracemalloc.start()
        density = fit(x, 2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert density.ok.all()
        assert peak < 0.2 * x.nbytes + NUMBERS_OF_A_COLUMN * width


@pytest.mark.slow
def test_a_wide_float32_array() -> None:
    x = np.random.default_rng(0).normal(size=(1000, 10_000)).astype(np.float32)
    tracemalloc.start()
    density = fit(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert density.ok.all()
    assert density.residual.max() < MAXENT_RESIDUAL
    assert peak < 0.2 * x.nbytes + NUMBERS_OF_A_COLUMN * 10_000


# Raw moments


def test_moments_of_the_truncated_exponential() -> None:
    """exp(-x) on (0, 3) is its own fit, whatever the number of moments."""
    a, b, mass = 0.0, 3.0, 1 - math.exp(-3)
    truth = stats.truncexpon(3.0)
    for order in ORDERS[:8]:
        with mp.workdps(30):
            raw = [
                float(mp.quad(lambda t, i=i: t**i * mp.exp(-t), [0, 3]) / (1 - mp.exp(-3)))
                for i in range(1, order + 1)
            ]
        density = fit_moments(raw, (a, b))
        t = np.linspace(a, b, 31)
        np.testing.assert_allclose(density.pdf(t), np.exp(-t) / mass, rtol=1e-8)
        np.testing.assert_allclose(density.cdf(t), truth.cdf(t), atol=1e-10)
        np.testing.assert_allclose(density.isf(0.3), truth.isf(0.3), atol=1e-9)
        assert density.entropy() == pytest.approx(truth.entropy(), abs=MAXENT_AGREEMENT)
        assert density.support() == pytest.approx((a, b))


def test_moments_of_the_truncated_normal() -> None:
    truth = stats.truncnorm(-2.0, 1.0, loc=5.0, scale=0.5)
    for order in (2, 4, 6):
        with mp.workdps(30):
            parts = [
                mp.quad(lambda t, i=i: t**i * mp.exp(-2 * (t - 5) ** 2), [4, 5.5])
                for i in range(order + 1)
            ]
            raw = [float(part / parts[0]) for part in parts[1:]]
        density = fit_moments(raw, (4.0, 5.5))
        t = np.linspace(4.0, 5.5, 31)
        # Raw moments at 5 with a width of 0.3 have lost 1e-16 (5 / 0.3)^6 = 2e-9 before they come.
        np.testing.assert_allclose(density.cdf(t), truth.cdf(t), atol=1e-7)
        assert density.entropy() == pytest.approx(truth.entropy(), abs=1e-7)


def test_moments_of_many_columns() -> None:
    order = 4
    raw = np.stack([1 / np.arange(2.0, order + 2), 2 / np.arange(3.0, order + 3)], axis=1)
    density = fit_moments(raw, (0.0, 1.0))
    assert len(density) == 2
    assert density.ok.all()
    np.testing.assert_allclose(density.mean(), [0.5, 2 / 3], atol=MAXENT_RESIDUAL)
    t = np.linspace(0, 1, 5)
    np.testing.assert_allclose(density.cdf(t)[:, 0], t, atol=MAXENT_AGREEMENT)
    np.testing.assert_array_equal(density[1].cdf(t), density.cdf(t)[:, 1])


def test_moments_and_samples_give_one_density() -> None:
    x = cases.column("exponential")
    ends = (0.0, float(x.max() + 1.0))
    raw = oracle.raw_moments(x.astype(np.longdouble), 4)
    one, two = fit_moments(raw, ends), fit(x, 4, ends)
    t = np.linspace(*ends, 21)
    np.testing.assert_allclose(one.cdf(t), two.cdf(t), atol=1e-9)


def test_moments_reached_are_the_moments_given() -> None:
    truth = stats.beta(2.0, 5.0)
    raw = np.array([truth.moment(i) for i in range(1, 7)])
    density = fit_moments(raw, (0.0, 1.0))
    dense = oracle.dense(density)
    x = density.loc[0] + density.scale[0] * dense.nodes
    reached = dense.mean(x ** np.arange(1, 7)[:, None])
    np.testing.assert_allclose(reached, raw, rtol=1e-9)


def test_moments_without_a_density() -> None:
    good = 1 / np.arange(2.0, 6.0)
    two_points = 0.25 ** np.arange(1, 5) / 2 + 0.75 ** np.arange(1, 5) / 2
    raw = np.stack(
        [good, two_points, [0.5, 0.2, 0.1, 0.1], [np.nan, 1, 1, 1], [1e300] * 4, good], axis=1
    )
    density = fit_moments(raw, (0, 1))
    assert [Status(s).name for s in density.status] == [
        "OK", "DEGENERATE", "INVALID", "INVALID", "INVALID", "OK",
    ]  # fmt: skip
    alone = fit_moments(raw[:, [0, 5]], (0, 1))
    np.testing.assert_array_equal(density.pdf(0.3)[[0, 5]], alone.pdf(0.3))
    assert np.isnan(density.cdf(0.5)[1:5]).all()
    with pytest.raises(FitError, match=r"4 of 6 columns .* column 1 DEGENERATE, column 2 INVALID"):
        fit_moments(raw, (0, 1), raise_on_failure=True)


@pytest.mark.parametrize(
    "m", [[], 0.5, np.zeros((2, 0)), np.zeros((2, 1, 1)), np.zeros(13), np.zeros((0, 2))]
)
def test_moments_of_wrong_length(m: Any) -> None:
    with pytest.raises(
        InputError, match=r"m must have shape \(k,\) or \(k, d\) with k from 1 to 12"
    ):
        fit_moments(m, (0, 1))


@pytest.mark.parametrize("m", [["a", "b"], [1j, 1], [[1, 2], [3]], None])
def test_moments_of_wrong_kind(m: Any) -> None:
    with pytest.raises(InputError, match="m must be an array of real numbers"):
        fit_moments(m, (0, 1))


@pytest.mark.parametrize("support", [3.0, "data", (1, 0), (0, math.inf), None, "ab", (0, 1, 2)])
def test_moments_need_two_ends(support: Any) -> None:
    with pytest.raises(InputError, match="support"):
        fit_moments([0.5, 1 / 3], support)
    with pytest.raises(InputError, match="backend"):
        fit_moments([0.5, 1 / 3], (0, 1), backend="cuda")


def test_moments_from_torch() -> None:
    m = torch.tensor([0.5, 1 / 3], dtype=torch.float64, requires_grad=True)
    density = fit_moments(m, (0, 1))
    assert isinstance(density, TensorDensity)
    assert float(density.cdf(0.25).detach()) == pytest.approx(0.25)


def test_integer_moments() -> None:
    assert fit_moments([0, 1], (-10, 10)).std() == pytest.approx(1.0)
