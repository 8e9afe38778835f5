"""Densities, masses and quantiles at points, from the tables, compiled.

A mass is summed from its own end of the support: the smaller tail keeps all its digits and the
other is 1 minus it. Below `SHALLOW` the tables hold too little: `PENDING` is written, for
`deep_kernel` to replace.
"""

from __future__ import annotations

import math

import numpy as np

from distfit_nn.maxent.panel_kernel import SHALLOW, compiled, mass

LOGPDF, PDF, CDF, SF, LOGCDF, LOGSF = range(6)
PENDING = np.inf  # no value of a mass, of its logarithm, or of a quantile

STEPS = 100  # of a quantile; bisection alone needs 53
LAST_STEP = 1e-6  # of a third-order iteration, in panels: what is left is the cube of it
FLAT = 1e-8  # slope of log p below which a panel is taken as uniform for the first guess


@compiled
def panel(edges, z, guess):  # type: ignore[no-untyped-def]
    """Return the panel that holds z: `guess` if it does, for points are often in order."""
    if edges[guess] <= z < edges[guess + 1]:
        return guess
    low, high = 0, len(edges) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if edges[middle] <= z:
            low = middle
        else:
            high = middle
    return low


@compiled
def log_density(edges, local, p, z):  # type: ignore[no-untyped-def]
    """Return log p at z in panel p."""
    t = (z - 0.5 * (edges[p] + edges[p + 1])) / (0.5 * (edges[p + 1] - edges[p]))
    u = local[p, -1]
    for i in range(local.shape[1] - 2, -1, -1):
        u = u * t + local[p, i]
    return u


@compiled
def _smaller_tail(edges, local, left, right, p, z, rule):  # type: ignore[no-untyped-def]
    """Return the smaller of the masses left and right of z, and whether it is the right one."""
    a, b = edges[p], edges[p + 1]
    middle, half = 0.5 * (a + b), 0.5 * (b - a)
    if left[p] < 0.5:
        lower = left[p] + half * mass(local[p], (a - middle) / half, (z - a) / half, rule)
        if lower <= 0.5:
            return lower, False
    return right[p + 1] + half * mass(local[p], (z - middle) / half, (b - z) / half, rule), True


@compiled
def _of_mass(kind, tail, is_upper):  # type: ignore[no-untyped-def]
    """Return cdf, sf or their logarithm from the smaller tail."""
    same = is_upper == (kind in (SF, LOGSF))
    if kind in (CDF, SF):
        return tail if same else 1.0 - tail
    return math.log(tail) if same else math.log1p(-tail)


@compiled
def _outside(kind, above):  # type: ignore[no-untyped-def]
    """Return the value beyond an end of the support."""
    if kind == LOGPDF:
        return -np.inf
    if kind == PDF:
        return 0.0
    logarithm = kind in (LOGCDF, LOGSF)
    if above == (kind in (CDF, LOGCDF)):
        return 0.0 if logarithm else 1.0
    return -np.inf if logarithm else 0.0


@compiled
def evaluate(kind, t, table, place, constants, out):  # type: ignore[no-untyped-def]
    """Write pdf, cdf, ... at t (m, d) or (m, 1) to out (m, d); return how many are pending.

    place (d, 4) holds loc, scale, and the ends of the support in x.
    """
    starts, _, all_edges, all_local, all_left, all_right = table
    rule = constants[2]
    pending = 0
    for j in range(len(place)):
        first, last = starts[j], starts[j + 1]
        edges, local = all_edges[first:last], all_local[first:last]
        left, right = all_left[first:last], all_right[first:last]
        p = 0
        for i in range(len(t)):
            x = t[i, j if t.shape[1] > 1 else 0]
            if first == last or math.isnan(x):
                out[i, j] = np.nan
                continue
            # A point is outside only if it is so in x and in z: rounding must not throw one out.
            z = (x - place[j, 0]) / place[j, 1]
            if (z < edges[0] and x < place[j, 2]) or (z > edges[-1] and x > place[j, 3]):
                out[i, j] = _outside(kind, x > place[j, 3])
                continue
            z = min(max(z, edges[0]), edges[-1])
            p = panel(edges, z, p)
            if kind in (LOGPDF, PDF):
                value = log_density(edges, local, p, z) - math.log(place[j, 1])
                out[i, j] = math.exp(value) if kind == PDF else value
                continue
            if z == edges[0] or z == edges[-1]:
                out[i, j] = _outside(kind, z == edges[-1])
                continue
            tail, is_upper = _smaller_tail(edges, local, left, right, p, z, rule)
            if tail >= SHALLOW:
                out[i, j] = _of_mass(kind, tail, is_upper)
            else:
                out[i, j] = PENDING
                pending += 1
    return pending


