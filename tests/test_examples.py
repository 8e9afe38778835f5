"""The examples in docstrings print what they say."""

from __future__ import annotations

import doctest
import importlib
import sys
from pathlib import Path

import pytest

import distfit_nn

ROOT = Path(distfit_nn.__file__).parent
MODULES = [
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    for path in sorted(ROOT.rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    importlib.import_module(name)
    # Not what the import returns: of `maxent.fit` the package's attribute is the function.
    results = doctest.testmod(sys.modules[name])
    assert results.attempted > 0
    assert results.failed == 0
