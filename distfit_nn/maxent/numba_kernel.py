"""Damped Newton on the dual, compiled: what solves nearly every column.

It finds what `reference` finds, where the mathematics is explained, with the least work: one column
at a time, its nodes side by side in memory (`simd`). A pass over the nodes costs k products for
log p, an exponential, and 2k products for the moments to order 2k, from which the Hessian follows
(`newton_kernel`).
"""

from __future__ import annotations

import math
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from distfit_nn._threads import threads
from distfit_nn.maxent import newton_kernel, reference, rule_kernel, simd
from distfit_nn.maxent.newton_kernel import differentiate, direct, dot, factorise, start
from distfit_nn.maxent.rule_kernel import compiled, inlined, lay, log_z_of
from distfit_nn.maxent.solution import Fits, Problem

Array = NDArray[np.float64]

# Compiled code takes globals as constants, and its cache does not see that they have changed.
ARMIJO = reference.ARMIJO
EPS = reference.EPS
MAX_STEPS, TRIALS = 120, 24
# A column is done after a step from a decrement below the first, or with one below the second.
DECREMENT_TOLERANCE, POLISHED = 1e-9, 1e-12
# Squared decrements, negative: above the first a full step is taken as it is, above the second it
# is followed by a rule of its own: it should be the last.
NEAR, LAST = -1e-6, -1e-12
# A step may raise what was left out to SEEN below the uniform density (to three times that, seven
# times, ... where it fails); with a squared decrement below FAR it stops SHORT of that, lest a bump
# arise on the way.
SEEN, FAR, SHORT = 4.0, -0.01, 0.8
LEAP = 4.0  # what has risen by less in a step still is where its rule was laid for
MOST_NOISE = 1e-11  # of log p, beyond which its multipliers need more than float64
CHUNK = 256  # columns that a thread takes at a time

# Columns of the report.
LOG_Z, STEPS, DECREMENT, SUCCESS = range(4)
# What a search finds: no step, one on the same rule, or one on a rule of its own.
NONE, SAME, FRESH = range(3)

# Work arrays of one thread: of steps, of rules, and log p at the sentinels with its rise.
Work = namedtuple("Work", ["system", "constants", "layout", "before", "rise"])


def new_work(order: int) -> Work:
    """Return work arrays for one thread."""
    return Work(
        newton_kernel.new_system(order),
        rule_kernel.constants(order),
        rule_kernel.new_layout(order),
        np.empty(rule_kernel.SENTINELS),
        np.empty(rule_kernel.ROOM),
    )


@inlined
def _to_wall(length, guards, level, before, rise):  # type: ignore[no-untyped-def]
    """Return the length, at most as given, at which a sentinel rises to `level` from well below."""
    for guard in range(guards):
        at = before[guard]
        if at < level - 1.0 and at + length * rise[guard] > level:
            length = (level - at) / rise[guard]
    return length


@inlined
def _above(length, guards, level, before, rise):  # type: ignore[no-untyped-def]
    """Return whether a sentinel leaps above `level` in a step."""
    above = False
    for guard in range(guards):
        change = length * rise[guard]
        above |= change > LEAP and before[guard] + change > level
    return above


