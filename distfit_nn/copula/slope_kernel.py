"""Gradients of soft counts of sorted columns: `rank_kernel` once more, with a weight a point.

With kappa the derivative of the logistic function, u = strength x, and g the gradient with respect
to the counts below,

    dL/du_m = sum_j kappa(u_m - u_j) (g_m - g_j),     dL/dx = strength dL/du,
    dL/dstrength = sum_m (x_m - c) dL/du_m,

for any c: the dL/du_m of a column add up to 0. Likewise a number may be taken from all g.
"""

from __future__ import annotations

import math

import numpy as np

from distfit_nn.copula.rank_kernel import (
    LENGTH,
    PIECE,
    ROW,
    START,
    fill_ratios,
    inherit,
    lay_chains,
    measure_spans,
    remember,
)
from distfit_nn.copula.sweep_kernel import (
    LANES,
    carry_slopes_down,
    carry_slopes_up,
    slopes_down,
    slopes_up,
)
from distfit_nn.copula.vector_math import compiled, decay, dot, mean, summing

ROOT_TWO_PI = math.sqrt(2.0 * math.pi)


@compiled
def through_scores(gradients, scores, weight, inverse):  # type: ignore[no-untyped-def]
    """Replace gradients by weight * z, z = ndtri(s / n), by those by s: over n phi(z)."""
    factor = weight * ROOT_TWO_PI / len(scores)
    for at in range(0, len(scores), len(inverse)):
        count = min(len(inverse), len(scores) - at)
        for i in range(count):
            z = np.float64(scores[at + i])
            inverse[i] = -0.5 * z * z
        decay(inverse, count)
        for i in range(count):
            gradients[at + i] *= inverse[i] * factor


@compiled
def through_lines(gradients, scores, weight, work, by_weight, by_bias):  # type: ignore[no-untyped-def]
    """Replace gradients by weight * score + bias (m, n) by those by counts.

    Write those by weight and bias (m,), too.
    """
    for j in range(len(gradients)):
        by_weight[j] = dot(gradients[j], scores[j])
        by_bias[j] = len(scores[j]) * mean(gradients[j])
        through_scores(gradients[j], scores[j], weight[j], work[0].reshape(-1))


@compiled
def line_up(gradients, order, spare):  # type: ignore[no-untyped-def]
    """Put gradients by counts (m, n) in the order of the sorted columns, less their means."""
    m, n = gradients.shape
    for j in range(m):
        for i in range(n):
            spare[i] = gradients[j, order[j, i]]
        centre = mean(spare)
        for i in range(n):
            gradients[j, i] = spare[i] - centre


@compiled
def fill_weights(gradients, chains, at, count, weights):  # type: ignore[no-untyped-def]
    """Write the gradients of steps at, ..., at + count - 1 of each chain; 0 beyond its end."""
    for lane in range(LANES):
        row = chains[lane, ROW]
        start = chains[lane, START] + at
        known = max(0, min(count, chains[lane, LENGTH] - at))
        for i in range(known):
            weights[i, lane] = gradients[row, start + i]
        for i in range(known, count):
            weights[i, lane] = 0.0


@compiled
def start_chains(  # type: ignore[no-untyped-def]
    ordered, strength, gradients, coefficients, parts, pieces, steps, work
):
    """Write the states in which the chains start, up and down."""
    ratios, weights, _, _, chains, up, down, local, spans, _ = work
    measure_spans(ordered, strength, chains, spans)
    local[:] = 0.0
    for piece in range(pieces):
        at, count = piece * PIECE, min(PIECE, steps - piece * PIECE)
        fill_ratios(ordered, strength, chains, at, count, ratios)
        fill_weights(gradients, chains, at, count, weights)
        carry_slopes_up(coefficients, ratios, weights, local, weights, count)
    inherit(local, spans, parts, True, up)
    local[:] = 0.0
    for piece in range(pieces - 1, -1, -1):
        at, count = piece * PIECE, min(PIECE, steps - piece * PIECE)
        fill_ratios(ordered, strength, chains, at, count, ratios)
        fill_weights(gradients, chains, at, count, weights)
        carry_slopes_down(coefficients, ratios, weights, local, weights, count)
    inherit(local, spans, parts, False, down)


@compiled
def half_middle(ordered):  # type: ignore[no-untyped-def]
    """Return half the median of a sorted column, or of the finite value that is nearest to it."""
    place = len(ordered) // 2
    while place < len(ordered) - 1 and ordered[place] == -np.inf:
        place += 1
    while place > 0 and ordered[place] == np.inf:
        place -= 1
    value = np.float64(ordered[place])
    return 0.5 * value if np.isfinite(value) else 0.0


@summing
def unload_slopes(  # type: ignore[no-untyped-def]
    slopes, ordered, strength, halves, chains, at, count, out, by_strength
):
    """Write a piece of dL/dx to the rows of sorted columns, and add to dL/dstrength.

    What is infinite has no part in that. (Of finite numbers, the difference of halves is finite.)
    """
    for lane in range(LANES):
        row = chains[lane, ROW]
        start = chains[lane, START] + at
        factor, half, total = strength[row], halves[row], 0.0
        for i in range(max(0, min(count, chains[lane, LENGTH] - at))):
            slope = slopes[i, lane]
            distance = 0.5 * ordered[row, start + i] - half
            total += distance * slope if abs(distance) < np.inf else 0.0
            out[row, start + i] = factor * slope
        by_strength[row] += 2.0 * total


@compiled
def soft_slopes(  # type: ignore[no-untyped-def]
    ordered, strength, bad, coefficients, work, gradients, halves, by_strength
):
    """Replace gradients by counts of sorted columns (m, n) by dL/dx, and write dL/dstrength.

    The coefficients are k c_k, those of the derivative. Columns with a NaN become NaN.
    """
    ratios, weights, slopes, _, chains, up, down, _, _, marks = work
    m, n = ordered.shape
    for j in range(m):
        halves[j] = half_middle(ordered[j])
        by_strength[j] = 0.0
    for first in range(0, m, LANES):
        parts, steps = lay_chains(first, min(LANES, m - first), n, chains)
        pieces = (steps + PIECE - 1) // PIECE
        up[:] = 0.0
        down[:] = 0.0
        if parts > 1:
            start_chains(ordered, strength, gradients, coefficients, parts, pieces, steps, work)
        for piece in range(pieces):
            remember(up, marks[piece])
            if piece < pieces - 1:
                at = piece * PIECE
                fill_ratios(ordered, strength, chains, at, PIECE, ratios)
                fill_weights(gradients, chains, at, PIECE, weights)
                carry_slopes_up(coefficients, ratios, weights, up, weights, PIECE)
        for piece in range(pieces - 1, -1, -1):
            at, count = piece * PIECE, min(PIECE, steps - piece * PIECE)
            fill_ratios(ordered, strength, chains, at, count, ratios)
            fill_weights(gradients, chains, at, count, weights)
            slopes_up(coefficients, ratios, weights, marks[piece], slopes, count)
            slopes_down(coefficients, ratios, weights, down, slopes, count)
            unload_slopes(
                slopes, ordered, strength, halves, chains, at, count, gradients, by_strength
            )
    for j in range(m):
        if bad[j]:
            gradients[j, :] = np.nan
            by_strength[j] = np.nan
