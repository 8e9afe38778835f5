"""Libraries that only some files need."""

from __future__ import annotations

import importlib
from types import ModuleType

from distfit_nn.errors import InputError


def module(name: str, extra: str) -> ModuleType:
    """Return an optional library.

    Raises
    ------
    InputError
        It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f"needs {name}: pip install 'distfit-nn[{extra}]'") from None
