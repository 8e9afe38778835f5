"""Columns of an array taken in batches through the compiled kernels, by several threads.

What differentiates goes through three functions, on float32 or float64 arrays (n, d) of any
strides, n, d >= 1, with `strength` float64 (d,), positive and finite:

    below, above, *kept = soft_counts(x, strength, BOTH, keep=True)      # or BELOW: below, *kept
    scores, *kept = soft_counts(x, strength, NORMAL, keep=True)
    dx, dstrength = soft_slopes(Sorted(*kept), strength, g)              # g: by below less by above
    dx, dstrength = soft_slopes(Sorted(*kept), strength, g, scores)      # g: by the scores

Outputs and `dx` are (n, d) of x's dtype, C-contiguous; `dstrength` is float64 (d,). What is kept,
(d, n) values, (d, n) int32 or int64 places and (d,) flags, is not changed by `soft_slopes`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distfit_nn.copula import hard_kernel, rank_kernel, slope_kernel, sort_kernel
from distfit_nn.copula.logistic_sum import logistic_sum
from distfit_nn.copula.rank_kernel import BELOW, BOTH, NORMAL, PIECE
from distfit_nn.copula.sweep_kernel import LANES

__all__ = ["BELOW", "BOTH", "NORMAL", "Sorted", "hard_scores", "soft_counts", "soft_slopes"]

Array = NDArray[Any]

BATCH = 1 << 17  # values that one task works on: with their keys they stay in the cache
WORTH_A_THREAD = 1 << 16  # values below which a second thread takes longer to start than to work
TERMS = {np.dtype(np.float32): 10, np.dtype(np.float64): 12}


class Sorted(NamedTuple):
    """Columns in order, each a row: values (d, n), the rows they came from, and which hold NaN."""

    values: Array
    order: Array
    bad: NDArray[np.bool_]


def threads() -> int:
    """Return how many threads Numba is set to use."""
    numba = sys.modules.get("numba")
    return int(numba.get_num_threads()) if numba is not None else os.cpu_count() or 1


def in_batches(n: int, d: int, task: Callable[[int, int], None], workers: int) -> None:
    """Call task(first, last) for batches of columns, several at a time."""
    width = max(1, BATCH // max(n, 1))
    if width > LANES:
        width -= width % LANES
    workers = min(workers, -(-d // LANES)) if n * d >= WORTH_A_THREAD else 1
    if workers > 1:
        width = min(width, -(-d // (LANES * workers)) * LANES)
    width = max(width, min(d, LANES))
    starts = range(0, d, width)
    if workers > 1 and len(starts) > 1:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda first: task(first, min(first + width, d)), starts))
    else:
        for first in starts:
            task(first, min(first + width, d))


def coefficients(dtype: Any, slopes: bool = False) -> tuple[float, ...]:
    """Return the coefficients of the logistic function, or those of its slope, for a dtype."""
    found = logistic_sum(TERMS[np.dtype(dtype)]).coefficients
    return tuple(k * c for k, c in enumerate(found, 1)) if slopes else found


def workspace(n: int, terms: int, weighted: bool = False) -> tuple[Array, ...]:
    """Return the arrays that the kernel works in."""
    rows = min(n, PIECE)
    states = 2 * terms if weighted else terms
    blocks = [np.empty((rows, LANES)) for _ in range(3)]
    state = [np.empty((states, LANES)) for _ in range(3)]
    return (
        *blocks,
        np.empty(LANES),
        np.empty((LANES, 3), np.int64),
        *state,
        np.empty((terms, LANES)),
        np.empty((-(-n // PIECE), states, LANES)),
    )


def empty_sorted(n: int, d: int, dtype: Any) -> Sorted:
    """Return room for d sorted columns of n values."""
    index = np.int32 if n < 2**31 else np.int64
    return Sorted(np.empty((d, n), dtype), np.empty((d, n), index), np.empty(d, np.bool_))


def sort_columns(x: Array, first: int, into: Sorted) -> None:
    """Sort columns first, first + 1, ... of x (n, d), float32 or float64."""
    m, n = into.values.shape
    keys = np.empty((m, n), np.uint64)
    sort_kernel.copy_columns(x, first, into.values)
    if x.dtype == np.float32:
        sort_kernel.keys32(into.values, keys, into.bad)
        keys.sort(axis=1)
        sort_kernel.sorted32(into.values, keys, into.order)
        return
    bits = max(n - 1, 1).bit_length()
    failed = np.empty(m, np.bool_)
    columns = into.values.copy()
    sort_kernel.keys64(columns, bits, keys, into.bad)
    keys.sort(axis=1)
    sort_kernel.sorted64(columns, bits, keys, into.order, into.values, failed)
    for j in np.flatnonzero(failed & ~into.bad):
        into.order[j] = np.argsort(columns[j])
        into.values[j] = columns[j, into.order[j]]


def soft_counts(x: Array, strength: Array, mode: int, keep: bool) -> tuple[Array, ...]:
    """Return counts or scores (n, d) of columns, as `rank_kernel.soft_counts` has them.

    With `keep`, what `soft_slopes` needs follows: the three parts of `Sorted`.
    """
    n, d = x.shape
    strength = np.array(strength, np.float64)  # of one layout: another would be compiled anew
    factors = coefficients(x.dtype)
    outs = [np.empty((n, d), x.dtype) for _ in range(2 if mode == BOTH else 1)]
    kept = empty_sorted(n, d, x.dtype) if keep else None

    def task(first: int, last: int) -> None:
        m = last - first
        if kept is None:
            inside = empty_sorted(n, m, x.dtype)
        else:
            inside = Sorted(*(part[first:last] for part in kept))
        sort_columns(x, first, inside)
        rows = [np.empty((m, n), x.dtype) for _ in outs]
        rank_kernel.soft_counts(
            inside.values,
            strength[first:last],
            inside.order,
            inside.bad,
            factors,
            mode,
            workspace(n, len(factors)),
            rows[0],
            rows[-1],
        )
        for row, out in zip(rows, outs, strict=True):
            sort_kernel.copy_back(row, first, out)

    in_batches(n, d, task, threads())
    return (*outs, *(kept or ()))


def soft_slopes(
    kept: Sorted, strength: Array, gradient: Array, scores: Array | None = None
) -> tuple[Array, Array]:
    """Return the gradients with respect to x (n, d) and strength (d,).

    `gradient` (n, d) is that with respect to the counts below, less that with respect to those
    above; or, with the `scores` that mode NORMAL returned, that with respect to the scores.
    """
    d, n = kept.values.shape
    strength = np.array(strength, np.float64)
    factors = coefficients(kept.values.dtype, slopes=True)
    dx = np.empty((n, d), kept.values.dtype)
    dstrength = np.empty(d)

    def task(first: int, last: int) -> None:
        values, order, bad = (part[first:last] for part in kept)
        rows = np.empty_like(values)
        given = np.empty_like(values)
        means, halves = np.empty(last - first), np.empty(last - first)
        work = workspace(n, len(factors), weighted=True)
        sort_kernel.copy_columns(gradient, first, given)
        if scores is not None:
            sort_kernel.copy_columns(scores, first, rows)
            slope_kernel.through_scores(given, rows, work)
        slope_kernel.centre(given, means)
        slope_kernel.soft_slopes(
            values,
            strength[first:last],
            order,
            bad,
            given,
            means,
            factors,
            work,
            rows,
            halves,
            dstrength[first:last],
        )
        sort_kernel.copy_back(rows, first, dx)

    in_batches(n, d, task, threads())
    return dx, dstrength


def hard_scores(x: Array, tables: list[Array]) -> list[Array]:
    """Return, for each table (2 n - 1,), its entries 2 r - 1 at the mid-ranks r of x (n, d)."""
    n, d = x.shape
    outs = [np.empty((n, d), x.dtype) for _ in tables]

    def task(first: int, last: int) -> None:
        inside = empty_sorted(n, last - first, x.dtype)
        sort_columns(x, first, inside)
        rows = np.empty(inside.values.shape, x.dtype)
        for table, out in zip(tables, outs, strict=True):
            hard_kernel.look_up(*inside, table, rows)
            sort_kernel.copy_back(rows, first, out)

    in_batches(n, d, task, threads())
    return outs
