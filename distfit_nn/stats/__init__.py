"""Measures of the shape of columns: NumPy, SciPy, Numba and statsmodels, never torch."""

from __future__ import annotations

from distfit_nn.stats.bimodality.coefficient import bimodality_coefficient, bimodality_from_shape
from distfit_nn.stats.bimodality.dip import DipResult, dip_test
from distfit_nn.stats.divergence.gaussian import kl_from_moments, kl_to_standard_normal
from distfit_nn.stats.moments import Moments, kurtosis, moments, skewness
from distfit_nn.stats.multiplicity import benjamini_hochberg

__all__ = [
    "DipResult",
    "Moments",
    "benjamini_hochberg",
    "bimodality_coefficient",
    "bimodality_from_shape",
    "dip_test",
    "kl_from_moments",
    "kl_to_standard_normal",
    "kurtosis",
    "moments",
    "skewness",
]
