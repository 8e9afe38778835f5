"""Each layer trains the network of the thesis on digits: finite, and far from chance."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.devices import one_thread  # noqa: F401

pytestmark = pytest.mark.slow

THESIS = Path(__file__).parents[2] / "analysis" / "thesis"
SAMPLES = 3000
CHANCE = 10.0  # percent, of ten classes
NAMES = [
    "Regular",
    "BatchNorm",
    "LogShift",
    "SqrtShift",
    "KLNorm",
    "KLNorm, closed",
    "MLENorm",
    "MomentNorm 4",
    "MomentNorm 6",
    "Copula",
    "Copula, bimodal",
    "Copula, learned",
    "TrimmedNorm",
]


@pytest.fixture(autouse=True)
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the lab of the thesis' scripts importable."""
    monkeypatch.syspath_prepend(THESIS)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", NAMES)
def test_it_trains(name: str, optimizer: str) -> None:
    from lab import data, training

    rate = {"sgd": 0.05, "adam": 0.001}[optimizer]
    rate = 0.001 if name == "LogShift" and optimizer == "sgd" else rate  # its gain is 15
    setting = training.Setting(name, rate, 0, samples=(SAMPLES,), optimizer=optimizer)
    done = training.train(setting, data.find("digits"))
    assert done["not_finite"] == 0
    assert done["test_accuracy"][-1] > 4 * CHANCE
