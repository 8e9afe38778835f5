"""The density on tensors against the NumPy density, exact tails, and its own laws."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from torch.autograd import gradcheck

from distfit_nn import maxent
from distfit_nn.errors import FitError, InputError
from distfit_nn.maxent.tensors import fit as torch_fit
from distfit_nn.maxent.tensors.density import TensorDensity
from tests import cases, tolerances
from tests.devices import DEVICES, one_thread  # noqa: F401

NAMES = ("normal", "exponential", "bimodal", "post_relu", "lognormal", "u_shaped")


def columns(n: int = 200) -> torch.Tensor:
    """One column of each of the names."""
    arrays = [cases.column(name, n, seed=j) for j, name in enumerate(NAMES)]
    return torch.tensor(np.stack(arrays, axis=1))


@pytest.fixture(scope="module")
def density() -> TensorDensity:
    """A batch of six columns, fitted on the kernel of torch."""
    return torch_fit.fit(columns(), 6, backend="torch")


@pytest.fixture(scope="module")
def arrays() -> maxent.Density:
    """The same in NumPy."""
    return maxent.fit(columns().numpy(), 6)


def beyond(density: TensorDensity, m: int = 41) -> torch.Tensor:
    """Points on the whole support of each column, and outside."""
    lower, upper = density.support()
    share = torch.linspace(-0.1, 1.1, m, dtype=torch.float64)[:, None]
    return lower + (upper - lower) * share


def test_values_are_those_of_numpy(density: TensorDensity, arrays: maxent.Density) -> None:
    t = columns()
    for name in ("cdf", "sf", "pdf", "logpdf"):
        ours = getattr(density, name)(t).numpy()
        theirs = getattr(arrays, name)(t.numpy())
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=tolerances.TENSOR_CDF)
    q = torch.tensor([0.0, 1e-9, 0.01, 0.3, 0.5, 0.9, 1 - 1e-9, 1.0], dtype=torch.float64)
    spread = arrays.scale
    for name in ("ppf", "isf"):
        ours = getattr(density, name)(q).numpy()
        theirs = getattr(arrays, name)(q.numpy())
        assert (np.abs(ours - theirs) / spread).max() < 1e-6
    for name in ("entropy", "mean", "var", "std"):
        np.testing.assert_allclose(
            getattr(density, name)().numpy(), getattr(arrays, name)(), rtol=1e-7, atol=1e-9
        )


def test_far_tails_are_exact_in_relative_terms() -> None:
    density = torch_fit.fit(torch.tensor(cases.column("normal", 300)), 4, (-14.0, 14.0))
    solution = density.numpy().solution
    mp.mp.dps = 40
    lam = [mp.mpf(float(v)) for v in solution.coefficients[:, 0]]
    loc, scale = mp.mpf(float(density.loc[0])), mp.mpf(float(density.scale[0]))

    def u(z: mp.mpf) -> mp.mpf:
        h = [mp.mpf(1), z]
        for i in range(1, 4):
            h.append((z * h[i] - mp.sqrt(i) * h[i - 1]) / mp.sqrt(i + 1))
        return mp.fsum(a * b for a, b in zip(lam, h[1:], strict=True))

    def mass(a: mp.mpf, b: mp.mpf) -> mp.mpf:
        return mp.quad(lambda z: mp.exp(u(z)), mp.linspace(a, b, 60))

    lower, upper = mp.mpf(float(solution.lower[0])), mp.mpf(float(solution.upper[0]))
    whole = mass(lower, upper)
    for t in (-6.0, -5.0, -4.0, 4.0, 5.0, 6.0):
        z = (mp.mpf(t) - loc) / scale
        exact = float((mass(lower, z) if t < 0 else mass(z, upper)) / whole)
        ours = float(density.cdf(t) if t < 0 else density.sf(t))
        assert 0 < exact < 1e-4
        assert abs(ours / exact - 1) < tolerances.TENSOR_TAIL
        back = float(density.ppf(ours) if t < 0 else density.isf(ours))
        assert abs(back - t) < tolerances.TENSOR_TAIL


@pytest.mark.parametrize("device", DEVICES)
def test_quantiles_invert_both_tails(device: str) -> None:
    density = torch_fit.fit(columns().to(device), 6, backend="torch")
    for q in (1e-40, 1e-15, 1e-5, 0.2, 0.5, 0.7):
        given_mass = torch.tensor(q, dtype=torch.float64, device=device)
        for there, back in ((density.ppf, density.cdf), (density.isf, density.sf)):
            t = there(given_mass)
            # Rounding of t moves the mass by eps t p, and p / mass is at most u' / scale.
            slope = density.pdf(t).diagonal() if t.ndim == 2 else density.pdf(t[None])[0]
            room = 4 * tolerances.eps() * (t.abs() * slope / q)
            error = (back(t[None])[0] / q - 1).abs()
            assert bool((error <= tolerances.TENSOR_TAIL + room).all())


def test_both_tails_add_to_one_and_the_density_is_their_slope(density: TensorDensity) -> None:
    t = beyond(density)
    assert (density.cdf(t) + density.sf(t) - 1).abs().max() < tolerances.MAXENT_CDF
    torch.testing.assert_close(density.logcdf(t).exp(), density.cdf(t))
    torch.testing.assert_close(density.logsf(t).exp(), density.sf(t))
    assert (density.cdf(t).diff(dim=0) >= 0).all()
    assert (density.pdf(t[:2]) == 0).all()
    assert (density.cdf(t[-2:]) == 1).all()


@pytest.mark.parametrize("method", ["logpdf", "pdf", "cdf", "sf", "logcdf", "logsf"])
def test_gradient_in_points(density: TensorDensity, method: str) -> None:
    t = columns()[:4].clone().requires_grad_()
    one = density[0]
    assert gradcheck(getattr(one, method), t[:, 0], **tolerances.GRADCHECK)


@pytest.mark.parametrize("method", ["ppf", "isf"])
def test_gradient_in_masses(density: TensorDensity, method: str) -> None:
    q = torch.tensor([0.02, 0.3, 0.6, 0.99], dtype=torch.float64, requires_grad=True)
    assert gradcheck(getattr(density, method), q, eps=1e-7, atol=1e-5, rtol=1e-5)
    t = getattr(density, method)(q)
    (slope,) = torch.autograd.grad(t[:, 2].sum(), q)
    sign = 1 if method == "ppf" else -1
    torch.testing.assert_close(slope, sign / density[2].pdf(t[:, 2].detach()))


def test_draws_follow_the_density_and_the_generator(density: TensorDensity) -> None:
    def draw(seed: int) -> torch.Tensor:
        return density.rvs(500, torch.Generator().manual_seed(seed))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    uniform = density.cdf(draw(1)).sort(dim=0).values
    grid = (torch.arange(500) + 0.5)[:, None] / 500
    # Kolmogorov's distance of 500 draws exceeds 0.1 with a probability below 1e-4.
    assert (uniform - grid).abs().max() < 0.1
    assert density[0].rvs(7).shape == (7,)


def test_shapes(density: TensorDensity) -> None:
    assert density.cdf(0.5).shape == (6,)
    assert density.cdf(torch.zeros(4)).shape == (4, 6)
    assert density.cdf(torch.zeros(4, 6)).shape == (4, 6)
    one = density[-1]
    assert one.cdf(torch.zeros(2, 3, 4)).shape == (2, 3, 4)
    assert one.status.shape == ()
    assert len(density[1:3]) == 2
    assert [float(part.mean()) for part in density] == density.mean().tolist()
    with pytest.raises(InputError, match="t must have shape"):
        density.cdf(torch.zeros(4, 5))
    with pytest.raises(InputError, match="cannot be indexed"):
        one[0]
    with pytest.raises(IndexError):
        density[6]
    assert "6 OK" in repr(density)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_come_back(dtype: torch.dtype) -> None:
    x = columns()[:, :2].to(dtype)
    density = torch_fit.fit(x, 4, backend="torch")
    assert density.ok.all()
    assert density.dtype == dtype
    for value in (density.cdf(x), density.ppf(0.3), density.mean(), density.rvs(3)):
        assert value.dtype == dtype
    assert density.cdf(x.to(torch.float64)).dtype == torch.float64


def test_median_and_interval(density: TensorDensity, arrays: maxent.Density) -> None:
    spread = arrays.scale
    assert (np.abs(density.median().numpy() - arrays.median()) / spread).max() < 1e-6
    shares = torch.tensor([0.0, 0.5, 0.999], dtype=torch.float64)
    for ours, theirs in zip(density.interval(shares), arrays.interval(shares), strict=True):
        assert (np.abs(ours.numpy() - theirs) / spread).max() < 1e-6
    low, high = density[1].interval(0.9)
    assert (low.shape, low.dtype) == ((), torch.float64)
    mass = density[1].cdf(high) - density[1].cdf(low)
    assert abs(float(mass) - 0.9) < tolerances.TENSOR_CDF
    assert density.interval(torch.tensor(0.5))[0].dtype == torch.float32
    for wrong in (1.5, -0.1, math.nan, [0.5, 2.0]):
        with pytest.raises(InputError, match=r"confidence must lie in \[0, 1\]"):
            density.interval(wrong)


def test_shape_of_the_densities(density: TensorDensity, arrays: maxent.Density) -> None:
    for name in ("skewness", "kurtosis"):
        ours, theirs = getattr(density, name)().numpy(), getattr(arrays, name)()
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def test_what_numpy_does_for_tensors(density: TensorDensity, tmp_path: Path) -> None:
    back = density.numpy()
    for ours, theirs in zip(density.modes(), back.modes(), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    np.testing.assert_array_equal(density.mass_outside().numpy(), back.mass_outside())
    assert density.to_scipy(2).mean() == back.to_scipy(2).mean()
    with pytest.raises(InputError, match="the number of one of the 6 columns"):
        density.to_scipy()
    again = maxent.Density.load(density.save(tmp_path / "fit"))
    np.testing.assert_array_equal(again.cdf(0.5), back.cdf(0.5))
    figure = Figure()
    ax = figure.subplots()
    assert density.plot(ax) is ax
    assert len(ax.get_lines()) == 6


def test_divergence_of_and_from_tensors(density: TensorDensity) -> None:
    back, goal = density.numpy(), density[0]
    expected = back.kl_divergence(goal.numpy())
    for other in (goal, goal.numpy(), goal.to_scipy()):
        divergence = density.kl_divergence(other)
        assert divergence.dtype == torch.float64
        np.testing.assert_array_equal(divergence.numpy(), expected)
    np.testing.assert_array_equal(back.kl_divergence(goal), expected)
    assert density[1].kl_divergence(goal).shape == ()
    for wrong in (torch.ones(3), None, TensorDensity, density[:2]):
        with pytest.raises(InputError, match="other must"):
            density.kl_divergence(wrong)


def test_columns_are_picked_as_in_numpy(density: TensorDensity, arrays: maxent.Density) -> None:
    t = torch.zeros(3, dtype=torch.float64)
    mask = np.array([True, False] * 3)
    for pick in ([2, 0], (-1, 1), mask, [], slice(1, 3), slice(0, 0)):
        part, expected = density[pick], arrays[pick]
        assert not part.single
        np.testing.assert_allclose(part.loc.numpy(), expected.loc)
        if len(expected):
            np.testing.assert_allclose(
                part.cdf(t).numpy(), expected.cdf(t), atol=tolerances.TENSOR_CDF
            )
    for pick in (mask, np.array([1, -1])):
        assert torch.equal(density[torch.tensor(pick)].loc, density[pick].loc)
    assert density[np.int8(2)].single
    with pytest.raises(IndexError, match="column 6 of 6"):
        density[[0, 6]]
    for wrong in (None, "a", 1.0, True, [True], [[0]]):
        with pytest.raises(InputError, match=r"columns|mask"):
            density[wrong]


def test_draws_of_a_shape(density: TensorDensity) -> None:
    assert density.rvs((2, 5)).shape == (2, 5, 6)
    assert density[0].rvs((2, 5)).shape == (2, 5)
    assert density.rvs(()).shape == (6,)
    for wrong in (-1, 2.0, (2, None)):
        with pytest.raises(InputError, match="size must be a whole number"):
            density.rvs(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"generator must be .*, got 3"):
        density.rvs(2, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "t", [None, "a", [1j], torch.ones(2, dtype=torch.complex64), torch.eye(6).to_sparse()]
)
def test_points_that_are_no_real_numbers(density: TensorDensity, t: object) -> None:
    for name, argument in (("cdf", "t"), ("logpdf", "t"), ("ppf", "q"), ("interval", "confidence")):
        with pytest.raises(InputError, match=f"{argument} must be .* real numbers"):
            getattr(density, name)(t)


def test_points_on_another_device(density: TensorDensity) -> None:
    with pytest.raises(InputError, match="t must be on cpu, as the density is, got meta"):
        density.cdf(torch.ones(6, device="meta"))


@pytest.mark.parametrize("r", [201, -1, 1.0, None, 10**400])
def test_orders_of_moments(density: TensorDensity, r: object) -> None:
    with pytest.raises(InputError, match="r must be"):
        density.moment(r)  # type: ignore[arg-type]


def test_numpy_has_the_rest(density: TensorDensity, arrays: maxent.Density) -> None:
    back = density.numpy()
    assert isinstance(back, maxent.Density)
    t = columns().numpy()
    np.testing.assert_allclose(back.cdf(t), arrays.cdf(t), atol=tolerances.TENSOR_CDF)
    np.testing.assert_allclose(back.cdf(t), density.cdf(columns()).numpy(), atol=1e-11)


def test_columns_without_a_density_are_nan() -> None:
    x = columns()[:, :3].clone()
    x[:, 1] = 4.0
    x[3, 2] = math.nan
    density = torch_fit.fit(x, 4, backend="torch")
    assert density.ok.tolist() == [True, False, False]
    for value in (density.cdf(x[:5]), density.ppf(torch.rand(5)), density.logpdf(x[:5])):
        assert value[:, 1:].isnan().all()
        assert value[:, 0].isfinite().all()
    for number in (density.mean(), density.entropy(), density.support()[0], density.moment(2)):
        assert number.isnan().tolist() == [False, True, True]
    assert density.cdf(math.nan).isnan().all()
    with pytest.raises(FitError, match="column 1 DEGENERATE, column 2 INVALID"):
        maxent.fit(x, 4, backend="torch", raise_on_failure=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": torch.zeros(2, 2, 2)}, "must have shape"),
        ({"x": torch.zeros(0, 2)}, "at least one row"),
        ({"x": torch.zeros(3, dtype=torch.complex64)}, "real numbers"),
        ({"x": torch.zeros(3), "order": 13}, "order"),
        ({"x": torch.zeros(3), "backend": "jax"}, "backend must be one of"),
        ({"x": torch.zeros(3), "support": 0.5}, "support factor"),
        ({"x": torch.zeros(3), "weights": torch.ones(4)}, "weights must have shape"),
        ({"x": torch.zeros(3), "weights": -torch.ones(3)}, "not negative"),
        ({"x": torch.zeros(3), "weights": torch.zeros(3)}, "not all be zero"),
        ({"x": torch.zeros(3), "weights": [1.0, 2.0]}, "weights must have shape"),
        ({"x": torch.zeros(3), "weights": [1.0, math.nan, 1.0]}, "finite and not negative"),
        ({"x": torch.zeros(3), "weights": 1j * torch.ones(3)}, "weights must be a plain tensor"),
        ({"x": torch.zeros(3), "weights": np.ones(3) * 1j}, "weights must be .* real numbers"),
        ({"x": torch.zeros(3), "weights": ["a"] * 3}, "weights must be .* real numbers"),
        ({"x": torch.zeros(3), "weights": torch.ones(3, device="meta")}, "weights must be a plain"),
        ({"x": torch.zeros(3, device="meta")}, "x must be a plain tensor"),
        ({"x": torch.eye(3).to_sparse()}, "x must be a plain tensor"),
        ({"x": torch.zeros(3), "support": torch.zeros(3)}, "support must be"),
        ({"x": torch.zeros(3), "support": torch.zeros(2, dtype=torch.complex64)}, "support must"),
        ({"x": torch.zeros(3), "support": torch.ones((), device="meta")}, "support must"),
        ({"x": torch.zeros(3), "support": (torch.zeros(2), 3.0)}, "support .* two numbers"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        torch_fit.fit(**{"backend": "torch", "order": 4, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.uint16, torch.float32])
def test_weights_of_every_dtype_are_taken_at_their_value(dtype: torch.dtype) -> None:
    x = columns(60)
    weights = torch.arange(60).to(torch.float64)
    expected = torch_fit.fit(x, 2, weights=weights, backend="torch").solution.moments
    for given_weights in (weights.to(dtype), weights.to(dtype).numpy(), weights.tolist()):
        density = torch_fit.fit(x, 2, weights=given_weights, backend="torch")
        assert torch.equal(density.solution.moments, expected)


def test_moments_give_the_density_back() -> None:
    m = torch.tensor([1 / 2, 1 / 3, 1 / 4, 1 / 5], dtype=torch.float64)
    uniform = torch_fit.fit_moments(m, (0, 1), backend="torch")
    q = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(uniform.ppf(q), q, rtol=0, atol=tolerances.TENSOR_CDF)
    torch.testing.assert_close(uniform.moment(6), torch.tensor(1 / 7, dtype=torch.float64))
    assert abs(float(uniform.entropy())) < tolerances.TENSOR_CDF
    with pytest.raises(InputError, match="moments need a support"):
        torch_fit.fit_moments(m, 3.0)
    with pytest.raises(InputError, match="m must have shape"):
        torch_fit.fit_moments(torch.ones(13), (0, 1))
    with pytest.raises(InputError, match="m must be a plain tensor"):
        torch_fit.fit_moments(1j * m, (0, 1))


@settings(max_examples=25)
@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.booleans())
def test_equivariance(shift: float, stretch: float, mirrored: bool) -> None:
    x = columns(60)[:, 1]
    density = torch_fit.fit(x, 4, backend="torch")
    factor = -stretch if mirrored else stretch
    moved = torch_fit.fit(factor * x + shift, 4, backend="torch")
    image = moved.sf(factor * x + shift) if mirrored else moved.cdf(factor * x + shift)
    room = tolerances.MAXENT_EQUIVARIANCE * (1 + abs(shift) / stretch / 1e3)
    assert (image - density.cdf(x)).abs().max() < room


def test_multipliers_in_double_double_are_evaluated_by_density() -> None:
    x = columns()[:, :2]
    density = torch_fit.fit(x, 4, backend="torch")
    low = density.solution.coefficients_low.clone()
    low[1, 0] = 1e-30  # column 1 claims to need them
    solution = replace(density.solution, coefficients_low=low)
    claimed = replace(density, solution=solution, _tables={})
    assert claimed.hard.tolist() == [1]
    assert claimed.differentiable.tolist() == [True, False]
    q = torch.tensor([1e-6, 0.3, 0.8], dtype=torch.float64)
    for name, points in (("cdf", x), ("sf", x), ("logpdf", x), ("ppf", q), ("isf", q)):
        ours, theirs = getattr(claimed, name)(points), getattr(density, name)(points)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    for name in ("mean", "var", "std", "entropy"):
        torch.testing.assert_close(getattr(claimed, name)(), getattr(density, name)())
    torch.testing.assert_close(claimed.moment(5), density.moment(5))
    t = x[:4].clone().requires_grad_()
    assert gradcheck(claimed.cdf, t, **tolerances.GRADCHECK)


def test_a_spike_that_panels_miss_is_left_to_density() -> None:
    x = cases.column("far_outlier", 100)
    samples = torch.tensor(x).requires_grad_()
    density = torch_fit.fit(samples, 4)
    assert density.hard.tolist() == [0]
    exact = maxent.fit(x, 4)
    for t in (0.9, 1.0, 3.0, 4.9, 5.1):
        assert abs(float(density.cdf(t).detach()) - float(exact.cdf(t))) < tolerances.TENSOR_CDF
    (gradient,) = torch.autograd.grad(density.cdf(1.0), samples)
    assert (gradient == 0).all()


def test_deep_tails_keep_the_spikes_of_the_panels_they_start_from() -> None:
    x = cases.column("cauchy", 1000)
    pad = np.ptp(x)
    support = (float(x.min() - 0.01 * pad), float(x.max() + 2 * pad))
    density, exact = torch_fit.fit(torch.tensor(x), 6, support), maxent.fit(x, 6, support)
    a, b = exact.support()
    t = np.concatenate([x, np.linspace(a, b, 200)])
    deep = density.cdf(torch.tensor(t)).numpy()
    assert "deep" in density._tables
    assert np.abs(deep - exact.cdf(t)).max() < tolerances.TENSOR_CDF
