"""`running_law.followed` compiled: one column after the other, in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True}
compiled = njit(**OPTIONS)


@compiled
def _unit(var, eps):  # type: ignore[no-untyped-def]
    return np.sqrt(var + eps) if var + eps > 0 else 1.0


@compiled
def _add_about(law, mean, unit, weight, out):  # type: ignore[no-untyped-def]
    """Add weight E ((x - mean) / unit)^i of a law, i = 0..k, to out; return its reach.

    The central moments are shifted by the distance of the means, in a pass for each power.
    """
    order = len(out) - 1
    std, away = np.sqrt(law[1]) / unit, (law[0] - mean) / unit
    moments = np.empty(order + 1)
    power = 1.0
    for i in range(order + 1):
        shape = law[i - 1] if i > 2 else 1.0 if i != 1 else 0.0
        moments[i] = shape * power if power > 0 else 0.0
        power *= std
    for first in range(1, order + 1):
        for i in range(order, first - 1, -1):
            moments[i] += away * moments[i - 1]
    for i in range(order + 1):
        out[i] += weight * moments[i]
    return law[order] * std + abs(away)


@compiled
def _mix(first, second, share, out):  # type: ignore[no-untyped-def]
    """Write the law of which `second` has the share and `first` the rest, k + 1 numbers each."""
    order = len(first) - 1
    mean = first[0] + share * (second[0] - first[0])
    unit = max(np.sqrt(first[1]), abs(first[0] - mean))
    unit = max(unit, max(np.sqrt(second[1]), abs(second[0] - mean)))
    unit = unit if unit > 0 else 1.0
    moments = np.zeros(order + 1)
    old = _add_about(first, mean, unit, 1 - share, moments)
    new = _add_about(second, mean, unit, share, moments)
    width = np.sqrt(moments[2]) if moments[2] > 0 else 1.0
    out[0], out[1] = mean, moments[2] * unit * unit
    power = width * width
    for i in range(3, order + 1):
        power *= width
        out[i - 1] = moments[i] / power
    out[order] = max(old * (1 - share) ** (1 / order), new) / width


@compiled
def followed(means, variances, kept, batch, numbers):  # type: ignore[no-untyped-def]
    """Return running means, variances (d,) and laws (k + 1, d) after a batch, of the given dtype.

    `numbers` are the rate, the share, n / (n - 1), eps and the largest number of that dtype.
    """
    rate, share, correction, eps, largest = numbers
    size, columns = kept.shape
    mean, var, out = means.copy(), variances.copy(), kept.copy()
    before, after = np.empty(size), np.empty(size)
    for j in range(columns):
        unbiased = batch[1, j] * correction
        if not (abs(batch[0, j]) <= largest and unbiased <= largest):
            continue
        unit = _unit(np.float64(var[j]), eps)
        before[:] = kept[:, j]
        before[0] = np.float64(mean[j]) + unit * before[0]
        before[1] *= unit * unit
        known = kept[1, j] > 0 and np.isfinite(before.sum())
        mean[j] = mean[j] + rate * (batch[0, j] - mean[j])
        var[j] = var[j] + rate * (unbiased - var[j])
        if known:
            _mix(before, batch[:, j], share, after)
        else:
            after[:] = batch[:, j]
        if np.isfinite(after.sum()):
            before[:] = after
        elif not known:
            before[:] = 0.0
        unit = _unit(np.float64(var[j]), eps)
        out[:, j] = before
        if before[1] > 0:
            out[0, j] = (before[0] - np.float64(mean[j])) / unit
            out[1, j] = before[1] / (unit * unit)
        else:
            out[:, j] = 0.0
    return mean, var, out
