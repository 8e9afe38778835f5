"""Which attempts are made for a column, and how it ends: the same for every backend.

First all columns at once from a start that is close to most solutions. What fails is tried again
with the quadrature checked after every step, then from a Gaussian. At last the solution is followed
from the moments of the start, or else from those of the Gaussian, to the data's as far as it goes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from distfit_nn.maxent import basis
from distfit_nn.maxent.reference import Attempt, check
from distfit_nn.maxent.solution import RESIDUAL_TOLERANCE, Problem, Solution, Status

Array = NDArray[np.float64]
Minimiser = Callable[[Array, Array, list[Array], int], list[Attempt]]

QUICK_STEPS = 12  # Newton steps between two checks of the quadrature, in the first attempt
CONTINUATION_TRIALS = 60  # values of epsilon tried
LEAST_EPSILON = 1e-9  # from here the continuation jumps to 0
NEAR_ENOUGH = 1e-6  # no second path is tried where the first one ended below this epsilon
NEAR_ONE = 0.97  # epsilon shrinks by less than this: the continuation has come to a halt
CHUNK = 1024  # columns handed to the minimiser at once: bounds its memory


def residual(moments: Array, target: Array) -> float:
    """Return max_i abs(E_p z^i - m_i) / max(1, abs(m_i)) from the moments of h_1..h_k."""
    to_monomials = basis.monomials_in_hermite(len(target))[1:]
    wanted = to_monomials[:, 0] + to_monomials[:, 1:] @ target
    error = np.abs(to_monomials[:, 1:] @ (moments - target))
    return float(np.max(error / np.maximum(1, np.abs(wanted))))


def succeeded(attempt: Attempt, target: Array) -> bool:
    """Return whether the attempt converged to the moments asked for."""
    return attempt.converged and residual(attempt.moments, target) <= RESIDUAL_TOLERANCE


def follow(target: Array, edges: Array, start: Array, minimise: Minimiser) -> tuple[Attempt, float]:
    """Solve for (1 - epsilon) mu + epsilon nu, from epsilon = 1 as near to 0 as it goes.

    nu are the moments of the density that `start` gives, whose solution is known. Each value starts
    from the last one that converged; `factor` is what epsilon shrinks by.
    """
    best, best_epsilon = Attempt(start, edges), 1.0
    check(best)
    known = best.moments
    iterations = 0
    factor = 0.1
    for _ in range(CONTINUATION_TRIALS):
        epsilon = best_epsilon * factor
        if epsilon < LEAST_EPSILON:
            epsilon = 0.0
        wanted = target + epsilon * (known - target)
        attempt = minimise(best.coefficients[:, None], wanted[:, None], [best.edges], 1)[0]
        iterations += attempt.iterations
        if succeeded(attempt, wanted):
            best, best_epsilon = attempt, epsilon
            factor = max(factor**1.5, 0.02)
        else:
            factor = math.sqrt(factor)
        if best_epsilon == 0 or factor > NEAR_ONE:
            break
    best.iterations = iterations
    return best, best_epsilon


def carefully(
    target: Array, edges: Array, start: Array, minimise: Minimiser
) -> tuple[Attempt, float]:
    """Fit a column on which the quick attempt failed; return it and its epsilon.

    A column that no path leads to ends at the last point of the path that came nearest.
    """
    gaussian = basis.gaussian_start(len(target))
    iterations = 0
    for first in (start, gaussian):
        attempt = minimise(first[:, None], target[:, None], [edges], 1)[0]
        iterations += attempt.iterations
        if succeeded(attempt, target):
            attempt.iterations = iterations
            return attempt, 0.0
    best, nearest = follow(target, edges, start, minimise)
    iterations += best.iterations
    if nearest > NEAR_ENOUGH:
        attempt, epsilon = follow(target, edges, gaussian, minimise)
        iterations += attempt.iterations
        if epsilon < nearest:
            best, nearest = attempt, epsilon
    best.iterations = iterations
    return best, nearest


def solve(problem: Problem, minimise: Minimiser) -> Solution:
    """Fit all columns of the problem; every one of them ends OK or REGULARISED."""
    order, columns = problem.targets.shape
    ends = list(
        zip(problem.lower, problem.upper, problem.data_lower, problem.data_upper, strict=True)
    )
    fits: list[tuple[Attempt, float]] = []
    for first in range(0, columns, CHUNK):
        part = slice(first, first + CHUNK)
        targets = problem.targets[:, part]
        edges = [basis.first_edges(*column) for column in ends[part]]
        starts = [basis.decaying_start(order, *column[2:]) for column in ends[part]]
        attempts = minimise(np.stack(starts, axis=1), targets, edges, QUICK_STEPS)
        for attempt, target, panels, start in zip(attempts, targets.T, edges, starts, strict=True):
            if succeeded(attempt, target):
                fits.append((attempt, 0.0))
                continue
            fits.append(carefully(target, panels, start, minimise))
            fits[-1][0].iterations += attempt.iterations
    return _gather(problem, fits)


def _gather(problem: Problem, fits: list[tuple[Attempt, float]]) -> Solution:
    """Return the solution that holds the columns' attempts and epsilons."""
    attempts = [attempt for attempt, _ in fits]

    def each(name: str) -> Array:
        return np.array([getattr(attempt, name) for attempt in attempts])

    epsilon = np.array([epsilon for _, epsilon in fits])
    return Solution(
        coefficients=each("coefficients").T,
        coefficients_low=np.zeros_like(problem.targets),
        moments=each("moments").T,
        log_normaliser=each("log_normaliser"),
        lower=problem.lower,
        upper=problem.upper,
        data_lower=problem.data_lower,
        data_upper=problem.data_upper,
        status=np.where(epsilon == 0, Status.OK, Status.REGULARISED).astype(np.int8),
        iterations=each("iterations").astype(np.int64),
        residual=np.array(
            [residual(a.moments, t) for a, t in zip(attempts, problem.targets.T, strict=True)]
        ),
        decrement=each("decrement"),
        quadrature_error=each("quadrature_error"),
        epsilon=epsilon,
        edges=tuple(attempt.edges for attempt in attempts),
    )
