"""Damped Newton on the dual problem, one column, in readable NumPy: the specification.

The density of largest entropy on [lower, upper] with E h_i = mu_i, i = 1..k, is
p = exp(sum_i lambda_i h_i - log Z), where lambda minimises log Z(lambda) - sum_i lambda_i mu_i:
strictly convex, with gradient E_p h - mu and Hessian Cov_p(h). `numba_kernel` does the same
operations in the same order; the tests hold the two together.

Sources: L. R. Mead and N. Papanicolaou, J. Math. Phys. 25 (1984) 2404, the dual; R. V. Abramov,
J. Comput. Phys. 226 (2007) 621, polynomial bases for its stability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from distfit_nn.maxent import basis

Array = NDArray[np.float64]

# Limits of the work, shared with the kernel. Numba compiles them in and does not see that they have
# changed: who changes one, or one of `basis`, touches numba_kernel.py too.
DECREMENT_TOLERANCE = 1e-9  # Newton has converged below this; one full step more follows
ARMIJO = 1e-4  # share of the predicted decrease that a step must bring
TRIALS = 24  # step lengths tried before a line search gives up
RIDGE = 1e-14  # added to the unit diagonal of the scaled Hessian where Cholesky fails
MAX_RIDGE = 1e3  # the Hessian is not finite where this does not help
MAX_STEPS = 150  # Newton steps of one attempt

EPS = float(np.finfo(float).eps)


@dataclass
class Attempt:
    """Where an iteration stands, and what the quadrature with every panel halved says of it."""

    coefficients: Array  # lambda_1..lambda_k
    edges: Array
    moments: Array = field(default_factory=lambda: np.empty(0))  # E_p h_1, ..., E_p h_k
    log_normaliser: float = math.nan
    quadrature_error: float = math.inf
    iterations: int = 0
    decrement: float = math.inf
    converged: bool = False


def evaluate(coefficients: Array, h: Array, weights: Array) -> tuple[float, Array]:
    """Return log Z and the probability of each node, for the basis h (k + 1, nodes)."""
    u = coefficients @ h[1:]
    top = u.max()
    mass = weights * np.exp(u - top)
    total = mass.sum()
    return top + math.log(total), mass / total


def newton_direction(gradient: Array, hessian: Array) -> Array | None:
    """Solve H s = -g by Cholesky on the unit-diagonal H, with the least ridge that it needs."""
    scale = 1 / np.sqrt(np.maximum(np.diag(hessian), np.finfo(float).tiny))
    scaled = hessian * np.outer(scale, scale)
    if not np.isfinite(scaled).all():
        return None
    ridge = 0.0
    while ridge <= MAX_RIDGE:
        try:
            factor = np.linalg.cholesky(scaled + ridge * np.eye(len(scale)))
        except np.linalg.LinAlgError:
            ridge = max(RIDGE, 100 * ridge)
            continue
        half = np.linalg.solve(factor, -gradient * scale)
        return np.linalg.solve(factor.T, half) * scale
    return None


def step_length(trial: int) -> float:
    """Return the length of the given trial of the line search: halved thrice, then quartered."""
    return 0.5**trial if trial <= 3 else 0.125 * 0.25 ** (trial - 3)


def newton(attempt: Attempt, target: Array, steps: int) -> bool:
    """Take at most `steps` damped Newton steps on fixed panels; return whether it got stuck."""
    nodes, weights = (grid.ravel() for grid in basis.panel_nodes(attempt.edges))
    h = basis.hermite(nodes, len(target))
    for _ in range(steps):
        log_z, p = evaluate(attempt.coefficients, h, weights)
        mean = h[1:] @ p
        centred = h[1:] - mean[:, None]
        gradient = mean - target
        direction = newton_direction(gradient, (centred * p) @ centred.T)
        if direction is None:
            return True
        slope = float(gradient @ direction)
        attempt.decrement = math.sqrt(max(0.0, -slope))
        attempt.iterations += 1
        attempt.converged = attempt.decrement < DECREMENT_TOLERANCE
        if attempt.converged:
            attempt.coefficients = attempt.coefficients + direction
            return False
        linear = float(attempt.coefficients @ target)
        # Below this the value of the dual is rounding, and no decrease can be seen.
        noise = 8 * EPS * (abs(log_z) + abs(linear))
        for trial in range(TRIALS):
            t = step_length(trial)
            candidate = attempt.coefficients + t * direction
            value = evaluate(candidate, h, weights)[0] - float(candidate @ target)
            if value <= log_z - linear + ARMIJO * t * slope + noise:
                attempt.coefficients = candidate
                break
        else:
            return True
    return False


def check(attempt: Attempt) -> tuple[Array, float]:
    """Compare every panel with its two halves; write moments, log Z and error to `attempt`.

    Returns
    -------
    errors : (panels,)
        Largest change of one of the integrals of p h_i, relative to max(1, E_p abs(h_i)).
    noise : float
        What rounding in sum_i lambda_i h_i does to these integrals: no halving mends that.
    """
    coefficients, edges = attempt.coefficients, attempt.edges
    order = len(coefficients)
    fine_nodes, fine_weights = basis.panel_nodes(basis.halved(edges, np.ones(len(edges) - 1, bool)))
    nodes, weights = basis.panel_nodes(edges)
    fine_h = basis.hermite(fine_nodes, order)
    h = basis.hermite(nodes, order)
    log_z, flat = evaluate(coefficients, fine_h.reshape(order + 1, -1), fine_weights.ravel())
    fine_p = flat.reshape(fine_nodes.shape)
    p = weights * np.exp(np.minimum(np.tensordot(coefficients, h[1:], 1) - log_z, 700.0))
    fine = (fine_h * fine_p).sum(-1)
    change = np.abs((h * p).sum(-1) - fine[:, 0::2] - fine[:, 1::2])
    scale = np.maximum(1, (np.abs(fine_h) * fine_p).sum((-1, -2)))
    errors = (change / scale[:, None]).max(0)
    size = np.tensordot(np.abs(coefficients), np.abs(fine_h[1:]), 1)
    attempt.moments = fine[1:].sum(-1)
    attempt.log_normaliser = log_z
    attempt.quadrature_error = float(errors.max())
    return errors, 4 * EPS * float((fine_p * size).sum())


def minimise(start: Array, target: Array, edges: Array, steps: int) -> Attempt:
    """Newton from `start`; every `steps` steps, panels that are not exact are cut in halves.

    A coarse rule may have no solution where the integral has one, and Newton then runs away: hard
    columns need steps = 1, while 12 costs the easy ones nothing.
    """
    attempt = Attempt(start, edges)
    stuck = False
    while True:
        if attempt.iterations < MAX_STEPS:
            stuck = newton(attempt, target, steps)
        errors, noise = check(attempt)
        if not (math.isfinite(attempt.log_normaliser) and math.isfinite(noise)):
            attempt.converged = False
            return attempt
        if attempt.iterations >= MAX_STEPS:
            return attempt
        split = errors > max(basis.PANEL_TOLERANCE, noise)
        if not split.any() and (attempt.converged or stuck):
            return attempt
        if len(edges) - 1 + split.sum() > basis.MAX_PANELS:
            attempt.converged = False
            return attempt
        edges = attempt.edges = basis.halved(edges, split)


def minimise_columns(
    starts: Array, targets: Array, edges: list[Array], steps: int
) -> list[Attempt]:
    """Apply `minimise` to d columns: starts and targets (k, d), one array of edges for each."""
    with np.errstate(all="ignore"):  # an attempt that overflows is reported as not converged
        return [
            minimise(start, target, column_edges, steps)
            for start, target, column_edges in zip(starts.T, targets.T, edges, strict=True)
        ]
