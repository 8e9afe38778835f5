"""Follow the axis of the units from tensor to tensor through a forward pass.

A layer puts its units on an axis of its own. What the model then does to its output moves that axis
(``permute``), divides it (``view``) or keeps it (``x + y``), and each tensor has its own: of an
attention's ``q @ k.transpose(1, 2)`` only the second factor has its units elsewhere.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import torch

from distfit_nn.capture.kinds import bare_name
from distfit_nn.capture.tensors import tensors

# Names of functions, without the marks of their form.
# fmt: off
_CHANNELS_FIRST = frozenset((
    "batch_norm", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "group_norm", "instance_norm",
))
_UNITS_LAST = frozenset((
    "bilinear", "embedding", "embedding_bag", "linear", "multi_head_attention_forward",
    "scaled_dot_product_attention",
))
_NORMS_OF_SHAPES = frozenset(("layer_norm", "rms_norm"))
_MOVES = frozenset((
    "H", "T", "adjoint", "mH", "mT", "moveaxis", "movedim", "permute", "swapaxes", "swapdims", "t",
    "transpose",
))
_RESHAPES = frozenset((
    "flatten", "getitem", "reshape", "reshape_as", "squeeze", "unflatten", "unsqueeze", "view",
    "view_as",
))
# fmt: on
_PRODUCTS = frozenset(("bmm", "matmul", "mm"))
_LAYERS = _CHANNELS_FIRST | _UNITS_LAST | _NORMS_OF_SHAPES
_CHANGES = _MOVES | _RESHAPES
_Shape = tuple[int, ...]


class _Note(NamedTuple):
    """What is known of a tensor; its shape is noted as functions in place may change it."""

    tensor: weakref.ref[torch.Tensor]
    shape: _Shape
    axis: int | None


class UnitAxes:
    """On which axis the tensors of a pass have their units, as far as that can be told.

    An axis is -1 where it is the last, else it counts from the front: functions that are not known
    here, such as ``mean`` or ``cat``, mostly leave these counts as they are.
    """

    def __init__(self) -> None:
        self._notes: dict[int, _Note] = {}
        self._latest: int | None = None

    def of(self, tensor: torch.Tensor) -> int:
        """Return the unit axis of `tensor`.

        Where it was lost it is 1 of four or more axes, else the last. A tensor that no known layer
        leads to has that of the layer that ran last.
        """
        note = self._note(tensor)
        axis = self._latest if note is None else note.axis
        if axis is None or not -tensor.ndim <= axis < tensor.ndim:
            axis = 1 if tensor.ndim >= 4 else -1
        return axis if tensor.ndim > 2 else -1

    def follow(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        result: Any,
    ) -> None:
        """Note where the units of `result` are, which `function` made of its arguments."""
        made = [result] if isinstance(result, torch.Tensor) else tensors(result)
        if not made:
            return
        name = bare_name(function)
        if name in _LAYERS:
            self._latest = axis = _axis_after(name, args, kwargs)
            for tensor in made:
                self._write(tensor, 0 if _unbatched(name, tensor) else axis)
            return
        given = tensors(args) + tensors(kwargs) if kwargs else tensors(args)
        known = [note for note in map(self._note, given) if note is not None]
        if not known or (name not in _CHANGES and all(tensor is given[0] for tensor in made)):
            return  # what works in place leaves the axes as they were
        for tensor in made:
            self._write(tensor, self._axis_of_result(function, name, args, kwargs, known, tensor))

    def _axis_of_result(
        self,
        function: Callable[..., Any],
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        known: list[_Note],
        made: torch.Tensor,
    ) -> int | None:
        """Return the unit axis of what `function`, no layer, made of tensors of known axes."""
        if name in _PRODUCTS:
            given = tensors((args, kwargs))
            return _axis_of_product(*map(self._note, given)) if len(given) == 2 else None
        source = min(known, key=lambda n: (n.axis is None, len(n.shape) != made.ndim))
        if source.axis is not None and name in _MOVES:
            return _moved(function, args, kwargs, len(source.shape), source.axis)
        if source.axis is not None and name in _RESHAPES and not made.is_nested:
            return _reshaped(source.shape, source.axis, tuple(made.shape))
        return source.axis

    def _note(self, tensor: torch.Tensor) -> _Note | None:
        note = self._notes.get(id(tensor))
        return note if note is not None and note.tensor() is tensor else None

    def _write(self, tensor: torch.Tensor, axis: int | None) -> None:
        if tensor.is_nested:  # has no shape
            return
        shape = tuple(tensor.shape)
        if axis is not None and shape and axis % len(shape) == len(shape) - 1:
            axis = -1
        self._notes[id(tensor)] = _Note(weakref.ref(tensor), shape, axis)


def _axis_after(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Return the unit axis of what the function of a layer returns."""
    if name in _CHANNELS_FIRST:
        return 1
    if name in _NORMS_OF_SHAPES:
        shape = args[1] if len(args) > 1 else kwargs.get("normalized_shape")
        return -len(shape) if isinstance(shape, (tuple, list)) else -1
    return -1


def _axis_of_product(left: _Note | None, right: _Note | None) -> int | None:
    """Return the unit axis of a matrix product: its columns are those of the right factor.

    Units that it sums over are gone: the product of queries and keys has none. What is not known,
    such as a parameter, is a matrix that makes units of its own.
    """
    if right is not None:
        if right.axis == -1:
            return -1
        return left.axis if left is not None and left.axis != -1 else None
    return None if left is None else left.axis


def _unbatched(name: str, made: torch.Tensor) -> bool:
    """Return whether `made` is a convolution of one image alone, (channels, height, width)."""
    return name.startswith("conv") and made.ndim == 1 + int(name[-2])


def _moved(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    ndim: int,
    axis: int,
) -> int | None:
    """Return where `function` puts `axis`: a tensor whose other axes have size 1 shows it."""
    sizes = [1] * ndim
    sizes[axis] = 2
    probe = torch.empty(sizes, device="meta")

    def probed(value: Any) -> Any:
        return probe if isinstance(value, torch.Tensor) else value

    try:
        moved = function(*map(probed, args), **{key: probed(kwargs[key]) for key in kwargs})
        return list(moved.shape).index(2)
    except Exception:  # a function of another library that bears this name
        return None


def _reshaped(old: _Shape, axis: int, new: _Shape) -> int | None:
    """Return where a reshape from `old` to `new` puts `axis`; of a divided one the last part.

    None if it is merged with another. In either shape the axis has as many values after it.
    """
    if old == new or prod(old) != prod(new):  # the latter by an index that picks
        return axis
    axis %= len(old)
    size, after = old[axis], prod(old[axis + 1 :])
    for place, part in enumerate(new):
        whole = part == size or (part > 1 and size % part == 0)
        if whole and prod(new[place + 1 :]) == after:
            return place
    return None
