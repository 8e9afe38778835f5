"""The gate: what is above a limit is named, what has no figure is never passed over in silence."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import distfit_nn as dn
from distfit_nn.analysis import Analysis
from distfit_nn.errors import InputError
from distfit_nn.gate import RULES

ROWS = 400
STRICT = {  # under each of these the layer "bad" fails, and the layer "good" does not
    "max_kl": 0.5,
    "max_kl_shape": 0.2,
    "max_dead": 0.1,
    "max_saturated": 0.1,
    "max_heavy_tailed": 0.1,
    "max_bimodal": 0.1,
    "max_far": 0.1,
    "max_outlier": 20.0,
    "max_kurtosis": 20.0,
    "max_abs": 50.0,
    "max_nan": 2,
    "max_inf": 0,
    "max_zero": 0.5,
}
OFFENDERS = {  # the unit of "bad" that each rule is about
    "max_kl": {0, 1, 2, 3, 4, 5, 6},
    "max_kl_shape": {1, 2, 4},
    "max_dead": {3},
    "max_saturated": {4},
    "max_heavy_tailed": {1},
    "max_bimodal": {2},
    "max_far": {0, 1, 2, 4, 5, 6},
    "max_outlier": {1},
    "max_kurtosis": {1},
    "max_abs": {1},
    "max_nan": {5},
    "max_inf": {5},
    "max_zero": {3},
}


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    """Two layers: eight units of N(0, 1), and one unit for each fault."""
    rng = np.random.default_rng(7)
    good = rng.normal(size=(ROWS, 8))
    bad = rng.normal(size=(ROWS, 8))
    bad[:, 0] += 3
    bad[:, 1] = rng.standard_cauchy(ROWS) * 3
    bad[:, 2] = np.where(rng.random(ROWS) < 0.5, -4, 4) + 0.3 * bad[:, 2]
    bad[:, 3] = 0
    bad[:, 4] = np.clip(4 * bad[:, 4], -2, 2)
    bad[:3, 5], bad[3, 5] = np.nan, np.inf
    bad[:, 5] *= 4
    bad[:, 6] *= 0.1
    return dn.analyze({"good": good, "bad": bad})


def _named(result: dn.CheckResult) -> set[int]:
    return {unit for units in result.violations["units"] for unit in units}


@pytest.mark.parametrize("rule", list(RULES))
def test_every_rule_names_its_offenders_and_nobody_else(analysis: Analysis, rule: str) -> None:
    """A rule fails the layer with the fault by the units that have it; the healthy layer passes."""
    result = dn.check(analysis, **{rule: STRICT[rule]}, unmeasured="pass")
    assert not result.passed
    assert not result
    assert set(result.violations["layer"]) == {"bad"}
    expected = OFFENDERS[rule]
    found = _named(result)
    assert found == expected
    assert (result.violations["value"] > STRICT[rule]).all()
    assert dn.check(analysis, **{rule: STRICT[rule]}, layers="good")


def test_rules_are_judged_together_and_the_worst_comes_first(analysis: Analysis) -> None:
    """Violations are sorted by how many times the limit they are beyond it."""
    result = dn.check(analysis, **STRICT)
    found = result.violations
    excess = (found["value"] - found["limit"]) / found["limit"].where(found["limit"] > 0, 0.0)
    assert excess.is_monotonic_decreasing
    assert list(result.checked["rule"]) == list(RULES)
    assert (result.checked["units"] == 16).all()
    assert (result.checked["recordings"] == 2).all()
    assert result.checked["violations"].sum() == len(found)
    shares = found[found["rule"] == "max_dead"]
    assert shares["unit"].isna().all()
    assert shares["value"].tolist() == [1 / 8]


def test_a_limit_is_kept_by_what_equals_it(analysis: Analysis) -> None:
    """No rounding: the very figure of the table passes, the next number below it fails."""
    for rule, column in {"max_kurtosis": "kurtosis", "max_kl_shape": "kl_shape"}.items():
        worst = float(analysis.units.loc[analysis.units["layer"] == "good", column].max())
        assert dn.check(analysis, layers="good", **{rule: worst})
        assert not dn.check(analysis, layers="good", **{rule: math.nextafter(worst, -math.inf)})
    assert dn.check(analysis, max_nan=3)
    assert not dn.check(analysis, max_nan=2)
    assert dn.check(analysis, max_dead=1 / 8)
    assert not dn.check(analysis, max_dead=math.nextafter(1 / 8, 0.0))


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
@settings(max_examples=20)
def test_a_looser_limit_never_finds_more(a: float, b: float) -> None:
    """Violations under the larger limit are among those under the smaller."""
    tight, loose = (dn.check(_small(), max_kl=limit, max_bimodal=limit) for limit in sorted((a, b)))
    columns = ["rule", "layer", "unit"]
    few = {tuple(map(str, row)) for row in loose.violations[columns].to_numpy()}
    assert few <= {tuple(map(str, row)) for row in tight.violations[columns].to_numpy()}


_KEPT: list[Analysis] = []


def _small() -> Analysis:
    if not _KEPT:
        rng = np.random.default_rng(3)
        _KEPT.append(dn.analyze(rng.normal(rng.normal(size=6), rng.random(6) + 0.3, (200, 6))))
    return _KEPT[0]


def test_what_has_no_figure_fails_unless_told_and_is_always_listed() -> None:
    """A unit of NaN passes no gate unseen; a constant one has no shape to complain about."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 3))
    x[:, 1] = np.nan
    x[:, 2] = 1.0
    found = dn.analyze(x)
    strict = dn.check(found, max_kurtosis=5)
    assert not strict
    assert strict.violations.empty
    assert strict.unmeasured[["rule", "unit"]].to_numpy().tolist() == [["max_kurtosis", 1]]
    assert strict.checked["unmeasured"].tolist() == [1]
    assert "1 unmeasured" in repr(strict)
    lenient = dn.check(found, max_kurtosis=5, unmeasured="pass")
    assert lenient
    assert len(lenient.unmeasured) == 1
    infinite = dn.check(found, max_kl=1e6, unmeasured="pass").violations
    assert infinite[["unit", "value"]].to_numpy().tolist() == [[2, math.inf]]


