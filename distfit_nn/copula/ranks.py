"""Soft and hard ranks of arrays and tensors.

The soft rank of x_i among x_1, ..., x_n is

    s_i = sum_j 1 / (1 + exp(-strength (x_i - x_j))),

the sum over all j, i included, which adds 1/2. As strength grows it tends to the hard rank: the
number of smaller values, half the number of equal ones, itself included. Either lies between 1/2
and n - 1/2, and the sum over i is n^2 / 2.

The sum is not taken term by term: see `distfit_nn.copula.logistic_sum` for the idea, and
`distfit_nn.copula.sweep_kernel` for the recursions, which take n log n operations to sort and n
more.
"""

from __future__ import annotations

import math
import sys
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn._checks import to_numpy
from distfit_nn.errors import InputError

Array = NDArray[Any]

EXACT = 2**53  # whole numbers beyond it are not all float64


def soft_rank(x: Any, strength: Any, dim: int = 0) -> Any:
    """Return the soft ranks s_i = sum_j 1 / (1 + exp(-strength (x_i - x_j))) along one axis.

    Parameters
    ----------
    x : array_like or torch.Tensor
        Real numbers of any shape but (), with at least one entry. Infinite values are ordered as
        the extremes; a NaN makes its own column NaN.
    strength : float or array_like or torch.Tensor
        Positive and finite, in units of 1 / x: one number, in an array of any shape; or one a
        column, in the shape of `x` without `dim`, or with 1 for it, or one broadcast to either.
    dim : int
        The axis of the values that are ranked with each other.

    Returns
    -------
    numpy.ndarray or torch.Tensor
        In the shape of `x`, between 1/2 and n - 1/2. Floating dtypes stay what they are; integers
        and booleans give float64, of a tensor torch's default dtype. A tensor has a gradient with
        respect to `x` and `strength`, once: the gradient of a gradient raises.

    Raises
    ------
    InputError
        `x` or `strength` is not as above, or `dim` is not an axis of `x`. So it is for tensors
        within a transform of torch.func (grad, vmap, jacrev, ...), torch.export or torch.jit.trace,
        where their numbers are not at hand; torch.compile breaks its graph here.

    Notes
    -----
    float16 and bfloat16 are ranked in float32 and rounded: they hold whole ranks exactly to 2048
    and 256, and those with a half, which values without ties have, to 1024 and 128. Ranks beyond
    65504, the largest number of float16, are that number.

    The `soft_rank` of torchsort is another function: its ranks go from 1 to n along the last
    dimension, and a larger regularization_strength is softer. Here they go from 1/2 to n - 1/2
    along the first, unless `dim` says otherwise, and a larger strength is harder.

    The error of s_i / n is below 2e-11 in float64 and 2e-8, or two roundings, in float32; that of
    the gradient, relative to the sum of the sizes of its terms, 2e-9 and 2e-6. On devices other
    than the CPU, where float32 is added in float32, these are 1e-6 and 3e-5.

    Examples
    --------
    >>> from distfit_nn.copula import soft_rank
    >>> soft_rank([0.0, 1.0, 1.0, 4.0], strength=1.0).round(3)
    array([1.056, 1.778, 1.778, 3.387])
    """
    tensors = _tensors(x, strength)
    if tensors is not None:
        return tensors.soft_rank(x, strength, dim)
    columns, shape, dtype = _columns(x, dim)
    each = per_column(strength, shape[1:], columns.shape[1], int(dim))
    below = _engine().soft_counts(columns, each, 0, False)[0]
    return _restored(_within(below, dtype), shape, dim, dtype)


def hard_rank(x: Any, dim: int = 0) -> Any:
    """Return the ranks of values along one axis: from 1/2 to n - 1/2, ties sharing their mean.

    The rank of x_i is the number of smaller values plus half the number of equal ones, itself
    included; scipy.stats.rankdata less 1/2. `soft_rank` tends to it as its strength grows.

    Parameters
    ----------
    x : array_like or torch.Tensor
        As for `soft_rank`. A NaN makes its own column NaN.
    dim : int
        The axis of the values that are ranked with each other.

    Returns
    -------
    numpy.ndarray or torch.Tensor
        In the shape and dtype of `x`, as `soft_rank` has them. It is constant but where values
        cross: a tensor of ranks has no gradient.

    Raises
    ------
    InputError
        `x` is not as above, or `dim` is not an axis of `x`.

    Examples
    --------
    >>> from distfit_nn.copula import hard_rank
    >>> hard_rank([0.0, 1.0, 1.0, 4.0])
    array([0.5, 2. , 2. , 3.5])
    """
    tensors = _tensors(x)
    if tensors is not None:
        return tensors.hard_rank(x, dim)
    columns, shape, dtype = _columns(x, dim, by_order=True)
    return _restored(_within(hard_counts(columns)[0], dtype), shape, dim, dtype)


def soft_counts(x: Any, strength: Any) -> tuple[Any, Any]:
    """Return the soft counts below and above each value of the columns of x (n, d).

    x is a float32 or float64 array or tensor, strength one positive number or d of them. Their sum
    is n, but each is counted from its own side: the smaller keeps all its digits.
    """
    tensors = _tensors(x, strength)
    if tensors is not None:
        return tensors.soft_counts(x, strength)
    each = per_column(strength, x.shape[1:], x.shape[1])
    below, above = _engine().soft_counts(x, each, 1, False)
    return below, above


