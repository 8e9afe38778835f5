"""A closer look at a layer: units worth it, their quantiles, outlier channels, dependence."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from distfit_nn.report import figures
from distfit_nn.report.claims import unit_anchor
from distfit_nn.report.numbers import count, number, plural
from distfit_nn.report.overview import colour
from distfit_nn.report.page import Part, Plot
from distfit_nn.report.select import (
    Layer,
    clean,
    facts,
    modes,
    sentence,
    site_label,
    unit_label,
)
from distfit_nn.report.shapes import QQ, Channels, Dependence, Shape, clear_modes
from distfit_nn.report.svg import Frame, Sketchbook
from distfit_nn.stats.dependence import RankCorrelation, strength

if TYPE_CHECKING:
    from distfit_nn.stats.summary import Recording

Chosen = Sequence[tuple[int, str]]  # rows of the table of units, and why each is worth a look

_UNIT = Frame(250, 120, left=6, bottom=22, right=6, top=10)
_QQ = Frame(250, 170, left=40, bottom=22, right=6, top=4)
_CHANNELS = Frame(480, 200, left=44, bottom=24, right=8, top=14)
_PAIRS = Frame(480, 300, left=44, bottom=32, right=62, top=6)
_SOURCES = {
    "values": "all values",
    "sample": "a sample of the rows",
    "histogram": "the edges of the histogram: no single value is kept",
}


def units_part(layer: Layer, chosen: Chosen, book: Sketchbook) -> Part | None:
    """Return the distributions of the units worth a look."""
    recording = layer.last(layer.main)
    if not chosen or not has_own_pictures(layer):
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
    key = [
        ("bar", "values"),
        ("fit", "maximum-entropy density; where marked, its modes"),
        ("normal", "N(0,1)"),
    ]
    return Part("Units worth a look", lead, columns=4, plots=plots, key=key)


def has_own_pictures(layer: Layer) -> bool:
    """Whether units are drawn one by one: a single unit at a single site is its own pool."""
    return len(layer.last(layer.main).units) > 1 or len(layer.recordings) > 1


def quantiles_part(layer: Layer, chosen: Chosen, book: Sketchbook) -> Part | None:
    """Return quantiles of units against those of the normal distribution."""
    recording = layer.last(layer.main)
    plots = [
        plot for row, _ in chosen if (plot := _qq_plot(layer, recording, row, book)) is not None
    ]
    if not plots:
        return None
    lead = (
        "Dots: quantiles of the unit, against those of N(0,1). Dashed: where they would lie were "
        "the unit normal. Band: where chance leaves 95 of 100 of them then, each on its own."
    )
    return Part("Quantiles against the normal distribution", lead, columns=4, plots=plots)


def together_part(layer: Layer, book: Sketchbook, *, pairs: bool) -> Part | None:
    """Return the magnitudes of all units and, with `pairs`, how units go together."""
    found = [_channels_plot(layer, book)]
    if pairs:
        found.append(_pairs_plot(layer, book))
    plots = [plot for plot in found if plot is not None]
    if not plots:
        return None
    lead = "The units of the layer side by side: is one far larger, do they say the same?"
    return Part("Units together", lead, columns=2, plots=plots, anchor=f"together-{layer.place}")


def _unit_plot(layer: Layer, recording: Recording, row: int, why: str, book: Sketchbook) -> Plot:
    unit = recording.units.iloc[row]
    title, whole = unit_label(unit)
    anchor = unit_anchor(layer, row)
    density = recording.density[row]
    shape = Shape.of(recording.histogram, density, row)
    if shape is None:
        words = f"Not drawn: values from {number(unit['min'])} to {number(unit['max'])}"
        alt = f"{title}: {words}."
        return Plot(book.blank(_UNIT), alt, words, title, why, whole, modes(unit), anchor)
    said = [facts(unit)] if facts(unit) else []
    if shape.fitted is None:
        said.append(f"no density, the fit is {clean(str(unit['maxent_status']), 40)}")
    if shape.outside:
        said.append(f"{count(shape.outside)} beyond the bars")
    words = sentence(" · ".join(said))
    paint = partial(
        figures.distribution,
        shape=shape,
        colour=colour(layer, layer.main),
        scale=False,
        modes=clear_modes(density) if unit["modes"] != 1 else (),
    )
    svg = book.draw(paint, _UNIT)
    alt = f"Histogram of {title}, {why}: mean {number(unit['mean'])}, "
    alt += f"std {number(unit['std'])}, {words}."
    return Plot(svg, alt, words, title, why, whole, modes(unit), anchor)


def _qq_plot(layer: Layer, recording: Recording, row: int, book: Sketchbook) -> Plot | None:
    shape = QQ.of(recording, row)
    if shape is None:
        return None
    unit = recording.units.iloc[row]
    title, whole = unit_label(unit)
    svg = book.draw(partial(figures.qq, quantiles=shape, colour=colour(layer, layer.main)), _QQ)
    caption = f"{plural(shape.n, 'value')}, {_SOURCES[shape.source]}"
    if any(shape.beyond):
        caption += f"; {plural(sum(shape.beyond), 'point')} beyond the axis"
    ends = f"from {number(float(shape.values[0]))} to {number(float(shape.values[-1]))}"
    alt = (
        f"Quantiles of {title} {ends}, where a normal unit would reach from "
        f"{number(shape.mean + shape.std * float(shape.normal[0]))} to "
        f"{number(shape.mean + shape.std * float(shape.normal[-1]))}."
    )
    return Plot(svg, alt, sentence(caption), title, "", whole)


def _channels_plot(layer: Layer, book: Sketchbook) -> Plot | None:
    units = layer.last(layer.main).units
    if len(units) < 2:
        return None
    shape = Channels.of(units)
    if shape is None:
        return None
    svg = book.draw(
        partial(figures.outliers, channels=shape, colour=colour(layer, layer.main)), _CHANNELS
    )
    words = f"median {number(shape.median)}, threshold {number(shape.threshold)}, "
    words += f"above it {plural(shape.outliers, 'unit')}"
    if shape.outliers:
        words += f": {', '.join(shape.names)}{', …' if shape.outliers > len(shape.names) else ''}"
    joined = -(-len(units) // len(shape.height))
    if joined > 1:
        words += f"; a bar is the largest of {count(joined)} neighbours"
    alt = f"Largest magnitude of each unit of layer {clean(layer.name, 60)}: {words}."
    title = "Largest magnitude of each unit"
    return Plot(
        svg, alt, sentence(words), title, "log axis" if shape.log else "",
        anchor=f"channels-{layer.place}",
    )  # fmt: skip


def _pairs_plot(layer: Layer, book: Sketchbook) -> Plot | None:
    recording = layer.last(layer.main)
    shape = Dependence.of(recording)
    if shape is None or len(shape.matrix) < 2:
        return None
    svg = book.draw(partial(figures.dependence, matrix=shape), _PAIRS)
    found = strength(RankCorrelation(shape.matrix, shape.rows, shape.n))
    names = [unit_label(recording.units.iloc[row])[0] for row in (found.first, found.second)]
    words = (
        f"median |ρ| {number(found.median, 2)}, by chance {number(found.median_chance, 2)}; "
        f"largest {number(found.largest, 2)} ({names[0]} and {names[1]}); "
        f"{count(found.beyond)} of {plural(found.pairs, 'pair')} above "
        f"{number(found.largest_chance, 2)}, what chance hardly gives; n {count(shape.n)}"
    )
    if len(shape.matrix) < shape.units:
        words += f"; {count(len(shape.matrix))} of {plural(shape.units, 'unit')}, drawn at random"
    alt = f"Rank correlation of pairs of units of layer {clean(layer.name, 60)}: {words}."
    title = "Dependence: Spearman's ρ of each pair"
    return Plot(svg, alt, sentence(words), title, anchor=f"dependence-{layer.place}")
