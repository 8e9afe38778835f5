"""Layers at one learning rate for all, and each at its own best one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lab import paired, script, training
from lab.data import Source
from lab.training import Setting

PANELS = {"thesis_rate": "all at a rate of .007", "best_rate": "each at its best rate"}
Sweep = dict[str, dict[str, float]]  # accuracy on images held back, by layer and rate


def sweep(
    lab: script.Script, source: Source, bases: Sequence[Setting], rates: Sequence[float], mark: int
) -> Sweep:
    """Return the validation accuracy of each layer at each rate, `mark` samples into the run."""
    tried = training.sweep(bases, rates)
    found: Sweep = {}
    for setting, run in zip(tried, lab.each(training.train, tried, source), strict=True):
        accuracy = run["validation_accuracy"][setting.samples.index(mark)]
        found.setdefault(setting.layer, {})[f"{setting.rate:g}"] = accuracy
    return found


def best(swept: Sweep) -> dict[str, float]:
    """Return the rate of each layer with the highest accuracy in a sweep."""
    return {layer: float(max(tried, key=tried.__getitem__)) for layer, tried in swept.items()}


def over_seeds(settings: Sequence[Setting], seeds: int) -> list[Setting]:
    """Return each setting with each of the first so many seeds, in their order."""
    return [replace(setting, seed=seed) for setting in settings for seed in range(seeds)]


def gaps(entries: Mapping[str, Any], layers: Iterable[str], rival: str) -> dict[str, Any]:
    """Return how far layers are ahead of a rival in the entries' `seeds`, paired by seed."""
    theirs = entries[rival]["seeds"]
    return {layer: paired.difference(entries[layer]["seeds"], theirs) for layer in layers}


def entry(setting: Setting, runs: Sequence[dict[str, Any]], mark: int) -> dict[str, Any]:
    """Return the rate and the test accuracy of a layer at the mark, over seeds."""
    at = setting.samples.index(mark)
    accuracies = [run["test_accuracy"][at] for run in runs]
    return {"rate": setting.rate, **training.spread(accuracies)}
