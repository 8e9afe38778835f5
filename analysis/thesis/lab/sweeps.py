"""Learning rates: their choice, and runs at the chosen one beside that of the thesis."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from lab import script, training
from lab.data import Source
from lab.training import THESIS_RATE, Setting

MORE_SEEDS = 2  # for the two best rates: one seed alone often takes the second best for the best


class Chosen(NamedTuple):
    """The best rate of each layer, and the mean validation accuracy of all that were tried."""

    best: dict[str, float]
    tried: dict[str, dict[float, float]]  # of a layer, by rate


def chosen(
    lab: script.Script, source: Source, bases: Sequence[Setting], rates: Sequence[float]
) -> Chosen:
    """Return the best rate for each setting, one a layer, by the last accuracy on held-back images.

    Each rate is run with the seed of the setting; the two best of each layer also with the next two
    seeds, and of these the one with the better mean is chosen. In the quick setting the first round
    decides.
    """
    first = training.sweep(bases, rates)
    found = _accuracies(lab, source, first)
    if not lab.quick:
        finals = [again for base in bases for again in _finals(base, rates, found)]
        found |= _accuracies(lab, source, finals)
    tried: dict[str, dict[float, list[float]]] = {base.layer: {} for base in bases}
    for setting, accuracy in found.items():
        tried[setting.layer].setdefault(setting.rate, []).append(accuracy)
    best = {
        layer: max(by_rate, key=lambda rate: (len(by_rate[rate]), statistics.fmean(by_rate[rate])))
        for layer, by_rate in tried.items()
    }
    means = {
        layer: {rate: statistics.fmean(values) for rate, values in by_rate.items()}
        for layer, by_rate in tried.items()
    }
    return Chosen(best, means)


def at_both_rates(
    lab: script.Script,
    source: Source,
    bases: Sequence[Setting],
    best: Mapping[str, float],
    seeds: int,
    curves: Sequence[str],
) -> tuple[dict[str, dict[str, Any]], list[tuple[Setting, dict[str, Any]]]]:
    """Train each layer at the thesis' rate and at its best one, with the first so many seeds.

    Returns the rate and the curves over seeds of each layer, as `thesis_rate` and `best_rate`, and
    all runs with their settings.
    """
    wanted = [
        replace(base, rate=rate, seed=seed)
        for base in bases
        for rate in dict.fromkeys((THESIS_RATE, best[base.layer]))
        for seed in range(seeds)
    ]
    runs = list(zip(wanted, lab.each(training.train, wanted, source), strict=True))

    def at(layer: str, rate: float) -> dict[str, Any]:
        own = [run for setting, run in runs if (setting.layer, setting.rate) == (layer, rate)]
        return {"rate": rate, **{curve: training.summary(own, curve) for curve in curves}}

    panels = {
        "thesis_rate": {base.layer: at(base.layer, THESIS_RATE) for base in bases},
        "best_rate": {base.layer: at(base.layer, best[base.layer]) for base in bases},
    }
    return panels, runs


def _finals(base: Setting, rates: Sequence[float], found: dict[Setting, float]) -> list[Setting]:
    """Return the further runs of the two best rates of a setting."""
    two = sorted(rates, key=lambda rate: found[replace(base, rate=rate)])[-2:]
    return [
        replace(base, rate=rate, seed=base.seed + more)
        for rate in two
        for more in range(1, MORE_SEEDS + 1)
    ]


def _accuracies(
    lab: script.Script, source: Source, settings: Sequence[Setting]
) -> dict[Setting, float]:
    """Return the last accuracy on images held back, in %, 0 where there is none."""
    runs = lab.each(training.train, settings, source)
    return {
        setting: run["validation_accuracy"][-1] or 0.0
        for setting, run in zip(settings, runs, strict=True)
    }
