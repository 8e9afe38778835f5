"""The stress suite: thousands of problems, hard ones by design, from one seed.

Kinds are the named cases of `cases.COLUMNS`, those below, and moments of known densities. Each
problem draws its order (2 to 10), its size (8 to 5,000), its scale and offset and its support.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.special import ndtr

from tests.cases import COLUMNS, Array, Builder, Support

SIZES = (8, 9, 12, 20, 50, 100, 300, 1000, 2000, 5000)


@dataclass(frozen=True, eq=False)
class Stress:
    """A column of samples x (n,), or raw moments m (order,), to be fitted on a support."""

    kind: str
    order: int
    support: Support
    x: Array | None = None
    m: Array | None = None

    def __str__(self) -> str:
        n = "moments" if self.x is None else f"n={len(self.x)}"
        return f"{self.kind} k={self.order} {n} support={self.support}"


def _atoms(rng: np.random.Generator, n: int, count: int, width: float) -> Array:
    """Clusters of a given relative width at random places, each with at least one value."""
    places = np.sort(rng.normal(size=count)) * 3
    which = np.concatenate([np.arange(count), rng.choice(count, max(n - count, 0))])[:n]
    return places[which] + width * rng.normal(size=n)


def _few(rng: np.random.Generator, n: int, count: int) -> Array:
    """Exactly `count` distinct values (at most n), with random shares."""
    places = rng.normal(size=min(count, n)) * 2
    return places[np.concatenate([np.arange(len(places)), rng.choice(len(places), n)])[:n]]


def _one_away(rng: np.random.Generator, n: int, noise: float) -> Array:
    """All but constant, and one outlier."""
    x = 1.0 + noise * rng.normal(size=n)
    x[rng.integers(n)] = 3.0 + 2.0 * rng.random()
    return x


def _boundary(rng: np.random.Generator, n: int, excess: float) -> Array:
    """Two atoms with noise, kurtosis = 1 + skewness^2 + about `excess`."""
    share = rng.uniform(0.1, 0.5)
    at = np.where(np.arange(n) < max(1, round(share * n)), 0.0, 1.0)
    return at + math.sqrt(excess) / 4 * rng.choice([-1.0, 1.0], n) * (1 + 0.1 * rng.random(n))


def _distant(rng: np.random.Generator, n: int, distance: float) -> Array:
    """A bulk and a share of 2 to 50% in a cluster that many widths away."""
    far = np.arange(n) < max(2, round(rng.uniform(0.02, 0.5) * n))
    return rng.normal(size=n) + distance * far


def _near_twins(rng: np.random.Generator, n: int) -> Array:
    x = rng.normal(size=n)
    x[1] = x[0] * (1 + 1e-9)
    return x


def _power(rng: np.random.Generator, low: float, high: float) -> float:
    return float(10.0 ** rng.uniform(low, high))


def _tanh(rng: np.random.Generator, n: int) -> Array:
    return np.tanh(rng.uniform(1.0, 8.0) * rng.normal(size=n))


def _gelu(rng: np.random.Generator, n: int) -> Array:
    x = rng.normal(size=n)
    return x * ndtr(x)


def _sparse(rng: np.random.Generator, n: int) -> Array:
    return rng.normal(size=n) * (rng.random(n) < 0.1)


def _scales(rng: np.random.Generator, n: int) -> Array:
    return rng.normal(size=n) * 10.0 ** -rng.integers(0, 4, n)


KINDS: dict[str, Builder] = {
    **{f"named {name}": builder for name, builder in COLUMNS.items()},
    "two_atoms": lambda rng, n: _atoms(rng, n, 2, _power(rng, -4, -1)),
    "three_atoms": lambda rng, n: _atoms(rng, n, 3, _power(rng, -4, -1)),
    "five_atoms": lambda rng, n: _atoms(rng, n, 5, _power(rng, -4, -1)),
    "few_distinct": lambda rng, n: _few(rng, n, int(rng.integers(2, 9))),
    "lattice": lambda rng, n: rng.integers(0, rng.integers(3, 12), n).astype(float),
    "outlier_any": lambda rng, n: _one_away(rng, n, _power(rng, -4, -0.5)),
    "constant_and_outlier": lambda rng, n: _one_away(rng, n, 0.0),
    "constant": lambda rng, n: np.full(n, rng.normal()),
    "boundary": lambda rng, n: _boundary(rng, n, _power(rng, -6, -1)),
    "distant": lambda rng, n: _distant(rng, n, _power(rng, 0.7, 3)),
    "beta_steep": lambda rng, n: rng.beta(0.1, 0.1, n),
    "beta_j": lambda rng, n: rng.beta(0.5, 5.0, n),
    "arcsine": lambda rng, n: np.sin(rng.uniform(0, 2 * np.pi, n)),
    "laplace": lambda rng, n: rng.laplace(size=n),
    "pareto": lambda rng, n: rng.pareto(1.5, n),
    "weibull": lambda rng, n: rng.weibull(0.4, n),
    "log_uniform": lambda rng, n: 10.0 ** rng.uniform(-6, 0, n),
    "sparse": _sparse,
    "dropout": lambda rng, n: rng.normal(size=n) * (rng.random(n) < 0.5) * 2,
    "gelu": _gelu,
    "tanh": _tanh,
    "scales": _scales,
    "ramp": lambda _, n: np.linspace(-1.0, 1.0, n),
    "powers_of_two": lambda _, n: 2.0 ** np.minimum(np.arange(n), 40),
    "near_twins": _near_twins,
    "rounded": lambda rng, n: np.round(rng.normal(size=n), 1),
    "int8": lambda rng, n: np.clip(np.round(rng.normal(size=n) * 60), -128, 127),
    "spiky_slab": lambda rng, n: np.where(rng.random(n) < 0.9, 1e-3, 1.0) * rng.normal(size=n),
}


def _support(rng: np.random.Generator, x: Array) -> Support:
    low, high = float(x.min()), float(x.max())
    width = high - low or max(abs(high), 1.0)
    choices: list[Support] = ["data", 1.5, 3.0, 3.0, 3.0, 10.0]
    pairs: list[tuple[float, float]] = [
        (low, high + width),
        (low - 0.3 * width, high),
        (low - 0.01 * width, high + 2.0 * width),
        (low, high),
    ]
    choices += [pair for pair in pairs if pair[0] <= low < high <= pair[1]]
    return choices[int(rng.integers(len(choices)))]


def _samples(rng: np.random.Generator, kind: str) -> Stress:
    n, order = int(rng.choice(SIZES)), int(rng.integers(2, 11))
    if rng.random() < 0.05:
        n, order = 8, 10
    x = np.asarray(KINDS[kind](rng, n), float)
    fate = rng.random()
    if fate < 0.2 and 1e-3 < np.ptp(x) < 1e9:
        x = x * rng.choice([-1.0, 1.0]) * 10.0 ** rng.uniform(-100, 100)
    elif fate < 0.3 and 1e-3 < np.ptp(x) < 1e9:
        x = x + np.ptp(x) * 10.0 ** rng.uniform(0, 5)
    return Stress(kind, order, _support(rng, x), x=x)


# Moments of known densities


def _beta_moments(a: Fraction, b: Fraction, order: int) -> list[Fraction]:
    """E t^i of beta(a, b) on (0, 1): the product of (a + j) / (a + b + j)."""
    out, value = [], Fraction(1)
    for i in range(order):
        value *= (a + i) / (a + b + i)
        out.append(value)
    return out


def _affine(m: list[Fraction], low: Fraction, width: Fraction) -> list[Fraction]:
    """Moments of low + width t from those of t."""
    whole = [Fraction(1), *m]
    return [
        sum(
            (math.comb(i, j) * low ** (i - j) * width**j * whole[j] for j in range(i + 1)),
            Fraction(0),
        )
        for i in range(1, len(whole))
    ]


def _of_moments(rng: np.random.Generator) -> Stress:
    """Mixtures of two beta densities, on a symmetric support of any scale, or on (0, 1)."""
    symmetric = rng.random() < 0.6
    order = int(rng.integers(2, 11 if symmetric else 7))
    parts = []
    for _ in range(2):
        a, b = (Fraction(int(rng.integers(2, 60)), 10) for _ in range(2))
        parts.append(_beta_moments(a, b, order))
    share = Fraction(int(rng.integers(0, 11)), 10)
    mixed = [share * p + (1 - share) * q for p, q in zip(*parts, strict=True)]
    low, width = Fraction(0), Fraction(1)
    if symmetric:
        low, width = -(Fraction(2) ** int(rng.integers(-20, 21))), Fraction(0)
        width = -2 * low
    m = [float(value) for value in _affine(mixed, low, width)]
    return Stress("moments", order, (float(low), float(low + width)), m=np.array(m))


def problems(count: int, seed: int) -> Iterator[Stress]:
    """Yield `count` problems, every kind in turn; a tenth of them moments."""
    rng = np.random.default_rng(seed)
    names = list(KINDS)
    for i in range(count):
        yield _of_moments(rng) if i % 10 == 9 else _samples(rng, names[(i - i // 10) % len(names)])
