"""One recording, summarised: the table of its units, histograms, densities, and what is remarkable.

A recording is what one layer gave at one site and step, (rows, units). Thresholds stand here once;
`DEFINITIONS` says them in words, for the report and for the JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import chdtri

from distfit_nn import maxent
from distfit_nn.maxent import Density
from distfit_nn.stats.bimodality.coefficient import bimodality_from_shape
from distfit_nn.stats.bimodality.dip import dip_test
from distfit_nn.stats.divergence.gaussian import kl_from_moments
from distfit_nn.stats.moments import Moments, moments
from distfit_nn.stats.multiplicity import benjamini_hochberg

Array = NDArray[np.float64]

ALPHA = 0.05  # false discovery rate of the dip test over the units of a recording
LEAST_DIP = 0.02  # a dip below this is not called bimodal, however significant
HEAVY_KURTOSIS = 3.0  # excess kurtosis of the Laplace distribution
HEAVY_ERRORS = 4.0  # standard errors sqrt(24 / n) of the kurtosis of a normal sample
FAR_KL = 0.5  # nats: the KL divergence of N(1, 1) from N(0, 1)
FAR_CHANCE = 1e-3  # share of units of N(0, 1) that small samples alone may call far
# Activations that give 0 for every negative input.
RECTIFIERS = ("relu", "relu6")

UNIT_BINS, POOLED_BINS = 32, 96
CENTRAL = 0.005  # share of the values in each tail that a histogram may leave out
LARGEST = 1e300  # bins end here, so that their widths cannot overflow

DEFINITIONS = {
    "dead": (
        "A unit is dead if all its finite values, two or more, are equal, or if it feeds a ReLU "
        "and none of them is above 0, so that the ReLU never opens on these rows."
    ),
    "heavy_tailed": (
        f"A unit is heavy-tailed if its excess kurtosis is above {HEAVY_KURTOSIS:g} (that of the "
        f"Laplace distribution; the normal has 0) and above {HEAVY_ERRORS:g} standard errors "
        "sqrt(24/n)."
    ),
    "bimodal": (
        f"A unit is bimodal if Hartigan's dip is at least {LEAST_DIP:g} and its p-value, corrected "
        "by Benjamini-Hochberg over the units of the same recording, is below "
        f"{ALPHA:g}. The null hypothesis is one mode."
    ),
    "far": (
        f"A unit is far from N(0,1) if kl_maxent is above {FAR_KL:g} nat, the divergence of a "
        "normal distribution whose mean is off by one standard deviation, and above what samples "
        f"of n values of N(0,1) itself exceed with probability {FAR_CHANCE:g} (2 n KL taken as "
        "chi-squared with as many degrees of freedom as moments; n at least two more than these). "
        "A unit that is not constant but "
        "has too few distinct values for a density is judged by kl_gaussian."
    ),
    "mean": "Mean of the n finite values.",
    "std": "Standard deviation, divisor n.",
    "skewness": "Third standardised central moment; no bias correction.",
    "kurtosis": "Excess kurtosis: fourth standardised central moment less 3; no bias correction.",
    "zero_fraction": "Share of the finite values that are exactly 0.",
    "bimodality_coefficient": (
        "(skewness^2 + 1) / (excess kurtosis + 3) with the finite-sample corrections of SAS; 5/9 "
        "for the uniform distribution. Skew alone raises it: no verdict rests on it."
    ),
    "dip": (
        "Hartigan's dip: the largest distance between the empirical distribution function and the "
        "nearest unimodal one. Equal values on a grid are spread over its cells first: the "
        "levels of a rounded or counted quantity are no modes. dip_pvalue is from a table for "
        "uniform samples, dip_qvalue corrected by Benjamini-Hochberg."
    ),
    "kl_gaussian": (
        "KL(N(mean, std^2), N(0,1)) = (std^2 + mean^2 - 1)/2 - log(std), in nats: the part that a "
        "shift and a scale of the unit remove."
    ),
    "kl_maxent": (
        "KL(p, N(0,1)) = (E x^2 + log 2 pi)/2 - H(p), in nats, for the maximum-entropy density p "
        "with the unit's first moments on three times the range of its data. Among all densities "
        "with these moments p has the smallest divergence."
    ),
    "mass_outside": (
        "Probability that the maximum-entropy density puts outside the range of the data; where it "
        "is not small, the density's tails are its own and not the data's."
    ),
    "shape_median": (
        "Median over units of kl_maxent - kl_gaussian, in nats: the part of the divergence that no "
        "shift and scale of a unit can remove (its negentropy, as far as the moments show it)."
    ),
    "maxent_status": (
        "ok: the density has the moments; regularised: only nearly; degenerate: no density exists "
        "(constant, or too few distinct values); invalid: no finite value."
    ),
}


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts over the central part of d columns.

    Attributes
    ----------
    edges : (bins + 1, d)
        Equal bins; they hold all values where there are no outliers.
    counts : (bins, d) int64
    below, above, n : (d,) int64
        Finite values left and right of the bins, and of all.
    """

    edges: Array
    counts: NDArray[np.int64]
    below: NDArray[np.int64]
    above: NDArray[np.int64]
    n: NDArray[np.int64]


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


