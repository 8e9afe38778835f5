"""Which first layer a network needs on raw features: heavy tails, glitches, sensors that drift.

Not in the thesis: the place where a shaped layer does win. 20 features x_j = g_j(z_j) of normal z,
five of each kind: normal, 1000 z + 5000, lognormal exp(1.5 z) and Cauchy. Classes (four) and the
target of the regression come from a random network on z, so that no increasing map of a feature
changes what can be known; 5% of labels are replaced at random, and the regression has noise of 0.3
standard deviations. 6,000 rows to train, 2,000 to choose the rate by, 4,000 to test. After the
first layer come 64 ReLU units, 64 more, and the output; Adam, a rate that falls to 0, batches of
100. Each seed draws features, classes and start anew, the same for all layers, which are therefore
compared seed by seed.

Trainings: the classes from z itself (a control: nothing is raw); from x; the regression; from x
with 1% of all entries replaced, in training and validation, by 100 interquartile ranges times
Cauchy numbers, tested without; from x with 2% of the rows of training and validation replaced by
100 interquartile ranges times normal numbers and labels at random, tested without. What was trained
on x is also tested with 1% of entries replaced, and with each feature under an unknown increasing
map (two draws): by the statistics of training, by those of each test batch of 500 rows
(`batch_statistics`), and by those of 2,000 unlabelled rows that have drifted (`recalibrate`). The
QuantileTransformer is fitted to the rows that the layers take theirs from.

Each layer has one rate in each training: the best of a grid, in whole runs of two seeds that are
not used again, on the rows of validation, which have not drifted.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lab import script, style
from lab.data import Source
from lab.features import sensors, tabular
from lab.features.sensors import GLITCHES, NOISE, NORMAL, RAW, REGRESSION
from lab.features.tabular import (
    BATCH_NORM,
    COPULA,
    COPULA_50,
    NONE,
    QUANTILES,
    TRIMMED,
    Map,
    Plan,
    Table,
)
from lab.findings import Finding
from matplotlib.figure import Figure
from torch import nn

import distfit_nn as dn

GLITCHES_AT_TEST = "glitches at test"
TRAINED, BY_BATCHES, RECALIBRATED = "as trained", "by batches", "recalibrated"
RECALIBRATIONS = tuple(f"drift {number}, {RECALIBRATED}" for number in range(1, sensors.DRIFTS + 1))
LAYERS = (NONE, "LayerNorm", BATCH_NORM, "MomentNorm 4", TRIMMED, COPULA, COPULA_50, QUANTILES)
QUICK_LAYERS = (BATCH_NORM, TRIMMED, COPULA, COPULA_50, QUANTILES)
RATES, QUICK_RATES = (3e-3, 1e-2, 3e-2, 1e-1), (1e-2,)
SWEEP_SEEDS = (100, 101)
STEPS, QUICK_STEPS = 400, 80
ROWS, QUICK_ROWS = 6000, 1500
BASES = (BATCH_NORM, TRIMMED, QUANTILES)
HARD = (RAW, REGRESSION, GLITCHES, NOISE, GLITCHES_AT_TEST)  # what a shaped layer should win
GIVEN_BACK = 2.0  # points that a recalibrated layer may lose
FIGURE = "raw_features"
WITHOUT_STATISTICS = (NONE, "LayerNorm")


@dataclass(frozen=True)
class Setting:
    """One training, and all tests of it."""

    training: str
    layer: str
    rate: float
    seed: int
    steps: int = STEPS
    rows: int = ROWS

    @property
    def plan(self) -> Plan:
        outputs = 1 if self.training == REGRESSION else sensors.CLASSES
        return Plan(self.layer, outputs, self.rate, self.seed, self.steps)


def measured(setting: Setting, _: Source | None) -> dict[str, Any]:
    """Train a network, and return what it makes of each test: a task for `Script.each`."""
    start, plan = time.perf_counter(), setting.plan
    data = sensors.world(setting.training, setting.seed, setting.rows)
    offline = setting.layer == QUANTILES
    prepare: Map = tabular.normal_scores(data.train.x) if offline else np.asarray
    model = tabular.trained(plan, prepare(data.train.x), data.train.y)

    def score(x: Table, y: Table) -> float:
        return tabular.score(model, plan, prepare(x), y)

    scores = {setting.training: score(data.test.x, data.test.y)}
    if setting.training == RAW:
        scores[GLITCHES_AT_TEST] = score(data.glitch(data.test.x), data.test.y)
        for number, moved in enumerate(data.drifts, 1):
            found = drifted(model, plan, data, moved, prepare)
            scores |= {f"drift {number}, {by}": value for by, value in found.items()}
    return {
        "validation": score(data.validation.x, data.validation.y),
        "scores": scores,
        "seconds": time.perf_counter() - start,
    }


def drifted(
    model: nn.Module, plan: Plan, data: sensors.World, moved: Map, prepare: Map
) -> dict[str, float]:
    """Return the accuracies when the features have moved, by the three kinds of statistics."""
    x, unlabelled, y = moved(data.test.x), moved(data.unlabelled), data.test.y
    before = tabular.score(model, plan, prepare(x), y)
    if plan.first in WITHOUT_STATISTICS:
        return dict.fromkeys((TRAINED, BY_BATCHES, RECALIBRATED), before)
    if plan.first == QUANTILES:
        parts = [x[at : at + tabular.AT_ONCE] for at in range(0, len(x), tabular.AT_ONCE)]
        own = np.concatenate([tabular.normal_scores(part)(part) for part in parts])
        by_batches = tabular.score(model, plan, own, y)
        again = tabular.score(model, plan, tabular.normal_scores(unlabelled)(x), y)
    else:
        with dn.nn.batch_statistics(model):
            by_batches = tabular.score(model, plan, x, y)
        new = copy.deepcopy(model)
        dn.nn.recalibrate(new, list(tabular.tensor(unlabelled).split(plan.batch)))
        again = tabular.score(new, plan, x, y)
    return {TRAINED: before, BY_BATCHES: by_batches, RECALIBRATED: again}


Pair = tuple[str, str]  # a training and a first layer


def runs(
    lab: script.Script,
    grid: Mapping[str, Any],
    rates: Mapping[Pair, Sequence[float]],
    seeds: Sequence[int],
) -> list[tuple[Setting, dict[str, Any]]]:
    """Return the settings and the runs of each training and layer at its rates."""
    settings = [
        Setting(training, layer, rate, seed, grid["steps"], grid["rows"])
        for (training, layer), tried in rates.items()
        for rate in tried
        for seed in seeds
    ]
    return list(zip(settings, lab.each(measured, settings), strict=True))


def swept(lab: script.Script, grid: Mapping[str, Any], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return of each training, layer and rate what the seeds of the sweep have in validation."""
    found: dict[str, dict[str, dict[float, list[float]]]] = {}
    for setting, run in runs(lab, grid, dict.fromkeys(pairs, grid["rates"]), grid["sweep_seeds"]):
        tried = found.setdefault(setting.training, {}).setdefault(setting.layer, {})
        tried.setdefault(setting.rate, []).append(run["validation"])
    return found


