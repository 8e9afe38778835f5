"""The names of the subpackage: what it lists is there."""

from __future__ import annotations

import pytest

from distfit_nn import copula


def test_what_is_listed_is_there():
    assert sorted(copula.__all__) == copula.__all__ == dir(copula)
    assert set(copula._HOME) == set(copula.__all__)
    for name in copula.__all__:
        assert getattr(copula, name).__name__ == name
    assert {"Figures", "Pairs"} <= set(copula.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        copula.nonsense  # noqa: B018
