"""Columns carried to normal scores by their moments, forward and back, compiled.

Columns are rows here, (m, n) of float32 or float64; what is computed is float64. With z = (x -
mean) / std, s the table of g(Phi^-1(F1(z))) and rho = sqrt(var / (var + eps)), y = w rho s + b.
With q = dL/dz, by a value itself and by the moments of all,

    dL/dx = (q - mean(q) - z mean(q z) + z w rho sum(g s) eps / (var + eps) / n) / std.
"""

from __future__ import annotations

import math

import numpy as np

from distfit_nn.copula.vector_math import compiled, fused, summing
from distfit_nn.transforms.moments import rules as quadrature
from distfit_nn.transforms.moments.solve_kernel import NONE, solve_one
from distfit_nn.transforms.moments.table_kernel import adjoint, recall, tabulate

# Compiled code takes globals as constants.
RADIUS, WIDER = quadrature.RADIUS, quadrature.WIDER
MARGIN, RADII = quadrature.MARGIN, quadrature.RADII
LOG_WIDER = math.log(WIDER)
STEEPEST = quadrature.STEEPEST
FINE = 4.0  # widths of cells are powers of 2^(1/4): knots do not move with every value

# Columns of numbers; from THIRD on they are the means of z^3, ..., z^8.
MEAN, VAR, INVERSE, LOW, HIGH, SHARE, PASSES, THIRD = range(8)
NUMBERS = THIRD + 6
OK, REGULARISED, AFFINE, INVALID = range(4)


@summing
def _sum(row):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(row)):
        total += np.float64(row[i])
    return total


@summing
def _ends(row):  # type: ignore[no-untyped-def]
    low, high = row[0], row[0]
    for i in range(len(row)):
        low, high = min(low, row[i]), max(high, row[i])
    return np.float64(low), np.float64(high)


@summing
def _two(row, mean, scale):  # type: ignore[no-untyped-def]
    """Return the sums of deviations and of their squares, multiplied by `scale`."""
    first, second = 0.0, 0.0
    for i in range(len(row)):
        t = (np.float64(row[i]) - mean) * scale
        first += t
        second += t * t
    return first, second


@summing
def _six(row, mean, inverse, share, out):  # type: ignore[no-untyped-def]
    """Write the means of z^3, ..., z^8."""
    s3, s4, s5, s6, s7, s8 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(len(row)):
        z = (np.float64(row[i]) - mean) * inverse
        z2 = z * z
        z3, z4 = z2 * z, z2 * z2
        s3 += z3
        s4 += z4
        s5 += z3 * z2
        s6 += z4 * z2
        s7 += z4 * z3
        s8 += z4 * z4
    out[THIRD], out[THIRD + 1], out[THIRD + 2] = s3 * share, s4 * share, s5 * share
    out[THIRD + 3], out[THIRD + 4], out[THIRD + 5] = s6 * share, s7 * share, s8 * share


@compiled
def _summarise(row, out):  # type: ignore[no-untyped-def]
    """Write mean, variance, 1 / std, the range of z and the means of its powers.

    NaN throughout where a value is not finite; of a constant the variance and 1 / std are 0.
    """
    n = len(row)
    share = 1.0 / n
    out[:] = np.nan
    mean = _sum(row) * share
    if not abs(mean) < np.inf:
        return
    low, high = _ends(row)
    out[MEAN], out[VAR], out[INVERSE], out[LOW], out[HIGH] = mean, 0.0, 0.0, 0.0, 0.0
    reach = max(high - mean, mean - low)
    if low == high or not reach > 0.0:
        out[MEAN] = low
        return
    first, second = _two(row, mean, 1.0 / reach)  # no square overflows
    shift = first * share
    ratio = max(second * share - shift * shift, 0.0)
    mean += shift * reach
    inverse = 1.0 / (math.sqrt(ratio) * reach)
    out[MEAN], out[VAR], out[INVERSE] = mean, ratio * reach * reach, inverse
    out[LOW], out[HIGH] = (low - mean) * inverse, (high - mean) * inverse
    _six(row, mean, inverse, share, out)


