"""The checksum of a manifest: nothing in it can change without a word at every reading."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import distfit_nn as dn
from distfit_nn.capture.manifest import MANIFEST, parse_manifest, read_manifest
from distfit_nn.capture.store import Store, StoreWriter
from distfit_nn.errors import FileError
from tests.stores import TAIL, edit, resealed, with_checksum


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with StoreWriter(tmp_path / "s", model="Net") as writer:
        for step in (2, 3):
            values = np.full((3, 2), step, np.float32)
            writer.add(values, layer="fc", site="values", step=step, rows_seen=9, ids=(5, step))
    return tmp_path / "s"


def problem_of(text: bytes) -> str:
    with pytest.raises(FileError, match=r"^m: ") as caught:
        parse_manifest(text, "m")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_stands_at_the_end_and_is_of_all_bytes_before(folder):
    text = (folder / MANIFEST).read_bytes()
    assert text == resealed(text)
    content = json.loads(text)
    assert list(content)[-1] == "sha256"
    assert content["sha256"] == hashlib.sha256(text[:-TAIL]).hexdigest()


def test_every_single_bit_that_flips_is_seen_by_reading(folder):
    text = bytearray((folder / MANIFEST).read_bytes())
    for place in range(len(text)):
        for bit in {place % 8, place % 3}:  # of digits and letters it is the lower bits that lie
            text[place] ^= 1 << bit
            problem_of(bytes(text))
            text[place] ^= 1 << bit
    parse_manifest(text, "m")


@pytest.mark.parametrize(
    ("old", "new"), [(b'"step":2', b'"step":6'), (b'"fc"', b'"gc"'), (b'seen":9', b'seen":8')]
)
def test_whoever_reads_is_told(folder, old, new):
    path = folder / MANIFEST
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    told = r"manifest\.json: is damaged: its checksum is \w+\.\.\., its last line says"
    with pytest.raises(FileError, match=told):
        Store(folder)
    with pytest.raises(FileError, match=told):
        dn.analyze(folder)
    with pytest.raises(FileError, match=told):
        StoreWriter(folder, "a")
    (problem,) = dn.verify(folder).problems
    assert "is damaged: its checksum" in problem


def test_a_manifest_of_another_hand_needs_one_too(folder):
    content = json.loads((folder / MANIFEST).read_bytes())
    assert parse_manifest(with_checksum(content), "m").model == "Net"
    for text in (
        json.dumps(content),
        json.dumps(content, indent=1),
        with_checksum(content) + b"\n",
    ):
        told = problem_of(text if isinstance(text, bytes) else text.encode())
        assert "does not end with its checksum, as one of version 2 must" in told


def test_bytes_that_are_left_out_or_put_in(folder):
    text = (folder / MANIFEST).read_bytes()
    for place in range(0, len(text), 7):
        problem_of(text[:place] + text[place + 1 :])
        problem_of(text[:place] + b" " + text[place:])
        problem_of(text[:place])


def test_version_1_has_none_and_one_that_has_is_checked(sample_store, folder):
    assert len(read_manifest(sample_store).records) == 18
    text = (folder / MANIFEST).read_bytes()
    assert "is damaged" in problem_of(text.replace(b'"version": 2', b'"version": 1'))


def test_only_a_shard_of_version_1_lacks_a_checksum(sample_store, tmp_path, folder):
    shutil.copytree(sample_store, tmp_path / "old")
    with StoreWriter(tmp_path / "old", "a") as writer:
        writer.add(np.ones((2, 2)), layer="new", site="s", step=0)
    shards = json.loads((tmp_path / "old" / MANIFEST).read_bytes())["shards"]
    assert [(shard["version"], shard["sha256"] is None) for shard in shards] == [
        (1, True),
        (2, False),
    ]
    assert len(Store(tmp_path / "old")) == 19
    assert len(dn.verify(tmp_path / "old").unchecked) == 1
    for change in ({"sha256": None}, {"version": 1}, {"version": 3}, {"version": None}):
        other = tmp_path / "other"
        shutil.copytree(folder, other)
        edit(other, lambda content, change=change: content["shards"][0].update(change))
        with pytest.raises(FileError, match=r"shards\[0\]: '(sha256|version)' must be"):
            Store(other)
        shutil.rmtree(other)


@pytest.mark.parametrize("rank", [None, 0])
@pytest.mark.parametrize("name", ["a\0b", "a\0b/c", "x\ud800"])
def test_a_path_that_cannot_be(tmp_path, name, rank):
    with pytest.raises(FileError, match="cannot hold a store: no file can have this name") as told:
        StoreWriter(tmp_path / name, rank=rank)
    assert str(told.value).isprintable()
