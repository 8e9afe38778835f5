"""`compare`: what is compared with what, and the same numbers however it is read."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import distfit_nn as dn
from distfit_nn import pairs, sampled_drift
from distfit_nn.capture import entries
from distfit_nn.capture.readers import read
from distfit_nn.capture.store import StoreWriter
from distfit_nn.errors import FileError, InputError
from distfit_nn.sampled_drift import DriftSettings, Sampler, places
from distfit_nn.stats import drift_measures
from distfit_nn.stats.drift import drift
from distfit_nn.stats.drift_baseline import fine_pvalues
from distfit_nn.streaming import Settings, summarise_entry

PLACE = ["layer", "site", "step_before", "step_after"]


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of some 3,000 values, chunks of 500."""
    monkeypatch.setattr(entries, "PART", 3000)
    monkeypatch.setattr(entries, "CHUNK", 500)


def store(path, values, *, layer="a", site="pre_activation", cuts=()):
    """Write a store with a table for each step, each in records cut at some rows."""
    with StoreWriter(path) as writer:
        for step, table in values.items():
            for piece in np.split(table, cuts):
                writer.add(piece, layer=layer, site=site, step=step)
    return path


def settings(**changes):
    defaults = {
        "permutations": 9,
        "alpha": 0.05,
        "least_effect": 0.1,
        "paired": False,
        "blocks": 1,
        "rows": 50,
        "seed": 0,
        "memory": 10**6,
    }
    return DriftSettings(**defaults | changes)


def same(found, expected):
    pd.testing.assert_frame_equal(found.units, expected.units, check_exact=True)
    pd.testing.assert_frame_equal(found.layers, expected.layers, check_exact=True)


# What is found


def test_two_halves_of_one_recording_do_not_drift(rng):
    x = rng.gamma(2.0, size=(4000, 20)) @ rng.normal(size=(20, 20))
    found = dn.compare(x[:2000], x[2000:])
    assert not found.units["drifted"].any()
    assert not found.layers["drifted"].any()
    assert found.layers["qvalue"].item() > 0.05


def test_the_unit_that_is_shifted_is_found(rng):
    x, y = rng.normal(size=(2, 3000, 20))
    y[:, 7] = 0.5 * y[:, 7] + 1
    units = dn.compare({"fc": x}, {"fc": y}).units
    assert units.loc[units["drifted"], "unit"].tolist() == [7]
    row = units.iloc[7]
    assert row["rank"] == 1
    pooled = np.sqrt((x[:, 7].var() + y[:, 7].var()) / 2)
    assert row["shift"] == pytest.approx((y[:, 7].mean() - x[:, 7].mean()) / pooled, rel=1e-12)
    assert row["spread"] == pytest.approx(np.log(y[:, 7].std() / x[:, 7].std()), rel=1e-12)


@pytest.mark.parametrize("paired", [False, True])
def test_few_rows_are_what_drift_says_of_them(rng, paired):
    """All rows are used, in order, so that only the seed of the permutations matters."""
    x, y = rng.normal(size=(2, 300, 4))
    found = dn.compare(x, y, paired=paired, seed=3, alpha=0.1, permutations=19)
    expected = drift(x, y, paired=paired, random_state=3, alpha=0.1, permutations=19)
    one = found.compared[0].drift
    pd.testing.assert_frame_equal(one.to_frame(), expected.to_frame(), check_exact=True)
    assert one.layer == expected.layer
    row = found.layers.iloc[0]
    assert (row["wasserstein_mean"], row["pvalue"]) == (one.layer.mean, one.layer.pvalue)
    assert row["wasserstein_max"] == one.wasserstein.effect.max()
    assert row["shift_median"] == np.median(np.abs(one.shift.effect))
    assert row["spread_median"] == np.median(np.abs(one.spread.effect))
    assert row["shape_median"] == np.median(one.shape.effect)
    assert row["kolmogorov_median"] == np.median(one.kolmogorov.effect)
    assert ("paired_correlation" in found.units) is paired
    assert ("paired_correlation_median" in found.layers) is paired


