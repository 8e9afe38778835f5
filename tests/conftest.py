"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed; each test gets a fresh one."""
    return np.random.default_rng(20170510)


@pytest.fixture(scope="session")
def sample_store() -> Path:
    """The store of real activations that comes with the repository."""
    return Path(__file__).parent.parent / "data" / "mnist_mlp"
