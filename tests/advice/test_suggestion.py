"""What `suggest` says of laws whose truth is known, and what it must not depend on."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from torch import nn

import distfit_nn as dn
from distfit_nn.advice.candidates import CANDIDATES
from distfit_nn.advice.crossfit import Goal, cross_fitted
from distfit_nn.advice.verdicts import LEAST_GAIN, NAMES, picked, worthwhile
from distfit_nn.cli import main
from distfit_nn.errors import InputError
from tests import tolerances

ROWS, COPIES = 1000, 3
NORMAL_SCALE, NORMAL_MEAN = 2.0, 3.0


def _laws(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    normal = rng.normal(size=shape)
    return {
        "normal": normal,
        "shifted": NORMAL_MEAN + NORMAL_SCALE * rng.normal(size=shape),
        "lognormal": np.exp(rng.normal(size=shape)),
        "exponential": rng.exponential(size=shape),
        "gamma2": 1 + rng.gamma(2.0, size=shape),
        "bimodal": np.where(rng.random(shape) < 0.4, 4.0, 10.0) + rng.normal(size=shape),
        "t2": rng.standard_t(2, size=shape),
        "uniform": 5 + rng.random(shape),
    }


SUGGESTED = {  # what most copies of each law are to be told; sets where two do equally well
    "normal": {"none"},
    "shifted": {"affine"},
    "lognormal": {"log_shift"},
    "exponential": {"log_shift", "sqrt_shift"},
    "gamma2": {"log_shift", "sqrt_shift", "moment_4", "moment_6"},
    "bimodal": {"moment_4", "moment_6", "copula"},
    "t2": {"log_shift", "copula"},
    "uniform": {"moment_4", "moment_6", "copula"},
}


@cache
def _found() -> dn.Suggestions:
    laws = _laws(np.random.default_rng(11), (ROWS, COPIES))
    return dn.suggest(dn.analyze(laws))


@pytest.mark.parametrize("law", list(SUGGESTED))
def test_known_laws_get_what_suits_them(law: str) -> None:
    """Most units and the layer; and the KL after is near 0, where the KL before was not."""
    units, layers = (table[table["layer"] == law] for table in (_found().units, _found().layers))
    right = units["suggestion"].isin(SUGGESTED[law])
    assert right.sum() >= COPIES - 1, units["suggestion"].tolist()
    (row,) = layers.to_dict("records")
    assert row["suggestion"] in SUGGESTED[law]
    assert row["kl_after"] < 0.1
    assert (row["kl_before"] > 0.3) == (law != "normal")
    assert row["judged"] == row["units"] == COPIES
    assert sum(row[f"n_{name}"] for name in NAMES) == COPIES
    assert row["improved"] == (0.0 if law == "normal" else 1.0)


def test_before_is_the_divergence_of_the_law() -> None:
    """Against closed forms: N(m, s), and the exponential law, whose entropy is 1."""
    units = _found().units
    m, v = NORMAL_MEAN, NORMAL_SCALE**2
    exact = {
        "normal": 0.0,
        "shifted": 0.5 * (m * m + v - 1 - math.log(v)),
        "exponential": 0.5 * 2 + 0.5 * math.log(2 * math.pi) - 1,
    }
    for law, truth in exact.items():
        rows = units[units["layer"] == law]
        inside = (rows["kl_before_low"] <= truth) & (truth <= rows["kl_before_high"])
        assert inside.sum() >= COPIES - 1


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:-1]), NAMES[-1]]
)
def test_after_is_what_a_large_sample_says(name: str) -> None:
    """KL after by brute force: the same fit, and a histogram of 200,000 other values."""
    rng = np.random.default_rng(5)
    x = rng.gamma(3.0, size=(ROWS, 4))
    kl = cross_fitted(x, Goal("normal"))
    candidate = next(one for one in CANDIDATES if one.name == name)
    many = torch.from_numpy(rng.gamma(3.0, size=(200_000, 4)))
    truths = []
    with torch.no_grad():
        for half in (x[: ROWS // 2], x[ROWS // 2 :]):
            z = candidate.fit(torch.from_numpy(half)).apply(many).numpy()
            truths.append([_histogram_kl(column) for column in z.T])
    truth = np.mean(truths, axis=0)
    place = NAMES.index(name)
    error = np.abs(kl.kl[place] - truth)
    assert np.all(error < 4 * kl.error[place] + tolerances.HISTOGRAM_KL)
    assert np.abs(np.mean(kl.kl[place] - truth)) < (
        2.5 * np.sqrt(np.mean(kl.error[place] ** 2) / 4) + tolerances.HISTOGRAM_KL
    )


def _histogram_kl(z: np.ndarray) -> float:
    counts, edges = np.histogram(z, bins=400)
    p, kept = counts / len(z), counts > 0
    density = p[kept] / np.diff(edges)[kept]
    reference = np.diff(scipy_stats.norm.cdf(edges))[kept] / np.diff(edges)[kept]
    return float(np.sum(p[kept] * np.log(density / np.maximum(reference, 1e-300))))


def test_a_flexible_map_does_not_win_by_fitting_noise() -> None:
    """On normal units the copula's KL of unseen rows is above that of a line, though not in-sample.

    In-sample it would be 0 or less; the truth of the line is 1 / (rows of a half).
    """
    rng = np.random.default_rng(2)
    found = cross_fitted(rng.normal(size=(400, 24)), Goal("normal"))
    copula, line = (found.kl[NAMES.index(name)].mean() for name in ("copula", "affine"))
    assert copula > line + 0.005
    pick, _ = picked(found.kl, found.error, 0.0)
    assert np.mean(pick <= NAMES.index("affine")) > 0.8


@pytest.mark.slow
@given(
    scale=st.floats(0.05, 50.0),
    shift=st.floats(-20.0, 20.0),
    law=st.sampled_from(["bimodal", "t2"]),
)
@settings(max_examples=6)
def test_affine_changes_move_nothing_but_what_is_not_affine_invariant(
    scale: float, shift: float, law: str
) -> None:
    """KL after line, moments and copula stay; that after shifts stays under changes of scale."""
    x = _laws(np.random.default_rng(3), (300, 4))[law]
    goal = Goal("normal")
    first, moved, scaled = (cross_fitted(y, goal) for y in (x, scale * x + shift, scale * x))
    for name in ("affine", "moment_4", "moment_6", "copula"):
        place = NAMES.index(name)
        np.testing.assert_allclose(moved.kl[place], first.kl[place], atol=tolerances.SAME_KL)
    for name in ("log_shift", "sqrt_shift"):
        place = NAMES.index(name)
        np.testing.assert_allclose(scaled.kl[place], first.kl[place], atol=tolerances.SHIFT_KL)
    assert np.allclose(scaled.parameters[1], first.parameters[1], rtol=0.2)
    assert np.allclose(scaled.parameters[0] * scale, first.parameters[0], rtol=0.3)


def test_the_rule_takes_the_simplest_within_the_noise() -> None:
    """By hand: the margin is the larger of the standard error of the least and the tolerance."""
    kl = np.array([[0.5], [0.10], [0.055], [0.052], [0.04], [0.03], [0.02]])
    error = np.full((7, 1), 0.01)
    for tolerance, expected in ((0.0, 5), (0.021, 4), (0.036, 3), (0.1, 1), (1.0, 0)):
        (pick,), (margin,) = picked(kl, error, tolerance)
        assert (pick, margin) == (expected, max(0.01, tolerance))
    error[6] = 0.05
    assert picked(kl, error, 0.0)[0] == [3]  # of the two shifts the better
    kl[:] = np.nan
    kl[1] = np.inf
    assert picked(kl, error, 0.0)[0] == [0]


def _judged(gains: dict[str, float], error: float, affine: float = 0.2) -> pd.DataFrame:
    """Return a table of judged units whose KL is `affine` less the gains."""
    table = {f"kl_{name}": [affine - gains.get(name, 0.0)] * 5 for name in NAMES}
    table |= {"kl_none": [3.0] * 5, **{f"error_{name}": [error] * 5 for name in NAMES}}
    return pd.DataFrame(table)


def test_layers_are_swapped_for_a_gain_that_is_real_and_worth_it() -> None:
    """By hand: at least 0.05 nat nearer than none and affine, and beyond 1.96 errors of both."""
    noise = 1.96 * math.sqrt(2)
    swaps = NAMES[2:]
    for gain, error, expected in (
        (LEAST_GAIN + 1e-9, 0.0, True),
        (LEAST_GAIN - 1e-9, 0.0, False),
        (0.1, 0.1 / noise * 0.99, True),
        (0.1, 0.1 / noise * 1.01, False),
        (-0.1, 0.0, False),
    ):
        found = worthwhile(_judged(dict.fromkeys(swaps, gain), error))
        assert found[2:].tolist() == [expected] * len(swaps)
    assert worthwhile(_judged({"copula": 0.1}, 0.0))[2:].tolist() == [False] * 4 + [True]
    few = _judged(dict.fromkeys(swaps, 0.15), 0.0)
    few.loc[:2, [f"kl_{name}" for name in swaps]] = np.nan, *[0.19] * 4  # most units gain little
    assert not worthwhile(few)[2:].any()
    nearer = _judged(dict.fromkeys(swaps, 0.1), 0.0)
    nearer["kl_none"] = 0.11  # the best of what is there, not the affine map, is to be beaten
    assert not worthwhile(nearer)[2:].any()


def test_a_layer_that_is_nearly_normal_keeps_its_norm() -> None:
    """Units whose shape a shift mends by 0.03 nat are told so; their layer is not swapped."""
    x = np.random.default_rng(7).gamma(9.0, size=(1000, 8))
    found = dn.suggest({"norm": 3 + x})
    (layer,) = found.layers.to_dict("records")
    assert found.units["suggestion"].isin(NAMES[2:]).any()
    assert min(layer[f"kl_{name}"] for name in NAMES[2:]) < layer["kl_affine"] - 0.02
    assert layer["suggestion"] == "affine"
    assert layer["kl_after"] == layer["kl_affine"]
    model = nn.Sequential(OrderedDict(norm=nn.BatchNorm1d(8)))
    assert found.conversion(model) == []


def test_units_without_a_shape_say_so() -> None:
    """Constant, discrete, dead, empty, too few rows: each by its name and without figures."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(200, 6))
    x[:, 1] = 2.0
    x[:, 2] = rng.integers(0, 3, 200)
    x[:, 3] = np.nan
    x[40:, 4] = np.nan
    x[:, 5] = np.maximum(x[:, 5], 0)
    found = dn.suggest(x)
    words = found.units["suggestion"].tolist()
    assert words[1:5] == ["none: constant", "none: discrete", "none: empty", "not enough rows (40)"]
    assert found.units["judged"].tolist() == [True, False, False, False, False, True]
    assert found.units.loc[1:4, "kl_after"].isna().all()
    half_normal = found.units.loc[5]
    assert 0.35 < half_normal["atoms"] < 0.65
    assert half_normal["n"] <= 200 * (1 - half_normal["atoms"]) + 1
    few = dn.suggest(x[:30])
    assert few.layers.loc[0, "suggestion"] == "none: no unit could be judged"
    assert few.conversion(nn.Linear(1, 1)) == []
    json.dumps(few.to_dict(), allow_nan=False)


