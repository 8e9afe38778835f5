"""The first screen: what was read, and the table of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from distfit_nn.report import figures
from distfit_nn.report.numbers import count, not_finite, number, percent, plural, qvalue
from distfit_nn.report.page import Cell, Group, Row
from distfit_nn.report.select import NO_TAIL, Layer, Layers, clean, label, site_label
from distfit_nn.report.shapes import Shape
from distfit_nn.report.svg import AFTER, BEFORE, OTHER, Frame, Sketchbook
from distfit_nn.report.verdict import called
from distfit_nn.stats.layer_table import layer_row
from distfit_nn.stats.unit_table import FAR_KL

if TYPE_CHECKING:
    from distfit_nn.stats.findings import Findings
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


def facts(analysis: Findings, layers: Layers) -> list[tuple[str, str]]:
    """Return the particulars of the analysis, as (name, value)."""
    steps = sorted({step for layer in layers for step in layer.steps})
    rows = sorted({r.rows for r in analysis.recordings})
    found = [("Layers", count(len(layers)))]
    if len(steps) > 1:
        found.append(("Steps", f"{count(len(steps))} ({count(steps[0])} to {count(steps[-1])})"))
    if rows:
        spread = count(rows[0]) if len(rows) == 1 else f"{count(rows[0])} to {count(rows[-1])}"
        found.append(("Values per unit", spread))
    if any(r.rows_seen > r.rows for r in analysis.recordings):
        most = max(r.rows_seen for r in analysis.recordings)
        found.append(("Sampled from", f"up to {count(most)} rows"))
    tested = _tested(layers) if layers else ""
    if tested:
        found.append(("Tests rest on", tested))
    found.append(("Moments fitted", count(analysis.order)))
    found.append(("Made", f"{clean(analysis.created, 40)[:16].replace('T', ' ')} UTC"))
    return found


def _tested(layers: Layers) -> str:
    """Return how many values the tests rest on, where that is not all of them."""
    units = layers.last
    fewer = units[units["sampled"] < units["n"]]
    if fewer.empty:
        return ""
    most = fewer.iloc[int(fewer["n"].argmax())]
    return f"{count(int(most['sampled']))} of {count(int(most['n']))}, drawn at random"


def reading(layers: Sequence[Layer]) -> str:
    """Return what a newcomer must know to read the first screen; nothing where nothing is told."""
    if not layers:
        return ""
    return (
        "N(0,1) is the standard normal distribution. KL, in nat, is the divergence of a unit from "
        f"it: 0 where they are equal; above {number(FAR_KL)} a unit is called far."
    )


def table_lead(layers: Sequence[Layer]) -> str:
    """Return one sentence on how to read the table."""
    several = any(len(layer.steps) > 1 for layer in layers)
    return (
        ("The last step of each layer. " if several else "")
        + "A bar is the share of units; below it, how strong the effect is. The sketch pools all "
        "units of a layer; the dashed curve is N(0,1)."
    )


def group(layer: Layer, book: Sketchbook, flags: Sequence[str], *, linked: bool) -> Group:
    """Return the rows of `layer`, one for each site, at its last step; `flags` are the columns."""
    name, whole = label(layer.name)
    return Group(
        name=name,
        whole=whole,
        detail=f"feeds {clean(layer.activation, 40)}" if layer.activation else "",
        anchor=f"layer-{layer.place}" if linked else "",
        key=f"row-{layer.place}",
        rows=[_row(layer, site, book, flags) for site in layer.recordings],
    )


def summary_of(recording: Recording) -> pd.Series:
    """Return the row of the table of layers that belongs to `recording`.

    The table itself would have a row for every recording; a page shows a bounded number of them.
    """
    return pd.Series(layer_row(recording))


def _row(layer: Layer, site: str, book: Sketchbook, flags: Sequence[str]) -> Row:
    recording = layer.last(site)
    numbers = summary_of(recording)
    shape = Shape.of(recording.pooled_histogram, None)
    sketch = None
    if shape is not None:
        drawn = shape
        sketch = book.draw(lambda ax: figures.glyph(ax, drawn, colour(layer, site)), _GLYPH)
    return Row(
        label=site_label(site),
        tone=tone(layer, site),
        size=f"{plural(int(numbers['units']), 'unit')} × {plural(recording.rows, 'value')}",
        glyph=sketch,
        alt=f"Sketch of the pooled distribution: mean "
        f"{number(numbers['pooled_mean'], scale=numbers['pooled_std'])}, "
        f"std {number(numbers['pooled_std'])}"
        if sketch is not None
        else "",
        cells=_cells(recording.units, numbers, flags),
        notes=_notes(numbers),
    )


def _cells(units: pd.DataFrame, numbers: pd.Series, flags: Sequence[str]) -> list[Cell]:
    zeros = _largest(units["zero_fraction"])
    dip = _strength("dip up to {}", numbers["dip_max"])
    smallest = units["dip_qvalue"].min()  # a large dip of few values is no evidence: say that too
    strengths = {
        "dead": f"zeros up to {percent(zeros, 1.0)}" if zeros > 0 else "",
        "heavy_tailed": _tails(units["tail_index"].min()),
        "outlier": _strength("magnitude up to {} × median", units["outlier_ratio"].max()),
        "bimodal": f"{dip}, {_smallest_q(smallest)}" if smallest >= 0 else dip,
        "far": _distance(numbers),
    }
    total = int(numbers["units"])
    return [
        Cell(
            word=flag,
            label=_heading(flag),
            units=count(int(numbers[flag])),
            share=percent(int(numbers[flag]), total),
            percent=round(100.0 * int(numbers[flag]) / max(total, 1), 1),
            strength=strengths.get(flag, ""),
        )
        for flag in flags
    ]


def _heading(flag: str) -> str:
    word = called(flag, 2)
    return word[0].upper() + word[1:]


def _distance(numbers: pd.Series) -> str:
    """Return the median divergence, and how much of it is shape, which no affine map removes."""
    kl = _strength("median KL {}", numbers["kl_median"])
    shape = _strength("shape {}", numbers["shape_median"])
    return ", ".join(part for part in (kl, shape) if part)


def _tails(index: float) -> str:
    """Return the smallest tail index, where there is a tail to speak of."""
    return _strength("tail index ≥ {}", np.minimum(index, NO_TAIL)).replace("≥ ", "≥\u00a0")


def _smallest_q(value: float) -> str:
    return f"least q\u00a0{qvalue(value)}".replace("= ", "=\u00a0").replace("< ", "<\u00a0")


def _strength(pattern: str, value: Any) -> str:
    return "" if np.isnan(value) else pattern.format(number(float(value)))


def _notes(numbers: pd.Series) -> list[str]:
    missing = not_finite(int(numbers["nan_count"]), int(numbers["inf_count"]))
    notes = [missing] if missing else []
    if numbers["maxent_failed"]:
        notes.append(f"no exact fit for {plural(int(numbers['maxent_failed']), 'unit')}")
    return notes


def _largest(values: pd.Series) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if len(finite) else float("nan")
