"""Rows of the tables of drift: what is said of all units of a layer together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from distfit_nn.stats.drift import Drift
from distfit_nn.stats.drift_baseline import fine_pvalues
from distfit_nn.stats.multiplicity import benjamini_hochberg
from distfit_nn.stats.rows import Float


def layer_effects(drift: Drift) -> dict[str, Any]:
    """Return the effects of a layer, but for the q-value and the verdict, which rest on all."""
    layer = drift.layer
    row = {
        "drifted_units": layer.drifted_units,
        "wasserstein_mean": layer.mean,
        "wasserstein_median": layer.median,
        "wasserstein_max": _most(drift.wasserstein.effect),
        "baseline_mean": layer.baseline_mean,
        "baseline_high": layer.baseline_high,
        "excess": layer.excess,
        "shift_median": _median(np.abs(drift.shift.effect)),
        "spread_median": _median(np.abs(drift.spread.effect)),
        "shape_median": _median(drift.shape.effect),
        "kolmogorov_median": _median(drift.kolmogorov.effect),
    }
    if drift.paired_correlation is not None:
        row["paired_correlation_median"] = _median(drift.paired_correlation)
    return row | {
        "pvalue": layer.pvalue,
        "qvalue": np.nan,  # over all rows
        "drifted": False,
        "n": drift.rows[0],
        "m": drift.rows[1],
    }


def judge_layers(
    table: pd.DataFrame, drifts: Sequence[Drift], alpha: float, least_effect: float
) -> pd.DataFrame:
    """Return the rows of `layer_effects` with q-values over all of them, and the verdicts.

    The q-values rest on p-values whose baselines are pooled over the layers, as those of units do:
    with B permutations alone one layer of more than alpha (B + 1) could never be found.
    """
    if not drifts:
        return table
    pooled = fine_pvalues(np.array([drift.layer.exchanged for drift in drifts]))
    qvalue = benjamini_hochberg(pooled)
    drifted = (qvalue < alpha) & (table["excess"].to_numpy(dtype=float) >= least_effect)
    return table.assign(qvalue=qvalue, drifted=drifted)


def _median(values: Float) -> float:
    """Return the median of the values that are no NaN; NaN where there are none."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _most(values: Float) -> float:
    known = values[~np.isnan(values)]
    return float(known.max()) if len(known) else float("nan")
