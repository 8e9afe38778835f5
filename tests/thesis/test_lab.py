"""What all scripts rest on: data, runs that are kept, findings, results, the page."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.thesis import tasks


def images(rows: int = 12, shape: tuple[int, ...] = (28, 28)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (rows, *shape), dtype=np.uint8)
    y = rng.integers(0, 10, rows)
    return {"x_train": x, "y_train": y, "x_test": x[:5], "y_test": y[:5]}


def offline(*_: Any, **__: Any) -> None:
    """Stand for fetch_openml where there is no network."""
    raise OSError("no route to host")


# Data


def test_files_are_known_by_their_images_and_standardised(tmp_path: Path) -> None:
    from lab import data

    np.savez(tmp_path / "a.npz", **images())
    np.savez(tmp_path / "b.npz", **images(18, (3, 32, 32)))
    source = data.find("cifar10", [tmp_path])
    assert Path(str(source.path)).name == "b.npz"
    found = data.images(source)
    assert found.shape == (3, 32, 32)
    assert (len(found.train), len(found.validation), len(found.test)) == (15, 3, 5)
    whole = np.concatenate([found.train.pixels, found.validation.pixels])
    np.testing.assert_allclose(whole.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(whole.std((0, 2, 3)), 1, atol=1e-3)


def test_the_digest_is_of_the_values_not_of_the_file(tmp_path: Path) -> None:
    from lab import data

    one, other = tmp_path / "one.npz", tmp_path / "other.npz"
    np.savez(one, **images())
    np.savez_compressed(other, **images())
    assert data.find("mnist", [one]).digest == data.find("mnist", [other]).digest
    changed = images()
    changed["y_test"] = changed["y_test"][::-1].copy()
    np.savez(other, **changed)
    assert data.find("mnist", [one]).digest != data.find("mnist", [other]).digest


def test_data_that_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn.datasets
    from lab import data
    from lab.errors import LabError

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", offline)
    with pytest.raises(LabError, match=r"--data PATH.*mnist_784.*OpenML.*no route.*--quick"):
        data.find("mnist", [])


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda path: path.write_bytes(b"not a zip"), "is no .npz file"),
        (lambda path: np.savez(path, x_test=images()["x_test"]), "has no x_train, y_train, y_test"),
        (
            lambda path: np.savez(path, **{**images(), "x_train": np.array([{}], object)}),
            "are no numbers",
        ),
        (
            lambda path: np.savez(
                path,
                **{
                    key: value[:, :9] if value.ndim == 3 else value
                    for key, value in images().items()
                },
            ),
            r"Of --data, .*mnist.npz has images \(9, 28\)",
        ),
        (
            lambda path: np.savez(path, **{**images(), "y_train": np.zeros(3)}),
            r"y_train \(n,\), got \(12, 28, 28\) and \(3,\)",
        ),
    ],
)
def test_a_file_that_is_not_what_it_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, says: str
) -> None:
    import sklearn.datasets
    from lab import data
    from lab.errors import LabError

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", offline)
    path = tmp_path / "mnist.npz"
    write(path)
    with pytest.raises(LabError, match=says):
        data.find("mnist", [path])


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    from lab import data
    from lab.errors import LabError

    with pytest.raises(LabError, match="no file or folder"):
        data.find("mnist", [tmp_path / "missing"])


# Runs


def marks(folder: Path) -> dict[str, int]:
    return {path.name: len(path.read_text()) for path in sorted(folder.glob("ran-*"))}


@pytest.mark.parametrize("jobs", [1, 2])
def test_runs_are_kept_and_the_rest_goes_on(tmp_path: Path, jobs: int) -> None:
    from lab import runs

    def each(*numbers: int) -> list[int]:
        settings = [tasks.Counted(number, str(tmp_path)) for number in numbers]
        found = runs.each(tasks.square, settings, None, jobs=jobs, folder=tmp_path / "runs")
        return [run.result["square"] for run in found]

    assert each(3, 4) == [9, 16]
    assert each(4, 5, 3, 6) == [16, 25, 9, 36]
    assert marks(tmp_path) == {f"ran-{number}": 1 for number in (3, 4, 5, 6)}


def test_what_was_stopped_goes_on(tmp_path: Path) -> None:
    from lab import runs

    settings = [tasks.Counted(number, str(tmp_path)) for number in (1, 2, -1, 3)]
    with pytest.raises(KeyboardInterrupt):
        runs.each(tasks.square, settings, None, jobs=1, folder=tmp_path / "runs")
    runs.each(tasks.square, settings[:2], None, jobs=1, folder=tmp_path / "runs")
    assert marks(tmp_path) == {"ran-1": 1, "ran-2": 1, "ran--1": 1}


@pytest.mark.parametrize("damage", ['{"task": "x", "resu', "[]", "{}"])
def test_a_damaged_run_is_run_again(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from lab import runs

    settings = [tasks.Counted(2, str(tmp_path))]
    for _ in range(2):
        found = runs.each(tasks.square, settings, None, jobs=1, folder=tmp_path / "runs")
        assert found[0].result["square"] == 4
        for path in (tmp_path / "runs").glob("*.json"):
            path.write_text(damage)
    assert "is damaged: it is run again" in capsys.readouterr().err
    assert marks(tmp_path) == {"ran-2": 2}


def test_a_folder_that_cannot_be_is_told_at_once(tmp_path: Path) -> None:
    from lab import runs
    from lab.errors import LabError

    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match="cannot be a folder"):
        runs.each(tasks.square, [], None, jobs=1, folder=tmp_path / "file")
    with pytest.raises(LabError, match="cannot be a folder"):
        written(tmp_path / "file")


def test_a_stopped_script_takes_its_processes_with_it(tmp_path: Path, lab: Path) -> None:
    run = subprocess.Popen(
        [
            sys.executable,
            "-c",
            STOPPED.format(lab=str(lab), top=str(lab.parents[1]), at=str(tmp_path)),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        if marks(tmp_path):
            break
        time.sleep(0.1)
    run.terminate()
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert said.strip().endswith("the same command goes on")


STOPPED = """
import sys; sys.path[:0] = [{lab!r}, {top!r}]
from pathlib import Path
from lab import runs, script
from tests.thesis import tasks
def main():
    at = Path({at!r})
    settings = [tasks.Counted(number, str(at)) for number in range(1, 200)]
    runs.each(tasks.slow, settings, None, jobs=1, folder=at / "runs")
