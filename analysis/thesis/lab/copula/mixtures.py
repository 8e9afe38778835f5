"""What the learned targets of a network became: parameters, densities, number of peaks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from torch import nn

from distfit_nn.nn.targets import BIMODAL, GaussianMixture

Array = NDArray[np.float64]
Parameters = dict[str, list[list[float]]]  # weights, means, scales: (features, components)

PARTS = ("weights", "means", "scales")
BAND = (0.1, 0.5, 0.9)  # quantiles over features and seeds


def of(model: nn.Module) -> dict[str, Parameters]:
    """Return the parameters of the learnable targets of a network, by the layer's name."""
    return {
        name.rpartition(".")[0]: {
            part: getattr(module, part).detach().double().numpy().round(4).tolist()
            for part in PARTS
        }
        for name, module in model.named_modules()
        if isinstance(module, GaussianMixture) and module.learnable
    }


def densities(parameters: Parameters, grid: Array) -> Array:
    """Return the densities (features, grid) of mixtures."""
    weights, means, scales = (np.array(parameters[part])[:, None, :] for part in PARTS)
    return np.sum(weights * norm.pdf(grid[None, :, None], means, scales), axis=2)


def peaks(density: Array) -> NDArray[np.int64]:
    """Return how many peaks each of the densities (features, grid) has."""
    rises = np.diff(density, axis=1) > 0
    return np.sum(rises[:, :-1] & ~rises[:, 1:], axis=1)


def moments(parameters: Parameters) -> tuple[Array, Array, Array]:
    """Return mean, standard deviation and skewness of each mixture."""
    weights, means, scales = (np.array(parameters[part]) for part in PARTS)
    mean = np.sum(weights * means, axis=1)
    away = means - mean[:, None]
    variance = np.sum(weights * (scales**2 + away**2), axis=1)
    third = np.sum(weights * (away**3 + 3 * away * scales**2), axis=1)
    return mean, np.sqrt(variance), third / variance**1.5


def described(seeds: list[dict[str, Parameters]], grid: Array) -> dict[str, Any]:
    """Return for each layer the 10, 50 and 90% quantiles of all features of all seeds."""
    found = {}
    for layer in seeds[0]:
        whole: Parameters = {
            part: [row for seed in seeds for row in seed[layer][part]] for part in PARTS
        }
        curves = densities(whole, np.linspace(-8, 8, 1601))
        mean, std, skewness = moments(whole)
        figures = {"mean": mean, "std": std, "skewness": skewness}
        for part in PARTS:
            for k, side in enumerate(("lower", "upper")):
                figures[f"{part}, {side} peak"] = np.array(whole[part])[:, k]
        found[layer] = {
            "two_peaks": float(np.mean(peaks(curves) == 2)),
            "quantiles": {name: np.quantile(value, BAND) for name, value in figures.items()},
            "density": np.quantile(densities(whole, grid), BAND, axis=0).round(4),
        }
    return found


def start() -> Parameters:
    """Return the mixture that all start as."""
    return {part: [list(values)] for part, values in zip(PARTS, BIMODAL, strict=True)}