@compiled
def support(low, high):  # type: ignore[no-untyped-def]
    """Return the number of the support for z in [low, high], -1 where none is wide enough."""
    reach = MARGIN * max(-low, high)
    if not reach > RADIUS:
        return 0 if reach >= 0.0 else -1
    step = math.ceil(math.log(reach / RADIUS) / LOG_WIDER)
    return step if step < RADII else -1


@compiled
def _grid(low, high, cells):  # type: ignore[no-untyped-def]
    """Return the first knot and the width of cells that cover [low, high]."""
    span = (high - low) / (cells - 2)
    width = 2.0 ** (math.ceil(FINE * math.log2(span)) / FINE)
    return width * math.floor(low / width), width


@compiled
def _whole(third, out):  # type: ignore[no-untyped-def]
    """Write E z^r, r = 0..k, from those from the third on."""
    out[0], out[1], out[2] = 1.0, 0.0, 1.0
    for r in range(3, len(out)):
        out[r] = third[r - 3]


@fused
def _look_up(row, mean, inverse, start, width, cubics, scale, term, out):  # type: ignore[no-untyped-def]
    last = len(cubics) - 1
    factor = inverse / width
    shift = -mean * factor - start / width
    for i in range(len(row)):
        at = np.float64(row[i]) * factor + shift
        c = np.uint64(min(max(np.int64(at), 0), last))  # type: ignore[arg-type]
        f = at - np.float64(c)
        s = cubics[c, 0] + f * (cubics[c, 1] + f * (cubics[c, 2] + f * cubics[c, 3]))
        out[i] = scale * s + term


@fused
def _line(row, mean, scale, term, out):  # type: ignore[no-untyped-def]
    for i in range(len(row)):
        out[i] = (np.float64(row[i]) - mean) * scale + term


@compiled
def prepare(rows, tolerances, rules, work, numbers, ranges, moments, coefficients, factors):  # type: ignore[no-untyped-def]
    """Write what is known of m columns (m, n), and their densities but for those LEFT."""
    m, n = rows.shape
    size = moments.shape[1]
    for c in range(m):
        stats = numbers[c]
        _summarise(rows[c], stats)
        stats[SHARE], stats[PASSES] = NONE, 0.0
        step = support(stats[LOW], stats[HIGH])
        ranges[c, 0] = RADIUS * WIDER**step
        ranges[c, 1], ranges[c, 2] = stats[LOW], stats[HIGH]
        if size > 3 and n >= size and stats[VAR] > 0.0 and step >= 0:
            _whole(stats[THIRD:], moments[c])
            stats[SHARE], stats[PASSES] = solve_one(
                moments[c], ranges[c, 0], tolerances, rules, work, coefficients[c], factors[c]
            )


@compiled
def tell(numbers, laws, radii, statuses):  # type: ignore[no-untyped-def]
    """Write what `match.Moments` holds of all columns."""
    last = len(laws) - 1
    for c in range(len(numbers)):
        stats = numbers[c]
        laws[0, c], laws[1, c] = stats[MEAN], stats[VAR]
        for r in range(3, last + 1):
            laws[r - 1, c] = stats[THIRD + r - 3]
        laws[last, c] = max(stats[HIGH], -stats[LOW])
        step = support(stats[LOW], stats[HIGH])
        radii[c] = RADIUS * WIDER ** (step if step >= 0 else RADII - 1)
        if not abs(stats[MEAN]) < np.inf:
            statuses[c] = INVALID
        elif not stats[SHARE] < NONE:
            statuses[c] = AFFINE
        else:
            statuses[c] = REGULARISED if stats[SHARE] > 0.0 else OK


