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
    log_tails: Float  # (levels,), log P(statistic >= quantile), ascending
    quantiles: Float  # (rows, levels), descending along the levels


def null_pvalues(name: str, statistic: Float, n: Int) -> Float:
    """P-values of a statistic, modified as tabulated, each for its own sample size.

    Between two statistics, the logarithms of the tabulated p-values are interpolated linearly;
    between two sample sizes, p-values in 1/sqrt(n). Beyond the last size, 5,000, the other end is
    the limit: chi-squared with two degrees of freedom for the statistics of moments, and the law
    at 5,000 for those of distances, whose modification has taken away all but what depends on 1/n.
    NaN where the statistic is NaN; at least 1/400001.
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
    return np.exp(np.interp(-statistic, -table.quantiles[row], table.log_tails))


@cache
def _null_table(name: str) -> _NullTable:
    source = resources.files("distfit_nn.stats.normality").joinpath("null_quantiles.npz")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as table:
        sizes, quantiles = table["sizes"], table[name][:, ::-1].astype(np.float64)
        log_tails = np.log(table["counts"][::-1] / (int(table["replicates"]) + 1))
    known = ~np.isnan(quantiles[:, 0])  # a test may take more values than the least size has
    limit = -2 * log_tails if name in _CHI_SQUARED else quantiles[-1]
    return _NullTable(
        steps=np.append(0.0, sizes[known][::-1].astype(np.float64) ** -0.5),
        log_tails=log_tails,
        quantiles=np.vstack([limit, quantiles[known][::-1]]),
    )
