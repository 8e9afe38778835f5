"""`fit` and `fit_moments`: arrays to the solvers on arrays, tensors to those on their device."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike

from distfit_nn._checks import to_numpy
from distfit_nn.maxent import arrays
from distfit_nn.maxent.density import Density
from distfit_nn.maxent.problem import MAX_ORDER, Support
from distfit_nn.maxent.solution import require_ok

if TYPE_CHECKING:
    from torch import Tensor

    from distfit_nn.maxent.tensors.density import TensorDensity

ORDERS = tuple(range(1, MAX_ORDER + 1))


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
    (True, 0.52)
    """
    density: Density | TensorDensity = _solvers_for(x).fit(
        x, order, support, weights=weights, backend=backend, nan_policy=nan_policy
    )
    return _checked(density) if raise_on_failure else density


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
    density: Density | TensorDensity = _solvers_for(m).fit_moments(m, support, backend=backend)
    return _checked(density) if raise_on_failure else density


def _solvers_for(values: Any) -> Any:
    """Return the module that fits what is a torch tensor, or what is none."""
    torch = sys.modules.get("torch")  # a tensor can only come from a torch that is loaded
    if torch is None or not isinstance(values, torch.Tensor):
        return arrays
    from distfit_nn.maxent.tensors import fit as tensors

    return tensors


def _checked(density: Density | TensorDensity) -> Density | TensorDensity:
    """Return the density, or raise `FitError` if a column is not OK."""
    require_ok(np.atleast_1d(to_numpy(density.status)))
    return density