def test_blocks_of_dependent_rows(rng):
    """Successive rows that are equal fake drift, unless they are exchanged together."""
    x, y = (np.repeat(rng.normal(size=(60, 5)), 50, axis=0) for _ in range(2))
    assert dn.compare(x, y).units["drifted"].any()
    found = dn.compare(x, y, blocks=50)
    assert not found.units["drifted"].any()
    expected = drift(x, y, blocks=50, random_state=0)
    np.testing.assert_array_equal(found.units["wasserstein_pvalue"], expected.wasserstein.pvalue)


def test_blocks_are_those_of_the_recording_not_of_the_sample(rng, small_parts):
    x, y = (np.repeat(rng.normal(size=(60, 3)), 100, axis=0) for _ in range(2))
    assert dn.compare(x, y, sample=500).units["drifted"].any()
    assert not dn.compare(x, y, sample=500, blocks=100).units["drifted"].any()


def test_pairs_show_what_chance_hides(rng):
    x = rng.normal(size=(400, 5))
    y = x + 0.12 + 0.05 * rng.normal(size=x.shape)
    assert not dn.compare(x, y, least_effect=0.05).units["drifted"].any()
    found = dn.compare(x, y, least_effect=0.05, paired=True)
    assert found.units["drifted"].all()
    assert (found.units["paired_correlation"] > 0.99).all()


def test_layers_are_one_family_of_tests(rng):
    x = {name: rng.normal(size=(500, 3)) for name in "abcd"}
    y = {name: rng.normal(size=(500, 3)) for name in "abcd"}
    y["b"] += 1
    found = dn.compare(x, y, permutations=199)
    layers = found.layers
    p = np.sort(fine_pvalues(np.array([one.drift.layer.exchanged for one in found.compared])))
    assert layers["qvalue"].min() == pytest.approx(min(4 * p / np.arange(1, 5)), rel=1e-15)
    assert layers["drifted"].tolist() == [False, True, False, False]


def test_a_layer_needs_a_small_q_and_a_large_effect(rng):
    x, y = rng.normal(size=(2, 500, 3))
    assert dn.compare(x, y + 1, permutations=19).layers["qvalue"].item() == pytest.approx(0.05)
    assert not dn.compare(x, y + 1, permutations=19).layers["drifted"].item()
    assert dn.compare(x, y + 1, permutations=20).layers["drifted"].item()
    assert not dn.compare(x, y + 1, least_effect=2).layers["drifted"].item()


# However it is read


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8])
@pytest.mark.parametrize("paired", [False, True])
def test_memory_threads_and_files_change_no_bit(
    tmp_path, rng, small_parts, monkeypatch, dtype, paired
):
    x, y = ((10 * rng.normal(size=(700, 150))).astype(dtype) for _ in range(2))
    options = {"sample": 200, "permutations": 19, "paired": paired, "blocks": 3}
    expected = dn.compare({"a": x}, {"a": y}, **options)
    less = dn.compare({"a": x}, {"a": y}, **options, memory_limit=1000)
    same(less, expected)
    monkeypatch.setattr(drift_measures, "threads", lambda: 5)
    same(dn.compare({"a": x}, {"a": y}, **options), expected)
    np.savez(tmp_path / "x.npz", a=x)
    np.savez(tmp_path / "y.npz", a=y)
    same(dn.compare(tmp_path / "x.npz", tmp_path / "y.npz", **options), expected)
    if np.dtype(dtype).kind == "f":
        store(tmp_path / "x", {0: x}, site="values", cuts=(1, 130, 131, 600))
        store(tmp_path / "y", {0: y}, site="values")
        same(dn.compare(tmp_path / "x", tmp_path / "y", **options), expected)


