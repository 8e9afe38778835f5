"""The damped Newton of `reference`, compiled, as a loop over columns.

The functions do what their twins in `reference` do, in the same order; the mathematics is explained
there. Vectors of length k + 1 start with the constant h_0, so that lambda_0 and the
target's first entry are not used.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from distfit_nn.maxent import basis, reference
from distfit_nn.maxent.reference import Attempt

Array = NDArray[np.float64]

# Compiled code takes globals as constants.
NODES = basis.NODES_PER_PANEL
MAX_PANELS = basis.MAX_PANELS
PANEL_TOLERANCE = basis.PANEL_TOLERANCE
DECREMENT_TOLERANCE = reference.DECREMENT_TOLERANCE
ARMIJO = reference.ARMIJO
TRIALS = reference.TRIALS
RIDGE = reference.RIDGE
MAX_RIDGE = reference.MAX_RIDGE
MAX_STEPS = reference.MAX_STEPS
EPS = reference.EPS
TINY = float(np.finfo(float).tiny)

# Rows of the work array of vectors, (5, k + 1).
MEAN, GRADIENT, DIRECTION, CANDIDATE, SCALE = range(5)

compiled = njit(cache=True, nogil=True, error_model="numpy")


@compiled
def _fill(edges, panels, rule, h, weights):  # type: ignore[no-untyped-def]
    """Write the basis (nodes, k + 1) and the weights of the composite rule; return the nodes."""
    order = h.shape[1] - 1
    for j in range(panels):
        half = (edges[j + 1] - edges[j]) / 2
        middle = (edges[j + 1] + edges[j]) / 2
        for q in range(NODES):
            node = j * NODES + q
            z = middle + half * rule[0, q]
            weights[node] = half * rule[1, q]
            h[node, 0] = 1.0
            h[node, 1] = z
            for i in range(1, order):
                low = math.sqrt(i) * h[node, i - 1]
                h[node, i + 1] = (z * h[node, i] - low) / math.sqrt(i + 1)
    return panels * NODES


@compiled
def _evaluate(coefficients, h, weights, nodes, p):  # type: ignore[no-untyped-def]
    """Write the probability of each node to p; return log Z."""
    top = -np.inf
    for node in range(nodes):
        u = 0.0
        for i in range(1, h.shape[1]):
            u += coefficients[i] * h[node, i]
        p[node] = u
        top = max(top, u)
    total = 0.0
    for node in range(nodes):
        p[node] = weights[node] * math.exp(p[node] - top)
        total += p[node]
    for node in range(nodes):
        p[node] /= total
    return top + math.log(total)


@compiled
def _covariance(h, p, nodes, target, vectors, hessian):  # type: ignore[no-untyped-def]
    """Write mean, gradient and Hessian, the latter from centred values."""
    size = h.shape[1]
    for i in range(1, size):
        vectors[MEAN, i] = 0.0
        for j in range(1, i + 1):
            hessian[i, j] = 0.0
    for node in range(nodes):
        for i in range(1, size):
            vectors[MEAN, i] += p[node] * h[node, i]
    for node in range(nodes):
        for i in range(1, size):
            share = p[node] * (h[node, i] - vectors[MEAN, i])
            for j in range(1, i + 1):
                hessian[i, j] += share * (h[node, j] - vectors[MEAN, j])
    for i in range(1, size):
        vectors[GRADIENT, i] = vectors[MEAN, i] - target[i]


@compiled
def _cholesky(hessian, vectors, ridge, factor):  # type: ignore[no-untyped-def]
    """Factor the unit-diagonal Hessian plus ridge; return whether it is positive definite."""
    for i in range(1, len(hessian)):
        for j in range(1, i + 1):
            value = hessian[i, j] * vectors[SCALE, i] * vectors[SCALE, j]
            if i == j:
                value += ridge
            for m in range(1, j):
                value -= factor[i, m] * factor[j, m]
            if i != j:
                factor[i, j] = value / factor[j, j]
            elif value > 0.0:
                factor[i, i] = math.sqrt(value)
            else:
                return False
    return True


@compiled
def _newton_direction(vectors, hessian, factor):  # type: ignore[no-untyped-def]
    """Write the Newton direction; return whether the Hessian could be factored."""
    size = len(hessian)
    for i in range(1, size):
        vectors[SCALE, i] = 1 / math.sqrt(max(hessian[i, i], TINY))
    ridge = 0.0
    while not _cholesky(hessian, vectors, ridge, factor):
        ridge = max(RIDGE, 100 * ridge)
        if not ridge <= MAX_RIDGE:
            return False
    for i in range(1, size):
        value = -vectors[GRADIENT, i] * vectors[SCALE, i]
        for m in range(1, i):
            value -= factor[i, m] * vectors[DIRECTION, m]
        vectors[DIRECTION, i] = value / factor[i, i]
    for i in range(size - 1, 0, -1):
        value = vectors[DIRECTION, i]
        for m in range(i + 1, size):
            value -= factor[m, i] * vectors[DIRECTION, m]
        vectors[DIRECTION, i] = value / factor[i, i]
    for i in range(1, size):
        vectors[DIRECTION, i] *= vectors[SCALE, i]
    return True


@compiled
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(1, len(a)):
        total += a[i] * b[i]
    return total


@compiled
def _newton(  # type: ignore[no-untyped-def]
    coefficients, target, steps, nodes, h, weights, p, vectors, hessian, factor
):
    """Take at most `steps` steps; return (steps taken, decrement, converged, stuck)."""
    decrement = np.inf
    for step in range(steps):
        log_z = _evaluate(coefficients, h, weights, nodes, p)
        _covariance(h, p, nodes, target, vectors, hessian)
        if not _newton_direction(vectors, hessian, factor):
            return step, decrement, False, True
        slope = _dot(vectors[GRADIENT], vectors[DIRECTION])
        decrement = math.sqrt(max(0.0, -slope))
        if decrement < DECREMENT_TOLERANCE:
            for i in range(1, len(target)):
                coefficients[i] += vectors[DIRECTION, i]
            return step + 1, decrement, True, False
        linear = _dot(coefficients, target)
        noise = 8 * EPS * (abs(log_z) + abs(linear))
        accepted = False
        t = 1.0
        for trial in range(TRIALS):
            for i in range(1, len(target)):
                vectors[CANDIDATE, i] = coefficients[i] + t * vectors[DIRECTION, i]
            value = _evaluate(vectors[CANDIDATE], h, weights, nodes, p)
            value -= _dot(vectors[CANDIDATE], target)
            if value <= log_z - linear + ARMIJO * t * slope + noise:
                accepted = True
                break
            t *= 0.5 if trial < 3 else 0.25
        if not accepted:
            return step + 1, decrement, False, True
        for i in range(1, len(target)):
            coefficients[i] = vectors[CANDIDATE, i]
    return steps, decrement, False, False


@compiled
def _check(coefficients, edges, panels, rule, h, weights, p, moments, errors):  # type: ignore[no-untyped-def]
    """Write E_p h by the halved panels and the panels' errors; return log Z and the noise."""
    size = len(coefficients)
    fine_edges = np.empty(2 * panels + 1)
    for j in range(panels):
        fine_edges[2 * j] = edges[j]
        fine_edges[2 * j + 1] = (edges[j] + edges[j + 1]) / 2
    fine_edges[2 * panels] = edges[panels]
    nodes = _fill(fine_edges, 2 * panels, rule, h, weights)
    log_z = _evaluate(coefficients, h, weights, nodes, p)
    change = np.zeros((panels, size))
    scale = np.zeros(size)
    moments[:] = 0.0
    noise = 0.0
    for node in range(nodes):
        for i in range(size):
            term = p[node] * h[node, i]
            change[node // (2 * NODES), i] -= term
            moments[i] += term
            scale[i] += abs(term)
            if i > 0:
                noise += 4 * EPS * abs(coefficients[i] * term)
    nodes = _fill(edges, panels, rule, h, weights)
    for node in range(nodes):
        u = min(_dot(coefficients, h[node]) - log_z, 700.0)
        for i in range(size):
            change[node // NODES, i] += weights[node] * math.exp(u) * h[node, i]
    for j in range(panels):
        errors[j] = 0.0
        for i in range(size):
            errors[j] = max(errors[j], abs(change[j, i]) / max(1.0, scale[i]))
    return log_z, noise


@compiled
def _split(edges, panels, limit, errors):  # type: ignore[no-untyped-def]
    """Halve the panels whose error exceeds `limit`; return their number, or 0 without room."""
    extra = 0
    for j in range(panels):
        if errors[j] > limit:
            extra += 1
    if panels + extra > MAX_PANELS:
        return 0
    to = panels + extra
    for j in range(panels - 1, -1, -1):
        right = edges[j + 1]
        edges[to] = right
        to -= 1
        if errors[j] > limit:
            edges[to] = (edges[j] + right) / 2
            to -= 1
    return panels + extra


@compiled
def _minimise_columns(starts, targets, edges, panels, steps, rule, moments, report):  # type: ignore[no-untyped-def]
    """Fit d columns, in place.

    starts, targets, moments : (d, k + 1), multipliers in and out, moments wanted and reached;
    edges, panels : (d, MAX_PANELS + 1), (d,), the panels and their numbers, in and out;
    report : (d, 5), log Z, largest panel error, iterations, decrement, converged.
    """
    columns, size = starts.shape
    room = 2 * MAX_PANELS * NODES
    h, weights, p = np.empty((room, size)), np.empty(room), np.empty(room)
    vectors, errors = np.empty((5, size)), np.empty(MAX_PANELS)
    hessian, factor = np.empty((size, size)), np.empty((size, size))
    for c in range(columns):
        iterations, decrement, converged, stuck = 0, np.inf, False, False
        while True:
            if iterations < MAX_STEPS:
                nodes = _fill(edges[c], panels[c], rule, h, weights)
                taken, decrement, converged, stuck = _newton(
                    starts[c], targets[c], steps, nodes, h, weights, p, vectors, hessian, factor
                )
                iterations += taken
            log_z, noise = _check(
                starts[c], edges[c], panels[c], rule, h, weights, p, moments[c], errors
            )
            finite = math.isfinite(log_z) and math.isfinite(noise)
            if not finite or iterations >= MAX_STEPS:
                break
            more = _split(edges[c], panels[c], max(PANEL_TOLERANCE, noise), errors)
            if more == 0 or (more == panels[c] and (converged or stuck)):
                converged = converged and more > 0
                break
            panels[c] = more
        report[c, 0] = log_z
        report[c, 1] = 0.0
        for j in range(panels[c]):
            report[c, 1] = max(report[c, 1], errors[j])
        report[c, 2] = iterations
        report[c, 3] = decrement
        report[c, 4] = converged and finite


def minimise_columns(
    starts: Array, targets: Array, edges: list[Array], steps: int
) -> list[Attempt]:
    """Fit d columns, as `reference.minimise_columns` does: starts and targets (k, d)."""
    order, columns = targets.shape
    coefficients = np.concatenate([np.zeros((columns, 1)), starts.T], axis=1)
    wanted = np.concatenate([np.ones((columns, 1)), targets.T], axis=1)
    panels = np.array([len(column) - 1 for column in edges])
    padded = np.empty((columns, MAX_PANELS + 1))
    for row, column in zip(padded, edges, strict=True):
        row[: len(column)] = column
    moments = np.empty((columns, order + 1))
    report = np.empty((columns, 5))
    rule = np.array(basis.legendre_rule())
    _minimise_columns(coefficients, wanted, padded, panels, steps, rule, moments, report)
    return [
        Attempt(
            coefficients[j, 1:],
            padded[j, : panels[j] + 1],
            moments[j, 1:],
            log_normaliser=report[j, 0],
            quadrature_error=report[j, 1],
            iterations=int(report[j, 2]),
            decrement=report[j, 3],
            converged=bool(report[j, 4]),
        )
        for j in range(columns)
    ]
