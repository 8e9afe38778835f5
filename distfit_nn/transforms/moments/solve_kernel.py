"""Densities of largest entropy for many columns on shared nodes, compiled.

Newton's method on the dual as in `maxent.numba_kernel`, but for densities exp(sum_i c_i z^i) in
powers of z, for which a pass over the nodes is shortest: up to order 8 their Hessian has digits to
spare. Rules for [-R, R] are laid once for all. A column begins on the coarsest; where the next one,
at the solution of the last, sees the same moments, that one is good enough. What does not converge,
and what needs a wider support, is left to `patient`.
"""

from __future__ import annotations

import math
from collections import namedtuple

import numpy as np

from distfit_nn._floats import exponential
from distfit_nn.maxent import newton_kernel, simd
from distfit_nn.maxent.newton_kernel import _factored, direct, dot, factorise
from distfit_nn.maxent.rule_kernel import compiled, inlined
from distfit_nn.transforms.moments import rules as quadrature

# Compiled code takes globals as constants.
# What stands for the share of N(0, 1) in the moments, otherwise: no density, or not tried yet.
NONE, LEFT = 1.0, -1.0
NORMAL = (1.0, 0.0, 1.0, 0.0, 3.0, 0.0, 15.0, 0.0, 105.0)  # its moments
PASSES = 40  # over the nodes, of one attempt
TRIALS = 10
ARMIJO = 1e-4
NOISE = 1e-15
LEVELS = len(quadrature.LEVELS)
RADIUS = quadrature.RADIUS
LARGEST = 700.0
SHORT = 4  # up to that order, one loop makes a pass

# Decrements: a level is left, the last full step is taken, a level agrees with the one before.
Tolerances = namedtuple("Tolerances", ["leave", "done", "agree"])
SINGLE = Tolerances(3e-3, 1e-4, 3e-4)
DOUBLE = Tolerances(1e-4, 1e-7, 1e-7)

# Of one thread; `sums` are those of p z^r, r = 0, 1, ....
Work = namedtuple("Work", ["system", "target", "p", "sums"])


def new_work(order: int) -> Work:
    """Return work arrays for one thread."""
    most = len(quadrature.rules().z)
    system = newton_kernel.new_system(order)
    return Work(system, np.empty(order + 1), np.empty(most), np.empty(18))


@simd.vectorised
def nine_sums(p, z, first, sums, at):  # type: ignore[no-untyped-def]
    """Write sum_n p_n z_n^r, r = 0..8, to sums[at:at + 9], z beginning at `first`."""
    s0, s1, s2, s3, s4, s5, s6, s7, s8 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for n in range(len(p)):
        q, t = p[n], z[first + n]
        t2 = t * t
        t3, t4 = t2 * t, t2 * t2
        r = q * t4
        s0 += q
        s1 += q * t
        s2 += q * t2
        s3 += q * t3
        s4 += r
        s5 += r * t
        s6 += r * t2
        s7 += r * t3
        s8 += r * t4
    sums[at], sums[at + 1], sums[at + 2], sums[at + 3], sums[at + 4] = s0, s1, s2, s3, s4
    sums[at + 5], sums[at + 6], sums[at + 7], sums[at + 8] = s5, s6, s7, s8


@simd.vectorised
def _short_pass(c, shift, z, weights, first, last, sums):  # type: ignore[no-untyped-def]
    """Write the sums of p z^r, r = 0..8, p = weights exp(sum_i c_i z^i - shift), i = 1..4."""
    c1, c2, c3, c4 = c[1], c[2], c[3], c[4] if len(c) > 4 else 0.0
    s0, s1, s2, s3, s4, s5, s6, s7, s8 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for n in range(first, last):
        t = z[n]
        u = t * (c1 + t * (c2 + t * (c3 + t * c4))) - shift
        q = weights[n] * exponential(min(max(u, -LARGEST), LARGEST))
        t2 = t * t
        t3, t4 = t2 * t, t2 * t2
        r = q * t4
        s0 += q
        s1 += q * t
        s2 += q * t2
        s3 += q * t3
        s4 += r
        s5 += r * t
        s6 += r * t2
        s7 += r * t3
        s8 += r * t4
    sums[0], sums[1], sums[2], sums[3], sums[4] = s0, s1, s2, s3, s4
    sums[5], sums[6], sums[7], sums[8] = s5, s6, s7, s8


@simd.fused
def weigh(c, shift, z, first, p):  # type: ignore[no-untyped-def]
    """Write exp(sum_i c_i z^i - shift), i = 1.., the exponent cut to +-700."""
    size = len(c)
    a, b = c[size - 1], c[size - 2]
    for n in range(len(p)):
        p[n] = a * z[first + n] + b
    for i in range(size - 3, 0, -1):
        a = c[i]
        for n in range(len(p)):
            p[n] = p[n] * z[first + n] + a
    for n in range(len(p)):
        p[n] = exponential(min(max(p[n] * z[first + n] - shift, -LARGEST), LARGEST))


@simd.fused
def _times(weights, first, p):  # type: ignore[no-untyped-def]
    for n in range(len(p)):
        p[n] *= weights[first + n]


@simd.fused
def _times_eighth(z, first, p):  # type: ignore[no-untyped-def]
    for n in range(len(p)):
        t = z[first + n] * z[first + n]
        t = t * t
        p[n] *= t * t


