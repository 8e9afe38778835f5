"""Files of arrays: what is written comes back, and what is not that is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distfit_nn._archive import Format
from distfit_nn.errors import FileError, InputError

FILE = Format("test", "a test", 2, {"values": np.float32, "n": np.int64})
ARRAYS = {"values": np.arange(6, dtype=np.float32).reshape(2, 3), "n": 7}


def test_arrays_come_back_in_their_dtypes(tmp_path: Path) -> None:
    path = FILE.save(str(tmp_path / "new" / "x.npz"), ARRAYS)
    read = FILE.load(path)
    assert list(read) == ["values", "n"]
    np.testing.assert_array_equal(read["values"], ARRAYS["values"])
    assert read["values"].dtype == np.float32
    assert (read["n"].dtype, read["n"].shape, int(read["n"])) == (np.int64, (), 7)


def test_numpy_alone_reads_them_and_nothing_is_pickled(tmp_path: Path) -> None:
    with np.load(FILE.save(tmp_path / "x", ARRAYS), allow_pickle=False) as archive:
        assert sorted(archive.files) == ["format", "n", "values", "version"]
        assert str(archive["format"]) == "distfit_nn test"
        assert int(archive["version"]) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": np.array("distfit_nn other")}, "x.npz does not hold a test"),
        ({"format": None}, "does not hold a test"),
        ({"version": np.array(1)}, "has version 1, and this release reads 2"),
        ({"version": np.array("2")}, "version is no number"),
        ({"version": np.array([2])}, "version is no number"),
        ({"version": None}, "version is no number"),
        ({"n": None, "values": None}, "lacks n, values"),
        ({"n": np.array(7.0)}, "n is float64, not int64"),
        ({"n": np.array([7, None])}, "x.npz is damaged"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = FILE.save(tmp_path / "x.npz", ARRAYS)
    with np.load(path) as archive:
        arrays = dict(archive) | changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(FileError, match=message):
        FILE.load(path)


def test_what_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(FileError, match="cannot read"):
        FILE.load(path)
    path.write_text("a,b")
    with pytest.raises(FileError, match="does not hold a test"):
        FILE.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(FileError):
        FILE.load(path)
    whole = FILE.save(path, ARRAYS).read_bytes()
    for size in range(0, len(whole), 41):
        path.write_bytes(whole[:size])
        with pytest.raises(FileError):
            FILE.load(path)


@pytest.mark.parametrize("path", [None, 3, b"x", "a\0b"])
def test_paths_that_are_none(path: Any) -> None:
    with pytest.raises(InputError, match="path must be the path of a file, got"):
        FILE.save(path, ARRAYS)
    with pytest.raises(InputError, match="path must be the path of a file, got"):
        FILE.load(path)
