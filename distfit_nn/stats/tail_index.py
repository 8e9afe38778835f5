"""How heavy the tails of columns are: Hill's estimator, each side on its own."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn.stats import health_kernel as kernel
from distfit_nn.stats.rows import Axis, Float, Int, Rows, per_column

TAIL_SHARE = 0.05  # share of the values of each side that make its tail
LEAST_TAIL = 10  # values that make a tail at least
HEAVY_ERRORS = 3.5  # standard errors that a tail must be heavier than an exponential one


class TailIndex(NamedTuple):
    """Hill's estimate of the tail index of each column, and what an exponential tail would give.

    Attributes
    ----------
    lower, upper, both : float64 arrays
        Index alpha of the tail below the median, above it, and of the two together: P(|X| > t)
        falls as t**-alpha. NaN where a side has fewer than 40 values; `both` is of what there is.
    lower_error, upper_error, both_error : float64 arrays
        Standard errors alpha / sqrt(k).
    k_lower, k_upper : int64 arrays
        Values that each estimate rests on.
    exponential_lower, exponential_upper : float64 arrays
        The estimate that an exponential tail gives with so many values: it grows with n / k.
    heavy : bool array
        Whether a side, or both together, are heavier than exponential: the mean log excess 1/alpha
        is above that of an exponential tail by more than 3.5 standard errors of it.
    n : int64 array
        Finite values.
    """

    lower: Float
    upper: Float
    both: Float
    lower_error: Float
    upper_error: Float
    both_error: Float
    k_lower: Int
    k_upper: Int
    exponential_lower: Float
    exponential_upper: Float
    heavy: NDArray[np.bool_]
    n: Int


def tail_index(x: ArrayLike, axis: Axis = 0) -> TailIndex:
    """Hill's estimate of the tail index, for each column of x, each side of its median.

    With d_1 >= d_2 >= ... the distances from the median on one side, 1/alpha is the mean of
    log(d_i / d_(k+1)) over i = 1, ..., k: invariant to shift and scale. k is 5% of the values of
    the side, rounded up, and at least 10.

    The estimate of a law without a power tail is no index and grows with n / k, so a fixed limit
    would judge by n. `heavy` compares with an exponential tail at the same n and k instead: with
    u = log(n / k) that has 1/alpha = exp(u) E_1(u), that is alpha = 3.8 at 5%. In simulations of
    4,000 samples each of n = 200, 500 and 5,000, and 1,000 of n = 50,000, none from the normal and
    logistic laws was called heavy, and at most 0.2% of those from the Laplace and the exponential
    law, which are the border. Of Student's t with 3 degrees of freedom it was 5%, 22%, 99%, 100%.

    A power law in x is one in the distance from the median only far out: of Pareto's law with
    alpha = 2 the upper tail has 1.67 at 5%, whatever n.

    Parameters
    ----------
    x, axis
        As in `health`.

    Returns
    -------
    TailIndex

        ==========================  =========================================================
        column                      result
        ==========================  =========================================================
        fewer than 40 values on a   NaN for this side; `both` is of the other, NaN if there
        side                        is none; not heavy
        none, one, or equal values  NaN; ties at the median belong to neither side
        two distinct values         inf where they are as frequent, NaN otherwise
        a pile at an end            inf where it holds the whole tail: there is none
        NaN and inf among them      left out
        ==========================  =========================================================

    Raises
    ------
    InputError
        If x is not an array of real numbers or `axis` does not name axes of it.

    References
    ----------
    B. M. Hill, A simple general approach to inference about the tail of a distribution, Annals of
    Statistics 3 (1975).
    """
    return TailIndex(*per_column(x, axis, tail_index_of_rows))


def tail_index_of_rows(rows: Rows) -> TailIndex:
    """Return `tail_index` of sorted rows."""
    logs = kernel.tail_logs(rows.values, rows.counts, _medians(rows), TAIL_SHARE, LEAST_TAIL)
    total, used, of = np.moveaxis(logs, -1, 0)  # each of shape (d, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        index = used / total
        both = used.sum(axis=1) / total.sum(axis=1)
        expected = _exponential_excess(np.log(of / used))
        excess = used * np.where(used > 0, expected, 0.0)
        heavy = _above(total, excess, used).any(axis=1)
        heavy |= _above(total.sum(axis=1), excess.sum(axis=1), used.sum(axis=1))
        error, both_error = index / np.sqrt(used), both / np.sqrt(used.sum(axis=1))
        exponential = 1 / expected
    index, error, exponential = (np.where(used > 0, a, np.nan) for a in (index, error, exponential))
    k = used.astype(np.int64)
    return TailIndex(
        *(index[:, 0], index[:, 1], both),
        *(error[:, 0], error[:, 1], both_error),
        *(k[:, 0], k[:, 1]),
        *(exponential[:, 0], exponential[:, 1]),
        heavy,
        rows.counts,
    )


def _above(total: Float, expected: Float, k: Float) -> Any:
    """Whether sums of k log excesses are above those expected by HEAVY_ERRORS standard errors."""
    return (k > 0) & (total > expected * (1 + HEAVY_ERRORS / np.sqrt(np.maximum(k, 1))))


def _exponential_excess(u: Float) -> Float:
    """Return the mean of log(X / u) for X > u, X exponential with mean 1: exp(u) E_1(u)."""
    from scipy.special import exp1

    return np.exp(u) * exp1(u)


def _medians(rows: Rows) -> Float:
    """Return the median of each row, NaN for an empty one."""
    if not rows.values.shape[1]:
        return np.full(len(rows.counts), np.nan)
    each = np.arange(len(rows.counts))
    low, high = np.maximum(rows.counts - 1, 0) // 2, rows.counts // 2
    return rows.values[each, low] / 2 + rows.values[each, high] / 2
