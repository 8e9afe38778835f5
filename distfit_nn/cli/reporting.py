"""Commands that write a page: report and demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distfit_nn.cli.analysing import Work, analysed, spare_the_source
from distfit_nn.cli.console import ascii_json, print_out, say
from distfit_nn.cli.options import (
    MEMORY_LIMIT,
    AsJson,
    Mask,
    MemoryLimit,
    Order,
    Quiet,
    Scheduler,
    Source,
    UnitAxis,
)


def report(
    source: Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the page.")] = Path(
        "report.html"
    ),
    figures: Annotated[
        Path | None, typer.Option(help="Also write each figure into this folder, as PNG and SVG.")
    ] = None,
    order: Order = 6,
    unit_axis: UnitAxis = None,
    mask: Mask = None,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write the report, one HTML file; print its path.

    \b
    Example:
      distfit-nn report run/ --output report.html --figures figures/
    """
    spare_the_source(source, output, "--output")
    if figures is not None:
        spare_the_source(source, figures, "--figures")
    analysis = analysed(source, Work(order, unit_axis, memory_limit, scheduler, mask), quiet)
    written = analysis.to_html(output)
    drawn = [] if figures is None else analysis.to_figures(figures)
    if as_json:
        content = {
            "format": "distfit_nn.report",
            "version": 1,
            "report": str(written),
            "figures": [str(path) for path in drawn],
        }
        print_out(ascii_json(content))
    else:
        for path in (written, *drawn):
            print_out(str(path))


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the store and the report.")
    ] = Path("distfit-demo"),
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the training.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train on scikit-learn's digits, record live, report.

    \b
    Example:
      distfit-nn demo && open distfit-demo/report.html
    """
    from distfit_nn.demo import train_and_record

    store = output / "run"
    accuracy = train_and_record(store, seed=seed, say=None if quiet else say)
    written = analysed(str(store), Work(), quiet).to_html(output / "report.html")
    if as_json:
        content = {
            "format": "distfit_nn.demo",
            "version": 1,
            "report": str(written),
            "store": str(store),
            "test_accuracy": accuracy,
        }
        print_out(ascii_json(content))
    else:
        print_out(str(written))
