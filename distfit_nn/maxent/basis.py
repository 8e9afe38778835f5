"""Scaled Hermite polynomials and Gauss-Legendre panels: what every solver of this room shares.

With He_i the probabilists' Hermite polynomials, h_i(z) = He_i(z) / sqrt(i!) are orthonormal under
N(0,1). In standardised coordinates they keep the Hessian of the dual problem well conditioned (a
median of 8e2 at order 6, where monomials of the raw data reach 2e11).
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NODES_PER_PANEL = 12
MAX_PANELS = 256
# A panel is halved where halving it changes one of its integrals by more than this.
PANEL_TOLERANCE = 1e-13
# Distances from the mean, in standard deviations, at which the first panels end.
GRADES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.5, 6.5, 10.0, 16.0, 26.0, 42.0, 68.0, 110.0, 178.0)


def hermite(z: Array, order: int) -> Array:
    """Return h_0(z), ..., h_order(z) stacked on a new first axis.

    By h_{i+1} = (z h_i - sqrt(i) h_{i-1}) / sqrt(i + 1).
    """
    out = np.empty((order + 1, *np.shape(z)))
    out[0] = 1.0
    if order:
        out[1] = z
    for i in range(1, order):
        out[i + 1] = (z * out[i] - math.sqrt(i) * out[i - 1]) / math.sqrt(i + 1)
    return out


def times_affine(coefficients: Array, slope: float, intercept: float) -> Array:
    """Multiply a polynomial, given by its h-coefficients, by (slope z + intercept).

    The result has one coefficient more. Uses z h_i = sqrt(i + 1) h_{i+1} + sqrt(i) h_{i-1}.
    """
    root = np.sqrt(np.arange(len(coefficients) + 1))
    out = np.zeros(len(coefficients) + 1)
    out[:-1] = intercept * coefficients
    out[1:] += slope * root[1:] * coefficients
    out[:-2] += slope * root[1:-1] * coefficients[1:]
    return out


@cache
def products(order: int) -> Array:
    """Return c with h_i h_j = sum_r c[i, j, r] h_{i+j-2r}, i, j = 0..order. Read only.

    c_ijr = r! C(i, r) C(j, r) sqrt((i + j - 2r)! / (i! j!)).
    """
    out = np.zeros((order + 1, order + 1, order + 1))
    f = math.factorial
    for i in range(order + 1):
        for j in range(order + 1):
            for r in range(min(i, j) + 1):
                whole = f(r) * math.comb(i, r) * math.comb(j, r)
                out[i, j, r] = whole * math.sqrt(f(i + j - 2 * r) / (f(i) * f(j)))
    out.setflags(write=False)
    return out


@cache
def monomials_in_hermite(order: int) -> Array:
    """Return M with z^i = sum_j M[i, j] h_j(z), i, j = 0..order. Read only."""
    out = np.zeros((order + 1, order + 1))
    row = np.ones(1)
    for i in range(order + 1):
        out[i, : i + 1] = row
        row = times_affine(row, 1.0, 0.0)
    out.setflags(write=False)
    return out


def power_series_in_hermite(series: Array) -> Array:
    """Return the coefficients of h_0..h_k of a polynomial in powers of z; both in double-double.

    By z^i = sum_r i! / (2^r r! j!) sqrt(j!) h_j, j = i - 2r, in 60 digits: series (k + 1, 2).
    """
    out = np.zeros_like(series)
    with localcontext() as context:
        context.prec = 60
        powers = [Decimal(float(high)) + Decimal(float(low)) for high, low in series]
        for j in range(len(series)):
            exact = Decimal(0)
            for r in range((len(series) - 1 - j) // 2 + 1):
                i = j + 2 * r
                whole = math.factorial(i) // (2**r * math.factorial(r) * math.factorial(j))
                exact += whole * powers[i]
            exact *= Decimal(math.factorial(j)).sqrt()
            out[j, 0] = float(exact)
            out[j, 1] = float(exact - Decimal(float(out[j, 0])))
    return out


@cache
def legendre_rule(size: int = NODES_PER_PANEL) -> tuple[Array, Array]:
    """Return nodes and weights of the Gauss-Legendre rule of one panel, on [-1, 1]. Read only."""
    nodes, weights = np.polynomial.legendre.leggauss(size)
    nodes.setflags(write=False)
    weights.setflags(write=False)
    return nodes, weights


def first_edges(lower: float, upper: float, data_lower: float, data_upper: float) -> Array:
    """Return the edges of the first panels: graded about the mean, and at the ends of the data."""
    grades = np.array(GRADES)
    edges = np.concatenate([-grades[::-1], grades[1:], [data_lower, data_upper]])
    edges = np.sort(edges[(edges > lower) & (edges < upper)])
    edges = np.concatenate([[lower], edges, [upper]])
    # A sliver of a panel costs as much as a wide one: drop edges that all but coincide.
    keep = np.append(np.diff(edges) > 1e-3 * min(1.0, upper - lower), True)
    keep[0] = True
    edges = edges[keep]
    edges[-1] = upper
    return edges


def panel_nodes(edges: Array) -> tuple[Array, Array]:
    """Return nodes and weights, each (panels, NODES_PER_PANEL), of the composite rule."""
    nodes, weights = legendre_rule()
    half = np.diff(edges)[:, None] / 2
    middle = (edges[:-1] + edges[1:])[:, None] / 2
    return middle + half * nodes, half * weights


def halved(edges: Array, split: NDArray[np.bool_]) -> Array:
    """Return `edges` with the panels marked in `split` cut into halves."""
    middle = (edges[:-1] + edges[1:]) / 2
    return np.sort(np.concatenate([edges, middle[split]]))
