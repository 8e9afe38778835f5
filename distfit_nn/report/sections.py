"""The section of each layer: which figures, with which words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from distfit_nn.report import figures
from distfit_nn.report.numbers import count, number, percent, plural
from distfit_nn.report.overview import colour, summary_of, tone
from distfit_nn.report.page import Part, Plot, Section
from distfit_nn.report.select import (
    Layer,
    clean,
    facts,
    label,
    modes,
    remarkable,
    sentence,
    site_label,
    site_word,
    some,
    unit_label,
)
from distfit_nn.report.shapes import LARGEST, Shape, coincide, track
from distfit_nn.report.spreads import DECADES, LOG, spreads
from distfit_nn.report.svg import Frame, Sketchbook
from distfit_nn.report.verdict import FLAGS, called

if TYPE_CHECKING:
    from distfit_nn.stats.findings import Findings
    from distfit_nn.stats.summary import Recording

_MOST_LAYERS = 30  # with figures: about 100 kB each keeps the page well below 5 MB
_OPEN_LAYERS = 6  # more sections than this are folded
_RIDGE_ROWS = 6

_TRACKED = (
    ("kl_maxent", "KL from N(0,1), nat"),
    ("kl_shape", "Shape part, nat"),
    ("kurtosis", "Excess kurtosis"),
    ("dip", "Dip"),
)
_POOLED = Frame(480, 210, left=38, bottom=26, right=6, top=4)
_UNIT = Frame(250, 120, left=6, bottom=22, right=6, top=2)
_TRACK = Frame(250, 150, left=42, bottom=22, right=6, top=6)


@dataclass(frozen=True)
class Plan:
    """How much is drawn: `units` remarkable ones for each of `layers`, `folded` away or not."""

    layers: Sequence[Layer]
    units: int
    folded: bool

    @classmethod
    def of(cls, layers: Sequence[Layer]) -> Plan:
        """Return a plan that keeps the page readable and small, whatever the network."""
        chosen = list(layers)
        if len(chosen) > _MOST_LAYERS:
            loudest = sorted(chosen, key=_loudness, reverse=True)[:_MOST_LAYERS]
            chosen = sorted(loudest, key=lambda layer: layer.place)
        return cls(chosen, 8 if len(chosen) <= 8 else 4, len(chosen) > _OPEN_LAYERS)


def section(layer: Layer, analysis: Findings, book: Sketchbook, plan: Plan) -> Section:
    """Return the section of `layer`."""
    main = layer.last(layer.main)
    shown = [
        _pooled(layer, analysis, book),
        *spreads(layer, book),
        _units(layer, book, plan.units),
        *_steps(layer, book),
    ]
    name, whole = label(layer.name)
    return Section(
        anchor=f"layer-{layer.place}",
        name=name,
        whole=whole,
        detail=_detail(layer, main),
        summary=_summary(main.units),
        parts=[part for part in shown if part is not None],
    )


def _loudness(layer: Layer) -> float:
    kl = layer.last(layer.main).units["kl_maxent"]
    return float(kl.median()) if kl.notna().any() else 0.0


def _detail(layer: Layer, main: Recording) -> str:
    each = " each" if len(main.units) > 1 else ""
    parts = [plural(len(main.units), "unit"), f"{plural(main.rows, 'value')}{each}"]
    tested = int(main.units["sampled"].max())
    if tested < main.units["n"].max():
        parts.append(f"tests rest on {count(tested)} of them")
    if layer.activation:
        parts.append(f"feeds {clean(layer.activation, 40)}")
    return " · ".join(parts)


def _summary(units: pd.DataFrame) -> str:
    one = len(units) == 1
    tally = {flag: int(units[flag].sum()) for flag in FLAGS}
    found = [
        called(flag, k) if one else f"{count(k)} {called(flag, k)}"
        for flag, k in tally.items()
        if k
    ]
    said = ", ".join(found) if found else "nothing stands out"
    return f"{said} · {modes(units.iloc[0])}" if one else said


# (a) all units pooled


def _pooled(layer: Layer, analysis: Findings, book: Sketchbook) -> Part:
    plots = [_pooled_plot(layer, site, analysis, book) for site in layer.recordings]
    return Part(
        "All units pooled",
        "Where the values of the layer lie, all units together, as densities.",
        columns=2,
        plots=plots,
        key=[("bar", "values"), ("fit", "maximum-entropy density"), ("normal", "N(0,1)")],
    )


def _pooled_plot(layer: Layer, site: str, analysis: Findings, book: Sketchbook) -> Plot:
    recording = layer.last(site)
    row = summary_of(recording, analysis.layers)
    shape = Shape.of(recording.pooled_histogram, recording.pooled_density)
    title = sentence(site_label(site))
    numbers = (
        f"mean {number(row['pooled_mean'], scale=row['pooled_std'])}, "
        f"std {number(row['pooled_std'])}, "
        f"skewness {number(row['pooled_skewness'])}, "
        f"excess kurtosis {number(row['pooled_kurtosis'])}"
    )
    if shape is None:
        return Plot(book.blank(_POOLED), f"{title}: no figure.", _why_blank(recording), title)
    caption = f"{plural(shape.n, 'value')}: {numbers}; {_pooled_distance(row)}."
    if shape.outside:
        share = percent(shape.outside, shape.n)
        lie = "lies" if shape.outside == 1 else "lie"
        caption += f" {plural(shape.outside, 'value')} ({share}) {lie} beyond the bars."
    if shape.fitted is None:
        caption += f" No density is drawn: the fit is {clean(str(row['pooled_status']), 40)}."
    paint = partial(figures.distribution, shape=shape, colour=colour(layer, site))
    svg = book.draw(paint, _POOLED)
    alt = f"Histogram of layer {clean(layer.name, 60)}, {site_label(site)}, with its fitted "
    return Plot(svg, alt + f"density and N(0,1): {numbers}.", caption, title)


def _pooled_distance(row: pd.Series) -> str:
    """Return the divergence and its shape part: that of the Gaussian alone where the fit failed."""
    total, gaussian = row["pooled_kl_maxent"], row["pooled_kl_gaussian"]
    if row["pooled_status"] != "ok":
        return f"KL of a Gaussian like it {number(gaussian)} nat"
    return f"KL {number(total)} nat, {number(total - gaussian, scale=1.0)} of it shape"


def _why_blank(recording: Recording) -> str:
    pooled = recording.pooled
    if not pooled.n[0]:
        return "No finite value, so there is nothing to draw."
    return (
        f"{plural(int(pooled.n[0]), 'finite value')}, from {number(float(pooled.minimum[0]))} to "
        f"{number(float(pooled.maximum[0]))}: too large, or too close together, to be drawn."
    )


# (b) units worth a look


def _units(layer: Layer, book: Sketchbook, most: int) -> Part | None:
    recording = layer.last(layer.main)
    chosen = remarkable(recording.units, most)
    if not chosen or (len(recording.units) == 1 and len(layer.recordings) == 1):
        return None
    plots = [_unit_plot(layer, recording, row, why, book) for row, why in chosen]
    where = sentence(site_label(layer.main))
    total = len(recording.units)
    lead = (
        f"{where}: the most extreme of {plural(total, 'unit')}; in what, stands beside each. "
        "Below: KL and its shape part, the index of the tails, and the verdict on its modes."
        if total > len(chosen)
        else f"{where}: every unit that has values."
    )
    return Part(
        "Units worth a look",
        lead,
        columns=4,
        plots=plots,
        key=[("bar", "values"), ("fit", "maximum-entropy density"), ("normal", "N(0,1)")],
    )


def _unit_plot(layer: Layer, recording: Recording, row: int, why: str, book: Sketchbook) -> Plot:
    unit = recording.units.iloc[row]
    title, whole = unit_label(unit)
    shape = Shape.of(recording.histogram, recording.density[row], row)
    if shape is None:
        words = f"Not drawn: values from {number(unit['min'])} to {number(unit['max'])}"
        alt = f"{title}: {words}."
        return Plot(book.blank(_UNIT), alt, words, title, why, whole, modes(unit))
    said = [facts(unit)] if facts(unit) else []
    if shape.fitted is None:
        said.append(f"no density, the fit is {clean(str(unit['maxent_status']), 40)}")
    if shape.outside:
        said.append(f"{count(shape.outside)} beyond the bars")
    words = sentence(" · ".join(said))
    paint = partial(
        figures.distribution, shape=shape, colour=colour(layer, layer.main), scale=False
    )
    svg = book.draw(paint, _UNIT)
    alt = f"Histogram of {title}, {why}: mean {number(unit['mean'])}, "
    alt += f"std {number(unit['std'])}, {words}."
    return Plot(svg, alt, words, title, why, whole, modes(unit))


# (c) over the steps


def _steps(layer: Layer, book: Sketchbook) -> list[Part | None]:
    sites = [site for site in layer.pair if len(layer.recordings[site]) > 1]
    if not sites:
        return []
    columns = ["step", "site", *(name for name, _ in _TRACKED)]
    data = pd.concat(
        [r.units[columns] for site in sites for r in layer.recordings[site]],
        ignore_index=True,
    )
    tracks = [_track_plot(layer, data, name, label, book) for name, label in _TRACKED]
    ridges = [_ridge_plot(layer, site, book) for site in sites[::-1]]
    return [
        Part(
            "Over the steps",
            "Line: the median unit. Band: the middle half of the units.",
            columns=4,
            plots=[plot for plot in tracks if plot is not None],
            key=[(tone(layer, site), site_label(site)) for site in sites[::-1]],
        ),
        Part(
            "The pooled distribution over the steps",
            "Each row is scaled to its own peak.",
            columns=2,
            plots=[plot for plot in ridges if plot is not None],
        ),
    ]


def _track_plot(
    layer: Layer, units: pd.DataFrame, name: str, label: str, book: Sketchbook
) -> Plot | None:
    data = track(units, name)
    if data.empty:
        return None
    log = bool(
        data["low"].min() > 1 / LARGEST and data["median"].max() > DECADES * data["median"].min()
    )
    tones = {site: colour(layer, site) for site in layer.pair if site in set(data["site"])}
    svg = book.draw(lambda ax: figures.over_steps(ax, data, tones, log=log), _TRACK)
    medians = data.set_index("site")["median"]
    runs = {
        site_word(site): f"{number(medians[[site]].iloc[0])} to {number(medians[[site]].iloc[-1])}"
        for site in reversed(tones)
    }
    words = "; ".join(f"{site} {run}" for site, run in runs.items())
    if coincide(data, log=log):
        words = f"{' and '.join(runs)} coincide: {list(runs.values())[-1]}"
    alt = (
        f"{label} of the median unit of layer {clean(layer.name, 60)}, first to last step: {words}."
    )
    return Plot(svg, alt, sentence(words), label, LOG if log else "")


def _ridge_plot(layer: Layer, site: str, book: Sketchbook) -> Plot | None:
    shapes = [
        (count(recording.step), Shape.of(recording.pooled_histogram, recording.pooled_density))
        for recording in some(layer.recordings[site], _RIDGE_ROWS)
    ]
    rows = [(label, shape) for label, shape in shapes if shape is not None]
    if not rows:
        return None
    left = 18 + 7 * max(len(label) for label, _ in rows)
    svg = book.draw(
        lambda ax: figures.ridge(ax, rows, colour(layer, site)),
        Frame(480, 56 + 44 * len(rows), left=left, bottom=24, right=8, top=2),
    )
    title = sentence(site_label(site))
    words = f"steps {', '.join(label for label, _ in rows)}, from top to bottom"
    if len(rows) < len(layer.recordings[site]):
        words += f"; {count(len(rows))} of {count(len(layer.recordings[site]))} recorded steps"
    return Plot(svg, f"Pooled distributions, {site_label(site)}: {words}.", words, title)
