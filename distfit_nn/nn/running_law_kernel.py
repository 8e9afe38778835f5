"""`running_law.mixture` compiled: one column after the other, in one call."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_about(law, j, mean, unit, weight, out):  # type: ignore[no-untyped-def]
    """Add weight E ((x - mean) / unit)^i of the law in column j, i = 0..k, to out; return its reach.

    The central moments are shifted by the distance of the means, a pass for each power.
    """
    order = len(out) - 1
    std, away = np.sqrt(law[1, j]) / unit, (law[0, j] - mean) / unit
    moments = np.empty(order + 1)
    power = 1.0
    for i in range(order + 1):
        shape = law[i - 1, j] if i > 2 else 1.0 if i != 1 else 0.0
        moments[i] = shape * power if power > 0 else 0.0
        power *= std
    for first in range(1, order + 1):
        for i in range(order, first - 1, -1):
            moments[i] += away * moments[i - 1]
    for i in range(order + 1):
        out[i] += weight * moments[i]
    return law[order, j] * std + abs(away)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def mixture(first, second, share):  # type: ignore[no-untyped-def]
    """Return the law (k + 1, d) of which `second` has the share (d,), and `first` the rest."""
    order = len(first) - 1
    out = np.empty_like(first)
    moments = np.empty(order + 1)
    for j in range(first.shape[1]):
        weight = share[j]
        mean = first[0, j] + weight * (second[0, j] - first[0, j])
        unit = max(np.sqrt(first[1, j]), abs(first[0, j] - mean))
        unit = max(unit, max(np.sqrt(second[1, j]), abs(second[0, j] - mean)))
        unit = unit if unit > 0 else 1.0
        moments[:] = 0.0
        old = _add_about(first, j, mean, unit, 1 - weight, moments)
        new = _add_about(second, j, mean, unit, weight, moments)
        width = np.sqrt(moments[2]) if moments[2] > 0 else 1.0
        out[0, j], out[1, j] = mean, moments[2] * unit * unit
        power = width * width
        for i in range(3, order + 1):
            power *= width
            out[i - 1, j] = moments[i] / power
        out[order, j] = max(old * (1 - weight) ** (1 / order), new) / width
    return out
