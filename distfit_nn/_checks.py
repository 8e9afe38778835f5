"""Argument checks: one function for each rule that recurs; it returns the value, made canonical."""

from __future__ import annotations

import reprlib
import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distfit_nn.errors import InputError


def to_numpy(values: ArrayLike, name: str = "x") -> NDArray[Any]:
    """Return `values` as a NumPy array of real numbers, without a copy where none is needed.

    A torch tensor on any device is detached and brought to the CPU; bfloat16, which NumPy lacks,
    becomes float32 (exactly). Complex, object, string, datetime and masked arrays raise
    `InputError`.
    """
    torch = sys.modules.get("torch")  # a tensor can only come from a torch that is loaded
    if torch is not None and isinstance(values, torch.Tensor):
        values = _tensor_to_numpy(values, name)
    try:
        array = np.asarray(unmasked(values, name))
    except (ValueError, TypeError) as error:
        raise InputError(f"{name} must be an array of real numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
    return array


def unmasked(values: Any, name: str) -> Any:
    """Return `values` as they are, unless they are a masked array with anything masked."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise InputError(f"{name} must not be masked; set what is masked to NaN, or leave it out")
    return values


def _tensor_to_numpy(tensor: Any, name: str) -> NDArray[Any]:
    """Return a tensor as an array on the CPU; sparse, quantised and meta tensors are refused."""
    try:
        plain = tensor.detach()
        if str(plain.dtype) == "torch.bfloat16":
            plain = plain.float()
        return plain.cpu().resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{name} must be a plain array of numbers: {reason}") from None


def as_columns(values: ArrayLike, name: str = "x") -> tuple[NDArray[Any], bool]:
    """Return `values` as (n, d) and whether it came as one column of shape (n,)."""
    array = to_numpy(values, name)
    if array.ndim not in (1, 2):
        raise InputError(f"{name} must have shape (n,) or (n, d), got {array.shape}")
    single = array.ndim == 1
    if single:
        array = array[:, None]
    if array.shape[1] == 0:
        raise InputError(f"{name} must have at least one column, got shape {array.shape}")
    return array, single


def one_of(value: Any, choices: tuple[Any, ...], name: str) -> Any:
    """Return `value` if it is one of `choices`."""
    if isinstance(value, (bool, np.ndarray)) or value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise InputError(f"{name} must be one of {listed}, got {reprlib.repr(value)}")
    return value


def whole_number(value: Any, name: str, least: int = 0) -> int:
    """Return `value` as an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InputError(
            f"{name} must be a whole number of at least {least}, got {reprlib.repr(value)}"
        )
    return int(value)


def positive_int(value: Any, name: str) -> int:
    """Return `value` as an int of at least 1."""
    return whole_number(value, name, 1)


def reduced_first(
    array: NDArray[Any], axis: int | tuple[int, ...] | None, name: str = "x"
) -> tuple[NDArray[Any], int]:
    """Return a view with the axes to reduce in front, in their order, and how many they are.

    As in NumPy, `axis` is an int, a tuple of ints, or None for all axes.
    """
    if array.ndim == 0:
        raise InputError(f"{name} must have at least one axis, got a single number")
    given = range(array.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    whole = all(isinstance(a, (int, np.integer)) and not isinstance(a, bool) for a in given)
    axes = [int(a) + array.ndim * (a < 0) for a in given] if whole else []
    if not axes or len(set(axes)) < len(axes) or not all(0 <= a < array.ndim for a in axes):
        raise InputError(
            f"axis must name axes of {name}, of shape {array.shape}, got {reprlib.repr(axis)}"
        )
    return np.moveaxis(array, axes, range(len(axes))), len(axes)


def text(value: Any, name: str) -> str:
    """Return `value` if it is text that UTF-8 can hold: a lone surrogate is no character."""
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, got {reprlib.repr(value):.80}")
    try:
        value.encode()
    except UnicodeEncodeError:
        shown = reprlib.repr(value)
        raise InputError(f"{name} must be valid Unicode text, got {shown:.80}") from None
    return value


def optional_axis(value: Any, name: str) -> int | None:
    """Return `value` as an int, or None as it is."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InputError(f"{name} must be a whole number, got {reprlib.repr(value)}")
    return int(value)


def number_between(value: Any, name: str, least: float, most: float) -> float:
    """Return `value` as a float, if it is one from `least` to `most`."""
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    if isinstance(value, bool) or not is_number or not least <= value <= most:
        raise InputError(
            f"{name} must be a number from {least:g} to {most:g}, got {reprlib.repr(value)}"
        )
    return float(value)


def number_inside(value: Any, name: str, above: float, below: float) -> float:
    """Return `value` as a float, if it is one above `above` and below `below`."""
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    if isinstance(value, bool) or not is_number or not above < value < below:
        raise InputError(
            f"{name} must be a number above {above:g} and below {below:g}, "
            f"got {reprlib.repr(value)}"
        )
    return float(value)


def flag(value: Any, name: str) -> bool:
    """Return `value` as a bool, if it is one."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name} must be True or False, got {reprlib.repr(value)}")
    return bool(value)


def generator(random_state: Any) -> np.random.Generator:
    """Return the generator that `random_state` is, or a new one of that seed."""
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"random_state must be None, a seed or a Generator, got {reprlib.repr(random_state)}: "
            f"{error}"
        ) from None


def seed(random_state: Any) -> int:
    """Return a seed drawn from `random_state`, for children that are told apart by a number."""
    return int(generator(random_state).integers(2**63))


def shortened(text: object, longest: int = 200) -> str:
    """Return the first line of a text, or its beginning and end where that is long."""
    line = next(iter(str(text).strip().splitlines()), "")
    return line if len(line) <= longest else f"{line[: longest - 50]} ... {line[-45:]}"
