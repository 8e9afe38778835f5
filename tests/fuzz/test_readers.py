"""Whatever is in a file, reading it gives tables of numbers or one short line that names it."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distfit_nn.errors import FileError
from tests.fuzz import readers, seeds
from tests.fuzz.mutate import inside, mutated

FILES = (*seeds.seeds(), seeds.MANIFEST)
SHORT = ("plain.npy", "x.safetensors", "x.csv", "events.tfevents")  # and every byte is told apart


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("name", FILES)
def test_the_seeds_are_read(folder, name):
    content = (seeds.seeds() | {seeds.MANIFEST: seeds.manifest()})[name]
    assert readers.check(name, content, folder) == "read"


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("name", FILES)
def test_broken_files(folder, name, seed):
    readers.fuzz(name, 1, seed, folder)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_broken_stores(folder, seed):
    readers.fuzz_store(1, seed, folder)


@pytest.mark.parametrize("name", SHORT)
def test_files_that_end_at_any_byte(folder, name):
    content = seeds.seeds().get(name, b"")
    for size in range(0, len(content), max(1, len(content) // 100)):
        readers.check(name, content[:size], folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_many_broken_files(folder, name):
    readers.fuzz(name, 1500, 1, folder)
    content = (seeds.seeds() | {seeds.MANIFEST: seeds.manifest()})[name]
    for size in range(0, len(content), max(1, len(content) // 2000)):
        readers.check(name, content[:size], folder)


@pytest.mark.slow
def test_many_broken_stores(folder):
    readers.fuzz_store(2000, 1, folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain.npy", "stored.npz", "safetensors", "tfevents", "manifest"])
def test_files_that_coverage_leads_to(kind):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.readers", "--coverage", "--runs=2000", "--kind", kind],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done 2000 runs" in done.stderr


def test_mutations_break_files_in_many_ways():
    rng = random.Random(0)
    content = seeds.seeds()["stored.npz"]
    assert len({mutated(content, rng) for _ in range(100)}) > 90
    assert len({inside(content, rng) for _ in range(100)}) > 90


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("unexpected"), "ValueError: unexpected"),
        (FileError("FILE: two\nlines"), "not one short line"),
        (FileError("no name"), "not one short line"),
        (FileError("x.npy: " + "long " * 200), "not one short line"),
    ],
)
def test_the_oracle_sees_what_must_not_be(monkeypatch, tmp_path, error, told):
    def fails(*_args, **_options):
        raise error

    monkeypatch.setattr(readers, "read", fails)
    with pytest.raises(readers.Defect, match=told):
        readers.check_file(tmp_path / "x.npy")
