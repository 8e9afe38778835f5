"""What the solver on tensors is given, and what it returns: float64, columns first."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class TensorProblem:
    """`solution.Problem` in tensors of float64, columns first: targets (d, order), ends (d,)."""

    targets: Tensor
    lower: Tensor
    upper: Tensor
    data_lower: Tensor
    data_upper: Tensor

    def __getitem__(self, part: slice | Tensor) -> TensorProblem:
        """Return some of the columns."""
        return TensorProblem(*(getattr(self, field.name)[part] for field in fields(self)))


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where the columns ended: as `solution.Solution`, columns first, in float64.

    coefficients, moments (d, order); log_normaliser, iterations, residual, decrement,
    quadrature_error (d,); solved (d,), whether the residual is within the tolerance.
    """

    coefficients: Tensor
    moments: Tensor
    log_normaliser: Tensor
    iterations: Tensor
    residual: Tensor
    decrement: Tensor
    quadrature_error: Tensor
    solved: Tensor

    @classmethod
    def empty(cls, problem: TensorProblem) -> Minimum:
        """Return the answer before any work: nothing solved."""
        like = problem.targets
        nothing = torch.full_like(like[:, 0], math.nan)
        return cls(
            coefficients=torch.full_like(like, math.nan),
            moments=torch.full_like(like, math.nan),
            log_normaliser=nothing,
            iterations=torch.zeros_like(nothing, dtype=torch.int64),
            residual=nothing.clone(),
            decrement=nothing.clone(),
            quadrature_error=nothing.clone(),
            solved=torch.zeros_like(nothing, dtype=torch.bool),
        )

    def write(self, columns: Tensor | slice, part: Minimum) -> None:
        """Write the answers of some of the columns, in place."""
        for field in fields(self):
            getattr(self, field.name)[columns] = getattr(part, field.name)
