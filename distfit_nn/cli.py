"""The program `distfit-nn`: parse, call, exit code.

Data go to standard output, progress and messages to standard error. Exit codes: 0 fine, 2 bad usage
or bad input, 130 interrupted. Heavy modules are imported by the commands that use them, so that
``--help`` answers at once.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from distfit_nn._console import (
    DRIFT_COLUMNS,
    FIT_COLUMNS,
    LAYER_COLUMNS,
    ReaderGone,
    ascii_json,
    print_out,
    print_table,
    progress,
    say,
)
from distfit_nn.errors import DistfitError, InputError

if TYPE_CHECKING:
    from distfit_nn.analysis import Analysis
    from distfit_nn.comparison import Comparison

INTERRUPTED = 130
MEMORY_LIMIT = "256MB"

app = typer.Typer(
    name="distfit-nn",
    help="Show, measure and fit how the activations of neural networks are distributed.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Source = Annotated[
    str,
    typer.Argument(
        help="A recorded store (a folder or a URL), or a file: .npy, .npz, .safetensors, .pt, "
        ".pth, .csv."
    ),
]
Order = Annotated[int, typer.Option(help="Moments that the densities match, 1 to 12.")]
UnitAxis = Annotated[
    int | None, typer.Option(help="Axis of the units in arrays of more than two dimensions.")
]
MemoryLimit = Annotated[
    str, typer.Option(help='Memory for data and sums, as "500MB"; the libraries take about 250 MB.')
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="A Dask scheduler whose workers measure instead."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
Csv = Annotated[Path | None, typer.Option(help="Also write the table of units to this file.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a name gets escapes
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    """Run the program and return its exit code; what goes wrong is one line on standard error."""
    try:
        # Without `standalone_mode` typer returns the code of `typer.Exit` and raises the rest.
        code = app(args=None if arguments is None else list(arguments), standalone_mode=False)
        if code == INTERRUPTED:  # so typer ends a KeyboardInterrupt, or by its `Abort`
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except ReaderGone:
        return 0
    except DistfitError as error:
        say(f"distfit-nn: {error}")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        say("distfit-nn: interrupted")
        return INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):  # not one of typer's errors of usage
            raise
        say(f"distfit-nn: {error.format_message()} (see distfit-nn --help)")
        return 2


def _show(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print_out(version("distfit-nn"))
        raise typer.Exit


@app.callback(invoke_without_command=True)
def program(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Show, measure and fit how the activations of neural networks are distributed."""
    if context.invoked_subcommand is None:
        raise InputError("a command is missing (see distfit-nn --help)")


@app.command()
def analyze(
    source: Source,
    order: Order = 6,
    unit_axis: UnitAxis = None,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
    csv: Csv = None,
    quiet: Quiet = False,
) -> None:
    """Measure every unit; print a table of layers.

    Example: distfit-nn analyze run/ --json > analysis.json
    """
    if csv is not None:
        _spare_the_source(source, csv, "--csv")
    work = _Work(order, unit_axis, memory_limit, scheduler)
    analysis = _analysis(source, work, quiet)
    if csv is not None:
        analysis.to_csv(csv)
    if as_json:
        print_out(ascii_json(analysis.to_dict()))
    else:
        print_table(analysis.layers, LAYER_COLUMNS)


@app.command()
def compare(
    before: Source,
    after: Annotated[
        str | None,
        typer.Argument(help="As BEFORE. Without it, the steps of BEFORE are compared."),
    ] = None,
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

    Example: distfit-nn compare run-a/ run-b/ --paired
    """
    from distfit_nn.comparison import compare as compare_sources

    if csv is not None:
        for source in (before, after or before):
            _spare_the_source(source, csv, "--csv")
    comparison = compare_sources(
        before,
        after,
        steps=_steps(steps),
        unit_axis=unit_axis,
        permutations=permutations,
        alpha=alpha,
        least_effect=least_effect,
        paired=paired,
        blocks=blocks,
        memory_limit=memory_limit,
        progress=progress(quiet),
    )
    if not quiet:
        _tell_gaps(comparison)
    if csv is not None:
        comparison.to_csv(csv)
    if as_json:
        print_out(ascii_json(comparison.to_dict()))
    else:
        print_table(comparison.layers, DRIFT_COLUMNS)


@app.command()
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

    Example: distfit-nn fit weights.npy --order 4 --support=-1,1
    """
    from distfit_nn.capture.readers import read
    from distfit_nn.fits import fit_table

    parsed = _support(support)
    table = fit_table(read(source, unit_axis=unit_axis), order, parsed, progress(quiet))
    if as_json:
        print_out(ascii_json(table.to_dict()))
    else:
        print_table(table.units, FIT_COLUMNS)


@app.command()
def report(
    source: Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the page.")] = Path(
        "report.html"
    ),
    order: Order = 6,
    unit_axis: UnitAxis = None,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write the report, one HTML file; print its path.

    Example: distfit-nn report run/ --output report.html
    """
    _spare_the_source(source, output, "--output")
    work = _Work(order, unit_axis, memory_limit, scheduler)
    written = _analysis(source, work, quiet).to_html(output)
    print_out(ascii_json({"report": str(written)}) if as_json else str(written))


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the store and the report.")
    ] = Path("distfit-demo"),
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the training.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train on scikit-learn's digits, record live, report.

    Example: distfit-nn demo && open distfit-demo/report.html
    """
    from distfit_nn.demo import train_and_record

    store = output / "run"
    accuracy = train_and_record(store, seed=seed, say=None if quiet else say)
    written = _analysis(str(store), _Work(), quiet).to_html(output / "report.html")
    if as_json:
        result = {"report": str(written), "store": str(store), "test_accuracy": accuracy}
        print_out(ascii_json(result))
    else:
        print_out(str(written))


def _spare_the_source(source: str, output: Path, option: str) -> None:
    """Raise if the output would replace the source, or a file in the store that it is."""
    if output.resolve().is_relative_to(Path(source).resolve()):
        raise InputError(f"{option} must not be the source, {source}, nor in it")


class _Work(NamedTuple):
    """How to analyse."""

    order: int = 6
    unit_axis: int | None = None
    memory_limit: str = MEMORY_LIMIT
    scheduler: str | None = None


def _analysis(source: str, work: _Work, quiet: bool) -> Analysis:
    from distfit_nn.analysis import analyze

    with _client(work.scheduler) as client:
        return analyze(
            source,
            order=work.order,
            unit_axis=work.unit_axis,
            memory_limit=work.memory_limit,
            client=client,
            progress=progress(quiet),
        )


def _client(scheduler: str | None) -> AbstractContextManager[Any]:
    if scheduler is None:
        return nullcontext()
    from distfit_nn.cluster import connected

    return connected(scheduler)


def _steps(text: str | None) -> Any:
    """Return the steps that a word of the command line stands for; `compare` checks them."""
    if text is None or text == "same":
        return text
    try:
        first, second = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f'--steps must be A,B or "same", got {text!r}') from None
    return first, second


def _tell_gaps(comparison: Comparison) -> None:
    """Say what was not compared, and if there are too few permutations for so many layers."""
    for layer, site, reason in comparison.unmatched:
        say(f"not compared: {layer} {site} {reason}")
    layers, settings = len(comparison.layers), comparison.settings
    if 0 < settings.alpha * (settings.permutations + 1) <= layers:
        say(
            f"{settings.permutations} permutations are too few for q < {settings.alpha:g} where "
            f"only one of {layers} rows drifts: --permutations {int(layers / settings.alpha) + 1}"
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


if __name__ == "__main__":
    main()
