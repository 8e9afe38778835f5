"""Soft and hard ranks of tensors, with gradients: `distfit_nn.copula.ranks` on a tensor's device.

On the CPU the compiled kernels work on the memory of the tensors; on every other device torch's own
operators do. Either way a forward pass keeps the sorted columns, if a gradient may be asked for,
and a backward pass needs no sorting.

`torch.compile` breaks its graph and calls the ranks as they are. The transforms of `torch.func`,
`torch.export` and `torch.jit.trace` do not go through them, and are refused: columns are the batch
here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from distfit_nn._checks import to_numpy
from distfit_nn.copula.arguments import check_axis, of_columns, per_column
from distfit_nn.copula.tensors import operators
from distfit_nn.errors import InputError
from distfit_nn.maxent.tensors.checks import at_hand

BELOW, BOTH, NORMAL = range(3)  # what is returned, as in `rank_kernel`

Tensors = tuple[Tensor, ...]
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def _uncompiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Keep torch.compile from looking into a function: it cannot see what kernels do.

    Not as a plain `torch.compiler.disable`, which imports the compiler for those who never use it.
    """

    @wraps(function)
    def called(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if torch.compiler.is_compiling():
            whole: Callable[Arguments, Result] = torch.compiler.disable(function)
            return whole(*args, **kwargs)
        return function(*args, **kwargs)

    return called


@_uncompiled
def soft_rank(x: Any, strength: Any, dim: int = 0) -> Tensor:
    """Return the soft ranks of a tensor: see `distfit_nn.copula.soft_rank`.

    `x` or `strength` is a tensor; where `x` is an array, the ranks are on the strength's device.
    """
    x = _tensor(x, strength)
    axis = check_axis(tuple(x.shape), dim)
    columns = _columns(x, axis)
    others = tuple(x.movedim(axis, 0).shape[1:])
    (below,) = _soft(columns, _strength(strength, columns, others, axis), BELOW)
    return _shaped(below, x, axis)


@_uncompiled
def hard_rank(x: Tensor, dim: int = 0) -> Tensor:
    """Return the hard ranks of a tensor: see `distfit_nn.copula.hard_rank`. They have no gradient.

    64-bit integers are told apart to the last bit.
    """
    axis = check_axis(tuple(at_hand(x, "x").shape), dim)
    with torch.no_grad():
        if x.dtype in (torch.int64, torch.uint64):
            below, _ = operators.hard_counts(_flattened(_ordered(x), axis))
        else:
            below, _ = hard_counts(_columns(x, axis))
        return _shaped(below, x, axis)


@_uncompiled
def soft_counts(x: Any, strength: Any) -> tuple[Tensor, Tensor]:
    """Return the soft counts below and above each value of the columns of x (n, d).

    x is float32 or float64, strength one positive number or d of them. Either count has gradients
    with respect to both.
    """
    x = _tensor(x, strength)
    below, above = _soft(x, _strength(strength, x, (x.shape[1],)), BOTH)
    return below, above


@_uncompiled
def soft_normal_scores(x: Any, strength: Any) -> Tensor:
    """Return the normal quantiles of s / n of the columns of x (n, d), as one operation.

    x is float32 or float64, strength one positive number or d of them. With gradients with respect
    to both.
    """
    x = _tensor(x, strength)
    (scores,) = _soft(x, _strength(strength, x, (x.shape[1],)), NORMAL)
    return scores


@_uncompiled
def hard_counts(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the counts below and above each value of the columns of x (n, d), ties half each.

    x is float32 or float64. The counts have no gradient.
    """
    if not _compiled(at_hand(x, "x")):
        return operators.hard_counts(x.detach())
    from distfit_nn.copula import columns

    below, above = columns.hard_counts(_lent(x))
    return torch.from_numpy(below), torch.from_numpy(above)


# What goes in and comes out


def _tensor(x: Any, strength: Any) -> Tensor:
    """Return x as a tensor; of an array, beside the strength."""
    if isinstance(x, Tensor):
        return at_hand(x, "x")
    array = to_numpy(x)
    real = array if array.dtype in (np.float16, np.float32) else array.astype(np.float64)
    return torch.as_tensor(real, device=strength.device)


def _flattened(x: Tensor, axis: int) -> Tensor:
    """Return a tensor as (n, d), n that along the axis."""
    return x.movedim(axis, 0).reshape(x.shape[axis], x.numel() // x.shape[axis])


def _columns(x: Tensor, axis: int) -> Tensor:
    """Return a tensor as (n, d), float32 or float64, which holds its integers as they are."""
    if not x.is_floating_point():
        x = x.to(torch.float64)
    elif x.dtype not in (torch.float32, torch.float64):
        x = x.to(torch.float32)
    return _flattened(x, axis)


def _shaped(columns: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return (n, d) in the shape of x and its dtype, torch's default for integers.

    What is beyond a short dtype becomes its largest number.
    """
    dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    largest = torch.finfo(dtype).max
    if len(columns) > largest:
        columns = columns.clamp(max=largest)
    return columns.to(dtype).reshape(x.movedim(axis, 0).shape).movedim(0, axis)


def _ordered(x: Tensor) -> Tensor:
    """Return 64-bit integers as signed ones in the same order."""
    return x if x.dtype == torch.int64 else x.view(torch.int64) ^ torch.iinfo(torch.int64).min


def _strength(strength: Any, x: Tensor, others: tuple[int, ...], axis: int | None = None) -> Tensor:
    """Return the strength as a tensor, () or (d,), if it is positive, finite and fits.

    To look at a tensor on another device than the CPU waits for that device.
    """
    at_hand(x, "x")
    if isinstance(strength, Tensor):
        at_hand(strength, "strength")
    each = per_column(strength, others, x.shape[1], axis)
    if isinstance(strength, Tensor):
        given: Tensor = of_columns(strength, others, axis)
        if given.ndim == 0:
            return given
        if strength.device != x.device:
            raise InputError(f"strength must be on {x.device}, as x is, got {strength.device}")
        return given.broadcast_to(others).reshape(x.shape[1])
    dtype = torch.float64 if x.device.type == "cpu" else x.dtype
    if np.size(strength) == 1:
        return torch.full((), float(each[0]), dtype=dtype, device=x.device)
    return torch.tensor(each, dtype=dtype, device=x.device)


# Forward and backward


def _soft(x: Tensor, strength: Tensor, mode: int) -> Tensors:
    """Return counts or scores, on the graph if there is one."""
    if torch.is_grad_enabled() and (x.requires_grad or strength.requires_grad):
        results: Tensors = _Soft.apply(x, strength, mode)
        return results
    return _forward(x, strength, mode, keep=False)


def _count(mode: int) -> int:
    return 2 if mode == BOTH else 1


class _Soft(Function):
    """Counts or scores of columns.

    Without a `setup_context`, as torch.func would have it: that costs a twentieth of the time of a
    small batch.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: Tensor, mode: int) -> Tensors:
        outputs = _forward(x, strength, mode, keep=True)
        results, kept = outputs[: _count(mode)], outputs[_count(mode) :]
        ctx.mode = mode
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, strength, *kept, *(results if mode == NORMAL else ()))
        return results

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, ...]:
        if all(g is None for g in given):
            return None, None, None
        if torch.is_grad_enabled():  # with create_graph=True
            slopes = _Slopes.apply(ctx.mode, len(given), *given, *ctx.saved_tensors)
        else:
            slopes = _backward(ctx.mode, given, ctx.saved_tensors)
        return (*slopes, None)


class _Slopes(Function):
    """The gradients, which have none of their own."""

    @staticmethod
    def forward(_ctx: Any, mode: int, count: int, *parts: Any) -> Tensors:
        return _backward(mode, parts[:count], parts[count:])

    @staticmethod
    def backward(_ctx: Any, *_grads: Tensor) -> NoReturn:
        raise RuntimeError("soft ranks can be differentiated once, not twice")


def _forward(x: Tensor, strength: Tensor, mode: int, *, keep: bool) -> Tensors:
    """Return counts or scores (n, d) and, to keep, what `_backward` takes beside x and strength."""
    if _compiled(x):
        from distfit_nn.copula import columns

        results = columns.soft_counts(_lent(x), _numbers(strength, x), mode, keep)
        return tuple(torch.from_numpy(result) for result in results)
    below, above, (*_, order) = operators.soft_counts(x.detach(), strength.detach())
    kept = (order,) if keep else ()
    if mode == NORMAL:
        return (operators.normal_scores(below, above), *kept)
    return (*(below, above)[: _count(mode)], *kept)


def _backward(mode: int, given: tuple[Tensor | None, ...], saved: Tensors) -> Tensors:
    """Return the gradients by x and strength, from those by what `_forward` returned."""
    x, strength, *kept = saved
    if _compiled(x):
        from distfit_nn.copula import columns

        net = _net(given).contiguous()
        scores = _lent(kept[3]) if mode == NORMAL else None
        inside = columns.Kept(*(part.numpy() for part in kept[:3]))
        slopes = columns.soft_slopes(inside, _numbers(strength, x), _lent(net), scores)
        dx, each = (torch.from_numpy(slope) for slope in slopes)
        dstrength = each if strength.ndim else each.sum()
    else:
        net = _net(given)
        if mode == NORMAL:
            net = operators.normal_scores_backward(kept[1], net)
        sorting = (x.detach(), strength.detach(), kept[0])
        dx, dstrength = operators.soft_counts_backward(sorting, net, None)
    return dx, dstrength.to(strength.device, strength.dtype)


def _compiled(x: Tensor) -> bool:
    """Tell whether the compiled kernels reach the memory of a tensor."""
    return x.device.type == "cpu"


def _net(given: tuple[Tensor | None, ...]) -> Tensor:
    """Return the gradient by the counts below less that by those above, if there are such."""
    below, above = (*given, None)[:2]
    if below is None:
        return -above  # type: ignore[operator]
    return below if above is None else below - above


def _lent(x: Tensor) -> Any:
    """Return the memory of a tensor on the CPU as an array."""
    return x.detach().resolve_neg().numpy()


def _numbers(strength: Tensor, x: Tensor) -> Any:
    """Return the strength of each column as an array (d,)."""
    return _lent(strength.to("cpu", torch.float64).expand(x.shape[1]))
