"""Entries in parts: the same numbers however they are measured."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

import distfit_nn as dn
from distfit_nn import streaming
from distfit_nn.capture import entries
from distfit_nn.capture.readers import read
from distfit_nn.capture.store import StoreWriter
from distfit_nn.errors import FileError, InputError
from distfit_nn.streaming import Settings, memory_size


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of some 3,000 values, chunks of 500."""
    monkeypatch.setattr(entries, "PART", 3000)
    monkeypatch.setattr(entries, "CHUNK", 500)


@pytest.fixture
def store(tmp_path, rng):
    """A layer in seven records of odd lengths, a narrow and a wide one."""
    with StoreWriter(tmp_path / "run") as writer:
        for rows in (1, 128, 300, 5, 777, 64, 2000):
            x = rng.normal(size=(rows, 70)).astype(np.float32)
            writer.add(x**3, layer="a", site="pre_activation", step=0, activation="relu")
        writer.add(rng.normal(size=(100, 2)), layer="b", site="values", step=0)
        writer.add(rng.normal(size=(300, 600)), layer="c", site="values", step=0)
    return tmp_path / "run"


def test_parts_hold_every_row_once(store, small_parts):
    for entry in read(store):
        parts = list(entry.parts())
        assert [part.number for part in parts] == list(range(len(parts)))
        rows = [chunk.copy() for part in parts for chunk in part.chunks()]
        np.testing.assert_array_equal(np.concatenate(rows), entry.values)
        assert all(chunk.size <= max(500, 128 * entry.units) for chunk in rows)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("memory", ["1MB", "20MB", "2GB"])
def test_threads_and_memory_change_no_bit(store, small_parts, monkeypatch, workers, memory):
    expected = dn.analyze(store)
    monkeypatch.setattr(streaming, "threads", lambda: workers)
    found = dn.analyze(store, memory_limit=memory)
    pd.testing.assert_frame_equal(found.units, expected.units, check_exact=True)
    pd.testing.assert_frame_equal(found.layers, expected.layers, check_exact=True)


def test_less_memory_takes_more_passes(rng):
    entry = next(read(rng.normal(size=(10, 600))))
    assert Settings(memory=10**9).passes(entry) == [slice(0, 600)]
    narrow = [slice(j, min(j + 128, 600)) for j in range(0, 600, 128)]
    assert Settings(memory=10**6).passes(entry) == narrow


def test_a_sample_is_enough_for_tests(rng, small_parts):
    x = rng.normal(size=(4000, 3))
    found = dn.analyze(x, sample=500)
    assert found.units["n"].tolist() == [4000] * 3
    assert found.units["sampled"].tolist() == [500] * 3
    np.testing.assert_allclose(found.units["mean"], x.mean(axis=0), atol=1e-15)
    again, other = dn.analyze(x, sample=500), dn.analyze(x, sample=500, seed=1)
    assert (found.units["dip"] == again.units["dip"]).all()
    assert (found.units["dip"] != other.units["dip"]).all()


def test_progress_counts_rows(store, small_parts):
    seen = []
    dn.analyze(store, progress=lambda entry, rows: seen.append((entry.layer, rows)))
    assert seen[0] == ("a", 0)
    assert ("a", 3275) in seen
    assert seen[-1] == ("c", 300)
    assert seen == sorted(seen)


def test_an_error_in_a_thread_is_the_error(store, small_parts, monkeypatch):
    monkeypatch.setattr(streaming, "threads", lambda: 2)

    def fail(entry, rows):
        if rows > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dn.analyze(store, progress=fail)


@pytest.mark.parametrize(
    ("given", "size"),
    [("500MB", 5 * 10**8), ("1 GiB", 2**30), ("2.5kb", 2500), (1e6, 10**6), ("7", 7)],
)
def test_sizes_of_memory(given, size):
    assert memory_size(given) == size


@pytest.mark.parametrize("given", ["", "lots", "-1MB", 0, True, None, "5 XB", float("nan")])
def test_what_is_no_size(given):
    with pytest.raises(InputError, match="memory_limit must be"):
        memory_size(given)


@pytest.mark.parametrize("replaced", [True, False])
@pytest.mark.parametrize("name", ["x.npy", "x.safetensors"])
def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path, rng, name, replaced):
    x, path = rng.normal(size=(1000, 3)).astype(np.float32), tmp_path / name

    def write(values):
        if path.suffix == ".npy":
            np.save(path, values)
        else:
            save_file({"x": values}, path)

    def disturb(*_):
        if replaced:
            path.unlink()
        write(x + 1)

    write(x)
    os.utime(path, ns=(10**18, 10**18))  # its clock may be too coarse for so short a time
    with pytest.raises(FileError, match="changed while it was read"):
        dn.analyze(path, progress=disturb)
    with pytest.raises(FileError, match="changed while it was read"):
        dn.compare(path, x, progress=disturb)
    entry = next(iter(read(path)))
    disturb()
    os.utime(path, ns=(10**18, 10**18 + 1))
    with pytest.raises(FileError, match="changed while it was read"):
        _ = entry.values


def test_an_array_in_memory_may_change(rng):
    x = rng.normal(size=(100, 2))
    entry = next(iter(read(x)))
    x += 1
    entry.check_unchanged()
