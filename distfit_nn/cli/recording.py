"""Commands that run a user's model: record, sites."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from distfit_nn.cli.console import SITE_COLUMNS, ascii_json, print_out, print_table, say
from distfit_nn.cli.options import (
    AsJson,
    Debug,
    Device,
    Factory,
    Inputs,
    Quiet,
    Seed,
    Sites,
    Train,
    UnitAxis,
)
from distfit_nn.cli.progress import StepMeter, counted, size
from distfit_nn.cli.stopping import Interrupted, Stopping
from distfit_nn.errors import DistfitError, FileError, InputError
from distfit_nn.loading import user_code

_BATCHES = (
    "Batches, or a function without arguments that returns them: a DataLoader, a list, a "
    "generator. A batch is a tensor, a tuple whose first item is the input (see --inputs), or a "
    "dict of arguments."
)


Data = Annotated[str, typer.Option(metavar="MODULE:LOADER", help=_BATCHES)]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the store.")]
Steps = Annotated[
    int | None, typer.Option("--steps", "-n", min=1, help="Stop after so many batches.")
]
Every = Annotated[int, typer.Option(help="Record every so many steps.")]
Last = Annotated[
    bool, typer.Option("--last/--no-last", help="Record the last step, too, whatever --every is.")
]
Rows = Annotated[
    float | None,
    typer.Option(help="Keep a sample of so many rows of each tensor; below 1, a share of them."),
]
Units = Annotated[int | None, typer.Option(help="Keep a sample of so many units of each layer.")]
SummariesOnly = Annotated[
    bool, typer.Option("--summaries-only", help="Keep summaries and no values.")
]
Dtype = Annotated[
    Literal["float16", "float32", "float64"] | None,
    typer.Option(help="Store the values as this type. Default: as they are."),
]
Mode = Annotated[
    Literal["x", "a", "w"], typer.Option(help="x: a new store; a: add to one; w: replace one.")
]
FirstStep = Annotated[
    int | None,
    typer.Option(
        help="Number of the first step. Default: 0, or the next one where a store goes on."
    ),
]
Mask = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="Where batches are dicts: the item whose 1 and 0 tell which rows to keep, as "
        "attention_mask; the model gets it, too.",
    ),
]
Missing = Annotated[
    Literal["error", "warn"], typer.Option(help="What layers are that the model never used.")
]


def record(
    factory: Factory,
    data: Data,
    output: Output = Path("run"),
    sites: Sites = ["pre_activation"],  # noqa: B006 (typer takes a list)
    steps: Steps = None,
    every: Every = 1,
    last: Last = True,
    rows: Rows = None,
    units: Units = None,
    summaries_only: SummariesOnly = False,
    dtype: Dtype = None,
    mode: Mode = "x",
    first_step: FirstStep = None,
    missing: Missing = "error",
    unit_axis: UnitAxis = None,
    mask: Mask = None,
    inputs: Inputs = "auto",
    seed: Seed = 0,
    device: Device = None,
    train: Train = False,
    debug: Debug = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run a model on data and record it; print the store's path.

    The model runs in eval mode and without gradients. Ctrl-C stops after the step at hand; what was
    recorded is kept. What your code prints goes to standard error.

    \b
    Example:
      distfit-nn record net.py:model --data net.py:batches --output run/ --steps 100 --every 10
    """
    from distfit_nn.capture.recorder import record as record_model
    from distfit_nn.cli import network

    with Stopping() as stopping, redirect_stdout(sys.stderr):
        one = network.network(
            factory, device=device, train=train, inputs=inputs, seed=seed, debug=debug
        )
        batches = network.batches(data, debug=debug)
        recorder = record_model(
            one.model,
            output,
            sites,
            every,
            last=last,
            rows=_count_or_share(rows),
            units=units,
            summaries_only=summaries_only,
            dtype=dtype,
            mode=mode,
            first_step=first_step,
            missing=missing,
            unit_axis=unit_axis,
            seed=seed,
        )
        meter = StepMeter(network.count(batches, steps), quiet)
        with _kept(output, meter), stopping.hold(), recorder, meter:
            for batch in stopping.each(_first(network.guarded(batches, data, debug), steps)):
                if mask is not None:
                    recorder.mask = one.mask(batch, mask, meter.passes)
                one.run(batch, meter.passes, debug)
                meter()
    _tell(output, meter, as_json, quiet)


