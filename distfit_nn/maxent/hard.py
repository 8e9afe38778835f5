"""The hard solver: one column at a time, from the Gauss rule of its target, as far as float64 goes.

From each start that the target suggests, the one of the lowest dual first, by `hard_kernel.newton`.
Bumps that Newton's method moves too slowly are carried on (`wander`).
Where none leads to the moments, their mixture with those of the uniform distribution on the range
of the data is followed from `FIRST_EPSILON` towards 0, each solution being the next one's start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from distfit_nn.maxent import basis, hard_grid, hard_kernel, integrals, tables, wander
from distfit_nn.maxent.gauss_rule import Rule, gauss_rule_of_samples
from distfit_nn.maxent.solution import (
    Problem,
    Solution,
    agrees,
    in_powers,
    meets,
    residual,
)
from distfit_nn.maxent.starts import starts

Array = NDArray[np.float64]

FIRST_EPSILON, LEAST_EPSILON = 0.1, 1e-15  # below the latter the mixture's next weight is 0
MOST_STEPS = 5000  # of the path; one stage more may be under way
LAST_RESORT = 0.5  # where the weight shrinks by less, a stage is tried from its own starts, too
NEWTON_STEPS = 100  # of an attempt
STRIDE, WANDERING = 6, 600  # steps between two times that bumps are carried on; steps in all
PATIENCE = 5  # times that Newton's method is left alone where no bump moves
DOUBLE_DOUBLE = 2.0**-104  # its rounding unit
CONFIRMED = 1.0  # times what a moment may be off counts as agreement of the table, which rounds z
MOST_NOISE = 1e-9  # of log p at the points of the Gauss rule
FIRST_FACTOR, LEAST_FACTOR = 0.3, 1e-2  # by which the weight shrinks: squared after a success
NEAR_ONE = 0.96  # it shrinks by less than this: the path has come to its end


@dataclass(frozen=True, eq=False)
class Attempt:
    """Where Newton's method ended on one column.

    `series` (k + 1, 2) is log p in powers of z, in double-double, and `noise` the rounding in it
    where the mass is; `moments` are E_p h_1..E_p h_k.
    """

    series: Array
    moments: Array
    log_normaliser: float
    quadrature_error: float
    iterations: int
    decrement: float
    noise: float
    epsilon: float = 0.0
    residual: float = math.nan

    def multipliers(self) -> tuple[Array, Array, float]:
        """Return high and low parts of the multipliers of h_1..h_k, and log Z to go with them."""
        exact = basis.power_series_in_hermite(self.series)
        return exact[1:, 0], exact[1:, 1], -float(exact[0, 0]) + self.log_normaliser


class _Column:
    """The dual problem of one column, for targets that change."""

    def __init__(self, problem: Problem) -> None:
        self.target = problem.targets[:, 0]
        self.order = len(self.target)
        self.ends = np.array([problem.lower[0], problem.upper[0]])
        self.hull = float(problem.data_lower[0]), float(problem.data_upper[0])
        self._constants = tables.constants(self.order)
        self._grids = [hard_grid.new_grid(self.order + 1) for _ in range(2)]

    def starts(self, rule: Rule) -> list[Array]:
        """Return the starts for a target, the lowest dual first."""
        found: list[tuple[float, int, Array]] = []
        for series in starts(*rule, self.order, *self.ends):
            value = self.dual(series, rule)
            if math.isfinite(value):
                found.append((value, len(found), series))
        return [series for _, _, series in sorted(found, key=lambda one: one[:2])]

    def newton(self, start: Array, rule: Rule, most: int = NEWTON_STEPS) -> Attempt:
        """Minimise from a start; its moments are NaN where it overflows."""
        series = start.copy()
        room, more_room = self._grids
        steps, decrement, panels, grid = hard_kernel.newton(
            series, *rule, self.ends, self._constants, room, more_room, most
        )
        moments = np.full(self.order + 1, math.nan)
        log_z = change = math.nan
        if panels > 0:
            log_z, change = hard_grid.check(series, panels, self._constants, grid, moments)
        with np.errstate(over="ignore", invalid="ignore"):
            terms = np.abs(rule[0]) ** np.arange(self.order + 1)[:, None] @ rule[1]
            noise = DOUBLE_DOUBLE * float(np.abs(series[:, 0]) @ terms)
        return Attempt(series, moments[1:], log_z, change, steps, decrement, noise)

    def dual(self, series: Array, rule: Rule) -> float:
        """Return the dual, inf where the density cannot be laid out."""
        return float(hard_kernel.dual(series, *rule, self.ends, self._constants, self._grids[0]))

    def layout(self, series: Array, rule: Rule) -> wander.Layout | None:
        """Return the bumps of a density."""
        return wander.layout(series, rule[0], self.ends, self._constants, self._grids[0])

    def uniform(self) -> Attempt:
        """Return the uniform density on the support."""
        attempt = self.newton(np.zeros((self.order + 1, 2)), _uniform_rule(self.order, *self.ends))
        return replace(attempt, epsilon=1.0)

    def meets(self, attempt: Attempt, wanted: Array) -> bool:
        """Return whether the attempt has the moments wanted, also by the table users evaluate."""
        near = meets(attempt.moments, wanted) and attempt.noise <= MOST_NOISE
        return bool(near and self._confirmed(attempt, in_powers(wanted)))

    def _confirmed(self, attempt: Attempt, powers: Array) -> bool:
        """Return whether the density has E z^i by its table, made from the multipliers alone.

        Where the multipliers have too few digits somewhere on the support, a spike rises there.
        """
        solution = Solution.empty(self.order, np.zeros(1, np.int8))
        high, low, log_z = attempt.multipliers()
        solution.coefficients[:, 0], solution.coefficients_low[:, 0] = high, low
        solution.log_normaliser[0] = log_z
        solution.lower[0], solution.upper[0] = self.ends
        table = tables.build(solution, 0)
        found = [
            integrals.power_mean(table, np.ones(1), np.zeros(1), i)[0]
            for i in range(1, self.order + 1)
        ]
        return bool(agrees(np.abs(np.array(found) - powers) / CONFIRMED, powers))

    def off(self, attempt: Attempt) -> float:
        """Return how far the attempt is from the column's target."""
        off = float(residual(attempt.moments, self.target))
        return off if math.isfinite(off) else math.inf

    def finished(self, attempt: Attempt, steps: int) -> Attempt:
        """Return the attempt with all steps, and the residual against the column's target.

        An epsilon so small that the target's moments are met all the same counts as none.
        """
        met = attempt.epsilon == 0.0 or self.meets(attempt, self.target)
        epsilon = 0.0 if met else attempt.epsilon
        return replace(attempt, iterations=steps, residual=self.off(attempt), epsilon=epsilon)


