"""Densities of largest entropy for many columns on shared nodes, compiled.

Newton's method on the dual as in `maxent.numba_kernel`, but on rules that are laid once for all.
It begins on the coarsest; where the next one, at the solution of the last, sees the same moments,
that one is good enough. Moments for which it does not converge are drawn towards those of N(0, 1),
h_i = 0, by the first of a few shares that helps: its density is smooth.
"""

from __future__ import annotations

import math
from collections import namedtuple

import numpy as np

from distfit_nn._floats import exponential
from distfit_nn.maxent import newton_kernel, simd
from distfit_nn.maxent.newton_kernel import direct, dot, factorise, start
from distfit_nn.maxent.rule_kernel import compiled, inlined
from distfit_nn.transforms import moment_rules

# Compiled code takes globals as constants.
SHARES = (0.0, 0.02, 0.1, 0.3)  # of N(0, 1) in the moments
PASSES = 40  # over the nodes, of one attempt
TRIALS = 10
ARMIJO = 1e-4
NOISE = 1e-15
LEVELS = len(moment_rules.LEVELS)
LARGEST = 700.0

# Decrements: a level is left, the last full step is taken, a level agrees with the one before.
Tolerances = namedtuple("Tolerances", ["leave", "done", "agree"])
SINGLE = Tolerances(3e-3, 1e-4, 1e-3)
DOUBLE = Tolerances(1e-3, 1e-7, 1e-5)

# Of one thread.
Work = namedtuple("Work", ["system", "target", "u", "p"])


def new_work(order: int) -> Work:
    """Return work arrays for one thread."""
    rules = moment_rules.rules(order)
    most = int((rules.last - rules.first).max())
    return Work(newton_kernel.new_system(order), np.empty(order + 1), np.empty(most), np.empty(most))


@simd.vectorised
def _log_density(coefficients, h, first, last, u):  # type: ignore[no-untyped-def]
    """Write sum_{i >= 1} lambda_i h_i; return the largest."""
    nodes = last - first
    a = coefficients[1]
    for n in range(nodes):
        u[n] = a * h[1, first + n]
    for i in range(2, len(coefficients) - 1, 2):
        a, b = coefficients[i], coefficients[i + 1]
        for n in range(nodes):
            u[n] += a * h[i, first + n] + b * h[i + 1, first + n]
    if len(coefficients) % 2:
        i = len(coefficients) - 1
        a = coefficients[i]
        for n in range(nodes):
            u[n] += a * h[i, first + n]
    top = u[0]
    for n in range(nodes):
        top = max(top, u[n])
    return top


@simd.fused
def _weigh(u, top, weights, first, last, p):  # type: ignore[no-untyped-def]
    for n in range(last - first):
        p[n] = weights[first + n] * exponential(max(u[n] - top, -LARGEST))


@simd.vectorised
def _moments(p, h, first, last, out):  # type: ignore[no-untyped-def]
    """Write E_p h_i from sum_n p h_i."""
    for i in range(1, len(out), 2):
        a, b = 0.0, 0.0
        for n in range(last - first):
            a += p[n] * h[i, first + n]
            b += p[n] * h[i + 1, first + n]
        out[i], out[i + 1] = a, b


@inlined
def _log_z(coefficients, first, last, rules, work):  # type: ignore[no-untyped-def]
    """Write p; return its sum and log Z."""
    top = _log_density(coefficients, rules.h, first, last, work.u)
    if not abs(top) < 1e100:
        return 0.0, np.inf
    _weigh(work.u, top, rules.weights, first, last, work.p)
    total = simd.total(work.p, last - first)
    return total, top + math.log(total)


@inlined
def _differentiate(total, first, last, rules, work):  # type: ignore[no-untyped-def]
    """Write moments, gradient and Hessian of the dual; return whether the latter has factors."""
    system = work.system
    size, m = len(work.target), system.moments
    _moments(work.p, rules.h, first, last, m)
    m[0] = 1.0
    share = 1.0 / total
    for i in range(1, 2 * size - 1):
        m[i] *= share
    for i in range(1, size):
        system.gradient[i] = m[i] - work.target[i]
    newton_kernel._covariance(m, system.products, size, system.hessian)
    return factorise(system)


