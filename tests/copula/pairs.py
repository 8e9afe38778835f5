"""Soft counts and their gradients summed pair by pair in float64: the oracle of all fast paths."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

STRENGTHS = (0.01, 1.0, 5.0, 100.0, 1e4, 1e6)


def columns(n: int, seed: int = 0) -> Tensor:
    """Return columns of std about 1, float64 (n, 8), with ties, outliers and heavy tails."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((3, n))
    outliers = normal[0].copy()
    outliers[: 1 + n // 100] = 1e6
    made = [
        normal[0],
        rng.standard_cauchy(n),
        np.where(rng.random(n) < 0.5, -1.0, 1.0) + 0.1 * normal[1],
        np.maximum(normal[2], 0.0),
        np.full(n, 3.25),
        rng.integers(-2, 3, n).astype(float),
        outliers,
        np.linspace(-1.7, 1.7, n),
    ]
    return torch.from_numpy(np.stack(made, axis=1))


def _arguments(x: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Return x_i - x_j, 0 between ties, and strength times it."""
    x = x.double()
    distance = torch.where(x[:, None] == x, 0.0, x[:, None] - x)
    return distance, distance * strength


def counts(x: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    """Return the soft counts below and above of columns (n, d), float64."""
    below = torch.empty_like(x, dtype=torch.float64)
    above = torch.empty_like(below)
    for j, each in enumerate(strength.double().expand(x.shape[1]).tolist()):
        _, u = _arguments(x[:, j], each)
        below[:, j], above[:, j] = u.sigmoid().sum(1), (-u).sigmoid().sum(1)
    return below, above


def gradients(
    x: Tensor, strength: Tensor, g: Tensor, *, apart: bool = False
) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return the gradients by x (n, d) and strength (d,), each with the sum of its terms' sizes.

    g (n, d) is the gradient by the counts below. The size of a term is that of the
    difference of its two g, or of both `apart`, as it must be where these have nothing in common.
    """
    dx = torch.empty_like(x, dtype=torch.float64)
    size, dstrength = torch.empty_like(dx), torch.empty_like(dx[0])
    dstrength_size = torch.empty_like(dstrength)
    for j, each in enumerate(strength.double().expand(x.shape[1]).tolist()):
        distance, u = _arguments(x[:, j], each)
        kappa = u.sigmoid() * (-u).sigmoid()
        turn = torch.where(kappa == 0, 0.0, distance) * kappa / 2
        column = g[:, j].double()
        rise = column[:, None] - column
        larger = column.abs()[:, None] + column.abs() if apart else rise.abs()
        dx[:, j], size[:, j] = each * (kappa * rise).sum(1), each * (kappa * larger).sum(1)
        dstrength[j], dstrength_size[j] = (turn * rise).sum(), (turn.abs() * larger).sum()
    return (dx, size), (dstrength, dstrength_size)
