"""What a Newton step is made from, compiled: a start, moments, the Hessian and its factors.

The Hessian follows from the moments to order 2k by h_i h_j = sum_r c_ijr h_{i+j-2r}. Vectors of
length k + 1 start with the constant h_0; row and column 0 of matrices are not used.
"""

from __future__ import annotations

import math
from collections import namedtuple

import numpy as np
from numpy.typing import NDArray

from distfit_nn.maxent import basis, reference, simd
from distfit_nn.maxent.rule_kernel import compiled, inlined

# Compiled code takes globals as constants, and its cache does not see that they have changed.
RIDGE, MAX_RIDGE = reference.RIDGE, reference.MAX_RIDGE

# Of one thread: moments to order 2k, what follows from them, and the products c_ijr.
System = namedtuple(
    "System", ["products", "moments", "gradient", "hessian", "factor", "direction", "candidate"]
)


def new_system(order: int) -> System:
    """Return work arrays for one thread."""
    size = order + 1
    gradient, direction, candidate = (np.empty(size) for _ in range(3))
    products: NDArray[np.float64] = np.array(basis.products(order))
    hessian, factor = np.empty((size, size)), np.empty((size, size))
    return System(
        products, np.empty(2 * order + 1), gradient, hessian, factor, direction, candidate
    )


@inlined
def dot(a, b):  # type: ignore[no-untyped-def]
    """Return sum_{i >= 1} a_i b_i."""
    out = 0.0
    for i in range(1, len(a)):
        out += a[i] * b[i]
    return out


@inlined
def _covariance(moments, products, size, out):  # type: ignore[no-untyped-def]
    """Write the covariances of h_1, ..., h_{size - 1} to the lower triangle."""
    for i in range(1, size):
        for j in range(1, i + 1):
            value = -moments[i] * moments[j]
            for r in range(j + 1):
                value += products[i, j, r] * moments[i + j - 2 * r]
            out[i, j] = value


@inlined
def differentiate(target, total, rule, system):  # type: ignore[no-untyped-def]
    """Write moments, gradient and Hessian of the dual from the p of a rule and their sum."""
    size = len(target)
    m, gradient = system.moments, system.gradient
    simd.moments(rule.p, rule.h, rule.count[0], m)
    m[0] = 1.0
    share = 1.0 / total
    for i in range(1, 2 * size - 1):
        m[i] *= share
    for i in range(1, size):
        gradient[i] = m[i] - target[i]
    _covariance(m, system.products, size, system.hessian)


@compiled
def _factored(matrix, size, ridge, factor):  # type: ignore[no-untyped-def]
    """Factor a matrix, its diagonal raised by a relative ridge; return whether it is definite.

    L D L' = matrix: L below the diagonal of `factor`, and 1 / D on it.
    """
    for i in range(1, size):
        for j in range(1, i + 1):
            factor[i, j] = matrix[i, j]
        factor[i, i] *= 1.0 + ridge
    for j in range(1, size):
        if not factor[j, j] > 0.0:
            return False
        inverse = 1.0 / factor[j, j]
        factor[j, j] = inverse
        for i in range(j + 1, size):
            ratio = factor[i, j] * inverse
            for m in range(j + 1, i + 1):
                factor[i, m] -= ratio * factor[m, j]
        for i in range(j + 1, size):
            factor[i, j] *= inverse
    return True


@inlined
def factorise(system):  # type: ignore[no-untyped-def]
    """Factor the Hessian with the least ridge that it needs; return whether one suffices."""
    size = len(system.gradient)
    ridge = 0.0
    while not _factored(system.hessian, size, ridge, system.factor):
        ridge = max(RIDGE, 100.0 * ridge)
        if not ridge <= MAX_RIDGE:
            return False
    return True


@inlined
def direct(system):  # type: ignore[no-untyped-def]
    """Write -H^-1 gradient, the direction; return its product with the gradient."""
    gradient, factor, direction = system.gradient, system.factor, system.direction
    size = len(gradient)
    slope = 0.0
    for i in range(1, size):
        value = -gradient[i]
        for m in range(1, i):
            value -= factor[i, m] * direction[m]
        direction[i] = value
        slope -= value * value * factor[i, i]
    for i in range(size - 1, 0, -1):
        value = direction[i] * factor[i, i]
        for m in range(i + 1, size):
            value -= factor[m, i] * direction[m]
        direction[i] = value
    return slope


@inlined
def start(target, system, coefficients):  # type: ignore[no-untyped-def]
    """Write the multipliers of -a pi^2, pi the last orthonormal polynomial of degree k // 2.

    Its density has a bump at each node of a Gauss rule of the target, wide enough to be smooth.
    Returns whether the target has such a polynomial.
    """
    degree = (len(target) - 1) // 2
    factor, pi, products = system.factor, system.candidate, system.products
    coefficients[:] = 0.0
    if degree == 0:
        return True
    _covariance(target, products, degree + 1, system.hessian)
    if not _factored(system.hessian, degree + 1, 0.0, factor):
        return False
    pi[0] = 0.0
    pi[degree] = math.sqrt(factor[degree, degree])
    for i in range(degree - 1, 0, -1):
        value = 0.0
        for m in range(i + 1, degree + 1):
            value -= factor[m, i] * pi[m]
        pi[i] = value
    for i in range(1, degree + 1):
        pi[0] -= pi[i] * target[i]
    height = 0.5 if degree == 1 else 0.25
    for i in range(degree + 1):
        for j in range(degree + 1):
            for r in range(min(i, j) + 1):
                coefficients[i + j - 2 * r] -= height * pi[i] * pi[j] * products[i, j, r]
    return math.isfinite(dot(coefficients, coefficients))
