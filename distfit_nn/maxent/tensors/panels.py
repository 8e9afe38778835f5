"""Scaled Hermite series and Gauss-Legendre panels of many columns at once, on tensors.

Columns come first here, (d, ...), so that a row holds one density: its edges are sorted along the
last axis, and batched products run over the first. h_i = He_i / sqrt(i!) as in `basis`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from torch import Tensor

from distfit_nn.maxent import basis

NODES = basis.NODES_PER_PANEL
# The first edges are equally spaced in asinh(z / CENTRE): even about the mean, geometric far out.
CENTRE = 1.5
# An error of a 12-node panel shrinks by 2^24 when its width is halved.
ERROR_POWER = 2 * NODES
# A rise by more than this over a panel is too steep for its nodes.
NARROW = 40.0
MOST_PARTS = 4  # that a panel is cut into at once
# Values held at once by the loops over blocks: some caches of a CPU, a share of a GPU's memory.
CPU_BLOCK, GPU_BLOCK = 1 << 18, 1 << 24


def block_values(device: torch.device) -> int:
    """Return how many float64 values a loop over blocks may hold at once."""
    return CPU_BLOCK if device.type == "cpu" else GPU_BLOCK


def slices(length: int, step: int) -> Iterator[slice]:
    """Iterate over consecutive slices of at most `step` (at least 1)."""
    step = max(1, step)
    return (slice(i, min(i + step, length)) for i in range(0, length, step))


@cache  # a copy to a device makes its queue wait
def _rule(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    like = torch.zeros((), dtype=dtype, device=device)
    return like.new_tensor(nodes), like.new_tensor(weights)


def rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of one panel's rule on [-1, 1], of the dtype and device given."""
    return _rule(like.dtype, like.device)


def hermite(z: Tensor, order: int) -> Iterator[Tensor]:
    """Iterate over h_0(z), ..., h_order(z), holding two of them.

    By h_{i+1} = (z h_i - sqrt(i) h_{i-1}) / sqrt(i + 1).
    """
    low, h = torch.zeros_like(z), torch.ones_like(z)
    for i in range(order + 1):
        yield h
        low, h = h, (z * h).sub_(low, alpha=math.sqrt(i)).mul_(1 / math.sqrt(i + 1))


def series(coefficients: Tensor, z: Tensor) -> Tensor:
    """Return sum_{i=1..k} coefficients[:, i-1] h_i(z) by Clenshaw's recurrence.

    coefficients (d, k), z (d, ...).
    """
    columns, order = coefficients.shape
    shape = (columns,) + (1,) * (z.ndim - 1)
    last = torch.zeros_like(z)
    y = coefficients[:, -1].reshape(shape).expand(z.shape)
    for i in range(order - 1, -1, -1):
        constant = coefficients[:, i - 1].reshape(shape) if i else z.new_zeros(shape)
        new = torch.addcmul(constant, z, y, value=1 / math.sqrt(i + 1))
        if i < order - 1:
            new.sub_(last, alpha=math.sqrt((i + 1) / (i + 2)))
        last, y = y, new
    return y


def slope_coefficients(coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Return c_0 (d,) and c_1..c_{k-1} (d, k-1) of u' = sum_i c_i h_i: h_i' = sqrt(i) h_{i-1}."""
    order = coefficients.shape[1]
    root = torch.arange(1, order + 1, dtype=coefficients.dtype, device=coefficients.device).sqrt()
    scaled = coefficients * root
    return scaled[:, 0], scaled[:, 1:]


def slope(coefficients: Tensor, z: Tensor) -> Tensor:
    """Return u'(z) of u = sum_i coefficients[:, i-1] h_i; coefficients (d, k), z (d, m)."""
    constant, rest = slope_coefficients(coefficients)
    value = constant[:, None].expand(z.shape)
    return value + series(rest, z) if rest.shape[1] else value.clone()


def first_edges(lower: Tensor, upper: Tensor, panels: int) -> Tensor:
    """Return the edges (d, panels + 1) of the first panels, graded about the mean, which is 0."""
    low, high = torch.asinh(lower / CENTRE), torch.asinh(upper / CENTRE)
    share = torch.linspace(0, 1, panels + 1, dtype=lower.dtype, device=lower.device)
    edges = CENTRE * torch.sinh(low[:, None] + (high - low)[:, None] * share)
    edges[:, 0], edges[:, -1] = lower, upper
    return edges


def panel_nodes(edges: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights (d, panels, NODES) of the composite rule."""
    nodes, weights = rule(edges)
    half = (edges.diff(dim=-1) / 2)[..., None]
    middle = ((edges[:, :-1] + edges[:, 1:]) / 2)[..., None]
    return middle + half * nodes, half * weights


def halved(edges: Tensor) -> Tensor:
    """Return the edges with every panel cut into halves."""
    out = edges.new_empty(len(edges), 2 * edges.shape[1] - 1)
    out[:, 0::2] = edges
    out[:, 1::2] = (edges[:, :-1] + edges[:, 1:]) / 2
    return out


def parts_for(errors: Tensor, limit: Tensor) -> Tensor:
    """Return into how many parts each panel must be cut for its error to fall below `limit`.

    errors (d, panels), limit (d,); at most MOST_PARTS, which are what a panel with no finite error
    gets.
    """
    ratio = torch.nan_to_num(errors / limit[:, None], nan=math.inf, posinf=math.inf)
    parts = ratio.pow(1 / ERROR_POWER).ceil().clamp(1, MOST_PARTS).to(torch.int64)
    return torch.where(ratio > 1, parts.clamp_min(2), torch.ones_like(parts))


def cut(edges: Tensor, parts: Tensor, panels: int) -> Tensor:
    """Return edges (d, panels + 1) with each panel cut into equal `parts` (d, old panels).

    `panels` is at least the number of parts of every column; columns with fewer cut the panel that
    has most parts further, so that all have the same number.
    """
    parts = parts.clone()
    spare = panels - parts.sum(dim=1)
    most = parts.argmax(dim=1, keepdim=True)
    parts.scatter_add_(1, most, spare[:, None])
    ends = parts.cumsum(dim=1)
    place = torch.arange(panels, device=edges.device).expand(len(edges), -1).contiguous()
    panel = torch.searchsorted(ends, place, right=True)
    part = place - (ends - parts).gather(1, panel)
    left = edges.gather(1, panel)
    width = edges.gather(1, panel + 1) - left
    inner = left + width * (part / parts.gather(1, panel))
    return torch.cat([inner, edges[:, -1:]], dim=1)


def hidden_mass(coefficients: Tensor, edges: Tensor, log_z: Tensor) -> Tensor:
    """Return the mass that a rise to an end of the support may hide from the nodes, (d, panels).

    Of exp(u - log Z) rising to an end with slope u', 1 / u' of its height there lies beside the
    end; where that is much narrower than the last panel, no node of it or of its halves may see it.
    """
    at = edges[:, [0, -1]]
    width = torch.stack([edges[:, 1] - edges[:, 0], edges[:, -1] - edges[:, -2]], dim=1)
    rise = slope(coefficients, at) * at.new_tensor([-1.0, 1.0])
    height = (series(coefficients, at) - log_z[:, None]).clamp_max(700.0).exp()
    narrow = rise * width > NARROW
    mass = torch.where(narrow, height / rise, 0.0)
    out = torch.zeros_like(edges[:, 1:])
    out[:, 0], out[:, -1] = mass[:, 0], mass[:, 1]
    return out
