"""Entropy, masses and multipliers against the dual solved in 40 digits, to 1e-10."""

from __future__ import annotations

import math
from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest

from distfit_nn.maxent import Density, Status, fit
from tests import cases
from tests.maxent import oracle
from tests.maxent.handmade import hermite_coefficients, legendre
from tests.tolerances import MAXENT_EXACT

Case = tuple[str, int, cases.Support]

# (case, order, support): 60 values each, for mpmath has to add their powers.
CASES: list[Case] = [
    ("u_shaped", 4, "data"),
    ("exponential", 1, (-0.5, 9.0)),
    ("exponential", 5, 3.0),
    ("u_shaped", 8, (0.0, 1.0)),
    ("junk_line", 4, 10.0),
    ("junk_line", 6, 100.0),
    ("spike_and_slab", 6, 3.0),
    ("spike_and_slab", 8, 3.0),
    ("lognormal", 7, 3.0),
    ("normal", 1, 3.0),
    ("normal", 10, 3.0),
    ("bimodal", 12, 3.0),
    ("four_values", 6, 3.0),
    ("near_boundary", 4, 3.0),
    ("boundary_1e-6", 4, 3.0),
    ("boundary_1e-6", 5, 3.0),
    ("cauchy", 6, 3.0),
    ("outlier", 6, "data"),
    ("t3", 4, 10.0),
    ("post_relu", 6, 3.0),
    ("far_outlier", 4, 3.0),
    ("far_outlier", 6, 3.0),
    ("uniform", 3, 10.0),
]


def data(name: str) -> np.ndarray:
    if name == "four_values":
        return cases.distinct(4)
    if name == "boundary_1e-6":
        return np.repeat([0.0, 1.0], [18, 42]) + 2.5e-4 * np.tile([-1.0, 1.0], 30)
    return cases.column(name, 60)


