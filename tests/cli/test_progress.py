"""Progress: one line that is written over in a terminal, few lines in a log."""

from __future__ import annotations

import io
import os
import pty
import sys

import numpy as np
import pytest

from distfit_nn.capture.readers import read
from distfit_nn.cli.progress import ERASE, RowMeter, StepMeter, duration, rate, size
from tests.cli.cases import start


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def entries():
    return list(read({"a": np.zeros((1000, 2)), "b": np.zeros((3000, 2))}))


def test_rows_rates_and_time_left_in_a_terminal(entries, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    clock, terminal = Clock(), Terminal()
    meter = RowMeter("analyzed", lambda: (2, 64000), False, terminal, clock)
    with meter:
        for entry, rows, now in ((0, 0, 0), (0, 1000, 1), (1, 0, 1), (1, 1000, 2)):
            clock.now = float(now)
            meter(entries[entry], rows)
    states = [state for state in terminal.getvalue().split(ERASE) if state]
    assert states[-1] == (
        "50% | recording 2 of 2: b values step 0 | 1e+03 rows/s | 16 kB/s | 2.0 s left"
    ).replace("1e+03", "1k")
    assert len(states) == 2  # no more than ten a second
    assert terminal.getvalue().endswith(ERASE)


def test_a_narrow_terminal_is_not_wrapped(entries, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    clock, terminal = Clock(), Terminal()
    with RowMeter("analyzed", lambda: None, False, terminal, clock) as meter:
        clock.now = 1.0
        meter(entries[0], 0)
    assert all(len(state) < 20 for state in terminal.getvalue().split(ERASE))


def test_a_log_has_few_lines_and_a_summary(capsys):
    clock = Clock()
    with StepMeter(100, False, sys.stderr, clock) as meter:
        for step in range(40):
            clock.now = float(step)
            meter()
    assert capsys.readouterr().err.splitlines() == [
        "step 11/100 | 1.1 steps/s | 1:21 left",
        "step 21/100 | 1.05 steps/s | 1:15 left",
        "step 31/100 | 1.03 steps/s | 1:07 left",
        "ran 40 steps in 39.0 s (1.03 steps/s)",
    ]


def test_quiet_and_failed_jobs_say_nothing(capsys):
    with StepMeter(None, True) as meter:
        meter()
    with pytest.raises(ValueError, match="no"), StepMeter(None, False):
        raise ValueError("no")
    assert capsys.readouterr().err == ""


def test_numbers_for_people():
    assert [rate(n) for n in (0.123456, 99.94, 999.6, 2.5e6, 4e9)] == [
        *("0.123", "99.9", "1k", "2.5M", "4G")
    ]
    assert [size(n) for n in (12, 1500, 3.6e6, 2e13)] == ["12 B", "1.5 kB", "3.6 MB", "20 TB"]
    assert [duration(s) for s in (0.04, 59.97, 61, 3725)] == ["0.0 s", "1:00", "1:01", "1:02:05"]


@pytest.mark.slow
def test_a_real_terminal_sees_one_line_and_data_stay_apart(tmp_path, sample_store):
    leader, follower = pty.openpty()
    process = start("analyze", sample_store, stderr=follower)
    out, _ = process.communicate(timeout=120)
    os.close(follower)
    seen = os.read(leader, 1 << 16).decode()
    os.close(leader)
    assert out.startswith("layer ")
    assert len(out.splitlines()) == 19
    assert "recording" in seen
    assert " of 18: norm" in seen
    assert seen.count("\n") == 1  # the summary
