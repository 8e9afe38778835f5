"""From first to last step, and from unit to unit: tables made of the rows that recordings keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from distfit_nn.stats.dependence import rank_correlation, strength
from distfit_nn.stats.drift import LEAST_EFFECT, Drift, drift
from distfit_nn.stats.drift_table import judge_layers, layer_effects
from distfit_nn.stats.summary import Recording, text
from distfit_nn.stats.unit_table import ALPHA

# What bounds the time of a row of the table of drift: about 0.1 s.
DRIFT_ROWS = 500
DRIFT_UNITS = 128
PERMUTATIONS = 99
MOST_LAYERS = 100  # more are not compared unless asked for: it would take minutes
SEED = 0

DRIFT_COLUMNS = (
    *("layer", "site", "step_before", "step_after", "units", "units_used", "drifted_units"),
    *("wasserstein_mean", "wasserstein_median", "wasserstein_max"),
    *("baseline_mean", "baseline_high", "excess"),
    *("shift_median", "spread_median", "shape_median", "kolmogorov_median"),
    *("pvalue", "qvalue", "drifted", "n", "m"),
    *("most_unit", "most_wasserstein", "most_qvalue"),
)
DEPENDENCE_COLUMNS = (
    *("layer", "site", "step", "units", "units_used", "n", "pairs"),
    *("median", "median_chance", "largest", "largest_chance", "beyond"),
    *("first_unit", "second_unit", "rho"),
)


def drift_table(recordings: Sequence[Recording]) -> pd.DataFrame:
    """Return how far each layer has moved, at each site, from its first to its last step.

    Of at most 128 units (seeded, in their order) and 500 rows a side, with 99 permutations. Layers
    with one step, without kept rows, or with other units at the last step have no row.
    """
    found = [(first, last, _drift_of(first, last)) for first, last in _ends(recordings)]
    rows = [_drift_row(*one) for one in found]
    drifts = [moved for _, _, (moved, _) in found]
    return judge_layers(_table(rows, DRIFT_COLUMNS), drifts, ALPHA, LEAST_EFFECT)


def dependence_table(recordings: Sequence[Recording]) -> pd.DataFrame:
    """Return how strongly the units of each layer depend on each other, at its last step.

    Of at most 128 units and the rows that are kept, up to 1,000. Layers of one unit, or without
    kept rows, have no row; where too few values are finite the numbers are missing.
    """
    last: dict[tuple[str, str], Recording] = {}
    for recording in recordings:
        key = recording.layer, recording.site
        if key not in last or recording.step >= last[key].step:
            last[key] = recording
    rows = [
        _dependence_row(one, one.sample)
        for one in last.values()
        if one.sample is not None and len(one.units) > 1
    ]
    return _table(rows, DEPENDENCE_COLUMNS)


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Return rows as a table, with names as objects."""
    names = ("layer", "site")
    values = {name: [row.get(name) for row in rows] for name in columns}
    return pd.DataFrame(values | {name: text(values[name]) for name in names})


def _ends(recordings: Sequence[Recording]) -> Iterator[tuple[Recording, Recording]]:
    """Return the first and the last recording of each layer and site that can be compared."""
    series: dict[tuple[str, str], list[Recording]] = {}
    for recording in recordings:
        series.setdefault((recording.layer, recording.site), []).append(recording)
    for some in series.values():
        first, last = min(some, key=lambda r: r.step), max(some, key=lambda r: r.step)
        kept = first.sample is not None and last.sample is not None
        if first.step < last.step and kept and first.units["unit"].equals(last.units["unit"]):
            yield first, last


def _drift_of(first: Recording, last: Recording) -> tuple[Drift, NDArray[np.intp]]:
    """Return how far some of the units have drifted, and which."""
    used = np.arange(len(first.units))
    if len(used) > DRIFT_UNITS:
        used = np.sort(np.random.default_rng(SEED).choice(used, DRIFT_UNITS, replace=False))
    found = drift(
        _columns(first, used),
        _columns(last, used),
        permutations=PERMUTATIONS,
        alpha=ALPHA,
        max_rows=DRIFT_ROWS,
        random_state=SEED,
    )
    return found, used


def _drift_row(
    first: Recording, last: Recording, moved: tuple[Drift, NDArray[np.intp]]
) -> dict[str, Any]:
    found, used = moved
    units = first.units["unit"].to_numpy()
    return {
        "layer": first.layer,
        "site": first.site,
        "step_before": first.step,
        "step_after": last.step,
        "units": len(units),
        "units_used": len(used),
        **layer_effects(found),
        **_most_moved(found, units[used]),
    }


def _columns(recording: Recording, used: NDArray[np.intp]) -> NDArray[Any]:
    kept = recording.sample
    return np.empty((0, len(used))) if kept is None else kept[:, used]


def _most_moved(found: Drift, units: NDArray[Any]) -> dict[str, Any]:
    excess = found.wasserstein.excess
    if np.isnan(excess).all():
        return {"most_unit": None, "most_wasserstein": np.nan, "most_qvalue": np.nan}
    most = int(np.nanargmax(excess))
    return {
        "most_unit": int(units[most]),
        "most_wasserstein": float(found.wasserstein.effect[most]),
        "most_qvalue": float(found.wasserstein.qvalue[most]),
    }


def _dependence_row(recording: Recording, values: NDArray[Any]) -> dict[str, Any]:
    row = {
        "layer": recording.layer,
        "site": recording.site,
        "step": recording.step,
        "units": len(recording.units),
    }
    found = rank_correlation(values, seed=SEED)
    if found is None:
        nothing = dict.fromkeys(
            ("median", "median_chance", "largest", "largest_chance", "rho"), np.nan
        )
        pair = {"first_unit": None, "second_unit": None}
        return row | {"units_used": 0, "n": 0, "pairs": 0, "beyond": 0} | nothing | pair
    units, strong = recording.units["unit"].to_numpy(), strength(found)
    return row | {
        "units_used": len(found.units),
        "n": found.n,
        **strong._asdict(),
        "first_unit": int(units[strong.first]),
        "second_unit": int(units[strong.second]),
    }
