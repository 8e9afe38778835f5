"""Targets: y = F^-1(Phi(z)) of every kind, against SciPy's and torch's own quantiles."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import ndtr, ndtri
from torch import Tensor, nn

import distfit_nn as dn
from distfit_nn.errors import InputError
from distfit_nn.nn.targets import BIMODAL, GaussianMixture, as_target
from distfit_nn.nn.targets.quantile_table import MOST_PARTS, PER_UNIT, TableTarget
from tests import tolerances
from tests.devices import one_thread  # noqa: F401
from tests.nn.target_cases import COLUMNS, blocks, mixture_oracle, seeded

SAMPLE = np.random.default_rng(7).gamma(2.0, size=(4000, COLUMNS))


def upper_or_lower(law: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Return the quantiles at z of SciPy, from the tail that is small."""
    return lambda z: np.where(z > 0, law.isf(ndtr(-np.abs(z))), law.ppf(ndtr(-np.abs(z))))


LAWS: dict[str, tuple[Any, Callable[[np.ndarray], np.ndarray]]] = {
    "normal of torch": (torch.distributions.Normal(1.0, 2.0), lambda z: 1 + 2 * z),
    "gamma": (stats.gamma(2.0), upper_or_lower(stats.gamma(2.0))),
    "Cauchy": (stats.cauchy(), upper_or_lower(stats.cauchy())),
    "Laplace": (stats.laplace(), upper_or_lower(stats.laplace())),
    "lognormal": (stats.lognorm(1.0), upper_or_lower(stats.lognorm(1.0))),
    "arcsine": (stats.beta(0.5, 0.5), upper_or_lower(stats.beta(0.5, 0.5))),
    "bimodal": ("bimodal", mixture_oracle(*BIMODAL)),
    "uniform": ("uniform", upper_or_lower(stats.uniform())),
    "fixed mixture": (
        GaussianMixture([0.3, 0.7], [-1.0, 2.0], [0.5, 1.5]),
        mixture_oracle([0.3, 0.7], [-1.0, 2.0], [0.5, 1.5]),
    ),
    "learnable mixture": (
        GaussianMixture([0.3, 0.7], [-1.0, 2.0], [0.5, 1.5], learnable=True, dtype=torch.float64),
        mixture_oracle([0.3, 0.7], [-1.0, 2.0], [0.5, 1.5]),
    ),
}


WHOLE = {name: law for name, law in LAWS.items() if name not in ("uniform", "learnable mixture")}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LAWS)
def test_values_are_quantiles_in_both_tails(name: str, dtype: torch.dtype) -> None:
    value, oracle = LAWS[name]
    target = as_target(value, COLUMNS, dtype=dtype)
    z = np.float64(np.float32(np.random.default_rng(0).uniform(-8.4, 8.4, 300)))
    y = target(blocks(z, dtype))
    assert y.dtype == dtype
    true = oracle(z)
    spread = float(oracle(np.asarray(1.0)) - oracle(np.asarray(-1.0))) / 2
    slack = tolerances.TARGET_TABLE * np.maximum(np.abs(true), spread)
    for j in range(COLUMNS):
        assert (np.abs(y[:, j, 0].detach().double().numpy() - true) <= slack).all()


def test_the_normal_law_itself_is_no_target() -> None:
    assert as_target("normal", COLUMNS) is None


def test_the_bimodal_shape_is_that_of_the_thesis() -> None:
    weights, means, scales = (np.asarray(part) for part in BIMODAL)
    assert weights @ means == pytest.approx(0, abs=1e-15)
    assert weights @ (scales**2 + means**2) == pytest.approx(1, abs=1e-15)
    t = np.linspace(-3, 4, 7001)
    density = GaussianMixture(*BIMODAL).pdf(t)
    peaks = np.flatnonzero((density[1:-1] > density[:-2]) & (density[1:-1] > density[2:])) + 1
    (low, high), valley = t[peaks], density[peaks[0] : peaks[1]].min()
    assert -1 < low < 0 < high
    assert density[peaks[0]] > 3 * density[peaks[1]] > 3 * 1.5 * valley
    widths = [np.ptp(t[(density > density[p] / 2) & (np.sign(t) == np.sign(t[p]))]) for p in peaks]
    assert widths[0] < widths[1] / 2


