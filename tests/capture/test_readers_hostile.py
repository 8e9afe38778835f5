"""Files that are made to harm: nothing is executed, and time and memory stay bounded.

Bombs are read in a process of their own, whose memory has a limit.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import distfit_nn as dn
from distfit_nn.capture.readers import read
from distfit_nn.errors import FileError
from tests.fuzz import seeds

LIMIT = 3 << 30  # bytes of address space: torch and its libraries take half of them
SECONDS = 5.0  # of computing


def problem(path: Path, **options: Any) -> str:
    """What the error of a file says after its name: one short line."""
    with pytest.raises(FileError) as caught:
        [
            chunk
            for entry in read(path, **options)
            for part in entry.parts()
            for chunk in part.chunks()
        ]
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < len(str(path)) + 300
    return text.removeprefix(f"{path}: ")


def npy_header(**told: Any) -> bytes:
    """A header of NumPy's that says what it is told, true or not."""
    said = {"descr": "<f8", "fortran_order": False, "shape": (3,)} | told
    text = (repr(said) if "raw" not in told else told["raw"]).encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"shape": (10**18,)}, "it ends before its data do"),
        ({"shape": (2**63, 2**63)}, "it ends before its data do"),
        ({"shape": (10**18,), "fortran_order": True}, "it ends before its data do"),
        ({"shape": (10**18, 2), "descr": ">f8"}, "it ends before its data do"),
        ({"shape": (-3,)}, "its header tells of the shape (-3,)"),
        ({"shape": (3.0,)}, "its header tells of the shape"),
        ({"shape": (True,)}, "its header tells of the shape"),
        ({"shape": 3}, "its header tells of the shape"),
        ({"shape": (0,)}, "must have rows and columns"),
        ({"descr": "|O"}, "it holds pickled objects"),
        ({"descr": "O"}, "it holds pickled objects"),
        ({"descr": [("a", "<f8")]}, "must be an array of real numbers"),
        ({"descr": "<c16"}, "must be an array of real numbers, got dtype complex128"),
        ({"descr": "nonsense"}, "its header is damaged"),
        ({"descr": "V" + "9" * 30}, "its header is damaged"),
        ({"fortran_order": 1}, "its header is damaged"),
        ({"raw": "[" * 5000}, "its header is damaged"),
        ({"raw": "__import__('os').system('touch trapped')"}, "its header is damaged"),
        ({"raw": " " * 20_000}, "its header is said to have 20000 bytes"),
        ({"raw": "{}"}, "its header is damaged"),
    ],
)
def test_npy_headers_that_lie(tmp_path, monkeypatch, told, expected):
    monkeypatch.chdir(tmp_path)
    content = npy_header(**told) + bytes(24 * (told.get("shape") != (0,)))
    (tmp_path / "x.npy").write_bytes(content)
    assert expected in problem(tmp_path / "x.npy")
    (tmp_path / "x.npz").write_bytes(seeds.archive({"x.npy": content}))
    assert expected.replace("it ends", "ends") in problem(tmp_path / "x.npz")
    assert not Path("trapped").exists()


def test_the_header_of_a_later_version_may_claim_gigabytes(tmp_path):
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100))
    assert "its header is said to have 4294967295 bytes" in problem(tmp_path / "x.npy")


# ---- bombs


