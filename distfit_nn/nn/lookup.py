"""Functions of one variable, one for each column, as tables that are looked up without a search.

Column c has its own centre and scale; with u = (x - centre) / scale, the nodes are at

    u = +-(2^o (1 + j / CELLS) - 1),   o = 0..OCTAVES - 1,   j = 0..CELLS - 1,   and at +-REACH,

REACH = 2^OCTAVES - 1: 1 / CELLS apart around 0, and twice as far in each octave further out. The
cell that 1 + abs(u) falls in is told by the leading bits of its float32 form. Between nodes stands
the cubic polynomial of the values and slopes at both ends (Hermite's), beyond the last the straight
line of its slope. Slopes that would let the cubic turn back between two nodes are cut to three
times the secant (Fritsch and Carlson, SIAM J. Numer. Anal. 17, 1980): tables of monotone values
are monotone.
"""

from __future__ import annotations

import torch
from torch import Tensor

CELLS = 16
OCTAVES = 8
SIDE = CELLS * OCTAVES  # nodes on either side of the one at 0
REACH = 2.0**OCTAVES - 1
HEAD = 3  # numbers of a column before its table: centre, what rounding left of it, 1 / scale

_ONE = 0x3F800000  # the bits of 1.0 in float32
_SHIFT = 23 - (CELLS.bit_length() - 1)  # bits of a place in a cell
_EXPONENT = 0xFF << 23
_INVERSE = 254 << 23  # less the exponent of 2^e, the bits of 2^-e


def nodes(loc: Tensor, scale: Tensor) -> Tensor:
    """Return the places (2 SIDE + 1, d) at which a function must be known, increasing.

    Parameters
    ----------
    loc, scale : Tensor (d,)
        Centres and positive scales of the columns. The function should be smooth on a scale of
        about a fifth of `scale` near the centre, which is a node itself.
    """
    steps = torch.arange(SIDE + 1, device=loc.device)
    octave, step = steps // CELLS, steps % CELLS
    out = torch.exp2(octave.to(scale.dtype)) * (1 + step.to(scale.dtype) / CELLS) - 1
    return loc + scale * torch.cat([-out.flip(0), out[1:]])[:, None]


def pack(loc: Tensor, scale: Tensor, values: Tensor, slopes: Tensor) -> Tensor:
    """Return tables (d, HEAD + 4 (SIDE + 2)) for `look_up`, of the dtype of `values`.

    Parameters
    ----------
    loc, scale : Tensor (d,)
        As given to `nodes`, of any floating dtype.
    values, slopes : Tensor (2 SIDE + 1, d)
        The function of each column and its derivative by x at its nodes. Slopes are cut so that the
        table goes up, or down, between nodes as the values do. The first and last are those of the
        lines beyond the ends; 0 holds the value.

    Notes
    -----
    A row is: the centre; centre minus that, as the dtype rounds it; 1 / scale; then twice SIDE + 2
    pairs (value, derivative by abs(u)), outward from the centre, those for u >= 0 first; the last
    pair continues the line for a cell.
    """
    steepness = _monotone(slopes * scale, values, scale)
    upper = torch.stack([values[SIDE:], steepness[SIDE:]], dim=-1)
    lower = torch.stack([values[: SIDE + 1].flip(0), -steepness[: SIDE + 1].flip(0)], dim=-1)
    sides = torch.stack([upper, lower])  # (2, SIDE + 1, d, 2)
    last = sides[:, -1:]
    beyond = torch.stack([last[..., 0] + last[..., 1] * (2**OCTAVES / CELLS), last[..., 1]], dim=-1)
    tables = torch.cat([sides, beyond], dim=1).permute(2, 0, 1, 3).flatten(1)
    centre = loc.to(values.dtype)
    head = torch.stack([centre, (loc - centre.to(loc.dtype)).to(centre.dtype), 1 / scale], dim=1)
    return torch.cat([head.to(values.dtype), tables.to(values.dtype)], dim=1)


def _monotone(steepness: Tensor, values: Tensor, scale: Tensor) -> Tensor:
    """Return derivatives by u (W, d), cut where a cubic would turn back between two nodes."""
    u = nodes(torch.zeros_like(scale[:1]), torch.ones_like(scale[:1]))
    secants = values.diff(dim=0) / u.diff(dim=0)
    below = torch.cat([secants[:1], secants])
    above = torch.cat([secants, secants[-1:]])
    least = 3 * torch.minimum(below, above).clamp(min=0)
    most = 3 * torch.maximum(below, above).clamp(max=0)
    return torch.minimum(torch.maximum(steepness, most), least)


def look_up(x: Tensor, packed: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Return weight * f_c(x) + bias of blocks x (N, C, L), by the tables of `pack`.

    NaN stays NaN, an infinity goes to the value at the end or, along a line that is not level, to
    an infinity. There are gradients in x, weight and bias (C,), once.
    """
    y = _operators(x, packed)
    if weight is not None:
        y = y * weight[:, None]
    return y if bias is None else y + bias[:, None]


def _operators(x: Tensor, packed: Tensor) -> Tensor:
    """Return f_c(x) by torch's own operators, which differentiate it."""
    dtype = torch.promote_types(x.dtype, packed.dtype)
    table = packed.to(dtype)
    centre, rest, inverse = (table[:, i, None] for i in range(HEAD))
    u = ((x.to(dtype) - centre) - rest) * inverse
    negative = u < 0
    size = torch.where(negative, -u, u)
    place = (1 + size).clamp(max=1 + REACH)

    bits = place.detach().to(torch.float32).view(torch.int32)
    cell = ((bits - _ONE) >> _SHIFT).clamp(0, SIDE)
    start = ((bits >> _SHIFT) << _SHIFT).view(torch.float32).to(dtype)
    width = (bits & _EXPONENT).view(torch.float32).to(dtype) / CELLS
    narrow = (_INVERSE - (bits & _EXPONENT)).view(torch.float32).to(dtype) * CELLS
    rows = torch.arange(x.shape[1], device=x.device)[:, None] * packed.shape[1] + HEAD
    first = rows + 2 * cell.long() + negative * (2 * (SIDE + 2))
    v0, s0, v1, s1 = (table.reshape(-1)[first + i] for i in range(4))

    t = (place - start) * narrow
    rise, m0, m1 = v1 - v0, s0 * width, s1 * width
    inside = v0 + t * (m0 + t * ((3 * rise - 2 * m0 - m1) + t * (m0 + m1 - 2 * rise)))
    beyond = size - (place - 1)
    y = inside + torch.where(s0 == 0, 0, s0 * beyond)
    return y.to(x.dtype)