@pytest.mark.parametrize("tensor", [False, True])
def test_fitted_densities_column_by_column(tensor: bool) -> None:
    density = dn.maxent.fit(torch.as_tensor(SAMPLE) if tensor else SAMPLE, order=4)
    target = as_target(density, COLUMNS, dtype=torch.float64)
    z = np.linspace(-4, 4, 81)
    y = target(blocks(z))[:, :, 0].numpy()
    true = np.asarray(dn.maxent.fit(SAMPLE, order=4).ppf(ndtr(z)))
    np.testing.assert_allclose(y, true, rtol=tolerances.TARGET_TABLE, atol=tolerances.TARGET_TABLE)
    assert np.ptp(true, axis=1).min() > 0  # the columns differ


def test_moments_and_one_density_for_all_columns() -> None:
    density = dn.maxent.fit_moments([0.0, 1.0, 0.5, 4.0], support=(-5, 5))
    y = as_target(density, COLUMNS, dtype=torch.float64)(blocks([-1.0, 0.3, 2.0]))
    true = density.ppf(ndtr([-1.0, 0.3, 2.0]))
    np.testing.assert_allclose(y[:, 2, 0], true, rtol=tolerances.TARGET_TABLE)


def a_gamma_each(columns: int) -> Any:
    return stats.gamma(np.linspace(1, 5, columns))


SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "(N, C)": lambda z: z.reshape(20, 6, 7)[:, :, :1],
    "(N, C, L)": lambda z: z.reshape(20, 6, 7),
    "channels last": lambda z: z.reshape(20, 7, 6).transpose(1, 2),
    "strided": lambda z: z.reshape(20, 6, 7)[::2, :, ::3],
    "expanded": lambda z: z.reshape(20, 6, 7)[:, :, :1].expand(20, 6, 5),
    "other order": lambda z: z.reshape(7, 6, 20).permute(2, 1, 0),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("columns", [1, 6])
def test_all_layouts_and_both_paths_agree(shape: str, columns: int) -> None:
    law = a_gamma_each(6) if columns == 6 else stats.gamma(2.0)
    target = as_target(law, 6, dtype=torch.float64)
    z = SHAPES[shape](torch.randn(840, dtype=torch.float64, generator=seeded()))
    y = target(z)
    true = (a_gamma_each(6) if columns == 6 else law).ppf(ndtr(z.transpose(1, 2).numpy()))
    slack = {"rtol": tolerances.TARGET_TABLE, "atol": tolerances.TARGET_TABLE}
    np.testing.assert_allclose(y.transpose(1, 2), true, **slack)
    torch.testing.assert_close(target._by_operators(z, target.table), y, rtol=1e-14, atol=0)
    assert y.shape == z.shape


def test_many_rows_are_shared_by_threads() -> None:
    target = as_target(a_gamma_each(6), 6)
    z = torch.randn(40_000, 6, 1, generator=seeded())
    parts = torch.cat([target(part) for part in z.split(1000)])
    torch.testing.assert_close(target(z), parts, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["bimodal", "uniform", "learnable mixture", "gamma"])
