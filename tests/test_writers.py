"""Tables as text: CSV that a spreadsheet takes for data, JSON with names as they are."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import distfit_nn as dn
from distfit_nn._writers import cell, csv_text, plural

NAMES = ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "a=b", "a\nb", "a,b", 'a"b', "\x1b[2J", "fc1"]


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@given(st.text(), st.floats())
def test_no_text_is_a_formula_and_numbers_stay(name, number):
    (row,) = parsed(csv_text(pd.DataFrame({"name": [name], "x": [number]}), None))
    assert row["name"] == cell(name)
    assert not re.match(r"[=+\-@＝＋－＠\t\r]", row["name"])
    assert not [c for c in row["name"] if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160]
    assert (float(row["x"]) if row["x"] else np.nan) == pytest.approx(number, rel=0, nan_ok=True)
    if not re.match(r"[=+\-@＝＋－＠]", name) and name.isprintable():
        assert row["name"] == name


def test_what_stands_in_a_cell():
    assert cell("=1+1") == "'=1+1"
    assert cell("\t=1") == r"'\x09=1"
    assert cell("a\rb\nc\x85") == "a\\x0db\nc\\x85"
    assert cell("fc1.weight-2") == "fc1.weight-2"


def test_numbers_and_what_is_missing_are_not_text():
    table = pd.DataFrame({"n": [-1, 2], "x": [-0.5, np.nan], "b": [True, False], "t": ["-1", None]})
    table["o"] = pd.Series([None, -3], dtype=object)
    table["i"] = pd.Series([None, -3], dtype="Int64")
    assert csv_text(table, None) == "n,x,b,t,o,i\n-1,-0.5,True,'-1,,\n2,,False,,-3,-3\n"
    assert csv_text(table[:0], None) == "n,x,b,t,o,i\n"


@pytest.fixture(scope="module")
def layers() -> dict[str, np.ndarray]:
    return {name: np.random.default_rng(0).normal(size=(70, 2)) for name in NAMES}


@pytest.mark.slow
def test_every_table_of_a_result_is_safe_and_json_keeps_names(layers):
    results = {
        dn.analyze(layers): ("units", "layers", "dependence"),
        dn.compare(layers, layers, permutations=5): ("units", "layers"),
        dn.suggest(layers): ("units", "layers"),
    }
    for result, tables in results.items():
        for table in tables:
            names = [row["layer"] for row in parsed(result.to_csv(table=table))]
            assert sorted(set(names)) == sorted(map(cell, NAMES))
        assert {row["layer"] for row in json.loads(result.to_json())["layers"]} == set(NAMES)
    frame = pd.DataFrame(np.ones((9, 2)) * np.arange(9)[:, None], columns=["=a", "b"])
    assert [row["name"] for row in parsed(dn.analyze(frame).to_csv())] == ["'=a", "b"]


def test_counts_with_their_noun():
    assert [plural(n, "unit") for n in (0, 1, 2, 1200)] == [
        "0 units",
        "1 unit",
        "2 units",
        "1,200 units",
    ]
    one = dn.analyze({"a": np.arange(9.0)})
    assert repr(one) == "<Analysis of arrays in memory: 1 recording, 1 unit>"
    assert "1 recording of 1 layer; of 1 unit at" in one._repr_html_()
    found = dn.compare({"a": np.arange(9.0)}, {"a": np.arange(9.0)}, permutations=5)
    assert ": 1 pair of recordings, 0 of 1 unit drifted" in repr(found)
    assert repr(dn.suggest({"a": np.arange(9.0)})).startswith("<Suggestions for 1 layer of ")