def compared(lab: script.Script, grid: Mapping[str, Any]) -> dict[str, Any]:
    """Sweep the rates with seeds of their own, train at the best, and compare by test."""
    pairs = [(training, layer) for training in sensors.TRAININGS for layer in grid["layers"]]
    sweep = swept(lab, grid, pairs) if len(grid["rates"]) > 1 else {}
    best = {
        (training, layer): tabular.best_rate(sweep[training][layer]) if sweep else grid["rates"][0]
        for training, layer in pairs
    }
    scores: dict[str, dict[str, list[float]]] = {}
    rates: dict[str, dict[str, float]] = {}
    at_best = {pair: [rate] for pair, rate in best.items()}
    for setting, run in runs(lab, grid, at_best, range(lab.seeds)):
        for test, value in run["scores"].items():
            scores.setdefault(test, {}).setdefault(setting.layer, []).append(value)
            rates.setdefault(test, {})[setting.layer] = setting.rate
    tests = {test: tabular.compared(scores[test], rates[test], BASES) for test in scores}
    return {"seeds": lab.seeds, "validation": sweep, "tests": tests}


Tests = Mapping[str, Mapping[str, Any]]
SAID = {"raw": RAW, "regression": REGRESSION, "glitches": GLITCHES}  # names in texts


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return where a shaped layer wins, where not, and who does as well."""
    tests = numbers["tests"]
    return [_general(tests), _raw(tests), _drift(tests), _unmatched(tests)]


def _over(base: str, tests: Mapping[str, str], layer: str = COPULA) -> dict[str, str]:
    """Return the paths to a layer's differences to another, {name, name_error}, by test."""
    return {
        name + end: f"tests/{test}/{layer}/over/{base}/{part}"
        for name, test in tests.items()
        for end, part in (("", "mean"), ("_error", "error"))
    }


