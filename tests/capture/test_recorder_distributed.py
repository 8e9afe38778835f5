"""Several processes record one model: each its own rows, read as one store."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from distfit_nn.capture.readers import read
from distfit_nn.capture.verify import verify

CODE = """
import sys, torch, distfit_nn as dn
from torch import nn, distributed
rank = int(sys.argv[1])
distributed.init_process_group("gloo", f"file://{sys.argv[2]}/meet", rank=rank, world_size=2)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
parallel = nn.parallel.DistributedDataParallel(model)
x = torch.arange(8.0).reshape(2, 4) - 4 + 8 * rank
with dn.record(parallel, f"{sys.argv[2]}/s", ["pre_activation", "weights"]):
    parallel(x).sum().backward()
with dn.record(parallel, f"{sys.argv[2]}/weights", "weights"):
    parallel(x).sum().backward()
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_record_their_own_rows_and_the_weights_once(tmp_path: Path):
    command = [sys.executable, "-c", CODE]
    running = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for process in running:
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    found = {(entry.layer, entry.site): entry.values for entry in read(tmp_path / "s")}
    assert set(found) == {
        ("1", "pre_activation"),
        ("0.weight", "weights"),
        ("0.bias", "weights"),
    }
    expected = torch.cat([layer(torch.arange(8.0).reshape(2, 4) - 4 + 8 * r) for r in range(2)])
    np.testing.assert_allclose(found["1", "pre_activation"], expected.detach(), rtol=1e-6)
    np.testing.assert_array_equal(found["0.weight", "weights"], layer.weight.detach().T)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [entry.layer for entry in read(tmp_path / "weights")] == ["0.weight", "0.bias"]
    assert verify(tmp_path / "weights").ok
