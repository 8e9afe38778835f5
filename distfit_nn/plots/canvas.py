"""The axes that a caller gives, with colours that are legible on them, and labels that are safe."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import is_color_like, to_hex, to_rgb
from matplotlib.ticker import FixedLocator

from distfit_nn.errors import InputError
from distfit_nn.report.palette import Palette

_ON_LIGHT = ("#1d62b8", "#b9501b", "#2a7355", "#ccd0d6")  # after, before, other, rules
_ON_DARK = ("#78b4f8", "#f0985c", "#6cc59c", "#4a505c")


@dataclass(frozen=True)
class Canvas:
    """Axes, the colours to draw in, and how many lines and texts were there before."""

    ax: Axes
    palette: Palette
    lines: int
    texts: int

    @classmethod
    def of(cls, ax: Any) -> Canvas:
        """Return a canvas on `ax`, by default the current axes."""
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.gca()
        if not isinstance(ax, Axes):
            raise InputError(f"ax must be the axes of a figure, got {reprlib.repr(ax)}")
        return cls(ax, _palette(ax), len(ax.lines), len(ax.texts))

    def colour(self, color: Any) -> Any:
        """Return `color`, or the first of the palette."""
        return self.tones(color, 1)[0]

    def tones(self, color: Any, series: int) -> list[Any]:
        """Return a colour for each series: those given, or those of the palette."""
        if color is None:
            return [self.palette.after, self.palette.before, self.palette.other][:series]
        if is_color_like(color):
            given = [color]
        else:
            given = list(color) if isinstance(color, Sequence) else []
        if len(given) != series or not all(is_color_like(one) for one in given):
            wanted = "a colour" if series == 1 else f"{series} colours"
            raise InputError(f"color must be {wanted}, got {reprlib.repr(color)}")
        return [to_hex(one, keep_alpha=True) for one in given]

    def finish(
        self,
        xlabel: str = "",
        ylabel: str = "",
        title: str = "",
        *,
        labels: Sequence[str] = (),
    ) -> Axes:
        """Write labels and title, name the lines that were drawn in a legend; return the axes."""
        ax = self.ax
        ax.set_xlabel(plain(xlabel))
        ax.set_ylabel(plain(ylabel))
        ax.set_title(plain(title))
        for text in ax.texts[self.texts :]:
            text.set_parse_math(False)
        for axis in (ax.xaxis, ax.yaxis):
            if isinstance(axis.get_major_locator(), FixedLocator):
                words = [label.get_text() for label in axis.get_majorticklabels()]
                axis.set_ticklabels([plain(word) for word in words])
        for line, label in zip(ax.lines[self.lines :], labels, strict=False):
            line.set_label(plain(label))
        if labels:
            ax.legend(frameon=False, fontsize="small")
        return ax


def plain(text: str) -> str:
    """Return text in which dollars are dollars: matplotlib would set what is between two."""
    return text.replace("$", r"\$")


def _palette(ax: Axes) -> Palette:
    """Return colours for axes in the caller's style: text and ticks are its own."""
    ground = mpl.colors.to_rgba(ax.get_facecolor())
    figure = to_rgb(mpl.rcParams["figure.facecolor"])
    red, green, blue = (
        ground[3] * over + (1 - ground[3]) * under
        for over, under in zip(ground[:3], figure, strict=True)
    )
    dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5
    after, before, other, rule = _ON_DARK if dark else _ON_LIGHT
    return Palette(
        ink=to_hex(mpl.rcParams["text.color"]),
        muted=to_hex(mpl.rcParams["axes.labelcolor"]),
        grid=rule,
        paper=to_hex((red, green, blue)),
        after=after,
        before=before,
        other=other,
    )
