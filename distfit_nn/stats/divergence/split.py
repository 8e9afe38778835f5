"""The divergence from N(0, 1) in three parts: what an affine layer removes, and what it cannot."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from distfit_nn import _checks
from distfit_nn.stats.divergence.constants import NORMAL_ENTROPY
from distfit_nn.stats.divergence.entropy import (
    NEIGHBOURS,
    Estimator,
    bias_in_normal_samples,
    entropy_of_rows,
    estimator,
)
from distfit_nn.stats.divergence.gaussian import kl_from_moments
from distfit_nn.stats.moments import Moments, moments
from distfit_nn.stats.rows import Axis, Float, Int, Rows, per_column

if TYPE_CHECKING:
    from distfit_nn.maxent.density import Density


class DivergenceSplit(NamedTuple):
    """KL(p || N(0, 1)) = location + scale + shape for each column, in nats.

    Attributes
    ----------
    location : float64 array
        mean^2 / 2: what a shift removes.
    scale : float64 array
        (var - 1 - log var) / 2: what a scale removes then. Both are what an affine layer, such as
        batch norm, takes away.
    shape : float64 array
        The negentropy J = H(N(mean, var)) - H(p): what no affine map changes. As estimated, without
        correction.
    total : float64 array
        location + scale + shape.
    n : int64 array
        Number of finite values.
    shape_chance : float64 array
        The mean of `shape` over samples of n values from a normal law, where J is 0.
    shape_corrected : float64 array
        shape - shape_chance; around 0, and below it as often as above, for a normal law.
    """

    location: Float
    scale: Float
    shape: Float
    total: Float
    n: Int
    shape_chance: Float
    shape_corrected: Float


def split_divergence(
    x: ArrayLike,
    axis: Axis = 0,
    *,
    method: str = "maxent",
    order: int = 6,
    m: int | None = None,
    k: int = NEIGHBOURS,
    ties: str = "spread",
) -> DivergenceSplit:
    r"""Split KL(p || N(0, 1)) of each column into location, scale and shape.

        KL = mean^2 / 2 + (var - 1 - log var) / 2 + J,  J = log(2 pi e var) / 2 - H(p).

    Parameters
    ----------
    x, axis
        As in `entropy`.
    method : {"maxent", "spacings", "neighbours"}, default "maxent"
        How H(p) is estimated: see `entropy`. With "maxent" J is what the first `order` moments
        show, never below 0 but for rounding; with the other two it may be.
    order, m, k, ties
        As in `entropy`.

    Returns
    -------
    DivergenceSplit
        The parts, their sum, n, and what chance gives `shape`: (order - 2) / (2 n) for "maxent",
        simulated for the other two.

        ========================  ==============================================================
        column                    result
        ========================  ==============================================================
        no finite value           NaN, n = 0
        one value, all equal      scale inf, shape and total NaN
        two distinct values       shape NaN, but of "neighbours" for n = 2
        NaN and inf among them    left out
        values above 1e150        NaN or inf: their squares overflow
        ========================  ==============================================================

    Raises
    ------
    InputError
        If an argument breaks its rule; "gaussian" is no method, as its shape is 0.

    References
    ----------
    P. Comon, Independent component analysis, a new concept?, Signal Process. 36 (1994).

    Examples
    --------
    >>> import numpy as np
    >>> from distfit_nn.stats import split_divergence
    >>> found = split_divergence(2 + 3 * np.random.default_rng(0).exponential(size=5000))
    >>> [round(float(part), 1) for part in (found.location, found.scale, found.shape)]
    [12.7, 3.1, 0.3]
    """
    _checks.one_of(method, ("maxent", "spacings", "neighbours"), "method")
    chosen = estimator(method, order, m, k, ties)
    return DivergenceSplit(*per_column(x, axis, partial(split_of_rows, chosen=chosen)))


def split_of_rows(rows: Rows, chosen: Estimator) -> DivergenceSplit:
    """Return the split of sorted rows, which stay as they are: see `split_divergence`."""
    measured = moments(rows.values, 1)
    entropy = entropy_of_rows(rows, chosen)
    return _split(measured, entropy, _chance(chosen, measured.n))


def split_from_density(measured: Moments, density: Density) -> DivergenceSplit:
    """Return the split of columns from their moments and their fitted densities.

    Parameters
    ----------
    measured : Moments
        Of d columns, as `moments` returns them.
    density : Density
        Of the same columns.
    """
    entropy = np.asarray(density.entropy(), np.float64)
    return _split(measured, entropy, _chance(Estimator("maxent", density.order), measured.n))


def _split(measured: Moments, entropy: Float, chance: Float) -> DivergenceSplit:
    with np.errstate(all="ignore"):
        location = 0.5 * np.square(measured.mean)
        scale = kl_from_moments(np.where(np.isnan(measured.var), np.nan, 0.0), measured.var)
        shape = np.where(measured.std > 0, NORMAL_ENTROPY + np.log(measured.std) - entropy, np.nan)
        total = location + scale + shape
        return DivergenceSplit(location, scale, shape, total, measured.n, chance, shape - chance)


def _chance(chosen: Estimator, n: Int) -> Float:
    """Return the mean shape of normal samples; log(var) / 2 is too small by 1/n in them."""
    size = np.where(n > 0, n, np.nan)
    if chosen.method == "maxent":
        return max(chosen.order - 2, 0) / (2 * size)
    return -bias_in_normal_samples(chosen, np.asarray(n)) - 1 / size
