"""Sums of the logistic function over sorted columns, in near-linear work, by torch's operators.

A sorted column is cut into blocks of `BLOCK` points. Pairs within a block are summed as they are.
What lies in the blocks before acts on a block through K numbers: with q = exp(-gap),

    1 / (1 + exp(gap)) ~ sum_k c_k q^k,    q^k = exp(-k (x_i - f)) exp(-k (f - x_j)),

f being the first point of the block of i, so that S_k = sum_j exp(-k (f - x_j)) serves all i of the
block. The S_k of all blocks come from the sums of each block by a scan that doubles its reach,
(r, F) o (r', F') = (r r', F' + r' F), where r = exp(-k distance) is taken from the points and not
multiplied up. Points above act in the same way on the mirrored column. No exponent is positive, so
that nothing overflows, whatever the strength.

Sums with differences of weights, sum_j (w_i - w_j) exp(-k (x_i - x_j)), go through sums D_k with
the weight v of f in the place of w_i. From f to a point with the weight v',

    D'_k = exp(-k distance) (D_k + (v' - v) S_k),     S'_k = exp(-k distance) S_k,

so that no weight is ever subtracted but from one nearby: where weights change little between points
that are near to each other, the sums keep their digits.

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
    sums = _near_sums(blocks, strength)
    decays = _distances(blocks).mul_(-strength).exp_()
    own = _power_sums(decays, len(coefficients))[None]
    carried = _carried(own, strength, blocks)[0].mul_(coefficients.view(-1, 1, 1))
    sums += _polynomial(carried, decays)
    return joined(sums[0], len(x)), joined(sums[1], len(x))


def slope_sums(
    x: Tensor, weights: Tensor, strength: Tensor, coefficients: Tensor
) -> tuple[Tensor, Tensor]:
    """Return sum_j kappa_ij (w_i - w_j), and the sum over pairs of its terms times x_i - x_j.

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
    distances, rises = _distances(blocks), _distances(w)
    decays = (distances * -strength).exp_()
    terms, factors = len(coefficients), coefficients.view(-1, 1, 1)
    own = torch.stack([_power_sums(decays, terms), _power_sums(decays, terms, rises)])
    carried = _carried(own, strength, blocks, w)
    ones, ws = carried * factors
    far = _polynomial(ws, decays).addcmul_(rises, _polynomial(ones, decays))
    total += far[0]
    total -= far[1]
    far *= _finite(distances)
    moment += far[0]
    moment += far[1]
    across = _moment_across(blocks, w, strength, factors, carried, own[:, 1])
    return joined(total, len(x)), joined(moment, len(x)).sum(0) + across


def _near_sums(x: Tensor, strength: Tensor) -> Tensor:
    """Return what the other points of a block contribute, from before and from after: (2, ...)."""
    sums = x.new_zeros((2, *x.shape))
    before, after = sums
    for reach in range(1, len(x)):
        share = (x[:-reach] - x[reach:]).mul_(strength).sigmoid_()
        before[reach:].add_(share)
        after[:-reach].add_(share)
    return sums


