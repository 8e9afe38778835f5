"""`fit` and `fit_moments`: check, standardise, dispatch, and gather the columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn._checks import as_columns, one_of, positive_int, to_numpy
from distfit_nn.errors import FitError, InputError
from distfit_nn.maxent import problem as problems
from distfit_nn.maxent import reference, strategy
from distfit_nn.maxent.density import Density
from distfit_nn.maxent.problem import Standardised, Support
from distfit_nn.maxent.solution import Problem, Solution, Status

Array = NDArray[np.float64]

ORDERS = (2, 4, 6)
BLOCK_VALUES = 1 << 22  # values standardised at once: bounds the memory


def _numba() -> strategy.Minimiser:
    from distfit_nn.maxent import numba_kernel  # importing numba takes a third of a second

    return numba_kernel.minimise_columns


def _numpy() -> strategy.Minimiser:
    return reference.minimise_columns


BACKENDS: dict[str, Callable[[], strategy.Minimiser]] = {
    "auto": _numba,
    "numba": _numba,
    "numpy": _numpy,
}


def fit(
    x: ArrayLike,
    order: int = 6,
    support: Support = 3.0,
    *,
    backend: str = "auto",
    nan_policy: str = "propagate",
    raise_on_failure: bool = False,
) -> Density:
    """Fit the density of largest entropy that has the first `order` moments of the data.

    Among all densities p on [a, b] with E_p x^i = (1/n) sum_l x_l^i, i = 1..order, it maximises
    -int p log p. It has the form exp(polynomial of degree `order`) and is found by damped Newton on
    the dual, in a basis of scaled Hermite polynomials of the standardised data, with an adaptive
    Gauss-Legendre quadrature.

    Parameters
    ----------
    x : array-like or torch tensor, (n,) or (n, d)
        Samples; every column is fitted on its own. Any real dtype; the work is in float64.
    order : {2, 4, 6}
        Number of moments.
    support : float, (a, b) or "data"
        A factor, 3 by default: the range of the data times this about its midpoint. A pair: these
        ends for every column. "data": the range of the data itself. Beyond 1e20 standard
        deviations, where no moment could tell, the support is cut.
    backend : {"auto", "numba", "numpy"}
        "numpy" is the readable reference; "auto" is "numba".
    nan_policy : {"propagate", "omit"}
        What to do with NaN and inf: "propagate" makes their column INVALID, "omit" leaves them out.
    raise_on_failure : bool
        Raise `FitError` if a column does not end `Status.OK`; else the status alone tells.

    Returns
    -------
    Density
        d densities; `status` tells for each column how it ended. NaN or inf in a column (with
        "omit": no finite value) make it INVALID, at most order/2 distinct values DEGENERATE (or
        order/2 + 1, if two are the ends of the support). Neither disturbs other columns.

    Raises
    ------
    InputError
        `x` is not real numbers of shape (n,) or (n, d) with n, d >= 1; an unknown order, support,
        backend or policy; a support that does not hold the data.
    FitError
        With `raise_on_failure` only.

    References
    ----------
    L. R. Mead and N. Papanicolaou, Maximum entropy in the problem of moments, J. Math. Phys. 25
    (1984) 2404-2417.

    Examples
    --------
    >>> import numpy as np
    >>> from distfit_nn import maxent
    >>> x = np.random.default_rng(0).normal(2.0, 0.5, size=1000)
    >>> density = maxent.fit(x, order=4)
    >>> density.ok, round(float(density.cdf(2.0)), 2)
    (True, 0.51)
    """
    order = one_of(positive_int(order, "order"), ORDERS, "order")
    minimise = BACKENDS[one_of(backend, tuple(BACKENDS), "backend")]()
    omit = one_of(nan_policy, ("propagate", "omit"), "nan_policy") == "omit"
    columns, single = as_columns(x)
    if columns.shape[0] == 0:
        raise InputError(f"x must have at least one row, got shape {columns.shape}")
    width = max(1, BLOCK_VALUES // columns.shape[0])
    parts = [
        _solve(problems.from_samples(columns[:, j : j + width], order, support, omit), minimise)
        for j in range(0, columns.shape[1], width)
    ]
    return _finish(_joined(parts), single, raise_on_failure)


def fit_moments(
    m: ArrayLike,
    support: tuple[float, float],
    *,
    backend: str = "auto",
    raise_on_failure: bool = False,
) -> Density:
    """Fit the density of largest entropy on [a, b] that has given raw moments.

    Parameters
    ----------
    m : array-like, (k,) or (k, d)
        Raw moments E[x^i], i = 1..k, k = 2, 4 or 6, of d densities. Raw moments of a distribution
        far from 0 have lost digits before they arrive here: prefer `fit` where there are samples.
    support : (a, b)
        Finite ends, the same for all columns.
    backend, raise_on_failure
        As for `fit`.

    Returns
    -------
    Density
        Moments that no distribution on [a, b] has give INVALID; those that only a distribution on
        a few points has, and no density, give DEGENERATE.

    Raises
    ------
    InputError
        A shape, an order or a support that does not fit the above.
    FitError
        With `raise_on_failure` only.

    Examples
    --------
    >>> from distfit_nn import maxent
    >>> uniform = maxent.fit_moments([1 / 2, 1 / 3, 1 / 4, 1 / 5], support=(0, 1))
    >>> round(float(uniform.ppf(0.25)), 9)
    0.25
    """
    minimise = BACKENDS[one_of(backend, tuple(BACKENDS), "backend")]()
    raw = to_numpy(m, "m")
    if raw.ndim not in (1, 2) or raw.shape[0] not in ORDERS or raw.size == 0:
        raise InputError(
            f"m must have shape (k,) or (k, d) with k one of {ORDERS}, got {raw.shape}"
        )
    ends = problems.check_support(support)
    if not isinstance(ends, tuple):
        raise InputError(f"moments need a support (a, b), got {support!r}")
    with np.errstate(over="ignore"):  # a long double may become inf: an INVALID column
        columns = raw.reshape(len(raw), -1).astype(np.float64)
    part = _solve(problems.from_moments(columns, ends), minimise)
    nothing = np.full(len(part.loc), np.nan)
    solution = replace(part.solution, data_lower=nothing, data_upper=nothing)
    return _finish(Density(solution, part.loc, part.scale), raw.ndim == 1, raise_on_failure)


def _solve(standardised: Standardised, minimise: strategy.Minimiser) -> Density:
    """Solve the columns that have a density; leave NaN in the others."""
    problem = standardised.problem
    solvable = standardised.status == Status.OK
    given = {name: values[..., solvable] for name, values in vars(problem).items()}
    out = Solution.empty(len(problem.targets), standardised.status)
    if solvable.any():
        out = out.filled(solvable, strategy.solve(Problem(**given), minimise))
    return Density(out, standardised.loc, standardised.scale)


def _joined(parts: list[Density]) -> Density:
    """Return one density with the columns of all parts."""
    if len(parts) == 1:
        return parts[0]
    loc = np.concatenate([part.loc for part in parts])
    scale = np.concatenate([part.scale for part in parts])
    return Density(Solution.joined([part.solution for part in parts]), loc, scale)


def _finish(density: Density, single: bool, raise_on_failure: bool) -> Density:
    """Return the density, or raise where the caller asked for that."""
    failed = np.flatnonzero(density.solution.status != Status.OK)
    if raise_on_failure and len(failed):
        named = ", ".join(
            f"column {j} {Status(int(density.solution.status[j])).name}" for j in failed[:5]
        )
        more = "" if len(failed) <= 5 else f" and {len(failed) - 5} more"
        raise FitError(f"{len(failed)} of {len(density)} columns have no exact fit: {named}{more}")
    return Density(density.solution, density.loc, density.scale, single)
