"""Compiled distances of sorted rows: from a law, in one pass, and of two samples, by merging."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from distfit_nn._floats import exponential

Array = NDArray[Any]

_jit = njit(cache=True, nogil=True)
_ROOT_2_PI = math.sqrt(2 * math.pi)
_LARGEST_EXPONENT = 700.0  # exp(-700) is nothing beside what it is added to


@_jit
def normal_integral(rows: Array, cdf: Array) -> Array:
    """Return t Phi(t) + phi(t), the integral of Phi up to t, for t in `rows`, Phi(t) in `cdf`."""
    out = np.empty_like(rows)
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            t = rows[i, j]
            half = min(0.5 * t * t, _LARGEST_EXPONENT)
            out[i, j] = t * cdf[i, j] + exponential(-half) / _ROOT_2_PI
    return out


@_jit
def _kolmogorov(cdf: Array) -> float:
    """Largest distance between a law and the stairs at n points where it is `cdf`."""
    n = len(cdf)
    largest = 0.0
    for i in range(n):
        largest = max(largest, max((i + 1) / n - cdf[i], cdf[i] - i / n))
    return largest


@_jit
def _area(x: Array, cdf: Array, integral: Array, edges: Array, at_edges: Array) -> float:
    """Area between a law and the stairs, without what lies left of the first and right of the last.

    Between two values the stairs are level, at i/n; the law crosses them at most once, at its own
    quantile of i/n.
    """
    n = len(x)
    total = 0.0
    for i in range(1, n):
        a, b, level = x[i - 1], x[i], i / n
        if cdf[i] <= level:
            part = level * (b - a) - (integral[i] - integral[i - 1])
        elif cdf[i - 1] >= level:
            part = (integral[i] - integral[i - 1]) - level * (b - a)
        else:
            q, at = edges[i], at_edges[i]
            part = (level * (q - a) - (at - integral[i - 1])) + (
                (integral[i] - at) - level * (b - q)
            )
        if not part < 0.0:  # rounding; NaN passes
            total += part
    return total


@_jit
def _square(x: Array, means: Array, rest: float) -> float:
    """Root of the mean square of x - means, plus `rest`; scaled, so that no square overflows."""
    n = len(x)
    scale = max(1.0, max(abs(x[0]), abs(x[n - 1])))
    total = 0.0
    for i in range(n):
        gap = (x[i] - means[i]) / scale
        total += gap * gap
    return scale * math.sqrt(total / n + rest / scale / scale)


@_jit
def _energy(x: Array, integral: Array, mean: float, gap: float) -> float:
    """Root of 2 E|X - Y| - E|X - X'| - E|Y - Y'|, X from the stairs."""
    n = len(x)
    mixed, own = 0.0, 0.0
    for i in range(n):
        mixed += (2.0 * integral[i] - (x[i] - mean)) / n
        own += ((2 * i + 1 - n) / n) * ((x[i] - mean) / n)
    square = 2.0 * mixed - 2.0 * own - gap
    return 0.0 if square < 0.0 else math.sqrt(square)


@_jit
def distances_from_law(
    x: Array, functions: tuple[Array, Array], cells: tuple[Array, Array, Array], numbers: Array
) -> Array:
    """Distances of rows of n sorted values each from laws, one for all rows or one for each.

    Parameters
    ----------
    x : (d, n) float64
    functions : two arrays (d, n)
        F and its integral at x.
    cells : edges (c, n + 1), integral (c, n + 1), means (c, n)
        See `reference.Cells`; c is 1 or d.
    numbers : (c, 4)
        Mean variance within the cells, mean and variance of the law, and E|Y - Y'|.

    Returns
    -------
    (4, d)
        Wasserstein 1 and 2, energy, Kolmogorov.
    """
    cdf, integral = functions
    edges, at_edges, means = cells
    d, n = x.shape
    out = np.full((4, d), np.nan)
    for j in range(d):
        c = 0 if len(numbers) == 1 else j
        if n == 0 or np.isnan(cdf[j, 0]):
            continue
        rest, mean, var, gap = numbers[c]
        out[3, j] = _kolmogorov(cdf[j])
        if np.isinf(mean):
            out[0, j] = out[1, j] = out[2, j] = np.inf
            continue
        left, right = integral[j, 0], mean - x[j, n - 1] + integral[j, n - 1]
        inner = _area(x[j], cdf[j], integral[j], edges[c], at_edges[c])
        out[0, j] = left + max(right, 0.0) + inner
        out[1, j] = np.inf if np.isinf(var) else _square(x[j], means[c], rest)
        out[2, j] = _energy(x[j], integral[j], mean, gap)
    return out


@_jit
def _steps(x: Array, y: Array) -> tuple[float, float, float, float, float]:
    """Integrals over the merged values: of |F - G|, (F - G)^2, H (1 - H), its root; max |F - G|.

    H is the distribution function of both samples together.
    """
    n, m = len(x), len(y)
    area, square, spread, root, largest = 0.0, 0.0, 0.0, 0.0, 0.0
    i, j = 0, 0
    here = min(x[0], y[0])
    while i < n or j < m:
        while i < n and x[i] == here:
            i += 1
        while j < m and y[j] == here:
            j += 1
        gap = abs(i / n - j / m)
        largest = max(largest, gap)
        if i == n and j == m:
            break
        there = min(x[i] if i < n else np.inf, y[j] if j < m else np.inf)
        width, both = there - here, (i + j) / (n + m)
        area += gap * width
        square += gap * gap * width
        spread += both * (1.0 - both) * width
        root += math.sqrt(both * (1.0 - both)) * width
        here = there
    return area, square, spread, root, largest


@_jit
def _coupled(x: Array, y: Array) -> float:
    """Root of the mean square difference of quantiles of two samples."""
    n, m = len(x), len(y)
    scale = max(1.0, max(max(abs(x[0]), abs(x[n - 1])), max(abs(y[0]), abs(y[m - 1]))))
    i, j, done, total = 0, 0, 0, 0.0
    while i < n and j < m:
        reach = min((i + 1) * m, (j + 1) * n)  # of n m units of mass
        gap = (x[i] - y[j]) / scale
        total += gap * gap * (reach - done)
        done = reach
        i, j = i + (done == (i + 1) * m), j + (done == (j + 1) * n)
    return scale * math.sqrt(total / n / m)


@_jit
def distances_of_two(x: Array, n: Array, y: Array, m: Array) -> Array:
    """Distances of pairs of sorted rows ``x[j, :n[j]]``, ``y[j, :m[j]]``.

    Returns
    -------
    (6, d)
        Wasserstein 1 and 2, energy, Kolmogorov, and of both samples together the mean distance of
        two different values and the integral of sqrt(H (1 - H)); NaN where a row is empty.
    """
    out = np.full((6, len(n)), np.nan)
    for j in range(len(n)):
        if n[j] == 0 or m[j] == 0:
            continue
        a, b = x[j, : n[j]], y[j, : m[j]]
        area, square, spread, root, largest = _steps(a, b)
        both = n[j] + m[j]
        out[0, j], out[1, j] = area, _coupled(a, b)
        out[2, j], out[3, j] = math.sqrt(2.0 * square), largest
        out[4, j], out[5, j] = 2.0 * spread * both / (both - 1), root
    return out


@_jit
def path_tail(n: int, m: int, distance: float) -> float:
    """P(D >= distance) of two samples of n and m values from one continuous law.

    Every order of the n + m values is as likely: a path from (0, 0) to (n, m) that steps along one
    axis or the other. `outside[j]` is the share of the ways to (i, j) that came as far as
    `distance` from the diagonal; a path at (i, j) arrived along the first axis with probability
    i / (i + j). No difference is taken: a small tail keeps its digits.
    """
    reach = distance * n * m * (1.0 - 1e-12)  # distances are whole multiples of 1 / (n m)
    outside = np.zeros(m + 1)
    for i in range(n + 1):
        for j in range(m + 1):
            if abs(i * m - j * n) >= reach:
                outside[j] = 1.0
            elif i + j > 0:
                came = i * outside[j]
                if j > 0:
                    came += j * outside[j - 1]
                outside[j] = came / (i + j)
    return outside[m]
