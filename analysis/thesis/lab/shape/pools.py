"""A layer's units pooled: what the pool looks like, and what of that the units have themselves.

A pool of units is a mixture. Its cumulants follow from those of its units by the law of total
cumulance, and its divergence from N(0, 1) is the mean of the units' less the mutual information
between a value and the unit that it comes from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import distfit_nn as dn

Array = NDArray[np.float64]

DRAWN = 10_000  # values of a pool that are tested
BINS, EDGE = 64, 0.001  # of a histogram, and the share of values left out on either side
SEED = 0


def pool(values: Array) -> dict[str, Any]:
    """Describe the values (rows, units) of a layer as one sample, and as a mixture."""
    mean, std = values.mean(0), values.std(0)
    rng = np.random.default_rng(SEED)
    unit = rng.integers(len(mean), size=DRAWN)
    scaled = np.divide(values - mean, std, out=np.zeros_like(values), where=std > 0)
    kl = dn.stats.split_divergence(values.ravel())
    return {
        **verdict(drawn(values)),
        "kl": {part: getattr(kl, part) for part in ("location", "scale", "shape", "total")},
        "skewness": skewness_parts(values),
        "kurtosis": kurtosis_parts(values),
        "divergence": divergence_parts(values),
        "units_normal": verdict(rng.normal(mean[unit], std[unit])),
        "units_standardised": {
            **verdict(drawn(scaled)),
            "skewness": float(dn.stats.skewness(scaled.ravel())),
            "kurtosis": float(dn.stats.kurtosis(scaled.ravel())),
        },
        "histogram": histogram(values, mean, std),
    }


def drawn(values: Array) -> Array:
    """Return some values of the pool, drawn alike."""
    every = values.ravel()
    return np.random.default_rng(SEED).choice(every, min(DRAWN, every.size), replace=False)


def verdict(sample: Array) -> dict[str, Any]:
    """Return how many modes a sample has by the rule for units, the kernel's, and the thesis'."""
    found = dn.stats.classify(sample)
    peaks = np.atleast_1d(dn.stats.find_modes(sample))
    return {
        "verdict": str(found.verdict),
        "dip": found.dip,
        "pvalue": found.pvalue,
        "density_modes": found.modes,
        "coefficient": found.coefficient,
        "signature": dn.stats.relu_signature(sample).present,
        "modes": len(peaks),
        "highest_mode": np.nan if len(peaks) == 0 else peaks["position"][peaks["height"].argmax()],
    }


def skewness_parts(values: Array) -> dict[str, float]:
    """Return the pool's skewness, and the parts that add up to it.

    `shapes`: the units' own third cumulants; `means`: that of their means; `both`: that units of
    larger mean have a larger variance.
    """
    unit = _cumulants(values)
    off = unit["mean"] - unit["mean"].mean()
    scale = values.std() ** 3
    parts = {
        "shapes": unit["third"].mean() / scale,
        "means": (off**3).mean() / scale,
        "both": 3 * (off * unit["variance"]).mean() / scale,
    }
    return {"total": sum(parts.values()), **parts}


def kurtosis_parts(values: Array) -> dict[str, float]:
    """Return the pool's excess kurtosis, and the parts that add up to it.

    `shapes`: the units' own fourth cumulants; `scales`: that their variances differ; `means`: the
    fourth cumulant of their means; `both`: how means go with variances and third cumulants.
    """
    unit = _cumulants(values)
    off = unit["mean"] - unit["mean"].mean()
    spread = unit["variance"] - unit["variance"].mean()
    scale = values.var() ** 2
    parts = {
        "shapes": unit["fourth"].mean() / scale,
        "scales": 3 * (spread**2).mean() / scale,
        "means": ((off**4).mean() - 3 * (off**2).mean() ** 2) / scale,
        "both": (4 * (off * unit["third"]).mean() + 6 * (off**2 * spread).mean()) / scale,
    }
    return {"total": sum(parts.values()), **parts}


def divergence_parts(values: Array) -> dict[str, float]:
    """Return KL to N(0, 1) in nats: of the pool, of its units on average, and the difference.

    The difference is the mutual information between a value and its unit: what pooling hides.
    Entropies by spacings. NaN where a unit has point masses.
    """
    square = ((values**2).mean() + np.log(2 * np.pi)) / 2
    units = float(np.mean(dn.stats.entropy(values)))
    whole = float(dn.stats.entropy(values.ravel()))
    return {"pool": square - whole, "units": square - units, "hidden": whole - units}


def histogram(values: Array, mean: Array, std: Array) -> dict[str, Any]:
    """Return a histogram of the pool, and the density it had, were all units normal."""
    low, high = np.quantile(values, [EDGE, 1 - EDGE])
    heights, edges = np.histogram(values, BINS, (low, high))
    centres = (edges[1:] + edges[:-1]) / 2
    live = std > 0
    z = (centres[:, None] - mean[live]) / std[live]
    normal = (np.exp(-(z**2) / 2) / std[live]).sum(1) / (np.sqrt(2 * np.pi) * len(std))
    return {
        "low": low,
        "high": high,
        "heights": heights / (values.size * (edges[1] - edges[0])),
        "units_normal": normal,
    }


def _cumulants(values: Array) -> dict[str, Array]:
    """Return mean, variance, third and fourth cumulant of each unit; 0 of a constant one."""
    found = dn.stats.moments(values)
    third, fourth = found.skewness * found.std**3, found.kurtosis * found.var**2
    return {
        "mean": found.mean,
        "variance": found.var,
        "third": np.nan_to_num(third),
        "fourth": np.nan_to_num(fourth),
    }