def test_less_memory_takes_more_passes(rng):
    source = {"a": rng.normal(size=(200, 150))}
    pair = pairs.matched(read(source), read(source), None)[0][0]
    assert settings(memory=10**9).passes(pair) == [slice(0, 150)]
    assert settings(memory=1).passes(pair) == [slice(0, 64), slice(64, 128), slice(128, 150)]


def test_one_seed_takes_the_same_rows_of_both(rng, small_parts):
    """So pairs stay pairs: where y is x, both samples are equal, row by row."""
    x = rng.normal(size=(1000, 3))
    found = dn.compare(x, x, sample=100, paired=True).compared[0].drift
    assert found.rows == (100, 100)
    assert found.rows_seen == (1000, 1000)
    assert (found.wasserstein.effect == 0).all()
    np.testing.assert_allclose(found.paired_correlation, 1, rtol=1e-12)
    other = dn.compare(x, x[::-1], sample=100).compared[0].drift
    assert (other.wasserstein.effect > 0).all()
    first, again, second = (
        dn.compare(x, x[::-1], sample=100, seed=seed).units for seed in (0, 0, 1)
    )
    assert first.equals(again)
    assert not first.equals(second)


def test_the_rows_are_those_that_analyze_takes(tmp_path, rng, small_parts):
    """Numbered by part and row, which say where in the entry they stand."""
    path = store(tmp_path / "run", {0: rng.normal(size=(2000, 4))}, cuts=(100, 900))
    entry = next(read(path))
    sample = Sampler(settings(rows=300)).draw(entry, slice(1, 3), (0, 1))
    expected = summarise_entry(entry, Settings(rows=300)).sample
    np.testing.assert_array_equal(sample.shard, expected.shard)
    np.testing.assert_array_equal(sample.row, expected.row)
    np.testing.assert_array_equal(sample.values, expected.values[:, 1:3])
    assert len(np.unique(sample.shard)) > 1
    np.testing.assert_array_equal(entry.values[places(entry, sample), 1:3], sample.values)


def test_progress_counts_the_rows_of_both_sides(rng, small_parts):
    seen = []
    sources = [{"a": rng.normal(size=(700, 150))}, {"a": rng.normal(size=(80, 150))}]
    dn.compare(
        *sources, memory_limit=1, progress=lambda entry, rows: seen.append((entry.rows, rows))
    )
    for rows in (700, 80):
        counts = [done for of, done in seen if of == rows]
        assert (counts[0], counts[-1]) == (0, rows)
        assert counts == sorted(counts)
        assert counts.count(0) == 1


# What is compared with what


def test_from_step_to_step(tmp_path, rng):
    steps = {step: rng.normal(size=(200, 2)) + step / 10 for step in (20, 0, 10)}
    path = store(tmp_path / "run", steps)
    found = dn.compare(path)
    assert found.layers[PLACE].to_numpy().tolist() == [
        ["a", "pre_activation", 0, 10],
        ["a", "pre_activation", 10, 20],
    ]
    assert (found.units["shift"] > 0).all()
    back = dn.compare(path, steps=(20, 0))
    assert back.layers[PLACE[2:]].to_numpy().tolist() == [[20, 0]]
    assert (back.units["shift"] < 0).all()
    assert found.after is None
    assert "steps of" in repr(found)


def test_each_step_is_read_once(tmp_path, rng):
    seen = []
    path = store(tmp_path / "run", {step: rng.normal(size=(20, 2)) for step in range(4)})
    dn.compare(path, progress=lambda entry, rows: seen.append((entry.step, rows)))
    assert seen == [(step, rows) for step in range(4) for rows in (0, 20)]


def test_steps_in_several_passes(tmp_path, rng, small_parts):
    """What is kept from one pair is not taken for other units of the next."""
    steps = {step: rng.normal(size=(150, 140)) for step in range(3)}
    path = store(tmp_path / "run", steps)
    found = dn.compare(path, permutations=9, memory_limit=1)
    same(found, dn.compare(path, permutations=9))
    alone = dn.compare(steps[1], steps[2], permutations=9).units
    np.testing.assert_array_equal(found.units["energy"].iloc[140:], alone["energy"])