def _near_slopes(x: Tensor, w: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    """Return what pairs of a block contribute to `slope_sums`, the moment at the later point."""
    total, moment = torch.zeros_like(x), torch.zeros_like(x)
    rate = -strength
    for reach in range(1, len(x)):
        distance = x[reach:] - x[:-reach]
        share = (distance * rate).sigmoid_()
        share.addcmul_(share, share, value=-1).mul_(w[reach:] - w[:-reach])
        total[reach:].add_(share)
        total[:-reach].sub_(share)
        moment[reach:].addcmul_(share, distance)
    return total, moment


def _distances(x: Tensor) -> Tensor:
    """Return x from the first point of each block on, and up to its last: (2, BLOCK, m, d)."""
    return torch.stack([x - x[0], x[-1] - x])


def _finite(distance: Tensor) -> Tensor:
    """Return distances with 0 for those to what pads the last block."""
    return distance.masked_fill_(distance.isinf(), 0.0)


def _power_sums(decays: Tensor, terms: int, rises: Tensor | None = None) -> Tensor:
    """Return S_k, or with `rises` D_k, of each block, seen from its last and its first point.

    The first serves the blocks after it, the second those before it: (2, K, m, d).
    """
    power = decays.clone() if rises is None else decays * rises
    sums = [power.sum(1)]
    for _ in range(1, terms):
        sums.append(power.mul_(decays).sum(1))
    return torch.stack(sums, 1).flip(0)


def _powers_of_decay(distance: Tensor, strength: Tensor, k: Tensor) -> Tensor:
    """Return exp(k strength distance), k = -1..-K, for distances (..., 1, m, d): (..., K, m, d)."""
    return (distance * strength * k).exp_()  # in this order: k times a strength may overflow


def _moved(sums: Tensor, steps: Tensor, strength: Tensor, k: Tensor) -> Tensor:
    """Return S_k, or S_k and D_k, as they are a step away from where `sums` (1 or 2, ...) are.

    `steps` are the distances and, for D_k, the differences of the weights.
    """
    moved = sums * _powers_of_decay(steps[0], strength, k)
    if len(moved) == 2:
        moved[1].addcmul_(moved[0], steps[1])
    return moved


def _carried(sums: Tensor, strength: Tensor, *columns: Tensor) -> Tensor:
    """Return S_k, or S_k and D_k, at the near end of each block, from all blocks on that side.

    `sums` (1 or 2, 2, K, m, d) are those of each block by itself, as `_power_sums` has them; what
    is returned, of the same shape, is that from before at its first point and from after at its
    last. `columns` are the blocks of x and, for D_k, of the weights. The blocks after are seen in a
    mirror, which turns the sign of both.
    """
    forth = torch.stack([torch.stack([each[0], each[-1]]) for each in columns], 1)
    first, last = torch.stack([forth, -forth.flip(0, -2)], 2)[:, :, :, None]
    state = torch.stack([sums[:, 0], sums[:, 1].flip(-2)], 1)
    k = _exponents(state.shape[-3], first)
    reach = 1
    while reach < state.shape[-2]:
        steps = last[..., reach:, :] - last[..., :-reach, :]
        moved = _moved(state[..., :-reach, :], steps, strength, k).add_(state[..., reach:, :])
        state = torch.cat([state[..., :reach, :], moved], -2)
        reach *= 2
    steps = first[..., 1:, :] - last[..., :-1, :]
    carried = pad(_moved(state[..., :-1, :], steps, strength, k), (0, 0, 1, 0))
    return torch.stack([carried[:, 0], carried[:, 1].flip(-2)], 1)


def _exponents(terms: int, like: Tensor) -> Tensor:
    """Return -1, ..., -K as (K, 1, 1)."""
    return torch.arange(-1, -terms - 1, -1, dtype=like.dtype, device=like.device).view(-1, 1, 1)


def _polynomial(coefficients: Tensor, q: Tensor) -> Tensor:
    """Return sum_k coefficients_k q^k by Horner's scheme, of (2, K, m, d) and (2, BLOCK, m, d)."""
    last, *others = coefficients[:, :, None].flip(1).unbind(1)
    value = q * last
    for c in others:
        value.add_(c).mul_(q)
    return value


def _moment_across(
    x: Tensor, w: Tensor, strength: Tensor, factors: Tensor, carried: Tensor, own: Tensor
) -> Tensor:
    """Return what widths of blocks and gaps between them add to the moment of `slope_sums`, (d,).

    A width counts for the pairs with one point before the block and one after it, a gap for those
    with one before the gap and one after it. With the weight at an end of either in between, these
    are products of sums for each k. `own` are the sums of a block seen from its first point.
    """
    width = _finite(x[-1] - x[0])
    gap = pad(_finite(x[0, 1:] - x[-1, :-1]), (0, 0, 1, 0))
    before = carried[:, 0] * factors
    steps = torch.stack([width, w[-1] - w[0]])[:, None]
    after = _moved(carried[:, 1], steps, strength, _exponents(len(factors), x))
    moment = width * (before * after.flip(0)).sum((0, 1))
    after += own
    moment += gap * (before * after.flip(0)).sum((0, 1))
    return moment.sum(0)
