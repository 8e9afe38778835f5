"""How a column ends: on every hard case, by a quadrature that is not the code's."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from distfit_nn.maxent import Density, basis, fit, fit_moments, reference, strategy
from distfit_nn.maxent.reference import Attempt
from distfit_nn.maxent.solution import Status
from tests import cases
from tests.maxent import oracle
from tests.tolerances import MAXENT_AGREEMENT, MAXENT_RESIDUAL

SUPPORTS = ("data", 1.0, 3.0, 10.0)


def confirm(density: Density, x: np.ndarray) -> None:
    """Mass 1, the data's moments and the entropy, by an independent quadrature."""
    dense = oracle.dense(density)
    assert dense.mean(np.ones(len(dense.nodes))) == pytest.approx(1.0, abs=MAXENT_AGREEMENT)
    assert oracle.residual(density, x) < MAXENT_RESIDUAL
    assert density.residual < MAXENT_RESIDUAL
    assert density.epsilon == 0
    # Entropy may err by lambda times the error of the moments.
    size = float(np.abs(density.solution.coefficients * density.solution.moments).sum())
    assert density.entropy() - np.log(density.scale[0]) == pytest.approx(
        dense.entropy(), abs=MAXENT_AGREEMENT * max(1.0, size)
    )


@pytest.mark.parametrize("support", SUPPORTS)
@pytest.mark.parametrize("name", cases.COLUMNS)
def test_hard_cases(name: str, support: float | str) -> None:
    x = cases.column(name)
    for order in (2, 4, 6):
        density = fit(x, order, support)
        assert density.status in (Status.OK, Status.REGULARISED)
        if density.status == Status.OK:
            confirm(density, x)
        else:
            assert cases.may_be_regularised(name, len(x), order, support)


