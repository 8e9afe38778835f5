"""How Sphinx builds the guide: ``make docs``. Nothing is fetched while it builds."""

from __future__ import annotations

import inspect
import pydoc
import sys
import warnings
from importlib.metadata import version as installed
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.nodes import make_refnode

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import docstrings  # noqa: E402
import reference  # noqa: E402

# Of numpydoc, where it looks for signatures only.
warnings.filterwarnings("ignore", message="Unknown section Shape")

project = "distfit_nn"
author = "the authors of distfit_nn"
copyright = author
version = release = installed("distfit-nn")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
]
exclude_patterns = ["build"]
nitpicky = True
# Single backticks in docstrings name arguments and other projects' things, too: these do not link.
# What begins with this package or one of its modules has to.
nitpick_ignore_regex = [("py:obj", rf"(?!(?:{'|'.join(reference.owned())})\.).*")]

default_role = "py:obj"
autosummary_generate = False
autodoc_typehints = "none"  # numpydoc says the types, in words
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
numpydoc_show_class_members = False
numpydoc_attributes_as_param_list = True

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]

html_theme = "furo"
html_title = f"{project} {version}"
html_copy_source = False
html_show_sphinx = False


def _write_reference(app: Sphinx) -> None:
    """Write a page for each public module, from what its ``__all__`` names."""
    reference.write(Path(app.srcdir) / "reference")


def _check_reference(app: Sphinx, error: Exception | None) -> None:
    """Fail where a public name did not reach the built reference."""
    if error is not None or app.builder.name != "html":
        return
    documented = {name for name, *_ in app.env.domains["py"].get_objects()}
    missing = [name for name in reference.public_names() if name not in documented]
    if missing:
        raise ExtensionError(f"not in the reference: {', '.join(missing)}")


def _link(app, env, node, content):  # type: ignore[no-untyped-def]
    """Take names as they read after ``import distfit_nn as dn``: `maxent.fit`, `Analysis`."""
    if node.get("reftype") != "obj":
        return None
    name = node["reftarget"].removeprefix(f"{reference.PACKAGE}.")
    found = env.domains["py"].objects.get(f"{reference.PACKAGE}.{name}")
    if found is None:  # what exists and is not of the reference stays plain, the rest is an error
        return content if pydoc.locate(f"{reference.PACKAGE}.{name}") is not None else None
    return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, content)


def _prepare(app, what, name, obj, options, lines):  # type: ignore[no-untyped-def] # noqa
    lines[:] = docstrings.lift_shape("\n".join(lines) + "\n").split("\n")


def _finish(app, what, name, obj, options, lines):  # type: ignore[no-untyped-def] # noqa
    lines[:] = map(docstrings.escape, lines)


def _skip(app, what, name, obj, skip, options):  # type: ignore[no-untyped-def] # noqa
    """Leave out methods that a base class of another project writes into ours."""
    home = getattr(obj, "__module__", None) or reference.PACKAGE
    return True if inspect.isroutine(obj) and not home.startswith(reference.PACKAGE) else None


def setup(app: Sphinx) -> None:
    """Connect the steps above to the build, two of them around numpydoc."""
    app.connect("builder-inited", _write_reference)
    app.connect("autodoc-process-docstring", _prepare, priority=100)
    app.connect("autodoc-process-docstring", _finish, priority=900)
    app.connect("autodoc-skip-member", _skip)
    app.connect("missing-reference", _link)
    app.connect("build-finished", _check_reference)
