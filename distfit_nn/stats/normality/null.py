"""P-values from the simulated null laws of the tests of normality."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import NamedTuple

import numpy as np

from distfit_nn.stats.rows import Float, Int

_CHI_SQUARED = ("jarque_bera", "dagostino")  # in the limit, with two degrees of freedom


class _NullTable(NamedTuple):
    """Simulated tails of a null law, as written by analysis/normality_table.py, and its limit."""

    steps: Float  # (rows,), 1 / sqrt(n), ascending, from 0 for the limit
    tails: Float  # (levels,), P(statistic >= quantile), ascending
    quantiles: Float  # (rows, levels), descending along the levels


def null_pvalues(name: str, statistic: Float, n: Int) -> Float:
    """P-values of a statistic, modified as tabulated, each for its own sample size.

    Between tabulated sizes the p-values at the same statistic are interpolated linearly in
    1/sqrt(n); beyond the last, 5,000, with the limit: chi-squared with two degrees of freedom for
    the statistics of moments, and the law at 5,000 for those of distances, as Stephens' factors
    have taken away all but what depends on 1/n. NaN where the statistic is NaN. At least 1/400001.
    """
    table = _null_table(name)
    pvalue = np.full(statistic.shape, np.nan)
    tested = ~np.isnan(statistic)
    for size in np.unique(n[tested]):
        here = tested & (n == size)
        pvalue[here] = _tail(table, float(size) ** -0.5, statistic[here])
    return pvalue


def _tail(table: _NullTable, step: float, statistic: Float) -> Float:
    above = int(np.searchsorted(table.steps, step))
    larger = _tail_of_row(table, above, statistic)
    if table.steps[above] == step:
        return larger
    low, high = table.steps[above - 1 : above + 1]
    weight = (step - low) / (high - low)
    return weight * larger + (1 - weight) * _tail_of_row(table, above - 1, statistic)


def _tail_of_row(table: _NullTable, row: int, statistic: Float) -> Float:
    return np.interp(-statistic, -table.quantiles[row], table.tails)


@cache
def _null_table(name: str) -> _NullTable:
    source = resources.files("distfit_nn.stats.normality").joinpath("null_quantiles.npz")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as table:
        sizes, quantiles = table["sizes"], table[name][:, ::-1].astype(np.float64)
        tails = table["counts"][::-1] / (int(table["replicates"]) + 1)
    known = ~np.isnan(quantiles[:, 0])  # a test may take more values than the least size has
    limit = -2 * np.log(tails) if name in _CHI_SQUARED else quantiles[-1]
    return _NullTable(
        steps=np.append(0.0, sizes[known][::-1].astype(np.float64) ** -0.5),
        tails=tails,
        quantiles=np.vstack([limit, quantiles[known][::-1]]),
    )