@pytest.mark.parametrize("n", [5, 8])
@pytest.mark.parametrize("name", ["normal", "cauchy", "exponential", "u_shaped"])
def test_small_samples(name: str, n: int) -> None:
    for seed in range(4):
        x = cases.column(name, n, seed)
        for order in (2, 4, 6):
            density = fit(x, order)
            assert density.status == Status.OK
            confirm(density, x)


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("support", [1.01, 3.0, (-0.5, 8.0)])
def test_one_distinct_value_more_than_half_the_order_suffices(
    order: int, support: cases.Support
) -> None:
    x = cases.distinct(order // 2 + 1)
    density = fit(x, order, support)
    assert density.status == Status.OK
    confirm(density, x)


@pytest.mark.parametrize("support", ["data", (0.0, 1.0)])
@pytest.mark.parametrize("order", [2, 4, 6])
def test_u_shape_on_its_support(support: cases.Support, order: int) -> None:
    x = cases.column("u_shaped", 1000)
    density = fit(x, order, support)
    confirm(density, x)
    a, b = density.support()
    assert density.pdf(a + 1e-9) > density.pdf(0.5) < density.pdf(b - 1e-9)


@pytest.mark.parametrize("excess", [1e-1, 1e-3, 1e-5, 1e-6])
def test_moments_near_the_boundary(excess: float) -> None:
    """Kurtosis = 1 + skewness^2 + excess, by two atoms and a little noise on each."""
    p, width = 0.3, np.sqrt(excess) / 4
    x = np.repeat([0.0, 1.0], [700, 300]) + width * np.tile([-1.0, 1.0], 500)
    z = oracle.standardised(x)
    gap = float((z**4).mean() - 1 - (z**3).mean() ** 2)
    assert 0 < gap < 4 * excess / (p * (1 - p))
    density = fit(x, 4)
    assert density.status == Status.OK
    confirm(density, x)


def test_junks_line_is_no_obstacle() -> None:
    for support in (3.0, 10.0, 30.0, 100.0):
        x = cases.column("junk_line", 1000)
        density = fit(x, 4, support)
        confirm(density, x)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_uniform_moments_give_the_uniform(backend: str) -> None:
    for order in (2, 4, 6):
        density = fit_moments(1 / np.arange(2.0, order + 2), (0.0, 1.0), backend=backend)
        t = np.linspace(0.0, 1.0, 21)
        np.testing.assert_allclose(density.pdf(t), 1.0, rtol=1e-9)
        np.testing.assert_allclose(density.cdf(t), t, atol=MAXENT_AGREEMENT)
        assert density.entropy() == pytest.approx(0.0, abs=MAXENT_AGREEMENT)


class _Stub:
    """A minimiser that works only for targets drawn far enough towards the Gaussian."""

    def __init__(self, target: np.ndarray, least: float) -> None:
        self.target, self.least, self.calls = target, least, 0

    def __call__(
        self, starts: np.ndarray, targets: np.ndarray, edges: list[np.ndarray], steps: int
    ) -> list[Attempt]:
        self.calls += 1
        attempts = reference.minimise_columns(starts, targets, edges, steps)
        for attempt, wanted in zip(attempts, targets.T, strict=True):
            far = np.abs(wanted - self.target).max() > self.least * np.abs(self.target).max()
            attempt.converged &= bool(far)
        return attempts


def test_follow_comes_as_near_as_it_can_and_says_how_near() -> None:
    target = np.array([0.0, 0.0, 0.2, -0.2])
    edges = np.linspace(-12.0, 12.0, 13)
    stub = _Stub(target, 0.05)
    attempt, epsilon = strategy.follow(target, edges, basis.gaussian_start(4), stub)
    assert 0.05 <= epsilon < 0.1
    assert stub.calls <= strategy.CONTINUATION_TRIALS
    np.testing.assert_allclose(attempt.moments, (1 - epsilon) * target, atol=1e-9)
    free, epsilon = strategy.follow(
        target, edges, basis.gaussian_start(4), reference.minimise_columns
    )
    assert epsilon == 0
    np.testing.assert_allclose(free.moments, target, atol=1e-9)


def test_a_wide_support_is_reached_from_the_first_start() -> None:
    """No path from the Gaussian leads there: nearly all of its mass is near the mean."""
    x = cases.column("cauchy", 1000)
    density = fit(x, 6, 10.0)
    confirm(density, x)


def test_follow_without_any_success_is_the_gaussian() -> None:
    target = np.array([0.0, 0.0, 0.2, -0.2])
    edges = np.linspace(-12.0, 12.0, 13)
    gaussian = basis.gaussian_start(4)
    attempt, epsilon = strategy.follow(target, edges, gaussian, _Stub(target, 9.0))
    assert epsilon == 1.0
    np.testing.assert_allclose(attempt.coefficients, gaussian)
    np.testing.assert_allclose(attempt.moments, 0.0, atol=1e-9)


def test_regularised_columns_say_so_and_keep_their_word() -> None:
    """The moments are (1 - epsilon) mu + epsilon nu, nu those of the start on the support."""
    x = cases.column("far_outlier")
    density = fit(x, 6)
    assert density.status == Status.REGULARISED
    assert not density.ok
    assert 0 < density.epsilon < strategy.NEAR_ENOUGH
    dense = oracle.dense(density)
    z = oracle.in_coordinates_of(density, x).astype(float)
    target = oracle.hermite(z, 6).mean(axis=1)[1:]
    reached = dense.mean(oracle.hermite(dense.nodes, 6))
    assert reached[0] == pytest.approx(1.0, abs=1e-9)
    solution = density.solution
    ends = float(solution.data_lower[0]), float(solution.data_upper[0])
    u = basis.decaying_start(6, *ends) @ oracle.hermite(dense.nodes, 6)[1:]
    p = dense.weights * np.exp(u - u.max())
    known = (oracle.hermite(dense.nodes, 6)[1:] * p).sum(axis=1) / p.sum()
    wanted = target + density.epsilon * (known - target)
    np.testing.assert_allclose(reached[1:], wanted, rtol=MAXENT_RESIDUAL, atol=1e-8)
    points = np.linspace(*density.support(), 101)
    assert np.isfinite(density.pdf(points)).all()
    assert (np.diff(density.cdf(points)) >= 0).all()


def test_a_second_attempt_counts_all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    x = cases.column("bimodal")
    quick = fit(x, 6, backend="numpy").iterations
    calls: list[int] = []
    minimise = reference.minimise_columns

    def fails_first(*arguments: object) -> list[Attempt]:
        attempts = minimise(*arguments)  # type: ignore[arg-type]
        calls.append(attempts[0].iterations)
        if len(calls) == 1:
            attempts[0].converged = False
        return attempts

    monkeypatch.setattr(reference, "minimise_columns", fails_first)
    density = fit(x, 6, backend="numpy")
    assert density.status == Status.OK
    assert len(calls) == 2
    assert calls[0] == quick
    assert density.iterations == sum(calls)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(50, 7))
    whole = fit(x, 4).solution
    monkeypatch.setattr(strategy, "CHUNK", 3)
    np.testing.assert_array_equal(fit(x, 4).solution.coefficients, whole.coefficients)


def _count(problems: int, seed: int) -> Counter[str]:
    """Fit random problems; check each that says OK; count how they end."""
    ends: Counter[str] = Counter()
    for name, x, order, support in cases.random_problems(problems, seed):
        density = fit(x, order, support)
        ends[density.status.name] += 1
        if density.status == Status.OK:
            confirm(density, x)
        elif density.status == Status.DEGENERATE:
            assert cases.has_no_density(x, order, support)
            continue
        else:
            assert cases.may_be_regularised(name, len(x), order, support), (name, order, support)
        numbers = [density.entropy(), density.mean(), density.std(), density.mass_outside()]
        assert np.isfinite(numbers).all()
        assert np.isfinite(density.ppf([0.001, 0.5, 0.999])).all()
    return ends


def test_random_problems() -> None:
    ends = _count(60, seed=11)
    assert ends["OK"] >= 57


@pytest.mark.slow
def test_many_random_problems() -> None:
    ends = _count(300, seed=12)
    assert ends["OK"] >= 0.95 * 300


def test_ok_means_a_residual_of_1e_8() -> None:
    target = np.zeros(4)
    for error, good in ((0.9e-8, True), (1.1e-8, False)):
        # An error e in h_1 is one of e in E z and of 3 e in E z^3, which is 0 here.
        moments = np.array([error / 3, 0.0, 0.0, 0.0])
        attempt = Attempt(target, target, moments, converged=True)
        assert strategy.succeeded(attempt, target) == good
        attempt.converged = False
        assert not strategy.succeeded(attempt, target)
