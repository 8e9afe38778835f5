"""The columns of a density on tensors, and how their fits ended."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from distfit_nn.maxent.solution import Status
from distfit_nn.maxent.tensors.solution import TensorSolution


@dataclass(frozen=True, eq=False)
class TensorColumns:
    """What `TensorDensity` is made of; its attributes are described there."""

    solution: TensorSolution
    loc: Tensor
    scale: Tensor
    dtype: torch.dtype = torch.float64
    single: bool = False

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self.loc)

    def _per_column(self, values: Tensor) -> Tensor:
        return values[0] if self.single else values

    @property
    def order(self) -> int:
        """Number of moments matched."""
        return self.solution.coefficients.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the density lives."""
        return self.loc.device

    @property
    def status(self) -> Tensor:
        """How the fit ended, per column: int8 values of `Status`."""
        return self._per_column(self.solution.status)

    @property
    def ok(self) -> Tensor:
        """Where the status is OK."""
        return self._per_column(self.solution.status == Status.OK)

    @property
    def residual(self) -> Tensor:
        """max_i abs(E_p z^i - m_i) / max(1, abs(m_i)) in standardised moments m_i of the data."""
        return self._per_column(self.solution.residual)

    @property
    def iterations(self) -> Tensor:
        """Newton steps taken."""
        return self._per_column(self.solution.iterations)

    @property
    def epsilon(self) -> Tensor:
        """0 where OK; how far a REGULARISED column was drawn from its moments: see `Status`."""
        return self._per_column(self.solution.epsilon)

    @property
    def decrement(self) -> Tensor:
        """Newton decrement at the last evaluation."""
        return self._per_column(self.solution.decrement)

    @property
    def quadrature_error(self) -> Tensor:
        """What the quadrature may be off by, relative to E_p abs(h_i): see `Solution`."""
        return self._per_column(self.solution.quadrature_error)

    @property
    def exists(self) -> Tensor:
        """Which columns have a density, (d,): those that are OK or REGULARISED."""
        return self.solution.status <= Status.REGULARISED

    @cached_property
    def low(self) -> Tensor:
        """Which columns (d,) hold their multipliers in double-double."""
        return self.exists & (self.solution.coefficients_low != 0).any(dim=1)
