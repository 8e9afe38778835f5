"""Starts of the hard solver: densities with a bump at each point where the target has its mass.

Close to the edge of the moment space the density is all but a measure on few points: the Gauss rule
of k/2 points for even k; for odd k (k - 1)/2 points and an end of the support; or both ends. With
pi the orthonormal polynomial that vanishes at those points (an end enters as a factor of the
measure instead), the density

    exp(-(1/2) pi(z)^2 + r(z)),    r(t_j) = log of the mass at t_j over that of its bump,

has a bump of the right width at every point, for E_target pi^2 = 1, and of the right mass. Newton
then has no bump to move, which would take a step for each of its widths.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

from distfit_nn.maxent.gauss_rule import Wide, lanczos, rule_of_jacobi

Array = NDArray[np.float64]
Polynomial = list[Decimal]  # coefficients of z^0, z^1, ...: in many digits, for they cancel

DIGITS = 80

LEAST_MASS = 1e-12  # of an end of the support, for its logarithm to be finite


def starts(points: Array, masses: Array, order: int, lower: float, upper: float) -> list[Array]:
    """Return starts (order + 1, 2), power series in z in double-double, for a target on points."""
    if order % 2 == 0:
        choices: tuple[tuple[float, ...], ...] = ((), (lower, upper))
    else:
        choices = ((), (lower,), (upper,))
    flat = order - order % 2
    out = [np.zeros((order + 1, 2))]
    with localcontext() as context:
        context.prec = DIGITS
        if flat:
            out.append(_double_double(_flat(points[0], points[-1], flat), order))
        for ends in choices:
            degree = (order - len(ends)) // 2
            bumps = _bumps(points, masses, degree, ends) if degree else None
            if bumps is not None:
                out.append(_double_double(bumps, order))
    return out[::-1]


def _bumps(points: Array, masses: Array, degree: int, ends: tuple[float, ...]) -> Polynomial | None:
    """Return -(1/2) w pi^2 + r, w the distance to the ends; None where the target has no such."""
    wide = points.astype(np.longdouble)
    distance = np.ones_like(wide)
    for end in ends:
        distance = distance * np.abs(wide - end)
    share = masses * distance
    total = share.sum()
    if not total > 0:
        return None
    diagonal, off = lanczos(wide, share, degree + 1)
    if len(off) < degree:
        return None
    nodes, part = rule_of_jacobi(diagonal[:degree], off[: degree - 1])
    pi = _orthonormal(diagonal, off, float(total))
    slopes = np.array([float(abs(_at(_derivative(pi), node))) for node in nodes])
    factor = [Decimal(1)]
    weight = np.ones(degree)
    for end in ends:
        sign = 1 if end <= points[0] else -1
        factor = _product(factor, [Decimal(-sign * end), Decimal(sign)])
        weight *= np.abs(nodes - end)
    if not (weight.all() and slopes.all() and np.isfinite(slopes).all()):
        return None
    mass = float(total) * part / weight
    where = [*nodes, *ends]
    heights = list(np.log(mass * slopes * np.sqrt(weight / (2 * math.pi))))
    for end in ends:
        others = [float(abs(end - other)) for other in ends if other != end]
        slope = float(_at(pi, end)) ** 2 * math.prod(others) / 2
        heights.append(math.log(max(1 - mass.sum(), LEAST_MASS) / len(ends)) + math.log(slope))
    if not np.isfinite(heights).all():
        return None
    half = [-c / 2 for c in _product(factor, _product(pi, pi))]
    return _sum(half, _interpolant(where, heights))


def _orthonormal(diagonal: Wide, off: Wide, total: float) -> Polynomial:
    """Return the last polynomial of the recurrence, orthonormal under a measure of mass `total`."""
    before: Polynomial = [Decimal(0)]
    pi: Polynomial = [1 / Decimal(math.sqrt(total))]
    for j, after in enumerate(off):
        shifted = _product([-Decimal(float(diagonal[j])), Decimal(1)], pi)
        if j:
            shifted = _sum(shifted, [-Decimal(float(off[j - 1])) * c for c in before])
        before, pi = pi, [c / Decimal(float(after)) for c in shifted]
    return pi


def _flat(low: float, high: float, order: int) -> Polynomial:
    """Return -((z - middle) / half)^order: flat over the data, and falling outside."""
    half = (high - low) / 2
    linear = [Decimal(-(high + low) / 2) / Decimal(half), 1 / Decimal(half)]
    out: Polynomial = [Decimal(-1)]
    for _ in range(order):
        out = _product(out, linear)
    return out


def _interpolant(nodes: list[float], values: list[float]) -> Polynomial:
    """Return the polynomial through the values at the nodes, by divided differences."""
    where, table = [Decimal(float(t)) for t in nodes], [Decimal(float(v)) for v in values]
    for step in range(1, len(where)):
        for i in range(len(where) - 1, step - 1, -1):
            table[i] = (table[i] - table[i - 1]) / (where[i] - where[i - step])
    out: Polynomial = [Decimal(0)]
    for node, coefficient in zip(where[::-1], table[::-1], strict=True):
        out = _sum(_product([-node, Decimal(1)], out), [coefficient])
    return out


def _product(a: Polynomial, b: Polynomial) -> Polynomial:
    out = [Decimal(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            out[i + j] += x * y
    return out


def _sum(a: Polynomial, b: Polynomial) -> Polynomial:
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    return [c + (shorter[i] if i < len(shorter) else 0) for i, c in enumerate(longer)]


def _derivative(a: Polynomial) -> Polynomial:
    return [i * c for i, c in enumerate(a)][1:]


def _at(a: Polynomial, z: float) -> Decimal:
    value, x = Decimal(0), Decimal(float(z))
    for c in reversed(a):
        value = value * x + c
    return value


def _double_double(a: Polynomial, order: int) -> Array:
    """Return the coefficients, each as the sum of two float64, up to `order`."""
    out = np.zeros((order + 1, 2))
    for i, c in enumerate(a[: order + 1]):
        out[i, 0] = float(c)
        out[i, 1] = float(c - Decimal(out[i, 0]))
    return out
