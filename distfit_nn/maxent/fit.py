"""`fit` and `fit_moments`: check, standardise, dispatch, and gather the columns."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn._checks import as_columns, one_of, to_numpy
from distfit_nn.errors import FitError, InputError
from distfit_nn.maxent import problem as problems
from distfit_nn.maxent import reference, strategy
from distfit_nn.maxent.density import Density
from distfit_nn.maxent.problem import Standardised, Support
from distfit_nn.maxent.solution import Solution, Status

if TYPE_CHECKING:
    from torch import Tensor

    from distfit_nn.maxent.tensors.density import TensorDensity

Array = NDArray[np.float64]

ORDERS = tuple(range(1, problems.MAX_ORDER + 1))


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


@overload
def fit(
    x: Tensor,
    order: int = ...,
    support: Support = ...,
    *,
    weights: Any = ...,
    backend: str = ...,
    nan_policy: str = ...,
    raise_on_failure: bool = ...,
) -> TensorDensity: ...
@overload
def fit(
    x: ArrayLike,
    order: int = ...,
    support: Support = ...,
    *,
    weights: ArrayLike | None = ...,
    backend: str = ...,
    nan_policy: str = ...,
    raise_on_failure: bool = ...,
) -> Density: ...
def fit(
    x: Any,
    order: int = 6,
    support: Support = 3.0,
    *,
    weights: Any = None,
    backend: str = "auto",
    nan_policy: str = "propagate",
    raise_on_failure: bool = False,
) -> Density | TensorDensity:
    """Fit the density of largest entropy that has the first `order` moments of the data.

    Among all densities p on [a, b] with E_p x^i = (1/n) sum_l x_l^i, i = 1..order, it maximises
    -int p log p. It has the form exp(polynomial of degree `order`) and is found by damped Newton on
    the dual, in a basis of scaled Hermite polynomials of the standardised data, with an adaptive
    Gauss-Legendre quadrature.

    Parameters
    ----------
    x : array-like or torch tensor, (n,) or (n, d)
        Samples; every column is fitted on its own. Any real dtype; the work is in float64.
    order : int
        Number of moments, 1 to 12. Odd ones are seldom wise: on a wide support their density has
        its mass rise at one end.
    support : float, (a, b) or "data"
        A factor, 3 by default: the range of the data times this about its midpoint. A pair: these
        ends for every column. "data": the range of the data itself. Beyond 1e20 standard
        deviations, where no moment could tell, the support is cut.
    weights : array-like, (n,) or (n, d), optional
        Finite and not negative; only their ratios count. A value of weight 0 is left out.
    backend : {"auto", "numba", "numpy", "torch"}
        "numpy" is the readable reference, "torch" takes tensors and works on their device. "auto"
        is "torch" for a tensor that is not on the CPU, and "numba" for all else, with as many
        threads as Numba is set to use.
    nan_policy : {"propagate", "omit"}
        What to do with NaN and inf: "propagate" makes their column INVALID, "omit" leaves them out.
    raise_on_failure : bool
        Raise `FitError` if a column does not end `Status.OK`; else the status alone tells.

    Returns
    -------
    Density, or TensorDensity for a tensor
        d densities; `status` tells for each column how it ended. NaN or inf in a column (with
        "omit": no finite value) make it INVALID, at most order/2 distinct values DEGENERATE, of
        which one at an end of the support counts half. Neither disturbs other columns. The density
        of a tensor has tensors for numbers, on its device, and their gradient in x.

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
    if _is_tensor(x):
        from distfit_nn.maxent.tensors import fit as torch_fit

        return torch_fit.fit(
            x,
            order,
            support,
            weights=weights,
            backend=backend,
            nan_policy=nan_policy,
            raise_on_failure=raise_on_failure,
        )
    minimise = BACKENDS[one_of(backend, tuple(BACKENDS), "backend")]()
    order = problems.check_order(order)
    omit = one_of(nan_policy, ("propagate", "omit"), "nan_policy") == "omit"
    columns, single = as_columns(x)
    if columns.shape[0] == 0:
        raise InputError(f"x must have at least one row, got shape {columns.shape}")
    given = problems.from_samples(columns, order, support, omit, weights, _threads())
    return _finish(_solve(given, minimise), single, raise_on_failure)


@overload
def fit_moments(
    m: Tensor,
    support: tuple[float, float],
    *,
    backend: str = ...,
    raise_on_failure: bool = ...,
) -> TensorDensity: ...
@overload
def fit_moments(
    m: ArrayLike,
    support: tuple[float, float],
    *,
    backend: str = ...,
    raise_on_failure: bool = ...,
) -> Density: ...
def fit_moments(
    m: Any,
    support: tuple[float, float],
    *,
    backend: str = "auto",
    raise_on_failure: bool = False,
) -> Density | TensorDensity:
    """Fit the density of largest entropy on [a, b] that has given raw moments.

    Parameters
    ----------
    m : array-like or torch tensor, (k,) or (k, d)
        Raw moments E[x^i], i = 1..k, k from 1 to 12, of d densities. Raw moments of a distribution
        far from 0 have lost digits before they arrive here: prefer `fit` where there are samples.
    support : (a, b)
        Finite ends, the same for all columns.
    backend, raise_on_failure
        As for `fit`.

    Returns
    -------
    Density, or TensorDensity for a tensor
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
    if _is_tensor(m):
        from distfit_nn.maxent.tensors import fit as torch_fit

        return torch_fit.fit_moments(m, support, backend=backend, raise_on_failure=raise_on_failure)
    minimise = BACKENDS[one_of(backend, tuple(BACKENDS), "backend")]()
    raw = to_numpy(m, "m")
    if raw.ndim not in (1, 2) or raw.shape[0] not in ORDERS or raw.size == 0:
        raise InputError(
            f"m must have shape (k,) or (k, d) with k from 1 to {ORDERS[-1]}, got {raw.shape}"
        )
    ends = problems.check_support(support)
    if not isinstance(ends, tuple):
        raise InputError(f"moments need a support (a, b), got {support!r}")
    with np.errstate(over="ignore"):  # a long double may become inf: an INVALID column
        columns = raw.reshape(len(raw), -1).astype(np.float64)
    density = _solve(problems.from_moments(columns, ends), minimise)
    nothing = np.full(len(density), np.nan)
    solution = replace(density.solution, data_lower=nothing, data_upper=nothing)
    return _finish(Density(solution, density.loc, density.scale), raw.ndim == 1, raise_on_failure)


def _is_tensor(x: Any) -> bool:
    """Return whether x is a torch tensor; it cannot be if torch was never imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def _threads() -> int:
    """Return how many threads Numba is set to use; it need not be imported to know."""
    numba = sys.modules.get("numba")
    return int(numba.get_num_threads()) if numba is not None else os.cpu_count() or 1


def _solve(given: Standardised, minimise: strategy.Minimiser) -> Density:
    """Solve the columns that have a density; leave NaN in the others."""
    solvable = given.status == Status.OK
    if solvable.all():
        solution = strategy.solve(given.problem, given.rule, minimise, _threads())
    else:
        solution = Solution.empty(len(given.problem.targets), given.status)
        if solvable.any():
            place = np.flatnonzero(solvable)
            part = strategy.solve(
                given.problem[solvable], lambda j: given.rule(int(place[j])), minimise, _threads()
            )
            solution.write(solvable, part)
    return Density(solution, given.loc, given.scale)


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