def test_extremes_of_scale_overflow_nowhere() -> None:
    """Normal units of any scale that float64 has are told to be scaled; far ones to be moved."""
    z = np.random.default_rng(0).normal(size=300)
    x = np.stack([z * 1e200, z * 1e-200, z * 1e-310, z + 1e8, 1 + 1e-9 * z], axis=1)
    found = dn.suggest(x).units
    assert set(found["suggestion"]) == {"affine"}
    assert found["kl_before"].iloc[0] == math.inf
    assert (found["kl_before"] > 10).all()
    assert (found["kl_after"] < 0.05).all()


def test_what_a_unit_is_told_depends_on_its_values_and_the_seed_alone() -> None:
    """Neither on the order of rows, nor on which other units are looked at."""
    x = _laws(np.random.default_rng(6), (120, 5))["exponential"]
    found = dn.suggest(x, seed=3)
    figures = [f"kl_{name}" for name in NAMES]
    again = dn.suggest(x[::-1].copy(), seed=3)
    np.testing.assert_array_equal(found.units[figures], again.units[figures])
    few = dn.suggest(x, seed=3, units=[4, 1])
    assert few.units["unit"].tolist() == [1, 4]
    np.testing.assert_allclose(
        few.units[figures], found.units.loc[[1, 4], figures], atol=tolerances.SAME_KL
    )
    other = dn.suggest(x, seed=4)
    assert not np.allclose(other.units[figures], found.units[figures])
    some = dn.suggest(x, seed=3, most_units=2)
    assert len(some.units) == 2
    assert some.layers[["units", "judged"]].to_numpy().tolist() == [[5, 2]]


