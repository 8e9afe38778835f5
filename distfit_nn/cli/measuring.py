"""Commands that measure: analyze, compare, fit, suggest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from distfit_nn.advice import TOLERANCE
from distfit_nn.cli.analysing import Work, analysed, compared_total, spare_the_source, total
from distfit_nn.cli.console import (
    DRIFT_COLUMNS,
    FIT_COLUMNS,
    LAYER_COLUMNS,
    SUGGESTION_COLUMNS,
    ascii_json,
    print_out,
    print_table,
    say,
)
from distfit_nn.cli.options import (
    MEMORY_LIMIT,
    After,
    AsJson,
    Before,
    Csv,
    Layers,
    Mask,
    MemoryLimit,
    Order,
    Quiet,
    Scheduler,
    Seed,
    Site,
    Source,
    UnitAxis,
)
from distfit_nn.cli.progress import RowMeter
from distfit_nn.errors import InputError

if TYPE_CHECKING:
    from distfit_nn.comparison import Comparison


def analyze(
    source: Source,
    order: Order = 6,
    unit_axis: UnitAxis = None,
    mask: Mask = None,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
    csv: Csv = None,
    quiet: Quiet = False,
) -> None:
    """Measure every unit; print a table of layers.

    \b
    Example:
      distfit-nn analyze run/ --json > analysis.json
    """
    if csv is not None:
        spare_the_source(source, csv, "--csv")
    work = Work(order, unit_axis, memory_limit, scheduler, mask)
    analysis = analysed(source, work, quiet)
    if csv is not None:
        analysis.to_csv(csv)
    if as_json:
        print_out(ascii_json(analysis.to_dict()))
    else:
        print_table(analysis.layers, LAYER_COLUMNS)


def compare(
    before: Before,
    after: After = None,
    steps: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help='Step A of BEFORE with step B of AFTER, or "same": each step that both have. '
            "Default: the last ones; without AFTER, each with the next.",
        ),
    ] = None,
    paired: Annotated[
        bool, typer.Option("--paired", help="Rows belong together: the same inputs, in order.")
    ] = False,
    blocks: Annotated[
        int, typer.Option(help="Successive rows that depend on each other (pixels of an image).")
    ] = 1,
    permutations: Annotated[int, typer.Option(help="How often rows are exchanged.")] = 99,
    alpha: Annotated[float, typer.Option(help="Level of the q-values.")] = 0.05,
    least_effect: Annotated[
        float, typer.Option(help="Least distance beyond chance, in standard deviations.")
    ] = 0.1,
    unit_axis: UnitAxis = None,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    as_json: AsJson = False,
    csv: Csv = None,
    quiet: Quiet = False,
) -> None:
    """Measure drift between two recordings; print a table of layers.

    The distance is how far a row has moved on average, in standard deviations.

    \b
    Example:
      distfit-nn compare run-a/ run-b/ --paired
    """
    from distfit_nn.comparison import compare as compare_sources

    if csv is not None:
        for source in (before, after or before):
            spare_the_source(source, csv, "--csv")
    wanted = _steps(steps)
    with RowMeter("compared", lambda: compared_total(before, after, wanted), quiet) as meter:
        comparison = compare_sources(
            before,
            after,
            steps=wanted,
            unit_axis=unit_axis,
            permutations=permutations,
            alpha=alpha,
            least_effect=least_effect,
            paired=paired,
            blocks=blocks,
            memory_limit=memory_limit,
            progress=meter,
        )
    if not quiet:
        _tell_gaps(comparison)
    if csv is not None:
        comparison.to_csv(csv)
    if as_json:
        print_out(ascii_json(comparison.to_dict()))
    else:
        print_table(comparison.layers, DRIFT_COLUMNS)


def fit(
    source: Source,
    order: Order = 6,
    support: Annotated[
        str, typer.Option(help='A factor of the range of the data, "data", or "A,B".')
    ] = "3",
    unit_axis: UnitAxis = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit a maximum-entropy density to every unit.

    Prints how each fit ended; with --json the densities themselves.

    \b
    Example:
      distfit-nn fit weights.npy --order 4 --support=-1,1
    """
    from distfit_nn.capture.readers import read
    from distfit_nn.fits import fit_table

    parsed = _support(support)
    with RowMeter("fitted", lambda: total(source), quiet) as meter:
        table = fit_table(read(source, unit_axis=unit_axis), order, parsed, meter)
    if as_json:
        print_out(ascii_json(table.to_dict()))
    else:
        print_table(table.units, FIT_COLUMNS)


def _steps(text: str | None) -> Any:
    """Return the steps that a word of the command line stands for; `compare` checks them."""
    if text is None or text == "same":
        return text
    try:
        first, second = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f'--steps must be A,B or "same", got {text!r}') from None
    return first, second


def suggest(
    source: Source,
    target: Annotated[
        Literal["normal", "uniform"], typer.Option(help="What the units are brought near to.")
    ] = "normal",
    layers: Layers = None,
    site: Site = None,
    most_units: Annotated[
        int | None, typer.Option(help="Judge so many units of a layer, drawn at random.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Nats that are not worth a less simple transformation.")
    ] = TOLERANCE,
    seed: Seed = 0,
    unit_axis: UnitAxis = None,
    mask: Mask = None,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    as_json: AsJson = False,
    csv: Csv = None,
    quiet: Quiet = False,
) -> None:
    """Say which transformation would bring layers near N(0,1).

    Prints the KL before and after it, on rows that it has not seen: a shape nearer N(0,1) is no
    promise of better accuracy.

    \b
    Example:
      distfit-nn suggest run/ --csv units.csv
    """
    from distfit_nn.advice.chosen import check_rows
    from distfit_nn.advice.suggestion import suggest as suggest_for

    if csv is not None:
        spare_the_source(source, csv, "--csv")
    check_rows(source, layers, site)
    analysis = analysed(source, Work(6, unit_axis, memory_limit, mask=mask), quiet)
    found = suggest_for(
        analysis,
        target=target,
        layers=layers,
        site=site,
        most_units=most_units,
        tolerance=tolerance,
        seed=seed,
    )
    if csv is not None:
        found.to_csv(csv)
    if as_json:
        print_out(ascii_json(found.to_dict()))
    else:
        print_table(found.layers, SUGGESTION_COLUMNS)


def _tell_gaps(comparison: Comparison) -> None:
    """Say what was not compared, and if there are too few permutations for any verdict."""
    for layer, site, reason in comparison.unmatched:
        say(f"not compared: {layer} {site} {reason}")
    settings = comparison.settings
    if 0 < settings.alpha * (settings.permutations + 1) <= 1:
        say(
            f"{settings.permutations} permutations are too few for q < {settings.alpha:g}: "
            f"--permutations {int(1 / settings.alpha) + 1}"
        )


def _support(text: str) -> float | tuple[float, float] | str:
    """Return the support that a word of the command line stands for."""
    if text == "data":
        return text
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) == 2:
        return numbers[0], numbers[1]
    raise InputError(f'--support must be a number, "data" or "A,B", got {text!r}')
