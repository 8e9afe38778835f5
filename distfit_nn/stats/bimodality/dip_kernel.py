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
# Without NaN, infinity or a meaning of -0, the largest of many numbers is found several at a time.
_jit_finite = njit(cache=True, nogil=True, fastmath={"nnan", "ninf", "nsz"})
_HUGE = 2.0**900  # beyond this, a difference of two values times a count could overflow
_LIFT = 2.0**60  # keeps the reciprocal of the smallest difference of two numbers finite
_STEP = 16  # places between the points that a first, rough hull is drawn through


@_jit
def _stairs(row: Array, n: int, v: Array, rank: Array) -> int:
    """Fill `v` with the distinct values of the sorted ``row[:n]``, `rank` with the heights."""
    scale = 1.0
    if row[0] < -_HUGE or row[n - 1] > _HUGE:
        scale = 1.0 / _HUGE
    last, m = -np.inf, 0
    for i in range(n):
        value = row[i] * scale
        if value > last:
            v[m] = last = value
            rank[m] = i
            m += 1
    rank[m] = n
    return m


@_jit
def _chain(v: Array, height: Array, sign: float, points: Array, corners: Array) -> int:
    """Keep, of ascending points, the corners of their hull, below (sign 1) or above (sign -1)."""
    kept = 0
    for k in points:
        while kept > 1:
            i, j = corners[kept - 2], corners[kept - 1]
            rise = sign * (height[j] - height[i])
            if rise * (v[k] - v[j]) < sign * (height[k] - height[j]) * (v[j] - v[i]):
                break
            kept -= 1
        corners[kept] = k
        kept += 1
    return kept


@_jit
def _hull(
    v: Array, height: Array, sign: float, ends: tuple[int, int], points: Array, corners: Array
) -> Array:
    """Return the corners of the convex minorant (sign 1) or concave majorant (-1) on [lo, hi].

    What lies on the inner side of the hull of every `_STEP`-th point, nearly all, is no corner:
    only the rest is searched. `points` and `corners` are room to work in; the latter is returned.
    """
    lo, hi = ends
    count = 0
    for k in range(lo, hi, _STEP):
        points[count] = k
        count += 1
    points[count] = hi
    rough = _chain(v, height, sign, points[: count + 1], corners)
    count = 0
    for face in range(rough - 1):
        a, b = corners[face], corners[face + 1]
        here, run, rise = v[a:b], height[a:b], sign * (height[b] - height[a])
        per_run = 1 / ((v[b] - v[a]) * _LIFT)
        for k in range(len(here)):
            chord = rise * ((here[k] - here[0]) * _LIFT * per_run)
            if k == 0 or sign * (run[k] - run[0]) < chord:
                points[count] = a + k
                count += 1
    points[count] = hi
    return corners[: _chain(v, height, sign, points[: count + 1], corners)]


@_jit
def _narrowed(
    v: Array,
    height: Array,
    sign: float,
    old: Array,
    ends: tuple[int, int],
    points: Array,
    new: Array,
) -> Array:
    """Return the corners of a hull on [lo, hi], given the `old` ones of a larger interval.

    A corner of the hull of some points is one of the hull of fewer: beyond the outermost that are
    left, of which there is one at least, and only there, the hull is new.
    """
    lo, hi = ends
    first, last, count = 0, len(old) - 1, 0
    while old[first] < lo:
        first += 1
    while old[last] > hi:
        last -= 1
    if lo < old[first]:
        count = len(_hull(v, height, sign, (lo, old[first]), points, new)) - 1
    for k in range(first, last + 1):
        new[count] = old[k]
        count += 1
    if old[last] < hi:
        count += len(_hull(v, height, sign, (old[last], hi), points, new[count - 1 :])) - 1
    return new[:count]


@_jit
def _chord(v: Array, height: Array, a: int, b: int, k: int) -> float:
    """Height at ``v[k]`` of the straight line through the corners a < b."""
    return height[a] + (height[b] - height[a]) * ((v[k] - v[a]) / (v[b] - v[a]))


@_jit
def _widest_gap(v: Array, rank: Array, below: Array, above: Array) -> tuple[float, int, int]:
    """Largest majorant - minorant, and the corners of minorant and majorant that enclose its place.

    `below` and `above` are the corners of the two, with the same ends. The corners returned are
    numbers of places in them: the minorant is done with up to the first, the majorant from the
    second on.
    """
    upper = rank[1:]  # the heights of the upper corners
    i = j = 0  # the corners last passed
    gap, left, right = upper[below[0]] - rank[below[0]], 0, 0
    while i < len(below) - 1 or j < len(above) - 1:
        p, q = below[i + 1], above[j + 1]
        if p < q:
            here = _chord(v, upper, above[j], q, p) - rank[p]
            i += 1
            a, b = i, j + 1
        elif q < p:
            here = upper[q] - _chord(v, rank, below[i], p, q)
            j += 1
            a, b = i, j
        else:
            here = upper[q] - rank[p]
            i, j = i + 1, j + 1
            a, b = i, j
        if here > gap:
            gap, left, right = here, a, b
    return gap, left, right