def test_steps_of_two_runs(tmp_path, rng):
    def run(name, steps):
        return store(tmp_path / name, {step: rng.normal(size=(50, 2)) for step in steps})

    one, other = run("one", (0, 5, 9)), run("other", (0, 5, 7))

    def compared(steps):
        return dn.compare(one, other, steps=steps).layers[PLACE[2:]].to_numpy().tolist()

    assert compared(None) == [[9, 7]]  # how both ended
    assert compared("same") == [[0, 0], [5, 5]]
    assert compared((9, 0)) == [[9, 0]]
    assert compared((5, 5)) == [[5, 5]]
    for steps, problem in (
        ((1, 0), "has no step 1 in the first source"),
        ((0, 9), "has no step 9 in the second source"),
    ):
        with pytest.raises(InputError, match=problem):
            dn.compare(one, other, steps=steps)


def test_what_has_no_partner_is_named(rng):
    x = rng.normal(size=(40, 3))
    before = {"a": x, "only before": x, "wider": x}
    after = {"only after": x, "wider": x[:, :2], "a": x}
    found = dn.compare(before, after)
    assert found.layers["layer"].tolist() == ["a"]
    assert found.unmatched == (
        ("only before", "values", "is not in the second source"),
        ("wider", "values", "has 3 units at step 0 before, 2 at step 0 after"),
        ("only after", "values", "is not in the first source"),
    )
    assert "3 unmatched" in repr(found)


def test_layers_without_a_second_step_are_named(tmp_path, rng):
    with StoreWriter(tmp_path / "run") as writer:
        for layer, step in (("a", 0), ("a", 1), ("b", 1)):
            writer.add(rng.normal(size=(20, 2)), layer=layer, site="values", step=step)
    assert dn.compare(tmp_path / "run").unmatched == (("b", "values", "has one step only, 1"),)
    found = dn.compare(tmp_path / "run", steps=(0, 1))
    assert found.unmatched == (("b", "values", "has no step 0"),)


def test_single_arrays_are_compared_whatever_their_names(tmp_path, rng):
    np.save(tmp_path / "monday.npy", rng.normal(size=(40, 3)))
    np.save(tmp_path / "friday.npy", rng.normal(size=(40, 3)))
    found = dn.compare(tmp_path / "monday.npy", tmp_path / "friday.npy")
    assert found.layers["layer"].tolist() == ["monday -> friday"]
    path = store(tmp_path / "run", {0: np.zeros((9, 2))})
    with pytest.raises(InputError, match=r"nothing to compare: 'a' pre_activation is not in .*1 o"):
        dn.compare(path, {"b": np.zeros((9, 2))})


def test_units_go_by_their_names(rng):
    before = pd.DataFrame(rng.normal(size=(40, 2)), columns=["p", "q"])
    assert dn.compare(before, before + 1).units["name"].tolist() == ["p", "q"]
    assert dn.compare(before, before.to_numpy()).units["name"].tolist() == ["p", "q"]
    assert dn.compare(before.to_numpy(), before).units["name"].tolist() == ["p", "q"]
    assert dn.compare(before.to_numpy(), before.to_numpy()).units["name"].isna().all()
    with pytest.raises(InputError, match="units of other names, or in another order"):
        dn.compare(before, before[["q", "p"]])


def test_axes_of_units(rng):
    x = rng.normal(size=(20, 3, 4))
    assert dn.compare(x, x + 1, unit_axis=1).layers["units"].item() == 3


