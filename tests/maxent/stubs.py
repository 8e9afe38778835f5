"""Solvers that fail where they are told to."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from distfit_nn.maxent import hard, numba_kernel
from distfit_nn.maxent.solution import Fits, Problem


def leave_all(problem: Problem) -> Fits:
    """A minimiser that leaves every column to the hard solver."""
    return Fits.empty(*problem.targets.shape)


def only_regularised(monkeypatch: pytest.MonkeyPatch, least: float) -> list[float]:
    """Let no column be solved but for mixtures with a weight of at least `least`.

    Returns the list to which the weights that were tried will be added.
    """
    tried: list[float] = []
    now = threading.local()  # several threads may solve columns
    mixture, meets, follow = hard._mixture, hard._Column.meets, hard._follow

    def recorded(one: hard.Rule, other: hard.Rule, share: float) -> hard.Rule:
        now.share = share
        tried.append(share)
        return mixture(one, other, share)

    def unwilling(column: hard._Column, attempt: hard.Attempt, wanted: np.ndarray) -> bool:
        return getattr(now, "share", 0.0) >= least and meets(column, attempt, wanted)

    def followed(column: hard._Column, rule: hard.Rule) -> hard.Attempt:
        try:
            return follow(column, rule)
        finally:
            now.share = 0.0

    monkeypatch.setattr(numba_kernel, "minimise", leave_all)
    monkeypatch.setattr(hard, "_mixture", recorded)
    monkeypatch.setattr(hard, "_follow", followed)
    monkeypatch.setattr(hard._Column, "meets", unwilling)
    return tried
