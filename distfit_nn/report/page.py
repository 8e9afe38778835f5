"""The page itself: what it holds, as plain data, and the template that writes it as HTML.

Every string is escaped by the template; only drawings, which `svg` makes, and the packed data of
the explorer are passed as markup. The one script is a file of this package: the page's policy
permits it by its hash, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from distfit_nn.report.explorer import Explorer


@dataclass(frozen=True)
class Plot:
    """A drawing, what it shows in words for those who do not see it, and its caption.

    `title` and `tag`, a word or two, stand above it; `whole` is a tooltip of the title; `note` is
    a second line of the caption. `anchor` is the id that links lead to.
    """

    svg: Markup
    alt: str
    caption: str
    title: str = ""
    tag: str = ""
    whole: str = ""
    note: str = ""
    anchor: str = ""


@dataclass(frozen=True)
class Cell:
    """How many units have a property, which share that is, and how strong the strongest is.

    `word` is the property's key in the definitions.
    """

    word: str
    label: str
    units: str
    share: str
    percent: float
    strength: str


@dataclass(frozen=True)
class Row:
    """One site of one layer in the table."""

    label: str
    tone: str
    size: str
    glyph: Markup | None
    alt: str
    cells: Sequence[Cell]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Group:
    """The rows of one layer in the table; `anchor` is its section, if it has one.

    `whole` is the name in full where `name` is shortened; `key` is the id of the rows.
    """

    name: str
    whole: str
    detail: str
    anchor: str
    key: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Part:
    """A titled set of drawings; `columns` is how many stand side by side on a wide screen."""

    title: str
    lead: str
    columns: int
    plots: Sequence[Plot] = ()
    key: Sequence[tuple[str, str]] = ()
    anchor: str = ""


@dataclass(frozen=True)
class Remark:
    """A claim: how sure it is, what is so, what that means, the evidence, and its picture."""

    certainty: str
    text: str
    detail: str
    evidence: Sequence[str]
    place: str
    anchor: str


@dataclass(frozen=True)
class Tab:
    """One of several drawings of which a reader sees one at a time; paper shows them all."""

    label: str
    plot: Plot


@dataclass(frozen=True)
class Maps:
    """Layers by steps: a drawing for each statistic, and the numbers as a table."""

    lead: str
    tabs: Sequence[Tab]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str


@dataclass(frozen=True)
class Section:
    """One layer; `whole` is the name in full where `name` is shortened."""

    anchor: str
    name: str
    whole: str
    detail: str
    summary: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Page:
    """Everything on the page."""

    title: str
    source: str
    facts: Sequence[tuple[str, str]]
    verdict: Sequence[str]
    remarks: Sequence[Remark]
    more_remarks: Sequence[Remark]
    reading: str
    cautions: Sequence[str]
    table_lead: str
    table_more: str
    groups: Sequence[Group]
    maps: Maps | None
    drift: Part | None
    sections: Sequence[Section]
    folded: bool
    omitted: str
    explorer: Explorer | None
    definitions: Sequence[tuple[str, str, str]]
    rules: Sequence[tuple[str, str]]
    drawings: Sequence[tuple[str, str]]
    limits: Sequence[tuple[str, str]]


def render(page: Page) -> str:
    """Return `page` as one self-contained HTML document."""
    script = _file("explorer.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Safe: the style sheet and the script are files of this package.
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            page=page,
            css=Markup(_file("report.css")),  # noqa: S704
            script=Markup(script),  # noqa: S704
            script_hash=f"sha256-{digest}",
        )
    )


@cache
def _environment() -> Environment:
    """Return the templates of the page: compiling them takes longer than filling them in."""
    return Environment(
        loader=PackageLoader("distfit_nn.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _file(name: str) -> str:
    text = files("distfit_nn.report").joinpath("templates", name).read_text("utf-8")
    return text.strip() + "\n"
