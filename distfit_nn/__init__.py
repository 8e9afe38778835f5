"""Show, measure and fit how the activations of neural networks are distributed.

The submodules and functions below are imported when they are first used, so that
``import distfit_nn`` costs nothing: neither torch, numba, statsmodels nor seaborn is loaded by it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distfit_nn import copula, errors, maxent, nn, plots, stats, transforms
    from distfit_nn.advice.suggestion import Suggestions, suggest
    from distfit_nn.analysis import Analysis, analyze
    from distfit_nn.capture.preview import sites
    from distfit_nn.capture.recorder import record
    from distfit_nn.capture.verify import Verification, verify
    from distfit_nn.comparison import Comparison, compare
    from distfit_nn.gate import CheckResult, check

__all__ = [
    "Analysis",
    "CheckResult",
    "Comparison",
    "Suggestions",
    "Verification",
    "__version__",
    "analyze",
    "check",
    "compare",
    "copula",
    "errors",
    "maxent",
    "nn",
    "plots",
    "record",
    "sites",
    "stats",
    "suggest",
    "transforms",
    "verify",
]

_HOME = {
    "Analysis": "distfit_nn.analysis",
    "CheckResult": "distfit_nn.gate",
    "Comparison": "distfit_nn.comparison",
    "Suggestions": "distfit_nn.advice.suggestion",
    "analyze": "distfit_nn.analysis",
    "check": "distfit_nn.gate",
    "compare": "distfit_nn.comparison",
    "Verification": "distfit_nn.capture.verify",
    "record": "distfit_nn.capture.recorder",
    "sites": "distfit_nn.capture.preview",
    "suggest": "distfit_nn.advice.suggestion",
    "verify": "distfit_nn.capture.verify",
}
_SUBMODULES = ("copula", "errors", "maxent", "nn", "plots", "stats", "transforms")


def __getattr__(name: str) -> object:
    if name in _HOME:
        value: object = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f"distfit_nn.{name}")
    elif name == "__version__":
        from importlib.metadata import version

        value = version("distfit-nn")
    else:
        raise AttributeError(f"module 'distfit_nn' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
