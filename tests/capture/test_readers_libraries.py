"""Files that another library reads: .parquet, HDF5, Zarr; in pieces, and nothing unsafe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import distfit_nn as dn
from distfit_nn.capture.readers import read
from distfit_nn.capture.readers.limits import FOLD, LARGE
from distfit_nn.capture.spans import Span
from distfit_nn.errors import FileError, InputError

h5py = pytest.importorskip("h5py")
zarr = pytest.importorskip("zarr")
parquet = pytest.importorskip("pyarrow.parquet")
pa = pytest.importorskip("pyarrow")
numcodecs = pytest.importorskip("numcodecs")


def one(source: Any, **options: Any) -> np.ndarray:
    (entry,) = read(source, **options)
    return entry.values


def layers(source: Any, **options: Any) -> dict[str, np.ndarray]:
    return {entry.layer: entry.values for entry in read(source, **options)}


def problem(path: Path, **options: Any) -> str:
    """What the error of a file says after its name."""
    with pytest.raises(FileError) as caught:
        layers(path, **options)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < 300 + len(str(path))
    return text.removeprefix(f"{path}: ")


def pieces_agree(path: Path, **options: Any) -> None:
    """Any rows, in any order of reading, are those of the whole."""
    (entry,) = read(path, **options)
    (piece,) = entry.pieces
    whole = piece.read().copy()
    for start, stop in ((0, 1), (3, 11), (5, 6), (0, piece.rows), (piece.rows - 2, piece.rows)):
        np.testing.assert_array_equal(piece.cut(start, stop).read(), whole[start:stop])
    for most in (1, 4, 7):
        chunks = [chunk.copy() for chunk in piece.cut(2, piece.rows).chunks(most)]
        assert max(map(len, chunks)) <= most
        np.testing.assert_array_equal(np.concatenate(chunks), whole[2:])


# ---- parquet


@pytest.mark.parametrize("group", [1, 4, 1000])
def test_parquet_columns_are_units(tmp_path, rng, group):
    frame = pd.DataFrame(rng.normal(size=(23, 3)), columns=["a", "b.c", "d"])
    frame.to_parquet(tmp_path / "x.parquet", row_group_size=group)
    (entry,) = read(tmp_path / "x.parquet")
    assert (entry.layer, entry.names, entry.rows) == ("x", ("a", "b.c", "d"), 23)
    np.testing.assert_array_equal(entry.values, frame.to_numpy())
    pieces_agree(tmp_path / "x.parquet")
    with entry.pieces[0].table.opened() as fetch:
        for start, stop in ((9, 20), (2, 5), (2, 23)):
            np.testing.assert_array_equal(fetch(start, stop), frame.to_numpy()[start:stop])


def test_parquet_keeps_an_index_out_and_types_alike(tmp_path):
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [True, False, True]}, index=list("xyz"))
    frame.to_parquet(tmp_path / "x.parquet")
    assert one(tmp_path / "x.parquet").dtype == np.int64
    np.testing.assert_array_equal(one(tmp_path / "x.parquet"), [[1, 1], [2, 0], [3, 1]])
    half = pa.table({"h": pa.array(np.array([1.5, 2.5], np.float16))})
    parquet.write_table(half, tmp_path / "h.parquet")
    assert one(tmp_path / "h.parquet").dtype == np.float16


def test_what_is_missing_in_parquet_is_nan(tmp_path):
    table = pa.table({"i": [1, None, 3], "f": [None, 2.5, 3.5], "b": [True, False, None]})
    for write_statistics in (True, False):
        parquet.write_table(table, tmp_path / "x.parquet", write_statistics=write_statistics)
        expected = [[1, np.nan, 1], [np.nan, 2.5, 0], [3, 3.5, np.nan]]
        np.testing.assert_array_equal(one(tmp_path / "x.parquet"), expected)
        parquet.write_table(
            table.drop_columns(["f"]), tmp_path / "y.parquet", write_statistics=write_statistics
        )
        np.testing.assert_array_equal(one(tmp_path / "y.parquet"), np.array(expected)[:, ::2])


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"a": ["x", "y"]}, "column 'a' must hold real numbers, got string"),
        ({"a": [[1], [2]]}, "column 'a' must hold real numbers, got list"),
        ({"a": [{"b": 1}]}, "column 'a' must hold real numbers, got struct"),
        (
            {"a": pa.array([], pa.float64())},
            "layer 'x' must have rows and columns, got shape (0, 1)",
        ),
        ({}, "layer 'x' must have rows and columns"),
    ],
)
def test_parquet_without_numbers(tmp_path, table, told):
    parquet.write_table(pa.table(table), tmp_path / "x.parquet")
    assert told in problem(tmp_path / "x.parquet")


def test_a_parquet_that_would_grow_without_bounds(tmp_path):
    """A billion equal values take a few bytes."""
    block = pa.table({"a": pa.array(np.zeros(1 << 20))})
    with parquet.ParquetWriter(tmp_path / "x.parquet", block.schema) as writer:
        for _ in range(LARGE // (8 << 20) + 1):
            writer.write_table(block)
    assert (tmp_path / "x.parquet").stat().st_size * FOLD < LARGE
    assert "more than a hundredfold" in problem(tmp_path / "x.parquet")


# ---- HDF5


def test_datasets_of_groups_are_layers(tmp_path, rng):
    x = rng.normal(size=(20, 3)).astype(np.float32)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["fc1"] = x
        file.create_dataset("net/conv.2/w", data=x.astype(">f8"), chunks=(7, 2), compression="gzip")
        file.create_dataset("flags", data=x[:, 0] > 0, compression="lzf", shuffle=True)
        file["count"] = 3
        file["text"] = "hello"
        file["texts"] = ["a", "b"]
        file["pairs"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
        file.create_dataset("refs", data=[file["fc1"].ref], dtype=h5py.ref_dtype)
        file.create_dataset("ragged", (2,), dtype=h5py.vlen_dtype(np.float32))
        file["none"] = h5py.Empty("f4")
        file["soft"] = h5py.SoftLink("/fc1")
        file["again"] = file["fc1"]
        file["out"] = h5py.ExternalLink("/etc/hostname", "/x")
        file["net/loop"] = file["/"]
    found = layers(tmp_path / "x.h5")
    assert sorted(found) == ["again", "flags", "net.conv.2.w"]  # each once, whatever its names
    np.testing.assert_array_equal(found["again"], x)
    np.testing.assert_array_equal(found["net.conv.2.w"], x.astype(float))
    assert found["net.conv.2.w"].dtype == np.dtype("=f8")
    np.testing.assert_array_equal(found["flags"][:, 0], x[:, 0] > 0)
    shutil.copy(tmp_path / "x.h5", tmp_path / "y.hdf5")
    assert sorted(layers(tmp_path / "y.hdf5")) == sorted(found)


def test_hdf5_in_pieces_along_any_axis(tmp_path, rng):
    x = rng.normal(size=(6, 5, 4, 3))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=x, chunks=(2, 2, 2, 2))
    for axis in range(-4, 4):
        wanted = np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])
        np.testing.assert_array_equal(one(tmp_path / "x.h5", unit_axis=axis), wanted)
        pieces_agree(tmp_path / "x.h5", unit_axis=axis)
    assert "unit_axis must say" in problem(tmp_path / "x.h5")


def test_hdf5_whose_data_lie_elsewhere(tmp_path):
    np.zeros(8).tofile(tmp_path / "raw")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", (8,), "f8", external=[(str(tmp_path / "raw"), 0, 64)])
    assert "dataset 'x' has its data in other files" in problem(tmp_path / "x.h5")
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["x"] = np.ones(8)
    layout = h5py.VirtualLayout((8,), "f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "source.h5"), "x", (8,))
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
    assert "dataset 'x' has its data in other files" in problem(tmp_path / "v.h5")


def test_hdf5_that_would_grow_without_bounds(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", (1 << 40, 3), "f4", chunks=(1024, 3))
    assert "more than a hundredfold" in problem(tmp_path / "x.h5")


def test_hdf5_without_arrays_and_no_hdf5(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["text"] = "hello"
    assert problem(tmp_path / "x.h5") == "holds no arrays"
    (tmp_path / "x.h5").write_bytes(b"hello")
    assert problem(tmp_path / "x.h5").startswith("cannot be read as .h5: ")


# ---- Zarr


@pytest.fixture(params=[2, 3])
def version(request) -> int:
    return request.param


def write_zarr(path: Path, arrays: dict[str, np.ndarray], version: int, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group = zarr.open_group(path, mode="w", zarr_format=version)
        for name, values in arrays.items():
            group.create_array(name, data=values, chunks=(4,) * values.ndim, **options)
    return path


def test_arrays_of_groups_are_layers(tmp_path, rng, version):
    arrays = {
        "fc1": rng.normal(size=(20, 3)).astype(np.float32),
        "net/conv": rng.integers(0, 9, size=(9, 2)),
        "flags": rng.normal(size=11) > 0,
    }
    path = write_zarr(tmp_path / "run.zarr", arrays, version)
    (tmp_path / "folder").mkdir()
    shutil.copytree(path, tmp_path / "folder" / "plain")
    archive = shutil.make_archive(str(tmp_path / "flat.zarr"), "zip", path)
    deep = shutil.make_archive(str(tmp_path / "deep"), "zip", tmp_path, "run.zarr")
    for source in (path, tmp_path / "folder" / "plain", archive, deep):
        found = layers(source)
        assert sorted(found) == ["fc1", "flags", "net.conv"]
        np.testing.assert_array_equal(found["net.conv"], arrays["net/conv"])
        np.testing.assert_array_equal(found["fc1"], arrays["fc1"])
        assert all(isinstance(entry.pieces[0], Span) for entry in read(source))


def test_a_bare_zarr_array_in_pieces_along_any_axis(tmp_path, rng, version):
    x = rng.normal(size=(6, 5, 4)).astype(">f4" if version == 2 else "f4")
    zarr.create_array(tmp_path / "run.v.zarr", data=x, zarr_format=version, chunks=(3, 2, 3))
    for axis in range(3):
        (entry,) = read(tmp_path / "run.v.zarr", unit_axis=axis)
        assert (entry.layer, entry.values.dtype) == ("run", np.dtype("=f4"))
        wanted = np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])
        np.testing.assert_array_equal(entry.values, wanted)
        pieces_agree(tmp_path / "run.v.zarr", unit_axis=axis)


def test_sharded_zarr(tmp_path, rng):
    x = rng.normal(size=(64, 6))
    zarr.create_array(tmp_path / "x.zarr", data=x, chunks=(4, 3), shards=(16, 6))
    np.testing.assert_array_equal(one(tmp_path / "x.zarr"), x)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_zarr_metadata_that_lie(tmp_path, rng):
    two = write_zarr(tmp_path / "2.zarr", {"x": rng.normal(size=(8, 2))}, 2) / "x" / ".zarray"
    three = write_zarr(tmp_path / "3.zarr", {"x": rng.normal(size=(8, 2))}, 3) / "x" / "zarr.json"
    grid = {"name": "regular", "configuration": {"chunk_shape": [1 << 40, 2]}}
    for path, changes, told in (
        (two, {"compressor": {"id": "pickle"}}, "needs the codec 'pickle'"),
        (two, {"filters": [{"id": "pickle"}]}, "needs the codec 'pickle'"),
        (two, {"filters": [{"id": "delta", "dtype": "|O"}]}, "makes values of the type '|O'"),
        (two, {"shape": [-1, 2]}, "no whole numbers"),
        (two, {"shape": [8.0, 2]}, "no whole numbers"),
        (two, {"shape": [1 << 60, 2]}, "more than a hundredfold"),
        (two, {"chunks": [1 << 40, 2]}, "more than 1 GiB"),
        (two, {"chunks": [0, 2]}, "no whole numbers"),
        (two, {"chunks": [4]}, "no whole numbers"),
        (two, {"zarr_format": 4}, "zarr_format is 4"),
        (two, {"compressor": 3}, "x/.zarray"),
        (three, {"codecs": [{"name": "numcodecs.pickle"}]}, "needs the codec 'numcodecs.pickle'"),
        (three, {"chunk_grid": grid}, "more than 1 GiB"),
        (three, {"chunk_grid": {"name": "hexagons"}}, "its chunk_grid is 'hexagons'"),
        (three, {"shape": [1 << 60, 2]}, "more than a hundredfold"),
        (three, {"node_type": "array", "codecs": 3}, "x/zarr.json"),
    ):
        before = path.read_text()
        edit(path, **changes)
        assert told in problem(path.parent.parent), (path, changes)
        path.write_text(before)
    for path, changes in ((two, {"dtype": "|O"}), (three, {"data_type": "string"})):
        edit(path, **changes)
        assert problem(path.parent.parent) == "holds no arrays"
        path.write_text("{")
        assert "cannot be read as .zarr" in problem(path.parent.parent)


def test_a_zarr_with_links_out_of_its_folder(tmp_path, rng):
    path = write_zarr(tmp_path / "x.zarr", {"x": rng.normal(size=(8, 2))}, 2)
    chunk = path / "x" / "0.0"
    chunk.unlink()
    chunk.symlink_to("/etc/hostname")
    assert "'x/0.0' is a link or no regular file" in problem(path)
    chunk.unlink()
    os.mkfifo(chunk)
    assert "'x/0.0' is a link or no regular file" in problem(path)


# ---- all


def test_the_numbers_do_not_depend_on_the_kind_of_file(tmp_path, rng):
    x = rng.normal(size=(600, 3))
    np.save(tmp_path / "x.npy", x)
    pd.DataFrame(x, columns=list("abc")).to_parquet(tmp_path / "x.parquet", row_group_size=70)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=x, chunks=(50, 2))
    zarr.create_array(tmp_path / "x.zarr", data=x, chunks=(50, 2))
    expected = dn.analyze(tmp_path / "x.npy").units.drop(columns="name", errors="ignore")
    for name in ("x.parquet", "x.h5", "x.zarr"):
        found = dn.analyze(tmp_path / name).units.drop(columns="name", errors="ignore")
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_a_mask_leaves_rows_out_of_files(tmp_path, rng):
    x = rng.normal(size=(6, 5, 4))
    mask = rng.normal(size=(6, 5)) > 0
    np.save(tmp_path / "x.npy", x)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = x
    for source in (x, tmp_path / "x.npy", tmp_path / "x.h5"):
        found = one(source, unit_axis=-1, mask=mask)
        np.testing.assert_array_equal(found, x[mask])
        np.testing.assert_array_equal(
            one(source, unit_axis=-1, mask=mask[:, 0]), x[mask[:, 0]].reshape(-1, 4)
        )
    pieces_agree(tmp_path / "x.h5", unit_axis=-1, mask=mask)
    pieces_agree(tmp_path / "x.npy", unit_axis=-1, mask=mask)
    assert "mask has shape (5, 6)" in problem(tmp_path / "x.npy", unit_axis=-1, mask=mask.T)


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [
        ("x.parquet", "pyarrow.parquet", "parquet"),
        ("x.h5", "h5py", "hdf5"),
        ("x.zarr", "zarr", "zarr"),
    ],
)
def test_a_library_that_is_not_there(tmp_path, monkeypatch, name, library, extra):
    (tmp_path / name).write_bytes(b"")
    monkeypatch.setitem(sys.modules, library, None)
    assert f"needs {library}: pip install 'distfit-nn[{extra}]'" in problem(tmp_path / name)


def test_libraries_are_imported_for_their_own_files_only(tmp_path):
    code = (
        "import sys; from distfit_nn.capture.readers import read\n"
        "list(read({'a': [1.0, 2.0]}))\n"
        "assert not {'torch', 'pandas', 'pyarrow', 'h5py', 'zarr'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    with pytest.raises(InputError, match="mask must be an array of True and False"):
        read([1.0, 2.0], mask=[0.5, 1.0])
