"""Moments up to order 6, in one pass over the data, mergeable over batches and shards."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.stats import moments_kernel as kernel
from distfit_nn.stats.rows import Axis, Float, Int

_BUFFER_ROWS = 512  # rows of up to 64 values that are brought to float64 at once: 256 kB
_SLAB = 1 << 20  # values that are copied at once where axes must be brought together
_SMALLEST_POWER = 1e-290  # below it, sums of powers have lost digits to underflow


@dataclass(frozen=True, eq=False)
class Moments:
    """Counts, extremes and central power sums of the columns of an array.

    With x_1, ..., x_n the finite values of a column and m their mean, ``power_sums[r - 2]`` is the
    sum of (x_i - m)**r, for r = 2, ..., 6. Every attribute has the shape of the kept axes
    (`power_sums` has one axis more, of length 5, in front); NaN and infinite values are counted
    and otherwise left out.

    ===================  ============  ===================  =====================
    column               mean          std                  skewness, kurtosis
    ===================  ============  ===================  =====================
    no finite value      NaN           NaN                  NaN
    one value            the value     0                    NaN
    n equal values       the value     exactly 0            NaN
    powers overflow      as computed   as computed          NaN from that order
    powers underflow     as computed   as computed          NaN from that order
    ===================  ============  ===================  =====================

    In units of the data a power r of the standard deviation must lie between 1e-290 and 1.8e308
    for `standardised(r)`; a standard deviation below 1e-162 is 0.
    """

    n: Int
    mean: Float
    power_sums: Float
    minimum: Float
    maximum: Float
    zero_count: Int
    nan_count: Int
    inf_count: Int

    @property
    def var(self) -> Float:
        """Variance of the sample, the mean of (x - mean)**2 (ddof = 0)."""
        return self.central(2)

    @property
    def std(self) -> Float:
        """Standard deviation of the sample (ddof = 0), in units of x."""
        return np.sqrt(self.var)

    @property
    def skewness(self) -> Float:
        """Skewness g1 of the sample: `standardised(3)`; no bias correction."""
        return self.standardised(3)

    @property
    def kurtosis(self) -> Float:
        """Excess kurtosis g2 of the sample: `standardised(4)` - 3; no bias correction."""
        return self.standardised(4) - 3.0

    @property
    def zero_fraction(self) -> Float:
        """Share of the finite values that are exactly 0; NaN where there is none."""
        with np.errstate(invalid="ignore"):
            return np.true_divide(self.zero_count, self.n)

    def central(self, r: int) -> Float:
        """Mean of (x - mean)**r, r = 0, ..., 6; NaN where there is no finite value."""
        order = _order(r)
        sums = self.power_sums[order - 2] if order >= 2 else self.n * float(order == 0)
        with np.errstate(invalid="ignore"):
            return np.true_divide(sums, self.n)

    def raw(self, r: int) -> Float:
        """Mean of x**r, r = 0, ..., 6, from the central moments by the binomial theorem."""
        order = _order(r)
        with np.errstate(over="ignore", invalid="ignore"):
            terms = [
                math.comb(order, k) * self.central(order - k) * self.mean**k
                for k in range(order + 1)
            ]
            return np.sum(terms, axis=0)

    def standardised(self, r: int) -> Float:
        """Mean of ((x - mean) / std)**r, r = 0, ..., 6; NaN for a constant column."""
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            scale = self.std ** _order(r)
            ratio = self.central(r) / scale
            sound = (self.std > 0) & (scale >= _SMALLEST_POWER) & np.isfinite(ratio)
        return np.where(sound, ratio, np.nan)[()]

    def merge(self, other: Moments) -> Moments:
        """Return the moments of the two sets of data together.

        The formulas of Chan, Golub and LeVeque (1983) and Pébay (2008); up to rounding the result
        is that of one call with all data.

        Raises
        ------
        InputError
            If the shapes of the columns differ.
        """
        if np.shape(self.n) != np.shape(other.n):
            raise InputError(
                f"moments to merge must have one shape, got {np.shape(self.n)} "
                f"and {np.shape(other.n)}"
            )
        state = _to_state(self)
        kernel.merge(state, _to_state(other), state.shape[1])
        return _from_state(state, np.shape(self.n))

    def __add__(self, other: Moments) -> Moments:
        return self.merge(other) if isinstance(other, Moments) else NotImplemented


def moments(x: ArrayLike, axis: Axis = 0) -> Moments:
    """Measure the moments of x over `axis`, up to order 6, in one pass.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        Any floating, integer or boolean dtype; the sums are float64. No copy of the whole is
        made where the kept axes are the last ones; otherwise about a million values at a time,
        or one index of the first reduced axis, are copied.
    axis : int, tuple of ints or None, default 0
        The axes to reduce, as in NumPy; None is all of them.

    Returns
    -------
    Moments
        With attributes of the shape of the kept axes.

    Raises
    ------
    InputError
        If x is not an array of real numbers or `axis` does not name axes of it.

    Notes
    -----
    Blocks of rows that stay in the cache are centred on their own mean, summed, and merged
    (P. Pébay, Formulas for robust, one-pass parallel computation of covariances and
    arbitrary-order statistical moments, Sandia report SAND2008-6212, 2008). All differences are
    taken from the first finite value of the column, so a large common offset costs no digits.
    """
    view, reduced = _checks.reduced_first(_checks.to_numpy(x), axis)
    kept = view.shape[reduced:]
    return _from_state(_accumulate(_slabs(view, reduced), math.prod(kept)), kept)


def skewness(x: ArrayLike, axis: Axis = 0) -> Float:
    """Skewness g1 of x over `axis`: see `Moments.skewness` and, for x and axis, `moments`."""
    return moments(x, axis).skewness


def kurtosis(x: ArrayLike, axis: Axis = 0) -> Float:
    """Excess kurtosis g2 of x over `axis`: see `Moments.kurtosis` and, for x, `moments`."""
    return moments(x, axis).kurtosis


def _order(r: int) -> int:
    return int(_checks.one_of(r, tuple(range(kernel.ORDER + 1)), "r"))


def _slabs(view: NDArray[Any], reduced: int) -> Iterator[NDArray[Any]]:
    """Cut the reduced axes into pieces of shape (n, d), views where the strides allow it."""
    rows, columns = math.prod(view.shape[1:reduced]), math.prod(view.shape[reduced:])
    step = max(1, _SLAB // max(1, rows * columns))
    for start in range(0, view.shape[0], step):
        piece = view[start : start + step]
        yield piece.reshape(len(piece) * rows, columns)


def _accumulate(slabs: Iterator[NDArray[Any]], columns: int) -> Float:
    """Return the state of all columns, tile by tile.

    Few columns are folded: `fold` rows in a row make one row of the tile, to fill its width.
    """
    tiles = range(0, columns, kernel.WIDTH)
    states = [kernel.new_state() for _ in tiles]
    fold = max(1, kernel.WIDTH // max(columns, 1))
    buffer = np.empty(_BUFFER_ROWS * kernel.WIDTH)
    for slab in slabs:
        for state, start in zip(states, tiles, strict=True):
            _add_tile(state, slab[:, start : start + kernel.WIDTH], fold, buffer)
    if not states:
        return kernel.new_state(0)
    _unfold(states[0], fold, columns)
    return np.concatenate(states, axis=1)[:, :columns]


def _add_tile(state: Float, tile: NDArray[Any], fold: int, buffer: Float) -> None:
    width = fold * tile.shape[1]
    for start in range(0, len(tile), _BUFFER_ROWS * fold):
        rows = tile[start : start + _BUFFER_ROWS * fold]
        flat = buffer[: rows.size]
        with np.errstate(over="ignore"):  # a long double may become inf: counted as such
            np.copyto(flat.reshape(rows.shape), rows, casting="same_kind")
        whole = rows.size - rows.size % width
        kernel.update(state, flat[:whole].reshape(-1, width))
        if whole < rows.size:
            kernel.update(state, flat[whole:].reshape(1, -1))


def _unfold(state: Float, fold: int, columns: int) -> None:
    """Merge the folded columns by halves; the result is in the first `columns` of the state."""
    while fold > 1:
        half = (fold + 1) // 2
        other = np.ascontiguousarray(state[:, half * columns : fold * columns])
        kernel.merge(state, other, other.shape[1])
        fold = half


def _from_state(state: Float, shape: tuple[int, ...]) -> Moments:
    def line(number: int) -> Float:
        return state[number].reshape(shape)[()]

    def count(number: int) -> Int:
        return state[number].astype(np.int64).reshape(shape)[()]

    def where_any(values: Float) -> Float:
        return np.where(line(kernel.COUNT) > 0, values, np.nan)[()]

    return Moments(
        n=count(kernel.COUNT),
        mean=where_any(line(kernel.ORIGIN) + line(kernel.SHIFT)),
        power_sums=state[kernel.SUM2 :].reshape(kernel.ORDER - 1, *shape),
        minimum=where_any(line(kernel.MINIMUM)),
        maximum=where_any(line(kernel.MAXIMUM)),
        zero_count=count(kernel.ZEROS),
        nan_count=count(kernel.NANS),
        inf_count=count(kernel.INFS),
    )


def _to_state(m: Moments) -> Float:
    state = kernel.new_state(np.size(m.n))
    lines = {
        kernel.COUNT: m.n,
        kernel.NANS: m.nan_count,
        kernel.INFS: m.inf_count,
        kernel.ZEROS: m.zero_count,
        kernel.MINIMUM: np.where(m.n > 0, m.minimum, np.inf),
        kernel.MAXIMUM: np.where(m.n > 0, m.maximum, -np.inf),
        kernel.ORIGIN: np.where(m.n > 0, m.mean, 0.0),
    }
    for number, values in lines.items():
        state[number] = np.ravel(values)
    state[kernel.SUM2 :] = m.power_sums.reshape(kernel.ORDER - 1, -1)
    return state
