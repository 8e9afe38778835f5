"""Columns of many kinds; scores of a strength relative to their scale by sums over all pairs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri

Array = NDArray[np.float64]
FLOOR = 1e-5

KINDS: dict[str, Callable[[int, np.random.Generator], Array]] = {
    "normal": lambda n, rng: rng.standard_normal(n),
    "gamma": lambda n, rng: rng.gamma(2.0, size=n),
    "bimodal": lambda n, rng: 0.5 * rng.standard_normal(n) + rng.choice([-2.0, 2.0], n),
    "narrow": lambda n, rng: 0.05 * rng.standard_normal(n) + rng.choice([-2.0, 2.0], n),
    "half zero": lambda n, rng: rng.standard_normal(n).clip(0),
    "mostly zero": lambda n, rng: np.where(rng.random(n) < 0.95, 0.0, rng.standard_normal(n)),
    "cauchy": lambda n, rng: rng.standard_cauchy(n),
    "lognormal": lambda n, rng: np.exp(rng.standard_normal(n)),
}


def drawn(n: int, rng: np.random.Generator) -> Array:
    """Return one column of each kind, (n, d)."""
    return np.stack([kind(n, rng) for kind in KINDS.values()], axis=1)


def robust_scale(x: Array) -> float:
    """Return the scale of one column, floor included."""
    low, high = np.quantile(x, [0.1, 0.9])
    own = (high - low) / (ndtri(0.9) - ndtri(0.1))
    return math.hypot(own if own > 0 else x.std(), FLOOR)


def share(x: Array, strength: float, at: Array) -> Array:
    """Return F(t) of one column by the sum over all pairs."""
    return expit(strength / robust_scale(x) * (at[:, None] - x)).mean(axis=1)


def by_pairs(x: Array, strength: float) -> Array:
    """Return the scores of one column by the sum over all pairs."""
    return ndtri(share(x, strength, x))
