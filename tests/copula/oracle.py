"""Columns of many kinds, and their soft ranks and slopes by the sum over all pairs in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.float64]

STRENGTHS = [0.01, 0.3, 1.0, 5.0, 50.0, 1e3, 1e6]
KINDS = ["normal", "cauchy", "bimodal", "half zero", "constant", "ties", "outliers", "far from 0"]


def gaps(x: Array) -> Array:
    """Return x_i - x_j of one column, 0 between equal infinities."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(x[:, None] == x, 0.0, x[:, None] - x)


def direct(x: NDArray, strength: float) -> Array:
    """Return the soft ranks of one column by the sum over all pairs."""
    return expit(strength * gaps(x.astype(np.float64))).sum(axis=1)


def direct_slopes(x: NDArray, strength: float, g: NDArray) -> tuple[Array, float, Array, float]:
    """Return the gradients of sum_i g_i s_i by x and by strength, and the sizes of their terms."""
    distance = gaps(x.astype(np.float64))
    u = strength * distance
    kappa = expit(u) * expit(-u)
    pairs = kappa * (g.astype(np.float64)[:, None] - g.astype(np.float64))
    by_x = strength * pairs
    by_strength = np.where(kappa > 0, distance, 0.0) * pairs / 2
    sizes = strength * np.abs(pairs).sum(axis=1)
    return by_x.sum(axis=1), by_strength.sum(), sizes, np.abs(by_strength).sum()


def sample(kind: str, n: int, rng: np.random.Generator) -> Array:
    """Return one column of about unit scale."""
    x = rng.standard_normal(n)
    kinds = {
        "normal": lambda: x,
        "cauchy": lambda: rng.standard_cauchy(n),
        "bimodal": lambda: 0.1 * x + rng.choice([-1.0, 1.0], n),
        "half zero": lambda: np.maximum(x, 0.0),
        "constant": lambda: np.full(n, 0.7),
        "ties": lambda: np.round(x, 1),
        "outliers": lambda: np.where(rng.random(n) < 0.02, 1e8 * x, x),
        "far from 0": lambda: 1e5 + x,
    }
    return kinds[kind]()
