"""Quantiles and histograms in one pass over any number of values, the same bits for any split.

A *sketch* of a column is a sparse histogram with bins of width 2^e, aligned to multiples of 2^e:
the occupied bins and their counts, where e is the smallest exponent from -1074 (at which every
float64 is a bin of its own) at which at most K bins are occupied.

It is a function of the multiset of values alone, not of their order, nor of how they were split,
batched or merged. Proof: a bin at e + 1 is the union of two at e, so coarsening is exact and the
number of occupied bins never grows with e; it never shrinks with more data, so the smallest e for
a part is at most that for the whole. Hence a part may always be coarsened to its own e, and what
has been seen can be coarsened to the whole's at the end: the result is that of one look at all.

So at most K distinct values are held themselves, exactly, and a far value costs one bin. What is
lost is the place of a value inside its bin. The width follows the values that lie apart: about
range / K for a normal sample, but in proportion to n for the Cauchy law, whose tails occupy bins
of their own; there `bins` buys accuracy with its square.

Others: t-digest (Dunning and Ertl, 2019) and KLL (Karnin, Lang and Liberty, 2016; also random)
depend on the order of the data and on the merges, within their bounds. DDSketch (Masson, Rim and
Lee, 2019) and UDDSketch (Epicoco et al., 2020), which coarsens likewise, do not, but their error is
relative to the value: a small spread about a large mean is lost, whereas ours is relative to the
range.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.stats import sketch_kernel as kernel
from distfit_nn.stats.rows import Axis, Float
from distfit_nn.stats.sketch_bins import Sketch, must_fit, of_columns

__all__ = ["Sketch", "SketchSums", "sketch"]

Array = NDArray[Any]

_TILE = 64  # columns whose windows stay in a near cache together
_BLOCK = 1 << 15  # values that are copied at once
_SLAB = 1 << 20  # values of a slab of whole rows
_HEAD = 4096  # rows that are sorted to begin with, rather than hashed


class SketchSums:
    """Sketches of columns under way: update with blocks of rows, merge, finalise.

    Parameters
    ----------
    columns : int
        d, at least 0.
    bins : int, default 1024
        K, the most bins that a column may occupy; at least 4, which hold all float64.

    Notes
    -----
    A value costs about 2 ns, and 15 ns in a column of few distinct values which are not counts or
    multiples of a power of two. The first 2,000 values of a column cost up to 100 ns. A column at
    rest (pickled, or as a `Sketch`) takes up to 16 K bytes, 16 kB by default; a live one takes 52
    kB, of which blocks of common values touch some 1 kB. Not for several threads at once; the
    kernels release the interpreter's lock.
    """

    def __init__(self, columns: int, bins: int = 1024) -> None:
        self.columns = _checks.whole_number(columns, "columns")
        self.bins = _checks.whole_number(bins, "bins", 4)
        self._state = kernel.new_state(self.columns, self.bins)
        self._fresh = True

    def update(self, block: ArrayLike, weights: ArrayLike | None = None) -> None:
        """Count a block of rows; NaN and infinite values are left out.

        Parameters
        ----------
        block : array-like of shape (n, d)
            Without a copy if it is float32 or float64 and C-contiguous.
        weights : array-like of shape (n,) or (n, d), optional
            Finite, not negative; 0 is as if the value were not there. Sums of weights are
            float64 from then on: the bins stay canonical, but the sums' last bits depend on
            the order of the data.

        Raises
        ------
        InputError
            If a shape does not fit, or weights are negative or not finite.
        """
        table = _checks.to_numpy(block, "block")
        if table.ndim != 2 or table.shape[1] != self.columns:
            raise InputError(f"block must have shape (n, {self.columns}), got {table.shape}")
        heavy = np.empty(0)
        if weights is not None:
            heavy = _row_weights(weights, table.shape).reshape(-1)
            self._use_floats()
        if table.size == 0:
            return
        if self._fresh and weights is None:
            head, table = table[:_HEAD], table[_HEAD:]
            kernel.begin(self._state, np.sort(_as_float64(head.T)), self.bins)
        self._fresh = False
        if len(table):
            plain = np.float32 if table.dtype == np.float32 else np.float64
            with np.errstate(over="ignore"):  # a long double may become inf: left out
                flat = np.ascontiguousarray(table, plain).reshape(-1)
            kernel.update(self._state, flat, heavy, self.bins)

    def merge(self, other: SketchSums) -> None:
        """Add what another one has seen, in place.

        Raises
        ------
        InputError
            If the numbers of columns or `bins` differ.
        """
        must_fit((self.columns, self.bins), (other.columns, other.bins))
        self._absorb(other.finalise())

    def finalise(self) -> Sketch:
        """Return the sketch of what has been seen; updates may go on."""
        parts = [kernel.extract(self._state, j, self.bins) for j in range(self.columns)]
        return of_columns(parts, self.bins)

    def pool(self) -> SketchSums:
        """Return one column that has seen what all columns have."""
        whole, sketch = SketchSums(1, self.bins), self.finalise()
        for j in range(self.columns):
            whole._absorb(sketch[j])
        return whole

    def copy(self) -> SketchSums:
        """Return another one that has seen the same."""
        other = SketchSums(self.columns, self.bins)
        other._absorb(self.finalise())
        return other

    @classmethod
    def of(cls, sketch: Sketch) -> SketchSums:
        """Return sums that have seen what a sketch has."""
        sums = cls(len(sketch.edges), sketch.bins)
        sums._absorb(sketch)
        return sums

    def __getstate__(self) -> dict[str, Any]:
        return {"columns": self.columns, "bins": self.bins, "sketch": self.finalise()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        SketchSums.__init__(self, state["columns"], state["bins"])
        self._absorb(state["sketch"])

    def _use_floats(self) -> None:
        window, counts = self._state.window, self._state.counts
        if window.dtype != np.float64:
            self._state = self._state._replace(
                window=window.astype(np.float64), counts=counts.astype(np.float64)
            )

    def _absorb(self, sketch: Sketch) -> None:
        self._fresh = False
        if any(counts.dtype != np.int64 for counts in sketch.counts):
            self._use_floats()
        dtype = self._state.window.dtype
        for j, (edges, counts) in enumerate(zip(sketch.edges, sketch.counts, strict=True)):
            exponent = int(sketch.exponent[j])
            kernel.absorb(self._state, j, edges, counts.astype(dtype), exponent, self.bins)


def sketch(
    x: ArrayLike,
    axis: Axis = 0,
    *,
    bins: int = 1024,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> Sketch:
    """Sketch x over `axis`, in one pass.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        Read as float64, about a million values at a time; NaN and infinite values are left out.
    axis : int, tuple of ints or None, default 0
        The axes to reduce, as in NumPy.
    bins : int, default 1024
        K, the most bins that a column may occupy; at least 4.
    weights : array-like, optional
        Finite, not negative; of the shape of x or of its reduced axes in the order of `axis`.
        Counts become float64 sums.
    mask : array-like of bool, optional
        True where a value counts; shapes as for weights.

    Returns
    -------
    Sketch
        The kept axes of x, flattened in C order, are its columns.

        =================== =======================================================
        finite values       what it holds
        =================== =======================================================
        none                no bins; quantiles, cdf, minimum and maximum are NaN
        1, 2, all equal     these values, exactly
        at most K distinct  these values, exactly
        =================== =======================================================

    Raises
    ------
    InputError
        If x is not an array of real numbers, `axis` does not name axes of it, or a shape does not
        fit.
    """
    array = _checks.to_numpy(x)
    view, reduced = _checks.reduced_first(array, axis)
    heavy = None if weights is None else _alike(weights, array, view, axis, "weights")
    taken = None if mask is None else _alike(mask, array, view, axis, "mask")
    if taken is not None and taken.dtype != np.bool_:
        raise InputError(f"mask must be boolean, got dtype {taken.dtype}")
    columns = math.prod(view.shape[reduced:])
    starts = range(0, columns, _TILE)
    sums = [SketchSums(min(_TILE, columns - start), bins) for start in starts]
    slabs = zip(*(_slabs(part, view.shape, reduced) for part in (view, heavy, taken)), strict=True)
    for slab in slabs:
        for start, part in zip(starts, sums, strict=True):
            _update(part, slab, slice(start, start + _TILE))
    return of_columns([column for part in sums for column in part.finalise().columns()], bins)


def _slabs(
    part: Array | None, shape: tuple[int, ...], reduced: int
) -> Iterator[NDArray[Any] | None]:
    """Cut the reduced axes into pieces of shape (n, d), views where the strides allow it."""
    rows, columns = math.prod(shape[1:reduced]), math.prod(shape[reduced:])
    step = max(1, _SLAB // max(1, rows * columns))
    for start in range(0, shape[0], step):
        piece = None if part is None else part[start : start + step]
        yield None if piece is None else piece.reshape(len(piece) * rows, columns)


def _update(sums: SketchSums, slab: tuple[Any, Any, Any], tile: slice) -> None:
    """Update with a tile of rows, weights and mask; what is not kept becomes NaN, in a copy."""
    rows, weights, kept = slab[0][:, tile], slab[1], slab[2]
    step = max(1, _BLOCK // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        block = rows[some] if kept is None else np.where(kept[some, tile], rows[some], np.nan)
        sums.update(block, None if weights is None else weights[some, tile])


def _as_float64(table: Array) -> Float:
    with np.errstate(over="ignore"):  # a long double may become inf: left out
        return np.ascontiguousarray(table, np.float64)


def _row_weights(weights: ArrayLike, shape: tuple[int, ...]) -> Float:
    """Return weights (n,) or (n, d) as (n, d), C-contiguous."""
    heavy = _checks.to_numpy(weights, "weights")
    if heavy.shape not in (shape, shape[:1]):
        raise InputError(f"weights must have shape {shape} or {shape[:1]}, got {heavy.shape}")
    if heavy.ndim == 1:
        heavy = np.broadcast_to(heavy[:, None], shape)
    heavy = np.ascontiguousarray(heavy, np.float64)
    if not np.all((heavy >= 0) & (heavy < np.inf)):
        raise InputError("weights must be finite and not negative")
    return heavy


def _alike(values: ArrayLike, x: Array, view: Array, axis: Axis, name: str) -> Array:
    """Return an array of the shape of x, or of its reduced axes, in the shape of the view of x."""
    array = _checks.to_numpy(values, name)
    if array.shape == x.shape:
        return _checks.reduced_first(array, axis, name)[0]
    reduced = _checks.reduced_first(x, axis)[1]
    if array.shape != view.shape[:reduced]:
        raise InputError(
            f"{name} must have the shape of x or of its reduced axes, got {array.shape}"
        )
    spread = array.reshape(array.shape + (1,) * (view.ndim - reduced))
    return np.broadcast_to(spread, view.shape)
