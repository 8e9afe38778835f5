"""The store: what is written is read back, a crash loses nothing, damage is told in one line."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from distfit_nn.capture import lock as lock_module
from distfit_nn.capture import store as store_module
from distfit_nn.capture.lock import LOCK
from distfit_nn.capture.manifest import MANIFEST, is_store
from distfit_nn.capture.store import Store, StoreWriter
from distfit_nn.errors import FileError, InputError
from tests.stores import edit

NASTY = "../x/<script>alert('1')</script>\n\u202e\x00 t0"


def write(path: Path, steps: list[int], mode: str = "x", **options: Any) -> None:
    with StoreWriter(path, mode, **options) as writer:
        for step in steps:
            writer.add(np.full((3, 2), step, np.float32), layer="fc", site="values", step=step)


def steps(path: Path) -> list[int]:
    """The steps in the store; each array must hold its step."""
    found = []
    for record, values in Store(path):
        np.testing.assert_array_equal(values, np.full((3, 2), record.step, np.float32))
        found.append(record.step)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    write(path, [0, 1])
    return path


def error_of(path: Path) -> str:
    """The error that reading all of a store raises: one line that names something in the store."""
    with pytest.raises(FileError) as caught:
        list(Store(path))
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    return text


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_bit_for_bit(tmp_path, rng, dtype, order):
    first = np.asarray(rng.normal(size=(7, 3)), dtype=dtype, order=order)
    second = np.array([[np.nan, np.inf, -0.0]], dtype=dtype)
    with StoreWriter(tmp_path / "s", model="Net") as writer:
        writer.add(first, layer=NASTY, site="norm_input", step=5, call=2, activation="relu")
        writer.add(second[:, ::-1], layer="b", site="s", step=6, rows_seen=99)
    found = Store(tmp_path / "s")
    (one, a), (two, b) = found
    assert (found.model, len(found)) == ("Net", 2)
    assert (one.layer, one.site, one.step, one.call) == (NASTY, "norm_input", 5, 2)
    assert (one.activation, one.rows_seen, one.rows, one.units) == ("relu", 7, 7, 3)
    assert (two.activation, two.rows_seen) == (None, 99)
    assert a.dtype == b.dtype == dtype
    assert a.tobytes() == first.tobytes(order="C")
    assert b.tobytes() == second[:, ::-1].tobytes(order="C")


def test_a_layer_name_never_reaches_the_disk_as_a_name(tmp_path):
    with StoreWriter(tmp_path / "s") as writer:
        writer.add(np.ones((1, 1)), layer=NASTY, site=NASTY, step=0)
    assert sorted(os.listdir(tmp_path)) == ["s"]
    assert sorted(os.listdir(tmp_path / "s")) == [MANIFEST, "shard-00000.safetensors"]
    assert b"script" not in (tmp_path / "s" / "shard-00000.safetensors").read_bytes()


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12),
    limit=st.integers(1, 600),
)
def test_any_division_into_shards_holds_the_same(tmp_path_factory, sizes, limit):
    path = tmp_path_factory.mktemp("store") / "s"
    arrays = [np.arange(n * d, dtype=np.float32).reshape(n, d) for n, d in sizes]
    largest = max(array.nbytes for array in arrays)
    with StoreWriter(path, buffer_bytes=limit) as writer:
        for step, array in enumerate(arrays):
            writer.add(array, layer="a", site="s", step=step)
            assert writer._buffered < limit
    found = Store(path)
    assert [record.step for record in found.records] == list(range(len(arrays)))
    for (_, values), array in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(values, array)
    header = 8 + 200 * len(arrays)
    assert max(shard.stat().st_size for shard in path.glob("shard*")) < limit + largest + header


def test_modes(folder, tmp_path):
    with pytest.raises(FileError, match="is a store already"):
        StoreWriter(folder)
    write(folder, [2], "a", model="ignored")
    assert steps(folder) == [0, 1, 2]
    write(folder, [7], "w")
    assert steps(folder) == [7]
    assert len(list(folder.glob("shard*"))) == 1
    write(tmp_path / "new" / "deep", [3], "a")
    write(tmp_path / "other", [4], "w")
    assert steps(tmp_path / "new" / "deep") == [3]
    assert steps(tmp_path / "other") == [4]
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", [5])
    assert steps(tmp_path / "empty") == [5]
    with pytest.raises(InputError, match="mode must be one of 'x', 'a', 'w', got 'r'"):
        StoreWriter(tmp_path / "no", "r")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("mode", ["x", "a", "w"])
def test_what_is_no_store_is_left_alone(tmp_path, mode):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileError):
        StoreWriter(tmp_path, mode)
    with pytest.raises(FileError, match="is a file"):
        StoreWriter(tmp_path / "thesis.txt", mode)
    with pytest.raises(FileError, match="cannot hold a store"):
        StoreWriter(tmp_path / "thesis.txt" / "s", mode)
    assert os.listdir(tmp_path) == ["thesis.txt"]
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_replaced_store_can_be_read_until_the_first_flush(folder):
    writer = StoreWriter(folder, "w")
    assert steps(folder) == [0, 1]
    writer.add(np.full((3, 2), 8, np.float32), layer="fc", site="values", step=8)
    assert steps(folder) == [0, 1]
    writer.close()
    assert steps(folder) == [8]
    StoreWriter(folder, "w").close()
    assert steps(folder) == [8]


@pytest.mark.parametrize("mode", ["a", "w"])
@pytest.mark.parametrize("survives", [0, 1])
def test_a_crash_at_any_move_leaves_the_old_store(folder, monkeypatch, mode, survives):
    """The shard is moved first (move 0), the manifest last (move 1)."""
    moves: list[str] = []

    def replace(source: Path, target: Path) -> None:
        if len(moves) == survives:
            raise OSError(28, "No space left on device")
        moves.append(str(target))
        real(source, target)

    real = os.replace
    monkeypatch.setattr(store_module.os, "replace", replace)
    with pytest.raises(FileError, match="No space left on device"):
        write(folder, [2], mode)
    monkeypatch.undo()
    assert steps(folder) == [0, 1]
    assert not list(folder.glob(".*"))
    write(folder, [3], mode)
    assert steps(folder) == ([0, 1, 3] if mode == "a" else [3])


def test_a_killed_process_leaves_what_was_flushed(tmp_path):
    code = (
        "import os, sys, numpy as np\n"
        "from distfit_nn.capture.store import StoreWriter\n"
        "writer = StoreWriter(sys.argv[1])\n"
        "for step in (0, 1):\n"
        "    values = np.full((3, 2), step, np.float32)\n"
        "    writer.add(values, layer='fc', site='values', step=step)\n"
        "    if step == 0: writer.flush()\n"
        "os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], check=False)
    assert done.returncode == 9
    assert steps(tmp_path / "s") == [0]


def test_a_flush_is_due_some_seconds_after_the_last(tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr(store_module.time, "monotonic", lambda: now)
    writer = StoreWriter(tmp_path / "s")
    flushed = 0
    for step, seconds in enumerate(
        (store_module.FLUSH_SECONDS, 0.5, 1, store_module.FLUSH_SECONDS)
    ):
        now += seconds
        writer.add(np.full((3, 2), step, np.float32), layer="fc", site="values", step=step)
        writer.flush_if_due()
        if step in (1, 3):
            flushed = step + 1
        assert (steps(tmp_path / "s") if flushed else []) == list(range(flushed))
        assert is_store(tmp_path / "s") == (flushed > 0)


@pytest.mark.parametrize("mode", ["x", "a"])
def test_the_shards_are_the_same_however_long_it_took(tmp_path, monkeypatch, mode):
    for name, seconds in (("slow", -1.0), ("fast", 60.0)):
        monkeypatch.setattr(store_module, "FLUSH_SECONDS", seconds)
        if mode == "a":
            write(tmp_path / name, [0])
        with StoreWriter(tmp_path / name, mode, buffer_bytes=70) as writer:
            for step in range(1, 9):
                values = np.full((3, 2), step, np.float32)
                place = writer.add(values, layer="fc", site="values", step=step)
                writer.flush_if_due()
                writer.set_activation(place, "relu")
                if step % 2:  # an odd number of spares for some of the shards
                    writer.flush_if_due()
                if step % 2 and name == "slow":
                    assert Store(tmp_path / name).records[-1].activation == "relu"
                    manifest = json.loads((tmp_path / name / MANIFEST).read_text())
                    named = {shard["file"] for shard in manifest["shards"]}
                    assert {*named, MANIFEST, LOCK} == set(os.listdir(tmp_path / name))
    slow, fast = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("slow", "fast")
    )
    assert slow == fast
    assert len(slow) == {"x": 4, "a": 5}[mode]  # three arrays a shard, and the manifest


def test_what_did_not_change_is_not_written_again(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "FLUSH_SECONDS", -1.0)
    writer = StoreWriter(tmp_path / "s")
    writer.add(np.ones((3, 2)), layer="fc", site="values", step=0)
    writer.flush_if_due()
    before = (tmp_path / "s" / MANIFEST).stat()
    writer.flush_if_due()
    assert (tmp_path / "s" / MANIFEST).stat() == before


def test_a_name_that_is_no_text_is_not_written(tmp_path):
    with pytest.raises(InputError, match="model must be valid Unicode text"):
        StoreWriter(tmp_path / "s", model="\ud800")
    assert not (tmp_path / "s").exists()
    writer = StoreWriter(tmp_path / "s")
    for name in ("layer", "site"):
        with pytest.raises(InputError, match=f"{name} must be valid Unicode text, got"):
            writer.add(np.ones((1, 1)), step=0, **{"layer": "a", "site": "s", name: "\ud800"})


def test_a_second_writer_is_refused_until_the_first_has_left(folder):
    first = StoreWriter(folder, "a")
    for mode in ("a", "w"):
        with pytest.raises(
            FileError, match=f"is being written by another recording .process {os.getpid()}"
        ):
            StoreWriter(folder, mode)
    first.add(np.full((3, 2), 2, np.float32), layer="fc", site="values", step=2)
    first.close()
    write(folder, [3], "a")
    assert steps(folder) == [0, 1, 2, 3]


def test_where_locks_do_nothing_a_changed_manifest_is_noticed(folder, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock_module.fcntl, "flock", no_locks)
    first, second = StoreWriter(folder, "a"), StoreWriter(folder, "a")
    for step, writer in ((2, first), (3, second)):
        writer.add(np.full((3, 2), step, np.float32), layer="fc", site="values", step=step)
    first.close()
    with pytest.raises(FileError, match="changed by another writer"):
        second.close()
    assert steps(folder) == [0, 1, 2]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (np.ones(3), "shape must be"),
        (np.ones((0, 3)), "shape must be"),
        (np.ones((3, 0)), "shape must be"),
        (np.ones((3, 2), int), "dtype must be a float, got int64"),
        (np.ones((3, 2), complex), "dtype must be a float, got complex128"),
    ],
)
def test_only_matrices_of_floats_are_stored(tmp_path, values, problem):
    writer = StoreWriter(tmp_path / "s")
    with pytest.raises(InputError, match=problem):
        writer.add(values, layer="fc", site="values", step=0)


def test_reading_needs_no_torch(folder):
    code = (
        "import sys; from distfit_nn.capture import readers\n"
        "from distfit_nn.capture.store import Store\n"
        "list(Store(sys.argv[1])); list(readers.read(sys.argv[1]))\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def test_missing_empty_and_foreign_folders(tmp_path):
    assert "does not exist" in error_of(tmp_path / "none")
    assert "no manifest.json" in error_of(tmp_path)
    (tmp_path / "file").write_text("x")
    assert "is a file" in error_of(tmp_path / "file")
    StoreWriter(tmp_path / "started")
    assert "not a distfit_nn store" in error_of(tmp_path / "started")
    assert not is_store(tmp_path / "started")


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"format": "distfit_nn.store"} x', b"9" * 5000],
)
def test_a_manifest_that_is_no_json(folder, text):
    (folder / MANIFEST).write_bytes(text)
    assert "manifest.json: is not valid JSON" in error_of(folder)


@pytest.mark.parametrize("text", [b"null", b"[]", b"{}", b'{"format": "other", "version": 1}'])
def test_a_manifest_of_something_else(folder, text):
    (folder / MANIFEST).write_bytes(text)
    assert "is not the manifest of a store" in error_of(folder)


@pytest.mark.parametrize("version", [3, 0, "1", None, True, 2.0])
def test_another_version(folder, version):
    edit(folder, lambda content: content.update(version=version))
    assert f"has version {version!r}" in error_of(folder)


def test_a_store_without_entries(folder):
    edit(folder, lambda content: content.update(entries=[]))
    assert "is empty" in error_of(folder)


@pytest.mark.parametrize("name", ["written_by", "model", "shards", "entries"])
@pytest.mark.parametrize("value", [None, 3, {"a": 1}, "\ud800"])
def test_a_field_of_the_manifest_that_breaks_the_schema(folder, name, value):
    edit(folder, lambda content: content.update({name: value}))
    assert repr(name) in error_of(folder)


WRONG = [
    *[("shard", value) for value in (-1, 1, 10**30, "0", None, 0.0, True)],
    *[("key", value) for value in (None, 3)],
    *[("layer", value) for value in (None, 3, ["a"], "\ud800bad")],
    *[("site", value) for value in (None, 3, "\udfff")],
    *[("step", value) for value in (-1, 1.5, "1", None, True)],
    *[("call", value) for value in (-1, None)],
    *[("activation", value) for value in (3, ["relu"], "\ud800")],
    *[("rows", value) for value in (0, -1, "3", None)],
    *[("units", value) for value in (0, None)],
    *[("rows_seen", value) for value in (0, None)],
    *[("dtype", value) for value in ("int32", "object", None, ["float32"])],
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_an_entry_that_breaks_the_schema(folder, name, value):
    edit(folder, lambda content: content["entries"][1].update({name: value}))
    text = error_of(folder)
    assert "entries[1]" in text
    assert repr(name) in text


@pytest.mark.parametrize("name", [name for name, _ in WRONG])
def test_an_entry_that_lacks_a_field(folder, name):
    edit(folder, lambda content: content["entries"][0].pop(name))
    assert f"entries[0] has no {name!r}" in error_of(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../shard-00000.safetensors",
        "/etc/passwd",
        "sub/shard-00000.safetensors",
        "shard-00000.safetensors\n",
        "shard-0.safetensors",
        "shard-٠٠٠٠٠.safetensors",
        "SHARD-00000.safetensors",
        "",
        None,
        7,
    ],
)
def test_a_shard_name_that_is_unsafe(folder, name):
    edit(folder, lambda content: content["shards"][0].update(file=name))
    assert "shards[0]: 'file' must be a name like" in error_of(folder)


def test_a_shard_that_is_a_symbolic_link(folder, tmp_path):
    shard = folder / "shard-00000.safetensors"
    shard.rename(tmp_path / "elsewhere")
    shard.symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link" in error_of(folder)


def test_a_shard_that_is_missing_truncated_or_damaged(folder):
    shard = folder / "shard-00000.safetensors"
    content = shard.read_bytes()
    for damaged in (content[:-1], b"", content + b"\0"):
        shard.write_bytes(damaged)
        assert f"has {len(damaged)} bytes, the manifest says {len(content)}" in error_of(folder)
    for damaged in (b"\xff" * len(content), content[:8] + b"\xff" * (len(content) - 8)):
        shard.write_bytes(damaged)
        assert "cannot be read as .safetensors" in error_of(folder)
    shard.unlink()
    assert "is missing" in error_of(folder)
    shard.mkdir()
    assert "is missing" in error_of(folder)


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"t0": np.ones((3, 2), np.float32)}, "has no tensor 't1'"),
        ({"t0": np.ones((2, 3), np.float32)}, "(2, 3) float32, the manifest says (3, 2) float32"),
        ({"t0": np.ones((3, 2), np.float16)}, "(3, 2) float16, the manifest says (3, 2) float32"),
        ({"t0": np.ones((3, 2, 1), np.float32)}, "(3, 2, 1) float32, the manifest says"),
    ],
)
def test_a_shard_that_disagrees_with_the_manifest(folder, tensors, problem):
    shard = folder / "shard-00000.safetensors"
    save_file(tensors, shard)
    edit(folder, lambda content: content["shards"][0].update(bytes=shard.stat().st_size))
    assert problem in error_of(folder)
