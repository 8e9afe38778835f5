"""The figures of the report as image files, with an index that says what each shows."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_hex, to_rgba, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Annotation, Text

from distfit_nn import _checks
from distfit_nn._files import write_bytes
from distfit_nn.errors import InputError
from distfit_nn.report import build
from distfit_nn.report.page import Part, Plot, Section, Tab
from distfit_nn.report.select import clean
from distfit_nn.report.svg import AFTER, BEFORE, GRID, INK, MUTED, OTHER, PAPER, Frame, Sketchbook
from distfit_nn.report.svg import theme as drawing_theme

if TYPE_CHECKING:
    from distfit_nn.stats.findings import Findings

FORMAT, VERSION = "distfit_nn.figures", 1
FORMATS = ("png", "svg", "pdf")
_HEAD = 26.0  # pixels above a drawing, for its title
_SLUG = 40  # characters of a name in a file name
_INKS = {
    INK: "#1b1f27",
    MUTED: "#585e6b",
    GRID: "#dedbd2",
    PAPER: "#ffffff",
    BEFORE: "#b9501b",
    AFTER: "#1d62b8",
    OTHER: "#2a7355",
}


class _Drawing(Markup):
    """Stands where the page has a drawing, and knows how it is drawn."""

    paint: Callable[[Axes], object]
    frame: Frame


class _Sketches(Sketchbook):
    """Draws nothing yet, but keeps how."""

    def draw(self, paint: Callable[[Axes], object], frame: Frame) -> Markup:
        drawing = _Drawing()
        drawing.paint, drawing.frame = paint, frame
        return drawing


@dataclasses.dataclass(frozen=True)
class _Found:
    """A drawing of the page: of which layer (or none), in which part, with which words."""

    layer: str
    part: str
    plot: Plot


def write_figures(
    analysis: Findings,
    folder: str | os.PathLike[str],
    *,
    formats: Sequence[str] = ("png", "svg"),
    dpi: int = 150,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write each figure of the report as an image, on white, and an index of them.

    Parameters
    ----------
    analysis : Findings
        What `distfit_nn.analyze` returns.
    folder : path
        Created if missing; files of the same names are replaced, others left alone. Names are a
        number and letters, digits and hyphens only, whatever the layers are called.
    formats : sequence of "png", "svg", "pdf", default ("png", "svg")
    dpi : int, default 150
        Of PNG, from 20 to 1200; a figure is 3 to 15 inches wide.
    progress : callable, optional
        Called with how many figures are written, and of how many, after each.

    Returns
    -------
    list of Path
        The images in the order of the page, then ``index.json``: format, version, source, and for
        each figure its files, layer, part, title, caption and text alternative. Each file appears
        whole or not at all, the index last.

    Raises
    ------
    InputError
        `formats` or `dpi` is none of these.
    FileError
        A file cannot be written.
    """
    kinds = _formats(formats)
    dots = int(_checks.number_between(_checks.whole_number(dpi, "dpi"), "dpi", 20, 1200))
    written: list[Path] = []
    listed: list[dict[str, Any]] = []
    with drawing_theme():
        found = list(_plots(build.compose(analysis, _Sketches()), "", ""))
        for number, one in enumerate(found, start=1):
            figure = _figure(one)
            stem = f"{number:03d}-{_slug(one.layer)}-{_slug(one.plot.title or one.part)}"
            files = [
                write_bytes(Path(folder) / f"{stem}.{kind}", _image(figure, kind, dots))
                for kind in kinds
            ]
            written += files
            listed.append(_entry(one, [file.name for file in files]))
            if progress is not None:
                progress(number, len(found))
    index = {
        "format": FORMAT,
        "version": VERSION,
        "source": clean(analysis.source, 200),
        "figures": listed,
    }
    text = json.dumps(index, ensure_ascii=False, indent=1) + "\n"
    return [*written, write_bytes(Path(folder) / "index.json", text.encode())]


