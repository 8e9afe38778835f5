"""The scripts of the thesis stand beside the package, not in it."""

from __future__ import annotations

from pathlib import Path

import pytest

HOME = Path(__file__).parents[2] / "analysis" / "thesis"


@pytest.fixture(autouse=True)
def lab(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make `lab` and the scripts importable; return their folder."""
    monkeypatch.syspath_prepend(HOME)
    return HOME
