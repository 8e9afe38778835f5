"""Damped Newton on the dual, compiled: what solves nearly every column.

It finds what `reference` finds, where the mathematics is explained, with the least work: one column
at a time, its nodes side by side in memory (`simd`). A pass over the nodes costs k products for
log p, an exponential, and 2k products for the moments to order 2k, from which the Hessian follows
by h_i h_j = sum_r c_ijr h_{i+j-2r}. Vectors of length k + 1 start with the constant h_0.
"""

from __future__ import annotations

import math
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray

from distfit_nn.maxent import basis, reference, rule_kernel, simd
from distfit_nn.maxent.rule_kernel import compiled, lay, log_z_of
from distfit_nn.maxent.solution import Fits, Problem

Array = NDArray[np.float64]

# Compiled code takes globals as constants, and its cache does not see that they have changed.
ARMIJO = reference.ARMIJO
RIDGE, MAX_RIDGE = reference.RIDGE, reference.MAX_RIDGE
EPS = reference.EPS
TINY = float(np.finfo(float).tiny)
MAX_STEPS, TRIALS = 60, 24
# A column is done after a step from a decrement below the first, or with one below the second.
DECREMENT_TOLERANCE, POLISHED = 1e-9, 1e-12
# Squared decrements, negative: above the first a full step is taken as it is, above the second it
# is followed by a rule of its own: it should be the last.
NEAR, LAST = -1e-6, -1e-12
# A step may raise what was left out to SEEN below the uniform density (to twice that, ... where it
# fails); with a squared decrement below FAR it stops SHORT of that, lest a bump arise on the way.
SEEN, FAR, SHORT = 4.0, -0.01, 0.8
MOST_NOISE = 1e-11  # of log p, beyond which its multipliers need more than float64
CHUNK = 256  # columns that a thread takes at a time

# Columns of the report.
LOG_Z, STEPS, DECREMENT, SUCCESS = range(4)

# Work arrays of one thread.
Work = namedtuple(
    "Work",
    [
        "layout",
        "before",
        "rise",
        "moments",
        "gradient",
        "direction",
        "candidate",
        "scale",
        "hessian",
        "factor",
    ],
)


def new_work(order: int) -> Work:
    """Return work arrays for one thread."""
    size = order + 1
    return Work(
        layout=rule_kernel.new_layout(order),
        before=np.empty(rule_kernel.SENTINELS),
        rise=np.empty(rule_kernel.SENTINELS),
        moments=np.empty(2 * order + 1),
        gradient=np.empty(size),
        direction=np.empty(size),
        candidate=np.empty(size),
        scale=np.empty(size),
        hessian=np.empty((size, size)),
        factor=np.empty((size, size)),
    )


@compiled
def _hessian(target, total, nodes, products, rule, work):  # type: ignore[no-untyped-def]
    """Write the moments to order 2k, gradient and Hessian."""
    size = len(target)
    m, gradient, hessian = work.moments, work.gradient, work.hessian
    simd.moments(rule.p, rule.h, nodes, m)
    m[0] = 1.0
    for i in range(1, 2 * size - 1):
        m[i] /= total
    for i in range(1, size):
        gradient[i] = m[i] - target[i]
        for j in range(1, i + 1):
            value = -m[i] * m[j]
            for r in range(j + 1):
                value += products[i, j, r] * m[i + j - 2 * r]
            hessian[i, j] = value


@compiled
def _cholesky(hessian, scale, ridge, factor):  # type: ignore[no-untyped-def]
    """Factor the unit-diagonal Hessian plus ridge; return whether it is positive definite."""
    for i in range(1, len(hessian)):
        for j in range(1, i + 1):
            value = hessian[i, j] * scale[i] * scale[j]
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
def _factor(hessian, scale, factor):  # type: ignore[no-untyped-def]
    """Factor the Hessian with the least ridge that it needs; return whether one suffices."""
    for i in range(1, len(hessian)):
        scale[i] = 1.0 / math.sqrt(max(hessian[i, i], TINY))
    ridge = 0.0
    while not _cholesky(hessian, scale, ridge, factor):
        ridge = max(RIDGE, 100.0 * ridge)
        if not ridge <= MAX_RIDGE:
            return False
    return True


