"""The examples in docstrings print what they say; those of README and guide run."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from importlib.util import find_spec
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
    (tmp_path / "data").symlink_to(TOP / "data")  # pages are read within a checkout
    run(page)


def test_lines_of_code_are_short() -> None:
    for page in [TOP / "README.md", *PAGES]:
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        assert max((len(line) for block in blocks for line in block.splitlines()), default=0) <= 100


EXAMPLES = {
    "crepe": (["--frames", "20", "--rows", "300"], "torchcrepe"),
    "resnet": (["--epochs", "1", "--images", "40", "--rows", "300"], None),
    "transformer": (["--steps", "2", "--texts", "4"], "transformers"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_worked_example(name: str, tmp_path: Path) -> None:
    """Each script runs to its findings, and what it says of its settings is what it was given."""
    options, needs = EXAMPLES[name]
    if needs and find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed: see the head of analysis/examples/{name}.py")
    script = [str(TOP / "analysis" / "examples" / f"{name}.py"), "--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, *script, "--seed", "3", *options], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "seed 3" in " ".join(text.split())
    assert not re.search(r"\bnan\b", text)
    assert {f"{name}.png", "report.html"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_ranks_record_side_by_side(tmp_path: Path) -> None:
    script = str(TOP / "analysis" / "examples" / "ranks.py")
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", script]
    done = subprocess.run(
        [sys.executable, *launch, "--output", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "2 ranks" in done.stdout
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"rank-00000", "rank-00001"}
    assert distfit_nn.verify(tmp_path / "run").ok


@pytest.mark.parametrize("name", ["crepe", "resnet", "transformer"])
def test_findings_in_the_guide_are_there(name: str) -> None:
    results = TOP / "analysis" / "examples" / "results"
    text = (results / f"{name}.md").read_text(encoding="utf-8")
    assert f"results/{name}.md" in (TOP / "docs" / "examples.md").read_text(encoding="utf-8")
    for picture in re.findall(r"!\[.+\]\((.+)\)", text):
        assert (results / picture).stat().st_size < 300_000
