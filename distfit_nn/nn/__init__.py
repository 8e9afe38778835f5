"""Layers for torch that stand in BatchNorm's place, and what puts them there."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distfit_nn.nn.copula_norm import CopulaNorm1d, CopulaNorm2d
    from distfit_nn.nn.exchange.convert import convert_norms
    from distfit_nn.nn.exchange.insert import insert_norms
    from distfit_nn.nn.kl_norm import KLNorm1d, KLNorm2d, MLENorm1d
    from distfit_nn.nn.moment_norm import MomentNorm1d, MomentNorm2d
    from distfit_nn.nn.recalibration import batch_statistics, recalibrate
    from distfit_nn.nn.shifts import LogShift, SqrtShift
    from distfit_nn.nn.targets import GaussianMixture
    from distfit_nn.nn.trimmed_norm import TrimmedNorm1d, TrimmedNorm2d

_HOME = {
    "CopulaNorm1d": "copula_norm",
    "CopulaNorm2d": "copula_norm",
    "GaussianMixture": "targets",
    "KLNorm1d": "kl_norm",
    "KLNorm2d": "kl_norm",
    "LogShift": "shifts",
    "MLENorm1d": "kl_norm",
    "MomentNorm1d": "moment_norm",
    "MomentNorm2d": "moment_norm",
    "SqrtShift": "shifts",
    "TrimmedNorm1d": "trimmed_norm",
    "TrimmedNorm2d": "trimmed_norm",
    "batch_statistics": "recalibration",
    "convert_norms": "exchange.convert",
    "insert_norms": "exchange.insert",
    "recalibrate": "recalibration",
}

__all__ = [
    "CopulaNorm1d",
    "CopulaNorm2d",
    "GaussianMixture",
    "KLNorm1d",
    "KLNorm2d",
    "LogShift",
    "MLENorm1d",
    "MomentNorm1d",
    "MomentNorm2d",
    "SqrtShift",
    "TrimmedNorm1d",
    "TrimmedNorm2d",
    "batch_statistics",
    "convert_norms",
    "insert_norms",
    "recalibrate",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'distfit_nn.nn' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"distfit_nn.nn.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
