"""Readers: every source gives the same matrices; what cannot be read is told in one line."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from distfit_nn.capture.readers import read
from distfit_nn.capture.store import StoreWriter
from distfit_nn.errors import FileError, InputError


def one(source: Any, **options: Any) -> np.ndarray:
    """The values of a source of one layer."""
    (entry,) = read(source, **options)
    assert (entry.site, entry.step, entry.activation) == ("values", 0, None)
    assert entry.rows_seen == len(entry.values)
    return entry.values


def layers(source: Any, **options: Any) -> dict[str, np.ndarray]:
    return {entry.layer: entry.values for entry in read(source, **options)}


def file_problem(path: Path, **options: Any) -> str:
    """What a file's error says after the file's name, on one line."""
    with pytest.raises(FileError) as caught:
        list(read(path, **options))
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return text.removeprefix(f"{path}: ")


# ---- memory


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i8", "u1", "u8", "?", ">f4"])
def test_arrays_keep_their_values_and_dtype(rng, dtype):
    matrix = (rng.normal(size=(6, 3)) * 9).astype(dtype)
    for source in (matrix, np.asfortranarray(matrix), matrix[::-1][::-1]):
        values = one(source)
        assert values.dtype == matrix.dtype
        np.testing.assert_array_equal(values, matrix)
    column = one(matrix[:, 1])
    assert column.shape == (6, 1)
    np.testing.assert_array_equal(column[:, 0], matrix[:, 1])


def test_other_things_in_memory():
    np.testing.assert_array_equal(one([1, 2, 3]), [[1], [2], [3]])
    np.testing.assert_array_equal(one(torch.ones(2, 3, requires_grad=True)), np.ones((2, 3)))
    half = torch.tensor([[1.5], [-(2.0**100)]], dtype=torch.bfloat16)
    assert one(half).dtype == np.float32
    np.testing.assert_array_equal(one(half), [[1.5], [-(2.0**100)]])
    assert list(layers([1.0])) == ["x"]
    values = layers({"b": [1.0, 2.0], "a": np.ones((2, 4)), "<i>\n": torch.ones(3)})
    assert {name: array.shape for name, array in values.items()} == {
        "b": (2, 1),
        "a": (2, 4),
        "<i>\n": (3, 1),
    }
    assert list(values) == ["b", "a", "<i>\n"]


def test_data_frames():
    frame = pd.DataFrame({"a": [1.5, np.nan], "b": [1, 2], "c": [True, False]})
    np.testing.assert_array_equal(one(frame), [[1.5, 1, 1], [np.nan, 2, 0]])
    assert one(frame).dtype == np.float64
    assert one(frame[["b"]]).dtype == np.int64
    np.testing.assert_array_equal(one(frame["a"]), [[1.5], [np.nan]])
    nullable = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [2.0, 3.0]})
    np.testing.assert_array_equal(one(nullable), [[1, 2], [np.nan, 3]])
    with pytest.raises(InputError, match="column 'd' must hold real numbers"):
        list(read(frame.assign(d=["x", "y"])))
    with pytest.raises(InputError, match="column 'd' must hold real numbers, got complex128"):
        list(read({"fc": frame.assign(d=[1j, 2j])}))
    with pytest.raises(InputError, match=r"must have rows and columns, got shape \(2, 0\)"):
        list(read(frame[[]]))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_unit_axis_gathers_all_other_axes_in_order(data):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=5, max_side=4))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    values = one(array, unit_axis=axis)
    assert values.shape == (array.size // shape[axis], shape[axis])
    for unit in range(shape[axis]):
        expected = np.take(array, unit, axis=axis).ravel()
        np.testing.assert_array_equal(values[:, unit], expected)


BAD = [
    (np.float64(3), "layer 'x' must have shape (n,) or (n, d), got a single number"),
    (np.ones((0, 3)), "layer 'x' must have rows and columns, got shape (0, 3)"),
    (np.ones((3, 0)), "layer 'x' must have rows and columns, got shape (3, 0)"),
    ([], "layer 'x' must have rows and columns, got shape (0,)"),
    (np.ones((2, 3, 4)), "layer 'x' has shape (2, 3, 4); unit_axis must say"),
    (np.ones((2, 2), complex), "layer 'x' must be an array of real numbers, got dtype complex128"),
    (np.array(["a", "b"]), "layer 'x' must be an array of real numbers, got dtype <U1"),
    (np.array([None, 1]), "layer 'x' must be an array of real numbers, got dtype object"),
    (np.array(["2020-01-01"], "M8"), "layer 'x' must be an array of real numbers"),
    ([[1, 2], [3]], "layer 'x' must be an array of real numbers"),
    (object(), "layer 'x' must be an array of real numbers"),
    (None, "layer 'x' must be an array of real numbers"),
    (torch.eye(3).to_sparse(), "layer 'x' must be a plain array of numbers"),
    (torch.empty(3, device="meta"), "layer 'x' must be a plain array of numbers"),
    (np.ma.masked_equal([1.0, 2.0], 2.0), "layer 'x' must not be masked"),
    ({}, "a mapping of layers must not be empty"),
    ({3: np.ones(2)}, "the name of a layer must be text, got 3"),
    ({"fc": np.ones((1, 2, 3))}, "layer 'fc' has shape (1, 2, 3); unit_axis must say"),
    ({"fc": {"deeper": np.ones(3)}}, "layer 'fc' must be an array of real numbers"),
]


@pytest.mark.parametrize(("source", "problem"), BAD)
def test_what_cannot_be_read_names_the_layer(source, problem):
    with pytest.raises(InputError) as caught:
        list(read(source))
    assert problem in str(caught.value)


def test_a_name_that_is_no_text(tmp_path):
    """A lone surrogate can be written nowhere."""
    bad = "\ud800bad"
    with pytest.raises(InputError, match=r"name of a layer must be valid .* got '\\ud800bad'"):
        read({"a": np.ones(2), bad: np.ones(2)})
    torch.save({bad: torch.ones(2)}, tmp_path / "x.pt")
    assert "the name of a layer must be valid Unicode text" in file_problem(tmp_path / "x.pt")


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_message_about_a_path_that_is_no_text_can_be_printed(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.npy"
    with pytest.raises(FileError, match=r"caf\\udce9\.npy: does not exist"):
        read(os.fsdecode(path))


def test_a_masked_array_without_a_masked_value_is_an_array():
    np.testing.assert_array_equal(one(np.ma.array([1.0, 2.0])), [[1], [2]])


@pytest.mark.parametrize("axis", [1.0, "1", True, (1,)])
def test_a_unit_axis_that_is_no_number(axis):
    with pytest.raises(InputError, match="unit_axis must be a whole number"):
        read(np.ones((2, 2)), unit_axis=axis)


@pytest.mark.parametrize("axis", [2, -3])
def test_a_unit_axis_that_is_not_there(axis):
    with pytest.raises(InputError, match=rf"has shape \(2, 3\), it has no axis {axis}"):
        list(read(np.ones((2, 3)), unit_axis=axis))


def test_entries_are_made_one_at_a_time():
    entries = read({"good": np.ones(3), "bad": np.ones(0)})
    assert next(entries).layer == "good"
    with pytest.raises(InputError, match="'bad'"):
        next(entries)


# ---- stores


def test_a_store_joins_what_shares_layer_site_and_step(tmp_path):
    added = [
        *[("a", "norm_input", 0, 1.0, 2), ("b", "norm_input", 0, 2.0, 3)],
        *[("a", "norm_input", 0, 3.0, 4), ("a", "norm_output", 0, 4.0, 1)],
        ("a", "norm_input", 5, 5.0, 2),
    ]
    with StoreWriter(tmp_path, buffer_bytes=1) as writer:
        for layer, site, step, value, rows in added:
            values = np.full((rows, 2), value)
            writer.add(
                values, layer=layer, site=site, step=step, activation="relu", rows_seen=10 * rows
            )
    found = list(read(tmp_path))
    told = [(entry.layer, entry.site, entry.step, len(entry.values)) for entry in found]
    assert told == [
        *[("a", "norm_input", 0, 6), ("b", "norm_input", 0, 3)],
        *[("a", "norm_output", 0, 1), ("a", "norm_input", 5, 2)],
    ]
    np.testing.assert_array_equal(found[0].values[:, 1], [1, 1, 3, 3, 3, 3])
    assert (found[0].rows_seen, found[0].activation) == (60, "relu")
    with pytest.raises(InputError, match="a store takes no unit_axis"):
        read(tmp_path, unit_axis=1)


def test_a_store_whose_layer_changes_its_width(tmp_path):
    with StoreWriter(tmp_path) as writer:
        for units in (2, 3):
            writer.add(np.ones((1, units)), layer="a", site="s", step=4)
    assert "layer 'a' at step 4 has [2, 3] units" in file_problem(tmp_path)


def test_a_folder_that_is_no_store(tmp_path):
    assert file_problem(tmp_path).startswith("is a folder but not a distfit_nn store, ")


def test_a_folder_that_may_not_be_looked_into(tmp_path, monkeypatch):
    real = os.stat

    def denied(path: Any, **options: Any) -> os.stat_result:
        if os.fspath(path).startswith(f"{tmp_path}{os.sep}"):
            raise PermissionError(13, "Permission denied")
        return real(path, **options)

    monkeypatch.setattr(os, "stat", denied)
    for source in (tmp_path, tmp_path / "x.npy"):
        with pytest.raises(FileError, match="Permission denied"):
            read(source)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")
@pytest.mark.parametrize("mode", [0o000, 0o400])
def test_a_folder_without_permissions(tmp_path, mode):
    with StoreWriter(tmp_path / "s") as writer:
        writer.add(np.ones((1, 1)), layer="a", site="s", step=0)
    (tmp_path / "s").chmod(mode)
    try:
        with pytest.raises(FileError, match="Permission denied"):
            read(tmp_path / "s")
    finally:
        (tmp_path / "s").chmod(0o700)


# ---- files


def test_every_kind_of_file_gives_the_same(tmp_path, rng):
    matrix = rng.normal(size=(5, 3)).astype(np.float32)
    np.save(tmp_path / "one.npy", matrix)
    np.savez(tmp_path / "two.npz", fc1=matrix, fc2=matrix[:, 0])
    np.savez_compressed(tmp_path / "three.NPZ.npz", fc1=matrix)
    save_file({"fc1": matrix, "fc2": matrix[:, 0].copy()}, tmp_path / "four.safetensors")
    torch.save(torch.tensor(matrix), tmp_path / "five.pt")
    nested = {"net": {"fc1": torch.tensor(matrix)}, "fc2": torch.tensor(matrix[:, 0])}
    torch.save(nested, tmp_path / "six.PTH")
    frame = pd.DataFrame(matrix.astype(float), columns=["a", "b", "c"])
    frame.to_csv(tmp_path / "seven.csv", index=False)
    expected = {
        "one.npy": ["one"],
        "two.npz": ["fc1", "fc2"],
        "three.NPZ.npz": ["fc1"],
        "four.safetensors": ["fc1", "fc2"],
        "five.pt": ["five"],
        "six.PTH": ["net.fc1", "fc2"],
        "seven.csv": ["seven"],
    }
    for name, wanted in expected.items():
        found = layers(str(tmp_path / name))
        assert list(found) == wanted
        np.testing.assert_array_equal(found[wanted[0]], matrix)
        if len(wanted) == 2:
            np.testing.assert_array_equal(found["fc2"], matrix[:, :1])


def test_bfloat16_in_files(tmp_path):
    tensor = torch.tensor([[1.5, -(2.0**100)]], dtype=torch.bfloat16)
    save_torch_file({"a": tensor, "b": tensor.double()}, tmp_path / "x.safetensors")
    torch.save(tensor, tmp_path / "x.pt")
    for values in (*layers(tmp_path / "x.safetensors").values(), one(tmp_path / "x.pt")):
        np.testing.assert_array_equal(values, tensor.double().numpy())


def test_unit_axis_reaches_files(tmp_path):
    images = np.arange(24.0).reshape(2, 3, 4)
    np.savez(tmp_path / "x.npz", conv=images)
    assert "layer 'conv' has shape (2, 3, 4)" in file_problem(tmp_path / "x.npz")
    np.testing.assert_array_equal(
        one(tmp_path / "x.npz", unit_axis=1), images.transpose(0, 2, 1).reshape(8, 3)
    )


def test_paths_are_checked_at_once(tmp_path):
    (tmp_path / "x.txt").write_text("1")
    for name, problem in (("none.npy", "does not exist"), ("x.txt", "is of an unknown kind")):
        with pytest.raises(FileError, match=problem):
            read(tmp_path / name)
    assert ".npy, .npz, .safetensors, .pt, .pth, .csv" in file_problem(tmp_path / "x.txt")


def test_a_checkpoint_gives_its_tensors_alone(tmp_path):
    """Counts, settings and states of random generators are beside what it is read for."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    torch.save(model.state_dict(), tmp_path / "a.pt")
    parts = ["weight", "bias", "running_mean", "running_var"]
    assert list(layers(tmp_path / "a.pt")) == ["0.weight", "0.bias", *(f"1.{p}" for p in parts)]
    checkpoint = {"epoch": 3, "a": torch.ones(2), "note": "x", "best": torch.tensor(0.5)}
    torch.save({**checkpoint, "list": [torch.ones(1), (torch.ones(3), 4)]}, tmp_path / "b.pt")
    assert list(layers(tmp_path / "b.pt")) == ["a", "list.0", "list.1.0"]
    torch.save(optimizer.state_dict(), tmp_path / "c.pt")
    assert list(layers(tmp_path / "c.pt"))[:2] == ["state.0.exp_avg", "state.0.exp_avg_sq"]
    arrays = {"n": np.array(4), "a": np.ones(2)}
    np.savez(tmp_path / "d.npz", **arrays)
    with zipfile.ZipFile(tmp_path / "d.npz", "a") as archive:
        archive.writestr("readme.txt", "not an array")
    save_file(arrays, tmp_path / "e.safetensors")
    half = {"n": torch.tensor(4, dtype=torch.bfloat16), "a": torch.ones(2)}
    save_torch_file(half, tmp_path / "f.safetensors")
    for name in ("d.npz", "e.safetensors", "f.safetensors"):
        assert list(layers(tmp_path / name)) == ["a"]
    with pytest.raises(InputError, match="layer 'n' must have shape"):
        layers(arrays)  # what is handed over in memory is meant


