"""Sums of the logistic function over sorted columns, in near-linear work, by torch's operators.

A sorted column is cut into blocks of `BLOCK` points. Pairs within a block are summed as they are.
What lies in the blocks before acts on a block through K numbers: with q = exp(-gap),

    1 / (1 + exp(gap)) ~ sum_k c_k q^k,    q^k = exp(-k (x_i - f)) exp(-k (f - x_j)),

f being the first point of the block of i, so that S_k = sum_j w_j exp(-k (f - x_j)) serves all i of
the block. The S_k of all blocks come from the sums of each block by a scan that doubles its reach,
(r, F) o (r', F') = (r r', F' + r' F), where r = exp(-k distance) is taken from the points and not
multiplied up. Points above act in the same way on the mirrored column. No exponent is positive, so
that nothing overflows, whatever the strength.

Shapes: n points, d columns; blocks are (BLOCK, m, d) with m = ceil(n / BLOCK), so that loops over
the points of a block or over k work on all blocks and columns at once. What pads the last block is
at infinity, where it touches nothing before it; its own sums are NaN and are cut off.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 32


def cut(values: Tensor, filler: float) -> Tensor:
    """Return (n, d) as blocks (BLOCK, m, d), padded at the end."""
    n, d = values.shape
    padded = pad(values, (0, 0, 0, -n % BLOCK), value=filler)
    return padded.view(-1, BLOCK, d).transpose(0, 1).contiguous()


def joined(blocks: Tensor, n: int) -> Tensor:
    """Return blocks (BLOCK, m, d) as (n, d)."""
    return blocks.transpose(0, 1).reshape(-1, blocks.shape[2])[:n]


def one_sided_sums(x: Tensor, strength: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums of 1 / (1 + exp(gap)) over the points before and after each.

    Parameters
    ----------
    x : Tensor
        (n, d), each column in order.
    strength : Tensor
        (d,), gap = strength * distance.
    coefficients : Tensor
        c_1, ..., c_K.
    """
    blocks = cut(x, torch.inf)
    before, after = _near_sums(blocks, strength)
    up, down = _decays(blocks, strength)
    carried = _carried(_both_ways(up, down, coefficients), blocks, strength)
    carried *= coefficients.view(-1, 1, 1)
    before += _polynomial(carried[0], up)
    after += _polynomial(carried[1], down)
    return joined(before, len(x)), joined(after, len(x))


def slope_sums(
    x: Tensor, weights: Tensor, strength: Tensor, coefficients: Tensor
) -> tuple[Tensor, Tensor]:
    """Return sum_j kappa_ij (w_i - w_j), and the sum over pairs of that times x_i - x_j.

    kappa_ij is the derivative of the logistic function at strength (x_i - x_j). In the sum over
    pairs, a distance is put together from the distances to the ends of blocks and those between
    them: all positive, so that it keeps its digits where few pairs are near.

    Parameters
    ----------
    x, weights : Tensor
        (n, d), the columns of x in order.
    strength : Tensor
        (d,), the argument of kappa is strength * distance.
    coefficients : Tensor
        k c_k for k = 1, ..., K.

    Returns
    -------
    slopes : Tensor
        (n, d).
    moment : Tensor
        (d,), each pair counted once.
    """
    blocks, w = cut(x, torch.inf), cut(weights, 0.0)
    total, moment = _near_slopes(blocks, w, strength)
    up, down = _decays(blocks, strength)
    own = _both_ways(up, down, coefficients), _both_ways(up, down, coefficients, w)
    ones, ws = (_carried(sums, blocks, strength) for sums in own)
    factors = coefficients.view(-1, 1, 1)
    for side, (decay, distance) in enumerate(
        ((up, _from_end(blocks, 0)), (down, _from_end(blocks, -1)))
    ):
        far = _polynomial(ones[side] * factors, decay).mul_(w)
        far.sub_(_polynomial(ws[side] * factors, decay))
        total += far
        moment += far.mul_(distance)
    across = _moment_across(blocks, strength, factors, (ones, ws), (own[0][1], own[1][1]))
    return joined(total, len(x)), joined(moment, len(x)).sum(0) + across


