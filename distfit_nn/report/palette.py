"""The colours that a drawing is made of: those of the page, or those that a caller names."""

from __future__ import annotations

from dataclasses import dataclass

from distfit_nn.report.svg import AFTER, BEFORE, GRID, INK, MUTED, OTHER, PAPER

Rgb = tuple[float, float, float]

# One hue for more and one for less, laid over the paper with a strength of at most STRONGEST: on
# white and on near-black paper the lightness then changes evenly, and ink is legible on all of it.
WARM: Rgb = (0xC9 / 255, 0x6A / 255, 0x1E / 255)
COOL: Rgb = (0x2F / 255, 0x7F / 255, 0xD6 / 255)
STRONGEST = 0.72


@dataclass(frozen=True)
class Palette:
    """Colours of text and lines, of what is secondary, of rules, of the ground, of three series.

    `more` and `less` are the hues of maps, red, green and blue in [0, 1].
    """

    ink: str
    muted: str
    grid: str
    paper: str
    after: str
    before: str
    other: str
    more: Rgb = COOL
    less: Rgb = WARM


PAGE = Palette(INK, MUTED, GRID, PAPER, AFTER, BEFORE, OTHER)
