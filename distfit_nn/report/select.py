"""What the report shows: which sites, which steps, which units."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from distfit_nn.report.numbers import count, number

if TYPE_CHECKING:
    from distfit_nn.stats.findings import Findings
    from distfit_nn.stats.summary import Recording

SITES = {
    "norm_input": "before normalisation",
    "norm_output": "after normalisation",
    "pre_activation": "pre-activation",
    "values": "values",
    "input": "input",
    "output": "output",
}
_MAIN_FIRST = ("norm_output", "pre_activation", "values", "output", "input", "norm_input")
_PARTNER = {"norm_output": "norm_input", "output": "input"}
NO_TAIL = 100.0  # no tail to speak of has a larger index
_WHOLE = 2000  # characters of a name in a tooltip
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")  # control, direction override, lone surrogate, ...


@dataclass(frozen=True)
class Layer:
    """All recordings of one layer.

    Attributes
    ----------
    place : int
        From 1, in the order of the network.
    name : str
        As recorded; may hold anything.
    recordings : mapping
        Site to its recordings in order of steps; sites in the order of the network.
    """

    place: int
    name: str
    recordings: Mapping[str, Sequence[Recording]]

    @property
    def main(self) -> str:
        """The site that the verdict is about: what feeds the nonlinearity, where recorded."""
        return next((s for s in _MAIN_FIRST if s in self.recordings), next(iter(self.recordings)))

    @property
    def partner(self) -> str | None:
        """The site before normalisation that `main` is compared with."""
        site = _PARTNER.get(self.main)
        return site if site in self.recordings else None

    @property
    def pair(self) -> tuple[str, ...]:
        """`main`, then its partner if there is one."""
        return (self.main,) if self.partner is None else (self.main, self.partner)

    @property
    def activation(self) -> str | None:
        """Name of the nonlinearity that follows."""
        return next((r.activation for r in self._all() if r.activation), None)

    @property
    def steps(self) -> list[int]:
        """Every step at which any site was recorded, in order."""
        return sorted({r.step for r in self._all()})

    def last(self, site: str) -> Recording:
        """Return the recording of `site` at its last step."""
        return self.recordings[site][-1]

    def first(self, site: str) -> Recording:
        """Return the recording of `site` at its first step."""
        return self.recordings[site][0]

    def _all(self) -> Iterator[Recording]:
        for recordings in self.recordings.values():
            yield from recordings


class Layers(tuple[Layer, ...]):
    """All layers, in order, and the units of their main sites; layer p is at place p - 1."""

    @cached_property
    def last(self) -> pd.DataFrame:
        """The units at the last step, with the place of their layer and their row in its table."""
        return self._units([layer.last(layer.main) for layer in self])

    @cached_property
    def first(self) -> pd.DataFrame:
        """The units at the first step of each layer, likewise."""
        chosen = [layer.first(layer.main) for layer in self]
        same = all(one is layer.last(layer.main) for one, layer in zip(chosen, self, strict=True))
        return self.last if same else self._units(chosen)

    def _units(self, chosen: Sequence[Recording]) -> pd.DataFrame:
        sizes = [len(recording.units) for recording in chosen]
        units = pd.concat([recording.units for recording in chosen], ignore_index=True)
        units["place"] = np.repeat([layer.place for layer in self], sizes)
        units["row"] = np.concatenate([np.arange(size) for size in sizes])
        return units


def layers(analysis: Findings) -> Layers:
    """Return the layers of `analysis`, in order of their first recording."""
    found: dict[str, dict[str, list[Recording]]] = {}
    for recording in analysis.recordings:
        found.setdefault(recording.layer, {}).setdefault(recording.site, []).append(recording)
    return Layers(
        Layer(
            place,
            name,
            {site: sorted(sites[site], key=lambda r: r.step) for site in _in_order(sites)},
        )
        for place, (name, sites) in enumerate(found.items(), start=1)
    )


def _in_order(sites: Mapping[str, object]) -> list[str]:
    """Return sites as recorded, but what enters a normalisation before what leaves it."""
    order = list(sites)
    for after, before in _PARTNER.items():
        if after in sites and before in sites and order.index(before) > order.index(after):
            order.remove(before)
            order.insert(order.index(after), before)
    return order


def site_label(site: str) -> str:
    """Return how a site is called on the page."""
    return SITES.get(site, clean(site, 40))


def site_word(site: str) -> str:
    """Return the shortest clear word for a site."""
    return site_label(site).removesuffix(" normalisation")


def clean(text: str, longest: int = 400) -> str:
    """Return `text` without characters that hide or reorder others, the middle left out if long."""
    if len(text) > longest:  # cut first: a name may have millions of characters
        kept = longest - 1
        text = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
    return "".join("\ufffd" if unicodedata.category(c) in _HIDDEN else c for c in text)


def where_most(places: pd.Series, layers: Sequence[Layer]) -> str:
    """Return which layer has most of some units, given by the places of their layers.

    Begins with a semicolon; empty where that tells nothing: for one unit, or in one layer.
    """
    if len(layers) < 2 or len(places) < 2:
        return ""
    tally = places.value_counts()
    most, name = int(tally.iloc[0]), clean(layers[int(tally.index[0]) - 1].name, 40)
    if len(tally) == 1:
        return f"; all in {name}"
    if most == 1:
        return f"; in {count(len(tally))} layers, one each"
    return f"; in {count(len(tally))} layers, most in {name} ({count(most)})"


def sentence(text: str) -> str:
    """Return text with its first letter large; `str.capitalize` would make the others small."""
    return text[:1].upper() + text[1:]


def label(name: str, longest: int = 80) -> tuple[str, str]:
    """Return a name short enough for one line, and all of it, for a tooltip, if that is longer."""
    shown, whole = clean(name, longest), clean(name, _WHOLE)
    return shown, whole if whole != shown else ""


def unit_label(unit: pd.Series) -> tuple[str, str]:
    """Return what a unit is called, and a tooltip: its name where it has one, else its number.

    `unit` is a row of the table of units; its column ``name`` may be missing or empty.
    """
    index = f"Unit {count(int(unit['unit']))}"
    name = unit.get("name")
    if not isinstance(name, str) or not name.strip():
        return index, ""
    return clean(name, 24), f"{index}: {clean(name, _WHOLE)}"


def some(recordings: Sequence[Recording], most: int) -> list[Recording]:
    """Return at most `most` recordings spread evenly over the steps, first and last always."""
    if len(recordings) <= most:
        return list(recordings)
    places = np.unique(np.linspace(0, len(recordings) - 1, most).round().astype(int))
    return [recordings[place] for place in places]


def remarkable(units: pd.DataFrame, most: int) -> list[tuple[int, str]]:
    """Return up to `most` units worth a look: their row in `units` and why.

    Six lists take turns: units by KL divergence from N(0,1); heavy-tailed units by tail index, the
    smallest first; bimodal units by dip; outlier channels by magnitude; saturated and dead units by
    index. A unit is shown once. Units without a finite value are left out; where no list has any
    unit, the first ones are shown.
    """
    has_values = units["n"].to_numpy() > 0
    rankings = [  # each made only as far as it is read
        _ranked(units["kl_maxent"], has_values, "largest KL"),
        _ranked(-units["tail_index"], _flag(units, "heavy_tailed"), "heaviest tails"),
        _ranked(units["dip"], _flag(units, "bimodal"), "largest dip"),
        _ranked(units["outlier_ratio"], _flag(units, "outlier"), "largest magnitude"),
        _listed(_flag(units, "saturated"), "saturated"),
        _listed(has_values & _flag(units, "dead"), "dead"),
    ]
    chosen: dict[int, str] = {}
    queues = list(rankings)
    while queues and len(chosen) < most:
        for queue in list(queues):
            row, why = next((item for item in queue if item[0] not in chosen), (-1, ""))
            if row < 0:
                queues.remove(queue)
            elif len(chosen) < most:
                chosen[row] = why
    if not chosen:
        return [(int(row), "no ranking applies") for row in np.flatnonzero(has_values)[:most]]
    return list(chosen.items())


def facts(unit: pd.Series) -> str:
    """Return the numbers behind a unit's place among the remarkable ones, those there are."""
    kl, shape, tail = unit["kl_maxent"], unit["kl_shape"], unit["tail_index"]
    found = []
    if not np.isnan(shape):
        found.append(f"KL {number(kl)}, shape {number(shape)}")
    elif np.isfinite(unit["kl_gaussian"]):
        found.append(f"KL of a Gaussian like it {number(unit['kl_gaussian'])}")
    if not np.isnan(tail):
        found.append(f"tail index {number(tail) if tail < NO_TAIL else f'≥ {NO_TAIL:g}'}")
    return " · ".join(fact.replace(" ", "\u00a0") for fact in found)  # lines break between them


def modes(unit: pd.Series) -> str:
    """Return the verdict on a unit's modes, and the evidence that it rests on."""
    evidence = re.sub(r"(?<!\w)-(?=\d)", "−", clean(str(unit["evidence"])))
    evidence = re.sub(r"\b([nq]) (?=\d)", "\\1\u00a0", evidence)
    return f"{str(unit['shape']).capitalize()}: {evidence}"


def _flag(units: pd.DataFrame, column: str) -> np.ndarray:
    return units[column].to_numpy(dtype=bool)


def _listed(among: np.ndarray, why: str) -> Iterator[tuple[int, str]]:
    return ((int(row), why) for row in np.flatnonzero(among))


def _ranked(column: pd.Series, among: np.ndarray, why: str) -> Iterator[tuple[int, str]]:
    values = column.to_numpy(dtype=float)
    rows = np.flatnonzero(among & np.isfinite(values))
    rows = rows[np.argsort(-values[rows], kind="stable")]
    return (
        (int(row), why if place == 1 else f"{_ordinal(place)} {why}")
        for place, row in enumerate(rows, start=1)
    )


def _ordinal(place: int) -> str:
    ending = (
        "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    )
    return f"{place}{ending}"
