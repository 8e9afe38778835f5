"""Learnable maps that start with another gain, and a line, which has a gain but no shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Line(nn.Module):
    """y = weight x + bias for each feature, both learned: the gain of a map without its shape."""

    def __init__(self, width: int, gain: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), gain))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return y of x, (rows, features)."""
        return self.weight * x + self.bias


def started(layer: Callable[[int], Any], width: int, **starts: float) -> nn.Module:
    """Return a LogShift or a SqrtShift whose gains and exponents start at these values."""
    made: nn.Module = layer(width)
    with torch.no_grad():
        for name, start in starts.items():
            getattr(made, f"log_{name}").fill_(math.log(start))
    return made
