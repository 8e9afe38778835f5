"""Files in pieces: ranges of bytes, from a disk or behind a URL."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

import distfit_nn as dn
from distfit_nn.capture import files
from distfit_nn.capture.npy import npy
from distfit_nn.capture.readers import read
from distfit_nn.capture.slabs import Slab
from distfit_nn.capture.store import Store, StoreWriter
from distfit_nn.errors import FileError, InputError

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory():
    """The file system behind memory://, empty before and after."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def upload(folder, memory, name="run"):
    for path in folder.iterdir():
        memory.pipe_file(f"/{name}/{path.name}", path.read_bytes())


@pytest.fixture
def store(tmp_path, rng):
    with StoreWriter(tmp_path / "run") as writer:
        for dtype in (np.float16, np.float32):
            x = rng.normal(size=(50, 3)).astype(dtype)
            writer.add(x, layer="a", site="values", step=0)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("folder", "joined"),
    [
        ("s3://bucket/run", "s3://bucket/run/m.json"),
        ("s3://bucket/run/", "s3://bucket/run/m.json"),
        ("simplecache::https://host/run", "simplecache::https://host/run/m.json"),
        ("zip://::file:///a.zip", "zip://m.json::file:///a.zip"),
        ("zip://run::file:///a.zip", "zip://run/m.json::file:///a.zip"),
    ],
)
def test_join(folder, joined):
    assert files.join(folder, "m.json") == joined


def test_a_store_behind_a_url_is_the_store(store, memory):
    upload(store, memory)
    here, there = dn.analyze(store), dn.analyze("memory://run")
    pd.testing.assert_frame_equal(here.units, there.units, check_exact=True)
    assert there.source == "memory://run"
    for one, two in zip(Store(store), Store("memory://run"), strict=True):
        assert one[0] == two[0]
        np.testing.assert_array_equal(one[1], two[1])


def test_a_store_in_an_archive(store, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "run"), "zip", store)
    found = next(read(f"zip://::{archive}"))
    np.testing.assert_array_equal(found.values, next(read(store)).values)


@pytest.mark.parametrize("name", ["x.npy", "x.safetensors"])
def test_files_behind_a_url(tmp_path, memory, rng, name):
    x = rng.normal(size=(20, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    save_file({"x": x}, tmp_path / "x.safetensors")
    memory.pipe_file(f"/{name}", (tmp_path / name).read_bytes())
    (entry,) = read(f"memory://{name}")
    assert (entry.layer, entry.rows, entry.units) == ("x", 20, 3)
    np.testing.assert_array_equal(entry.values, x)


def problem_of(source):
    with pytest.raises(FileError) as caught:
        list(read(source))
    return str(caught.value)


def test_what_is_wrong_behind_a_url(store, memory, rng):
    assert "it has no manifest.json" in problem_of("memory://nothing")
    assert "nonsense" in problem_of("nonsense://run")
    upload(store, memory)
    shard = next(name for name in memory.store if name.endswith(".safetensors"))
    content = memory.cat_file(shard)
    memory.pipe_file(shard, content[:-1])
    assert "it is damaged" in problem_of("memory://run")
    memory.rm(shard)
    assert "is missing" in problem_of("memory://run")
    memory.pipe_file("/run/manifest.json", b"{")
    assert "is not valid JSON" in problem_of("memory://run")
    memory.pipe_file("/x.npy", b"PK\x03\x04")
    assert "it is an archive" in problem_of("memory://x.npy")
    upload(store, memory)
    with pytest.raises(InputError, match="takes no unit_axis"):
        read("memory://run", unit_axis=1)


def test_every_type_in_pieces(tmp_path, rng):
    tensors = {
        str(dtype): torch.as_tensor(50 * rng.normal(size=(40, 3))).to(dtype)
        for dtype in (
            torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool,
            torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64,
        )
    }  # fmt: skip
    save_tensors(tensors, tmp_path / "x.safetensors")
    for entry in read(tmp_path / "x.safetensors"):
        (piece,) = entry.pieces
        assert isinstance(piece, Slab)
        wanted = tensors[entry.layer].to(torch.float64).numpy()
        np.testing.assert_array_equal(entry.values.astype(float), wanted)
        np.testing.assert_array_equal(piece.cut(7, 30).read().astype(float), wanted[7:30])


def test_an_unknown_type_is_a_clear_error(tmp_path):
    save_tensors({"x": torch.zeros(4, 2).to(torch.float8_e5m2)}, tmp_path / "x.safetensors")
    assert "F8_E5M2" in problem_of(tmp_path / "x.safetensors")


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<i2", "|b1", "<f2", "<u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_in_pieces_or_whole(tmp_path, rng, dtype, order):
    x = np.asarray(10 * rng.normal(size=(30, 4)), order=order).astype(dtype, order=order)
    np.save(tmp_path / "x.npy", x)
    (entry,) = read(tmp_path / "x.npy")
    np.testing.assert_array_equal(entry.values, x)
    assert isinstance(entry.pieces[0], Slab) == (order == "C" and dtype != ">f4")


def test_axes_in_front_are_read_in_pieces(tmp_path, rng):
    x = rng.normal(size=(5, 6, 7))
    np.save(tmp_path / "x.npy", x)
    (last,) = read(tmp_path / "x.npy", unit_axis=-1)
    assert isinstance(last.pieces[0], Slab)
    np.testing.assert_array_equal(last.values, x.reshape(30, 7))
    (first,) = read(tmp_path / "x.npy", unit_axis=1)
    np.testing.assert_array_equal(first.values, np.moveaxis(x, 1, -1).reshape(35, 6))


def header(tmp_path, told):
    text = json.dumps(told).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(24))
    return path


@pytest.mark.parametrize(
    "told",
    [
        [],
        {"x": 3},
        {"x": {"dtype": "F32", "shape": [3, 2]}},
        {"x": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 20]}},
        {"x": {"dtype": "F32", "shape": [3, 2], "data_offsets": [8, 32]}},
        {"x": {"dtype": "F32", "shape": [-3, -2], "data_offsets": [0, 24]}},
        {"x": {"dtype": "F32", "shape": [3.0, 2], "data_offsets": [0, 24]}},
        {"x": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24, 48]}},
    ],
)
def test_headers_that_lie(tmp_path, told):
    assert "cannot be read as .safetensors" in problem_of(header(tmp_path, told))


def test_a_file_that_shrinks_is_a_clear_error(tmp_path, rng):
    np.save(tmp_path / "x.npy", rng.normal(size=(30, 4)))
    (entry,) = read(tmp_path / "x.npy")
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:200])
    with pytest.raises(FileError, match=r"ends at byte 200, not 1088"):
        _ = entry.values


def test_chunks_use_two_memories_by_turns(tmp_path, rng):
    x = rng.normal(size=(30, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    slab = npy(tmp_path / "x.npy", "x").slab(30, 4)
    first, second, third, *_ = slab.chunks(7)
    assert np.shares_memory(first, third)
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(np.concatenate([c.copy() for c in slab.chunks(7)]), x)
