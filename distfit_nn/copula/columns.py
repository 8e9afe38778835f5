"""What every measure of dependence does first: check the columns, rank them, share out the work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.maxent.solution import Status

Array = NDArray[np.float64]
Seed = np.random.Generator | int | None

BLOCK = 1 << 22  # numbers that are worked on at once: 32 MB of float64


def checked(x: ArrayLike) -> NDArray[Any]:
    """Return x as (n, d) with n and d at least 1; (n,) is one column."""
    columns, _ = _checks.as_columns(x)
    if columns.shape[0] == 0:
        raise InputError(f"x must have at least one row, got shape {columns.shape}")
    return columns


def generator(random_state: Seed) -> np.random.Generator:
    """Return a generator, from one or from its seed."""
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        raise InputError(f"random_state must be a Generator or a seed: {error}") from None


def status_of(x: NDArray[Any]) -> NDArray[np.int8]:
    """Return INVALID for columns with NaN, DEGENERATE for constant ones, else OK."""
    status = np.full(x.shape[1], Status.OK, np.int8)
    status[(x == x[:1]).all(axis=0)] = Status.DEGENERATE
    if x.dtype.kind == "f":
        status[np.isnan(x).any(axis=0)] = Status.INVALID
    return status


def centred_ranks(x: NDArray[Any]) -> Array:
    """Return the mid-ranks of each column less their mean: exact multiples of 1/2, sum 0.

    Columns with NaN become 0.
    """
    from scipy.stats import rankdata

    with np.errstate(invalid="ignore"):
        ranks = np.asarray(rankdata(x, axis=0), np.float64)
    ranks -= (len(x) + 1) / 2
    ranks[:, np.isnan(ranks).any(axis=0)] = 0.0
    return ranks


def scores(below: Array, above: Array) -> Array:
    """Return Phi^{-1}(below / (below + above)), each half computed from its own tail.

    Exchange of the two changes the sign and nothing else.
    """
    from scipy.special import ndtri

    size = ndtri(np.minimum(below, above) / (below + above))
    return np.asarray(np.where(below < above, size, -size))


def hard_scores(x: NDArray[Any]) -> Array:
    """Return the normal scores Phi^{-1}(r / n) of the mid-ranks r, counted from 1/2, by column.

    Columns with NaN become 0, as constant ones are.
    """
    ranks, half = centred_ranks(x), len(x) / 2
    return scores(half + ranks, half - ranks)


def unit_columns(z: Array) -> Array:
    """Centre the columns of z and give them the mean square 1, in place; zeros stay."""
    z -= z.mean(axis=0)
    size = np.sqrt(np.einsum("ij,ij->j", z, z) / len(z))
    z /= np.where(size > 0, size, 1.0)
    return z


def threads() -> int:
    """Return how many threads Numba is set to use; it need not be imported to know."""
    numba = sys.modules.get("numba")
    return int(numba.get_num_threads()) if numba is not None else os.cpu_count() or 1


def spread(task: Callable[[Any], None], parts: Iterable[Any], workers: int) -> None:
    """Call a task with every part, in so many threads."""
    if workers == 1:
        for part in parts:
            task(part)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(task, parts))