@inlined
def _log_z(c, shift, first, last, rules, work):  # type: ignore[no-untyped-def]
    """Write the sums of p z^r, p over exp(shift); return log Z."""
    if not abs(dot(c, c)) < 1e200:
        return np.inf
    if len(c) <= SHORT + 1:
        _short_pass(c, shift, rules.z, rules.weights, first, last, work.sums)
    else:
        p = work.p[: last - first]
        weigh(c, shift, rules.z, first, p)
        _times(rules.weights, first, p)
        nine_sums(p, rules.z, first, work.sums, 0)
        _times_eighth(rules.z, first, p)
        nine_sums(p, rules.z, first, work.sums, 8)
    total = work.sums[0]
    return shift + math.log(total) if 1e-250 < total < 1e250 else np.inf


@inlined
def _covariance(m, size, out):  # type: ignore[no-untyped-def]
    """Write the covariances of z, ..., z^(size - 1) to the lower triangle."""
    for i in range(1, size):
        for j in range(1, i + 1):
            out[i, j] = m[i + j] - m[i] * m[j]


@inlined
def _start(target, system, c):  # type: ignore[no-untyped-def]
    """Write the coefficients of -pi^2 / 4, pi the last orthonormal polynomial of degree k // 2.

    See `newton_kernel.start`. Returns whether the target has such a polynomial.
    """
    degree = (len(target) - 1) // 2
    factor, pi = system.factor, system.candidate
    c[:] = 0.0
    _covariance(target, degree + 1, system.hessian)
    if not _factored(system.hessian, degree + 1, 0.0, factor):
        return False
    pi[0] = 0.0
    pi[degree] = math.sqrt(factor[degree, degree])
    for i in range(degree - 1, 0, -1):
        pi[i] = 0.0
        for m in range(i + 1, degree + 1):
            pi[i] -= factor[m, i] * pi[m]
    for i in range(1, degree + 1):
        pi[0] -= pi[i] * target[i]
    height = 0.5 if degree == 1 else 0.25
    for i in range(degree + 1):
        for j in range(degree + 1):
            c[i + j] -= height * pi[i] * pi[j]
    return math.isfinite(dot(c, c))


@inlined
def _differentiate(sums, target, system):  # type: ignore[no-untyped-def]
    """Write gradient and Hessian of the dual; return whether the latter has factors."""
    size = len(target)
    m = system.moments
    m[0] = 1.0
    share = 1.0 / sums[0]
    for i in range(1, 2 * size - 1):
        m[i] = sums[i] * share
    for i in range(1, size):
        system.gradient[i] = m[i] - target[i]
    _covariance(m, size, system.hessian)
    return factorise(system)


@inlined
def _search(c, slope, log_z, first, last, rules, work):  # type: ignore[no-untyped-def]
    """Write a candidate that lowers the dual enough; return its log Z and the trials."""
    candidate, direction = work.system.candidate, work.system.direction
    ahead = dot(direction, work.target)
    noise = NOISE * (abs(log_z) + abs(dot(c, work.target)))
    length = 1.0
    for trial in range(TRIALS):
        for i in range(len(candidate)):
            candidate[i] = c[i] + length * direction[i]
        value = _log_z(candidate, log_z, first, last, rules, work)
        if value <= log_z + length * (ahead + ARMIJO * slope) + noise:
            return value, trial + 1
        length *= 0.5 if trial < 3 else 0.25
    return np.inf, TRIALS


@compiled
def _attempt(tolerances, rules, work, c):  # type: ignore[no-untyped-def]
    """Find the coefficients for `work.target` on [-R, R].

    Returns the passes it took, negative without success. The factors of the Hessian stay behind.
    """
    system = work.system
    if not _start(work.target, system, c):
        return -1
    constant = c[0]
    c[0] = system.direction[0] = 0.0
    level, fresh, agrees, passes = 0, False, False, 1
    first, last = rules.first[level], rules.last[level]
    log_z = _log_z(c, -constant, first, last, rules, work)
    while log_z < np.inf and passes < PASSES:
        if not _differentiate(work.sums, work.target, system):
            break
        slope = direct(system)
        if not slope > -1e100:
            break
        decrement = math.sqrt(-slope)
        if fresh:
            agrees = decrement < tolerances.agree
            fresh = False
        if decrement > (tolerances.done if agrees else tolerances.leave):
            log_z, trials = _search(c, slope, log_z, first, last, rules, work)
            passes += trials
            for i in range(1, len(c)):
                c[i] = system.candidate[i]
            continue
        for i in range(1, len(c)):
            c[i] += system.direction[i]
        if agrees:
            return passes
        level += 1
        if level == LEVELS:
            break
        fresh = True
        first, last = rules.first[level], rules.last[level]
        log_z = _log_z(c, log_z, first, last, rules, work)
        passes += 1
    return -passes


@compiled
def solve_one(moments, radius, tolerances, rules, work, c, factor):  # type: ignore[no-untyped-def]
    """Find the coefficients (k + 1,) for moments E z^r (k + 1,) on [-radius, radius].

    Writes the factors of the Hessian (k + 1, k + 1) as well. Returns 0, NONE or LEFT, and the
    passes over nodes.
    """
    size = len(moments)
    if radius != RADIUS:
        return LEFT, 0
    for i in range(size):
        work.target[i] = moments[i]
    found = _attempt(tolerances, rules, work, c)
    if found < 0:
        return NONE if found == -1 else LEFT, -found
    for i in range(1, size):
        for j in range(1, i + 1):
            factor[i, j] = work.system.factor[i, j]
    return 0.0, found


@compiled
def solve(moments, ranges, tolerances, rules, work, out, factors, shares):  # type: ignore[no-untyped-def]
    """Do so for moments (d, k + 1), where finite, on supports ranges[:, 0]."""
    for c in range(len(moments)):
        shares[c] = NONE
        if math.isfinite(ranges[c, 0] + dot(moments[c], moments[c])):
            shares[c], _ = solve_one(
                moments[c], ranges[c, 0], tolerances, rules, work, out[c], factors[c]
            )
