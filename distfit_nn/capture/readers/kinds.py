"""The kinds of files that are read: one table, which messages and dispatch follow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distfit_nn.capture.manifest import file_error
from distfit_nn.capture.readers import arrays, hdf5, tables, tensorboard, tensors, zarr_arrays
from distfit_nn.capture.readers.found import Found


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes
    ----------
    name : str
        As in messages: "cannot be read as .npy".
    read : callable
        Yields what a file holds.
    urls : bool
        Whether parts of it can be had behind a URL.
    fixed : str
        What it holds, where neither axes nor rows of that can be chosen.
    """

    name: str
    read: Callable[[Any], Iterator[Found]]
    urls: bool = False
    fixed: str = ""


FILES: dict[str, Kind] = {
    ".npy": Kind(".npy", arrays.read_npy, urls=True),
    ".npz": Kind(".npz", arrays.read_npz),
    ".safetensors": Kind(".safetensors", tensors.read_safetensors, urls=True),
    ".pt": Kind(".pt", tensors.read_torch),
    ".pth": Kind(".pth", tensors.read_torch),
    ".csv": Kind(".csv", tables.read_csv),
    ".parquet": Kind(".parquet", tables.read_parquet),
    ".h5": Kind(".h5", hdf5.read_hdf5),
    ".hdf5": Kind(".hdf5", hdf5.read_hdf5),
    ".zarr": Kind(".zarr", zarr_arrays.read_zarr),
    ".zip": Kind(".zip of a .zarr", zarr_arrays.read_zarr),
}


_EVENTS = Kind("a TensorBoard log", tensorboard.read_events, fixed="histograms")


def of_file(path: Path) -> Kind:
    """Return the kind of a file by its name.

    Raises
    ------
    FileError
        It is none that is known.
    """
    kind = FILES.get(path.suffix.lower())
    if kind is None and tensorboard.SIGN in path.name:
        return _EVENTS
    if kind is None:
        raise file_error(
            path,
            f"is of an unknown kind; known are stores, {', '.join(FILES)} and TensorBoard's logs",
        )
    return kind


def of_folder(path: Path) -> Kind | None:
    """Return the kind of a folder that is no store; None if it is none that is known."""
    if any(os.path.lexists(path / name) for name in zarr_arrays.METADATA):
        return FILES[".zarr"]
    return _EVENTS if tensorboard.has_events(path) else None
