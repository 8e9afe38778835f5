"""Damped Newton on the dual, compiled: what solves nearly every column.

It does what `reference` does, where the mathematics is explained, with the least work: one column
at a time, its nodes side by side in memory (`simd`). A pass over the nodes costs k products for
log p, an exponential, and 2k products for the moments to order 2k, from which the Hessian follows
by h_i h_j = sum_r c_ijr h_{i+j-2r}. Vectors of length k + 1 start with the constant h_0.
"""

from __future__ import annotations

import math
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import get_num_threads, njit
from numpy.typing import NDArray

from distfit_nn.maxent import basis, reference, simd, tables
from distfit_nn.maxent.solution import Fits, Problem

Array = NDArray[np.float64]

# Compiled code takes globals as constants, and its cache does not see that they have changed.
NODES = 32  # of a panel: fewer panels cost less to lay
QUADRATURE = 1e-12  # bound on the relative error of a panel
RADII = (3.5, 5.0, 8.0, 14.0)  # of the ellipses that give it
MAX_PANELS = 40  # of one column; one that needs more is left to the hard solver
ARMIJO = reference.ARMIJO
RIDGE, MAX_RIDGE = reference.RIDGE, reference.MAX_RIDGE
EPS = reference.EPS
TINY = float(np.finfo(float).tiny)
STACK = 40  # halvings
SENTINELS = 64  # points of weight 0 that tell where panels that were left out begin to matter
DEAD = 36.0  # the mass that the rule leaves out is below exp(-DEAD)
HIGH = 40.0  # log p that much above log Z would be a spike narrower than exp(-HIGH)
MAX_STEPS, TRIALS = 60, 24
DECREMENT_TOLERANCE = 1e-9
# Squared decrements, negative: above the first a full step is taken as it is, above the second it
# is followed by a rule of its own: it should be the last.
NEAR, LAST = -1e-6, -1e-12
SEEN = 4.0  # how far below the uniform density a step may raise what was left out; or twice ...
MOST_NOISE = 1e-11  # of log p, beyond which its multipliers need more than float64
CHUNK = 256  # columns that a thread takes at a time

# Rows of the work array of vectors, and columns of the report.
MEAN, GRADIENT, DIRECTION, CANDIDATE, SCALE = range(5)
LOG_Z, STEPS, DECREMENT, SUCCESS = range(4)

# A quadrature rule with what is evaluated on it, and other work arrays of one thread.
Rule = namedtuple("Rule", ["weights", "h", "u", "p"])
Work = namedtuple(
    "Work",
    ["stack", "places", "guards", "before", "moments", "vectors", "hessian", "factor"],
)

compiled = njit(cache=True, nogil=True, error_model="numpy")


def new_rule(order: int) -> Rule:
    """Return room for a rule."""
    nodes = MAX_PANELS * NODES + SENTINELS
    return Rule(np.empty(nodes), np.empty((2 * order + 1, nodes)), np.empty(nodes), np.empty(nodes))


def new_work(order: int) -> Work:
    """Return work arrays for one thread."""
    size = order + 1
    return Work(
        np.empty((STACK + 1, size)),
        np.empty((STACK, 2)),
        np.empty(SENTINELS),
        np.empty(SENTINELS),
        np.empty(2 * order + 1),
        np.empty((5, size)),
        np.empty((size, size)),
        np.empty((size, size)),
    )


@compiled
def _shift(stack, row, offset, ratio, to):  # type: ignore[no-untyped-def]
    """Write the polynomial in `row` as one in s to row `to`, t = offset + ratio s."""
    size = stack.shape[1]
    for i in range(size):
        stack[to, i] = stack[row, i]
    for i in range(size - 1):
        for j in range(size - 2, i - 1, -1):
            stack[to, j] += offset * stack[to, j + 1]
    power = 1.0
    for i in range(1, size):
        power *= ratio
        stack[to, i] *= power


@compiled
def _suits(stack, row, floor, ellipses):  # type: ignore[no-untyped-def]
    """Return 0 for a panel below the floor, 1 for one that the rule integrates, else -1."""
    size = stack.shape[1]
    wide = 0.0
    for i in range(1, size):
        wide += abs(stack[row, i])
    if stack[row, 0] + wide < floor:
        return 0
    for e in range(len(ellipses)):
        if wide * ellipses[e, 1] <= ellipses[e, 0]:
            total = 0.0
            for i in range(1, size):
                total += abs(stack[row, i]) * ellipses[e, i]
            if total <= ellipses[e, 0]:
                return 1
    return -1


