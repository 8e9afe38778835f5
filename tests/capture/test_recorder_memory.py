"""The memory that a recording takes beside the model: bounded, however long it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Each of 12 sites gives 4 * 65,536 rows of 16 float32 (16 MiB) a pass, of which 1% are kept.
CODE = """
import resource, sys, torch, distfit_nn as dn
from torch import nn
torch.set_num_threads(1)
steps = int(sys.argv[2])
model = nn.Sequential(*[kind for _ in range(4) for kind in (nn.BatchNorm2d(16), nn.ReLU())]).eval()
x = torch.randn(4, 16, 256, 256)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
with torch.no_grad():
    for _ in range(20):
        model(x)
    with dn.record(model, sys.argv[1] + "/warm", ["pre_activation", "norm"], rows=0.01):
        model(x)
    before = peak()
    with dn.record(model, sys.argv[1] + "/s", ["pre_activation", "norm"], rows=0.01):
        for _ in range(steps):
            model(x)
print(peak() - before)
"""
LIMIT = 512
"""MiB: the store's buffer of 64, twice that while it is put together as a shard, 64 for a pass,
which here has 2, and twice as much for holes in the heap, which differ from run to run: 260 to 370
were measured. With samples in the heap, among the model's tensors, it was 2305 and more."""


@pytest.mark.slow
def test_memory_is_bounded_over_300_steps(tmp_path: Path):
    command = [sys.executable, "-c", CODE, str(tmp_path), "300"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    written = sum(path.stat().st_size for path in (tmp_path / "s").iterdir())
    print(f"{done.stdout.strip()} MiB of memory for {written / 2**20:.0f} MiB on disk")
    assert written > 1.1 * LIMIT * 2**20
    assert int(done.stdout) < LIMIT
