"""Tables of fitted densities: panels, local polynomials of log p, and masses from both ends.

A table follows from the multipliers alone. It is made when it is first needed, for as many columns
at a time as a buffer holds, and kept while all that is kept stays below `KEPT_BYTES`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cache

import numpy as np
from numpy.typing import NDArray

from distfit_nn.maxent import basis
from distfit_nn.maxent.solution import Solution

Array = NDArray[np.float64]

KEPT_BYTES = 1 << 26  # of tables that a density keeps
SLOTS = 1 << 15  # of the buffer that tables are made in, beyond the largest table
QUADRATURE = 1e-14  # relative error of the Gauss rule on a panel
RADII = (6.0, 9.0, 14.0)


@cache
def hermite_in_monomials(order: int) -> Array:
    """Return M (order + 1, order + 1, 2) with h_i(z) = sum_j M[i, j] z^j, in double-double.

    He_i has whole coefficients; those over sqrt(i!) are rounded from 50 digits.
    """
    out = np.zeros((order + 1, order + 1, 2))
    rows = [[1], [0, 1]]
    for i in range(1, order):
        shifted, before = [0, *rows[i]], [*rows[i - 1], 0, 0]
        rows.append([s - i * b for s, b in zip(shifted, before, strict=True)])
    with localcontext() as context:
        context.prec = 50
        for i, row in enumerate(rows[: order + 1]):
            root = Decimal(math.factorial(i)).sqrt()
            for j, coefficient in enumerate(row):
                exact = Decimal(coefficient) / root
                out[i, j, 0] = float(exact)
                out[i, j, 1] = float(exact - Decimal(float(exact)))
    return out


@cache
def ellipses(
    order: int,
    nodes: int = basis.NODES_PER_PANEL,
    error: float = QUADRATURE,
    radii: tuple[float, ...] = RADII,
) -> Array:
    """Return for each ellipse what |c_i| may add up to, and its factor of |c_i|, i = 1..order.

    An n-node Gauss rule integrates f over [-1, 1] with an error of at most
    (64/15) M r^(-2n) / (1 - r^-2), M the largest |f| on the ellipse with foci -1, 1 and half axes
    (r + 1/r)/2 and (r - 1/r)/2 (L. N. Trefethen, SIAM Rev. 50 (2008) 67-87). For f = exp(sum c_i
    t^i), log M is at most c_0 + sum |c_i| ((r + 1/r)/2)^i, and the integral is at least 2 exp of
    the mean of the exponent, c_0 - sum over even i of |c_i| / (i + 1). So the relative error is at
    most `error` where sum |c_i| out[:, i] <= out[:, 0].
    """
    r = np.array(radii)
    i = np.arange(order + 1)
    out = ((r + 1 / r) / 2)[:, None] ** i + np.where(i % 2 == 0, 1 / (i + 1), 0.0)
    out[:, 0] = 2 * nodes * np.log(r) - np.log(32 / 15 / (1 - r**-2)) + math.log(error)
    return out


@cache
def constants(order: int) -> tuple[Array, Array, Array]:
    """Return what every kernel reads: Hermite coefficients, ellipses, and the Gauss rule."""
    return hermite_in_monomials(order), ellipses(order), np.stack(basis.legendre_rule())


@dataclass(frozen=True, eq=False)
class Tables:
    """The tables of consecutive columns, one after the other.

    Attributes
    ----------
    first : int
        The density's column that is column 0 here.
    starts : (columns + 1,)
        Column j owns the slots starts[j]:starts[j + 1]: one more than it has panels, or none where
        it has no density. Of `local`, the last of them is not used.
    series : (columns, order + 1, 2)
        Coefficients of z^0..z^order of log p, in double-double.
    edges : (slots,)
        Ends of the panels in z.
    local : (slots, order + 1)
        Coefficients of log p in (z - middle) / half of each panel.
    left, right : (slots,)
        Mass to the left and to the right of each edge, each summed from its own tail.
    """

    first: int
    starts: NDArray[np.int64]
    series: Array
    edges: Array
    local: Array
    left: Array
    right: Array

    @property
    def columns(self) -> slice:
        """The density's columns that these tables are for."""
        return slice(self.first, self.first + len(self.series))

    @property
    def bytes(self) -> int:
        """Memory that they take."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))

    @property
    def order(self) -> int:
        """Number of moments matched."""
        return self.local.shape[1] - 1

    def column(self, j: int) -> Tables:
        """Return the tables of column j alone, as views."""
        start, end = self.starts[j], self.starts[j + 1]
        values = (self.edges, self.local, self.left, self.right)
        return Tables(
            self.first + j,
            self.starts[j : j + 2] - start,
            self.series[j : j + 1],
            *(value[start:end] for value in values),
        )

    def arrays(self) -> tuple[NDArray[np.int64], Array, Array, Array, Array, Array]:
        """Return what the kernels read."""
        return self.starts, self.series, self.edges, self.local, self.left, self.right


def build(solution: Solution, first: int) -> Tables:
    """Return the tables of the columns from `first` on, as many as the buffer holds."""
    from distfit_nn.maxent import panel_kernel

    columns = min(solution.coefficients.shape[1] - first, SLOTS)
    part = slice(first, first + columns)
    size = solution.order + 1
    slots = panel_kernel.MAX_PANELS + 1 + min(SLOTS, 512 * (columns - 1))
    starts = np.zeros(columns + 1, np.int64)
    series = np.full((columns, size, 2), np.nan)
    edges, left, right = np.empty(slots), np.empty(slots), np.empty(slots)
    local = np.empty((slots, size))
    done, used = panel_kernel.build(
        np.array(solution.coefficients[:, part].T, dtype=np.float64, order="C"),
        np.array(solution.coefficients_low[:, part].T, dtype=np.float64, order="C"),
        np.array(solution.log_normaliser[part], dtype=np.float64),
        np.array(solution.lower[part], dtype=np.float64),
        np.array(solution.upper[part], dtype=np.float64),
        constants(solution.order),
        starts,
        series,
        edges,
        local,
        left,
        right,
    )
    starts[done] = used
    return Tables(
        first,
        starts[: done + 1].copy(),
        series[:done].copy(),
        *(values[:used].copy() for values in (edges, local, left, right)),
    )


class TableSource:
    """The tables of a solution, made on demand; those of the first columns are kept."""

    def __init__(self, solution: Solution) -> None:
        self._solution = solution
        self._kept: tuple[Tables, ...] = ()

    def __iter__(self) -> Iterator[Tables]:
        """Yield the tables of all columns, in order."""
        kept = self._kept
        columns = self._solution.coefficients.shape[1]
        yield from kept
        at = kept[-1].columns.stop if kept else 0
        room = KEPT_BYTES - sum(tables.bytes for tables in kept)
        while at < columns or at == columns == 0:
            tables = build(self._solution, at)
            at = tables.columns.stop
            room -= tables.bytes
            if room >= 0:
                kept = (*kept, tables)
                self._kept = kept  # one assignment: safe among threads
            yield tables
            if columns == 0:
                return