def test_gradient_in_z(name: str) -> None:
    target = as_target(LAWS[name][0], COLUMNS, dtype=torch.float64)
    z = torch.randn(7, COLUMNS, 2, dtype=torch.float64, generator=seeded()).requires_grad_()
    assert torch.autograd.gradcheck(target, z)
    far = torch.full((2, COLUMNS, 1), 9.3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(target, (far,), atol=1e-4)


@pytest.mark.parametrize("name", ["bimodal", "learnable mixture"])
def test_a_second_derivative_is_an_error(name: str) -> None:
    target = as_target(LAWS[name][0], COLUMNS, dtype=torch.float64)
    z = torch.randn(4, COLUMNS, 1, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(target(z).sum(), z, create_graph=True)
    with pytest.raises(RuntimeError, match="once, not twice"):
        slope.sum().backward()


@pytest.mark.parametrize("name", ["bimodal", "uniform", "learnable mixture", "Cauchy"])
def test_what_is_not_finite(name: str) -> None:
    target = as_target(LAWS[name][0], 1)
    z = torch.tensor([-torch.inf, -1e9, -8.6, -8.5, 8.5, 8.6, 1e9, torch.inf]).reshape(-1, 1, 1)
    y = target(z).detach()
    assert not y.isnan().any()
    assert (y.diff(dim=0) >= 0).all()
    mixed = torch.tensor([0.3, torch.nan, -0.2]).reshape(-1, 1, 1).requires_grad_()
    y = target(mixed)
    assert y.isnan().flatten().tolist() == [False, True, False]
    y.sum().backward()
    assert mixed.grad[[0, 2]].isfinite().all()
    if isinstance(target, TableTarget):
        assert target._by_operators(mixed, target.table).isnan().flatten().tolist()[1]


def test_what_jumps_becomes_a_narrow_ramp() -> None:
    law = stats.rv_histogram((np.array([2.0, 0.0, 5.0, 0.0, 3.0]), np.arange(6.0)), density=False)
    target = as_target(law, 1, dtype=torch.float64)
    z = np.random.default_rng(0).normal(size=3000)
    y = target(torch.as_tensor(z)[:, None, None]).flatten().numpy()
    steps = stats.norm.ppf([0.2, 0.7])
    away = np.abs(z[:, None] - steps).min(axis=1) > 4 / (PER_UNIT * MOST_PARTS)
    np.testing.assert_allclose(y[away], law.ppf(ndtr(z[away])), atol=1e-6)


@pytest.mark.parametrize("value", ["bimodal", stats.gamma(2.0), "uniform"])
def test_fixed_targets_hold_nothing_of_a_state_dict(value: Any) -> None:
    target = as_target(value, COLUMNS)
    assert target.state_dict() == {}
    assert not list(target.parameters())
    assert not target.learnable


def outputs_equal(one: nn.Module, other: nn.Module, z: Tensor) -> None:
    torch.testing.assert_close(one(z), other(z), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["bimodal", "learnable mixture", "gamma"])
def test_copies_moves_and_files(name: str) -> None:
    target = as_target(LAWS[name][0], COLUMNS, dtype=torch.float64)
    z = blocks([-2.0, 0.1, 1.5])
    outputs_equal(copy.deepcopy(target), target, z)
    file = io.BytesIO()
    torch.save(target, file)
    file.seek(0)
    outputs_equal(torch.load(file, weights_only=False), target, z)
    other = as_target(LAWS[name][0], COLUMNS)
    other.load_state_dict(target.state_dict(), strict=True)
    outputs_equal(as_target(target, COLUMNS, dtype=torch.float64), target, z)


@pytest.mark.parametrize("name", ["bimodal", "gamma"])
def test_narrow_dtypes_leave_the_table_exact(name: str) -> None:
    target = as_target(LAWS[name][0], COLUMNS)
    z = blocks([-2.0, 0.1, 1.5], torch.float32)
    before = target(z)
    outputs_equal(copy.deepcopy(target).half().float(), target, z)
    assert target.half().table.dtype == torch.float32
    torch.testing.assert_close(target(z), before, rtol=0, atol=0)
    double = target.double()
    exact = as_target(LAWS[name][0], COLUMNS, dtype=torch.float64)
    outputs_equal(double, exact, z.double())
    torch.testing.assert_close(target.to("meta").to_empty(device="cpu").float()(z), before)


def test_a_table_is_no_buffer_and_follows_its_input() -> None:
    target = as_target("bimodal", COLUMNS)
    z = blocks([-2.0, 0.1, 1.5], torch.float32)
    before = target(z)
    assert not list(target.buffers())
    with torch.device("meta"):
        made = as_target("bimodal", COLUMNS)
        fixed = GaussianMixture(*BIMODAL)
        of_fixed = as_target(fixed, COLUMNS)
        of_torch = as_target(torch.distributions.Normal(torch.zeros(1, device="cpu"), 1.0), COLUMNS)
        assert made(torch.empty(4, COLUMNS, 1)).is_meta
    for one in (made, of_fixed, target.to("meta")):
        torch.testing.assert_close(one(z), before, rtol=0, atol=0)
    torch.testing.assert_close(of_torch(z), z, rtol=1e-6, atol=1e-6)
    true = mixture_oracle(*BIMODAL)(ndtri([0.1, 0.6]))
    np.testing.assert_allclose(fixed.ppf([0.1, 0.6]), true, rtol=1e-5)
    with pytest.raises(InputError, match="on the meta device"), torch.device("meta"):
        as_target(torch.distributions.Normal(0.0, 1.0, validate_args=False), COLUMNS)


PRINTED: dict[str, tuple[Any, str]] = {
    "bimodal": ("bimodal", "TableTarget(bimodal)"),
    "of SciPy": (stats.norm(), "TableTarget(scipy norm)"),
    "one each": (stats.gamma(np.arange(1.0, 4.0)), "TableTarget(scipy gamma, columns=3)"),
    "of torch": (torch.distributions.Laplace(0.0, 1.0), "TableTarget(torch Laplace)"),
    "fixed mixture": (GaussianMixture(*BIMODAL), "TableTarget(GaussianMixture)"),
}


@pytest.mark.parametrize("name", PRINTED)
def test_a_target_prints_what_it_is_of(name: str) -> None:
    value, printed = PRINTED[name]
    assert repr(as_target(value, COLUMNS)) == printed


def test_features_of_torch_distributions() -> None:
    law = torch.distributions.Laplace(torch.arange(3.0), 1.0)
    y = as_target(law, COLUMNS, dtype=torch.float64)(blocks([-1.5, 0.5, 4.0]))[:, :, 0]
    true = stats.laplace(np.arange(3.0)).ppf(ndtr([[-1.5], [0.5], [4.0]]))
    np.testing.assert_allclose(y, true, rtol=1e-6, atol=1e-6)


def test_compile_and_export() -> None:
    z = torch.randn(16, COLUMNS, 2)
    for name in ("bimodal", "learnable mixture"):
        target = as_target(LAWS[name][0], COLUMNS, dtype=torch.float32)
        with torch.no_grad():
            for strict in (False, True):
                exported = torch.export.export(target, (z,), strict=strict).module()
                torch.testing.assert_close(exported(z), target(z), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:torch.searchsorted")
def test_transforms_of_functions() -> None:
    z = torch.randn(5, COLUMNS, 1, dtype=torch.float64, generator=seeded())
    for name in ("bimodal", "learnable mixture"):
        target = as_target(LAWS[name][0], COLUMNS, dtype=torch.float64)
        slope = torch.func.grad(lambda part, own=target: own(part).sum())(z)
        exact = torch.autograd.grad(target(z.requires_grad_()).sum(), z)[0]
        torch.testing.assert_close(slope, exact)
        z = z.detach()
        with torch.no_grad():
            rows = torch.func.vmap(target)(z[:, None])[:, 0]
            torch.testing.assert_close(rows, target(z))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bimodal", "learnable mixture"])
def test_compile(name: str) -> None:
    z = torch.randn(16, COLUMNS, 2)
    target = as_target(LAWS[name][0], COLUMNS, dtype=torch.float32)
    compiled = torch.compile(target, fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(z), target(z), rtol=1e-5, atol=1e-5)


NOT_TARGETS: dict[str, tuple[Any, str]] = {
    "unknown name": ("gauss", 'must be "normal", "uniform", "bimodal"'),
    "a number": (3.0, "with cdf and ppf"),
    "None": (None, "with cdf and ppf"),
    "a class": (GaussianMixture, "with cdf and ppf"),
    "no ppf": (SimpleNamespace(cdf=np.sin), "with cdf and ppf"),
    "columns": (stats.gamma(np.array([1.0, 2.0])), "3 for as many features, got 2"),
    "columns of torch": (torch.distributions.Normal(torch.zeros(2), 1.0), "got 2"),
    "columns of a mixture": (GaussianMixture(*BIMODAL, True, num_features=2), "got 2"),
    "no cdf of torch": (torch.distributions.VonMises(0.0, 1.0), "must have cdf"),
    "no median": (stats.norm(np.nan, 1), "finite median"),
    "discrete": (stats.poisson(3), "a density, got the discrete scipy poisson"),
    "a coin": (stats.bernoulli(0.5), "a density, got the discrete scipy bernoulli"),
    "discrete of torch": (torch.distributions.Poisson(3.0), "the discrete torch Poisson"),
    "a coin of torch": (torch.distributions.Bernoulli(0.5), "the discrete torch Bernoulli"),
    "points of one column": (
        SimpleNamespace(
            cdf=lambda t: np.stack([ndtr(t[:, 0]), stats.poisson(3).cdf(t[:, 1]), t[:, 2]], axis=1),
            ppf=lambda q: (
                np.stack([ndtri(q), stats.poisson(3).ppf(q), q], axis=-1)
                if np.ndim(q) < 2
                else np.stack([ndtri(q[:, 0]), stats.poisson(3).ppf(q[:, 1]), q[:, 2]], axis=1)
            ),
        ),
        r"with cdf\(ppf\(q\)\) = q, got .* in column 1",
    ),
    "no density": (dn.maxent.fit(np.zeros((50, 1)), order=4), "a density in every column"),
}


@pytest.mark.parametrize("name", NOT_TARGETS)
def test_what_is_no_target_is_told(name: str) -> None:
    value, message = NOT_TARGETS[name]
    with pytest.raises(InputError, match=message):
        as_target(value, COLUMNS)
