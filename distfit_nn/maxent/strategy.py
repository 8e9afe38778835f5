"""How a column comes to its end, whatever the backend: first all together, then the hard ones.

A minimiser takes all columns at once. What it leaves, or what does not have the moments asked for,
goes to the hard solver, one column at a time; what that cannot do exactly ends REGULARISED.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from distfit_nn.maxent import hard
from distfit_nn.maxent.gauss_rule import Rule
from distfit_nn.maxent.solution import (
    Fits,
    Problem,
    Solution,
    Status,
    agrees,
    errors_in_powers,
    largest,
)

Minimiser = Callable[[Problem], Fits]


def solve(
    problem: Problem, rule: Callable[[int], Rule], minimise: Minimiser, threads: int = 1
) -> Solution:
    """Fit all columns of the problem; every one of them ends OK or REGULARISED.

    `rule(j)` returns the Gauss rule of the targets of column j.
    """
    fits = minimise(problem)
    errors = errors_in_powers(fits.moments, problem.targets)
    off = largest(*errors)
    solution = Solution(
        coefficients=fits.coefficients,
        coefficients_low=np.zeros_like(fits.coefficients),
        moments=fits.moments,
        log_normaliser=fits.log_normaliser,
        lower=problem.lower,
        upper=problem.upper,
        data_lower=problem.data_lower,
        data_upper=problem.data_upper,
        status=np.full(len(off), Status.OK, np.int8),
        iterations=fits.iterations,
        residual=off,
        decrement=fits.decrement,
        quadrature_error=fits.quadrature_error,
        epsilon=np.zeros(len(off)),
    )
    left: list[int] = np.flatnonzero(~(fits.converged & agrees(*errors))).tolist()

    def one(j: int) -> None:
        _write(solution, j, hard.solve(rule(j), problem.column(j)))

    if threads > 1 and len(left) > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, left))
    else:
        for j in left:
            one(j)
    return solution


def _write(solution: Solution, j: int, attempt: hard.Attempt) -> None:
    """Write the hard solver's answer to column j, in place."""
    high, low, log_z = attempt.multipliers()
    solution.coefficients[:, j], solution.coefficients_low[:, j] = high, low
    solution.moments[:, j], solution.log_normaliser[j] = attempt.moments, log_z
    solution.status[j] = Status.OK if attempt.epsilon == 0.0 else Status.REGULARISED
    solution.iterations[j] += attempt.iterations
    solution.residual[j] = attempt.residual
    solution.decrement[j] = attempt.decrement
    solution.quadrature_error[j] = attempt.quadrature_error
    solution.epsilon[j] = attempt.epsilon
