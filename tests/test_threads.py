"""The number of threads is that of Numba or torch, whichever is less, and stays what it was."""

from __future__ import annotations

import subprocess
import sys

import numba
import pytest
import torch

from distfit_nn._threads import share, threads

FIRST_USE = """
import torch
torch.set_num_threads(1)
from distfit_nn.copula import soft_rank
soft_rank(torch.randn(20_000, 16), 3.0)
print(torch.get_num_threads())
"""


def test_torch_bounds_the_threads() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert threads() == 1
    finally:
        torch.set_num_threads(before)


def test_numba_bounds_the_threads() -> None:
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert threads() == 1
    finally:
        numba.set_num_threads(before)


def test_the_first_use_leaves_the_threads_of_torch_alone() -> None:
    run = [sys.executable, "-c", FIRST_USE]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_work_is_shared_until_nothing_is_left() -> None:
    todo, done = iter(range(1000)), []

    def work() -> None:
        done.extend(todo)

    share(work, 4)
    assert sorted(done) == list(range(1000))


def test_work_may_share_work() -> None:
    done = []

    def inner() -> None:
        todo = iter(range(10))
        share(lambda: done.extend(todo), 8)

    turns = iter(range(50))

    def outer() -> None:
        for _ in turns:
            inner()

    share(outer, 8)
    assert len(done) == 500


def test_an_error_of_a_thread_is_raised() -> None:
    def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        share(work, 2)
