"""The table of layers: one row a recording, with counts of units, strengths, pooled values.

Many recordings are told at once, because a network may have a hundred thousand layers of one unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from distfit_nn.maxent import Density
from distfit_nn.maxent.solution import Solution
from distfit_nn.stats.moments_result import Moments
from distfit_nn.stats.summary import Recording, text
from distfit_nn.stats.unit_table import divergences

_BATCH = 4096  # recordings whose pooled densities are measured together
_TEXT = ("layer", "site", "activation", "pooled_status")
_COUNTED = ("dead", "saturated", "outlier", "heavy_tailed", "bimodal", "relu_signature", "far")
_MEASURED = ("kurtosis", "dip", "kl_maxent", "kl_shape", "wasserstein")


def layer_table(recordings: Sequence[Recording], units: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one row for each recording, in their order; see `Findings.layers`.

    `units` are all their tables of units, one below the other, where these are at hand.
    """
    if not recordings:
        return pd.DataFrame()
    columns = {**_places(recordings), **_of_units(recordings, units), **_pooled(recordings)}
    return pd.DataFrame(columns | {name: text(columns[name]) for name in _TEXT})


def layer_row(recording: Recording) -> dict[str, Any]:
    """Return the row of one recording."""
    table = layer_table([recording])
    return {name: table[name].iloc[0] for name in table.columns}


def _places(recordings: Sequence[Recording]) -> dict[str, Any]:
    return {
        "layer": [one.layer for one in recordings],
        "site": [one.site for one in recordings],
        "step": [one.step for one in recordings],
        "activation": [one.activation for one in recordings],
        "rows": [one.rows for one in recordings],
        "rows_seen": [one.rows_seen for one in recordings],
        "units": [len(one.units) for one in recordings],
    }


def _of_units(recordings: Sequence[Recording], units: pd.DataFrame | None) -> dict[str, Any]:
    """Return how many units have each verdict, and how strong the strongest and the median are."""
    tables = [one.units for one in recordings]
    joined = pd.concat(tables, ignore_index=True) if units is None else units
    of = np.repeat(np.arange(len(tables)), [len(table) for table in tables])

    def column(name: str, dtype: Any) -> NDArray[Any]:
        return joined[name].to_numpy(dtype=dtype)

    def number_of(having: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(of[having], minlength=len(tables))

    counts = {name: number_of(column(name, bool)) for name in _COUNTED}
    undecided = number_of(column("shape", object) == "undecided")
    failed = number_of(column("maxent_status", object) != "ok")
    ranked = {name: _ranked(column(name, float), of, len(tables)) for name in _MEASURED}
    return {
        **{name: counts[name] for name in ("dead", "saturated", "outlier", "heavy_tailed")},
        "bimodal": counts["bimodal"],
        "undecided": undecided,
        "relu_signature": counts["relu_signature"],
        "far": counts["far"],
        "maxent_failed": failed,
        "kurtosis_max": ranked["kurtosis"].largest(),
        "dip_max": ranked["dip"].largest(),
        "kl_median": ranked["kl_maxent"].median(),
        "kl_max": ranked["kl_maxent"].largest(),
        "shape_median": ranked["kl_shape"].median(),
        "wasserstein_median": ranked["wasserstein"].median(),
    }


class _Ranked(NamedTuple):
    """The known values of each recording in order: `known` of them, from place `start`."""

    values: NDArray[np.float64]
    start: NDArray[np.int64]
    known: NDArray[np.int64]

    def at(self, rank: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the value of this rank of each recording; NaN where none is known."""
        place = np.minimum(self.start + rank, len(self.values) - 1)
        return np.where(self.known > 0, self.values[place], np.nan)

    def largest(self) -> NDArray[np.float64]:
        return self.at(self.known - 1)

    def median(self) -> NDArray[np.float64]:
        low, high = self.at((self.known - 1) // 2), self.at(self.known // 2)
        with np.errstate(invalid="ignore"):  # of -inf and inf
            return np.where(low == high, low, low / 2 + high / 2)


def _ranked(values: NDArray[np.float64], of: NDArray[np.intp], recordings: int) -> _Ranked:
    order = np.lexsort((values, of))  # NaN last
    start = np.searchsorted(of, np.arange(recordings))
    known = np.bincount(of[~np.isnan(values)], minlength=recordings)
    return _Ranked(np.append(values[order], np.nan), start, known)


def _pooled(recordings: Sequence[Recording]) -> dict[str, Any]:
    """Return what is told of all units' values together."""
    parts = [_pools(batch) for batch in _alike(recordings)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _pools(batch: Sequence[Recording]) -> dict[str, NDArray[Any]]:
    pooled = _moments([one.pooled for one in batch])
    density = _densities([one.pooled_density for one in batch])
    kl_gaussian, kl_maxent = divergences(pooled, density)
    return {
        "zero_fraction": pooled.zero_fraction,
        "nan_count": pooled.nan_count,
        "inf_count": pooled.inf_count,
        "pooled_mean": pooled.mean,
        "pooled_std": pooled.std,
        "pooled_skewness": pooled.skewness,
        "pooled_kurtosis": pooled.kurtosis,
        "pooled_kl_gaussian": kl_gaussian,
        "pooled_kl_maxent": kl_maxent,
        "pooled_status": np.array(density.solution.status_names(), dtype=object),
    }


def _alike(recordings: Sequence[Recording]) -> Iterator[list[Recording]]:
    """Return successive recordings with as many moments, in batches."""

    def orders(one: Recording) -> tuple[int, int]:
        return one.pooled.order, one.pooled_density.solution.order

    for _, group in groupby(recordings, orders):
        alike = list(group)
        for start in range(0, len(alike), _BATCH):
            yield alike[start : start + _BATCH]


def _moments(parts: Sequence[Moments]) -> Moments:
    return Moments(**{name: _side_by_side(parts, name) for name in _names(Moments)})


def _densities(parts: Sequence[Density]) -> Density:
    """Return the densities as columns of one."""
    solutions = [part.solution for part in parts]
    return Density(
        Solution(**{name: _side_by_side(solutions, name) for name in _names(Solution)}),
        _side_by_side(parts, "loc"),
        _side_by_side(parts, "scale"),
    )


def _side_by_side(parts: Sequence[Any], name: str) -> NDArray[Any]:
    return np.concatenate([getattr(part, name) for part in parts], axis=-1)


def _names(kind: Any) -> list[str]:
    return [field.name for field in fields(kind)]
