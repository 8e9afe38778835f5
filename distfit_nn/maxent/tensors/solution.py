"""`Solution` on tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distfit_nn.maxent.solution import Solution


@dataclass(frozen=True, eq=False)
class TensorSolution:
    """`Solution` on tensors, columns first: per moment (d, order), else (d,); of float64.

    `coefficients`, `moments`, `lower` and `upper` may carry a graph.
    """

    coefficients: Tensor
    coefficients_low: Tensor
    moments: Tensor
    log_normaliser: Tensor
    lower: Tensor
    upper: Tensor
    data_lower: Tensor
    data_upper: Tensor
    status: Tensor
    iterations: Tensor
    residual: Tensor
    decrement: Tensor
    quadrature_error: Tensor
    epsilon: Tensor

    def __getitem__(self, part: slice | Tensor) -> TensorSolution:
        """Return the solution of some of the columns."""
        return TensorSolution(*(getattr(self, f.name)[part] for f in fields(self)))

    @classmethod
    def from_numpy(cls, solution: Solution, device: torch.device) -> TensorSolution:
        """Return a solution on a device."""
        arrays = (np.ascontiguousarray(getattr(solution, f.name).T) for f in fields(cls))
        return cls(*(torch.as_tensor(array, device=device) for array in arrays))

    def numpy(self) -> Solution:
        """Return the solution in NumPy arrays, without graph."""
        arrays: dict[str, Any] = {
            f.name: getattr(self, f.name).detach().cpu().numpy().T.copy() for f in fields(self)
        }
        return Solution(**arrays)