@compiled
def _direction(gradient, scale, factor, direction):  # type: ignore[no-untyped-def]
    """Write -H^-1 gradient; return its product with the gradient."""
    size = len(factor)
    for i in range(1, size):
        value = -gradient[i] * scale[i]
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
        direction[i] *= scale[i]
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
    gram, factor, scale, pi = work.hessian, work.factor, work.scale, work.candidate
    coefficients[:] = 0.0
    if degree == 0:
        return True
    for i in range(1, degree + 1):
        for j in range(1, i + 1):
            value = -target[i] * target[j]
            for r in range(j + 1):
                value += products[i, j, r] * target[i + j - 2 * r]
            gram[i, j] = value
        scale[i] = 1.0
    part = gram[: degree + 1, : degree + 1]
    if not _cholesky(part, scale, 0.0, factor):
        return False
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
def _at_sentinels(coefficients, nodes, guards, rule, out):  # type: ignore[no-untyped-def]
    """Write sum_{i >= 1} lambda_i h_i at the sentinels, which follow the nodes."""
    for guard in range(guards):
        value = 0.0
        for i in range(1, len(coefficients)):
            value += coefficients[i] * rule.h[i, nodes + guard]
        out[guard] = value


@compiled
def _to_wall(length, guards, level, work):  # type: ignore[no-untyped-def]
    """Return the length, at most as given, at which a sentinel rises to `level` from well below."""
    for guard in range(guards):
        before, rise = work.before[guard], work.rise[guard]
        if before < level - 1.0 and before + length * rise > level:
            length = (level - before) / rise
    return length


@compiled
def _above(length, guards, level, work):  # type: ignore[no-untyped-def]
    """Return whether a sentinel is above `level` after a step."""
    above = False
    for guard in range(guards):
        above |= work.before[guard] + length * work.rise[guard] > level
    return above


@compiled
def _search(  # type: ignore[no-untyped-def]
    coefficients, target, slope, log_z, nodes, guards, fresh, ends, constants, work, rule, other
):
    """Find a step length; return (nodes, sentinels, sum of p, log Z, fresh) at the candidate.

    A rule does not see where a candidate rises that was low before: where a sentinel rises, the
    step is cut to where that begins to matter, and the candidate gets a rule of its own, in `other`
    (fresh). Where no step succeeds and the rule is not fresh, the candidate is the point itself, on
    a rule of its own. 0 nodes without success.
    """
    size = len(target)
    candidate, direction = work.candidate, work.direction
    ahead = _dot(direction, target)
    noise = 8.0 * EPS * (abs(log_z) + abs(_dot(coefficients, target)))
    level = log_z - math.log(ends[1] - ends[0]) - SEEN  # SEEN below the uniform density
    unseen = level + SEEN - 0.5 * rule_kernel.DEAD
    _at_sentinels(direction, nodes, guards, rule, work.rise)
    length, halvings = _to_wall(1.0, guards, level, work), 0
    if length < 1.0 and slope < FAR:
        length *= SHORT
    for _ in range(TRIALS):
        for i in range(1, size):
            candidate[i] = coefficients[i] + length * direction[i]
        most = log_z + length * (ahead + ARMIJO * slope) + noise
        if not _above(length, guards, unseen, work):
            total, value = log_z_of(candidate, log_z, nodes, rule)
            if value <= most:
                for guard in range(guards):
                    work.before[guard] += length * work.rise[guard]
                return nodes, guards, total, value, False
        else:
            # log Z is convex in the multipliers, so it lies above its tangent.
            tangent = log_z + length * (ahead + slope)
            new, new_guards = lay(candidate, tangent, most, ends, constants, work.layout, other)
            if new > 0:
                total, value = log_z_of(candidate, log_z, new, other)
                if value <= most:
                    _at_sentinels(candidate, new, new_guards, other, work.before)
                    return new, new_guards, total, value, True
            if not fresh:
                break
            level -= SEEN
            wall = _to_wall(length, guards, level, work)
            if wall < length:
                length = wall
                continue
        length *= 0.5 if halvings < 3 else 0.25
        halvings += 1
    if fresh:
        return 0, 0, 0.0, np.inf, False
    for i in range(1, size):
        candidate[i] = coefficients[i]
    nodes, guards = lay(coefficients, log_z, np.inf, ends, constants, work.layout, other)
    total, log_z = log_z_of(coefficients, log_z, nodes, other)
    _at_sentinels(coefficients, nodes, guards, other, work.before)
    return nodes, guards, total, log_z, True


