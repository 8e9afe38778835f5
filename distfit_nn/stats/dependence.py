"""Dependence between units: rank correlation of their pairs, and what chance gives."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from distfit_nn.stats.rows import Float, Int

MOST_UNITS = 128  # that are looked at: 8,128 pairs
MISSING = 0.05  # share of values that a unit may lack and still be looked at
FEWEST_ROWS = 4
CHANCE = 0.05  # probability that the largest of all pairs exceeds its chance level


class RankCorrelation(NamedTuple):
    """Spearman's rho of the pairs of some units.

    Attributes
    ----------
    rho : float64 array of shape (k, k)
    units : int array of shape (k,)
        The columns that were looked at, in order.
    n : int
        Rows in which all of these are finite.
    """

    rho: Float
    units: Int
    n: int


class Strength(NamedTuple):
    """How strong the dependence between units is, over their pairs.

    Attributes
    ----------
    pairs : int
    median, median_chance : float
        Median of |rho|, and what independent units with as many rows give.
    largest, largest_chance : float
        Largest |rho|, and the level that the largest of as many independent pairs exceeds with
        a probability of at most 0.05.
    first, second : int
        Columns of the strongest pair; -1 without one.
    rho : float
        Of that pair, with its sign.
    beyond : int
        Pairs above `largest_chance`.
    """

    pairs: int
    median: float
    median_chance: float
    largest: float
    largest_chance: float
    first: int
    second: int
    rho: float
    beyond: int


def rank_correlation(
    values: NDArray[Any], *, most: int = MOST_UNITS, seed: int = 0
) -> RankCorrelation | None:
    """Return Spearman's rank correlation between the columns of an array of shape (n, d).

    Columns with one value only, or with more than 5% NaN or infinite values, are left out; of the
    others `most` are drawn. Then rows with any value that is not finite are left out. None if fewer
    than 2 columns or 4 rows remain. Ties have the mean of their ranks.

    O(k n log n + k^2 n) for k columns: 128 of 1,000 rows take about 20 ms.
    """
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    finite = np.isfinite(values)
    usable = finite.mean(axis=0) >= 1 - MISSING if len(values) else np.zeros(values.shape[1], bool)
    columns = np.flatnonzero(usable & _varies(values, finite))
    if len(columns) > most:
        columns = np.sort(np.random.default_rng(seed).choice(columns, most, replace=False))
    whole = values[finite[:, columns].all(axis=1)][:, columns]
    varied = _varies(whole, np.isfinite(whole))
    columns, whole = columns[varied], whole[:, varied]
    if len(columns) < 2 or len(whole) < FEWEST_ROWS:
        return None
    ranks = stats.rankdata(whole, axis=0) - (len(whole) + 1) / 2
    ranks /= np.sqrt(np.sum(np.square(ranks), axis=0))
    rho = np.clip(ranks.T @ ranks, -1, 1)
    np.fill_diagonal(rho, 1)
    return RankCorrelation(rho, columns, len(whole))


def strength(found: RankCorrelation) -> Strength:
    """Return the median and the largest dependence over the pairs, with their levels by chance.

    For independent units rho * sqrt((n - 2) / (1 - rho^2)) has nearly Student's t with n - 2
    degrees of freedom; the level of the largest is Bonferroni's.
    """
    first, second = np.triu_indices(len(found.rho), 1)
    rho = found.rho[first, second]
    size = np.abs(rho)
    top = int(np.argmax(size))
    limit = _level(CHANCE / len(rho), found.n)
    return Strength(
        len(rho),
        float(np.median(size)),
        _level(0.5, found.n),
        float(size[top]),
        limit,
        int(found.units[first[top]]),
        int(found.units[second[top]]),
        float(rho[top]),
        int(np.sum(size > limit)),
    )


def _level(probability: float, n: int) -> float:
    """Return what |rho| of two independent units exceeds with this probability."""
    t = -special.stdtrit(n - 2, probability / 2)
    return float(t / np.sqrt(n - 2 + t * t))


def _varies(values: NDArray[Any], finite: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which columns have two different finite values."""
    if not len(values):
        return np.zeros(values.shape[1], bool)
    low = np.min(values, axis=0, where=finite, initial=np.inf)
    high = np.max(values, axis=0, where=finite, initial=-np.inf)
    return np.asarray(low < high)
