"""The compiled dip statistic of sorted rows: the taut string between two staircases.

The distinct values ``v[0] < ... < v[m-1]`` of a sorted sample make a staircase: just left of
``v[k]`` it has the height ``rank[k]``, the number of smaller values, and at ``v[k]`` the height
``rank[k + 1]``. A convex curve below the stairs hangs from their lower corners ``(v[k], rank[k])``,
a concave curve above them from their upper corners ``(v[k], rank[k + 1])``; the atom at the mode
itself is free. Heights are counts throughout: shares come at the very end, by dividing by 2n.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

_jit = njit(cache=True, nogil=True)
_HUGE = 2.0**900  # beyond this, a difference of two values times a count could overflow


@_jit
def _stairs(row: Array, n: int, v: Array, rank: Array) -> int:
    """Fill `v` with the distinct values of the sorted ``row[:n]``, `rank` with the heights."""
    scale = 1.0
    if row[0] < -_HUGE or row[n - 1] > _HUGE:
        scale = 1.0 / _HUGE
    m = 0
    for i in range(n):
        value = row[i] * scale
        if m == 0 or value > v[m - 1]:
            v[m] = value
            rank[m] = i
            m += 1
    rank[m] = n
    return m


@_jit
def _hulls(v: Array, rank: Array, m: int, before: Array, after: Array) -> None:
    """Link the corners of the convex minorants and of the concave majorants.

    ``before[k]`` is the corner that precedes k on the greatest convex minorant of the corners
    ``0..k``; ``after[k]`` the one that follows k on the least concave majorant of ``k..m-1``.
    """
    before[0] = 0
    for k in range(1, m):
        j = k - 1
        while j > 0:
            i = before[j]
            if (rank[j] - rank[i]) * (v[k] - v[j]) < (rank[k] - rank[j]) * (v[j] - v[i]):
                break
            j = i
        before[k] = j
    after[m - 1] = m - 1
    for k in range(m - 2, -1, -1):
        j = k + 1
        while j < m - 1:
            i = after[j]
            if (rank[j + 1] - rank[k + 1]) * (v[i] - v[j]) > (rank[i + 1] - rank[j + 1]) * (
                v[j] - v[k]
            ):
                break
            j = i
        after[k] = j


@_jit
def _chord(v: Array, height: Array, a: int, b: int, k: int) -> float:
    """Height at ``v[k]`` of the straight line through the corners a < b."""
    return height[a] + (height[b] - height[a]) * ((v[k] - v[a]) / (v[b] - v[a]))


@_jit
def _widest_gap(
    v: Array, rank: Array, lo: int, hi: int, lower: Array, after: Array
) -> tuple[float, int, int]:
    """Largest majorant - minorant on [lo, hi], and the corners of both that enclose its place.

    ``lower[k]`` is the corner after k on the minorant, ``after[k]`` that on the majorant.
    """
    upper = rank[1:]  # the heights of the upper corners
    gap, left, right = 0.0, lo, hi
    i = j = a = b = lo  # i and j are the corners last passed on the minorant and on the majorant
    here = upper[lo] - rank[lo]
    while True:
        if here > gap:
            gap, left, right = here, a, b
        if i == hi and j == hi:
            return gap, left, right
        p, q = lower[i], after[j]
        if p < q:
            here = _chord(v, upper, j, q, p) - rank[p]
            a, b, i = p, q, p
        elif q < p:
            here = upper[q] - _chord(v, rank, i, p, q)
            a, b, j = i, q, q
        else:
            here = upper[q] - rank[p]
            a, b, i, j = p, q, p, q


@_jit
def _shrink(
    v: Array, rank: Array, lower: Array, after: Array, bounds: tuple[int, int, int, int], dip: float
) -> float:
    """Raise `dip` to what the stairs cost outside of the new modal interval [left, right].

    Left of it their upper corners must stay in reach of the convex minorant, right of it their
    lower corners in reach of the concave majorant.
    """
    lo, left, right, hi = bounds
    upper = rank[1:]
    a = lo
    while a < left:
        b = lower[a]
        for k in range(a, b):
            dip = max(dip, rank[k + 1] - _chord(v, rank, a, b, k))
        a = b
    a = right
    while a < hi:
        b = after[a]
        for k in range(a + 1, b + 1):
            dip = max(dip, _chord(v, upper, a, b, k) - rank[k])
        a = b
    return dip


@_jit
def _shrink_to_mode(
    v: Array, rank: Array, m: int, before: Array, after: Array, lower: Array
) -> float:
    """Twice the dip, in counts: shrink the modal interval until it costs no more than its outside.

    Each round ends at corners of both hulls, so that the links of `_hulls` stay valid: a corner of
    the minorant of 0..k is one of the minorant of any smaller set that holds it.
    """
    _hulls(v, rank, m, before, after)
    lo, hi, dip = before[0], m - 1, 0.0  # a literal 0 would be compiled for separately
    while lo < hi:
        k = hi
        while k > lo:
            lower[before[k]] = k
            k = before[k]
        gap, left, right = _widest_gap(v, rank, lo, hi, lower, after)
        if gap <= dip:
            break
        dip = _shrink(v, rank, lower, after, (lo, left, right, hi), dip)
        lo, hi = left, right
    return dip


@_jit
def _smallest_gap(v: Array, first: int, last: int) -> float:
    """Smallest of the gaps between neighbours among ``v[first]``, ..., ``v[last]``."""
    gap = np.inf
    for j in range(first, last):
        gap = min(gap, v[j + 1] - v[j])
    return gap


@_jit
def spread_ties(rows: Array, counts: Array) -> None:
    """Spread the values that are equal evenly over the cell that rounding gave them, in place.

    On each side the cell reaches over half of the smaller of the two gaps there, but not over more
    than the smallest of all four: floating-point grids change by a factor of two. Beside a cluster
    of single values these gaps are tiny, however far the cluster is: an atom there stays an atom.
    Two distinct values are no grid and stay as they are, as do values that are alone. `rows` and
    `counts` are those of `dip_of_rows`; rows stay ascending.
    """
    size = rows.shape[1]
    v, rank = np.empty(size), np.empty(size + 1)
    for i in range(rows.shape[0]):
        m = _stairs(rows[i], counts[i], v, rank) if counts[i] > 0 else 0
        for k in range(m if m > 2 else 0):
            first, copies = int(rank[k]), int(rank[k + 1] - rank[k])
            if copies == 1:
                continue
            below, above = max(k - 2, 0), min(k + 2, m - 1)
            spacing = _smallest_gap(v, below, above)
            left = min(_smallest_gap(v, below, k), 2 * spacing) if k > 0 else spacing
            right = min(_smallest_gap(v, k, above), 2 * spacing) if k < m - 1 else spacing
            middle = rows[i, first]
            for j in range(copies):
                share = (j + 0.5) / copies
                rows[i, first + j] = middle + (right * share - left * (1 - share)) / 2


@_jit
def dip_of_rows(rows: Array, counts: Array) -> Array:
    """Return the dip of ``rows[i, :counts[i]]`` for each i.

    Parameters
    ----------
    rows : float64 array of shape (d, size), C-contiguous
        Each row ascending and finite up to its count; the rest of it is not read.
    counts : int64 array of shape (d,)

    Returns
    -------
    float64 array of shape (d,)
        NaN where the count is 0.
    """
    size = rows.shape[1]
    v, rank = np.empty(size), np.empty(size + 1)
    before = np.empty(size, np.int64)
    after = np.empty(size, np.int64)
    lower = np.empty(size, np.int64)
    dips = np.empty(rows.shape[0])
    for i in range(rows.shape[0]):
        dips[i] = np.nan
        if counts[i] > 0:
            m = _stairs(rows[i], counts[i], v, rank)
            dips[i] = _shrink_to_mode(v, rank, m, before, after, lower) / (2 * counts[i])
    return dips
