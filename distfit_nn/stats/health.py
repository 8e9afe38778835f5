"""The health of units: dead, saturated, heavy-tailed or outlying ones, and how many values."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.errors import InputError
from distfit_nn.stats import health_kernel as kernel
from distfit_nn.stats.distinct import distinct_values_of_rows
from distfit_nn.stats.l_moments import NORMAL_TAU4
from distfit_nn.stats.moments import Moments, moments
from distfit_nn.stats.rows import Axis, Float, Int, Rows, per_column
from distfit_nn.stats.tail_index import TailIndex, tail_index_of_rows

FLAT_SLOPE = 0.05  # share of an activation's steepest slope, below which it is flat
SATURATED_SHARE = 0.5  # share of the values there, above which a unit is saturated
FEW_INSIDE = 5  # fewer distinct values between the ends: classes or counts, whose ends mean nothing
OUTLIER_RATIO = 6.0  # times the median over channels of max|x|

# Activations that give 0 for every negative input.
RECTIFIERS = ("relu", "relu6")
# Sites whose values go into the activation that the recording names.
FEEDING_SITES = (None, "pre_activation", "norm_output", "output")


class Health(NamedTuple):
    """What is wrong with each unit: flags, and the numbers that they rest on.

    Attributes
    ----------
    n : int64
        Finite values.
    constant : bool
        All finite values, two or more, are equal.
    dead : bool
        Constant, or known to go into a ReLU with none of two or more values above 0.
    saturated : bool
        With a known activation: `flat_share` > `saturated_share`. Without one, the shares exactly
        at the ends, other than at 0, add up to more than `saturated_share`, and at least five
        distinct values lie between these: zeros and ones, or other values of a few kinds, say
        nothing of an end that is reached, however frequent the largest is.
    heavy_tailed : bool
        `TailIndex.heavy`; where an L-kurtosis is given, this must also be above the normal's.
    outlier : bool
        `outlier_ratio` > the threshold.
    zero_share : float64
        Of the finite values.
    nan_share, inf_share : float64
        Of all values.
    flat_share : float64
        Share of the finite values where the activation's slope is at most `flat_slope` times its
        largest: NaN without a known, bounded activation.
    low_share, high_share : float64
        Share exactly at the least and at the largest value; 1 for a constant.
    tail_index, tail_error : float64
        Of the heavier side: the smaller of `TailIndex.lower` and `upper`, and its standard error.
    max_abs, outlier_ratio : float64
        max|x|, and its ratio to the median of those units where it is not 0.
    distinct : int64
    effective_entropy, effective_simpson, grid_step : float64
        As in `DistinctValues`.
    """

    n: Int
    constant: NDArray[np.bool_]
    dead: NDArray[np.bool_]
    saturated: NDArray[np.bool_]
    heavy_tailed: NDArray[np.bool_]
    outlier: NDArray[np.bool_]
    zero_share: Float
    nan_share: Float
    inf_share: Float
    flat_share: Float
    low_share: Float
    high_share: Float
    tail_index: Float
    tail_error: Float
    max_abs: Float
    outlier_ratio: Float
    distinct: Int
    effective_entropy: Float
    effective_simpson: Float
    grid_step: Float


def health(
    x: ArrayLike,
    axis: Axis = 0,
    *,
    activation: str | None = None,
    site: str | None = None,
    l_kurtosis: ArrayLike | None = None,
    flat_slope: float = FLAT_SLOPE,
    saturated_share: float = SATURATED_SHARE,
    outlier_ratio: float = OUTLIER_RATIO,
) -> Health:
    """Judge every unit of x: is it dead, saturated, heavy-tailed, an outlier channel?

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        The kept axes together are the units of one layer.
    axis : int, tuple of ints or None, default 0
        The axes to reduce, as in NumPy.
    activation : str or None, default None
        The function that takes these values, by its name in torch.nn.functional.
    site : str or None, default None
        Where x was recorded. The activation counts if it is None, "pre_activation",
        "norm_output" or "output"; at other sites x is judged as without.
    l_kurtosis : array-like of the shape of the kept axes, or None, default None
        tau_4 of each unit, as second evidence of heavy tails.
    flat_slope : float in (0, 1), default 0.05
        Share of the largest slope up to which sigmoid, tanh and softsign count as flat: there less
        than a twentieth of the gradient comes through. That is |x| > 4.36 for the sigmoid, 2.18
        for tanh, 3.47 for softsign. Hard clips are flat where they are constant: |x| >= 3
        (hardsigmoid), |x| >= 1 (hardtanh with its usual ends), x >= 6 (relu6; below 0 it is
        closed, not saturated).
    saturated_share : float in (0, 1), default 0.5
        Above this share of flat values a unit is saturated.
    outlier_ratio : float above 0, default 6
        Above this ratio a unit is an outlier channel. Under one scale for the whole tensor it
        costs all other channels log2(6) = 2.6 bits. Outlier features of language models reach 20
        times the usual range (Dettmers et al. 2022, who take magnitudes of 6 and more, in absolute
        numbers) to 100 times (Xiao et al. 2023).

    Returns
    -------
    Health

        ====================  =================================================================
        column                result
        ====================  =================================================================
        no finite value       flags False, shares of values and all else NaN, distinct 0
        one value             flags False (`outlier` as any), effective numbers NaN
        n equal values        constant and dead; effective numbers 1; tails and grid NaN
        two or three values,  grid step if there is one; not saturated, unless they are known to
        all distinct          be in the flat parts of the activation
        two distinct values   grid step their difference; not saturated, unless the activation
        that repeat           says so
        fewer than 40 values  tails NaN, not heavy-tailed
        on either side
        NaN and inf           left out, but for their shares
        ====================  =================================================================

    Raises
    ------
    InputError
        If x is not an array of real numbers, `axis` does not name axes of it, or an option is
        out of its range.

    References
    ----------
    B. M. Hill, A simple general approach to inference about the tail of a distribution, Annals of
    Statistics 3 (1975). T. Dettmers et al., LLM.int8(), NeurIPS 2022. G. Xiao et al., SmoothQuant,
    ICML 2023. X. Glorot and Y. Bengio, Understanding the difficulty of training deep feedforward
    neural networks, AISTATS 2010 (saturation).

    Examples
    --------
    >>> import numpy as np
    >>> from distfit_nn.stats import health
    >>> x = np.random.default_rng(0).normal(size=(1000, 4))
    >>> x[:, 1] = -np.abs(x[:, 1])
    >>> x[:, 2] *= 20
    >>> found = health(x, activation="relu")
    >>> found.dead.tolist(), found.outlier.tolist()
    ([False, True, False, False], [False, False, True, False])
    """
    measured = moments(x, axis)
    if l_kurtosis is not None:
        l_kurtosis = _checks.to_numpy(l_kurtosis, "l_kurtosis")
        if l_kurtosis.shape != np.shape(measured.n):
            raise InputError(
                f"l_kurtosis must have one value for each unit, shape {np.shape(measured.n)}, "
                f"got {l_kurtosis.shape}"
            )
    measure = partial(
        parts_of_rows,
        activation=activation,
        site=site,
        flat_slope=_checks.number_inside(flat_slope, "flat_slope", 0.0, 1.0),
    )
    return health_of_parts(
        measured,
        HealthParts(*per_column(x, axis, measure)),
        activation=activation,
        site=site,
        l_kurtosis=l_kurtosis,
        saturated_share=_checks.number_inside(saturated_share, "saturated_share", 0.0, 1.0),
        outlier_ratio=_checks.number_inside(outlier_ratio, "outlier_ratio", 0.0, math.inf),
    )


class HealthParts(NamedTuple):
    """What the sorted values alone tell; arrays over the units."""

    flat_share: Float
    low_share: Float
    high_share: Float
    tail_index: Float
    tail_error: Float
    heavy: NDArray[np.bool_]
    distinct: Int
    effective_entropy: Float
    effective_simpson: Float
    grid_step: Float
    unique: NDArray[np.bool_]


def parts_of_rows(
    rows: Rows,
    *,
    activation: str | None = None,
    site: str | None = None,
    flat_slope: float = FLAT_SLOPE,
) -> HealthParts:
    """Return what the sorted values of some units alone tell; `rows` is left as it is."""
    limits = _flat_limits(activation, site, flat_slope)
    tails, values = tail_index_of_rows(rows), distinct_values_of_rows(rows)
    ends = kernel.end_counts(rows.values, rows.counts)
    flat = np.full(len(rows.counts), np.nan)
    if limits is not None:
        flat = np.count_nonzero(rows.values <= limits[0], axis=1).astype(np.float64)
        flat += np.count_nonzero(rows.values >= limits[1], axis=1)
    with np.errstate(invalid="ignore"):
        flat, low, high = (part / rows.counts for part in (flat, ends[:, 0], ends[:, 1]))
    return HealthParts(
        *(flat, low, high, *_heavier_side(tails), tails.heavy),
        *(values.distinct, values.entropy, values.simpson, values.step),
        values.distinct == rows.counts,
    )


def _heavier_side(tails: TailIndex) -> tuple[Float, Float]:
    """Return the smaller index of the two sides and its standard error; NaN without either."""
    index = np.fmin(tails.lower, tails.upper)
    return index, np.where(index == tails.lower, tails.lower_error, tails.upper_error)


def health_of_parts(
    measured: Moments,
    parts: HealthParts,
    *,
    activation: str | None = None,
    site: str | None = None,
    l_kurtosis: NDArray[Any] | None = None,
    saturated_share: float = SATURATED_SHARE,
    outlier_ratio: float = OUTLIER_RATIO,
) -> Health:
    """Return `health` from the moments of all values and the parts of a sample of them.

    Counts, extremes and shares of zeros, NaN and inf are of all values; what needs the values
    themselves is of the sample. The units are all those of a layer.
    """
    some = measured.n > 1
    constant = some & (measured.minimum == measured.maximum)
    closed = some & (measured.maximum <= 0)
    if activation not in RECTIFIERS or site not in FEEDING_SITES:
        closed = np.zeros_like(closed)
    heavy = parts.heavy if l_kurtosis is None else parts.heavy & (l_kurtosis > NORMAL_TAU4)
    max_abs = np.maximum(np.abs(measured.minimum), np.abs(measured.maximum))
    ratio = _over_median(max_abs)
    total = measured.n + measured.nan_count + measured.inf_count
    with np.errstate(invalid="ignore"):
        nan_share, inf_share = measured.nan_count / total, measured.inf_count / total
    return Health(
        n=measured.n,
        constant=constant,
        dead=constant | closed,
        saturated=_saturated(measured, parts, saturated_share),
        heavy_tailed=heavy,
        outlier=ratio > outlier_ratio,
        zero_share=measured.zero_fraction,
        nan_share=nan_share,
        inf_share=inf_share,
        flat_share=parts.flat_share,
        low_share=parts.low_share,
        high_share=parts.high_share,
        tail_index=parts.tail_index,
        tail_error=parts.tail_error,
        max_abs=max_abs,
        outlier_ratio=ratio,
        distinct=parts.distinct,
        effective_entropy=parts.effective_entropy,
        effective_simpson=parts.effective_simpson,
        grid_step=parts.grid_step,
    )


def _saturated(measured: Moments, parts: HealthParts, most: float) -> NDArray[np.bool_]:
    """Judge by the flat parts of the activation, or, where it is not known, by piles at the ends.

    A pile at 0 is what a ReLU leaves: sparse, not saturated. Where no value occurs twice, there is
    no pile; where hardly any lie between the ends, there is nothing that could have been cut off.
    """
    ends = ((measured.minimum, parts.low_share), (measured.maximum, parts.high_share))
    piles = sum(np.where((end == 0) | parts.unique, 0.0, share) for end, share in ends)
    cut = (piles > most) & (parts.distinct >= FEW_INSIDE + len(ends))
    return np.where(np.isnan(parts.flat_share), cut, parts.flat_share > most)[()]


def _over_median(max_abs: Float) -> Float:
    """Return max|x| of each unit over the median of those where it is not 0."""
    usual = max_abs[max_abs > 0] if np.ndim(max_abs) else np.atleast_1d(max_abs)
    if not usual.size:
        return np.full_like(max_abs, np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        return max_abs / np.median(usual)


def _flat_limits(
    activation: str | None, site: str | None, slope: float
) -> tuple[float, float] | None:
    """Return the ends of where an activation is not flat; None if there are none, or not known."""
    if site not in FEEDING_SITES:
        return None
    bend = math.acosh(1 / math.sqrt(slope))  # the slope of tanh is 1 / cosh^2
    reach = {
        "tanh": bend,
        "sigmoid": 2 * bend,
        "special_expit": 2 * bend,
        "softsign": 1 / math.sqrt(slope) - 1,
        "hardtanh": 1.0,
        "hardsigmoid": 3.0,
        "relu6": 6.0,
    }.get(activation or "")
    if reach is None:
        return None
    return (-math.inf if activation == "relu6" else -reach), reach
