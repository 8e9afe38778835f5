"""Small valid files of every kind that is read, from which broken ones are made."""

from __future__ import annotations

import functools
import io
import json
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np

from distfit_nn.capture.store import StoreWriter
from distfit_nn.stats.accumulator import Accumulator
from tests.stores import with_checksum

MANIFEST = "manifest.json"


@functools.cache
def seeds() -> dict[str, bytes]:
    """Return the bytes of small files by their names; those of missing libraries are not."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for make in (_arrays, _tensors, _tables, _hdf5, _zarr, _events):
            try:
                make(Path(folder))
            except ImportError:
                continue
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


@functools.cache
def store() -> dict[str, bytes]:
    """Return the files of a small store by their names: rows, rows of some units, and sums."""
    sums = Accumulator(3, order=6, bins=8, rows=2, seed=0)
    sums.update(_values(), shard=0)
    with tempfile.TemporaryDirectory() as folder:
        with StoreWriter(Path(folder, "run"), buffer_bytes=100) as writer:
            for step in (0, 5):
                for layer, ids in (("a", None), ("b", (0, 4, 9))):
                    writer.add(_values(), layer=layer, site="pre_activation", step=step, ids=ids)
            writer.add_summary(sums, layer="c", site="pre_activation", step=0, rows_seen=8)
        found = sorted(Path(folder, "run").iterdir())
        return {path.name: path.read_bytes() for path in found if path.suffix not in (".lock", "")}


def _values() -> np.ndarray:
    return np.arange(24, dtype=np.float32).reshape(8, 3) / 7


def _arrays(folder: Path) -> None:
    np.save(folder / "plain.npy", _values())
    np.save(folder / "fortran.npy", np.asfortranarray(_values()))
    np.savez(folder / "stored.npz", a=_values(), b=_values()[:, 0])
    np.savez_compressed(folder / "packed.npz", a=_values(), b=_values()[:, 0])


def _tensors(folder: Path) -> None:
    import torch
    from safetensors.numpy import save_file

    save_file({"a": _values(), "b": _values()[:, 0].copy()}, folder / "x.safetensors")
    content = {"net": {"a": torch.tensor(_values())}, "list": [torch.ones(3)]}
    torch.save(content, folder / "new.pt")
    torch.save(content, folder / "old.pth", _use_new_zipfile_serialization=False)


def _tables(folder: Path) -> None:
    (folder / "x.csv").write_text("a,b,c\n1,2.5,3\n4,,nan\n7,8e3,-inf\n")
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"a": _values()[:, 0], "b": [1, None, 3, 4, 5, 6, 7, 8]})
    parquet.write_table(table, folder / "x.parquet", row_group_size=3)


def _hdf5(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "x.h5", "w") as file:
        file["net/a"] = _values()
        file.create_dataset("b", data=_values(), chunks=(3, 2), compression="gzip")


def _zarr(folder: Path) -> None:
    import zarr

    for version in (2, 3):
        path = folder / f"v{version}.zarr.zip"
        with zarr.storage.ZipStore(path, mode="w") as archive:
            group = zarr.open_group(archive, mode="w", zarr_format=version)
            group.create_array("a", data=_values(), chunks=(3, 3))


def _events(folder: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder / "log") as writer:
        writer.add_histogram("fc", _values(), 3)
        writer.add_scalar("loss", 0.5, 3)
    (file,) = (folder / "log").iterdir()
    file.rename(folder / "events.tfevents")
    (folder / "log").rmdir()


def archive(members: dict[str, bytes]) -> bytes:
    """Return a zip archive of these members, stored as they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def manifest() -> bytes:
    """Return the manifest of the small store, in as few bytes as can be."""
    return with_checksum(json.loads(store()[MANIFEST]))
