"""What the tests of the program share: a small network as a user writes it, and a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NET = """
import os
import time

import numpy as np
import torch
from torch import nn


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x, y, scale=1.0):
        return torch.relu(self.linear(x) + y[:, None]) * scale


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, *, pixels, labels=None):
        return torch.relu(self.linear(pixels))


class Odd(nn.Module):
    def forward(self, x):
        raise ValueError("not\\ntoday")


def model():
    print("made")
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU())


def batches():
    for _ in range(5):
        yield torch.randn(16, 4), torch.zeros(16)


def slow():
    for step in range(10**6):
        time.sleep(0.01)
        if step == 20:
            print("fed")
        yield torch.randn(16, 4)


def ending(number):
    for step in range(9):
        if step == 3:
            os.kill(os.getpid(), number)
        yield torch.randn(16, 4)


def ending_2():
    return ending(2)


def ending_15():
    return ending(15)


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 10**7

    def __getitem__(self, number):
        if number == 1600:
            print("fed", flush=True)
        return torch.full((4,), float(number % 7))


def workers():
    return torch.utils.data.DataLoader(Rows(), 16, num_workers=2)


def rows():
    return Rows()


def failing():
    yield torch.randn(16, 4)
    raise RuntimeError("the disk is gone")


def named():
    return [{"pixels": torch.randn(16, 4), "labels": torch.zeros(16)}]


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, pixels, attention_mask):
        return torch.relu(self.linear(pixels)) * attention_mask[..., None]


def padded():
    for length in (2, 5):
        mask = (torch.arange(5) < length).long().expand(8, 5)
        yield {"pixels": torch.randn(8, 5, 4), "attention_mask": mask, "odd": 2 * mask}


class Picky(nn.Module):
    def forward(self, x):
        return torch.relu(x @ torch.ones(4, 3))


def misfit():
    return [torch.randn(5, 7)]


def compiled():
    return map(torch.relu, ["no tensor"])


def words():
    return [np.array(["a"], object)]


def leaving():
    raise SystemExit(0)


def needing(path):
    return model()


instance = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
tensor = torch.randn(16, 4)
"""


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """Start the program as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "distfit_nn.cli", *map(str, arguments)],
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,
    )