class Trap:
    """Unpickling this would write a file."""

    def __reduce__(self) -> Any:
        return (open, ("trapped", "w"))


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects = np.array([Trap()], dtype=object)
    np.save("a.npy", objects)
    np.savez("b.npz", good=np.ones(2), bad=objects)
    Path("c.npy").write_bytes(pickle.dumps(Trap()))
    Path("d.npz").write_bytes(pickle.dumps(Trap()))
    torch.save({"a": torch.ones(2), "b": Trap()}, "e.pt")
    Path("f.pt").write_bytes(pickle.dumps(Trap()))
    for name in ("a.npy", "b.npz"):
        assert file_problem(Path(name)).endswith(": it holds pickled objects")
    for name in ("c.npy", "d.npz", "e.pt", "f.pt"):
        assert "cannot be read as" in file_problem(Path(name))
    assert not Path("trapped").exists()


def files(folder: Path) -> dict[str, bytes]:
    """One good file of each binary kind."""
    values = np.arange(600.0).reshape(200, 3)
    np.save(folder / "x.npy", values)
    np.savez_compressed(folder / "x.npz", a=values, b=values)
    save_file({"a": values, "b": values}, folder / "x.safetensors")
    torch.save({"a": torch.tensor(values)}, folder / "x.pt")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors", "x.pt"])