@inlined
def _copy(values, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        out[i] = values[i]


@inlined
def _relaid(coefficients, log_z, ends, work, other):  # type: ignore[no-untyped-def]
    """Lay another rule at the point itself, as a search that has failed on an old one does."""
    _copy(coefficients, work.system.candidate)
    if not lay(coefficients, log_z, np.inf, ends, work.constants, work.layout, other):
        return NONE, 0.0, np.inf
    total, log_z = log_z_of(coefficients, log_z, other)
    return FRESH, total, log_z


@inlined
def _search(  # type: ignore[no-untyped-def]
    coefficients, target, ends, slope, log_z, fresh, work, rule, other
):
    """Find a step length; return what was found, and the sum of p and log Z at the candidate.

    A rule does not see where a candidate rises that was low before: where a sentinel rises, the
    step is cut to where that begins to matter, and the candidate gets a rule of its own, in `other`
    (FRESH). Where no step succeeds and the rule is not fresh, the candidate is the point itself, on
    a rule of its own.
    """
    candidate, direction = work.system.candidate, work.system.direction
    nodes, guards = rule.count
    before, rise = work.before, work.rise[nodes:]
    for guard in range(guards):
        before[guard] = rule.u[nodes + guard]
    simd.log_density(direction, rule.h, nodes, nodes + guards, work.rise)
    ahead = dot(direction, target)
    noise = 8.0 * EPS * (abs(log_z) + abs(dot(coefficients, target)))
    level = log_z - math.log(ends[1] - ends[0]) - SEEN  # SEEN below the uniform density
    unseen = level + SEEN - 0.5 * rule_kernel.DEAD
    length, halvings, drop = _to_wall(1.0, guards, level, before, rise), 0, SEEN
    if length < 1.0 and slope < FAR:
        length *= SHORT
    for _ in range(TRIALS):
        for i in range(len(candidate)):
            candidate[i] = coefficients[i] + length * direction[i]
        most = log_z + length * (ahead + ARMIJO * slope) + noise
        if not _above(length, guards, unseen, before, rise):
            total, value = log_z_of(candidate, log_z, rule)
            if value <= most:
                return SAME, total, value
        else:
            # log Z is convex in the multipliers, so it lies above its tangent.
            tangent = log_z + length * (ahead + slope)
            if lay(candidate, tangent, most, ends, work.constants, work.layout, other):
                total, value = log_z_of(candidate, log_z, other)
                if value <= most:
                    return FRESH, total, value
            if not fresh:
                break
            level -= drop
            drop *= 2.0
            wall = _to_wall(length, guards, level, before, rise)
            if wall < length:
                length = wall
                continue
        length *= 0.5 if halvings < 3 else 0.25
        halvings += 1
    if fresh:
        return NONE, 0.0, np.inf
    return _relaid(coefficients, log_z, ends, work, other)


@inlined
def _finish(coefficients, slope, log_z, system, reached, report):  # type: ignore[no-untyped-def]
    """Write E_p h_i and the report of a column that has converged."""
    noise = 0.0
    for i in range(1, len(coefficients)):
        reached[i] = system.moments[i]
        noise += abs(coefficients[i])
    report[LOG_Z], report[DECREMENT] = log_z, math.sqrt(-slope)
    report[SUCCESS] = EPS * noise < MOST_NOISE


@inlined
def _column(target, ends, work, rule, other, coefficients, reached, report):  # type: ignore[no-untyped-def]
    """Fit one column; write multipliers, E_p h_i and the report."""
    system = work.system
    if not start(target, system, coefficients):
        return
    log_z = -coefficients[0] - 3.0
    if not lay(coefficients, log_z, np.inf, ends, work.constants, work.layout, rule):
        return
    total, log_z = log_z_of(coefficients, log_z, rule)
    coefficients[0] = system.direction[0] = 0.0  # the constant is log Z, and stays out
    fresh, polished = True, False
    while log_z < np.inf and report[STEPS] < MAX_STEPS:
        differentiate(target, total, rule, system)
        if not factorise(system):
            return
        slope = direct(system)
        if not slope > -1e100:
            return
        if fresh and (polished or slope > -(POLISHED**2)):
            _finish(coefficients, slope, log_z, system, reached, report)
            return
        report[STEPS] += 1
        if slope < NEAR:
            found, total, log_z = _search(
                coefficients, target, ends, slope, log_z, fresh, work, rule, other
            )
            if found == NONE:
                return
            fresh = found == FRESH
            if fresh:
                rule, other = other, rule
            _copy(system.candidate, coefficients)
            continue
        for i in range(1, len(coefficients)):
            coefficients[i] += system.direction[i]
        # Only a rule laid for these very multipliers sees all of the density; the last step is too
        # small for a rule to tell.
        polished = fresh and slope > -(DECREMENT_TOLERANCE**2)
        fresh = slope > LAST
        again = fresh and not polished
        if again and not lay(coefficients, log_z, log_z, ends, work.constants, work.layout, rule):
            return
        total, log_z = log_z_of(coefficients, log_z, rule)


@compiled
def _columns(targets, ends, work, rule, other, coefficients, moments, report):  # type: ignore[no-untyped-def]
    """Fit columns: targets, coefficients, moments (d, k + 1), ends (d, 4), report (d, 4)."""
    for c in range(len(targets)):
        report[c, :] = np.nan
        report[c, STEPS] = report[c, SUCCESS] = 0.0
        _column(targets[c], ends[c], work, rule, other, coefficients[c], moments[c], report[c])


def minimise(problem: Problem) -> Fits:
    """Fit the columns of a problem, as `reference.minimise` does."""
    order, columns = problem.targets.shape
    targets = np.vstack([np.ones(columns), problem.targets]).T.copy()
    ends = np.stack([problem.lower, problem.upper, problem.data_lower, problem.data_upper], axis=1)
    coefficients, moments = (np.full_like(targets, np.nan) for _ in range(2))
    report = np.empty((columns, 4))

    def part(first: int) -> None:
        some = slice(first, first + CHUNK)
        _columns(
            targets[some],
            ends[some],
            new_work(order),
            rule_kernel.new_rule(order),
            rule_kernel.new_rule(order),
            coefficients[some],
            moments[some],
            report[some],
        )

    starts = range(0, columns, CHUNK)
    workers = threads() if len(starts) > 1 else 1
    if workers == 1:
        for first in starts:
            part(first)
    else:
        with ThreadPoolExecutor(workers) as pool:
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