SINGLE = {"max_saturated", "max_heavy_tailed", "max_bimodal"}  # what needs single values


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """A recording of which only sums are kept: a unit of two modes, and a healthy one."""
    model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.ReLU())
    rng = np.random.default_rng(2)
    x = rng.normal(size=(ROWS, 2))
    x[:, 1] = np.where(rng.random(ROWS) < 0.5, -4, 4) + 0.3 * x[:, 1]
    path = tmp_path_factory.mktemp("summaries") / "run"
    with dn.record(model, path, summaries_only=True):
        model(torch.from_numpy(x))
    return dn.analyze(path)


@pytest.mark.parametrize("rule", list(RULES))
def test_without_single_values_nothing_passes_unseen(summaries: Analysis, rule: str) -> None:
    """Of summaries the sums are judged; modes, tails and piles have no figure, and say so."""
    strict, lenient = (
        dn.check(summaries, unmeasured=policy, **{rule: 1}) for policy in ("fail", "pass")
    )
    if rule in SINGLE:
        assert not strict
        assert lenient
        assert strict.violations.empty
        assert lenient.unmeasured["unit"].tolist() == [0, 1]
        assert "2 unmeasured (pass)" in repr(lenient)
        assert lenient.to_dict()["checked"][0]["unmeasured"] == 2
    else:
        assert strict.unmeasured.empty
        assert strict.passed == lenient.passed == strict.violations.empty


def test_suggest_needs_rows(summaries: Analysis) -> None:
    """What it cannot halve it refuses, in one sentence."""
    with pytest.raises(InputError, match=r"suggest needs rows.*none were kept: record raw values"):
        dn.suggest(summaries)


