"""The script that makes the sample data runs, and the sample data is what its README says."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from distfit_nn.capture.readers import read
from distfit_nn.capture.store import Store
from tests import tolerances

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "analysis")
    return importlib.import_module("record_mnist")


def check(folder: Path, steps: list[int], rows: int) -> None:
    """Each norm standardises its input over the recorded rows, then scales and shifts it."""
    found = {(entry.layer, entry.site, entry.step): entry.values for entry in read(folder)}
    sites = ("norm_input", "norm_output")
    norms = [f"norm{level}" for level in (1, 2, 3)]
    assert list(found) == [(norm, site, step) for step in steps for norm in norms for site in sites]
    for norm in norms:
        for step in steps:
            before, after = (found[norm, site, step].astype(np.float64) for site in sites)
            assert before.shape == after.shape == (rows, 100)
            spread = before.std(axis=0)
            live = spread > 0.01  # batch norm's eps is 1e-5
            for unit in np.flatnonzero(live):
                gamma, beta = np.polyfit(before[:, unit], after[:, unit], 1)
                line = gamma * before[:, unit] + beta
                size = np.abs(after[:, unit]).max() + abs(gamma) * np.abs(before[:, unit]).max()
                error = np.abs(after[:, unit] - line).max()
                assert error <= 2 * tolerances.float16_rounding() * size
            if step == 0:
                scale = 1 / np.sqrt(1 + 1e-5 / spread[live] ** 2)
                slack = 2 * tolerances.float16_rounding() * np.abs(after).max()
                np.testing.assert_allclose(after[:, live].mean(axis=0), 0, atol=slack)
                np.testing.assert_allclose(after[:, live].std(axis=0), scale, atol=slack)


@pytest.mark.slow
def test_the_script_records_digits_the_same_each_time(tmp_path, script, capsys):
    arguments = ["--output", str(tmp_path / "s"), "--samples", "0", "500", "--rows", "60"]
    script.main(arguments)
    first = capsys.readouterr().out
    told = [line.split(":")[0] for line in first.splitlines()]
    assert told == ["0 samples seen", "500 samples seen"]
    check(tmp_path / "s", [0, 500], 60)
    before = [entry.values for entry in read(tmp_path / "s")]
    script.main(arguments)
    assert capsys.readouterr().out == first
    for one, two in zip(before, read(tmp_path / "s"), strict=True):
        np.testing.assert_array_equal(one, two.values)


@pytest.mark.slow
def test_recording_leaves_the_training_as_it_is(tmp_path, script):
    images = script.load_digits()
    often = script.run(images, str(tmp_path / "a"), [0, 500, 1000], 60, seed=3)
    once = script.run(images, str(tmp_path / "b"), [1000], 60, seed=3)
    assert often[-1] == once[0]


def test_mnist_is_standardised(tmp_path, script):
    pixels = np.full((60, 28, 28), 255, np.uint8)
    labels = np.zeros(60, np.uint8)
    np.savez(tmp_path / "m.npz", x_train=pixels, y_train=labels, x_test=0 * pixels, y_test=labels)
    images = script.load_mnist(tmp_path / "m.npz")
    assert images.train.shape == (60, 784)
    np.testing.assert_allclose(
        images.train, (1 - 0.1307) / 0.3081, rtol=4 * tolerances.eps(np.float32)
    )
    np.testing.assert_allclose(images.test, -0.1307 / 0.3081, rtol=4 * tolerances.eps(np.float32))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--samples", "7"], "multiples of the batch"),
        (["--samples", "100", "50"], "must rise"),
        (["--rows", "1"], "--rows must be at least 2"),
        (["--samples", "0", "--output", str(ROOT / "data")], "not a distfit_nn store"),
    ],
)
def test_bad_arguments_are_told_in_a_line(tmp_path, script, capsys, arguments, problem):
    with pytest.raises(SystemExit) as caught:
        script.main(["--output", str(tmp_path / "s"), *arguments])
    assert caught.value.code not in (0, None)
    assert problem in f"{capsys.readouterr().err}{caught.value.code}"


def test_the_sample_data_is_what_its_readme_says():
    folder = ROOT / "data" / "mnist_mlp"
    assert len(Store(folder)) == 18
    assert {record.dtype for record in Store(folder).records} == {"float16"}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5e6
    check(folder, [0, 25_000, 125_000], 1000)
