"""What a correlation matrix says about dependence, in a few figures."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distfit_nn.copula.correlation import SINGULAR
from distfit_nn.copula.units import Array

FLAT = 1e-12  # share of u^2 that rounding may leave where adjusted squares cancel
ROUNDING = 1e-20  # mean square of centred scores that rounding alone may leave: they are below 10


class Figures(NamedTuple):
    """Dependence between u units with correlations r_ij in figures: numbers, or an array each.

    effective_dimension
        Participation ratio of the spectrum: (sum of eigenvalues)^2 / (sum of their squares)
        = u^2 / sum_ij r_ij^2. u for uncorrelated units, 1 where all are the same; noise lowers it
        to about u / (1 + u / n).
    adjusted_dimension
        The same with r^2 adjusted, for i != j, to 1 - (1 - r^2) f / (f - 1), f the degrees of
        freedom, whose mean is 0 for independent units: about u for these, whatever n. inf where
        the adjustment takes all: units spread as evenly as f dimensions allow.
    mean_absolute_correlation, largest_absolute_correlation
        Mean and largest of abs(r_ij), i < j. NaN where u < 2.
    total_correlation
        -log|r| / 2, in nats: that of the Gaussian copula with these correlations, i.e. the
        divergence from independent units. inf where r is singular, as some units are given by the
        others, and always with f < u.
    """

    effective_dimension: Any
    adjusted_dimension: Any
    mean_absolute_correlation: Any
    largest_absolute_correlation: Any
    total_correlation: Any


def has_variance(products: Array, n: int) -> NDArray[np.bool_]:
    """Return which units vary, by their sums of squares over n rows on the diagonal."""
    return np.asarray(np.diag(products) > ROUNDING * n)


def correlation(products: Array, n: int, freedom: int | None = None) -> Array:
    """Return correlations from sums of products over n rows: 0 where there is no variance.

    The sums of squares that they are relative to are on the diagonal. For columns that each shard
    has standardised these are as large as the freedom, but for columns constant in a shard: there
    one or more are missing, and counted all the same.
    """
    squares = np.diag(products)
    if freedom is not None:
        squares = np.where(squares > freedom - 0.5, squares, freedom)
    spread = np.full(len(products), np.inf)
    np.sqrt(squares, where=has_variance(products, n), out=spread)
    r = np.outer(1 / spread, 1 / spread)
    r *= products
    np.clip(r, -1.0, 1.0, out=r)
    np.fill_diagonal(r, 1.0)
    return r


def figures(r: Array, freedom: int) -> Figures:
    """Return the figures of a correlation matrix."""
    u = len(r)
    pairs = u * (u - 1)
    if u == 0:
        return Figures(*[float("nan")] * len(Figures._fields))
    size = np.abs(r)
    np.fill_diagonal(size, 0.0)
    squares = float(np.vdot(size, size))
    return Figures(
        effective_dimension=u**2 / (u + squares),
        adjusted_dimension=_adjusted_dimension(u, squares, freedom),
        mean_absolute_correlation=float(size.sum()) / pairs if pairs else float("nan"),
        largest_absolute_correlation=float(size.max()) if pairs else float("nan"),
        total_correlation=_total_correlation(r) if u <= freedom else float("inf"),
    )


def _adjusted_dimension(u: int, squares: float, freedom: int) -> float:
    """Return the adjusted dimension of u units, `squares` the sum of r_ij^2 over i != j."""
    if freedom < 2:
        return float("nan")
    adjusted = squares + (squares - u * (u - 1)) / (freedom - 1)
    # Not negative but by rounding, as the rank of r is at most the freedom.
    return u**2 / (u + adjusted) if u + adjusted > FLAT * u**2 else float("inf")


def _total_correlation(r: Array) -> float:
    """Return -log|r| / 2, inf where r is singular."""
    from scipy.linalg import LinAlgError, cholesky

    try:
        diagonal = np.diag(cholesky(r, lower=True))
    except LinAlgError:
        return float("inf")
    return float(-np.log(diagonal).sum()) if diagonal.min() ** 2 > SINGULAR else float("inf")