class Optimum:
    """The optimum in powers of z, by Newton in 40 digits from the float64 answer."""

    FALL = 90  # of log p below the top, 39 digits
    MILD = 6.0  # change of log p over a panel of 24 nodes

    def __init__(self, density: Density, x: np.ndarray) -> None:
        mp.mp.dps = 40
        solution, self.order = density.solution, density.order
        loc, scale = mp.mpf(float(density.loc[0])), mp.mpf(float(density.scale[0]))
        z = [(mp.mpf(float(v)) - loc) / scale for v in x]
        self.target = [mp.fsum(v**i for v in z) / len(z) for i in range(1, self.order + 1)]
        self.lower, self.upper = mp.mpf(float(solution.lower[0])), mp.mpf(float(solution.upper[0]))
        self.powers = self._powers(solution.coefficients[:, 0], solution.coefficients_low[:, 0])
        self.log_z = mp.mpf(0)
        self.panels = self._lay(sorted({self.lower, *z, self.upper}))
        for _ in range(8):
            if self._newton() < mp.mpf(10) ** -32:
                break
        self.last_step = self._newton()

    def _powers(self, high: np.ndarray, low: np.ndarray) -> list[mp.mpf]:
        """Coefficients of z^0, ..., z^k of sum_i lambda_i h_i."""
        out = [mp.mpf(0)] * (self.order + 1)
        for i in range(1, self.order + 1):
            value = (mp.mpf(float(high[i - 1])) + mp.mpf(float(low[i - 1]))) / mp.sqrt(
                mp.factorial(i)
            )
            for j, c in enumerate(np.polynomial.hermite_e.herme2poly([0] * i + [1])):
                out[j] += value * int(c)
        return out

    def u(self, z: mp.mpf) -> mp.mpf:
        return mp.polyval(self.powers[::-1], z) - self.log_z

    def _lay(self, points: list[mp.mpf]) -> list[tuple[mp.mpf, mp.mpf]]:
        """Panels on which log p is even, by bisection; those that no value comes near are dropped.

        On a panel the polynomial is bounded by its Taylor coefficients about the middle.
        """
        top = max(self.u(p) for p in points)
        todo, out = list(pairwise(points)), []
        while todo:
            a, b = todo.pop()
            middle, half = (a + b) / 2, (b - a) / 2
            taylor = self._derivatives(middle)
            taylor[0] -= self.log_z
            wide = mp.fsum(abs(c) * half**i for i, c in enumerate(taylor) if i)
            if taylor[0] + wide < top - self.FALL:
                continue
            top = max(top, taylor[0])
            if wide < self.MILD:
                out.append((a, b))
            else:
                todo += [(a, middle), (middle, b)]
        return sorted(out)

    def _derivatives(self, at: mp.mpf) -> list[mp.mpf]:
        """Taylor coefficients of the polynomial, by repeated synthetic division."""
        c = list(self.powers)
        for i in range(self.order):
            for j in range(self.order - 1, i - 1, -1):
                c[j] += at * c[j + 1]
        return c

    def rule(self, low: mp.mpf | None = None, high: mp.mpf | None = None):  # type: ignore[no-untyped-def]
        """Yield nodes and masses between two points."""
        for a, b in self.panels:
            left, right = a if low is None else max(a, low), b if high is None else min(b, high)
            if left < right:
                for t, w in legendre():
                    z = (left + right) / 2 + (right - left) / 2 * t
                    yield z, w * (right - left) / 2 * mp.exp(self.u(z))

    def _newton(self) -> mp.mpf:
        """Take a step; return the decrement before it."""
        k = self.order
        sums = [mp.mpf(0)] * (2 * k + 1)
        for z, p in self.rule():
            for i in range(2 * k + 1):
                sums[i] += p
                p *= z
        self.log_z += mp.log(sums[0])
        m = [s / sums[0] for s in sums]
        gradient = mp.matrix([m[i + 1] - self.target[i] for i in range(k)])
        hessian = mp.matrix(k, k)
        for i in range(k):
            for j in range(k):
                hessian[i, j] = m[i + j + 2] - m[i + 1] * m[j + 1]
        step = mp.lu_solve(hessian, -gradient)
        for i in range(k):
            self.powers[i + 1] += step[i]
        self.powers[0] = mp.mpf(0)
        self.entropy = self.log_z - mp.fsum(self.powers[i + 1] * m[i + 1] for i in range(k))
        return mp.sqrt(abs(mp.fsum(-gradient[i] * step[i] for i in range(k))))

    def multipliers(self) -> list[mp.mpf]:
        return hermite_coefficients(self.powers)[1:]

    def below(self, z: float) -> float:
        return float(mp.fsum(p for _, p in self.rule(high=mp.mpf(z))))

    def above(self, z: float) -> float:
        return float(mp.fsum(p for _, p in self.rule(low=mp.mpf(z))))


def hold(name: str, order: int, support: cases.Support) -> None:
    x = data(name)
    density = fit(x, order, support)
    assert density.status == Status.OK
    exact = Optimum(density, x)
    assert exact.last_step < mp.mpf(10) ** -25
    assert density.entropy() - math.log(density.scale[0]) == pytest.approx(
        float(exact.entropy), abs=MAXENT_EXACT
    )
    plain = Density(density.solution, np.zeros(1), np.ones(1), single=True)
    values = np.asarray(oracle.in_coordinates_of(density, x), float)
    inner = np.quantile(values, [0.02, 0.3, 0.5, 0.9])
    ends = [float(exact.lower) * 0.99, float(exact.upper) * 0.99]
    for z in [*inner, *ends]:
        low, high = exact.below(z), exact.above(z)
        assert plain.cdf(z) == pytest.approx(low, abs=MAXENT_EXACT)
        assert plain.sf(z) == pytest.approx(high, abs=MAXENT_EXACT)
    # Relative to the largest multiplier: where they are large their terms cancel.
    wanted = exact.multipliers()
    scale = max(1, *(abs(value) for value in wanted))
    for i, value in enumerate(wanted):
        found = mp.mpf(float(density.solution.coefficients[i, 0]))
        found += mp.mpf(float(density.solution.coefficients_low[i, 0]))
        assert abs(found - value) <= MAXENT_EXACT * scale, (i + 1, float(value))


@pytest.mark.parametrize(("name", "order", "support"), CASES)
def test_forty_digits(name: str, order: int, support: cases.Support) -> None:
    hold(name, order, support)