def test_other_targets() -> None:
    """Data of the target's own law need nothing; a line leads to it from a moved one."""
    rng = np.random.default_rng(8)
    x = np.stack([rng.logistic(size=800), 5 + 3 * rng.logistic(size=800)], axis=1)
    found = dn.suggest(x, target=scipy_stats.logistic())
    assert found.units["suggestion"].tolist() == ["none", "affine"]
    uniform = dn.suggest(rng.random((800, 1)), target="uniform")
    assert uniform.units["suggestion"].tolist() == ["none"]
    assert dn.suggest(rng.normal(size=(800, 1)), target="uniform").units["kl_none"][0] == math.inf
    assert found.to_dict()["target"] != "normal"


def _model() -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            norm0=nn.BatchNorm1d(4),
            linear=nn.Linear(4, 4),
            norm1=nn.BatchNorm1d(4),
            relu=nn.ReLU(),
            last=nn.ReLU(),
        )
    )


def test_conversion_gives_the_calls_that_swap() -> None:
    """A recorded norm by its name; an activation by the norm before it; others are told."""
    rng = np.random.default_rng(9)
    heavy = np.exp(rng.normal(size=(400, 4)))
    modes = np.where(rng.random((400, 4)) < 0.5, 3.0, 9.0) + 0.5 * rng.normal(size=(400, 4))
    found = dn.suggest({"norm0": heavy, "relu": modes, "last": heavy, "linear": modes[:, :1] * 0})
    model = _model()
    with pytest.warns(UserWarning, match="no BatchNorm was found for last"):
        calls = found.conversion(model)
    for call in calls:
        dn.nn.convert_norms(model, **call)
    kinds = [type(getattr(model, name)).__name__ for name in ("norm0", "norm1")]
    assert kinds == ["LogShift", found.layers.set_index("layer").loc["relu", "layer_class"]]
    named = found.conversion(_model(), {"last": "norm1"})
    assert any("norm1" in call["names"] for call in named)
    for names in ({"nowhere": "norm1"}, {"last": "linear"}):
        with pytest.raises(InputError, match="names must"):
            found.conversion(_model(), names)