@pytest.mark.parametrize("paired", [False, True])
def test_sample_data(sample_store, paired):
    found = dn.compare(sample_store, steps=(0, 125000), paired=paired, permutations=199)
    layers = found.layers.set_index(["layer", "site"])
    assert len(layers) == 6
    assert (layers["rows_before"] == 1000).all()
    assert found.unmatched == ()
    # Training moves what goes into a norm; the norm takes most of that back, but no shape.
    inputs = layers.xs("norm_input", level="site")
    outputs = layers.xs("norm_output", level="site")
    assert inputs["drifted"].all()
    assert (inputs["drifted_units"] > outputs["drifted_units"]).all()
    assert (inputs["wasserstein_mean"] > 2 * outputs["wasserstein_mean"]).all()
    np.testing.assert_allclose(inputs["shape_median"], outputs["shape_median"], atol=1e-3)


# What it can be turned into


@pytest.fixture
def comparison(rng):
    x = rng.normal(size=(60, 3))
    odd = np.column_stack([x[:, 0], np.full(60, np.nan), np.zeros(60)])
    return dn.compare({"a": x, "odd": odd, "lost": x}, {"a": x + 1, "odd": odd + 1})


def test_json_is_strict_and_complete(comparison, tmp_path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = comparison.to_json()
    content = json.loads(text, parse_constant=refuse)
    assert content["format"] == "distfit_nn.comparison"
    assert [len(content[name]) for name in ("layers", "units", "unmatched")] == [2, 6, 1]
    assert set(content["layers"][0]) == set(comparison.layers.columns)
    assert set(content["units"][0]) == set(comparison.units.columns)
    assert content["units"][4]["rank"] is None  # all NaN
    assert content["units"][5]["wasserstein"] is None  # a constant became another: infinite
    assert content["unmatched"][0]["layer"] == "lost"
    path = comparison.to_json(tmp_path / "new" / "c.json")
    assert path.read_text(encoding="utf-8") == text + "\n"


@pytest.mark.parametrize("table", ["units", "layers"])
def test_csv_reads_back(comparison, tmp_path, table):
    path = comparison.to_csv(tmp_path / "t.csv", table=table)
    assert path.read_text(encoding="utf-8") == comparison.to_csv(table=table)
    written = getattr(comparison, table)
    read_back = pd.read_csv(path)
    assert read_back.columns.tolist() == written.columns.tolist()
    for name in written.select_dtypes("float"):
        np.testing.assert_array_equal(read_back[name], written[name])


def test_units_without_values_are_no_error(comparison):
    units = comparison.units[comparison.units["layer"] == "odd"].set_index("unit")
    assert units["n"].tolist() == [60, 0, 60]
    assert np.isnan(units.loc[1, "wasserstein"])
    assert not units.loc[1, "drifted"]
    assert units.loc[2, "shift"] == np.inf
    layer = comparison.layers.iloc[1]
    assert (layer["units"], layer["wasserstein_max"]) == (3, np.inf)


def test_every_figure_is_defined(comparison):
    words = " ".join([*comparison.definitions, *comparison.definitions.values()])
    for column in [*comparison.units.columns, *comparison.layers.columns]:
        if column in [*PLACE, "unit", "name", "units", "m", "rows_after"]:
            continue
        stem = column.removesuffix("_units").removesuffix("_mean").removesuffix("_high")
        stem = stem.removesuffix("_median").removesuffix("_max")
        for suffix in ("_baseline", "_excess", "_pvalue", "_qvalue"):
            stem = stem.removesuffix(suffix)
        assert stem in words, column
    assert "{" not in words
    assert "at least 1 / 100" in comparison.definitions["pvalue"]


# Bad input


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"permutations": 0}, "permutations must be a whole number of at least 1, got 0"),
        ({"alpha": 2}, "alpha must be a number from 0 to 1, got 2"),
        ({"least_effect": -1}, "least_effect must be a number from 0"),
        ({"paired": "yes"}, "paired must be True or False, got 'yes'"),
        ({"blocks": 0}, "blocks must be a whole number of at least 1"),
        ({"sample": 1}, "sample must be a whole number of at least 2, got 1"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": 2**63}, "seed must be below"),
        ({"memory_limit": "lots"}, "memory_limit must be"),
        ({"steps": 3}, 'steps must be None, "same" or a pair of whole numbers, got 3'),
        ({"steps": (1, 2, 3)}, "steps must be"),
        ({"steps": (0, 1.5)}, "each of steps must be a whole number"),
    ],
)
def test_bad_options(options, problem):
    with pytest.raises(InputError, match=problem):
        dn.compare(np.zeros((9, 2)), np.zeros((9, 2)), **options)


