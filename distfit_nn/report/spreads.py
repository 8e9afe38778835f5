"""How statistics are spread over the units of a layer, and what of it normalisation can change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from distfit_nn.report import figures
from distfit_nn.report.numbers import count, number, plural
from distfit_nn.report.overview import colour
from distfit_nn.report.page import Part, Plot
from distfit_nn.report.select import Layer, clean, sentence, site_word
from distfit_nn.report.shapes import Spread
from distfit_nn.report.svg import Frame, Sketchbook
from distfit_nn.report.verdict import SAME, kept_shapes
from distfit_nn.stats.unit_table import ALPHA

# A logarithmic axis is used where the largest value is this many times the smallest.
DECADES = 30.0
LOG = "log axis"

_MOVABLE = (("mean", "Mean"), ("std", "Standard deviation"), ("kl_maxent", "KL from N(0,1), nat"))
_FIXED = (
    ("skewness", "Skewness"),
    ("kurtosis", "Excess kurtosis"),
    ("kl_shape", "Shape part, nat"),
)
_PAIR = Frame(340, 130, left=46, bottom=24, right=8, top=2)
_ALONE = Frame(340, 100, left=6, bottom=24, right=8, top=2)
_NO_UNIT = "no unit has a finite value."
_LOGARITHMIC = {"std", "kl_maxent", "kl_shape"}
_PARTS = {"kl_location": "location", "kl_scale": "scale", "kl_shape": "shape"}


def spreads(layer: Layer, book: Sketchbook) -> list[Part]:
    """Return how the statistics of a layer are spread: one part, or two where a norm is between."""
    tables = [layer.last(site).units for site in layer.pair]
    if len(tables[0]) < 2:
        return []
    if layer.partner is None:
        both = _MOVABLE[:2] + _FIXED[:2] + (_MOVABLE[2], _FIXED[2])
        lead = f"{_parts_of_kl(layer)} {_normality(tables[0])}".strip()
        return [_spread_part(layer, "Spread over units", lead, both, tables, book)]
    kept = kept_shapes(layer)
    verdict = ""
    if kept is not None:
        same = f"{count(kept[0])} of {plural(kept[1], 'unit')}"
        keep = "keeps" if kept[0] == 1 else "keep"
        verdict = f" Here {same} {keep} skewness (up to its sign) and kurtosis, {SAME}."
    return [
        _spread_part(
            layer,
            "Spread over units: what a shift and a scale can change",
            "Upwards after normalisation, downwards before it; the line is the median unit. "
            + _parts_of_kl(layer),
            _MOVABLE,
            tables,
            book,
        ),
        _spread_part(
            layer,
            "Spread over units: what a shift and a scale cannot change",
            "A normalisation that shifts and scales each unit leaves these as they were: "
            f"one half mirrors the other (skewness up to its sign).{verdict} "
            + _normality(tables[0], ", after normalisation"),
            _FIXED,
            tables,
            book,
        ),
    ]


def _parts_of_kl(layer: Layer) -> str:
    """Return the medians of the parts of the divergence: what a shift, a scale, neither removes."""
    said = []
    for site in reversed(layer.pair):
        medians = layer.last(site).units[list(_PARTS)].median()
        if medians.isna().any():
            return ""
        numbers = [f"{word} {_size(medians[name])}" for name, word in _PARTS.items()]
        said.append(", ".join(numbers) + (f" {site_word(site)}" if layer.partner else ""))
    return (
        "KL is a sum of three parts; a shift removes the first, a scale the second, neither the "
        f"third. Their medians, in nat: {'; '.join(said)}."
    )


def _size(nats: float) -> str:
    return "below\u00a00.001" if 0 <= nats < 0.001 else number(nats, 2)


def _normality(units: pd.DataFrame, when: str = "") -> str:
    """Return how far the units are from being normal, and how many significantly."""
    tested = units[units["normality_qvalue"].notna()]
    if tested.empty:
        return ""
    distance = tested["normality_distance"]
    differ = int((tested["normality_qvalue"] < ALPHA).sum())
    fewest, most = int(tested["sampled"].min()), int(tested["sampled"].max())
    n = count(most) if fewest == most else f"{count(fewest)} to {count(most)}"
    return (
        f"Distance from the normal distribution of the same mean and std{when}: median "
        f"{number(distance.median(), 2)}, largest {number(distance.max(), 2)}; significant in "
        f"{count(differ)} of {plural(len(tested), 'unit')} (q\u00a0<\u00a0{ALPHA:g}, n\u00a0{n})."
    )


def _spread_part(
    layer: Layer,
    title: str,
    lead: str,
    columns: Sequence[tuple[str, str]],
    tables: Sequence[pd.DataFrame],
    book: Sketchbook,
) -> Part:
    plots = [_spread_plot(layer, name, label, tables, book) for name, label in columns]
    anchor = f"spread-{layer.place}" if any(name == "kl_shape" for name, _ in columns) else ""
    return Part(title, lead, columns=3, plots=plots, anchor=anchor)


def _spread_plot(
    layer: Layer, name: str, label: str, tables: Sequence[pd.DataFrame], book: Sketchbook
) -> Plot:
    frame = _PAIR if layer.partner else _ALONE
    samples = [table[name].to_numpy(dtype=float) for table in tables]
    spread = Spread.of(samples, log=name in _LOGARITHMIC and _spans_decades(samples))
    if spread is None:
        return Plot(book.blank(frame), f"{label}: {_NO_UNIT}", sentence(_NO_UNIT), label)
    labels = ["after", "before"] if layer.partner else [""]
    tones = [colour(layer, site) for site in layer.pair]
    svg = book.draw(lambda ax: figures.spread(ax, spread, tones, labels), frame)
    medians = [
        number(10**m) if spread.log else number(m, scale=np.ptp(spread.edges))
        for m in spread.medians
    ]
    if layer.partner:
        words = f"median {medians[1]} before, {medians[0]} after"
    else:
        words = f"median {medians[0]}"
    missing = len(samples[0]) - spread.n[0]
    caption = words
    if missing:
        caption += f"; {plural(missing, 'unit')} without a finite value"
    if np.any(spread.beyond):
        caption += "; beside an arrow: units beyond the axis"
    alt = f"{label} over the units of layer {clean(layer.name, 60)}: {words}."
    return Plot(svg, alt, caption, label, LOG if spread.log else "")


def _spans_decades(samples: Sequence[np.ndarray]) -> bool:
    values = np.concatenate(samples)
    values = values[np.isfinite(values) & (values > 0)]
    if values.size == 0:
        return False
    low, high = np.quantile(values, [0.01, 0.99])
    return bool(high > DECADES * low)