def _won(tests: Tests, names: Sequence[str], base: str) -> list[str]:
    """Return in which tests CopulaNorm is ahead of another layer."""
    return [test for test in names if tabular.ahead(tests[test][COPULA], base)]


def _general(tests: Tests) -> Finding:
    """Return whether it is better anywhere: the control decides."""
    won = _won(tests, (NORMAL, *HARD), BATCH_NORM)
    return Finding(
        claim="As the first layer, CopulaNorm is better than batch norm.",
        source="ours",
        holds=len(won) == 1 + len(HARD),
        condition=", ".join(won),
        text=(
            "On normal features, a control, CopulaNorm has {copula:.1f}% and batch norm "
            "{batch:.1f}%: seed by seed {normal:+.2f}, standard error {normal_error:.2f}, 95% "
            "interval {low:+.2f} to {high:+.2f}. On raw features with heavy tails the difference "
            "is {raw:+.1f}, standard error {raw_error:.1f}. Better everywhere would be an interval "
            "above 0 in the control, too."
        ),
        numbers={
            "copula": f"tests/{NORMAL}/{COPULA}/mean",
            "batch": f"tests/{NORMAL}/{BATCH_NORM}/mean",
            **{end: f"tests/{NORMAL}/{COPULA}/over/{BATCH_NORM}/{end}" for end in ("low", "high")},
            **_over(BATCH_NORM, {"normal": NORMAL, "raw": RAW}),
        },
        figure=FIGURE,
    )


def _raw(tests: Tests) -> Finding:
    """Return whether it wins on raw features, in all of five tests."""
    won = _won(tests, HARD, BATCH_NORM)
    return Finding(
        claim="On raw heavy-tailed or glitchy features, without preprocessing, CopulaNorm as the "
        "first layer beats batch norm.",
        source="ours",
        holds=len(won) == len(HARD),
        condition=", ".join(won),
        text=(
            "Accuracy {raw_own:.1f}% against {raw_batch:.1f}%. CopulaNorm less batch norm, seed by "
            "seed, with standard errors: heavy tails {raw:+.1f} ({raw_error:.1f}) points, "
            "glitches in training {glitches:+.1f} ({glitches_error:.1f}), glitches at test "
            "{at_test:+.1f} ({at_test_error:.1f}), rows of noise in training {noise:+.1f} "
            "({noise_error:.1f}); R2 of the regression, in %, {regression:+.1f} "
            "({regression_error:.1f}): ahead in {above} of {seeds} seeds, but batch norm's "
            "standard deviation over seeds is {wide:.0f} there. A win is a 95% interval above 0."
        ),
        numbers={
            "above": f"tests/{REGRESSION}/{COPULA}/over/{BATCH_NORM}/above",
            "seeds": "seeds",
            "wide": f"tests/{REGRESSION}/{BATCH_NORM}/std",
            "raw_own": f"tests/{RAW}/{COPULA}/mean",
            "raw_batch": f"tests/{RAW}/{BATCH_NORM}/mean",
            **_over(BATCH_NORM, {**SAID, "noise": NOISE, "at_test": GLITCHES_AT_TEST}),
        },
        figure=FIGURE,
    )


