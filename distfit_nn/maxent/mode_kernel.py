"""Turning points of log p, where it crosses a level, and its modes, compiled."""

from __future__ import annotations

import math

import numpy as np

from distfit_nn.maxent.panel_kernel import compiled, shift
from distfit_nn.maxent.point_kernel import log_density, panel

LEAST_RADIUS = 1e-9  # of a cell, in panels: two roots that are nearer are one that touches
LEAST_SLOPE = 1e-12  # bound on the slope over a cell below which log p is flat there
LEAST_RISE = 1e-9  # of log p between a valley and a maximum: less is rounding
STACK = 64
STEPS = 100  # of a bisection, or of Newton kept within its bracket


@compiled
def _value(c, t):  # type: ignore[no-untyped-def]
    """Return the polynomial c at t, and its slope."""
    value, slope = c[-1], 0.0
    for i in range(len(c) - 2, -1, -1):
        slope = slope * t + value
        value = value * t + c[i]
    return value, slope


@compiled
def _root(c, low, high, rising):  # type: ignore[no-untyped-def]
    """Return where c, monotone on [low, high], changes its sign."""
    t = 0.5 * (low + high)
    for _ in range(STEPS):
        value, slope = _value(c, t)
        if (value > 0.0) == rising:
            high = t
        else:
            low = t
        trial = t - value / slope if slope != 0.0 else low
        if not low < trial < high:
            trial = 0.5 * (low + high)
        moved = abs(trial - t)
        t = trial
        if moved <= 1e-16 * abs(t) + 1e-300:
            break
    return t


@compiled
def _is_settled(d):  # type: ignore[no-untyped-def]
    """Return whether the polynomial d has no root on [-1, 1], or is monotone or all but 0 there."""
    tail, bend = 0.0, 0.0
    for i in range(1, len(d)):
        tail += abs(d[i])
        bend += i * abs(d[i])
    if abs(d[0]) > tail or abs(d[0]) + tail < LEAST_SLOPE:
        return True
    return len(d) > 1 and 2.0 * abs(d[1]) > bend


@compiled
def turning_points(edges, local, out):  # type: ignore[no-untyped-def]
    """Write z where the slope of log p changes its sign; return how many.

    Each panel is cut into cells on which the slope is monotone or has no root, by bounds on its
    coefficients: no root is missed. The sign at a cell's end is that at the start of the next, so
    that a root on an edge counts once.
    """
    size = local.shape[1] - 1
    derivative, cell = np.empty(size), np.empty(size)
    spots = np.empty((STACK, 2))
    count, sign = 0, 0.0
    for p in range(len(edges) - 1):
        for i in range(size):
            derivative[i] = (i + 1) * local[p, i + 1]
        top = 0
        spots[0, 0], spots[0, 1] = 0.0, 1.0
        while top >= 0:
            centre, radius = spots[top, 0], spots[top, 1]
            shift(derivative, centre, radius, cell)
            if radius > LEAST_RADIUS and not _is_settled(cell):
                spots[top, 0], spots[top, 1] = centre + radius / 2, radius / 2
                top += 1
                spots[top, 0], spots[top, 1] = centre - radius / 2, radius / 2
                continue
            top -= 1
            start, end = np.sign(_value(cell, -1.0)[0]), np.sign(_value(cell, 1.0)[0])
            if sign == 0.0:
                sign = start
            if end == 0.0 or end == sign:
                continue
            if sign != 0.0 and count < len(out):
                s = -1.0 if start == end else _root(cell, -1.0, 1.0, end > 0.0)
                middle, half = 0.5 * (edges[p] + edges[p + 1]), 0.5 * (edges[p + 1] - edges[p])
                out[count] = middle + half * (centre + radius * s)
                count += 1
            sign = end
    return count