def solve(rule: Rule, problem: Problem) -> Attempt:
    """Fit one column.

    Parameters
    ----------
    rule : (points, masses)
        Gauss rule of the target, exact to degree k, in standardised coordinates.
    problem : Problem
        Of one column.

    Returns
    -------
    Attempt
        Its `epsilon` is 0 where it `meets` the moments, else the smallest weight of the mixture
        that was reached; 1 if there was none: the uniform density then.
    """
    column = _Column(problem)
    attempts, met = _attempts(column, rule, column.starts(rule))
    # The density of a lower order may lie near, and rise nowhere where no data are.
    if not met and column.order > 2:
        lower = _solve_lower(rule, problem)
        more, met = _attempts(column, rule, [_raised(lower)])
        attempts = _nearest_first(column, [*attempts, *more], met)
    steps = sum(attempt.iterations for attempt in attempts)
    best = attempts[0] if attempts else column.uniform()
    for attempt in [] if met else attempts:
        best = _carry_on(column, rule, attempt.series)
        steps += best.iterations
        met = column.meets(best, column.target)
        if met:
            break
    if not met:
        best = _follow(column, rule)
        steps += best.iterations
    return column.finished(best, steps)


def _attempts(column: _Column, rule: Rule, starts: list[Array]) -> tuple[list[Attempt], bool]:
    """Return the attempts from the starts, the nearest first, and whether that meets the target.

    The first one that does is the last one made.
    """
    attempts: list[Attempt] = []
    met = False
    for start in starts:
        attempts.append(column.newton(start, rule))
        met = column.meets(attempts[-1], column.target)
        if met:
            break
    return _nearest_first(column, attempts, met), met


