"""Fits of NumPy arrays: check, standardise, solve, and gather the columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn._checks import as_columns, one_of, to_numpy
from distfit_nn._threads import threads
from distfit_nn.errors import InputError
from distfit_nn.maxent import problem as problems
from distfit_nn.maxent import reference, strategy
from distfit_nn.maxent.density import Density
from distfit_nn.maxent.problem import MAX_ORDER, Column, Standardised, Support
from distfit_nn.maxent.sample_moments import SampleMoments
from distfit_nn.maxent.solution import Solution, Status

Array = NDArray[np.float64]


def _numba() -> strategy.Minimiser:
    from distfit_nn.maxent import numba_kernel  # importing numba takes a third of a second

    return numba_kernel.minimise


def _numpy() -> strategy.Minimiser:
    return reference.minimise


BACKENDS: dict[str, Callable[[], strategy.Minimiser]] = {
    "auto": _numba,
    "numba": _numba,
    "numpy": _numpy,
}


def fit(
    x: Any,
    order: int,
    support: Support,
    *,
    weights: Any = None,
    backend: str = "auto",
    nan_policy: str = "propagate",
) -> Density:
    """Fit densities to the columns of an array; see `distfit_nn.maxent.fit`."""
    minimise = BACKENDS[one_of(backend, tuple(BACKENDS), "backend")]()
    order = problems.check_order(order)
    omit = one_of(nan_policy, ("propagate", "omit"), "nan_policy") == "omit"
    columns, single = as_columns(x)
    if columns.shape[0] == 0:
        raise InputError(f"x must have at least one row, got shape {columns.shape}")
    given = problems.from_samples(columns, order, support, omit, weights, threads())
    return Density(_solve(given, minimise), given.loc, given.scale, single)


def fit_summary(found: SampleMoments, order: int, column: Column) -> Density:
    """Fit densities to columns that are known by a summary; see `problem.from_summary`.

    The support is the default of `distfit_nn.maxent.fit`, three times the range.
    """
    given = problems.from_summary(found, order, 3.0, column)
    return Density(_solve(given, _numba()), given.loc, given.scale, False)


def fit_moments(m: Any, support: tuple[float, float], *, backend: str = "auto") -> Density:
    """Fit densities to raw moments in an array; see `distfit_nn.maxent.fit_moments`."""
    minimise = BACKENDS[one_of(backend, tuple(BACKENDS), "backend")]()
    raw = to_numpy(m, "m")
    check_moments(raw.shape)
    ends = check_ends(support)
    with np.errstate(over="ignore"):  # a long double may become inf: an INVALID column
        columns = raw.reshape(len(raw), -1).astype(np.float64)
    given = problems.from_moments(columns, ends)
    nothing = np.full(columns.shape[1], np.nan)
    solution = replace(_solve(given, minimise), data_lower=nothing, data_upper=nothing)
    return Density(solution, given.loc, given.scale, raw.ndim == 1)


def check_moments(shape: tuple[int, ...]) -> None:
    """Raise unless raw moments have the shape (k,) or (k, d)."""
    if len(shape) not in (1, 2) or not 1 <= shape[0] <= MAX_ORDER or 0 in shape:
        raise InputError(
            f"m must have shape (k,) or (k, d) with k from 1 to {MAX_ORDER}, got {shape}"
        )


def check_ends(support: Support) -> tuple[float, float]:
    """Return the support if it is a pair (a, b), as moments need it."""
    ends = problems.check_support(support)
    if not isinstance(ends, tuple):
        raise InputError(f"moments need a support (a, b), got {support!r}")
    return ends


def _solve(given: Standardised, minimise: strategy.Minimiser) -> Solution:
    """Solve the columns that have a density; leave NaN in the others."""
    solvable = given.status == Status.OK
    if solvable.all():
        return strategy.solve(given.problem, given.rule, minimise, threads())
    solution = Solution.empty(len(given.problem.targets), given.status)
    if solvable.any():
        place = np.flatnonzero(solvable)
        part = strategy.solve(
            given.problem[solvable], lambda j: given.rule(int(place[j])), minimise, threads()
        )
        solution.write(solvable, part)
    return solution