script.run(main)
"""


def test_runs_are_known_by_setting_and_data() -> None:
    from lab import runs
    from lab.data import Source

    one = tasks.Counted(1, "a")
    keys = {
        runs.key(tasks.square, one, None),
        runs.key(tasks.square, tasks.Counted(2, "a"), None),
        runs.key(tasks.square, one, Source("mnist", "/a", "11")),
        runs.key(tasks.square, one, Source("mnist", "/a", "12")),
    }
    assert len(keys) == 4
    moved = Source("mnist", "/elsewhere", "11")
    assert runs.key(tasks.square, one, moved) in keys


SCRIPT = """
from functools import cache
RATE = {rate}
def unused(): return {unused}
@cache
def helper(x): return {helper}
def draw(): return {unused}
def task(setting, source): return {{"y": [helper(RATE) for _ in range(2)], "z": setting.draw}}
"""


def script(folder: Path, **parts: object) -> ModuleType:
    """Write and import a module with a task."""
    import importlib

    path = folder / "written.py"
    path.write_text(SCRIPT.format(**{"rate": 1, "unused": 0, "helper": "x + 1", **parts}))
    sys.modules.pop("written", None)
    importlib.invalidate_caches()
    import linecache

    linecache.clearcache()
    module = importlib.import_module("written")
    return importlib.reload(module)


@pytest.mark.parametrize(
    ("change", "same"),
    [({"unused": 7}, True), ({"rate": 20}, False), ({"helper": "x + 20"}, False)],
)
def test_runs_are_known_by_what_the_task_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], same: bool
) -> None:
    from lab import runs

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(runs, "HOME", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = runs.source_text(script(tmp_path).task)
    after = runs.source_text(script(tmp_path, **change).task)
    assert (before == after) is same


def test_a_training_is_the_same_each_time() -> None:
    from lab import data, training

    source = data.find("digits")
    setting = training.Setting("BatchNorm", 0.05, seed=3, samples=(500, 1000))
    one, other = (training.train(setting, source) for _ in range(2))
    assert one.pop("seconds") > 0
    other.pop("seconds")
    assert one == other
    assert one["test_accuracy"][-1] > 70


def test_the_best_rate_is_that_of_the_mean_and_never_one_that_failed() -> None:
    from lab import training

    def run(rate: float, seed: int, value: float | None) -> tuple[Any, dict[str, Any]]:
        return training.Setting("Copula", rate, seed), {"validation_accuracy": [99.0, value]}

    runs = [run(0.1, 0, 90), run(0.1, 1, 92), run(0.2, 0, 95), run(0.2, 1, 80), run(0.3, 0, None)]
    runs += [run(0.4, 0, math.nan)]
    assert training.best_rates(runs) == {"Copula": 0.1}


# Findings and results


def finding(**changes: Any) -> Any:
    from lab.findings import Finding

    given = {
        "claim": "A < B & C",
        "source": "slides",
        "holds": True,
        "text": "It is {a:.1f}% of {b}.",
        "numbers": {"a": "table/x/0", "b": "table/x/-1"},
        "figure": "drawn",
    }
    return Finding(**{**given, **changes})


NUMBERS = {"table": {"x": [12.34, 5]}}


@pytest.mark.parametrize(
    ("holds", "condition", "verdict"),
    [
        (True, "when", "holds"),
        (False, "when", "holds under conditions"),
        (False, "", "does not hold"),
        (None, "", "not decided"),
    ],
)
def test_verdicts(holds: bool | None, condition: str, verdict: str) -> None:
    described = finding(holds=holds, condition=condition).described(NUMBERS)
    assert described["verdict"] == verdict
    assert bool(described["condition"]) is (verdict == "holds under conditions")
    assert described["text"] == "It is 12.3% of 5."


@pytest.mark.parametrize("path", ["table/y/0", "table/x/7", "table/x/0/0"])
def test_a_finding_without_its_number_is_refused(path: str) -> None:
    from lab.errors import LabError

    with pytest.raises(LabError, match="nothing at"):
        finding(numbers={"a": path, "b": "table/x/1"}).described(NUMBERS)


def test_numbers_become_plain() -> None:
    from lab.findings import plain

    mixed = {1: (np.float32(0.1), np.int64(3)), "x": np.array([[1.23456789, np.inf]]), "n": None}
    assert plain(mixed) == {"1": [0.1, 3], "x": [[1.23457, None]], "n": None}


def written(folder: Path, overwrite: bool = False, **settings: Any) -> Path:
    """Write results of one finding and one figure."""
    from lab.results import Clock, Results

    given = {"quick": False, "seeds": 2, **settings}
    results = Results("tables", "A title", given, folder, overwrite, Clock())
    figure = Figure()
    figure.subplots()
    results.write(NUMBERS, [finding()], {"drawn": (figure, "What is <seen>.")}, {"T": "|a|\n|-|"})
    return results.path


def test_other_results_are_not_replaced_unless_told(tmp_path: Path) -> None:
    from lab.errors import LabError

    path = written(tmp_path)
    before = path.read_text()
    with pytest.raises(LabError, match=r"seeds: 2 there, 3 now.*--output.*--overwrite"):
        written(tmp_path, seeds=3)
    with pytest.raises(LabError, match=r"rate: None there, 0\.1 now"):
        written(tmp_path, rate=0.1)
    assert path.read_text() == before
    written(tmp_path)
    written(tmp_path, overwrite=True, seeds=3)
    assert json.loads(path.read_text())["settings"]["seeds"] == 3


def test_results_that_cannot_be_read_are_not_replaced(tmp_path: Path) -> None:
    from lab.errors import LabError

    (tmp_path / "tables.json").write_text("{half")
    with pytest.raises(LabError, match="move it"):
        written(tmp_path)


def test_a_finding_must_have_its_figure(tmp_path: Path) -> None:
    from lab.errors import LabError
    from lab.results import Clock, Results

    results = Results("tables", "A title", {}, tmp_path, False, Clock())
    with pytest.raises(LabError, match="no figure drawn"):
        results.write(NUMBERS, [finding()], {})
    assert not (tmp_path / "tables.json").exists()


# The command line and the page


def test_the_command_line(tmp_path: Path) -> None:
    from lab import script

    quick = script.begin("x/tables.py", "Doc.", ["--quick"])
    assert (quick.name, quick.seeds, quick.output.name) == ("tables", 2, "quick")
    full = script.begin("x/tables.py", "Doc.", ["--seeds", "3", "--output", str(tmp_path)])
    assert (full.seeds, full.output) == (3, tmp_path)
    assert script.begin("x/tables.py", "Doc.", []).output.name == "results"
    with pytest.raises(SystemExit):
        script.begin("x/tables.py", "Doc.", ["--seeds", "0"])


def test_what_can_be_mended_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from lab import script
    from lab.errors import LabError

    def main() -> None:
        raise LabError("give --data")

    with pytest.raises(SystemExit) as ended:
        script.run(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err.strip().endswith("give --data")


def test_the_page_shows_claim_figure_and_verdict(tmp_path: Path) -> None:
    from lab import page

    written(tmp_path)
    text = page.html(page.read(tmp_path))
    assert "A &lt; B &amp; C" in text
    assert 'src="drawn.png"' in text
    assert ">holds</span>" in text
    assert 'title="tables.json: table/x/0 = 12.34">12.3</a>' in text
    assert "What is &lt;seen&gt;." in text


def test_the_page_names_results_of_another_form(tmp_path: Path) -> None:
    from lab import page
    from lab.errors import LabError

    (tmp_path / "tables.json").write_text("{}")
    with pytest.raises(LabError, match=r"tables\.json has no name, title.*run tables\.py again"):
        page.read(tmp_path)
