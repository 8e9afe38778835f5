"""The page that describes the format: its reader runs, and its tables are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from distfit_nn.capture import manifest, manifest_rules
from distfit_nn.capture.store import StoreWriter
from distfit_nn.stats import Accumulator
from distfit_nn.stats.accumulator_checks import NAMES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "format.md").read_text("utf-8")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with StoreWriter(tmp_path / "s") as writer:
        writer.add(np.ones((3, 2), np.float16), layer="fc", site="s", step=4, ids=(7, 5))
        summary = Accumulator(2, rows=3)
        summary.update(np.ones((5, 2)))
        writer.add_summary(summary, layer="sum", site="s", step=4)
    return tmp_path / "s"


@pytest.mark.parametrize("version", [1, 2])
def test_the_reader_of_the_page_runs(store, sample_store, capsys, version):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    folder = sample_store if version == 1 else store
    exec(code.replace("data/mnist_mlp", str(folder)), {})  # noqa: S102
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == {1: 18, 2: 1}[version]
    assert version == 1 or lines == ["fc s 4 (3, 2) float16"]


def test_the_reader_of_the_page_sees_damage(store):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    path = store / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"step":4', b'"step":5', 1))
    with pytest.raises(AssertionError, match="it is damaged"):
        exec(code.replace("data/mnist_mlp", str(store)), {})  # noqa: S102


def test_the_end_of_a_manifest_is_that_of_the_page(store):
    (end,) = re.findall(r'```text\n("sha256".*?)```', PAGE, re.DOTALL)
    assert len(end) == 79
    text = (store / "manifest.json").read_text("utf-8")
    assert re.sub("[0-9a-f]{64}", "", end) == re.sub("[0-9a-f]{64}", "", text[-79:])


def test_every_field_and_tensor_stands_on_the_page(store):
    told = set(re.findall(r"^\| `([\w.]+)` \|", PAGE, re.MULTILINE))
    content = json.loads((store / "manifest.json").read_text())
    fields = {*content, *content["shards"][0], *content["entries"][0]}
    assert told == fields | {f"t3.{name}" for name in NAMES}
    assert fields == {
        *("format", "version", "written_by", "model", "rank", "ranks"),
        *("unit_sets", "shards", "entries", "sha256"),
        *manifest_rules.SHARDS,
        *manifest_rules.ENTRIES,
    }


def test_the_limits_on_the_page():
    assert (manifest.MOST_BYTES, manifest.MOST_LISTS) == (2**29, 2**23)
    assert "2^29 bytes" in PAGE
    assert "2^23 lists" in PAGE
