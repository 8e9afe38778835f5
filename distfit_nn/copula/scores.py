"""From ranks to the scores of a target distribution, and from scores back to the data."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn._checks import one_of, to_numpy
from distfit_nn.copula import columns as engine
from distfit_nn.copula import lines
from distfit_nn.copula.arguments import array_columns, cast, check_alike, per_column, restored
from distfit_nn.copula.lines import OUTSIDE
from distfit_nn.errors import InputError
from distfit_nn.targets.arrays import Marginal, Normal, as_target

Array = NDArray[np.float64]


def normal_scores(x: Any, target: Any = "normal", strength: Any = None, dim: int = 0) -> Any:
    """Return the scores of the ranks of x: what the target's order would put in their places.

    With s_i the rank of x_i among the n values of its column, counted from 1/2 (`hard_rank`, or
    `soft_rank` where a strength is given) and F the target's distribution function,

        y_i = F^{-1}(s_i / n),

    in the upper half computed as the point with mass (n - s_i) / n above it, with n - s_i counted
    from above: so both tails keep their digits, and -x has the scores -y if F is symmetric. Ranks
    lie between 1/2 and n - 1/2, hence every score is finite. It is the rank-based normal
    transformation (Hazen's positions), the thesis' x_hat for a soft rank.

    Parameters
    ----------
    x : array-like or torch tensor
        Samples along `dim`, at least one; any other axes are columns on their own.
    target : "normal", "uniform", Density, TensorDensity or distribution, default "normal"
        N(0, 1); the uniform distribution on [0, 1]; densities that `maxent.fit` returned; a frozen
        SciPy distribution, or any object with `cdf` and `ppf` (and `isf` and `sf`, which then serve
        the upper tail); a `torch.distributions.Distribution` with `cdf`, whose quantiles come from
        `icdf`, or by bisection where it has none. One for all columns; or one each where x is 2-d,
        in one object whose parameters are arrays of an entry a column, as SciPy's frozen
        distributions and densities fitted to as many columns have.
    strength : float or one per column, optional
        That of `soft_rank`, in units of 1/x. None stands for hard ranks.
    dim : int, default 0
        The axis along which x is ranked.

    Returns
    -------
    ndarray or tensor of the shape of x
        Of the dtype of x where that is a floating one, else float64 for arrays and torch's default
        dtype for tensors; a score beyond the range of a short dtype is its largest number. Ties
        share a score, those of a constant column the target's median. A column with NaN is NaN.
        For a tensor, on its device, with a gradient with respect to x and strength (for soft ranks;
        hard ones are constants) and to the parameters of the target: of those that torch's `cdf`
        can be differentiated by, which the shape of a Gamma, for one, is not.

    Raises
    ------
    InputError
        As `soft_rank` and `hard_rank`; a target that is none of the above, or that is neither one
        distribution nor one for each column.

    See Also
    --------
    inverse_scores : from scores back to the distribution of x.
    distfit_nn.transforms.CopulaTransformer : learns the map, for new data.

    Examples
    --------
    >>> import numpy as np
    >>> from distfit_nn.copula import normal_scores
    >>> normal_scores(np.array([3.0, -1.0, 100.0])).round(3)
    array([ 0.   , -0.967,  0.967])
    >>> normal_scores(np.array([3.0, -1.0, 100.0]), "uniform").round(3)
    array([0.5  , 0.167, 0.833])
    """
    torch = sys.modules.get("torch")  # a tensor can only come from a torch that is loaded
    if torch is not None and isinstance(x, torch.Tensor):
        tensors = _tensors()
        if tensors.are_constant(x, target, strength):  # as arrays, in compiled code
            return tensors.held(torch.as_tensor(_of_array(to_numpy(x), target, None, dim)), x)
        return tensors.normal_scores(x, target, strength, dim)
    return _of_array(x, target, strength, dim)


def _of_array(x: ArrayLike, target: Any, strength: Any, dim: int) -> NDArray[Any]:
    """Return the scores of an array."""
    columns, shape, dtype = array_columns(x, dim, by_order=strength is None)
    law = target_for(target, columns.shape[1])
    if strength is None:
        out = hard_scores(law, columns, dtype)
    else:
        each = per_column(strength, shape[1:], columns.shape[1], dim)
        out = soft_scores(law, columns, each)
    return restored(cast(out, dtype), shape, dim)


def inverse_scores(
    y: Any, x: Any, target: Any = "normal", dim: int = 0, *, outside: str = "extrapolate"
) -> Any:
    """Carry scores of a target to the distribution of x: the inverse of `normal_scores`.

    With F the target's distribution function and Q the sample's quantile function, y goes to

        Q(F(y)),   Q((i - 1/2) / n) = x_(i),   straight lines between,

    where x_(1) <= ... <= x_(n) are the sorted values of the column (Hazen's quantile,
    ``numpy.quantile(x, p, method="hazen")``). The lines are straight in the mass; those of
    `transforms.CopulaTransformer` are straight in the score. Values that are equal make Q flat
    there: an atom of x takes its whole share of the scores, and half-zero data are half zero again.
    Above the median of the target the mass above y serves, and the values are counted from above.

    Scores beyond those of the smallest and the largest value, with a mass below 1 / (2 n), go on
    along a straight line in y, whose slope is the median of those between any two of the 16
    outermost values. Where most of these are tied it is 0, and the value is taken for a bound.
    Bounds without ties are not seen: the line may leave the range of what x can be, and go on to
    negative numbers from exponential ones. ``outside="clip"`` stays within the sample.

    Parameters
    ----------
    y : array-like or torch tensor
        Scores, for instance draws from the target, of the shape of x but for `dim`, where it may
        have any length.
    x : array-like or torch tensor
        The sample, as for `normal_scores`; of the same kind as y.
    target
        As for `normal_scores`. What lies beyond its ends counts as these ends.
    dim : int, default 0
        The axis along which x was ranked.
    outside : {"extrapolate", "clip"}
        The line, or the smallest and the largest value, beyond the scores of these.

    Returns
    -------
    ndarray or tensor of the shape of y
        Of the dtype of x where that is a floating one, as for `normal_scores`. NaN where y is NaN,
        and in columns in which x has any. ``inverse_scores(normal_scores(x), x)`` is x in float64
        and, up to some 200,000 values, in float32: a mass within rounding of one of x counts as
        that. Where scores have fewer digits than ranks it is x but for rounding: float16 and
        bfloat16, or a target whose mean is large against its spread, or that is discrete or has
        most of its mass at a point. For tensors, with a gradient
        with respect to y, x and the parameters of the target, as far as `normal_scores` has it.

    Raises
    ------
    InputError
        Shapes that do not fit, and as for `normal_scores`.

    References
    ----------
    R. J. Hyndman and Y. Fan, Sample quantiles in statistical packages, The American Statistician
    50 (1996) 361-365, definition 5.

    Examples
    --------
    >>> import numpy as np
    >>> from distfit_nn.copula import inverse_scores, normal_scores
    >>> x = np.array([3.0, -1.0, 100.0, 7.0])
    >>> inverse_scores(normal_scores(x), x)
    array([  3.,  -1., 100.,   7.])
    >>> inverse_scores(np.array([0.0, 3.0]), x).round(1)
    array([  5. , 111.6])
    """
    torch = sys.modules.get("torch")
    extrapolate = one_of(outside, OUTSIDE, "outside") == "extrapolate"
    if torch is not None and (isinstance(y, torch.Tensor) or isinstance(x, torch.Tensor)):
        if not (isinstance(y, torch.Tensor) and isinstance(x, torch.Tensor)):
            raise InputError(
                f"x and y must both be tensors, or arrays, got {type(x).__name__} and "
                f"{type(y).__name__}"
            )
        return _tensors().inverse_scores(y, x, target, dim, extrapolate=extrapolate)
    columns, _, dtype = array_columns(x, dim)
    given = to_numpy(y, "y")
    points = np.moveaxis(given, check_alike(given.shape, np.shape(x), dim), 0)
    law = target_for(target, columns.shape[1])
    ordered = np.sort(columns, axis=0).astype(np.float64, copy=False)  # NaN last
    ordered[:, np.isnan(ordered[-1])] = np.nan
    unit = float(np.finfo(given.dtype).eps) if given.dtype.kind == "f" else 0.0
    flat = np.array(points, np.float64).reshape(len(points), columns.shape[1])
    out = _carried(flat, ordered, law, lines.roundings(unit, len(columns)), extrapolate)
    return restored(cast(out, dtype), points.shape, dim)


def _tensors() -> ModuleType:
    return import_module("distfit_nn.copula.tensors.scores")


def target_for(target: Any, columns: int) -> Marginal:
    """Return the target after checking that it is one for all, or one for each of the columns."""
    law = as_target(target)
    count = law.columns()
    if count not in (None, columns):
        raise InputError(
            f"target must be one distribution, or {columns} for as many columns, got {count}"
        )
    return law


# Scores of counts


def soft_scores(law: Marginal, x: NDArray[Any], strength: Array) -> NDArray[Any]:
    """Return the scores of the soft ranks of the columns of x (n, d)."""
    if type(law) is Normal:
        return engine.soft_counts(x, strength, engine.NORMAL, keep=False)[0]
    below, above = engine.soft_counts(x, strength, engine.BOTH, keep=False)
    return of_counts(law, below, above, len(x))


def hard_scores(law: Marginal, x: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the scores of the mid-ranks of the columns of x (n, d), within a dtype."""
    if law.columns() is not None:
        below, above = engine.hard_counts(x)
        return of_counts(law, below, above, len(x))
    scores = cast(table(law, len(x)), dtype).astype(np.float64)
    return engine.hard_scores(x, [scores])[0]


def of_counts(law: Marginal, below: NDArray[Any], above: NDArray[Any], n: Any) -> Array:
    """Return the points of a target with so many of n below and above, by the smaller of both.

    n is a number, or one for each column. Points beyond float64 become its largest.
    """
    upper = below > above
    mass = np.where(upper, above, below).astype(np.float64) / n
    out = np.array(law.quantile(mass, upper), np.float64)
    return np.clip(out, -lines.LARGEST, lines.LARGEST, out=out)


def table(law: Marginal, n: int) -> Array:
    """Return the scores (2 n - 1,) of all mid-ranks among n values: 1/2, 1, 3/2, ..., n - 1/2."""
    below = np.arange(1, 2 * n)[:, None] / 2
    return of_counts(law, below, n - below, n)[:, 0]


# The way back


def _carried(y: Array, ordered: Array, law: Marginal, error: float, extrapolate: bool) -> Array:
    """Return Q(F(y)) for y (m, d) and sorted columns (n, d); y is overwritten."""
    n, d = ordered.shape
    missing = np.isnan(y) | np.isnan(ordered[0])
    y[missing] = np.broadcast_to(law.point(0.5, False, d), y.shape)[missing]
    np.clip(y, *law.ends(), out=y)
    upper = y > law.point(0.5, False, d)
    place = n * np.asarray(law.mass(y, upper)) - 0.5  # counted from its own end
    nearest = np.rint(place)
    place = np.where(np.abs(place - nearest) <= error, nearest, place)
    inner = np.clip(place, 0, n - 1)
    step = np.floor(inner).astype(np.intp)
    outer, following = (
        np.take_along_axis(ordered, np.where(upper, n - 1 - k, k), axis=0)
        for k in (step, np.minimum(step + 1, n - 1))
    )
    out = between(outer, following, inner - step)
    if extrapolate and (place < 0).any():
        out = np.where(place < 0, _beyond(y, upper, ordered, law), out)
    out[missing] = np.nan
    return out


def between(start: Array, stop: Array, share: Array) -> Array:
    """Return start + share (stop - start), where both may be infinite, or far apart."""
    with np.errstate(invalid="ignore", over="ignore"):
        inside = start + 2 * share * (stop / 2 - start / 2)
    ahead = stop >= start
    inside = np.where(ahead, np.minimum(inside, stop), np.maximum(inside, stop))
    return np.where((share == 0) | (start == stop) | np.isinf(start), start, inside)


def _beyond(y: Array, upper: NDArray[np.bool_], ordered: Array, law: Marginal) -> Array:
    """Return the points of the lines that leave the smallest and the largest value."""
    start, at, rate = (np.where(upper, part[1], part[0]) for part in end_lines(ordered, law))
    with np.errstate(all="ignore"):
        out = np.where(rate > 0, start + rate * (y - at), start)
    out = np.where(upper, np.maximum(out, start), np.minimum(out, start))
    finite = np.isfinite(y) & np.isfinite(start)
    return np.where(finite, np.clip(out, -lines.LARGEST, lines.LARGEST), out)


def end_lines(ordered: Array, law: Marginal) -> tuple[Array, Array, Array]:
    """Return the end values of sorted columns, their scores and the slopes dx/dy, (2, d) each."""
    n, d = ordered.shape
    count = lines.outer(n)
    values = (ordered[:count], ordered[::-1][:count])
    score = np.stack([law.point(0.5 / n, side, d) for side in (False, True)])
    return np.stack([side[0] for side in values]), score, end_slopes(law, n, *values)


def end_slopes(law: Marginal, n: Any, low: Array, high: Array) -> Array:
    """Return the slopes dx/dy of the lines beyond the ends, (2, d).

    n, a number or one for each column, counts the values; low and high (k, d) are the outermost of
    them, from the smallest up and from the largest down, NaN where there are fewer than k.
    """
    k, d = low.shape
    with np.errstate(divide="ignore"):
        mass = (np.arange(k)[:, None] + 0.5) / np.atleast_1d(n)
    mass = np.where(mass < 1, mass, np.nan)
    if law.columns() is not None:
        mass = np.broadcast_to(mass, (k, d))
    below, above = (
        np.asarray(law.quantile(mass, np.full(mass.shape, side))) for side in (False, True)
    )
    return np.stack([lines.slopes(low, below), lines.slopes(high, above)])
