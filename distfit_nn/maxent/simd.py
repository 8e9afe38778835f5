"""Passes over the nodes of a rule that the compiler turns into vector instructions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from distfit_nn._floats import exponential

# Nothing is allocated in compiled code, so references need not be counted: each count is an atomic
# operation, and passes as short as these take half the time without.
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
# Sums over nodes may be reordered and products fused with sums: every term of a sum has one sign,
# or its size bounds the error that is tolerated.
vectorised = njit(**OPTIONS, fastmath={"reassoc", "contract", "nsz"})
fused = njit(**OPTIONS, fastmath={"contract"})

LARGEST = 700.0  # exponents beyond it are cut

# h_{i+1} = SCALES[i] z h_i - BACKS[i] h_{i-1}, up to twice the largest order.
SCALES = np.array([(i + 1) ** -0.5 for i in range(25)])
BACKS = np.array([(i / (i + 1)) ** 0.5 for i in range(25)])


@vectorised
def _next(z, h, before, scale, back, out):  # type: ignore[no-untyped-def]
    """Write h_{i+1} = scale z h_i - back h_{i-1}."""
    for n in range(len(out)):
        out[n] = scale * z[n] * h[n] - back * before[n]


@vectorised
def fill_basis(h, nodes, top):  # type: ignore[no-untyped-def]
    """Write h_0..h_top of the first nodes, z being in row 1 of h (top + 1, ...)."""
    z, before, last = h[1, :nodes], h[0, :nodes], h[1, :nodes]
    before[:] = 1.0
    for i in range(1, top):
        following = h[i + 1, :nodes]
        _next(z, last, before, SCALES[i], BACKS[i], following)
        before, last = last, following


@vectorised
def log_density(coefficients, h, first, last, u):  # type: ignore[no-untyped-def]
    """Write sum_{i >= 1} lambda_i h_i, of the nodes from `first` up to `last`."""
    size = len(coefficients)
    a = coefficients[1]
    for n in range(first, last):
        u[n] = a * h[1, n]
    i = 2
    while i + 1 < size:
        a, b = coefficients[i], coefficients[i + 1]
        for n in range(first, last):
            u[n] += a * h[i, n] + b * h[i + 1, n]
        i += 2
    if i < size:
        a = coefficients[i]
        for n in range(first, last):
            u[n] += a * h[i, n]


@fused
def _add(factor, x, out):  # type: ignore[no-untyped-def]
    for q in range(len(out)):
        out[q] += factor * x[q]


@fused
def _add_size(x, out):  # type: ignore[no-untyped-def]
    for q in range(len(out)):
        out[q] += abs(x[q])


@fused
def _keep_larger(x, out):  # type: ignore[no-untyped-def]
    for q in range(len(out)):
        out[q] = x[q] if x[q] > out[q] else out[q]


@fused
def largest(polynomial, powers, classes, values):  # type: ignore[no-untyped-def]
    """Write the largest of sum_i +-polynomial[i] powers[i, q] among q, q + classes, ... .

    Both signs of the odd i are taken. `powers` (size, classes * points), with points a power of
    two; the result, for each class, begins `values` (2, classes * points).
    """
    even, odd = values[0], values[1]
    even[:] = polynomial[0]
    odd[:] = 0.0
    for i in range(1, len(polynomial)):
        _add(polynomial[i], powers[i], odd if i % 2 else even)
    _add_size(odd, even)
    many = len(even)
    while many > classes:
        many //= 2
        _keep_larger(even[many : 2 * many], even[:many])


@fused
def weigh(u, shift, weights, nodes, p):  # type: ignore[no-untyped-def]
    """Write weights exp(u - shift), the exponent cut to +-700."""
    for n in range(nodes):
        p[n] = weights[n] * exponential(min(max(u[n] - shift, -LARGEST), LARGEST))


@vectorised
def total(p, nodes):  # type: ignore[no-untyped-def]
    """Return the sum of p."""
    out = 0.0
    for n in range(nodes):
        out += p[n]
    return out


@vectorised
def _two_sums(p, a, b):  # type: ignore[no-untyped-def]
    first, second = 0.0, 0.0
    for n in range(len(p)):
        first += p[n] * a[n]
        second += p[n] * b[n]
    return first, second


@vectorised
def moments(p, h, nodes, out):  # type: ignore[no-untyped-def]
    """Write sum_n p h_i, i = 1..2k, k = len(out) // 2; out[0] is left as it is."""
    p = p[:nodes]
    for i in range(1, len(out), 2):
        out[i], out[i + 1] = _two_sums(p, h[i, :nodes], h[i + 1, :nodes])