@inlined
def _search(coefficients, slope, log_z, first, last, rules, work):  # type: ignore[no-untyped-def]
    """Write a candidate that lowers the dual enough; return the sum of its p, log Z, and trials."""
    candidate, direction = work.system.candidate, work.system.direction
    ahead = dot(direction, work.target)
    noise = NOISE * (abs(log_z) + abs(dot(coefficients, work.target)))
    length = 1.0
    for trial in range(TRIALS):
        for i in range(len(candidate)):
            candidate[i] = coefficients[i] + length * direction[i]
        total, value = _log_z(candidate, first, last, rules, work)
        if value <= log_z + length * (ahead + ARMIJO * slope) + noise:
            return total, value, trial + 1
        length *= 0.5 if trial < 3 else 0.25
    return 0.0, np.inf, TRIALS


@compiled
def _attempt(tolerances, step, rules, work, coefficients):  # type: ignore[no-untyped-def]
    """Find the multipliers of `work.target` on support number `step`.

    Returns the passes it took, negative without success. The factors of the Hessian stay behind.
    """
    system = work.system
    if not start(work.target, system, coefficients):
        return -1
    coefficients[0] = system.direction[0] = 0.0
    level, fresh, agrees, passes = 0, False, False, 1
    first, last = rules.first[level, step], rules.last[level, step]
    total, log_z = _log_z(coefficients, first, last, rules, work)
    while log_z < np.inf and passes < PASSES:
        if not _differentiate(total, first, last, rules, work):
            break
        slope = direct(system)
        if not slope > -1e100:
            break
        decrement = math.sqrt(-slope)
        if fresh:
            agrees = decrement < tolerances.agree
            fresh = False
        if decrement > (tolerances.done if agrees else tolerances.leave):
            total, log_z, trials = _search(coefficients, slope, log_z, first, last, rules, work)
            passes += trials
            for i in range(1, len(coefficients)):
                coefficients[i] = system.candidate[i]
            continue
        for i in range(1, len(coefficients)):
            coefficients[i] += system.direction[i]
        if agrees:
            return passes
        level += 1
        if level == LEVELS:
            break
        fresh = True
        first, last = rules.first[level, step], rules.last[level, step]
        total, log_z = _log_z(coefficients, first, last, rules, work)
        passes += 1
    return -passes


@compiled
def solve_one(target, step, tolerances, rules, work, coefficients, factor):  # type: ignore[no-untyped-def]
    """Find the multipliers (k + 1,) for a target E h_i (k + 1,) on support number `step`.

    Writes the factors of the Hessian (k + 1, k + 1) as well. Returns the share of N(0, 1) in the
    moments, 1 where there is no solution, and the passes over nodes.
    """
    size, passes = len(target), 0
    for share in SHARES:
        work.target[0] = 1.0
        for i in range(1, size):
            work.target[i] = (1.0 - share) * target[i]
        found = _attempt(tolerances, step, rules, work, coefficients)
        passes += abs(found)
        if found > 0:
            for i in range(1, size):
                for j in range(1, i + 1):
                    factor[i, j] = work.system.factor[i, j]
            return share, passes
        if found == -1 and share == 0.0:
            break
    return 1.0, passes


@compiled
def solve(targets, steps, tolerances, rules, work, out, factors, shares, passes):  # type: ignore[no-untyped-def]
    """Do so for targets (d, k + 1) on supports number `steps` (d,); below 0, there is none."""
    for c in range(len(targets)):
        shares[c], passes[c] = 1.0, 0
        if steps[c] >= 0:
            shares[c], passes[c] = solve_one(
                targets[c], steps[c], tolerances, rules, work, out[c], factors[c]
            )
