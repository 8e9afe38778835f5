"""The options and arguments that several commands share, with one name and one help text each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

MEMORY_LIMIT = "256MB"

# What capture/readers/kinds.py knows, which is too heavy to be imported for help; a test compares.
_SOURCE = (
    "A recorded store (a folder or a URL); a file: .npy, .npz, .safetensors, .pt, .pth, .csv, "
    ".parquet, .h5, .hdf5, .zarr (a folder, or a .zip of it); or a TensorBoard log (tfevents) or a "
    "folder of them. Behind a URL: stores, .npy, .safetensors."
)
Source = Annotated[str, typer.Argument(metavar="SOURCE", help=_SOURCE)]
Before = Annotated[str, typer.Argument(metavar="BEFORE", help=_SOURCE)]
After = Annotated[
    str | None,
    typer.Argument(
        metavar="AFTER", help="As BEFORE. Without it, the steps of BEFORE are compared."
    ),
]
Store = Annotated[str, typer.Argument(metavar="STORE", help="A recorded store: a folder or a URL.")]
Factory = Annotated[
    str,
    typer.Argument(
        metavar="MODULE:FACTORY",
        help="A model (a torch.nn.Module) or a function without arguments that returns one. MODULE "
        "can be imported from the current directory, or is a path (nets/mine.py).",
    ),
]
Sites = Annotated[
    list[str],
    typer.Option(
        "--sites",
        "-s",
        metavar="SITES",
        help="pre_activation, norm, weights, or a module's name with wildcards; may be repeated.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE", help="Where the model runs, as cuda:0. Default: where it already is."
    ),
]
Train = Annotated[
    bool, typer.Option("--train/--eval", help="Run the model in training mode; default: eval.")
]
Inputs = Annotated[
    Literal["auto", "first", "all"],
    typer.Option(
        help="Which items of a batch that is a tuple the model takes: the first, all, or as many "
        "as its forward needs."
    ),
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the whole traceback of an error in your own code.")
]
Seed = Annotated[
    int, typer.Option(min=0, max=2**63 - 1, help="Of torch's own generator and of samples.")
]
Order = Annotated[int, typer.Option(help="Moments that the densities match, 1 to 12.")]
UnitAxis = Annotated[
    int | None, typer.Option(help="Axis of the units in arrays of more than two dimensions.")
]
Mask = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A .npy of 1 and 0: the rows to keep, as an attention mask; not for stores.",
    ),
]
MemoryLimit = Annotated[
    str, typer.Option(help='Memory for data and sums, as "500MB"; the libraries take about 250 MB.')
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="A Dask scheduler whose workers measure instead."),
]
Layers = Annotated[
    list[str] | None,
    typer.Option("--layers", metavar="NAME", help="Only these, with wildcards; may be repeated."),
]
Site = Annotated[
    list[str] | None,
    typer.Option("--site", metavar="NAME", help="Only these sites; may be repeated."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object (docs/json.md) to standard output.")
]
Csv = Annotated[Path | None, typer.Option(help="Also write the table of units to this file.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]