def grown(members: dict[str, bytes], name: str) -> bytes:
    """An archive one of whose members is said to have two GiB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for member, content in members.items():
            file.writestr(member, content)
    content = bytearray(buffer.getvalue())
    start, at = content.index(b"PK\x01\x02"), content.rindex(name.encode())
    at = content.rindex(b"PK\x01\x02", start, at)
    content[at + 24 : at + 28] = struct.pack("<I", 2**31)
    return bytes(content)


def bomb_in_npz(path: Path) -> None:
    """Zeros without end, as compress well, behind a header that tells so."""
    path.write_bytes(grown({"a.npy": npy_header(shape=(1 << 28,)) + bytes(1 << 20)}, "a.npy"))


def nested_in_torch(path: Path) -> None:
    """Lists of the same list: few bytes, a billion tensors."""
    content: Any = torch.ones(1)
    for _ in range(9):
        content = [content] * 10
    torch.save(content, path)


def loop_in_torch(path: Path) -> None:
    content: list[Any] = []
    content.append(content)
    torch.save(content, path)


def view_in_torch(path: Path) -> None:
    torch.save({"a": torch.ones(1).expand(1 << 40)}, path)


def bomb_in_torch(path: Path) -> None:
    """A storage that its archive holds compressed."""
    torch.save({"a": torch.zeros(1 << 10)}, path)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    path.write_bytes(grown(members, "/data/0"))


def overlapping_zip(path: Path) -> None:
    """Many members that are the same bytes of the file."""
    content = bytearray(seeds.archive({"a.npy": npy_header(shape=(1 << 20,)) + bytes(8 << 20)}))
    at = content.index(b"PK\x01\x02")
    directory = bytes(content[at : content.index(b"PK\x05\x06")])
    end = content[content.index(b"PK\x05\x06") :]
    count = 1000
    end[8:12] = struct.pack("<2H", count, count)
    end[12:16] = struct.pack("<I", count * len(directory))
    path.write_bytes(bytes(content[:at]) + directory * count + bytes(end))


def million_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", b"")
    content = path.read_bytes()
    at, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    directory = content[at:end] * 1_500_000
    wide = struct.pack(
        "<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1_500_000, 1_500_000, len(directory), at
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at + len(directory), 1)
    last = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(content[:at] + directory + wide + locator + last)


def million_tensors(path: Path) -> None:
    one = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    header = b"{" + b",".join(one % number for number in range(400_000)) + b"}"
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def header_of_lists(path: Path) -> None:
    header = b"[" + b"[]," * (10 << 20) + b"[]]"
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def nested_header(path: Path) -> None:
    header = b'{"a":' * 500_000
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def million_columns(path: Path) -> None:
    path.write_text(",".join(f"c{number}" for number in range(1_000_000)) + "\n" + "1," * 999_999)


def one_long_line(path: Path) -> None:
    path.write_bytes(b"a" * (64 << 20))


def huge_field(path: Path) -> None:
    path.write_bytes(b"a,b\n1," + b"7" * (64 << 20) + b"\n")


BOMBS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "npz": ("x.npz", bomb_in_npz, "more than a hundredfold"),
    "torch, nested": ("x.pt", nested_in_torch, "holds more than 100,000 arrays"),
    "torch, loop": ("x.pt", loop_in_torch, "nested more than 100 deep"),
    "torch, view": ("x.pt", view_in_torch, "more than a hundredfold"),
    "torch, packed": ("x.pt", bomb_in_torch, "cannot be read as .pt"),
    "overlapping": ("x.npz", overlapping_zip, "lie over one another"),
    "members": ("x.npz", million_members, "too many members"),
    "tensors": ("x.safetensors", million_tensors, "more than 100,000"),
    "lists": ("x.safetensors", header_of_lists, "more than 1,000,000 lists and objects"),
    "nested": ("x.safetensors", nested_header, "cannot be read as .safetensors"),
    "columns": ("x.csv", million_columns, "it has 1,000,000 columns, more than 100,000"),
    "line": ("x.csv", one_long_line, "its first line is longer than 16 MiB"),
    "field": ("x.csv", huge_field, "cannot be read as .csv|must hold real numbers"),
}  # fmt: skip

CHILD = textwrap.dedent(
    """
    import resource, sys, time
    from distfit_nn.capture.readers import read
    from distfit_nn.errors import FileError
    limit, *paths = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
    if paths[0].endswith("pt"):
        import torch
    elif paths[0].endswith("csv"):
        import pandas
    for path in paths:
        start = time.process_time()
        try:
            for entry in read(path):
                entry.values
        except FileError as error:
            print(time.process_time() - start, error)
    """
)


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors", ".csv"])
def test_bombs_are_refused_in_bounded_time_and_memory(tmp_path, suffix):
    expected = {}
    for number, (name, make, told) in enumerate(BOMBS.values()):
        if name.endswith(suffix):
            path = tmp_path / f"{number}{name}"
            make(path)
            expected[str(path)] = told
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD, str(LIMIT), *expected],
        capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for (path, words), line in zip(expected.items(), done.stdout.splitlines(), strict=True):
        seconds, told = line.split(" ", 1)
        assert told.startswith(f"{path}: ")
        assert any(word in told for word in words.split("|")), told
        assert len(told) < len(path) + 300
        assert float(seconds) < SECONDS, told


# ---- what would execute, or lead elsewhere


class Trap:
    """Unpickling this would write a file."""

    def __reduce__(self) -> Any:
        return (open, ("trapped", "w"))


def test_pickles_are_never_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trap = pickle.dumps(Trap())
    objects = io.BytesIO()
    np.save(objects, np.array([Trap()], object))
    for name, content in {
        "a.npy": objects.getvalue(),
        "b.npy": trap,
        "a.npz": seeds.archive({"a.npy": objects.getvalue()}),
        "b.npz": seeds.archive({"a.npy": trap}),
        "a.pt": trap,
        "b.pt": seeds.archive({"x/data.pkl": trap, "x/version": b"3\n", "x/byteorder": b"little"}),
        "a.pth": b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + trap * 3,
        "a.h5": trap,
        "a.parquet": trap,
        "a.csv": trap,
        "a.tfevents": trap,
        "a.zip": trap,
        "a.safetensors": trap,
    }.items():
        Path(name).write_bytes(content)
        assert problem(Path(name)), name
    assert not Path("trapped").exists()


def test_names_that_lead_out_of_an_archive_write_nothing(tmp_path):
    content = io.BytesIO()
    np.save(content, np.ones(3))
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "x.npz"
    names = ["../out", "/etc/out", "a/../../out", "C:\\out"]
    path.write_bytes(seeds.archive({f"{name}.npy": content.getvalue() for name in names}))
    found = dn.analyze(path).layers["layer"].tolist()
    assert len(found) == 4
    assert found[0] == "../out"  # a name like any other
    assert [file.name for file in tmp_path.rglob("*")] == ["in", "x.npz"]


def test_links_and_what_is_no_file(tmp_path):
    np.save(tmp_path / "x.npy", np.ones(3))
    (tmp_path / "link.npy").symlink_to(tmp_path / "x.npy")
    assert next(read(tmp_path / "link.npy")).rows == 3  # a link that was given is followed
    (tmp_path / "gone.npy").symlink_to(tmp_path / "none")
    (tmp_path / "loop.npy").symlink_to("loop.npy")
    (tmp_path / "folder.npy").mkdir()
    os.mkfifo(tmp_path / "pipe.npy")
    for name, told in {
        "gone.npy": "does not exist",
        "loop.npy": "symbolic links",
        "folder.npy": "is a folder but not a distfit_nn store",
        "pipe.npy": "is no regular file",
    }.items():
        assert told in problem(tmp_path / name)
    (tmp_path / "null.npy").symlink_to("/dev/null")
    assert problem(tmp_path / "null.npy") == "is no regular file"
    with pytest.raises(FileError, match="does not exist"):
        read("x\0.npy")


def test_names_of_layers_are_data(tmp_path):
    """They are shown as they are, and nothing in them is a command to a browser."""
    names = ["<script>alert(1)</script>", "", " ", "a\nb", "../up", "nan", "\u202eabc", "x" * 5000]
    arrays = {name: np.random.default_rng(0).normal(size=(20, 2)) for name in names}
    from safetensors.numpy import save_file

    save_file(arrays, tmp_path / "x.safetensors")
    analysis = dn.analyze(tmp_path / "x.safetensors")
    assert sorted(analysis.layers["layer"]) == sorted(names)
    page = analysis.to_html(tmp_path / "out" / "report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert sorted(file.name for file in tmp_path.rglob("*")) == [
        "out", "report.html", "x.safetensors",
    ]  # fmt: skip


def test_names_that_are_there_twice(tmp_path):
    content = io.BytesIO()
    np.save(content, np.ones(3))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("a.npy", content.getvalue())
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a.npy", content.getvalue())
    assert "holds two arrays of the name 'a'" in problem(tmp_path / "x.npz")
    torch.save({"a.b": torch.ones(2), "a": {"b": torch.ones(2)}}, tmp_path / "x.pt")
    assert "holds two arrays of the name 'a.b'" in problem(tmp_path / "x.pt")
    told = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = b"{" + told + b"," + told + b"}"
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert "it names 'a' twice" in problem(path)


def test_tensors_that_lie_over_one_another(tmp_path):
    told = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": told, "b": told}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    assert "its tensors lie over one another" in problem(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a,b\n1,\x002\n", "bytes that are no text (NUL)"),
        (b"a;b\n1,5;2,5\n", "more values than its first line has names"),
        (b"a;b\n1;2\n", "column 'a;b' must hold real numbers"),
        (b'a,b\n"1,5","2,5"\n', "must hold real numbers"),
        (b"a,b\n1,2\n1,2,3\n", "cannot be read as .csv|more values"),
        (b"\xff\xfea\x00", "bytes that are no text"),
        (b"\x89PNG\r\n\x1a\n", "cannot be read as .csv|must"),
        (b"a" * 5000 + b",b\nx,y\n", "must hold real numbers"),
        (b'a,b\n"1,2\n3,4\n', "cannot be read as .csv"),
        (b"\n\n\n", "No columns"),
    ],
)
def test_text_that_is_no_table_of_numbers(tmp_path, text, told):
    (tmp_path / "x.csv").write_bytes(text)
    found = problem(tmp_path / "x.csv")
    assert any(words in found for words in told.split("|")), found


def test_a_million_layers_are_refused_before_one_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("distfit_nn.capture.readers.limits.MOST_LAYERS", 3)
    monkeypatch.setattr("distfit_nn.capture.readers.reading.MOST_LAYERS", 3)
    content = io.BytesIO()
    np.save(content, np.ones(3))
    (tmp_path / "x.npz").write_bytes(
        seeds.archive({f"{number}.npy": content.getvalue() for number in range(4)})
    )
    torch.save([torch.ones(2)] * 4, tmp_path / "x.pt")
    for name in ("x.npz", "x.pt"):
        entries = read(tmp_path / name)
        with pytest.raises(FileError, match="it holds more than 3 arrays"):
            next(entries)


def test_an_archive_of_a_hundred_megabytes_is_read_in_pieces(tmp_path, rng, monkeypatch):
    """With any size for large: the pieces are those of the whole."""
    x = rng.normal(size=(100, 7))
    np.savez_compressed(tmp_path / "x.npz", a=x, b=x[:, 0], c=x.reshape(10, 10, 7))
    monkeypatch.setattr("distfit_nn.capture.readers.arrays._SMALL", 100)
    pieces = {entry.layer: entry.pieces[0] for entry in read(tmp_path / "x.npz", unit_axis=-1)}
    assert [type(piece).__name__ for piece in pieces.values()] == ["Span", "Span", "Held"]
    np.testing.assert_array_equal(pieces["a"].cut(90, 95).read(), x[90:95])
    np.testing.assert_array_equal(pieces["a"].cut(3, 95).read(), x[3:95])
    chunks = list(pieces["b"].chunks(33))
    np.testing.assert_array_equal(np.concatenate(chunks), x[:, :1])
    np.testing.assert_array_equal(pieces["c"].read(), x)