@pytest.mark.parametrize("keep", [0, 1, 5, 0.3, 0.9])
def test_truncated_files(tmp_path, name, keep):
    content = files(tmp_path)[name]
    (tmp_path / name).write_bytes(
        content[: keep if isinstance(keep, int) else int(keep * len(content))]
    )
    assert f"cannot be read as {Path(name).suffix}" in file_problem(tmp_path / name)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors", "x.pt"])
def test_damaged_files_give_arrays_or_a_file_error(tmp_path_factory, name, data):
    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(files(folder)[name])
    for _ in range(data.draw(st.integers(1, 4))):
        near_the_start = data.draw(st.booleans())
        end = min(len(content), 200) if near_the_start else len(content)
        content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(content)
    found = None
    with contextlib.suppress(FileError):
        found = layers(folder / name)
    if found is None:
        assert file_problem(folder / name)
    else:
        assert all(values.ndim == 2 and values.size for values in found.values())


def test_files_of_another_kind_than_their_name_says(tmp_path):
    content = files(tmp_path)
    (tmp_path / "x.npy").write_bytes(content["x.npz"])
    (tmp_path / "x.npz").write_bytes(content["x.npy"])
    assert file_problem(tmp_path / "x.npy") == "cannot be read as .npy: it is an archive (.npz)"
    assert file_problem(tmp_path / "x.npz") == (
        "cannot be read as .npz: it is a single array (.npy)"
    )


