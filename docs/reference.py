"""The reference: a page for each public module, made of what its ``__all__`` names.

Sphinx calls `write` when a build begins; the pages are not kept in the repository.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

PACKAGE = "distfit_nn"
# What users hold in their hands but never make themselves, and what docstrings send them to.
BESIDE = {
    PACKAGE: (
        ("class", "distfit_nn.capture.recorder.Recorder"),
        ("function", "distfit_nn.report.export.write_figures"),
    ),
    f"{PACKAGE}.nn": (("function", "distfit_nn.nn.targets.as_target"),),
}


def modules() -> list[ModuleType]:
    """Return the package and its public modules."""
    face = importlib.import_module(PACKAGE)
    named = (_member(face, name) for name in face.__all__)
    return [face, *(value for value in named if inspect.ismodule(value))]


def names(module: ModuleType) -> list[str]:
    """Return what a module offers beside modules: ``__all__``, or the classes it defines."""
    if hasattr(module, "__all__"):
        offered = [name for name in module.__all__ if not name.startswith("__")]
    else:
        offered = [name for name, value in vars(module).items() if _own_class(value, module)]
    return sorted(name for name in offered if not inspect.ismodule(_member(module, name)))


def public_names() -> Iterator[str]:
    """Yield every public name with its module: ``distfit_nn.maxent.fit``."""
    for module in modules():
        for name in names(module):
            yield f"{module.__name__}.{name}"


def owned() -> list[str]:
    """Return the package's name, and those of its modules as people write them."""
    return [module.__name__.removeprefix(f"{PACKAGE}.") for module in modules()]


def page(module: ModuleType) -> str:
    """Return the page of a module as reStructuredText."""
    title = module.__name__
    parts = [title, "=" * len(title), "", f".. automodule:: {title}", "   :no-members:", ""]
    parts += [f".. currentmodule:: {title}", "", ".. autosummary::", ""]
    parts += [f"   {name}" for name in names(module)]
    for name in names(module):
        parts += ["", *_entry(module, name)]
    for kind, path in BESIDE.get(title, ()):
        parts += ["", f".. auto{kind}:: {path}"]
    return "\n".join(parts) + "\n"


def write(folder: Path) -> None:
    """Write all pages and their table of contents; a page that is as it should be stays."""
    folder.mkdir(exist_ok=True)
    found = modules()
    listed = "\n".join(f"   {module.__name__}" for module in found)
    text = f"Reference\n=========\n\nWhat every docstring says.\n\n.. toctree::\n\n{listed}\n"
    _update(folder / "index.rst", text)
    for module in found:
        _update(folder / f"{module.__name__}.rst", page(module))


def _entry(module: ModuleType, name: str) -> list[str]:
    value = _member(module, name)
    if inspect.isclass(value):
        lines = [f".. autoclass:: {name}"]
        shown = _inherited_from_here(value)
        return [*lines, f"   :inherited-members: {', '.join(shown)}"] if shown else lines
    kind = "autofunction" if callable(value) else "autodata"
    return [f".. {kind}:: {name}"]


def _inherited_from_here(value: type) -> list[str]:
    """Return the bases whose members are not repeated, where this package has a base itself."""
    bases = value.__mro__[1:]
    if not any(base.__module__.startswith(PACKAGE) for base in bases):
        return []
    return [base.__name__ for base in bases if not base.__module__.startswith(PACKAGE)]


def _member(module: ModuleType, name: str) -> object:
    return getattr(module, name)


def _own_class(value: object, module: ModuleType) -> bool:
    return inspect.isclass(value) and value.__module__ == module.__name__


def _update(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
