"""The examples in docstrings print what they say, and those of the README run."""

from __future__ import annotations

import doctest
import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import distfit_nn

README = Path(__file__).parents[1] / "README.md"
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


def test_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, Any] = {}
    for block in blocks:  # read from top to bottom, as people do
        exec(block, names)  # noqa: S102 - it is ours
    assert (tmp_path / "report.html").exists()
    assert (names["back"] == names["a"]).all()  # as the comment says