def test_a_header_that_claims_more_than_there_is_memory_for(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (2**50,)}
    )
    (tmp_path / "x.npy").write_bytes(header.getvalue())
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue())
    assert "cannot be read as .npy" in file_problem(tmp_path / "x.npy")
    assert "cannot be read as .npz" in file_problem(tmp_path / "x.npz")


def test_files_without_arrays(tmp_path):
    np.savez(tmp_path / "x.npz")
    torch.save({}, tmp_path / "x.pt")
    save_file({}, tmp_path / "x.safetensors")
    np.savez(tmp_path / "n.npz", n=4)
    torch.save({"epoch": 3, "n": torch.tensor(4)}, tmp_path / "n.pt")
    save_file({"n": np.array(4)}, tmp_path / "n.safetensors")
    for name in ("x.npz", "x.pt", "x.safetensors", "n.npz", "n.pt", "n.safetensors"):
        assert file_problem(tmp_path / name) == "holds no arrays"


NOT_OURS = "it is no file that torch.save wrote"
OBJECTS = "it holds Python objects other than tensors, which are never loaded"


def test_what_is_wrong_with_a_torch_file_is_told_in_our_words(tmp_path):
    path = tmp_path / "x.pt"
    for legacy in (False, True):
        for content in ({"a": Trap()}, torch.nn.Linear(2, 2), {"a": np.ones(2)}):
            torch.save(content, path, _use_new_zipfile_serialization=not legacy)
            assert file_problem(path) == f"cannot be read as .pt: {OBJECTS}"
        torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=not legacy)
        assert list(layers(path)) == ["a"]
        path.write_bytes(path.read_bytes()[:-30])
        assert file_problem(path) == f"cannot be read as .pt: it is damaged, or {NOT_OURS[6:]}"
    for content in (b"", b"hello", pickle.dumps({"a": 1})):
        path.write_bytes(content)
        assert file_problem(path) == f"cannot be read as .pt: {NOT_OURS}"


