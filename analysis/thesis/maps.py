"""The learnable maps of the thesis, log-shift and sqrt-shift: what they are and what they learn.

The slides ask for maps that are steep around 0, flatter farther out and at least twice
differentiable, so that they make the two peaks that batch norm was seen to make. The blog finds
values from -100 to 100 behind a sqrt-shift in the third layer, before it a centred single peak.

Shown are the maps and their derivatives at 0; test accuracy on MNIST after 25,000 samples, with
maps that start with a small or a large gain (their slope at 0), that are learned or fixed, and with
a learned line that has no shape, the best of four gains each; and, after 125,000 samples, the
parameters, the learned curves and the values before and after them. At a rate of .007, and with
each layer at its own best one, from a sweep of one further seed by the accuracy on images held
back. The network and the runs of the usual layers are those of tables.py.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lab import comparison, paired, script, training
from lab.comparison import PANELS
from lab.data import Source
from lab.maps import shift_figures, shift_findings, shifts
from lab.maps.shifts import FIXED
from lab.training import SAMPLES, THESIS_RATE, Setting
from tables import LAYERS as IN_TABLES
from tables import QUICK_RATES, RATES, SWEEP_SEED

MARK = SAMPLES[0]
REFERENCES = ("Regular", "BatchNorm")
GAINS = {  # of the slope at the start: the layer
    "LogShift": {
        1: "LogShift, gain 1",
        4: "LogShift, gain 4",
        15: "LogShift",
        60: "LogShift, gain 60",
    },
    "SqrtShift": {
        1: "SqrtShift, gain 1",
        4: "SqrtShift, gain 4",
        20: "SqrtShift",
        80: "SqrtShift, gain 80",
    },
    "Line": {1: "Line, gain 1", 2: "Line, gain 2", 4: "Line, gain 4", 8: "Line, gain 8"},
}
QUICK_GAINS = {
    "LogShift": {1: "LogShift, gain 1", 15: "LogShift"},
    "SqrtShift": {1: "SqrtShift, gain 1", 20: "SqrtShift"},
    "Line": {1: "Line, gain 1", 4: "Line, gain 4"},
}
LOOKED_AT = (0, 1_000, 5_000, 25_000, 125_000)
QUICK_MARK, QUICK_LOOKED_AT = 2_000, (0, 2_000)
EXPONENTS = (0.5, 1.0, 1.5, 2.0, 3.0)
STARTS = {"LogShift": {"a": 3.0, "b": 5.0}, "SqrtShift": {"a": 20.0}}


def trained(
    lab: script.Script, source: Source, gains: dict[str, dict[int, str]], mark: int
) -> dict[str, Any]:
    """Sweep all layers, and train them at .007 and at their best rates; accuracy at the mark."""
    layers = [
        *REFERENCES,
        *(layer for each in gains.values() for layer in each.values()),
        *FIXED.values(),
    ]
    whole = (mark,) if lab.quick else SAMPLES
    bases = [
        Setting(layer, THESIS_RATE, SWEEP_SEED, whole if layer in IN_TABLES else (mark,))
        for layer in layers
    ]
    rates = QUICK_RATES if lab.quick else RATES
    sweep = comparison.sweep(lab, source, bases, rates, mark)
    best = comparison.best(sweep)
    wanted = {
        "thesis_rate": bases,
        "best_rate": [replace(base, rate=best[base.layer]) for base in bases],
    }
    every = list(dict.fromkeys(setting for chosen in wanted.values() for setting in chosen))
    runs = iter(lab.each(training.train, comparison.over_seeds(every, lab.seeds), source))
    entries = {
        setting: comparison.entry(setting, [next(runs) for _ in range(lab.seeds)], mark)
        for setting in every
    }
    found: dict[str, Any] = {"sweep": sweep}
    for panel, chosen in wanted.items():
        found[panel] = {setting.layer: entries[setting] for setting in chosen}
        for family, layers in gains.items():
            gain = best_gain(layers, sweep, chosen)
            found[panel][f"best {family}"] = {"gain": gain, **found[panel][layers[gain]]}
    return found


def best_gain(layers: dict[int, str], sweep: comparison.Sweep, chosen: Sequence[Setting]) -> int:
    """Return the gain with the best accuracy on images held back, at the rates of `chosen`."""
    rates = {setting.layer: f"{setting.rate:g}" for setting in chosen}
    return max(layers, key=lambda gain: sweep[layers[gain]][rates[layers[gain]]])


def compared(entries: dict[str, Any]) -> dict[str, Any]:
    """Return how far each map is ahead of what it is to be compared with, paired by seed."""
    return {
        layer: {
            name: paired.difference(entries[ours]["seeds"], entries[rival]["seeds"])
            for name, ours, rival in (
                ("over none", layer, "Regular"),
                ("over batch norm", layer, "BatchNorm"),
                ("over gain 1", layer, f"{layer}, gain 1"),
                ("best over best line", f"best {layer}", "best Line"),
                ("over fixed", layer, FIXED[layer]),
            )
        }
        for layer in FIXED
    }


def looked_at(lab: script.Script, source: Source, best: dict[str, float]) -> dict[str, Any]:
    """Return what the maps learn, and what enters and leaves them, beside batch norm."""
    marks = QUICK_LOOKED_AT if lab.quick else LOOKED_AT
    settings = [
        Setting(layer, rate, seed, marks)
        for layer in shifts.PARAMETERS
        for rate in dict.fromkeys((THESIS_RATE, best[layer]))
        for seed in range(lab.seeds)
    ]
    runs = list(zip(settings, lab.each(shifts.learned, settings, source), strict=True))

    def at(layer: str, rate: float) -> dict[str, Any]:
        chosen = [run for setting, run in runs if (setting.layer, setting.rate) == (layer, rate)]
        return {"rate": rate, **described(chosen, layer)}

    return {
        "thesis_rate": {layer: at(layer, THESIS_RATE) for layer in shifts.PARAMETERS},
        "best_rate": {layer: at(layer, best[layer]) for layer in shifts.PARAMETERS},
    }


def described(runs: list[dict[str, Any]], layer: str) -> dict[str, Any]:
    """Return parameters, ends and shapes over seeds, and the curves and histograms of one seed."""
    marks, levels = range(len(runs[0]["spans"])), range(len(shifts.LEVELS))
    return {
        "test_accuracy": training.spread([run["test_accuracy"] for run in runs]),
        "reach": [
            [
                statistics.fmean(reach(run["spans"][mark][level][1]) for run in runs)
                for mark in marks
            ]
            for level in levels
        ],
        "parameters": shifts.summary(runs, layer),
        "third": {"before": third(runs, 0), "after": third(runs, 1)},
        "units": [
            {name: [float(f"{value:.4g}") for value in values] for name, values in level.items()}
            for level in runs[0]["end"]
        ],
        "inner": [[before["low"], before["high"]] for before, _ in runs[0]["spans"][-1]],
    }


def third(runs: list[dict[str, Any]], side: int) -> dict[str, Any]:
    """Return the values of the third level at the end, before (0) or behind (1) the layer."""
    spans = [run["spans"][-1][-1][side] for run in runs]
    shapes = [run["shapes"][-1][side] for run in runs]
    return {
        "min": training.spread([span["min"] for span in spans]),
        "max": training.spread([span["max"] for span in spans]),
        "reach": training.spread([reach(span) for span in spans]),
        "std": training.spread([shape["std"] for shape in shapes]),
        "offset": training.spread([abs(shape["mean"]) / shape["std"] for shape in shapes]),
        "one_peak": sum(shape["verdict"] == "unimodal" for shape in shapes),
        "bimodal_units": training.spread([shape["bimodal_units"] for shape in shapes]),
        "counts": shapes[0]["counts"],
        "edges": shapes[0]["edges"],
    }


def reach(span: dict[str, float]) -> float:
    """Return the largest absolute value."""
    return max(-span["min"], span["max"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Differentiate, train, look at what was learned, and write."""
    lab = script.begin(__file__, __doc__, arguments)
    source = lab.source("mnist")
    gains, mark = (QUICK_GAINS, QUICK_MARK) if lab.quick else (GAINS, MARK)
    settings = {
        "mark": mark,
        "looked_at": QUICK_LOOKED_AT if lab.quick else LOOKED_AT,
        "gains": {name: list(each) for name, each in gains.items()},
        "rates": QUICK_RATES if lab.quick else RATES,
        "thesis_rate": THESIS_RATE,
        "sweep_seed": SWEEP_SEED,
        "batch": training.BATCH,
        "probed": shifts.PROBED,
    }
    results = lab.results("Log-shift and sqrt-shift", settings, source)
    found = trained(lab, source, gains, mark)
    best = comparison.best(found["sweep"])
    numbers = {
        "mark": mark,
        "marks": settings["looked_at"],
        "seeds": lab.seeds,
        "at_zero": {
            layer: {f"{each:g}": shifts.at_zero(layer, each, **STARTS[layer]) for each in EXPONENTS}
            for layer in FIXED
        },
        **found,
        "gaps": {panel: compared(found[panel]) for panel in PANELS},
        "learned": looked_at(lab, source, best),
    }
    figures = shift_figures.all_of(numbers, gains)
    results.write(
        numbers,
        shift_findings.all_of(numbers),
        figures,
        {"what the maps learn": shift_figures.table(numbers)},
    )


if __name__ == "__main__":
    script.run(main)