@_jit_finite
def _excess(v: Array, line: Array, stairs: Array, sign: float, corners: Array, dip: float) -> float:
    """Raise `dip` to what the stairs are on the wrong side of the chords of a curve.

    The upper corners above the convex minorant (sign 1), which ends at the mode, or the lower ones
    below the concave majorant (-1), which begins there; the mode itself does not count.
    """
    skip = 0 if sign > 0 else 1
    for face in range(len(corners) - 1):
        a, b = corners[face], corners[face + 1]
        rise, per_run = line[b] - line[a], 1 / ((v[b] - v[a]) * _LIFT)
        here, there = v[a + skip : b + skip], stairs[a + skip : b + skip]
        start, base = v[a], line[a]
        for k in range(len(here)):
            chord = base + rise * ((here[k] - start) * _LIFT * per_run)
            dip = max(dip, sign * (there[k] - chord))
    return dip


@_jit
def _shrink_to_mode(v: Array, rank: Array, m: int, room: Array) -> float:
    """Twice the dip, in counts: shrink the modal interval until it costs no more than its outside.

    Each round cuts the interval to where its hulls are farthest apart, from a corner of the
    minorant to one of the majorant. Left of it the minorant is the curve, right of it the majorant.
    """
    upper = rank[1:]
    lo, hi, dip, turn = 0, m - 1, 0.0, 0
    if lo == hi:
        return dip
    below = _hull(v, rank, 1.0, (lo, hi), room[0], room[1])
    above = _hull(v, upper, -1.0, (lo, hi), room[0], room[2])
    while True:
        gap, left, right = _widest_gap(v, rank, below, above)
        if gap <= dip:
            return dip
        dip = _excess(v, rank, upper, 1.0, below[: left + 1], dip)
        dip = _excess(v, upper, rank, -1.0, above[right:], dip)
        lo, hi = below[left], above[right]
        if lo >= hi:
            return dip
        turn = 2 - turn  # the corners are written from one half of the room to the other
        below = _narrowed(v, rank, 1.0, below, (lo, hi), room[0], room[1 + turn])
        above = _narrowed(v, upper, -1.0, above, (lo, hi), room[0], room[2 + turn])


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

    On each side the cell reaches half way to the neighbour. Where that is farther than the two
    gaps there and the two on the other side suggest, the neighbour's level is taken for empty;
    next to a power of two, where the step of floating-point numbers doubles, both steps occur. No
    cell reaches farther than the smallest of the four gaps. Beside a cluster of single values that
    is tiny, however far the cluster is: an atom there stays an atom.
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
            left = right = spacing
            usual = 0.0  # the larger of the steps on either side
            if k > 0:
                usual = _smallest_gap(v, below, k)
            if k < m - 1:
                usual = max(usual, _smallest_gap(v, k, above))
            usual = min(usual, 2 * spacing)
            if k > 0:
                left = min(v[k] - v[k - 1], usual)
            if k < m - 1:
                right = min(v[k + 1] - v[k], usual)
            middle = rows[i, first]
            for j in range(copies):
                share = (j + 0.5) / copies
                rows[i, first + j] = middle + (right * share - left * (1 - share)) / 2


@_jit
def _copies_near(rank: Array, m: int, k: int) -> float:
    """Largest number of copies of the two distinct values on either side of the k-th."""
    most = 0.0
    for j in range(max(k - 2, 0), min(k + 3, m)):
        if j != k:
            most = max(most, rank[j + 1] - rank[j])
    return most


@_jit
def set_atoms_apart(rows: Array, counts: Array, least_share: float, least_ratio: float) -> Array:
    """Take point masses out of the rows, in place, and tell of them.

    An atom is one of three or more distinct values that makes up at least `least_share` of the row
    and has at least `least_ratio` times the copies of any of the two distinct values on its either
    side. It is left as many copies as the most frequent of these have, so that no hole is left in
    a grid. What remains moves forward in its row; NaN fills the rest.

    Parameters
    ----------
    rows, counts
        As for `dip_of_rows`; `rows` is written to.

    Returns
    -------
    float64 array of shape (d, 6)
        How many values remain; the share of the values that was taken out; how many atoms there
        are; the most frequent value and its share, NaN in an empty row; how many equally frequent
        values would be as uneven as those that remain: the inverse of the sum of squared shares.
    """
    size = rows.shape[1]
    v, rank = np.empty(size), np.empty(size + 1)
    told = np.zeros((rows.shape[0], 6))
    for i in range(rows.shape[0]):
        row, n = rows[i], counts[i]
        m = _stairs(row, n, v, rank)
        kept, most, squares = 0, 0.0, 0.0
        told[i, 3] = told[i, 4] = np.nan
        for k in range(m):
            first, copies, near = int(rank[k]), rank[k + 1] - rank[k], _copies_near(rank, m, k)
            if copies > most:
                most, told[i, 3], told[i, 4] = copies, row[first], copies / n
            if m > 2 and copies >= least_share * n and copies >= least_ratio * near:
                told[i, 2] += 1
                copies = near
            for j in range(int(copies)):
                row[kept + j] = row[first + j]
            kept += int(copies)
            squares += copies**2
        row[kept:n] = np.nan
        told[i, 0], told[i, 1] = kept, (n - kept) / max(n, 1)
        told[i, 5] = kept**2 / max(squares, 1.0)
    return told


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
    room = np.empty((5, size), np.int64)
    dips = np.empty(rows.shape[0])
    for i in range(rows.shape[0]):
        dips[i] = np.nan
        if counts[i] > 0:
            m = _stairs(rows[i], counts[i], v, rank)
            dips[i] = _shrink_to_mode(v, rank, m, room) / (2 * counts[i])
    return dips
