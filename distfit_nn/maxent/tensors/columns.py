"""The columns of a density on tensors, and how their fits ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from distfit_nn.errors import InputError
from distfit_nn.maxent.columns import column_numbers, is_number
from distfit_nn.maxent.solution import Status
from distfit_nn.maxent.tensors.solution import TensorSolution
from distfit_nn.maxent.tensors.table import Table


@dataclass(frozen=True, eq=False)
class TensorColumns:
    """What `TensorDensity` is made of; its attributes are described there."""

    solution: TensorSolution
    loc: Tensor
    scale: Tensor
    dtype: torch.dtype = torch.float64
    single: bool = False
    _tables: dict[str, Table] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self.loc)

    def __getitem__(self, j: int | slice | ArrayLike | Tensor) -> Self:
        """Return column j as a density of one column; or some columns, by slice, list or mask."""
        if self.single:
            raise InputError("this density has one column and cannot be indexed")
        part: slice | Tensor
        if isinstance(j, slice):
            part = j
        else:
            given = [j] if is_number(j) else j
            part = torch.as_tensor(column_numbers(given, len(self)), device=self.device)
        return replace(
            self,
            solution=self.solution[part],
            loc=self.loc[part],
            scale=self.scale[part],
            single=is_number(j),
            _tables={name: table[part] for name, table in self._tables.items()},
        )

    def __iter__(self) -> Iterator[Self]:
        """Iterate over the columns."""
        return (self[j] for j in range(len(self)))

    def __repr__(self) -> str:
        counts = torch.bincount(self.solution.status.long(), minlength=len(Status)).tolist()
        ended = ", ".join(f"{n} {s.name}" for s, n in zip(Status, counts, strict=True) if n)
        return (
            f"<TensorDensity of order {self.order}: {len(self)} columns, {ended}, "
            f"{self.dtype} on {self.loc.device}>"
        )

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
