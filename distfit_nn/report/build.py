"""From an analysis to the page: the entry points of the report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from distfit_nn._files import write_text
from distfit_nn.report import method, overview, page, sections, select, verdict
from distfit_nn.report.numbers import plural
from distfit_nn.report.svg import Sketchbook, theme

if TYPE_CHECKING:
    from distfit_nn.stats.findings import Findings


def render(analysis: Findings) -> str:
    """Return the report on `analysis` as one HTML document without any external part.

    It has a verdict in words, a table of layers, figures for each layer and how each was made. Its
    size does not grow with the number of values; beyond 30 layers only the table goes on.

    Parameters
    ----------
    analysis : Findings
        What `distfit_nn.analyze` returns.

    Returns
    -------
    str
        The page, in UTF-8 when written. The same analysis gives the same text.
    """
    layers = select.layers(analysis)
    plan = sections.Plan.of(layers)
    flags = verdict.flags(layers)
    book = Sketchbook()
    with theme():
        content = page.Page(
            title="How the activations are distributed",
            source=select.clean(analysis.source, 200),
            facts=overview.facts(analysis, layers),
            verdict=verdict.verdict(layers, analysis.order),
            reading=overview.reading(layers),
            cautions=verdict.cautions(layers, analysis),
            table_lead=overview.table_lead(layers),
            groups=[
                overview.group(layer, analysis.layers, book, flags, linked=layer in plan.layers)
                for layer in layers
            ],
            sections=[sections.section(layer, analysis, book, plan) for layer in plan.layers],
            folded=plan.folded,
            omitted=_omitted(len(layers) - len(plan.layers)),
            definitions=method.definitions(analysis),
            drawings=method.DRAWINGS,
            limits=method.limits(analysis),
        )
    return page.render(content)


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


def _omitted(layers: int) -> str:
    if layers <= 0:
        return ""
    return (
        f"{plural(layers, 'layer')} more: in the table above, but without figures, to keep this "
        "page small. The layers with figures are those whose distributions stand out most."
    )
