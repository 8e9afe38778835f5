"""From suggested layers to the calls of `convert_norms` that put them into a model."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pandas as pd
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import distfit_nn.nn as layers
from distfit_nn.advice.candidates import CANDIDATES
from distfit_nn.errors import InputError

_BY_NAME = {candidate.name: candidate for candidate in CANDIDATES}


def calls(
    table: pd.DataFrame, model: nn.Module, names: dict[str, str], target: Any
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return arguments for `convert_norms`, and the recorded layers that no norm was found for.

    See `Suggestions.conversion`.
    """
    norms = {path for path, module in model.named_modules() if isinstance(module, _BatchNorm)}
    check_names(names, set(table["layer"]), norms, "BatchNorms")
    before = _before(model, norms) | {norm: norm for norm in norms} | names
    grouped: dict[str, list[str]] = {}
    homeless: list[str] = []
    for layer, suggestion in zip(table["layer"], table["suggestion"], strict=True):
        candidate = _BY_NAME.get(suggestion)
        if candidate is None or candidate.level < 2:
            continue
        norm = before.get(layer)
        if norm is None:
            homeless.append(layer)
        else:
            grouped.setdefault(suggestion, []).append(norm)
    return [_call(name, norms, target) for name, norms in grouped.items()], homeless


def check_names(names: dict[str, str], recorded: set[str], norms: set[str], what: str) -> None:
    """Raise `InputError` unless all names lead from what was recorded to such modules."""
    for layer, norm in names.items():
        if layer not in recorded:
            raise InputError(f"names must be of layers that were recorded, got {layer!r}")
        if norm not in norms:
            raise InputError(f"names must lead to {what} of the model, got {norm!r}")


def _before(model: nn.Module, norms: set[str]) -> dict[str, str]:
    """Return the norm that stands just before each module among the children of its parent."""
    found = {}
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        children = [prefix + name for name, _ in module.named_children()]
        found.update({after: first for first, after in pairwise(children) if first in norms})
    return found


def _call(name: str, norms: list[str], target: Any) -> dict[str, Any]:
    candidate = _BY_NAME[name]
    shaped = candidate.gives == "scores" and not (isinstance(target, str) and target == "normal")
    options = {**candidate.options, **({"target": target} if shaped else {})}
    kind = getattr(layers, str(candidate.layer))
    return {"layer": kind, "names": list(dict.fromkeys(norms)), **options}
