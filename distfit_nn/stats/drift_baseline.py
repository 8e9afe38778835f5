"""An effect against its permutation baseline: what is left of it, and how likely chance gives it.

Throughout, `table` has the shape (units, permutations + 1): column 0 is what was measured, the
others what exchanged rows gave. NaN marks a grouping that has no such effect; it is left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from distfit_nn.stats.multiplicity import benjamini_hochberg
from distfit_nn.stats.rows import Float

_ROUNDING = 1e-9  # relative difference of two effects that is taken for rounding
_FEWEST = 2  # permutations that a spread can be taken from, and units worth pooling


class Effect(NamedTuple):
    """One effect of every unit, against what exchanged rows give; arrays of shape (d,).

    Attributes
    ----------
    effect
        As measured. Shift and spread have a sign; their baseline is that of the absolute value.
    baseline_mean, baseline_high
        Mean over the permutations, and their upper quantile: the ceil((1 - alpha) (B + 1))-th
        smallest of B, which the effect exceeds just where pvalue <= alpha.
    excess
        |effect| - baseline_mean: what is left of it. Negative where chance gives more.
    pvalue
        (b + 1) / (B + 1), with b of B permutations at least as large: exact, with steps of
        1 / (B + 1).
    qvalue
        Benjamini-Hochberg over the units, from p-values with finer steps: see `fine_pvalues`.
    """

    effect: Float
    baseline_mean: Float
    baseline_high: Float
    excess: Float
    pvalue: Float
    qvalue: Float


def compared(table: Float, signed: Float | None, unit: Float, alpha: float) -> Effect:
    """Return the effect of each unit against its baseline.

    `unit` (d,) is the unit of the result in those of the table, 0 where a difference between
    constants is infinitely large; `signed` is the effect with its sign, where it has one.
    """
    mean = _row_mean(table[:, 1:])
    return Effect(
        effect=_ratio(table[:, 0], unit) if signed is None else signed,
        baseline_mean=_ratio(mean, unit),
        baseline_high=_ratio(_upper(table[:, 1:], alpha), unit),
        excess=_ratio(_difference(table[:, 0], mean), unit),
        pvalue=pvalues(table),
        qvalue=benjamini_hochberg(fine_pvalues(table)),
    )


def pvalues(table: Float) -> Float:
    """Return (b + 1) / (B + 1) of each row; NaN where nothing was measured."""
    first, others = table[:, :1], table[:, 1:]
    reached = np.count_nonzero(others >= first * (1 - _ROUNDING), axis=1)
    done = np.count_nonzero(~np.isnan(others), axis=1)
    return np.where(np.isnan(table[:, 0]), np.nan, (reached + 1) / (done + 1))


def fine_pvalues(table: Float) -> Float:
    """Return p-values with steps of one over the number of rows times that of permutations.

    A row is a unit, or all units of one layer where layers are compared. B permutations alone
    cannot give p < 1 / (B + 1), which Benjamini-Hochberg over many rows needs. So each permuted
    effect is standardised by the mean and the standard deviation of the others of its row, the
    measured one by those of all, and what was measured is compared with the permuted effects of
    all rows: pooled, (b + 1) / (d B + 1). The measured effects, drifted or not, take no part in
    the pool.

    This assumes that the standardised baselines of the rows have one law. Where they differ, the
    p-values are right on average over the rows, not for each; `pvalues` are right for each. For
    a single row, and where a baseline does not vary, `pvalues` are returned.
    """
    fine = pvalues(table)
    score, pool = _scores(table)
    pooled = np.isfinite(score)
    if np.count_nonzero(pooled) < _FEWEST:
        return fine
    pool = np.sort(pool[pooled][np.isfinite(pool[pooled])])
    wanted = score[pooled]
    reached = len(pool) - np.searchsorted(pool, wanted - _ROUNDING * np.abs(wanted))
    fine[pooled] = (reached + 1) / (len(pool) + 1)
    return fine


def _scores(table: Float) -> tuple[Float, Float]:
    """Standardise the measured effects (d,) and the permuted ones (d, B), each by the others."""
    others = np.where(np.isfinite(table[:, 1:]), table[:, 1:], np.nan)
    count = np.count_nonzero(~np.isnan(others), axis=1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.nansum(others, axis=1, keepdims=True) / count
        away = others - mean
        squares = np.nansum(away**2, axis=1, keepdims=True)
        score = (table[:, :1] - mean) / np.sqrt(squares / (count - 1))
        # Without value i: mean_i = mean - away_i / (B - 1), squares_i = squares - away_i^2 B/(B-1)
        rest = squares - away**2 * count / (count - 1)
        pool = away * count / (count - 1) / np.sqrt(rest / (count - 2))
    return np.where(squares > 0, score, np.nan)[:, 0], pool


def _row_mean(values: Float) -> Float:
    """Mean of the finite values of each row; NaN where there is none."""
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(finite, values, 0.0).sum(axis=1) / np.count_nonzero(finite, axis=1)


def _upper(values: Float, alpha: float) -> Float:
    """Return the ceil((1 - alpha) (B + 1))-th smallest of each row, at most the largest."""
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    ordered = np.sort(values, axis=1)  # NaN last
    done = np.count_nonzero(~np.isnan(values), axis=1)
    place = np.ceil((1 - alpha) * (done + 1) * (1 - _ROUNDING)).astype(int) - 1
    return ordered[np.arange(len(values)), np.clip(place, 0, np.maximum(done - 1, 0))]


def _difference(effect: Float, mean: Float) -> Float:
    with np.errstate(invalid="ignore"):
        return effect - mean


def _ratio(value: Float, unit: Float) -> Float:
    """Return value / unit, where 0 / 0 is 0: no difference, whatever the unit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((value == 0) & (unit == 0), 0.0, value / unit)


