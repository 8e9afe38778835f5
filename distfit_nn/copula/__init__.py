"""Ranks, hard and soft, the scores they give, and the dependence that is left between columns.

What is named here is imported when it is first used: the ranks need numba, the rest more.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distfit_nn.copula.figures import Figures
    from distfit_nn.copula.gaussian import GaussianCopula
    from distfit_nn.copula.rank_matrices import RankCorrelation, kendall_matrix, spearman_matrix
    from distfit_nn.copula.ranks import hard_rank, soft_rank
    from distfit_nn.copula.scores import inverse_scores, normal_scores
    from distfit_nn.copula.summary import Dependence, Pairs, dependence

__all__ = [
    "Dependence",
    "Figures",
    "GaussianCopula",
    "Pairs",
    "RankCorrelation",
    "dependence",
    "hard_rank",
    "inverse_scores",
    "kendall_matrix",
    "normal_scores",
    "soft_rank",
    "spearman_matrix",
]

_HOME = {
    "Dependence": "distfit_nn.copula.summary",
    "Figures": "distfit_nn.copula.figures",
    "GaussianCopula": "distfit_nn.copula.gaussian",
    "Pairs": "distfit_nn.copula.summary",
    "RankCorrelation": "distfit_nn.copula.rank_matrices",
    "dependence": "distfit_nn.copula.summary",
    "hard_rank": "distfit_nn.copula.ranks",
    "inverse_scores": "distfit_nn.copula.scores",
    "kendall_matrix": "distfit_nn.copula.rank_matrices",
    "normal_scores": "distfit_nn.copula.scores",
    "soft_rank": "distfit_nn.copula.ranks",
    "spearman_matrix": "distfit_nn.copula.rank_matrices",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'distfit_nn.copula' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
