"""What is remarkable, ranked by how much it matters, and how sure that is: words and data alike.

A claim counts units of the site that feeds the nonlinearity, at the last step.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import chdtri

from distfit_nn._files import plain
from distfit_nn.report import histories, select, unusable
from distfit_nn.report.certainty import HEALTH, Claim, certainties, word_of
from distfit_nn.report.numbers import count, number, percent, plural, qvalue
from distfit_nn.report.select import Layer, Layers, clean, where_most
from distfit_nn.stats.bimodality.classify import LEAST_DIP
from distfit_nn.stats.health import OUTLIER_RATIO, SATURATED_SHARE
from distfit_nn.stats.unit_table import FAR_CHANCE, FAR_KL

if TYPE_CHECKING:
    from distfit_nn.stats.findings import Findings

MOST = 6  # told in full on the page
EXPONENTIAL = 3.8  # Hill's estimate of an exponential tail, from 5% of the values of a side
# Negentropy of Laplace's distribution: (1 + log 2 pi) / 2 - 1 - log(2) / 2.
LAPLACE = 0.5 * (1 + math.log(2 * math.pi)) - 1 - 0.5 * math.log(2)


@dataclass(frozen=True)
class Kind:
    """A verdict as a claim: its weight, its words, and the columns of its evidence.

    The effect is `column`, or `threshold` over it where small values are strong (`falling`).
    """

    flag: str
    weight: float
    one: str
    many: str
    detail: str
    tested_on: str = "n"
    column: str = ""
    threshold: float = math.nan
    measure: str = ""
    qvalue: str = ""
    falling: bool = False
    health: bool = True


KINDS = (
    Kind(
        "dead", 4, "is dead", "are dead",
        "nothing that varies comes out on these rows: no information, and nothing is learned",
    ),
    Kind(
        "saturated", 3, "is saturated", "are saturated",
        "most values lie where the activation is flat, so hardly any gradient gets through",
        "sampled", "flat_share", SATURATED_SHARE, "{} of its values lie there",
    ),
    Kind(
        "outlier", 3, "is an outlier channel", "are outlier channels",
        "far larger than the rest of the layer: one common scale would waste bits of the others",
        "n", "outlier_ratio", OUTLIER_RATIO, "{} times the median magnitude",
    ),
    Kind(
        "far", 2, "is far from N(0,1)", "are far from N(0,1)",
        "place, width or shape is not that which normalisation aims at",
        "n", "kl_maxent", FAR_KL, "{} nat from N(0,1)", health=False,
    ),
    Kind(
        "heavy_tailed", 2, "has heavy tails", "have heavy tails",
        "extreme values come far more often than mean and standard deviation suggest",
        "sampled", "tail_index", EXPONENTIAL, "tail index {}", falling=True,
    ),
    Kind(
        "bimodal", 2, "has two modes or more", "have two modes or more",
        "the values fall into separate groups, which no shift or scale can undo",
        "sampled", "dip", LEAST_DIP, "dip {}", "dip_qvalue",
    ),
)  # fmt: skip


def claims(analysis: Findings, layers: Layers | None = None) -> list[Claim]:
    """Return all that is remarkable in `analysis`, most important first; one claim at least.

    A page tells the first `MOST` of them in full.

    Parameters
    ----------
    analysis : Findings
        What `distfit_nn.analyze` returns.
    layers : Layers, optional
        ``select.layers(analysis)``, where that is at hand.
    """
    layers = select.layers(analysis) if layers is None else layers
    if not layers or not (layers.last["n"] > 0).any():
        return [Claim("nothing", "There is nothing to judge", "no finite value", "open")]
    found = [claim for kind in KINDS if (claim := _of_kind(kind, layers)) is not None]
    more = unusable.filled(layers), unusable.missing(layers), _shape(layers, analysis.order)
    found += [claim for claim in more if claim is not None]
    found += histories.claims(analysis, layers)
    found.sort(key=lambda claim: -claim.weight)
    return found or [_nothing(layers)]


def claims_of(analysis: Findings) -> list[dict[str, Any]]:
    """Return the claims as plain data, for JSON; numbers that are not finite become None."""
    return [
        {name: plain(value) for name, value in asdict(claim).items()} for claim in claims(analysis)
    ]


def evidence(claim: Claim) -> list[str]:
    """Return the numbers that a claim rests on, for people."""
    said = []
    if claim.units and claim.certainty != "open" and claim.sure not in (0, claim.units):
        said.append(f"sure of {count(claim.sure)} of {count(claim.units)}")
    if claim.value is not None and not math.isnan(claim.value):
        limit = "" if claim.threshold is None else f", threshold {number(claim.threshold)}"
        said.append(claim.measure.format(number(claim.value)) + limit)
    if claim.qvalue is not None and not math.isnan(claim.qvalue):
        said.append(f"q {qvalue(claim.qvalue)}")
    if claim.kind == "dead" and claim.n:
        said.append(f"opens for fewer than {percent(min(3 / claim.n, 1), 1)} of rows")
    if claim.n:
        said.append(f"n {count(claim.n)}")
    return [part.replace(" ", "\u00a0") if len(part) < 24 else part for part in said]


def place_of(claim: Claim) -> str:
    """Return where the strongest unit of a claim is, for people."""
    if claim.layer is None:
        return "all layers"
    layer = clean(claim.layer, 40)
    return layer if claim.unit is None else f"unit {count(claim.unit)} of {layer}"


def _of_kind(kind: Kind, layers: Layers) -> Claim | None:
    units = layers.last
    having = units[units[kind.flag].to_numpy(dtype=bool)]
    if having.empty:
        return None
    times, value = _effect(kind, having)
    q = having[kind.qvalue].to_numpy() if kind.qvalue else np.full(len(having), np.nan)
    n = having[kind.tested_on].to_numpy()
    codes = certainties(n, times, q, tested=bool(kind.qvalue))
    strongest = int(np.nanargmax(np.where(np.isnan(times), -1.0, times)))
    unit = having.iloc[strongest]
    layer = layers[int(unit["place"]) - 1]
    k, of = len(having), len(units)
    return Claim(
        kind=kind.flag,
        text=f"{_counted(k, of)} {kind.one if k == 1 else kind.many}",
        detail=f"{kind.detail}{where_most(having['place'], layers)}",
        certainty=word_of(codes),
        units=k,
        of=of,
        sure=int((codes == 2).sum()),
        layer=layer.name,
        site=layer.main,
        step=layer.last(layer.main).step,
        unit=int(unit["unit"]),
        n=int(n[strongest]),
        value=float(value[strongest]) if kind.column else None,
        threshold=kind.threshold if kind.column else None,
        qvalue=float(q[strongest]) if kind.qvalue else None,
        measure=kind.measure,
        anchor=unit_anchor(layer, int(unit["row"])),
        weight=kind.weight * math.sqrt(k / of) + (HEALTH if kind.health else 0.0),
    )


def unit_anchor(layer: Layer, row: int) -> str:
    """Return the id of the picture of a unit: `row` of its table of units.

    A single unit at a single site is drawn as the pool that it is.
    """
    if len(layer.last(layer.main).units) == 1 and len(layer.recordings) == 1:
        return f"pooled-{layer.place}"
    return f"unit-{layer.place}-{row}"


def _effect(kind: Kind, units: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return effects over their threshold (1 or more beyond it), and the values themselves."""
    if not kind.column:
        return np.full(len(units), np.inf), np.full(len(units), np.nan)
    value = units[kind.column].to_numpy(dtype=float)
    if kind.flag == "far":  # judged by the Gaussian part where there is no density
        value = np.where(np.isnan(value), units["kl_gaussian"].to_numpy(dtype=float), value)
    with np.errstate(divide="ignore"):
        times = kind.threshold / value if kind.falling else value / kind.threshold
    if kind.flag == "saturated":  # by piles at the ends, where no flat part is known
        times = np.where(np.isnan(times), 1.0, times)
    return times, value


