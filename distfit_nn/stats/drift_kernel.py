"""The compiled distances between two groups of rows, for many ways to group them at once.

All values of a unit are sorted once. A grouping of the rows is a label for each, 1 for the first
group and 0 for the second, and to exchange rows only relabels the sorted list: a distance is one
walk along it. `walk` does all groupings in one pass, side by side in the lanes of the processor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

COUNT, SUM, SQUARES, AREA, SQUARED_AREA, LARGEST = range(6)
LINES = 6

_jit = njit(cache=True, nogil=True)


@_jit
def _sums(rows: Array, z: Array, labels: Array, out: Array) -> None:
    """Fill the lines COUNT, SUM and SQUARES: those of the first group."""
    count, total, squares = out[COUNT], out[SUM], out[SQUARES]
    for i in range(len(rows)):
        label = labels[rows[i]]
        value = z[i]
        for p in range(len(label)):
            weight = float(label[p])
            count[p] += weight
            total[p] += weight * value
            squares[p] += weight * value * value


@_jit
def _areas(
    rows: Array, z: Array, labels: Array, slope: Array, fall: Array, seen: Array, out: Array
) -> None:
    """Fill the lines AREA, SQUARED_AREA and LARGEST of the difference of the staircases.

    After i + 1 values, c of them of the first group, F - G = c (1/n + 1/m) - (i + 1) / m; `slope`
    is 1/n + 1/m and `fall` 1/m. It counts where the next value is another one.
    """
    area, squared, largest = out[AREA], out[SQUARED_AREA], out[LARGEST]
    for i in range(len(rows) - 1):
        label = labels[rows[i]]
        for p in range(len(label)):
            seen[p] += float(label[p])
        gap = z[i + 1] - z[i]
        if gap > 0:
            for p in range(len(label)):
                height = abs(seen[p] * slope[p] - (i + 1) * fall[p])
                area[p] += height * gap
                squared[p] += height * height * gap
                largest[p] = height if height > largest[p] else largest[p]


@_jit
def walk(rows: Array, z: Array, labels: Array) -> Array:
    """Return counts, sums and areas of every grouping, shape (LINES, groupings).

    Parameters
    ----------
    rows : int array of shape (k,)
        The row of each value, in ascending order of the values.
    z : float64 array of shape (k,)
        The values, ascending and finite.
    labels : uint8 array of shape (rows, groupings), C-contiguous
        1 where a row is in the first group. A group without a value makes areas of NaN.
    """
    groupings = labels.shape[1]
    out = np.zeros((LINES, groupings))
    _sums(rows, z, labels, out)
    slope, fall = np.empty(groupings), np.empty(groupings)
    for p in range(groupings):
        n, m = out[COUNT, p], len(rows) - out[COUNT, p]
        both = n > 0 and m > 0
        slope[p] = 1 / n + 1 / m if both else np.nan
        fall[p] = 1 / m if both else np.nan
        out[LARGEST, p] = 0.0 if both else np.nan
    _areas(rows, z, labels, slope, fall, np.zeros(groupings), out)
    return out


@_jit
def _standardise(values: Array, n: int) -> bool:
    """Subtract the mean and divide by the standard deviation; False where that is 0."""
    mean = 0.0
    for i in range(n):
        mean += values[i]
    mean /= n
    var = 0.0
    for i in range(n):
        values[i] -= mean
        var += values[i] * values[i]
    if values[n - 1] - values[0] <= 0 or var <= 0:
        return False
    scale = 1 / np.sqrt(var / n)
    for i in range(n):
        values[i] *= scale
    return True


@_jit
def _area_between(x: Array, n: int, y: Array, m: int) -> float:
    """Integral of the difference of the two quantile functions: Wasserstein's distance."""
    total = 0.0
    if n == m:
        for i in range(n):
            total += abs(x[i] - y[i])
        return total / n
    i, j, done = 0, 0, 0  # `done` in units of 1 / (n m)
    while i < n and j < m:
        end = min((i + 1) * m, (j + 1) * n)
        total += (end - done) * abs(x[i] - y[j])
        i += end == (i + 1) * m
        j += end == (j + 1) * n
        done = end
    return total / n / m


@_jit
def shapes(rows: Array, z: Array, labels: Array) -> Array:
    """Return Wasserstein's distance of the two groups, each standardised, for every grouping.

    As `walk`, but with labels of shape (groupings, rows). NaN where a group is constant or empty.
    """
    out = np.full(labels.shape[0], np.nan)
    k = len(rows)
    x, y = np.empty(k + 1), np.empty(k + 1)
    for p in range(labels.shape[0]):
        label = labels[p]
        n = 0
        for i in range(k):  # without a branch, which no processor could predict
            x[n] = z[i]
            y[i - n] = z[i]
            n += label[rows[i]]
        if 0 < n < k and _standardise(x, n) and _standardise(y, k - n):
            out[p] = _area_between(x, n, y, k - n)
    return out
