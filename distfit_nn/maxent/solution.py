"""What a solver returns: a status per column, and the numbers that let one doubt it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn.errors import FitError
from distfit_nn.maxent import basis

Array = NDArray[np.float64]

# A column is OK when its moments agree with the data's to this.
RESIDUAL_TOLERANCE = 1e-8
ROUNDING = 64 * float(np.finfo(float).eps)  # of a sum over the nodes, relative to its terms

PER_ORDER = ("coefficients", "coefficients_low", "moments")  # fields with a row for each moment


def in_powers(target: Array) -> Array:
    """Return E z^i, i = 1..k, from the moments of h_1..h_k; both (k,) or (k, d)."""
    to_monomials = basis.monomials_in_hermite(len(target))[1:]
    constant = to_monomials[:, 0] if target.ndim == 1 else to_monomials[:, :1]
    with np.errstate(invalid="ignore", over="ignore"):  # a column that failed may hold anything
        return np.asarray(to_monomials[:, 1:] @ target + constant)


def errors_in_powers(moments: Array, target: Array) -> tuple[Array, Array]:
    """Return abs(E_p z^i - m_i) and m_i from the moments of h_1..h_k; all (k,) or (k, d)."""
    to_monomials = basis.monomials_in_hermite(len(target))[1:]
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.abs(to_monomials[:, 1:] @ (moments - target))
    return errors, in_powers(target)


def largest(errors: Array, wanted: Array) -> Array:
    """Return max_i abs(E_p z^i - m_i) / max(1, abs(m_i)) from what `errors_in_powers` returns."""
    return np.max(errors / np.maximum(1, np.abs(wanted)), axis=0)


def residual(moments: Array, target: Array) -> Array:
    """Return max_i abs(E_p z^i - m_i) / max(1, abs(m_i)) from the moments of h_1..h_k."""
    return largest(*errors_in_powers(moments, target))


def meets(moments: Array, target: Array) -> NDArray[np.bool_]:
    """Return where the moments are the target's, as far as float64 can tell; see `agrees`."""
    return agrees(*errors_in_powers(moments, target))


def agrees(errors: Array, wanted: Array) -> NDArray[np.bool_]:
    """Return where errors of E z^i, i = 1..k, are small for the moments wanted; both (k, ...).

    An odd moment is a difference of two halves of size E abs(z)^i, at most the geometric mean of
    its even neighbours: with outliers these may be so large that their rounding exceeds 1e-8.
    """
    allowed = RESIDUAL_TOLERANCE * np.maximum(1, np.abs(wanted))
    order = len(wanted)
    even = np.concatenate([np.ones((1, *wanted.shape[1:])), np.maximum(wanted[1::2], 0)])
    above = even[1:]
    if order % 2:  # the last has no neighbour above
        last = even[-1:] ** ((order + 1) / max(1, order - 1))
        above = np.concatenate([above, last])
    allowed[::2] = np.maximum(allowed[::2], ROUNDING * np.sqrt(even[: len(above)] * above))
    return np.all(errors <= allowed, axis=0)


class Status(IntEnum):
    """How the fit of one column ended."""

    OK = 0
    """The density has the moments asked for: a residual of at most 1e-8, or of their rounding.

    The latter is more for odd moments of data with far outliers, differences of large numbers.
    """
    REGULARISED = 1
    """It has the moments (1 - epsilon) mu_i + epsilon nu_i, towards those of a smooth density.

    nu are the moments of the uniform distribution on the range of the data (of what that may be,
    where only moments were given). Where the density asked for holds a spike that is narrower than
    float64 can tell from a point, epsilon is in general below 1e-6. It can be larger on supports of
    hundreds of standard deviations at high or odd orders; 1 is the uniform density, a failure.
    """
    DEGENERATE = 2
    """No density exists: at most order/2 distinct values, or moments on the edge.

    A value at an end of the support counts half.
    """
    INVALID = 3
    """NaN or inf in the input, no values, or moments that no distribution on the support has."""


def require_ok(status: NDArray[np.int8]) -> None:
    """Raise `FitError`, which names the first columns, unless all are OK."""
    failed = np.flatnonzero(status != Status.OK)
    if len(failed):
        named = ", ".join(f"column {j} {Status(int(status[j])).name}" for j in failed[:5])
        more = "" if len(failed) <= 5 else f" and {len(failed) - 5} more"
        raise FitError(f"{len(failed)} of {len(status)} columns have no exact fit: {named}{more}")


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
        max_i abs(E_p z^i - m_i) / max(1, abs(m_i)), by that quadrature.
    decrement : (d,)
        Newton decrement sqrt(g' H^-1 g) at the last evaluation: invariant under affine maps.
    quadrature_error : (d,)
        What the rule may be off by, relative to E_p abs(h_i): a bound (of a Gauss rule on each
        panel, by the size of log p on an ellipse around it), or the change when every panel is
        halved.
    epsilon : (d,)
        0 where OK; how far a REGULARISED column was drawn from its moments, in (0, 1].
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

    @property
    def order(self) -> int:
        """Number of moments matched."""
        return self.coefficients.shape[0]

    def status_names(self) -> list[str]:
        """Return the status of each column in lower case."""
        return [Status(int(status)).name.lower() for status in self.status]

    def __getitem__(self, part: slice | NDArray[Any]) -> Solution:
        """Return the solution of some of the columns; those of a slice as views."""
        return Solution(**{name: value[..., part] for name, value in vars(self).items()})

    @classmethod
    def empty(cls, order: int, status: NDArray[np.int8]) -> Solution:
        """Return the solution of columns that have no density: NaN, no iterations."""
        columns = len(status)
        arrays: dict[str, Any] = {
            name: np.full((order, columns) if name in PER_ORDER else columns, np.nan)
            for name in cls.__dataclass_fields__
        }
        arrays["status"] = status.copy()
        arrays["iterations"] = np.zeros(columns, np.int64)
        return cls(**arrays)

    def write(self, where: NDArray[np.bool_], part: Solution) -> None:
        """Write `part` to the columns marked in `where`, in place."""
        for name, value in vars(self).items():
            value[..., where] = getattr(part, name)


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

    def __getitem__(self, part: slice | NDArray[Any]) -> Problem:
        """Return the problem of some of the columns."""
        return Problem(**{name: value[..., part] for name, value in vars(self).items()})

    def column(self, j: int) -> Problem:
        """Return the problem of one column."""
        return self[slice(j, j + 1)]


@dataclass(frozen=True, eq=False)
class Fits:
    """What a minimiser returns for d columns: see `Solution` for the fields.

    Where `converged` is False nothing else is to be relied upon.
    """

    coefficients: Array
    moments: Array
    log_normaliser: Array
    quadrature_error: Array
    iterations: NDArray[np.int64]
    decrement: Array
    converged: NDArray[np.bool_]

    @classmethod
    def empty(cls, order: int, columns: int) -> Fits:
        """Return fits of which none has converged."""
        return cls(
            np.full((order, columns), np.nan),
            np.full((order, columns), np.nan),
            np.full(columns, np.nan),
            np.full(columns, np.nan),
            np.zeros(columns, np.int64),
            np.full(columns, np.nan),
            np.zeros(columns, np.bool_),
        )

    def write(self, j: int, one: Any) -> None:
        """Write the fields of an attempt on one column to column j, in place."""
        for name, value in vars(self).items():
            value[..., j] = getattr(one, name)
