"""The table of the units of a recording: one row a unit, effect sizes first, then verdicts.

Counts, moments, quantiles and densities are those of all rows; what needs single values is of the
sample of rows, whose size stands beside it. Thresholds stand here once; `definitions` says them in
words.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import chdtri

from distfit_nn.maxent import Density, Status
from distfit_nn.stats.accumulator import ColumnSummary
from distfit_nn.stats.bimodality.classify import Classification, Evidence, evidence_of_rows, judge
from distfit_nn.stats.bimodality.relu_signature import relu_signature_of_density
from distfit_nn.stats.divergence.distances import Distances, distances_of_rows
from distfit_nn.stats.divergence.gaussian import kl_from_moments
from distfit_nn.stats.divergence.split import split_from_density
from distfit_nn.stats.health import Health, HealthParts, health_of_parts, parts_of_rows
from distfit_nn.stats.l_moments import l_moments_of_rows
from distfit_nn.stats.moments_result import Moments
from distfit_nn.stats.multiplicity import benjamini_hochberg
from distfit_nn.stats.normality.tests import normality_of_rows
from distfit_nn.stats.rows import Rows, by_batches

Array = NDArray[np.float64]

ALPHA = 0.05  # false discovery rate of the tests over the units of a recording
FAR_KL = 0.5  # nats: the KL divergence of N(1, 1) from N(0, 1)
FAR_CHANCE = 1e-3  # share of units of N(0, 1) that small samples alone may call far
MOST_EPSILON = 1e-6  # of a regularised density that counts
QUANTILES = {"q01": 0.01, "median": 0.5, "q99": 0.99}
UNSEEN = "not measured: no single values of it were kept"
BATCH = 1 << 18  # values of the sample that are sorted at once,
UNITS = 1 << 10  # and units, whose densities take more memory than their values, if these are few


class SampleMeasures(NamedTuple):
    """What the sampled values tell of each unit, each field over all units.

    Attributes
    ----------
    evidence : Evidence
        Of one mode or more.
    distances : Distances
        From N(0, 1).
    l_skewness, l_kurtosis : float64 arrays
    normality_distance : float64 array
        Kolmogorov's, from the normal law that was fitted.
    normality_pvalue : float64 array
        Of Anderson and Darling's test.
    health : HealthParts
    """

    evidence: Evidence
    distances: Distances
    l_skewness: Array
    l_kurtosis: Array
    normality_distance: Array
    normality_pvalue: Array
    health: HealthParts


def unit_table(
    found: ColumnSummary, density: Density, site: str, activation: str | None
) -> pd.DataFrame:
    """Return the statistics and verdicts of every unit."""
    sample = _measured(found.sample.values, site, activation)
    shape = judge(sample.evidence, ALPHA)
    health = health_of_parts(
        found.moments,
        sample.health,
        activation=activation,
        site=site,
        l_kurtosis=sample.l_kurtosis,
    )
    columns = {
        **_sizes(found, sample, health),
        **_modes(shape),
        **_shapes(found.moments, sample.evidence.n, shape),
        "relu_signature": relu_signature_of_density(density).present & trusted(density),
        **_distances(found.moments, sample, density),
        **_normality(sample),
        **_verdicts(shape, health),
    }
    table = pd.DataFrame(columns)
    table["far"] = _far(table, density.order)
    return table


def _measured(values: NDArray[Any], site: str, activation: str | None) -> SampleMeasures:
    """Measure the sample, some columns at a time: each batch is sorted once for all statistics."""
    measure = partial(_measures, site=site, activation=activation)
    return _concatenated(by_batches(values, measure, min(BATCH, UNITS * max(1, len(values)))))


def _measures(rows: Rows, site: str, activation: str | None) -> SampleMeasures:
    l_moments = l_moments_of_rows(rows)
    tests = normality_of_rows(rows, ("anderson_darling", "lilliefors"))
    return SampleMeasures(
        evidence=Evidence(*evidence_of_rows(rows)),
        distances=distances_of_rows(rows),
        l_skewness=l_moments.ratios[0],
        l_kurtosis=l_moments.ratios[1],
        normality_distance=tests["lilliefors"].statistic,
        normality_pvalue=tests["anderson_darling"].pvalue,
        health=parts_of_rows(rows, activation=activation, site=site),
    )


def _concatenated(parts: list[Any]) -> Any:
    """Return tuples of arrays as one tuple, array behind array, at every level."""
    if not isinstance(parts[0], tuple):
        return np.concatenate(parts)
    fields = [_concatenated(list(field)) for field in zip(*parts, strict=True)]
    kind = type(parts[0])
    return kind(*fields) if hasattr(kind, "_fields") else tuple(fields)


def _sizes(found: ColumnSummary, sample: SampleMeasures, health: Health) -> dict[str, Any]:
    """Return how many values there are, where they lie, and their moments."""
    measured = found.moments
    quantiles = found.sketch.quantile(list(QUANTILES.values()))
    return {
        "n": measured.n,
        "sampled": sample.evidence.n,
        "mean": measured.mean,
        "std": measured.std,
        "skewness": measured.skewness,
        "kurtosis": measured.kurtosis,
        "l_skewness": sample.l_skewness,
        "l_kurtosis": sample.l_kurtosis,
        "min": measured.minimum,
        **dict(zip(QUANTILES, quantiles, strict=True)),
        "max": measured.maximum,
        "zero_fraction": measured.zero_fraction,
        "nan_count": measured.nan_count,
        "inf_count": measured.inf_count,
        "distinct": np.maximum(found.sketch.distinct(), health.distinct),
        "distinct_effective": health.effective_entropy,
        "tail_index": health.tail_index,
        "flat_share": health.flat_share,
        "outlier_ratio": health.outlier_ratio,
    }


def _modes(shape: Classification) -> dict[str, Any]:
    return {
        "bimodality_coefficient": shape.coefficient,
        "dip": shape.dip,
        "dip_pvalue": shape.pvalue,
        "dip_qvalue": shape.qvalue,
        "modes": shape.modes,
        "valley_depth": shape.depth,
    }


def _shapes(measured: Moments, sampled: NDArray[Any], shape: Classification) -> dict[str, Any]:
    """Return the verdicts; where no single values were kept, what moments alone can say."""
    unseen = (sampled == 0) & (measured.n > 0)
    constant = measured.minimum == measured.maximum
    unseen_verdict = np.where(constant, "constant", "undecided")
    return {
        "shape": np.where(unseen, unseen_verdict, shape.verdict).astype(object),
        "evidence": np.where(unseen, UNSEEN, shape.evidence).astype(object),
    }


def _distances(measured: Moments, sample: SampleMeasures, density: Density) -> dict[str, Any]:
    kl_gaussian, kl_maxent = divergences(measured, density)
    parts = split_from_density(measured, density)
    return {
        "kl_gaussian": kl_gaussian,
        "kl_maxent": kl_maxent,
        "kl_location": parts.location,
        "kl_scale": parts.scale,
        "kl_shape": np.where(trusted(density), parts.shape, np.nan),
        "wasserstein": sample.distances.wasserstein_1,
        "wasserstein_chance": sample.distances.chance_1,
        "kolmogorov": sample.distances.kolmogorov,
        "mass_outside": np.asarray(density.mass_outside()),
        "maxent_status": density.solution.status_names(),
    }


def _normality(sample: SampleMeasures) -> dict[str, Any]:
    return {
        "normality_distance": sample.normality_distance,
        "normality_pvalue": sample.normality_pvalue,
        "normality_qvalue": benjamini_hochberg(sample.normality_pvalue),
    }


def _verdicts(shape: Classification, health: Health) -> dict[str, Any]:
    return {
        "dead": health.dead,
        "constant": health.constant,
        "saturated": health.saturated,
        "outlier": health.outlier,
        "heavy_tailed": health.heavy_tailed,
        "bimodal": shape.verdict == "bimodal",
    }


def _far(table: pd.DataFrame, order: int) -> pd.Series:
    judged = table["kl_maxent"].fillna(table["kl_gaussian"].where(table["std"] > 0))
    chance = chdtri(order, FAR_CHANCE) / (2 * np.maximum(table["n"], 1))
    return (judged > np.maximum(FAR_KL, chance)) & (table["n"] >= order + 2)


def divergences(measured: Moments, density: Density) -> tuple[Array, Array]:
    """Return KL to N(0,1) of the Gaussian fit and of the density; NaN where none can be trusted."""
    gaussian = kl_from_moments(measured.mean, measured.var)
    mean, var, entropy = (np.asarray(v) for v in (density.mean(), density.var(), density.entropy()))
    fitted = kl_from_moments(mean, var, entropy)
    return gaussian, np.where(trusted(density), fitted, np.nan)


def trusted(density: Density) -> NDArray[np.bool_]:
    """Return which columns have a density with their moments, but for a trace of the uniform's."""
    solution = density.solution
    near = (solution.status == Status.REGULARISED) & (solution.epsilon <= MOST_EPSILON)
    return np.asarray(near | (solution.status == Status.OK))
