"""The section of each layer: which figures, with which words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from distfit_nn.report import figures
from distfit_nn.report.certainty import Claim
from distfit_nn.report.closer import has_own_pictures, quantiles_part, together_part, units_part
from distfit_nn.report.numbers import count, number, percent, plural
from distfit_nn.report.overview import colour, summary_of, tone
from distfit_nn.report.page import Part, Plot, Section
from distfit_nn.report.select import (
    Layer,
    Layers,
    clean,
    label,
    modes,
    remarkable,
    sentence,
    site_label,
    site_word,
    some,
)
from distfit_nn.report.shapes import LARGEST, Shape, coincide, track
from distfit_nn.report.spreads import DECADES, LOG, spreads
from distfit_nn.report.svg import Frame, Sketchbook
from distfit_nn.report.verdict import FLAGS, called

if TYPE_CHECKING:
    from distfit_nn.stats.summary import Recording

_MOST_LAYERS = 30  # with figures: about 100 kB each keeps the page well below 5 MB
_FEW_LAYERS = 12  # with figures of quantiles and dependence in full
_OPEN_LAYERS = 6  # more sections than this are folded
_RIDGE_ROWS = 6

_TRACKED = (
    ("kl_maxent", "KL from N(0,1), nat"),
    ("kl_shape", "Shape part, nat"),
    ("kurtosis", "Excess kurtosis"),
    ("dip", "Dip"),
)
_POOLED = Frame(480, 210, left=38, bottom=26, right=6, top=4)
_SIDE = Frame(340, 190, left=38, bottom=26, right=6, top=4)
_BOTH = Frame(340, 190, left=46, bottom=26, right=6, top=4)
_TRACK = Frame(250, 150, left=42, bottom=22, right=6, top=6)


@dataclass(frozen=True)
class Plan:
    """What is drawn.

    Attributes
    ----------
    layers : sequence of Layer
        Those with figures.
    chosen : mapping
        Place of each to the rows of its units worth a look, and why.
    quantiles : int
        Units of each layer with quantiles.
    pairs : bool
        Whether the dependence between units is drawn.
    folded : bool
        Whether sections are folded away.
    """

    layers: Sequence[Layer]
    chosen: Mapping[int, Sequence[tuple[int, str]]]
    quantiles: int
    pairs: bool
    folded: bool

    @classmethod
    def of(cls, layers: Layers, claims: Sequence[Claim] = ()) -> Plan:
        """Return a plan that keeps the page readable and small, and shows what is claimed."""
        claimed = _claimed(layers, claims)
        chosen = loudest(layers, _MOST_LAYERS, list(claimed))
        units = 8 if len(chosen) <= 8 else 4
        rows = {
            layer.place: _with(
                remarkable(layer.last(layer.main).units, units), claimed.get(layer.place, [])
            )
            for layer in chosen
        }
        few = len(chosen) <= _FEW_LAYERS
        return cls(chosen, rows, 4 if few else 1, few, len(chosen) > _OPEN_LAYERS)

    def pictures(self) -> dict[int, list[int]]:
        """Return the rows of the units with a picture of their own, by place of their layer."""
        return {
            layer.place: [row for row, _ in self.chosen[layer.place]]
            for layer in self.layers
            if has_own_pictures(layer)
        }


def loudest(layers: Layers, most: int, first: Sequence[int] = ()) -> list[Layer]:
    """Return at most `most` layers in order: those at the places `first`, then those of largest KL.

    KL is that of the median unit at the last step.
    """
    if len(layers) <= most:
        return list(layers)
    units = layers.last
    medians = units["kl_maxent"].groupby(units["place"]).median().fillna(0.0)
    by_kl = [int(place) for place in medians.sort_values(ascending=False, kind="stable").index]
    places = list(dict.fromkeys([*first, *by_kl]))[:most]
    return [layers[place - 1] for place in sorted(places)]


def _claimed(layers: Layers, claims: Sequence[Claim]) -> dict[int, list[int]]:
    """Return the places of the layers that claims are about, with the rows of their units."""
    places = {layer.name: layer.place for layer in layers} if claims else {}
    found: dict[int, list[int]] = {}
    for claim in claims:
        if claim.layer in places:
            place = places[claim.layer]
            rows = found.setdefault(place, [])
            if claim.unit is not None:
                layer = layers[place - 1]
                numbered = layer.last(layer.main).units["unit"].to_numpy()
                rows.append(int(np.argmax(numbered == claim.unit)))
    return found


def _with(chosen: list[tuple[int, str]], rows: Sequence[int]) -> list[tuple[int, str]]:
    """Return the chosen units, and `rows` where they are not among them."""
    have = {row for row, _ in chosen}
    more = [row for row in dict.fromkeys(rows) if row not in have]
    return chosen + [(row, "strongest of its kind") for row in more]


def section(layer: Layer, book: Sketchbook, plan: Plan) -> Section:
    """Return the section of `layer`."""
    main = layer.last(layer.main)
    chosen = plan.chosen[layer.place]
    shown = [
        _pooled(layer, book),
        *spreads(layer, book),
        units_part(layer, chosen, book),
        quantiles_part(layer, chosen[: plan.quantiles], book),
        together_part(layer, book, pairs=plan.pairs),
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


def _pooled(layer: Layer, book: Sketchbook) -> Part:
    shapes = {
        site: Shape.of(layer.last(site).pooled_histogram, layer.last(site).pooled_density)
        for site in layer.recordings
    }
    plots = [_pooled_plot(layer, site, shape, book) for site, shape in shapes.items()]
    both = _both_sides(layer, shapes, book)
    return Part(
        "All units pooled",
        "Where the values of the layer lie, all units together, as densities.",
        columns=2 if both is None else 3,
        plots=plots if both is None else [both, *plots],
        key=[("bar", "values"), ("fit", "maximum-entropy density"), ("normal", "N(0,1)")],
        anchor=f"pooled-{layer.place}",
    )


def _both_sides(layer: Layer, shapes: Mapping[str, Shape | None], book: Sketchbook) -> Plot | None:
    """Return what went into a normalisation and what came out of it, on one axis."""
    if layer.partner is None:
        return None
    before, after = shapes[layer.partner], shapes[layer.main]
    if before is None or after is None:
        return None
    words = [site_word(layer.partner), site_word(layer.main)]
    tones = [colour(layer, layer.partner), colour(layer, layer.main)]
    svg = book.draw(lambda ax: figures.before_after(ax, before, after, tones, words), _BOTH)
    title = "Both on one axis"
    caption = (
        f"{sentence(words[1])} upwards, {words[0]} downwards; each is scaled to its own peak: "
        "compare places and widths, not heights."
    )
    alt = f"Pooled distributions of layer {clean(layer.name, 60)} on one axis: "
    ranges = [
        f"{word} from {number(float(shape.edges[0]))} to {number(float(shape.edges[-1]))}"
        for word, shape in zip(words, (before, after), strict=True)
    ]
    return Plot(svg, f"{alt}{', '.join(ranges)}.", caption, title)


def _pooled_plot(layer: Layer, site: str, shape: Shape | None, book: Sketchbook) -> Plot:
    recording = layer.last(site)
    row = summary_of(recording)
    frame = _POOLED if layer.partner is None else _SIDE
    title = sentence(site_label(site))
    numbers = (
        f"mean {number(row['pooled_mean'], scale=row['pooled_std'])}, "
        f"std {number(row['pooled_std'])}, "
        f"skewness {number(row['pooled_skewness'])}, "
        f"excess kurtosis {number(row['pooled_kurtosis'])}"
    )
    if shape is None:
        return Plot(book.blank(frame), f"{title}: no figure.", _why_blank(recording), title)
    caption = f"{plural(shape.n, 'value')}: {numbers}; {_pooled_distance(row)}."
    if shape.outside:
        share = percent(shape.outside, shape.n)
        lie = "lies" if shape.outside == 1 else "lie"
        caption += f" {plural(shape.outside, 'value')} ({share}) {lie} beyond the bars."
    if shape.fitted is None:
        caption += f" No density is drawn: the fit is {clean(str(row['pooled_status']), 40)}."
    paint = partial(figures.distribution, shape=shape, colour=colour(layer, site))
    svg = book.draw(paint, frame)
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


# (b) over the steps


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
