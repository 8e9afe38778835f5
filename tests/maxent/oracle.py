"""Independent answers: another basis routine, another quadrature, another arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mpmath as mp
import numpy as np
from numpy.typing import NDArray
from scipy.special import eval_hermitenorm

from distfit_nn.maxent import Density

Array = NDArray[np.float64]


def hermite(z: Array, order: int) -> Array:
    """h_0(z), ..., h_order(z) by SciPy."""
    return np.stack(
        [eval_hermitenorm(i, z) / math.sqrt(math.factorial(i)) for i in range(order + 1)]
    )


def standardised(x: Array) -> NDArray[np.longdouble]:
    """(x - mean) / std in long double, after a power of two that keeps squares in range."""
    unit = 2.0 ** np.frexp(np.abs(x).max())[1]
    wide = (x / unit).astype(np.longdouble)
    wide = wide - wide.mean()
    wide = wide - wide.mean()
    return wide / np.sqrt((wide * wide).mean())


def raw_moments(z: NDArray[np.longdouble], order: int) -> Array:
    """Means of z^1, ..., z^order."""
    return np.array([float((z**i).mean()) for i in range(1, order + 1)])


@dataclass(frozen=True)
class Dense:
    """Integrals of a one-column density over thousands of panels of my own, in z."""

    nodes: Array
    weights: Array
    log_p: Array

    def mean(self, values: Array) -> Array:
        """Integral of p times values (..., nodes)."""
        return values @ (self.weights * np.exp(self.log_p))

    def entropy(self) -> float:
        """Minus the integral of p log p, in z."""
        return -float(self.mean(self.log_p))

    def moments(self, order: int) -> Array:
        """Integrals of p z^i, i = 0..order."""
        return self.mean(self.nodes ** np.arange(order + 1)[:, None])

    def below(self, z: float) -> float:
        """Mass left of an edge z of the panels."""
        left = self.nodes < z
        return float((self.weights * np.exp(self.log_p))[left].sum())


def dense(density: Density, *extra: float, panels: int = 3000) -> Dense:
    """Gauss-Legendre on `panels` equal panels, and others that crowd where spikes may sit.

    Those are the ends of the support, of the data, and the mean; `extra` adds further edges.
    """
    solution = density.solution
    a, b = float(solution.lower[0]), float(solution.upper[0])
    spots = [a, b, 0.0, float(solution.data_lower[0]), float(solution.data_upper[0])]
    steps = np.geomspace(1e-10, 1.0, 200) * (b - a)
    near = [s + sign * steps for s in spots if math.isfinite(s) for sign in (-1, 1)]
    edges = np.concatenate([np.linspace(a, b, panels + 1), *near, list(extra)])
    edges = np.unique(edges[(edges >= a) & (edges <= b)])
    x, w = np.polynomial.legendre.leggauss(8)
    half = np.diff(edges)[:, None] / 2
    nodes = (edges[:-1, None] + half + half * x).ravel()
    basis = hermite(nodes, density.order)[1:]
    log_p = solution.coefficients[:, 0] @ basis - solution.log_normaliser[0]
    return Dense(nodes, (half * w).ravel(), log_p)


def in_coordinates_of(density: Density, x: Array) -> NDArray[np.longdouble]:
    """(x - loc) / scale in long double. At an offset of 1e8 no float64 is the mean to 1e-8."""
    loc, scale = np.longdouble(density.loc[0]), np.longdouble(density.scale[0])
    return (x.astype(np.longdouble) - loc) / scale


def residual(density: Density, x: Array) -> float:
    """The residual that `Density.residual` promises, by independent moments and integrals."""
    wanted = raw_moments(in_coordinates_of(density, x), density.order)
    reached = dense(density).moments(density.order)[1:]
    return float(np.max(np.abs(reached - wanted) / np.maximum(1, np.abs(wanted))))


class Exact:
    """The dual solved in 40 digits and monomials of z, from the float64 answer as a start."""

    def __init__(self, density: Density, x: Array, panels: int = 48) -> None:
        mp.mp.dps = 40
        order, solution = density.order, density.solution
        loc, scale = mp.mpf(float(density.loc[0])), mp.mpf(float(density.scale[0]))
        z = [(mp.mpf(float(v)) - loc) / scale for v in x]
        self.target = [mp.fsum(v**i for v in z) / len(z) for i in range(1, order + 1)]
        self.lower, self.upper = mp.mpf(float(solution.lower[0])), mp.mpf(float(solution.upper[0]))
        nodes = self._legendre(30)
        width = (self.upper - self.lower) / panels
        self.rule = [
            (self.lower + width * (j + (1 + t) / 2), w * width / 2)
            for j in range(panels)
            for t, w in nodes
        ]
        self.lam = [mp.mpf(v) for v in self.monomial_multipliers(density)]
        for _ in range(4):
            self._newton()

    @staticmethod
    def monomial_multipliers(density: Density) -> Array:
        """lambda of z^1, ..., z^k from those of h_1, ..., h_k."""
        k = density.order
        scaled = density.solution.coefficients[:, 0] / np.sqrt(
            [float(math.factorial(i)) for i in range(1, k + 1)]
        )
        return np.polynomial.hermite_e.herme2poly(np.append(0.0, scaled))[1:]

    @staticmethod
    def _legendre(n: int) -> list[tuple[mp.mpf, mp.mpf]]:
        out = []
        for start in np.polynomial.legendre.leggauss(n)[0]:
            t = mp.mpf(float(start))
            for _ in range(3):
                p, q = mp.legendre(n, t), mp.legendre(n - 1, t)
                slope = n * (t * p - q) / (t * t - 1)
                t -= p / slope
            slope = n * (t * mp.legendre(n, t) - mp.legendre(n - 1, t)) / (t * t - 1)
            out.append((t, 2 / ((1 - t * t) * slope**2)))
        return out

    def _u(self, z: mp.mpf) -> mp.mpf:
        return mp.polyval([*self.lam[::-1], 0], z)

    def _newton(self) -> None:
        k = len(self.lam)
        weight = [w * mp.exp(self._u(z)) for z, w in self.rule]
        sums = [mp.mpf(0)] * (2 * k + 1)
        for (z, _), p in zip(self.rule, weight, strict=True):
            power = p
            for i in range(2 * k + 1):
                sums[i] += power
                power *= z
        self.log_z = mp.log(sums[0])
        m = [s / sums[0] for s in sums]
        gradient = mp.matrix([m[i + 1] - self.target[i] for i in range(k)])
        hessian = mp.matrix(k, k)
        for i in range(k):
            for j in range(k):
                hessian[i, j] = m[i + j + 2] - m[i + 1] * m[j + 1]
        step = mp.lu_solve(hessian, -gradient)
        self.last_step = max(abs(s) for s in step)
        self.lam = [a + b for a, b in zip(self.lam, step, strict=True)]
        self.entropy = self.log_z - mp.fsum(a * b for a, b in zip(self.lam, m[1:], strict=False))

    def cdf(self, z: float) -> float:
        """Mass left of z, by mpmath's own quadrature."""
        points = mp.linspace(self.lower, mp.mpf(z), 20)
        return float(mp.quad(lambda t: mp.exp(self._u(t) - self.log_z), points))