def test_recorded_models_and_summaries(tmp_path: Any) -> None:
    """From a store, at the site that feeds the nonlinearity; a clear error where no rows are."""
    torch.manual_seed(0)
    model = _model()
    with dn.record(model, tmp_path / "run", sites="norm"):
        model(torch.randn(200, 4))
    analysis = dn.analyze(tmp_path / "run")
    found = dn.suggest(analysis)
    assert found.layers[["layer", "site"]].to_numpy().tolist() == [
        ["norm0", "norm_output"],
        ["norm1", "norm_output"],
    ]
    both = dn.suggest(analysis, site="norm_*", layers="norm1")
    assert both.layers["site"].tolist() == ["norm_input", "norm_output"]
    from dataclasses import replace

    bare = replace(
        analysis, recordings=tuple(replace(one, sample=None) for one in analysis.recordings)
    )
    with pytest.raises(InputError, match=r"suggest needs rows.*'norm0'"):
        dn.suggest(bare)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"target": "bimodals"}, "target must be"),
        ({"target": scipy_stats.cauchy()}, "finite mean"),
        ({"target": scipy_stats.norm([0.0, 1.0])}, "one distribution for all"),
        ({"tolerance": -1}, "tolerance must be"),
        ({"seed": "a"}, "seed must be"),
        ({"units": [9]}, "units must be numbers of units, got 9"),
        ({"units": []}, "units must be"),
        ({"units": "all"}, "each of units"),
        ({"most_units": 0}, "most_units must be"),
        ({"layers": "y"}, "layers must match"),
        ({"site": "output"}, "site must match"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], words: str) -> None:
    """One sentence that names the rule and the value."""
    with pytest.raises(InputError, match=words):
        dn.suggest(np.random.default_rng(0).normal(size=(80, 2)), **arguments)


