"""The examples in docstrings print what they say; those of README and guide run."""

from __future__ import annotations

import doctest
import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import distfit_nn

TOP = Path(__file__).parents[1]
PAGES = sorted((TOP / "docs").glob("*.md"))
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


def run(page: Path) -> dict[str, Any]:
    """Run the Python blocks of a page from top to bottom, as people read it."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {"__name__": page.stem}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)  # noqa: S102 - it is ours
    return {**names, "blocks": len(blocks)}


def test_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run(TOP / "README.md")
    assert names["blocks"] >= 5
    assert (tmp_path / "report.html").exists()
    assert (names["back"] == names["a"]).all()  # as the comment says


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_guide(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(page)


def test_lines_of_code_are_short() -> None:
    for page in [TOP / "README.md", *PAGES]:
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        assert max((len(line) for block in blocks for line in block.splitlines()), default=0) <= 100
