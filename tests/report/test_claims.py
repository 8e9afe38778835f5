"""Claims: what is remarkable, how sure that is by the stated rule, and where."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distfit_nn.analysis import analyze
from distfit_nn.report import claims, histories, maps, select
from distfit_nn.report.certainty import LIKELY_N, SURE_N, SURE_Q, certainties, word_of
from distfit_nn.stats.unit_table import ALPHA
from tests.report.cases import analysis_of, network


def found(samples, **more):
    return {claim.kind: claim for claim in claims.claims(analysis_of(samples, **more))}


def ordinary(rng, rows: int = 1200, units: int = 10) -> np.ndarray:
    return rng.standard_normal((rows, units))


# The rule


def naive(n: float, times: float, q: float, tested: bool) -> str:
    if n >= SURE_N and times >= 1.5 and (not tested or q < SURE_Q):
        return "sure"
    if n >= LIKELY_N and times >= 1 and (not tested or q < ALPHA):
        return "likely"
    return "open"


@given(
    st.sampled_from([0, 1, 199, 200, 999, 1000, 10**9]),
    st.sampled_from([0.0, 0.99, 1.0, 1.49, 1.5, np.inf, np.nan]),
    st.sampled_from([1e-9, 0.00099, 0.001, 0.049, 0.05, 1.0, np.nan]),
    st.booleans(),
)
def test_certainty_is_the_stated_rule(n, times, q, tested):
    code = certainties([n], [times], [q], tested=tested)
    assert word_of(code) == naive(n, times, q, tested)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30))
def test_the_word_is_the_one_that_half_of_the_units_reach(codes):
    word = ("open", "likely", "sure").index(word_of(codes))
    assert sum(code >= word for code in codes) >= len(codes) / 2
    assert word == 2 or sum(code > word for code in codes) < len(codes) / 2


# What is claimed


@pytest.mark.parametrize(("rows", "word"), [(1200, "sure"), (400, "likely"), (60, "open")])
def test_an_outlier_channel_is_found_with_its_evidence(rng, rows, word):
    x = ordinary(rng, rows)
    x[:, 7] *= 90
    claim = found({("fc", "pre_activation", 3): x})["outlier"]
    assert (claim.layer, claim.site, claim.step, claim.unit) == ("fc", "pre_activation", 3, 7)
    assert (claim.units, claim.of, claim.n, claim.certainty) == (1, 10, rows, word)
    assert claim.value > claim.threshold == 6
    assert claim.anchor == "unit-1-7"
    assert claim.text == "1 of 10 units (10%) is an outlier channel"


def test_dead_units_are_claimed_by_the_rows_that_did_not_open_them(rng):
    x = ordinary(rng)
    x[:, 2:4] = -np.abs(x[:, 2:4])
    claim = found({("fc", "pre_activation", 0): x})["dead"]
    assert (claim.units, claim.sure, claim.certainty, claim.unit) == (2, 2, "sure", 2)
    assert any("opens for fewer than 0.2% of rows" in part for part in claims.evidence(claim))


def test_two_modes_need_the_test_too(rng):
    x = ordinary(rng)
    x[:, 4] += 4 * rng.choice([-1, 1], len(x))
    claim = found({("fc", "values", 0): x})["bimodal"]
    assert claim.qvalue < ALPHA
    assert (claim.unit, claim.threshold, claim.n) == (4, 0.01, 1200)


def test_saturation_is_sure_by_the_share_of_flat_values(rng):
    x = ordinary(rng)
    x[:, 0] *= 40
    claim = found({("fc", "pre_activation", 0): x}, activation="tanh")["saturated"]
    assert claim.certainty == "sure"
    assert claim.value == pytest.approx(np.mean(np.abs(x[:, 0]) > 2.18), abs=0.01)
    assert claim.threshold == 0.5
    x[:, 0] /= 12  # more than half, but not by much
    claim = found({("fc", "pre_activation", 0): x}, activation="tanh")["saturated"]
    assert claim.certainty == "likely"


def test_saturation_by_piles_at_the_ends_is_likely_at_most(rng):
    x = ordinary(rng)
    x[:, 0] = np.clip(9 * x[:, 0], -1, 1)
    claim = found({("fc", "values", 0): x}, activation=None)["saturated"]
    assert claim.certainty == "likely"
    assert not claims.evidence(claim)[0].startswith("nan")


def test_values_that_are_not_finite_are_counted_exactly(rng):
    x = ordinary(rng)
    x[:30, 1], x[0, 2] = np.nan, -np.inf
    claim = found({("fc", "values", 0): x})["missing"]
    assert claim.text.startswith("30 NaN and 1 infinite values (0.3%)")
    assert (claim.certainty, claim.n, claim.value) == ("sure", 12000, 31)


def test_shapes_beyond_laplaces_are_claimed_with_their_layer(rng):
    assert abs(claims.LAPLACE - 0.0724) < 1e-4
    x = rng.exponential(size=(1500, 6))
    claim = found({("a", "values", 0): ordinary(rng), ("b", "values", 0): x})["shape"]
    assert (claim.layer, claim.anchor) == ("b", "spread-2")
    assert claim.value > claims.LAPLACE


def test_units_that_say_the_same_are_claimed(rng):
    x = ordinary(rng)
    x[:, 5] = 2 * x[:, 1] + 1 + 0.01 * x[:, 5]
    claim = found({("fc", "values", 0): x})["dependence"]
    assert claim.text == "Units 1 and 5 of fc say nearly the same"
    assert (claim.certainty, claim.anchor) == ("sure", "together-1")
    assert "dependence" not in found({("fc", "values", 0): ordinary(rng)})


def test_drift_is_claimed_where_units_have_drifted(rng):
    x = ordinary(rng)
    claim = found({("fc", "values", 0): x, ("fc", "values", 9): ordinary(rng) + 2})["drift"]
    assert (claim.units, claim.of, claim.step, claim.anchor) == (10, 10, 9, "drift")
    assert claim.text == "10 of 10 units (100%) drifted between step 0 and 9"
    assert claim.detail == (
        "each by 0.1 standard deviations or more beyond chance; so did the layer as a whole"
    )
    same = found({("fc", "values", 0): x, ("fc", "values", 9): ordinary(rng)})
    assert "drift" not in same


def test_units_may_drift_where_no_layer_does(sample_store):
    """The caption of the figure and the claim say the same of the data of the repository."""
    analysis = analyze(sample_store)
    (claim,) = [claim for claim in claims.claims(analysis) if claim.kind == "drift"]
    assert "of 3 layers none drifted as a whole, 3 moved less than that" in claim.detail
    table = histories.drift_of(analysis, select.layers(analysis))
    assert maps.drift_words(table) == (
        "None of 3 layers drifted as a whole; "
        "3 moved beyond chance, but by less than 0.1 standard deviations"
    )


def test_normalisation_is_claimed_with_what_it_left_alone(rng):
    made = found(network(rng, layers=1, units=20, steps=(0,)))
    assert "by shifting and scaling alone" in made["normalisation"].detail


def test_where_nothing_is_remarkable_that_is_said(rng):
    (claim,) = claims.claims(analysis_of({("fc", "values", 0): ordinary(rng)}))
    assert (claim.kind, claim.text, claim.certainty) == (
        "nothing",
        "Nothing is remarkable",
        "sure",
    )
    few = claims.claims(analysis_of({("fc", "values", 0): ordinary(rng, 30)}))
    assert [(claim.kind, claim.certainty) for claim in few] == [("nothing", "open")]
    (none,) = claims.claims(analysis_of({}))
    assert none.text == "There is nothing to judge"


def test_claims_come_by_weight_and_are_at_most_six(analysis):
    made = claims.claims(analysis)
    weights = [claim.weight for claim in made]
    assert weights == sorted(weights, reverse=True)
    assert 1 <= len(made) <= claims.MOST


def test_claims_are_data(analysis):
    made = claims.claims_of(analysis)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert {"text", "certainty", "n", "value", "threshold", "layer", "site", "unit", "anchor"} <= (
        set(made[0])
    )


def test_the_strongest_unit_is_that_of_the_table(analysis):
    layers = select.layers(analysis)
    claim = {claim.kind: claim for claim in claims.claims(analysis)}["heavy_tailed"]
    heavy = layers.last[layers.last["heavy_tailed"]]
    strongest = heavy.loc[heavy["tail_index"].idxmin()]
    assert claim.value == strongest["tail_index"]
    assert (claim.layer, claim.unit) == (strongest["layer"], strongest["unit"])
