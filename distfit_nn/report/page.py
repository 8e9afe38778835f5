"""The page itself: what it holds, as plain data, and the template that writes it as HTML.

Every string is escaped by the template; only drawings, which `svg` makes, are passed as markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True)
class Plot:
    """A drawing, what it shows in words for those who do not see it, and its caption.

    `title` and `tag`, a word or two, stand above it; `whole` is a tooltip of the title; `note` is
    a second line of the caption.
    """

    svg: Markup
    alt: str
    caption: str
    title: str = ""
    tag: str = ""
    whole: str = ""
    note: str = ""


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

    `whole` is the name in full where `name` is shortened.
    """

    name: str
    whole: str
    detail: str
    anchor: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Part:
    """A titled set of drawings; `columns` is how many stand side by side on a wide screen."""

    title: str
    lead: str
    columns: int
    plots: Sequence[Plot] = ()
    key: Sequence[tuple[str, str]] = ()


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
    reading: str
    cautions: Sequence[str]
    table_lead: str
    groups: Sequence[Group]
    sections: Sequence[Section]
    folded: bool
    omitted: str
    definitions: Sequence[tuple[str, str, str]]
    drawings: Sequence[tuple[str, str]]
    limits: Sequence[tuple[str, str]]


def render(page: Page) -> str:
    """Return `page` as one self-contained HTML document."""
    environment = Environment(
        loader=PackageLoader("distfit_nn.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sheet = files("distfit_nn.report").joinpath("templates", "report.css").read_text("utf-8")
    # Safe: the style sheet is a file of this package.
    return environment.get_template("report.html.j2").render(page=page, css=Markup(sheet))  # noqa: S704
