"""What a solver returns: a status per column, and the numbers that let one doubt it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# A column is OK when its moments agree with the data's to this, checked by a finer quadrature.
RESIDUAL_TOLERANCE = 1e-8

PER_ORDER = ("coefficients", "coefficients_low", "moments")  # fields with a row for each moment


class Status(IntEnum):
    """How the fit of one column ended."""

    OK = 0
    """The density has the moments asked for (residual at most 1e-8)."""
    REGULARISED = 1
    """It has the moments (1 - epsilon) mu_i + epsilon nu_i, towards those of a smooth density.

    nu are the moments of the start, exp(-((z - mid)/(R/2))^order) with the middle and the range R
    of the data, or of N(0,1), both cut to the support: of the one that leads nearer to the data.
    """
    DEGENERATE = 2
    """No density exists: constant, at most order/2 distinct values, or moments on the edge.

    Values at both ends of the support count as one: order/2 + 1 are then too few.
    """
    INVALID = 3
    """NaN or inf in the input, no values, or moments that no distribution on the support has."""


@dataclass(frozen=True, eq=False)
class Solution:
    """The dual optimum of d columns in standardised coordinates z = (x - loc) / scale.

    Column j has the density p(z) = exp(sum_i coefficients[i-1, j] h_i(z) - log_normaliser[j]) on
    [lower[j], upper[j]], h_i the scaled Hermite polynomials, i = 1..order. Where no density exists
    (DEGENERATE, INVALID) these are NaN.

    Attributes
    ----------
    coefficients, coefficients_low : (order, d)
        lambda_1..lambda_order, as unevaluated sums of two float64: the low parts are 0 but where
        terms so large cancel that float64 cannot hold the multipliers.
    moments : (order, d)
        E_p h_1..E_p h_order as reached.
    log_normaliser, lower, upper, data_lower, data_upper : (d,)
        log Z, the support, and the range of the data (NaN where only moments were given).
    status : (d,) int8
        Values of `Status`.
    iterations : (d,) int64
        Newton steps over all starts and refinements of the quadrature.
    residual : (d,)
        max_i abs(E_p z^i - m_i) / max(1, abs(m_i)), by the quadrature with every panel halved.
    decrement : (d,)
        Newton decrement sqrt(g' H^-1 g) at the last evaluation: invariant under affine maps.
    quadrature_error : (d,)
        Largest change of one of the integrals E_p h_i when a panel is halved.
    epsilon : (d,)
        0 where OK; how far a REGULARISED column was drawn from its moments, in (0, 1].
    edges : tuple of d arrays
        The panels on which a Gauss-Legendre rule integrates the density.
    """

    coefficients: Array
    coefficients_low: Array
    moments: Array
    log_normaliser: Array
    lower: Array
    upper: Array
    data_lower: Array
    data_upper: Array
    status: NDArray[np.int8]
    iterations: NDArray[np.int64]
    residual: Array
    decrement: Array
    quadrature_error: Array
    epsilon: Array
    edges: tuple[Array, ...]

    @property
    def order(self) -> int:
        """Number of moments matched."""
        return self.coefficients.shape[0]

    def status_names(self) -> list[str]:
        """Return the status of each column in lower case."""
        return [Status(int(status)).name.lower() for status in self.status]

    def __getitem__(self, part: slice) -> Solution:
        """Return the solution of some of the columns, as views."""
        arrays = {name: value[..., part] for name, value in vars(self).items() if name != "edges"}
        return Solution(**arrays, edges=self.edges[part])

    @classmethod
    def empty(cls, order: int, status: NDArray[np.int8]) -> Solution:
        """Return the solution of columns that have no density: NaN, no iterations, no panels."""
        columns = len(status)
        arrays: dict[str, Any] = {
            name: np.full((order, columns) if name in PER_ORDER else columns, np.nan)
            for name in cls.__dataclass_fields__
        }
        arrays["status"] = status.copy()
        arrays["iterations"] = np.zeros(columns, np.int64)
        arrays["edges"] = tuple(np.empty(0) for _ in range(columns))
        return cls(**arrays)

    def filled(self, where: NDArray[np.bool_], part: Solution) -> Solution:
        """Return a copy in which the columns marked in `where` are those of `part`."""
        arrays: dict[str, Any] = {}
        for name, value in vars(self).items():
            if name != "edges":
                arrays[name] = value.copy()
                arrays[name][..., where] = getattr(part, name)
        edges = iter(part.edges)
        arrays["edges"] = tuple(
            next(edges) if hit else old for hit, old in zip(where, self.edges, strict=True)
        )
        return Solution(**arrays)

    @classmethod
    def joined(cls, parts: list[Solution]) -> Solution:
        """Return one solution with the columns of all parts."""
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts], axis=-1)
            for name in cls.__dataclass_fields__
            if name != "edges"
        }
        return cls(**arrays, edges=tuple(edges for part in parts for edges in part.edges))


@dataclass(frozen=True, eq=False)
class Problem:
    """What a solver is given for d columns, in standardised coordinates.

    Attributes
    ----------
    targets : (order, d)
        The moments of h_1..h_order.
    lower, upper : (d,)
        The support.
    data_lower, data_upper : (d,)
        Where the data lies, or is thought to: it places the start and the first panels.
    """

    targets: Array
    lower: Array
    upper: Array
    data_lower: Array
    data_upper: Array
