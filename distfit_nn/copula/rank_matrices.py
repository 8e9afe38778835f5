"""Kendall's and Spearman's correlation of all pairs of columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.copula import units
from distfit_nn.copula.units import Array, Seed
from distfit_nn.errors import InputError
from distfit_nn.maxent.solution import Status

TILE = 32  # columns by columns whose pairs one thread takes at a time


@dataclass(frozen=True, eq=False)
class RankCorrelation:
    """A correlation of all pairs of d columns, (d, d), and the number of rows it rests on."""

    statistic: Array
    n: int


class _Ordered(NamedTuple):
    """Columns in their order, as `kendall_kernel.tie_groups` describes them."""

    order: NDArray[np.int32]
    place: NDArray[np.int32]
    first: NDArray[np.int32]
    last: NDArray[np.int32]

    def part(self, where: slice | int) -> _Ordered:
        """Return some of the columns."""
        return _Ordered(*(lines[where] for lines in self))


def spearman_matrix(x: ArrayLike) -> RankCorrelation:
    """Spearman's rho of all pairs of columns: Pearson's correlation of their mid-ranks.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, (n, d)
        The columns; (n,) is one. Infinite values rank as extremes.

    Returns
    -------
    RankCorrelation
        `statistic` (d, d): exactly symmetric, 1 on the diagonal. A column that has NaN, or is
        constant, has NaN in its row and column; rows are not left out pair by pair. `n` is the
        number of rows. About 16 n d + 8 d^2 bytes are needed.

    Raises
    ------
    InputError
        x is not an array of real numbers of shape (n, d) or (n,), or has no rows or columns.

    Examples
    --------
    >>> from distfit_nn.copula import spearman_matrix
    >>> spearman_matrix([[1.0, 3.0], [2.0, 5.0], [3.0, 4.0]]).statistic
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    given = units.checked(x)
    ranks = units.unit_columns(units.centred_ranks(given))
    rho = ranks.T @ ranks
    rho /= len(given)
    return RankCorrelation(_mended(rho, units.status_of(given)), len(given))


def kendall_matrix(
    x: ArrayLike, *, rows: int | None = None, random_state: Seed = None
) -> RankCorrelation:
    """Kendall's tau-b of all pairs of columns.

    Of the n (n - 1) / 2 pairs of rows, with P ordered alike by two columns, Q ordered contrarily,
    and A and B not tied by the first and by the second column,

        tau-b = (P - Q) / sqrt(A B).

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, (n, d)
        The columns; (n,) is one. Infinite values rank as extremes.
    rows : int, optional
        The most rows to use: where there are more, so many are drawn without replacement. The
        standard error is then about (2/3) / sqrt(rows) where columns are independent, and at most
        sqrt(2 (1 - tau^2) / rows). 4,096 columns have 8.4 million pairs, and each pair takes some
        10 ns a row.
    random_state : numpy Generator, RandomState or int, optional
        Draws the rows; fresh by default.

    Returns
    -------
    RankCorrelation
        `statistic` (d, d): exactly symmetric, 1 on the diagonal. A column that has NaN in the rows
        that are used, or is constant there, has NaN in its row and column; rows are not left out
        pair by pair. `n` is the number of rows used. About 16 n d + 16 d^2 bytes are needed.

    Raises
    ------
    InputError
        x is not an array of real numbers of shape (n, d) or (n,), or has no rows or columns, or
        has 2^31 rows or more to use; `rows` is not a whole number of at least 2.

    Notes
    -----
    O(n log n) for each pair: see `kendall_kernel`. As many threads as Numba is set to use take
    tiles of pairs.

    References
    ----------
    M. G. Kendall, Rank Correlation Methods, 4th ed., Griffin (1970), chapters 3 and 4.

    Examples
    --------
    >>> from distfit_nn.copula import kendall_matrix
    >>> kendall_matrix([[1.0, 4.0], [2.0, 6.0], [3.0, 5.0], [4.0, 7.0]]).statistic.round(3)
    array([[1.   , 0.667],
           [0.667, 1.   ]])
    """
    given = _drawn(units.checked(x), rows, random_state)
    status = units.status_of(given)
    ordered, untied = _ordered(given)
    balance = _balance(ordered, untied).astype(np.float64)
    scale = np.sqrt(np.maximum(untied, 1))
    balance /= scale
    balance /= scale[:, None]
    balance += balance.T
    return RankCorrelation(_mended(balance, status), len(given))


def _mended(matrix: Array, status: NDArray[np.int8]) -> Array:
    """Set the diagonal to 1, bring rounding back into [-1, 1], and columns not OK to NaN."""
    np.clip(matrix, -1.0, 1.0, out=matrix)
    np.fill_diagonal(matrix, 1.0)
    bad = status != Status.OK
    matrix[bad] = matrix[:, bad] = np.nan
    return matrix


def _drawn(x: NDArray[Any], rows: int | None, random_state: Seed) -> NDArray[Any]:
    """Return x, or so many of its rows."""
    rng = units.generator(random_state)
    if rows is not None and _checks.whole_number(rows, "rows", 2) < len(x):
        x = x[np.sort(rng.choice(len(x), int(rows), replace=False))]
    if len(x) > np.iinfo(np.int32).max:
        raise InputError(f"x must have fewer than 2^31 rows to use, got {len(x)}")
    return x


def _ordered(x: NDArray[Any]) -> tuple[_Ordered, NDArray[np.int64]]:
    """Return the columns in their order, and how many pairs of rows each does not tie."""
    from distfit_nn.copula import kendall_kernel as kernel

    n, d = x.shape
    ordered = _Ordered(*(np.empty((d, n), np.int32) for _ in _Ordered._fields))
    untied = np.empty(d, np.int64)

    def describe(j: int) -> None:
        column = np.ascontiguousarray(x[:, j])
        ordered.order[j] = np.argsort(column)
        column = column[ordered.order[j]]
        differs = np.ones(n, bool)
        np.not_equal(column[1:], column[:-1], out=differs[1:])
        untied[j] = kernel.tie_groups(differs, *ordered.part(j))

    units.spread(describe, range(d))
    return ordered, untied


def _balance(ordered: _Ordered, untied: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return P - Q of all pairs, above the diagonal."""
    from distfit_nn.copula import kendall_kernel as kernel

    d, n = ordered.order.shape
    ties = untied < n * (n - 1) // 2
    levels = kernel.tree_levels(n)
    out = np.zeros((d, d), np.int64)

    def fill(corner: tuple[int, int]) -> None:
        left, right = (slice(start, start + TILE) for start in corner)
        work = np.empty(-(-n // 64), np.uint64), np.empty(levels[-1], np.int32)
        upper = corner[0] == corner[1]
        kernel.concordances(
            tuple(ordered.part(left)),
            tuple(ordered.part(right)),
            ties[right],
            levels,
            upper,
            work,
            out[left, right],
        )

    corners = [(i, j) for i in range(0, d, TILE) for j in range(i, d, TILE)]
    units.spread(fill, corners)
    return out
