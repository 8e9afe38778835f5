"""Newton's method of the slides for maximum-entropy densities, in four bases: for comparison only.

The slides minimise, by Newton with backtracking, on the support S of three times the range,

    L(gamma) = int_S exp(sum_i gamma_i T_i(x) - 1) dx - sum_i gamma_i mu_i,    i = 0..k,

with mu_i the mean of T_i over the data (the slide writes T_i(x) in its place, which leaves L a
function of x) and mu_0 = 1. The integral is a Gauss rule on S. Here T_i is x^i or the Hermite
polynomial He_i(x) / sqrt(i!), of x as it is or standardised. All four span the same polynomials, so
that with one start and exact arithmetic the iterates would be the same densities: what differs
between them is rounding alone. `distfit_nn.maxent` is what to use; this is short enough to read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import hermite_e, polynomial
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

Array = NDArray[np.float64]
Rule = tuple[Array, Array]  # nodes and weights

BASES = ("raw monomials", "raw Hermite", "standardised monomials", "standardised Hermite")
SUPPORT = 3.0  # ranges of the data
ARMIJO, SHORTEST = 1e-4, 2.0**-40
MOST_STEPS = 200
RIDGES = (0.0, 1e2, 1e4, 1e6, 1e8)  # units of eps, relative; tried in turn where Cholesky fails
ROUNDING = 50  # units of eps: a smaller rise of L is none
PANELS, PANEL_NODES = 200, 12  # of the rule that judges


@dataclass(frozen=True)
class Basis:
    """T_0..T_k of (x - loc) / scale: monomials or scaled Hermite polynomials."""

    hermite: bool
    loc: float
    scale: float

    def __call__(self, x: Array, order: int) -> Array:
        """Return T_i(x), (points, order + 1)."""
        z = (x - self.loc) / self.scale
        if not self.hermite:
            return polynomial.polyvander(z, order)
        sizes = [math.sqrt(math.factorial(i)) for i in range(order + 1)]
        return hermite_e.hermevander(z, order) / sizes


@dataclass(frozen=True)
class Outcome:
    """Where Newton's method stopped, after how many steps, and why."""

    gamma: Array
    steps: int
    stopped: str  # "decrement", "no descent", "singular", "too many steps"


def basis_of(name: str, x: Array) -> Basis:
    """Return the basis of this name for a column."""
    standardised = name.startswith("standardised")
    place = (float(x.mean()), float(x.std())) if standardised else (0.0, 1.0)
    return Basis(name.endswith("Hermite"), *place)


def support(x: Array) -> tuple[float, float]:
    """Return the interval of three times the range, about the middle of the range."""
    low, high = float(x.min()), float(x.max())
    middle, half = (low + high) / 2, SUPPORT * (high - low) / 2
    return middle - half, middle + half


def gauss_rule(ends: tuple[float, float], nodes: int) -> Rule:
    """Return the nodes and weights of Gauss-Legendre on an interval."""
    return _on_panels(np.array(ends), nodes)


def fine_rule(ends: tuple[float, float]) -> Rule:
    """Return the rule that judges: many panels, narrower at the ends, where densities may rise."""
    edges = -np.cos(np.linspace(0, np.pi, PANELS + 1))
    return _on_panels(sum(ends) / 2 + edges * (ends[1] - ends[0]) / 2, PANEL_NODES)


def _on_panels(edges: Array, nodes: int) -> Rule:
    """Return Gauss-Legendre on each of the panels between the edges, together."""
    at, weights = leggauss(nodes)
    half, middle = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    return (middle[:, None] + half[:, None] * at).ravel(), (half[:, None] * weights).ravel()


def newton(
    x: Array, order: int, basis: Basis, nodes: int, dtype: type[np.floating] = np.float64
) -> Outcome:
    """Minimise L for a column by Newton with Armijo backtracking, from the uniform density on S.

    T at the nodes and the targets are given in float64 and rounded to `dtype`; what follows is in
    `dtype`. It ends with the step whose Newton decrement was below sqrt(eps).
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # a step too long
        return _newton(x, order, basis, nodes, dtype)


def _newton(x: Array, order: int, basis: Basis, nodes: int, dtype: type[np.floating]) -> Outcome:
    """Return what `newton` does; numbers beyond the range are met on the way."""
    ends, eps = support(x), float(np.finfo(dtype).eps)
    at, weights = gauss_rule(ends, nodes)
    terms, target = basis(at, order).astype(dtype), basis(x, order).mean(axis=0).astype(dtype)
    weights = weights.astype(dtype)
    gamma = np.zeros(order + 1, dtype)
    gamma[0] = 1 - math.log(ends[1] - ends[0])

    def masses(gamma: Array) -> Array:
        """Return the mass of each node."""
        return weights * np.exp(terms @ gamma - 1)

    here = masses(gamma)
    for steps in range(1, MOST_STEPS + 1):
        gradient = here @ terms - target
        direction = descent(terms.T @ (here[:, None] * terms), gradient, eps)
        if direction is None:
            return Outcome(gamma, steps, "singular")
        fall, length = -float(gradient @ direction), 1.0
        highest = here.sum() - gamma @ target
        highest += ROUNDING * eps * (here.sum() + np.abs(gamma * target).sum())
        while True:
            tried = gamma + dtype(length) * direction
            there = masses(tried)
            if fall > 0 and there.sum() - tried @ target <= highest - ARMIJO * length * fall:
                break
            length /= 2
            if length < SHORTEST:
                return Outcome(gamma, steps, "no descent")
        gamma, here = tried, there
        if fall < eps:
            return Outcome(gamma, steps, "decrement")
    return Outcome(gamma, MOST_STEPS, "too many steps")


def descent(hessian: Array, gradient: Array, eps: float) -> Array | None:
    """Return Newton's direction by Cholesky, with the least ridge that lets it be; else None."""
    if not np.isfinite(hessian).all():
        return None
    for ridge in RIDGES:
        try:
            factor = cho_factor(hessian + np.diag(ridge * eps * np.diag(hessian)))
        except LinAlgError:
            continue
        direction = -cho_solve(factor, gradient).astype(hessian.dtype)
        return direction if np.isfinite(direction).all() else None
    return None


def residual(x: Array, order: int, rule: Rule, density: Array) -> float:
    """Return max_i abs(E_p z^i - m_i) / max(1, abs(m_i)), i = 0..k, z of unit variance.

    p is given by its values at the nodes of a rule; m_i is the mean of z^i over the data. What is
    no number counts as infinite.
    """
    powers = Basis(False, float(x.mean()), float(x.std()))
    wanted = powers(x, order).mean(axis=0)
    with np.errstate(all="ignore"):
        found = (rule[1] * density) @ powers(rule[0], order)
        error = float(np.max(np.abs(found - wanted) / np.maximum(1, np.abs(wanted))))
    return error if math.isfinite(error) else math.inf


def density_at(points: Array, order: int, basis: Basis, gamma: Array) -> Array:
    """Return exp(sum_i gamma_i T_i - 1) at points."""
    with np.errstate(over="ignore"):
        return np.exp(basis(points, order) @ gamma.astype(np.float64) - 1)


def condition(order: int, basis: Basis, rule: Rule, density: Array) -> float:
    """Return the condition of the Hessian E_p T T' of L at a density.

    It is the square of that of the matrix sqrt(p) T, so that it is told far beyond 1 / eps.
    """
    root = np.sqrt(rule[1] * density)[:, None] * basis(rule[0], order)
    values = np.linalg.svd(root, compute_uv=False)
    return float((values[0] / values[-1]) ** 2) if values[-1] > 0 else math.inf