def test_units_with_too_few_values_for_far_are_unmeasured() -> None:
    """With order + 2 values there is a verdict; a constant unit has no need of more."""
    x = np.random.default_rng(0).normal(9, 1, (8, 3))
    x[:, 1] = [*x[:7, 1], np.nan]
    x[:, 2] = 2
    for order, unknown in ((6, [1]), (4, []), (7, [0, 1])):
        found = dn.check(dn.analyze(x, order=order), max_far=1)
        assert found.unmeasured["unit"].tolist() == unknown
        assert found.passed == (not unknown)


def test_the_repr_names_the_rules_that_are_broken(analysis: Analysis) -> None:
    found = dn.check(analysis, max_kurtosis=1e9, max_dead=0.1, max_nan=10**9)
    assert repr(found).endswith(": failed, 1 violation of max_dead>")
    assert repr(dn.check(analysis, max_nan=10**9)).endswith(": passed, 0 violations>")


def test_modes_of_few_values_are_unmeasured() -> None:
    """Fewer than 20 values have no dip; a constant or discrete unit has no modes to miss."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(100, 4))
    x[15:, 0], x[:, 1], x[:, 2] = np.nan, 3.0, rng.integers(0, 3, 100)
    found = dn.check(x, max_bimodal=0)
    assert found.unmeasured["unit"].tolist() == [0]
    x[:, 0] = np.nan
    assert dn.check(x, max_bimodal=0).unmeasured["unit"].tolist() == [0]


def test_layers_sites_and_steps_are_chosen(sample_store: Any) -> None:
    """By wildcard, by number, the last, or all; the real recording has several of each."""
    found = dn.analyze(sample_store)
    table = found.units
    site, layer = table["site"].iloc[0], table["layer"].iloc[0]
    everything = dn.check(found, max_abs=0, step="all")
    assert everything.checked["units"].tolist() == [len(table)]
    last = table.groupby(["layer", "site"])["step"].transform("max") == table["step"]
    assert dn.check(found, max_abs=0).checked["units"].tolist() == [int(last.sum())]
    first = int(table["step"].min())
    one = dn.check(found, max_abs=0, step=first, layers=[layer[:-1] + "?"], site=site)
    assert set(one.violations["step"]) == {first}
    assert set(one.violations["site"]) == {site}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "at least one limit"),
        ({"max_dead": 1.5}, "max_dead must be a number from 0 to 1"),
        ({"max_far": True}, "max_far must be a number"),
        ({"max_kl": -1}, "max_kl must be a number from 0"),
        ({"max_kl": math.nan}, "max_kl must be a number"),
        ({"max_kl": "low"}, "max_kl must be a number"),
        ({"max_nan": 0.5}, "max_nan must be a whole number"),
        ({"max_kl": 1, "layers": "nowhere*"}, "layers must match"),
        ({"max_kl": 1, "layers": 3}, "layers must"),
        ({"max_kl": 1, "layers": []}, "layers must name"),
        ({"max_kl": 1, "site": "output"}, "site must match"),
        ({"max_kl": 1, "step": 99}, "step must be one that was recorded, got 99"),
        ({"max_kl": 1, "step": "first"}, "step must be"),
        ({"max_kl": 1, "step": -1}, "step must be"),
        ({"max_kl": 1, "unmeasured": "skip"}, "unmeasured must be one of"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], words: str) -> None:
    """One sentence that names the rule and the value."""
    with pytest.raises(InputError, match=words):
        dn.check(_small(), **arguments)


def test_as_plain_data(analysis: Analysis) -> None:
    """Strict JSON, whatever is infinite or missing; sources other than analyses are analysed."""
    result = dn.check(analysis, **STRICT)
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert json.loads(text) == json.loads(result.to_json())
    entry = result.to_dict()["violations"][0]
    assert set(entry) == {"rule", "layer", "site", "step", "unit", "value", "limit", "units"}
    assert dn.check(np.random.default_rng(1).normal(size=(300, 2)), max_kl=0.5)
