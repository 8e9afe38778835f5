"""torch.compile with the backends that people use: recorded as written, or a clear error."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import distfit_nn as dn
from distfit_nn.errors import SiteError
from tests.capture.test_recorder import clean, mlp, recorded, table

pytestmark = pytest.mark.slow
INDUCTOR = pytest.param(
    "inductor",
    marks=pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler"),
)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


def check(path: Path, model: nn.Sequential, x: Tensor, steps: int = 1) -> None:
    found = recorded(path)
    assert len(found) == 2 * steps
    for (layer, _, _), values in found.items():
        np.testing.assert_array_equal(values, table(model[: int(layer)](x)))


@pytest.mark.parametrize("backend", ["aot_eager", INDUCTOR])
@pytest.mark.parametrize("warm", [True, False])
def test_a_compiled_model_is_recorded_whenever_it_is_compiled(tmp_path, x, backend, warm):
    torch.compiler.reset()
    model = mlp().eval()
    compiled = torch.compile(model, backend=backend)
    if warm:
        before = compiled(x)
    with dn.record(compiled, tmp_path / "s"):
        compiled(x)
        compiled(x)
    check(tmp_path / "s", model, x, steps=2)
    assert clean(model)
    after = compiled(x)  # compiled, now or still
    if warm:
        assert torch.equal(before, after)
    with dn.record(model, tmp_path / "t"):
        torch.compile(model, backend=backend)(x)  # compiled in the block
    check(tmp_path / "t", model, x)


@pytest.mark.parametrize("backend", ["aot_eager", INDUCTOR])
def test_training_in_a_compiled_step_is_recorded(tmp_path, x, backend):
    torch.compiler.reset()
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @torch.compile(backend=backend)
    def step(x: Tensor) -> Tensor:
        loss = model(x).square().sum()
        loss.backward()
        return loss

    step(x)
    with dn.record(model, tmp_path / "s"):
        for _ in range(3):
            step(x)
            optimizer.step()
    assert sorted({step for *_, step in recorded(tmp_path / "s")}) == [0, 1, 2]


def test_a_compiled_copy_that_runs_no_hooks_is_an_error(tmp_path, x):
    """What is made from the model, not the model itself, is another model."""
    model = mlp().eval()
    traced = torch.jit.trace(model, x)
    with (
        pytest.raises(SiteError, match="no forward pass of the model ran"),
        dn.record(model, tmp_path / "s"),
    ):
        traced(x)
