"""One analysis and its page, made once for all tests of the report."""

from __future__ import annotations

import numpy as np
import pytest

from distfit_nn.analysis import Analysis
from distfit_nn.report import build
from tests.report.cases import analysis_of, network


@pytest.fixture(scope="session")
def analysis() -> Analysis:
    """Three layers, before and after normalisation, at three steps."""
    return analysis_of(network(np.random.default_rng(7)))


@pytest.fixture(scope="session")
def page(analysis: Analysis) -> str:
    """The report on it."""
    return build.render(analysis)
