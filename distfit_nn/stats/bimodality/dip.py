"""Hartigan's dip of every column, with its p-value."""

from __future__ import annotations

import math
from functools import cache, partial
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from distfit_nn import _checks
from distfit_nn.stats.bimodality.dip_kernel import dip_of_rows, spread_ties
from distfit_nn.stats.rows import Axis, Float, Int, Rows, per_column

_ROUNDING = 1e-9  # relative excess over 1/(2n) that is taken for rounding


class DipResult(NamedTuple):
    """Hartigan's dip of each column, its p-value and the number of values it rests on."""

    statistic: Float
    pvalue: Float
    n: Int


class _NullTable(NamedTuple):
    """Simulated tails of the null law, as written by analysis/dip_table.py."""

    sizes: Int  # (rows,), ascending
    tails: Float  # (levels,), P(sqrt(n) * dip >= quantile), ascending
    quantiles: Float  # (rows, levels), descending along the levels


def dip_test(x: ArrayLike, axis: Axis = 0, *, ties: str = "atoms") -> DipResult:
    """Hartigan's dip test of unimodality, for each column of x.

    The dip is the smallest distance, in the maximum norm, between the empirical distribution
    function and any unimodal one: convex up to a mode, concave after it, with an atom at the mode
    if it helps. The p-value is the probability of a dip at least as large in a sample of the same
    size from the uniform law, the reference of Hartigan and Hartigan; for data with a sharp mode
    it is conservative.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        Read as float64, about a million values at a time (where the axes to reduce are not
        adjacent, x is copied once before); NaN and infinite values are left out.
    axis : int, tuple of ints or None, default 0
        The axes to reduce, as in NumPy.
    ties : {"atoms", "spread"}, default "atoms"
        What equal values stand for. "atoms": themselves; the statistic is Hartigan's, and a
        rounded or counted quantity, whose every level is a point mass, has a large one. "spread":
        the rounding of a continuous quantity; they are spread evenly over a cell of the grid first
        (half way to the neighbours, where these lie on a grid), so that its levels are not modes.
        An atom beside values that do not lie on a grid, such as the zeros that a ReLU leaves, stays
        one, and so do two values that are all there is.

    Returns
    -------
    DipResult
        `statistic`, `pvalue` and `n`, each of the shape of the kept axes; `n` counts the finite
        values. With distinct values present the statistic is at least 1/(2n), and at most 1/4; it
        is exactly 0 if all values are equal, and NaN, as is the p-value, if there is none. The
        p-value is 1 for n < 4, where every sample of distinct values has the same dip. It is never
        0: its floor is 1/100001, as the null law was simulated 100,000 times for each sample size.

    Raises
    ------
    InputError
        If x is not an array of real numbers, `axis` does not name axes of it, or `ties` is
        neither of the two.

    Notes
    -----
    Sorting takes O(n log n); the dip of sorted values takes O(n) and the corners of the hulls in
    each of a few rounds. Simulated p-values carry a standard error of sqrt(p (1 - p) / 100,000).
    Between the tabulated sizes, which end at 50,000, the p-value at the same sqrt(n) * dip is
    interpolated linearly in 1/sqrt(n); above them that of 50,000 serves, being close to the limit.

    References
    ----------
    J. A. Hartigan and P. M. Hartigan, The dip test of unimodality, Annals of Statistics 13 (1985);
    P. M. Hartigan, Algorithm AS 217, Applied Statistics 34 (1985).
    """
    spread = _checks.one_of(ties, ("atoms", "spread"), "ties") == "spread"
    return DipResult(*per_column(x, axis, partial(dip_of_columns, spread=spread)))


def dip_of_columns(rows: Rows, *, spread: bool) -> tuple[Float, Float, Int]:
    """Return dip, p-value and count of each row; `spread` overwrites the values."""
    if spread:
        spread_ties(rows.values, rows.counts)
    statistic = dip_of_rows(rows.values, rows.counts)
    return statistic, _null_pvalues(statistic, rows.counts), rows.counts


@cache
def _null_table() -> _NullTable:
    source = resources.files("distfit_nn.stats.bimodality").joinpath("dip_quantiles.npz")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as table:
        return _NullTable(
            sizes=table["sizes"],
            tails=table["counts"][::-1] / (int(table["replicates"]) + 1),
            quantiles=table["quantiles"][:, ::-1].astype(np.float64),
        )


def _null_pvalues(statistic: Float, n: Int) -> Float:
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
    size = min(n, int(table.sizes[-1]))
    above = int(np.searchsorted(table.sizes, size))
    tail = _tail_of_row(table, above, scaled)
    if table.sizes[above] == size:
        return tail
    small, large = table.sizes[above - 1 : above + 1] ** -0.5
    weight = (small - size**-0.5) / (small - large)
    return weight * tail + (1 - weight) * _tail_of_row(table, above - 1, scaled)


def _tail_of_row(table: _NullTable, row: int, scaled: Float) -> Float:
    return np.interp(-scaled, -table.quantiles[row], table.tails)
