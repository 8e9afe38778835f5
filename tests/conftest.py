"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import numpy as np
import pytest

# The same examples in every run, so that nobody's change fails by another's luck. To look for new
# ones: HYPOTHESIS_PROFILE=explore make test
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=500)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed; each test gets a fresh one."""
    return np.random.default_rng(20170510)


@pytest.fixture(scope="session")
def sample_store() -> Path:
    """The store of real activations that comes with the repository."""
    return Path(__file__).parent.parent / "data" / "mnist_mlp"
