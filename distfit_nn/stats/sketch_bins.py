"""The canonical bins of columns, and what can be read from them.

How they come to be, and why they are canonical, stands in `distfit_nn.stats.sketch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.stats import bin_kernel as kernel
from distfit_nn.stats.rows import Float, Int

Array = NDArray[Any]
Column = tuple[int, Float, Array]  # exponent, edges, counts

_ALIGNED = 2.0**52  # multiples of the width up to here are exact, and so are their differences
_TOP = float(np.finfo(np.float64).max)


@dataclass(frozen=True, eq=False)
class Sketch:
    """The canonical sketches of d columns.

    Attributes
    ----------
    bins : int
        K, the most bins that a column may occupy.
    exponent : int64 array of shape (d,)
        e; the smallest that serves, -1074 where all values are held themselves.
    edges : tuple of d float64 arrays
        Lower edges of the occupied bins, ascending: a bin is [edge, edge + 2^e). The lowest
        float64 stands for -2^1024.
    counts : tuple of d arrays
        Values in each bin, int64; or sums of weights, float64.
    """

    bins: int
    exponent: Int
    edges: tuple[Float, ...]
    counts: tuple[Array, ...]

    @cached_property
    def n(self) -> Array:
        """Number of finite values, or sum of their weights, (d,)."""
        return np.array([counts.sum() for counts in self.counts]).reshape(-1)

    @cached_property
    def exact(self) -> NDArray[np.bool_]:
        """Whether every value is held itself: at most K distinct ones were seen, (d,)."""
        return self.exponent == kernel.LEAST

    @cached_property
    def width(self) -> Float:
        """Width of the bins, 2^e, which bounds the error of a quantile; 0 where exact, (d,)."""
        return np.where(self.exact, 0.0, np.ldexp(1.0, self.exponent))

    @property
    def minimum(self) -> Float:
        """Lower edge of the lowest bin (the smallest value where exact), (d,); NaN for no value."""
        return np.array([edges[0] if len(edges) else np.nan for edges in self.edges])

    @property
    def maximum(self) -> Float:
        """Upper edge of the highest bin (the largest value where exact), (d,); NaN for no value."""
        last = np.array([edges[-1] if len(edges) else np.nan for edges in self.edges])
        with np.errstate(over="ignore"):
            return np.minimum(last + self.width, _TOP)

    def distinct(self) -> Int:
        """Number of distinct values where exact, else of occupied bins: a lower bound, (d,)."""
        return np.array([len(edges) for edges in self.edges], dtype=np.int64)

    def points(self) -> tuple[Float, ...]:
        """Return the values themselves where exact, else the centres of the bins."""
        return tuple(
            _centres(edges, width) for edges, width in zip(self.edges, self.width, strict=True)
        )

    def weights(self) -> tuple[Float, ...]:
        """Return the shares of `points`: with these each column is a discrete law."""
        return tuple(counts / max(counts.sum(), 1e-300) for counts in self.counts)

    def quantile(self, q: ArrayLike) -> Float:
        """Quantiles of each column.

        Where exact, the smallest value that at least a share q does not exceed (NumPy's
        "inverted_cdf"); else on the straight line through the bin in which that value lies, so
        that it is off by `width` at most.

        Parameters
        ----------
        q : array-like of shape (m,), or a number
            In [0, 1].

        Returns
        -------
        float64 array of shape (m, d), or (d,) for a number
            NaN for a column of no values.

        Raises
        ------
        InputError
            If q is not in [0, 1].
        """
        shares = _line(q, "q")
        if not np.all((shares >= 0) & (shares <= 1)):
            raise InputError(f"q must lie in [0, 1], got {q!r}")
        result = np.full((shares.size, len(self.edges)), np.nan)
        for j, (edges, counts) in enumerate(zip(self.edges, self.counts, strict=True)):
            if len(edges):
                total = np.cumsum(counts)
                aim = shares.ravel() * total[-1]
                bin_ = np.minimum(np.searchsorted(total, aim), len(edges) - 1)
                inside = 1 - (total[bin_] - aim) / counts[bin_]
                place = self.width[j] * np.clip(inside, 0, 1)
                with np.errstate(over="ignore"):
                    result[:, j] = np.minimum(edges[bin_] + place, _TOP)
        return result.reshape(*shares.shape, len(self.edges))

    def cdf(self, t: ArrayLike) -> Float:
        """Share of the values that are at most t; where not exact, linear inside of a bin.

        Parameters
        ----------
        t : array-like of shape (m,), (m, d) for other points in each column, or a number

        Returns
        -------
        float64 array of shape (m, d), or (d,) for a number
            NaN for a column of no values, and where t is NaN.
        """
        points = _line(t, "t", 2)
        table = _by_columns(np.atleast_1d(points), len(self.edges), "t")
        result = np.full(table.shape, np.nan)
        for j, (edges, counts) in enumerate(zip(self.edges, self.counts, strict=True)):
            if len(edges):
                total = np.concatenate([[0], np.cumsum(counts)])
                bin_ = np.searchsorted(edges, table[:, j], side="right") - 1
                held = np.maximum(bin_, 0)
                inside = np.ones(len(table))
                if self.width[j] > 0:
                    with np.errstate(over="ignore"):
                        inside = np.clip((table[:, j] - edges[held]) / self.width[j], 0, 1)
                below = (total[held] + inside * counts[held]) / total[-1]
                result[:, j] = np.where(np.isnan(table[:, j]), np.nan, below * (bin_ >= 0))
        return result.reshape(*points.shape[:1], -1)

    def histogram(self, edges: ArrayLike) -> tuple[Array, Array, Array]:
        """Count the values in given cells.

        The counts are exact for a column that is `exact`, and where the cells' edges are multiples
        of its `width` (see `aligned_edges`). Else a bin counts for the cell that holds its centre.

        Parameters
        ----------
        edges : array-like of shape (m + 1,) or (m + 1, d)
            Ascending; a cell is [edge, next edge), the last one too.

        Returns
        -------
        counts of shape (m, d), below of shape (d,), above of shape (d,)
            int64, or float64 if there were weights.

        Raises
        ------
        InputError
            If the edges are fewer than two, do not ascend, or their shape does not fit.
        """
        table = _by_columns(_line(edges, "edges", 2), len(self.edges), "edges")
        if len(table) < 2 or np.any(np.diff(table, axis=0) < 0):
            raise InputError(f"edges must be two or more and ascend, got shape {table.shape}")
        cells = np.zeros((len(table) + 1, table.shape[1]), np.result_type(self.n))
        for j, (points, counts) in enumerate(zip(self.points(), self.counts, strict=True)):
            np.add.at(cells[:, j], np.searchsorted(table[:, j], points, side="right"), counts)
        return cells[1:-1], cells[0], cells[-1]

    def aligned_edges(self, low: ArrayLike, high: ArrayLike, m: int) -> Float:
        """Edges of m equal cells that cover [low, high], for `histogram` to be exact.

        Where a column is exact, the cells end just above `high` (for low = high they are m cells
        about it). Else their edges are multiples of its `width`: they begin at most one
        width below `low` and a cell is wider than it need be by less than one; no cell is narrower.
        Only where the width is below the rounding of `low` or `high` are edges not multiples.

        Parameters
        ----------
        low, high : array-like of shape (d,), or numbers
            low <= high. NaN gives a column of NaN.
        m : int
            At least 1.

        Returns
        -------
        float64 array of shape (m + 1, d)
        """
        m, d = _checks.positive_int(m, "m"), len(self.edges)
        bottom = np.broadcast_to(_line(low, "low"), d)
        top = np.broadcast_to(_line(high, "high"), d)
        if np.any(bottom > top):
            raise InputError("low must not be above high in any column")
        with np.errstate(all="ignore"):
            first, last = np.floor(bottom / self.width), np.floor(top / self.width) + 1
            cells = np.ceil((last - first) / m)
            aligned = (first + cells * np.arange(m + 1)[:, None]) * self.width
            fits = (np.abs(first) < _ALIGNED) & (np.abs(last) < _ALIGNED)
        fits &= np.isfinite(aligned).all(axis=0) & ~self.exact
        return np.where(fits, aligned, _plain_edges(bottom, top, m))

    def merge(self, other: Sketch) -> Sketch:
        """Return the sketch of both data together: the bits of a sketch of the whole.

        Raises
        ------
        InputError
            If the numbers of columns or `bins` differ.
        """
        must_fit((len(self.edges), self.bins), (len(other.edges), other.bins))
        parts = []
        for j in range(len(self.edges)):
            edges = np.concatenate([self.edges[j], other.edges[j]])
            counts = np.concatenate([self.counts[j], other.counts[j]])
            order = np.argsort(edges, kind="stable")
            least = max(self.exponent[j], other.exponent[j])
            parts.append(kernel.canonical(edges[order], counts[order], least, self.bins))
        return of_columns(parts, self.bins)

    def __getitem__(self, j: int) -> Sketch:
        """Return the sketch of column j alone."""
        return of_columns([self.columns()[j]], self.bins)

    def columns(self) -> list[Column]:
        """Return the exponent, the edges and the counts of each column."""
        return list(zip(self.exponent, self.edges, self.counts, strict=True))


def of_columns(parts: list[Column], bins: int) -> Sketch:
    """Return the sketch whose columns have the given exponents, edges and counts."""
    return Sketch(
        bins,
        np.array([part[0] for part in parts], dtype=np.int64),
        tuple(part[1] for part in parts),
        tuple(part[2] for part in parts),
    )


def must_fit(a: tuple[int, int], b: tuple[int, int]) -> None:
    """Raise `InputError` if two sketches, as (columns, bins), cannot be merged."""
    if a != b:
        raise InputError(
            "sketches to merge must have the same columns and bins, got "
            f"{a[0]} columns of {a[1]} bins and {b[0]} columns of {b[1]}"
        )


def _centres(edges: Float, width: float) -> Float:
    """Return the centres of bins; the edge is the only value of a bin that has none."""
    centres = edges + width / 2
    return np.where(centres - edges == width / 2, centres, edges)


def _line(values: ArrayLike, name: str, most: int = 1) -> Float:
    """Return numbers as float64 with at most `most` axes."""
    array = _checks.to_numpy(values, name).astype(np.float64)
    if array.ndim > most:
        raise InputError(f"{name} must have at most {most} axes, got shape {array.shape}")
    return array


def _by_columns(points: Float, columns: int, name: str) -> Float:
    """Return points (m,) or (m, d) as (m, d)."""
    table = points[:, None] if points.ndim == 1 else points
    if table.ndim != 2 or table.shape[1] not in (1, columns):
        raise InputError(f"{name} must have shape (m,) or (m, {columns}), got {points.shape}")
    return np.broadcast_to(table, (len(table), columns))


def _plain_edges(low: Float, high: Float, m: int) -> Float:
    """Return edges of m equal cells from low to just above high, or about low = high."""
    half = np.where(low == high, np.maximum(0.5, np.abs(low) * m * 2.0**-50), 0.0)
    with np.errstate(over="ignore"):
        above = np.where(low == high, high + half, np.nextafter(high, np.inf))
    share = np.arange(m + 1)[:, None] / m
    return (low - half) * (1 - share) + np.minimum(above, _TOP) * share
