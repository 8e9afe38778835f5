"""Stores of several ranks: joined in the order of the ranks, whoever was first; none missing."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from distfit_nn.analysis import analyze
from distfit_nn.capture.manifest import MANIFEST, is_store
from distfit_nn.capture.store import Store, StoreWriter
from distfit_nn.capture.verify import verify
from distfit_nn.errors import FileError, InputError
from distfit_nn.stats import Accumulator
from tests.stores import edit

UNITS = (4, 0, 9)


def write(path: Path, rank: int, ranks: int | None = None, mode: str = "x") -> None:
    with StoreWriter(path, mode, rank=rank, ranks=ranks, model="Net") as writer:
        for step in (0, 7):
            rng = np.random.default_rng([rank, step])
            activation = "relu" if rank else None
            writer.add(
                rng.normal(size=(5 + rank, 3)).astype(np.float32),
                layer="fc", site="s", step=step, ids=UNITS, rows_seen=50, activation=activation,
            )  # fmt: skip
            found = Accumulator(2, rows=0, bins=32)
            found.update(rng.normal(size=(40, 2)))
            writer.add_summary(found, layer="sum", site="s", step=step)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for rank in (2, 0, 1):
        write(tmp_path / "run", rank, 3)
    return tmp_path / "run"


def test_entries_are_joined_in_the_order_of_ranks(folder):
    store = Store(folder)
    assert (store.model, len(store), store.missing) == ("Net", 12, ())
    values, sums, *rest = store.entries()
    assert len(rest) == 2
    assert (values.rows, values.rows_seen, values.ids) == (18, 150, UNITS)
    assert values.activation == "relu"
    drawn = [np.random.default_rng([rank, 0]).normal(size=(5 + rank, 3)) for rank in range(3)]
    np.testing.assert_array_equal(values.values, np.concatenate(drawn).astype(np.float32))
    assert (sums.rows, sums.units, len(sums.summaries)) == (120, 2, 3)


def test_results_do_not_depend_on_which_rank_was_first(folder, tmp_path):
    for rank in (1, 0, 2):
        write(tmp_path / "other", rank, 3)
    one, other = analyze(folder), analyze(tmp_path / "other")
    assert one.to_csv() == other.to_csv()
    assert set(one.units.query("layer == 'fc'")["unit"]) == set(UNITS)


def test_a_store_of_ranks_is_a_store_and_is_verified(folder):
    assert is_store(folder)
    found = verify(folder)
    assert (found.ok, found.entries, found.shards, found.strays) == (True, 12, 3, ())
    (folder / "note.txt").write_text("mine")
    (folder / "rank-00001" / "note.txt").write_text("mine")
    assert [Path(name).name for name in verify(folder).strays] == ["note.txt"] * 2
    shard = folder / "rank-00001" / "shard-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    (problem,) = verify(folder).problems
    assert problem.startswith(f"{shard}: is damaged: its checksum is")


@pytest.mark.parametrize("ranks", [3, None])
def test_a_rank_that_is_missing_is_told(tmp_path, ranks):
    for rank in (0, 2):
        write(tmp_path / "run", rank, ranks)
    with pytest.warns(UserWarning, match="ranks are missing: rank-00001 not there"):
        assert len(Store(tmp_path / "run")) == 8
    assert verify(tmp_path / "run").problems == (f"{tmp_path / 'run'}: rank-00001 not there",)


def test_the_last_rank_may_be_missing_too(tmp_path):
    write(tmp_path / "run", 0, 3)
    with pytest.warns(UserWarning, match="rank-00001, rank-00002 not there"):
        Store(tmp_path / "run")


def test_a_rank_that_wrote_nothing_is_told(folder):
    shutil.rmtree(folder / "rank-00001")
    StoreWriter(folder, rank=1).close()
    with pytest.warns(UserWarning, match=r"rank-00001 has no manifest\.json"):
        assert len(Store(folder)) == 8
    assert not verify(folder).ok


def test_no_rank_wrote_anything(tmp_path):
    StoreWriter(tmp_path / "run", rank=0).close()
    with pytest.raises(FileError, match="run: is empty: rank-00000 has no manifest"):
        Store(tmp_path / "run")
    assert not verify(tmp_path / "run").ok


def test_a_rank_of_another_recording(folder):
    shutil.copytree(folder / "rank-00002", folder / "rank-00004")
    with pytest.raises(FileError, match="rank 4 of another recording: this one has 3 ranks"):
        Store(folder)
    shutil.rmtree(folder / "rank-00004")
    write(folder, 2, 4, mode="w")
    with pytest.raises(FileError, match=r"of different recordings, of \[3, 4\] ranks"):
        Store(folder)


def test_ranks_and_a_manifest_are_one_too_many(folder):
    shutil.copy(folder / "rank-00000" / MANIFEST, folder)
    with pytest.raises(FileError, match="which is the store"):
        Store(folder)


def test_a_rank_that_is_a_link(folder, tmp_path):
    (folder / "rank-00001").rename(tmp_path / "elsewhere")
    (folder / "rank-00001").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileError, match="rank-00001: is a symbolic link"):
        Store(folder)


def test_where_ranks_may_not_be_written(folder, tmp_path):
    with pytest.raises(FileError, match="rank-00000: is a store already"):
        StoreWriter(folder, rank=0)
    for mode in ("x", "a", "w"):
        with pytest.raises(FileError, match="holds the stores of ranks; rank= says which"):
            StoreWriter(folder, mode)
    with pytest.raises(FileError, match="is the store of one process"):
        StoreWriter(folder / "rank-00000", rank=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(FileError, match=r"holds 'thesis.txt'"):
        StoreWriter(tmp_path / "mine", rank=1)
    with pytest.raises(InputError, match="rank must be below the number of ranks, got 3 of 3"):
        StoreWriter(tmp_path / "no", rank=3, ranks=3)


def test_ranks_write_at_once(tmp_path):
    one, other = (StoreWriter(tmp_path / "run", rank=rank) for rank in (0, 1))
    with pytest.raises(FileError, match="rank-00001: is being written"):
        StoreWriter(tmp_path / "run", "a", rank=1)
    for writer in (one, other):
        writer.add(np.ones((1, 1)), layer="a", site="s", step=0)
        writer.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(Store(tmp_path / "run")) == 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"units": 2, "unit_set": None}, r"has \[2, 3\] units"),
        ({"unit_set": None}, "has different units in several entries"),
    ],
)
def test_entries_that_cannot_be_joined(folder, change, problem):
    edit(folder / "rank-00001", lambda content: content["entries"][0].update(change))
    with pytest.raises(FileError, match=problem):
        list(Store(folder).entries())


def test_ranks_behind_a_url(folder):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/ranks-of-a-run", recursive=True)
    try:
        assert len(Store("memory://ranks-of-a-run")) == 12
        assert verify("memory://ranks-of-a-run").ok
        assert analyze("memory://ranks-of-a-run").to_csv() == analyze(folder).to_csv()
    finally:
        memory.rm("/ranks-of-a-run", recursive=True)