class LayerDrift(NamedTuple):
    """Wasserstein's distance of a layer: over the units, with the same permutations.

    Attributes
    ----------
    units, drifted_units : int
        Units with values on both sides, and those of them that are called drifted.
    mean, median : float
        Of the units' distances, in pooled standard deviations; over those where that is finite.
    baseline_mean, baseline_high, excess, pvalue : float
        Of `mean`, against the means that exchanged rows give: one test per layer, exact whatever
        the dependence between units. As in `Effect`.
    exchanged : tuple of permutations + 1 floats
        Those means, the measured one first: several layers pool them for finer p-values.
    """

    units: int
    drifted_units: int
    mean: float
    median: float
    baseline_mean: float
    baseline_high: float
    excess: float
    pvalue: float
    exchanged: tuple[float, ...]


def over_layer(table: Float, unit: Float, drifted_units: int, alpha: float) -> LayerDrift:
    """Return the distance of the whole layer from the table of its units."""
    measured = ~np.isnan(table[:, 0])
    shared = measured & (unit > 0) & np.all(np.isfinite(table), axis=1)
    units = int(np.count_nonzero(measured))
    if not np.any(shared):
        nan = float("nan")
        none = (nan,) * table.shape[1]
        return LayerDrift(units, drifted_units, nan, nan, nan, nan, nan, nan, none)
    distances = table[shared] / unit[shared, None]
    row = distances.mean(axis=0)[None]
    # Exchanged rows do not change the unit of the table, but `unit` would have changed with them:
    # only in the former are what was measured and its baseline exchangeable over several units.
    invariant = table[shared].mean(axis=0)[None]
    whole = compared(row, None, np.ones(1), alpha)
    return LayerDrift(
        units,
        drifted_units,
        mean=float(row[0, 0]),
        median=float(np.median(distances[:, 0])),
        baseline_mean=float(whole.baseline_mean[0]),
        baseline_high=float(whole.baseline_high[0]),
        excess=float(whole.excess[0]),
        pvalue=float(pvalues(invariant)[0]),
        exchanged=tuple(invariant[0].tolist()),
    )
