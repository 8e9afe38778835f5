"""The batched kernel against the compiled one, an own quadrature, and itself column by column."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from distfit_nn import maxent
from distfit_nn.errors import InputError
from distfit_nn.maxent import basis, problem, reference
from distfit_nn.maxent.tensors import fit as torch_fit
from distfit_nn.maxent.tensors import kernel as torch_kernel
from distfit_nn.maxent.tensors import moments as torch_moments
from distfit_nn.maxent.tensors import panels as torch_panels
from distfit_nn.maxent.tensors.problem import Minimum, TensorProblem
from tests import cases, tolerances
from tests.devices import DEVICES, one_thread  # noqa: F401
from tests.maxent import oracle

EASY = [name for name in cases.COLUMNS if name not in ("cauchy", "far_outlier", "near_boundary")]
SOLVED = ("normal", "uniform", "post_relu", "integers", "float16", "t3")  # also at high order


def batch(names: list[str] | tuple[str, ...], n: int = 300) -> NDArray[np.float64]:
    """One column of each name."""
    return np.stack([cases.column(name, n, seed=j) for j, name in enumerate(names)], axis=1)


def problem_of(
    x: NDArray[np.float64], order: int, support: float | tuple[float, float] = 3.0
) -> TensorProblem:
    """The standardised problem of columns that have densities."""
    return torch_moments.from_samples(torch.tensor(x), order, support, False).problem


def own_residual(part: TensorProblem, found: Minimum, j: int) -> float:
    """The residual of column j by a quadrature with equal panels, in NumPy."""
    order = part.targets.shape[1]
    edges = torch.linspace(float(part.lower[j]), float(part.upper[j]), 3001, dtype=torch.float64)
    nodes, weights = basis.panel_nodes(edges.numpy())
    h = oracle.hermite(nodes.ravel(), order)
    log_p = found.coefficients[j].numpy() @ h[1:]
    mass = weights.ravel() * np.exp(log_p - log_p.max())
    moments = h[1:] @ mass / mass.sum()
    matrix = basis.monomials_in_hermite(order)[1:]
    wanted = matrix[:, 0] + matrix[:, 1:] @ part.targets[j].numpy()
    reached = matrix[:, 0] + matrix[:, 1:] @ moments
    return float(np.max(np.abs(reached - wanted) / np.maximum(1, np.abs(wanted))))


@pytest.mark.parametrize("order", range(1, 9))
def test_easy_columns_of_every_order_are_solved_without_help(order: int) -> None:
    part = problem_of(batch(SOLVED), order)
    found = torch_kernel.minimise_columns(part)
    assert found.solved.all()
    for j in range(len(SOLVED)):
        assert own_residual(part, found, j) <= tolerances.MAXENT_RESIDUAL
    assert (found.quadrature_error < 1e-9).all()


@pytest.mark.parametrize("order", [4, 6])
def test_float32_steps_reach_their_tolerance(order: int) -> None:
    part = problem_of(batch(EASY), order)
    found = torch_kernel.minimise_columns(part, torch.float32)
    assert found.solved.all()
    residuals = [own_residual(part, found, j) for j in range(len(EASY))]
    assert max(residuals) <= tolerances.FLOAT32_RESIDUAL * (1 + 1e-6)
    # They are steps in float32 indeed: those in float64 end far below.
    assert max(residuals) > tolerances.MAXENT_RESIDUAL


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("order", [2, 4, 6])
def test_agrees_with_the_compiled_backend(order: int, device: str) -> None:
    x = batch(EASY)
    tensors = torch_fit.fit(torch.tensor(x, device=device), order, backend="torch")
    arrays = maxent.fit(x, order)
    assert bool(tensors.ok.all())
    assert tensors.cdf(torch.tensor(x, device=device)).device.type == device
    cdf = tensors.cdf(torch.tensor(x, device=device)).cpu().numpy()
    assert np.abs(cdf - arrays.cdf(x)).max() < tolerances.TENSOR_CDF


def test_float32_and_float64_agree() -> None:
    x = batch(cases.WELL_CONDITIONED).astype(np.float32)
    single = torch_fit.fit(torch.tensor(x), 6, backend="torch")
    double = torch_fit.fit(torch.tensor(x, dtype=torch.float64), 6, backend="torch")
    assert single.dtype == torch.float32
    points = torch.tensor(x, dtype=torch.float64)
    assert (single.cdf(points) - double.cdf(points)).abs().max() < tolerances.FLOAT32_CDF


def test_hard_columns_are_handed_on_and_disturb_nobody() -> None:
    names = ["normal", "far_outlier", "cauchy", "uniform", "near_boundary"]
    x = batch(names)
    together = torch_fit.fit(torch.tensor(x), 6, backend="torch")
    arrays = maxent.fit(x, 6)
    assert together.numpy().solution.status.tolist() == arrays.solution.status.tolist()
    for j in (0, 3):
        alone = torch_fit.fit(torch.tensor(x[:, j]), 6, backend="torch")
        points = torch.tensor(x[:, j])
        change = (together[j].cdf(points) - alone.cdf(points)).abs().max()
        assert change < tolerances.MAXENT_CDF


def test_a_batch_is_its_columns_one_by_one() -> None:
    part = problem_of(batch(SOLVED), 4)
    together = torch_kernel.minimise_columns(part)
    for j in range(len(SOLVED)):
        alone = torch_kernel.minimise_columns(part[j : j + 1])
        change = (alone.moments[0] - together.moments[j]).abs().max()
        assert change < tolerances.MAXENT_POLISHED


def test_small_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    part = problem_of(batch(SOLVED), 4)
    whole = torch_kernel.minimise_columns(part)
    monkeypatch.setitem(torch_kernel.WORK_BYTES, "cpu", 1)
    small = torch_kernel.minimise_columns(part)
    assert (small.moments - whole.moments).abs().max() < tolerances.MAXENT_POLISHED


def test_nothing_is_made_on_another_device() -> None:
    # Tensors of the meta device hold no values; one made on the CPU cannot meet them.
    like = torch.empty(50, 6, dtype=torch.float64, device="meta")
    ends = (like[:, 0],) * 4
    part = TensorProblem(like, *ends)
    edges = torch_panels.first_edges(part.lower, part.upper, 16)
    steps = torch_kernel._Batch(torch_kernel.bumps(like), like, edges, torch.float32)
    steps.advance()
    steps.keep(torch.empty(20, dtype=torch.int64, device="meta"))
    steps.advance()
    answer, errors, limit = torch_kernel.check(like, edges)
    finer = torch_panels.cut(edges, torch_panels.parts_for(errors, limit), 40)
    given_moments = torch_moments.from_moments(like.T, (0.0, 1.0))
    for tensor in (steps.point, answer.moments, finer, given_moments.status):
        assert tensor.device.type == "meta"


def test_products_of_hermite_polynomials() -> None:
    order, z = 12, np.linspace(-3, 3, 41)
    h = oracle.hermite(z, 2 * order)
    left = h[1 : order + 1, None] * h[None, 1 : order + 1]
    right = np.tensordot(torch_kernel._products(order).reshape(-1, order, order), h, ([0], [0]))
    size = np.tensordot(
        torch_kernel._products(order).reshape(-1, order, order), np.abs(h), ([0], [0])
    )
    assert np.all(np.abs(left - right) <= 100 * tolerances.eps() * size)


@pytest.mark.parametrize("order", range(1, 13))
def test_the_start_is_that_of_the_reference(order: int) -> None:
    part = problem_of(batch(("uniform", "exponential")), order)
    start = torch_kernel.bumps(part.targets)
    for j in range(2):
        expected = reference.start(part.targets[j].numpy())
        rounding = tolerances.MAXENT_START * np.abs(expected).max(initial=1.0)
        np.testing.assert_allclose(start[j].numpy(), expected, rtol=0, atol=rounding)


def test_targets_without_a_start_get_the_uniform_density() -> None:
    impossible = torch.tensor([[0.0, -2.0, 0.0, 0.0]], dtype=torch.float64)
    assert not torch_kernel.bumps(impossible).any()


# Panels


@given(
    st.floats(-200, -0.1),
    st.floats(0.1, 200),
    st.lists(st.integers(1, 4), min_size=5, max_size=5),
    st.integers(0, 7),
)
def test_cut_keeps_edges_and_gives_the_number_asked_for(
    lower: float, upper: float, parts: list[int], spare: int
) -> None:
    ends = (torch.tensor([value], dtype=torch.float64) for value in (lower, upper))
    edges = torch_panels.first_edges(*ends, 5)
    assert edges[0, 0] == lower
    assert edges[0, -1] == upper
    wanted = sum(parts) + spare
    new = torch_panels.cut(edges, torch.tensor([parts]), wanted)
    assert new.shape == (1, wanted + 1)
    assert (new.diff() > 0).all()
    assert set(edges[0].tolist()) <= set(new[0].tolist())


@pytest.mark.parametrize("order", [1, 2, 7])
def test_series_and_its_slope(order: int, rng: np.random.Generator) -> None:
    coefficients, z = rng.normal(size=(2, order)), rng.normal(size=(2, 9))
    value = torch_panels.series(torch.tensor(coefficients), torch.tensor(z)).numpy()
    slope = torch_panels.slope(torch.tensor(coefficients), torch.tensor(z)).numpy()
    for j in range(2):
        h = oracle.hermite(z[j], order)
        np.testing.assert_allclose(value[j], coefficients[j] @ h[1:], rtol=1e-12, atol=1e-12)
        root = np.sqrt(np.arange(1, order + 1))
        np.testing.assert_allclose(slope[j], (coefficients[j] * root) @ h[:-1], atol=1e-12)


# Moments


@pytest.mark.parametrize("order", [1, 2, 5, 12])
@pytest.mark.parametrize("weighted", [False, True])
def test_standardised_as_in_numpy(order: int, weighted: bool, rng: np.random.Generator) -> None:
    names = ("normal", "uniform", "exponential", "tiny", "huge", "integers")
    x = batch(names)
    weights = rng.integers(0, 4, len(x)).astype(float) if weighted else None
    given_weights = None if weights is None else torch.tensor(weights)
    ours = torch_moments.from_samples(torch.tensor(x), order, 3.0, False, given_weights)
    theirs = problem.from_samples(x, order, 3.0, False, weights)
    assert ours.status.tolist() == theirs.status.tolist()
    np.testing.assert_allclose(ours.scale.numpy(), theirs.scale, rtol=tolerances.tensor_moments())
    shift = np.abs(ours.loc.numpy() - theirs.loc) / theirs.scale
    assert shift.max() < tolerances.tensor_moments()
    for name in ("lower", "upper", "data_lower", "data_upper"):
        np.testing.assert_allclose(
            getattr(ours.problem, name).numpy(),
            getattr(theirs.problem, name),
            rtol=tolerances.tensor_moments(),
        )
    expected = theirs.problem.targets.T
    error = np.abs(ours.problem.targets.numpy() - expected) / np.maximum(1, np.abs(expected))
    assert error.max() < tolerances.tensor_moments() * 1.5**order


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_moments_of_narrow_dtypes_are_taken_in_float64(dtype: torch.dtype) -> None:
    x = torch.tensor(1000 + batch(("normal", "uniform"))).to(dtype)
    narrow = torch_moments.from_samples(x, 4, 3.0, False)
    wide = torch_moments.from_samples(x.to(torch.float64), 4, 3.0, False)
    torch.testing.assert_close(narrow.problem.targets, wide.problem.targets, rtol=0, atol=0)


def test_blocks_and_strides_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.tensor(batch(SOLVED))
    whole = torch_moments.from_samples(x, 6, 3.0, False)
    monkeypatch.setattr(torch_panels, "CPU_BLOCK", 64)
    for other in (x, x.T.contiguous().T, torch.stack([x, x], dim=1)[:, 0]):
        blocked = torch_moments.from_samples(other, 6, 3.0, False)
        change = (blocked.problem.targets - whole.problem.targets).abs()
        assert bool((change <= tolerances.tensor_moments() * (1 + change)).all())


@pytest.mark.parametrize("order", range(1, 9))
@pytest.mark.parametrize("support", [3.0, 1.0, (0.0, 5.0), (-1.0, 4.0)])
def test_status_of_few_values(order: int, support: float | tuple[float, float]) -> None:
    x = np.stack([cases.distinct(values) for values in (1, 2, 3, 4, 5)], axis=1)
    x = np.concatenate([x, np.where(x == 0, np.nan, x)], axis=1)
    for omit in (False, True):
        ours = torch_moments.from_samples(torch.tensor(x), order, support, omit)
        theirs = problem.from_samples(x, order, support, omit)
        assert ours.status.tolist() == theirs.status.tolist()


@pytest.mark.parametrize("order", range(1, 9))
def test_problem_of_raw_moments(order: int, rng: np.random.Generator) -> None:
    samples = rng.uniform(-1.5, 2.5, size=(50, 4))
    samples[:, 1] = np.where(samples[:, 1] > 0, 2.0, -1.0)  # two values
    raw = np.stack([(samples**i).mean(axis=0) for i in range(1, order + 1)])
    raw[-1, 3] = 5.0 ** (order + 1)  # impossible
    ours = torch_moments.from_moments(torch.tensor(raw), (-2.0, 3.0))
    theirs = problem.from_moments(raw, (-2.0, 3.0))
    assert ours.status.tolist() == theirs.status.tolist()
    ok = theirs.status == maxent.Status.OK
    assert ok[0]
    assert ok[2]
    # Raw moments have lost digits: 5^k / (std 4)^k of them, at most.
    np.testing.assert_allclose(
        ours.problem.targets.numpy()[ok], theirs.problem.targets.T[ok], atol=1e-16 * 30.0**order
    )


def test_data_outside_a_support_are_refused() -> None:
    with pytest.raises(InputError, match="support must hold the data"):
        torch_moments.from_samples(torch.tensor([[0.0], [2.0]]), 2, (0.5, 3.0), False)


def test_no_warning_and_no_nan_where_nothing_can_be_fitted() -> None:
    x = torch.tensor([[math.nan, 1.0, math.inf], [1.0, 1.0, 2.0], [2.0, 1.0, 3.0]])
    density = torch_fit.fit(x, 2, backend="torch")
    names = [maxent.Status(int(status)).name for status in density.status]
    assert names == ["INVALID", "DEGENERATE", "INVALID"]


def test_chunks_of_the_samples_of_a_long_column() -> None:
    x = torch.zeros(1000, 1, dtype=torch.float64)
    x[7::100, 0] = torch.arange(10.0, dtype=torch.float64)  # values that a coarse look misses
    assert torch_moments.from_samples(x, 12, 3.0, False).status.tolist() == [maxent.Status.OK]
