"""Claims about more than single units: what normalisation did, drift, dependence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from distfit_nn.report.certainty import Claim, certainties, word_of
from distfit_nn.report.numbers import count, percent, plural
from distfit_nn.report.select import Layer, Layers
from distfit_nn.report.verdict import kept_shapes

if TYPE_CHECKING:
    from distfit_nn.stats.findings import Findings

_NORMALISED = 0.05  # a change of the share of far units that is worth a claim


def claims(analysis: Findings, layers: Layers) -> list[Claim]:
    """Return what is remarkable of changes from site to site, from step to step, between units."""
    found = [_normalisation(layers)]
    return [claim for claim in found if claim is not None]


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
        f"{count(sum(after))} of {count(total)} ({percent(sum(after), total)})",
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