def _formats(formats: Sequence[str]) -> tuple[str, ...]:
    given = (formats,) if isinstance(formats, str) else tuple(formats)
    if not given:
        raise InputError(f"formats must name at least one of {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(_checks.one_of(one, FORMATS, "formats") for one in given))


def _plots(value: Any, layer: str, part: str) -> Iterator[_Found]:
    """Return every drawing in a page, in order, whatever holds it."""
    if isinstance(value, Plot):
        if isinstance(value.svg, _Drawing):
            yield _Found(layer, part, value)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _plots(one, layer, part)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        layer = value.name if isinstance(value, Section) else layer
        part = value.title if isinstance(value, Part) else part
        part = value.label if isinstance(value, Tab) else part
        for field in dataclasses.fields(value):
            yield from _plots(getattr(value, field.name), layer, part)


def _entry(one: _Found, files: list[str]) -> dict[str, Any]:
    plot = one.plot
    return {
        "files": files,
        "layer": one.layer,
        "part": one.part,
        "title": plot.title,
        "tag": plot.tag,
        "caption": " · ".join(filter(None, (plot.caption, plot.note))),
        "alt": plot.alt,
    }


def _figure(one: _Found) -> Figure:
    """Return the drawing with a title above it, in colours for white paper."""
    drawing = one.plot.svg
    if not isinstance(drawing, _Drawing):
        raise TypeError("only what was drawn can be written")
    frame = drawing.frame
    taller = dataclasses.replace(frame, height=frame.height + _HEAD, top=frame.top + _HEAD)
    figure = taller.figure()
    drawing.paint(figure.axes[0])
    title = ", ".join(filter(None, (one.layer, one.plot.title or one.part)))
    longest = int(taller.width / 6.2)
    figure.text(
        6 / taller.width, 1 - 6 / taller.height, clean(title, longest), va="top", weight="bold"
    )
    figure.draw_without_rendering()  # makes the ticks
    for artist in figure.findobj():
        _ink(artist)
    figure.set_facecolor(_INKS[PAPER])
    return figure


def _image(figure: Figure, kind: str, dpi: int) -> bytes:
    buffer = io.BytesIO()
    undated: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "svg": {"Date": None},
        "pdf": {"CreationDate": None},
    }
    figure.savefig(
        buffer, format=kind, dpi=dpi, metadata=undated[kind], transparent=False, facecolor="white"
    )
    return buffer.getvalue()


def _ink(artist: Artist) -> None:
    """Replace the placeholder colours of an artist."""
    if isinstance(artist, Line2D):
        artist.set_color(_real(artist.get_color()))
        artist.set_markerfacecolor(_real(artist.get_markerfacecolor()))
        artist.set_markeredgecolor(_real(artist.get_markeredgecolor()))
    elif isinstance(artist, Text):
        artist.set_color(_real(artist.get_color()))
        if isinstance(artist, Annotation) and artist.arrow_patch is not None:
            _ink(artist.arrow_patch)
    elif isinstance(artist, Patch):
        artist.set_facecolor(_real(artist.get_facecolor()))
        artist.set_edgecolor(_real(artist.get_edgecolor()))
    elif isinstance(artist, Collection):
        artist.set_facecolor([_real(one) for one in to_rgba_array(artist.get_facecolor())])
        artist.set_edgecolor([_real(one) for one in to_rgba_array(artist.get_edgecolor())])


def _real(colour: Any) -> Any:
    """Return the colour that a placeholder stands for, as transparent as it; others unchanged."""
    if isinstance(colour, str) and colour.lower() == "none":
        return colour
    *_, alpha = rgba = to_rgba(colour)
    real = _INKS.get(to_hex(rgba))
    return rgba if real is None else to_rgba(real, alpha)


def _slug(name: str) -> str:
    """Return a name as a file name holds it on any system: letters, digits and hyphens."""
    letters = unicodedata.normalize("NFKD", name[: 4 * _SLUG])
    plain = letters.encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_SLUG].strip("-") or "page"