@compiled
def crossing(edges, local, low, high, level):  # type: ignore[no-untyped-def]
    """Return z between `low`, where log p is below the level, and `high`, where it is above."""
    p = 0
    for _ in range(STEPS):
        z = 0.5 * (low + high)
        if z in (low, high):
            break
        p = panel(edges, z, p)
        if log_density(edges, local, p, z) < level:
            low = z
        else:
            high = z
    return high


# Fields of a mode, in z, as `modes` writes them.
POSITION, HEIGHT, PROMINENCE, WIDTH, VALLEY, VALLEY_HEIGHT, AT_BOUNDARY = range(7)


@compiled
def modes(edges, local, reached_low, reached_high, out):  # type: ignore[no-untyped-def]
    """Write the modes of one column to the rows of `out`; return how many.

    `reached_low` and `reached_high` tell whether a maximum at that end of the support counts.
    """
    z, u = _extremes(edges, local)
    if len(z) == 2 and abs(u[1] - u[0]) < LEAST_RISE:
        return 0
    last, count, before = len(z) - 1, 0, -1
    for i in range(len(z)):
        at_low, at_high = i == 0, i == last
        is_peak = (at_low or u[i] > u[i - 1]) and (at_high or u[i] > u[i + 1])
        if not is_peak or (at_low and not reached_low) or (at_high and not reached_high):
            continue
        _describe(edges, local, z, u, i, out[count])
        if count > 0:
            lowest = before + np.argmin(u[before : i + 1])
            out[count - 1, VALLEY] = z[lowest]
            out[count - 1, VALLEY_HEIGHT] = math.exp(u[lowest])
        before = i
        count += 1
    return count


@compiled
def _extremes(edges, local):  # type: ignore[no-untyped-def]
    """Return z and log p at the ends and the turning points that are no ripples."""
    inner = np.empty(local.shape[1])
    found = turning_points(edges, local, inner)
    z, u = np.empty(found + 2), np.empty(found + 2)
    count, p = 0, 0
    for i in range(found + 2):
        here = edges[0] if i == 0 else edges[-1] if i == found + 1 else inner[i - 1]
        if count > 0 and here <= z[count - 1]:
            continue
        p = panel(edges, here, p)
        z[count], u[count] = here, log_density(edges, local, p, here)
        count += 1
    while count > 2:
        steps = np.abs(np.diff(u[:count]))
        least = np.argmin(steps)
        if steps[least] >= LEAST_RISE:
            break
        kept = 0
        for i in range(count):
            if i == 0 or i == count - 1 or not least <= i <= least + 1:
                z[kept], u[kept] = z[i], u[i]
                kept += 1
        count = kept
    return z[:count], u[:count]


@compiled
def _describe(edges, local, z, u, i, row):  # type: ignore[no-untyped-def]
    """Write position, height, prominence and width of the maximum i; no valley follows yet."""
    base = -np.inf
    for step in (-1, 1):
        lowest = _lowest(u, i, step)
        if lowest < u[i]:  # at an end of the support there is but one side to come down on
            base = max(base, lowest)
    level = u[i] + math.log((1 + math.exp(base - u[i])) / 2)
    row[WIDTH] = 0.0
    for step in (-1, 1):
        k = i
        while 0 <= k < len(z) and u[k] >= level:
            k += step
        if 0 <= k < len(z):
            end = crossing(edges, local, z[k], z[k - step], level)
        else:
            end = z[0] if step < 0 else z[-1]
        row[WIDTH] += step * end
    row[POSITION], row[HEIGHT] = z[i], math.exp(u[i])
    row[PROMINENCE] = -math.exp(u[i]) * math.expm1(base - u[i])
    row[VALLEY] = row[VALLEY_HEIGHT] = np.nan
    row[AT_BOUNDARY] = 1.0 if i == 0 or i == len(z) - 1 else 0.0


@compiled
def _lowest(u, i, step):  # type: ignore[no-untyped-def]
    """Return the lowest log p from point i on until higher ground."""
    lowest, k = u[i], i + step
    while 0 <= k < len(u) and u[k] <= u[i]:
        lowest = min(lowest, u[k])
        k += step
    return lowest