def soft_normal_scores(x: Any, strength: Any) -> Any:
    """Return the normal quantiles of s / n of the columns of x (n, d): `soft_counts`, then ndtri.

    From the count below in the lower half, from that above in the upper.
    """
    tensors = _tensors(x, strength)
    if tensors is not None:
        return tensors.soft_normal_scores(x, strength)
    each = per_column(strength, x.shape[1:], x.shape[1])
    return _engine().soft_counts(x, each, 2, False)[0]


def hard_counts(x: Any) -> tuple[Any, Any]:
    """Return the counts below and above each value of the columns of x (n, d), ties half each.

    x is a float32 or float64 array or tensor.
    """
    tensors = _tensors(x)
    if tensors is not None:
        return tensors.hard_counts(x)
    halves = np.arange(1, 2 * len(x)) / 2.0
    below, above = _engine().hard_scores(x, [halves, halves[::-1].copy()])
    return below, above


def hard_scores(x: Array, table: NDArray[np.float64]) -> Array:
    """Return what a table makes of the hard ranks of the columns of an array x (n, d).

    table (2 n - 1,) holds the scores of the ranks 1/2, 1, 3/2, ..., n - 1/2.
    """
    return _engine().hard_scores(x, [table])[0]


def per_column(
    strength: Any, shape: tuple[int, ...], columns: int, axis: int | None = None
) -> NDArray[np.float64]:
    """Return the strength of each column (d,), from one number or an array of that shape.

    `axis` is that of the values, which an array may have kept with a length of 1.
    """
    given = to_numpy(strength, "strength").astype(np.float64)
    good = (given > 0) & (given < np.inf)
    if not good.all():
        raise InputError(f"strength must be positive and finite, got {given[~good].flat[0]}")
    try:
        return np.broadcast_to(of_columns(given, shape, axis), shape).reshape(columns)
    except ValueError:
        raise InputError(
            f"strength must be one number, or have the shape {shape} of x without dim or one that"
            f" is broadcast to it, or that of x with 1 for dim, got shape {given.shape}"
        ) from None


def of_columns(strength: Any, shape: tuple[int, ...], axis: int | None) -> Any:
    """Return an array or tensor without the axis of the values, one element as a number."""
    if math.prod(strength.shape) == 1:
        return strength.reshape(())
    kept = axis is not None and strength.ndim == len(shape) + 1 and strength.shape[axis] == 1
    return strength.squeeze(axis) if kept else strength


def check_axis(shape: tuple[int, ...], dim: Any) -> int:
    """Return `dim` as an axis from 0, of an array that has values to rank."""
    if len(shape) == 0 or 0 in shape:
        raise InputError(f"x must have an axis and at least one value, got shape {shape}")
    whole = isinstance(dim, (int, np.integer)) and not isinstance(dim, bool)
    if not whole or not -len(shape) <= dim < len(shape):
        raise InputError(f"dim must be an axis of x, of shape {shape}, got {dim!r}")
    return int(dim) % len(shape)


def _columns(x: ArrayLike, dim: Any, by_order: bool = False) -> tuple[Array, tuple[int, ...], Any]:
    """Return x as float columns (n, d), its shape with `dim` in front, and the dtype of ranks.

    With `by_order`, only the order of values is kept where float64 cannot tell them apart.
    """
    array = to_numpy(x)
    axis = check_axis(array.shape, dim)
    dtype = array.dtype if array.dtype.kind == "f" else np.dtype(np.float64)
    moved = np.moveaxis(array, axis, 0)
    shape = moved.shape
    columns = moved.reshape(len(moved), -1)
    if by_order and array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        columns = _exact(columns)
    plain = np.float32 if dtype.itemsize <= 4 else np.float64
    with np.errstate(over="ignore"):  # a long double may become inf
        return columns.astype(plain, copy=False), shape, dtype


def _exact(columns: Array) -> Array:
    """Return integers, or, of a column that float64 cannot hold, the order of each among them."""
    if max(int(columns.max()), -int(columns.min())) <= EXACT:
        return columns
    places = [np.unique(column, return_inverse=True)[1] for column in columns.T]
    return np.stack(places, axis=1)


def _within(ranks: Array, dtype: Any) -> Array:
    """Return ranks with those beyond a short dtype as its largest number."""
    if dtype.itemsize < ranks.itemsize:
        np.minimum(ranks, np.finfo(dtype).max, out=ranks)
    return ranks


def _restored(ranks: Array, shape: tuple[int, ...], dim: int, dtype: Any) -> Array:
    """Return columns of ranks in the shape and dtype that they came in."""
    return np.moveaxis(ranks.reshape(shape), 0, dim).astype(dtype, copy=False)


def _engine() -> ModuleType:
    from distfit_nn.copula import columns  # importing numba takes a third of a second

    return columns


def _tensors(*values: Any) -> ModuleType | None:
    """Return the functions for tensors if one of the values is a tensor."""
    torch = sys.modules.get("torch")  # a tensor can only come from a torch that is loaded
    if torch is None or not any(isinstance(value, torch.Tensor) for value in values):
        return None
    from distfit_nn.copula.tensors import ranks as tensors

    return tensors
