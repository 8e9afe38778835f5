"""Layers by steps: one map for each statistic, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from distfit_nn.report import figures
from distfit_nn.report.numbers import count, number, plural
from distfit_nn.report.page import Maps, Part, Plot, Tab
from distfit_nn.report.select import Layer, clean, sentence, site_label, some
from distfit_nn.report.shapes import Grid, Moved, standings
from distfit_nn.report.svg import Frame, Sketchbook
from distfit_nn.stats.drift import LEAST_EFFECT
from distfit_nn.stats.layer_table import layer_table

if TYPE_CHECKING:
    from distfit_nn.stats.summary import Recording

_MOST_STEPS = 24
_MOST_ROWS = 240  # of the table of numbers

# Column of the table of layers (a share of the units where it counts them), its name, always shown
_STATISTICS = (
    ("kl_median", "KL, nat", True),
    ("shape_median", "Shape part, nat", True),
    ("dead", "Dead, %", True),
    ("saturated", "Saturated, %", False),
    ("outlier", "Outlier channels, %", False),
    ("heavy_tailed", "Heavy-tailed, %", False),
    ("bimodal", "Bimodal, %", False),
    ("far", "Far from N(0,1), %", False),
)
_COUNTED = ("dead", "saturated", "outlier", "heavy_tailed", "bimodal", "far")
_WIDTH, _LINE = 1040.0, 26.0


def maps(layers: Sequence[Layer], book: Sketchbook) -> Maps | None:
    """Return the maps of `layers` by steps; None where no layer has two steps.

    Parameters
    ----------
    layers : sequence of Layer
        Those to show: their main sites are.
    book : Sketchbook
    """
    if not any(len(layer.recordings[layer.main]) > 1 for layer in layers):
        return None
    table = _table(layers)
    tabs = [
        Tab(label, plot)
        for column, label, always in _STATISTICS
        if (always or table[column].gt(0).any())
        and (plot := _map(table, column, label, book)) is not None
    ]
    if not tabs:
        return None
    every = sorted({step for layer in layers for step in layer.steps})
    shown = table["step"].nunique()
    note = "" if shown == len(every) else f"{count(shown)} of {count(len(every))} steps are shown."
    rows = _rows(table)
    if not rows:
        note = f"{note} The numbers are in the table of `to_csv`.".strip()
    return Maps(
        "The median unit of each layer, or the share of its units. The stronger the colour, the "
        "larger the number; each map has its own scale.",
        tabs,
        ["Layer", "Step", *(tab.label for tab in tabs)] if rows else [],
        [[row[0], row[1], *(row[2][tab.label] for tab in tabs)] for row in rows],
        note,
    )


def _table(layers: Sequence[Layer]) -> pd.DataFrame:
    """Return the rows of the table of layers that are shown: of main sites, counts in per cent."""
    chosen: list[Recording] = [
        recording
        for layer in layers
        for recording in some(layer.recordings[layer.main], _MOST_STEPS)
    ]
    table = layer_table(chosen)
    for column in _COUNTED:
        table[column] = 100.0 * table[column] / table["units"].clip(lower=1)
    return table


def _map(table: pd.DataFrame, column: str, label: str, book: Sketchbook) -> Plot | None:
    grid = Grid.of(table, column)
    if grid is None:
        return None
    longest = max(len(name) for name in grid.rows)
    frame = Frame(
        _WIDTH,
        34 + _LINE * len(grid.rows),
        left=24 + 6.6 * longest,
        bottom=26,
        right=64,
        top=6,
    )
    svg = book.draw(partial(figures.heat_map, grid=grid), frame)
    top = table.iloc[int(table[column].argmax())]
    words = (
        f"from {number(grid.low)} to {number(grid.high)}, largest in "
        f"{clean(str(top['layer']), 40)} at step {count(int(top['step']))}"
    )
    scale = ", logarithmic colours" if grid.log else ""
    return Plot(svg, f"{label} by layer and step: {words}.", f"{label}: {words}{scale}.")


def _rows(table: pd.DataFrame) -> list[tuple[str, str, dict[str, str]]]:
    if len(table) > _MOST_ROWS:
        return []
    return [
        (
            clean(str(row["layer"]), 40),
            count(int(row["step"])),
            {label: number(float(row[column])) for column, label, _ in _STATISTICS},
        )
        for _, row in table.iterrows()
    ]


def drift_part(table: pd.DataFrame | None, book: Sketchbook) -> Part | None:
    """Return how far layers have drifted from their first to their last step, over chance."""
    shape = None if table is None or table.empty else Moved.of(table, 30)
    if table is None or shape is None:
        return None
    longest = max(len(label) for label in shape.labels)
    frame = Frame(
        _WIDTH,
        40 + 22.0 * len(shape.labels),
        left=24 + 6.6 * longest,
        bottom=26,
        right=24,
        top=4,
    )
    svg = book.draw(partial(figures.drift, moved=shape), frame)
    words = drift_words(table)
    units = int(table["drifted_units"].sum())
    words += f". Unit by unit, {count(units)} of {count(int(table['units_used'].sum()))} drifted"
    if shape.left_out:
        words += f". Not drawn: {plural(shape.left_out, 'layer')} that moved less"
    plot = Plot(svg, f"Drift of each layer from its first to its last step: {words}.", words + ".")
    sites = sorted({site_label(str(site)) for site in table["site"]})
    lead = (
        f"First step against last, {', '.join(sites)}: how far the values of a layer have moved on "
        "average, in standard deviations. The bar reaches as far as chance alone seldom goes; the "
        "line in it is what chance gives on average. Empty dot: within chance. Half-full: beyond "
        f"chance, but by less than {number(LEAST_EFFECT)}, which is small. Full: drifted, beyond "
        "chance by that or more."
    )
    return Part("Drift", lead, columns=1, plots=[plot], anchor="drift")


def drift_words(table: pd.DataFrame) -> str:
    """Return how many layers of a table of drift have drifted, moved a little, or not moved."""
    within, beyond, drifted = np.bincount(standings(table), minlength=3).tolist()
    first = f"{count(drifted) if drifted else 'none'} of {plural(len(table), 'layer')}"
    parts = [f"{first} drifted as a whole"]
    if beyond:
        least = f"{number(LEAST_EFFECT)} standard deviations"
        parts.append(f"{count(beyond)} moved beyond chance, but by less than {least}")
    if within:
        parts.append(f"{count(within)} stayed within chance")
    return sentence("; ".join(parts))