@compiled
def forward(  # type: ignore[no-untyped-def]
    rows, weight, bias, eps, reach, constants, room, numbers, ranges, coefficients, tables, out
):  # fmt: skip
    """Write y (m, n) and the tables, from densities."""
    cells = tables.shape[2] - 1
    for c in range(len(rows)):
        stats = numbers[c]
        total = stats[VAR] + eps
        if stats[SHARE] == NONE:
            inverse = 1.0 / math.sqrt(total) if total > 0.0 else 0.0 * total
            _line(rows[c], stats[MEAN], weight[c] * inverse, np.float64(bias[c]), out[c])
            continue
        start, width = _grid(stats[LOW], stats[HIGH], cells)
        tabulate(coefficients[c], start, width, ranges[c, 0], reach, constants, room, tables[c])
        rho = math.sqrt(stats[VAR] / total)
        _look_up(
            rows[c], stats[MEAN], stats[INVERSE], start, width, room.cubics,
            weight[c] * rho, np.float64(bias[c]), out[c],
        )  # fmt: skip


@fused
def _collect(row, gradient, mean, inverse, start, width, sums):  # type: ignore[no-untyped-def]
    """Write the sums of g, g f, g f^2, g f^3 of each cell."""
    sums[:] = 0.0
    last = len(sums) - 1
    factor = inverse / width
    shift = -mean * factor - start / width
    for i in range(len(row)):
        at = np.float64(row[i]) * factor + shift
        c = np.uint64(min(max(np.int64(at), 0), last))  # type: ignore[arg-type]
        f = at - np.float64(c)
        g = np.float64(gradient[i])
        gf = g * f
        sums[c, 0] += g
        sums[c, 1] += gf
        sums[c, 2] += gf * f
        sums[c, 3] += gf * f * f


@fused
def _spread(row, gradient, mean, inverse, start, width, cubics, scale, powers, out):  # type: ignore[no-untyped-def]
    """Write inverse * (scale g s'(z) + sum_j powers[j] z^j)."""
    last, size = len(cubics) - 1, len(powers)
    factor = inverse / width
    shift = -mean * factor - start / width
    scale = scale / width * inverse
    for i in range(len(row)):
        x = np.float64(row[i])
        at = x * factor + shift
        c = np.uint64(min(max(np.int64(at), 0), last))  # type: ignore[arg-type]
        f = at - np.float64(c)
        slope = cubics[c, 1] + f * (2.0 * cubics[c, 2] + 3.0 * f * cubics[c, 3])
        z = (x - mean) * inverse
        moved = powers[size - 1]
        for j in range(size - 2, -1, -1):
            moved = moved * z + powers[j]
        out[i] = scale * np.float64(gradient[i]) * slope + inverse * moved


@compiled
def _totals(cubics, sums, start, width):  # type: ignore[no-untyped-def]
    """Return the sums over values of g, g s, g s' and g s' z."""
    plain, scored, sloped, moment = 0.0, 0.0, 0.0, 0.0
    for c in range(len(sums)):
        a0, a1, a2, a3 = sums[c, 0], sums[c, 1], sums[c, 2], sums[c, 3]
        c1, c2, c3 = cubics[c, 1], 2.0 * cubics[c, 2], 3.0 * cubics[c, 3]
        plain += a0
        scored += cubics[c, 0] * a0 + cubics[c, 1] * a1 + cubics[c, 2] * a2 + cubics[c, 3] * a3
        slope = (c1 * a0 + c2 * a1 + c3 * a2) / width
        sloped += slope
        moment += (start + c * width) * slope + c1 * a1 + c2 * a2 + c3 * a3
    return plain, scored, sloped, moment


@compiled
def _mean(powers, stats, shift):  # type: ignore[no-untyped-def]
    """Return the mean over values of sum_{j < k} powers[j] z^(j + shift)."""
    out = 0.0
    for j in range(len(powers) - 1):
        r = j + shift
        if r >= 3:
            out += powers[j] * stats[THIRD + r - 3]
        elif r != 1:
            out += powers[j]
    return out


