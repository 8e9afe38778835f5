"""verify: a store that is whole is called so, and of any other it says where it is damaged."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import distfit_nn as dn
from distfit_nn.capture.manifest import MANIFEST
from distfit_nn.capture.store import StoreWriter
from distfit_nn.errors import FileError
from distfit_nn.stats import Accumulator
from tests.stores import edit

SHARD = "shard-00000.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with StoreWriter(tmp_path / "s") as writer:
        for step in range(2):
            writer.add(np.full((30, 2), step, np.float32), layer="fc", site="values", step=step)
        summary = Accumulator(200, rows=5, bins=16)
        summary.update(np.random.default_rng(0).normal(size=(50, 200)))
        writer.add_summary(summary, layer="sum", site="values", step=0)
    return tmp_path / "s"


def problem_of(path: Path) -> str:
    found = dn.verify(path)
    assert not found.ok
    (problem,) = found.problems
    assert "\n" not in problem
    assert "damaged" in str(found)
    return problem


def test_a_store_that_is_whole(folder):
    found = dn.verify(folder)
    assert found.ok
    assert (found.problems, found.strays, found.unchecked) == ((), (), ())
    assert (found.path, found.shards, found.entries) == (str(folder), 1, 3)
    assert found.bytes == (folder / SHARD).stat().st_size
    assert str(found).startswith(f"{folder}: whole, 3 entries in 1 shards")


def test_a_store_of_version_1(sample_store):
    found = dn.verify(sample_store)
    assert (found.ok, found.entries) == (True, 18)
    assert found.unchecked == (str(sample_store / SHARD),)


def test_any_byte_that_changes_is_found(folder):
    content = (folder / SHARD).read_bytes()
    for place in np.linspace(0, len(content) - 1, 40).astype(int):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        (folder / SHARD).write_bytes(damaged)
        assert problem_of(folder).startswith(f"{folder / SHARD}: is damaged: its checksum is")


def test_a_shard_that_is_missing_or_short(folder):
    content = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(content[:-1])
    assert "the manifest says" in problem_of(folder)
    (folder / SHARD).unlink()
    assert "is missing" in problem_of(folder)
    (folder / SHARD).symlink_to(os.devnull)
    assert "is a symbolic link" in problem_of(folder)


def lie(content):
    content["entries"][0].update(key="t9")
    content["entries"][1].update(units=1)
    content["entries"][2].update(rows=49)


def test_entries_that_the_shard_does_not_hold(folder):
    edit(folder, lie)
    first, second, third = dn.verify(folder).problems
    assert "has no tensor 't9'" in first
    assert "the manifest says (30, 1) float32" in second
    assert "is of 50 rows, the manifest says 49" in third


def test_a_damaged_manifest_is_a_problem_and_no_store_an_error(folder, tmp_path):
    (folder / MANIFEST).write_text("{")
    assert "manifest.json: is not valid JSON" in problem_of(folder)
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(FileError):
            dn.verify(path)
    with pytest.raises(FileError):
        dn.verify("memory://nothing-here")


def test_what_does_not_belong_is_named(folder):
    for name in ("notes.txt", "shard-00007.safetensors", ".manifest.json.3.tmp"):
        (folder / name).write_text("x")
    found = dn.verify(folder)
    assert found.ok
    assert [Path(name).name for name in found.strays] == [
        ".manifest.json.3.tmp",
        "notes.txt",
        "shard-00007.safetensors",
    ]


def test_a_large_shard_is_read_in_pieces(tmp_path):
    with StoreWriter(tmp_path / "s") as writer:
        writer.add(np.zeros((1 << 20, 8), np.float32), layer="a", site="s", step=0)
    dn.verify(tmp_path / "s")
    tracemalloc.start()
    try:
        assert dn.verify(tmp_path / "s").bytes > 32 * 2**20
        assert tracemalloc.get_traced_memory()[1] < 6 * 2**20
    finally:
        tracemalloc.stop()


def test_a_store_that_is_being_written(folder):
    with StoreWriter(folder, "a") as writer:
        writer.add(np.ones((2, 2)), layer="a", site="s", step=9)
        assert dn.verify(folder).entries == 3
        writer.flush()
        found = dn.verify(folder)
        assert (found.ok, found.entries, found.strays) == (True, 4, ())
