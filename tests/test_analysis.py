"""`analyze` and what an analysis can be turned into."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import distfit_nn as dn
from distfit_nn.analysis import Analysis
from distfit_nn.capture.store import StoreWriter
from distfit_nn.errors import FileError, InputError


@pytest.fixture
def analysis(rng):
    return dn.analyze({"a": rng.normal(size=(200, 3)), "b <script>": np.zeros((200, 2))})


def test_tables_have_a_row_for_each_layer_and_unit(analysis):
    assert analysis.layers["layer"].tolist() == ["a", "b <script>"]
    assert analysis.units.groupby("layer")["unit"].agg(list).to_dict() == {
        "a": [0, 1, 2],
        "b <script>": [0, 1],
    }
    assert "2 recordings, 5 units" in repr(analysis)


def test_sample_data(sample_store):
    analysis = dn.analyze(sample_store)
    assert len(analysis.layers) == 18
    assert len(analysis.units) == 1800
    assert (analysis.units["maxent_status"] == "ok").all()
    after = analysis.layers[analysis.layers["site"] == "norm_output"]
    assert (after["far"] == 0).all()  # batch norm brings every unit near N(0,1) ...
    start = after[after["step"] == 0]
    assert np.allclose(start["pooled_std"], 1, atol=0.01)  # ... and at the start to variance 1
    assert set(after["activation"]) == {"relu"}


def test_json_is_strict_and_complete(analysis, tmp_path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = analysis.to_json()
    content = json.loads(text, parse_constant=refuse)
    assert content["format"] == "distfit_nn.analysis"
    assert [len(content[name]) for name in ("layers", "units")] == [2, 5]
    assert content["units"][3]["kl_gaussian"] is None  # of a constant: infinite
    assert set(content["units"][0]) == set(analysis.units.columns)
    assert {"dead", "bimodal", "far", "heavy_tailed"} <= set(content["definitions"])
    path = analysis.to_json(tmp_path / "new" / "a.json")
    assert path.read_text(encoding="utf-8") == text + "\n"


def test_what_takes_minutes_is_left_out_of_large_networks_and_named(rng):
    small = dn.analyze({f"l{k}": rng.normal(size=(30, 2)) for k in range(2)})
    assert small.to_dict()["left_out"] == []
    many = [replace(small.recordings[0], layer=f"l{k}") for k in range(101)]
    large = Analysis("x", 6, small.created, tuple(many))
    content = large.to_dict()
    assert content["left_out"] == ["drift", "dependence"]
    assert (content["drift"], content["dependence"]) == ([], [])
    large.__dict__["dependence"] = small.dependence  # as if it was asked for
    content = large.to_dict()
    assert (content["left_out"], len(content["dependence"])) == (["drift"], 2)


@pytest.mark.parametrize("table", ["units", "layers"])
def test_csv_reads_back(analysis, tmp_path, table):
    path = analysis.to_csv(tmp_path / "t.csv", table=table)
    assert path.read_text(encoding="utf-8") == analysis.to_csv(table=table)
    written = getattr(analysis, table)
    written = written.where(written.notna(), np.nan)  # a file knows no None
    pd.testing.assert_frame_equal(pd.read_csv(path), written, check_dtype=False)


def test_progress_names_each_entry(rng):
    seen = []
    arrays = {"a": rng.normal(size=9), "b": rng.normal(size=9)}
    dn.analyze(arrays, progress=lambda entry, rows: seen.append((entry.layer, rows)))
    assert seen == [("a", 0), ("a", 9), ("b", 0), ("b", 9)]


@pytest.mark.parametrize("bad", [np.zeros((0, 3)), np.zeros((3, 0)), np.zeros((2, 2, 2)), ["a"]])
def test_bad_arrays_are_clear_errors(bad):
    with pytest.raises(InputError, match=r"layer 'x'"):
        dn.analyze(bad)


def test_bad_order(rng):
    with pytest.raises(InputError, match="order must be a whole number from 1 to 12, got 13"):
        dn.analyze(rng.normal(size=9), order=13)


def test_a_failed_write_leaves_the_old_file(analysis, tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    (old / "kept").write_text("kept")
    with pytest.raises(FileError, match="cannot write"):
        analysis.to_json(old)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (old / "kept").read_text() == "kept"


def test_rows_that_were_sampled_are_counted(tmp_path):
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
    with dn.record(model, tmp_path / "run", rows=10):
        model(torch.randn(50, 3))
    row = dn.analyze(tmp_path / "run").layers.iloc[0]
    assert (row["rows"], row["rows_seen"]) == (10, 50)


def test_comparing_analyses_is_no_error(analysis):
    assert analysis == analysis
    assert len({analysis, analysis.recordings[0]}) == 2


def test_a_sparse_tensor_is_a_clear_error():
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match="x must be a plain tensor of real numbers"):
        dn.maxent.fit(torch.eye(3).to_sparse())


def test_rows_are_kept_of_the_first_and_the_last_step_only(tmp_path):
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "run") as writer:
        for step in (20, 0, 10, 30):
            writer.add(rng.normal(size=(1500, 2)), layer="fc", site="values", step=step)
    kept = {one.step: one.sample for one in dn.analyze(tmp_path / "run").recordings}
    assert {step for step, rows in kept.items() if rows is not None} == {0, 30}
    assert kept[0].shape == (1000, 2)


def test_kept_rows_are_rows_of_the_data():
    x = np.random.default_rng(0).normal(size=(3000, 3))
    (recording,) = dn.analyze(x).recordings
    assert {tuple(row) for row in recording.sample} <= {tuple(row) for row in x}


def test_a_notebook_shows_a_small_escaped_table(analysis):
    shown = analysis._repr_html_()
    assert "b &lt;script&gt;" in shown
    assert "<script" not in shown
    assert "2 recordings of 2 layers; of 5 units" in shown
    assert "2 are dead" in shown
    assert len(shown) < 10_000


def test_a_notebook_shows_at_most_20_rows_and_no_huge_name(rng):
    many = {"x" * 10**6 + str(i): rng.normal(size=(9, 1)) for i in range(25)}
    shown = dn.analyze(many)._repr_html_()
    assert shown.count("<tr>") == 21
    assert "5 more rows." in shown
    assert len(shown) < 50_000


def test_a_notebook_shows_what_drifted(rng):
    x = rng.normal(size=(400, 3))
    found = dn.compare({"<b>": x[:200]}, {"<b>": x[200:] + np.array([0, 0, 1])})
    shown = found._repr_html_()
    assert "1 of 1 pair of recordings and 1 of 3 units have drifted; 0 unmatched." in shown
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown


def test_a_table_that_is_none_is_a_clear_error(analysis):
    with pytest.raises(InputError, match="table must be one of 'units', 'layers', 'drift', 'depen"):
        analysis.to_csv(table="recordings")
