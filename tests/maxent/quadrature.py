"""A quadrature of the tests' own for densities exp(polynomial), from values of log p alone.

16 nodes determine a polynomial of degree up to 12 on a panel. Its Legendre coefficients c bound it
there, |P_i| <= 1, so that no spike hides between nodes, and on the ellipse with foci at the ends
and half axes that add up to 4, |P_i| <= 4^i: a Gauss rule of 16 nodes is then exact to
(64/15) exp(sum_i |c_i| 4^i) 4^-32 / (1 - 4^-2) relative to exp(c_0) (Trefethen, SIAM Rev. 50).

A node is rounded to float64 before log p is asked for there. In a spike of a million float64 that
shows: log p at the node of the rule is then that of the polynomial through the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.maxent import oracle

Array = NDArray[np.float64]

SIZE = 16
NODES, WEIGHTS = np.polynomial.legendre.leggauss(SIZE)
TO_LEGENDRE = (
    (np.arange(SIZE) + 0.5)[:, None] * np.polynomial.legendre.legvander(NODES, SIZE - 1).T * WEIGHTS
)
VANDERMONDE = np.polynomial.legendre.legvander(NODES, SIZE - 1)
COARSE = 0.01  # rounding of nodes in panels so narrow that they do not matter
SMOOTH = 10.0  # bound on sum_i |c_i| 4^i: the rule is exact to 6e-15
EMPTY = -40.0  # log of mass times the highest power of |z| in a panel that is left out
LEVELS = 200


@dataclass(frozen=True)
class Quadrature:
    """Nodes, weights and log p where the mass of a density is."""

    nodes: Array
    weights: Array
    log_p: Array

    @property
    def p(self) -> Array:
        """Mass of each node."""
        return self.weights * np.exp(self.log_p)

    def mean(self, values: Array) -> Array:
        """Integral of p times values (..., nodes)."""
        return values @ self.p

    def mass(self) -> float:
        """Integral of p."""
        return float(self.p.sum())

    def moments(self, order: int) -> Array:
        """Integrals of p z^i, i = 1..order."""
        return self.mean(self.nodes ** np.arange(1, order + 1)[:, None])

    def entropy(self) -> float:
        """Minus the integral of p log p."""
        return -float(self.mean(self.log_p))


def quadrature(log_p: Callable[[Array], Array], order: int, points: Array) -> Quadrature:
    """Bisect from panels between `points`, the ends of the support among them.

    A panel is left out where exp of the bound, times its width and its largest |z|^order, is below
    exp(EMPTY), and done where the rule is exact. Raises ArithmeticError where panels as narrow as
    float64 has them do not suffice.
    """
    points = np.unique(points)
    low, high = points[:-1], points[1:]
    found = []
    for _ in range(LEVELS):
        half = (high - low) / 2
        z = low[:, None] + half[:, None] * (1 + NODES)
        u = log_p(z.ravel()).reshape(z.shape)
        size = np.abs(u @ TO_LEGENDRE.T)
        # What a polynomial of this degree does not have is rounding: it is in the others, too.
        noise = size[:, order + 1 :].max(axis=1, keepdims=True)
        size = np.maximum(size[:, : order + 1] - 3 * noise, 0.0)
        spread = size[:, 1:].sum(axis=1)
        mean = u @ (WEIGHTS / 2)
        reach = np.log(np.maximum(1.0, np.maximum(np.abs(low), np.abs(high))))
        empty = mean + spread + np.log(high - low) + order * reach < EMPTY
        smooth = size[:, 1:] @ 4.0 ** np.arange(1, order + 1) < SMOOTH
        done = smooth & ~empty
        off = (z - low[:, None])[done] / half[done, None] - (1 + NODES)
        found.append((z[done], half[done, None] * WEIGHTS, _at_nodes(u[done], off)))
        again = ~(smooth | empty)
        if not again.any():
            return Quadrature(
                *(np.concatenate([a.ravel() for a in part]) for part in zip(*found, strict=True))
            )
        low, high = low[again], high[again]
        middle = low / 2 + high / 2
        if not ((low < middle) & (middle < high)).all():
            break
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
    raise ArithmeticError("log p is rougher than float64 can tell")


def _at_nodes(u: Array, off: Array) -> Array:
    """Return the polynomials with values u at NODES + off, each (panels, SIZE), at NODES."""
    size = np.abs(off).max(axis=1, initial=0.0)
    moved = (size > 1e-13) & (size < COARSE)
    through = np.polynomial.legendre.legvander(NODES + off[moved], SIZE - 1)
    out = u.copy()
    out[moved] = np.linalg.solve(through, u[moved][:, :, None])[:, :, 0] @ VANDERMONDE.T
    return out


def of_multipliers(multipliers: Array, points: Array) -> tuple[Quadrature, Array]:
    """Return a quadrature of exp(sum_i lambda_i h_i) / Z, and h_1, ..., h_k on its nodes."""
    order = len(multipliers)

    def raw(z: Array) -> Array:
        return multipliers @ oracle.hermite(z, order)[1:]

    peak = raw(np.unique(points)).max()
    found = quadrature(lambda z: raw(z) - peak, order, points)
    log_p = found.log_p - math.log(found.mass())
    rule = Quadrature(found.nodes, found.weights, log_p)
    return rule, oracle.hermite(rule.nodes, order)[1:]