def summarise(
    values: NDArray[Any],
    layer: str = "x",
    site: str = "values",
    step: int = 0,
    activation: str | None = None,
    *,
    names: Sequence[str] | None = None,
    rows_seen: int | None = None,
    order: int = 6,
) -> Recording:
    """Summarise the values (rows, units) of one layer at one site and step.

    NaN and infinite values are counted and left out of everything else. `names` are those of the
    units, where they have any; `rows_seen` is how many rows the values are a sample of.
    """
    density = maxent.fit(values, order, nan_policy="omit")
    pooled_values = values.reshape(-1)
    pooled_density = maxent.fit(pooled_values, order, nan_policy="omit")
    measured = moments(values)
    units = _unit_table(values, measured, density, feeds_rectifier(site, activation))
    where = pd.DataFrame(
        {
            "layer": layer,
            "site": site,
            "step": step,
            "unit": np.arange(values.shape[1]),
            "name": pd.Series(names, range(values.shape[1]), dtype=object),
        }
    )
    units = pd.concat([where, units], axis=1)
    return Recording(
        layer=layer,
        site=site,
        step=step,
        activation=activation,
        rows=len(values),
        rows_seen=len(values) if rows_seen is None else rows_seen,
        units=units,
        histogram=histogram(values, UNIT_BINS),
        density=density,
        pooled=moments(pooled_values),
        pooled_histogram=histogram(pooled_values[:, None], POOLED_BINS),
        pooled_density=pooled_density,
    )


def feeds_rectifier(site: str, activation: str | None) -> bool:
    """Return whether values at this site are known to go into a ReLU."""
    return activation in RECTIFIERS and site in ("pre_activation", "norm_output", "output")


def _unit_table(
    values: NDArray[Any], measured: Moments, density: Density, rectified: bool
) -> pd.DataFrame:
    """Return the statistics and flags of every unit."""
    dip = dip_test(values, ties="spread")
    kl_gaussian, kl_maxent = _divergences(measured, density)
    table = pd.DataFrame(
        {
            "n": measured.n,
            "mean": measured.mean,
            "std": measured.std,
            "skewness": measured.skewness,
            "kurtosis": measured.kurtosis,
            "min": measured.minimum,
            "max": measured.maximum,
            "zero_fraction": measured.zero_fraction,
            "nan_count": measured.nan_count,
            "inf_count": measured.inf_count,
            "bimodality_coefficient": bimodality_from_shape(
                measured.skewness, measured.kurtosis, measured.n
            ),
            "dip": dip.statistic,
            "dip_pvalue": dip.pvalue,
            "dip_qvalue": benjamini_hochberg(dip.pvalue),
            "kl_gaussian": kl_gaussian,
            "kl_maxent": kl_maxent,
            "mass_outside": density.mass_outside(),
            "maxent_status": density.solution.status_names(),
        }
    )
    error = np.sqrt(24 / np.maximum(table["n"], 1))
    closed = rectified & (table["max"] <= 0)
    table["dead"] = (table["n"] > 1) & ((table["min"] == table["max"]) | closed)
    table["heavy_tailed"] = table["kurtosis"] > np.maximum(HEAVY_KURTOSIS, HEAVY_ERRORS * error)
    table["bimodal"] = (table["dip_qvalue"] < ALPHA) & (table["dip"] >= LEAST_DIP)
    judged = table["kl_maxent"].fillna(table["kl_gaussian"].where(table["std"] > 0))
    chance = chdtri(density.order, FAR_CHANCE) / (2 * np.maximum(table["n"], 1))
    table["far"] = (judged > np.maximum(FAR_KL, chance)) & (table["n"] >= density.order + 2)
    return table