@compiled
def _lay(coefficients, log_z, most, ends, tables, work, rule):  # type: ignore[no-untyped-def]
    """Lay a rule that is exact for exp(sum_i lambda_i h_i); return its nodes and its sentinels.

    [lower, upper] is halved until a bound on the local coefficients says that the rule is exact on
    a panel, or that exp(DEAD) times the panel's mass is less than Z. Sentinels, after the nodes,
    stand at the ends and in the panels left out. 0 nodes without room, or where log p
    is so high somewhere that log Z must be above `most`.
    """
    to_powers, ellipses, legendre = tables
    size = len(coefficients)
    stack, places, z = work.stack, work.places, rule.h[1]
    for j in range(size):
        value = 0.0
        for i in range(max(1, j), size):
            value += coefficients[i] * to_powers[i, j]
        stack[STACK, j] = value
    floor = log_z - math.log(ends[1] - ends[0]) - DEAD
    places[0, 0], places[0, 1] = 0.5 * (ends[0] + ends[1]), 0.5 * (ends[1] - ends[0])
    _shift(stack, STACK, places[0, 0], places[0, 1], 0)
    top, node, guards = 0, 0, 2
    work.guards[0], work.guards[1] = ends[0], ends[1]
    while top >= 0:
        middle, half = places[top, 0], places[top, 1]
        if stack[top, 0] > most + HIGH:
            return 0, 0
        fit = _suits(stack, top, floor, ellipses)
        if fit == 1:
            if node + NODES + SENTINELS > len(z):
                return 0, 0
            for q in range(NODES):
                rule.weights[node] = half * legendre[1, q]
                z[node] = middle + half * legendre[0, q]
                node += 1
        elif fit == 0:
            if guards + 2 <= SENTINELS:
                work.guards[guards] = middle - 0.5 * half
                work.guards[guards + 1] = middle + 0.5 * half
                guards += 2
        else:
            if top + 2 >= STACK:
                return 0, 0
            # The left half takes the parent's place, the right one is next.
            _shift(stack, top, 0.5, 0.5, top + 1)
            _shift(stack, top, -0.5, 0.5, STACK)
            for i in range(size):
                stack[top, i] = stack[STACK, i]
            places[top, 0], places[top, 1] = middle - 0.5 * half, 0.5 * half
            places[top + 1, 0], places[top + 1, 1] = middle + 0.5 * half, 0.5 * half
            top += 1
            continue
        top -= 1
    for guard in range(guards):
        z[node + guard] = work.guards[guard]
    simd.fill_basis(rule.h, node + guards, 2 * size - 2)
    return node, guards


@compiled
def _log_z(coefficients, shift, nodes, guards, rule):  # type: ignore[no-untyped-def]
    """Write weights exp(u - shift) to p; return its sum, log Z, and u at its highest sentinel."""
    simd.log_density(coefficients, rule.h, nodes + guards, rule.u)
    simd.weigh(rule.u, shift, rule.weights, nodes, rule.p)
    total = simd.total(rule.p, nodes)
    highest = -np.inf
    for guard in range(nodes, nodes + guards):
        highest = max(highest, rule.u[guard])
    return total, shift + math.log(total) if 1e-250 < total < 1e250 else np.inf, highest


@compiled
def _hessian(target, total, nodes, products, rule, work):  # type: ignore[no-untyped-def]
    """Write mean, gradient and Hessian from the moments to order 2k."""
    size = len(target)
    m, vectors, hessian = work.moments, work.vectors, work.hessian
    simd.moments(rule.p, rule.h, nodes, m)
    m[0] = 1.0
    for i in range(1, 2 * size - 1):
        m[i] /= total
    for i in range(1, size):
        vectors[MEAN, i] = m[i]
        vectors[GRADIENT, i] = m[i] - target[i]
        for j in range(1, i + 1):
            value = -m[i] * m[j]
            for r in range(j + 1):
                value += products[i, j, r] * m[i + j - 2 * r]
            hessian[i, j] = value


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
                factor[i, j] = value * factor[j, j]
            elif value > 0.0:
                factor[i, i] = 1.0 / math.sqrt(value)  # the diagonal is kept inverted
            else:
                return False
    return True


@compiled
def _factor(hessian, vectors, factor):  # type: ignore[no-untyped-def]
    """Factor the Hessian with the least ridge that it needs; return whether one suffices."""
    for i in range(1, len(hessian)):
        vectors[SCALE, i] = 1.0 / math.sqrt(max(hessian[i, i], TINY))
    ridge = 0.0
    while not _cholesky(hessian, vectors, ridge, factor):
        ridge = max(RIDGE, 100.0 * ridge)
        if not ridge <= MAX_RIDGE:
            return False
    return True


