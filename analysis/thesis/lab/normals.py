"""The divergence of a column from N(0, 1), as the blog has it: by the normal law fitted to it."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

Line = tuple[float, float]  # mu, sigma


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
