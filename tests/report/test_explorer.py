"""The explorer's data: packed numbers, which units are kept, and text that no parser misreads."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distfit_nn.report import explorer, packed, select
from tests.report.cases import analysis_of, network


def unpacked(text: str) -> list[float]:
    """Read packed numbers back, as the script of the page does."""
    found = []
    for i in range(0, len(text), 3):
        code = 0
        for letter in text[i : i + 3]:
            code = 64 * code + packed.ALPHABET.index(letter)
        if code < packed.FIRST:
            found.append([math.nan, 0.0, math.inf, -math.inf][code])
            continue
        half, negative = divmod(code - packed.FIRST, 2)
        power, digits = divmod(half, 900)
        size = float(f"{digits + 100}e{power + packed.LEAST - 2}")
        found.append(-size if negative else size)
    return found


@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=True))
@example(999.5)
@example(0.9995)
@example(-1e-70)
@example(9.99e74)
@example(9.996e74)
@example(1000.0)
def test_a_packed_number_keeps_three_digits(value):
    (read,) = unpacked(packed.numbers([value]))
    if abs(value) < 1e-70:
        assert read == 0
    elif abs(value) >= 9.995e74:
        assert read == math.copysign(math.inf, value)
    else:
        assert abs(read - value) <= abs(value) * 0.00501


def test_what_is_no_number_comes_back_as_it_is():
    read = unpacked(packed.numbers([math.nan, 0.0, -0.0, math.inf, -math.inf]))
    assert math.isnan(read[0])
    assert read[1:] == [0, 0, math.inf, -math.inf]


def test_flags_and_bars():
    assert packed.flags([[True, False, True], [False, False, False]]) == "FA"
    counts = np.array([[0, 4], [1, 0], [0, 0], [1000, 4]])
    assert packed.bars(counts, 2) == "B/" + "//"  # a bin with any value is not empty
    assert packed.bars(np.zeros((4, 1)), 4) == "AAAA"


@pytest.fixture(scope="module")
def layers():
    return select.layers(analysis_of(network(np.random.default_rng(3), layers=2, units=6)))


@pytest.mark.parametrize(
    ("budget", "said", "groups", "bars"),
    [
        (10**6, "All 12 units, at every site and step.", 12, True),
        (3000, "All 12 units at the last step, at every site; other steps are in", 4, True),
        (1400, "All 12 units at the last step, where they feed the nonlinearity;", 2, True),
        (1100, "without sketches", 2, False),
        (300, "1 of 12 units at the last step: those with a verdict first", 1, False),
    ],
)
def test_the_more_room_the_more_is_kept(layers, budget, said, groups, bars):
    kept, with_bars, note = explorer.choose(layers, budget)
    assert said in note
    assert (len(kept), with_bars) == (groups, bars)


def test_the_most_remarkable_are_kept_in_their_order(layers, monkeypatch):
    monkeypatch.setattr(explorer, "_MOST_GROUPS", 2)
    kept = explorer._most_remarkable(layers, 2 * 260 + 5 * 44)
    rows = {(k.layer.place, int(row)) for k in kept for row in k.rows}
    units = layers.last
    flagged = units[units[["dead", "heavy_tailed", "bimodal", "far", "outlier"]].any(axis=1)]
    assert len(rows) == 5
    assert {(int(u["place"]), int(u["row"])) for _, u in flagged.iterrows()} & rows
    assert all(np.all(np.diff(k.rows) > 0) for k in kept)


def test_the_data_hold_what_the_tables_hold(layers):
    made = explorer.explorer(layers, layers, {1: [0]})
    data = json.loads(made.data)
    group = next(g for g in data["groups"] if g["main"] and g["last"] and g["layer"] == 1)
    units = layers[1].last(layers[1].main).units
    read = np.array(unpacked(group["values"])).reshape(len(data["columns"]), -1)
    names = [name for name, _ in data["columns"]]
    for name in ("kl_maxent", "kurtosis", "tail_index", "dip"):
        np.testing.assert_allclose(read[names.index(name)], units[name], rtol=0.00501)
    assert group["size"] == len(units) == len(group["flags"]) == len(group["shapes"])
    assert [data["shapes"][packed.ALPHABET.index(c)] for c in group["shapes"]] == list(
        units["shape"]
    )
    drawn = [g["drawn"] for g in data["groups"] if g["drawn"]]
    assert drawn == [[[0, 0]]]  # only the main site at its last step has pictures


def test_no_parser_takes_the_data_for_markup(rng):
    name = "</script><script>alert(1)</script><!-- & \u2028 ]]>"
    made = analysis_of({(name, "values", 0): rng.standard_normal((60, 2))})
    made.recordings[0].units["name"] = [name, None]
    found = select.layers(made)
    data = str(explorer.explorer(found, found, {}).data)
    assert not set("<>&\u2028\u2029") & set(data)
    assert json.loads(data)["layers"] == [select.clean(name, 80)]


def test_units_keep_their_own_numbers(rng):
    made = analysis_of({("a", "values", 0): rng.standard_normal((60, 3))})
    recording = made.recordings[0]
    units = recording.units.assign(unit=[5, 17, 900])
    found = select.layers(replace(made, recordings=(replace(recording, units=units),)))
    data = json.loads(explorer.explorer(found, found, {}).data)
    assert data["groups"][0]["ids"] == [5, 17, 900]


def test_nothing_recorded_has_no_explorer():
    assert explorer.explorer(select.layers(analysis_of({})), [], {}) is None
