"""Analyses of made-up activations, small enough to be rendered in a test."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from distfit_nn.analysis import Analysis
from distfit_nn.stats.summary import Place, summarise

Where = tuple[str, str, int]


def analysis_of(samples: Mapping[Where, np.ndarray], **more: object) -> Analysis:
    """Return the analysis of (layer, site, step) -> values (rows, units)."""
    settings = {"source": "made up", "order": 6, "created": "2026-01-01T12:00:00+00:00", **more}
    activation = settings.pop("activation", "relu")
    recordings = [
        summarise(values, Place(layer, site, step, activation), order=settings["order"])
        for (layer, site, step), values in samples.items()
    ]
    return Analysis(recordings=tuple(recordings), **settings)


def network(
    rng: np.random.Generator, layers: int = 3, units: int = 12, rows: int = 300, steps=(0, 50, 1000)
) -> dict[Where, np.ndarray]:
    """Return layers before and after a batch normalisation that only shifts and scales units.

    The first unit of each layer has heavy tails and the last one two modes.
    """
    samples = {}
    for layer in range(layers):
        for step in steps:
            x = rng.standard_normal((rows, units))
            x[:, 0] = rng.standard_t(1, rows)
            x[:, -1] += 4 * rng.choice([-1, 1], rows)
            x = 0.5 * x * rng.gamma(4, 1, units) + rng.normal(0, 2, units)
            samples[f"layers.{layer}", "norm_input", step] = x
            samples[f"layers.{layer}", "norm_output", step] = (x - x.mean(0)) / x.std(0)
    return samples
