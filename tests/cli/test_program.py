"""The program `distfit-nn`, as a process where that matters."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch

from distfit_nn.cli import schemas


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "distfit_nn.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_analyze_prints_layers_and_keeps_progress_apart(call, array):
    code, out, err = call("analyze", array)
    assert code == 0
    assert out.splitlines()[0].split()[:4] == ["layer", "site", "step", "units"]
    assert out.splitlines()[1].split()[:4] == ["acts", "values", "0", "4"]
    assert re.fullmatch(r"analyzed 1 recording, 300 rows, 9\.6 kB in \S+ s \(.+/s\)\n", err)


def test_analyze_json_and_csv(call, array, tmp_path):
    code, out, err = call("analyze", array, "--json", "--quiet", "--csv", tmp_path / "u.csv")
    assert (code, err) == (0, "")
    assert len(json.loads(out)["units"]) == 4
    assert len((tmp_path / "u.csv").read_text().splitlines()) == 5


@pytest.fixture
def padded(tmp_path, rng):
    """Values (3, 50, 4) of which the last 20 of each 50 are padding, and their mask."""
    x, mask = rng.normal(size=(3, 50, 4)), np.ones((3, 50), int)
    x[:, 30:], mask[:, 30:] = 0, 0
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "mask.npy", mask)
    return tmp_path


def test_a_mask_leaves_padding_out(call, padded):
    mask = ["--unit-axis", 2, "--mask", padded / "mask.npy"]
    layer = json.loads(call("analyze", padded / "x.npy", "--json", "-q", *mask)[1])["layers"][0]
    assert (layer["rows"], layer["zero_fraction"]) == (90, 0)
    assert call("check", padded / "x.npy", "--max-zero", 0.1, "-q", "--unit-axis", 2)[0] == 1
    assert call("check", padded / "x.npy", "--max-zero", 0.1, "-q", *mask)[0] == 0
    np.save(padded / "words.npy", np.full((3, 50), "a"))
    np.save(padded / "pickled.npy", np.array([{}]), allow_pickle=True)
    for wrong, said in (
        ("missing.npy", "missing.npy: cannot be read"),
        ("words.npy", "mask must be an array of real numbers"),
        ("x.npy", "mask must be an array of True and False, or of 1 and 0"),
        ("pickled.npy", "pickled.npy: cannot be read as .npy"),
    ):
        code, out, err = call("analyze", padded / "mask.npy", "--mask", padded / wrong)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert said in err


def test_fit_json_gives_the_density(call, array):
    code, out, _ = call("fit", array, "--order", 2, "--json", "-q", "--support=-9,9")
    assert code == 0
    unit = json.loads(out)["units"][0]
    x = np.load(array)[:, 0]
    assert unit["status"] == "ok"
    assert unit["support"] == pytest.approx([-9, 9])
    # Order 2 on a wide support is the normal density: H = log(2 pi e var) / 2.
    assert unit["entropy"] == pytest.approx(np.log(2 * np.pi * np.e * x.var()) / 2, abs=1e-9)


def test_report_prints_its_path(call, array, tmp_path):
    page = tmp_path / "deep" / "page.html"
    code, out, _ = call("report", array, "-o", page, "-q")
    assert (code, out) == (0, f"{page}\n")
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def bad_files(folder):
    (folder / "empty").mkdir()
    np.save(folder / "pickled.npy", np.array([{}, None]), allow_pickle=True)
    np.save(folder / "cube.npy", np.zeros((2, 2, 2)))
    np.save(folder / "complex.npy", np.zeros(3, complex))
    np.save(folder / "rowless.npy", np.zeros((0, 3)))
    whole = (folder / "cube.npy").read_bytes()
    (folder / "cut.npy").write_bytes(whole[:-8])
    (folder / "cut.safetensors").write_bytes(b"\xff" * 20)
    (folder / "what.xyz").write_text("?")
    names = "empty pickled.npy cube.npy complex.npy rowless.npy cut.npy cut.safetensors what.xyz"
    return [*names.split(), "missing"]


@pytest.mark.parametrize("command", ["analyze", "fit", "report"])
def test_bad_input_is_one_line_and_exit_2(call, tmp_path, command):
    for name in bad_files(tmp_path):
        extra = ["-o", tmp_path / "page.html"] if command == "report" else []
        code, out, err = call(command, tmp_path / name, *extra)
        assert code == 2, name
        assert out == "", name
        assert err.startswith("distfit-nn: "), name
        assert name in err, name
        assert err.count("\n") == 1, err
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["analyze"],
        ["nonsense"],
        ["analyze", "x.npy", "--bogus"],
        ["analyze", "x.npy", "--order", "three"],
        ["fit", "x.npy", "--support", "1,2,3"],
        ["fit", "x.npy", "--support", "wide"],
    ],
)
def test_bad_usage_is_exit_2(call, arguments):
    code, out, err = call(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("distfit-nn: ")
    assert err.count("\n") == 1


def test_odd_columns_are_counted_not_fatal(call, tmp_path, rng):
    x = rng.normal(size=(50, 4))
    x[:, 1], x[:, 2], x[3, 3] = np.nan, 1.0, np.inf
    np.save(tmp_path / "odd.npy", x)
    code, out, _ = call("fit", tmp_path / "odd.npy", "-q", "--json")
    statuses = [unit["status"] for unit in json.loads(out)["units"]]
    assert (code, statuses) == (0, ["ok", "invalid", "degenerate", "ok"])


def test_names_cannot_steer_the_terminal(call, tmp_path, rng):
    np.savez(tmp_path / "names.npz", **{"\x1b[31mred\n": rng.normal(size=20)})
    _, out, err = call("analyze", tmp_path / "names.npz")
    assert "\x1b" not in out + err
    assert len(out.splitlines()) == 2


def test_as_a_process():
    version = run("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.strip() == "0.1.0"
    wrong = run("nonsense")
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_demo_records_live_and_reports(call, tmp_path, monkeypatch):
    monkeypatch.setattr("distfit_nn.demo.STEPS", 2)
    monkeypatch.setattr("distfit_nn.demo.EVERY", 1)
    seen = []

    def written(analysis, path):
        seen.extend(analysis.layers["step"])
        return path

    monkeypatch.setattr("distfit_nn.analysis.Analysis.to_html", written)
    before = torch.get_num_threads()
    code, out, err = call("demo", "--output", tmp_path / "demo")
    assert (code, out) == (0, f"{tmp_path / 'demo' / 'report.html'}\n")
    assert err.splitlines()[0].startswith("step 0: loss ")
    assert "test accuracy" in err
    assert set(seen) == {0, 1}
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_demo(tmp_path):
    done = run("demo", "--output", tmp_path / "demo", "--json", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    jsonschema.validate(result, schemas.load("demo"))
    assert result["test_accuracy"] > 0.85
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert "norm1" in page


@pytest.mark.slow
def test_demo_runs_again_in_the_same_place(tmp_path):
    for _ in range(2):
        assert run("demo", "--output", tmp_path / "demo", "-q").returncode == 0
    assert len(list((tmp_path / "demo" / "run").iterdir())) == 2  # one shard and the manifest


def _kept(folder):
    """Return what a file system tells of the files, but for when they were read."""
    found = {path: path.lstat() for path in folder.iterdir()}
    return {
        path: (one.st_mode, one.st_ino, one.st_size, one.st_mtime_ns) for path, one in found.items()
    }


@pytest.mark.parametrize("target", ["folder", "", "pipe", "source.npy"])
def test_what_is_there_is_not_replaced(call, tmp_path, rng, target):
    """A folder, a device or pipe, and the source itself are refused and stay as they are."""
    np.save(tmp_path / "source.npy", rng.normal(size=(9, 2)))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = _kept(tmp_path)
    path = tmp_path / target if target else ""
    code, out, err = call("report", tmp_path / "source.npy", "-q", "-o", path)
    assert (code, out) == (2, "")
    assert err.startswith("distfit-nn: ")
    assert err.count("\n") == 1
    assert _kept(tmp_path) == before


def test_a_link_is_followed(call, array, tmp_path):
    (tmp_path / "real.html").write_text("old")
    (tmp_path / "link.html").symlink_to(tmp_path / "real.html")
    code, out, _ = call("report", array, "-q", "-o", tmp_path / "link.html")
    assert (code, out) == (0, f"{tmp_path / 'link.html'}\n")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "real.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_reader_that_stops_early_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "distfit_nn.cli", "config", "--json"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_a_full_disk_is_one_line():
    command = [sys.executable, "-m", "distfit_nn.cli", "config", "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == ("distfit-nn: cannot write to standard output: No space left on device\n")


def test_interrupted(monkeypatch, call, array):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("distfit_nn.analysis.analyze", stop)
    code, out, err = call("analyze", array)
    assert (code, out) == (130, "")
    assert err.strip() == "distfit-nn: interrupted"


def test_a_long_name_is_cut_in_the_table_only(call, tmp_path, rng):
    np.savez(tmp_path / "names.npz", **{"n" * 500: rng.normal(size=20)})
    _, out, _ = call("analyze", tmp_path / "names.npz", "-q")
    assert max(map(len, out.splitlines())) < 300
    _, out, _ = call("analyze", tmp_path / "names.npz", "-q", "--json")
    assert json.loads(out)["layers"][0]["layer"] == "n" * 500


@pytest.mark.parametrize("as_json", [False, True])
def test_a_terminal_without_unicode(tmp_path, as_json):
    path = tmp_path / "größe.toml"
    path.write_text("[tool.distfit_nn]\n")
    command = [sys.executable, "-m", "distfit_nn.cli", "--config", str(path), "config"]
    done = subprocess.run(
        [*command, *(["--json"] if as_json else [])],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=True,
    )
    if as_json:
        assert json.loads(done.stdout)["file"] == str(path)
    else:
        assert rb"gr\xf6\xdfe.toml" in done.stdout.splitlines()[0]


def test_a_store_is_not_written_into(call, tmp_path, sample_store):
    store = tmp_path / "run"
    shutil.copytree(sample_store, store)
    before = (store / "manifest.json").read_bytes()
    for command, option in (("report", "-o"), ("analyze", "--csv")):
        code, out, err = call(command, store, "-q", option, store / "manifest.json")
        assert (code, out) == (2, "")
        assert "must not be the source" in err
    assert (store / "manifest.json").read_bytes() == before


def test_a_wrong_order_is_said_before_anything_else(call, array):
    for command in ("analyze", "fit", "report"):
        code, out, err = call(command, array, "--order", 13)
        assert (code, out) == (2, "")
        assert err == "distfit-nn: order must be a whole number from 1 to 12, got 13\n"


@pytest.fixture
def moved(tmp_path, array):
    """The array, but for its last unit."""
    path = tmp_path / "later.npy"
    np.save(path, np.load(array) + np.array([0, 0, 0, 2]))
    return path


def test_compare_prints_effects_of_layers(call, array, moved):
    code, out, err = call("compare", array, moved)
    assert code == 0
    header, row = (line.split() for line in out.splitlines())
    assert header[:4] == ["layer", "site", "before", "after"]
    assert out.index("distance (sd)") < out.index(" q ")
    assert row[:6] == ["acts", "->", "later", "values", "0", "0"]
    assert err.startswith("compared 2 recordings, 600 rows, 19.2 kB in ")


def test_compare_json_and_csv(call, array, moved, tmp_path):
    options = ["--json", "-q", "--csv", tmp_path / "u.csv", "--permutations", 19, "--paired"]
    code, out, err = call("compare", array, moved, *options)
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert (content["permutations"], content["paired"]) == (19, True)
    assert [unit["shift"] > 1 for unit in content["units"]] == [False, False, False, True]
    assert len((tmp_path / "u.csv").read_text().splitlines()) == 5


def test_compare_steps_of_a_store(call, small_store):
    code, out, err = call("compare", small_store, "--steps", "0,7", "-q")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1 + 6
    for steps in ("0", "a,b", "0,1,2", "first"):
        code, out, err = call("compare", small_store, "--steps", steps)
        assert (code, out) == (2, "")
        assert err == f"""distfit-nn: --steps must be A,B or "same", got {steps!r}\n"""


def test_compare_tells_what_it_leaves_out(call, tmp_path, rng):
    x = rng.normal(size=(30, 2))
    np.savez(tmp_path / "one.npz", a=x, b=x)
    np.savez(tmp_path / "other.npz", b=x, c=x)
    arguments = ["compare", tmp_path / "one.npz", tmp_path / "other.npz"]
    code, out, err = call(*arguments, "--permutations", 19)
    assert (code, len(out.splitlines())) == (0, 2)
    assert err.splitlines()[1:] == [
        "not compared: a values is not in the second source",
        "not compared: c values is not in the first source",
        "19 permutations are too few for q < 0.05: --permutations 21",
    ]
    assert call(*arguments, "--quiet")[2] == ""


def test_compare_bad_input_is_one_line_and_exit_2(call, array, tmp_path):
    for name in bad_files(tmp_path):
        for pair in ([array, tmp_path / name], [tmp_path / name, array]):
            code, out, err = call("compare", *pair, "-q")
            assert (code, out) == (2, ""), name
            assert name in err, name
            assert err.count("\n") == 1, err
    for wrong in (["--permutations", 0], ["--alpha", 2], ["--steps", "0,0"], ["--csv", array], []):
        code, out, err = call("compare", array, *wrong)
        assert (code, out) == (2, ""), wrong
        assert err.startswith("distfit-nn: ")
        assert err.count("\n") == 1


@pytest.mark.parametrize("module", ["distfit_nn", "distfit_nn.cli"])
def test_the_package_runs_as_the_program(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{version('distfit-nn')}\n"


def test_defaults_are_those_of_python():
    from distfit_nn.advice.suggestion import suggest
    from distfit_nn.cli import measuring

    wanted = inspect.signature(suggest).parameters
    given = inspect.signature(measuring.suggest).parameters
    shared = [name for name in given if name in wanted and name != "source"]
    assert "tolerance" in shared
    assert {n: given[n].default for n in shared} == {n: wanted[n].default for n in shared}
