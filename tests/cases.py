"""The named hard cases: builders of one column each, seeded, and of random problems.

`COLUMNS` maps a name to a builder (rng, n) -> column (n,) of float64. `random_problems` draws from
them with random sizes, shifts, scales, roundings and supports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Builder = Callable[[np.random.Generator, int], Array]
Support = float | str | tuple[float, float]


def _mixture(rng: np.random.Generator, n: int, centres: list[float], width: float) -> Array:
    return rng.choice(centres, n) + width * rng.normal(size=n)


def _outlier(rng: np.random.Generator, n: int, noise: float, at: float) -> Array:
    column = 1.0 + noise * rng.normal(size=n)
    column[0] = at
    return column


def _near_boundary(rng: np.random.Generator, n: int) -> Array:
    """Two narrow bumps: kurtosis = 1 + skewness^2 + about 1e-3."""
    return np.where(rng.random(n) < 0.3, -1.0, 1.0) + 0.01 * rng.normal(size=n)


def _junk_line(rng: np.random.Generator, n: int) -> Array:
    """No skew and kurtosis above 3: on the whole line no density of order 4 exists."""
    half = rng.laplace(size=n - n // 2)
    return np.concatenate([half, -half[: n // 2]])


COLUMNS: dict[str, Builder] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.random(n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "lognormal": lambda rng, n: rng.lognormal(size=n),
    "t3": lambda rng, n: rng.standard_t(3, size=n),
    "cauchy": lambda rng, n: rng.standard_cauchy(size=n),
    "bimodal": lambda rng, n: _mixture(rng, n, [-2.0, 2.0], 0.5),
    "trimodal": lambda rng, n: _mixture(rng, n, [-4.0, 0.0, 4.0], 0.4),
    "post_relu": lambda rng, n: np.maximum(rng.normal(size=n), 0.0),
    "spike_and_slab": lambda rng, n: rng.normal(size=n) * np.where(rng.random(n) < 0.7, 0.01, 3.0),
    "u_shaped": lambda rng, n: rng.beta(0.3, 0.3, size=n),
    "near_boundary": _near_boundary,
    "junk_line": _junk_line,
    "outlier": lambda rng, n: _outlier(rng, n, 0.1, 3.0),
    "far_outlier": lambda rng, n: _outlier(rng, n, 1e-3, 5.0),
    "float16": lambda rng, n: rng.normal(2.0, 0.5, size=n).astype(np.float16).astype(float),
    "integers": lambda rng, n: rng.poisson(6.0, size=n).astype(float),
    "tiny": lambda rng, n: 1e-170 * rng.normal(size=n),
    "huge": lambda rng, n: 1e170 * rng.normal(size=n),
    "offset": lambda rng, n: 1e8 + rng.normal(size=n),
}

# Columns whose solution is so far from singular that two solvers agree on its multipliers.
WELL_CONDITIONED = ("normal", "uniform", "exponential", "bimodal", "post_relu", "integers")


def has_no_density(x: Array, order: int, support: Support) -> bool:
    """Return whether x has too few distinct values, those at an end of the support counted half."""
    ends = support if isinstance(support, tuple) else (-np.inf, np.inf)
    if support in ("data", 1.0) or x.min() == x.max():
        ends = (x.min(), x.max())
    distinct = len(np.unique(x))
    return bool(2 * distinct - (x.min() <= ends[0]) - (x.max() >= ends[1]) <= order)


def column(name: str, n: int = 400, seed: int = 7) -> Array:
    """Return the named case with n values."""
    return COLUMNS[name](np.random.default_rng(seed), n)


def distinct(values: int, n: int = 60) -> Array:
    """Return n values of which `values` are distinct: 0, 1, ..., values - 1 in turn."""
    return np.arange(n, dtype=float) % values


def random_problems(count: int, seed: int) -> Iterator[tuple[str, Array, int, Support]]:
    """Yield (name, column, order, support) for `count` random problems."""
    rng = np.random.default_rng(seed)
    names = list(COLUMNS)
    for i in range(count):
        name = names[i % len(names)]
        n = int(rng.choice([8, 20, 100, 1000]))
        x = COLUMNS[name](rng, n)
        if rng.random() < 0.3:
            x = x * 10.0 ** rng.uniform(-6, 6) * rng.choice([-1.0, 1.0])
        kind = rng.integers(5)
        pad = np.ptp(x)
        supports: tuple[Support, ...] = (
            "data",
            1.5,
            3.0,
            10.0,
            (float(x.min() - 0.01 * pad), float(x.max() + 2.0 * pad)),
        )
        yield name, x, int(rng.integers(1, 11)), supports[kind]