def test_nothing_to_compare(tmp_path):
    x = np.zeros((9, 2))
    with pytest.raises(InputError, match=r"nothing to compare: 'x' values has one step only, 0"):
        dn.compare(x)
    with pytest.raises(InputError, match=r"steps of one source must differ, got 3 twice"):
        dn.compare(x, steps=(3, 3))
    with pytest.raises(InputError, match=r"steps must be None or a pair of whole numbers"):
        dn.compare(x, steps="same")
    with pytest.raises(InputError, match=r"'a' .* second source \(and 1 others\)"):
        dn.compare({"a": x}, store(tmp_path / "run", {0: x}, layer="b"))
    with pytest.raises(FileError, match="missing"):
        dn.compare(tmp_path / "run", tmp_path / "missing")


def test_two_arrays_of_one_name(tmp_path):
    torch = pytest.importorskip("torch")
    x = torch.zeros(9, 2)
    torch.save({"a": {"b": x}, "a.b": x}, tmp_path / "twice.pt")
    with pytest.raises(FileError, match=r"twice\.pt: holds two arrays of the name 'a\.b'"):
        dn.compare(tmp_path / "twice.pt", {"a.b": x})


def test_rows_that_are_no_pairs(tmp_path):
    torch = pytest.importorskip("torch")
    x = np.zeros((9, 2))
    with pytest.raises(InputError, match="'x' values has 9 before and 8 after"):
        dn.compare(x, x[:8], paired=True)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
    for name in ("one", "other"):
        with dn.record(model, tmp_path / name, rows=10):
            for _ in range(2):
                model(torch.ones(50, 3))
    with pytest.raises(InputError, match="10 of 50 rows were recorded, others at each step"):
        dn.compare(tmp_path / "one", paired=True)
    found = dn.compare(tmp_path / "one", tmp_path / "other", paired=True)
    assert found.layers["n"].item() == 10
    with dn.record(model, tmp_path / "longer", rows=10):
        for _ in range(2):
            model(torch.ones(60, 3))
    with pytest.raises(InputError, match="has 10 of 50 before and 10 of 60 after"):
        dn.compare(tmp_path / "one", tmp_path / "longer", paired=True)


def test_pairing_is_checked_before_anything_is_read(monkeypatch):
    monkeypatch.setattr(sampled_drift.Sampler, "draw", None)
    with pytest.raises(InputError, match="paired needs the same rows"):
        dn.compare(np.zeros((9, 2)), np.zeros((8, 2)), paired=True)


@pytest.mark.parametrize("layers", [2, 5, 30])
def test_one_layer_of_many_that_drifts_is_found(layers):
    rng = np.random.default_rng(layers)
    before = {f"l{i}": rng.normal(size=(200, 4)) for i in range(layers)}
    after = {name: rng.normal(size=(200, 4)) + (name == "l1") for name in before}
    table = dn.compare(before, after).layers.set_index("layer")
    assert table["drifted"].to_dict() == {name: name == "l1" for name in before}
    assert table["pvalue"]["l1"] == 0.01  # of the permutations of this layer alone


@pytest.mark.slow
def test_layers_without_drift_are_found_at_the_level_of_the_test():
    """P(any q < 0.05) is at most 0.05 without drift; here of 200 comparisons of 6 layers."""
    false = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        sides = [
            {f"l{i}": rng.standard_t(3, size=(60, 1 + 3 * i)) for i in range(6)} for _ in range(2)
        ]
        false += bool(
            (dn.compare(*sides, seed=seed, least_effect=0.0).layers["qvalue"] < 0.05).any()
        )
    assert false <= 10 + 3 * np.sqrt(10)
