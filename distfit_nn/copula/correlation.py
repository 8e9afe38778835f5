"""The correlation matrix of normal scores, shrunk towards the identity."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.copula import units
from distfit_nn.copula.units import Array
from distfit_nn.errors import InputError
from distfit_nn.maxent.solution import Status

SYMMETRY = 1e-8  # by which a given correlation matrix may miss symmetry and unit diagonal
SINGULAR = 1e-10  # share of a variance that the others leave, where rounding may be all of it
TOO_FEW = 2  # rows, of which any two columns have the correlation 1 or -1: that tells nothing
LEAST_SHRINKAGE = 1e-6  # equal columns must not make the estimate singular


def shrunk_correlation(
    x: ArrayLike, shrinkage: float | None
) -> tuple[Array, float, int, NDArray[np.int8]]:
    """Return the matrix, the share of the identity in it, the number of rows and the status.

    See `GaussianCopula.fit`.
    """
    given = units.checked(x)
    share = None if shrinkage is None else _share(shrinkage)
    status = units.status_of(given)
    z = units.unit_columns(units.hard_scores(given))
    if share is None:
        share = _ledoit_wolf(z[:, status == Status.OK]) if len(z) > TOO_FEW else 1.0
    r = z.T @ z
    r *= (1 - share) / len(z)
    np.clip(r, share - 1, 1 - share, out=r)
    np.fill_diagonal(r, 1.0)
    invalid = status == Status.INVALID
    r[invalid] = r[:, invalid] = np.nan
    return r, share, len(z), status


def checked_correlation(correlation: ArrayLike) -> Array:
    """Return a copy of a given matrix if it is symmetric with unit diagonal, made exactly so."""
    r = np.array(_checks.to_numpy(correlation, "correlation"), np.float64)
    if r.ndim != 2 or r.shape[0] != r.shape[1] or len(r) == 0:
        raise InputError(f"correlation must have shape (d, d), got {r.shape}")
    if not (np.abs(np.diag(r) - 1) <= SYMMETRY).all():
        raise InputError("correlation must have a diagonal of ones")
    if not (np.abs(r - r.T) <= SYMMETRY).all():
        raise InputError("correlation must be symmetric and free of NaN")
    r += r.T
    r /= 2
    np.fill_diagonal(r, 1.0)
    return r


def _share(shrinkage: Any) -> float:
    """Return the shrinkage if it is a number in [0, 1]."""
    number = isinstance(shrinkage, Real) and not isinstance(shrinkage, bool)
    if not number or not 0 <= shrinkage <= 1:
        raise InputError(f"shrinkage must be a number in [0, 1], got {shrinkage!r}")
    return float(shrinkage)


def _ledoit_wolf(z: Array) -> float:
    """Return the share of Ledoit and Wolf for standardised columns, or the least one we take."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    if z.shape[1] < 2:
        return 0.0  # nothing to shrink
    return max(float(ledoit_wolf_shrinkage(z, assume_centered=True)), LEAST_SHRINKAGE)
