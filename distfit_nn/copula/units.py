"""What every measure of dependence does first: check the units, rank them, share out the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn._threads import threads
from distfit_nn.copula import columns as engine
from distfit_nn.copula import scores
from distfit_nn.copula.arguments import array_columns
from distfit_nn.errors import InputError
from distfit_nn.maxent.solution import Status
from distfit_nn.targets.arrays import Normal

Array = NDArray[np.float64]
Seed = np.random.Generator | np.random.RandomState | int | None

BLOCK = 1 << 22  # numbers that are worked on at once: 32 MB of float64


def checked(x: ArrayLike, name: str = "x") -> NDArray[Any]:
    """Return x as (n, d) with n and d at least 1; (n,) is one unit."""
    units, _ = _checks.as_columns(x, name)
    if units.shape[0] == 0:
        raise InputError(f"{name} must have at least one row, got shape {units.shape}")
    return units


def generator(random_state: Seed) -> np.random.Generator:
    """Return a generator, from one or from its seed."""
    if isinstance(random_state, (bool, np.bool_)):
        raise InputError(f"random_state must be a Generator or a seed, got {random_state}")
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(1 << 32, size=4, dtype=np.uint32))
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
    """Return the mid-ranks of each column less their mean: multiples of 1/2; 0 beside NaN."""
    n = len(x)
    return _ranked(x, np.arange(1 - n, n) / 2)


def hard_scores(x: NDArray[Any]) -> Array:
    """Return the normal scores Phi^{-1}(r / n) of the mid-ranks of each column; 0 beside NaN."""
    return _ranked(x, scores.table(Normal(), len(x)))


def reference_scores(x: NDArray[Any], reference: Array) -> Array:
    """Return Phi^{-1}((below + 1/2) / (m + 1)), with so many of m sorted values below each of x.

    Equal ones count half.
    """
    n, d = x.shape
    table = scores.table(Normal(), len(reference) + 1)
    columns = np.empty((d, n))

    def score(j: int) -> None:
        values, sample = np.ascontiguousarray(x[:, j]), np.ascontiguousarray(reference[:, j])
        place = np.searchsorted(sample, values, "left")
        place += np.searchsorted(sample, values, "right")
        columns[j] = table[place]

    spread(score, range(d))
    return columns.T


def unit_columns(z: Array) -> Array:
    """Centre the columns of z and give them the mean square 1, in place; zeros stay."""
    z -= z.mean(axis=0)
    size = np.sqrt(np.einsum("ij,ij->j", z, z) / len(z))
    z /= np.where(size > 0, size, 1.0)
    return z


def spread(task: Callable[[Any], None], parts: Iterable[Any]) -> None:
    """Call a task with every part, in as many threads as there are to use."""
    with ThreadPoolExecutor(threads()) as pool:
        list(pool.map(task, parts))


def _ranked(x: NDArray[Any], table: Array) -> Array:
    """Return, for each value, table[2 r - 1] at its mid-rank r, from 1/2 to n - 1/2."""
    columns, _, _ = array_columns(x, 0, by_order=True)
    (out,) = engine.hard_scores(columns.astype(np.float64, copy=False), [table])
    out[:, np.isnan(out[0])] = 0.0  # the ranks of a column with NaN are all NaN
    return out
