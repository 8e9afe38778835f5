"""Damped Newton on the dual problem, one column, in readable NumPy: the specification.

The density of largest entropy on [lower, upper] with E h_i = mu_i, i = 1..k, is
p = exp(sum_i lambda_i h_i - log Z), where lambda minimises log Z(lambda) - sum_i lambda_i mu_i:
strictly convex, with gradient E_p h - mu and Hessian Cov_p(h). `numba_kernel` finds the
same minimum faster, on panels of its own; the tests hold the two together.

Sources: L. R. Mead and N. Papanicolaou, J. Math. Phys. 25 (1984) 2404, the dual; R. V. Abramov,
J. Comput. Phys. 226 (2007) 621, polynomial bases for its stability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from distfit_nn.maxent import basis
from distfit_nn.maxent.solution import Fits, Problem

Array = NDArray[np.float64]

# Limits of the work. The kernel shares ARMIJO and the ridges; Numba compiles them in and does not
# see that they have changed: who changes one touches numba_kernel.py too.
DECREMENT_TOLERANCE = 1e-9  # Newton has converged below this; one full step more follows
ARMIJO = 1e-4  # share of the predicted decrease that a step must bring
TRIALS = 24  # step lengths tried before a line search gives up
RIDGE = 1e-14  # added to the unit diagonal of the scaled Hessian where Cholesky fails
MAX_RIDGE = 1e3  # the Hessian is not finite where this does not help
MAX_STEPS = 150  # Newton steps of one attempt
STEPS = 2  # between two checks of the quadrature

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


def minimise_one(first: Array, target: Array, edges: Array) -> Attempt:
    """Newton from `first`; after every few steps, panels that are not exact are cut in halves.

    A coarse rule may have no solution where the integral has one, and Newton then runs away.
    """
    attempt = Attempt(first, edges)
    stuck = False
    while True:
        if attempt.iterations < MAX_STEPS:
            stuck = newton(attempt, target, STEPS)
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


def start(target: Array) -> Array:
    """Return the multipliers of -a pi^2, pi orthonormal of degree k // 2 under the target.

    Its bumps lie where the Gauss rule of the target has its points; a = 1/2 is N(0,1) at order 2,
    and 1/4 leaves bumps at higher orders so wide that they flow together where they should.
    """
    order, degree = len(target), len(target) // 2
    out = np.zeros(order)
    if degree == 0:
        return out
    c = basis.products(order)
    means = np.append(1.0, target)
    gram = np.zeros((degree + 1, degree + 1))
    for i in range(degree + 1):
        for j in range(degree + 1):
            gram[i, j] = sum(c[i, j, r] * means[i + j - 2 * r] for r in range(min(i, j) + 1))
    pi = np.linalg.solve(np.linalg.cholesky(gram).T, np.eye(degree + 1)[degree])
    height = 0.5 if degree == 1 else 0.25
    square = np.zeros(order + 1)
    for i in range(degree + 1):
        for j in range(degree + 1):
            for r in range(min(i, j) + 1):
                square[i + j - 2 * r] += pi[i] * pi[j] * c[i, j, r]
    return -height * square[1:]


def minimise(problem: Problem) -> Fits:
    """Fit the columns of a problem, as far as float64 in the basis h leads."""
    order, columns = problem.targets.shape
    fits = Fits.empty(order, columns)
    ends = np.stack([problem.lower, problem.upper, problem.data_lower, problem.data_upper])
    with np.errstate(all="ignore"):  # an attempt that overflows is reported as not converged
        for j in range(columns):
            target = problem.targets[:, j]
            try:
                first = start(target)
            except np.linalg.LinAlgError:  # moments on the edge, as far as float64 can tell
                continue
            fits.write(j, minimise_one(first, target, basis.first_edges(*ends[:, j])))
    return fits
