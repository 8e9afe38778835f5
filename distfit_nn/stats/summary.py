"""One recording, summarised: the table of its units, histograms and densities.

A recording is what one layer gave at one site and step, (rows, units).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from distfit_nn import _checks
from distfit_nn.maxent import Density
from distfit_nn.stats.accumulator import Accumulator, ColumnSummary
from distfit_nn.stats.densities import Histogram, density_of, histogram
from distfit_nn.stats.moments_result import Moments
from distfit_nn.stats.unit_table import unit_table

UNIT_BINS, POOLED_BINS = 32, 96
LEAST_ORDER = 4  # moments that the tables need, whatever the order of the densities
KEPT_ROWS, KEPT_BYTES = 1000, 1 << 24  # of a recording's sample of rows


class Place(NamedTuple):
    """Where and when values were recorded.

    `activation` is the function that takes them, None if not known; the rows are a sample of
    `rows_seen`, None for all; `names` are those of the units, where they have any; `ids` their
    numbers, where not all units of the layer were recorded.
    """

    layer: str = "x"
    site: str = "values"
    step: int = 0
    activation: str | None = None
    rows_seen: int | None = None
    names: tuple[str, ...] | None = None
    ids: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Recording:
    """What one layer gave at one site and step, summarised.

    Attributes
    ----------
    layer, site, step, activation
        Where and when; `activation` is the function that takes these values, None if not known.
    rows, rows_seen : int
        Rows that were recorded, and how many they were sampled from.
    units : DataFrame
        One row per unit, the columns of the unit table.
    histogram, density : per unit
    pooled : Moments
        Of all units' values together; with `pooled_histogram` and `pooled_density`.
    sample : array (k, units), or None
        Some rows, for what needs the units together or single values: up to 1,000 and 16 MiB. None
        where no row was kept. `analyze` keeps those of a layer's first and last step.
    """

    layer: str
    site: str
    step: int
    activation: str | None
    rows: int
    rows_seen: int
    units: pd.DataFrame
    histogram: Histogram
    density: Density
    pooled: Moments
    pooled_histogram: Histogram
    pooled_density: Density
    sample: NDArray[Any] | None = None


def summarise(values: ArrayLike, place: Place | None = None, *, order: int = 6) -> Recording:
    """Summarise the values (rows, units) of one layer at one site and step, all in memory.

    NaN and infinite values are counted and left out of everything else.
    """
    table = _checks.to_numpy(values, "values")
    found = Accumulator(table.shape[1], order=max(order, LEAST_ORDER))
    found.update(table)
    return recording(found.finalise(), place or Place(), order)


def recording(found: ColumnSummary, place: Place, order: int) -> Recording:
    """Return what is told of a recording whose columns are summarised."""
    density = density_of(found.moments, found.sketch, order)
    pooled, pooled_sketch = found.pooled_moments(), found.pooled_sketch()
    units = unit_table(found, density, place.site, place.activation)
    return Recording(
        layer=place.layer,
        site=place.site,
        step=place.step,
        activation=place.activation,
        rows=found.sample.seen,
        rows_seen=found.sample.seen if place.rows_seen is None else place.rows_seen,
        units=_placed(units, place),
        histogram=histogram(found.sketch, UNIT_BINS),
        density=replace(density),  # without the tables made for these figures
        pooled=pooled,
        pooled_histogram=histogram(pooled_sketch, POOLED_BINS),
        pooled_density=density_of(pooled, pooled_sketch, order),
        sample=_kept(found.sample.values),
    )


def _placed(units: pd.DataFrame, place: Place) -> pd.DataFrame:
    """Return the table of units with where and when they were recorded in front."""
    where = {
        "layer": text([place.layer] * len(units)),
        "site": text([place.site] * len(units)),
        "step": place.step,
        "unit": np.arange(len(units)) if place.ids is None else np.array(place.ids),
        "name": text(place.names or [None] * len(units)),
    }
    table = pd.concat([pd.DataFrame(where), units], axis=1)
    return table.copy()  # in a few blocks, which are fast to join to those of other recordings


def text(values: Sequence[str | None]) -> pd.Series:
    """Return names as a column of objects: pandas' columns of text may refuse a lone surrogate."""
    return pd.Series(values, dtype=object)


def _kept(values: NDArray[Any]) -> NDArray[Any] | None:
    """Return as many of the rows as a recording may keep: the same ones of as many rows."""
    rows, units = values.shape
    most = min(KEPT_ROWS, KEPT_BYTES // (units * values.itemsize))
    if rows == 0 or most == 0:
        return None
    if rows <= most:
        return values
    chosen = np.random.default_rng(rows).choice(rows, most, replace=False)
    return values[np.sort(chosen)]