@compiled
def _panel_of_mass(left, right, q, is_upper):  # type: ignore[no-untyped-def]
    """Return the panel in which the mass from an end reaches q: the nearest to that end."""
    low, high = 0, len(left) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if (right[middle] >= q) if is_upper else (left[middle] < q):
            low = middle
        else:
            high = middle
    return low


@compiled
def _distance(c, half, start, target, whole, is_upper, rule):  # type: ignore[no-untyped-def]
    """Return how far from an end of its panel, in t, a mass `target` of `whole` reaches.

    Halley's iteration kept within a bracket, from the answer for a linear log p.
    """
    sign = -1.0 if is_upper else 1.0
    share = min(target / whole, 1.0)
    slope = sign * c[1]
    s = 2.0 * share
    if abs(slope) > FLAT:
        s = math.log1p(share * math.expm1(2.0 * slope)) / slope
    low, high = 0.0, 2.0
    for _ in range(STEPS):
        t = start + (2.0 - s if is_upper else s)
        got = half * mass(c, t if is_upper else start, s, rule)
        u, slope = c[-1], 0.0
        for i in range(len(c) - 2, -1, -1):
            slope = slope * t + u
            u = u * t + c[i]
        if got > target:
            high = s
        else:
            low = s
        step = (got - target) / (half * math.exp(u))
        trial = s - step / max(1.0 - 0.5 * step * sign * slope, 0.5)
        if not low <= trial <= high:
            trial = 0.5 * (low + high)
        moved = abs(trial - s)
        s = trial
        if moved <= LAST_STEP:
            break
    return s


@compiled
def _quantile(q, is_upper, edges, local, left, right, rule):  # type: ignore[no-untyped-def]
    """Return z with mass q, from `SHALLOW` to 1/2, on one side."""
    p = _panel_of_mass(left, right, q, is_upper)
    a, b = edges[p], edges[p + 1]
    middle, half = 0.5 * (a + b), 0.5 * (b - a)
    near, far = (right[p + 1], right[p]) if is_upper else (left[p], left[p + 1])
    s = _distance(local[p], half, (a - middle) / half, q - near, far - near, is_upper, rule)
    return max(b - half * s, a) if is_upper else min(a + half * s, b)


@compiled
def quantiles(upper, q, table, place, constants, out):  # type: ignore[no-untyped-def]
    """Write the points with mass q (m, d) or (m, 1) left of them, or right, to out (m, d).

    Returns how many are pending.
    """
    starts, _, all_edges, all_local, all_left, all_right = table
    pending = 0
    for j in range(len(place)):
        first, last = starts[j], starts[j + 1]
        edges, local = all_edges[first:last], all_local[first:last]
        left, right = all_left[first:last], all_right[first:last]
        for i in range(len(q)):
            wanted = q[i, j if q.shape[1] > 1 else 0]
            if first == last or not 0.0 <= wanted <= 1.0:
                out[i, j] = np.nan
                continue
            # 1 - q is exact above 1/2: the quantile is sought from the nearer end.
            turned = wanted > 0.5
            is_upper = upper != turned
            tail = 1.0 - wanted if turned else wanted
            if tail == 0.0:
                out[i, j] = place[j, 3 if is_upper else 2]
            elif tail < SHALLOW:
                out[i, j] = PENDING
                pending += 1
            else:
                z = _quantile(tail, is_upper, edges, local, left, right, constants[2])
                out[i, j] = min(max(place[j, 0] + place[j, 1] * z, place[j, 2]), place[j, 3])
    return pending
