"""Quantiles of Gaussian mixtures, and their gradients, in loops that become vector instructions.

See `mixture` for the equations. Rows z (F, n), float32 or float64, have a mixture each, or are
parts of one that serves all; the work is float64. With u = (y - m) / s, a component's density is
w exp(-u^2 / 2) / (s sqrt(2 pi)) and its smaller tail w exp(-u^2 / 2) M(|u|), see `normal_tail`: one
exponential serves both.

`table` (F, 3, P) holds places y, their scores and the slopes dy / dscore, P a power of 2, in which
the search for the cell of z takes no branches.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from distfit_nn._floats import BIAS, LOG2_E, MANTISSA, bits64, of_bits64
from distfit_nn.nn.shift_math import wide
from distfit_nn.nn.targets.mixture_quantile import EDGE, LEAST_DENSITY, ROOT_2
from distfit_nn.nn.targets.normal_tail import OPTIONS, normal_parts

NODES = 25  # of each component
MOST_STEPS = 24
BLOCK = 256  # values worked on at a time
PER_ROOT = 1 / math.sqrt(2 * math.pi)
TINY, HUGE = 1e-300, 1e300

Y, SCORE, SLOPE = range(3)

compiled = njit(**OPTIONS, fastmath={"contract"})
summing = njit(**OPTIONS, fastmath={"contract", "reassoc", "nsz"})

# The table


@compiled
def tabulate(parts, table, first, last):  # type: ignore[no-untyped-def]
    """Write the tables of the mixtures from `first` to `last`, whose `parts` are (3, F, K)."""
    weights, means, scales = parts
    count = NODES * weights.shape[1]
    below, above, density = np.empty(count), np.empty(count), np.empty(count)
    for f in range(first, last):
        y, score, slope = table[f, Y, :count], table[f, SCORE, :count], table[f, SLOPE, :count]
        _lay(means[f], scales[f], y)
        below[:], above[:], density[:] = 0.0, 0.0, 0.0
        for k in range(weights.shape[1]):
            _add_masses(weights[f, k], means[f, k], scales[f, k], y, below, above, density)
        _score(below, above, density, score, slope)
        table[f, Y, count:], table[f, SLOPE, count:] = y[-1], 0.0
        table[f, SCORE, count:] = HUGE


@compiled
def _lay(means, scales, y):  # type: ignore[no-untyped-def]
    """Write the nodes of all components in order."""
    taken = np.zeros(len(means), np.int64)
    for i in range(len(y)):
        chosen, least = -1, 0.0
        for k in range(len(means)):
            if taken[k] < NODES:
                step = 2 * EDGE / (NODES - 1) * taken[k] - EDGE
                node = means[k] + scales[k] * step
                if chosen < 0 or node < least:
                    chosen, least = k, node
        y[i] = least
        taken[chosen] += 1


@compiled
def _add_masses(weight, mean, scale, y, below, above, density):  # type: ignore[no-untyped-def]
    wide()
    inverse = 1 / scale
    high = weight * inverse * PER_ROOT
    for i in range(len(y)):
        u = (y[i] - mean) * inverse
        e, tail = normal_parts(u)
        below[i] += weight * (tail if u < 0 else 1 - tail)
        above[i] += weight * (1 - tail if u < 0 else tail)
        density[i] += high * e


@compiled
def _score(below, above, density, score, slope):  # type: ignore[no-untyped-def]
    """Write the scores of masses, which never fall, and the slopes of y by them."""
    wide()
    for i in range(len(below)):
        # Abramowitz and Stegun, 26.2.22, with a rough logarithm, is off by 0.02.
        bits = bits64(max(min(below[i], above[i]), TINY))
        part = of_bits64((bits & ((1 << MANTISSA) - 1)) | (BIAS << MANTISSA)) - 1
        log = (bits >> MANTISSA) - BIAS + part * (1.3466 - 0.3466 * part)
        t = math.sqrt(max(-2 / LOG2_E * log, 0.0))
        score[i] = max(t - (2.30753 + 0.27061 * t) / (1 + t * (0.99229 + 0.04481 * t)), 0.0)
    for _ in range(2):
        for i in range(len(below)):
            mass = max(min(below[i], above[i]), TINY)
            e, tail = normal_parts(score[i])
            score[i] += 2 * (tail - mass) / (tail + mass) * tail / (e * PER_ROOT)
    for i in range(len(below)):
        e, _ = normal_parts(score[i])
        slope[i] = min(e * PER_ROOT / max(density[i], TINY), HUGE)
        score[i] = -score[i] if below[i] < above[i] else score[i]
    for i in range(1, len(score)):
        score[i] = max(score[i], score[i - 1])


# The quantiles

INNER, AT, LOW, HIGH, WANTED, MASS, DENSITY, BEND = range(8)  # of a block, a row each


@compiled
def solve(z, parts, table, tolerance, y, first, last):  # type: ignore[no-untyped-def]
    """Write F^-1(Phi(z)) of the rows z (R, n) from `first` to `last`; row r has mixture r % F.

    Steps end where what the next would do to each mass is at most `tolerance` of it.
    """
    weights, means, scales = parts
    room, cells = np.empty((8, BLOCK)), np.empty(BLOCK, np.uint64)
    for r in range(first, last):
        f = r % len(table)
        widest = scales[f].max()
        for low in range(0, z.shape[1], BLOCK):
            part = slice(low, min(low + BLOCK, z.shape[1]))
            block = room[:, : part.stop - low]
            _cut(z[r, part], block[INNER])
            _find(block[INNER], table[f, SCORE], cells)
            _start(table[f], cells, block)
            _tails(block[INNER], block[WANTED])
            for _ in range(MOST_STEPS):
                _sum(weights[f], means[f], scales[f], block)
                if _step(tolerance, block) == 0:
                    break
            _finish(z[r, part], widest, block, y[r, part])


@compiled
def _find(z, score, cells):  # type: ignore[no-untyped-def]
    """Write the cells of z, from 1 to two less than the length of the table."""
    wide()
    size = len(score)
    for i in range(len(z)):
        cells[i] = 0
    step = np.uint64(size // 2)
    while step > 0:
        for i in range(len(z)):
            next_ = cells[i] + step
            cells[i] = next_ if score[next_] <= z[i] else cells[i]
        step = np.uint64(step // np.uint64(2))
    last = np.uint64(size - 3)
    for i in range(len(z)):
        cells[i] = min(max(cells[i], np.uint64(1)), last)


@compiled
def _start(table, cells, room):  # type: ignore[no-untyped-def]
    """Write first guesses, and brackets."""
    wide()
    inner, at, low, high = room[INNER], room[AT], room[LOW], room[HIGH]
    y, score, slope = table[Y], table[SCORE], table[SLOPE]
    for i in range(len(at)):
        j = cells[i]
        k = j + np.uint64(1)
        start, width, rise = y[j], score[k] - score[j], y[k] - y[j]
        t = min(max((inner[i] - score[j]) / max(width, TINY), 0.0), 1.0)
        m0, m1 = min(slope[j] * width, 3 * rise), min(slope[k] * width, 3 * rise)
        at[i] = start + t * (m0 + t * (3 * rise - 2 * m0 - m1 + t * (m0 + m1 - 2 * rise)))
        # Scores are rounded: the solution may be in a cell beside.
        low[i], high[i] = y[j - np.uint64(1)], y[k + np.uint64(1)]


@compiled
def _cut(z, inner):  # type: ignore[no-untyped-def]
    for i in range(len(z)):
        low = EDGE if z[i] > EDGE else np.float64(z[i])
        inner[i] = low if low >= -EDGE else -EDGE  # of NaN, too


@compiled
def _tails(z, tail):  # type: ignore[no-untyped-def]
    wide()
    for i in range(len(z)):
        _, tail[i] = normal_parts(z[i])


@compiled
def _sum(weights, means, scales, room):  # type: ignore[no-untyped-def]
    """Write the masses beyond y, seen from 0 to z, the densities and their slopes."""
    wide()
    inner, at = room[INNER], room[AT]
    mass, density, bend = room[MASS], room[DENSITY], room[BEND]
    room[MASS:] = 0.0
    for k in range(len(weights)):
        weight, mean, inverse = weights[k], means[k], 1 / scales[k]
        height = weight * inverse * PER_ROOT
        for i in range(len(at)):
            u = (at[i] - mean) * inverse
            e, tail = normal_parts(u)
            mass[i] += weight * (tail if (u > 0) == (inner[i] > 0) else 1 - tail)
            density[i] += height * e
            bend[i] += height * e * u * inverse


@compiled
def _step(tolerance, room):  # type: ignore[no-untyped-def]
    """Take a step, and return how many need another.

    It is Halley's on the logarithm of the mass: Newton's `move` less its `turn`, the change of the
    slope within half of it.
    """
    wide()
    inner, at, low, high, wanted = room[INNER], room[AT], room[LOW], room[HIGH], room[WANTED]
    mass, density, bend = room[MASS], room[DENSITY], room[BEND]
    count = 0
    for i in range(len(at)):
        y, m, rate = at[i], mass[i], 1 / max(density[i], TINY)
        gap = 2 * (m - wanted[i]) / (m + wanted[i])  # the logarithm of m / wanted, nearly
        above = (gap > 0) == (inner[i] > 0)  # y is less than the solution
        low[i] = y if above else low[i]
        high[i] = high[i] if above else y
        move = gap * m * rate if inner[i] > 0 else -gap * m * rate
        turn = 0.5 * (gap - bend[i] * rate * move)
        turn = min(max(turn, -0.5), 0.5)
        new = y + move * (1 - turn + turn * turn)
        inside = (new >= low[i]) & (new <= high[i])
        at[i] = new if inside else 0.5 * (low[i] + high[i])
        left = abs(gap) * (turn * turn + gap * gap)
        wide_ = high[i] - low[i] > tolerance * (abs(low[i]) + abs(high[i]))
        count += 1 if (left > tolerance if inside else wide_) else 0
    return count


@compiled
def _finish(z, widest, room, y):  # type: ignore[no-untyped-def]
    inner, at = room[INNER], room[AT]
    for i in range(len(z)):
        beyond = np.float64(z[i]) - inner[i]  # NaN of NaN
        y[i] = at[i] + beyond * widest if beyond != 0 else at[i]


# Their gradients

PULL = LOW


@compiled
def slopes(z, y, g, parts, dz, sums, first, last):  # type: ignore[no-untyped-def]
    """Write the gradient by z, and add those by logits, means and log scales to `sums` (3, F, K).

    Rows are as for `solve`.
    """
    weights, means, scales = parts
    count = weights.shape[1]
    room, tails, peaks = np.empty((8, BLOCK)), np.empty((count, BLOCK)), np.empty((count, BLOCK))
    for r in range(first, last):
        f = r % weights.shape[0]
        widest = scales[f].max()
        ties = (scales[f] == widest).sum()
        for low in range(0, z.shape[1], BLOCK):
            part = slice(low, min(low + BLOCK, z.shape[1]))
            size = part.stop - low
            block = room[:, :size]
            _place(z[r, part], y[r, part], weights[f], means[f], scales[f], block)
            block[MASS:] = 0.0
            for k in range(count):
                row = tails[k, :size], peaks[k, :size]
                _share(weights[f, k], means[f, k], scales[f, k], block, *row)
            beyond = _pull(z[r, part], g[r, part], widest, block, dz[r, part])
            for k in range(count):
                row = tails[k, :size], peaks[k, :size]
                by_logit, by_mean, by_scale = _gathered(means[f, k], block, *row)
                sums[0, f, k] += weights[f, k] * by_logit
                sums[1, f, k] += by_mean
                sums[2, f, k] += by_scale
                if scales[f, k] == widest:
                    sums[2, f, k] += beyond * widest / ties


@compiled
def _place(z, y, weights, means, scales, room):  # type: ignore[no-untyped-def]
    """Write the inner z and their quantiles."""
    inner, at = room[INNER], room[AT]
    _cut(z, inner)
    low = high = math.nan
    at[:] = y
    for i in range(len(z)):
        if z[i] != inner[i]:  # rare
            if math.isnan(low):
                low = _at_edge(weights, means, scales, -EDGE)
                high = _at_edge(weights, means, scales, EDGE)
            at[i] = high if inner[i] > 0 else low


@compiled
def _at_edge(weights, means, scales, z):  # type: ignore[no-untyped-def]
    """Return the quantile of one z by bisection."""
    ends = means + scales * z
    low, high = ends.min(), ends.max()
    side = 1.0 if z > 0 else -1.0
    wanted = math.erfc(side * z / ROOT_2)
    for _ in range(60):
        y, mass = 0.5 * (low + high), 0.0
        for k in range(len(means)):
            mass += weights[k] * math.erfc(side * (y - means[k]) / (scales[k] * ROOT_2))
        rising = (mass > wanted) == (side > 0)
        low, high = (y, high) if rising else (low, y)
    return 0.5 * (low + high)


@compiled
def _share(weight, mean, scale, room, tails, peaks):  # type: ignore[no-untyped-def]
    """Write the masses and densities of a component, and add them up."""
    wide()
    inner, at, mass, density = room[INNER], room[AT], room[MASS], room[DENSITY]
    inverse = 1 / scale
    height = weight * inverse * PER_ROOT
    for i in range(len(at)):
        u = (at[i] - mean) * inverse
        e, tail = normal_parts(u)
        tails[i] = tail if (u > 0) == (inner[i] > 0) else 1 - tail
        peaks[i] = height * e
        mass[i] += weight * tails[i]
        density[i] += peaks[i]


@summing
def _pull(z, g, widest, room, dz):  # type: ignore[no-untyped-def]
    """Write the gradients by z and by the masses; return the sum of g times what is beyond."""
    wide()
    inner, density, pull = room[INNER], room[DENSITY], room[PULL]
    total = 0.0
    for i in range(len(z)):
        v, h = np.float64(z[i]), np.float64(g[i])
        e, _ = normal_parts(inner[i])
        normal = e * PER_ROOT
        pull[i] = h / max(density[i], LEAST_DENSITY * normal)
        beyond = v - inner[i]
        dz[i] = pull[i] * normal if beyond == 0 else h * widest
        total += h * beyond
    return total


@summing
def _gathered(mean, room, tails, peaks):  # type: ignore[no-untyped-def]
    """Return the gradients by a component's logit (over its weight), mean and log scale."""
    wide()
    inner, at, mass, pull = room[INNER], room[AT], room[MASS], room[PULL]
    by_logit, by_mean, by_scale = 0.0, 0.0, 0.0
    for i in range(len(at)):
        excess = pull[i] * (tails[i] - mass[i])
        by_logit += excess if inner[i] > 0 else -excess
        peak = pull[i] * peaks[i]
        by_mean += peak
        by_scale += peak * (at[i] - mean)
    return by_logit, by_mean, by_scale
