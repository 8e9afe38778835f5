"""Maps between distributions, each with its inverse and its derivative.

What is named here is imported when it is first used: the transformers need scikit-learn, the
others do not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distfit_nn.transforms.copula import CopulaTransformer
    from distfit_nn.transforms.estimators import MaxEntTransformer
    from distfit_nn.transforms.quantile import QuantileMap, quantile_match

__all__ = ["CopulaTransformer", "MaxEntTransformer", "QuantileMap", "quantile_match"]

_HOME = {
    "CopulaTransformer": "distfit_nn.transforms.copula",
    "MaxEntTransformer": "distfit_nn.transforms.estimators",
    "QuantileMap": "distfit_nn.transforms.quantile",
    "quantile_match": "distfit_nn.transforms.quantile",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'distfit_nn.transforms' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