def _moment_across(
    x: Tensor,
    strength: Tensor,
    factors: Tensor,
    carried: tuple[Tensor, Tensor],
    own: tuple[Tensor, Tensor],
) -> Tensor:
    """Return what widths of blocks and gaps between them add to the moment of `slope_sums`, (d,).

    A width counts for the pairs with one point before the block and one after it, a gap for those
    with one before the gap and one after it: a product of sums for each k.
    """
    width = _finite(x[-1] - x[0])
    gap = pad(_finite(x[0, 1:] - x[-1, :-1]), (0, 0, 1, 0))
    span = _powers_of_decay(width, strength, len(factors))
    (ones, w), (own_ones, own_w) = carried, own
    ones_before, w_before = ones[0] * factors, w[0] * factors
    ones_after, w_after = span * ones[1], span * w[1]
    moment = width * (ones_before * w_after - w_before * ones_after).sum(0)
    ones_after += own_ones
    w_after += own_w
    moment += gap * (ones_before * w_after - w_before * ones_after).sum(0)
    return moment.sum(0)


def _near_sums(x: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the other points of a block contribute, from before and from after."""
    before, after = torch.zeros_like(x), torch.zeros_like(x)
    for i in range(1, len(x)):
        share = (x[:i] - x[i]).mul_(strength).sigmoid_()
        before[i] = share.sum(0)
        after[:i] += share
    return before, after


def _near_slopes(x: Tensor, w: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    """Return what pairs of a block contribute to `slope_sums`."""
    total, moment = torch.zeros_like(x), torch.zeros_like(x)
    for i in range(1, len(x)):
        distance = x[i] - x[:i]
        share = (distance * -strength).sigmoid_()
        share.addcmul_(share, share, value=-1).mul_(w[i] - w[:i])
        total[i] += share.sum(0)
        total[:i] -= share
        torch.sum(share.mul_(distance), 0, out=moment[i])
    return total, moment


def _decays(x: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    """Return exp(-gap) from the first point of each block, and to its last."""
    return (x[0] - x).mul_(strength).exp_(), (x - x[-1]).mul_(strength).exp_()


def _from_end(x: Tensor, end: int) -> Tensor:
    """Return x less the first (0) or the last (-1) point of its block, 0 where that is a filler."""
    return _finite(x - x[end])


def _finite(distance: Tensor) -> Tensor:
    """Return distances with 0 for those to what pads the last block."""
    return distance.masked_fill_(distance.isinf(), 0.0)


def _powers_of_decay(distance: Tensor, strength: Tensor, terms: int) -> Tensor:
    """Return exp(-k strength distance), k = 1..K, for distances (..., 1, m, d): (..., K, m, d)."""
    k = torch.arange(1, terms + 1, device=distance.device).view(-1, 1, 1)
    return (distance * strength * -k).exp_()  # in this order: k times a strength may overflow


def _both_ways(
    up: Tensor, down: Tensor, coefficients: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Return the power sums of each block from its last point and from its first: (2, K, m, d)."""
    return torch.stack([_power_sums(decay, coefficients, weights) for decay in (down, up)])


def _power_sums(decay: Tensor, coefficients: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return sum_j w_j decay_j^k over each block, k = 1..K: (K, m, d)."""
    power = decay.clone() if weights is None else decay * weights
    sums = [power.sum(0)]
    for _ in coefficients[1:]:
        sums.append(power.mul_(decay).sum(0))
    return torch.stack(sums)


def _carried(sums: Tensor, x: Tensor, strength: Tensor) -> Tensor:
    """Return S_k at the near end of each block, from all blocks on that side: (2, K, m, d).

    sums[0] are those of each block seen from its last point, for the blocks after it; sums[1] those
    seen from its first, for the blocks before it.
    """
    forth, back = torch.stack([x[0], x[-1]]), torch.stack([-x[-1].flip(0), -x[0].flip(0)])
    first, last = torch.stack([forth, back], 1)[:, :, None]  # (2, 1, m, d) each
    state = torch.stack([sums[0], sums[1].flip(1)])
    terms, reach = state.shape[1], 1
    while reach < x.shape[1]:
        decay = _powers_of_decay(last[:, :, reach:] - last[:, :, :-reach], strength, terms)
        moved = decay.mul_(state[:, :, :-reach])
        state = torch.cat([state[:, :, :reach], moved.add_(state[:, :, reach:])], 2)
        reach *= 2
    decay = _powers_of_decay(first[:, :, 1:] - last[:, :, :-1], strength, terms)
    carried = pad(decay.mul_(state[:, :, :-1]), (0, 0, 1, 0))
    return torch.stack([carried[0], carried[1].flip(1)])


def _polynomial(coefficients: Tensor, q: Tensor) -> Tensor:
    """Return sum_k coefficients_k q^k by Horner's scheme."""
    value = q * coefficients[-1]
    for c in coefficients[:-1].flip(0):
        value.add_(c).mul_(q)
    return value
