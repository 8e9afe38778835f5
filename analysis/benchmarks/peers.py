"""What others use for the same fit: SciPy's trust-exact and the PyPI package maxentropy.

Both get the standardised problem, the basis that we use and a fixed Gauss-Legendre rule on the
support, and are warm and vectorised over its nodes. trust-exact has the analytic Hessian and our
own start; maxentropy has the rule's weights for a prior, and BFGS, the best of its algorithms here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from distfit_nn.maxent import basis, newton_kernel
from distfit_nn.maxent.solution import Problem, Solution

Array = NDArray[np.float64]
NODES_PER_ORDER = 60  # with fewer the wide supports of heavy tails are integrated too coarsely
GRADIENT = 1e-6  # of trust-exact, where ours goes to a Newton decrement of 1e-9


@dataclass(frozen=True)
class Column:
    """One column as the peers take it: targets, start, basis (order, nodes) and weights."""

    target: Array
    start: Array
    h: Array
    log_weights: Array


def columns(problem: Problem) -> list[Column]:
    """Return the columns of a problem, with our kernel's start."""
    order, count = problem.targets.shape
    nodes, weights = np.polynomial.legendre.leggauss(NODES_PER_ORDER * order)
    system = newton_kernel.new_system(order)
    out = []
    for j in range(count):
        start = np.empty(order + 1)
        target = np.append(1.0, problem.targets[:, j])
        newton_kernel.start(target, system, start)
        lower, upper = problem.lower[j], problem.upper[j]
        half = (upper - lower) / 2
        h = basis.hermite((lower + half) + half * nodes, order)[1:]
        out.append(Column(target[1:], start[1:], h, np.log(half * weights)))
    return out


def dual(coefficients: Array, column: Column) -> tuple[float, Array, Array]:
    """Return the dual, its gradient and its Hessian on the fixed rule."""
    u = coefficients @ column.h + column.log_weights
    top = u.max()
    p = np.exp(u - top)
    total = p.sum()
    p /= total
    mean = column.h @ p
    return (
        top + np.log(total) - coefficients @ column.target,
        mean - column.target,
        (column.h * p) @ column.h.T - np.outer(mean, mean),
    )


def trust_exact(column: Column) -> Array:
    """Return the multipliers that SciPy finds."""
    return optimize.minimize(
        lambda c: dual(c, column)[:2],
        column.start,
        jac=True,
        hess=lambda c: dual(c, column)[2],
        method="trust-exact",
        options={"gtol": GRADIENT, "maxiter": 500},
    ).x


def maxentropy(column: Column) -> Array:
    """Return the multipliers that the package maxentropy finds; ImportError without it."""
    from maxentropy import MinDivergenceModel

    model = MinDivergenceModel(
        column.h,
        np.arange(column.h.shape[1]),
        prior_log_pdf=lambda nodes: column.log_weights[nodes],
        matrix_format="ndarray",
        algorithm="BFGS",
    )
    model.fit(column.target[None])
    return np.asarray(model.params)


def agreement(found: list[Array], given: list[Column], solution: Solution) -> dict[str, float]:
    """Return how far a peer's answers are from ours: of the columns that met their moments.

    The dual tells whether the fixed rule suffices, the cdf (on its nodes) whether the peer came to
    the same density.
    """
    duals, cdfs, met = [], [], 0
    for j, (coefficients, column) in enumerate(zip(found, given, strict=True)):
        value, gradient, _ = dual(coefficients, column)
        if not np.abs(gradient).max() < 1e-5:
            continue
        met += 1
        ours = solution.coefficients[:, j]
        masses = [np.exp(c @ column.h + column.log_weights) for c in (coefficients, ours)]
        cumulated = [np.cumsum(mass) / mass.sum() for mass in masses]
        duals.append(abs(value - (solution.log_normaliser[j] - ours @ column.target)))
        cdfs.append(np.abs(cumulated[0] - cumulated[1]).max())
    return {
        "moments_met_to_1e-5": f"{met} of {len(given)}",
        "largest_difference_of_dual": float(f"{max(duals):.1e}"),
        "median_difference_of_cdf": float(f"{np.median(cdfs):.1e}"),
        "largest_difference_of_cdf": float(f"{max(cdfs):.1e}"),
    }