@compiled
def _direction(vectors, factor):  # type: ignore[no-untyped-def]
    """Write -H^-1 gradient; return its product with the gradient."""
    size = len(factor)
    direction = vectors[DIRECTION]
    for i in range(1, size):
        value = -vectors[GRADIENT, i] * vectors[SCALE, i]
        for m in range(1, i):
            value -= factor[i, m] * direction[m]
        direction[i] = value * factor[i, i]
    slope = 0.0
    for i in range(1, size):
        slope -= direction[i] * direction[i]
    for i in range(size - 1, 0, -1):
        value = direction[i]
        for m in range(i + 1, size):
            value -= factor[m, i] * direction[m]
        direction[i] = value * factor[i, i]
    for i in range(1, size):
        direction[i] *= vectors[SCALE, i]
    return slope


@compiled
def _dot(a, b):  # type: ignore[no-untyped-def]
    out = 0.0
    for i in range(1, len(a)):
        out += a[i] * b[i]
    return out


@compiled
def _start(target, products, work, coefficients):  # type: ignore[no-untyped-def]
    """Write the multipliers of -a pi^2, pi the last orthonormal polynomial of degree k // 2.

    Its density has a bump at each node of a Gauss rule of the target, wide enough to be smooth.
    Returns whether the target has such a polynomial.
    """
    size = len(target)
    degree = (size - 1) // 2
    gram, factor, vectors = work.hessian, work.factor, work.vectors
    coefficients[:] = 0.0
    if degree == 0:
        return True
    for i in range(1, degree + 1):
        for j in range(1, i + 1):
            value = -target[i] * target[j]
            for r in range(j + 1):
                value += products[i, j, r] * target[i + j - 2 * r]
            gram[i, j] = value
        vectors[SCALE, i] = 1.0
    part = gram[: degree + 1, : degree + 1]
    if not _cholesky(part, vectors, 0.0, factor):
        return False
    pi = vectors[CANDIDATE]
    pi[degree] = factor[degree, degree]
    for i in range(degree - 1, 0, -1):
        value = 0.0
        for m in range(i + 1, degree + 1):
            value -= factor[m, i] * pi[m]
        pi[i] = value * factor[i, i]
    pi[0] = 0.0
    for i in range(1, degree + 1):
        pi[0] -= pi[i] * target[i]
    height = 0.5 if degree == 1 else 0.25
    for i in range(degree + 1):
        for j in range(degree + 1):
            for r in range(min(i, j) + 1):
                coefficients[i + j - 2 * r] -= height * pi[i] * pi[j] * products[i, j, r]
    return math.isfinite(_dot(coefficients, coefficients))


@compiled
def _to_wall(nodes, guards, level, work, rule):  # type: ignore[no-untyped-def]
    """Return the share of a step after which the first sentinel reaches `level`; at most 1."""
    share = 1.0
    for guard in range(guards):
        before, after = work.before[guard], rule.u[nodes + guard]
        if before < level and after > level + 0.5:
            share = min(share, (level - before) / (after - before))
    return share


@compiled
def _search(  # type: ignore[no-untyped-def]
    coefficients, target, slope, log_z, nodes, guards, fresh, ends, tables, work, rule, other
):
    """Find a step length; return (nodes, sentinels, sum of p, log Z, fresh) at the candidate.

    A rule does not see where a candidate rises that was low before: where a sentinel is high, the
    step is cut to where it begins to matter, and the candidate gets a rule of its own, in `other`
    (fresh). Where no step succeeds and the rule is not fresh, the candidate is the point itself, on
    a rule of its own. 0 nodes without success.
    """
    size = len(target)
    candidate, direction = work.vectors[CANDIDATE], work.vectors[DIRECTION]
    ahead = _dot(direction, target)
    noise = 8.0 * EPS * (abs(log_z) + abs(_dot(coefficients, target)))
    even = -math.log(ends[1] - ends[0])  # log p of the uniform density
    for guard in range(guards):
        work.before[guard] = rule.u[nodes + guard]
    length, halvings, level = 1.0, 0, even - SEEN
    for _ in range(TRIALS):
        for i in range(1, size):
            candidate[i] = coefficients[i] + length * direction[i]
        most = log_z + length * (ahead + ARMIJO * slope) + noise
        total, value, highest = _log_z(candidate, log_z, nodes, guards, rule)
        share = 1.0
        if value <= most:
            if highest < value + even - 0.5 * DEAD:
                return nodes, guards, total, value, False
            share = _to_wall(nodes, guards, value + level, work, rule)
            if share == 1.0:
                # log Z is convex in the multipliers, so it lies above its tangent.
                tangent = log_z + length * (ahead + slope)
                new, new_guards = _lay(candidate, tangent, most, ends, tables, work, other)
                if new > 0:
                    total, value, _ = _log_z(candidate, value, new, new_guards, other)
                    if value <= most:
                        return new, new_guards, total, value, True
                if not fresh:
                    break
                level -= SEEN
                share = _to_wall(nodes, guards, value + level, work, rule)
        if share < 1.0:
            length *= share
        else:
            length *= 0.5 if halvings < 3 else 0.25
            halvings += 1
    if fresh:
        return 0, 0, 0.0, np.inf, False
    for i in range(1, size):
        candidate[i] = coefficients[i]
    nodes, guards = _lay(coefficients, log_z, np.inf, ends, tables, work, other)
    total, log_z, _ = _log_z(coefficients, log_z, nodes, guards, other)
    return nodes, guards, total, log_z, True


