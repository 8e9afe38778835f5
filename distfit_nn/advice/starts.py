"""From fitted shifts to the parameters that the shifts of a model start from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from distfit_nn.advice.candidates import shift_layer
from distfit_nn.advice.swaps import check_names
from distfit_nn.errors import InputError
from distfit_nn.nn import LogShift
from distfit_nn.nn.shifts import Shift
from distfit_nn.stats.bimodality.atoms import set_apart
from distfit_nn.stats.rows import sorted_rows
from distfit_nn.stats.summary import Recording

Part = tuple[Recording, pd.DataFrame]

LEAVING = ("output", "norm_output")  # sites at which a norm gives values; at others they enter it


class Start(NamedTuple):
    """What some units of a shift start from.

    Attributes
    ----------
    units : int64 tensor (k,)
        Their numbers.
    logs : float64 tensor (2, k)
        Of gain and exponent.
    mean, std : float64 tensors (k,)
        Of the map, without outer gain, of the recorded values.
    """

    units: Tensor
    logs: Tensor
    mean: Tensor
    std: Tensor


def start_shifts(
    parts: tuple[Part, ...], model: nn.Module, names: dict[str, str]
) -> tuple[dict[str, int], list[str]]:
    """Start the shifts of a model, and return of how many units, and which stayed as they are.

    See `Suggestions.start`. All are checked before any is changed.
    """
    shifts = {path: module for path, module in model.named_modules() if isinstance(module, Shift)}
    check_names(names, {recording.layer for recording, _ in parts}, set(shifts), "shifts")
    starts: dict[str, Start] = {}
    for recording, units in parts:
        named = recording.layer in names
        path = names.get(recording.layer, recording.layer)
        if path in shifts and (named or recording.site not in LEAVING):
            found = _start(recording, units, type(shifts[path]))
            _check(path, shifts[path], found.units)
            if len(found.units):
                starts[path] = found
    for path, start in starts.items():
        _put_in(shifts[path], start)
    counts = {path: len(start.units) for path, start in starts.items()}
    return counts, [path for path in shifts if path not in counts]


def _start(recording: Recording, table: pd.DataFrame, kind: type[Shift]) -> Start:
    """Return the start of those units of a recording that have a fit."""
    word = "log_shift" if issubclass(kind, LogShift) else "sqrt_shift"
    fitted = table[[f"{word}_{name}" for name in [*kind.STARTS][-2:]]].to_numpy(np.float64).T
    known = (np.isfinite(fitted) & (fitted > 0)).all(axis=0)
    numbers = table["unit"].to_numpy()[known]
    columns = pd.Index(recording.units["unit"]).get_indexer(numbers)
    sample = np.empty((0, len(columns))) if recording.sample is None else recording.sample
    logs = torch.from_numpy(np.log(fitted[:, known]))
    mean, std = _moments(np.asarray(sample)[:, columns], kind, logs)
    return Start(torch.from_numpy(numbers.astype(np.int64)), logs, mean, std)


def _moments(values: Any, kind: type[Shift], logs: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of the map of columns, without their point masses."""
    rows, _ = set_apart(sorted_rows(values))
    left_out = np.arange(rows.values.shape[1]) >= rows.counts[:, None]
    x = torch.from_numpy(np.where(left_out, np.nan, rows.values)).T
    with torch.no_grad():
        y = shift_layer(kind, logs, torch.float64)(x)
    mean = y.nanmean(0)
    return mean, (y - mean).square().nanmean(0).sqrt()


def _check(path: str, layer: Shift, units: Tensor) -> None:
    if layer.shared:
        raise InputError(f"shifts must have gains for each feature, but {path!r} is shared")
    new = all(
        torch.allclose(log, torch.full_like(log, start).log(), rtol=1e-2)
        for log, start in zip(layer._logs(), layer.STARTS.values(), strict=True)
    )
    if not new:
        raise InputError(f"shifts must be as new, but {path!r} was trained, or started before")
    if len(units) and int(units.max()) >= layer.num_features:
        raise InputError(
            f"units must be features of their shift, but {path!r} has {layer.num_features}, and "
            f"unit {int(units.max())} was recorded"
        )


def _put_in(layer: Shift, start: Start) -> None:
    """Write a start into a shift; the line that it has follows the one that standardises."""
    at = start.units.to(layer._logs()[0].device)
    outer = [torch.zeros_like(start.mean)] * (len(layer.STARTS) - 2)
    with torch.no_grad():
        for log, value in zip(layer._logs(), [*outer, *start.logs], strict=True):
            log[at] = value.to(log)
        if layer.weight is None or layer.bias is None:
            return
        weight = layer.weight[at].double() / start.std.to(layer.weight.device)
        layer.bias[at] -= (weight * start.mean.to(weight.device)).to(layer.bias)
        layer.weight[at] = weight.to(layer.weight)