@pytest.mark.parametrize("kind", [".npy", ".npz"])
def test_numpy_files_that_are_none(tmp_path, kind):
    for content in (b"", b"hello", pickle.dumps(1)):
        (tmp_path / f"x{kind}").write_bytes(content)
        assert file_problem(tmp_path / f"x{kind}") == (
            f"cannot be read as {kind}: it does not begin as such a file does"
        )


def test_what_breaks_a_rule_in_a_file_names_file_and_layer(tmp_path):
    torch.save({"net": {"fc": torch.ones(2), "no": torch.ones(0)}}, tmp_path / "a.pt")
    assert file_problem(tmp_path / "a.pt").startswith("layer 'net.no' must have rows and columns")
    torch.save(torch.tensor(3.0), tmp_path / "d.pt")
    assert file_problem(tmp_path / "d.pt").startswith("layer 'd' must have shape (n,)")
    np.save(tmp_path / "b.npy", np.array(["text"]))
    assert file_problem(tmp_path / "b.npy").startswith("layer 'b' must be an array of real")
    np.save(tmp_path / "c.npy", np.ones((0, 2)))
    assert file_problem(tmp_path / "c.npy").startswith("layer 'c' must have rows and columns")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "cannot be read as .csv: No columns to parse"),
        (b"a,b\n", "layer 'x' must have rows and columns, got shape (0, 2)"),
        (b"1.0,2.0\n3.0,4.0\n", "its first line must name the columns"),
        (b"a,b\n1,x\n", "column 'b' must hold real numbers"),
        (b"a,b\n1,2\n1,2,3,4\n", "cannot be read as .csv"),
        (b"a,\xff\xfe\n1,2\n", "cannot be read as .csv"),
        (b"a\n1+2j\n", "column 'a' must hold real numbers"),
    ],
)
def test_bad_csv(tmp_path, text, problem):
    (tmp_path / "x.csv").write_bytes(text)
    assert problem in file_problem(tmp_path / "x.csv")


