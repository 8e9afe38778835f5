"""A manifest of a million entries: read in seconds; written without cost that grows as its square.

Only ratios of one run are compared, so that a slow machine does not fail them.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from distfit_nn.capture import store
from distfit_nn.capture.manifest import MANIFEST, MOST_BYTES, parse_manifest, read_manifest
from distfit_nn.capture.store import Store, StoreWriter
from distfit_nn.errors import FileError
from tests.stores import with_checksum


def manifest_of(entries: int) -> bytes:
    content = {
        "format": "distfit_nn.store",
        "version": 2,
        "written_by": "test",
        "model": "",
        "rank": None,
        "ranks": None,
        "unit_sets": [],
        "shards": [
            {"file": "shard-00000.safetensors", "bytes": 10**12, "sha256": "0" * 64, "version": 2}
        ],
        "entries": [
            {
                "kind": "values",
                "shard": 0,
                "key": f"t{i}",
                "layer": f"blocks.{i % 1000}.mlp.act",
                "site": "pre_activation",
                "step": i // 1000,
                "call": 0,
                "activation": "gelu",
                "rows": 1000,
                "units": 100,
                "rows_seen": 60000,
                "dtype": "float16",
                "unit_set": None,
            }
            for i in range(entries)
        ],
    }
    return with_checksum(content)


def seconds_of(work, *arguments):
    best = np.inf
    for _ in range(2):
        begun = time.perf_counter()
        work(*arguments)
        best = min(best, time.perf_counter() - begun)
    return best


def test_checking_entries_costs_little_beside_their_json():
    text = manifest_of(20_000)
    whole = seconds_of(parse_manifest, text, "m")
    assert whole < 10 * seconds_of(json.loads, text)


def test_records_share_the_names_they_have_in_common():
    records = parse_manifest(manifest_of(3000), "m").records
    assert records[0].layer is records[1000].layer
    assert records[0].site is records[1].site


@pytest.mark.slow
def test_a_manifest_of_a_million_entries():
    text = manifest_of(10**6)
    begun = time.perf_counter()
    records = parse_manifest(text, "m").records
    seconds = time.perf_counter() - begun
    assert len(records) == 10**6
    assert records[-1].key == "t999999"
    assert seconds < 60  # 6 s on one idle core


def test_a_manifest_that_is_too_long_is_not_read(tmp_path: Path):
    with open(tmp_path / MANIFEST, "wb") as file:
        file.truncate(10 * 2**30)  # a hole: it takes no room on the disk
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match=f"more than {MOST_BYTES:,} bytes"):
            read_manifest(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_manifest_of_nothing_but_lists_is_not_taken_apart():
    with pytest.raises(FileError, match="more than 8,388,608 lists and objects"):
        parse_manifest(b"[" + b"[]," * (2**23 + 1) + b"0]", "m")


def test_the_text_of_entries_is_made_once(tmp_path, monkeypatch):
    made: list[object] = []

    def counted(record, unit_set):
        made.append(record)
        return real(record, unit_set)

    real = store.entry_text
    monkeypatch.setattr(store, "entry_text", counted)
    with StoreWriter(tmp_path / "s") as writer:
        for step in range(30):
            writer.add(np.ones((2, 2)), layer="a", site="s", step=step)
            writer.flush()
    assert len(made) == 30
    assert len(Store(tmp_path / "s")) == 30


@pytest.mark.slow
def test_a_late_flush_costs_little_more_than_an_early_one(tmp_path: Path):
    """With 100,000 entries in the manifest a flush still takes well under a second."""
    values = np.ones((1, 1), np.float16)
    with StoreWriter(tmp_path / "s") as writer:
        for step in range(100_000):
            writer.add(values, layer=f"blocks.{step % 100}", site="s", step=step)
        writer.flush()
        begun = time.perf_counter()
        for step in range(5):
            writer.add(values, layer="late", site="s", step=step)
            writer.flush()
        assert time.perf_counter() - begun < 5 * 2  # 0.1 s each on an idle core
    assert len(Store(tmp_path / "s")) == 100_005


def test_slow_writes_are_done_less_often(tmp_path, monkeypatch):

    now = [0.0]
    monkeypatch.setattr(store.time, "monotonic", lambda: now[0])
    writer = StoreWriter(tmp_path / "s")
    real = store.manifest_text

    def slow(*arguments):
        now[0] += 3.0
        return real(*arguments)

    monkeypatch.setattr(store, "manifest_text", slow)
    writes = 0
    for step in range(20):
        now[0] += store.FLUSH_SECONDS + 1
        writer.add(np.ones((2, 2)), layer="a", site="s", step=step)
        before = writer._flushed
        writer.flush_if_due()
        writes += writer._flushed != before
    assert 3 <= writes <= 5  # every 60 s or more of the 220 s, not every 11 s
