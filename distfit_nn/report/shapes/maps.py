"""Maps: a statistic of layers by steps, and the dependence between units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from distfit_nn.report.numbers import count
from distfit_nn.report.select import clean, site_word
from distfit_nn.report.shapes.limits import LARGEST, Array
from distfit_nn.stats.dependence import MOST_UNITS, rank_correlation

if TYPE_CHECKING:
    from distfit_nn.stats.summary import Recording

_DECADES = 30.0  # the scale is logarithmic where the largest value is so many times the smallest
_NAME = 28  # characters of a layer's name


@dataclass(frozen=True)
class Grid:
    """One column of the table of layers, by layer and step.

    Attributes
    ----------
    values : array (layers, steps)
        NaN where there is no recording, or no finite value.
    rows, columns : tuple of str
        Names of the layers, steps.
    column : str
        What is shown.
    low, high : float
        Range of the scale: of the finite values.
    log : bool
        Whether colours go by the logarithm: all values are above 0 and span a factor of 30.
    """

    values: Array
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    column: str
    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, layers: pd.DataFrame, column: str, site: str | None = None) -> Grid | None:
        """Return `column` of a table with layer, site and step; None if no value is finite.

        Only `site`, where it is given; else a layer with several sites has a row for each.
        """
        table = layers if site is None else layers[layers["site"] == site]
        known = table[["layer", "site", "step", column]]
        keys = list(zip(map(str, known["layer"]), map(str, known["site"]), strict=True))
        places = {key: row for row, key in enumerate(dict.fromkeys(keys))}
        row = [places[key] for key in keys]
        steps = np.unique(known["step"])
        values = np.full((len(places), len(steps)), np.nan)
        at = np.searchsorted(steps, known["step"])
        values[row, at] = known[column].to_numpy(dtype=float, na_value=np.nan)
        values[~(np.abs(values) < LARGEST)] = np.nan
        shown = values[np.isfinite(values)]
        if not shown.size:
            return None
        low, high = float(shown.min()), float(shown.max())
        names = _names(list(places))
        return cls(
            values,
            names,
            tuple(count(s) for s in steps),
            column,
            low,
            high,
            bool(low > 1 / LARGEST and high > _DECADES * low),
        )

    def share(self) -> Array:
        """Return where on the scale each value lies, in [0, 1]; NaN where there is none."""
        if self.high == self.low:
            return np.where(np.isnan(self.values), np.nan, 0.5)
        if self.log:
            return np.log(self.values / self.low) / np.log(self.high / self.low)
        return (self.values - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Dependence:
    """Spearman's rank correlation of each pair of some units of one recording.

    Attributes
    ----------
    matrix : array (k, k)
        Ordered so that units that go together stand together (average linkage of 1 - |rho|).
    rows : int array (k,)
        Their rows in the table of units.
    names : tuple of str
    n : int
        Rows that it rests on.
    units : int
        Units that there are.
    """

    matrix: Array
    rows: np.ndarray
    names: tuple[str, ...]
    n: int
    units: int

    @classmethod
    def of(
        cls, recording: Recording, *, most: int = MOST_UNITS, seed: int = 0
    ) -> Dependence | None:
        """Return the dependence of at most `most` units; None where no rows are kept, or too few.

        What `rank_correlation` says of units and rows that are left out holds.
        """
        if recording.sample is None:
            return None
        units = recording.units["unit"].to_numpy()
        return cls.of_values(recording.sample, units, most=most, seed=seed)

    @classmethod
    def of_values(
        cls,
        values: Array,
        units: Sequence[int] | Array | None = None,
        *,
        most: int = MOST_UNITS,
        seed: int = 0,
    ) -> Dependence | None:
        """Return the dependence between the columns of an array (n, d), numbered by `units`."""
        found = rank_correlation(values, most=most, seed=seed)
        if found is None:
            return None
        order = _clustered(found.rho)
        numbers = np.arange(values.shape[1]) if units is None else np.asarray(units)
        rows = found.units[order]
        names = tuple(count(int(number)) for number in numbers[rows])
        return cls(found.rho[np.ix_(order, order)], rows, names, found.n, values.shape[1])


def _names(places: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return what the rows are called: the layer, and the site where a layer has several."""
    several = len({layer for layer, _ in places}) < len(places)
    return tuple(
        clean(layer, _NAME) + (f", {site_word(site)}" if several else "") for layer, site in places
    )


def _clustered(rho: Array) -> np.ndarray:
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    if len(rho) < 3:
        return np.arange(len(rho))
    apart = 1 - np.abs(rho)
    np.fill_diagonal(apart, 0)
    tree = hierarchy.linkage(squareform(np.maximum(apart, 0), checks=False), "average")
    leaves: np.ndarray = hierarchy.leaves_list(tree)
    return leaves