def test_as_plain_data_and_for_the_eye() -> None:
    """Strict JSON and CSV with a row for each unit; HTML escapes names."""
    found = _found()
    content = json.loads(found.to_json())
    assert content == json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert len(content["units"]) == len(found.units) == found.to_csv().count("\n") - 1
    assert set(content["definitions"]) >= {"kl", "suggestion"}
    assert any("accuracy" in caveat for caveat in content["caveats"])
    assert "lognormal: log_shift" in repr(found)
    evil = dn.suggest({"<script>": np.random.default_rng(1).normal(size=(80, 1))})
    assert "<script>" not in evil._repr_html_()


def test_divergences_are_shown_cut_at_0_and_lie_in_their_intervals() -> None:
    """Of N(0,1) half of the estimates are below 0; comparisons rest on these."""
    found = dn.suggest(np.random.default_rng(3).normal(size=(400, 40)))
    raw = found.parts[0][1]
    assert (raw["kl_none"] < 0).sum() > 5
    for table in (found.units, found.layers):
        shown = table[[name for name in table if name.startswith("kl_")]]
        assert (shown >= 0).all(axis=None)
    units = found.units
    for name in ("kl_before", "kl_after"):
        assert units[name].between(units[f"{name}_low"], units[f"{name}_high"]).all()
        np.testing.assert_array_equal(units[name], raw[name].clip(lower=0))
    assert found.layers["kl_none"][0] == max(0, raw["kl_none"].median())
    assert not re.search(r">-\d", found._repr_html_())
    assert "shown as 0" in found.definitions["kl"]


def test_a_store_of_summaries_is_refused_before_it_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Python and on the command line; a layer that has rows is judged."""
    from distfit_nn.capture.store import StoreWriter
    from distfit_nn.stats.accumulator import Accumulator

    x = np.random.default_rng(0).normal(size=(100, 2))
    with StoreWriter(tmp_path / "run", "x") as writer:
        for step in (0, 1):
            sums = Accumulator(2)
            sums.update(x)
            writer.add_summary(sums, layer="sums", site="norm_input", step=step, rows_seen=100)
            writer.add(x, layer="rows", site="norm_input", step=step)
    assert dn.suggest(str(tmp_path / "run"), layers="rows").units["suggestion"].tolist()
    monkeypatch.setattr("distfit_nn.analysis.analyze", lambda *_, **__: pytest.fail("measured"))
    for options in ({}, {"layers": "sums"}, {"site": "norm_input"}):
        with pytest.raises(InputError, match="of layer 'sums' at site 'norm_input' none were kept"):
            dn.suggest(tmp_path / "run", **options)
    with pytest.raises(InputError, match="layers must match"):
        dn.suggest(tmp_path / "run", layers="no")
    with pytest.raises(SystemExit, match="2"):
        main(["suggest", str(tmp_path / "run"), "-q"])


@pytest.mark.slow
def test_the_closed_loop_finds_the_heavy_tails_and_removes_them(tmp_path: Path) -> None:
    """The example as a user runs it: the norm of the features is swapped, its units lose tails."""
    root = Path(__file__).parents[2]
    script = root / "analysis" / "examples" / "closed_loop.py"
    done = subprocess.run(
        [sys.executable, str(script), "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.stdout.strip() == (tmp_path / "findings.md").read_text(encoding="utf-8").strip()
    assert re.search(r"norm0: BatchNorm1d -> (LogShift|CopulaNorm1d)", done.stdout)
    row = next(line for line in done.stdout.splitlines() if re.match(r"\| norm0 \| 0", line))
    shape, shape_after, heavy, heavy_after = (float(cell) for cell in row.split("|")[2:6])
    assert shape_after < 0.7 * shape
    assert heavy_after < 0.25 * heavy
    before, after = map(float, re.findall(r"accuracy: ([\d.]+) before, ([\d.]+)", done.stdout)[0])
    assert min(before, after) > 0.8  # both train; which is better is the example's finding