def _divergences(measured: Moments, density: Density) -> tuple[Array, Array]:
    """Return KL to N(0,1) of the Gaussian fit and of the density; NaN where there is none."""
    gaussian = kl_from_moments(measured.mean, measured.var)
    mean, var, entropy = (np.asarray(v) for v in (density.mean(), density.var(), density.entropy()))
    return gaussian, kl_from_moments(mean, var, entropy)


def layer_row(recording: Recording) -> dict[str, Any]:
    """Return the recording's row of the layer table: counts of units, strengths, pooled values."""
    units, pooled = recording.units, recording.pooled
    kl_gaussian, kl_maxent = _divergences(pooled, recording.pooled_density)
    shape = units["kl_maxent"] - units["kl_gaussian"]
    return {
        "layer": recording.layer,
        "site": recording.site,
        "step": recording.step,
        "activation": recording.activation,
        "rows": recording.rows,
        "rows_seen": recording.rows_seen,
        "units": len(units),
        "dead": int(units["dead"].sum()),
        "heavy_tailed": int(units["heavy_tailed"].sum()),
        "bimodal": int(units["bimodal"].sum()),
        "far": int(units["far"].sum()),
        "maxent_failed": int((units["maxent_status"] != "ok").sum()),
        "kurtosis_max": units["kurtosis"].max(),
        "dip_max": units["dip"].max(),
        "kl_median": units["kl_maxent"].median(),
        "kl_max": units["kl_maxent"].max(),
        "shape_median": shape.median(),
        "zero_fraction": float(pooled.zero_fraction),
        "nan_count": int(pooled.nan_count),
        "inf_count": int(pooled.inf_count),
        "pooled_mean": float(pooled.mean),
        "pooled_std": float(pooled.std),
        "pooled_skewness": float(pooled.skewness),
        "pooled_kurtosis": float(pooled.kurtosis),
        "pooled_kl_gaussian": float(kl_gaussian),
        "pooled_kl_maxent": float(kl_maxent),
        "pooled_status": recording.pooled_density.solution.status_names()[0],
    }


def histogram(values: NDArray[Any], bins: int) -> Histogram:
    """Count the finite values of each column in equal bins over its central part.

    The bins reach half the width of the central 99% beyond it on either side, but not beyond the
    data: a column without outliers is covered whole, and an outlier does not squeeze the rest into
    one bin.
    """
    columns = values.shape[1]
    low, high = np.empty(columns), np.empty(columns)
    counts = np.zeros((bins, columns), np.int64)
    below, above, n = (np.zeros(columns, np.int64) for _ in range(3))
    for j in range(columns):
        column = values[:, j].astype(np.float64)
        column = np.sort(column[np.isfinite(column)])
        low[j], high[j] = _central(column)
        cuts = np.linspace(low[j], high[j], bins + 1)
        places = np.searchsorted(column, cuts, "left")
        places[-1] = np.searchsorted(column, cuts[-1], "right")
        counts[:, j] = np.diff(places)
        below[j], above[j], n[j] = places[0], len(column) - places[-1], len(column)
    return Histogram(np.linspace(low, high, bins + 1), counts, below, above, n)


def _central(column: Array) -> tuple[float, float]:
    """Return the ends of the bins for sorted values."""
    if not len(column):
        return 0.0, 1.0
    column = np.clip(column, -LARGEST, LARGEST)
    left, right = column[0], column[-1]
    inner, outer = np.quantile(column, (CENTRAL, 1 - CENTRAL))
    low = max(left, inner - (outer - inner) / 2)
    high = min(right, outer + (outer - inner) / 2)
    if not low < high:
        low, high = left, right
    if not low < high:
        room = max(0.5, abs(low) * 1e-6)
        low, high = low - room, high + room
    return float(low), float(high)
