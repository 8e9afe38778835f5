"""Measures of the shape of columns: NumPy, SciPy, Numba and statsmodels, never torch."""

from __future__ import annotations

from distfit_nn.stats.accumulator import Accumulator, ColumnSummary
from distfit_nn.stats.bimodality.atoms import Atoms, atoms
from distfit_nn.stats.bimodality.classify import Classification, classify
from distfit_nn.stats.bimodality.coefficient import bimodality_coefficient, bimodality_from_shape
from distfit_nn.stats.bimodality.critical_bandwidth import (
    CriticalBandwidth,
    critical_bandwidth_test,
)
from distfit_nn.stats.bimodality.dip import DipResult, dip_test
from distfit_nn.stats.bimodality.mixture import (
    MixtureFit,
    MixtureTest,
    ashman_d,
    mixture_test,
    two_component_mixture,
)
from distfit_nn.stats.bimodality.modes import find_modes
from distfit_nn.stats.bimodality.relu_signature import ReluSignature, relu_signature
from distfit_nn.stats.distinct import DistinctValues, distinct_values
from distfit_nn.stats.divergence.distances import (
    DistanceResult,
    Distances,
    KolmogorovResult,
    distances,
    energy_distance,
    kolmogorov_smirnov,
    wasserstein,
)
from distfit_nn.stats.divergence.entropy import entropy
from distfit_nn.stats.divergence.estimates import KlEstimate, kl_estimate
from distfit_nn.stats.divergence.fitted import (
    DensityDivergences,
    density_divergences,
    jensen_shannon,
)
from distfit_nn.stats.divergence.gaussian import kl_from_moments, kl_to_standard_normal
from distfit_nn.stats.divergence.split import DivergenceSplit, split_divergence
from distfit_nn.stats.drift import Drift, drift
from distfit_nn.stats.health import Health, health
from distfit_nn.stats.l_moments import LMoments, l_moments
from distfit_nn.stats.moment_sums import MomentSums
from distfit_nn.stats.moments import kurtosis, moments, skewness
from distfit_nn.stats.moments_result import Moments
from distfit_nn.stats.multiplicity import adjusted, benjamini_hochberg, benjamini_yekutieli
from distfit_nn.stats.normality.tests import (
    DistanceTest,
    MomentTest,
    ShapiroTest,
    anderson_darling,
    dagostino,
    jarque_bera,
    lilliefors,
    shapiro_wilk,
)
from distfit_nn.stats.normality.units import NormalityTests, normality_tests
from distfit_nn.stats.row_sample import RowSample, SampledRows
from distfit_nn.stats.sketch import SketchSums, sketch
from distfit_nn.stats.sketch_bins import Sketch
from distfit_nn.stats.tail_index import TailIndex, tail_index

__all__ = [
    "Accumulator",
    "Atoms",
    "Classification",
    "ColumnSummary",
    "CriticalBandwidth",
    "DensityDivergences",
    "DipResult",
    "DistanceResult",
    "DistanceTest",
    "Distances",
    "DistinctValues",
    "DivergenceSplit",
    "Drift",
    "Health",
    "KlEstimate",
    "KolmogorovResult",
    "LMoments",
    "MixtureFit",
    "MixtureTest",
    "MomentSums",
    "MomentTest",
    "Moments",
    "NormalityTests",
    "ReluSignature",
    "RowSample",
    "SampledRows",
    "ShapiroTest",
    "Sketch",
    "SketchSums",
    "TailIndex",
    "adjusted",
    "anderson_darling",
    "ashman_d",
    "atoms",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "bimodality_coefficient",
    "bimodality_from_shape",
    "classify",
    "critical_bandwidth_test",
    "dagostino",
    "density_divergences",
    "dip_test",
    "distances",
    "distinct_values",
    "drift",
    "energy_distance",
    "entropy",
    "find_modes",
    "health",
    "jarque_bera",
    "jensen_shannon",
    "kl_estimate",
    "kl_from_moments",
    "kl_to_standard_normal",
    "kolmogorov_smirnov",
    "kurtosis",
    "l_moments",
    "lilliefors",
    "mixture_test",
    "moments",
    "normality_tests",
    "relu_signature",
    "shapiro_wilk",
    "sketch",
    "skewness",
    "split_divergence",
    "tail_index",
    "two_component_mixture",
    "wasserstein",
]