def _drift(tests: Tests) -> Finding:
    """Return whether recalibration gives back what an increasing drift took."""
    before = tests[RAW][COPULA]["mean"]
    back = all(before - tests[test][COPULA]["mean"] <= GIVEN_BACK for test in RECALIBRATIONS)
    won = len(_won(tests, RECALIBRATIONS, BATCH_NORM)) == sensors.DRIFTS
    return Finding(
        claim="When every sensor drifts by an increasing map, CopulaNorm recalibrated on rows "
        "without labels loses at most two points, and is better than batch norm recalibrated.",
        source="ours",
        holds=back and won,
        condition="better than batch norm, but more than two points lost" if won else "",
        text=(
            "Without drift {before:.1f}%. Drifted (two draws), it has {trained_1:.1f} and "
            "{trained_2:.1f}% by the statistics of training, batch norm {left_1:.1f} and "
            "{left_2:.1f}%. Recalibrated {again_1:.1f} and {again_2:.1f}%, batch norm "
            "{batch_1:.1f} and {batch_2:.1f}%; seed by seed {one:+.1f} (standard error "
            "{one_error:.1f}) and {two:+.1f} ({two_error:.1f}). With strength 50 {fifty_1:.1f} "
            "and {fifty_2:.1f}% of {fifty:.1f}%. The rule: at most "
            f"{GIVEN_BACK:g} points lost."
        ),
        numbers={
            "before": f"tests/{RAW}/{COPULA}/mean",
            "fifty": f"tests/{RAW}/{COPULA_50}/mean",
            **{
                f"{name}_{number}": f"tests/drift {number}, {by}/{layer}/mean"
                for number in range(1, sensors.DRIFTS + 1)
                for name, by, layer in (
                    ("trained", TRAINED, COPULA),
                    ("left", TRAINED, BATCH_NORM),
                    ("again", RECALIBRATED, COPULA),
                    ("batch", RECALIBRATED, BATCH_NORM),
                    ("fifty", RECALIBRATED, COPULA_50),
                )
            },
            **_over(BATCH_NORM, dict(zip(("one", "two"), RECALIBRATIONS, strict=True))),
        },
        figure=FIGURE,
    )


def _unmatched(tests: Tests) -> Finding:
    """Return whether a cheap robust layer or quantiles beforehand do as well."""
    seven = (*HARD, *RECALIBRATIONS)
    beaten = [base for base in (TRIMMED, QUANTILES) if _won(tests, seven, base) == list(seven)]
    return Finding(
        claim="Nothing simpler does as well there: neither TrimmedNorm nor a QuantileTransformer "
        "before training.",
        source="ours",
        holds=len(beaten) == 2,
        condition=f"against {beaten[0]} only" if beaten else "",
        text=(
            "CopulaNorm less TrimmedNorm, with standard errors: heavy tails {t_raw:+.1f} "
            "({t_raw_error:.1f}), regression {t_regression:+.1f} ({t_regression_error:.1f}), "
            "glitches in training {t_glitches:+.1f} ({t_glitches_error:.1f}). Less the "
            "QuantileTransformer, fitted to the training rows beforehand: {q_raw:+.1f} "
            "({q_raw_error:.1f}), {q_regression:+.1f} ({q_regression_error:.1f}), "
            "{q_glitches:+.1f} ({q_glitches_error:.1f}); with strength 50 {f_raw:+.1f} "
            "({f_raw_error:.1f}), {f_regression:+.1f} ({f_regression_error:.1f}), "
            "{f_glitches:+.1f} ({f_glitches_error:.1f}). It counts where all seven tests, "
            "drift recalibrated among them, have a 95% interval above 0 at strength 5."
        ),
        numbers={
            f"{letter}_{name}": path
            for letter, layer, base in (
                ("t", COPULA, TRIMMED),
                ("q", COPULA, QUANTILES),
                ("f", COPULA_50, QUANTILES),
            )
            for name, path in _over(base, SAID, layer).items()
        },
        figure=FIGURE,
    )