def sites(
    factory: Factory,
    data: Annotated[
        str | None,
        typer.Option(metavar="MODULE:LOADER", help="As for record: the first batch is an example."),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Random numbers of this shape are the example."),
    ] = None,
    sites: Sites = ["pre_activation"],  # noqa: B006 (typer takes a list)
    rows: Rows = None,
    units: Units = None,
    dtype: Dtype = None,
    unit_axis: UnitAxis = None,
    inputs: Inputs = "auto",
    seed: Seed = 0,
    device: Device = None,
    train: Train = False,
    debug: Debug = False,
    as_json: AsJson = False,
) -> None:
    """List what would be recorded of a model, with shapes.

    Without an example the model is not run, and what its functions do is not known.

    \b
    Example:
      distfit-nn sites net.py:model --shape 1,3,32,32 --sites norm
    """
    from distfit_nn._writers import records
    from distfit_nn.capture.preview import sites as sites_of
    from distfit_nn.cli import network

    if data is not None and shape is not None:
        raise InputError("--data and --shape exclude each other: one example is enough")
    with redirect_stdout(sys.stderr):
        one = network.network(
            factory, device=device, train=train, inputs=inputs, seed=seed, debug=debug
        )
        example = one.example(data, None if shape is None else _shape(shape), debug)
        with user_code(f"running {factory}", debug):
            table = sites_of(
                one.model,
                example,
                sites,
                rows=_count_or_share(rows),
                units=units,
                dtype=dtype,
                unit_axis=unit_axis,
            )
    if as_json:
        content = {
            "format": "distfit_nn.sites",
            "version": 1,
            "model": type(one.model).__name__,
            "sites": records(table),
        }
        print_out(ascii_json(content))
    else:
        print_table(table, SITE_COLUMNS)


def _tell(output: Path, meter: StepMeter, as_json: bool, quiet: bool) -> None:
    """Print where the store is, or with JSON what is in it."""
    content = _stored(output) | {"passes": meter.passes, "seconds": meter.seconds}
    if as_json:
        print_out(ascii_json({"format": "distfit_nn.record", "version": 1, **content}))
        return
    if not quiet:
        steps, layers = counted(content["steps"], "step"), counted(content["layers"], "layer")
        say(f"the store has {steps} of {layers}, {size(content['bytes'])}")
    print_out(str(output))


def _first(items: Iterator[Any], most: int | None) -> Iterator[Any]:
    """Yield at most so many items, and ask for no more than these."""
    if most is None:
        yield from items
        return
    for _, item in zip(range(most), items, strict=False):
        yield item


@contextmanager
def _kept(output: Path, meter: StepMeter) -> Iterator[None]:
    """Have what ends a recording early say how much is in the store."""
    try:
        yield
    except Interrupted as stop:
        raise Interrupted(stop.number, f"{stop}; {_holding(output, meter)}") from None
    except DistfitError as error:
        if not meter.passes:
            raise
        raise DistfitError(f"{error}; {_holding(output, meter)}") from error


def _holding(output: Path, meter: StepMeter) -> str:
    if not meter.passes:
        return "no step was run"
    try:
        steps = _stored(output)["steps"]
    except FileError as error:  # nothing was recorded yet: steps that were not wanted
        return str(error)
    return f"{output} holds {counted(steps, 'step')}"


def _stored(output: Path) -> dict[str, Any]:
    """Return what there is in a store."""
    from distfit_nn.capture.store import Store

    store = Store(output)
    return {
        "store": str(output),
        "model": store.model,
        "steps": len({record.step for record in store.records}),
        "layers": len({record.layer for record in store.records}),
        "entries": len(store.records),
        "bytes": sum(path.stat().st_size for path in output.rglob("*") if path.is_file()),
    }


def _count_or_share(rows: float | None) -> int | float | None:
    return int(rows) if rows is not None and rows.is_integer() else rows


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise InputError(f"--shape must be sizes with commas, as 1,3,32,32, got {text!r}")
    return shape