@compiled
def _column(  # type: ignore[no-untyped-def]
    target, ends, constants, products, work, rule, other, coefficients, reached, report
):
    """Fit one column; write multipliers, E_p h_i and the report."""
    size = len(target)
    report[:] = np.nan
    report[STEPS] = report[SUCCESS] = 0.0
    if not _start(target, products, work, coefficients):
        return
    log_z = -coefficients[0] - 3.0
    nodes, guards = lay(coefficients, log_z, np.inf, ends, constants, work.layout, rule)
    if nodes == 0:
        return
    total, log_z = log_z_of(coefficients, log_z, nodes, rule)
    _at_sentinels(coefficients, nodes, guards, rule, work.before)
    fresh, polished = True, False
    while log_z < np.inf and report[STEPS] < MAX_STEPS:
        _hessian(target, total, nodes, products, rule, work)
        if not _factor(work.hessian, work.scale, work.factor):
            return
        slope = _direction(work.gradient, work.scale, work.factor, work.direction)
        if not slope > -1e100:
            return
        if fresh and (polished or slope > -(POLISHED**2)):
            noise = 0.0
            for i in range(1, size):
                reached[i] = work.moments[i]
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
                constants,
                work,
                rule,
                other,
            )
            if nodes == 0:
                return
            if fresh:
                rule, other = other, rule
            for i in range(1, size):
                coefficients[i] = work.candidate[i]
            continue
        for i in range(1, size):
            coefficients[i] += work.direction[i]
        # Only a rule laid for these very multipliers sees all of the density; the last step is too
        # small for a rule to tell.
        polished = fresh and slope > -(DECREMENT_TOLERANCE**2)
        fresh = slope > LAST
        if fresh and not polished:
            nodes, guards = lay(coefficients, log_z, log_z, ends, constants, work.layout, rule)
            if nodes == 0:
                return
        _at_sentinels(coefficients, nodes, guards, rule, work.before)
        total, log_z = log_z_of(coefficients, log_z, nodes, rule)


@compiled
def _columns(  # type: ignore[no-untyped-def]
    targets, ends, constants, products, work, rule, other, coefficients, moments, report
):
    """Fit columns: targets, coefficients, moments (d, k + 1), ends (d, 4), report (d, 4)."""
    for c in range(len(targets)):
        _column(
            targets[c],
            ends[c],
            constants,
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
    coefficients, moments = (np.full_like(targets, np.nan) for _ in range(2))
    report = np.empty((columns, 4))
    constants = rule_kernel.constants(order)
    products = np.array(basis.products(order))

    def part(first: int) -> None:
        some = slice(first, first + CHUNK)
        _columns(
            targets[some],
            ends[some],
            constants,
            products,
            new_work(order),
            rule_kernel.new_rule(order),
            rule_kernel.new_rule(order),
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
        quadrature_error=np.full(columns, rule_kernel.QUADRATURE),
        iterations=report[:, STEPS].astype(np.int64),
        decrement=report[:, DECREMENT],
        converged=report[:, SUCCESS] > 0,
    )
