"""Verdicts on columns whose number of modes is known, the evidence in words, and the FDR."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distfit_nn import maxent
from distfit_nn.errors import InputError
from distfit_nn.stats.bimodality.classify import (
    VERDICTS,
    Classification,
    Evidence,
    classify,
    evidence_of_rows,
    judge,
)
from distfit_nn.stats.bimodality.coefficient import bimodality_coefficient
from distfit_nn.stats.bimodality.dip import dip_test
from distfit_nn.stats.multiplicity import benjamini_hochberg
from distfit_nn.stats.rows import sorted_rows
from tests import tolerances

N, D = 3000, 12


def laws(rng):
    """Columns of each kind, with the verdict that they should have."""
    normal, coin = rng.normal(size=(N, D)), rng.random((N, D)) < 0.5
    return {
        "normal": (normal, "unimodal"),
        "uniform": (rng.random((N, D)), "unimodal"),
        "exponential": (rng.exponential(size=(N, D)), "unimodal"),
        "lognormal": (rng.lognormal(size=(N, D)), "unimodal"),
        "cauchy": (rng.standard_cauchy((N, D)), "unimodal"),
        "two modes": (normal + 5 * coin, "bimodal"),
        "two modes, uneven": (normal + 7 * (rng.random((N, D)) < 0.2), "bimodal"),
        "three modes": (normal + 6 * rng.integers(0, 3, (N, D)), "bimodal"),
        "relu": (np.maximum(normal + 1, 0), "unimodal"),
        "relu of two modes": (np.maximum(normal - 2 + 8 * coin + 4 * (normal > 1), 0), None),
        "clipped": (np.clip(2 * normal + 3, 0, 6), "unimodal"),
        "dropout": ((normal + 3) * (rng.random((N, D)) < 0.7), "unimodal"),
        "two modes and zeros": ((normal + 3 + 5 * coin) * (rng.random((N, D)) < 0.7), "bimodal"),
        "quantised": (np.round(normal * 20), "unimodal"),
        "quantised relu": (np.maximum(np.round(normal * 20 + 20), 0), "unimodal"),
        "float16": ((8 + normal).astype(np.float16), "unimodal"),
        "counts": (rng.poisson(1.5, (N, D)), "discrete"),
        "signs": (np.sign(normal), "discrete"),
        "one event": (np.where(rng.random((N, D)) < 0.05, normal, 0), "atom"),
        "constant": (np.full((N, D), 0.1), "constant"),
        "nothing": (np.full((N, D), np.nan), "empty"),
        "few values": (np.where(np.arange(N)[:, None] < 15, normal, np.nan), "undecided"),
    }


NAMES = list(laws(np.random.default_rng(0)))


@pytest.mark.parametrize("name", NAMES)
def test_verdicts(rng, name):
    x, want = laws(rng)[name]
    verdict = classify(x).verdict
    assert set(verdict) <= set(VERDICTS)
    if want is not None:
        assert (verdict == want).all()


def test_verdicts_do_not_depend_on_scale_place_or_reflection(rng):
    for name, (x, _) in laws(rng).items():
        if name in ("float16", "relu of two modes"):
            continue
        want = classify(x).verdict
        for other in (0.5 * x, -x, x + 1024.0):
            np.testing.assert_array_equal(classify(other).verdict, want, err_msg=name)


def evidence(**changes):
    """Evidence for one plain column of 5,000 values, with changes."""
    plain = {
        "n": 5000,
        "lowest": -3.0,
        "constant": False,
        "atoms": 0,
        "atom_share": 0.0,
        "value": -3.0,
        "value_share": 1 / 5000,
        "levels": 5000.0,
        "dip": 0.004,
        "pvalue": 0.9,
        "tested": 5000,
        "modes": 1,
        "left": np.nan,
        "right": np.nan,
        "depth": np.nan,
        "coefficient": 0.4,
    }
    return Evidence(*(np.array(value) for value in (plain | changes).values()))


TWO = {"modes": 2, "left": -1.2, "right": 0.8, "depth": 0.41}
LARGE = {"dip": 0.061, "pvalue": 1e-5}
SMALL = {"dip": 0.008, "pvalue": 1e-5}
UNSEEN = {"dip": 0.03, "pvalue": 0.4, "n": 200, "tested": 200}
JUDGED = {
    "both": (
        LARGE | TWO,
        "bimodal",
        "dip 0.061 (q 1e-05, n 5000); two modes of the fitted density at -1.2 and 0.8, valley 0.41",
    ),
    "dip alone": (
        LARGE,
        "bimodal",
        "dip 0.061 (q 1e-05, n 5000); but one mode of the fitted density",
    ),
    "no density": (
        LARGE | {"modes": -1},
        "bimodal",
        "dip 0.061 (q 1e-05, n 5000); no density to confirm it",
    ),
    "neither": (
        {},
        "unimodal",
        "dip 0.004 (q 0.9, n 5000) below 0.01; one mode of the fitted density",
    ),
    "density alone": (
        TWO,
        "unimodal",
        "dip 0.004 (q 0.9, n 5000) below 0.01; "
        "but two modes of the fitted density at -1.2 and 0.8, valley 0.41",
    ),
    "small": (
        SMALL,
        "undecided",
        "dip 0.008 (q 1e-05, n 5000) below 0.01; but one mode of the fitted density",
    ),
    "too small to matter": (
        SMALL | {"dip": 0.004},
        "unimodal",
        "dip 0.004 (q 1e-05, n 5000) below 0.01; one mode of the fitted density",
    ),
    "too small to matter, and density": (
        SMALL | TWO | {"dip": 0.004},
        "undecided",
        "dip 0.004 (q 1e-05, n 5000) below 0.01; "
        "two modes of the fitted density at -1.2 and 0.8, valley 0.41",
    ),
    "small, and density": (
        SMALL | TWO,
        "undecided",
        "dip 0.008 (q 1e-05, n 5000) below 0.01; "
        "two modes of the fitted density at -1.2 and 0.8, valley 0.41",
    ),
    "few values": (
        UNSEEN,
        "unimodal",
        "dip 0.030 (q 0.4, n 200), a dip of 0.02 would not be significant; "
        "one mode of the fitted density",
    ),
    "few values, and density": (
        UNSEEN | TWO | {"modes": 3},
        "undecided",
        "dip 0.030 (q 0.4, n 200), a dip of 0.02 would not be significant; "
        "but 3 modes of the fitted density, the clearest at -1.2 and 0.8, valley 0.41",
    ),
    "an atom": (
        LARGE | TWO | {"atoms": 1, "atom_share": 0.162, "value": 0.0, "tested": 4190},
        "bimodal",
        "16.2% are 0, set apart; dip 0.061 (q 1e-05, n 4190); "
        "two modes of the fitted density at -1.2 and 0.8, valley 0.41",
    ),
    "two atoms and few levels": (
        {"atoms": 2, "atom_share": 0.5, "levels": 3.21, "tested": 2500},
        "discrete",
        "50% stand on 2 point masses, set apart; "
        "as few levels as 3.2 equally frequent ones (n 2500)",
    ),
    "atom": (
        {"value": 0.0, "value_share": 0.932},
        "atom",
        "93.2% of the values are 0 (n 5000)",
    ),
    "constant": ({"constant": True, "lowest": 0.1}, "constant", "all values are 0.1 (n 5000)"),
    "empty": ({"n": 0, "tested": 0, "levels": 0.0, "dip": np.nan}, "empty", "no finite value"),
    "few": ({"tested": 12, "n": 12}, "undecided", "too few values (n 12)"),
}


@pytest.mark.parametrize("name", JUDGED)
def test_what_is_judged_from_what(name):
    changes, verdict, line = JUDGED[name]
    got = judge(evidence(**changes))
    assert (got.verdict, got.evidence) == (verdict, line)


def test_only_shapes_that_are_tested_count_in_the_family(rng):
    """Columns without a shape to test take no part in the correction for many tests."""
    x = np.concatenate([rng.normal(size=(200, 5)), np.zeros((200, 500))], axis=1)
    x[:, 0] += 4 * (rng.random(200) < 0.5)
    got = classify(x)
    np.testing.assert_array_equal(got.qvalue[:5], benjamini_hochberg(got.pvalue[:5]))
    assert np.isnan(got.qvalue[5:]).all()
    assert np.isnan(got.dip[5:]).all()


def test_figures_are_those_of_the_parts(rng):
    x = np.maximum(rng.normal(1, 1, size=(1000, 4)), 0)
    x[:100, 1] = np.inf
    got, dip = classify(x), dip_test(x, ties="apart")
    for have, want in zip((got.dip, got.pvalue, got.tested), dip, strict=True):
        np.testing.assert_array_equal(have, want)
    np.testing.assert_array_equal(got.qvalue, benjamini_hochberg(dip.pvalue))
    np.testing.assert_array_equal(got.n, [1000, 900, 1000, 1000])
    np.testing.assert_allclose(
        got.coefficient, bimodality_coefficient(x), rtol=tolerances.CLOSED_FORM
    )
    rest = x[:, 0][x[:, 0] > 0]
    assert got.modes[0] == len(maxent.fit(np.r_[0.0, rest]).modes())


def test_of_rows_is_the_face_and_leaves_rows_alone(rng):
    x = np.concatenate([x for x, _ in laws(rng).values()], axis=1).astype(float)
    rows = sorted_rows(x)
    before = rows.values.copy()
    for have, want in zip(judge(evidence_of_rows(rows)), classify(x), strict=True):
        np.testing.assert_array_equal(have, want)
    np.testing.assert_array_equal(rows.values, before)


def test_thresholds_are_arguments(rng):
    x = rng.normal(size=2000) + 4 * (rng.random(2000) < 0.5)
    plain = classify(x)
    assert plain.verdict == "bimodal"
    assert classify(x, least_dip=float(plain.dip) + 0.001).verdict != "bimodal"
    assert classify(x, alpha=0).verdict != "bimodal"
    with pytest.raises(InputError, match=r"alpha must be a number from 0 to 1, got 5"):
        classify(x, alpha=5)
    with pytest.raises(InputError, match=r"least_dip must be a number from 0 to 0\.25, got 0\.5"):
        classify(x, least_dip=0.5)
    with pytest.raises(InputError, match="order must be a whole number of at least 1, got 0"):
        classify(x, order=0)


def test_shapes_axes_and_tensors(rng):
    x = rng.normal(size=(60, 3, 4)).astype(np.float32)
    got = classify(x)
    assert all(np.shape(field) == (3, 4) for field in got)
    for other in (classify(np.moveaxis(x, 0, 2), axis=2), classify(torch.tensor(x))):
        for have, want in zip(other, got, strict=True):
            np.testing.assert_array_equal(have, want)
    assert classify(x, axis=None).n == x.size
    assert isinstance(got, Classification)


@settings(max_examples=20)
@given(st.lists(st.floats(-1e3, 1e3) | st.sampled_from([np.nan, np.inf, 0.0]), max_size=60))
@example([0.0, 34.0, 1e-07, 3.0998444764672854e-65])  # a mode whose height underflows
def test_any_column_has_a_verdict(values):
    got = classify(np.array(values, dtype=float))
    assert got.verdict in VERDICTS
    assert got.n == np.isfinite(values).sum()
    assert got.evidence


BAD_INPUT = {
    "none": ([], "empty"),
    "one": ([1.0], "constant"),
    "two": ([1.0, 2.0], "discrete"),
    "equal": ([3.0] * 50, "constant"),
    "halves": ([0.0] * 25 + [1.0] * 25, "discrete"),
    "nan": ([np.nan] * 10, "empty"),
    "infinities": ([np.inf, -np.inf, *np.random.default_rng(1).normal(size=20)], None),
    "ints": (np.arange(200), None),
    "float16": (np.linspace(5.9e4, 6e4, 64).astype(np.float16), None),
    "huge": (1e300 * np.random.default_rng(1).normal(size=200), "unimodal"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BAD_INPUT)
def test_classify_bad_input(name):
    x, want = BAD_INPUT[name]
    got = classify(np.array(x))
    assert got.n == np.isfinite(x).sum()
    assert got.verdict == want or (want is None and got.verdict in ("unimodal", "undecided"))


def test_false_discoveries_stay_at_their_level(rng):
    """Of 200 units 20 have two modes; the share of false ones among those called bimodal."""
    shares = []
    for _ in range(10):
        x = rng.random((300, 200))
        x[:, :20] = rng.normal(size=(300, 20)) + 5 * (rng.random((300, 20)) < 0.5)
        called = np.flatnonzero(classify(x).verdict == "bimodal")
        shares.append((called >= 20).sum() / max(len(called), 1))
        assert np.isin(np.arange(20), called).mean() > 0.9
    error = np.std(shares) / np.sqrt(10)
    assert np.mean(shares) <= 0.05 + tolerances.STANDARD_ERRORS * error


@pytest.mark.parametrize("distance", [6, 20])
@pytest.mark.parametrize("n", [500, 5000, 40_000])
def test_a_mode_of_a_few_percent_is_never_denied_where_it_can_be_seen(rng, n, distance):
    found = classify(rng.normal(size=(n, 10)) + distance * (rng.random((n, 10)) < 0.05))
    seen = found.verdict[found.qvalue < 0.05]
    assert np.isin(seen, ("undecided", "bimodal")).all()  # at 20 stds its dip is just below 0.01
    if n == 40_000:
        assert (found.verdict == {6: "undecided", 20: "bimodal"}[distance]).all()


@pytest.mark.parametrize(("distance", "least"), [(2, 0.0), (3, 0.1), (3.5, 0.7), (4, 0.95)])
def test_more_values_find_more(rng, distance, least):
    """A share of columns with two modes that falls with n would say that the effect is too small.

    Two equal normal laws 2 apart have a single mode.
    """
    shares = [
        (classify(rng.normal(size=(n, 40)) + distance * (rng.random((n, 40)) < 0.5)).verdict)
        == "bimodal"
        for n in (500, 2000, 8000)
    ]
    shares = [share.mean() for share in shares]
    assert shares == sorted(shares)
    assert shares[0] >= (least if distance > 3 else 0)
    assert shares[-1] == (distance > 2)


def test_outliers_leave_no_density_to_ask(rng):
    """Six moments of such a column are those of its outliers: the dip alone decides."""
    two = np.concatenate([rng.normal(-3, 1, 500), rng.normal(3, 1, 500)])
    x = np.stack([np.append(two, [1e9]), np.append(two, [0.0])], axis=1)
    found = classify(x)
    assert found.verdict.tolist() == ["bimodal", "bimodal"]
    assert found.modes.tolist() == [-1, 2]
    assert "no density to confirm it" in found.evidence[0]
