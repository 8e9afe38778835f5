"""Tails too deep for the tables, compiled only when one is met.

A tail is cut into panels of its own and summed relative to its top, so that logcdf and logsf are
finite, and quantiles right, however deep they lie.
"""

from __future__ import annotations

import math

import numpy as np

from distfit_nn.maxent.panel_kernel import (
    SHALLOW,
    add_product,
    compiled,
    cut,
    expand,
    highest,
    panel_mass,
    spread,
)
from distfit_nn.maxent.point_kernel import CDF, LOGSF, PENDING, SF, panel

PANELS = 512
FALL = 80.0  # of log p, beyond which a tail of its own holds nothing
STEPS = 100  # of a quantile
LAST_STEP = 1e-15
LOG_RANGE = 700.0  # of the distance of a quantile from the end of the support


@compiled
def _log_mass(series, a, b, constants):  # type: ignore[no-untyped-def]
    """Return the logarithm of the mass of [a, b], and log p at a and at b."""
    _, ellipses, rule = constants
    size = len(series)
    local = np.empty((PANELS, size))
    edges = np.empty(PANELS + 1)
    work = np.empty((size, 2))
    expand(series, a, 1.0, work, local[0])
    at_a, steep_a = local[0, 0], abs(local[0, 1])
    expand(series, b, 1.0, work, local[0])
    at_b, steep_b = local[0, 0], abs(local[0, 1])
    if not a < b:
        return -np.inf, at_a, at_b
    # Relative to its top, in double-double: log p itself may be -1e17.
    top = highest(series, a, b)
    own = series.copy()
    add_product(own, 0, -top, 0.0, 1.0, 0.0)
    count = cut(own, a, b, -FALL, ellipses, edges, local)
    peak = -np.inf
    for j in range(count):
        peak = max(peak, local[j, 0])
    total = 0.0
    for j in range(count):
        if local[j, 0] + spread(local[j]) >= -FALL:
            local[j, 0] -= peak
            total += panel_mass(local[j], edges[j], edges[j + 1], rule)
    if 0.0 < total < np.inf:
        return top + peak + math.log(total), at_a, at_b
    # So steep that all of it lies within a rounding of the end: there log p is linear.
    return max(at_a - math.log(steep_a), at_b - math.log(steep_b)), at_a, at_b


@compiled
def _of_mass(kind, log_tail, is_upper):  # type: ignore[no-untyped-def]
    """Return cdf, sf or their logarithm from the logarithm of a very small tail."""
    if is_upper == (kind in (SF, LOGSF)):
        return math.exp(log_tail) if kind in (CDF, SF) else log_tail
    return 1.0 if kind in (CDF, SF) else -math.exp(log_tail)


@compiled
def _quantile(series, q, outer, inner, is_upper, constants):  # type: ignore[no-untyped-def]
    """Return z between the end of the support and `inner` whose tail is q.

    Newton on log mass as a function of the logarithm of the distance from the end, which is all
    but linear near it, kept within a bracket.
    """
    wanted = math.log(q)
    y = math.log(abs(inner - outer))
    far, near = y - LOG_RANGE, y
    z = inner
    for _ in range(STEPS):
        distance = math.exp(y)
        z = outer - distance if is_upper else outer + distance
        a, b = (z, outer) if is_upper else (outer, z)
        log_tail, at_a, at_b = _log_mass(series, a, b, constants)
        excess = log_tail - wanted
        if excess > 0.0:
            near = y
        else:
            far = y
        slope = math.exp(min((at_a if is_upper else at_b) - log_tail + y, LOG_RANGE))
        trial = y - excess / slope
        if not far <= trial <= near:
            trial = 0.5 * (near + far)
        moved = abs(trial - y)
        y = trial
        if moved <= LAST_STEP or abs(excess) <= LAST_STEP * abs(wanted):
            break
    if near - far < 1e-12 and outer + math.exp(far) == outer:
        return outer  # between the end and the next number
    # A last step in z, for the logarithm of the distance has lost a few of its digits.
    z = outer - math.exp(y) if is_upper else outer + math.exp(y)
    a, b = (z, outer) if is_upper else (outer, z)
    log_tail, at_a, at_b = _log_mass(series, a, b, constants)
    step = (log_tail - wanted) * math.exp(log_tail - (at_a if is_upper else at_b))
    if abs(step) < 1e-9 * abs(z - outer):
        z += step if is_upper else -step
    return z


@compiled
def evaluate(kind, t, table, place, constants, out):  # type: ignore[no-untyped-def]
    """Replace what `point_kernel.evaluate` left pending."""
    starts, series, all_edges, _, all_left, _ = table
    for j in range(len(place)):
        edges, left = all_edges[starts[j] : starts[j + 1]], all_left[starts[j] : starts[j + 1]]
        for i in range(len(t)):
            if out[i, j] != PENDING:
                continue
            x = t[i, j if t.shape[1] > 1 else 0]
            z = (x - place[j, 0]) / place[j, 1]
            p = panel(edges, z, 0)
            is_upper = left[p] >= 0.5
            if left[p] < 0.5 < left[p + 1]:  # the panel of the median: z is all but at an end of it
                is_upper = z - edges[p] > edges[p + 1] - z
            a, b = (z, edges[-1]) if is_upper else (edges[0], z)
            log_tail, _, _ = _log_mass(series[j], a, b, constants)
            out[i, j] = _of_mass(kind, log_tail, is_upper)


@compiled
def quantiles(upper, q, table, place, constants, out):  # type: ignore[no-untyped-def]
    """Replace what `point_kernel.quantiles` left pending."""
    starts, series, all_edges, _, all_left, all_right = table
    for j in range(len(place)):
        edges = all_edges[starts[j] : starts[j + 1]]
        left, right = all_left[starts[j] : starts[j + 1]], all_right[starts[j] : starts[j + 1]]
        for i in range(len(q)):
            if out[i, j] != PENDING:
                continue
            # Tails so small are never 1 - q of a q above 1/2.
            inner = len(edges) - 1 if upper else 0
            if upper:
                while right[inner] < SHALLOW:
                    inner -= 1
            else:
                while left[inner] < SHALLOW:
                    inner += 1
            outer = edges[-1] if upper else edges[0]
            wanted = q[i, j if q.shape[1] > 1 else 0]
            z = _quantile(series[j], wanted, outer, edges[inner], upper, constants)
            out[i, j] = min(max(place[j, 0] + place[j, 1] * z, place[j, 2]), place[j, 3])
