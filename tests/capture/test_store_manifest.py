"""Manifests of version 2 that lie: one line, at once, and nothing else happens."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distfit_nn.capture.manifest import MANIFEST, parse_manifest, read_manifest
from distfit_nn.capture.store import Store, StoreWriter
from distfit_nn.errors import FileError
from tests.stores import edit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with StoreWriter(tmp_path / "s") as writer:
        for step in range(2):
            values = np.full((3, 2), step, np.float32)
            writer.add(values, layer="fc", site="values", step=step, ids=(5, step))
    return tmp_path / "s"


def refused(folder: Path, change: Any) -> str:
    path = folder / MANIFEST
    edit(folder, change)
    with pytest.raises(FileError) as caught:
        Store(folder)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < len(str(path)) + 200
    return text


ENTRY: list[tuple[dict[str, Any], str]] = [
    ({"kind": "pickle"}, "'kind' must be values or summary, got 'pickle'"),
    ({"kind": None}, "'kind' must be"),
    ({"kind": ["values"]}, "'kind' must be"),
    ({"kind": "summary"}, "'dtype' must be null for a summary"),
    ({"dtype": None}, "'dtype' must be null for a summary, for values not"),
    ({"unit_set": 2}, "'unit_set' is 2, there are 2 unit_sets"),
    ({"unit_set": -1}, "'unit_set' must be null or a whole number"),
    ({"unit_set": False}, "'unit_set' must be null or a whole number"),
    ({"units": 3}, "'units' is 3, unit_sets[1] has 2 numbers"),
    ({"rows": 10**6, "rows_seen": 10**6}, "more than its shard holds"),
    ({"rows": 2**62, "rows_seen": 2**62, "units": 2}, "more than its shard holds"),
    ({"rows": 2**63}, "'rows' must be a whole number"),
    ({"rows_seen": 2}, "'rows_seen' is 2, less than the 3 'rows'"),
    ({"step": 10**400}, "'step' must be a whole number"),
    ({"step": 1.0}, "'step' must be a whole number"),
    ({"key": "t0"}, "two 'entries' have the same 'shard' and 'key'"),
    ({"layer": "x" * 10**6 + "\ud800"}, "'layer' must be valid text"),
]


@pytest.mark.parametrize(("change", "problem"), ENTRY)
def test_an_entry_that_cannot_be(folder, change, problem):
    assert problem in refused(folder, lambda content: content["entries"][1].update(change))


HEAD: list[tuple[dict[str, Any], str]] = [
    ({"unit_sets": None}, "'unit_sets' must be a list"),
    ({"unit_sets": [[0, 1], 3]}, "unit_sets[1] must be a list"),
    ({"unit_sets": [[0, 1], []]}, "unit_sets[1] must be a list of one or more"),
    ({"unit_sets": [[0, 1], [2, 2]]}, "unit_sets[1] must be a list of one or more different"),
    ({"unit_sets": [[0, 1], [2, -2]]}, "unit_sets[1] must be"),
    ({"unit_sets": [[0, 1], [2, True]]}, "unit_sets[1] must be"),
    ({"rank": -1}, "'rank' must be null or a whole number"),
    ({"ranks": 0}, "'ranks' must be null or a whole number of at least 1"),
    ({"version": 10**400}, "has version 1000"),
    ({"entries": [3]}, "entries[0] must be an object, got int"),
    ({"entries": {}}, "'entries' must be a list"),
]


@pytest.mark.parametrize(("change", "problem"), HEAD)
def test_a_head_that_cannot_be(folder, change, problem):
    assert problem in refused(folder, lambda content: content.update(change))


@pytest.mark.parametrize("name", ["rank", "ranks", "unit_sets", "shards", "entries", "model"])
def test_a_head_that_lacks_a_field(folder, name):
    assert repr(name) in refused(folder, lambda content: content.pop(name))


@pytest.mark.parametrize("value", ["", "0" * 63, "g" * 64, "A" * 64, 3, "../" * 21 + "0"])
def test_a_checksum_that_is_none(folder, value):
    problem = refused(folder, lambda content: content["shards"][0].update(sha256=value))
    assert "'sha256' must be 64 hexadecimal digits, null where 'version' is 1" in problem


def test_a_shard_that_is_named_twice(folder):
    problem = refused(folder, lambda content: content["shards"].append(content["shards"][0]))
    assert "names 'shard-00000.safetensors' twice" in problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b'{"format": 1, "format": 2}', "has the key 'format' twice"),
        (b'{"format": NaN}', "NaN is no JSON"),
        (b'{"format": -Infinity}', "-Infinity is no JSON"),
        (b'{"a":' * 100_000, "is not valid JSON"),
        (b"[" * 10**6, "is not valid JSON"),
        ('{"format": "\u00fc"}'.encode("utf-16"), "is not valid JSON"),
        (b'\xef\xbb\xbf{"format": 1}', "is not valid JSON"),
        (b"1" * 10**6, "is not valid JSON"),
    ],
)
def test_a_text_that_is_no_manifest(text, problem):
    begun = time.perf_counter()
    with pytest.raises(FileError, match=r"^m: ") as caught:
        parse_manifest(text, "m")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - begun < 5


def test_a_manifest_that_is_a_link(folder, tmp_path):
    (folder / MANIFEST).rename(tmp_path / "elsewhere")
    (folder / MANIFEST).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileError, match=r"manifest\.json: is a symbolic link"):
        Store(folder)


def test_a_folder_that_is_a_link_may_be_read(folder, tmp_path):
    (tmp_path / "latest").symlink_to(folder)
    assert len(Store(tmp_path / "latest")) == 2


def test_sets_of_units_come_back(folder):
    records = Store(folder).records
    assert [record.ids for record in records] == [(5, 0), (5, 1)]
    with StoreWriter(folder, "a") as writer:
        writer.add(np.ones((1, 2)), layer="b", site="s", step=0, ids=(5, 1))
        writer.add(np.ones((1, 2)), layer="c", site="s", step=0)
    content = json.loads((folder / MANIFEST).read_text())
    assert content["unit_sets"] == [[5, 0], [5, 1]]
    assert [record.ids for record in Store(folder).records] == [(5, 0), (5, 1), (5, 1), None]


def test_a_store_of_version_1_is_added_to(sample_store, tmp_path):
    shutil.copytree(sample_store, tmp_path / "s")
    before = read_manifest(sample_store)
    with StoreWriter(tmp_path / "s", "a") as writer:
        writer.add(np.ones((2, 2)), layer="new", site="s", step=0)
    after = read_manifest(tmp_path / "s")
    assert after.records[:-1] == before.records
    assert (after.shards[0], after.shards[0].sha256) == (before.shards[0], None)
    assert json.loads((tmp_path / "s" / MANIFEST).read_text())["version"] == 2
    assert len(list(Store(tmp_path / "s"))) == 19


def test_a_reader_opens_what_a_writer_replaces_meanwhile(folder, monkeypatch):
    """The shards of the manifest that was read are gone: another look finds the new ones."""
    from distfit_nn.capture import ranks

    real = ranks.members
    looks: list[int] = []

    def members(path):
        found = real(path)
        looks.append(1)
        if len(looks) == 1:
            with StoreWriter(folder, "w") as writer:
                for step in range(3):
                    values = np.full((9, 9), step, np.float32)
                    writer.add(values, layer="new", site="s", step=step)
        return found

    monkeypatch.setattr(ranks, "members", members)
    assert [record.layer for record in Store(folder).records] == ["new"] * 3
    assert len(looks) == 2
