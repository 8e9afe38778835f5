"""From an analysis to the page: the entry points of the report."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from distfit_nn._files import write_text
from distfit_nn.report import (
    claims,
    explorer,
    histories,
    maps,
    method,
    overview,
    page,
    sections,
    select,
    verdict,
)
from distfit_nn.report.certainty import RULES, Claim
from distfit_nn.report.numbers import plural
from distfit_nn.report.svg import Sketchbook, theme

_MOST_BYTES = 4_800_000  # of the page
_MOST_LISTED = 60  # layers in the table

if TYPE_CHECKING:
    from distfit_nn.stats.findings import Findings


def render(analysis: Findings) -> str:
    """Return the report on `analysis` as one HTML document without any external part.

    It has a verdict in words, a table of layers, figures for each layer and how each was made. Its
    size does not grow with the number of values; beyond 30 layers only the
    table goes on, beyond 60 only the counts and the explorer.

    Parameters
    ----------
    analysis : Findings
        What `distfit_nn.analyze` returns.

    Returns
    -------
    str
        The page, in UTF-8 when written. The same analysis gives the same text.
    """
    draft = Draft.of(analysis)
    with theme():
        content = compose(analysis, Sketchbook(), draft)
    room = _MOST_BYTES - len(page.render(content).encode())
    layers, _, plan = draft
    units = explorer.explorer(layers, plan.layers, plan.pictures(), room)
    return page.render(replace(content, explorer=units))


class Draft(NamedTuple):
    """What is to be told, before any of it is drawn."""

    layers: select.Layers
    claims: list[Claim]
    plan: sections.Plan

    @classmethod
    def of(cls, analysis: Findings) -> Draft:
        """Return the layers of `analysis`, what is remarkable in them, and what shows it."""
        layers = select.layers(analysis)
        found = claims.claims(analysis, layers)
        return cls(layers, found, sections.Plan.of(layers, found))


def compose(analysis: Findings, book: Sketchbook, draft: Draft | None = None) -> page.Page:
    """Return everything on the page but the explorer, which takes what room is left.

    Parameters
    ----------
    analysis : Findings
    book : Sketchbook
        Draws, inside `svg.theme`.
    draft : Draft, optional
        ``Draft.of(analysis)``, where that is at hand.
    """
    layers, found, plan = Draft.of(analysis) if draft is None else draft
    listed = sections.loudest(layers, _MOST_LISTED, [layer.place for layer in plan.layers])
    flags = verdict.flags(listed)
    drawn = [sections.section(layer, book, plan) for layer in plan.layers]
    return page.Page(
        title="How the activations are distributed",
        source=select.clean(analysis.source, 200),
        facts=overview.facts(analysis, layers),
        verdict=verdict.verdict(
            layers, analysis.order, next((one.text for one in found if one.kind == "drift"), "")
        ),
        remarks=[_remark(claim) for claim in found[: claims.MOST]],
        more_remarks=[_remark(claim) for claim in found[claims.MOST :]],
        reading=overview.reading(layers),
        cautions=verdict.cautions(layers, analysis),
        table_lead=overview.table_lead(layers),
        table_more=_more(len(layers) - len(listed)),
        groups=[
            overview.group(layer, book, flags, linked=layer in plan.layers) for layer in listed
        ],
        maps=maps.maps(plan.layers, book),
        drift=maps.drift_part(histories.drift_of(analysis, layers), book),
        sections=drawn,
        folded=plan.folded,
        omitted=_omitted(len(layers) - len(plan.layers)),
        explorer=None,
        definitions=method.definitions(analysis),
        rules=RULES,
        drawings=method.DRAWINGS,
        limits=method.limits(analysis),
    )


def _remark(claim: Claim) -> page.Remark:
    return page.Remark(
        certainty=claim.certainty,
        text=claim.text,
        detail=claim.detail,
        evidence=claims.evidence(claim),
        place=claims.place_of(claim),
        anchor=claim.anchor,
    )


def write(analysis: Findings, path: str | os.PathLike[str]) -> Path:
    """Write the report on `analysis` to `path` and return it; see `render`.

    The folder is created if missing. The page appears whole or not at all: it is written under a
    temporary name beside `path` and then renamed.

    Raises
    ------
    FileError
        The file cannot be written.
    """
    return write_text(path, render(analysis))


def _more(layers: int) -> str:
    if layers <= 0:
        return ""
    return (
        f"{plural(layers, 'layer')} more are not listed, to keep this page small: these are the "
        "ones that stand out most. All are in the table of `to_csv`, and counted above."
    )


def _omitted(layers: int) -> str:
    if layers <= 0:
        return ""
    return (
        f"{plural(layers, 'layer')} more: in the table above, but without figures, to keep this "
        "page small. The layers with figures are those whose distributions stand out most."
    )
