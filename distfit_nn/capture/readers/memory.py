"""What is in memory: arrays, tensors, DataFrames, mappings of them, and outputs of models."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distfit_nn import _checks
from distfit_nn._checks import shortened
from distfit_nn.capture.readers.found import Found
from distfit_nn.errors import InputError

# Parts of a model's output that are read alone where there are any: the rest repeats them, or is
# as wide as a vocabulary.
_STATES = ("hidden_states", "attentions")
_HEADS = 1  # axis of attention weights (batch, heads, queries, keys)


def from_memory(source: Any) -> Iterator[Found]:
    """Return an iterator over the layers of what is no path; names are checked at once."""
    if _is_output(source):
        return _from_output(source)
    if _is_series(source):
        return _states("hidden_states", source)
    if not isinstance(source, Mapping):
        return iter([_found("x", source)])
    if not source:
        raise InputError("a mapping of layers must not be empty")
    for name in source:
        _checks.text(name, "the name of a layer")
    return _from_mapping(source)


def _from_mapping(source: Mapping[str, Any]) -> Iterator[Found]:
    for name, values in source.items():
        if _is_series(values):
            yield from _states(name, values)
        else:
            yield _found(name, values)


def _is_output(source: Any) -> bool:
    """Return whether that is a ModelOutput of transformers, or of another library like it."""
    return isinstance(source, Mapping) and callable(getattr(source, "to_tuple", None))


def _from_output(output: Mapping[str, Any]) -> Iterator[Found]:
    """Yield the states of a model's output; where it has none, all its tensors."""
    states = [name for name in output if str(name).endswith(_STATES)]
    names = [name for name in states if _is_series(output[name])]
    if not names:
        names = [name for name, values in output.items() if _is_series(values) or _ndim(values) > 1]
    if not names:
        raise InputError("the output of the model holds no tensors that have rows and units")
    for name in names:
        if _is_series(output[name]):
            yield from _states(name, output[name])
        else:
            yield Found(name, output[name], unit_axis=-1)


def _states(name: str, states: Any) -> Iterator[Found]:
    """Yield the tensors of nested tuples, named by their places."""
    for place, values in enumerate(states):
        if _is_series(values):
            yield from _states(f"{name}.{place}", values)
        else:
            heads = name.split(".")[0].endswith("attentions") and _ndim(values) == 4
            yield Found(f"{name}.{place}", values, unit_axis=_HEADS if heads else -1)


def _is_series(values: Any, depth: int = 3) -> bool:
    """Return whether that is a tuple or list of arrays of two axes or more, or of such tuples."""
    if not isinstance(values, (tuple, list)) or not values or depth == 0:
        return False
    return all(_ndim(one) > 1 or _is_series(one, depth - 1) for one in values)


def _ndim(values: Any) -> int:
    """Return how many axes an array or a tensor has; 0 for anything else."""
    torch = sys.modules.get("torch")
    if isinstance(values, np.ndarray) or (torch and isinstance(values, torch.Tensor)):
        return int(values.ndim)
    return 0


def _found(layer: str, values: Any) -> Found:
    """Return a layer; the columns of a pandas object have names."""
    pandas = sys.modules.get("pandas")  # a DataFrame can only come from a pandas that is loaded
    if pandas is None or not isinstance(values, (pandas.DataFrame, pandas.Series)):
        return Found(layer, values)
    if isinstance(values, pandas.Series):
        return Found(layer, _numbers(values.name, values))
    return from_frame(layer, values)


def from_frame(layer: str, frame: Any) -> Found:
    """Return a DataFrame, whose columns are units, as a layer."""
    names = tuple(_checks.text(str(name), "the name of a column") for name in frame.columns)
    if frame.empty:
        return Found(layer, np.empty(frame.shape), names)
    columns = [_numbers(name, column) for name, column in frame.items()]
    return Found(layer, np.column_stack(columns), names)


def _numbers(name: Any, column: Any) -> NDArray[Any]:
    from pandas.api import types

    if not (types.is_any_real_numeric_dtype(column) or types.is_bool_dtype(column)):
        shown = shortened(repr(name))
        raise InputError(f"column {shown} must hold real numbers, got {column.dtype}")
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy()
    return column.to_numpy(dtype=np.float64, na_value=np.nan)  # pandas' own types may hold NA
