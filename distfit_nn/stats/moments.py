"""Moments up to order 12, in one pass over the data, mergeable over batches and shards."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn._threads import threads
from distfit_nn.errors import InputError
from distfit_nn.stats.moment_sums import RUN, MomentSums
from distfit_nn.stats.moments_result import Float, Moments
from distfit_nn.stats.rows import Axis

__all__ = ["MomentSums", "Moments", "kurtosis", "moments", "skewness"]

_SLAB = 1 << 20  # values that are copied at once where axes must be brought together
_PARTS = 16  # that large inputs are cut into, whatever the number of threads
_WORTH_A_PART = 1 << 20  # values

Share = tuple[NDArray[Any] | None, NDArray[Any] | None]


def moments(
    x: ArrayLike,
    axis: Axis = 0,
    *,
    order: int = 6,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> Moments:
    """Measure the moments of x over `axis`, up to `order`, in one pass.

    Parameters
    ----------
    x : array-like or torch tensor of real numbers, any shape with at least one axis
        Any floating, integer or boolean dtype; the sums are float64. No copy of the whole is
        made where the kept axes are the last ones; otherwise about a million values at a time,
        or one index of the first reduced axis, are copied.
    axis : int, tuple of ints or None, default 0
        The axes to reduce, as in NumPy; None is all of them.
    order : int, 2 to 12, default 6
        The highest power that is summed.
    weights : array-like, optional
        Finite and at least 0: a value counts as if it were there so many times (a fraction, too),
        and one of weight 0 is as if it were not there at all, not even as a NaN. Of shape (n,),
        along the one axis that is reduced, or such as NumPy broadcasts to the shape of x.
    mask : array-like of booleans, optional
        True where a value counts; what is masked out is as if it were not there at all. The shapes
        are those of the weights: (n,) marks rows of an x of shape (n, d), also where n = d.

    Returns
    -------
    Moments
        With attributes of the shape of the kept axes.

    Raises
    ------
    InputError
        If x is not an array of real numbers, `axis` does not name axes of it, `order` is not 2 to
        12, the shape of weights or mask does not fit, the mask is not of booleans, or a weight
        that is not masked out is negative, NaN or infinite.

    Notes
    -----
    See `MomentSums` for the method. Differences are taken from a centre that is a float64 number
    near the mean, so a large common offset costs no digits. Large inputs are cut into parts, which
    are shared out among the threads that Numba and torch may use and merged in a fixed order: the
    bits of the result do not depend on the number of threads.
    """
    array = _checks.to_numpy(x)
    view, reduced = _checks.reduced_first(array, axis)
    share = (
        _aligned(weights, array.shape, axis, "weights"),
        _aligned(mask, array.shape, axis, "mask"),
    )
    if share[1] is not None and share[1].dtype != bool:
        raise InputError(f"mask must be an array of booleans, got dtype {share[1].dtype}")
    kept = view.shape[reduced:]
    return _in_shape(_accumulate(view, share, reduced, order).finalise(), kept)


def skewness(x: ArrayLike, axis: Axis = 0) -> Float:
    """Skewness g1 of x over `axis`: see `Moments.skewness` and, for x and axis, `moments`."""
    return moments(x, axis, order=4).skewness


def kurtosis(x: ArrayLike, axis: Axis = 0) -> Float:
    """Excess kurtosis g2 of x over `axis`: see `Moments.kurtosis` and, for x, `moments`."""
    return moments(x, axis, order=4).kurtosis


def _aligned(
    values: ArrayLike | None, shape: tuple[int, ...], axis: Axis, name: str
) -> NDArray[Any] | None:
    """Return weights or a mask in the shape of x with the axes to reduce in front, as a view."""
    if values is None:
        return None
    array = _checks.to_numpy(values, name)
    axes = np.atleast_1d(range(len(shape)) if axis is None else axis)
    if array.ndim == 1 and len(axes) == 1:
        along = np.ones(len(shape), int)
        along[axes[0]] = len(array)
        array = array.reshape(along)
    try:
        full = np.broadcast_to(array, shape)
    except ValueError:
        raise InputError(
            f"{name} must have the shape of x, {shape}, or (n,) along the one axis that is "
            f"reduced, got {np.shape(values)}"
        ) from None
    return _checks.reduced_first(full, axis, name)[0]


def _accumulate(view: NDArray[Any], share: Share, reduced: int, order: int) -> MomentSums:
    """Return the sums of all columns; the reduced axes are the first ones."""
    columns = math.prod(view.shape[reduced:])

    def sums_of(part: slice) -> MomentSums:
        sums = MomentSums(columns, order)
        for rows, weights in _slabs(view, share, part, columns):
            sums.update(rows, weights)
        return sums

    parts = _parts(view.shape[0], math.prod(view.shape[1:reduced]), columns)
    workers = min(threads(), len(parts)) if len(parts) > 1 else 1
    if workers == 1:
        all_sums = [sums_of(part) for part in parts]
    else:
        with ThreadPoolExecutor(workers) as pool:
            all_sums = list(pool.map(sums_of, parts))
    total = all_sums[0]
    for sums in all_sums[1:]:
        total.merge(sums)
    return total


def _parts(length: int, rows: int, columns: int) -> list[slice]:
    """Cut the first axis, each index of which holds `rows` rows; at least one part."""
    unit = max(1, RUN // max(1, rows))
    units = -(-length // unit)
    parts = max(1, min(_PARTS, units, length * rows * columns // _WORTH_A_PART))
    edges = [units * i // parts * unit for i in range(parts)]
    return [slice(*pair) for pair in zip(edges, [*edges[1:], length], strict=True)]


def _slabs(
    view: NDArray[Any], share: Share, part: slice, columns: int
) -> Iterator[tuple[NDArray[Any], NDArray[Any] | None]]:
    """Cut a part of the first axis into pieces (n, d), views where the strides allow it."""
    each = math.prod(view.shape[1:])
    step = max(1, _SLAB // max(1, each))
    if step > RUN:
        step -= step % RUN
    for start in range(part.start, part.stop, step):
        here = slice(start, min(start + step, part.stop))
        table = ((here.stop - start) * each // max(columns, 1), columns)
        weights, mask = (None if array is None else array[here].reshape(table) for array in share)
        if mask is not None:
            weights = np.where(mask, 1.0 if weights is None else weights, 0.0)
        yield view[here].reshape(table), weights


def _in_shape(m: Moments, kept: tuple[int, ...]) -> Moments:
    """Return moments whose columns have the shape of the kept axes; a number where there are none.

    The last axis of every attribute is that of the columns.
    """
    return Moments(
        **{
            name: values.reshape((*values.shape[:-1], *kept))[()]
            for name, values in vars(m).items()
        }
    )
