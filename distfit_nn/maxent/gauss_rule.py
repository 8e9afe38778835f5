"""Gauss rules of a target measure: few points that carry the same moments.

A measure has for each m a rule of m points in the hull of its support, with positive masses, that
integrates polynomials up to degree 2m - 1 as the measure does. It is the best conditioned way to
hold moments: the points of a Jacobi matrix depend on its entries as eigenvalues do, where raw
moments lose digits at the rate of a power.

References: Golub and Welsch, Calculation of Gauss quadrature rules, Math. Comp. 23 (1969) 221-230.
Gautschi, Orthogonal Polynomials: Computation and Approximation, Oxford 2004.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Wide = NDArray[np.longdouble]
Rule = tuple[Array, Array]

WIDE_EPS = float(np.finfo(np.longdouble).eps)
# A new direction of Lanczos shorter than this, relative to what it is made from, is rounding: the
# measure has no more points than directions so far.
EXHAUSTED = 64 * WIDE_EPS
QL_STEPS = 60  # steps for an eigenvalue: two or three are usual
TINY = float(np.finfo(float).tiny)


def gauss_rule_of_samples(
    z: NDArray[np.floating], weights: NDArray[np.generic] | None, points: int
) -> Rule:
    """Return the Gauss rule (nodes, masses) of the measure that lies on z.

    By Lanczos on diag(z), started at the roots of the weights, with full re-orthogonalisation, in
    long double.

    Parameters
    ----------
    z : (n,)
        Finite values; float64, or long double where their differences need its digits.
    weights : (n,) or None
        Not negative, one of them positive; None for equal ones.
    points : int
        At most so many points are wanted; data with fewer distinct values is its own rule.

    Returns
    -------
    nodes, masses : (m,) each
        Ascending, within the range of z; positive, with sum 1. Polynomials up to degree 2m - 1 have
        the mean over the rule that they have over the data.
    """
    wide = np.asarray(z, np.longdouble)
    share: Wide = np.asarray(np.ones(len(wide)) if weights is None else weights, np.longdouble)
    wide, share = wide[share > 0], share[share > 0]
    share = share / share.max()
    few, inverse = _distinct(wide, points)
    if few is not None:
        sums = np.bincount(inverse, weights=np.asarray(share, float), minlength=len(few))
        return np.asarray(few, float), np.asarray(sums / sums.sum(), float)
    diagonal, off = lanczos(wide, share, points)
    nodes, masses = rule_of_jacobi(diagonal, off)
    return np.clip(nodes, float(wide.min()), float(wide.max())), masses


def gauss_rule_of_moments(central: Wide, lower: float, upper: float) -> Rule:
    """Return a Gauss rule inside [lower, upper] for the moments E z^i, i = 0..k.

    With m = k//2 + 1 points. For odd k they are determined. For even k the last entry of the Jacobi
    matrix is free: a node reaches an end of the support at either end of an interval of values
    (those of the two Gauss-Radau rules), and the middle of it is taken.

    Parameters
    ----------
    central : (k + 1,)
        Moments of z, of mean near 0 and variance near 1, interior to the moment space of the
        support: the first is 1.
    lower, upper : float
        The support.
    """
    order = len(central) - 1
    diagonal, off = _jacobi_of_moments(np.asarray(central, np.longdouble))
    if order % 2 == 0:
        free = [_radau(diagonal, off, np.longdouble(end)) for end in (lower, upper)]
        diagonal = np.append(diagonal, free[0] / 2 + free[1] / 2)
    nodes, masses = rule_of_jacobi(diagonal, off)
    return np.clip(nodes, lower, upper), masses


def rule_of_jacobi(diagonal: Wide, off: Wide) -> Rule:
    """Return the rule of a Jacobi matrix: its eigenvalues, ascending, and masses with sum 1.

    The masses are the squares of the first components of the eigenvectors (Golub and Welsch), by
    the implicit QL iteration in long double: a cluster far from an outlier keeps its digits.
    """
    d, e = list(diagonal), [*off, np.longdouble(0)]
    first = [np.longdouble(1)] + [np.longdouble(0)] * (len(d) - 1)
    for low in range(len(d)):
        for _ in range(QL_STEPS):
            high = low
            while high + 1 < len(d) and abs(e[high]) > WIDE_EPS * (abs(d[high]) + abs(d[high + 1])):
                high += 1
            if high == low:
                break
            _ql_step(d, e, first, low, high)
    nodes, masses = np.array(d), np.maximum(np.array(first) ** 2, TINY)
    order = np.argsort(nodes)
    return np.asarray(nodes[order], float), np.asarray(masses[order] / masses.sum(), float)


def _ql_step(
    d: list[np.longdouble], e: list[np.longdouble], first: list[np.longdouble], low: int, high: int
) -> None:
    """Make one implicit QL step, with Wilkinson's shift, on rows low..high of a Jacobi matrix."""
    half = (d[low + 1] - d[low]) / (2 * e[low])
    root = np.hypot(half, np.longdouble(1))
    g = d[high] - d[low] + e[low] / (half + np.copysign(root, half))
    sine = cosine = np.longdouble(1)
    carried = np.longdouble(0)
    for i in range(high - 1, low - 1, -1):
        f, b = sine * e[i], cosine * e[i]
        root = np.hypot(f, g)
        e[i + 1] = root
        if root == 0:  # the matrix falls apart here
            d[i + 1] -= carried
            e[high] = np.longdouble(0)
            return
        sine, cosine = f / root, g / root
        g = d[i + 1] - carried
        root = (d[i] - g) * sine + 2 * cosine * b
        carried = sine * root
        d[i + 1] = g + carried
        g = cosine * root - b
        above = first[i + 1]
        first[i + 1] = sine * first[i] + cosine * above
        first[i] = cosine * first[i] - sine * above
    d[low] -= carried
    e[low], e[high] = g, np.longdouble(0)


