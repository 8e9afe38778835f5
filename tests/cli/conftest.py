"""Fixtures: the program in this process, and a user's own code."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from distfit_nn import cli
from distfit_nn.capture.store import StoreWriter
from tests.cli.cases import NET


@pytest.fixture
def call(capsys):
    """Run the program in this process; return exit code, standard output and standard error."""

    def run_here(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(argument) for argument in arguments])
        return (stopped.value.code or 0, *capsys.readouterr())

    return run_here


@pytest.fixture
def array(tmp_path, rng):
    path = tmp_path / "acts.npy"
    np.save(path, rng.normal(size=(300, 4)))
    return path


@pytest.fixture(scope="session")
def small_store(tmp_path_factory):
    """Three layers before and after their norm at two steps; far from N(0,1) before."""
    path = tmp_path_factory.mktemp("stores") / "run"
    rng = np.random.default_rng(1)
    with StoreWriter(path, "x") as writer:
        for step in (0, 7):
            for layer in ("norm1", "norm2", "norm3"):
                x = rng.normal(size=(200, 3))
                writer.add(4 * x + step, layer=layer, site="norm_input", step=step)
                writer.add(x, layer=layer, site="norm_output", step=step)
    return path


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A current directory with net.py in it; what is imported from it is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]
