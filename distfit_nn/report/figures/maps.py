"""Maps in one hue over the paper: a statistic by layer and step, dependence of pairs of units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FixedLocator, NullLocator

from distfit_nn.report.figures.frame import only_baseline
from distfit_nn.report.numbers import number
from distfit_nn.report.palette import PAGE, STRONGEST, Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from distfit_nn.report.shapes import Array, Dependence, Grid

_FAINTEST = 0.04  # of the lowest value, so that it differs from what is missing
_CELL = (34.0, 13.0)  # points that a number needs
_LINE = 13.0  # points that a label needs from top to bottom
_DIGIT = 7.0  # points that a digit of a label needs
_SCALE = 128  # steps of the scale


def heat_map(ax: Axes, grid: Grid, *, palette: Palette = PAGE) -> Axes:
    """Draw a statistic by layer (from top to bottom) and step: the stronger the colour, the more.

    Parameters
    ----------
    grid : Grid
        What is missing is left empty and struck through. Numbers are written where cells have room
        for them, else a scale stands at the right.
    palette : Palette
    """
    rows, columns = grid.values.shape
    share = grid.share()
    strength = np.where(np.isnan(share), 0.0, _FAINTEST + (1 - _FAINTEST) * share)
    _image(ax, strength, palette)
    _strike(ax, np.isnan(share), palette)
    _rules(ax, rows, columns, palette)
    wide, high = _points(ax)
    if wide >= _CELL[0] * columns and high >= _CELL[1] * rows:
        _numbers(ax, grid.values, palette)
    else:
        _scale(ax, palette, (grid.low, grid.high), log=grid.log)
    longest = max(len(name) for name in grid.columns)
    _labels(ax, grid.rows, grid.columns, (_LINE, _DIGIT * (longest + 1)))
    return ax


def dependence(ax: Axes, matrix: Dependence, *, palette: Palette = PAGE) -> Axes:
    """Draw Spearman's rank correlation of each pair of units: one hue above 0, one below.

    Parameters
    ----------
    matrix : Dependence
    palette : Palette
        Colours `more` and `less`; the diagonal, 1 by definition, is left empty.
    """
    k = len(matrix.matrix)
    shown = matrix.matrix.copy()
    np.fill_diagonal(shown, 0)
    _image(ax, shown, palette)
    wide, high = _points(ax)
    if wide >= _CELL[0] * k and high >= _CELL[1] * k:
        np.fill_diagonal(shown, np.nan)
        _numbers(ax, shown, palette)
    _scale(ax, palette, (-1.0, 1.0), log=False)
    longest = max(len(name) for name in matrix.names)
    _labels(ax, matrix.names, matrix.names, (_LINE, _DIGIT * (longest + 1)))
    return ax


def _image(ax: Axes, strength: Array, palette: Palette) -> None:
    """Draw strengths in [-1, 1] as pixels: hue by sign, opacity by size, so any paper serves."""
    rows, columns = strength.shape
    ax.imshow(
        _pixels(strength, palette),
        extent=(0, columns, rows, 0),
        aspect="auto",
        interpolation="none",  # as few pixels as cells, whatever the size
    )
    ax.set_xlim(0, columns)
    ax.set_ylim(rows, 0)


def _pixels(strength: Array, palette: Palette) -> np.ndarray:
    """Return (rows, columns, 4) bytes."""
    pixels = np.empty((*strength.shape, 4))
    pixels[..., :3] = np.where((strength < 0)[..., None], palette.less, palette.more)
    pixels[..., 3] = STRONGEST * np.abs(strength)
    return np.rint(255 * pixels).astype(np.uint8)


def _strike(ax: Axes, missing: np.ndarray, palette: Palette) -> None:
    """Strike through each run of missing cells in a row."""
    ends = np.diff(np.pad(missing, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(ends == 1)
    _, stop = np.nonzero(ends == -1)
    if len(row):
        ax.hlines(row + 0.5, start + 0.15, stop - 0.15, color=palette.muted, linewidth=1.2)


def _rules(ax: Axes, rows: int, columns: int, palette: Palette) -> None:
    """Draw thin rules between the rows, where there is room for them."""
    if _points(ax)[1] >= 6 * rows:
        ax.hlines(np.arange(rows + 1), 0, columns, color=palette.grid, linewidth=0.8)


def _numbers(ax: Axes, values: Array, palette: Palette) -> None:
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            ax.text(
                column + 0.5,
                row + 0.5,
                number(value, 2),
                ha="center",
                va="center",
                color=palette.ink,
                fontsize="small",
            )


def _scale(ax: Axes, palette: Palette, ends: tuple[float, float], *, log: bool) -> None:
    """Draw the scale at the right of the axes: the lowest value below, the highest on top."""
    low, high = ends
    both = low < 0 < high and palette is not None and low == -high
    strength = np.linspace(-1.0 if both else _FAINTEST, 1.0, _SCALE)[:, None]
    beside = ax.inset_axes((1.03, 0.0, 0.03, 1.0))
    beside.imshow(
        _pixels(strength, palette),
        extent=(0, 1, 0, 1),
        aspect="auto",
        origin="lower",
        interpolation="none",
    )
    middle = np.sqrt(low * high) if log else (low + high) / 2
    values = [low, middle, high] if high > low else [low]
    places = np.linspace(0, 1, 3) if high > low else [0.5]
    beside.xaxis.set_major_locator(NullLocator())
    beside.yaxis.tick_right()
    beside.set_yticks(places, labels=[number(float(v), 2, scale=high - low) for v in values])
    only_baseline(beside)
    beside.spines["bottom"].set_visible(False)


def _labels(
    ax: Axes, rows: Sequence[str], columns: Sequence[str], room: tuple[float, float]
) -> None:
    """Label as many rows and columns as have room."""
    wide, high = _points(ax)
    for axis, names, points in (
        (ax.yaxis, rows, high / room[0]),
        (ax.xaxis, columns, wide / room[1]),
    ):
        every = max(1, -(-len(names) // max(1, int(points))))
        shown = range(0, len(names), every)
        axis.set_major_locator(FixedLocator([place + 0.5 for place in shown]))
        axis.set_ticklabels([names[place] for place in shown])
    ax.tick_params(length=0)
    only_baseline(ax)
    ax.spines["bottom"].set_visible(False)


def _points(ax: Axes) -> tuple[float, float]:
    """Return width and height of the axes, in points."""
    box = ax.get_window_extent()
    to_points = 72 / ax.figure.get_dpi()
    return box.width * to_points, box.height * to_points
