"""The first screen: what was read, and the table of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from distfit_nn.report import figures
from distfit_nn.report.numbers import count, number, percent, plural
from distfit_nn.report.page import Cell, Group, Row
from distfit_nn.report.select import Layer, clean, site_label
from distfit_nn.report.shapes import Shape
from distfit_nn.report.svg import AFTER, BEFORE, OTHER, Frame, Sketchbook
from distfit_nn.report.verdict import FLAGS

if TYPE_CHECKING:
    from distfit_nn.analysis import Analysis
    from distfit_nn.stats.summary import Recording

_GLYPH = Frame(104, 36, left=1, bottom=2, right=1, top=1)
_TONES = {"before": BEFORE, "after": AFTER, "other": OTHER}


def tone(layer: Layer, site: str) -> str:
    """Return the tone of a site: ``after`` for the main one, ``before`` for its partner."""
    if site == layer.main:
        return "after"
    return "before" if site == layer.partner else "other"


def colour(layer: Layer, site: str) -> str:
    """Return the placeholder colour of a site."""
    return _TONES[tone(layer, site)]


def facts(analysis: Analysis, layers: Sequence[Layer]) -> list[tuple[str, str]]:
    """Return the particulars of the analysis, as (name, value)."""
    steps = sorted({step for layer in layers for step in layer.steps})
    rows = sorted({r.rows for r in analysis.recordings})
    found = [("Layers", count(len(layers)))]
    if len(steps) > 1:
        found.append(("Steps", f"{count(len(steps))} ({count(steps[0])} to {count(steps[-1])})"))
    if rows:
        spread = count(rows[0]) if len(rows) == 1 else f"{count(rows[0])} to {count(rows[-1])}"
        found.append(("Values per unit", spread))
    found.append(("Moments fitted", count(analysis.order)))
    found.append(("Made", clean(analysis.created, 40)[:16].replace("T", " ")))
    return found


def table_lead(layers: Sequence[Layer]) -> str:
    """Return one sentence on how to read the table."""
    several = any(len(layer.steps) > 1 for layer in layers)
    return (
        ("The last step of each layer. " if several else "")
        + "A bar is the share of units; below it, how strong the effect is. The sketch pools all "
        "units of a layer; the dashed curve is N(0,1)."
    )


def group(layer: Layer, summary: pd.DataFrame, book: Sketchbook, *, linked: bool) -> Group:
    """Return the rows of `layer`, one for each site, at its last step."""
    return Group(
        name=clean(layer.name),
        detail=f"feeds {clean(layer.activation, 40)}" if layer.activation else "",
        anchor=f"layer-{layer.place}" if linked else "",
        rows=[_row(layer, site, summary, book) for site in layer.recordings],
    )


def summary_of(recording: Recording, summary: pd.DataFrame) -> pd.Series:
    """Return the row of `summary` that belongs to `recording`."""
    here = (
        (summary["layer"] == recording.layer)
        & (summary["site"] == recording.site)
        & (summary["step"] == recording.step)
    )
    return summary.loc[here].iloc[0]


def _row(layer: Layer, site: str, summary: pd.DataFrame, book: Sketchbook) -> Row:
    recording = layer.last(site)
    numbers = summary_of(recording, summary)
    shape = Shape.of(recording.pooled_histogram, None)
    sketch = None
    if shape is not None:
        drawn = shape
        sketch = book.draw(lambda ax: figures.glyph(ax, drawn, colour(layer, site)), _GLYPH)
    return Row(
        label=site_label(site),
        tone=tone(layer, site),
        size=f"{plural(int(numbers['units']), 'unit')} × {count(recording.rows)} values",
        glyph=sketch,
        alt=f"Sketch of the pooled distribution: mean "
        f"{number(numbers['pooled_mean'], scale=numbers['pooled_std'])}, "
        f"std {number(numbers['pooled_std'])}"
        if sketch is not None
        else "",
        cells=_cells(recording.units, numbers),
        notes=_notes(numbers),
    )


def _cells(units: pd.DataFrame, numbers: pd.Series) -> list[Cell]:
    zeros = _largest(units["zero_fraction"])
    strengths = {
        "dead": f"zeros up to {percent(zeros, 1.0)}" if zeros > 0 else "",
        "heavy_tailed": _strength("kurtosis up to {}", numbers["kurtosis_max"]),
        "bimodal": _strength("dip up to {}", numbers["dip_max"]),
        "far": _strength("median KL {}", numbers["kl_median"]),
    }
    total = int(numbers["units"])
    return [
        Cell(
            label=word[0].upper() + word[1:],
            units=count(int(numbers[flag])),
            share=percent(int(numbers[flag]), total),
            percent=round(100.0 * int(numbers[flag]) / max(total, 1), 1),
            strength=strengths[flag],
        )
        for flag, word in FLAGS.items()
    ]


def _strength(pattern: str, value: Any) -> str:
    return pattern.format(number(float(value))) if np.isfinite(value) else ""


def _notes(numbers: pd.Series) -> list[str]:
    notes = []
    if numbers["nan_count"] or numbers["inf_count"]:
        notes.append(f"{count(numbers['nan_count'])} NaN, {count(numbers['inf_count'])} infinite")
    if numbers["maxent_failed"]:
        notes.append(f"no exact fit for {plural(int(numbers['maxent_failed']), 'unit')}")
    return notes


def _largest(values: pd.Series) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if len(finite) else float("nan")
