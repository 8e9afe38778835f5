"""Point masses of columns: the zeros of a ReLU, clipped values, pruned weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from distfit_nn.stats.bimodality.dip_kernel import set_atoms_apart
from distfit_nn.stats.rows import Axis, Float, Int, Rows, per_column

LEAST_SHARE = 0.01  # of the values: less cannot move a dip by more than half as much
LEAST_RATIO = 5.0  # to the copies nearby; the levels of a grid at most 1.8 std wide stay below


class Atoms(NamedTuple):
    """What `atoms` found in each column.

    Attributes
    ----------
    share : float
        Share of the values that stand out as point masses: what would be left out.
    number : int
        How many distinct values these are.
    value, value_share : float
        The most frequent value (the smallest of several) and its share, atom or not.
    levels : float
        How many equally frequent values would be as uneven as what is left without the atoms:
        1 / sum of p_i^2 over its distinct values, of shares p_i. As many as values in a continuous
        column, 2 sqrt(pi) std / step for a normal law on a grid, 0 where nothing is left.
    n : int
        Finite values.
    """

    share: Float
    number: Int
    value: Float
    value_share: Float
    levels: Float
    n: Int


def atoms(x: ArrayLike, axis: Axis = 0) -> Atoms:
    """Find the point masses that stand out of each column of x.

    An atom is a value that makes up at least 1% of the column and has at least five times as many
    copies as any of the two distinct values on either side of it. So a single value repeated beside
    a continuous part is one, and so is a level that towers above the grid around it, as 0 does
    after a ReLU on quantised values; the levels of a grid alone are none, as long as its steps are
    shorter than 1.8 standard deviations of a normal law. A column with one or two distinct values
    has none, nor has one of two point masses with fewer than two values between them.

    Parameters
    ----------
    x, axis
        As for `dip_test`; NaN and infinite values are left out.

    Returns
    -------
    Atoms
        Arrays of the shape of the kept axes. What `share` counts are the copies beyond those of the
        neighbours.

        =============================  ==========  ===================  ============
        column                         share       value, value_share   levels
        =============================  ==========  ===================  ============
        no finite value                0           NaN                  0
        one value, all equal           0           the value, 1         1
        two distinct values            0           as computed          as computed
        NaN and inf among the values   left out    left out             left out
        =============================  ==========  ===================  ============

    Raises
    ------
    InputError
        If x is not an array of real numbers, or `axis` does not name axes of it.

    Notes
    -----
    The thresholds are this library's own: an atom of less than 1% moves a dip by less than half as
    much. O(n) after the sort.

    References
    ----------
    M. O. Hill, Diversity and evenness, Ecology 54 (1973): `levels` is his number of order two.
    """
    return Atoms(*per_column(x, axis, atoms_of_rows))


def atoms_of_rows(rows: Rows) -> tuple[Float, Int, Float, Float, Float, Int]:
    """Return the fields of `Atoms` for each row; overwrites the values."""
    return set_apart(rows)[1]


def set_apart(rows: Rows) -> tuple[Rows, Atoms]:
    """Return the rows without their atoms, and what these were; overwrites the values."""
    told = set_atoms_apart(rows.values, rows.counts, LEAST_SHARE, LEAST_RATIO)
    kept, share, count, value, value_share, levels = told.T
    value = value + 0.0  # -0 is 0
    found = Atoms(share, count.astype(np.int64), value, value_share, levels, rows.counts)
    return Rows(rows.values, kept.astype(np.int64)), found
