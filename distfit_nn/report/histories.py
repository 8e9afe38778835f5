"""Claims about more than single units: what normalisation did, drift, dependence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from distfit_nn.report.certainty import Claim, certainties, word_of
from distfit_nn.report.numbers import count, number, percent, plural
from distfit_nn.report.select import Layer, Layers, clean, where_most
from distfit_nn.report.shapes.tracks import BEYOND, DRIFTED, standings
from distfit_nn.report.verdict import kept_shapes
from distfit_nn.stats.changes import MOST_LAYERS
from distfit_nn.stats.drift import LEAST_EFFECT

if TYPE_CHECKING:
    from distfit_nn.stats.findings import Findings

_NORMALISED = 0.05  # a change of the share of far units that is worth a claim
_DRIFTED = 0.05  # share of drifted units that is worth a claim: what chance alone calls so
COPIES = 0.95  # rank correlation of two units that say nearly the same


def claims(analysis: Findings, layers: Layers) -> list[Claim]:
    """Return what is remarkable of changes from site to site, from step to step, between units."""
    found = [
        _normalisation(layers),
        _drift(drift_of(analysis, layers), layers),
        _dependence(_main_rows(analysis, "dependence", layers), layers),
    ]
    return [claim for claim in found if claim is not None]


def drift_of(analysis: Findings, layers: Layers) -> pd.DataFrame | None:
    """Return the drift of main sites from the first to the last step; None where there is none."""
    return _main_rows(analysis, "drift", layers)


def _main_rows(analysis: Findings, name: str, layers: Layers) -> pd.DataFrame | None:
    """Return the rows of a table that are about main sites; None without any."""
    table = getattr(analysis, name, None) if len(layers) <= MOST_LAYERS else None
    if table is None or table.empty:
        return None
    main = {(layer.name, layer.main) for layer in layers}
    rows = [pair in main for pair in zip(table["layer"], table["site"], strict=True)]
    return table[rows] if any(rows) else None


def _drift(table: pd.DataFrame | None, layers: Layers) -> Claim | None:
    """Claim that units have drifted: many, or those of a layer that has drifted as a whole.

    The strongest is the one that moved most; the evidence is its own, not that of its layer.
    """
    if table is None:
        return None
    moved, looked = int(table["drifted_units"].sum()), int(table["units_used"].sum())
    if moved < 1 or not (moved >= _DRIFTED * looked or table["drifted"].any()):
        return None
    some = table[table["drifted_units"] > 0]
    most = some.iloc[int(some["most_wasserstein"].fillna(-1.0).argmax())]
    layer = _named(layers, most["layer"])
    n, value = int(min(most["n"], most["m"])), float(most["most_wasserstein"])
    q = float(most["most_qvalue"])
    limit = LEAST_EFFECT + float(most["baseline_mean"])  # beyond what chance gives
    first, last = int(table["step_before"].min()), int(table["step_after"].max())
    return Claim(
        kind="drift",
        text=f"{count(moved)} of {plural(looked, 'unit')} ({percent(moved, looked)}) drifted "
        f"between step {count(first)} and {count(last)}",
        detail=f"each by {number(LEAST_EFFECT)} standard deviations or more beyond chance"
        f"{_places(some, layers)}; {_as_wholes(table)}",
        certainty=word_of(certainties([n], [value / limit], [q], tested=True)),
        units=moved,
        of=looked,
        layer=layer.name,
        site=layer.main,
        step=last,
        unit=int(most["most_unit"]),
        n=n,
        value=value,
        threshold=limit,
        qvalue=q,
        measure="{} standard deviations at most",
        anchor="drift",
        weight=1.5 * math.sqrt(moved / looked),
    )


def _places(table: pd.DataFrame, layers: Layers) -> str:
    """Say which layers have the drifted units of some rows of the table of drift."""
    place = {layer.name: layer.place for layer in layers}
    rows = zip(table["layer"], table["drifted_units"], strict=True)
    return where_most(pd.Series([place[name] for name, k in rows for _ in range(k)]), layers)


def _as_wholes(table: pd.DataFrame) -> str:
    """Say what the layers of the units did as wholes: many units may drift in none that did."""
    tally = np.bincount(standings(table), minlength=3)
    if tally[DRIFTED] == len(table):
        return "so did " + ("the layer as a whole" if len(table) == 1 else "every layer as a whole")
    drifted = count(int(tally[DRIFTED])) if tally[DRIFTED] else "none"
    said = f"of {plural(len(table), 'layer')} {drifted} drifted as a whole"
    return said + (f", {count(int(tally[BEYOND]))} moved less than that" if tally[BEYOND] else "")


def _dependence(table: pd.DataFrame | None, layers: Layers) -> Claim | None:
    """Claim two units that say nearly the same, where there are such."""
    if table is None:
        return None
    strongest = table.iloc[int(table["largest"].fillna(-1.0).argmax())]
    value, n = float(strongest["largest"]), int(strongest["n"])
    if not value > max(COPIES, float(strongest["largest_chance"])):
        return None
    layer = _named(layers, strongest["layer"])
    first, second = int(strongest["first_unit"]), int(strongest["second_unit"])
    alone = (1 - COPIES**2) / max(1 - value**2, 1e-12)  # what one leaves of the other, inverted
    concerned = int((table["largest"] > COPIES).sum())
    total = int(table["units"].sum())
    more = f"; such pairs are in {plural(concerned, 'layer')}" if concerned > 1 else ""
    return Claim(
        kind="dependence",
        text=f"Units {count(first)} and {count(second)} of {clean(layer.name, 40)} say nearly "
        "the same",
        detail=f"one follows from the other by a monotone curve, up to noise{more}",
        certainty=word_of(certainties([n], [alone], [np.nan], tested=False)),
        units=2,
        of=total,
        layer=layer.name,
        site=layer.main,
        step=int(strongest["step"]),
        unit=first,
        n=n,
        value=value,
        threshold=COPIES,
        measure="rank correlation {}",
        anchor=f"together-{layer.place}",
        weight=1.5 * math.sqrt(2 * concerned / total),
    )


def _named(layers: Layers, name: str) -> Layer:
    return next(layer for layer in layers if layer.name == name)


def _normalisation(layers: Layers) -> Claim | None:
    """Claim what normalisation did to the units, where it moved many to or from N(0,1)."""
    paired = [layer for layer in layers if layer.partner == "norm_input"]
    if not paired:
        return None
    before, after = (
        [int(layer.last(site).units["far"].sum()) for layer in paired]
        for site in ("norm_input", "norm_output")
    )
    total = sum(len(layer.last("norm_input").units) for layer in paired)
    moved = sum(before) - sum(after)
    if abs(moved) < _NORMALISED * total:
        return None
    most = int(np.argmax(np.abs(np.subtract(before, after))))
    layer = paired[most]
    n = int(layer.last(layer.main).units["n"].median())
    return Claim(
        kind="normalisation",
        text=f"Normalisation takes the units far from N(0,1) from {count(sum(before))} to "
        f"{count(sum(after))} of {count(total)}",
        detail=_kept(paired),
        certainty=word_of(certainties([n], [np.inf], [np.nan], tested=False)),
        units=abs(moved),
        of=total,
        layer=layer.name,
        site=layer.main,
        step=layer.last(layer.main).step,
        n=n,
        anchor=f"pooled-{layer.place}",
        weight=math.sqrt(abs(moved) / total),
    )


def _kept(paired: list[Layer]) -> str:
    kept = [found for layer in paired if (found := kept_shapes(layer)) is not None]
    same, compared = sum(k for k, _ in kept), sum(n for _, n in kept)
    if not compared:
        return "shapes before and after cannot be compared"
    if same == compared:
        return "by shifting and scaling alone: every shape is as it was"
    return f"the shape is as it was in {count(same)} of {plural(compared, 'unit')}"
