"""Fixtures for all tests."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed; each test gets a fresh one."""
    return np.random.default_rng(20170510)
