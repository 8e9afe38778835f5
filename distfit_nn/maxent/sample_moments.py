"""What the data gives a fit: range, distinct values, mean, deviation and Hermite means.

Values are read where they lie, in blocks, and never copied as a whole. Nearly every column is done
in one pass, with a provisional centre and unit from some of its rows; columns with weights, with
values that are left out, or whose provisional centre was a bad guess, take three.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Array = NDArray[np.float64]
Values = NDArray[np.generic]

SAMPLE = 128  # rows that the provisional centre and unit are taken from
COLUMNS = 4096  # columns whose sums are held at once
SHARES, NARROW = 4, 512  # shares of columns for each thread, and columns that a share is worth
BLOCK = 1 << 15  # values that are converted at once, where they cannot be read as they lie
CAREFUL = 256  # columns that are done in three passes at once
WORTH_A_THREAD = 1 << 20  # values


@dataclass(frozen=True, eq=False)
class SampleMoments:
    """What is known of d columns.

    Attributes
    ----------
    usable : (d,) bool
        False where the column has no values of its own, or (unless they are omitted) NaN or inf.
        What follows has no meaning there.
    low, high : (d,)
        Range of the values.
    distinct : (d,) int64
        Number of distinct values, counted up to the limit that was asked for.
    mean, std : (d,)
        The latter with divisor n, or the sum of the weights, about `mean` as it is rounded.
    hermite : (order, d)
        Means of h_1, ..., h_order of z = (x - mean) / std; NaN where std is 0.
    """

    usable: NDArray[np.bool_]
    low: Array
    high: Array
    distinct: NDArray[np.int64]
    mean: Array
    std: Array
    hermite: Array

    @classmethod
    def empty(cls, order: int, columns: int) -> SampleMoments:
        """Return the moments of columns that have no values."""
        low, high, mean, std = (np.full(columns, np.nan) for _ in range(4))
        return cls(
            np.zeros(columns, bool),
            low,
            high,
            np.zeros(columns, np.int64),
            mean,
            std,
            np.full((order, columns), np.nan),
        )

    def part(self, where: slice | NDArray[np.intp]) -> SampleMoments:
        """Return some of the columns, as views where `where` is a slice."""
        return SampleMoments(*(value[..., where] for value in vars(self).values()))

    def put(self, where: NDArray[np.intp], other: SampleMoments) -> None:
        """Set the columns `where` to those of `other`."""
        for name, value in vars(self).items():
            value[..., where] = getattr(other, name)


def sample_moments(
    x: Values,
    order: int,
    weights: Values | None = None,
    omit: bool = False,
    limit: int = 2,
    threads: int = 1,
) -> SampleMoments:
    """Return the moments of the columns of x (n, d), n > 0, in float64.

    Parameters
    ----------
    x : (n, d)
        Any real dtype and memory layout; each value is taken as float64.
    order : int
        Number of Hermite means, 1 to 12.
    weights : (n,) or (n, d), optional
        Finite, not negative. A value of weight 0 is as if it were not there.
    omit : bool
        Leave out NaN and inf; else a column that has any is not usable.
    limit : int
        Distinct values are counted up to this.
    threads : int
        Columns, or rows where there are few columns, are shared out among so many threads where
        there are many values.
    """
    out = SampleMoments.empty(order, x.shape[1])
    threads = max(1, min(threads, x.size // WORTH_A_THREAD))
    width = min(COLUMNS, -(-x.shape[1] // (SHARES * threads)))
    if threads == 1 or width < NARROW:
        width, of_columns, of_rows = COLUMNS, 1, threads
    else:
        of_columns, of_rows = threads, 1

    def some(first: int) -> None:
        columns = slice(first, first + width)
        part = out.part(columns)
        left = np.arange(len(part.mean))
        if weights is None:
            left = _quick(x[:, columns], order, limit, of_rows, part)
        for j in range(0, len(left), CAREFUL):
            these = left[j : j + CAREFUL]
            part.put(these, _careful(x, weights, first + these, order, omit, limit))

    _spread(some, range(0, x.shape[1], width), of_columns)
    return out


def _spread(task: Callable[[int], None], numbers: range, threads: int) -> None:
    """Call a task with every number."""
    if threads == 1:
        for number in numbers:
            task(number)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(task, numbers))


def _quick(x: Values, order: int, limit: int, threads: int, out: SampleMoments) -> NDArray[np.intp]:
    """Do all columns in one pass; return which are to be done again."""
    from distfit_nn.maxent import moments_kernel as kernel

    rows, columns = x.shape
    state = np.empty((kernel.LINES, columns))
    some = x[:: max(1, rows // SAMPLE)][:SAMPLE]
    with np.errstate(over="ignore"):
        kernel.provisional(np.array(some, _plain_dtype(x.dtype), order="C"), state)
    edges = [rows * i // threads for i in range(threads + 1)]
    states = [state] + [state.copy() for _ in range(threads - 1)]

    def add(i: int) -> None:
        for flat, shape, strides in _readable(x[edges[i] : edges[i + 1]]):
            kernel.accumulate(flat, *shape, *strides, max(order, 2), states[i])

    _spread(add, range(threads), threads)
    for other in states[1:]:
        np.minimum(state[kernel.LOW], other[kernel.LOW], out=state[kernel.LOW])
        np.maximum(state[kernel.HIGH], other[kernel.HIGH], out=state[kernel.HIGH])
        state[kernel.SUMS :] += other[kernel.SUMS :]
    refused = kernel.standardise(
        state,
        np.full(columns, float(rows)),
        to_hermite(order),
        kernel.NEAR,
        kernel.SMALL,
        out.mean,
        out.std,
        out.hermite,
    )
    out.low[:], out.high[:] = state[kernel.LOW], state[kernel.HIGH]
    out.usable[:] = True
    left = np.flatnonzero(np.isnan(out.std)) if refused else np.empty(0, np.intp)
    out.distinct[left] = limit  # not to be counted now
    out.distinct[out.low == out.high] = 1
    seen = np.empty((columns, limit))
    for flat, shape, strides in _readable(x):
        if not kernel.count_distinct(flat, *shape, *strides, out.low, out.high, seen, out.distinct):
            break
    return left


def _careful(
    x: Values, weights: Values | None, columns: NDArray[np.intp], order: int, omit: bool, limit: int
) -> SampleMoments:
    """Do a few columns in three passes: range and distinct values, mean, moments about it."""
    from distfit_nn.maxent import moments_kernel as kernel

    out = SampleMoments.empty(order, len(columns))
    bad = np.zeros(len(columns), bool)
    heaviest = np.zeros(len(columns))
    out.low[:], out.high[:] = np.inf, -np.inf
    seen = np.full((len(columns), limit), np.nan)
    for values, share, finite in _weighted_blocks(x, weights, columns):
        bad |= ~finite
        kernel.describe(values, share, seen, heaviest, out.low, out.high)
    out.usable[:] = (heaviest > 0) & (omit | ~bad)
    out.low[~out.usable] = out.high[~out.usable] = 0.0
    out.distinct[:] = (~np.isnan(seen)).sum(axis=1)

    state = np.zeros((kernel.LINES, len(columns)))
    state[kernel.LOW], state[kernel.HIGH] = out.low, out.high
    middle, reach = out.low / 2 + out.high / 2, out.high / 2 - out.low / 2
    unit = power_of_two(np.where(reach > 0, reach, np.maximum(np.abs(out.low), np.abs(out.high))))
    state[kernel.CENTRE], state[kernel.INVERSE] = middle / unit, 1 / unit
    lighter = 1 / power_of_two(heaviest)
    total = np.ones(len(columns))
    for powers in (1, max(order, 2)):
        state[kernel.CENTRE] += state[kernel.SUMS] / total
        state[kernel.SUMS :] = 0.0
        total = np.zeros(len(columns))
        for values, share, _ in _weighted_blocks(x, weights, columns):
            share *= lighter
            kernel.accumulate_weighted(values, share, powers, state, total)
        total[~out.usable] = 1.0
    state[kernel.SUMS :, ~out.usable] = 0.0
    kernel.standardise(state, total, to_hermite(order), np.inf, 0.0, out.mean, out.std, out.hermite)
    return out


def power_of_two(size: Array) -> Array:
    """Return the largest power of two up to `size`, 1 for 0, that has a finite reciprocal."""
    exponent = np.frexp(np.where(size > 0, size, 1.0))[1] - 1
    return np.asarray(np.ldexp(1.0, np.maximum(exponent, -1022)))


@cache
def to_hermite(order: int) -> Array:
    """Return the matrix (order, order + 1) that takes z^0, ..., z^order to h_1, ..., h_order."""
    he = np.eye(order + 1)  # the coefficients of He_i are whole numbers
    for i in range(1, order):
        he[i + 1] = np.roll(he[i], 1) - i * he[i - 1]
    return he[1:] / np.sqrt([[float(math.factorial(i))] for i in range(1, order + 1)])


def _plain_dtype(dtype: np.dtype[np.generic]) -> type[np.floating]:
    """Return the type, of the two that kernels read, that holds all values of a dtype."""
    return np.float32 if np.can_cast(dtype, np.float32) else np.float64


def _readable(
    x: Values,
) -> Iterator[tuple[Values, tuple[int, int], tuple[int, int]]]:
    """Yield blocks of rows of x as (memory, shape, strides), which may be all of it as it lies.

    memory is contiguous and read only, of float32 or float64; strides count values and one of them
    is 1. The order of rows is of no interest.
    """
    size = x.itemsize
    if x.strides[0] < 0:
        x = x[::-1]
    down, across = x.strides
    plain = x.dtype in (np.float32, np.float64) and x.dtype.isnative and x.flags.aligned
    if (
        plain
        and size in (down, across)
        and min(down, across) >= 0
        and down % size == across % size == 0
    ):
        strides = (down // size, across // size)
        extent = 1 + sum((m - 1) * stride for m, stride in zip(x.shape, strides, strict=True))
        yield as_strided(x, (extent,), (size,), writeable=False), x.shape, strides
        return
    step = max(1, BLOCK // x.shape[1])
    for i in range(0, len(x), step):
        with np.errstate(over="ignore"):  # a long double may become inf
            block = np.array(x[i : i + step], _plain_dtype(x.dtype), order="C")
        shape = block.shape
        block = block.reshape(-1)
        block.flags.writeable = False
        yield block, shape, (shape[1], 1)


def _weighted_blocks(
    x: Values, weights: Values | None, columns: NDArray[np.intp]
) -> Iterator[tuple[Array, Array, NDArray[np.bool_]]]:
    """Yield blocks of rows of some columns: values, their weights, and which are all finite.

    A value that is not finite has weight 0; only those that had a weight make a column not finite.
    """
    step = max(1, BLOCK // len(columns))
    for i in range(0, len(x), step):
        with np.errstate(over="ignore"):
            values = np.take(x[i : i + step], columns, axis=1).astype(np.float64)
        share = np.ones(values.shape)
        if weights is not None:
            own = np.asarray(weights[i : i + step], np.float64)
            share *= own[:, None] if own.ndim == 1 else own[:, columns]
        lost = ~np.isfinite(values) & (share > 0)
        share[lost] = 0.0
        yield values, share, np.logical_not(np.any(lost, axis=0))
