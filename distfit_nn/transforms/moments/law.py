"""What the moment match says of columns: their moments, their support, and how they ended."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from distfit_nn.transforms.moments.rules import MARGIN, RADII, RADIUS, WIDER

OK, REGULARISED, AFFINE, INVALID = range(4)


class Moments(NamedTuple):
    """What a batch says of its columns: float64, without graph."""

    law: Tensor
    """(k + 1, d): mean, variance, the means of z^3, ..., z^k, and max |z|."""
    radius: Tensor
    """(d,): half the width of the support, in standard deviations."""
    status: Tensor
    """(d,) int64: OK; REGULARISED (the moments were drawn towards the normal distribution's);
    AFFINE (no density: the column is standardised); INVALID (NaN or inf: y is NaN)."""

    @property
    def mean(self) -> Tensor:
        """(d,)."""
        return self.law[0]

    @property
    def var(self) -> Tensor:
        """(d,), of the population (divided by n)."""
        return self.law[1]

    @property
    def shape(self) -> Tensor:
        """(k - 2, d): the means of z^3, ..., z^k; NaN of a constant."""
        return self.law[2:-1]

    @property
    def extreme(self) -> Tensor:
        """(d,): max |z|; 0 of a constant."""
        return self.law[-1]


def support_radius(extreme: Tensor) -> Tensor:
    """Return R for the largest |z| of a column: 10, or the least 10 * 1.25^j above 1.2 max|z|.

    For odd k the density follows the support. It is the same, then, for batches of any size, of any
    law, that reach less far than 10 / 1.2 standard deviations.
    """
    steps = torch.log(MARGIN * extreme.double() / RADIUS) / math.log(WIDER)
    return RADIUS * WIDER ** steps.nan_to_num(0.0).ceil().clamp(0, RADII - 1)


def status_of(share: Tensor, finite: Tensor) -> Tensor:
    """Return the status of columns from the share of N(0, 1) in their moments."""
    status = (share > 0).long() + (share >= 1).long()
    return torch.where(finite, status, INVALID)
