"""How many different values columns have, and whether these lie on a grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from distfit_nn.stats import health_kernel as kernel
from distfit_nn.stats.rows import Axis, Float, Int, Rows, per_column


class DistinctValues(NamedTuple):
    """How many different values a column has, arrays over the kept axes.

    Attributes
    ----------
    distinct : int64
        How many.
    entropy, simpson : float64
        Effective numbers of them. K equally likely values have K of either; inf where no value
        occurs twice, NaN where n < 2. `entropy` is exp(H), with Shannon's entropy H of the
        frequencies and the bias correction of Miller and Madow, (distinct - 1) / (2 n), added to
        H. `simpson` is n (n - 1) / sum c (c - 1) for values that occur c times: 1 over an unbiased
        estimate of the chance that two draws are equal.
    step : float64
        Step of the grid that the values lie on; NaN if there is none, or one with more than
        65,536 levels, as floating point itself is.
    n : int64
        Finite values.
    """

    distinct: Int
    entropy: Float
    simpson: Float
    step: Float
    n: Int


def distinct_values(x: ArrayLike, axis: Axis = 0) -> DistinctValues:
    """Count the distinct values of each column of x, and those that matter: see `DistinctValues`.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        NaN and infinite values are left out. Where it is a sample of more values, `simpson` is an
        estimate of that of the whole, but `distinct` grows with the size of the sample.
    axis : int, tuple of ints or None, default 0
        The axes to reduce, as in NumPy.

    Returns
    -------
    DistinctValues

        ===================  ===========================================================
        column               result
        ===================  ===========================================================
        no finite value      distinct 0; effective numbers and step NaN
        one value            distinct 1; effective numbers and step NaN
        n equal values       distinct 1; effective numbers 1; step NaN
        two distinct values  step their difference; effective numbers inf where n = 2
        NaN and inf          left out
        values above 1e300   step NaN
        ===================  ===========================================================

    Raises
    ------
    InputError
        If x is not an array of real numbers or `axis` does not name axes of it.

    Notes
    -----
    The step is what Euclid's algorithm makes of the gaps, if all values lie on multiples of it
    from the least, but for 2^-20 of the largest magnitude. O(n) after the sort.

    References
    ----------
    G. A. Miller, Note on the bias of information estimates (1955); E. H. Simpson, Measurement of
    diversity, Nature 163 (1949).
    """
    return DistinctValues(*per_column(x, axis, distinct_values_of_rows))


def distinct_values_of_rows(rows: Rows) -> DistinctValues:
    """Return `distinct_values` of sorted rows."""
    table = kernel.ties(rows.values, rows.counts)
    count, pairs, logs = table[:, kernel.DISTINCT], table[:, kernel.PAIRS], table[:, kernel.LOGS]
    entropy, simpson = _effective(rows.counts, count, pairs, logs)
    step = kernel.grid_steps(rows.values, rows.counts)
    return DistinctValues(count.astype(np.int64), entropy, simpson, step, rows.counts)


def _effective(n: Int, count: Float, pairs: Float, logs: Float) -> tuple[Float, Float]:
    """Return exp(entropy) and inverse Simpson from n, K, sum c (c - 1) and sum c log c."""
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.exp(np.log(n) - logs / n + (count - 1) / (2 * n))
        simpson = n.astype(np.float64) * (n - 1) / pairs
    few, unique = n < 2, pairs == 0
    return (
        np.where(few, np.nan, np.where(unique, np.inf, entropy)),
        np.where(few, np.nan, np.where(unique, np.inf, simpson)),
    )
