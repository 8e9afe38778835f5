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

import sys
from types import ModuleType
from typing import Any

from distfit_nn.copula import columns as engine
from distfit_nn.copula.arguments import array_columns, cast, per_column, restored


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
    than the CPU, where float32 is added in float32, these are 1e-6 and 3e-5. Pairs whose slope is
    below 1e-20 count as 0; and as the gradient by strength adds up x times that by x, over
    strength, it has the rounding of the largest of these.

    Examples
    --------
    >>> from distfit_nn.copula import soft_rank
    >>> soft_rank([0.0, 1.0, 1.0, 4.0], strength=1.0).round(3)
    array([1.056, 1.778, 1.778, 3.387])
    """
    tensors = _tensors(x, strength)
    if tensors is not None:
        return tensors.soft_rank(x, strength, dim)
    columns, shape, dtype = array_columns(x, dim)
    each = per_column(strength, shape[1:], columns.shape[1], int(dim))
    below, *_ = engine.soft_counts(columns, each, engine.BELOW, keep=False)
    return restored(cast(below, dtype), shape, dim)


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
    columns, shape, dtype = array_columns(x, dim, by_order=True)
    below, _ = engine.hard_counts(columns)
    return restored(cast(below, dtype), shape, dim)


def _tensors(*values: Any) -> ModuleType | None:
    """Return the functions for tensors if one of the values is a tensor."""
    torch = sys.modules.get("torch")  # a tensor can only come from a torch that is loaded
    if torch is None or not any(isinstance(value, torch.Tensor) for value in values):
        return None
    from distfit_nn.copula.tensors import ranks as tensors

    return tensors
