"""How far the normal scores of a moment match are believed.

A sample of 20,000 has hardly a normal score beyond 4, but the tails of a density fitted to moments
are steep and give scores of 6 and more, most of which is noise of sampling. So a score s counts for

    g(s) = s,                                       |s| <= r,
    g(s) = sign(s) (r + asinh(2 (|s| - r)) / 2),    beyond,

which increases, has a continuous second derivative and grows as the logarithm of the excess.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distfit_nn._checks import number_inside

REACH = 3.0


def checked(reach: float | None) -> float:
    """Return r, which is infinite for None; `InputError` if it is neither that nor above 0."""
    return math.inf if reach is None else number_inside(reach, "reach", 0.0, math.inf)


def believed(scores: Tensor, reach: float) -> Tensor:
    """Return g(s) of scores of any shape."""
    near = scores.clamp(-reach, reach)
    return near + torch.sign(scores) * torch.asinh(2 * _excess(scores, reach)) / 2


def belief(scores: Tensor, reach: float) -> Tensor:
    """Return g'(s)."""
    return (1 + (2 * _excess(scores, reach)).square()).rsqrt()


def _excess(scores: Tensor, reach: float) -> Tensor:
    return (scores.abs() - reach).clamp(min=0)