def _nearest_first(column: _Column, attempts: list[Attempt], met: bool) -> list[Attempt]:
    """Return the attempts in order, the last one first where that meets the target."""
    if met:
        return attempts[::-1]
    return sorted(attempts, key=column.off)


def _carry_on(column: _Column, rule: Rule, series: Array) -> Attempt:
    """Go on from a density that Newton's method brings nearer too slowly."""
    steps = idle = 0
    while True:
        before = column.layout(series, rule)
        attempt = column.newton(series, rule, STRIDE if idle == 0 else NEWTON_STEPS)
        steps += attempt.iterations
        attempt = replace(attempt, iterations=steps)
        after = column.layout(attempt.series, rule)
        if before is None or after is None or not after.is_resolved or steps > WANDERING:
            return attempt
        series = attempt.series
        shifts = wander.shifts(before, after)
        if shifts and idle == 0:
            series = wander.carry(after, shifts, column.ends, lambda one: column.dual(one, rule))
            continue
        if column.meets(attempt, column.target) or idle == PATIENCE:
            return attempt
        idle = 0 if shifts else idle + 1


def _raised(attempt: Attempt) -> Array:
    """Return log p as a series of two orders more."""
    return np.vstack([attempt.series, np.zeros((2, 2))])


def _solve_lower(rule: Rule, problem: Problem) -> Attempt:
    """Fit two moments less, from still lower orders up, without following a path."""
    problem = replace(problem, targets=problem.targets[:-2])
    column = _Column(problem)
    starts = column.starts(rule)
    steps = 0
    if column.order > 2:
        lower = _solve_lower(rule, problem)
        starts = [_raised(lower), *starts]
        steps = lower.iterations
    attempts, _ = _attempts(column, rule, starts)
    best = attempts[0] if attempts else column.uniform()
    return replace(best, iterations=steps + sum(attempt.iterations for attempt in attempts))


def _follow(column: _Column, rule: Rule) -> Attempt:
    """Solve for (1 - epsilon) mu + epsilon nu, from epsilon = 0.1 as near to 0 as it goes."""
    target = column.target
    uniform = _uniform_rule(column.order, *column.hull)
    with np.errstate(over="ignore", invalid="ignore"):  # data beyond any power of z
        of_uniform = basis.hermite(uniform[0], column.order)[1:] @ uniform[1]
    best: Attempt | None = None
    epsilon, factor, steps = FIRST_EPSILON, FIRST_FACTOR, 0
    while steps < MOST_STEPS:
        mixed = _mixture(rule, uniform, epsilon)
        wanted = target + epsilon * (of_uniform - target)
        tried = [] if best is None else [best.series]
        if best is None or factor > LAST_RESORT:
            tried += column.starts(mixed)
        done = False
        for start in tried:
            attempt = column.newton(start, mixed)
            steps += attempt.iterations
            done = column.meets(attempt, wanted)
            if done:
                best = replace(attempt, epsilon=epsilon)
                break
        if best is None:
            if epsilon >= 1.0:
                break
            epsilon = min(1.0, 3 * epsilon)
            continue
        factor = max(factor * factor, LEAST_FACTOR) if done else math.sqrt(factor)
        if best.epsilon == 0.0 or factor > NEAR_ONE:
            break
        if epsilon == 0.0 and column.meets(best, target):
            break
        epsilon = best.epsilon * factor
        if epsilon < LEAST_EPSILON or column.meets(best, target):
            epsilon = 0.0
    return replace(best or column.uniform(), iterations=steps)


def _uniform_rule(order: int, low: float, high: float) -> Rule:
    """Return the Gauss rule of the uniform distribution."""
    nodes, weights = np.polynomial.legendre.leggauss(order // 2 + 1)
    return (low + high) / 2 + (high - low) / 2 * nodes, weights / 2


def _mixture(one: Rule, other: Rule, share: float) -> Rule:
    """Return the Gauss rule of a mixture of two."""
    if share == 0.0:
        return one
    points = np.concatenate([one[0], other[0]])
    masses = np.concatenate([(1 - share) * one[1], share * other[1]])
    return gauss_rule_of_samples(points, masses, len(one[0]))
