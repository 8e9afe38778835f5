"""The columns of a fit: how each of them ended, and how to pick some of them."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn._checks import to_numpy
from distfit_nn.errors import InputError
from distfit_nn.maxent.solution import Solution, Status

Array = NDArray[np.float64]


def is_number(j: Any) -> bool:
    """Return whether j is the number of one column."""
    return isinstance(j, (int, np.integer)) and not isinstance(j, bool)


def column_numbers(j: Any, columns: int) -> NDArray[np.intp]:
    """Return the numbers of columns that are picked by a slice, a list of them, or a mask."""
    if isinstance(j, slice):
        return np.arange(columns)[j]
    index = to_numpy(j, "what picks columns")
    if index.size == 0 and isinstance(j, (list, tuple)):
        index = index.astype(int)
    if index.ndim != 1 or index.dtype.kind not in "iub":
        raise InputError(
            f"columns are picked by int, slice, or a vector of them, got {reprlib.repr(j)}"
        )
    if index.dtype.kind == "b":
        if len(index) != columns:
            raise InputError(f"a mask must have {columns} entries, got {len(index)}")
        return np.flatnonzero(index)
    outside = index[(index < -columns) | (index >= columns)]
    if len(outside):
        raise IndexError(f"column {outside[0]} of {columns}")
    return index.astype(np.intp)


@dataclass(frozen=True, eq=False)
class Columns:
    """Solutions of d columns with the affine map z = (x - loc) / scale of each."""

    solution: Solution
    loc: Array
    scale: Array
    single: bool = False

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self.loc)

    def __getitem__(self, j: int | slice | ArrayLike) -> Self:
        """Return column j as a density of one column; or some columns, by slice, list or mask."""
        if self.single:
            raise InputError("this density has one column and cannot be indexed")
        one = is_number(j)
        return self._picked(column_numbers([j] if one else j, len(self)), single=one)

    def _picked(self, index: NDArray[np.intp], single: bool = False) -> Self:
        fields: dict[str, Any] = {
            name: value[..., index] if isinstance(value, np.ndarray) else ()
            for name, value in vars(self.solution).items()
        }
        return type(self)(Solution(**fields), self.loc[index], self.scale[index], single)

    def __iter__(self) -> Iterator[Self]:
        """Iterate over the columns."""
        return (self[j] for j in range(len(self)))

    def __repr__(self) -> str:
        counts = np.bincount(self.solution.status, minlength=len(Status))
        ended = ", ".join(f"{n} {s.name}" for s, n in zip(Status, counts, strict=True) if n)
        if self.single:
            a, b = self.support()
            ended = f"{ended[2:]}, loc {self.loc[0]:.6g}, scale {self.scale[0]:.6g}"
            return f"<Density of order {self.order}: {ended}, support ({a:.6g}, {b:.6g})>"
        return f"<Density of order {self.order}: {len(self)} columns, {ended}>"

    def _per_column(self, values: NDArray[np.generic]):  # type: ignore[no-untyped-def]
        return values[0].item() if self.single else values

    @property
    def order(self) -> int:
        """Number of moments matched."""
        return self.solution.order

    @property
    def status(self) -> NDArray[np.int8] | Status:
        """How the fit ended, per column: see `Status`."""
        if self.single:
            return Status(int(self.solution.status[0]))
        return self.solution.status

    @property
    def ok(self) -> NDArray[np.bool_] | bool:
        """Where the status is OK."""
        return self._per_column(self.solution.status == Status.OK)

    @property
    def residual(self) -> Array | float:
        """max_i abs(E_p z^i - m_i) / max(1, abs(m_i)) in standardised moments m_i of the data."""
        return self._per_column(self.solution.residual)

    @property
    def iterations(self) -> NDArray[np.int64] | int:
        """Newton steps taken."""
        return self._per_column(self.solution.iterations)

    @property
    def epsilon(self) -> Array | float:
        """0 where OK; how far a REGULARISED column was drawn from its moments: see `Status`."""
        return self._per_column(self.solution.epsilon)

    @property
    def decrement(self) -> Array | float:
        """Newton decrement at the last evaluation."""
        return self._per_column(self.solution.decrement)

    @property
    def quadrature_error(self) -> Array | float:
        """What the quadrature may be off by, relative to E_p abs(h_i): see `Solution`."""
        return self._per_column(self.solution.quadrature_error)

    def support(self) -> tuple[Array, Array] | tuple[float, float]:
        """Return the ends (a, b) of the support, per column."""
        with np.errstate(over="ignore"):
            lower = self.loc + self.scale * self.solution.lower
            upper = self.loc + self.scale * self.solution.upper
        return self._per_column(lower), self._per_column(upper)