def _distinct(z: Wide, points: int) -> tuple[Wide | None, NDArray[np.intp]]:
    """Return the distinct values and where each belongs, or None if they are more than `points`."""
    few = z[:0]
    left = z
    while len(left) and len(few) <= points:
        few = np.append(few, left[0])
        left = left[left != left[0]]
    if len(few) > points:
        return None, np.empty(0, np.intp)
    few = np.sort(few)
    return few, np.searchsorted(few, z)


def lanczos(z: Wide, share: Wide, points: int) -> tuple[Wide, Wide]:
    """Return the Jacobi matrix of the measure, as its diagonal and what stands beside it."""
    basis = np.empty((points, len(z)), np.longdouble)
    diagonal, off = np.zeros(points, np.longdouble), np.zeros(points - 1, np.longdouble)
    basis[0] = np.sqrt(share / share.sum())
    for j in range(points):
        product = z * basis[j]
        diagonal[j] = product @ basis[j]
        if j + 1 == points:
            break
        size = np.sqrt(product @ product)
        for _ in range(2):
            product -= (basis[: j + 1] @ product) @ basis[: j + 1]
        off[j] = np.sqrt(product @ product)
        if off[j] <= EXHAUSTED * size:
            return diagonal[: j + 1], off[:j]
        basis[j + 1] = product / off[j]
    return diagonal, off


def _jacobi_of_moments(moments: Wide) -> tuple[Wide, Wide]:
    """Return the Jacobi matrix as far as moments 0..k determine it, by Chebyshev's algorithm.

    Its entries are a_0, b_1, a_1, b_2, ... in turn, k of them: for odd k one more a than b, for
    even k as many. sigma holds the integrals of the monic p_j times powers; b is kept as its root.
    """
    order = len(moments) - 1
    diagonal, off = [moments[1] / moments[0]], []
    before, sigma = np.zeros_like(moments), moments / moments[0]
    squared = np.longdouble(0)
    for j in range(1, order // 2 + 1):
        following = np.zeros_like(sigma)
        stop = order - j + 1
        following[j:stop] = (
            sigma[j + 1 : stop + 1] - diagonal[-1] * sigma[j:stop] - squared * before[j:stop]
        )
        squared = following[j] / sigma[j - 1]
        if not squared > 0:
            break
        off.append(np.sqrt(squared))
        if 2 * j + 1 <= order:
            diagonal.append(following[j + 1] / following[j] - sigma[j] / sigma[j - 1])
        before, sigma = sigma, following
    return np.array(diagonal), np.array(off)


def _radau(diagonal: Wide, off: Wide, end: np.longdouble) -> np.longdouble:
    """Return the last entry of the diagonal for which `end` is a node."""
    ratio = end - diagonal[0]
    for j in range(1, len(diagonal)):
        ratio = end - diagonal[j] - off[j - 1] ** 2 / ratio
    return end - off[-1] ** 2 / ratio
