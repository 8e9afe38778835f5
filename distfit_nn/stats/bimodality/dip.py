"""Hartigan's dip of every column, with its p-value."""

from __future__ import annotations

import math
from functools import cache, partial
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from distfit_nn import _checks
from distfit_nn.stats.bimodality.atoms import set_apart
from distfit_nn.stats.bimodality.dip_kernel import dip_of_rows, spread_ties
from distfit_nn.stats.rows import Axis, Float, Int, Rows, per_column

TIES = ("atoms", "spread", "apart")
_ROUNDING = 1e-9  # relative excess over 1/(2n) that is taken for rounding


class DipResult(NamedTuple):
    """Hartigan's dip of each column.

    Attributes
    ----------
    statistic : float64 array
        The dip, 0 to 1/4.
    pvalue : float64 array
        The probability of a dip as large in a uniform sample; never 0.
    n : int64 array
        The number of values it rests on.
    """

    statistic: Float
    pvalue: Float
    n: Int


class _NullTable(NamedTuple):
    """Simulated tails of the null law, as written by analysis/dip_table.py."""

    sizes: Float  # (rows,), ascending; the last is infinity
    tails: Float  # (levels,), P(sqrt(n) * dip >= quantile), ascending
    quantiles: Float  # (rows, levels), descending along the levels


def dip_test(x: ArrayLike, axis: Axis = 0, *, ties: str = "atoms") -> DipResult:
    """Hartigan's dip test of unimodality, for each column of x.

    The dip is the smallest distance, in the maximum norm, between the empirical distribution
    function and any unimodal one: convex up to a mode, concave after it, with an atom at the mode
    if it helps. The p-value is the probability of a dip at least as large in a sample of the same
    size from the uniform law, the reference of Hartigan and Hartigan; for data with a sharp mode,
    normal data among them, it is conservative.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        Read as float64, about a million values at a time (where the axes to reduce are not
        adjacent, x is copied once before); NaN and infinite values are left out.
    axis : int, tuple of ints or None, default 0
        The axes to reduce, as in NumPy.
    ties : {"atoms", "spread", "apart"}, default "atoms"
        What equal values stand for. "atoms": themselves; the statistic is Hartigan's, and a
        rounded or counted quantity, whose every level is a point mass, has a large one. "spread":
        the rounding of a continuous quantity; they are spread evenly over a cell of the grid first
        (half way to the neighbours, where these lie on a grid), so that its levels are not modes.
        An atom beside values that do not lie on a grid, such as the zeros that a ReLU leaves, stays
        one, and so do two values that are all there is. "apart": as "spread", after point masses
        that stand out of their surroundings have been left out, as `atoms` says: a point mass is
        then no mode, on a grid or off it, and the rest is asked whether it has two.

    Returns
    -------
    DipResult
        `statistic`, `pvalue` and `n`, each of the shape of the kept axes; `n` counts the finite
        values, with "apart" those of them that were not left out. The p-value is never 0: its floor
        is 1/100001, as the null law was simulated 100,000 times for each sample size.

        ====================  =========================  =======
        finite values         statistic                  p-value
        ====================  =========================  =======
        none                  NaN                        NaN
        all equal             0 exactly                  1
        two or three          1/(2n) if distinct         1
        two distinct          at most 1/4, the larger    tested
                              the evener they are
        any                   from 1/(2n) to 1/4         tested
        NaN and inf           left out                   left out
        ====================  =========================  =======

    Raises
    ------
    InputError
        If x is not an array of real numbers, `axis` does not name axes of it, or `ties` is
        none of the three.

    Notes
    -----
    Point masses. max(X, 0) of X from N(0, 1) has an atom of 1/2 at 0 and falls from there: it is
    unimodal, its dip is that of a sample of one mode. Of X from N(1, 1) it has an atom of 0.16
    beside a hump at 1: "atoms" and "spread" find that a dip of 0.014, "apart" none.

    Cost. Sorting takes O(n log n). The dip of sorted values takes O(n) and, in each of a few
    rounds, the points near the corners of two hulls: about 0.05 ms for n = 5,000. Batches of
    columns are shared among as many threads as Numba and torch are set to use.

    Calibration. Simulated p-values carry a standard error of sqrt(p (1 - p) / 100,000). Between the
    tabulated sizes, 4 to 50,000, the p-value at the same sqrt(n) * dip is interpolated linearly in
    1/sqrt(n); from 50,000 on it is so between that row and the limit law, which lies at the end of
    the straight lines that the quantiles of n >= 200 follow in 1/sqrt(n). The limit's quantiles are
    larger by up to 0.4% than those of n = 50,000. Of uniform samples these shares had p < 0.05:

    =========  ==========  ===============
    n          replicates  share
    =========  ==========  ===============
    27             40,000  0.0499 ± 0.0011
    800            40,000  0.0506 ± 0.0011
    7,000          20,000  0.0478 ± 0.0015
    35,000         20,000  0.0481 ± 0.0015
    200,000        16,000  0.0504 ± 0.0017
    1,000,000       3,000  0.0507 ± 0.0040
    =========  ==========  ===============

    References
    ----------
    J. A. Hartigan and P. M. Hartigan, The dip test of unimodality, Annals of Statistics 13 (1985);
    P. M. Hartigan, Algorithm AS 217, Applied Statistics 34 (1985).
    """
    measure = partial(dip_of_columns, ties=_checks.one_of(ties, TIES, "ties"))
    return DipResult(*per_column(x, axis, measure))


def dip_of_columns(rows: Rows, *, ties: str = "atoms") -> tuple[Float, Float, Int]:
    """Return dip, p-value and count of each row; "spread" and "apart" overwrite the values."""
    if ties == "apart":
        rows, _ = set_apart(rows)
    if ties != "atoms":
        spread_ties(rows.values, rows.counts)
    statistic = dip_of_rows(rows.values, rows.counts)
    return statistic, null_pvalues(statistic, rows.counts), rows.counts


@cache
def _null_table() -> _NullTable:
    source = resources.files("distfit_nn.stats.bimodality").joinpath("dip_quantiles.npz")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as table:
        return _NullTable(
            sizes=table["sizes"],
            tails=table["counts"][::-1] / (int(table["replicates"]) + 1),
            quantiles=table["quantiles"][:, ::-1].astype(np.float64),
        )


def null_pvalues(statistic: Float, n: Int) -> Float:
    """P-values of dips, each for its own sample size; 1 for the least dip of distinct values."""
    pvalue = np.where(n > 0, 1.0, np.nan)
    tested = 2 * n * np.nan_to_num(statistic) > 1 + _ROUNDING
    for size in np.unique(n[tested]):
        here = tested & (n == size)
        pvalue[here] = _null_tail(math.sqrt(size) * statistic[here], int(size))
    return pvalue


def _null_tail(scaled: Float, n: int) -> Float:
    """P(sqrt(n) * dip >= scaled) in uniform samples of size n."""
    table = _null_table()
    above = int(np.searchsorted(table.sizes, n))
    tail = _tail_of_row(table, above, scaled)
    if table.sizes[above] == n:
        return tail
    small, large = table.sizes[above - 1 : above + 1] ** -0.5
    weight = (small - n**-0.5) / (small - large)
    return weight * tail + (1 - weight) * _tail_of_row(table, above - 1, scaled)


def _tail_of_row(table: _NullTable, row: int, scaled: Float) -> Float:
    return np.interp(-scaled, -table.quantiles[row], table.tails)
