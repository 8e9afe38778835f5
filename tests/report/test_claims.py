"""Claims: what is remarkable, how sure that is by the stated rule, and where."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distfit_nn.analysis import analyze
from distfit_nn.report import build, claims, histories, maps, select, unusable
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


@pytest.mark.slow
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


def test_claims_come_by_weight(analysis):
    made = claims.claims(analysis)
    weights = [claim.weight for claim in made]
    assert weights == sorted(weights, reverse=True)


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


# Order, places, and what does not fit


def planted(rng):
    """Two layers at two steps; most units of the second one far, and a defect of each kind."""
    first = {(name, "pre_activation", 0): ordinary(rng, 500, 12) for name in ("a", "b")}
    a, b = ordinary(rng, 500, 12), ordinary(rng, 500, 12) + 3
    a[:, 1] = -np.abs(a[:, 1])
    a[:, 2] *= 90
    a[:, 3] += 4 * rng.choice([-1, 1], len(a))
    a[:, 4] = rng.standard_t(1.5, len(a))
    a[5, 5] = np.nan
    return first | {("a", "pre_activation", 9): a, ("b", "pre_activation", 9): b}


def test_health_comes_before_distance_and_what_does_not_fit_is_named(rng):
    analysis = analysis_of(planted(rng))
    made = claims.claims(analysis)
    kinds = [claim.kind for claim in made]
    assert kinds[0] == "missing"
    assert set(kinds[1:5]) == {"dead", "outlier", "bimodal", "heavy_tailed"}
    assert set(kinds[5:]) >= {"far", "drift"}
    page = build.render(analysis)
    more = page.split('class="further">')[1].split("</p>")[0]
    assert more.startswith(f"And {len(made) - claims.MOST} more kind")
    for claim in made[claims.MOST :]:
        assert claim.text in more
        assert f'href="#{claim.anchor}"' in more
        assert f'id="{claim.anchor}"' in page
    drifted = next(claim.text for claim in made if claim.kind == "drift")
    assert drifted in page.split('class="lead">')[1].split("</p>")[0]


def test_each_claim_on_several_units_says_which_layer_has_most(rng):
    made = {claim.kind: claim for claim in claims.claims(analysis_of(planted(rng)))}
    assert "in 2 layers, most in b (12)" in made["far"].detail
    assert "most in b (12)" in made["drift"].detail
    assert made["missing"].detail.endswith("all in a")
    assert "layers" not in made["dead"].detail  # one unit: the link says where


def test_drift_of_units_is_as_sure_as_the_strongest_unit(rng):
    """Three layers, of which one unit moved: its q-value, not that of its layer."""
    samples = {
        (f"l{k}", "values", step): ordinary(rng, 400, 6) for k in range(3) for step in (0, 1)
    }
    samples["l1", "values", 1][:, 2] += 3
    analysis = analysis_of(samples)
    claim = {claim.kind: claim for claim in claims.claims(analysis)}["drift"]
    row = analysis.drift[analysis.drift["layer"] == "l1"].iloc[0]
    assert (claim.layer, claim.unit, claim.qvalue) == ("l1", 2, row["most_qvalue"])


# One value that fills gaps


FILLS = (float(np.finfo(np.float32).min), -1e9, -1e4, -65504.0)


def kept(values: np.ndarray) -> SimpleNamespace:
    """Return all of a recording that is looked at."""
    return SimpleNamespace(sample=values)


def test_a_fill_value_is_claimed_before_all_else(rng):
    x = ordinary(rng, 300, 4)
    x[rng.random(x.shape) < 0.4] = -1e4
    samples = {("attn", "input", 0): x, ("fc", "input", 0): ordinary(rng, 300, 4)}
    claim = claims.claims(analysis_of(samples, activation=None))[0]
    assert (claim.kind, claim.layer, claim.certainty) == ("fill", "attn", "likely")
    assert "of the values of attn are one fill value, −10\u202f000" in claim.text
    assert claim.value == pytest.approx(np.mean(x == -1e4), abs=1e-12)
    assert "mask" in claim.detail


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fill_value_is_found_with_its_share(rng, fill, dtype):
    x = ordinary(rng, 300, 4).astype(dtype)
    x[rng.random(x.shape) < 0.02] = fill
    x[0, 0] = np.nan
    found_fill = unusable.fill_of(kept(x))
    assert found_fill == (fill, pytest.approx(np.mean(x[np.isfinite(x)] == fill), abs=1e-12))
    assert unusable.fill_of(kept(x.T[:, ::2])) is not None


@pytest.mark.parametrize("make", [
    lambda _, x: np.maximum(x, 0),
    lambda rng, x: np.where(rng.random(x.shape) < 0.5, 0.0, 1.0),
    lambda _, x: np.full(x.shape, 7.0),
    lambda rng, x: np.where(rng.random(x.shape) < 0.002, -1e9, x),
    lambda _, x: np.clip(x, -1, 1) * 1.7e308,
    lambda _, x: np.full(x.shape, np.nan),
    lambda _, x: x[:0],
    lambda *_: None,
])  # fmt: skip
def test_what_is_no_fill_value_is_not_claimed_as_one(rng, make):
    assert unusable.fill_of(kept(make(rng, ordinary(rng, 400, 5)))) is None
