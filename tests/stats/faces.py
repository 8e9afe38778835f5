"""The public statistics of columns by name and options, how they are called and taken apart."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from distfit_nn import stats

NORMAL = np.random.default_rng(20170510).normal(size=20)

# Columns that have no answer, or none that a single number can be.
COLUMNS: dict[str, list[float]] = {
    "none": [],
    "one": [1.5],
    "two": [1.0, 2.0],
    "equal": [2.0, 2.0],
    "three": [1.0, 2.0, 4.0],
    "constant": [3.0] * 50,
    "halves": [0.0] * 25 + [1.0] * 25,
    "missing": [math.nan] * 10,
}
# And some that are no more than hard to compute with.
BAD: dict[str, Any] = {
    **COLUMNS,
    "infinite": [math.inf, -math.inf, *np.linspace(-1, 1, 20) ** 3],
    "ints": np.arange(20),
    "float16": np.linspace(6e4, 6.5e4, 30).astype(np.float16),
    "huge": np.linspace(-1, 1, 30) ** 3 * 1.7e308,
    "tiny": np.linspace(-1, 1, 30) ** 3 * 1e-320,
}

# The statistics of columns, by name and options. Where options change what bad columns give, or
# how columns are read, the function stands more than once.
FEW = {"replicates": 9, "random_state": 1}
STATISTICS: dict[str, dict[str, Any]] = {
    "anderson_darling": {},
    "ashman_d": {},
    "atoms": {},
    "bimodality_coefficient": {},
    "classify": {},
    "critical_bandwidth_test": FEW,
    "critical_bandwidth_test two": {**FEW, "modes": 2, "ties": "atoms", "interval": (0, 1)},
    "dagostino": {},
    "dip_test": {},
    "dip_test spread": {"ties": "spread"},
    "dip_test apart": {"ties": "apart"},
    "distances": {},
    "distances sample": {"reference": NORMAL},
    "distances law": {"reference": "uniform"},
    "distinct_values": {},
    "energy_distance": {},
    "entropy": {},
    "entropy gaussian": {"method": "gaussian"},
    "entropy maxent": {"method": "maxent"},
    "entropy neighbours": {"method": "neighbours"},
    "find_modes": {},
    "find_modes bandwidth": {"bandwidth": 0.5},
    "find_modes maxent": {"method": "maxent"},
    "find_modes silverman": {"bandwidth": "silverman"},
    "health": {},
    "health tanh": {"activation": "tanh"},
    "health relu": {"activation": "relu"},
    "jarque_bera": {},
    "jensen_shannon": {},
    "jensen_shannon sample": {"reference": NORMAL},
    "kl_estimate": {},
    "kl_estimate gaussian": {"method": "gaussian"},
    "kl_estimate maxent": {"method": "maxent"},
    "kl_estimate neighbours": {"method": "neighbours"},
    "kl_to_standard_normal": {},
    "kl_to_standard_normal maxent": {"method": "maxent"},
    "kl_to_standard_normal spacings": {"method": "spacings"},
    "kolmogorov_smirnov": {},
    "kolmogorov_smirnov sample": {"reference": NORMAL},
    "kurtosis": {},
    "l_moments": {},
    "lilliefors": {},
    "mixture_test": FEW,
    "mixture_test spread": {**FEW, "ties": "spread", "equal_variance": True},
    "moments": {},
    "normality_tests": {},
    "relu_signature": {},
    "shapiro_wilk": {},
    "sketch": {},
    "skewness": {},
    "split_divergence": {},
    "split_divergence neighbours": {"method": "neighbours"},
    "tail_index": {},
    "two_component_mixture": {},
    "two_component_mixture spread": {"ties": "spread", "equal_variance": True},
    "wasserstein": {},
    "wasserstein two": {"p": 2},
}
# The public functions of other things than columns, with tests of their own.
OTHERS = {
    "adjusted",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "bimodality_from_shape",
    "density_divergences",
    "drift",
    "kl_from_moments",
}


def call(name: str, x: Any, axis: Any = 0) -> Any:
    """Return what a statistic gives; any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return getattr(stats, name.split()[0])(x, axis, **STATISTICS[name])


def fields(result: Any) -> dict[str, Any]:
    """Return the arrays of a result by their names."""
    if isinstance(result, stats.NormalityTests):
        found = {f"{t}.{k}": v for t, r in result.results.items() for k, v in fields(r).items()}
        return found | {f"{test}.qvalue": q for test, q in result.qvalues.items()}
    if isinstance(result, stats.Moments):
        names = ("n", "mean", "std", "skewness", "kurtosis", "minimum", "maximum", "zero_fraction")
        return {name: getattr(result, name) for name in names}
    if isinstance(result, stats.Sketch):
        found = {name: getattr(result, name) for name in ("n", "minimum", "maximum")}
        return found | {"median": result.quantile(0.5)}
    if hasattr(result, "_asdict"):
        return result._asdict()
    if isinstance(result, list):
        return {"modes": np.array([len(column) for column in result], dtype=int)}
    if np.asarray(result).dtype.names:
        return {"modes": len(result)}
    return {"value": result}
