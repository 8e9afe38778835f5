"""The divergence of a column from N(0, 1), as the blog has it: by the normal law fitted to it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn

Line = tuple[float, float]  # mu, sigma
EPSILON = 1e-5  # batch norm's


def divergence(mean: Tensor, variance: Tensor, reverse: bool = False) -> Tensor:
    """Return KL(N(mean, variance) || N(0, 1)), or KL(N(0, 1) || N(mean, variance)), in nats."""
    if reverse:
        return ((1 + mean.square()) / variance - 1 + torch.log(variance)) / 2
    return (mean.square() + variance - 1 - torch.log(variance)) / 2


def best_line(column: NDArray[np.float64], reverse: bool = False) -> Line:
    """Find mu and sigma by which (x - mu) / sigma is nearest to N(0, 1), from 0 and 1.

    A search (BFGS) with derivatives by automatic differentiation through the values themselves:
    it knows nothing of means and deviations but that a normal law is fitted by them.
    """
    x = torch.from_numpy(np.ascontiguousarray(column, np.float64))

    def value(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        place = torch.tensor(at, requires_grad=True)
        z = (x - place[0]) * torch.exp(-place[1])
        found = divergence(z.mean(), z.var(correction=0), reverse)
        found.backward()
        return found.item(), place.grad.numpy()

    found = minimize(value, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    return float(found[0]), math.exp(found[1])


def closed_form(x: Tensor) -> Tensor:
    """Return (x - mu) / sigma by the mu and sigma of the derivation, with batch norm's epsilon."""
    mu = x.mean(0)
    sigma = ((x - mu).square().mean(0) + EPSILON).sqrt()
    return (x - mu) / sigma


def differences_to_batch_norm(
    layer: Callable[[Tensor], Tensor], x: Tensor, batches: int, size: int
) -> dict[str, float]:
    """Return the largest differences of outputs and gradients over some batches, in float64."""
    batch_norm = nn.BatchNorm1d(x.shape[1], affine=False, dtype=torch.float64)
    largest = {"output": 0.0, "gradient": 0.0}
    for batch in x[: batches * size].split(size):
        outputs, gradients = [], []
        for each in (layer, batch_norm):
            given = batch.clone().requires_grad_()
            outputs.append(each(given))
            (slope,) = torch.autograd.grad(outputs[-1].sin().sum(), given)
            gradients.append(slope)
        for name, (ours, theirs) in (("output", outputs), ("gradient", gradients)):
            largest[name] = max(largest[name], (ours - theirs).abs().max().item())
    return largest
