"""Correlated columns for measures of dependence; their scores and figures by definition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from distfit_nn.copula import Figures

Array = NDArray[np.float64]


def mixed(rng: np.random.Generator, n: int, d: int) -> Array:
    """Return correlated columns (n, d): log-normal, half zero and normal, in turn."""
    x = rng.normal(size=(n, d)) @ (rng.normal(size=(d, d)) + 2 * np.eye(d))
    x[:, ::3] = np.exp(x[:, ::3] / 2)
    x[:, 1::3] = x[:, 1::3].clip(0)
    return x


def hard_scores(x: Array, sample: Array | None = None) -> Array:
    """Return normal scores by comparison of all pairs and SciPy's quantiles.

    They are those of x among itself, or in a sample as `dependence` has it.
    """
    among = x if sample is None else sample
    below = (x[:, None] > among).sum(axis=1) + (x[:, None] == among).sum(axis=1) / 2
    if sample is None:
        return stats.norm.ppf(below / len(x))
    return stats.norm.ppf((below + 0.5) / (len(sample) + 1))


def by_definition(r: np.ndarray, freedom: int) -> Figures:
    """Return the figures of a correlation matrix from eigenvalues and loops."""
    values = np.linalg.eigvalsh(r)
    off = np.array([r[i, j] for i in range(len(r)) for j in range(i)])
    adjusted = 1 - (1 - off**2) * freedom / (freedom - 1)
    return Figures(
        values.sum() ** 2 / (values**2).sum(),
        len(r) ** 2 / (len(r) + 2 * adjusted.sum()),
        np.abs(off).mean(),
        np.abs(off).max(),
        -np.log(values).sum() / 2,
    )
