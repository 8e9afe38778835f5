"""The program `distfit-nn`: parse, call, exit code.

Data go to standard output, progress and messages to standard error. Exit codes: 0 fine, 2 bad usage
or bad input, 130 interrupted. Heavy modules are imported by the commands that use them, so that
``--help`` answers at once.
"""

from __future__ import annotations

import io
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from distfit_nn.errors import DistfitError, FileError, InputError

if TYPE_CHECKING:
    import pandas as pd

    from distfit_nn.analysis import Analysis
    from distfit_nn.capture.entries import Entry

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
    except _ReaderGone:
        return 0
    except DistfitError as error:
        _say(f"distfit-nn: {error}")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        _say("distfit-nn: interrupted")
        return INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):  # not one of typer's errors of usage
            raise
        _say(f"distfit-nn: {error.format_message()} (see distfit-nn --help)")
        return 2


class _ReaderGone(Exception):
    """The reader of standard output has had enough, as `head` does: not an error of ours."""


def _print(text: str) -> None:
    """Print to standard output, at once."""
    try:
        print(text, flush=True)
    except OSError as error:
        # Python flushes again at its end and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise _ReaderGone from None
        raise FileError(f"cannot write to standard output: {error.strerror}") from None


def _show(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        _print(version("distfit-nn"))
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
    csv: Annotated[
        Path | None, typer.Option(help="Also write the table of units to this file.")
    ] = None,
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
        _print(_json(analysis.to_dict()))
    else:
        _print_table(analysis.layers, _LAYER_COLUMNS)


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
    table = fit_table(read(source, unit_axis=unit_axis), order, parsed, _progress(quiet))
    if as_json:
        _print(_json(table.to_dict()))
    else:
        _print_table(table.units, _FIT_COLUMNS)


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
    _print(_json({"report": str(written)}) if as_json else str(written))


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
    accuracy = train_and_record(store, seed=seed, say=None if quiet else _say)
    written = _analysis(str(store), _Work(), quiet).to_html(output / "report.html")
    if as_json:
        result = {"report": str(written), "store": str(store), "test_accuracy": accuracy}
        _print(_json(result))
    else:
        _print(str(written))


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
            progress=_progress(quiet),
        )


def _client(scheduler: str | None) -> AbstractContextManager[Any]:
    if scheduler is None:
        return nullcontext()
    from distfit_nn.cluster import connected

    return connected(scheduler)


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


# What is printed

STEP = 10  # percent between two lines of progress
WIDEST_CELL = 48  # characters; longer names are cut in the tables, not in JSON and CSV


def _json(content: Any) -> str:
    """Return strict JSON in ASCII, which every terminal and pipe can carry."""
    return json.dumps(content, allow_nan=False, indent=1)


def _progress(quiet: bool) -> Callable[[Entry, int], None] | None:
    """Return what names each entry on standard error as its turn comes, and tells how far it is."""
    if quiet:
        return None
    shown = 0  # percent of the entry at hand

    def show(entry: Entry, rows: int) -> None:
        nonlocal shown
        where = f"{entry.layer} {entry.site} step {entry.step}"
        percent = 100 * rows // entry.rows
        if rows == 0:
            shown = 0
            _say(f"{where}: {entry.rows} rows x {entry.units} units")
        elif percent >= shown + STEP and percent < 100:
            shown = percent
            _say(f"{where}: {percent}%")

    return show


def _say(text: str) -> None:
    """Print one line to standard error."""
    print(_one_line(text), file=sys.stderr, flush=True)


def _one_line(text: object) -> str:
    """Return text without characters that could move a terminal's cursor."""
    return "".join(
        " " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in str(text)
    )


_LAYER_COLUMNS = {
    "layer": "layer",
    "site": "site",
    "step": "step",
    "units": "units",
    "dead": "dead",
    "heavy_tailed": "heavy-tailed",
    "bimodal": "bimodal",
    "far": "far",
    "kl_median": "KL (nat)",
    "shape_median": "shape part",
    "kurtosis_max": "max kurtosis",
    "dip_max": "max dip",
}
_FIT_COLUMNS = {
    "layer": "layer",
    "site": "site",
    "step": "step",
    "unit": "unit",
    "status": "status",
    "entropy": "entropy (nat)",
    "residual": "residual",
    "iterations": "iterations",
    "mass_outside": "mass outside",
}


def _print_table(table: pd.DataFrame, columns: dict[str, str]) -> None:
    """Print some columns of a table, numbers to the right."""
    rows = [[_cell(value) for value in row] for row in table[list(columns)].itertuples(index=False)]
    header = list(columns.values())
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    right = [table[name].dtype.kind in "fiub" for name in columns]
    for row in [header, *rows]:
        cells = [
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(row, widths, right, strict=True)
        ]
        _print("  ".join(cells).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.3g}"
    text = _one_line(value)
    return text if len(text) <= WIDEST_CELL else text[: WIDEST_CELL - 1] + "…"


if __name__ == "__main__":
    main()
