"""From a matplotlib figure to a small inline SVG that follows the colours of the page.

Figures are drawn in placeholder colours; here each placeholder becomes a CSS variable, so that one
drawing reads on light and on dark paper. Text stays text. Nothing uses pyplot or global state.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import seaborn as sns
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#010203", "#040506", "#070809", "#0a0b0c"
BEFORE, AFTER, OTHER = "#0d0e0f", "#101112", "#131415"
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--rule)",
    PAPER: "var(--card)",
    BEFORE: "var(--before)",
    AFTER: "var(--after)",
    OTHER: "var(--other)",
}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "distfit_nn",
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "font.size": 11,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "axes.labelsize": 11,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 5,
    "ytick.major.pad": 4,
    "axes.linewidth": 0.8,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "grid.color": GRID,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "savefig.transparent": True,
    "path.simplify": True,
}

_NUMBER = re.compile(r"-?\d+\.\d+")
_PATH = re.compile(r' d="([^"]*)"')
_ID = re.compile(r' id="([^"]*)"')
_REFERENCE = re.compile(r'url\(#([^)]*)\)|(?:xlink:)?href="#([^"]*)"')
_COLOUR = re.compile("|".join(_VARIABLES))
_DROPPED = re.compile(
    r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->"
    r"|font-family:[^;\"]*(?:;\s*)?"
    r'| transform="rotate\(-?0(?:\.0)? [^"]*"',
    re.DOTALL,
)
_EMPTY = re.compile(r"<g>\s*</g>|<g/>|<defs>\s*</defs>|<defs/>")


@contextmanager
def theme() -> Iterator[None]:
    """Draw in the style of the report while inside; the caller's rcParams come back after it."""
    with mpl.rc_context():
        mpl.rcdefaults()
        settings: Any = mpl.rcParams
        settings.update(sns.axes_style("ticks"))
        settings.update(_STYLE)
        yield


@dataclass(frozen=True)
class Frame:
    """The size of one kind of drawing and the room around its axes, in CSS pixels.

    A kind of drawing has a frame of its own, because drawings on equal frames share their axes.
    """

    width: float
    height: float
    left: float = 0
    bottom: float = 0
    right: float = 0
    top: float = 0

    def figure(self) -> Figure:
        """Return a figure with empty axes in this frame."""
        figure = Figure(figsize=(self.width / 72, self.height / 72))
        FigureCanvasSVG(figure)
        figure.add_axes(
            (
                self.left / self.width,
                self.bottom / self.height,
                1 - (self.left + self.right) / self.width,
                1 - (self.bottom + self.top) / self.height,
            )
        )
        return figure


class Sketchbook:
    """Draws many small figures and hands each over as inline SVG.

    Each drawing gets ids of its own (``f1-...``, ``f2-...``), so that many fit on one page. Making
    axes and ticks is most of the cost of a small figure: they are kept for the next drawing of the
    same frame, which sets its own limits, scales and ticks.
    """

    def __init__(self) -> None:
        self._drawn = 0
        self._figures: dict[Frame, Figure] = {}

    def draw(self, paint: Callable[[Axes], object], frame: Frame) -> Markup:
        """Return what `paint` draws on the axes of `frame`, as SVG."""
        self._drawn += 1
        if frame not in self._figures:
            self._figures[frame] = frame.figure()
        figure = self._figures[frame]
        axes = figure.axes[0]
        paint(axes)
        drawing = inline(figure, f"f{self._drawn}")
        drawn = (axes.lines, axes.patches, axes.collections, axes.texts, axes.artists, axes.images)
        for artist in (*itertools.chain(*drawn), *axes.child_axes):
            artist.remove()
        axes.relim()  # nothing is left, so the limits start anew
        axes.set_autoscale_on(True)
        return drawing

    def blank(self, frame: Frame) -> Markup:
        """Return an empty drawing of the same proportions, for what cannot be drawn."""
        width, height = frame.width, frame.height
        cross = f"M0 {height:g}L{width:g} 0"
        return Markup(  # noqa: S704 (numbers only)
            f'<svg viewBox="0 0 {width:g} {height:g}" aria-hidden="true" focusable="false">'
            f'<path d="{cross}" style="stroke: var(--rule); fill: none"/></svg>'
        )


def inline(figure: Figure, prefix: str) -> Markup:
    """Return `figure` as an ``<svg>`` element for HTML.

    Ids start with `prefix`, placeholder colours are CSS variables, coordinates have one decimal,
    and dates, generator and fonts are left out: the same figure gives the same text.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    view = re.search(r'viewBox="[^"]*"', text)
    body = text[text.index(">") + 1 :]
    body = _DROPPED.sub("", body)
    used = {a or b for a, b in _REFERENCE.findall(body)}
    body = _ID.sub(lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", body)
    body = _REFERENCE.sub(
        lambda m: f"url(#{prefix}-{m[1]})" if m[1] else f'href="#{prefix}-{m[2]}"', body
    )
    body = _COLOUR.sub(lambda m: _VARIABLES[m[0]], body)
    body = _PATH.sub(lambda m: f' d="{_short(m[1])}"', body)
    for _ in range(3):  # groups nest at most three deep
        body = _EMPTY.sub("", body)
    body = re.sub(r">\s+<", "><", body)
    frame = view[0] if view else ""
    # Safe: matplotlib escapes every text it writes into an SVG; attributes hold numbers only.
    return Markup(f'<svg {frame} aria-hidden="true" focusable="false">{body}')  # noqa: S704


def _short(path: str) -> str:
    """Return a path with one decimal and no line breaks."""
    path = _NUMBER.sub(lambda m: f"{float(m[0]):.1f}".removesuffix(".0"), path)
    return re.sub(r"\s*\n\s*|(?<=[MLCQz]) ", "", path)