PANELS = {
    NORMAL: "Normal features (control)",
    RAW: "Raw, heavy tails",
    REGRESSION: "Raw, regression, R²",
    GLITCHES: "Glitches in training",
    NOISE: "Rows of noise in training",
    GLITCHES_AT_TEST: "Glitches at test only",
    f"drift 1, {TRAINED}": "Drift, statistics of training",
    f"drift 1, {BY_BATCHES}": "Drift, those of test batches",
    f"drift 1, {RECALIBRATED}": "Drift, recalibrated, no labels",
}


def draw(tests: Tests) -> Figure:
    """Draw a panel for each test; both draws of a drift are in one."""
    figure, axes = style.figure(12.0, 9.6, 3, 3, sharey=True)
    for ax, (test, title) in zip(axes.flat, PANELS.items(), strict=True):
        both = [tests[name] for name in tests if name.replace("drift 2", "drift 1") == test]
        tabular.draw_dots(ax, {layer: [each[layer] for each in both] for layer in both[0]}, 1)
        ax.set(title=title, xlabel="R², %" if test == REGRESSION else "accuracy, %")
    return figure


def markdown(tests: Tests, cell: Callable[[Mapping[str, Any]], str]) -> str:
    """Return a table of tests by layers."""
    layers = list(tests[RAW])
    lines = ["| test | " + " | ".join(layers) + " |", "|---" * (1 + len(layers)) + "|"]
    for test, entries in tests.items():
        cells = " | ".join(cell(entries[layer]) for layer in layers)
        lines.append(f"| {test} | {cells} |")
    return "\n".join(lines)


def over(base: str) -> Callable[[Mapping[str, Any]], str]:
    """Return what tells the difference of a layer to another, and nothing of that one."""
    return lambda entry: tabular.told(entry["over"][base], 1) if base in entry["over"] else ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every layer at every rate, choose, compare and write."""
    lab = script.begin(__file__, __doc__, arguments)
    tabular.require_pairs(lab.seeds)
    grid = {
        "layers": QUICK_LAYERS if lab.quick else LAYERS,
        "rates": QUICK_RATES if lab.quick else RATES,
        "steps": QUICK_STEPS if lab.quick else STEPS,
        "rows": QUICK_ROWS if lab.quick else ROWS,
        "sweep_seeds": () if lab.quick else SWEEP_SEEDS,
    }
    results = lab.results(
        "The first layer on raw features", {"trainings": sensors.TRAININGS, **grid}
    )
    numbers = compared(lab, grid)
    tests = numbers["tests"]
    caption = (
        "Each point is a seed, the number the mean, the dashed line batch norm's mean; of drift "
        "there are two draws. Each layer has its best rate in validation. R² is cut at -100%, and "
        "what is lower is no point. QuantileTransformer: fitted before training, or where it says "
        "so to the test batch or to the rows that have drifted."
    )
    tables = {
        "Accuracy (regression: R2), %, mean and standard deviation": markdown(
            tests, lambda entry: tabular.scored(entry, 1)
        ),
        **{
            f"Over {base}, seed by seed, points, and standard error": markdown(tests, over(base))
            for base in BASES
        },
        "Rates": markdown(tests, lambda entry: f"{entry['rate']:g}"),
    }
    results.write(numbers, findings(numbers), {FIGURE: (draw(tests), caption)}, tables)


if __name__ == "__main__":
    script.run(main)
