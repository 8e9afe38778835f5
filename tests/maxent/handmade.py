"""Densities built from multipliers of one's own, and the same in 40 digits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import mpmath as mp
import numpy as np
from numpy.polynomial import hermite_e
from numpy.typing import NDArray

from distfit_nn.maxent import Density, Solution, Status

Array = NDArray[np.float64]
FALL = 110  # of log p below the top, 48 digits, where nothing is left to add


@cache
def legendre(n: int = 24) -> list[tuple[mp.mpf, mp.mpf]]:
    """Nodes and weights of the Gauss rule on [-1, 1], by Newton on the polynomial."""
    mp.mp.dps = 40
    out = []
    for start in np.polynomial.legendre.leggauss(n)[0]:
        t = mp.mpf(float(start))
        for _ in range(4):
            p, q = mp.legendre(n, t), mp.legendre(n - 1, t)
            slope = n * (t * p - q) / (t * t - 1)
            t -= p / slope
        out.append((t, 2 / ((1 - t * t) * slope**2)))
    return out


def hermite_coefficients(powers: Sequence[mp.mpf]) -> list[mp.mpf]:
    """Coefficients of h_0, h_1, ... from those of z^0, z^1, ..."""
    out = [mp.mpf(0)] * len(powers)
    for n, c in enumerate(powers):
        # z^n = sum_m n! / (2^m m! (n - 2 m)!) He_{n - 2 m}
        for m in range(n // 2 + 1):
            i = n - 2 * m
            share = mp.factorial(n) / (mp.mpf(2) ** m * mp.factorial(m) * mp.factorial(i))
            out[i] += c * share * mp.sqrt(mp.factorial(i))
    return out


@dataclass
class Exact:
    """p(z) = exp(sum lambda_i h_i(z)) / Z on [lower, upper], lambda of 40 digits."""

    multipliers: list[mp.mpf]
    lower: float
    upper: float
    breaks: list[float]  # where the mass sits: ends of the pieces that are integrated one by one

    def __post_init__(self) -> None:
        mp.mp.dps = 40
        powers = [mp.mpf(0)] * (len(self.multipliers) + 1)
        for i, value in enumerate(self.multipliers, 1):
            whole = hermite_e.herme2poly([0] * i + [1])
            for j, c in enumerate(whole):
                powers[j] += value * int(c) / mp.sqrt(mp.factorial(i))
        self.powers = powers[::-1]
        inside = [b for b in self.breaks if self.lower < b < self.upper]
        self.cuts = sorted({mp.mpf(b) for b in (self.lower, *inside, self.upper)})
        self.log_z = mp.mpf(0)
        self.log_z = max(self.u(c) for c in self.cuts)
        self.log_z += mp.log(self.mean(lambda _: 1))

    def u(self, z: mp.mpf | float) -> mp.mpf:
        """log p at z, before 1/Z is known as after it."""
        return mp.polyval(self.powers, mp.mpf(z)) - self.log_z

    def mean(self, f, low=None, high=None) -> mp.mpf:  # type: ignore[no-untyped-def]
        """Integral of f p between two points."""
        low = self.cuts[0] if low is None else mp.mpf(low)
        high = self.cuts[-1] if high is None else mp.mpf(high)
        points = [low, *[c for c in self.cuts if low < c < high], high]
        scan = [low + (high - low) * k / 64 for k in range(65)]
        floor = max(self.u(z) for z in points + scan) - FALL
        total = mp.mpf(0)
        for a, b in self._pieces(points, floor):
            half = (b - a) / 2
            nodes = [(a + half * (1 + t), w) for t, w in legendre()]
            total += half * mp.fsum(w * f(z) * mp.exp(self.u(z)) for z, w in nodes)
        return total

    def _pieces(self, points: list[mp.mpf], floor: mp.mpf) -> Iterator[tuple[mp.mpf, mp.mpf]]:
        """Halve the pieces until log p is nearly even on each; leave out what lies too low."""
        todo = list(pairwise(points))
        while todo:
            a, b = todo.pop()
            values = [self.u(a + (b - a) * k / 4) for k in range(5)]
            if max(values) - min(values) < 6 and b - a < (self.upper - self.lower) / 16:
                yield a, b
            elif max(values) > floor or self.slope_hides(values, floor):
                todo += [(a, (a + b) / 2), ((a + b) / 2, b)]

    @staticmethod
    def slope_hides(values: list[mp.mpf], floor: mp.mpf) -> bool:
        """Whether log p might come above the floor between five points that lie below it."""
        return max(values) + max(abs(b - a) for a, b in pairwise(values)) > floor


def around(centre: float, width: float, reach: float = 45.0, pieces: int = 24) -> list[float]:
    """Break points about a peak."""
    return [centre + width * r for r in np.linspace(-reach, reach, pieces + 1)]


def density_of(exact: Exact, loc: float = 0.0, scale: float = 1.0) -> Density:
    """Density with the multipliers of `exact`, as sums of two float64."""
    high = np.array([float(v) for v in exact.multipliers])
    low = np.array([float(v - mp.mpf(float(v))) for v in exact.multipliers])
    return _density(high, low, float(exact.log_z), exact.lower, exact.upper, loc, scale)


def _density(
    high: Array, low: Array, log_z: float, lower: float, upper: float, loc: float, scale: float
) -> Density:
    solution = replace(
        Solution.empty(len(high), np.array([Status.OK], np.int8)),
        coefficients=high[:, None],
        coefficients_low=low[:, None],
        log_normaliser=np.array([log_z]),
        lower=np.array([lower]),
        upper=np.array([upper]),
    )
    return Density(solution, np.array([loc]), np.array([scale]), single=True)


def of_multipliers(multipliers: Array, lower: float, upper: float) -> Density:
    """Density of float64 multipliers; log Z is left for the table to find."""
    return _density(multipliers, 0 * multipliers, 0.0, lower, upper, 0.0, 1.0)


def quick_density(powers: Sequence[float], lower: float, upper: float) -> Density:
    """exp of a polynomial in z, as float64 has it."""
    coefficients = np.polynomial.hermite_e.poly2herme(powers)[1:]
    coefficients *= np.sqrt([float(math.factorial(i + 1)) for i in range(len(coefficients))])
    return of_multipliers(coefficients, lower, upper)


def rounded(exact: Exact) -> Exact:
    """The same with multipliers rounded to float64, as most fits have them."""
    return replace(exact, multipliers=[mp.mpf(float(v)) for v in exact.multipliers])


def from_powers(
    powers: Sequence[float | mp.mpf], lower: float, upper: float, *breaks: float
) -> Exact:
    """exp of a polynomial in z, from its coefficients of z^0, z^1, ..."""
    h = hermite_coefficients([mp.mpf(c) for c in powers])
    exact = Exact(h[1:], lower, upper, list(breaks))
    # What a float64 and its low part cannot hold is no part of the question.
    kept = [mp.mpf(float(v)) + mp.mpf(float(v - mp.mpf(float(v)))) for v in exact.multipliers]
    return replace(exact, multipliers=kept)


def shifted(powers: Sequence[float | mp.mpf], centre: float, width: float) -> list[mp.mpf]:
    """Coefficients in z of a polynomial in (z - centre) / width."""
    out = [mp.mpf(0)] * len(powers)
    for n, c in enumerate(powers):
        for i in range(n + 1):
            out[i] += (
                mp.mpf(c) * math.comb(n, i) * (-mp.mpf(centre)) ** (n - i) / mp.mpf(width) ** n
            )
    return out
