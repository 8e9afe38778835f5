"""Lines and one richer map, fitted to columns by a divergence between their law and N(0, 1)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

STEPS, RATE = 600, 0.03  # of Adam, the rate falling to 0
NODES = 24  # of the Gauss-Hermite rule
REACH = 4.0  # standard deviations within which a log density is read off


def reverse_line(points: Array, log_density: Array, order: int) -> tuple[Array, Array]:
    """Return the mu and sigma (d,) that minimise KL(N(mu, sigma^2) || p) for d densities p.

    log p is a polynomial of degree `order`, given by its values (m, d) at points (m,). The
    divergence is - E log p - log sigma but for a constant, and a Gauss-Hermite rule is exact for
    it. That p ends at its support is left out: the normal mass beyond it is below 1e-6.
    """
    powers = torch.from_numpy(np.polynomial.polynomial.polyfit(points, log_density, order))
    node, weight = (torch.from_numpy(each) for each in np.polynomial.hermite_e.hermegauss(NODES))
    weight = weight / weight.sum()
    mu, log_sigma = (torch.zeros(log_density.shape[1], dtype=torch.float64) for _ in range(2))

    def value(mu: Tensor, log_sigma: Tensor) -> Tensor:
        at = mu + log_sigma.exp() * node[:, None]
        log_p = torch.zeros_like(at)
        for power in powers.flip(0):
            log_p = log_p * at + power
        return -(weight[:, None] * log_p).sum(0) - log_sigma

    mu, log_sigma = descended(value, mu, log_sigma)
    return mu.numpy(), log_sigma.exp().numpy()


def mapped(x: Array, held_out: Array) -> Array:
    """Fit a sinh-arcsinh map to the columns x (n, d), and return it of others.

    z = sinh(tail asinh(v) - skew) with v = (x - mu) / sigma: increasing, and a line for tail = 1
    and skew = 0 (Jones and Pewsey, Biometrika 2009). By the change of variables the divergence of
    its law from N(0, 1) is E[z^2 / 2 - log dz/dx] but for the entropy of x, which no parameter
    changes: it is a mean over the rows, and needs no density.
    """
    rows = torch.from_numpy(np.ascontiguousarray(x))
    center, scale = rows.mean(0), rows.std(0, correction=0)
    rows = (rows - center) / scale

    def value(mu: Tensor, log_sigma: Tensor, skew: Tensor, log_tail: Tensor) -> Tensor:
        v = (rows - mu) * torch.exp(-log_sigma)
        inner = log_tail.exp() * torch.asinh(v) - skew
        z, log_slope = torch.sinh(inner), torch.log(torch.cosh(inner)) + log_tail - log_sigma
        return (z.square() / 2 - log_slope + torch.log1p(v.square()) / 2).mean(0)

    start = [torch.zeros_like(center) for _ in range(4)]
    mu, log_sigma, skew, log_tail = descended(value, *start)
    others = (torch.from_numpy(np.ascontiguousarray(held_out)) - center) / scale
    v = (others - mu) * torch.exp(-log_sigma)
    return torch.sinh(log_tail.exp() * torch.asinh(v) - skew).numpy()


def descended(value: Callable[..., Tensor], *start: Tensor) -> list[Tensor]:
    """Minimise the sum over columns of a function of parameters (d,), by Adam."""
    learnt = [each.clone().requires_grad_() for each in start]
    optimizer = torch.optim.Adam(learnt, lr=RATE)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * step / STEPS)) / 2
        optimizer.zero_grad()
        value(*learnt).sum().backward()
        optimizer.step()
    return [each.detach() for each in learnt]
