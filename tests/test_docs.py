"""The guide: every public name is in the reference, and docstrings become what Sphinx can read."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import distfit_nn as dn
from distfit_nn.capture.readers import kinds

TOP = Path(__file__).parents[1]
DOCS = TOP / "docs"


def load(name: str) -> ModuleType:
    """Return a module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference, docstrings = load("reference"), load("docstrings")


def test_every_public_name_has_an_entry(tmp_path: Path) -> None:
    reference.write(tmp_path)
    text = "".join(page.read_text(encoding="utf-8") for page in tmp_path.glob("*.rst"))
    entries = re.findall(r"^\.\. auto(?:class|function|data):: (\w+)$", text, re.MULTILINE)
    for module in (dn, dn.maxent, dn.copula, dn.transforms, dn.stats, dn.nn, dn.plots):
        names = {name for name in module.__all__ if not name.startswith("__")}
        modules = {name for name in names if isinstance(getattr(module, name), ModuleType)}
        assert names - modules <= set(entries)
        assert all((tmp_path / f"distfit_nn.{name}.rst").exists() for name in modules)
    assert {"InputError", "FileError", "SiteError"} <= set(entries)


def test_names_have_descriptions() -> None:
    for module in reference.modules():
        for name in reference.names(module):
            value = getattr(module, name)
            assert not callable(value) or (value.__doc__ or "").strip(), f"{module}.{name}"


def test_pages_of_the_guide_are_listed() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^([\w/]+)$", index, re.MULTILINE)
    assert {page.stem for page in DOCS.glob("*.md")} - {"index"} <= set(listed)


def test_the_table_of_sources_is_that_of_the_readers() -> None:
    rows = re.findall(r"^\| (.*) \|$", (DOCS / "sources.md").read_text("utf-8"), re.MULTILINE)
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    told = {suffix: cell for cell in cells for suffix in re.findall(r"`(\.\w+)`", cell[0])}
    assert set(told) == set(kinds.FILES)
    assert {suffix for suffix, cell in told.items() if cell[3] == "yes"} == {
        suffix for suffix, kind in kinds.FILES.items() if kind.urls
    }
    extras = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]
    named = {cell[4].strip("`") for cell in told.values()} - {""}
    assert named == {"parquet", "hdf5", "zarr"}
    assert named <= set(extras["optional-dependencies"])


def test_modules_that_contributing_names_exist() -> None:
    package = TOP / "distfit_nn"
    known = {path.stem for path in package.rglob("*.py")} | {
        path.name for path in package.rglob("*") if path.is_dir()
    }
    text = (TOP / "CONTRIBUTING.md").read_text("utf-8")
    for row in re.findall(r"^\| `distfit_nn/.*$", text, re.MULTILINE):
        for name in re.findall(r"`(?:[\w]+/)*(\w+)(?:\.py|/)?`", row):
            assert name in known | {"suggest", "kernel"}, f"{name} in {row[:60]}"


SHAPED = """A layer.

    Parameters
    ----------
    num_features : int
    {notes}
    Shape
    -----
    (N, C), and the same
    back.

    Attributes
    ----------
    weight : (C,)
"""


@pytest.mark.parametrize("notes", ["", "\n    Notes\n    -----\n    Some.\n"])
def test_a_section_of_shapes_goes_to_the_description(notes: str) -> None:
    lifted = docstrings.lift_shape(SHAPED.format(notes=notes))
    description, _, rest = lifted.partition("Parameters")
    assert "**Shape**: (N, C), and the same back." in description
    assert "Shape" not in rest
    assert "weight : (C,)" in rest


def test_a_docstring_without_shapes_stays() -> None:
    text = SHAPED.replace("Shape", "Notes")
    assert docstrings.lift_shape(text) == text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mean of |x|", r"mean of \|x\|"),
        ("starts with kl_, as kl_shape", r"starts with kl\_, as kl_shape"),
        ("``a | b`` and |c|", r"``a | b`` and \|c\|"),
        ("with `.layers` and `units`", "with ``.layers`` and `units`"),
        (r"status\_ is escaped", r"status\_ is escaped"),
        (">>> a | b_", ">>> a | b_"),
    ],
)
def test_bars_and_underscores_are_meant(line: str, expected: str) -> None:
    assert docstrings.escape(line) == expected
