"""Tables of drift and of dependence: the functions they rest on are the oracles."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from distfit_nn.stats import drift
from distfit_nn.stats.changes import (
    DEPENDENCE_COLUMNS,
    DRIFT_COLUMNS,
    DRIFT_UNITS,
    PERMUTATIONS,
    dependence_table,
    drift_table,
)
from distfit_nn.stats.summary import Place, summarise
from tests.report.cases import analysis_of
from tests.tolerances import sum_error


def recordings(samples):
    return [summarise(x, Place(layer, site, step)) for (layer, site, step), x in samples.items()]


def test_drift_is_that_of_the_rows_that_are_kept(rng):
    x, y = rng.normal(size=(300, 4)), rng.normal([0, 0, 0, 2.0], 1, (300, 4))
    middle = rng.normal(5, 1, (300, 4))
    made = recordings({("a", "s", 20): y, ("a", "s", 3): x, ("a", "s", 10): middle})
    row = drift_table(made).iloc[0]
    found = drift(x, y, max_rows=500, random_state=0)
    assert (row["step_before"], row["step_after"]) == (3, 20)
    assert row["wasserstein_mean"] == found.layer.mean
    assert row["baseline_high"] == found.layer.baseline_high
    assert row["drifted_units"] == found.drifted.sum() == 1
    assert row["pvalue"] == row["qvalue"] == found.layer.pvalue  # of one row
    assert bool(row["drifted"])
    assert (row["most_unit"], row["most_wasserstein"]) == (3, found.wasserstein.effect[3])


def test_q_values_are_over_the_layers(rng):
    samples = {}
    for layer in "abcd":
        for step in (0, 1):
            samples[layer, "s", step] = rng.normal(5.0 * step * (layer == "a"), 1, (100, 2))
    table = drift_table(recordings(samples)).set_index("layer")
    # One layer of four by 99 permutations: its own p-value alone would give q = 4 / 100.
    assert table["qvalue"]["a"] == pytest.approx(4 / (4 * PERMUTATIONS + 1))
    assert table["drifted"].tolist() == [True, False, False, False]


def test_many_units_are_drawn_and_counted(rng):
    x = rng.normal(size=(30, 200))
    row = drift_table(recordings({("a", "s", 0): x, ("a", "s", 1): x + 1})).iloc[0]
    assert (row["units"], row["units_used"]) == (200, DRIFT_UNITS)


def test_numbers_of_units_are_those_of_the_layer(rng):
    x = rng.normal(size=(200, 3))
    x[:, 2] = x[:, 0]
    moved = x + np.array([0, 3, 0])
    made = [
        summarise(values, Place("a", "s", step, ids=(10, 20, 30)))
        for step, values in enumerate((x, moved))
    ]
    assert drift_table(made).iloc[0]["most_unit"] == 20
    pair = dependence_table(made).iloc[0]
    assert (pair["first_unit"], pair["second_unit"]) == (10, 30)
    assert pair["rho"] == pytest.approx(1, abs=sum_error(200))


def test_layers_without_two_steps_or_with_other_units_have_no_row(rng):
    x = rng.normal(size=(50, 3))
    made = recordings({("a", "s", 0): x, ("b", "s", 0): x, ("b", "s", 1): x[:, :2]})
    table = drift_table(made)
    assert len(table) == 0
    assert table.columns.tolist() == list(DRIFT_COLUMNS)


def test_dependence_is_spearmans_at_the_last_step(rng):
    x, y = rng.normal(size=(2, 80, 4))
    row = dependence_table(recordings({("a", "s", 5): x, ("a", "s", 1): y})).iloc[0]
    rho = np.abs(stats.spearmanr(x).statistic[np.triu_indices(4, 1)])
    assert (row["step"], row["n"], row["pairs"]) == (5, 80, 6)
    assert row["median"] == pytest.approx(np.median(rho))
    assert row["largest"] == pytest.approx(rho.max())


def test_what_cannot_be_measured_is_missing_not_an_error():
    nothing, same = np.full((5, 3), np.nan), np.ones((5, 3))
    analysis = analysis_of({("a", "values", 0): nothing, ("a", "values", 1): same})
    drifted, pairs = analysis.drift.iloc[0], analysis.dependence.iloc[0]
    assert np.isnan(drifted["wasserstein_mean"])
    assert drifted["most_unit"] is None
    assert not drifted["drifted"]
    assert np.isnan(pairs["median"])
    assert pairs["first_unit"] is None
    content = json.loads(analysis.to_json())
    assert content["drift"][0]["wasserstein_mean"] is None
    assert content["dependence"][0]["first_unit"] is None


def test_one_unit_has_no_pairs(rng):
    table = dependence_table(recordings({("a", "s", 0): rng.normal(size=(9, 1))}))
    assert len(table) == 0
    assert table.columns.tolist() == list(DEPENDENCE_COLUMNS)


def test_the_analysis_has_both_in_json_and_csv(rng):
    samples = {("a", "values", step): rng.normal(step, 1, (60, 3)) for step in (0, 1)}
    analysis = analysis_of(samples)
    content = json.loads(analysis.to_json())
    assert content["version"] == 2
    assert set(content["drift"][0]) == set(DRIFT_COLUMNS)
    assert set(content["dependence"][0]) == set(DEPENDENCE_COLUMNS)
    assert analysis.to_csv(table="drift").startswith("layer,site,step_before,step_after,units,")
    assert analysis.drift is analysis.drift  # computed once
    assert {"drift", "dependence"} <= set(analysis.definitions)