@summing
def _against(row, gradient, mean):  # type: ignore[no-untyped-def]
    """Return the sums of g and g (x - mean)."""
    plain, moment = 0.0, 0.0
    for i in range(len(row)):
        g = np.float64(gradient[i])
        plain += g
        moment += g * (np.float64(row[i]) - mean)
    return plain, moment


@fused
def _straight(row, gradient, mean, a, b, c, out):  # type: ignore[no-untyped-def]
    """Write a g + b + c (x - mean)."""
    for i in range(len(row)):
        out[i] = a * np.float64(gradient[i]) + b + c * (np.float64(row[i]) - mean)


@compiled
def _backward_line(row, gradient, stats, eps, weight, out):  # type: ignore[no-untyped-def]
    """Write the gradient of a standardised column; return those by weight and bias."""
    total = stats[VAR] + eps
    inverse = 1.0 / math.sqrt(total) if total > 0.0 else 0.0 * total
    plain, moment = _against(row, gradient, stats[MEAN])
    a = weight * inverse
    bend = a * moment / total / len(row) if total > 0.0 else 0.0 * total
    _straight(row, gradient, stats[MEAN], a, -a * plain / len(row), -bend, out)
    return moment * inverse, plain


@summing
def _squares(row):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(row)):
        t = np.float64(row[i])
        total += t * t
    return total


@compiled
def _bound(slopes, gradient, rate):  # type: ignore[no-untyped-def]
    """Shorten a gradient that is more than STEEPEST * rate times as long as that by y."""
    size, given = _squares(slopes), _squares(gradient)
    limit = STEEPEST * rate * math.sqrt(given)
    if size <= limit * limit or not math.isfinite(given):
        return
    factor = limit / math.sqrt(size) if math.isfinite(size) else 0.0
    for i in range(len(slopes)):
        slopes[i] = factor * slopes[i] if factor > 0.0 else 0.0


@compiled
def backward(  # type: ignore[no-untyped-def]
    rows, gradients, weight, eps, reach, constants, room, numbers, moments, coefficients, factors,
    tables, dweight, dbias, out,
):  # fmt: skip
    """Write the gradients by x (m, n), by weight and by bias (m,)."""
    m, n = rows.shape
    cells, powers = tables.shape[2] - 1, room.powers[9 : 9 + moments.shape[1]]
    for c in range(m):
        stats = numbers[c]
        if not stats[SHARE] < 1.0:
            dweight[c], dbias[c] = _backward_line(
                rows[c], gradients[c], stats, eps, weight[c], out[c]
            )
            continue
        start, width = _grid(stats[LOW], stats[HIGH], cells)
        mean, inverse, total = stats[MEAN], stats[INVERSE], stats[VAR] + eps
        radius = RADIUS * WIDER ** support(stats[LOW], stats[HIGH])
        rho = math.sqrt(stats[VAR] / total)
        scale = weight[c] * rho
        recall(coefficients[c], start, width, radius, reach, constants, room, tables[c])
        _collect(rows[c], gradients[c], mean, inverse, start, width, room.sums)
        plain, scored, sloped, moment = _totals(room.cubics, room.sums, start, width)
        adjoint(moments[c], stats[SHARE], factors[c], width, scale, room, tables[c], powers)
        moved, turned = _mean(powers, stats, 0), _mean(powers, stats, 1)
        powers[0] -= scale * sloped + moved
        powers[1] -= scale * moment + turned - scale * scored * eps / total
        for j in range(len(powers)):
            powers[j] /= n
        _spread(
            rows[c], gradients[c], mean, inverse, start, width, room.cubics, scale,
            powers[: len(powers) - 1], out[c],
        )  # fmt: skip
        _bound(out[c], gradients[c], abs(weight[c]) / math.sqrt(total))
        dweight[c], dbias[c] = rho * scored, plain
