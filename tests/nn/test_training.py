"""Each layer trains the network of the benchmark on digits: finite, and far from chance."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.devices import one_thread  # noqa: F401

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "analysis" / "benchmarks"
SAMPLES = 3000
CHANCE = 10.0  # percent, of ten classes


@pytest.fixture(scope="module")
def training() -> ModuleType:
    """Return the benchmark's module, which imports its neighbour by name."""
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module("training")
    finally:
        sys.path.remove(str(FOLDER))


NAMES = [
    "none",
    "BatchNorm",
    "LogShift",
    "SqrtShift",
    "KLNorm, learned",
    "KLNorm, closed",
    "MLENorm",
    "MomentNorm 4",
    "MomentNorm 6",
    "CopulaNorm",
    "CopulaNorm, bimodal",
    "CopulaNorm, learnable mixture",
    "TrimmedNorm",
]


def test_all_layers_are_named(training: ModuleType) -> None:
    assert list(training.LAYERS) == NAMES


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("name", NAMES)
def test_it_trains(training: ModuleType, name: str, optimizer: str) -> None:
    rate = {"SGD": 0.05, "Adam": 0.001}[optimizer]
    rate = 0.001 if name == "LogShift" and optimizer == "SGD" else rate  # its gain is 15
    setting = training.Setting(name, optimizer, rate, 0)
    done = training.run(setting, training.load(None), (SAMPLES,))
    assert done.not_finite == 0
    assert done.test[-1] > 4 * CHANCE