def test_csv_with_missing_values(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n,inf\n")
    np.testing.assert_array_equal(one(tmp_path / "x.csv"), [[1, 2], [np.nan, np.inf]])


def test_units_of_tables_have_names(tmp_path):
    def names(source: Any, **options: Any) -> Any:
        (entry,) = read(source, **options)
        return entry.names

    frame = pd.DataFrame({"a": [1.0, 2.0], 7: [3.0, 4.0]}, index=["x", "y"])
    assert names(frame) == names({"fc": frame}) == names(frame, unit_axis=1) == ("a", "7")
    assert names(frame, unit_axis=-1) == ("a", "7")
    assert names(frame, unit_axis=0) is None  # its rows are the units
    assert names(frame["a"]) is names(frame.to_numpy()) is None
    frame.to_csv(tmp_path / "x.csv", index=False)
    assert names(tmp_path / "x.csv") == ("a", "7")
    with pytest.raises(InputError, match="the name of a column must be valid Unicode text"):
        names(frame.rename(columns={"a": "\ud800"}))


def test_a_csv_column_without_a_name_is_an_index(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}, index=["x", "y"])
    frame.to_csv(tmp_path / "x.csv")
    (entry,) = read(tmp_path / "x.csv")
    assert entry.names == ("a", "b")
    np.testing.assert_array_equal(entry.values, frame)
    pd.DataFrame(frame.to_numpy()).to_csv(tmp_path / "x.csv")  # its header is ,0,1
    np.testing.assert_array_equal(one(tmp_path / "x.csv"), frame)


def test_torch_and_pandas_are_imported_for_their_own_files_only(tmp_path):
    files(tmp_path)
    code = (
        "import sys; from distfit_nn.capture.readers import read\n"
        "for name in ('x.npy', 'x.npz', 'x.safetensors'):\n"
        "    list(read(sys.argv[1] + '/' + name))\n"
        "list(read({'a': [1.0, 2.0]}))\n"
        "assert not {'torch', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


@pytest.mark.parametrize("text", ["x,y\n1,2,3\n4,5,6\n", "x;y\n1,5;2,5\n2,5;3,1\n"])
def test_a_csv_with_more_values_than_names_is_an_error(tmp_path, text):
    path = tmp_path / "extra.csv"
    path.write_text(text)
    with pytest.raises(FileError, match="more values than its first line has names"):
        list(read(path))