def _counted(k: int, of: int) -> str:
    if of == 1:
        return "The one unit"
    return f"{count(k)} of {plural(of, 'unit')} ({percent(k, of)})"


def _shape(layers: Layers, order: int) -> Claim | None:
    """Claim the layer whose units have most shape, where that is more than Laplace's law has."""
    units = layers.last
    if order <= 2 or not units["kl_shape"].notna().any():
        return None
    medians, sizes = (units[name].groupby(units["place"]).median() for name in ("kl_shape", "n"))
    chance = chdtri(order - 2, FAR_CHANCE) / (2 * sizes.clip(lower=1))  # of normal units
    strong = medians[medians > np.maximum(LAPLACE, chance)]
    if strong.empty:
        return None
    layer = layers[int(strong.sort_values().index[-1]) - 1]
    here = units[units["place"] == layer.place]
    n = int(here["n"].median())
    value = float(strong.max())
    codes = certainties([n], [value / LAPLACE], [np.nan], tested=False)
    concerned = int(units["place"].isin(list(strong.index)).sum())
    return Claim(
        kind="shape",
        text=f"The shapes of {clean(layer.name, 40)} are less normal than Laplace's distribution",
        detail="no shift or scale, hence no batch normalisation, can remove that"
        + (f"; so in {plural(len(strong), 'layer')}" if len(strong) > 1 else ""),
        certainty=word_of(codes),
        of=len(units),
        layer=layer.name,
        site=layer.main,
        step=layer.last(layer.main).step,
        n=n,
        value=value,
        threshold=LAPLACE,
        measure="{} nat of shape in its median unit",
        anchor=f"spread-{layer.place}" if len(here) > 1 else unit_anchor(layer, 0),
        weight=1.5 * math.sqrt(concerned / len(units)),
    )


def _nothing(layers: Layers) -> Claim:
    n = layers.last["n"]
    fewest = int(n[n > 0].min())
    return Claim(
        "nothing",
        "Nothing is remarkable",
        f"none of {plural(len(n), 'unit')} is beyond a threshold of this report",
        word_of(certainties([fewest], [np.inf], [np.nan], tested=False)),
        of=len(n),
        n=fewest,
        anchor="layers",
    )