@compiled
def _column(  # type: ignore[no-untyped-def]
    target, ends, tables, products, work, rule, other, coefficients, reached, report
):
    """Fit one column; write multipliers, E_p h_i and the report."""
    size = len(target)
    vectors = work.vectors
    report[:] = np.nan
    report[STEPS] = report[SUCCESS] = 0.0
    if not _start(target, products, work, coefficients):
        return
    log_z = -coefficients[0] - 3.0
    nodes, guards = _lay(coefficients, log_z, np.inf, ends, tables, work, rule)
    if nodes == 0:
        return
    total, log_z, _ = _log_z(coefficients, log_z, nodes, guards, rule)
    fresh = True
    while log_z < np.inf and report[STEPS] < MAX_STEPS:
        _hessian(target, total, nodes, products, rule, work)
        if not _factor(work.hessian, vectors, work.factor):
            return
        slope = _direction(vectors, work.factor)
        if not slope > -1e100:
            return
        if slope > -(DECREMENT_TOLERANCE**2) and fresh:
            noise = 0.0
            for i in range(1, size):
                reached[i] = vectors[MEAN, i]
                noise += abs(coefficients[i])
            report[LOG_Z], report[DECREMENT] = log_z, math.sqrt(-slope)
            report[SUCCESS] = EPS * noise < MOST_NOISE
            return
        report[STEPS] += 1
        if slope < NEAR:
            nodes, guards, total, log_z, fresh = _search(
                coefficients,
                target,
                slope,
                log_z,
                nodes,
                guards,
                fresh,
                ends,
                tables,
                work,
                rule,
                other,
            )
            if nodes == 0:
                return
            if fresh:
                rule, other = other, rule
            for i in range(1, size):
                coefficients[i] = vectors[CANDIDATE, i]
            continue
        for i in range(1, size):
            coefficients[i] += vectors[DIRECTION, i]
        # Only a rule laid for these very multipliers sees all of the density.
        fresh = slope > LAST
        if fresh:
            nodes, guards = _lay(coefficients, log_z, log_z, ends, tables, work, rule)
            if nodes == 0:
                return
        total, log_z, _ = _log_z(coefficients, log_z, nodes, guards, rule)


@compiled
def _columns(  # type: ignore[no-untyped-def]
    targets, ends, tables, products, work, rule, other, coefficients, moments, report
):
    """Fit columns: targets, coefficients, moments (d, k + 1), ends (d, 4), report (d, 4)."""
    for c in range(len(targets)):
        _column(
            targets[c],
            ends[c],
            tables,
            products,
            work,
            rule,
            other,
            coefficients[c],
            moments[c],
            report[c],
        )


def minimise(problem: Problem) -> Fits:
    """Fit the columns of a problem, as `reference.minimise` does."""
    order, columns = problem.targets.shape
    targets = np.vstack([np.ones(columns), problem.targets]).T.copy()
    ends = np.stack([problem.lower, problem.upper, problem.data_lower, problem.data_upper], axis=1)
    coefficients, moments = np.empty_like(targets), np.empty_like(targets)
    report = np.empty((columns, 4))
    constants = (
        tables.hermite_in_monomials(order)[:, :, 0].copy(),
        tables.ellipses(order, NODES, QUADRATURE, RADII),
        np.stack(basis.legendre_rule(NODES)),
    )
    products = np.array(basis.products(order))

    def part(first: int) -> None:
        some = slice(first, first + CHUNK)
        _columns(
            targets[some],
            ends[some],
            constants,
            products,
            new_work(order),
            new_rule(order),
            new_rule(order),
            coefficients[some],
            moments[some],
            report[some],
        )

    starts = range(0, columns, CHUNK)
    if len(starts) == 1 or get_num_threads() == 1:
        for first in starts:
            part(first)
    else:
        with ThreadPoolExecutor(get_num_threads()) as pool:
            list(pool.map(part, starts))
    return Fits(
        coefficients[:, 1:].T,
        moments[:, 1:].T,
        log_normaliser=report[:, LOG_Z],
        quadrature_error=np.full(columns, QUADRATURE),
        iterations=report[:, STEPS].astype(np.int64),
        decrement=report[:, DECREMENT],
        converged=report[:, SUCCESS] > 0,
    )
